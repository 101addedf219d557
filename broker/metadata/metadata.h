/* What the cluster is: topics, partitions, configurations, brokers, producer ids.
 *
 * Readers use immutable, reference-counted images (image.h).  Writers send intents; the provider turns an
 * intent into records, appends them to its log as one batch, syncs, and publishes the next image.  Nothing
 * else writes metadata. The provider here is md_local: one node, the log in "__cluster_metadata-0" in Kafka's
 * KRaft format (README.md).
 *
 * Threads: metadata_acquire and metadata_cluster_id from any thread; everything else from the control thread
 * only, and intents block until their batch is on disk.
 *
 * Outcomes of intents are Kafka's error codes (protocol/error_codes.h) with Kafka's texts, per item.  An
 * intent that cannot be written answers KAFKA_STORAGE_ERROR for all its items and changes nothing; after an
 * input/output error (not: a full disk) the metadata stays offline until a restart and every further intent
 * fails so. */
#ifndef PENSTOCK_BROKER_METADATA_METADATA_H
#define PENSTOCK_BROKER_METADATA_METADATA_H

#include "broker/metadata/image.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stdint.h>

struct metadata;

#define METADATA_DIR_NAME "__cluster_metadata-0"

/* ---- rules of configurations: what names and values are legal belongs to the caller ---- */

struct metadata_config_rules {
    void *arg;
    /* One resource's settings as they would be after the change (only what is set, ascending by name).
     * KAFKA_NONE, or a code with *ret_text (in the arena) for people. */
    int16_t (*check)(void *arg, enum metadata_resource type, struct str name,
                     const struct metadata_config *configs, unsigned count, struct arena *arena,
                     const char **ret_text);
    /* Whether the config is a list (APPEND and SUBTRACT apply); *ret_default: what it is when not set. */
    bool (*is_list)(void *arg, enum metadata_resource type, struct str name, struct arena *arena,
                    struct str *ret_default);
};

/* ---- life ---- */

#define METADATA_SNAPSHOT_BYTES (20u << 20) /* Kafka's metadata.log.max.record.bytes.between.snapshots */

struct metadata_settings {
    const struct clock *clock;
    const struct file_ops *files;
    const char *dir;        /* the log directory that holds (or gets) METADATA_DIR_NAME; it must exist */
    const char *cluster_id; /* as in meta.properties */
    int32_t node_id;
    struct metadata_config_rules rules;
    int32_t default_partitions;         /* num.partitions */
    int16_t default_replication_factor; /* default.replication.factor */
    int64_t snapshot_bytes; /* log bytes after which a snapshot is written; 0: METADATA_SNAPSHOT_BYTES */
};

/* Reads snapshot and log (one written by Apache Kafka as well), cuts a torn tail durably, or writes the first
 * records of a new cluster; begins a new epoch.  Blocks.  The strings of the settings are copied, the rest is
 * borrowed for life. PST_IO, PST_NOSPACE, PST_DENIED, PST_NOMEM; PST_CORRUPT: damaged before its end;
 * PST_UNSUPPORTED: a record or a feature level we do not know, or more than one voter; PST_INVALID: it
 * belongs to another node.  *ret_text (malloc'ed, may be NULL) says which. */
MUST_CHECK enum pst_status metadata_open(const struct metadata_settings *settings, struct metadata **ret,
                                         char **ret_text);
/* Nothing more is written; images that are held stay valid.  NULL is fine. */
void metadata_close(struct metadata *md);

struct metadata_registration {
    const struct metadata_endpoint *endpoints; /* advertised */
    unsigned endpoint_count;
    const struct uuid *directories; /* directory.id of each online log directory */
    unsigned directory_count;
    struct str rack; /* null: none */
    bool unclean;    /* the last stop was not clean: every partition we lead gets a new leader epoch */
};

/* This broker is up: registers it, and it takes the lead of the partitions that wait for it.  Once after
 * metadata_open.  PST_IO, PST_NOSPACE, PST_NOMEM. */
MUST_CHECK enum pst_status metadata_register(struct metadata *md,
                                             const struct metadata_registration *registration);

const char *metadata_cluster_id(const struct metadata *md);
/* Any thread.  The newest image, referenced: give it back with metadata_release (image.h).  Never NULL. */
const struct metadata_image *metadata_acquire(struct metadata *md);

