/* One partition's log: segments of record batches on disk, exactly in Kafka's format.
 *
 * Threads: any loop appends and reads; workers flush, prepare, retain and delete.  Appends take the log's
 * append lock (held for one append, never across a blocking call other than the landing write itself);
 * readers take no lock: they see everything below the published end, which is one release-store after the
 * bytes are complete. Bytes below the published end never change.  Everything the log itself may not decide
 * (leader epoch, high watermark) is handed in.  Formats and crash states: README.md in this folder. */
#ifndef PENSTOCK_BROKER_LOG_LOG_H
#define PENSTOCK_BROKER_LOG_LOG_H

#include "common/clock.h"
#include "common/compress.h"
#include "common/file_ops.h"
#include "common/mailbox.h"
#include "common/status.h"
#include "common/uuid.h"
#include "common/workers.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct log;
struct segment;
struct log_dir; /* broker/log/log_dir.h: one entry of log.dirs */
struct trash;   /* broker/log/trash.h: what waits to be unlinked */

/* What a log needs of the outside; borrowed for its life. */
struct log_env {
    const struct clock *clock;
    const struct file_ops *files;
    struct workers *workers;
    struct trash
        *trash; /* takes renamed directories and segments to unlink later; NULL: they are removed at once */
    int64_t producer_id_expiration_ms;
    bool map_landing; /* false: every append is written, none lands in a mapping */
};

#define LOG_COMPRESSION_PRODUCER (-1) /* keep what the producer sent */

/* The topic's settings the log obeys; names and units are Kafka's topic configs. */
struct log_config {
    int64_t segment_bytes;
    int64_t segment_ms;
    int64_t segment_jitter_ms;
    int64_t segment_index_bytes;
    int64_t index_interval_bytes;
    int64_t max_message_bytes;
    int64_t retention_ms;    /* -1: for ever */
    int64_t retention_bytes; /* -1: without bound */
    int64_t flush_messages;  /* an append that brings the unsynced count to this waits for the disk */
    int64_t flush_ms;        /* INT64_MAX: never by time */
    int64_t file_delete_delay_ms;
    int64_t timestamp_before_max_ms;
    int64_t timestamp_after_max_ms;
    int compression_codec; /* LOG_COMPRESSION_PRODUCER or enum compress_codec */
    int compression_level;
    bool log_append_time;
    bool compact;        /* cleanup.policy has "compact": records need keys */
    bool delete_expired; /* cleanup.policy has "delete" */
    bool preallocate;
};

/* ---- life ---- */

/* What is known when a log is opened: from the checkpoints and the clean-shutdown marker. */
struct log_opening {
    const char *path;             /* the partition's directory, "…/topic-0"; created when missing */
    struct uuid topic_id;         /* written to partition.metadata when that is missing */
    bool clean;                   /* the last stop was clean: trust indexes and producer snapshot */
    int64_t recovery_point;       /* everything below was synced */
    int64_t log_start_checkpoint; /* -1: none */
    int32_t leader_epoch;         /* recorded in the epoch cache at the first append */
};

/* Opens, recovers if the stop was not clean (cutting a torn tail durably), leaves the log ready to append.
 * Thread: any, blocks on the disk.  PST_IO/PST_NOSPACE; PST_CORRUPT: an old magic or files that contradict
 * each other, with *ret_text (malloc'ed, may be NULL) naming the file; PST_EXISTS: partition.metadata holds
 * another topic id. */
MUST_CHECK enum pst_status log_open(const struct log_env *env, struct log_dir *dir,
                                    const struct log_opening *opening, const struct log_config *config,
                                    struct log **ret, char **ret_text);
/* Clean close: sync, final time index entry, indexes trimmed, producer snapshot at the end offset.  Blocks.
 * A failure leaves the directory as after a crash.  The log is freed when its last slice is. */
MUST_CHECK enum pst_status log_close(struct log *log);
/* Renames the directory to "topic-N.<32 hex>-delete" and schedules its files for removal off-loop after
 * file.delete.delay.ms.  The log is gone for new callers; slices in flight stay readable.  Blocks. */
