/* Replay of logs others wrote: Apache Kafka's own, and ones made to be refused. */
#include "broker/metadata/metadata.h"
#include "broker/metadata/record.h"
#include "protocol/record_batch.h"
#include "tests/support/temp_dir.h"

#include "msg/abort_transaction_record.h"
#include "msg/begin_transaction_record.h"
#include "msg/end_transaction_record.h"
#include "msg/feature_level_record.h"
#include "msg/partition_change_record.h"
#include "msg/partition_record.h"
#include "msg/topic_record.h"
#include "msg/voters_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#define KAFKA_LOG "tests/vectors/kafka-data/cluster-metadata.log"
#define SEGMENT   METADATA_DIR_NAME "/00000000000000000000.log"

struct fixture {
    char *root;
    struct buf log; /* batches put together by a test */
    struct buf frame;
    struct record_batch_builder *builder;
    int64_t next_offset;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->root = temp_dir_make();
    assert_int_equal(mkdir(path_in(f->root, METADATA_DIR_NAME), 0755), 0);
    buf_init(&f->log, 1u << 20);
    buf_init(&f->frame, 1u << 20);
    f->builder = record_batch_builder_new();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    record_batch_builder_free(f->builder);
    buf_free(&f->log);
    buf_free(&f->frame);
    temp_dir_remove(f->root);
    free(f);
    return 0;
}

static enum pst_status open_as_it_is(struct fixture *f, struct metadata **ret, char **text)
{
    struct metadata_settings settings = {.clock = &real_clock,
                                         .files = &posix_files,
                                         .dir = f->root,
                                         .cluster_id = "penstockVectorsAAAAAAAA",
                                         .node_id = 1,
                                         .default_partitions = 1,
                                         .default_replication_factor = 1};

    return metadata_open(&settings, ret, text);
}

static enum pst_status open_log(struct fixture *f, const void *bytes, size_t length, struct metadata **ret,
                                char **text)
{
    file_put(path_in(f->root, SEGMENT), bytes, length);
    return open_as_it_is(f, ret, text);
}

/* ---- logs of our own making ---- */

static void begin_batch(struct fixture *f, uint16_t attributes)
{
    struct record_batch_settings settings = {.codec = COMPRESS_NONE,
                                             .compress_level = COMPRESS_LEVEL_DEFAULT,
                                             .attributes = attributes,
                                             .base_offset = f->next_offset,
                                             .leader_epoch = 1,
                                             .producer_id = NO_PRODUCER_ID,
                                             .producer_epoch = -1,
                                             .base_sequence = NO_SEQUENCE,
                                             .size_max = 1u << 20};

    record_batch_builder_reset(f->builder, &settings);
}

static void add_bytes(struct fixture *f, struct str key, struct str value)
{
    assert_int_equal(record_batch_builder_add(f->builder, 1, key, value, NULL, 0), PST_OK);
}

static void add(struct fixture *f, enum metadata_record_type type, int16_t version,
                const struct message_schema *schema, const void *message)
{
    buf_reset(&f->frame);
    assert_int_equal(record_frame(type, version, schema, message, &f->frame), PST_OK);
    add_bytes(f, str_null(), buf_view(&f->frame));
}

static void end_batch(struct fixture *f)
{
    struct str batch;

    assert_int_equal(record_batch_builder_finish(f->builder, &batch), PST_OK);
    buf_append_str(&f->log, batch);
    f->next_offset += record_batch_builder_count(f->builder);
}

static void add_feature(struct fixture *f, const char *name, int16_t level)
{
    struct feature_level_record record;

    message_init(&feature_level_record_schema, &record);
    record.name = str_of(name);
    record.feature_level = level;
    add(f, RECORD_FEATURE_LEVEL, 0, &feature_level_record_schema, &record);
}

/* A topic of one partition led by node 1, which has eligible leaders when told so. */
static void add_topic(struct fixture *f, const char *name, uint8_t id, bool eligible)
{
    struct topic_record topic;
    struct partition_record partition;
    int32_t us[] = {1};

    message_init(&topic_record_schema, &topic);
    topic.name = str_of(name);
    topic.topic_id.bytes[0] = id;
    add(f, RECORD_TOPIC, 0, &topic_record_schema, &topic);
    message_init(&partition_record_schema, &partition);
    partition.partition_id = 0;
    partition.topic_id = topic.topic_id;
    partition.replicas = us;
    partition.replicas_count = 1;
    partition.isr = us;
    partition.isr_count = 1;
    partition.leader = 1;
    partition.leader_epoch = 5;
    partition.partition_epoch = 9;
    if (eligible) {
        partition.eligible_leader_replicas = us;
        partition.eligible_leader_replicas_count = 1;
    }
    add(f, RECORD_PARTITION, eligible ? 2 : 0, &partition_record_schema, &partition);
}

