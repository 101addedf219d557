/* penstock perf: produce, consume, latency. */
#include "client/cli/cli.h"
#include "client/cli/histogram.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char help[] =
    "usage: penstock perf produce -t TOPIC [OPTION]...\n"
    "       penstock perf consume -t TOPIC [OPTION]...\n"
    "       penstock perf latency -t TOPIC [OPTION]...\n"
    "\n"
    "produce sends records as fast as it can, or at a rate; consume reads what is there; latency sends at a\n"
    "rate and reads back, measuring from the time a record was due to be sent to the time it arrived.\n"
    "\n"
    "  -t, --topic TOPIC       where to or from\n"
    "  -n, --count N           records (default 1000000; latency 10000; consume: all there are)\n"
    "  -s, --size BYTES        of a value (default 100)\n"
    "  -r, --rate N            records a second (default: no limit; latency 1000)\n"
    "  -p, --partition N       only this partition (default: any; latency 0)\n"
    "  -z, --compress CODEC    none, gzip, snappy, lz4, zstd\n"
    "  -a, --acks N            all (default), 1 or 0\n"
    "  -b, -X, -J, -q, -h      see penstock --help\n"
    "\n"
    "cpu is the processor time this program used, not the broker's.\n"
    "\n"
    "Examples:\n"
    "  penstock perf produce -t bench -n 5000000 -s 1024 -X linger.ms=5 -X batch.size=131072\n"
    "  penstock perf consume -t bench\n"
    "  penstock perf latency -t bench -r 1000 -n 10000 -X linger.ms=0\n";

enum {
    SIZE_MIN = 1,
    SIZE_MAX_BYTES = 1 << 30,
    STAMP_BYTES = 16, /* of latency's values: the run's mark and the due time */
    POLL_MS = 100,
    POLL_RECORDS = 512,
    FLUSH_MS = 600000,
    SILENCE_MS = 10000, /* latency gives up when nothing arrived for this long */
};

struct perf {
    struct cli cli;
    const char *topic;
    int64_t count; /* -1: not given */
    int64_t size_bytes;
    int64_t rate; /* records a second; 0: no limit */
    int64_t partition;
    struct pst_producer *producer;
    struct pst_consumer *consumer;
    struct cli_progress progress;
    struct histogram latency; /* delivered() or receive_stamps() fills it */
    int64_t started_us;
    uint64_t mark;            /* latency: tells our records from older ones */
    _Atomic uint64_t records; /* delivered or received */
    _Atomic uint64_t failed;
    uint64_t bytes;
    _Atomic bool told;
    _Atomic bool ended; /* latency: sending is over */
};

static const struct cli_option options[] = {
    {'t', "topic", true}, {'n', "count", true},     {'s', "size", true},     {'r', "rate", true},
    {'a', "acks", true},  {'p', "partition", true}, {'z', "compress", true},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static bool set(struct perf *perf, const char *key, const char *value)
{
    struct pst_error error;

    if (pst_config_set(perf->cli.config, key, value, &error) == 0)
        return true;
    cli_complain(&perf->cli, "%s", error.text);
    return false;
}

static bool take(void *arg, const char *name, const char *value)
{
    struct perf *perf = arg;

    if (strcmp(name, "topic") == 0)
        perf->topic = value;
    else if (strcmp(name, "count") == 0)
        return cli_number(&perf->cli, "--count", value, 1, INT64_MAX, &perf->count);
    else if (strcmp(name, "size") == 0)
        return cli_number(&perf->cli, "--size", value, SIZE_MIN, SIZE_MAX_BYTES, &perf->size_bytes);
    else if (strcmp(name, "rate") == 0)
        return cli_number(&perf->cli, "--rate", value, 1, 100000000, &perf->rate);
    else if (strcmp(name, "partition") == 0)
        return cli_number(&perf->cli, "--partition", value, 0, INT32_MAX, &perf->partition);
    else if (strcmp(name, "compress") == 0)
        return set(perf, "compression.type", value);
    else
        return (strcmp(value, "all") == 0 || strcmp(value, "-1") == 0 ||
                set(perf, "enable.idempotence", "false")) &&
               set(perf, "acks", value);
    return true;
}

/* ---- figures ---- */

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_latency(const struct perf *perf)
{
    static const double percents[] = {50, 95, 99, 99.9};
    const struct histogram *latency = &perf->latency;

    if (latency->count == 0)
        return;
    printf(perf->cli.json ? ",\"latency_ms\":{\"mean\":%.3f" : "latency ms: mean %.3f",
           (double)latency->sum_us / (double)latency->count / 1000);
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++)
        printf(perf->cli.json ? ",\"p%g\":%.3f" : ", p%g %.3f", percents[i],
               (double)histogram_percentile(latency, percents[i]) / 1000);
    printf(perf->cli.json ? ",\"max\":%.3f}" : ", max %.3f\n", (double)latency->max_us / 1000);
}