MUST_CHECK enum pst_status log_delete(struct log *log);
/* Any thread; takes effect from the next append on. */
void log_set_config(struct log *log, const struct log_config *config);

/* ---- append ---- */

enum append_outcome {
    APPEND_OK,
    APPEND_DUPLICATE, /* a retry of one of the last five batches: offsets of the first time, nothing written
                       */
    APPEND_CORRUPT,   /* too short, or the CRC does not fit */
    APPEND_TOO_LARGE, /* over max.message.bytes */
    APPEND_LIST_TOO_LARGE,    /* over segment.bytes */
    APPEND_INVALID_RECORD,    /* see bad_record and text */
    APPEND_INVALID_TIMESTAMP, /* see bad_record and text */
    APPEND_OUT_OF_ORDER_SEQUENCE,
    APPEND_INVALID_PRODUCER_EPOCH,
    APPEND_INVALID_TXN_STATE,
    APPEND_NO_SPACE, /* disk full: nothing appended, may work again later */
    APPEND_OFFLINE,  /* input/output error, now or earlier */
    APPEND_NOMEM,
};

enum append_origin {
    APPEND_FROM_CLIENT,      /* a Produce request: everything is checked */
    APPEND_FROM_COORDINATOR, /* our own records and markers: control batches allowed, offsets assigned */
    APPEND_FROM_LEADER,      /* replication: offsets and epochs are kept and must follow the end */
};

struct log_append {
    /* in */
    uint8_t *bytes;      /* one whole batch, magic 2; patched in place */
    uint32_t size_bytes; /* as the caller received it; must equal the batch's own length */
    enum append_origin origin;
    int32_t leader_epoch;
    /* out */
    enum append_outcome outcome;
    int64_t base_offset;    /* -1 unless APPEND_OK or APPEND_DUPLICATE */
    int64_t end_offset;     /* one behind the last record */
    int64_t append_time_ms; /* -1 for CreateTime */
    int64_t log_start_offset;
    int32_t bad_record;  /* index in the batch, -1: none in particular */
    const char *text;    /* static; NULL: the outcome says it */
    bool wait_for_flush; /* flush.messages is reached: acknowledge after log_flush_wait() */
};

/* Checks, assigns offsets, patches, writes and publishes the batches in order under one lock and, where
 * possible, with one write.  Each gets its own outcome; a refused one does not stop the others. */
void log_append(struct log *log, struct log_append *appends, unsigned count);

/* Landing straight from a socket.  PST_OK: the append lock is HELD and `*ret` is prefaulted memory at the
 * tail for size_bytes; the caller fills it without blocking and calls exactly one of commit or abort.
 * PST_AGAIN: not now (cold tail, roll due, pwrite back end): receive into other memory and use log_append. */
MUST_CHECK enum pst_status log_land_begin(struct log *log, uint32_t size_bytes, uint8_t **ret);
void log_land_commit(struct log *log, struct log_append *append); /* append->bytes: what begin gave */
void log_land_abort(struct log *log);

/* ---- durability ---- */

struct log_flush_waiter {
    int64_t end_offset; /* in: must be synced below this */
    void (*done)(struct log_flush_waiter *waiter,
                 enum pst_status status); /* thread: a worker, or the caller's */
    struct log_flush_waiter *next;        /* the log's */
};

/* Group commit: done() runs once everything below end_offset is on disk (one fdatasync serves all who wait),
 * or with PST_OFFLINE.  Any thread, never blocks. */
void log_flush_wait(struct log *log, struct log_flush_waiter *waiter);
/* To be called about once a second: starts the flush that flush.ms asks for and gives up the mapped tail of a
 * log that has gone quiet.  Any thread, never blocks. */
void log_tick(struct log *log);
/* Blocks until everything published is synced.  Thread: a worker or the control thread. */
MUST_CHECK enum pst_status log_flush(struct log *log);

/* ---- offsets ---- */

struct log_offsets {
    int64_t start;
    int64_t last_stable; /* first offset of the earliest open transaction, or high_watermark */
    int64_t high_watermark;
    int64_t end;            /* of the next record */
    int64_t recovery_point; /* synced below */
};