/* ---- Kafka's log ---- */

static void check_kafkas_image(struct metadata *md)
{
    static const struct {
        const char *name;
        const char *id;
        int32_t partitions;
        unsigned configs;
    } topics[] = {
        {"__consumer_offsets", "cWTcm3lYT6a24PD2nIYG3w", 50, 3},
        {"__transaction_state", "1a4shUX7RymfdUkcNXZfww", 50, 5},
        {"append-time", "4NCL2MY_QH26ZMx-PgeTug", 1, 2},
        {"codec-gzip", "EV3V8li3RN2ywMYQq5eKCQ", 2, 3},
        {"codec-lz4", "JIzE5o-5S-iub8Zvpdn9jw", 2, 3},
        {"codec-none", "YWXsudsSRQK8q0QwDbQjjw", 2, 3},
        {"codec-snappy", "0qP6ZZ9aTJavvYjYUj2shg", 2, 3},
        {"codec-zstd", "FD4RPkNJSxWrytKEm6SWQw", 2, 3},
        {"compacted", "8jVSIB6QTI2P8KSQyXU2Eg", 1, 5},
        {"empty", "1xUAwBaYQD63kJwmdhUCEg", 3, 0},
        {"rolled", "yvZ5Mi5gSU6QPydZQnNwxw", 1, 2},
        {"txn", "T15qQX6qRqW1nqwuswLmLg", 2, 1},
        {"txn-open", "8ok0JQbCSmCChtxaUYGg4w", 1, 1},
    };
    const struct metadata_image *image = metadata_acquire(md);
    const struct metadata_configs *configs;
    const struct metadata_topic **sorted;
    size_t count;

    sorted = metadata_topics_sorted(image, &count);
    assert_int_equal(count, sizeof topics / sizeof topics[0]);
    for (size_t i = 0; i < count; i++) {
        char id[UUID_TEXT_LENGTH + 1];

        uuid_format(&sorted[i]->id, id);
        assert_string_equal(sorted[i]->name, topics[i].name);
        assert_string_equal(id, topics[i].id);
        assert_int_equal(sorted[i]->partition_count, topics[i].partitions);
        configs = metadata_configs_find(image, METADATA_RESOURCE_TOPIC, str_of(topics[i].name));
        assert_int_equal(configs == NULL ? 0 : configs->count, topics[i].configs);
        for (int32_t p = 0; p < sorted[i]->partition_count; p++) {
            assert_int_equal(sorted[i]->partitions[p]->leader, 1);
            assert_int_equal(sorted[i]->partitions[p]->isr_count, 1);
            assert_non_null(sorted[i]->partitions[p]->directories);
        }
    }
    free(sorted);
    configs = metadata_configs_find(image, METADATA_RESOURCE_TOPIC, STR_LITERAL("compacted"));
    assert_true(
        str_equal_text(metadata_config_get(configs, STR_LITERAL("min.cleanable.dirty.ratio")), "0.01"));
    configs = metadata_configs_find(image, METADATA_RESOURCE_BROKER, STR_LITERAL(""));
    assert_true(str_equal_text(metadata_config_get(configs, STR_LITERAL("min.insync.replicas")), "1"));
    assert_int_equal(metadata_feature_level(image, STR_LITERAL("metadata.version")), 30);
    assert_int_equal(metadata_feature_level(image, STR_LITERAL("transaction.version")), 2);
    assert_int_equal(metadata_next_producer_id(image), 1000);
    assert_int_equal(metadata_broker_count(image), 1);
    assert_int_equal(metadata_broker_at(image, 0)->epoch, 12);
    assert_int_equal(metadata_broker_at(image, 0)->endpoints[0].port, 9092);
    metadata_release(image);
}

static void kafkas_log_gives_kafkas_image_and_a_snapshot_keeps_it(void **state)
{
    struct fixture *f = *state;
    struct metadata *md;
    char *text = NULL, *bytes;
    size_t length;

    bytes = file_get(KAFKA_LOG, &length);
    assert_int_equal(open_log(f, bytes, length, &md, &text), PST_OK);
    free(bytes);
    check_kafkas_image(md);
    assert_int_equal(metadata_snapshot(md), PST_OK);
    metadata_close(md);
    assert_false(path_exists(path_in(f->root, SEGMENT)));
    assert_int_equal(open_as_it_is(f, &md, &text), PST_OK);
    check_kafkas_image(md);
    metadata_close(md);
}

