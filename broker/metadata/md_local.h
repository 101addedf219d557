/* The local provider's inside: one change on its way from records to disk to the next image.
 *
 * Thread: control. */
#ifndef PENSTOCK_BROKER_METADATA_MD_LOCAL_H
#define PENSTOCK_BROKER_METADATA_MD_LOCAL_H

#include "broker/metadata/md_log.h"
#include "broker/metadata/metadata.h"
#include "broker/metadata/record.h"

#include <pthread.h>

#define METADATA_BATCH_BYTES_MAX (8u << 20) /* Kafka's largest metadata batch (KafkaRaftClient) */
#define DIRECTORIES_MAX          64u

struct subscription {
    metadata_subscriber subscriber;
    void *arg;
};

struct metadata {
    struct metadata_settings settings; /* strings are ours */
    struct md_log *log;
    struct record_batch_builder *builder;
    struct buf frame; /* one record being written */
    int32_t epoch;
    int16_t kraft_version;
    struct uuid voter_directory; /* of kraft.version 1 */
    struct str voters;           /* its KRaftVoters record, kept for snapshots (ours) */
    int64_t broker_epoch;        /* -1 before metadata_register */
    struct uuid directories[DIRECTORIES_MAX];
    unsigned directory_count;
    struct subscription subscriptions[METADATA_SUBSCRIBERS_MAX];
    unsigned subscription_count;
    pthread_mutex_t image_lock; /* rank: a leaf.  Guards the pointer and the step to its reference */
    const struct metadata_image *image;
};

/* One batch in the making.  Failure is sticky: records may be added without looking, commit looks once. */
struct md_write {
    struct metadata *md;
    struct image_change change;
    int64_t now_ms;
    bool begun; /* change is valid */
    enum pst_status status;
};

void md_write_begin(struct metadata *md, struct md_write *write);
void md_write_add(struct md_write *write, enum metadata_record_type type, int16_t version,
                  const struct message_schema *schema, const void *message);
/* The image as it would be. */
const struct metadata_image *md_write_image(const struct md_write *write);
/* Appends, syncs, publishes, tells the subscribers; nothing at all when no record was added.  Ends the write.
 */
MUST_CHECK enum pst_status md_write_commit(struct md_write *write);
void md_write_abandon(struct md_write *write);

/* The Kafka error of a failed commit, with its text. */
int16_t md_write_error(enum pst_status status, const char **ret_text);

/* Whether records may carry eligible leader replicas (version 2 of partition records). */
int16_t md_partition_version(const struct metadata_image *image, bool has_eligible);

#endif
