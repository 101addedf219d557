#include "broker/metadata/md_local.h"

#include "common/bug.h"
#include "common/logger.h"
#include "protocol/error_codes.h"

#include "msg/abort_transaction_record.h"
#include "msg/begin_transaction_record.h"
#include "msg/broker_registration_change_record.h"
#include "msg/end_transaction_record.h"
#include "msg/feature_level_record.h"
#include "msg/k_raft_version_record.h"
#include "msg/leader_change_message.h"
#include "msg/partition_change_record.h"
#include "msg/producer_ids_record.h"
#include "msg/register_broker_record.h"
#include "msg/voters_record.h"
#include "msg/zk_migration_state_record.h"

#include <stdio.h>
#include <stdlib.h>

#define CONTROL_LEADER_CHANGE   2
#define CONTROL_SNAPSHOT_HEADER 3
#define CONTROL_SNAPSHOT_FOOTER 4
#define CONTROL_KRAFT_VERSION   5
#define CONTROL_KRAFT_VOTERS    6
#define CONTROL_KEY_BYTES       4u
#define BATCH_INFLATED_MAX      (64u << 20)
#define READ_ARENA_BYTES        (1u << 20)
#define PARTITION_ELR_VERSION   2
#define REGISTER_BROKER_VERSION 3

/* ---- reading what is on disk ---- */

struct replay {
    struct metadata *md;
    const struct metadata_image *settled; /* what an open transaction goes back to */
    struct image_change change;
    bool in_transaction;
    int64_t timestamp_ms;
};

/* The change so far becomes the base of a new one. */
static enum pst_status replay_settle(struct replay *replay)
{
    const struct metadata_image *base = replay->change.next;
    enum pst_status status;

    metadata_hold(base);
    image_change_end(&replay->change);
    status = image_change_begin(base, &replay->change);
    metadata_release(base);
    return status;
}

static enum pst_status replay_go_back(struct replay *replay)
{
    const struct metadata_image *base = replay->change.base;
    enum pst_status status;

    metadata_hold(base);
    image_change_end(&replay->change);
    status = image_change_begin(base, &replay->change);
    metadata_release(base);
    return status;
}

static enum pst_status replay_record(struct replay *replay, struct str value)
{
    int16_t type = -1;
    enum pst_status status = str_is_null(value) ? PST_CORRUPT : record_type(value, &type);

    if (status != PST_OK)
        return status;
    switch (type) {
    case RECORD_BEGIN_TRANSACTION:
        if (replay->in_transaction)
            return PST_CORRUPT;
        replay->in_transaction = true;
        return replay_settle(replay);
    case RECORD_END_TRANSACTION:
        if (!replay->in_transaction)
            return PST_CORRUPT;
        replay->in_transaction = false;
        return PST_OK;
    case RECORD_ABORT_TRANSACTION:
        if (!replay->in_transaction)
            return PST_CORRUPT;
        replay->in_transaction = false;
        return replay_go_back(replay);
    default:
        return record_apply(&replay->change, value);
    }
}

static enum pst_status read_voters(struct metadata *md, struct str value, char *reason)
{
    struct wire_reader reader = wire_reader_of(value.at, value.length);
    struct arena *arena = arena_new(READ_ARENA_BYTES);
    struct voters_record voters;
    enum pst_status status = arena == NULL ? PST_NOMEM : PST_OK;
    char *copy;

    if (status == PST_OK)
        status = message_decode(&voters_record_schema, 0, &reader, arena, &voters);
    if (status == PST_OK && (voters.voters_count != 1 || voters.voters[0].voter_id != md->settings.node_id)) {
        snprintf(reason, MD_LOG_REASON_MAX, "the metadata log has voters other than this node (%d voters)",
                 voters.voters_count);
        status = PST_UNSUPPORTED;
    }
    if (status == PST_OK) {
        copy = str_dup(value);
        if (copy == NULL) {
            status = PST_NOMEM;
        } else {
            free((char *)(uintptr_t)md->voters.at);
            md->voters = str_of_bytes(copy, value.length);
            md->voter_directory = voters.voters[0].voter_directory_id;
        }
    }
    arena_free(arena);
    return status;
}

static enum pst_status replay_control(struct metadata *md, const struct record *record, char *reason)
{
    struct k_raft_version_record version;
    struct wire_reader reader = wire_reader_of(record->value.at, record->value.length);
    int type;

