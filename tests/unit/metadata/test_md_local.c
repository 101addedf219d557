/* The local provider: what intents answer, what a restart finds, what a torn or damaged log leaves. */
#include "broker/metadata/metadata.h"

#include "protocol/error_codes.h"
#include "tests/support/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define NODE_ID 7
#define SEGMENT METADATA_DIR_NAME "/00000000000000000000.log"

struct fixture {
    char *root;
    struct metadata *md;
    struct arena *arena;
    struct metadata_settings settings;
};

/* Only retention.ms and cleanup.policy exist; the first must not be "bad", the second is a list. */
static int16_t check(void *arg, enum metadata_resource type, struct str name,
                     const struct metadata_config *configs, unsigned count, struct arena *arena,
                     const char **ret_text)
{
    (void)arg;
    (void)name;
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            assert_true(str_compare(configs[i - 1].name, configs[i].name) < 0);
        if (type == METADATA_RESOURCE_TOPIC && str_equal_text(configs[i].value, "bad")) {
            *ret_text = arena_printf(arena, "%.*s is bad", STR_FORMAT(configs[i].name));
            return KAFKA_INVALID_CONFIG;
        }
    }
    return KAFKA_NONE;
}

static bool is_list(void *arg, enum metadata_resource type, struct str name, struct arena *arena,
                    struct str *ret_default)
{
    (void)arg;
    (void)type;
    (void)arena;
    *ret_default = STR_LITERAL("delete");
    return str_equal_text(name, "cleanup.policy");
}

static void open_md(struct fixture *f)
{
    char *text = NULL;
    enum pst_status status = metadata_open(&f->settings, &f->md, &text);

    if (status != PST_OK)
        print_error("metadata_open: %s\n", text == NULL ? pst_status_text(status) : text);
    assert_int_equal(status, PST_OK);
}