static void kafkas_log_cut_anywhere_opens_with_a_prefix(void **state)
{
    struct fixture *f = *state;
    size_t length, last_count = 0;
    char *bytes = file_get(KAFKA_LOG, &length);

    for (size_t cut = 0; cut <= length; cut += 211) {
        const struct metadata_image *image;
        struct metadata *md;
        char *text = NULL;
        enum pst_status status = open_log(f, bytes, cut, &md, &text);

        if (status != PST_OK)
            print_error("cut at %zu: %s\n", cut, text);
        assert_int_equal(status, PST_OK);
        image = metadata_acquire(md);
        assert_true(metadata_topic_count(image) >= last_count);
        last_count = metadata_topic_count(image);
        metadata_release(image);
        metadata_close(md);
    }
    assert_int_equal(last_count, 13);
    free(bytes);
}

/* ---- what is refused ---- */

static void unknown_things_stop_the_start_and_say_so(void **state)
{
    static const uint8_t unknown_type[] = {1, 99, 0}, unknown_version[] = {1, 2, 77}, no_frame[] = {9, 2, 0},
                         trailing[] = {1, 20, 0, 0, 0};
    static const struct {
        const uint8_t *bytes;
        size_t length;
        enum pst_status status;
        const char *text;
    } rows[] = {
        {unknown_type, 3, PST_UNSUPPORTED, "record type 99 version 0 is unknown"},
        {unknown_version, 3, PST_UNSUPPORTED, "record type 2 version 77 is unknown"},
        {no_frame, 3, PST_UNSUPPORTED, "not supported"},
        {trailing, 5, PST_CORRUPT, "malformed"},
        {unknown_type, 1, PST_CORRUPT, "log offset 1"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture *f = *state;
        struct metadata *md;
        char *text = NULL;

        f->next_offset = 0;
        buf_reset(&f->log);
        begin_batch(f, 0);
        add_feature(f, "metadata.version", 21);
        add_bytes(f, str_null(), str_of_bytes(rows[i].bytes, rows[i].length));
        end_batch(f);
        assert_int_equal(open_log(f, f->log.at, f->log.length, &md, &text), rows[i].status);
        if (strstr(text, rows[i].text) == NULL)
            print_error("row %zu: %s\n", i, text);
        assert_non_null(strstr(text, rows[i].text));
        free(text);
    }
}

static void features_above_what_we_know_stop_the_start(void **state)
{
    static const struct {
        const char *name;
        int16_t level;
        enum pst_status status;
    } rows[] = {
        {"metadata.version", METADATA_VERSION_MAX, PST_OK},
        {"metadata.version", METADATA_VERSION_MAX + 1, PST_UNSUPPORTED},
        {"metadata.version", METADATA_VERSION_MIN - 1, PST_UNSUPPORTED},
        {"group.version", 1, PST_OK},
        {"group.version", 2, PST_UNSUPPORTED},
        {"something.new", 1, PST_UNSUPPORTED},
        {"something.new", 0, PST_OK},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct metadata *md = NULL;
        char *text = NULL;

        f->next_offset = 0;
        buf_reset(&f->log);
        begin_batch(f, 0);
        add_feature(f, rows[i].name, rows[i].level);
        end_batch(f);
        assert_int_equal(open_log(f, f->log.at, f->log.length, &md, &text), rows[i].status);
        if (rows[i].status == PST_OK)
            metadata_close(md);
        else
            assert_non_null(strstr(text, rows[i].name));
        free(text);
    }
}

static void a_quorum_of_others_is_not_ours_to_write(void **state)
{
    struct fixture *f = *state;
    static const uint8_t key[] = {0, 0, 0, 6};
    struct voters_record_voter voters[2];
    struct voters_record record;
    struct metadata *md;
    char *text = NULL;

    message_init(&voters_record_schema, &record);
    memset(voters, 0, sizeof voters);
    voters[0].voter_id = 1;
    voters[1].voter_id = 2;
    record.voters = voters;
    record.voters_count = 2;
    assert_int_equal(message_encode(&voters_record_schema, 0, &record, &f->frame), PST_OK);
    begin_batch(f, RECORD_BATCH_CONTROL);
    add_bytes(f, str_of_bytes(key, sizeof key), buf_view(&f->frame));
    end_batch(f);
    assert_int_equal(open_log(f, f->log.at, f->log.length, &md, &text), PST_UNSUPPORTED);
    assert_non_null(strstr(text, "voters other than this node"));
    free(text);
}

static void a_gap_in_the_offsets_stops_the_start(void **state)
{
    struct fixture *f = *state;
    struct metadata *md;
    char *text = NULL;

    begin_batch(f, 0);
    add_feature(f, "metadata.version", 21);
    end_batch(f);
    f->next_offset += 1;
    begin_batch(f, 0);
    add_feature(f, "metadata.version", 21);
    end_batch(f);
    assert_int_equal(open_log(f, f->log.at, f->log.length, &md, &text), PST_CORRUPT);
    assert_non_null(strstr(text, "expected 1"));
    free(text);
}

/* ---- transactions of the metadata log ---- */

static void transactions_count_from_their_end_record_on(void **state)
{
    static const struct {
        int end; /* a record type; -1: the log ends inside */
        size_t topics;
    } rows[] = {{RECORD_END_TRANSACTION, 3}, {RECORD_ABORT_TRANSACTION, 2}, {-1, 1}};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct begin_transaction_record begin;
        struct end_transaction_record end;
        struct abort_transaction_record aborted;
        const struct metadata_image *image;
        struct metadata *md;
        char *text = NULL;

        message_init(&begin_transaction_record_schema, &begin);
        message_init(&end_transaction_record_schema, &end);
        message_init(&abort_transaction_record_schema, &aborted);
        f->next_offset = 0;
        buf_reset(&f->log);
        begin_batch(f, 0);
        add_feature(f, "metadata.version", 21);
        add_topic(f, "before", 1, false);
        add(f, RECORD_BEGIN_TRANSACTION, 0, &begin_transaction_record_schema, &begin);
        add_topic(f, "inside", 2, false);
        end_batch(f);
        begin_batch(f, 0);
        if (rows[i].end == RECORD_END_TRANSACTION)
            add(f, RECORD_END_TRANSACTION, 0, &end_transaction_record_schema, &end);
        if (rows[i].end == RECORD_ABORT_TRANSACTION)
            add(f, RECORD_ABORT_TRANSACTION, 0, &abort_transaction_record_schema, &aborted);
        if (rows[i].end != -1) {
            add_topic(f, "after", 3, false);
            end_batch(f);
        }
        for (int again = 0; again < 2; again++) { /* the second start reads what the first appended */
            size_t length = f->log.length;
            char *bytes = again == 0 ? NULL : file_get(path_in(f->root, SEGMENT), &length);

            assert_int_equal(open_log(f, again == 0 ? (char *)f->log.at : bytes, length, &md, &text), PST_OK);
            free(bytes);
            image = metadata_acquire(md);
            assert_int_equal(metadata_topic_count(image), rows[i].topics);
            assert_int_equal(metadata_topic_find(image, STR_LITERAL("inside")) != NULL,
                             rows[i].end == RECORD_END_TRANSACTION);
            metadata_release(image);
            metadata_close(md);
        }
    }
}

