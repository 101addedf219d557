/* The intents that make, delete and grow topics.  Rules, codes and texts are those of Kafka's controller. */
#include "broker/metadata/md_local.h"

#include "common/bug.h"
#include "protocol/error_codes.h"

#include "msg/config_record.h"
#include "msg/partition_record.h"
#include "msg/remove_topic_record.h"
#include "msg/topic_record.h"

#include <stdio.h>
#include <stdlib.h>

#define TOPIC_NAME_LENGTH_MAX     249u
#define PARTITIONS_OF_REQUEST_MAX 10000 /* ReplicationControlManager: more is refused as a whole */

static void refuse(int16_t *error, const char **error_text, int16_t code, const char *text)
{
    *error = code;
    *error_text = text;
}

/* ---- names ---- */

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

const char *metadata_topic_name_fault(struct str name, struct arena *arena)
{
    if (name.length == 0)
        return "Topic name is invalid: the empty string is not allowed";
    if (str_equal_text(name, "."))
        return "Topic name is invalid: '.' is not allowed";
    if (str_equal_text(name, ".."))
        return "Topic name is invalid: '..' is not allowed";
    if (name.length > TOPIC_NAME_LENGTH_MAX)
        return arena_printf(
            arena, "Topic name is invalid: the length of '%.*s' is longer than the max allowed length %u",
            STR_FORMAT(name), TOPIC_NAME_LENGTH_MAX);
    for (size_t i = 0; i < name.length; i++) {
        if (!is_name_character(name.at[i]))
            return arena_printf(
                arena,
                "Topic name is invalid: '%.*s' contains one or more characters other than ASCII "
                "alphanumerics, '.', '_' and '-'",
                STR_FORMAT(name));
    }
    return NULL;
}

static bool names_collide(struct str a, struct str b)
{
    if (a.length != b.length || str_equal(a, b))
        return false;
    for (size_t i = 0; i < a.length; i++) {
        char x = a.at[i] == '.' ? '_' : a.at[i];
        char y = b.at[i] == '.' ? '_' : b.at[i];

        if (x != y)
            return false;
    }
    return true;
}

struct collision {
    struct str name;
    const struct metadata_topic *with;
};

static bool find_collision(void *arg, const struct metadata_topic *topic)
{
    struct collision *collision = arg;

    if (!names_collide(collision->name, metadata_topic_name(topic)))
        return true;
    collision->with = topic;
    return false;
}

/* '.' and '_' are one in the names of metrics.  Looks at all topics, but only for the names that have such a
 * character. */
static const struct metadata_topic *colliding_topic(const struct metadata_image *image, struct str name)
{
    struct collision collision = {name, NULL};

    if (memchr(name.at, '.', name.length) == NULL && memchr(name.at, '_', name.length) == NULL)
        return NULL;
    metadata_topic_each(image, find_collision, &collision);
    return collision.with;
}

/* ---- assignments ---- */

struct placement {
    int32_t node_id;
    int16_t replication_factor;
};

static bool broker_is_usable(const struct metadata_image *image, int32_t id)
{
    const struct metadata_broker *broker = metadata_broker_find(image, id);

    return broker != NULL && !broker->fenced && !broker->shutting_down;
}

/* Checks one manual list of replicas against the brokers and the lists before it (first: *factor is 0). */
static const char *assignment_fault(const struct metadata_image *image,
                                    const struct metadata_assignment *assignment, int32_t *factor,
                                    struct arena *arena)
{
    if (assignment->replica_count <= 0)
        return "The manual partition assignment includes an empty replica list.";
    for (int32_t i = 0; i < assignment->replica_count; i++) {
        int32_t id = assignment->replicas[i];

        if (metadata_broker_find(image, id) == NULL)
            return arena_printf(
                arena,
                "The manual partition assignment includes broker %d, but no such broker is registered.", id);
        for (int32_t k = 0; k < i; k++) {
            if (assignment->replicas[k] == id)
                return arena_printf(
                    arena, "The manual partition assignment includes the broker %d more than once.", id);
        }
    }
    if (*factor != 0 && *factor != assignment->replica_count)
        return arena_printf(
            arena,
            "The manual partition assignment includes a partition with %d replica(s), but this is not "
            "consistent with previous partitions, which have %d replica(s).",
            assignment->replica_count, *factor);
    *factor = assignment->replica_count;
    return NULL;
}

