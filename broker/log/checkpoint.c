#include "broker/log/checkpoint.h"

#include "broker/log/text_line.h"
#include "common/buf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A topic name has at most 249 characters, a partition 10, an offset 19. */
#define LINE_BYTES_MAX (249u + 1u + 10u + 1u + 19u + 1u)
#define FILE_BYTES_MAX ((size_t)CHECKPOINT_COUNT_MAX * LINE_BYTES_MAX)

struct stored_entry {
    size_t topic_at; /* in names */
    uint32_t topic_length;
    int32_t partition;
    int64_t offset;
};

struct offset_checkpoint {
    struct stored_entry *entries; /* in the order of adding */
    unsigned *sorted;             /* indexes of entries by (topic, partition); NULL until sorted */
    unsigned count;
    unsigned capacity;
    struct buf names;
};

struct offset_checkpoint *offset_checkpoint_new(void)
{
    struct offset_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);

    if (checkpoint != NULL)
        buf_init(&checkpoint->names, FILE_BYTES_MAX);
    return checkpoint;
}

void offset_checkpoint_free(struct offset_checkpoint *checkpoint)
{
    if (checkpoint == NULL)
        return;
    buf_free(&checkpoint->names);
    free(checkpoint->sorted);
    free(checkpoint->entries);
    free(checkpoint);
}

static struct str topic_of(const struct offset_checkpoint *checkpoint, const struct stored_entry *entry)
{
    return str_of_bytes(checkpoint->names.at + entry->topic_at, entry->topic_length);
}

unsigned offset_checkpoint_count(const struct offset_checkpoint *checkpoint)
{
    return checkpoint->count;
}

struct offset_checkpoint_entry offset_checkpoint_entry(const struct offset_checkpoint *checkpoint,
                                                       unsigned index)
{
    const struct stored_entry *entry = &checkpoint->entries[index];

    return (struct offset_checkpoint_entry){topic_of(checkpoint, entry), entry->partition, entry->offset};
}

static enum pst_status grow(struct offset_checkpoint *checkpoint)
{
    unsigned capacity = checkpoint->capacity == 0 ? 16 : checkpoint->capacity * 2;
    struct stored_entry *entries = realloc(checkpoint->entries, capacity * sizeof *entries);

    if (entries == NULL)
        return PST_NOMEM;
    checkpoint->entries = entries;
    checkpoint->capacity = capacity;
    return PST_OK;
}

enum pst_status offset_checkpoint_add(struct offset_checkpoint *checkpoint, struct str topic,
                                      int32_t partition, int64_t offset)
{
    struct stored_entry *entry;

    if (checkpoint->count == CHECKPOINT_COUNT_MAX)
        return PST_FULL;
    if (checkpoint->count == checkpoint->capacity && grow(checkpoint) != PST_OK)
        return PST_NOMEM;
    entry = &checkpoint->entries[checkpoint->count];
    *entry = (struct stored_entry){checkpoint->names.length, (uint32_t)topic.length, partition, offset};
    buf_append_str(&checkpoint->names, topic);
    if (checkpoint->names.status != PST_OK)
        return checkpoint->names.status;
    checkpoint->count++;
    free(checkpoint->sorted);
    checkpoint->sorted = NULL;
    return PST_OK;
}

/* ---- search ---- */

static int compare_with(const struct offset_checkpoint *checkpoint, const struct stored_entry *entry,
                        struct str topic, int32_t partition)
{
    int order = str_compare(topic_of(checkpoint, entry), topic);

    if (order != 0)
        return order;
    return (entry->partition > partition) - (entry->partition < partition);
}

static int compare_entries(const void *left, const void *right, void *arg)
{
    const struct offset_checkpoint *checkpoint = arg;
    const struct stored_entry *other = &checkpoint->entries[*(const unsigned *)right];

    return compare_with(checkpoint, &checkpoint->entries[*(const unsigned *)left],
                        topic_of(checkpoint, other), other->partition);
}

void offset_checkpoint_sort(struct offset_checkpoint *checkpoint)
{
    if (checkpoint->sorted != NULL || checkpoint->count == 0)
        return;
    checkpoint->sorted = malloc(checkpoint->count * sizeof *checkpoint->sorted);
    if (checkpoint->sorted == NULL)
        return; /* searches walk the entries then */
    for (unsigned i = 0; i < checkpoint->count; i++)
        checkpoint->sorted[i] = i;
    qsort_r(checkpoint->sorted, checkpoint->count, sizeof *checkpoint->sorted, compare_entries, checkpoint);
}

