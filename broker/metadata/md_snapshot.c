/* Snapshots: the image written as records, so that the log in front of it can go. */
#include "broker/metadata/md_local.h"

#include "msg/config_record.h"
#include "msg/feature_level_record.h"
#include "msg/k_raft_version_record.h"
#include "msg/partition_record.h"
#include "msg/snapshot_footer_record.h"
#include "msg/snapshot_header_record.h"
#include "msg/topic_record.h"

#include <stdlib.h>

#define SNAPSHOT_BATCH_BYTES  (1u << 20)
#define SNAPSHOT_BYTES_MAX    (1u << 30)
#define CONTROL_HEADER        3
#define CONTROL_FOOTER        4
#define CONTROL_KRAFT_VERSION 5
#define CONTROL_KRAFT_VOTERS  6
#define CONTROL_KEY_BYTES     4u

struct snapshot {
    struct metadata *md;
    const struct metadata_image *image;
    struct buf out;
    struct buf frame;
    int64_t next_offset; /* offsets inside a snapshot count from 0 */
    enum pst_status status;
};

static void begin_batch(struct snapshot *snapshot, uint16_t attributes)
{
    struct record_batch_settings settings = {
        .codec = COMPRESS_NONE,
        .compress_level = COMPRESS_LEVEL_DEFAULT,
        .attributes = attributes,
        .base_offset = snapshot->next_offset,
        .leader_epoch = snapshot->md->epoch,
        .producer_id = NO_PRODUCER_ID,
        .producer_epoch = -1,
        .base_sequence = NO_SEQUENCE,
        .size_max = METADATA_BATCH_BYTES_MAX,
    };

    record_batch_builder_reset(snapshot->md->builder, &settings);
}

static void end_batch(struct snapshot *snapshot)
{
    int32_t count = record_batch_builder_count(snapshot->md->builder);
    struct str batch;

    if (snapshot->status != PST_OK || count == 0)
        return;
    snapshot->status = record_batch_builder_finish(snapshot->md->builder, &batch);
    if (snapshot->status != PST_OK)
        return;
    buf_append_str(&snapshot->out, batch);
    snapshot->status = snapshot->out.status;
    snapshot->next_offset += count;
}

static void put_frame(struct snapshot *snapshot, struct str value)
{
    if (snapshot->status != PST_OK)
        return;
    if (record_batch_builder_size(snapshot->md->builder) > SNAPSHOT_BATCH_BYTES) {
        end_batch(snapshot);
        begin_batch(snapshot, 0);
    }
    if (snapshot->status == PST_OK)
        snapshot->status = record_batch_builder_add(snapshot->md->builder, snapshot->image->timestamp_ms,
                                                    str_null(), value, NULL, 0);
}

static void put(struct snapshot *snapshot, enum metadata_record_type type, int16_t version,
                const struct message_schema *schema, const void *message)
{
    if (snapshot->status != PST_OK)
        return;
    buf_reset(&snapshot->frame);
    snapshot->status = record_frame(type, version, schema, message, &snapshot->frame);
    put_frame(snapshot, buf_view(&snapshot->frame));
}

static void put_control(struct snapshot *snapshot, uint16_t type, const struct message_schema *schema,
                        const void *message)
{
    uint8_t key[CONTROL_KEY_BYTES];

    if (snapshot->status != PST_OK)
        return;
    store_be16(key, 0);
    store_be16(key + 2, type);
    buf_reset(&snapshot->frame);
    snapshot->status = message_encode(schema, 0, message, &snapshot->frame);
    if (snapshot->status == PST_OK)
        snapshot->status =
            record_batch_builder_add(snapshot->md->builder, snapshot->image->timestamp_ms,
                                     str_of_bytes(key, sizeof key), buf_view(&snapshot->frame), NULL, 0);
}

static void put_header(struct snapshot *snapshot)
{
    struct snapshot_header_record header;
    struct k_raft_version_record version;
    uint8_t key[CONTROL_KEY_BYTES];

    message_init(&snapshot_header_record_schema, &header);
    header.last_contained_log_timestamp = snapshot->image->timestamp_ms;
    begin_batch(snapshot, RECORD_BATCH_CONTROL);
    put_control(snapshot, CONTROL_HEADER, &snapshot_header_record_schema, &header);
    if (snapshot->md->kraft_version > 0) {
        message_init(&k_raft_version_record_schema, &version);
        version.k_raft_version = snapshot->md->kraft_version;
        put_control(snapshot, CONTROL_KRAFT_VERSION, &k_raft_version_record_schema, &version);
        store_be16(key, 0);
        store_be16(key + 2, CONTROL_KRAFT_VOTERS);
        if (snapshot->status == PST_OK)
            snapshot->status =
                record_batch_builder_add(snapshot->md->builder, snapshot->image->timestamp_ms,
                                         str_of_bytes(key, sizeof key), snapshot->md->voters, NULL, 0);
    }
    end_batch(snapshot);
}

