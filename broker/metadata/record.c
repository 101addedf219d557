#include "broker/metadata/record.h"

#include "common/varint.h"

#include "msg/access_control_entry_record.h"
#include "msg/broker_registration_change_record.h"
#include "msg/clear_elr_record.h"
#include "msg/client_quota_record.h"
#include "msg/config_record.h"
#include "msg/delegation_token_record.h"
#include "msg/feature_level_record.h"
#include "msg/fence_broker_record.h"
#include "msg/no_op_record.h"
#include "msg/partition_change_record.h"
#include "msg/partition_record.h"
#include "msg/producer_ids_record.h"
#include "msg/register_broker_record.h"
#include "msg/register_controller_record.h"
#include "msg/remove_access_control_entry_record.h"
#include "msg/remove_delegation_token_record.h"
#include "msg/remove_topic_record.h"
#include "msg/remove_user_scram_credential_record.h"
#include "msg/topic_record.h"
#include "msg/unfence_broker_record.h"
#include "msg/unregister_broker_record.h"
#include "msg/user_scram_credential_record.h"
#include "msg/zk_migration_state_record.h"

#include <stdio.h>
#include <stdlib.h>

#define FRAME_VERSION      1u
#define IDENTITY_BYTES_MAX (64u << 10)
#define RECORD_BYTES_MAX   (8u << 20)
#define NO_LEADER_CHANGE   (-2)
#define RESOURCE_TYPE_MAX  64

enum pst_status record_frame(enum metadata_record_type type, int16_t version,
                             const struct message_schema *schema, const void *message, struct buf *out)
{
    buf_put_uvarint(out, FRAME_VERSION);
    buf_put_uvarint(out, (uint64_t)type);
    buf_put_uvarint(out, (uint64_t)version);
    return message_encode(schema, version, message, out);
}

static enum pst_status frame_open(struct str value, struct wire_reader *ret_reader, int16_t *ret_type,
                                  int16_t *ret_version)
{
    struct wire_reader reader = wire_reader_of(value.at, value.length);
    uint32_t frame_version = wire_read_uvarint(&reader);
    uint32_t type = wire_read_uvarint(&reader);
    uint32_t version = wire_read_uvarint(&reader);

    if (reader.status != PST_OK || type > INT16_MAX || version > INT16_MAX)
        return PST_CORRUPT;
    if (frame_version != FRAME_VERSION)
        return PST_UNSUPPORTED;
    *ret_reader = reader;
    *ret_type = (int16_t)type;
    *ret_version = (int16_t)version;
    return PST_OK;
}

enum pst_status record_type(struct str value, int16_t *ret_type)
{
    struct wire_reader reader;
    int16_t version;

    return frame_open(value, &reader, ret_type, &version);
}

/* ---- topics and partitions ---- */

static enum pst_status apply_topic(struct image_change *change, const void *message, struct str value)
{
    const struct topic_record *record = message;

    (void)value;
    return change_add_topic(change, record->name, &record->topic_id);
}

static enum pst_status apply_remove_topic(struct image_change *change, const void *message, struct str value)
{
    const struct remove_topic_record *record = message;

    (void)value;
    return change_remove_topic(change, &record->topic_id);
}

static int32_t count_of(int32_t count)
{
    return count < 0 ? 0 : count;
}

static void copy_ids(int32_t *to, const int32_t *from, int32_t count)
{
    if (count > 0)
        memcpy(to, from, (size_t)count * sizeof *to);
}

static enum pst_status apply_partition(struct image_change *change, const void *message, struct str value)
{
    const struct partition_record *r = message;
    bool directories = r->directories_count == r->replicas_count && r->replicas_count > 0;
    struct partition_counts counts = {r->replicas_count,
                                      r->isr_count,
                                      r->removing_replicas_count,
                                      r->adding_replicas_count,
                                      count_of(r->eligible_leader_replicas_count),
                                      count_of(r->last_known_elr_count),
                                      directories};
    struct metadata_partition *p;

