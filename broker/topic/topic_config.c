#include "broker/topic/topic_config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#define TOPIC_CONFIG(name, type, min, max, option, initial, text)                                            \
    {name, TOPIC_CONFIG_##type, min, max, option, initial, text},
static const struct topic_config_row rows[] = {
#include "broker/topic/topic_config.def"
};
#undef TOPIC_CONFIG

#define ROW_COUNT (sizeof rows / sizeof rows[0])

const struct topic_config_row *topic_config_rows(unsigned *ret_count)
{
    *ret_count = ROW_COUNT;
    return rows;
}

const struct topic_config_row *topic_config_find(struct str name)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (str_equal_text(name, rows[i].name))
            return &rows[i];
    }
    return NULL;
}

/* Whether a comma-separated list has `word`. */
static bool list_has(struct str list, const char *word)
{
    size_t length = strlen(word);

    for (size_t from = 0; from <= list.length;) {
        const char *comma = memchr(list.at + from, ',', list.length - from);
        size_t end = comma == NULL ? list.length : (size_t)(comma - list.at);
        size_t first = from;
        size_t last = end;

        while (first < last && list.at[first] == ' ')
            first++;
        while (last > first && list.at[last - 1] == ' ')
            last--;
        if (last - first == length && memcmp(list.at + first, word, length) == 0)
            return true;
        from = end + 1;
    }
    return false;
}

static bool is_one_of(struct str value, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_equal_text(value, *words))
            return true;
    }
    return false;
}

static const char *const codecs[] = {"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer", NULL};
static const char *const policies[] = {"compact", "delete", NULL};
static const char *const timestamp_types[] = {"CreateTime", "LogAppendTime", NULL};

/* Kafka takes blanks around a value for granted. */
static struct str trimmed(struct str value)
{
    while (value.length > 0 && value.at[0] == ' ')
        value = str_of_bytes(value.at + 1, value.length - 1);
    while (value.length > 0 && value.at[value.length - 1] == ' ')
        value.length--;
    return value;
}

static bool is_flag(struct str value, const char *word)
{
    return value.length == strlen(word) && strncasecmp(value.at, word, value.length) == 0;
}

static bool parse_double(struct str value, double *ret)
{
    char text[64];
    char *end;

    if (value.length == 0 || value.length >= sizeof text)
        return false;
    memcpy(text, value.at, value.length);
    text[value.length] = '\0';
    *ret = strtod(text, &end);
    return *end == '\0' && *ret == *ret;
}

static void put_words(struct buf *reason, const char *const *words)
{
    buf_append_text(reason, "String must be one of: ");
    for (size_t i = 0; words[i] != NULL; i++)
        buf_printf(reason, "%s%s", i == 0 ? "" : ", ", words[i]);
}

static bool number_fits(const struct topic_config_row *row, struct str value, struct buf *reason)
{
    bool is_int = row->max <= INT32_MAX;
    int64_t number;

    if (!str_parse_i64(value, &number) || (is_int && (number > INT32_MAX || number < INT32_MIN))) {
        buf_printf(reason, "Not a number of type %s", is_int ? "INT" : "LONG");
        return false;
    }
    if (number < row->min)
        buf_printf(reason, "Value must be at least %" PRId64, row->min);
    else if (number > row->max)
        buf_printf(reason, "Value must be no more than %" PRId64, row->max);
    return number >= row->min && number <= row->max;
}

static bool double_fits(const struct topic_config_row *row, struct str value, struct buf *reason)
{
    double number;

    if (!parse_double(value, &number)) {
        buf_append_text(reason, "Not a number of type DOUBLE");
        return false;
    }
    if (number < (double)row->min)
        buf_printf(reason, "Value must be at least %" PRId64, row->min);
    else if (number > (double)row->max)
        buf_printf(reason, "Value must be no more than %" PRId64, row->max);
    return number >= (double)row->min && number <= (double)row->max;
}

static bool flag_fits(const struct topic_config_row *row, struct str value, struct buf *reason)
{
    if (!is_flag(value, "true") && !is_flag(value, "false")) {
        buf_append_text(reason, "Expected value to be either true or false");
        return false;
    }
    if (row->max == 0 && is_flag(value, "true")) {
        buf_append_text(reason, "this broker does not have what it turns on");
        return false;
    }
    return true;
}

/* A list of policies, possibly empty; repeating one does no harm. */
static bool policy_fits(struct str value, struct buf *reason)
{
    for (size_t from = 0; value.length > 0 && from <= value.length;) {
        const char *comma = memchr(value.at + from, ',', value.length - from);
        size_t end = comma == NULL ? value.length : (size_t)(comma - value.at);

        if (!is_one_of(trimmed(str_of_bytes(value.at + from, end - from)), policies)) {
            put_words(reason, policies);
            return false;
        }
        from = end + 1;
    }
    return true;
}

static bool word_fits(struct str value, const char *const *words, struct buf *reason)
{
    if (is_one_of(value, words))
        return true;
    put_words(reason, words);
    return false;
}

