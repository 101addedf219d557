/* The aborted transactions whose marker lies in one segment: "<base offset>.txnindex", 34 bytes an entry.
 *
 * The file exists only when there is an entry.  One appender (under the log's append lock); readers take no
 * lock and see the entries complete when they started. */
#ifndef PENSTOCK_BROKER_LOG_TXN_INDEX_H
#define PENSTOCK_BROKER_LOG_TXN_INDEX_H

#include "common/bytes.h"
#include "common/file_ops.h"
#include "common/status.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aborted_txn {
    int64_t producer_id;
    int64_t first_offset;       /* of the transaction's first record in this partition */
    int64_t last_offset;        /* of the abort marker */
    int64_t last_stable_offset; /* of the log when the marker was appended */
};

struct txn_index_entry {
    be16_t version; /* 0 */
    be64_t producer_id;
    be64_t first_offset;
    be64_t last_offset;
    be64_t last_stable_offset;
};
static_assert(sizeof(struct txn_index_entry) == 34, "on-disk format");
static_assert(offsetof(struct txn_index_entry, last_stable_offset) == 26, "on-disk format");

/* Entries one search may return: a hostile mix of producers must not make one fetch take all memory. */
#define TXN_INDEX_FOUND_MAX 100000u

struct txn_index;

/* Opens the index of a segment; a missing file is an empty index and stays missing until the first append.
 * PST_CORRUPT: size, version or order is wrong (recovery removes it and replays the segment); PST_IO;
 * PST_NOMEM. */
MUST_CHECK enum pst_status txn_index_open(const struct file_ops *files, const char *path,
                                          struct txn_index **ret);
void txn_index_close(struct txn_index *index); /* NULL is fine */

/* PST_INVALID: not behind the last entry.  PST_IO/PST_NOSPACE: nothing was added. */
MUST_CHECK enum pst_status txn_index_append(struct txn_index *index, const struct aborted_txn *txn);
MUST_CHECK enum pst_status txn_index_flush(struct txn_index *index);
unsigned txn_index_count(const struct txn_index *index);

struct txn_index_found {
    struct aborted_txn *txns; /* malloc'ed; the caller frees it, also after a failure */
    unsigned count;
    unsigned capacity;
    bool complete; /* no later segment can hold another one: the search may stop */
};

/* Adds the aborted transactions overlapping [offset, end_offset).  PST_FULL: over TXN_INDEX_FOUND_MAX.
 * Any thread; blocks when the file is cold. */
MUST_CHECK enum pst_status txn_index_find(const struct txn_index *index, int64_t offset, int64_t end_offset,
                                          struct txn_index_found *found);
/* Drops entries whose marker is at or above `offset`.  Under the append lock, without concurrent readers. */
MUST_CHECK enum pst_status txn_index_truncate(struct txn_index *index, int64_t offset);

#endif
