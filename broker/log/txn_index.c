#include "broker/log/txn_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY_BYTES   sizeof(struct txn_index_entry)
#define CHUNK_ENTRIES 128u

struct txn_index {
    const struct file_ops *files;
    char *path;
    int fd; /* -1 until the first entry */
    int64_t last_offset;
    _Atomic unsigned count; /* writer: the appender (release), after the bytes; readers: any (acquire) */
};

static bool entry_read(const struct txn_index_entry *entry, struct aborted_txn *ret)
{
    ret->producer_id = (int64_t)load_be64(&entry->producer_id);
    ret->first_offset = (int64_t)load_be64(&entry->first_offset);
    ret->last_offset = (int64_t)load_be64(&entry->last_offset);
    ret->last_stable_offset = (int64_t)load_be64(&entry->last_stable_offset);
    return load_be16(&entry->version) == 0 && ret->first_offset >= 0 && ret->last_offset >= ret->first_offset;
}

static void entry_write(struct txn_index_entry *entry, const struct aborted_txn *txn)
{
    store_be16(&entry->version, 0);
    store_be64(&entry->producer_id, (uint64_t)txn->producer_id);
    store_be64(&entry->first_offset, (uint64_t)txn->first_offset);
    store_be64(&entry->last_offset, (uint64_t)txn->last_offset);
    store_be64(&entry->last_stable_offset, (uint64_t)txn->last_stable_offset);
}

/* Reads entries [from, from + count), count at most CHUNK_ENTRIES, into `to`. */
static enum pst_status read_entries(const struct txn_index *index, unsigned from, unsigned count,
                                    struct txn_index_entry *to)
{
    size_t length = count * ENTRY_BYTES;
    size_t got = 0;

