/* The producer of libpenstock against a real daemon, through a proxy that loses and breaks what it is told
 * to. */
#include "client/partitioner.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"
#include "tests/support/stage.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SMALL_TOPIC_BYTES 20000

static const char *const settings[] = {"auto.create.topics.enable=false", NULL};

static int open_stage(void **state)
{
    return stage_open(state, settings);
}

/* ---- what a proxy does to produce requests ---- */

struct meddling {
    _Atomic unsigned requests; /* produce requests seen */
    _Atomic unsigned answers;
    unsigned every;             /* each so many-th is treated so */
    enum proxy_verdict request; /* PROXY_PASS: not at all */
    enum proxy_verdict answer;
};

static enum proxy_verdict meddle(struct proxy_frame *frame, void *arg)
{
    struct meddling *meddling = arg;

    if (frame->api_key != API_PRODUCE)
        return PROXY_PASS;
    if (frame->is_answer)
        return ++meddling->answers % meddling->every == 0 ? meddling->answer : PROXY_PASS;
    return ++meddling->requests % meddling->every == 0 ? meddling->request : PROXY_PASS;
}

/* ---- what arrives ---- */

static void check_rich_record(const struct pst_message *message, int i)
{
    char key[32], value[64];
    struct pst_header header;

    snprintf(key, sizeof key, "key-%d", i);
    snprintf(value, sizeof value, "value number %d, of a kind that can be compressed", i);
    assert_int_equal(message->timestamp_ms, 1700000000000 + i);
    if (i % 7 == 0) {
        assert_null(message->key);
    } else {
        assert_int_equal(message->key_bytes, strlen(key));
        assert_memory_equal(message->key, key, message->key_bytes);
    }
    if (i % 11 == 0) {
        assert_null(message->value);
    } else if (i % 13 == 0) {
        assert_non_null(message->value);
        assert_int_equal(message->value_bytes, 0);
    } else {
        assert_int_equal(message->value_bytes, strlen(value));
        assert_memory_equal(message->value, value, message->value_bytes);
    }
    assert_int_equal(message->header_count, (size_t)(i % 3));
    for (size_t k = 0; k < message->header_count; k++) {
        assert_true(pst_message_header(message, k, &header));
        assert_memory_equal(header.key, k == 0 ? "first" : "other", 5);
        if (k == 0)
            assert_memory_equal(header.value, "\0\xff", 2);
        else
            assert_null(header.value);
    }
    assert_false(pst_message_header(message, message->header_count, &header));
}

static void put_rich_record(struct pst_producer *producer, const char *topic, int i)
{
    const struct pst_header headers[] = {{"first", 5, "\0\xff", 2}, {"other", 5, NULL, 0}};
    struct pst_record record = PST_RECORD_INIT;
    char key[32], value[64];
    struct pst_error error;

    record.topic = topic;
    record.partition = 0;
    record.timestamp_ms = 1700000000000 + i;
    record.key_bytes = (size_t)snprintf(key, sizeof key, "key-%d", i);
    record.key = i % 7 == 0 ? NULL : key;
    record.value_bytes =
        (size_t)snprintf(value, sizeof value, "value number %d, of a kind that can be compressed", i);
    record.value = i % 11 == 0 ? NULL : value;
    if (i % 11 == 0 || i % 13 == 0)
        record.value_bytes = 0;
    record.headers = headers;
    record.header_count = (size_t)(i % 3);
    MUST(pst_produce(producer, &record, tag_of((uintptr_t)i + 1), &error));
}

