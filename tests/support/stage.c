#include "tests/support/stage.h"

#include "common/clock.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPIC_NAMES       32
#define SETTINGS_OF_TOPIC 8
#define VALUE_BYTES_MAX   (4u << 20)

int64_t now_ms(void)
{
    return clock_monotonic_us(&real_clock) / 1000;
}

void pause_briefly(void)
{
    usleep(2000);
}

/* ---- the stage ---- */

int stage_open(void **state, const char *const *settings)
{
    const char *foreign = getenv("PENSTOCK_TEST_BOOTSTRAP");
    struct stage *stage = calloc(1, sizeof *stage);

    if (stage == NULL)
        err(1, "calloc");
    if (foreign != NULL) {
        snprintf(stage->bootstrap, sizeof stage->bootstrap, "%s", foreign);
    } else {
        stage->proxy = proxy_new();
        stage->daemon = daemon_new(settings, proxy_port(stage->proxy));
        proxy_aim(stage->proxy, daemon_port(stage->daemon));
        snprintf(stage->bootstrap, sizeof stage->bootstrap, "127.0.0.1:%u",
                 (unsigned)proxy_port(stage->proxy));
    }
    *state = stage;
    return 0;
}

int stage_close(void **state)
{
    struct stage *stage = *state;

    if (stage->daemon != NULL)
        daemon_stop(stage->daemon);
    daemon_free(stage->daemon);
    proxy_free(stage->proxy);
    free(stage);
    return 0;
}

int stage_reset(void **state)
{
    struct stage *stage = *state;

    if (stage->daemon == NULL)
        return 0;
    proxy_set_hook(stage->proxy, NULL, NULL);
    if (daemon_port(stage->daemon) == 0)
        stage_restart(stage);
    proxy_aim(stage->proxy, daemon_port(stage->daemon));
    return 0;
}

void stage_needs_own(const struct stage *stage)
{
    if (stage->daemon == NULL)
        skip();
}

void stage_restart(struct stage *stage)
{
    daemon_start(stage->daemon);
    proxy_aim(stage->proxy, daemon_port(stage->daemon));
}

void must_be(pst_err_t code, pst_err_t wanted, const struct pst_error *error, const char *what,
             const char *file, int line)
{
    if (code == wanted)
        return;
    print_error("%s: %s (%s), not %s\n", what, pst_err_name(code), code != 0 ? error->text : "",
                pst_err_name(wanted));
    _fail(file, line);
}

/* ---- clients and topics ---- */

static void set_pair(struct pst_config *config, const char *pair)
{
    const char *equals = strchr(pair, '=');
    char *key = strndup(pair, (size_t)(equals - pair));
    struct pst_error error;

    MUST(pst_config_set(config, key, equals + 1, &error));
    free(key);
}

struct pst_client *client_open(const struct stage *stage, ...)
{
    struct pst_config *config = pst_config_new();
    struct pst_client *client = NULL;
    struct pst_error error;
    const char *pair;
    va_list pairs;

    assert_non_null(config);
    MUST(pst_config_set(config, "bootstrap.servers", stage->bootstrap, &error));
    va_start(pairs, stage);
    while ((pair = va_arg(pairs, const char *)) != NULL)
        set_pair(config, pair);
    va_end(pairs);
    MUST(pst_client_new(config, &client, &error));
    pst_config_free(config);
    return client;
}

const char *topic_name(void)
{
    static char names[TOPIC_NAMES][64];
    static unsigned next;
    char *name = names[next % TOPIC_NAMES];

    snprintf(name, sizeof names[0], "test-%d-%u", (int)getpid(), next++);
    return name;
}

const char *topic_make(struct pst_client *client, int32_t partitions, ...)
{
    struct pst_setting settings[SETTINGS_OF_TOPIC];
    struct pst_new_topic topic = {
        .name = topic_name(), .partitions = partitions, .replication_factor = -1, .settings = settings};
    struct pst_error error;
    const char *pair;
    va_list pairs;

    va_start(pairs, partitions);
    while ((pair = va_arg(pairs, const char *)) != NULL) {
        const char *equals = strchr(pair, '=');

        assert_true(topic.setting_count < SETTINGS_OF_TOPIC);
        settings[topic.setting_count++] =
            (struct pst_setting){strndup(pair, (size_t)(equals - pair)), equals + 1};
    }
    va_end(pairs);
    MUST(pst_create_topics(client, &topic, 1, false, STAGE_WAIT_MS, &error));
    if (topic.outcome.code != 0)
        fail_msg("create %s: %s", topic.name, topic.outcome.text);
    for (size_t i = 0; i < topic.setting_count; i++)
        free((void *)(uintptr_t)settings[i].name);
    return topic.name;
}

