/* The round trip of README.md with librdkafka, and the ordered load that is sent through the resetting proxy.
 * Any error ends the program with a message and status 1. */
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_MS = 60000, MAX_HEADERS = 16 };

struct bytes {
    void *data; /* NULL for null */
    size_t size;
};

struct header {
    struct bytes name, value;
};

struct message {
    int64_t timestamp_ms;
    struct bytes key, value;
    struct header headers[MAX_HEADERS];
    size_t headers_count;
};

struct plan {
    const char *bootstrap, *out, *prefix;
    struct message *messages;
    int64_t count, from_offset, from_time_ms;
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void check(rd_kafka_resp_err_t error, const char *what)
{
    if (error)
        die("%s: %s", what, rd_kafka_err2str(error));
}

static unsigned digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = c ? strchr(digits, c) : NULL;

    if (!found)
        die("no hexadecimal digit: %c", c);
    return (unsigned)(found - digits);
}

static struct bytes from_hex(const char *text, size_t length)
{
    struct bytes bytes = {NULL, length / 2};

    if (length == 1 && *text == '-')
        return (struct bytes){NULL, 0};
    bytes.data = malloc(bytes.size + 1);
    if (!bytes.data)
        die("out of memory");
    for (size_t i = 0; i < bytes.size; i++)
        ((unsigned char *)bytes.data)[i] = (unsigned char)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    ((char *)bytes.data)[bytes.size] = '\0';
    return bytes;
}

static void put_hex(FILE *file, const void *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;

    if (!data)
        fputc('-', file);
    for (size_t i = 0; data && i < size; i++) {
        fputc(digits[bytes[i] >> 4], file);
        fputc(digits[bytes[i] & 15], file);
    }
}

static void read_headers(char *text, struct message *message)
{
    for (char *next = strtok(text, ","); next; next = strtok(NULL, ",")) {
        char *equals = strchr(next, '=');
        struct header *header = &message->headers[message->headers_count];

        if (!equals || message->headers_count++ == MAX_HEADERS)
            die("headers: %s", next);
        header->name = from_hex(next, (size_t)(equals - next));
        header->value = from_hex(equals + 1, strlen(equals + 1));
    }
}

static void read_messages(const char *path, struct plan *plan)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    if (!file)
        die("cannot open %s", path);
    while ((length = getline(&line, &room, file)) > 0) {
        char *field[4], *rest = line;
        struct message *message;

        line[length - 1] = '\0';
        for (int i = 0; i < 4; i++)
            field[i] = strsep(&rest, "\t");
        if (!field[3])
            die("four fields expected in %s", path);
        plan->messages = realloc(plan->messages, ((size_t)plan->count + 1) * sizeof(*plan->messages));
        if (!plan->messages)
            die("out of memory");
        message = &plan->messages[plan->count++];
        memset(message, 0, sizeof(*message));
        message->timestamp_ms = atoll(field[0]);
        message->key = from_hex(field[1], strlen(field[1]));
        message->value = from_hex(field[2], strlen(field[2]));
        read_headers(field[3], message);
    }
    free(line);
    fclose(file);
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    (void)client;
    (void)opaque;
    check(message->err, "delivery");
}

/* settings: name, value, ..., NULL */
static rd_kafka_t *start(rd_kafka_type_t type, const char *bootstrap, const char *const *settings)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char error[512];
    rd_kafka_t *client;

    if (type == RD_KAFKA_PRODUCER)
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, error, sizeof(error)))
        die("%s", error);
    for (; *settings; settings += 2) {
        if (rd_kafka_conf_set(conf, settings[0], settings[1], error, sizeof(error)))
            die("%s", error);
    }
    client = rd_kafka_new(type, conf, error, sizeof(error));
    if (!client)
        die("%s", error);
    return client;
}

static void create_topic(rd_kafka_t *client, const char *topic)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_NewTopic_t *new_topic = rd_kafka_NewTopic_new(topic, 1, 1, NULL, 0);
    const rd_kafka_topic_result_t **results;
    rd_kafka_event_t *event;
    size_t count;

    rd_kafka_CreateTopics(client, &new_topic, 1, NULL, queue);
    event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
    if (!event)
        die("create topic: no answer");
    check(rd_kafka_event_error(event), "create topic");
    results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    if (count != 1)
        die("create topic: %zu results", count);
    check(rd_kafka_topic_result_error(results[0]), "create topic");
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(new_topic);
    rd_kafka_queue_destroy(queue);
}

static void send_message(rd_kafka_t *client, const char *topic, const struct message *message)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->headers_count);

    for (size_t i = 0; i < message->headers_count; i++) {
        const struct header *header = &message->headers[i];

        check(rd_kafka_header_add(headers, header->name.data, (ssize_t)header->name.size, header->value.data,
                                  (ssize_t)header->value.size),
              "header");
    }
    check(rd_kafka_producev(client, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                            RD_KAFKA_V_TIMESTAMP(message->timestamp_ms),
                            RD_KAFKA_V_KEY(message->key.data, message->key.size),
                            RD_KAFKA_V_VALUE(message->value.data, message->value.size),
                            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                            RD_KAFKA_V_END),
          "produce");
}