static void every_codec_brings_keys_nulls_headers_and_times_unchanged(void **state)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    enum { RECORDS = 1000 };

    for (size_t c = 0; c < sizeof codecs / sizeof codecs[0]; c++) {
        char codec[64];
        struct pst_client *client;
        struct outcomes outcomes = {0};
        struct pst_producer_stats stats;
        struct pst_producer *producer;
        struct pst_consumer *consumer;
        struct pst_message message;
        struct pst_error error;
        const char *topic;

        snprintf(codec, sizeof codec, "compression.type=%s", codecs[c]);
        client = client_open(*state, codec, "linger.ms=20", NULL);
        topic = topic_make(client, 1, NULL);
        MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
        for (int i = 0; i < RECORDS; i++)
            put_rich_record(producer, topic, i);
        MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
        assert_int_equal(outcomes.delivered, RECORDS);
        assert_int_equal(outcomes.out_of_order, 0);
        pst_producer_stats(producer, &stats);
        assert_true(stats.batches_sent < RECORDS / 20); /* they share batches */
        if (c > 0)
            assert_true(stats.bytes_sent < RECORDS * 50);
        MUST(pst_consumer_new(client, &consumer, &error));
        MUST(pst_consumer_assign(consumer, &(struct pst_assignment){topic, 0, 0}, 1, &error));
        for (int i = 0; i < RECORDS; i++) {
            MUST(pst_consumer_poll(consumer, STAGE_WAIT_MS, &message, &error));
            assert_int_equal(message.offset, i);
            check_rich_record(&message, i);
        }
        pst_consumer_free(consumer);
        pst_producer_free(producer);
        pst_client_free(client);
    }
}

static void the_blocking_form_tells_partition_and_offset_without_lingering(void **state)
{
    struct pst_client *client = client_open(*state, "linger.ms=60000", NULL);
    const char *topic = topic_make(client, 2, NULL);
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer *producer;
    struct pst_error error;
    int32_t partition;
    int64_t offset, started_ms;

    MUST(pst_producer_new(client, NULL, NULL, &producer, &error));
    record.topic = topic;
    record.partition = 1;
    record.value = "x";
    record.value_bytes = 1;
    started_ms = now_ms();
    for (int i = 0; i < 20; i++) {
        MUST(pst_produce_wait(producer, &record, &partition, &offset, &error));
        assert_int_equal(partition, 1);
        assert_int_equal(offset, i);
    }
    assert_true(now_ms() - started_ms < 60000);
    pst_producer_free(producer);
    pst_client_free(client);
}

struct placement {
    unsigned count[16];
    int32_t of[400];
    unsigned switches;
    int32_t last;
};

static void note_placement(const struct pst_delivery *delivery, void *arg)
{
    struct placement *placement = arg;

    assert_int_equal(delivery->code, PST_ERR_NONE);
    placement->count[delivery->partition]++;
    placement->of[(uintptr_t)delivery->tag] = delivery->partition;
}