    if (record->key.length < CONTROL_KEY_BYTES || str_is_null(record->value))
        return PST_CORRUPT;
    type = load_be16(record->key.at + 2);
    switch (type) {
    case CONTROL_LEADER_CHANGE:
    case CONTROL_SNAPSHOT_HEADER:
    case CONTROL_SNAPSHOT_FOOTER:
        return PST_OK;
    case CONTROL_KRAFT_VERSION:
        if (message_decode(&k_raft_version_record_schema, 0, &reader, NULL, &version) != PST_OK)
            return PST_CORRUPT;
        if (version.k_raft_version > 1) {
            snprintf(reason, MD_LOG_REASON_MAX, "kraft.version %d is unknown to this version",
                     version.k_raft_version);
            return PST_UNSUPPORTED;
        }
        md->kraft_version = version.k_raft_version;
        return PST_OK;
    case CONTROL_KRAFT_VOTERS:
        return read_voters(md, record->value, reason);
    default:
        snprintf(reason, MD_LOG_REASON_MAX, "control record type %d is unknown to this version", type);
        return PST_UNSUPPORTED;
    }
}

static enum pst_status replay_batch(void *arg, const void *batch, const struct record_batch_info *info,
                                    bool from_snapshot, char *reason)
{
    struct replay *replay = arg;
    struct record_walker *walker;
    struct record record;
    enum pst_status status = record_walker_open(batch, info->size_bytes, BATCH_INFLATED_MAX, &walker);

    if (status != PST_OK)
        return status;
    replay->change.text[0] = '\0';
    while (status == PST_OK && (status = record_walker_next(walker, &record)) == PST_OK) {
        if ((info->attributes & RECORD_BATCH_CONTROL) != 0)
            status = replay_control(replay->md, &record, reason);
        else
            status = replay_record(replay, record.value);
        replay->timestamp_ms = record.timestamp_ms;
        if (status != PST_OK && reason[0] == '\0')
            snprintf(reason, MD_LOG_REASON_MAX, "%s offset %lld: %s", from_snapshot ? "snapshot" : "log",
                     (long long)record.offset,
                     replay->change.text[0] != '\0' ? replay->change.text : pst_status_text(status));
    }
    record_walker_close(walker);
    return status == PST_EOF ? PST_OK : status;
}

/* ---- writing ---- */

static struct record_batch_settings batch_settings(const struct metadata *md, int64_t base_offset,
                                                   uint16_t attributes)
{
    return (struct record_batch_settings){
        .codec = COMPRESS_NONE,
        .compress_level = COMPRESS_LEVEL_DEFAULT,
        .attributes = attributes,
        .base_offset = base_offset,
        .leader_epoch = md->epoch,
        .producer_id = NO_PRODUCER_ID,
        .producer_epoch = -1,
        .base_sequence = NO_SEQUENCE,
        .size_max = METADATA_BATCH_BYTES_MAX,
    };
}

void md_write_begin(struct metadata *md, struct md_write *write)
{
    struct record_batch_settings settings = batch_settings(md, md_log_end(md->log), 0);

    *write = (struct md_write){.md = md, .now_ms = clock_wall_ms(md->settings.clock)};
    write->status = image_change_begin(md->image, &write->change);
    write->begun = write->status == PST_OK;
    record_batch_builder_reset(md->builder, &settings);
}

void md_write_add(struct md_write *write, enum metadata_record_type type, int16_t version,
                  const struct message_schema *schema, const void *message)
{
    struct metadata *md = write->md;
    struct str value;

    if (write->status != PST_OK)
        return;
    buf_reset(&md->frame);
    write->status = record_frame(type, version, schema, message, &md->frame);
    if (write->status != PST_OK)
        return;
    value = buf_view(&md->frame);
    write->status = record_batch_builder_add(md->builder, write->now_ms, str_null(), value, NULL, 0);
    if (write->status == PST_OK && type != RECORD_BEGIN_TRANSACTION && type != RECORD_END_TRANSACTION &&
        type != RECORD_ABORT_TRANSACTION)
        write->status = record_apply(&write->change, value);
}

const struct metadata_image *md_write_image(const struct md_write *write)
{
    return write->begun ? write->change.next : write->md->image;
}

