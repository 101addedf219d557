#include "broker/log/segment.h"

#include "broker/log/log.h"
#include "common/bug.h"
#include "protocol/record_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char *segment_file_path(const char *dir_path, int64_t base_offset, const char *suffix)
{
    char *path;

    return asprintf(&path, "%s/%020" PRId64 "%s", dir_path, base_offset, suffix) < 0 ? NULL : path;
}

static char *sister_path(const struct segment *segment, const char *suffix)
{
    size_t stem = strlen(segment->path) - strlen(".log");
    char *path;

    return asprintf(&path, "%.*s%s", (int)stem, segment->path, suffix) < 0 ? NULL : path;
}

static void segment_free(struct segment *segment)
{
    if (segment->fd >= 0)
        segment->files->close(segment->fd);
    txn_index_close(segment->txns);
    free(segment->offsets);
    free(segment->times);
    free(segment->path);
    free(segment);
}

void segment_ref(struct segment *segment)
{
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
}

void segment_unref(struct segment *segment)
{
    if (segment != NULL && atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel) == 1)
        segment_free(segment);
}

enum pst_status segment_open(const struct file_ops *files, const char *dir_path, int64_t base_offset,
                             bool create, int64_t now_ms, struct segment **ret)
{
    struct segment *segment = calloc(1, sizeof *segment);
    enum pst_status status = PST_NOMEM;
    struct stat info;
    char *txn_path = NULL;

    if (segment == NULL)
        return PST_NOMEM;
    atomic_init(&segment->references, 1);
    segment->files = files;
    segment->fd = -1;
    segment->base_offset = base_offset;
    segment->created_ms = now_ms;
    segment->max_timestamp_ms = NO_TIMESTAMP;
    segment->max_timestamp_offset = base_offset;
    segment->first_timestamp_ms = NO_TIMESTAMP;
    segment->path = segment_file_path(dir_path, base_offset, ".log");
    txn_path = segment_file_path(dir_path, base_offset, ".txnindex");
    if (segment->path == NULL || txn_path == NULL)
        goto fail;
    segment->fd = files->open(segment->path, O_RDWR | (create ? O_CREAT : 0), 0644);
    if (segment->fd < 0 || fstat(segment->fd, &info) != 0) {
        status = pst_status_of_errno(errno);
        goto fail;
    }
    atomic_init(&segment->size_bytes, info.st_size);
    segment->indexes_loaded = info.st_size == 0;
    status = txn_index_open(files, txn_path, &segment->txns);
    if (status == PST_CORRUPT) { /* rebuilt when the segment is replayed */
        files->unlink(txn_path);
        status = txn_index_open(files, txn_path, &segment->txns);
    }
    if (status != PST_OK)
        goto fail;
    free(txn_path);
    *ret = segment;
    return PST_OK;

fail:
    free(txn_path);
    segment_free(segment);
    return status;
}

static void *grow(void *array, uint32_t *capacity, size_t element_bytes)
{
    uint32_t more = *capacity == 0 ? 8 : *capacity * 2;
    void *grown = realloc(array, more * element_bytes);

    if (grown != NULL)
        *capacity = more;
    return grown;
}

static void add_offset_entry(struct segment *segment, int64_t offset, int64_t position)
{
    if (segment->offset_count == segment->offset_capacity) {
        void *grown = grow(segment->offsets, &segment->offset_capacity, sizeof *segment->offsets);

        if (grown == NULL)
            return;
        segment->offsets = grown;
    }
    store_be32(segment->offsets[segment->offset_count].relative_offset.bytes,
               (uint32_t)(offset - segment->base_offset));
    store_be32(segment->offsets[segment->offset_count].position.bytes, (uint32_t)position);
    segment->offset_count++;
}

/* Timestamps and offsets both rise strictly; an entry that would not is left out, as Kafka's maybeAppend
 * does. */
static void add_time_entry(struct segment *segment)
{
    const struct time_index_entry *last =
        segment->time_count > 0 ? &segment->times[segment->time_count - 1] : NULL;
    uint32_t relative = (uint32_t)(segment->max_timestamp_offset - segment->base_offset);

    if (segment->max_timestamp_ms < 0 ||
        (last != NULL && (segment->max_timestamp_ms <= (int64_t)load_be64(last->timestamp.bytes) ||
                          relative <= load_be32(last->relative_offset.bytes))))
        return;
    if (segment->time_count == segment->time_capacity) {
        void *grown = grow(segment->times, &segment->time_capacity, sizeof *segment->times);

        if (grown == NULL)
            return;
        segment->times = grown;
    }
    store_be64(segment->times[segment->time_count].timestamp.bytes, (uint64_t)segment->max_timestamp_ms);
    store_be32(segment->times[segment->time_count].relative_offset.bytes, relative);
    segment->time_count++;
}