static const char *no_live_replica(const struct metadata_image *image,
                                   const struct metadata_assignment *assignment, int32_t partition,
                                   struct arena *arena)
{
    for (int32_t i = 0; i < assignment->replica_count; i++) {
        if (broker_is_usable(image, assignment->replicas[i]))
            return NULL;
    }
    return arena_printf(
        arena,
        "All brokers specified in the manual partition assignment for partition %d are fenced or in "
        "controlled shutdown.",
        partition);
}

static const char *factor_fault(const struct metadata_image *image, int32_t factor, struct arena *arena)
{
    unsigned usable = 0;

    for (unsigned i = 0; i < metadata_broker_count(image); i++)
        usable += !metadata_broker_at(image, i)->fenced;
    if (factor <= (int32_t)usable)
        return NULL;
    return arena_printf(
        arena,
        "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be "
        "reached because only %u broker(s) are registered.",
        factor, factor, metadata_broker_count(image));
}

static void check_manual(struct metadata *md, struct metadata_new_topic *topic, struct arena *arena)
{
    const char *text;
    int32_t factor = 0;

    if (topic->replication_factor != -1) {
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_REQUEST,
               "A manual partition assignment was specified, but replication factor was not set to -1.");
        return;
    }
    if (topic->partition_count != -1) {
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_REQUEST,
               "A manual partition assignment was specified, but numPartitions was not set to -1.");
        return;
    }
    for (int32_t i = 0; i < topic->assignment_count; i++) {
        const struct metadata_assignment *assignment = &topic->assignments[i];

        text = NULL;
        for (int32_t k = 0; k < i && text == NULL; k++) {
            if (topic->assignments[k].partition == assignment->partition)
                text = arena_printf(arena, "Found multiple manual partition assignments for partition %d",
                                    assignment->partition);
        }
        if (text == NULL)
            text = assignment_fault(md->image, assignment, &factor, arena);
        if (text == NULL)
            text = no_live_replica(md->image, assignment, assignment->partition, arena);
        if (text == NULL && (assignment->partition < 0 || assignment->partition >= topic->assignment_count))
            text = "partitions should be a consecutive 0-based integer sequence";
        if (text != NULL) {
            refuse(&topic->error, &topic->error_text, KAFKA_INVALID_REPLICA_ASSIGNMENT, text);
            return;
        }
    }
    topic->ret_partition_count = topic->assignment_count;
    topic->ret_replication_factor = (int16_t)factor;
}

static void check_counts(struct metadata *md, struct metadata_new_topic *topic, struct arena *arena)
{
    const char *text;

    if (topic->replication_factor < -1 || topic->replication_factor == 0) {
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_REPLICATION_FACTOR,
               "Replication factor must be larger than 0, or -1 to use the default value.");
        return;
    }
    if (topic->partition_count < -1 || topic->partition_count == 0) {
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_PARTITIONS,
               "Number of partitions was set to an invalid non-positive value.");
        return;
    }
    topic->ret_partition_count =
        topic->partition_count == -1 ? md->settings.default_partitions : topic->partition_count;
    topic->ret_replication_factor =
        topic->replication_factor == -1 ? md->settings.default_replication_factor : topic->replication_factor;
    text = factor_fault(md->image, topic->ret_replication_factor, arena);
    if (text != NULL)
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_REPLICATION_FACTOR, text);
}

static int compare_configs(const void *a, const void *b)
{
    return str_compare(((const struct metadata_config *)a)->name, ((const struct metadata_config *)b)->name);
}

/* The topic's settings ascending by name, the last of a name counts, nulls are not set. */
static void check_configs(struct metadata *md, struct metadata_new_topic *topic, struct arena *arena)
{
    struct metadata_config *sorted;
    unsigned count = 0;
    const char *text = NULL;
    int16_t code;

    if (topic->config_count <= 0)
        return;
    sorted = arena_array(arena, (size_t)topic->config_count, sizeof *sorted);
    if (sorted == NULL) {
        refuse(&topic->error, &topic->error_text, KAFKA_POLICY_VIOLATION,
               "The request needs too much memory.");
        return;
    }
    for (int32_t i = 0; i < topic->config_count; i++) {
        bool superseded = str_is_null(topic->configs[i].value);

        for (int32_t k = i + 1; k < topic->config_count && !superseded; k++)
            superseded = str_equal(topic->configs[k].name, topic->configs[i].name);
        if (!superseded)
            sorted[count++] = topic->configs[i];
    }
    qsort(sorted, count, sizeof *sorted, compare_configs);
    topic->configs = sorted;
    topic->config_count = (int32_t)count;
    if (md->settings.rules.check == NULL)
        return;
    code = md->settings.rules.check(md->settings.rules.arg, METADATA_RESOURCE_TOPIC, topic->name, sorted,
                                    count, arena, &text);
    if (code != KAFKA_NONE)
        refuse(&topic->error, &topic->error_text, code, text);
}