static void publish(struct metadata *md, struct md_write *write)
{
    const struct metadata_image *old = md->image;

    pthread_mutex_lock(&md->image_lock);
    md->image = write->change.next;
    pthread_mutex_unlock(&md->image_lock);
    write->change.next = NULL;
    for (unsigned i = 0; i < md->subscription_count; i++)
        md->subscriptions[i].subscriber(md->subscriptions[i].arg, md->image, &write->change.delta);
    metadata_release(old);
}

enum pst_status md_write_commit(struct md_write *write)
{
    struct metadata *md = write->md;
    int32_t count = record_batch_builder_count(md->builder);
    struct str batch;
    enum pst_status status = write->status;

    if (status == PST_OK && count == 0)
        goto end;
    if (status == PST_OK)
        status = image_change_finish(&write->change);
    if (status == PST_OK)
        status = record_batch_builder_finish(md->builder, &batch);
    if (status == PST_OK)
        status = md_log_append(md->log, batch, md_log_end(md->log) + count);
    if (status != PST_OK) {
        LOG_ERROR("metadata.write", "reason=\"%s\" detail=\"%s\"", pst_status_text(status),
                  write->change.text);
        goto end;
    }
    write->change.next->offset = md_log_end(md->log) - 1;
    write->change.next->epoch = md->epoch;
    write->change.next->timestamp_ms = write->now_ms;
    publish(md, write);

end:
    md_write_abandon(write);
    if (status == PST_OK && md_log_grown(md->log) >= md->settings.snapshot_bytes) {
        enum pst_status snapshot = metadata_snapshot(md);

        if (snapshot != PST_OK)
            LOG_WARN("metadata.snapshot", "reason=\"%s\"", pst_status_text(snapshot));
    }
    return status;
}

void md_write_abandon(struct md_write *write)
{
    if (write->begun)
        image_change_end(&write->change);
    write->begun = false;
}