    (void)value;
    if (r->directories_count > 0 && !directories) {
        snprintf(change->text, sizeof change->text, "a partition has %d replicas but %d directories",
                 r->replicas_count, r->directories_count);
        return PST_CORRUPT;
    }
    p = partition_entry_new(&counts);
    if (p == NULL)
        return PST_NOMEM;
    p->index = r->partition_id;
    p->leader = r->leader;
    p->leader_epoch = r->leader_epoch;
    p->partition_epoch = r->partition_epoch;
    p->recovery_state = r->leader_recovery_state;
    copy_ids(p->replicas, r->replicas, counts.replicas);
    copy_ids(p->isr, r->isr, counts.isr);
    copy_ids(p->removing, r->removing_replicas, counts.removing);
    copy_ids(p->adding, r->adding_replicas, counts.adding);
    copy_ids(p->eligible, r->eligible_leader_replicas, counts.eligible);
    copy_ids(p->last_eligible, r->last_known_elr, counts.last_eligible);
    if (directories)
        memcpy(p->directories, r->directories, (size_t)counts.replicas * sizeof(struct uuid));
    return change_put_partition(change, &r->topic_id, p);
}

/* One list of a partition after a change: the record's when it has one, else the old. */
struct id_list {
    const int32_t *ids;
    int32_t count;
};

static struct id_list newer(const int32_t *ids, int32_t count, const int32_t *old, int32_t old_count)
{
    return count < 0 ? (struct id_list){old, old_count} : (struct id_list){ids, count};
}

/* Directories of replicas that stay are kept; new ones are unassigned (the zero id). */
static void carry_directories(struct metadata_partition *to, const struct metadata_partition *from)
{
    for (int32_t i = 0; i < to->replica_count; i++) {
        memset(&to->directories[i], 0, sizeof to->directories[i]);
        for (int32_t k = 0; from->directories != NULL && k < from->replica_count; k++) {
            if (from->replicas[k] == to->replicas[i])
                to->directories[i] = from->directories[k];
        }
    }
}

static enum pst_status apply_partition_change(struct image_change *change, const void *message,
                                              struct str value)
{
    const struct partition_change_record *r = message;
    const struct metadata_topic *topic = metadata_topic_find_by_id(change->next, &r->topic_id);
    const struct metadata_partition *old;
    struct metadata_partition *p;
    struct id_list replicas, isr, removing, adding, eligible, last;
    struct partition_counts counts;

    (void)value;
    if (topic == NULL || r->partition_id < 0 || r->partition_id >= topic->partition_count ||
        topic->partitions[r->partition_id] == NULL) {
        snprintf(change->text, sizeof change->text, "a change of an unknown partition %d", r->partition_id);
        return PST_CORRUPT;
    }
    old = topic->partitions[r->partition_id];
    replicas = newer(r->replicas, r->replicas_count, old->replicas, old->replica_count);
    isr = newer(r->isr, r->isr_count, old->isr, old->isr_count);
    removing = newer(r->removing_replicas, r->removing_replicas_count, old->removing, old->removing_count);
    adding = newer(r->adding_replicas, r->adding_replicas_count, old->adding, old->adding_count);
    eligible = newer(r->eligible_leader_replicas, r->eligible_leader_replicas_count, old->eligible,
                     old->eligible_count);
    last = newer(r->last_known_elr, r->last_known_elr_count, old->last_eligible, old->last_eligible_count);
    if (r->directories_count > 0 && r->directories_count != replicas.count) {
        snprintf(change->text, sizeof change->text, "a change leaves %d replicas but %d directories",
                 replicas.count, r->directories_count);
        return PST_CORRUPT;
    }
    counts = (struct partition_counts){replicas.count,
                                       isr.count,
                                       removing.count,
                                       adding.count,
                                       eligible.count,
                                       last.count,
                                       old->directories != NULL || r->directories_count > 0};
    p = partition_entry_new(&counts);
    if (p == NULL)
        return PST_NOMEM;
    p->index = old->index;
    p->leader = r->leader == NO_LEADER_CHANGE ? old->leader : r->leader;
    p->leader_epoch = old->leader_epoch + (r->leader != NO_LEADER_CHANGE);
    p->partition_epoch = old->partition_epoch + 1;
    p->recovery_state = r->leader_recovery_state == -1 ? old->recovery_state : r->leader_recovery_state;
    copy_ids(p->replicas, replicas.ids, replicas.count);
    copy_ids(p->isr, isr.ids, isr.count);
    copy_ids(p->removing, removing.ids, removing.count);
    copy_ids(p->adding, adding.ids, adding.count);
    copy_ids(p->eligible, eligible.ids, eligible.count);
    copy_ids(p->last_eligible, last.ids, last.count);
    if (r->directories_count > 0)
        memcpy(p->directories, r->directories, (size_t)replicas.count * sizeof(struct uuid));
    else if (p->directories != NULL)
        carry_directories(p, old);
    return change_put_partition(change, &r->topic_id, p);
}

