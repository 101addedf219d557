/* One segment: "<20 digits>.log" with its offset and time index.
 *
 * References: the log's list holds one, every slice in flight one.  The file descriptor lives as long as the
 * segment. Which lock guards what: log_internal.h. */
#ifndef PENSTOCK_BROKER_LOG_SEGMENT_H
#define PENSTOCK_BROKER_LOG_SEGMENT_H

#include "broker/log/txn_index.h"
#include "common/bytes.h"
#include "common/file_ops.h"
#include "common/status.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct offset_index_entry {
    be32_t relative_offset; /* last offset of an append - segment base offset */
    be32_t position;        /* of that append's first batch */
};
static_assert(sizeof(struct offset_index_entry) == 8, "on-disk format");

struct time_index_entry {
    be64_t timestamp;       /* largest so far, ms */
    be32_t relative_offset; /* last offset of the batch that has it */
};
static_assert(sizeof(struct time_index_entry) == 12, "on-disk format");

struct segment {
    _Atomic unsigned references;
    const struct file_ops *files;
    int64_t base_offset;
    int fd;
    char *path;                 /* of the .log file */
    _Atomic int64_t size_bytes; /* published */
    int64_t max_timestamp_ms;
    int64_t max_timestamp_offset; /* last offset of its batch */
    int64_t first_timestamp_ms;   /* of the first batch, -1: empty */
    int64_t created_ms;
    int64_t bytes_since_index;
    bool sealed;
    bool unlinked_by_us;

    bool indexes_loaded; /* sealed segments read theirs on first use */
    bool indexes_saved;  /* the files hold them: memory may let go */
    uint64_t used;       /* the log's count of uses when these indexes were last looked at */
    struct offset_index_entry *offsets;
    uint32_t offset_count;
    uint32_t offset_capacity;
    struct time_index_entry *times;
    uint32_t time_count;
    uint32_t time_capacity;
    struct txn_index *txns; /* opened with the segment */
};

#define SEGMENT_NAME_LENGTH 20

/* "…/00000000000000000042.log" and its sisters; malloc'ed. */
char *segment_file_path(const char *dir_path, int64_t base_offset, const char *suffix);

/* Opens (or with `create` makes) the .log file; indexes are empty and loaded for a new segment, not loaded
 * otherwise. */
MUST_CHECK enum pst_status segment_open(const struct file_ops *files, const char *dir_path,
                                        int64_t base_offset, bool create, int64_t now_ms,
                                        struct segment **ret);

/* An append of `size_bytes` at `position` whose last offset is last_offset: the index rules of
 * LogSegment.append. PST_NOMEM: the index lacks an entry, which costs a longer scan and nothing else. */
void segment_note_append(struct segment *segment, int64_t last_offset, int64_t position, uint32_t size_bytes,
                         int64_t max_timestamp_ms, int64_t index_interval_bytes);
bool segment_index_is_full(const struct segment *segment, int64_t index_bytes_max);

/* Position to start scanning for `offset`: of the last indexed append whose last offset is <= offset, or 0.
 */
int64_t segment_find(const struct segment *segment, int64_t offset);
/* Largest indexed position in (from, limit], or -1. */
int64_t segment_cut(const struct segment *segment, int64_t from, int64_t limit);
/* Offset to start scanning for a timestamp: of the last time entry below it, or the base offset. */
int64_t segment_find_time(const struct segment *segment, int64_t timestamp_ms);

/* Cuts what lies behind the published end: the rest of a write that failed, of a preallocation.  Only when
 * nothing is appended to the segment any more.  Blocks. */
MUST_CHECK enum pst_status segment_trim(struct segment *segment);
/* Writes both indexes, with a final time entry, exactly as long as they are.  Blocks. */
MUST_CHECK enum pst_status segment_write_indexes(struct segment *segment);
/* Reads both; PST_CORRUPT when they are missing, misshapen or not rising: rebuild.  Blocks. */
MUST_CHECK enum pst_status segment_load_indexes(struct segment *segment);
/* The largest timestamp as the last entry of the .timeindex file says it; NO_TIMESTAMP: not known.  Blocks.
 */
int64_t segment_stored_timestamp(const struct segment *segment);
/* Frees the memory of saved indexes.  state_lock. */
void segment_unload_indexes(struct segment *segment);
void segment_clear_indexes(struct segment *segment);

/* Reads the header of the batch at `position`; whole when `wait`, else PST_AGAIN when the page is cold.
 * PST_EOF at `end`; PST_CORRUPT. */
struct record_batch_info;
MUST_CHECK enum pst_status segment_read_header(const struct segment *segment, int64_t position, int64_t end,
                                               bool wait, struct record_batch_info *ret);

#endif
