/* The inside of a log, for the files of this folder.
 *
 * Locks, in the order they may be taken: append_lock (one append, roll, retention, truncation at a time; held
 * across the landing write), state_lock (what readers look at: the segment list, indexes, sizes; never held
 * across I/O), flush_lock (leaf: waiters and jobs).  sync_lock is held across an fdatasync and taken before
 * any of them, on workers and the control thread only. The append side changes segments and indexes under
 * both append_lock and state_lock, so it may read them with the append_lock alone. */
#ifndef PENSTOCK_BROKER_LOG_LOG_INTERNAL_H
#define PENSTOCK_BROKER_LOG_LOG_INTERNAL_H

#include "broker/log/epoch_cache.h"
#include "broker/log/log.h"
#include "broker/log/producer_state.h"
#include "broker/log/segment.h"
#include "broker/log/window.h"

#include <pthread.h>

/* Batches whose places are remembered for readers at the tail, so that they need no header scan. */
#define LOG_TAIL_BATCHES       32u

/* Sealed segments of one log whose indexes stay in memory; a segment of 1 GB has up to 5 MB of them, and
 * reading them again costs a millisecond or two on a worker. */
#define LOG_SEALED_INDEXES_MAX 4u

struct tail_batch {
    int64_t base_offset;
    int64_t segment_base_offset;
    int64_t position;
};

struct log {
    struct log_env env;
    struct log_dir *dir;
    char *path;
    uint64_t lane; /* of its worker jobs: one at a time, in order */

    pthread_mutex_t append_lock;
    struct log_config config;         /* append_lock */
    struct producer_state *producers; /* append_lock */
    struct epoch_cache *epochs;       /* state_lock, changed under both */
    int64_t unflushed_records;        /* append_lock */
    int64_t roll_jitter_ms;           /* append_lock */
    struct window *window;            /* append_lock; NULL: every append is written */
    int64_t window_refused_until_us;  /* append_lock */
    int64_t rate_since_us;            /* append_lock: what was appended since then */
    int64_t rate_bytes;
    int64_t rate_appends;
    bool hot;

    pthread_mutex_t state_lock;
    struct segment **segments; /* by base offset; the last one is active */
    unsigned segment_count;
    unsigned segment_capacity;
    struct tail_batch tail[LOG_TAIL_BATCHES];
    unsigned tail_next;
    uint64_t index_uses;

    /* Writer: the append side (release); readers: any (acquire).  end publishes the bytes below it. */
    _Atomic int64_t start_offset;
    _Atomic int64_t end_offset;
    _Atomic int64_t high_watermark; /* -1: follows end_offset */
    _Atomic int64_t first_unstable; /* -1: none */
    _Atomic int64_t recovery_point;
    _Atomic int64_t size_bytes;
    _Atomic int64_t unflushed_since_ms; /* 0: nothing unsynced */
    _Atomic bool offline;
    _Atomic bool deleted;

    pthread_mutex_t sync_lock; /* one fdatasync at a time; workers only, outside every other lock */
    pthread_mutex_t flush_lock;
    pthread_cond_t flush_idle;
    struct log_flush_waiter *flush_waiters;
    struct worker_job flush_job;
    bool flush_busy;
    struct log_flush_waiter tick_waiter;
    bool tick_waiting; /* flush_lock: tick_waiter is queued */
    bool dir_dirty;    /* flush_lock: a segment was created, its name is not durable yet */
    unsigned jobs;     /* flush_lock: jobs under way other than the flush */
};

/* The last segment.  append_lock or state_lock. */
struct segment *log_active(const struct log *log);
/* Takes the log and its directory offline after an I/O error (law 6). */
void log_fail(struct log *log, const char *operation, enum pst_status status);
/* PST_OK, PST_NOMEM.  Both locks. */
MUST_CHECK enum pst_status log_add_segment(struct log *log, struct segment *segment);
/* Keeps the indexes of the few sealed segments used last.  state_lock. */
void log_bound_indexes(struct log *log);
/* Index of the segment that holds `offset`, or would.  Any of both locks. */
unsigned log_segment_index(const struct log *log, int64_t offset);
/* Closes the active segment and starts one at the end offset.  append_lock. */
MUST_CHECK enum pst_status log_roll(struct log *log);
/* Gives up the first `count` segments (renamed, unlinked later); their slices stay readable.  append_lock. */
void log_drop_front(struct log *log, unsigned count);
/* Starts a flush nobody waits for, unless one is queued.  Any lock but flush_lock may be held. */
void log_flush_soon(struct log *log);
/* A job that uses the log begins and ends: close and delete wait for it. */
void log_job_started(struct log *log);
void log_job_ended(struct log *log);
/* "<path>/<name>", malloc'ed. */
char *log_file_path(const struct log *log, const char *name);

/* recovery.c: fills segments, epochs, producers and offsets from the directory.  Before the log is shared. */
MUST_CHECK enum pst_status log_recover(struct log *log, const struct log_opening *opening, char **ret_text);

#endif