static enum pst_status clear_eligible(struct image_change *change, const struct metadata_topic *topic)
{
    struct uuid id = topic->id;
    int32_t partition_count = topic->partition_count;

    for (int32_t i = 0; i < partition_count; i++) {
        const struct metadata_partition *old = metadata_topic_find_by_id(change->next, &id)->partitions[i];
        struct partition_counts counts;
        struct metadata_partition *p;
        enum pst_status status;

        if (old == NULL || old->eligible_count + old->last_eligible_count == 0)
            continue;
        counts = (struct partition_counts){
            old->replica_count,      old->isr_count, old->removing_count, old->adding_count, 0, 0,
            old->directories != NULL};
        p = partition_entry_new(&counts);
        if (p == NULL)
            return PST_NOMEM;
        p->index = old->index;
        p->leader = old->leader;
        p->leader_epoch = old->leader_epoch;
        p->partition_epoch = old->partition_epoch;
        p->recovery_state = old->recovery_state;
        copy_ids(p->replicas, old->replicas, counts.replicas);
        copy_ids(p->isr, old->isr, counts.isr);
        copy_ids(p->removing, old->removing, counts.removing);
        copy_ids(p->adding, old->adding, counts.adding);
        if (p->directories != NULL)
            carry_directories(p, old);
        status = change_put_partition(change, &id, p);
        if (status != PST_OK)
            return status;
    }
    return PST_OK;
}

static enum pst_status apply_clear_elr(struct image_change *change, const void *message, struct str value)
{
    const struct clear_elr_record *record = message;
    const struct metadata_topic *topic = metadata_topic_find(change->next, record->topic_name);
    const struct metadata_topic **topics;
    size_t count;
    enum pst_status status = PST_OK;

    (void)value;
    if (topic != NULL)
        return clear_eligible(change, topic);
    if (record->topic_name.length > 0) {
        snprintf(change->text, sizeof change->text, "no topic is called %.*s",
                 STR_FORMAT(record->topic_name));
        return PST_CORRUPT;
    }
    topics = metadata_topics_sorted(change->base, &count); /* entries the base keeps alive */
    if (topics == NULL)
        return PST_NOMEM;
    for (size_t i = 0; i < count && status == PST_OK; i++) {
        topic = metadata_topic_find_by_id(change->next, &topics[i]->id);
        if (topic != NULL)
            status = clear_eligible(change, topic);
    }
    free(topics);
    return status;
}

/* ---- configurations, features, producer ids ---- */

static enum pst_status apply_config(struct image_change *change, const void *message, struct str value)
{
    const struct config_record *record = message;

    (void)value;
    if (record->resource_type < 0 || record->resource_type > RESOURCE_TYPE_MAX) {
        snprintf(change->text, sizeof change->text, "a configuration of resource type %d",
                 record->resource_type);
        return PST_UNSUPPORTED;
    }
    return change_set_config(change, (enum metadata_resource)record->resource_type, record->resource_name,
                             record->name, record->value);
}

/* What we can read: an unknown feature at a level above 0 may change the meaning of any record. */
static const struct {
    const char *name;
    int16_t level_max;
} features[] = {
    {"eligible.leader.replicas.version", 1},
    {"group.version", 1},
    {"kraft.version", 1},
    {"metadata.version", METADATA_VERSION_MAX},
    {"share.version", 2},
    {"streams.version", 1},
    {"transaction.version", 2},
};

static enum pst_status apply_feature(struct image_change *change, const void *message, struct str value)
{
    const struct feature_level_record *record = message;
    int16_t level = record->feature_level;

    (void)value;
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (str_equal_text(record->name, features[i].name) && level >= 0 && level <= features[i].level_max &&
            (!str_equal_text(record->name, "metadata.version") || level >= METADATA_VERSION_MIN))
            return change_set_feature(change, record->name, level);
    }
    if (level == 0)
        return PST_OK;
    snprintf(change->text, sizeof change->text,
             "feature %.*s is at level %d, which this version does not know", STR_FORMAT(record->name),
             level);
    return PST_UNSUPPORTED;
}

static enum pst_status apply_producer_ids(struct image_change *change, const void *message, struct str value)
{
    const struct producer_ids_record *record = message;