int64_t offset_checkpoint_find(const struct offset_checkpoint *checkpoint, struct str topic,
                               int32_t partition)
{
    unsigned low = 0;
    unsigned high = checkpoint->count;

    if (checkpoint->sorted == NULL) {
        for (unsigned i = 0; i < checkpoint->count; i++)
            if (compare_with(checkpoint, &checkpoint->entries[i], topic, partition) == 0)
                return checkpoint->entries[i].offset;
        return -1;
    }
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const struct stored_entry *entry = &checkpoint->entries[checkpoint->sorted[middle]];
        int order = compare_with(checkpoint, entry, topic, partition);

        if (order == 0)
            return entry->offset;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ---- file ---- */

static enum pst_status parse_line(struct offset_checkpoint *checkpoint, struct str line,
                                  const char **ret_reason)
{
    struct str topic, more;
    int64_t partition, offset;

    if (!text_word_next(&line, &topic) || !text_number_next(&line, 0, INT32_MAX, &partition) ||
        !text_number_next(&line, 0, INT64_MAX, &offset) || text_word_next(&line, &more)) {
        *ret_reason = "an entry is not \"<topic> <partition> <offset>\"";
        return PST_CORRUPT;
    }
    return offset_checkpoint_add(checkpoint, topic, (int32_t)partition, offset);
}

static enum pst_status parse_entries(struct offset_checkpoint *checkpoint, struct str rest, int64_t count,
                                     const char **ret_reason)
{
    struct str line, more;

    for (int64_t i = 0; i < count; i++) {
        enum pst_status status;

        if (!text_line_next(&rest, &line)) {
            *ret_reason = "fewer entries than counted";
            return PST_CORRUPT;
        }
        status = parse_line(checkpoint, line, ret_reason);
        if (status != PST_OK)
            return status;
    }
    while (text_line_next(&rest, &line)) {
        if (text_word_next(&line, &more)) {
            *ret_reason = "more entries than counted";
            return PST_CORRUPT;
        }
    }
    return PST_OK;
}

enum pst_status offset_checkpoint_parse(struct str text, struct offset_checkpoint **ret,
                                        const char **ret_reason)
{
    struct offset_checkpoint *checkpoint = offset_checkpoint_new();
    const char *reason = NULL;
    enum pst_status status = PST_CORRUPT;
    int64_t version, count;

    if (checkpoint == NULL)
        return PST_NOMEM;
    if (!text_line_number(&text, 0, 0, &version))
        reason = "the first line is not version 0";
    else if (!text_line_number(&text, 0, CHECKPOINT_COUNT_MAX, &count))
        reason = "the second line is not a count";
    else
        status = parse_entries(checkpoint, text, count, &reason);
    if (status != PST_OK) {
        offset_checkpoint_free(checkpoint);
        if (status == PST_CORRUPT && ret_reason != NULL)
            *ret_reason = reason;
        return status;
    }
    offset_checkpoint_sort(checkpoint);
    *ret = checkpoint;
    return PST_OK;
}

enum pst_status offset_checkpoint_load(const char *dir_path, const char *file_name,
                                       struct offset_checkpoint **ret, const char **ret_reason)
{
    enum pst_status status;
    char *path, *content = NULL;
    size_t length;

    if (asprintf(&path, "%s/%s", dir_path, file_name) < 0)
        return PST_NOMEM;
    status = file_read_all(path, FILE_BYTES_MAX, &content, &length);
    free(path);
    if (status == PST_FULL) {
        if (ret_reason != NULL)
            *ret_reason = "too long";
        return PST_CORRUPT;
    }
    if (status != PST_OK)
        return status;
    status = offset_checkpoint_parse(str_of_bytes(content, length), ret, ret_reason);
    free(content);
    return status;
}

enum pst_status offset_checkpoint_save(const struct offset_checkpoint *checkpoint,
                                       const struct file_ops *files, const char *dir_path,
                                       const char *file_name)
{
    enum pst_status status;
    struct buf text;
    char *path;

    if (asprintf(&path, "%s/%s", dir_path, file_name) < 0)
        return PST_NOMEM;
    buf_init(&text, FILE_BYTES_MAX);
    buf_printf(&text, "0\n%u\n", checkpoint->count);
    for (unsigned i = 0; i < checkpoint->count; i++) {
        struct offset_checkpoint_entry entry = offset_checkpoint_entry(checkpoint, i);

        buf_printf(&text, "%.*s %" PRId32 " %" PRId64 "\n", STR_FORMAT(entry.topic), entry.partition,
                   entry.offset);
    }
    status = text.status;
    if (status == PST_OK)
        status = file_replace(files, path, buf_view(&text));
    buf_free(&text);
    free(path);
    return status;
}

/* ---- clean stop ---- */

bool clean_shutdown_exists(const char *dir_path)
{
    char *path;
    bool exists;

    if (asprintf(&path, "%s/" CLEAN_SHUTDOWN_FILE, dir_path) < 0)
        return false; /* recovering once too often is safe */
    exists = access(path, F_OK) == 0;
    free(path);
    return exists;
}

enum pst_status clean_shutdown_remove(const struct file_ops *files, const char *dir_path)
{
    enum pst_status status = PST_OK;
    char *path;

    if (asprintf(&path, "%s/" CLEAN_SHUTDOWN_FILE, dir_path) < 0)
        return PST_NOMEM;
    if (files->unlink(path) == 0)
        status = file_sync_dir(files, dir_path);
    else if (errno != ENOENT)
        status = pst_status_of_errno(errno);
    free(path);
    return status;
}

enum pst_status clean_shutdown_write(const struct file_ops *files, const char *dir_path, int64_t broker_epoch)
{
    enum pst_status status;
    char *path = NULL;
    char *text = NULL;

    if (asprintf(&path, "%s/" CLEAN_SHUTDOWN_FILE, dir_path) < 0)
        return PST_NOMEM;
    if (asprintf(&text, "{\"version\":0,\"brokerEpoch\":%" PRId64 "}", broker_epoch) < 0) {
        free(path);
        return PST_NOMEM;
    }
    status = file_replace(files, path, str_of(text));
    free(text);
    free(path);
    return status;
}