static void register_us(struct fixture *f, bool unclean)
{
    struct metadata_endpoint endpoint = {STR_LITERAL("PLAINTEXT"), STR_LITERAL("127.0.0.1"), 9092, 0};
    struct uuid directory = {.bytes = {1, 2, 3}};
    struct metadata_registration registration = {.endpoints = &endpoint,
                                                 .endpoint_count = 1,
                                                 .directories = &directory,
                                                 .directory_count = 1,
                                                 .unclean = unclean};

    assert_int_equal(metadata_register(f->md, &registration), PST_OK);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->root = temp_dir_make();
    f->arena = arena_new(16u << 20);
    f->settings = (struct metadata_settings){
        .clock = &real_clock,
        .files = &posix_files,
        .dir = f->root,
        .cluster_id = "abcdefghijklmnopqrstuv",
        .node_id = NODE_ID,
        .rules = {NULL, check, is_list},
        .default_partitions = 3,
        .default_replication_factor = 1,
    };
    open_md(f);
    register_us(f, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    metadata_close(f->md);
    arena_free(f->arena);
    temp_dir_remove(f->root);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    metadata_close(f->md);
    open_md(f);
}

static int16_t create(struct fixture *f, const char *name, int32_t partitions)
{
    struct metadata_new_topic topic = {
        .name = str_of(name), .partition_count = partitions, .replication_factor = -1};

    metadata_create_topics(f->md, &topic, 1, false, f->arena);
    return topic.error;
}

static int32_t partitions_of(struct fixture *f, const char *name)
{
    const struct metadata_image *image = metadata_acquire(f->md);
    const struct metadata_topic *topic = metadata_topic_find(image, str_of(name));
    int32_t count = topic == NULL ? -1 : topic->partition_count;

    metadata_release(image);
    return count;
}

/* ---- refusals ---- */

static void create_topics_refuses_what_kafka_refuses(void **state)
{
    static const int32_t us[] = {NODE_ID}, twice[] = {NODE_ID, NODE_ID}, stranger[] = {99};
    static const struct metadata_assignment good[] = {{0, us, 1}}, gap[] = {{1, us, 1}},
                                            empty[] = {{0, NULL, 0}},
                                            double_index[] = {{0, us, 1}, {0, us, 1}},
                                            dup[] = {{0, twice, 2}}, unknown[] = {{0, stranger, 1}};
    const struct metadata_config bad[] = {{STR_LITERAL("retention.ms"), STR_LITERAL("bad")}};
    char long_name[251];
    struct {
        const char *name;
        int32_t partitions;
        int16_t factor;
        const struct metadata_assignment *assignments;
        int32_t assignment_count;
        const struct metadata_config *configs;
        int16_t error;
        const char *text;
    } rows[] = {
        {"", 1, 1, NULL, 0, NULL, KAFKA_INVALID_TOPIC_EXCEPTION,
         "Topic name is invalid: the empty string is not allowed"},
        {".", 1, 1, NULL, 0, NULL, KAFKA_INVALID_TOPIC_EXCEPTION,
         "Topic name is invalid: '.' is not allowed"},
        {"..", 1, 1, NULL, 0, NULL, KAFKA_INVALID_TOPIC_EXCEPTION,
         "Topic name is invalid: '..' is not allowed"},
        {long_name, 1, 1, NULL, 0, NULL, KAFKA_INVALID_TOPIC_EXCEPTION, NULL},
        {"a b", 1, 1, NULL, 0, NULL, KAFKA_INVALID_TOPIC_EXCEPTION,
         "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', "
         "'_' and '-'"},
        {"__cluster_metadata", 1, 1, NULL, 0, NULL, KAFKA_INVALID_REQUEST,
         "Creation of internal topic __cluster_metadata is prohibited."},
        {"there.is", 1, 1, NULL, 0, NULL, KAFKA_TOPIC_ALREADY_EXISTS, "Topic 'there.is' already exists."},
        {"there_is", 1, 1, NULL, 0, NULL, KAFKA_INVALID_TOPIC_EXCEPTION,
         "Topic 'there_is' collides with existing topic: there.is"},
        {"x", 0, 1, NULL, 0, NULL, KAFKA_INVALID_PARTITIONS,
         "Number of partitions was set to an invalid non-positive value."},
        {"x", -2, 1, NULL, 0, NULL, KAFKA_INVALID_PARTITIONS, NULL},
        {"x", 1, 0, NULL, 0, NULL, KAFKA_INVALID_REPLICATION_FACTOR,
         "Replication factor must be larger than 0, or -1 to use the default value."},
        {"x", 1, 2, NULL, 0, NULL, KAFKA_INVALID_REPLICATION_FACTOR,
         "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached "
         "because only "
         "1 broker(s) are registered."},
        {"x", 10001, 1, NULL, 0, NULL, KAFKA_POLICY_VIOLATION,
         "Excessively large number of partitions per request."},
        {"x", 1, 1, NULL, 0, bad, KAFKA_INVALID_CONFIG, "retention.ms is bad"},
        {"x", 1, -1, good, 1, NULL, KAFKA_INVALID_REQUEST,
         "A manual partition assignment was specified, but numPartitions was not set to -1."},
        {"x", -1, 1, good, 1, NULL, KAFKA_INVALID_REQUEST,
         "A manual partition assignment was specified, but replication factor was not set to -1."},
        {"x", -1, -1, gap, 1, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT,
         "partitions should be a consecutive 0-based integer sequence"},
        {"x", -1, -1, empty, 1, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT,
         "The manual partition assignment includes an empty replica list."},
        {"x", -1, -1, double_index, 2, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT,
         "Found multiple manual partition assignments for partition 0"},
        {"x", -1, -1, dup, 1, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT,
         "The manual partition assignment includes the broker 7 more than once."},
        {"x", -1, -1, unknown, 1, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT,
         "The manual partition assignment includes broker 99, but no such broker is registered."},
    };
    struct fixture *f = *state;

    memset(long_name, 'n', 250);
    long_name[250] = '\0';
    assert_int_equal(create(f, "there.is", 1), KAFKA_NONE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct metadata_new_topic topic = {.name = str_of(rows[i].name),
                                           .partition_count = rows[i].partitions,
                                           .replication_factor = rows[i].factor,
                                           .assignments = rows[i].assignments,
                                           .assignment_count = rows[i].assignment_count,
                                           .configs = rows[i].configs,
                                           .config_count = rows[i].configs != NULL};

        metadata_create_topics(f->md, &topic, 1, false, f->arena);
        assert_int_equal(topic.error, rows[i].error);
        if (rows[i].text != NULL)
            assert_string_equal(topic.error_text, rows[i].text);
        assert_int_equal(partitions_of(f, "x"), -1);
    }
}

static void a_refused_topic_does_not_stop_its_neighbours(void **state)
{
    struct fixture *f = *state;
    struct metadata_new_topic topics[] = {
        {.name = STR_LITERAL("first"), .partition_count = -1, .replication_factor = -1},
        {.name = STR_LITERAL(".."), .partition_count = 1, .replication_factor = 1},
        {.name = STR_LITERAL("a.b"), .partition_count = 1, .replication_factor = 1},
        {.name = STR_LITERAL("a_b"), .partition_count = 1, .replication_factor = 1},
    };

    metadata_create_topics(f->md, topics, 4, false, f->arena);
    assert_int_equal(topics[0].error, KAFKA_NONE);
    assert_int_equal(topics[0].ret_partition_count, 3);
    assert_int_equal(topics[1].error, KAFKA_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(topics[2].error, KAFKA_NONE);
    assert_int_equal(topics[3].error, KAFKA_INVALID_TOPIC_EXCEPTION);
    reopen(f);
    assert_int_equal(partitions_of(f, "first"), 3);
    assert_int_equal(partitions_of(f, "a.b"), 1);
    assert_int_equal(partitions_of(f, "a_b"), -1);
}

static void validate_only_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct metadata_new_topic topic = {
        .name = STR_LITERAL("t"), .partition_count = 2, .replication_factor = -1};

    metadata_create_topics(f->md, &topic, 1, true, f->arena);
    assert_int_equal(topic.error, KAFKA_NONE);
    assert_int_equal(topic.ret_partition_count, 2);
    assert_int_equal(partitions_of(f, "t"), -1);
}

static void partitions_grow_but_never_shrink(void **state)
{
    static const struct {
        const char *name;
        int32_t count;
        int16_t error;
        const char *text;
    } rows[] = {
        {"nobody", 5, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, NULL},
        {"t", 2, KAFKA_INVALID_PARTITIONS, "Topic already has 2 partition(s)."},
        {"t", 1, KAFKA_INVALID_PARTITIONS,
         "The topic t currently has 2 partition(s); 1 would not be an increase."},
        {"t", 5, KAFKA_NONE, NULL},
    };
    struct fixture *f = *state;

    assert_int_equal(create(f, "t", 2), KAFKA_NONE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct metadata_more_partitions item = {
            .name = str_of(rows[i].name), .partition_count = rows[i].count, .assignment_count = -1};

        metadata_create_partitions(f->md, &item, 1, false, f->arena);
        assert_int_equal(item.error, rows[i].error);
        if (rows[i].text != NULL)
            assert_string_equal(item.error_text, rows[i].text);
    }
    reopen(f);
    assert_int_equal(partitions_of(f, "t"), 5);
}

static void topics_are_deleted_by_name_and_by_id(void **state)
{
    struct fixture *f = *state;
    struct metadata_new_topic two[] = {
        {.name = STR_LITERAL("one"), .partition_count = 1, .replication_factor = -1},
        {.name = STR_LITERAL("two"), .partition_count = 1, .replication_factor = -1}};
    struct metadata_deleted_topic gone[4] = {{.name = STR_LITERAL("one")}, {.name = STR_LITERAL("three")}};

    metadata_create_topics(f->md, two, 2, false, f->arena);
    assert_int_equal(create(f, "__consumer_offsets", 1), KAFKA_NONE);
    gone[2].id = two[1].id;
    gone[3].name = STR_LITERAL("__consumer_offsets");
    metadata_delete_topics(f->md, gone, 4, f->arena);
    assert_int_equal(gone[0].error, KAFKA_NONE);
    assert_true(uuid_equal(&gone[0].id, &two[0].id));
    assert_int_equal(gone[1].error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(gone[2].error, KAFKA_NONE);
    assert_true(str_equal_text(gone[2].name, "two"));
    assert_int_equal(gone[3].error, KAFKA_INVALID_TOPIC_EXCEPTION);
    reopen(f);
    assert_int_equal(partitions_of(f, "one"), -1);
    assert_int_equal(partitions_of(f, "two"), -1);
    assert_int_equal(partitions_of(f, "__consumer_offsets"), 1);
}

/* ---- configurations ---- */

static void alter_configs_keeps_to_the_operation(void **state)
{
    static const struct {
        const char *config;
        const char *value;
        int8_t op;
        int16_t error;
        const char *after; /* of the config; NULL: not set */
    } rows[] = {
        {"retention.ms", "5", METADATA_CONFIG_SET, KAFKA_NONE, "5"},
        {"retention.ms", "bad", METADATA_CONFIG_SET, KAFKA_INVALID_CONFIG, "5"},
        {"retention.ms", NULL, METADATA_CONFIG_SET, KAFKA_INVALID_REQUEST, "5"},
        {"retention.ms", "6", METADATA_CONFIG_APPEND, KAFKA_INVALID_CONFIG, "5"},
        {"retention.ms", "6", 9, KAFKA_INVALID_REQUEST, "5"},
        {"cleanup.policy", "compact", METADATA_CONFIG_APPEND, KAFKA_NONE, "delete,compact"},
        {"cleanup.policy", "compact", METADATA_CONFIG_APPEND, KAFKA_NONE, "delete,compact"},
        {"cleanup.policy", "delete", METADATA_CONFIG_SUBTRACT, KAFKA_NONE, "compact"},
        {"retention.ms", NULL, METADATA_CONFIG_DELETE, KAFKA_NONE, NULL},
        {"retention.ms", NULL, METADATA_CONFIG_DELETE, KAFKA_NONE, NULL},
    };
    struct fixture *f = *state;

    assert_int_equal(create(f, "t", 1), KAFKA_NONE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct metadata_config_change change = {str_of(rows[i].config), str_of(rows[i].value), rows[i].op};
        struct metadata_altered_resource resource = {
            .type = METADATA_RESOURCE_TOPIC, .name = STR_LITERAL("t"), .changes = &change, .change_count = 1};
        const struct metadata_image *image;

        metadata_alter_configs(f->md, &resource, 1, false, f->arena);
        assert_int_equal(resource.error, rows[i].error);
        if (i % 2 == 1)
            reopen(f);
        image = metadata_acquire(f->md);
        assert_true(str_equal(
            metadata_config_get(metadata_configs_find(image, METADATA_RESOURCE_TOPIC, STR_LITERAL("t")),
                                str_of(rows[i].config)),
            str_of(rows[i].after)));
        metadata_release(image);
    }
}

static void replacing_configs_drops_those_not_named(void **state)
{
    struct fixture *f = *state;
    struct metadata_config_change set[] = {{STR_LITERAL("a"), STR_LITERAL("1"), 0},
                                           {STR_LITERAL("b"), STR_LITERAL("2"), 0}};
    struct metadata_altered_resource resource = {.type = METADATA_RESOURCE_TOPIC,
                                                 .name = STR_LITERAL("t"),
                                                 .changes = set,
                                                 .change_count = 2,
                                                 .replace = true};
    const struct metadata_configs *configs;
    const struct metadata_image *image;

    assert_int_equal(create(f, "t", 1), KAFKA_NONE);
    metadata_alter_configs(f->md, &resource, 1, false, f->arena);
    resource.change_count = 1;
    metadata_alter_configs(f->md, &resource, 1, false, f->arena);
    assert_int_equal(resource.error, KAFKA_NONE);
    image = metadata_acquire(f->md);
    configs = metadata_configs_find(image, METADATA_RESOURCE_TOPIC, STR_LITERAL("t"));
    assert_int_equal(configs->count, 1);
    assert_true(str_equal_text(configs->configs[0].name, "a"));
    metadata_release(image);
}

static void resources_that_are_not_there_are_refused(void **state)
{
    static const struct {
        enum metadata_resource type;
        const char *name;
        int16_t error;
        const char *text;
    } rows[] = {
        {METADATA_RESOURCE_TOPIC, "none", KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
         "The topic 'none' does not exist."},
        {METADATA_RESOURCE_BROKER, "8", KAFKA_BROKER_ID_NOT_REGISTERED, "No broker with id 8 found."},
        {METADATA_RESOURCE_BROKER, "x", KAFKA_INVALID_REQUEST, "Invalid broker name x"},
        {METADATA_RESOURCE_BROKER_LOGGER, "7", KAFKA_INVALID_REQUEST, NULL},
        {METADATA_RESOURCE_BROKER, "7", KAFKA_NONE, NULL},
        {METADATA_RESOURCE_BROKER, "", KAFKA_NONE, NULL},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct metadata_config_change change = {STR_LITERAL("k"), STR_LITERAL("v"), METADATA_CONFIG_SET};
        struct metadata_altered_resource resource = {
            .type = rows[i].type, .name = str_of(rows[i].name), .changes = &change, .change_count = 1};

        metadata_alter_configs(f->md, &resource, 1, false, f->arena);
        assert_int_equal(resource.error, rows[i].error);
        if (rows[i].text != NULL)
            assert_string_equal(resource.error_text, rows[i].text);
    }
}

/* ---- restarts ---- */

static void producer_ids_are_never_given_twice(void **state)
{
    struct fixture *f = *state;
    int64_t first = -1;

    for (int64_t i = 0; i < 6; i++) {
        assert_int_equal(metadata_allocate_producer_ids(f->md, &first), KAFKA_NONE);
        assert_int_equal(first, i * METADATA_PRODUCER_ID_BLOCK);
        if (i == 2)
            assert_int_equal(metadata_snapshot(f->md), PST_OK);
        reopen(f);
    }
}

static void each_start_begins_an_epoch_and_an_unclean_one_moves_leader_epochs(void **state)
{
    struct fixture *f = *state;
    const struct metadata_image *image = metadata_acquire(f->md);
    int32_t epoch = metadata_image_epoch(image);

    metadata_release(image);
    assert_int_equal(create(f, "t", 1), KAFKA_NONE);
    for (int i = 1; i <= 3; i++) {
        const struct metadata_partition *partition;

        reopen(f);
        register_us(f, i != 2);
        image = metadata_acquire(f->md);
        partition = metadata_topic_find(image, STR_LITERAL("t"))->partitions[0];
        assert_int_equal(metadata_image_epoch(image), epoch + i);
        assert_int_equal(partition->leader, NODE_ID);
        assert_int_equal(partition->leader_epoch, i == 1 ? 1 : i - 1);
        assert_false(metadata_broker_find(image, NODE_ID)->fenced);
        metadata_release(image);
    }
}

struct heard {
    unsigned created, deleted, changed, configs, calls;
};

static void hear(void *arg, const struct metadata_image *image, const struct metadata_delta *delta)
{
    struct heard *heard = arg;

    heard->calls++;
    for (unsigned i = 0; i < delta->topic_count; i++) {
        const struct metadata_topic_change *change = &delta->topics[i];

        heard->created += change->before == NULL;
        heard->deleted += change->after == NULL;
        heard->changed += change->before != NULL && change->after != NULL;
        if (change->after != NULL)
            assert_ptr_equal(change->after, metadata_topic_find_by_id(image, &change->after->id));
    }
    heard->configs += delta->config_count;
}

static void subscribers_hear_exactly_what_changed(void **state)
{
    struct fixture *f = *state;
    struct heard heard = {0};
    struct metadata_config config = {STR_LITERAL("a"), STR_LITERAL("1")};
    struct metadata_new_topic topic = {.name = STR_LITERAL("t"),
                                       .partition_count = 1,
                                       .replication_factor = 1,
                                       .configs = &config,
                                       .config_count = 1};
    struct metadata_more_partitions more = {
        .name = STR_LITERAL("t"), .partition_count = 2, .assignment_count = -1};
    struct metadata_config_change change = {STR_LITERAL("a"), STR_LITERAL("2"), METADATA_CONFIG_SET};
    struct metadata_altered_resource resource = {
        .type = METADATA_RESOURCE_TOPIC, .name = STR_LITERAL("t"), .changes = &change, .change_count = 1};
    struct metadata_deleted_topic gone = {.name = STR_LITERAL("t")};

    assert_int_equal(metadata_subscribe(f->md, hear, &heard), PST_OK);
    metadata_create_topics(f->md, &topic, 1, false, f->arena);
    assert_true(heard.calls == 1 && heard.created == 1 && heard.configs == 0);
    metadata_create_partitions(f->md, &more, 1, false, f->arena);
    assert_true(heard.calls == 2 && heard.changed == 1);
    metadata_alter_configs(f->md, &resource, 1, false, f->arena);
    assert_true(heard.calls == 3 && heard.configs == 1);
    metadata_alter_configs(f->md, &resource, 1, false, f->arena); /* the same value: nothing to write */
    assert_int_equal(heard.calls, 3);
    metadata_delete_topics(f->md, &gone, 1, f->arena);
    assert_true(heard.calls == 4 && heard.deleted == 1 && heard.configs == 1);
}

static void held_images_do_not_change(void **state)
{
    struct fixture *f = *state;
    const struct metadata_image *before;
    const struct metadata_topic *topic;
    struct metadata_deleted_topic gone = {.name = STR_LITERAL("t")};

    assert_int_equal(create(f, "t", 2), KAFKA_NONE);
    before = metadata_acquire(f->md);
    topic = metadata_topic_find(before, STR_LITERAL("t"));
    metadata_delete_topics(f->md, &gone, 1, f->arena);
    assert_int_equal(create(f, "u", 2), KAFKA_NONE);
    assert_ptr_equal(metadata_topic_find(before, STR_LITERAL("t")), topic);
    assert_null(metadata_topic_find(before, STR_LITERAL("u")));
    assert_int_equal(metadata_topic_count(before), 1);
    assert_int_equal(metadata_partition_total(before), 2);
    metadata_release(before);
    assert_int_equal(partitions_of(f, "t"), -1);
}

static void a_snapshot_replaces_the_log_in_front_of_it(void **state)
{
    struct fixture *f = *state;
    char name[32];
    const struct metadata_image *image;

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        assert_int_equal(create(f, name, 2), KAFKA_NONE);
    }
    assert_int_equal(metadata_snapshot(f->md), PST_OK);
    assert_false(path_exists(path_in(f->root, SEGMENT)));
    assert_int_equal(create(f, "behind", 1), KAFKA_NONE);
    reopen(f);
    image = metadata_acquire(f->md);
    assert_int_equal(metadata_topic_count(image), 301);
    assert_int_equal(metadata_partition_total(image), 601);
    assert_int_equal(metadata_feature_level(image, STR_LITERAL("metadata.version")),
                     METADATA_VERSION_WRITTEN);
    assert_non_null(metadata_broker_find(image, NODE_ID));
    metadata_release(image);
    assert_int_equal(metadata_snapshot(f->md), PST_OK);
    assert_int_equal(create(f, "behind.two", 1), KAFKA_NONE);
    reopen(f);
    assert_int_equal(partitions_of(f, "behind.two"), 1);
}

static void snapshots_come_by_themselves_when_the_log_grows(void **state)
{
    struct fixture *f = *state;
    char name[32];

    f->settings.snapshot_bytes = 2000;
    reopen(f);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        assert_int_equal(create(f, name, 1), KAFKA_NONE);
    }
    assert_false(path_exists(path_in(f->root, SEGMENT)));
    assert_true(dir_entry_count(path_in(f->root, METADATA_DIR_NAME)) <= 5);
    reopen(f);
    assert_int_equal(partitions_of(f, "topic-0"), 1);
    assert_int_equal(partitions_of(f, "topic-39"), 1);
}