    change->next->next_producer_id = record->next_producer_id;
    return change_keep(change, STR_LITERAL("producer-ids"), value);
}

static enum pst_status apply_nothing(struct image_change *change, const void *message, struct str value)
{
    (void)change;
    (void)message;
    (void)value;
    return PST_OK;
}

/* ---- brokers ---- */

/* The same bytes in the copy of the frame. */
static struct str moved(const struct metadata_broker *broker, struct str value, struct str part)
{
    if (part.length == 0)
        return str_is_null(part) ? str_null() : STR_LITERAL("");
    return str_of_bytes(broker->record.at + (part.at - value.at), part.length);
}

static enum pst_status put_broker(struct image_change *change, const struct register_broker_record *r,
                                  struct str value)
{
    struct metadata_broker *broker =
        broker_entry_new((unsigned)r->end_points_count, (unsigned)r->log_dirs_count, value);

    if (broker == NULL)
        return PST_NOMEM;
    broker->id = r->broker_id;
    broker->epoch = r->broker_epoch;
    broker->incarnation = r->incarnation_id;
    broker->fenced = r->fenced;
    broker->shutting_down = r->in_controlled_shutdown;
    broker->rack = moved(broker, value, r->rack);
    for (int32_t i = 0; i < r->end_points_count; i++) {
        const struct register_broker_record_broker_endpoint *from = &r->end_points[i];

        broker->endpoints[i] =
            (struct metadata_endpoint){moved(broker, value, from->name), moved(broker, value, from->host),
                                       from->port, from->security_protocol};
    }
    if (r->log_dirs_count > 0)
        memcpy(broker->directories, r->log_dirs, (size_t)r->log_dirs_count * sizeof(struct uuid));
    return change_put_broker(change, broker);
}

static enum pst_status apply_register_broker(struct image_change *change, const void *message,
                                             struct str value)
{
    return put_broker(change, message, value);
}

/* The registration of a broker as a message to change. */
static enum pst_status broker_message(struct image_change *change, int32_t id, int64_t epoch,
                                      struct register_broker_record *ret, int16_t *ret_version)
{
    const struct metadata_broker *broker = metadata_broker_find(change->next, id);
    struct wire_reader reader;
    int16_t type;
    enum pst_status status;

    if (broker == NULL || broker->epoch != epoch) {
        snprintf(change->text, sizeof change->text, "broker %d is not registered with epoch %lld", id,
                 (long long)epoch);
        return PST_CORRUPT;
    }
    status = frame_open(broker->record, &reader, &type, ret_version);
    if (status == PST_OK)
        status = message_decode(&register_broker_record_schema, *ret_version, &reader, change->arena, ret);
    return status;
}

static enum pst_status replace_broker(struct image_change *change, struct register_broker_record *message,
                                      int16_t version)
{
    struct buf frame;
    struct register_broker_record again;
    struct wire_reader reader;
    int16_t type;
    enum pst_status status;

    buf_init(&frame, RECORD_BYTES_MAX);
    status = record_frame(RECORD_REGISTER_BROKER, version, &register_broker_record_schema, message, &frame);
    if (status == PST_OK)
        status = frame_open(buf_view(&frame), &reader, &type, &version);
    if (status == PST_OK)
        status = message_decode(&register_broker_record_schema, version, &reader, change->arena, &again);
    if (status == PST_OK)
        status = put_broker(change, &again, buf_view(&frame));
    buf_free(&frame);
    return status;
}

static enum pst_status apply_registration_change(struct image_change *change, const void *message,
                                                 struct str value)
{
    const struct broker_registration_change_record *record = message;
    struct register_broker_record broker;
    int16_t version;
    enum pst_status status =
        broker_message(change, record->broker_id, record->broker_epoch, &broker, &version);

    (void)value;
    if (status != PST_OK)
        return status;
    if (record->fenced != 0)
        broker.fenced = record->fenced > 0;
    if (record->in_controlled_shutdown != 0)
        broker.in_controlled_shutdown = record->in_controlled_shutdown > 0;
    if (record->log_dirs_count > 0) {
        broker.log_dirs = record->log_dirs;
        broker.log_dirs_count = record->log_dirs_count;
        version = version < 3 ? 3 : version;
    }
    if (record->cordoned_log_dirs_count >= 0) {
        broker.cordoned_log_dirs = record->cordoned_log_dirs;
        broker.cordoned_log_dirs_count = record->cordoned_log_dirs_count;
        version = version < 4 ? 4 : version;
    }
    return replace_broker(change, &broker, version);
}