static void produce(const struct plan *plan, const char *topic, const char *run)
{
    int is_plain = strcmp(run, "plain") == 0;
    const char *const settings[] = {"enable.idempotence",
                                    is_plain ? "false" : "true",
                                    "compression.type",
                                    is_plain ? "none" : run,
                                    "message.max.bytes",
                                    "1048576",
                                    NULL};
    rd_kafka_t *client = start(RD_KAFKA_PRODUCER, plan->bootstrap, settings);

    create_topic(client, topic);
    for (int64_t i = 0; i < plan->count; i++)
        send_message(client, topic, &plan->messages[i]);
    check(rd_kafka_flush(client, TIMEOUT_MS), "flush");
    rd_kafka_destroy(client);
}

static void write_message(FILE *file, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t size;

    fprintf(file, "%lld\t%lld\t", (long long)message->offset,
            (long long)rd_kafka_message_timestamp(message, NULL));
    put_hex(file, message->key, message->key_len);
    fputc('\t', file);
    put_hex(file, message->payload, message->len);
    fputc('\t', file);
    if (!rd_kafka_message_headers(message, &headers)) {
        for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++) {
            if (i)
                fputc(',', file);
            put_hex(file, name, strlen(name));
            fputc('=', file);
            put_hex(file, value, size);
        }
    }
    fputc('\n', file);
}

static void read_from(rd_kafka_t *client, rd_kafka_topic_partition_list_t *from, int64_t end_offset,
                      const struct plan *plan, const char *run, const char *what)
{
    char path[4096];
    FILE *file;
    time_t deadline = time(NULL) + TIMEOUT_MS / 1000;

    snprintf(path, sizeof(path), "%s/%s.%s", plan->out, run, what);
    file = fopen(path, "w");
    if (!file)
        die("cannot open %s", path);
    check(rd_kafka_assign(client, from), "assign");
    for (int64_t next = from->elems[0].offset; next < end_offset;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, 1000);

        if (time(NULL) > deadline)
            die("%s: still at offset %lld of %lld", what, (long long)next, (long long)end_offset);
        if (!message)
            continue;
        check(message->err, "consume");
        write_message(file, message);
        next = message->offset + 1;
        rd_kafka_message_destroy(message);
    }
    fclose(file);
}

static void consume(const struct plan *plan, const char *topic, const char *run)
{
    const char *const settings[] = {"group.id",   "none", "enable.auto.commit", "false",
                                    "check.crcs", "true", "fetch.wait.max.ms",  "10",
                                    NULL};
    rd_kafka_t *client = start(RD_KAFKA_CONSUMER, plan->bootstrap, settings);
    rd_kafka_topic_partition_list_t *from = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(from, topic, 0)->offset = plan->from_offset;
    read_from(client, from, plan->count, plan, run, "offset");
    from->elems[0].offset = plan->from_time_ms;
    check(rd_kafka_offsets_for_times(client, from, TIMEOUT_MS), "offsets for times");
    check(from->elems[0].err, "offset for time");
    read_from(client, from, plan->count, plan, run, "time");
    rd_kafka_topic_partition_list_destroy(from);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

/* Numbers 0 .. count - 1, through whatever is between us and the broker. */
static void send_ordered(const char *bootstrap, const char *topic, int count, const char *idempotence)
{
    const char *const settings[] = {"enable.idempotence",
                                    idempotence,
                                    "batch.size",
                                    "4096",
                                    "reconnect.backoff.ms",
                                    "5",
                                    "reconnect.backoff.max.ms",
                                    "20",
                                    "retry.backoff.ms",
                                    "5",
                                    "log_level",
                                    "2",
                                    NULL};
    rd_kafka_t *client = start(RD_KAFKA_PRODUCER, bootstrap, settings);
    char value[128];

    for (int i = 0; i < count; i++) {
        rd_kafka_resp_err_t error;

        snprintf(value, sizeof(value), "%d %0100d", i, 0);
        while ((error = rd_kafka_producev(client, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                          RD_KAFKA_V_VALUE(value, strlen(value)),
                                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END)) ==
               RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(client, 100);
        check(error, "produce");
    }
    check(rd_kafka_flush(client, TIMEOUT_MS), "flush");
    rd_kafka_destroy(client);
}

int main(int argc, char **argv)
{
    struct plan plan = {0};
    char topic[256];

    if (argc == 6 && strcmp(argv[1], "ordered") == 0) {
        send_ordered(argv[2], argv[3], atoi(argv[4]), argv[5]);
        return 0;
    }
    if (argc < 9)
        die("usage: %s both|produce|consume BOOTSTRAP MESSAGES OUT FROM_OFFSET FROM_TIME PREFIX RUN...\n"
            "       %s ordered BOOTSTRAP TOPIC COUNT true|false",
            argv[0], argv[0]);
    plan.bootstrap = argv[2];
    read_messages(argv[3], &plan);
    plan.out = argv[4];
    plan.from_offset = atoll(argv[5]);
    plan.from_time_ms = atoll(argv[6]);
    plan.prefix = argv[7];
    for (int i = 8; i < argc; i++) {
        snprintf(topic, sizeof(topic), "%s-%s", plan.prefix, argv[i]);
        if (strcmp(argv[1], "consume") != 0)
            produce(&plan, topic, argv[i]);
        if (strcmp(argv[1], "produce") != 0)
            consume(&plan, topic, argv[i]);
    }
    return 0;
}