/* The texts are those of Kafka's ConfigDef. */
static bool fits(const struct topic_config_row *row, struct str value, struct buf *reason)
{
    switch (row->type) {
    case TOPIC_CONFIG_BOOL:
        return flag_fits(row, value, reason);
    case TOPIC_CONFIG_INT:
        return number_fits(row, value, reason);
    case TOPIC_CONFIG_DOUBLE:
        return double_fits(row, value, reason);
    case TOPIC_CONFIG_POLICY:
        return policy_fits(value, reason);
    case TOPIC_CONFIG_TIMESTAMP_TYPE:
        return word_fits(value, timestamp_types, reason);
    case TOPIC_CONFIG_CODEC:
        return word_fits(value, codecs, reason);
    case TOPIC_CONFIG_STR:
        return true;
    }
    return false;
}

enum pst_status topic_config_check(struct str name, struct str value, struct buf *reason)
{
    const struct topic_config_row *row = topic_config_find(name);
    size_t length = reason->length;

    if (row == NULL) {
        buf_printf(reason, "Unknown topic config name: %.*s", STR_FORMAT(name));
        return PST_INVALID;
    }
    buf_printf(reason, "Invalid value %.*s for configuration %s: ", STR_FORMAT(value), row->name);
    if (str_is_null(value) || !fits(row, trimmed(value), reason))
        return PST_INVALID;
    reason->length = length;
    return PST_OK;
}

bool topic_config_value(const struct topic_config_row *row, topic_override_fn get, const void *overrides,
                        const struct broker_options *options, struct buf *out)
{
    struct str own = get == NULL ? str_null() : get(overrides, str_of(row->name));

    if (!str_is_null(own)) {
        buf_append_str(out, own);
        return true;
    }
    if (row->option != NULL)
        options_format(options, options_find(row->option), out);
    else
        buf_append_text(out, row->initial);
    return false;
}

struct resolving {
    topic_override_fn get;
    const void *overrides;
    const struct broker_options *options;
};

static struct str text_of(const struct resolving *r, const char *name, struct buf *scratch)
{
    buf_reset(scratch);
    topic_config_value(topic_config_find(str_of(name)), r->get, r->overrides, r->options, scratch);
    return trimmed(buf_view(scratch));
}

/* Values were checked when they were set; one that does not parse (a foreign directory) falls back to the
 * default. */
static int64_t number_of(const struct resolving *r, const char *name, struct buf *scratch)
{
    int64_t number = 0;

    if (!str_parse_i64(text_of(r, name, scratch), &number))
        str_parse_i64(str_of(topic_config_find(str_of(name))->initial), &number);
    return number;
}

static bool flag_of(const struct resolving *r, const char *name, struct buf *scratch)
{
    struct str text = text_of(r, name, scratch);

    return text.length > 0 && (text.at[0] == 't' || text.at[0] == 'T');
}

static void resolve_compression(const struct resolving *r, struct buf *scratch, struct log_config *ret)
{
    struct str text = text_of(r, "compression.type", scratch);
    enum compress_codec codec;

    ret->compression_level = COMPRESS_LEVEL_DEFAULT;
    if (str_equal_text(text, "uncompressed")) {
        ret->compression_codec = COMPRESS_NONE;
    } else if (compress_parse(text, &codec)) {
        ret->compression_codec = (int)codec;
        if (codec == COMPRESS_GZIP)
            ret->compression_level = (int)number_of(r, "compression.gzip.level", scratch);
        else if (codec == COMPRESS_LZ4)
            ret->compression_level = (int)number_of(r, "compression.lz4.level", scratch);
        else if (codec == COMPRESS_ZSTD)
            ret->compression_level = (int)number_of(r, "compression.zstd.level", scratch);
    } else {
        ret->compression_codec = LOG_COMPRESSION_PRODUCER;
    }
}

void topic_config_resolve(topic_override_fn get, const void *overrides, const struct broker_options *options,
                          struct log_config *ret, int32_t *ret_min_in_sync)
{
    struct resolving r = {get, overrides, options};
    struct buf scratch;
    struct str policy;

    buf_init(&scratch, 65536);
    ret->segment_bytes = number_of(&r, "segment.bytes", &scratch);
    ret->segment_ms = number_of(&r, "segment.ms", &scratch);
    ret->segment_jitter_ms = number_of(&r, "segment.jitter.ms", &scratch);
    ret->segment_index_bytes = number_of(&r, "segment.index.bytes", &scratch);
    ret->index_interval_bytes = number_of(&r, "index.interval.bytes", &scratch);
    ret->max_message_bytes = number_of(&r, "max.message.bytes", &scratch);
    ret->retention_ms = number_of(&r, "retention.ms", &scratch);
    ret->retention_bytes = number_of(&r, "retention.bytes", &scratch);
    ret->flush_messages = number_of(&r, "flush.messages", &scratch);
    ret->flush_ms = number_of(&r, "flush.ms", &scratch);
    ret->file_delete_delay_ms = number_of(&r, "file.delete.delay.ms", &scratch);
    ret->timestamp_before_max_ms = number_of(&r, "message.timestamp.before.max.ms", &scratch);
    ret->timestamp_after_max_ms = number_of(&r, "message.timestamp.after.max.ms", &scratch);
    ret->log_append_time = str_equal_text(text_of(&r, "message.timestamp.type", &scratch), "LogAppendTime");
    ret->preallocate = flag_of(&r, "preallocate", &scratch);
    policy = text_of(&r, "cleanup.policy", &scratch);
    ret->compact = list_has(policy, "compact");
    ret->delete_expired = list_has(policy, "delete");
    resolve_compression(&r, &scratch, ret);
    *ret_min_in_sync = (int32_t)number_of(&r, "min.insync.replicas", &scratch);
    buf_free(&scratch);
}