static enum pst_status set_fenced(struct image_change *change, int32_t id, int64_t epoch, bool fenced)
{
    struct register_broker_record broker;
    int16_t version;
    enum pst_status status = broker_message(change, id, epoch, &broker, &version);

    if (status != PST_OK)
        return status;
    broker.fenced = fenced;
    return replace_broker(change, &broker, version);
}

static enum pst_status apply_fence(struct image_change *change, const void *message, struct str value)
{
    const struct fence_broker_record *record = message;

    (void)value;
    return set_fenced(change, record->id, record->epoch, true);
}

static enum pst_status apply_unfence(struct image_change *change, const void *message, struct str value)
{
    const struct unfence_broker_record *record = message;

    (void)value;
    return set_fenced(change, record->id, record->epoch, false);
}

static enum pst_status apply_unregister(struct image_change *change, const void *message, struct str value)
{
    const struct unregister_broker_record *record = message;

    (void)value;
    change_remove_broker(change, record->broker_id);
    return PST_OK;
}

/* ---- stored for snapshots: "type:identity" ---- */

static enum pst_status keep_by(struct image_change *change, struct buf *key, struct str value, bool keep)
{
    enum pst_status status = key->status;

    if (status == PST_OK)
        status = keep ? change_keep(change, buf_view(key), value) : change_forget(change, buf_view(key));
    buf_free(key);
    return status;
}

static enum pst_status keep_ace(struct image_change *change, const struct uuid *id, struct str value,
                                bool keep)
{
    struct buf key;

    buf_init(&key, IDENTITY_BYTES_MAX);
    buf_append_text(&key, "ace:");
    buf_append(&key, id->bytes, sizeof id->bytes);
    return keep_by(change, &key, value, keep);
}

static enum pst_status apply_ace(struct image_change *change, const void *message, struct str value)
{
    return keep_ace(change, &((const struct access_control_entry_record *)message)->id, value, true);
}

static enum pst_status apply_remove_ace(struct image_change *change, const void *message, struct str value)
{
    return keep_ace(change, &((const struct remove_access_control_entry_record *)message)->id, value, false);
}

static enum pst_status keep_named(struct image_change *change, const char *kind, int number, struct str name,
                                  struct str value, bool keep)
{
    struct buf key;

    buf_init(&key, IDENTITY_BYTES_MAX);
    buf_printf(&key, "%s:%d:", kind, number);
    buf_append_str(&key, name);
    return keep_by(change, &key, value, keep);
}

static enum pst_status apply_scram(struct image_change *change, const void *message, struct str value)
{
    const struct user_scram_credential_record *record = message;

    return keep_named(change, "scram", record->mechanism, record->name, value, true);
}

static enum pst_status apply_remove_scram(struct image_change *change, const void *message, struct str value)
{
    const struct remove_user_scram_credential_record *record = message;

    return keep_named(change, "scram", record->mechanism, record->name, value, false);
}

static enum pst_status apply_token(struct image_change *change, const void *message, struct str value)
{
    return keep_named(change, "token", 0, ((const struct delegation_token_record *)message)->token_id, value,
                      true);
}

static enum pst_status apply_remove_token(struct image_change *change, const void *message, struct str value)
{
    return keep_named(change, "token", 0, ((const struct remove_delegation_token_record *)message)->token_id,
                      value, false);
}

static enum pst_status apply_controller(struct image_change *change, const void *message, struct str value)
{
    const struct register_controller_record *record = message;

    return keep_named(change, "controller", record->controller_id, STR_LITERAL(""), value, true);
}

static int compare_entities(const void *a, const void *b)
{
    return str_compare(((const struct client_quota_record_entity_data *)a)->entity_type,
                       ((const struct client_quota_record_entity_data *)b)->entity_type);
}

static void put_counted(struct buf *key, struct str s)
{
    buf_put_varint(key, str_is_null(s) ? -1 : (int64_t)s.length);
    if (!str_is_null(s))
        buf_append_str(key, s);
}

static enum pst_status apply_quota(struct image_change *change, const void *message, struct str value)
{
    const struct client_quota_record *record = message;
    struct buf key;

