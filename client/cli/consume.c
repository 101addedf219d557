/* penstock consume: records of assigned partitions to standard output. */
#include "client/cli/cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define POLL_RECORDS 512
#define POLL_MS      200

static const char help[] =
    "usage: penstock consume -t TOPIC [OPTION]...\n"
    "\n"
    "Prints the values of a topic's records, each followed by a newline.\n"
    "\n"
    "  -t, --topic TOPIC        where from\n"
    "  -p, --partition N        only this partition (default: all)\n"
    "  -o, --offset WHERE       beginning, end (default), N, -N (N before the end), or @MS (first at or "
    "after that\n"
    "                           time, milliseconds since 1970)\n"
    "  -c, --count N            end after N records\n"
    "  -e, --exit               end at the end of the last partition\n"
    "  -f, --format FORMAT      %t topic, %p partition, %o offset, %T timestamp, %k key, %s value, %S value "
    "length,\n"
    "                           %K key length, %h headers, %% percent, \\n \\t \\0 as usual\n"
    "  -K, --key-delimiter S    print key S value\n"
    "  -D, --delimiter C        what follows each record (default: newline; \\0 for NUL, empty for nothing)\n"
    "  -Z, --null               print NULL for a null key or value\n"
    "  -u, --uncommitted        also records of open and aborted transactions\n"
    "  -b, -X, -J, -q, -h       see penstock --help; -J prints an object a record\n"
    "\n"
    "Examples:\n"
    "  penstock consume -t orders -o beginning -e          # everything there is\n"
    "  penstock consume -t orders -o -10 -c 10             # the last ten\n"
    "  penstock consume -t orders -f '%p %o %k=%s\\n'\n";

struct consume {
    struct cli cli;
    const char *topic;
    int64_t partition;
    const char *where;
    int64_t count;
    bool exit_at_end;
    const char *format;
    const char *key_delimiter;
    const char *delimiter;
    bool show_null;
    struct pst_consumer *consumer;
    struct pst_assignment *assigned;
    size_t assigned_count;
    bool *ended;
    size_t ended_count;
    int64_t printed;
};

