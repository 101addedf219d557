#include "broker/options.h"

#include "common/file_ops.h"
#include "common/properties.h"
#include "common/str.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define OPTION_ROW_BOOL(f, k, i, lo, hi, fl, u, t)                                                           \
    {k, OPTION_TYPE_BOOL, i, NULL, lo, hi, fl, u, t, offsetof(struct broker_options, f)},
#define OPTION_ROW_INT(f, k, i, lo, hi, fl, u, t)                                                            \
    {k, OPTION_TYPE_INT, i, NULL, lo, hi, fl, u, t, offsetof(struct broker_options, f)},
#define OPTION_ROW_STR(f, k, i, lo, hi, fl, u, t)                                                            \
    {k, OPTION_TYPE_STR, 0, i, lo, hi, fl, u, t, offsetof(struct broker_options, f)},

#define OPTION(field, key, type, initial, min, max, flags, unit, text)                                       \
    OPTION_ROW_##type(field, key, initial, min, max, flags, unit, text)
static const struct option_row rows[] = {
#include "broker/options.def"
};
#undef OPTION

#define ROW_COUNT (sizeof rows / sizeof rows[0])
_Static_assert(ROW_COUNT <= 8 * sizeof(((struct broker_options *)NULL)->set), "a bit per row");

/* The same setting in other units or under an older name, less urgent the later (Kafka's synonyms). */
static const struct {
    const char *key;
    const char *of;
    int64_t factor;
} synonyms[] = {
    {"broker.id", "node.id", 1},
    {"log.dir", "log.dirs", 1},
    {"log.retention.minutes", "log.retention.ms", 60000},
    {"log.retention.hours", "log.retention.ms", 3600000},
    {"log.roll.hours", "log.roll.ms", 3600000},
    {"log.roll.jitter.hours", "log.roll.jitter.ms", 3600000},
    {"log.flush.scheduler.interval.ms", "log.flush.interval.ms", 1},
};

/* Kafka's keys that have no meaning here (yet): a stock file starts without a warning about them. */
static const char *const ignored[] = {
    "process.roles",
    "controller.quorum.voters",
    "controller.quorum.bootstrap.servers",
    "controller.listener.names",
    "listener.security.protocol.map",
    "inter.broker.listener.name",
    "background.threads",
    "queued.max.requests",
    "num.recovery.threads.per.data.dir",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
    "transaction.state.log.num.partitions",
    "share.coordinator.state.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
    "group.coordinator.rebalance.protocols",
    "log.cleaner.enable",
    "log.cleaner.threads",
    "log.cleaner.dedupe.buffer.size",
    "broker.rack",
};

const struct option_row *options_rows(unsigned *ret_count)
{
    *ret_count = ROW_COUNT;
    return rows;
}

const struct option_row *options_find(const char *key)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    }
    return NULL;
}

static void *field(const struct broker_options *options, const struct option_row *row)
{
    return (char *)(uintptr_t)options + row->offset;
}

enum pst_status options_init(struct broker_options *options)
{
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        switch (rows[i].type) {
        case OPTION_TYPE_BOOL:
            *(bool *)field(options, &rows[i]) = rows[i].initial != 0;
            break;
        case OPTION_TYPE_INT:
            *(int64_t *)field(options, &rows[i]) = rows[i].initial;
            break;
        case OPTION_TYPE_STR:
            *(char **)field(options, &rows[i]) = strdup(rows[i].initial_text);
            if (*(char **)field(options, &rows[i]) == NULL)
                return PST_NOMEM;
            break;
        }
    }
    return PST_OK;
}

void options_free(struct broker_options *options)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].type == OPTION_TYPE_STR)
            free(*(char **)field(options, &rows[i]));
    }
}

static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[128];
    size_t length = strlen(b);

    if (length >= 128 || strlen(a) >= 128)
        return 128;
    for (size_t k = 0; k <= length; k++)
        row[k] = (unsigned)k;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t k = 1; k <= length; k++) {
            unsigned above = row[k];
            unsigned best = diagonal + (a[i - 1] != b[k - 1]);

            if (above + 1 < best)
                best = above + 1;
            if (row[k - 1] + 1 < best)
                best = row[k - 1] + 1;
            row[k] = best;
            diagonal = above;
        }
    }
    return row[length];
}

static void warn_unknown(const char *key, const char *where, struct buf *messages)
{
    const char *nearest = NULL;
    unsigned best = 6; /* further away is no typing error */

    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
        if (strcmp(key, ignored[i]) == 0)
            return;
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        unsigned distance = edit_distance(key, rows[i].key);

        if (distance < best) {
            best = distance;
            nearest = rows[i].key;
        }
    }
    buf_printf(messages, "warning: %s: unknown option '%s'", where, key);
    if (nearest != NULL)
        buf_printf(messages, ", did you mean '%s'?", nearest);
    buf_put_u8(messages, '\n');
}