static void check_new_topic(struct metadata *md, struct metadata_new_topic *topic, struct arena *arena)
{
    const struct metadata_topic *other;
    const char *text = metadata_topic_name_fault(topic->name, arena);

    if (text != NULL) {
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_TOPIC_EXCEPTION, text);
        return;
    }
    if (str_equal_text(topic->name, "__cluster_metadata")) { /* its directory is this log's */
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_REQUEST,
               "Creation of internal topic __cluster_metadata is prohibited.");
        return;
    }
    if (metadata_topic_find(md->image, topic->name) != NULL) {
        refuse(&topic->error, &topic->error_text, KAFKA_TOPIC_ALREADY_EXISTS,
               arena_printf(arena, "Topic '%.*s' already exists.", STR_FORMAT(topic->name)));
        return;
    }
    other = colliding_topic(md->image, topic->name);
    if (other != NULL) {
        refuse(&topic->error, &topic->error_text, KAFKA_INVALID_TOPIC_EXCEPTION,
               arena_printf(arena, "Topic '%.*s' collides with existing topic: %s", STR_FORMAT(topic->name),
                            other->name));
        return;
    }
    check_configs(md, topic, arena);
    if (topic->error != KAFKA_NONE)
        return;
    if (topic->assignment_count > 0)
        check_manual(md, topic, arena);
    else
        check_counts(md, topic, arena);
}

/* ---- records ---- */

static void add_partition(struct md_write *write, const struct uuid *topic_id, int32_t index,
                          const int32_t *replicas, int32_t replica_count, struct arena *arena)
{
    struct metadata *md = write->md;
    const struct metadata_image *image = md_write_image(write);
    struct partition_record record;
    int32_t *isr = arena_array(arena, (size_t)replica_count, sizeof *isr);
    struct uuid *directories = arena_array(arena, (size_t)replica_count, sizeof *directories);

    if (isr == NULL || directories == NULL) {
        write->status = PST_FULL;
        return;
    }
    message_init(&partition_record_schema, &record);
    record.partition_id = index;
    record.topic_id = *topic_id;
    record.replicas = (int32_t *)(uintptr_t)replicas;
    record.replicas_count = replica_count;
    record.isr = isr;
    record.isr_count = 0;
    for (int32_t i = 0; i < replica_count; i++) {
        if (broker_is_usable(image, replicas[i]))
            isr[record.isr_count++] = replicas[i];
        /* With one directory there is nothing to choose; with more the broker assigns (zero: unassigned). */
        if (replicas[i] == md->settings.node_id && md->directory_count == 1)
            directories[i] = md->directories[0];
    }
    record.directories = directories;
    record.directories_count = replica_count;
    record.leader = record.isr_count > 0 ? isr[0] : METADATA_NO_LEADER;
    record.leader_epoch = 0;
    record.partition_epoch = 0;
    md_write_add(write, RECORD_PARTITION, md_partition_version(image, false), &partition_record_schema,
                 &record);
}

/* Replicas for a partition placed by us: this node first, then other live ones. */
static int32_t *place(const struct metadata *md, int32_t factor, struct arena *arena)
{
    int32_t *replicas = arena_array(arena, (size_t)factor, sizeof *replicas);
    int32_t count = 0;

    if (replicas == NULL)
        return NULL;
    replicas[count++] = md->settings.node_id;
    for (unsigned i = 0; i < metadata_broker_count(md->image) && count < factor; i++) {
        const struct metadata_broker *broker = metadata_broker_at(md->image, i);

        if (broker->id != md->settings.node_id && !broker->fenced)
            replicas[count++] = broker->id;
    }
    return count == factor ? replicas : NULL;
}

