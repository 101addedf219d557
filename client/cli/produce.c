/* penstock produce: standard input or files as records. */
#include "client/cli/cli.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADERS_MAX 64

static const char help[] =
    "usage: penstock produce -t TOPIC [OPTION]... [FILE]...\n"
    "\n"
    "Sends every line of standard input as a record; with FILEs, every file as one record.\n"
    "\n"
    "  -t, --topic TOPIC        where to\n"
    "  -p, --partition N        partition (default: by key, or sticky)\n"
    "  -k, --key KEY            key of every record\n"
    "  -K, --key-delimiter S    a line is KEY S VALUE\n"
    "  -D, --delimiter C        one character that ends a record (default: newline; \\0 for NUL)\n"
    "  -H, --header NAME=VALUE  header of every record, may be repeated\n"
    "  -z, --compress CODEC     none, gzip, snappy, lz4, zstd\n"
    "  -Z, --null               an empty value (and key) is null\n"
    "  -l, --lines              read FILEs line by line\n"
    "  -a, --acks N             all (default), 1 or 0\n"
    "  -b, -X, -q, -h           see penstock --help\n"
    "\n"
    "Ends when the broker has acknowledged everything; exit status 1 when a record could not be delivered.\n"
    "\n"
    "Examples:\n"
    "  echo hello | penstock produce -t greetings\n"
    "  penstock produce -t users -K : < users.txt         # key:value lines\n"
    "  penstock produce -t photos picture.jpg             # a file is a record\n";

struct produce {
    struct cli cli;
    const char *topic;
    int64_t partition;
    const char *key;
    const char *key_delimiter;
    int delimiter;
    struct pst_header headers[HEADERS_MAX];
    size_t header_count;
    bool null_empty;
    bool lines;
    struct pst_producer *producer;
    struct cli_progress progress;
    uint64_t sent;
    uint64_t sent_bytes;
    uint64_t total_bytes; /* of a file read line by line, for progress */
    _Atomic uint64_t failed;
    _Atomic bool told;
};

static const struct cli_option options[] = {
    {'t', "topic", true},     {'p', "partition", true}, {'k', "key", true},      {'K', "key-delimiter", true},
    {'D', "delimiter", true}, {'H', "header", true},    {'z', "compress", true}, {'Z', "null", false},
    {'l', "lines", false},    {'a', "acks", true},
};

static bool set(struct produce *produce, const char *key, const char *value)
{
    struct pst_error error;

    if (pst_config_set(produce->cli.config, key, value, &error) == 0)
        return true;
    cli_complain(&produce->cli, "%s", error.text);
    return false;
}

static bool add_header(struct produce *produce, const char *pair)
{
    const char *equals = strchr(pair, '=');

    if (equals == NULL || produce->header_count == HEADERS_MAX) {
        cli_complain(&produce->cli, "-H %s: expected NAME=VALUE, at most %d", pair, HEADERS_MAX);
        return false;
    }
    produce->headers[produce->header_count++] =
        (struct pst_header){pair, (size_t)(equals - pair), equals + 1, strlen(equals + 1)};
    return true;
}

static bool set_delimiter(struct produce *produce, const char *value)
{
    if (strcmp(value, "\\0") == 0)
        produce->delimiter = '\0';
    else if (strcmp(value, "\\n") == 0)
        produce->delimiter = '\n';
    else if (strcmp(value, "\\t") == 0)
        produce->delimiter = '\t';
    else if (strlen(value) == 1)
        produce->delimiter = (unsigned char)value[0];
    else {
        cli_complain(&produce->cli, "-D %s: expected one character, \\n, \\t or \\0", value);
        return false;
    }
    return true;
}

static bool take(void *arg, const char *name, const char *value)
{
    struct produce *produce = arg;

    if (strcmp(name, "topic") == 0)
        produce->topic = value;
    else if (strcmp(name, "partition") == 0)
        return cli_number(&produce->cli, "--partition", value, 0, INT32_MAX, &produce->partition);
    else if (strcmp(name, "key") == 0)
        produce->key = value;
    else if (strcmp(name, "key-delimiter") == 0)
        produce->key_delimiter = value;
    else if (strcmp(name, "delimiter") == 0)
        return set_delimiter(produce, value);
    else if (strcmp(name, "header") == 0)
        return add_header(produce, value);
    else if (strcmp(name, "compress") == 0)
        return set(produce, "compression.type", value);
    else if (strcmp(name, "acks") == 0)
        return (strcmp(value, "all") == 0 || strcmp(value, "-1") == 0 ||
                set(produce, "enable.idempotence", "false")) &&
               set(produce, "acks", value);
    else if (strcmp(name, "null") == 0)
        produce->null_empty = true;
    else
        produce->lines = true;
    return true;
}

/* Thread: the client's. */
static void delivered(const struct pst_delivery *delivery, void *arg)
{
    struct produce *produce = arg;

    if (delivery->code == 0)
        return;
    produce->failed++;
    if (!atomic_exchange(&produce->told, true)) /* the first says why, the count how many */
        cli_complain(&produce->cli, "%s [%d]: %s (%s)", delivery->topic, delivery->partition, delivery->text,
                     pst_err_name(delivery->code));
}