static void keys_go_where_java_puts_them(void **state)
{
    /* murmur2 as in test_partitioner.c; here: that the records are there */
    struct pst_client *client = client_open(*state, NULL);
    const char *topic = topic_make(client, 7, NULL);
    struct pst_record record = PST_RECORD_INIT;
    struct placement placement = {0};
    struct pst_producer *producer;
    struct pst_error error;
    char key[32];

    MUST(pst_producer_new(client, note_placement, &placement, &producer, &error));
    record.topic = topic;
    record.key = key;
    for (unsigned i = 0; i < 400; i++) {
        record.key_bytes = (size_t)snprintf(key, sizeof key, "%u", i);
        MUST(pst_produce(producer, &record, tag_of(i), &error));
    }
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    for (unsigned i = 0; i < 400; i++) {
        size_t length = (size_t)snprintf(key, sizeof key, "%u", i);

        assert_int_equal(placement.of[i], (partitioner_murmur2(key, length) & 0x7fffffff) % 7);
    }
    assert_int_equal(placement.of[21], 1173551340 % 7); /* Kafka's UtilsTest */
    for (int32_t p = 0; p < 7; p++)
        assert_int_equal(end_of(client, topic, p), placement.count[p]);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void records_without_key_stay_together_for_a_batch_and_then_move(void **state)
{
    struct pst_client *client = client_open(*state, "batch.size=2000", "linger.ms=1000", NULL);
    const char *topic = topic_make(client, 5, NULL);
    struct pst_record record = PST_RECORD_INIT;
    struct placement placement = {0};
    struct pst_producer *producer;
    struct pst_error error;
    unsigned switches = 0, used = 0;

    MUST(pst_producer_new(client, note_placement, &placement, &producer, &error));
    record.topic = topic;
    record.value_bytes = 200;
    for (unsigned i = 0; i < 400; i++) {
        record.value = value_of(i, 200);
        MUST(pst_produce(producer, &record, tag_of(i), &error));
    }
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    for (unsigned i = 1; i < 400; i++)
        switches += placement.of[i] != placement.of[i - 1];
    for (int32_t p = 0; p < 5; p++)
        used += placement.count[p] > 0;
    assert_int_equal(used, 5);
    /* 2000 bytes of batch hold 8 to 10 of them */
    assert_in_range(switches, 400 / 12, 400 / 7);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void acks_0_sends_and_forgets_acks_1_waits_for_the_leader(void **state)
{
    static const char *const acks[] = {"acks=0", "acks=1"};

    for (int i = 0; i < 2; i++) {
        struct pst_client *client = client_open(*state, acks[i], "enable.idempotence=false", NULL);
        const char *topic = topic_make(client, 1, NULL);
        struct outcomes outcomes = {0};
        struct pst_producer *producer;
        struct pst_error error;

        MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
        put_values(producer, topic, 0, 0, 500, 100);
        MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
        assert_int_equal(outcomes.delivered, 500);
        assert_int_equal(outcomes.last_offset[0], i == 0 ? -1 : 499);
        WAIT_FOR(end_of(client, topic, 0) >= 500);
        expect_partition(client, topic, 0, 500, 100);
        pst_producer_free(producer);
        pst_client_free(client);
    }
}

static void note_time(const struct pst_delivery *delivery, void *arg)
{
    *(int64_t *)arg = delivery->timestamp_ms;
}

static void the_delivery_has_the_brokers_time_when_the_topic_wants_it(void **state)
{
    struct pst_client *client = client_open(*state, NULL);
    const char *appended = topic_make(client, 1, "message.timestamp.type=LogAppendTime", NULL);
    const char *created = topic_make(client, 1, NULL);
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer *producer;
    struct pst_error error;
    int64_t told_ms = 0;

    MUST(pst_producer_new(client, note_time, &told_ms, &producer, &error));
    record.timestamp_ms = 1234567890123;
    record.topic = created;
    MUST(pst_produce(producer, &record, NULL, &error));
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(told_ms, 1234567890123);
    record.topic = appended;
    MUST(pst_produce(producer, &record, NULL, &error));
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_true(told_ms > 1700000000000);
    pst_producer_free(producer);
    pst_client_free(client);
}

/* ---- what is refused ---- */

static void a_record_that_contradicts_the_header_file_is_refused_at_once(void **state)
{
    struct pst_client *client = client_open(*state, NULL);
    const char *topic = topic_make(client, 1, NULL);
    struct outcomes outcomes = {0};
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer *producer;
    struct pst_error error;

    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    MUST_FAIL(PST_ERR_INVALID_ARGUMENT, pst_produce(producer, &record, NULL, &error));
    MUST_FAIL(PST_ERR_INVALID_ARGUMENT, pst_produce(producer, NULL, NULL, &error));
    MUST_FAIL(PST_ERR_INVALID_ARGUMENT, pst_produce(NULL, &record, NULL, &error));
    record.topic = topic;
    record.partition = -2;
    MUST_FAIL(PST_ERR_INVALID_ARGUMENT, pst_produce(producer, &record, NULL, &error));
    record.partition = 0;
    record.timestamp_ms = -2;
    MUST_FAIL(PST_ERR_INVALID_ARGUMENT, pst_produce(producer, &record, NULL, &error));
    record.timestamp_ms = 0;
    record.header_count = 1;
    MUST_FAIL(PST_ERR_INVALID_ARGUMENT, pst_produce(producer, &record, NULL, &error));
    record.header_count = 0;
    record.partition = 1;
    MUST_FAIL(PST_ERR_UNKNOWN_PARTITION, pst_produce(producer, &record, NULL, &error));
    assert_non_null(strstr(error.text, "has 1 partition"));
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered + outcomes.failed, 0);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void a_topic_that_does_not_exist_is_told_after_max_block_ms(void **state)
{
    struct pst_client *client =
        client_open(*state, "max.block.ms=300", "allow.auto.create.topics=false", NULL);
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer *producer;
    struct pst_error error;
    int64_t started_ms = now_ms();

    MUST(pst_producer_new(client, NULL, NULL, &producer, &error));
    record.topic = topic_name();
    MUST_FAIL(KAFKA_UNKNOWN_TOPIC_OR_PARTITION, pst_produce_wait(producer, &record, NULL, NULL, &error));
    assert_true(now_ms() - started_ms >= 300);
    assert_non_null(strstr(error.text, record.topic));
    record.topic = "no such/name";
    MUST_FAIL(KAFKA_INVALID_TOPIC_EXCEPTION, pst_produce(producer, &record, NULL, &error));
    pst_producer_free(producer);
    pst_client_free(client);
}

static void a_topic_created_while_a_record_waits_for_it_gets_the_record(void **state)
{
    struct pst_client *client = client_open(*state, "allow.auto.create.topics=false", NULL);
    struct pst_client *impatient =
        client_open(*state, "max.block.ms=0", "allow.auto.create.topics=false", NULL);
    struct pst_new_topic topic = {.name = topic_name(), .partitions = 1, .replication_factor = -1};
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer *producer;
    struct pst_error error;
    int64_t offset = -1;

    MUST(pst_producer_new(impatient, NULL, NULL, &producer, &error));
    record.topic = topic.name;
    assert_int_not_equal(pst_produce(producer, &record, NULL, &error), 0);
    MUST(pst_create_topics(client, &topic, 1, false, STAGE_WAIT_MS, &error));
    WAIT_FOR(pst_produce_wait(producer, &record, NULL, &offset, &error) == PST_ERR_NONE);
    assert_int_equal(offset, 0);
    pst_producer_free(producer);
    pst_client_free(impatient);
    pst_client_free(client);
}

static void a_record_over_max_request_size_is_refused_here_one_over_the_topics_limit_there(void **state)
{
    struct pst_client *client = client_open(*state, "max.request.size=100000", NULL);
    const char *topic = topic_make(client, 1, "max.message.bytes=20000", NULL);
    struct outcomes outcomes = {0};
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer *producer;
    struct pst_error error;

    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    record.topic = topic;
    record.value = value_of(0, 100000);
    record.value_bytes = 100000;
    MUST_FAIL(PST_ERR_MESSAGE_TOO_LARGE, pst_produce(producer, &record, tag_of(1), &error));
    record.value_bytes = 50000;
    MUST(pst_produce(producer, &record, tag_of(2), &error));
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.failed, 1);
    assert_int_equal(outcomes.last_error, KAFKA_MESSAGE_TOO_LARGE);
    /* and the producer goes on */
    put_values(producer, topic, 0, 0, 10, 100);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered, 10);
    expect_partition(client, topic, 0, 10, 100);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void a_batch_over_the_topics_limit_is_sent_in_parts(void **state)
{
    struct pst_client *client = client_open(*state, "batch.size=200000", "linger.ms=1000", NULL);
    const char *topic = topic_make(client, 1, "max.message.bytes=20000", NULL);
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;

    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    put_values(producer, topic, 0, 0, 1000, 500);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered, 1000);
    assert_int_equal(outcomes.out_of_order, 0);
    expect_partition(client, topic, 0, 1000, 500);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void bad_configurations_are_refused_with_a_hint(void **state)
{
    struct pst_config *config = pst_config_new();
    struct pst_client *client = NULL;
    struct pst_error error;

    (void)state;
    MUST_FAIL(PST_ERR_INVALID_CONFIG, pst_config_set(config, "linger.mss", "5", &error));
    assert_non_null(strstr(error.text, "linger.ms"));
    MUST_FAIL(PST_ERR_INVALID_CONFIG, pst_config_set(config, "linger.ms", "-5", &error));
    MUST_FAIL(PST_ERR_INVALID_CONFIG, pst_config_set(config, "compression.type", "rar", &error));
    assert_non_null(strstr(error.text, "zstd"));
    MUST_FAIL(PST_ERR_INVALID_CONFIG, pst_client_new(config, &client, &error));
    MUST(pst_config_set(config, "bootstrap.servers", "host:notaport", &error));
    MUST_FAIL(PST_ERR_INVALID_CONFIG, pst_client_new(config, &client, &error));
    MUST(pst_config_set(config, "bootstrap.servers", "127.0.0.1:1", &error));
    MUST(pst_config_set(config, "enable.idempotence", "true", &error));
    MUST(pst_config_set(config, "acks", "0", &error));
    MUST_FAIL(PST_ERR_INVALID_CONFIG, pst_client_new(config, &client, &error));
    assert_non_null(strstr(error.text, "enable.idempotence"));
    assert_null(client);
    pst_config_free(config);
}

/* ---- nobody there ---- */

static void an_unreachable_broker_is_told_with_its_address_and_why(void **state)
{
    struct stage nowhere = {0};
    struct pst_record record = PST_RECORD_INIT;
    struct proxy *refusing = proxy_new();
    struct pst_producer *producer;
    struct pst_client *client;
    struct pst_error error;
    int64_t started_ms = now_ms();
    char address[64];

    (void)state;
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)proxy_port(refusing));
    memcpy(nowhere.bootstrap, address, sizeof address);
    proxy_free(refusing); /* nobody listens there now */
    client = client_open(&nowhere, "max.block.ms=400", NULL);
    MUST(pst_producer_new(client, NULL, NULL, &producer, &error));
    record.topic = "any";
    MUST_FAIL(PST_ERR_TIMED_OUT, pst_produce_wait(producer, &record, NULL, NULL, &error));
    assert_in_range(now_ms() - started_ms, 400, 20000);
    assert_non_null(strstr(error.text, address));
    assert_non_null(strstr(error.text, "refused"));
    pst_producer_free(producer);
    pst_client_free(client);
}

