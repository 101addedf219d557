#include "broker/log/epoch_cache.h"

#include "broker/log/text_line.h"
#include "common/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One line is at most "2147483647 9223372036854775807\n". */
#define FILE_BYTES_MAX (32u + EPOCH_CACHE_COUNT_MAX * 32u)

struct epoch_cache {
    struct epoch_entry *entries; /* both members rise strictly */
    unsigned count;
    unsigned capacity;
};

struct epoch_cache *epoch_cache_new(void)
{
    return calloc(1, sizeof(struct epoch_cache));
}

void epoch_cache_free(struct epoch_cache *cache)
{
    if (cache == NULL)
        return;
    free(cache->entries);
    free(cache);
}

static enum pst_status reserve(struct epoch_cache *cache, unsigned count)
{
    unsigned capacity = cache->capacity == 0 ? 4 : cache->capacity;
    struct epoch_entry *entries;

    if (count > EPOCH_CACHE_COUNT_MAX)
        return PST_FULL;
    if (count <= cache->capacity)
        return PST_OK;
    while (capacity < count)
        capacity *= 2;
    entries = realloc(cache->entries, capacity * sizeof *entries);
    if (entries == NULL)
        return PST_NOMEM;
    cache->entries = entries;
    cache->capacity = capacity;
    return PST_OK;
}

/* ---- file ---- */

static const char *parse_entries(struct epoch_cache *cache, struct str rest, unsigned count)
{
    struct str line, more;

    for (unsigned i = 0; i < count; i++) {
        int64_t epoch, offset;

        if (!text_line_next(&rest, &line))
            return "fewer entries than counted";
        if (!text_number_next(&line, 0, INT32_MAX, &epoch) ||
            !text_number_next(&line, 0, INT64_MAX, &offset) || text_word_next(&line, &more))
            return "an entry is not \"<epoch> <offset>\"";
        if (i > 0 && (epoch <= cache->entries[i - 1].epoch || offset <= cache->entries[i - 1].start_offset))
            return "entries do not rise";
        cache->entries[i] = (struct epoch_entry){(int32_t)epoch, offset};
        cache->count = i + 1;
    }
    while (text_line_next(&rest, &line))
        if (text_word_next(&line, &more))
            return "more entries than counted";
    return NULL;
}

enum pst_status epoch_cache_parse(struct epoch_cache *cache, struct str text, const char **ret_reason)
{
    struct epoch_cache fresh = {0};
    const char *reason = NULL;
    enum pst_status status;
    int64_t version, count;

    if (!text_line_number(&text, 0, 0, &version)) {
        reason = "the first line is not version 0";
        goto corrupt;
    }
    if (!text_line_number(&text, 0, EPOCH_CACHE_COUNT_MAX, &count)) {
        reason = "the second line is not a count";
        goto corrupt;
    }
    status = reserve(&fresh, (unsigned)count);
    if (status != PST_OK)
        return status;
    reason = parse_entries(&fresh, text, (unsigned)count);
    if (reason != NULL)
        goto corrupt;
    free(cache->entries);
    *cache = fresh;
    return PST_OK;

corrupt:
    free(fresh.entries);
    if (ret_reason != NULL)
        *ret_reason = reason;
    return PST_CORRUPT;
}

enum pst_status epoch_cache_load(struct epoch_cache *cache, const char *dir_path, const char **ret_reason)
{
    enum pst_status status;
    char *path, *content = NULL;
    size_t length;

    if (asprintf(&path, "%s/" EPOCH_CACHE_FILE, dir_path) < 0)
        return PST_NOMEM;
    status = file_read_all(path, FILE_BYTES_MAX, &content, &length);
    free(path);
    if (status == PST_NOT_FOUND) {
        cache->count = 0;
        return PST_OK;
    }
    if (status == PST_FULL) {
        if (ret_reason != NULL)
            *ret_reason = "too long";
        return PST_CORRUPT;
    }
    if (status != PST_OK)
        return status;
    status = epoch_cache_parse(cache, str_of_bytes(content, length), ret_reason);
    free(content);
    return status;
}