int64_t end_of(struct pst_client *client, const char *topic, int32_t partition)
{
    struct pst_error error;
    int64_t low, high = -1;

    MUST(pst_watermarks(client, topic, partition, STAGE_WAIT_MS, &low, &high, &error));
    return high;
}

/* ---- records ---- */

void *tag_of(uintptr_t number)
{
    return (void *)number;
}

void note_delivery(const struct pst_delivery *delivery, void *arg)
{
    struct outcomes *outcomes = arg;
    int64_t tag = (int64_t)(uintptr_t)delivery->tag;
    size_t slot = (size_t)delivery->partition % 64;

    if (delivery->code != PST_ERR_NONE) {
        snprintf(outcomes->last_text, sizeof outcomes->last_text, "%s", delivery->text);
        outcomes->last_error = delivery->code;
        outcomes->failed++;
        return;
    }
    if (tag <= outcomes->last_tag[slot] || (delivery->offset >= 0 && outcomes->last_tag[slot] > 0 &&
                                            delivery->offset <= outcomes->last_offset[slot]))
        outcomes->out_of_order++;
    outcomes->last_tag[slot] = tag;
    outcomes->last_offset[slot] = delivery->offset;
    outcomes->delivered++;
}

const char *value_of(unsigned number, size_t bytes)
{
    static char value[VALUE_BYTES_MAX + 1];
    int head;

    assert_true(bytes >= 12 && bytes <= VALUE_BYTES_MAX);
    head = snprintf(value, sizeof value, "%u;", number);
    for (size_t i = (size_t)head; i < bytes; i++)
        value[i] = (char)('a' + (i * 7 + number) % 26);
    value[bytes] = '\0';
    return value;
}

void put_values(struct pst_producer *producer, const char *topic, int32_t partition, unsigned first,
                unsigned count, size_t bytes)
{
    struct pst_record record = PST_RECORD_INIT;
    struct pst_error error;

    record.topic = topic;
    record.partition = partition;
    record.value_bytes = bytes;
    for (unsigned i = first; i < first + count; i++) {
        record.value = value_of(i, bytes);
        MUST(pst_produce(producer, &record, tag_of(i + 1), &error));
    }
}

void put_all(struct pst_client *client, const char *topic, int32_t partition, unsigned first, unsigned count,
             size_t bytes)
{
    struct outcomes outcomes = {0};
    struct pst_producer *producer;
    struct pst_error error;

    MUST(pst_producer_new(client, note_delivery, &outcomes, &producer, &error));
    put_values(producer, topic, partition, first, count, bytes);
    MUST(pst_producer_flush(producer, STAGE_WAIT_MS, &error));
    pst_producer_free(producer);
    assert_int_equal(outcomes.delivered, count);
}

void expect_values(struct pst_consumer *consumer, unsigned first, unsigned count, size_t bytes,
                   int64_t offset)
{
    struct pst_message message;
    struct pst_error error;

    for (unsigned i = 0; i < count; i++) {
        MUST(pst_consumer_poll(consumer, STAGE_WAIT_MS, &message, &error));
        assert_int_equal(message.offset, offset + i);
        assert_int_equal(message.value_bytes, bytes);
        assert_memory_equal(message.value, value_of(first + i, bytes), bytes);
    }
}

void expect_partition(struct pst_client *client, const char *topic, int32_t partition, unsigned count,
                      size_t bytes)
{
    struct pst_assignment assignment = {topic, partition, PST_OFFSET_BEGINNING};
    struct pst_consumer *consumer;
    struct pst_error error;

    assert_int_equal(end_of(client, topic, partition), count);
    MUST(pst_consumer_new(client, &consumer, &error));
    MUST(pst_consumer_assign(consumer, &assignment, 1, &error));
    expect_values(consumer, 0, count, bytes, 0);
    pst_consumer_free(consumer);
}