/* A consistent picture, without lock. */
struct log_offsets log_offsets(const struct log *log);
/* One replica: the log keeps high_watermark == end by itself until this is called with false. */
void log_set_high_watermark(struct log *log, int64_t offset);
int64_t log_size_bytes(const struct log *log);
const char *log_path(const struct log *log);
struct log_dir *log_dir_of(const struct log *log);
bool log_is_offline(const struct log *log);

/* ---- reading ---- */

struct log_slice {
    struct segment *segment; /* a reference: segment_unref when sent */
    int fd;
    int64_t position_bytes;
    uint32_t length_bytes; /* 0: nothing to read yet */
    bool hot;              /* near the tail: in the page cache for sure */
    int64_t segment_base_offset;
};

void segment_unref(struct segment *segment);
void segment_ref(struct segment *segment);

/* Whole batches from the one containing `offset`, below `end_offset` (high watermark or last stable offset),
 * at most length_max bytes; with `first_whole` the first batch is taken whatever its size.  PST_OUT_OF_RANGE:
 * offset outside [start, end]; PST_OFFLINE; PST_AGAIN: an index page is cold: call log_read_warm() on a
 * worker and come back. offset == end_offset: PST_OK with length 0. */
MUST_CHECK enum pst_status log_read(struct log *log, int64_t offset, int64_t end_offset, uint32_t length_max,
                                    bool first_whole, struct log_slice *ret);
/* Thread: a worker; may block.  Brings what log_read needs for this offset into the page cache. */
void log_read_warm(struct log *log, int64_t offset);
/* Bytes between two offsets, as log_read would serve them, approximately (min.bytes of parked fetches). */
int64_t log_bytes_between(struct log *log, int64_t offset, int64_t end_offset);

struct log_aborted_txn {
    int64_t producer_id;
    int64_t first_offset;
};
/* Aborted transactions overlapping [offset, end_offset).  *ret malloc'ed (NULL when none).  Blocks on the
 * disk only for sealed segments with a transaction index. */
MUST_CHECK enum pst_status log_aborted_txns(struct log *log, int64_t offset, int64_t end_offset,
                                            struct log_aborted_txn **ret, unsigned *ret_count);

/* First record with timestamp >= timestamp_ms below end_offset: PST_NOT_FOUND when none.  Blocks; worker or
 * control. */
MUST_CHECK enum pst_status log_find_time(struct log *log, int64_t timestamp_ms, int64_t end_offset,
                                         int64_t *ret_offset, int64_t *ret_timestamp_ms, int32_t *ret_epoch);
/* The record with the largest timestamp.  Blocks. */
MUST_CHECK enum pst_status log_find_max_time(struct log *log, int64_t *ret_offset, int64_t *ret_timestamp_ms,
                                             int32_t *ret_epoch);

/* ---- leader epochs (LeaderEpochFileCache.endOffsetFor) ---- */

void log_epoch_end(struct log *log, int32_t epoch, int32_t current_epoch, int32_t *ret_epoch,
                   int64_t *ret_end_offset);
int32_t log_latest_epoch(const struct log *log); /* -1: none */
/* Becoming leader: (epoch, end offset) is remembered before anything is served. */
MUST_CHECK enum pst_status log_begin_epoch(struct log *log, int32_t epoch);

/* ---- space ---- */

/* Raises the log start offset (DeleteRecords); -1: to the high watermark.  PST_OUT_OF_RANGE above it.
 * Segments wholly below are removed off-loop. */
MUST_CHECK enum pst_status log_raise_start(struct log *log, int64_t offset, int64_t *ret_start);
/* Applies retention.ms/.bytes, drops segments below the log start, forgets expired producers; returns the
 * number of segments given up.  Thread: a worker. */
unsigned log_retain(struct log *log);

/* ---- producers ---- */

struct log_producer {
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t last_sequence;
    int64_t last_timestamp_ms;
    int32_t coordinator_epoch;
    int64_t txn_first_offset; /* -1: none open */
};
/* Active producers, for DescribeProducers.  *ret malloc'ed. */
MUST_CHECK enum pst_status log_producers(struct log *log, struct log_producer **ret, unsigned *ret_count);

#endif