static void add_topic(struct md_write *write, struct metadata_new_topic *topic, struct arena *arena)
{
    struct topic_record record;
    struct config_record config;
    int32_t *placed =
        topic->assignment_count > 0 ? NULL : place(write->md, topic->ret_replication_factor, arena);

    topic->id = uuid_random();
    message_init(&topic_record_schema, &record);
    record.name = topic->name;
    record.topic_id = topic->id;
    md_write_add(write, RECORD_TOPIC, 0, &topic_record_schema, &record);
    message_init(&config_record_schema, &config);
    config.resource_type = METADATA_RESOURCE_TOPIC;
    config.resource_name = topic->name;
    for (int32_t i = 0; i < topic->config_count; i++) {
        config.name = topic->configs[i].name;
        config.value = topic->configs[i].value;
        md_write_add(write, RECORD_CONFIG, 0, &config_record_schema, &config);
    }
    if (topic->assignment_count == 0 && placed == NULL) {
        write->status = PST_FULL;
        return;
    }
    for (int32_t i = 0; i < topic->ret_partition_count; i++) {
        const int32_t *replicas = placed;
        int32_t count = topic->ret_replication_factor;

        for (int32_t k = 0; k < topic->assignment_count; k++) {
            if (topic->assignments[k].partition == i)
                replicas = topic->assignments[k].replicas;
        }
        add_partition(write, &topic->id, i, replicas, count, arena);
    }
}

static const char too_many_partitions[] = "Excessively large number of partitions per request.";

void metadata_create_topics(struct metadata *md, struct metadata_new_topic *topics, unsigned count,
                            bool validate_only, struct arena *arena)
{
    int64_t partitions = 0;
    struct md_write write;
    enum pst_status status;
    const char *text;
    int16_t error;

    for (unsigned i = 0; i < count; i++) {
        if (topics[i].error == KAFKA_NONE)
            check_new_topic(md, &topics[i], arena);
        if (topics[i].error == KAFKA_NONE)
            partitions += topics[i].ret_partition_count;
    }
    for (unsigned i = 0; i < count && partitions > PARTITIONS_OF_REQUEST_MAX; i++) {
        if (topics[i].error == KAFKA_NONE)
            refuse(&topics[i].error, &topics[i].error_text, KAFKA_POLICY_VIOLATION, too_many_partitions);
    }
    if (validate_only)
        return;
    md_write_begin(md, &write);
    for (unsigned i = 0; i < count; i++) {
        const struct metadata_topic *other;

        if (topics[i].error != KAFKA_NONE)
            continue;
        other = colliding_topic(md_write_image(&write), topics[i].name); /* with one of this request */
        if (other != NULL)
            refuse(&topics[i].error, &topics[i].error_text, KAFKA_INVALID_TOPIC_EXCEPTION,
                   arena_printf(arena, "Topic '%.*s' collides with existing topic: %s",
                                STR_FORMAT(topics[i].name), other->name));
        else
            add_topic(&write, &topics[i], arena);
    }
    status = md_write_commit(&write);
    error = md_write_error(status, &text);
    for (unsigned i = 0; i < count && error != KAFKA_NONE; i++) {
        if (topics[i].error == KAFKA_NONE)
            refuse(&topics[i].error, &topics[i].error_text, error, text);
    }
}

void metadata_delete_topics(struct metadata *md, struct metadata_deleted_topic *topics, unsigned count,
                            struct arena *arena)
{
    struct remove_topic_record record;
    struct md_write write;
    const char *text;
    int16_t error;

    message_init(&remove_topic_record_schema, &record);
    md_write_begin(md, &write);
    for (unsigned i = 0; i < count; i++) {
        struct metadata_deleted_topic *item = &topics[i];
        bool by_name = !str_is_null(item->name);
        const struct metadata_topic *topic;

        if (item->error != KAFKA_NONE)
            continue;
        topic = by_name ? metadata_topic_find(md_write_image(&write), item->name)
                        : metadata_topic_find_by_id(md_write_image(&write), &item->id);
        if (topic == NULL) {
            refuse(&item->error, &item->error_text,
                   by_name ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_UNKNOWN_TOPIC_ID,
                   by_name ? "This server does not host this topic-partition."
                           : "This server does not host this topic ID.");
            continue;
        }
        if (topic->internal) {
            refuse(&item->error, &item->error_text, KAFKA_INVALID_TOPIC_EXCEPTION,
                   arena_printf(arena, "Topic %s is internal and may not be deleted.", topic->name));
            continue;
        }
        item->id = topic->id;
        item->name = str_of_bytes(arena_str_dup(arena, metadata_topic_name(topic)), topic->name_length);
        record.topic_id = topic->id;
        md_write_add(&write, RECORD_REMOVE_TOPIC, 0, &remove_topic_record_schema, &record);
    }
    error = md_write_error(md_write_commit(&write), &text);
    for (unsigned i = 0; i < count && error != KAFKA_NONE; i++) {
        if (topics[i].error == KAFKA_NONE)
            refuse(&topics[i].error, &topics[i].error_text, error, text);
    }
}