static enum pst_status refuse(const char *key, const char *value, const char *where,
                              const struct option_row *row, struct buf *messages)
{
    buf_printf(messages, "error: %s: %s=%s: expected ", where, key, value);
    if (row->type == OPTION_TYPE_BOOL)
        buf_append_text(messages, "true or false");
    else
        buf_printf(messages, "a whole number from %" PRId64 " to %" PRId64 "%s%s", row->min, row->max,
                   row->unit[0] != '\0' ? " " : "", row->unit);
    buf_put_u8(messages, '\n');
    return PST_INVALID;
}

static enum pst_status set_row(struct broker_options *options, const struct option_row *row, const char *key,
                               const char *value, int64_t factor, const char *where, struct buf *messages)
{
    int64_t number;
    char *copy;

    switch (row->type) {
    case OPTION_TYPE_BOOL:
        if (strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0)
            return refuse(key, value, where, row, messages);
        *(bool *)field(options, row) = strcasecmp(value, "true") == 0;
        break;
    case OPTION_TYPE_INT:
        if (!str_parse_i64(str_of(value), &number) ||
            (number > 0 && __builtin_mul_overflow(number, factor, &number)) || number < row->min ||
            number > row->max)
            return refuse(key, value, where, row, messages);
        *(int64_t *)field(options, row) = number;
        break;
    case OPTION_TYPE_STR:
        copy = strdup(value);
        if (copy == NULL)
            return PST_NOMEM;
        free(*(char **)field(options, row));
        *(char **)field(options, row) = copy;
        break;
    }
    options->set[(row - rows) / 8] |= (uint8_t)(1u << (row - rows) % 8);
    return PST_OK;
}

enum pst_status options_set(struct broker_options *options, const char *key, const char *value,
                            const char *where, struct buf *messages)
{
    const struct option_row *row = options_find(key);

    if (row != NULL)
        return set_row(options, row, key, value, 1, where, messages);
    for (size_t i = 0; i < sizeof synonyms / sizeof synonyms[0]; i++) {
        if (strcmp(key, synonyms[i].key) != 0)
            continue;
        row = options_find(synonyms[i].of);
        if (options_is_set(options, row)) /* the more precise key wins */
            return PST_OK;
        return set_row(options, row, key, value, synonyms[i].factor, where, messages);
    }
    warn_unknown(key, where, messages);
    return PST_OK;
}

struct loading {
    struct broker_options *options;
    const char *path;
    struct buf *messages;
    bool failed;
};

static enum pst_status load_entry(void *arg, const char *key, const char *value, unsigned line)
{
    struct loading *loading = arg;
    char where[512];
    enum pst_status status;

    snprintf(where, sizeof where, "%s:%u", loading->path, line);
    status = options_set(loading->options, key, value, where, loading->messages);
    if (status == PST_INVALID) {
        loading->failed = true;
        return PST_OK; /* report the other mistakes too */
    }
    return status;
}

#define FILE_BYTES_MAX (1u << 20)

enum pst_status options_load(struct broker_options *options, const char *path, struct buf *messages)
{
    struct loading loading = {options, path, messages, false};
    char *text;
    size_t length;
    enum pst_status status = file_read_all(path, FILE_BYTES_MAX, &text, &length);

    if (status != PST_OK) {
        buf_printf(messages, "error: %s: %s\n", path, pst_status_text(status));
        return status;
    }
    status = properties_each(str_of_bytes(text, length), load_entry, &loading);
    free(text);
    return status == PST_OK && loading.failed ? PST_INVALID : status;
}

void options_format(const struct broker_options *options, const struct option_row *row, struct buf *out)
{
    switch (row->type) {
    case OPTION_TYPE_BOOL:
        buf_append_text(out, *(bool *)field(options, row) ? "true" : "false");
        break;
    case OPTION_TYPE_INT:
        buf_printf(out, "%" PRId64, *(int64_t *)field(options, row));
        break;
    case OPTION_TYPE_STR:
        buf_append_text(out, *(char **)field(options, row));
        break;
    }
}

bool options_is_set(const struct broker_options *options, const struct option_row *row)
{
    return (options->set[(row - rows) / 8] >> (row - rows) % 8 & 1) != 0;
}

void options_write_sample(struct buf *out)
{
    struct broker_options defaults;

    if (options_init(&defaults) != PST_OK)
        return;
    buf_append_text(out, "# Penstock: every option with its default.  Made from broker/options.def by\n"
                         "# `penstockd --sample-config`.  Lines are key=value; see penstockd(8).\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        buf_printf(out, "\n# %s", rows[i].text);
        if (rows[i].type == OPTION_TYPE_INT)
            buf_printf(out, "\n# %s%s%" PRId64 " to %" PRId64, rows[i].unit,
                       rows[i].unit[0] != '\0' ? ", " : "", rows[i].min, rows[i].max);
        if ((rows[i].flags & RELOADABLE) != 0)
            buf_append_text(out, "\n# reloadable");
        buf_printf(out, "\n#%s=", rows[i].key);
        options_format(&defaults, &rows[i], out);
        buf_put_u8(out, '\n');
    }
    options_free(&defaults);
}
