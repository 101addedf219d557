/* What one log knows of its idempotent and transactional producers.
 *
 * Per producer id: the epoch, the last five batches (to recognise a retry), the coordinator's epoch and the
 * open transaction.  The rules are Kafka's ProducerAppendInfo and ProducerStateManager.  A batch costs one
 * hash lookup.
 *
 * Thread: none of its own; every call is made under the log's append lock (or before the log is shared),
 * except the functions on snapshot files, which take what they need as arguments and run on a worker. Memory:
 * one struct of about 200 bytes a producer, PRODUCER_STATE_COUNT_MAX of them at most. */
#ifndef PENSTOCK_BROKER_LOG_PRODUCER_STATE_H
#define PENSTOCK_BROKER_LOG_PRODUCER_STATE_H

#include "broker/log/log.h"
#include "broker/log/txn_index.h"
#include "common/buf.h"
#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"
#include "protocol/record_batch.h"

/* Producers remembered per log: 20 MB at the worst.  Beyond it the producer that has been silent for longest
 * (and has no open transaction) is forgotten: its next batch is taken whatever its sequence. */
#define PRODUCER_STATE_COUNT_MAX 100000u
/* A retry of one of so many last batches is recognised: clients keep at most five requests in flight. */
#define PRODUCER_STATE_BATCHES   5u

struct producer_state;

enum producer_verdict {
    PRODUCER_OK,                    /* append it; the matching update cannot fail */
    PRODUCER_DUPLICATE,             /* was appended before: answer with the first offsets, append nothing */
    PRODUCER_OUT_OF_ORDER_SEQUENCE, /* a gap, or a retry older than five batches */
    PRODUCER_INVALID_EPOCH,         /* the producer id is used under a higher epoch by now */
    PRODUCER_INVALID_TXN_STATE,     /* a plain batch while a transaction is open */
    PRODUCER_COORDINATOR_FENCED,    /* a marker of a coordinator that is not in office any more */
    PRODUCER_NOMEM, /* no memory, or PRODUCER_STATE_COUNT_MAX producers have open transactions */
};

/* What the first append of a duplicate was answered with. */
struct producer_duplicate {
    int64_t base_offset;
    int64_t last_offset;
    int64_t timestamp_ms;
};

/* The one record of a transaction marker. */
struct txn_marker {
    bool commit; /* false: abort */
    int32_t coordinator_epoch;
};

/* A producer that was silent for expiration_ms is forgotten by producer_state_expire().  NULL: out of memory.
 */
struct producer_state *producer_state_new(int64_t expiration_ms);
void producer_state_free(struct producer_state *state);
/* Forgets every producer and transaction. */
void producer_state_clear(struct producer_state *state);
unsigned producer_state_count(const struct producer_state *state);

/* ---- appending ---- */

/* Judges a data batch with a producer id (the offsets in `batch` do not matter).  Only APPEND_FROM_CLIENT
 * batches are held to sequences; from a leader nothing is refused.  *ret_duplicate is written for
 * PRODUCER_DUPLICATE only. Sees what was updated so far: of one producer, check and update one batch before
 * checking the next. */
enum producer_verdict producer_state_check(struct producer_state *state,
                                           const struct record_batch_info *batch, enum append_origin origin,
                                           struct producer_duplicate *ret_duplicate);
/* Remembers a data batch with its final offsets and max_timestamp.  Also replays batches during recovery,
 * when no check has been made: PST_NOMEM is possible only then. */
MUST_CHECK enum pst_status producer_state_update(struct producer_state *state,
                                                 const struct record_batch_info *batch);

/* Reads the marker from a control batch that is whole and checked; false: it is no transaction marker (raft
 * control records, unknown types), which leaves no trace here. */
bool txn_marker_read(const void *bytes, size_t size_bytes, struct txn_marker *ret);
/* The same pair for control batches of transactions. */
enum producer_verdict producer_state_check_marker(struct producer_state *state,
                                                  const struct record_batch_info *batch,
                                                  const struct txn_marker *marker, enum append_origin origin);
/* Ends the open transaction.  *ret_aborted is an entry for the transaction index when *ret_is_aborted; its
 * last_stable_offset counts the marker as stable. */
MUST_CHECK enum pst_status producer_state_update_marker(struct producer_state *state,
                                                        const struct record_batch_info *batch,
                                                        const struct txn_marker *marker,
                                                        struct aborted_txn *ret_aborted,
                                                        bool *ret_is_aborted);

/* ---- transactions ---- */

/* First offset of the earliest transaction that is open, or ended by a marker not below the high watermark;
 * -1: none. The last stable offset is this or the high watermark, whichever is lower. */
int64_t producer_state_first_unstable(const struct producer_state *state);
/* Transactions whose marker lies below are settled. */
void producer_state_settle(struct producer_state *state, int64_t high_watermark);

/* ---- forgetting ---- */

/* Looks at up to step_max producers, going on where the last call stopped, and forgets those whose last batch
 * is older than expiration_ms and who have no transaction open.  Returns how many were forgotten. */
unsigned producer_state_expire(struct producer_state *state, int64_t now_ms, unsigned step_max);

/* ---- asking ---- */

/* Every producer remembered, for DescribeProducers.  *ret malloc'ed, NULL when there are none.  PST_NOMEM. */
MUST_CHECK enum pst_status producer_state_list(const struct producer_state *state, struct log_producer **ret,
                                               unsigned *ret_count);

/* ---- snapshots: "<20 digits>.snapshot", the state of everything below that offset ---- */

/* Appends the file's bytes.  PST_NOMEM or PST_FULL as buf says.  A snapshot keeps one batch a producer, as
 * Kafka's. */
MUST_CHECK enum pst_status producer_snapshot_encode(const struct producer_state *state, struct buf *out);
/* Replaces the state by the snapshot's, without producers that have expired.  PST_CORRUPT: CRC, size or
 * values; PST_UNSUPPORTED: a version we do not know; PST_NOMEM; the state is empty after any of these. */
MUST_CHECK enum pst_status producer_snapshot_decode(struct producer_state *state, struct str bytes,
                                                    int64_t now_ms);

/* Writes the bytes of producer_snapshot_encode durably.  Blocks; worker. */
MUST_CHECK enum pst_status producer_snapshot_write(const struct file_ops *files, const char *dir_path,
                                                   int64_t offset, struct str bytes);
/* Loads the newest readable snapshot at or below offset_max and removes unreadable ones on the way.
 * *ret_offset: of the snapshot, or -1 when there is none (the state is empty then).  Batches from there on
 * are to be replayed. PST_IO, PST_NOMEM.  Blocks. */
MUST_CHECK enum pst_status producer_snapshot_load(struct producer_state *state, const struct file_ops *files,
                                                  const char *dir_path, int64_t offset_max, int64_t now_ms,
                                                  int64_t *ret_offset);
/* Removes the snapshots with from <= offset < to.  Blocks. */
MUST_CHECK enum pst_status producer_snapshot_remove(const struct file_ops *files, const char *dir_path,
                                                    int64_t from, int64_t to);

#endif
