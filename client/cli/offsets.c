/* penstock offsets: where partitions begin and end, or what offset a time has.  penstock records: deletes
 * from the front. */
#include "client/cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char offsets_help[] = "usage: penstock offsets TOPIC [-p PARTITION] [--time WHEN]\n"
                                   "\n"
                                   "Without --time: log start and end of every partition.\n"
                                   "\n"
                                   "  -p, --partition N    only this partition\n"
                                   "  -T, --time WHEN      earliest, latest, max-timestamp, or milliseconds "
                                   "since 1970 (first record at or after)\n"
                                   "  -b, -X, -J, -q, -h   see penstock --help\n"
                                   "\n"
                                   "Examples:\n"
                                   "  penstock offsets orders\n"
                                   "  penstock offsets orders --time $(date -d '1 hour ago' +%s000)\n";

static const char records_help[] =
    "usage: penstock records delete TOPIC -p PARTITION -o OFFSET\n"
    "\n"
    "Deletes the records below OFFSET (all: everything up to the high watermark).\n"
    "\n"
    "  -p, --partition N    partition\n"
    "  -o, --offset N       first offset to keep, or all\n"
    "  -b, -X, -J, -q, -h   see penstock --help\n"
    "\n"
    "Examples:\n"
    "  penstock records delete orders -p 0 -o 1000\n"
    "  penstock records delete orders -p 0 -o all\n";

struct offsets {
    struct cli cli;
    int64_t partition; /* -1: all */
    const char *time;
    const char *offset;
};

static const struct cli_option options[] = {
    {'p', "partition", true},
    {'T', "time", true},
    {'o', "offset", true},
};

static bool take(void *arg, const char *name, const char *value)
{
    struct offsets *offsets = arg;

    if (strcmp(name, "partition") == 0)
        return cli_number(&offsets->cli, "--partition", value, 0, INT32_MAX, &offsets->partition);
    if (strcmp(name, "time") == 0)
        offsets->time = value;
    else
        offsets->offset = value;
    return true;
}

/* False: complained. */
static bool partition_count(struct offsets *offsets, const char *topic, int32_t *ret)
{
    const struct pst_topics *topics;
    struct pst_error error;
    bool found;

    if (pst_describe_topics(offsets->cli.client, &topic, 1, CLI_TIMEOUT_MS, &topics, &error) != 0) {
        cli_complain_error(&offsets->cli, topic, &error);
        return false;
    }
    found = topics->count == 1 && topics->topics[0].code == 0;
    if (found)
        *ret = (int32_t)topics->topics[0].partition_count;
    else
        cli_complain(&offsets->cli, "%s: %s", topic,
                     pst_err_text(topics->count == 0 ? 3 : topics->topics[0].code));
    pst_result_free(topics);
    return found;
}

static void print_bounds(const struct offsets *offsets, const char *topic, int32_t partition, int64_t low,
                         int64_t high)
{
    if (offsets->cli.json) {
        fputs("{\"topic\":", stdout);
        cli_json_text(stdout, topic, strlen(topic));
        printf(",\"partition\":%d,\"start\":%" PRId64 ",\"end\":%" PRId64 "}\n", partition, low, high);
    } else {
        printf("%s %d  start %" PRId64 "  end %" PRId64 "  records %" PRId64 "\n", topic, partition, low,
               high, high - low);
    }
}

static bool show_bounds(struct offsets *offsets, const char *topic, int32_t partition)
{
    struct pst_error error;
    int64_t low;
    int64_t high;

    if (pst_watermarks(offsets->cli.client, topic, partition, CLI_TIMEOUT_MS, &low, &high, &error) != 0) {
        cli_complain_error(&offsets->cli, topic, &error);
        return false;
    }
    print_bounds(offsets, topic, partition, low, high);
    return true;
}

static bool read_time(const struct offsets *offsets, int64_t *ret)
{
    if (strcmp(offsets->time, "earliest") == 0)
        *ret = PST_TIME_EARLIEST;
    else if (strcmp(offsets->time, "latest") == 0)
        *ret = PST_TIME_LATEST;
    else if (strcmp(offsets->time, "max-timestamp") == 0)
        *ret = PST_TIME_MAX_TIMESTAMP;
    else
        return cli_number(&offsets->cli, "--time", offsets->time, 0, INT64_MAX, ret);
    return true;
}