static bool send_record(struct produce *produce, const char *key, size_t key_bytes, const char *value,
                        size_t value_bytes)
{
    struct pst_record record = PST_RECORD_INIT;
    struct pst_error error;

    record.topic = produce->topic;
    record.partition = (int32_t)produce->partition;
    record.key = produce->null_empty && key_bytes == 0 ? NULL : key;
    record.key_bytes = key_bytes;
    record.value = produce->null_empty && value_bytes == 0 ? NULL : value;
    record.value_bytes = value_bytes;
    record.headers = produce->headers;
    record.header_count = produce->header_count;
    if (pst_produce(produce->producer, &record, NULL, &error) != 0) {
        cli_complain_error(&produce->cli, "record refused", &error);
        return false;
    }
    produce->sent++;
    produce->sent_bytes += key_bytes + value_bytes;
    cli_progress_show(&produce->progress, produce->sent, 0, produce->sent_bytes);
    return true;
}

static bool send_line(struct produce *produce, char *line, size_t length)
{
    char *found;
    size_t delimiter_length;

    if (produce->key_delimiter == NULL)
        return send_record(produce, produce->key, produce->key == NULL ? 0 : strlen(produce->key), line,
                           length);
    delimiter_length = strlen(produce->key_delimiter);
    found = memmem(line, length, produce->key_delimiter, delimiter_length);
    if (found == NULL)
        return send_record(produce, NULL, 0, line, length);
    return send_record(produce, line, (size_t)(found - line), found + delimiter_length,
                       length - (size_t)(found - line) - delimiter_length);
}

static bool send_lines(struct produce *produce, FILE *input, const char *name)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool sent = true;

    while (sent && (length = getdelim(&line, &capacity, produce->delimiter, input)) > 0) {
        if ((unsigned char)line[length - 1] == produce->delimiter)
            length--;
        sent = send_line(produce, line, (size_t)length);
    }
    if (ferror(input)) {
        cli_complain(&produce->cli, "%s: %s", name, strerror(errno));
        sent = false;
    }
    free(line);
    return sent;
}

#define FILE_RECORD_BYTES_MAX (1u << 30)

static bool send_file(struct produce *produce, const char *name)
{
    FILE *file = fopen(name, "rb");
    struct stat info;
    char *content = NULL;
    bool sent = false;

    if (file == NULL || fstat(fileno(file), &info) != 0) {
        cli_complain(&produce->cli, "%s: %s", name, strerror(errno));
    } else if (produce->lines) {
        sent = send_lines(produce, file, name);
    } else if (info.st_size > FILE_RECORD_BYTES_MAX) {
        cli_complain(&produce->cli, "%s: too large for one record; -l sends its lines", name);
    } else if ((content = malloc((size_t)info.st_size + 1)) != NULL &&
               fread(content, 1, (size_t)info.st_size, file) == (size_t)info.st_size) {
        sent = send_record(produce, produce->key, produce->key == NULL ? 0 : strlen(produce->key), content,
                           (size_t)info.st_size);
    } else {
        cli_complain(&produce->cli, "%s: cannot be read", name);
    }
    free(content);
    if (file != NULL)
        fclose(file);
    return sent;
}

#define FLUSH_MS 600000

static int run(struct produce *produce)
{
    struct pst_error error;
    bool sent = true;

    if (produce->topic == NULL)
        return cli_usage(&produce->cli, "no topic: give -t TOPIC");
    if (!cli_connect(&produce->cli))
        return CLI_FAILED;
    if (pst_producer_new(produce->cli.client, delivered, produce, &produce->producer, &error) != 0) {
        cli_complain_error(&produce->cli, "producer", &error);
        return CLI_FAILED;
    }
    cli_progress_start(&produce->progress);
    if (produce->cli.argc == 0)
        sent = send_lines(produce, stdin, "standard input");
    for (int i = 0; i < produce->cli.argc && sent; i++)
        sent = send_file(produce, produce->cli.argv[i]);
    if (pst_producer_flush(produce->producer, FLUSH_MS, &error) != 0) {
        cli_complain_error(&produce->cli, "flush", &error);
        sent = false;
    }
    cli_progress_end(&produce->progress);
    pst_producer_free(produce->producer);
    if (produce->failed > 0)
        cli_complain(&produce->cli, "%llu of %llu records were not delivered",
                     (unsigned long long)produce->failed, (unsigned long long)produce->sent);
    return sent && produce->failed == 0 ? CLI_OK : CLI_FAILED;
}

int cli_produce(int argc, char **argv)
{
    struct produce produce = {.partition = PST_PARTITION_ANY, .delimiter = '\n'};
    int code = cli_read(&produce.cli, "produce", help, argc, argv, options,
                        sizeof options / sizeof options[0], take, &produce);

    if (code == CLI_OK)
        code = run(&produce);
    cli_end(&produce.cli);
    return code;
}