enum pst_status epoch_cache_save(const struct epoch_cache *cache, const struct file_ops *files,
                                 const char *dir_path)
{
    enum pst_status status;
    struct buf text;
    char *path;

    if (asprintf(&path, "%s/" EPOCH_CACHE_FILE, dir_path) < 0)
        return PST_NOMEM;
    buf_init(&text, FILE_BYTES_MAX);
    buf_printf(&text, "0\n%u\n", cache->count);
    for (unsigned i = 0; i < cache->count; i++)
        buf_printf(&text, "%" PRId32 " %" PRId64 "\n", cache->entries[i].epoch,
                   cache->entries[i].start_offset);
    status = text.status;
    if (status == PST_OK)
        status = file_replace(files, path, buf_view(&text));
    buf_free(&text);
    free(path);
    return status;
}

/* ---- changes ---- */

enum pst_status epoch_cache_assign(struct epoch_cache *cache, int32_t epoch, int64_t start_offset,
                                   bool *ret_changed)
{
    const struct epoch_entry *last = cache->count == 0 ? NULL : &cache->entries[cache->count - 1];
    enum pst_status status;

    if (epoch < 0 || start_offset < 0)
        return PST_INVALID;
    if (last != NULL && epoch == last->epoch && start_offset >= last->start_offset) {
        *ret_changed = false;
        return PST_OK;
    }
    status = reserve(cache, cache->count + 1);
    if (status != PST_OK)
        return status;
    /* What is not before the new entry in both ways is of a history that did not last. */
    while (cache->count > 0 && (cache->entries[cache->count - 1].epoch >= epoch ||
                                cache->entries[cache->count - 1].start_offset >= start_offset))
        cache->count--;
    cache->entries[cache->count++] = (struct epoch_entry){epoch, start_offset};
    *ret_changed = true;
    return PST_OK;
}

bool epoch_cache_truncate_from_end(struct epoch_cache *cache, int64_t end_offset)
{
    unsigned before = cache->count;

    while (cache->count > 0 && cache->entries[cache->count - 1].start_offset >= end_offset)
        cache->count--;
    return cache->count != before;
}

bool epoch_cache_truncate_from_start(struct epoch_cache *cache, int64_t start_offset)
{
    unsigned gone = 0;

    while (gone < cache->count && cache->entries[gone].start_offset <= start_offset)
        gone++;
    if (gone == 0)
        return false;
    gone--; /* the epoch of the first record that stays */
    if (gone == 0 && cache->entries[0].start_offset == start_offset)
        return false;
    memmove(cache->entries, cache->entries + gone, (cache->count - gone) * sizeof *cache->entries);
    cache->count -= gone;
    cache->entries[0].start_offset = start_offset;
    return true;
}

/* ---- questions ---- */

int32_t epoch_cache_latest(const struct epoch_cache *cache)
{
    return cache->count == 0 ? NO_EPOCH : cache->entries[cache->count - 1].epoch;
}

int32_t epoch_cache_at(const struct epoch_cache *cache, int64_t offset)
{
    unsigned low = 0;
    unsigned high = cache->count; /* entries from here on start above the offset */

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (cache->entries[middle].start_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NO_EPOCH : cache->entries[low - 1].epoch;
}

void epoch_cache_end(const struct epoch_cache *cache, int32_t epoch, int64_t log_end_offset,
                     int32_t *ret_epoch, int64_t *ret_end_offset)
{
    unsigned above = 0; /* first entry with a higher epoch */

    *ret_epoch = NO_EPOCH;
    *ret_end_offset = -1;
    if (epoch < 0 || cache->count == 0)
        return;
    if (epoch == epoch_cache_latest(cache)) {
        *ret_epoch = epoch;
        *ret_end_offset = log_end_offset;
        return;
    }
    while (above < cache->count && cache->entries[above].epoch <= epoch)
        above++;
    if (above == cache->count)
        return;
    *ret_epoch = above == 0 ? epoch : cache->entries[above - 1].epoch;
    *ret_end_offset = cache->entries[above].start_offset;
}

unsigned epoch_cache_count(const struct epoch_cache *cache)
{
    return cache->count;
}

struct epoch_entry epoch_cache_entry(const struct epoch_cache *cache, unsigned index)
{
    return cache->entries[index];
}