static bool show_time(struct offsets *offsets, const char *topic, int32_t partition, int64_t timestamp_ms)
{
    struct pst_offset_query query = {.topic = topic, .partition = partition, .timestamp_ms = timestamp_ms};
    struct pst_error error;

    if (pst_list_offsets(offsets->cli.client, &query, 1, CLI_TIMEOUT_MS, &error) != 0) {
        cli_complain_error(&offsets->cli, topic, &error);
        return false;
    }
    if (query.outcome.code != 0) {
        cli_complain(&offsets->cli, "%s %d: %s", topic, partition, query.outcome.text);
        return false;
    }
    printf(offsets->cli.json ? "{\"partition\":%d,\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 "}\n"
                             : "%d  offset %" PRId64 "  timestamp %" PRId64 "\n",
           partition, query.offset, query.record_timestamp_ms);
    return true;
}

static int show(struct offsets *offsets)
{
    int64_t timestamp_ms = 0;
    int32_t count;
    bool shown = true;

    if (offsets->cli.argc != 1)
        return cli_usage(&offsets->cli, "expected one topic");
    if (offsets->time != NULL && !read_time(offsets, &timestamp_ms))
        return CLI_USAGE;
    if (!cli_connect(&offsets->cli) || !partition_count(offsets, offsets->cli.argv[0], &count))
        return CLI_FAILED;
    for (int32_t i = 0; i < count; i++) {
        if (offsets->partition >= 0 && offsets->partition != i)
            continue;
        shown &= offsets->time != NULL ? show_time(offsets, offsets->cli.argv[0], i, timestamp_ms)
                                       : show_bounds(offsets, offsets->cli.argv[0], i);
    }
    return shown ? CLI_OK : CLI_FAILED;
}

static int delete_records(struct offsets *offsets)
{
    struct pst_record_deletion deletion = {.before_offset = -1};
    struct pst_error error;

    if (offsets->cli.argc != 2 || strcmp(offsets->cli.argv[0], "delete") != 0)
        return cli_usage(&offsets->cli, "expected: delete TOPIC");
    if (offsets->partition < 0 || offsets->offset == NULL)
        return cli_usage(&offsets->cli, "delete needs -p PARTITION and -o OFFSET");
    if (strcmp(offsets->offset, "all") != 0 &&
        !cli_number(&offsets->cli, "--offset", offsets->offset, 0, INT64_MAX, &deletion.before_offset))
        return CLI_USAGE;
    deletion.topic = offsets->cli.argv[1];
    deletion.partition = (int32_t)offsets->partition;
    if (!cli_connect(&offsets->cli))
        return CLI_FAILED;
    if (pst_delete_records(offsets->cli.client, &deletion, 1, CLI_TIMEOUT_MS, &error) != 0) {
        cli_complain_error(&offsets->cli, "delete", &error);
        return CLI_FAILED;
    }
    if (deletion.outcome.code != 0) {
        cli_complain(&offsets->cli, "%s %d: %s (%s)", deletion.topic, deletion.partition,
                     deletion.outcome.text, pst_err_name(deletion.outcome.code));
        return CLI_FAILED;
    }
    if (!offsets->cli.quiet)
        printf("%s %d now starts at %" PRId64 "\n", deletion.topic, deletion.partition,
               deletion.low_watermark);
    return CLI_OK;
}

static int read_and_run(const char *command, const char *help, int argc, char **argv,
                        int (*run)(struct offsets *offsets))
{
    struct offsets offsets = {.partition = -1};
    int code = cli_read(&offsets.cli, command, help, argc, argv, options, sizeof options / sizeof options[0],
                        take, &offsets);

    if (code == CLI_OK)
        code = run(&offsets);
    cli_end(&offsets.cli);
    return code;
}

int cli_offsets(int argc, char **argv)
{
    return read_and_run("offsets", offsets_help, argc, argv, show);
}

int cli_records(int argc, char **argv)
{
    return read_and_run("records", records_help, argc, argv, delete_records);
}