/* ---- torn and damaged logs ---- */

static void every_truncation_recovers_to_a_prefix_of_whole_intents(void **state)
{
    struct fixture *f = *state;
    size_t length;
    char *bytes;
    int last_seen = 0;

    assert_int_equal(create(f, "a", 2), KAFKA_NONE);
    assert_int_equal(create(f, "b", 2), KAFKA_NONE);
    assert_int_equal(create(f, "c", 2), KAFKA_NONE);
    metadata_close(f->md);
    f->md = NULL;
    bytes = file_get(path_in(f->root, SEGMENT), &length);
    for (size_t cut = 0; cut <= length; cut++) {
        const struct metadata_image *image;
        int seen;

        file_put(path_in(f->root, SEGMENT), bytes, cut);
        open_md(f);
        image = metadata_acquire(f->md);
        seen = (int)metadata_topic_count(image);
        for (int i = 0; i < seen; i++) {
            const struct metadata_topic *topic = metadata_topic_find(image, str_of(i == 0   ? "a"
                                                                                   : i == 1 ? "b"
                                                                                            : "c"));

            assert_non_null(topic);
            assert_int_equal(topic->partition_count, 2);
        }
        assert_true(seen >= last_seen);
        assert_int_not_equal(metadata_feature_level(image, STR_LITERAL("metadata.version")), 0);
        last_seen = seen;
        metadata_release(image);
        metadata_close(f->md);
        f->md = NULL;
    }
    assert_int_equal(last_seen, 3);
    free(bytes);
}