static void a_partition_change_moves_epochs_as_kafka_does(void **state)
{
    struct fixture *f = *state;
    struct partition_change_record change;
    const struct metadata_partition *partition;
    const struct metadata_image *image;
    struct metadata *md;
    char *text = NULL;

    begin_batch(f, 0);
    add_feature(f, "metadata.version", 30);
    add_topic(f, "t", 1, true);
    message_init(&partition_change_record_schema, &change);
    change.topic_id.bytes[0] = 1;
    change.partition_id = 0;
    add(f, RECORD_PARTITION_CHANGE, 0, &partition_change_record_schema,
        &change); /* no leader: its epoch stays */
    change.leader = 1;
    add(f, RECORD_PARTITION_CHANGE, 0, &partition_change_record_schema,
        &change); /* the same leader: a new epoch */
    end_batch(f);
    assert_int_equal(open_log(f, f->log.at, f->log.length, &md, &text), PST_OK);
    image = metadata_acquire(md);
    partition = metadata_topic_find(image, STR_LITERAL("t"))->partitions[0];
    assert_int_equal(partition->leader_epoch, 6);
    assert_int_equal(partition->partition_epoch, 11);
    assert_int_equal(partition->eligible_count, 1);
    metadata_release(image);
    metadata_close(md);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(kafkas_log_gives_kafkas_image_and_a_snapshot_keeps_it),
        ROW(kafkas_log_cut_anywhere_opens_with_a_prefix),
        ROW(unknown_things_stop_the_start_and_say_so),
        ROW(features_above_what_we_know_stop_the_start),
        ROW(a_quorum_of_others_is_not_ours_to_write),
        ROW(a_gap_in_the_offsets_stops_the_start),
        ROW(transactions_count_from_their_end_record_on),
        ROW(a_partition_change_moves_epochs_as_kafka_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