/* ---- following changes ---- */

/* Control thread, after the image is published, before the intent returns.  Must not send intents. */
typedef void (*metadata_subscriber)(void *arg, const struct metadata_image *image,
                                    const struct metadata_delta *delta);

#define METADATA_SUBSCRIBERS_MAX 16u

/* PST_FULL: too many. */
MUST_CHECK enum pst_status metadata_subscribe(struct metadata *md, metadata_subscriber subscriber, void *arg);

/* ---- intents ---- */

/* What is wrong with a topic's name, in the arena or static; NULL: nothing. */
const char *metadata_topic_name_fault(struct str name, struct arena *arena);

struct metadata_assignment {
    int32_t partition;
    const int32_t *replicas;
    int32_t replica_count;
};

struct metadata_new_topic {
    /* in */
    struct str name;
    int32_t partition_count;    /* -1: the default */
    int16_t replication_factor; /* -1: the default */
    const struct metadata_assignment *assignments;
    int32_t assignment_count; /* 0: placed by us */
    const struct metadata_config *configs;
    int32_t config_count;
    /* in and out: other than KAFKA_NONE on entry: passed over (the caller has refused it) */
    int16_t error;
    const char *error_text; /* in the arena or static, NULL: none */
    /* out, when error is KAFKA_NONE */
    struct uuid id; /* zero with validate_only */
    int32_t ret_partition_count;
    int16_t ret_replication_factor;
};

/* Each topic is made whole or refused by itself; names must differ (the caller has refused duplicates). */
void metadata_create_topics(struct metadata *md, struct metadata_new_topic *topics, unsigned count,
                            bool validate_only, struct arena *arena);

struct metadata_deleted_topic {
    /* in: the name, or when that is null the id */
    struct str name;
    struct uuid id;
    int16_t error; /* in and out, as above */
    const char *error_text;
};

/* On success name (in the arena) and id are both set. */
void metadata_delete_topics(struct metadata *md, struct metadata_deleted_topic *topics, unsigned count,
                            struct arena *arena);

struct metadata_more_partitions {
    struct str name;
    int32_t partition_count; /* wanted in total */
    const struct metadata_assignment
        *assignments;         /* of the new ones in order; `partition` is not looked at */
    int32_t assignment_count; /* -1: placed by us */
    int16_t error;            /* in and out, as above */
    const char *error_text;
};

void metadata_create_partitions(struct metadata *md, struct metadata_more_partitions *topics, unsigned count,
                                bool validate_only, struct arena *arena);

enum metadata_config_op { /* the numbers of IncrementalAlterConfigs */
                          METADATA_CONFIG_SET = 0,
                          METADATA_CONFIG_DELETE = 1,
                          METADATA_CONFIG_APPEND = 2,
                          METADATA_CONFIG_SUBTRACT = 3,
};

struct metadata_config_change {
    struct str name;
    struct str value; /* null for DELETE */
    int8_t op;        /* enum metadata_config_op; other values are refused */
};

struct metadata_altered_resource {
    enum metadata_resource type;
    struct str name; /* topic, node id in decimal, "" for the cluster's default of brokers, group */
    const struct metadata_config_change *changes;
    int32_t change_count;
    bool replace;  /* AlterConfigs: what is not named goes back to its default; every op is SET */
    int16_t error; /* in and out, as above */
    const char *error_text;
};

/* Resources must differ (the caller has refused duplicates). */
void metadata_alter_configs(struct metadata *md, struct metadata_altered_resource *resources, unsigned count,
                            bool validate_only, struct arena *arena);

#define METADATA_PRODUCER_ID_BLOCK 1000

/* KAFKA_NONE: [*ret_first, *ret_first + METADATA_PRODUCER_ID_BLOCK) is ours for ever. */
int16_t metadata_allocate_producer_ids(struct metadata *md, int64_t *ret_first);

/* ---- housekeeping ---- */

/* Writes a snapshot of the newest image and drops the log in front of it.  Intents do that by themselves when
 * the log has Called by intents themselves. */
MUST_CHECK enum pst_status metadata_snapshot(struct metadata *md);
/* An input/output error was met: intents fail until a restart. */
bool metadata_is_offline(const struct metadata *md);

#endif