int16_t md_write_error(enum pst_status status, const char **ret_text)
{
    *ret_text = NULL;
    switch (status) {
    case PST_OK:
        return KAFKA_NONE;
    case PST_FULL:
        *ret_text = "The request makes a larger metadata batch than the log takes.";
        return KAFKA_POLICY_VIOLATION;
    case PST_NOSPACE:
        *ret_text = "No space is left for the metadata log.";
        return KAFKA_KAFKA_STORAGE_ERROR;
    case PST_IO:
    case PST_OFFLINE:
        *ret_text = "The metadata log is offline after an input/output error.";
        return KAFKA_KAFKA_STORAGE_ERROR;
    default:
        *ret_text = pst_status_text(status);
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
}

int16_t md_partition_version(const struct metadata_image *image, bool has_eligible)
{
    if (has_eligible || metadata_feature_level(image, STR_LITERAL("eligible.leader.replicas.version")) > 0)
        return PARTITION_ELR_VERSION;
    return 1;
}

/* ---- the beginning of an epoch ---- */

static enum pst_status add_control(struct record_batch_builder *builder, struct buf *frame, int64_t now_ms,
                                   int type, struct str value)
{
    uint8_t key[CONTROL_KEY_BYTES];

    (void)frame;
    store_be16(key, 0);
    store_be16(key + 2, (uint16_t)type);
    return record_batch_builder_add(builder, now_ms, str_of_bytes(key, sizeof key), value, NULL, 0);
}

static enum pst_status append_leader_change(struct metadata *md)
{
    struct record_batch_settings settings = batch_settings(md, md_log_end(md->log), RECORD_BATCH_CONTROL);
    struct leader_change_message_voter voter;
    struct leader_change_message message;
    struct str batch;
    enum pst_status status;

    message_init(&leader_change_message_schema, &message);
    voter = (struct leader_change_message_voter){.voter_id = md->settings.node_id};
    if (md->kraft_version > 0)
        voter.voter_directory_id = md->voter_directory;
    message.version = md->kraft_version;
    message.leader_id = md->settings.node_id;
    message.voters = &voter;
    message.voters_count = 1;
    message.granting_voters = &voter;
    message.granting_voters_count = 1;
    buf_reset(&md->frame);
    status = message_encode(&leader_change_message_schema, md->kraft_version, &message, &md->frame);
    record_batch_builder_reset(md->builder, &settings);
    if (status == PST_OK)
        status = add_control(md->builder, &md->frame, clock_wall_ms(md->settings.clock),
                             CONTROL_LEADER_CHANGE, buf_view(&md->frame));
    if (status == PST_OK)
        status = record_batch_builder_finish(md->builder, &batch);
    if (status == PST_OK)
        status = md_log_append(md->log, batch, md_log_end(md->log) + 1);
    return status;
}

/* The first records of a new cluster, as Kafka's controller writes them. */
static void add_bootstrap(struct md_write *write)
{
    struct begin_transaction_record begin;
    struct feature_level_record feature;
    struct zk_migration_state_record migration;
    struct end_transaction_record end;

    message_init(&begin_transaction_record_schema, &begin);
    message_init(&feature_level_record_schema, &feature);
    message_init(&zk_migration_state_record_schema, &migration);
    message_init(&end_transaction_record_schema, &end);
    begin.name = STR_LITERAL("Bootstrap records");
    feature.name = STR_LITERAL("metadata.version");
    feature.feature_level = METADATA_VERSION_WRITTEN;
    md_write_add(write, RECORD_BEGIN_TRANSACTION, 0, &begin_transaction_record_schema, &begin);
    md_write_add(write, RECORD_FEATURE_LEVEL, 0, &feature_level_record_schema, &feature);
    md_write_add(write, RECORD_ZK_MIGRATION_STATE, 0, &zk_migration_state_record_schema, &migration);
    md_write_add(write, RECORD_END_TRANSACTION, 0, &end_transaction_record_schema, &end);
}

static enum pst_status begin_epoch(struct metadata *md, bool abort_transaction)
{
    struct abort_transaction_record abort_record;
    struct md_write write;
    enum pst_status status;

    if (md_log_epoch(md->log) == INT32_MAX)
        return PST_FULL;
    status = md_log_begin_epoch(md->log, md_log_epoch(md->log) + 1, md->settings.node_id, md->kraft_version);
    if (status != PST_OK)
        return status;
    md->epoch = md_log_epoch(md->log);
    status = append_leader_change(md);
    if (status != PST_OK)
        return status;
    md_write_begin(md, &write);
    if (abort_transaction) {
        message_init(&abort_transaction_record_schema, &abort_record);
        abort_record.reason = STR_LITERAL("controller failover");
        md_write_add(&write, RECORD_ABORT_TRANSACTION, 0, &abort_transaction_record_schema, &abort_record);
    }
    if (metadata_feature_level(md->image, STR_LITERAL("metadata.version")) == 0)
        add_bootstrap(&write);
    return md_write_commit(&write);
}

/* ---- life ---- */

static enum pst_status replay_all(struct metadata *md, const char *path, bool *ret_open_transaction,
                                  char *reason)
{
    struct replay replay = {.md = md, .timestamp_ms = NO_TIMESTAMP};
    struct metadata_image *empty = image_new();
    enum pst_status status = empty == NULL ? PST_NOMEM : image_change_begin(empty, &replay.change);

    metadata_release(empty);
    if (status != PST_OK)
        return status;
    status = md_log_open(md->settings.files, path, replay_batch, &replay, &md->log, reason);
    *ret_open_transaction = replay.in_transaction;
    if (status == PST_OK && replay.in_transaction)
        status = replay_go_back(&replay);
    if (status == PST_OK)
        status = image_change_finish(&replay.change);
    if (status != PST_OK) {
        if (reason[0] == '\0')
            snprintf(reason, MD_LOG_REASON_MAX, "%s", replay.change.text);
        goto end;
    }
    md->image = replay.change.next;
    replay.change.next->offset = md_log_end(md->log) - 1;
    replay.change.next->epoch = md_log_epoch(md->log);
    replay.change.next->timestamp_ms = replay.timestamp_ms;
    replay.change.next = NULL;

end:
    image_change_end(&replay.change);
    return status;
}

enum pst_status metadata_open(const struct metadata_settings *settings, struct metadata **ret,
                              char **ret_text)
{
    struct metadata *md = calloc(1, sizeof *md);
    char reason[MD_LOG_REASON_MAX] = "";
    char *path = NULL;
    bool open_transaction;
    enum pst_status status = PST_NOMEM;

    *ret_text = NULL;
    if (md == NULL)
        return PST_NOMEM;
    pthread_mutex_init(&md->image_lock, NULL);
    buf_init(&md->frame, METADATA_BATCH_BYTES_MAX);
    md->settings = *settings;
    md->settings.cluster_id = str_dup(str_of(settings->cluster_id));
    md->settings.dir = str_dup(str_of(settings->dir));
    if (md->settings.snapshot_bytes == 0)
        md->settings.snapshot_bytes = METADATA_SNAPSHOT_BYTES;
    md->broker_epoch = -1;
    md->builder = record_batch_builder_new();
    if (md->settings.cluster_id == NULL || md->settings.dir == NULL || md->builder == NULL)
        goto fail;
    path = malloc(strlen(settings->dir) + sizeof METADATA_DIR_NAME + 1);
    if (path == NULL)
        goto fail;
    sprintf(path, "%s/%s", settings->dir, METADATA_DIR_NAME);
    status = replay_all(md, path, &open_transaction, reason);
    if (status == PST_OK)
        status = begin_epoch(md, open_transaction);
    if (status != PST_OK)
        goto fail;
    free(path);
    *ret = md;
    return PST_OK;

fail:
    if (reason[0] != '\0')
        *ret_text = str_dup(str_of(reason));
    free(path);
    metadata_close(md);
    return status;
}

void metadata_close(struct metadata *md)
{
    if (md == NULL)
        return;
    metadata_release(md->image);
    md_log_close(md->log);
    record_batch_builder_free(md->builder);
    buf_free(&md->frame);
    pthread_mutex_destroy(&md->image_lock);
    free((char *)(uintptr_t)md->voters.at);
    free((char *)(uintptr_t)md->settings.cluster_id);
    free((char *)(uintptr_t)md->settings.dir);
    free(md);
}

const char *metadata_cluster_id(const struct metadata *md)
{
    return md->settings.cluster_id;
}

const struct metadata_image *metadata_acquire(struct metadata *md)
{
    const struct metadata_image *image;

    pthread_mutex_lock(&md->image_lock);
    image = md->image;
    metadata_hold(image);
    pthread_mutex_unlock(&md->image_lock);
    return image;
}

enum pst_status metadata_subscribe(struct metadata *md, metadata_subscriber subscriber, void *arg)
{
    if (md->subscription_count == METADATA_SUBSCRIBERS_MAX)
        return PST_FULL;
    md->subscriptions[md->subscription_count++] = (struct subscription){subscriber, arg};
    return PST_OK;
}

bool metadata_is_offline(const struct metadata *md)
{
    return md_log_is_offline(md->log);
}

/* ---- registration ---- */

/* What this binary can take: a controller that reads this log must not raise a feature above it. */
static const struct {
    const char *name;
    int16_t min, max;
} supported_features[] = {
    {"metadata.version", METADATA_VERSION_MIN, METADATA_VERSION_MAX},
    {"kraft.version", 0, 1},
    {"group.version", 0, 1},
    {"transaction.version", 0, 2},
    {"eligible.leader.replicas.version", 0, 1},
    {"share.version", 0, 1},
    {"streams.version", 0, 1},
};
#define SUPPORTED_FEATURES (sizeof supported_features / sizeof supported_features[0])

static void add_registration(struct md_write *write, const struct metadata_registration *registration)
{
    struct metadata *md = write->md;
    struct register_broker_record_broker_endpoint *endpoints =
        calloc(registration->endpoint_count + 1, sizeof *endpoints);
    struct register_broker_record_broker_feature features[SUPPORTED_FEATURES];
    struct register_broker_record record;
    struct broker_registration_change_record change;

    if (endpoints == NULL) {
        write->status = PST_NOMEM;
        return;
    }
    message_init(&register_broker_record_schema, &record);
    for (unsigned i = 0; i < registration->endpoint_count; i++) {
        const struct metadata_endpoint *from = &registration->endpoints[i];

        endpoints[i] =
            (struct register_broker_record_broker_endpoint){.name = from->name,
                                                            .host = from->host,
                                                            .port = from->port,
                                                            .security_protocol = from->security_protocol};
    }
    for (size_t i = 0; i < SUPPORTED_FEATURES; i++)
        features[i] = (struct register_broker_record_broker_feature){
            .name = str_of(supported_features[i].name),
            .min_supported_version = supported_features[i].min,
            .max_supported_version = supported_features[i].max};
    record.broker_id = md->settings.node_id;
    record.incarnation_id = uuid_random();
    record.broker_epoch = md_log_end(md->log) + record_batch_builder_count(md->builder);
    record.end_points = endpoints;
    record.end_points_count = (int32_t)registration->endpoint_count;
    record.features = features;
    record.features_count = (int32_t)SUPPORTED_FEATURES;
    record.rack = registration->rack;
    record.fenced = true;
    record.log_dirs = md->directories;
    record.log_dirs_count = (int32_t)md->directory_count;
    md->broker_epoch = record.broker_epoch;
    md_write_add(write, RECORD_REGISTER_BROKER, REGISTER_BROKER_VERSION, &register_broker_record_schema,
                 &record);
    message_init(&broker_registration_change_record_schema, &change);
    change.broker_id = md->settings.node_id;
    change.broker_epoch = md->broker_epoch;
    change.fenced = -1;
    md_write_add(write, RECORD_BROKER_REGISTRATION_CHANGE, 1, &broker_registration_change_record_schema,
                 &change);
    free(endpoints);
}

static bool has_id(const int32_t *ids, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

struct leading {
    struct md_write *write;
    bool unclean;
};

/* Takes the lead where nobody has it and we are in sync, and begins a new epoch where records may have been
 * lost. */
static bool lead_topic(void *arg, const struct metadata_topic *topic)
{
    const struct leading *leading = arg;
    int32_t us = leading->write->md->settings.node_id;

    for (int32_t i = 0; i < topic->partition_count; i++) {
        const struct metadata_partition *p = topic->partitions[i];
        struct partition_change_record record;
        bool ours = p->leader == us && leading->unclean;
        bool vacant = p->leader == METADATA_NO_LEADER &&
                      (has_id(p->isr, p->isr_count, us) ||
                       (p->isr_count == 0 && has_id(p->eligible, p->eligible_count, us)));
        int32_t isr[] = {us};

        if (!ours && !vacant)
            continue;
        message_init(&partition_change_record_schema, &record);
        record.topic_id = topic->id;
        record.partition_id = i;
        record.leader = us;
        if (p->isr_count == 0) {
            record.isr = isr;
            record.isr_count = 1;
        }
        md_write_add(leading->write, RECORD_PARTITION_CHANGE,
                     md_partition_version(md_write_image(leading->write), false),
                     &partition_change_record_schema, &record);
    }
    return leading->write->status == PST_OK;
}

enum pst_status metadata_register(struct metadata *md, const struct metadata_registration *registration)
{
    const struct metadata_image *before = metadata_acquire(md);
    struct md_write write;
    struct leading leading = {&write, registration->unclean};
    enum pst_status status;

    BUG_ON(registration->directory_count > DIRECTORIES_MAX);
    if (registration->directory_count > 0)
        memcpy(md->directories, registration->directories,
               registration->directory_count * sizeof(struct uuid));
    md->directory_count = registration->directory_count;
    md_write_begin(md, &write);
    add_registration(&write, registration);
    metadata_topic_each(before, lead_topic, &leading);
    status = md_write_commit(&write);
    metadata_release(before);
    return status;
}

/* ---- producer ids ---- */

int16_t metadata_allocate_producer_ids(struct metadata *md, int64_t *ret_first)
{
    int64_t first = metadata_next_producer_id(md->image);
    struct producer_ids_record record;
    struct md_write write;
    enum pst_status status;
    const char *text;

    if (first > INT64_MAX - METADATA_PRODUCER_ID_BLOCK)
        return KAFKA_UNKNOWN_SERVER_ERROR;
    message_init(&producer_ids_record_schema, &record);
    record.broker_id = md->settings.node_id;
    record.broker_epoch = md->broker_epoch;
    record.next_producer_id = first + METADATA_PRODUCER_ID_BLOCK;
    md_write_begin(md, &write);
    md_write_add(&write, RECORD_PRODUCER_IDS, 0, &producer_ids_record_schema, &record);
    status = md_write_commit(&write);
    if (status == PST_OK)
        *ret_first = first;
    return md_write_error(status, &text);
}