static int report(const struct perf *perf, const char *verb)
{
    double seconds = (double)(cli_now_us() - perf->started_us) / 1e6;
    double records = (double)perf->records;
    double megabytes = (double)perf->bytes / 1e6;

    if (perf->cli.json)
        printf("{\"test\":\"%s\",\"records\":%.0f,\"failed\":%llu,\"seconds\":%.3f,\"records_per_s\":%.0f,"
               "\"mb_per_s\":%.2f,\"client_cpu_s\":%.3f",
               verb, records, (unsigned long long)perf->failed, seconds, records / seconds,
               megabytes / seconds, cpu_seconds());
    else
        printf("%.0f records in %.3f s: %.0f records/s, %.2f MB/s, cpu %.3f s\n", records, seconds,
               records / seconds, megabytes / seconds, cpu_seconds());
    print_latency(perf);
    if (perf->cli.json)
        puts("}");
    if (perf->failed > 0)
        cli_complain(&perf->cli, "%llu records were not delivered", (unsigned long long)perf->failed);
    return perf->failed == 0 && fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

/* ---- produce ---- */

/* Letters that do not repeat in a short cycle, so that codecs have something to do. */
static char *new_payload(size_t size_bytes)
{
    char *payload = malloc(size_bytes);
    uint64_t state = 0x9e3779b97f4a7c15u;

    for (size_t i = 0; payload != NULL && i < size_bytes; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        payload[i] = (char)('A' + state % 26);
    }
    return payload;
}

/* When record number `index` is to be sent. */
static int64_t due_us(const struct perf *perf, int64_t index)
{
    return perf->started_us + (int64_t)((double)index * 1e6 / (double)perf->rate);
}

static void sleep_until(int64_t time_us)
{
    struct timespec until = {time_us / 1000000, time_us % 1000000 * 1000};

    if (time_us > cli_now_us())
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void count_failure(struct perf *perf, const struct pst_delivery *delivery)
{
    perf->failed++;
    if (!atomic_exchange(&perf->told, true))
        cli_complain(&perf->cli, "%s [%d]: %s (%s)", delivery->topic, delivery->partition, delivery->text,
                     pst_err_name(delivery->code));
}

/* Thread: the client's, which alone uses the histogram until the flush has returned. */
static void delivered(const struct pst_delivery *delivery, void *arg)
{
    struct perf *perf = arg;

    if (delivery->code != 0) {
        count_failure(perf, delivery);
        return;
    }
    perf->records++;
    histogram_add(&perf->latency, cli_now_us() - (int64_t)(intptr_t)delivery->tag);
}

static bool send_all(struct perf *perf, char *payload)
{
    struct pst_record record = PST_RECORD_INIT;
    struct pst_error error;

    record.topic = perf->topic;
    record.partition = perf->partition < 0 ? PST_PARTITION_ANY : (int32_t)perf->partition;
    record.value = payload;
    record.value_bytes = (size_t)perf->size_bytes;
    for (int64_t i = 0; i < perf->count && !interrupted; i++) {
        int64_t since_us = perf->rate > 0 ? due_us(perf, i) : cli_now_us();

        sleep_until(since_us);
        if (perf->mark != 0) {
            memcpy(payload, &perf->mark, sizeof perf->mark);
            memcpy(payload + sizeof perf->mark, &since_us, sizeof since_us);
        }
        if (pst_produce(perf->producer, &record, (void *)(intptr_t)since_us, &error) != 0) {
            cli_complain_error(&perf->cli, "record refused", &error);
            return false;
        }
        perf->bytes += (uint64_t)perf->size_bytes;
        cli_progress_show(&perf->progress, (uint64_t)i + 1, (uint64_t)perf->count, perf->bytes);
    }
    return true;
}

/* Sends everything and waits for the answers. */
static bool run_producer(struct perf *perf, pst_delivery_fn on_delivery)
{
    char *payload = new_payload((size_t)perf->size_bytes);
    struct pst_error error;
    bool sent = false;

    if (payload == NULL)
        cli_complain(&perf->cli, "out of memory");
    else if (pst_producer_new(perf->cli.client, on_delivery, perf, &perf->producer, &error) != 0)
        cli_complain_error(&perf->cli, "producer", &error);
    else
        sent = send_all(perf, payload);
    if (sent && pst_producer_flush(perf->producer, FLUSH_MS, &error) != 0) {
        cli_complain_error(&perf->cli, "flush", &error);
        sent = false;
    }
    free(payload);
    return sent;
}

static int perf_produce(struct perf *perf)
{
    bool sent;

    if (perf->count < 0)
        perf->count = 1000000;
    perf->started_us = cli_now_us();
    sent = run_producer(perf, delivered);
    cli_progress_end(&perf->progress);
    if (!sent)
        return CLI_FAILED;
    return report(perf, "produce");
}

/* ---- consume ---- */

/* From `where` (an offset, or PST_OFFSET_*) in every partition asked for. */
static bool assign(struct perf *perf, int64_t where)
{
    struct pst_assignment *assignments;
    struct pst_error error;
    int32_t count;
    bool assigned = false;

    if (!cli_partition_count(&perf->cli, perf->topic, &count))
        return false;
    if (perf->partition >= count) {
        cli_complain(&perf->cli, "%s has %d partitions, numbered from 0", perf->topic, count);
        return false;
    }
    if (perf->partition >= 0)
        count = 1;
    assignments = calloc((size_t)count, sizeof *assignments);
    for (int32_t i = 0; assignments != NULL && i < count; i++)
        assignments[i] =
            (struct pst_assignment){perf->topic, perf->partition >= 0 ? (int32_t)perf->partition : i, where};
    if (assignments == NULL)
        cli_complain(&perf->cli, "out of memory");
    else if (pst_consumer_new(perf->cli.client, &perf->consumer, &error) != 0 ||
             pst_consumer_assign(perf->consumer, assignments, (size_t)count, &error) != 0)
        cli_complain_error(&perf->cli, "assign", &error);
    else
        assigned = true;
    free(assignments);
    return assigned;
}

static void count_received(struct perf *perf, const struct pst_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        perf->bytes += messages[i].key_bytes + messages[i].value_bytes;
    perf->records += count;
    cli_progress_show(&perf->progress, perf->records, perf->count > 0 ? (uint64_t)perf->count : 0,
                      perf->bytes);
}

static int perf_consume(struct perf *perf)
{
    struct pst_message messages[POLL_RECORDS];
    struct pst_error error;
    int32_t left;

    if (!cli_partition_count(&perf->cli, perf->topic, &left) || !assign(perf, PST_OFFSET_BEGINNING))
        return CLI_FAILED;
    if (perf->partition >= 0)
        left = 1;
    perf->started_us = cli_now_us();
    while (!interrupted && left > 0 && (perf->count < 0 || perf->records < (uint64_t)perf->count)) {
        size_t room = POLL_RECORDS;
        size_t count = 0;
        pst_err_t code;

        if (perf->count > 0 && (uint64_t)perf->count - perf->records < room)
            room = (size_t)((uint64_t)perf->count - perf->records);
        code = pst_consumer_poll_batch(perf->consumer, POLL_MS, messages, room, &count, &error);

        if (code == PST_ERR_PARTITION_EOF) {
            left--; /* told once each time: what comes later is not part of the test */
        } else if (code != 0 && code != PST_ERR_TIMED_OUT) {
            cli_complain_error(&perf->cli, "consume", &error);
            return CLI_FAILED;
        }
        count_received(perf, messages, count);
    }
    cli_progress_end(&perf->progress);
    return report(perf, "consume");
}

/* ---- latency ---- */

static void only_failures(const struct pst_delivery *delivery, void *arg)
{
    if (delivery->code != 0)
        count_failure(arg, delivery);
}

static void take_stamp(struct perf *perf, const struct pst_message *message)
{
    uint64_t mark;
    int64_t since_us;

    if (message->value == NULL || message->value_bytes < STAMP_BYTES)
        return;
    memcpy(&mark, message->value, sizeof mark);
    memcpy(&since_us, (const char *)message->value + sizeof mark, sizeof since_us);
    if (mark != perf->mark)
        return;
    perf->records++;
    histogram_add(&perf->latency, cli_now_us() - since_us);
}

/* Thread: its own.  Reads until everything sent has arrived, or nothing comes any more. */
static void *receive_stamps(void *arg)
{
    struct perf *perf = arg;
    struct pst_message message;
    struct pst_error error;
    int64_t heard_us = cli_now_us();

    while (perf->records + perf->failed < (uint64_t)perf->count && !interrupted) {
        pst_err_t code = pst_consumer_poll(perf->consumer, POLL_MS, &message, &error);

        if (code == 0) {
            take_stamp(perf, &message);
            heard_us = cli_now_us();
        } else if (code != PST_ERR_TIMED_OUT && code != PST_ERR_PARTITION_EOF) {
            cli_complain_error(&perf->cli, "consume", &error);
            break;
        }
        if (perf->ended && cli_now_us() - heard_us > SILENCE_MS * 1000)
            break;
    }
    return NULL;
}

/* The first poll settles where the end is, so that nothing sent afterwards is missed. */
static bool settle(struct perf *perf)
{
    struct pst_error error;
    int64_t low;
    int64_t high;

    if (pst_watermarks(perf->cli.client, perf->topic, (int32_t)perf->partition, CLI_TIMEOUT_MS, &low, &high,
                       &error) != 0) {
        cli_complain_error(&perf->cli, perf->topic, &error);
        return false;
    }
    return assign(perf, high);
}

static int perf_latency(struct perf *perf)
{
    pthread_t receiver;
    bool sent;

    if (perf->count < 0)
        perf->count = 10000;
    if (perf->rate == 0)
        perf->rate = 1000;
    if (perf->partition < 0)
        perf->partition = 0;
    if (perf->size_bytes < STAMP_BYTES)
        return cli_usage(&perf->cli, "latency needs values of at least %d bytes", STAMP_BYTES);
    if (!settle(perf))
        return CLI_FAILED;
    perf->started_us = cli_now_us();
    perf->mark = (uint64_t)perf->started_us ^ (uint64_t)time(NULL) << 32;
    if (pthread_create(&receiver, NULL, receive_stamps, perf) != 0) {
        cli_complain(&perf->cli, "no thread for the consumer");
        return CLI_FAILED;
    }
    sent = run_producer(perf, only_failures);
    if (!sent)
        interrupted = 1;
    perf->ended = true;
    pthread_join(receiver, NULL);
    cli_progress_end(&perf->progress);
    if (!sent)
        return CLI_FAILED;
    if (!interrupted && perf->records + perf->failed < (uint64_t)perf->count) {
        cli_complain(&perf->cli, "%lld records sent, %llu came back", (long long)perf->count,
                     (unsigned long long)perf->records);
        return CLI_FAILED;
    }
    return report(perf, "latency");
}

static int run(struct perf *perf)
{
    int (*test)(struct perf * perf) = NULL;

    if (perf->cli.argc == 1)
        test = strcmp(perf->cli.argv[0], "produce") == 0   ? perf_produce
               : strcmp(perf->cli.argv[0], "consume") == 0 ? perf_consume
               : strcmp(perf->cli.argv[0], "latency") == 0 ? perf_latency
                                                           : NULL;
    if (test == NULL)
        return cli_usage(&perf->cli, "expected produce, consume or latency");
    if (perf->topic == NULL)
        return cli_usage(&perf->cli, "no topic: give -t TOPIC");
    if (!set(perf, "enable.partition.eof", "true") || !cli_connect(&perf->cli))
        return CLI_FAILED;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    cli_progress_start(&perf->progress);
    return test(perf);
}

int cli_perf(int argc, char **argv)
{
    struct perf *perf = calloc(1, sizeof *perf); /* too large for some stacks */
    int code;

    if (perf == NULL)
        return CLI_FAILED;
    perf->count = -1;
    perf->size_bytes = 100;
    perf->partition = -1;
    code = cli_read(&perf->cli, "perf", help, argc, argv, options, sizeof options / sizeof options[0], take,
                    perf);
    if (code == CLI_OK)
        code = run(perf);
    pst_producer_free(perf->producer);
    pst_consumer_free(perf->consumer);
    cli_end(&perf->cli);
    free(perf);
    return code;
}
