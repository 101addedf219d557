/* The inside of an image, and the private next image while a change is put together.
 *
 * Thread: a change belongs to the control thread (or to a test). */
#ifndef PENSTOCK_BROKER_METADATA_IMAGE_INTERNAL_H
#define PENSTOCK_BROKER_METADATA_IMAGE_INTERNAL_H

#include "broker/metadata/image.h"
#include "broker/metadata/shared_map.h"
#include "common/arena.h"
#include "common/hashmap.h"

#define FEATURES_MAX            32u /* Kafka 4.3 has seven */
#define FEATURE_NAME_LENGTH_MAX 100u
#define PARTITIONS_OF_TOPIC_MAX 1000000 /* an index beyond is damage, not a topic */
#define BROKERS_MAX             10000u

/* A record we store without acting on it (ACLs, SCRAM, quotas, tokens, controllers), so that snapshots keep
 * it. */
struct kept_record {
    _Atomic unsigned references;
    struct str key;    /* record type and identity */
    struct str record; /* the framed value */
};

struct image_feature {
    char name[FEATURE_NAME_LENGTH_MAX + 1];
    int16_t level;
};

struct metadata_image {
    _Atomic unsigned references;
    int64_t offset;
    int32_t epoch;
    int64_t timestamp_ms; /* of the last record */
    struct shared_map topics_by_name;
    struct shared_map topics_by_id;
    struct shared_map configs;
    struct shared_map kept;
    size_t partition_total;
    unsigned broker_count;
    unsigned broker_capacity;
    struct metadata_broker **brokers; /* ascending by id */
    unsigned feature_count;
    struct image_feature features[FEATURES_MAX]; /* ascending by name */
    int64_t next_producer_id;
};

struct metadata_image *image_new(void); /* empty; NULL: out of memory */
struct metadata_image *
image_derive(const struct metadata_image *base); /* shares everything; NULL: out of memory */

/* ---- a change ---- */

#define CHANGE_TEXT_MAX 512u

struct image_change {
    const struct metadata_image *base; /* held */
    struct metadata_image *next;
    uint64_t number;         /* marks the entries that are ours to change in place */
    struct hashmap *topics;  /* ids touched */
    struct hashmap *configs; /* resource keys touched */
    bool brokers_changed;
    struct arena *arena;         /* decoded messages; cleared after each record */
    char text[CHANGE_TEXT_MAX];  /* why a record was refused */
    struct metadata_delta delta; /* after image_change_finish */
    struct metadata_topic_change *topic_changes;
    struct metadata_config_resource *config_changes;
};

/* Begins on top of `base`, which is held.  PST_NOMEM. */
MUST_CHECK enum pst_status image_change_begin(const struct metadata_image *base, struct image_change *ret);
/* Checks the whole and fills change->delta.  PST_CORRUPT: a topic lacks a partition; PST_NOMEM. */
MUST_CHECK enum pst_status image_change_finish(struct image_change *change);
/* Gives up what is left: the base, and `next` unless the caller has taken it (set it to NULL). */
void image_change_end(struct image_change *change);

/* All below: PST_NOMEM, or PST_CORRUPT/PST_FULL with change->text. */
MUST_CHECK enum pst_status change_add_topic(struct image_change *change, struct str name,
                                            const struct uuid *id);
MUST_CHECK enum pst_status change_remove_topic(struct image_change *change, const struct uuid *id);
/* Takes over the partition, also on failure. */
MUST_CHECK enum pst_status change_put_partition(struct image_change *change, const struct uuid *topic_id,
                                                struct metadata_partition *partition);
MUST_CHECK enum pst_status change_set_config(struct image_change *change, enum metadata_resource type,
                                             struct str name, struct str config, struct str value);
/* Takes over the broker, also on failure. */
MUST_CHECK enum pst_status change_put_broker(struct image_change *change, struct metadata_broker *broker);
void change_remove_broker(struct image_change *change, int32_t id);
MUST_CHECK enum pst_status change_set_feature(struct image_change *change, struct str name, int16_t level);
MUST_CHECK enum pst_status change_keep(struct image_change *change, struct str key, struct str record);
MUST_CHECK enum pst_status change_forget(struct image_change *change, struct str key);

/* A partition whose arrays have room for these counts; the arrays are not filled.  NULL: out of memory. */
struct partition_counts {
    int32_t replicas, isr, removing, adding, eligible, last_eligible;
    bool directories;
};
struct metadata_partition *partition_entry_new(const struct partition_counts *counts);
void partition_entry_unref(struct metadata_partition *partition);

/* A broker with room for these counts; strings are views into `record`, which is copied. */
struct metadata_broker *broker_entry_new(unsigned endpoint_count, unsigned directory_count,
                                         struct str record);
void broker_entry_unref(struct metadata_broker *broker);

#endif