void segment_note_append(struct segment *segment, int64_t last_offset, int64_t position, uint32_t size_bytes,
                         int64_t max_timestamp_ms, int64_t index_interval_bytes)
{
    if (segment->first_timestamp_ms == NO_TIMESTAMP)
        segment->first_timestamp_ms = max_timestamp_ms;
    if (max_timestamp_ms > segment->max_timestamp_ms) {
        segment->max_timestamp_ms = max_timestamp_ms;
        segment->max_timestamp_offset = last_offset;
    }
    segment->indexes_saved = false;
    if (segment->bytes_since_index > index_interval_bytes) {
        add_offset_entry(segment, last_offset, position);
        add_time_entry(segment);
        segment->bytes_since_index = 0;
    }
    segment->bytes_since_index += size_bytes;
}

bool segment_index_is_full(const struct segment *segment, int64_t index_bytes_max)
{
    return (int64_t)segment->offset_count >= index_bytes_max / (int64_t)sizeof *segment->offsets ||
           (int64_t)segment->time_count >= index_bytes_max / (int64_t)sizeof *segment->times - 1;
}

int64_t segment_find(const struct segment *segment, int64_t offset)
{
    uint32_t low = 0;
    uint32_t high = segment->offset_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (segment->base_offset + load_be32(segment->offsets[middle].relative_offset.bytes) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : load_be32(segment->offsets[low - 1].position.bytes);
}

int64_t segment_cut(const struct segment *segment, int64_t from, int64_t limit)
{
    uint32_t low = 0;
    uint32_t high = segment->offset_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (load_be32(segment->offsets[middle].position.bytes) <= limit)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || load_be32(segment->offsets[low - 1].position.bytes) <= from)
        return -1;
    return load_be32(segment->offsets[low - 1].position.bytes);
}

int64_t segment_find_time(const struct segment *segment, int64_t timestamp_ms)
{
    int64_t offset = segment->base_offset;

    for (uint32_t i = 0; i < segment->time_count; i++) {
        if ((int64_t)load_be64(segment->times[i].timestamp.bytes) >= timestamp_ms)
            break;
        offset = segment->base_offset + load_be32(segment->times[i].relative_offset.bytes);
    }
    return offset;
}

enum pst_status segment_trim(struct segment *segment)
{
    struct stat info;

    if (fstat(segment->fd, &info) != 0)
        return PST_IO;
    if (info.st_size <= segment->size_bytes)
        return PST_OK;
    return segment->files->ftruncate(segment->fd, segment->size_bytes) == 0 ? PST_OK : PST_IO;
}

static enum pst_status write_index(const struct segment *segment, const char *suffix, const void *bytes,
                                   size_t length)
{
    char *path = sister_path(segment, suffix);
    enum pst_status status = PST_OK;
    int fd;

    if (path == NULL)
        return PST_NOMEM;
    fd = segment->files->open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    free(path);
    if (fd < 0)
        return pst_status_of_errno(errno);
    status = file_write_all(segment->files, fd, bytes, length, 0);
    if (status == PST_OK && segment->files->fdatasync(fd) != 0)
        status = pst_status_of_errno(errno);
    segment->files->close(fd);
    return status;
}

enum pst_status segment_write_indexes(struct segment *segment)
{
    enum pst_status status;

    BUG_ON(!segment->indexes_loaded);
    add_time_entry(segment);
    status =
        write_index(segment, ".index", segment->offsets, segment->offset_count * sizeof *segment->offsets);
    if (status == PST_OK)
        status =
            write_index(segment, ".timeindex", segment->times, segment->time_count * sizeof *segment->times);
    return status;
}

void segment_clear_indexes(struct segment *segment)
{
    segment->offset_count = 0;
    segment->time_count = 0;
    segment->bytes_since_index = 0;
    segment->max_timestamp_ms = NO_TIMESTAMP;
    segment->max_timestamp_offset = segment->base_offset;
    segment->first_timestamp_ms = NO_TIMESTAMP;
    segment->indexes_loaded = true;
    segment->indexes_saved = false;
}

/* An index of a segment is at most this large: segment.index.bytes cannot be set higher than int32. */
#define INDEX_BYTES_MAX ((size_t)INT32_MAX)

static enum pst_status read_index(const struct segment *segment, const char *suffix, size_t entry_bytes,
                                  void **ret, uint32_t *ret_count)
{
    char *path = sister_path(segment, suffix);
    enum pst_status status;
    char *bytes;
    size_t length;

    if (path == NULL)
        return PST_NOMEM;
    status = file_read_all(path, INDEX_BYTES_MAX, &bytes, &length);
    free(path);
    if (status != PST_OK)
        return status == PST_NOMEM || status == PST_IO ? status : PST_CORRUPT;
    if (length % entry_bytes != 0) {
        free(bytes);
        return PST_CORRUPT;
    }
    *ret = bytes;
    *ret_count = (uint32_t)(length / entry_bytes);
    return PST_OK;
}

