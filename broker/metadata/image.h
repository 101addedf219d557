/* The metadata image: one consistent state of the cluster, immutable, shared by reference.
 *
 * Any thread may read an image it holds.  A new image shares everything that did not change with the one
 * before: topics, partitions and configurations are immutable entries with reference counts, the tables are
 * persistent tries (shared_map.h), so a change costs the depth of a trie, not the number of topics.
 *
 * Pointers got from an image are valid as long as the image is held. */
#ifndef PENSTOCK_BROKER_METADATA_IMAGE_H
#define PENSTOCK_BROKER_METADATA_IMAGE_H

#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct metadata_image;

#define METADATA_NO_LEADER       (-1)

/* The highest level of metadata.version we read (Kafka 4.3-IV0) and the one we write to new logs (3.9-IV0).
 */
#define METADATA_VERSION_MIN     7
#define METADATA_VERSION_MAX     30
#define METADATA_VERSION_WRITTEN 21

struct metadata_partition {
    _Atomic unsigned references;
    int32_t index;
    int32_t leader; /* METADATA_NO_LEADER: none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    int8_t recovery_state; /* 0: recovered, 1: recovering from an unclean election */
    int32_t replica_count;
    int32_t isr_count;
    int32_t removing_count;
    int32_t adding_count;
    int32_t eligible_count;
    int32_t last_eligible_count;
    int32_t *replicas;
    int32_t *isr;
    int32_t *removing;
    int32_t *adding;
    int32_t *eligible;        /* eligible leader replicas (KIP-966) */
    int32_t *last_eligible;   /* last known eligible leader replicas */
    struct uuid *directories; /* one per replica; NULL: the records had none */
};

struct metadata_topic {
    _Atomic unsigned references;
    uint64_t change; /* private: in which change it was made */
    struct uuid id;
    char *name; /* NUL-terminated */
    size_t name_length;
    bool internal; /* __consumer_offsets, __transaction_state, __share_group_state */
    int32_t partition_count;
    int32_t partition_capacity;
    struct metadata_partition **partitions; /* by index, none is NULL */
};

static inline struct str metadata_topic_name(const struct metadata_topic *topic)
{
    return str_of_bytes(topic->name, topic->name_length);
}

enum metadata_resource { /* the numbers of ConfigResource.Type */
                         METADATA_RESOURCE_UNKNOWN = 0,
                         METADATA_RESOURCE_TOPIC = 2,
                         METADATA_RESOURCE_BROKER = 4, /* name "" is the cluster's default */
                         METADATA_RESOURCE_BROKER_LOGGER = 8,
                         METADATA_RESOURCE_CLIENT_METRICS = 16,
                         METADATA_RESOURCE_GROUP = 32,
};

struct metadata_config {
    struct str name;
    struct str value;
};

/* The settings of one resource. */
struct metadata_configs {
    _Atomic unsigned references;
    uint64_t change; /* private */
    enum metadata_resource type;
    struct str name;
    char *key; /* private: type and name as the table's key */
    size_t key_length;
    unsigned count; /* at least 1 in an image */
    unsigned capacity;
    struct metadata_config *configs; /* ascending by name; values are never null */
};

struct metadata_endpoint {
    struct str name; /* of the listener: "PLAINTEXT" */
    struct str host;
    uint16_t port;
    int16_t security_protocol; /* 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL */
};

struct metadata_broker {
    _Atomic unsigned references;
    int32_t id;
    int64_t epoch;
    struct uuid incarnation;
    bool fenced;
    bool shutting_down;
    struct str rack; /* null: none */
    unsigned endpoint_count;
    struct metadata_endpoint *endpoints;
    unsigned directory_count;
    struct uuid *directories;
    struct str record; /* private: the registration as it was read, for snapshots */
};

struct metadata_feature {
    struct str name;
    int16_t level;
};

/* ---- reading ---- */

void metadata_hold(const struct metadata_image *image);    /* one more reference */
void metadata_release(const struct metadata_image *image); /* NULL is fine */

/* Of the last record in it; -1: empty. */
int64_t metadata_image_offset(const struct metadata_image *image);
int32_t metadata_image_epoch(const struct metadata_image *image);

/* NULL: none. */
const struct metadata_topic *metadata_topic_find(const struct metadata_image *image, struct str name);
const struct metadata_topic *metadata_topic_find_by_id(const struct metadata_image *image,
                                                       const struct uuid *id);
size_t metadata_topic_count(const struct metadata_image *image);
size_t metadata_partition_total(const struct metadata_image *image);
/* Every topic, in no order, until fn returns false. */
void metadata_topic_each(const struct metadata_image *image,
                         bool (*fn)(void *arg, const struct metadata_topic *topic), void *arg);
/* All topics ascending by name, as a malloc'ed array; NULL: out of memory. */
const struct metadata_topic **metadata_topics_sorted(const struct metadata_image *image, size_t *ret_count);

/* NULL: nothing is set. */
const struct metadata_configs *metadata_configs_find(const struct metadata_image *image,
                                                     enum metadata_resource type, struct str name);
/* Null: not set.  `configs` may be NULL. */
struct str metadata_config_get(const struct metadata_configs *configs, struct str name);

unsigned metadata_broker_count(const struct metadata_image *image);
const struct metadata_broker *metadata_broker_at(const struct metadata_image *image,
                                                 unsigned index); /* by id */
const struct metadata_broker *metadata_broker_find(const struct metadata_image *image, int32_t id);
/* NULL: it has no listener of this name. */
const struct metadata_endpoint *metadata_broker_endpoint(const struct metadata_broker *broker,
                                                         struct str listener);

unsigned metadata_feature_count(const struct metadata_image *image);
struct metadata_feature metadata_feature_at(const struct metadata_image *image, unsigned index); /* by name */
int16_t metadata_feature_level(const struct metadata_image *image, struct str name); /* 0: not finalized */
int64_t metadata_next_producer_id(const struct metadata_image *image);

/* ---- what changed from one image to the next ---- */

struct metadata_topic_change {
    const struct metadata_topic *before; /* NULL: created */
    const struct metadata_topic *after;  /* NULL: deleted */
};

struct metadata_config_resource {
    enum metadata_resource type;
    struct str name;
};

/* Valid during the callback. */
struct metadata_delta {
    const struct metadata_topic_change *topics;
    unsigned topic_count;
    const struct metadata_config_resource
        *configs; /* set, changed or cleared; not those of created or deleted topics */
    unsigned config_count;
    bool brokers_changed;
};

#endif