    while (got < length) {
        ssize_t n = pread(index->fd, (char *)to + got, length - got, (off_t)(from * ENTRY_BYTES + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return PST_IO;
        if (n == 0)
            return PST_CORRUPT; /* somebody cut the file */
        got += (size_t)n;
    }
    return PST_OK;
}

/* Calls fn for each entry in order until it returns false. */
static enum pst_status walk(const struct txn_index *index, unsigned count,
                            bool (*fn)(void *arg, unsigned at, const struct aborted_txn *txn), void *arg)
{
    struct txn_index_entry chunk[CHUNK_ENTRIES];

    for (unsigned from = 0; from < count; from += CHUNK_ENTRIES) {
        unsigned part = count - from < CHUNK_ENTRIES ? count - from : CHUNK_ENTRIES;
        enum pst_status status = read_entries(index, from, part, chunk);

        if (status != PST_OK)
            return status;
        for (unsigned i = 0; i < part; i++) {
            struct aborted_txn txn;

            if (!entry_read(&chunk[i], &txn))
                return PST_CORRUPT;
            if (!fn(arg, from + i, &txn))
                return PST_OK;
        }
    }
    return PST_OK;
}

/* ---- opening ---- */

struct order_check {
    int64_t last_offset;
    bool broken;
};

static bool check_order(void *arg, unsigned at, const struct aborted_txn *txn)
{
    struct order_check *check = arg;

    (void)at;
    check->broken = txn->last_offset <= check->last_offset;
    check->last_offset = txn->last_offset;
    return !check->broken;
}

static enum pst_status load(struct txn_index *index)
{
    struct order_check check = {-1, false};
    enum pst_status status;
    struct stat info;
    unsigned count;

    if (fstat(index->fd, &info) != 0)
        return PST_IO;
    if (info.st_size % (off_t)ENTRY_BYTES != 0 || info.st_size / (off_t)ENTRY_BYTES > INT32_MAX)
        return PST_CORRUPT;
    count = (unsigned)(info.st_size / (off_t)ENTRY_BYTES);
    status = walk(index, count, check_order, &check);
    if (status != PST_OK)
        return status;
    if (check.broken)
        return PST_CORRUPT;
    index->last_offset = check.last_offset;
    atomic_store_explicit(&index->count, count, memory_order_release);
    return PST_OK;
}

enum pst_status txn_index_open(const struct file_ops *files, const char *path, struct txn_index **ret)
{
    struct txn_index *index = calloc(1, sizeof *index);
    enum pst_status status = PST_OK;

    if (index == NULL)
        return PST_NOMEM;
    index->files = files;
    index->last_offset = -1;
    index->fd = -1;
    index->path = strdup(path);
    if (index->path == NULL) {
        status = PST_NOMEM;
        goto fail;
    }
    index->fd = files->open(path, O_RDWR, 0);
    if (index->fd < 0 && errno != ENOENT) {
        status = pst_status_of_errno(errno);
        goto fail;
    }
    if (index->fd >= 0)
        status = load(index);
    if (status != PST_OK)
        goto fail;
    *ret = index;
    return PST_OK;

fail:
    txn_index_close(index);
    return status;
}

void txn_index_close(struct txn_index *index)
{
    if (index == NULL)
        return;
    if (index->fd >= 0)
        index->files->close(index->fd);
    free(index->path);
    free(index);
}

/* ---- appending ---- */

enum pst_status txn_index_append(struct txn_index *index, const struct aborted_txn *txn)
{
    unsigned count = atomic_load_explicit(&index->count, memory_order_relaxed);
    struct txn_index_entry entry;
    enum pst_status status;

    if (txn->last_offset <= index->last_offset || txn->first_offset < 0 ||
        txn->last_offset < txn->first_offset)
        return PST_INVALID;
    if (index->fd < 0)
        index->fd = index->files->open(index->path, O_RDWR | O_CREAT, 0644);
    if (index->fd < 0)
        return pst_status_of_errno(errno);
    entry_write(&entry, txn);
    /* A torn entry behind `count` is overwritten by the next append, or found by the size check after a
     * crash. */
    status = file_write_all(index->files, index->fd, &entry, sizeof entry, (off_t)(count * ENTRY_BYTES));
    if (status != PST_OK)
        return status;
    index->last_offset = txn->last_offset;
    atomic_store_explicit(&index->count, count + 1, memory_order_release);
    return PST_OK;
}

enum pst_status txn_index_flush(struct txn_index *index)
{
    if (index->fd < 0 || index->files->fdatasync(index->fd) == 0)
        return PST_OK;
    return pst_status_of_errno(errno);
}

unsigned txn_index_count(const struct txn_index *index)
{
    return atomic_load_explicit(&index->count, memory_order_acquire);
}

/* ---- searching ---- */

struct search {
    int64_t offset;
    int64_t end_offset;
    struct txn_index_found *found;
    enum pst_status status;
};

static enum pst_status found_add(struct txn_index_found *found, const struct aborted_txn *txn)
{
    if (found->count == TXN_INDEX_FOUND_MAX)
        return PST_FULL;
    if (found->count == found->capacity) {
        unsigned capacity = found->capacity == 0 ? 8 : found->capacity * 2;
        struct aborted_txn *txns = realloc(found->txns, capacity * sizeof *txns);

        if (txns == NULL)
            return PST_NOMEM;
        found->txns = txns;
        found->capacity = capacity;
    }
    found->txns[found->count++] = *txn;
    return PST_OK;
}

static bool search_step(void *arg, unsigned at, const struct aborted_txn *txn)
{
    struct search *search = arg;

    (void)at;
    if (txn->last_offset >= search->offset && txn->first_offset < search->end_offset)
        search->status = found_add(search->found, txn);
    /* Everything open when this marker was written starts at or above its last stable offset. */
    if (txn->last_stable_offset >= search->end_offset)
        search->found->complete = true;
    return search->status == PST_OK && !search->found->complete;
}

enum pst_status txn_index_find(const struct txn_index *index, int64_t offset, int64_t end_offset,
                               struct txn_index_found *found)
{
    struct search search = {offset, end_offset, found, PST_OK};
    enum pst_status status = walk(index, txn_index_count(index), search_step, &search);

    return status == PST_OK ? search.status : status;
}

/* ---- truncating ---- */

struct cut {
    int64_t offset;
    int64_t last_offset; /* of the last entry that stays */
    unsigned count;
};

static bool find_cut(void *arg, unsigned at, const struct aborted_txn *txn)
{
    struct cut *cut = arg;

    if (txn->last_offset >= cut->offset)
        return false;
    cut->last_offset = txn->last_offset;
    cut->count = at + 1;
    return true;
}

enum pst_status txn_index_truncate(struct txn_index *index, int64_t offset)
{
    struct cut cut = {offset, -1, 0};
    enum pst_status status = walk(index, txn_index_count(index), find_cut, &cut);

    if (status != PST_OK)
        return status;
    if (cut.count == txn_index_count(index))
        return PST_OK;
    if (index->files->ftruncate(index->fd, (off_t)(cut.count * ENTRY_BYTES)) != 0)
        return pst_status_of_errno(errno);
    index->last_offset = cut.last_offset;
    atomic_store_explicit(&index->count, cut.count, memory_order_release);
    return PST_OK;
}