static bool indexes_are_sane(const struct segment *segment)
{
    int64_t offset = -1;
    int64_t position = -1;
    int64_t timestamp = -1;

    for (uint32_t i = 0; i < segment->offset_count; i++) {
        int64_t next_offset = load_be32(segment->offsets[i].relative_offset.bytes);
        int64_t next_position = load_be32(segment->offsets[i].position.bytes);

        if (next_offset <= offset || next_position <= position || next_position >= segment->size_bytes)
            return false;
        offset = next_offset;
        position = next_position;
    }
    offset = -1;
    for (uint32_t i = 0; i < segment->time_count; i++) {
        int64_t next_offset = load_be32(segment->times[i].relative_offset.bytes);
        int64_t next_timestamp = (int64_t)load_be64(segment->times[i].timestamp.bytes);

        if (next_offset < offset || next_timestamp < timestamp)
            return false;
        offset = next_offset;
        timestamp = next_timestamp;
    }
    return true;
}

enum pst_status segment_load_indexes(struct segment *segment)
{
    void *offsets = NULL;
    void *times = NULL;
    enum pst_status status;

    segment_clear_indexes(segment);
    segment->indexes_loaded = false;
    status = read_index(segment, ".index", sizeof *segment->offsets, &offsets, &segment->offset_count);
    if (status == PST_OK)
        status = read_index(segment, ".timeindex", sizeof *segment->times, &times, &segment->time_count);
    free(segment->offsets);
    free(segment->times);
    segment->offsets = offsets;
    segment->times = times;
    segment->offset_capacity = segment->offset_count;
    segment->time_capacity = segment->time_count;
    if (status != PST_OK || !indexes_are_sane(segment)) {
        segment_clear_indexes(segment);
        segment->indexes_loaded = false;
        return status != PST_OK ? status : PST_CORRUPT;
    }
    if (segment->time_count > 0) {
        const struct time_index_entry *last = &segment->times[segment->time_count - 1];

        segment->max_timestamp_ms = (int64_t)load_be64(last->timestamp.bytes);
        segment->max_timestamp_offset = segment->base_offset + load_be32(last->relative_offset.bytes);
    }
    segment->indexes_loaded = true;
    segment->indexes_saved = true;
    return PST_OK;
}

void segment_unload_indexes(struct segment *segment)
{
    BUG_ON(!segment->indexes_saved);
    free(segment->offsets);
    free(segment->times);
    segment->offsets = NULL;
    segment->times = NULL;
    segment->offset_count = segment->offset_capacity = 0;
    segment->time_count = segment->time_capacity = 0;
    segment->indexes_loaded = false;
}

int64_t segment_stored_timestamp(const struct segment *segment)
{
    struct time_index_entry last;
    char *path = sister_path(segment, ".timeindex");
    int64_t timestamp_ms = NO_TIMESTAMP;
    struct stat info;
    int fd;

    if (path == NULL)
        return NO_TIMESTAMP;
    fd = segment->files->open(path, O_RDONLY, 0);
    free(path);
    if (fd < 0)
        return NO_TIMESTAMP;
    if (fstat(fd, &info) == 0 && info.st_size >= (off_t)sizeof last &&
        info.st_size % (off_t)sizeof last == 0 &&
        pread(fd, &last, sizeof last, info.st_size - (off_t)sizeof last) == (ssize_t)sizeof last)
        timestamp_ms = (int64_t)load_be64(last.timestamp.bytes);
    segment->files->close(fd);
    return timestamp_ms > 0 ? timestamp_ms : NO_TIMESTAMP; /* 0: the zeros of a preallocated index */
}

enum pst_status segment_read_header(const struct segment *segment, int64_t position, int64_t end, bool wait,
                                    struct record_batch_info *ret)
{
    uint8_t raw[RECORD_BATCH_HEADER_BYTES];
    struct iovec part = {raw, sizeof raw};
    enum pst_status status;
    ssize_t got;

    if (position >= end)
        return PST_EOF;
    do
        got = preadv2(segment->fd, &part, 1, position, wait ? 0 : RWF_NOWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EOPNOTSUPP)
        got = pread(segment->fd, raw, sizeof raw, position);
    if (got < 0)
        return pst_status_of_errno(errno);
    if (!wait && got < (ssize_t)sizeof raw && position + (ssize_t)sizeof raw <= end)
        return PST_AGAIN; /* the page behind is cold */
    status = record_batch_read_header(raw, (size_t)got, ret);
    if (status != PST_OK || (int64_t)ret->size_bytes > end - position)
        return PST_CORRUPT;
    return PST_OK;
}