static void damage_in_front_of_good_batches_is_never_cut_away(void **state)
{
    struct fixture *f = *state;
    char *bytes, *text = NULL;
    size_t length;

    assert_int_equal(create(f, "a", 2), KAFKA_NONE);
    assert_int_equal(create(f, "b", 2), KAFKA_NONE);
    metadata_close(f->md);
    f->md = NULL;
    bytes = file_get(path_in(f->root, SEGMENT), &length);
    bytes[120] ^= 1; /* inside the second batch */
    file_put(path_in(f->root, SEGMENT), bytes, length);
    free(bytes);
    assert_int_equal(metadata_open(&f->settings, &f->md, &text), PST_CORRUPT);
    assert_non_null(strstr(text, "damaged at byte"));
    free(text);
    bytes = file_get(path_in(f->root, SEGMENT), &length);
    assert_true(length > 120);
    free(bytes);
    f->md = NULL;
}

static int sync_fails(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void after_a_failed_sync_nothing_is_acknowledged_any_more(void **state)
{
    struct fixture *f = *state;
    struct file_ops failing = posix_files;
    int64_t first;

    f->settings.files = &failing;
    reopen(f);
    register_us(f, false);
    failing.fdatasync = sync_fails;
    assert_int_equal(create(f, "t", 1), KAFKA_KAFKA_STORAGE_ERROR);
    failing.fdatasync = posix_files.fdatasync;
    assert_int_equal(create(f, "u", 1), KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(metadata_allocate_producer_ids(f->md, &first), KAFKA_KAFKA_STORAGE_ERROR);
    assert_true(metadata_is_offline(f->md));
    assert_int_equal(partitions_of(f, "t"), -1);
    f->settings.files = &posix_files;
    reopen(f);
}

static ssize_t disk_is_full(int fd, const struct iovec *iov, int count, off_t offset)
{
    (void)iov;
    (void)count;
    if (pwrite(fd, "piece", 5, offset) != 5) /* what a full disk may leave */
        return -1;
    errno = ENOSPC;
    return -1;
}

static void a_full_disk_refuses_and_works_again_when_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct file_ops failing = posix_files;

    f->settings.files = &failing;
    reopen(f);
    register_us(f, false);
    failing.pwritev = disk_is_full;
    assert_int_equal(create(f, "t", 1), KAFKA_KAFKA_STORAGE_ERROR);
    assert_false(metadata_is_offline(f->md));
    failing.pwritev = posix_files.pwritev;
    assert_int_equal(create(f, "u", 1), KAFKA_NONE);
    f->settings.files = &posix_files;
    reopen(f);
    assert_int_equal(partitions_of(f, "t"), -1);
    assert_int_equal(partitions_of(f, "u"), 1);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(create_topics_refuses_what_kafka_refuses),
        ROW(a_refused_topic_does_not_stop_its_neighbours),
        ROW(validate_only_changes_nothing),
        ROW(partitions_grow_but_never_shrink),
        ROW(topics_are_deleted_by_name_and_by_id),
        ROW(alter_configs_keeps_to_the_operation),
        ROW(replacing_configs_drops_those_not_named),
        ROW(resources_that_are_not_there_are_refused),
        ROW(producer_ids_are_never_given_twice),
        ROW(each_start_begins_an_epoch_and_an_unclean_one_moves_leader_epochs),
        ROW(subscribers_hear_exactly_what_changed),
        ROW(held_images_do_not_change),
        ROW(a_snapshot_replaces_the_log_in_front_of_it),
        ROW(snapshots_come_by_themselves_when_the_log_grows),
        ROW(every_truncation_recovers_to_a_prefix_of_whole_intents),
        ROW(damage_in_front_of_good_batches_is_never_cut_away),
        ROW(after_a_failed_sync_nothing_is_acknowledged_any_more),
        ROW(a_full_disk_refuses_and_works_again_when_there_is_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