    buf_init(&key, IDENTITY_BYTES_MAX);
    buf_append_text(&key, "quota:");
    put_counted(&key, record->key);
    if (record->entity_count > 1) /* the parts come in any order; the array is the arena's */
        qsort(record->entity, (size_t)record->entity_count, sizeof record->entity[0], compare_entities);
    for (int32_t i = 0; i < record->entity_count; i++) {
        put_counted(&key, record->entity[i].entity_type);
        put_counted(&key, record->entity[i].entity_name);
    }
    return keep_by(change, &key, value, !record->remove);
}

/* ---- the table ---- */

static const struct record_row {
    enum metadata_record_type type;
    const struct message_schema *schema;
    enum pst_status (*apply)(struct image_change *change, const void *message, struct str value);
} rows[] = {
    {RECORD_REGISTER_BROKER, &register_broker_record_schema, apply_register_broker},
    {RECORD_UNREGISTER_BROKER, &unregister_broker_record_schema, apply_unregister},
    {RECORD_TOPIC, &topic_record_schema, apply_topic},
    {RECORD_PARTITION, &partition_record_schema, apply_partition},
    {RECORD_CONFIG, &config_record_schema, apply_config},
    {RECORD_PARTITION_CHANGE, &partition_change_record_schema, apply_partition_change},
    {RECORD_FENCE_BROKER, &fence_broker_record_schema, apply_fence},
    {RECORD_UNFENCE_BROKER, &unfence_broker_record_schema, apply_unfence},
    {RECORD_REMOVE_TOPIC, &remove_topic_record_schema, apply_remove_topic},
    {RECORD_DELEGATION_TOKEN, &delegation_token_record_schema, apply_token},
    {RECORD_USER_SCRAM_CREDENTIAL, &user_scram_credential_record_schema, apply_scram},
    {RECORD_FEATURE_LEVEL, &feature_level_record_schema, apply_feature},
    {RECORD_CLIENT_QUOTA, &client_quota_record_schema, apply_quota},
    {RECORD_PRODUCER_IDS, &producer_ids_record_schema, apply_producer_ids},
    {RECORD_BROKER_REGISTRATION_CHANGE, &broker_registration_change_record_schema, apply_registration_change},
    {RECORD_ACCESS_CONTROL_ENTRY, &access_control_entry_record_schema, apply_ace},
    {RECORD_REMOVE_ACCESS_CONTROL_ENTRY, &remove_access_control_entry_record_schema, apply_remove_ace},
    {RECORD_NO_OP, &no_op_record_schema, apply_nothing},
    {RECORD_ZK_MIGRATION_STATE, &zk_migration_state_record_schema, apply_nothing},
    {RECORD_REMOVE_USER_SCRAM_CREDENTIAL, &remove_user_scram_credential_record_schema, apply_remove_scram},
    {RECORD_REMOVE_DELEGATION_TOKEN, &remove_delegation_token_record_schema, apply_remove_token},
    {RECORD_REGISTER_CONTROLLER, &register_controller_record_schema, apply_controller},
    {RECORD_CLEAR_ELR, &clear_elr_record_schema, apply_clear_elr},
};

static const struct record_row *row_of(int16_t type)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].type == (enum metadata_record_type)type)
            return &rows[i];
    }
    return NULL;
}

enum pst_status record_apply(struct image_change *change, struct str value)
{
    struct wire_reader reader;
    const struct record_row *row;
    int16_t type, version;
    void *message;
    enum pst_status status = frame_open(value, &reader, &type, &version);

    if (status != PST_OK) {
        snprintf(change->text, sizeof change->text, "a record without a frame we know");
        return status;
    }
    row = row_of(type);
    if (row == NULL || version > message_version_max(row->schema)) {
        snprintf(change->text, sizeof change->text, "record type %d version %d is unknown to this version",
                 type, version);
        return PST_UNSUPPORTED;
    }
    arena_clear(change->arena);
    message = arena_alloc_zero(change->arena, message_struct_size(row->schema));
    if (message == NULL)
        return PST_NOMEM;
    status = message_decode(row->schema, version, &reader, change->arena, message);
    if (status != PST_OK || wire_left(&reader) > 0) {
        snprintf(change->text, sizeof change->text, "%s version %d is malformed", message_name(row->schema),
                 version);
        return status == PST_NOMEM ? PST_NOMEM : PST_CORRUPT;
    }
    return row->apply(change, message, value);
}