static void check_more(struct metadata *md, struct metadata_more_partitions *item,
                       const struct metadata_topic *topic, struct arena *arena)
{
    int32_t more = topic->partition_count;
    int32_t factor = topic->partitions[0]->replica_count;
    const char *text = NULL;

    if (item->partition_count == topic->partition_count) {
        refuse(&item->error, &item->error_text, KAFKA_INVALID_PARTITIONS,
               arena_printf(arena, "Topic already has %d partition(s).", topic->partition_count));
        return;
    }
    if (item->partition_count < topic->partition_count) {
        refuse(&item->error, &item->error_text, KAFKA_INVALID_PARTITIONS,
               arena_printf(arena, "The topic %s currently has %d partition(s); %d would not be an increase.",
                            topic->name, topic->partition_count, item->partition_count));
        return;
    }
    more = item->partition_count - topic->partition_count;
    if (more > PARTITIONS_OF_REQUEST_MAX) {
        refuse(&item->error, &item->error_text, KAFKA_POLICY_VIOLATION, too_many_partitions);
        return;
    }
    if (item->assignment_count >= 0 && item->assignment_count != more) {
        refuse(&item->error, &item->error_text, KAFKA_INVALID_REPLICA_ASSIGNMENT,
               arena_printf(
                   arena,
                   "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.",
                   more, item->assignment_count));
        return;
    }
    for (int32_t i = 0; i < item->assignment_count && text == NULL; i++) {
        text = assignment_fault(md->image, &item->assignments[i], &factor, arena);
        if (text == NULL)
            text = no_live_replica(md->image, &item->assignments[i], topic->partition_count + i, arena);
    }
    if (text != NULL) {
        refuse(&item->error, &item->error_text, KAFKA_INVALID_REPLICA_ASSIGNMENT, text);
        return;
    }
    text = item->assignment_count < 0 ? factor_fault(md->image, factor, arena) : NULL;
    if (text != NULL)
        refuse(&item->error, &item->error_text, KAFKA_INVALID_REPLICATION_FACTOR, text);
}

static void add_more(struct md_write *write, const struct metadata_more_partitions *item,
                     const struct metadata_topic *topic, struct arena *arena)
{
    int32_t factor = topic->partitions[0]->replica_count;
    int32_t *placed = item->assignment_count >= 0 ? NULL : place(write->md, factor, arena);
    struct uuid id = topic->id;
    int32_t first = topic->partition_count;

    if (item->assignment_count < 0 && placed == NULL) {
        write->status = PST_FULL;
        return;
    }
    for (int32_t i = first; i < item->partition_count; i++)
        add_partition(write, &id, i, placed != NULL ? placed : item->assignments[i - first].replicas, factor,
                      arena);
}

void metadata_create_partitions(struct metadata *md, struct metadata_more_partitions *topics, unsigned count,
                                bool validate_only, struct arena *arena)
{
    struct md_write write;
    const char *text;
    int16_t error;

    md_write_begin(md, &write);
    for (unsigned i = 0; i < count; i++) {
        struct metadata_more_partitions *item = &topics[i];
        const struct metadata_topic *topic = metadata_topic_find(md->image, item->name);

        if (item->error != KAFKA_NONE)
            continue;
        if (topic == NULL)
            refuse(&item->error, &item->error_text, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, NULL);
        else
            check_more(md, item, topic, arena);
        if (item->error == KAFKA_NONE && !validate_only)
            add_more(&write, item, topic, arena);
    }
    if (validate_only) {
        md_write_abandon(&write);
        return;
    }
    error = md_write_error(md_write_commit(&write), &text);
    for (unsigned i = 0; i < count && error != KAFKA_NONE; i++) {
        if (topics[i].error == KAFKA_NONE)
            refuse(&topics[i].error, &topics[i].error_text, error, text);
    }
}