static void put_footer(struct snapshot *snapshot)
{
    struct snapshot_footer_record footer;

    message_init(&snapshot_footer_record_schema, &footer);
    begin_batch(snapshot, RECORD_BATCH_CONTROL);
    put_control(snapshot, CONTROL_FOOTER, &snapshot_footer_record_schema, &footer);
    end_batch(snapshot);
}

static void put_partition(struct snapshot *snapshot, const struct metadata_topic *topic,
                          const struct metadata_partition *p)
{
    bool has_eligible = p->eligible_count + p->last_eligible_count > 0;
    struct partition_record record;

    message_init(&partition_record_schema, &record);
    record.partition_id = p->index;
    record.topic_id = topic->id;
    record.leader = p->leader;
    record.leader_epoch = p->leader_epoch;
    record.partition_epoch = p->partition_epoch;
    record.leader_recovery_state = p->recovery_state;
    record.replicas = p->replicas;
    record.replicas_count = p->replica_count;
    record.isr = p->isr;
    record.isr_count = p->isr_count;
    record.removing_replicas = p->removing;
    record.removing_replicas_count = p->removing_count;
    record.adding_replicas = p->adding;
    record.adding_replicas_count = p->adding_count;
    record.directories = p->directories;
    record.directories_count = p->directories == NULL ? 0 : p->replica_count;
    if (p->eligible_count > 0) {
        record.eligible_leader_replicas = p->eligible;
        record.eligible_leader_replicas_count = p->eligible_count;
    }
    if (p->last_eligible_count > 0) {
        record.last_known_elr = p->last_eligible;
        record.last_known_elr_count = p->last_eligible_count;
    }
    put(snapshot, RECORD_PARTITION, md_partition_version(snapshot->image, has_eligible),
        &partition_record_schema, &record);
}

static bool put_topic(void *arg, const struct metadata_topic *topic)
{
    struct snapshot *snapshot = arg;
    struct topic_record record;

    message_init(&topic_record_schema, &record);
    record.name = metadata_topic_name(topic);
    record.topic_id = topic->id;
    put(snapshot, RECORD_TOPIC, 0, &topic_record_schema, &record);
    for (int32_t i = 0; i < topic->partition_count; i++)
        put_partition(snapshot, topic, topic->partitions[i]);
    return snapshot->status == PST_OK;
}

static bool put_configs(void *arg, void *value)
{
    struct snapshot *snapshot = arg;
    const struct metadata_configs *configs = value;
    struct config_record record;

    message_init(&config_record_schema, &record);
    record.resource_type = (int8_t)configs->type;
    record.resource_name = configs->name;
    for (unsigned i = 0; i < configs->count; i++) {
        record.name = configs->configs[i].name;
        record.value = configs->configs[i].value;
        put(snapshot, RECORD_CONFIG, 0, &config_record_schema, &record);
    }
    return snapshot->status == PST_OK;
}

static bool put_kept(void *arg, void *value)
{
    struct snapshot *snapshot = arg;

    put_frame(snapshot, ((const struct kept_record *)value)->record);
    return snapshot->status == PST_OK;
}

static void put_feature(struct snapshot *snapshot, struct str name, int16_t level)
{
    struct feature_level_record record;

    message_init(&feature_level_record_schema, &record);
    record.name = name;
    record.feature_level = level;
    put(snapshot, RECORD_FEATURE_LEVEL, 0, &feature_level_record_schema, &record);
}

static void put_image(struct snapshot *snapshot)
{
    const struct metadata_image *image = snapshot->image;
    struct str version = STR_LITERAL("metadata.version");

    begin_batch(snapshot, 0);
    put_feature(snapshot, version, metadata_feature_level(image, version)); /* first: it rules the rest */
    for (unsigned i = 0; i < image->feature_count; i++) {
        struct metadata_feature feature = metadata_feature_at(image, i);

        if (!str_equal(feature.name, version))
            put_feature(snapshot, feature.name, feature.level);
    }
    for (unsigned i = 0; i < image->broker_count; i++)
        put_frame(snapshot, image->brokers[i]->record);
    metadata_topic_each(image, put_topic, snapshot);
    shared_map_each(&image->configs, put_configs, snapshot);
    shared_map_each(&image->kept, put_kept, snapshot);
    end_batch(snapshot);
}

enum pst_status metadata_snapshot(struct metadata *md)
{
    struct snapshot snapshot = {.md = md, .image = md->image};
    enum pst_status status;

    buf_init(&snapshot.out, SNAPSHOT_BYTES_MAX);
    buf_init(&snapshot.frame, METADATA_BATCH_BYTES_MAX);
    put_header(&snapshot);
    put_image(&snapshot);
    put_footer(&snapshot);
    status = snapshot.status;
    if (status == PST_OK)
        status = md_log_put_snapshot(md->log, md->epoch, buf_view(&snapshot.out));
    buf_free(&snapshot.out);
    buf_free(&snapshot.frame);
    return status;
}