static enum proxy_verdict lose_all(struct proxy_frame *frame, void *arg)
{
    (void)frame;
    (void)arg;
    return PROXY_LOSE;
}

static void a_broker_that_falls_silent_costs_delivery_timeout_and_no_more(void **state)
{
    const struct stage *stage = *state;
    struct pst_client *client;
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;
    const char *topic;
    int64_t started_ms;

    stage_needs_own(stage);
    client = client_open(stage, "request.timeout.ms=200", "delivery.timeout.ms=1000", "linger.ms=0", NULL);
    topic = topic_make(client, 1, NULL);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    put_values(producer, topic, 0, 0, 1, 100);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    proxy_set_hook(stage->proxy, lose_all, NULL);
    started_ms = now_ms();
    put_values(producer, topic, 0, 1, 10, 100);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_in_range(now_ms() - started_ms, 900, 20000);
    assert_int_equal(outcomes.delivered, 1);
    assert_int_equal(outcomes.failed, 10);
    assert_true(outcomes.last_error == PST_ERR_DELIVERY_TIMED_OUT ||
                outcomes.last_error == PST_ERR_TIMED_OUT || outcomes.last_error == PST_ERR_TRANSPORT);
    assert_true(strlen(outcomes.last_text) > 0);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void buffer_memory_holds_the_producer_back_and_lets_it_go_again(void **state)
{
    struct stage *stage = *state;
    struct pst_client *client;
    struct outcomes outcomes = {0};
    struct pst_record record = PST_RECORD_INIT;
    struct pst_producer_stats stats;
    struct pst_producer *producer;
    struct pst_error error;
    const char *topic;
    unsigned count = 0;
    int64_t started_ms;

    stage_needs_own(stage);
    client = client_open(stage, "buffer.memory=100000", "max.block.ms=300", NULL);
    topic = topic_make(client, 1, NULL);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    put_values(producer, topic, 0, count++, 1, 1000);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    proxy_aim(stage->proxy, 0);
    proxy_break_all(stage->proxy);
    record.topic = topic;
    record.partition = 0;
    record.value_bytes = 1000;
    for (;;) {
        record.value = value_of(count, 1000);
        started_ms = now_ms();
        if (pst_produce(producer, &record, tag_of(count + 1), &error) != 0)
            break;
        count++;
    }
    assert_int_equal(error.code, PST_ERR_QUEUE_FULL);
    assert_non_null(strstr(error.text, "buffer.memory"));
    assert_true(now_ms() - started_ms >= 300);
    assert_in_range(count, 80, 101);
    pst_producer_stats(producer, &stats);
    assert_in_range(stats.bytes_buffered, 80000, 100000);
    proxy_aim(stage->proxy, daemon_port(stage->daemon));
    WAIT_FOR(pst_produce(producer, &record, tag_of(count + 1), &error) == PST_ERR_NONE);
    count++;
    put_values(producer, topic, 0, count, 300, 1000); /* waits for room again and again */
    count += 300;
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered, count);
    pst_producer_stats(producer, &stats);
    assert_int_equal(stats.bytes_buffered, 0);
    expect_partition(client, topic, 0, count, 1000);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void flush_that_runs_out_of_time_leaves_the_records_queued(void **state)
{
    struct stage *stage = *state;
    struct pst_client *client;
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;
    const char *topic;

    stage_needs_own(stage);
    client = client_open(stage, NULL);
    topic = topic_make(client, 1, NULL);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    MUST(pst_producer_flush(producer, 0, &error)); /* nothing to wait for */
    put_values(producer, topic, 0, 0, 1, 100);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    proxy_aim(stage->proxy, 0);
    proxy_break_all(stage->proxy);
    put_values(producer, topic, 0, 1, 1, 100);
    MUST_FAIL(PST_ERR_TIMED_OUT, pst_producer_flush(producer, 100, &error));
    assert_int_equal(outcomes.failed, 0);
    proxy_aim(stage->proxy, daemon_port(stage->daemon));
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered, 2);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void freeing_a_producer_fails_what_is_left_and_tells_each_record(void **state)
{
    struct stage *stage = *state;
    struct pst_client *client;
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;
    const char *topic;

    stage_needs_own(stage);
    client = client_open(stage, NULL);
    topic = topic_make(client, 4, NULL);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    put_values(producer, topic, 0, 0, 1, 100);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    proxy_set_hook(stage->proxy, lose_all, NULL);
    for (int32_t p = 0; p < 4; p++)
        put_values(producer, topic, p, 1, 500, 100);
    pst_producer_free(producer);
    assert_int_equal(outcomes.delivered, 1);
    assert_int_equal(outcomes.failed, 2000);
    assert_int_equal(outcomes.last_error, PST_ERR_CLOSED);
    pst_client_free(client);
}

/* ---- nothing twice, nothing lost, nothing out of order ---- */

static void produce_through(struct stage *stage, struct meddling *meddling, unsigned count)
{
    struct pst_client *client = client_open(stage, "linger.ms=1", "batch.size=2000", "retry.backoff.ms=5",
                                            "reconnect.backoff.ms=5", "request.timeout.ms=1000", NULL);
    const char *topic = topic_make(client, 2, NULL);
    struct outcomes outcomes = {0};
    struct pst_producer_stats stats;
    struct pst_producer *producer;
    struct pst_error error;

    proxy_set_hook(stage->proxy, meddle, meddling);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    for (unsigned i = 0; i < count; i += 10)
        for (int32_t p = 0; p < 2; p++)
            put_values(producer, topic, p, i, 10, 200);
    MUST(pst_producer_flush(producer, 2 * STAGE_WAIT_MS, &error));
    proxy_set_hook(stage->proxy, NULL, NULL);
    if (outcomes.failed > 0)
        fail_msg("%u failed: %s (%s)", outcomes.failed, outcomes.last_text,
                 pst_err_name(outcomes.last_error));
    assert_int_equal(outcomes.delivered, 2 * count);
    assert_int_equal(outcomes.out_of_order, 0);
    pst_producer_stats(producer, &stats);
    assert_true(stats.batches_retried > 0);
    for (int32_t p = 0; p < 2; p++)
        expect_partition(client, topic, p, count, 200);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void connections_broken_after_the_broker_wrote_repeat_no_record(void **state)
{
    struct meddling meddling = {.every = 7, .request = PROXY_PASS, .answer = PROXY_BREAK};

    stage_needs_own(*state);
    produce_through(*state, &meddling, 3000);
}

static void connections_broken_before_and_within_requests_lose_no_record(void **state)
{
    struct meddling meddling = {.every = 6, .request = PROXY_BREAK, .answer = PROXY_PASS};

    stage_needs_own(*state);
    produce_through(*state, &meddling, 3000);
    meddling = (struct meddling){.every = 5, .request = PROXY_PASS_HALF, .answer = PROXY_PASS_HALF};
    produce_through(*state, &meddling, 3000);
}

static void answers_that_never_come_are_asked_for_again_without_repeating_records(void **state)
{
    struct meddling meddling = {.every = 40, .request = PROXY_PASS, .answer = PROXY_LOSE};

    stage_needs_own(*state);
    produce_through(*state, &meddling, 1000);
}

static void a_broker_killed_under_load_and_started_again_has_every_record_once(void **state)
{
    enum { ROUNDS = 4, PER_ROUND = 1500 };
    struct stage *stage = *state;
    struct pst_client *client;
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;
    const char *topic;

    stage_needs_own(stage);
    client = client_open(stage, "batch.size=4000", "retry.backoff.ms=10", "reconnect.backoff.ms=10", NULL);
    topic = topic_make(client, 1, NULL);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    for (unsigned round = 0; round < ROUNDS; round++) {
        put_values(producer, topic, 0, round * PER_ROUND, PER_ROUND, 300);
        WAIT_FOR(outcomes.delivered > round * PER_ROUND);
        daemon_kill(stage->daemon);
        stage_restart(stage);
    }
    MUST(pst_producer_flush(producer, 2 * STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered, ROUNDS * PER_ROUND);
    assert_int_equal(outcomes.out_of_order, 0);
    expect_partition(client, topic, 0, ROUNDS * PER_ROUND, 300);
    pst_producer_free(producer);
    pst_client_free(client);
}

static void records_given_while_the_broker_is_away_arrive_when_it_is_back(void **state)
{
    struct stage *stage = *state;
    struct pst_client *client;
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;
    const char *topic;

    stage_needs_own(stage);
    client = client_open(stage, "retry.backoff.ms=10", "reconnect.backoff.ms=10", NULL);
    topic = topic_make(client, 1, NULL);
    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    put_values(producer, topic, 0, 0, 1000, 100);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    daemon_stop(stage->daemon);
    put_values(producer, topic, 0, 1000, 1000, 100);
    assert_int_equal(outcomes.delivered, 1000);
    stage_restart(stage);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    assert_int_equal(outcomes.delivered, 2000);
    assert_int_equal(outcomes.out_of_order, 0);
    expect_partition(client, topic, 0, 2000, 100);
    pst_producer_free(producer);
    pst_client_free(client);
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    struct pst_producer *producer;
    const char *topic;
    int32_t partition;
    _Atomic unsigned *failures;
};

static void *produce_much(void *arg)
{
    struct worker *worker = arg;
    struct pst_record record = PST_RECORD_INIT;
    struct pst_error error;
    char value[64];

    record.topic = worker->topic;
    record.partition = worker->partition;
    record.value = value;
    for (unsigned i = 0; i < 2000; i++) {
        record.value_bytes = (size_t)snprintf(value, sizeof value, "%u", i);
        if (i % 500 == 499) {
            if (pst_produce_wait(worker->producer, &record, NULL, NULL, &error) != 0)
                (*worker->failures)++;
        } else if (pst_produce(worker->producer, &record, tag_of(i + 1), &error) != 0) {
            (*worker->failures)++;
        }
    }
    if (pst_producer_flush(worker->producer, STAGE_WAIT_MS, &error) != 0)
        (*worker->failures)++;
    return NULL;
}

static void many_threads_share_a_producer_and_each_keeps_its_order(void **state)
{
    struct pst_client *client = client_open(*state, "buffer.memory=300000", NULL);
    const char *topic = topic_make(client, 6, NULL);
    struct outcomes outcomes = {0};
    _Atomic unsigned failures = 0;
    struct pst_producer *producer;
    struct worker workers[6];
    struct pst_error error;

    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    for (int i = 0; i < 6; i++) {
        workers[i] =
            (struct worker){.producer = producer, .topic = topic, .partition = i, .failures = &failures};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, produce_much, &workers[i]), 0);
    }
    for (int i = 0; i < 6; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(failures, 0);
    assert_int_equal(outcomes.delivered, 6 * (2000 - 4)); /* the blocking ones are told to their callers */
    assert_int_equal(outcomes.out_of_order, 0);
    for (int32_t p = 0; p < 6; p++)
        assert_int_equal(end_of(client, topic, p), 2000);
    pst_producer_free(producer);
    pst_client_free(client);
}

struct echo {
    struct pst_producer *producer;
    const char *topic;
    _Atomic unsigned left;
    _Atomic unsigned delivered;
    _Atomic unsigned refused;
};

static void produce_next(const struct pst_delivery *delivery, void *arg)
{
    struct pst_record record = PST_RECORD_INIT;
    struct echo *echo = arg;
    struct pst_error error;

    assert_int_equal(delivery->code, PST_ERR_NONE);
    if (echo->left > 0) {
        echo->left--;
        record.topic = echo->topic;
        record.value = "again";
        record.value_bytes = 5;
        if (pst_produce(echo->producer, &record, NULL, &error) != 0)
            echo->refused++;
        if (pst_producer_flush(echo->producer, 0, &error) != PST_ERR_INVALID_ARGUMENT)
            echo->refused++;
    }
    echo->delivered++;
}

static void a_delivery_callback_may_produce_but_not_wait(void **state)
{
    struct pst_client *client = client_open(*state, "linger.ms=0", NULL);
    struct echo echo = {.topic = topic_make(client, 1, NULL), .left = 50};
    struct pst_record record = PST_RECORD_INIT;
    struct pst_error error;

    MUST(pst_producer_new(client, produce_next, &echo, &echo.producer, &error));
    record.topic = echo.topic;
    MUST(pst_produce(echo.producer, &record, NULL, &error));
    WAIT_FOR(echo.delivered == 51);
    assert_int_equal(echo.refused, 0);
    assert_int_equal(end_of(client, echo.topic, 0), 51);
    pst_producer_free(echo.producer);
    pst_client_free(client);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_teardown(f, stage_reset)
    const struct CMUnitTest tests[] = {
        TEST(every_codec_brings_keys_nulls_headers_and_times_unchanged),
        TEST(the_blocking_form_tells_partition_and_offset_without_lingering),
        TEST(keys_go_where_java_puts_them),
        TEST(records_without_key_stay_together_for_a_batch_and_then_move),
        TEST(acks_0_sends_and_forgets_acks_1_waits_for_the_leader),
        TEST(the_delivery_has_the_brokers_time_when_the_topic_wants_it),
        TEST(a_record_that_contradicts_the_header_file_is_refused_at_once),
        TEST(a_topic_that_does_not_exist_is_told_after_max_block_ms),
        TEST(a_topic_created_while_a_record_waits_for_it_gets_the_record),
        TEST(a_record_over_max_request_size_is_refused_here_one_over_the_topics_limit_there),
        TEST(a_batch_over_the_topics_limit_is_sent_in_parts),
        TEST(bad_configurations_are_refused_with_a_hint),
        TEST(an_unreachable_broker_is_told_with_its_address_and_why),
        TEST(a_broker_that_falls_silent_costs_delivery_timeout_and_no_more),
        TEST(buffer_memory_holds_the_producer_back_and_lets_it_go_again),
        TEST(flush_that_runs_out_of_time_leaves_the_records_queued),
        TEST(freeing_a_producer_fails_what_is_left_and_tells_each_record),
        TEST(connections_broken_after_the_broker_wrote_repeat_no_record),
        TEST(connections_broken_before_and_within_requests_lose_no_record),
        TEST(answers_that_never_come_are_asked_for_again_without_repeating_records),
        TEST(a_broker_killed_under_load_and_started_again_has_every_record_once),
        TEST(records_given_while_the_broker_is_away_arrive_when_it_is_back),
        TEST(many_threads_share_a_producer_and_each_keeps_its_order),
        TEST(a_delivery_callback_may_produce_but_not_wait),
    };

    if (argc > 1) /* "a_broker*" */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_stage, stage_close);
}