static const struct cli_option options[] = {
    {'t', "topic", true}, {'p', "partition", true},    {'o', "offset", true},        {'c', "count", true},
    {'e', "exit", false}, {'f', "format", true},       {'K', "key-delimiter", true}, {'D', "delimiter", true},
    {'Z', "null", false}, {'u', "uncommitted", false},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static bool set(struct consume *consume, const char *key, const char *value)
{
    struct pst_error error;

    if (pst_config_set(consume->cli.config, key, value, &error) == 0)
        return true;
    cli_complain(&consume->cli, "%s", error.text);
    return false;
}

static bool take(void *arg, const char *name, const char *value)
{
    struct consume *consume = arg;

    if (strcmp(name, "topic") == 0)
        consume->topic = value;
    else if (strcmp(name, "partition") == 0)
        return cli_number(&consume->cli, "--partition", value, 0, INT32_MAX, &consume->partition);
    else if (strcmp(name, "offset") == 0)
        consume->where = value;
    else if (strcmp(name, "count") == 0)
        return cli_number(&consume->cli, "--count", value, 1, INT64_MAX, &consume->count);
    else if (strcmp(name, "exit") == 0)
        consume->exit_at_end = true;
    else if (strcmp(name, "format") == 0)
        consume->format = value;
    else if (strcmp(name, "key-delimiter") == 0)
        consume->key_delimiter = value;
    else if (strcmp(name, "delimiter") == 0)
        consume->delimiter = value;
    else if (strcmp(name, "null") == 0)
        consume->show_null = true;
    else
        return set(consume, "isolation.level", "read_uncommitted");
    return true;
}

/* ---- printing ---- */

static void print_part(const struct consume *consume, const void *part, size_t length)
{
    if (part == NULL && consume->show_null)
        fputs("NULL", stdout);
    else if (length > 0)
        fwrite(part, 1, length, stdout);
}

/* "\n", "\t", "\0", "\\"; returns the characters used. */
static size_t print_escape(const char *at)
{
    switch (at[1]) {
    case 'n':
        putchar('\n');
        return 2;
    case 't':
        putchar('\t');
        return 2;
    case '0':
        putchar('\0');
        return 2;
    case '\\':
        putchar('\\');
        return 2;
    default:
        putchar('\\');
        return 1;
    }
}

static void print_escaped(const char *text)
{
    while (*text != '\0') {
        if (*text == '\\')
            text += print_escape(text);
        else
            putchar(*text++);
    }
}

static void print_headers(const struct pst_message *message)
{
    struct pst_header header;

    for (size_t i = 0; pst_message_header(message, i, &header); i++) {
        if (i > 0)
            putchar(',');
        fwrite(header.key, 1, header.key_bytes, stdout);
        putchar('=');
        if (header.value_bytes > 0)
            fwrite(header.value, 1, header.value_bytes, stdout);
    }
}

static void print_directive(const struct consume *consume, const struct pst_message *message, char letter)
{
    switch (letter) {
    case 't':
        fputs(message->topic, stdout);
        break;
    case 'p':
        printf("%d", message->partition);
        break;
    case 'o':
        printf("%" PRId64, message->offset);
        break;
    case 'T':
        printf("%" PRId64, message->timestamp_ms);
        break;
    case 'k':
        print_part(consume, message->key, message->key_bytes);
        break;
    case 's':
        print_part(consume, message->value, message->value_bytes);
        break;
    case 'K':
        printf("%" PRId64, message->key == NULL ? (int64_t)-1 : (int64_t)message->key_bytes);
        break;
    case 'S':
        printf("%" PRId64, message->value == NULL ? (int64_t)-1 : (int64_t)message->value_bytes);
        break;
    case 'h':
        print_headers(message);
        break;
    case '%':
        putchar('%');
        break;
    default:
        printf("%%%c", letter);
    }
}

static void print_formatted(const struct consume *consume, const struct pst_message *message)
{
    const char *at = consume->format;

    while (*at != '\0') {
        if (*at == '%' && at[1] != '\0') {
            print_directive(consume, message, at[1]);
            at += 2;
        } else if (*at == '\\') {
            at += print_escape(at);
        } else {
            putchar(*at++);
        }
    }
}

static void print_json_part(const char *name, const void *part, size_t length)
{
    printf(",\"%s\":", name);
    if (part == NULL)
        fputs("null", stdout);
    else
        cli_json_text(stdout, part, length);
}

static void print_json(const struct pst_message *message)
{
    struct pst_header header;

    fputs("{\"topic\":", stdout);
    cli_json_text(stdout, message->topic, strlen(message->topic));
    printf(",\"partition\":%d,\"offset\":%" PRId64 ",\"tstype\":\"%s\",\"ts\":%" PRId64 ",\"headers\":[",
           message->partition, message->offset, message->log_append_time ? "logappend" : "create",
           message->timestamp_ms);
    for (size_t i = 0; pst_message_header(message, i, &header); i++) {
        if (i > 0)
            putchar(',');
        cli_json_text(stdout, header.key, header.key_bytes);
        putchar(',');
        if (header.value == NULL)
            fputs("null", stdout);
        else
            cli_json_text(stdout, header.value, header.value_bytes);
    }
    putchar(']');
    print_json_part("key", message->key, message->key_bytes);
    print_json_part("payload", message->value, message->value_bytes);
    fputs("}\n", stdout);
}

static void print_message(const struct consume *consume, const struct pst_message *message)
{
    if (consume->cli.json) {
        print_json(message);
    } else if (consume->format != NULL) {
        print_formatted(consume, message);
    } else {
        if (consume->key_delimiter != NULL) {
            print_part(consume, message->key, message->key_bytes);
            print_escaped(consume->key_delimiter);
        }
        print_part(consume, message->value, message->value_bytes);
        print_escaped(consume->delimiter);
    }
}

/* ---- what to read ---- */

/* Offsets counted from the end, or found by time, are asked of the broker. */
static bool resolve_relative(struct consume *consume, int64_t back)
{
    struct pst_error error;

    for (size_t i = 0; i < consume->assigned_count; i++) {
        int64_t low;
        int64_t high;

        if (pst_watermarks(consume->cli.client, consume->topic, consume->assigned[i].partition,
                           CLI_TIMEOUT_MS, &low, &high, &error) != 0) {
            cli_complain_error(&consume->cli, "offsets", &error);
            return false;
        }
        consume->assigned[i].offset = high - back > low ? high - back : low;
    }
    return true;
}

static bool resolve_time(struct consume *consume, int64_t timestamp_ms)
{
    struct pst_offset_query *queries = calloc(consume->assigned_count, sizeof *queries);
    struct pst_error error;
    bool found = queries != NULL;

    for (size_t i = 0; found && i < consume->assigned_count; i++)
        queries[i] = (struct pst_offset_query){.topic = consume->topic,
                                               .partition = consume->assigned[i].partition,
                                               .timestamp_ms = timestamp_ms};
    if (found && pst_list_offsets(consume->cli.client, queries, consume->assigned_count, CLI_TIMEOUT_MS,
                                  &error) != 0) {
        cli_complain_error(&consume->cli, "offsets", &error);
        found = false;
    }
    for (size_t i = 0; found && i < consume->assigned_count; i++)
        consume->assigned[i].offset = queries[i].offset >= 0 ? queries[i].offset : PST_OFFSET_END;
    free(queries);
    return found;
}

/* CLI_OK, CLI_USAGE or CLI_FAILED. */
static int resolve_where(struct consume *consume)
{
    const char *where = consume->where;
    int64_t offset = PST_OFFSET_END;

    if (strcmp(where, "beginning") == 0 || strcmp(where, "earliest") == 0)
        offset = PST_OFFSET_BEGINNING;
    else if (where[0] == '@')
        return cli_number(&consume->cli, "-o", where + 1, 0, INT64_MAX, &offset)
                   ? resolve_time(consume, offset) ? CLI_OK : CLI_FAILED
                   : CLI_USAGE;
    else if (where[0] == '-')
        return cli_number(&consume->cli, "-o", where + 1, 1, INT64_MAX, &offset)
                   ? resolve_relative(consume, offset) ? CLI_OK : CLI_FAILED
                   : CLI_USAGE;
    else if (strcmp(where, "end") != 0 && strcmp(where, "latest") != 0 &&
             !cli_number(&consume->cli, "-o", where, 0, INT64_MAX, &offset))
        return CLI_USAGE;
    for (size_t i = 0; i < consume->assigned_count; i++)
        consume->assigned[i].offset = offset;
    return CLI_OK;
}

static bool choose_partitions(struct consume *consume)
{
    int32_t count;

    if (!cli_partition_count(&consume->cli, consume->topic, &count))
        return false;
    if (consume->partition >= count) {
        cli_complain(&consume->cli, "%s has %d partitions, numbered from 0", consume->topic, count);
        return false;
    }
    consume->assigned_count = consume->partition >= 0 ? 1 : (size_t)count;
    consume->assigned = calloc(consume->assigned_count, sizeof *consume->assigned);
    consume->ended = calloc((size_t)count, sizeof *consume->ended);
    if (consume->assigned == NULL || consume->ended == NULL) {
        cli_complain(&consume->cli, "out of memory");
        return false;
    }
    for (size_t i = 0; i < consume->assigned_count; i++)
        consume->assigned[i] = (struct pst_assignment){
            consume->topic, consume->partition >= 0 ? (int32_t)consume->partition : (int32_t)i,
            PST_OFFSET_END};
    return true;
}

static bool is_done(const struct consume *consume)
{
    return interrupted || (consume->count > 0 && consume->printed >= consume->count) ||
           (consume->exit_at_end && consume->ended_count == consume->assigned_count);
}

static int read_all(struct consume *consume)
{
    struct pst_message messages[POLL_RECORDS];
    struct pst_error error;

    while (!is_done(consume)) {
        size_t room = POLL_RECORDS;
        size_t count = 0;
        pst_err_t code;

        if (consume->count > 0 && consume->count - consume->printed < (int64_t)room)
            room = (size_t)(consume->count - consume->printed);
        code = pst_consumer_poll_batch(consume->consumer, POLL_MS, messages, room, &count, &error);
        if (code == PST_ERR_PARTITION_EOF) {
            if (!consume->ended[messages[0].partition])
                consume->ended_count++;
            consume->ended[messages[0].partition] = true;
        } else if (code == PST_ERR_TIMED_OUT) {
            fflush(stdout);
        } else if (code != 0) {
            cli_complain_error(&consume->cli, "consume", &error);
            return CLI_FAILED;
        }
        for (size_t i = 0; i < count; i++)
            print_message(consume, &messages[i]);
        consume->printed += (int64_t)count;
        if (ferror(stdout)) {
            cli_complain(&consume->cli, "standard output cannot be written");
            return CLI_FAILED;
        }
        if (count > 0 && count < POLL_RECORDS)
            fflush(stdout);
    }
    return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static int run(struct consume *consume)
{
    struct pst_error error;
    int code;

    if (consume->topic == NULL)
        return cli_usage(&consume->cli, "no topic: give -t TOPIC");
    if (consume->cli.argc > 0)
        return cli_usage(&consume->cli, "unexpected argument '%s'", consume->cli.argv[0]);
    if (!set(consume, "enable.partition.eof", "true") || !cli_connect(&consume->cli) ||
        !choose_partitions(consume))
        return CLI_FAILED;
    code = resolve_where(consume);
    if (code != CLI_OK)
        return code;
    if (pst_consumer_new(consume->cli.client, &consume->consumer, &error) != 0 ||
        pst_consumer_assign(consume->consumer, consume->assigned, consume->assigned_count, &error) != 0) {
        cli_complain_error(&consume->cli, "assign", &error);
        return CLI_FAILED;
    }
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    return read_all(consume);
}

int cli_consume(int argc, char **argv)
{
    struct consume consume = {.partition = -1, .where = "end", .delimiter = "\\n"};
    int code = cli_read(&consume.cli, "consume", help, argc, argv, options,
                        sizeof options / sizeof options[0], take, &consume);

    if (code == CLI_OK)
        code = run(&consume);
    pst_consumer_free(consume.consumer);
    free(consume.assigned);
    free(consume.ended);
    cli_end(&consume.cli);
    return code;
}
