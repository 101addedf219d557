/* Group commit: one fdatasync at a time per log serves everybody who waits for what it covers. */
#include "broker/log/log_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Syncs what lies between the recovery point and `end`.  A sync error is final (design law 6). */
static enum pst_status sync_segments(struct log *log, int64_t end, bool sync_dir)
{
    int64_t from = log->recovery_point;
    struct segment **segments;
    unsigned count = 0;
    enum pst_status status = PST_OK;

    pthread_mutex_lock(&log->state_lock);
    segments = malloc(log->segment_count * sizeof(struct segment *));
    for (unsigned i = segments == NULL ? log->segment_count : log_segment_index(log, from);
         i < log->segment_count; i++) {
        if (log->segments[i]->base_offset > end)
            break;
        segments[count] = log->segments[i];
        segment_ref(segments[count++]);
    }
    pthread_mutex_unlock(&log->state_lock);
    if (segments == NULL)
        return PST_NOMEM;
    for (unsigned i = 0; i < count; i++) {
        if (status == PST_OK && log->env.files->fdatasync(segments[i]->fd) != 0)
            status = PST_IO; /* whatever errno says: the pages may be marked clean now */
        if (status == PST_OK && txn_index_flush(segments[i]->txns) != PST_OK)
            status = PST_IO;
        segment_unref(segments[i]);
    }
    free(segments);
    if (status == PST_OK && sync_dir && file_sync_dir(log->env.files, log->path) != PST_OK)
        status = PST_IO;
    return status;
}

/* sync_lock. */
static enum pst_status sync_locked(struct log *log, int64_t *ret_end)
{
    int64_t end = atomic_load_explicit(&log->end_offset, memory_order_acquire);
    enum pst_status status;
    bool sync_dir;

    if (log_is_offline(log))
        return PST_OFFLINE;
    pthread_mutex_lock(&log->flush_lock);
    sync_dir = log->dir_dirty;
    log->dir_dirty = false;
    pthread_mutex_unlock(&log->flush_lock);
    atomic_store(&log->unflushed_since_ms, 0);
    status = sync_segments(log, end, sync_dir);
    if (status == PST_NOMEM) {
        pthread_mutex_lock(&log->flush_lock);
        log->dir_dirty |= sync_dir;
        pthread_mutex_unlock(&log->flush_lock);
        atomic_store(&log->unflushed_since_ms, 1); /* due at once, again */
        return status;
    }
    if (status != PST_OK) {
        log_fail(log, "fdatasync", status);
        return PST_OFFLINE;
    }
    if (end > log->recovery_point)
        atomic_store(&log->recovery_point, end);
    *ret_end = end;
    return PST_OK;
}

static enum pst_status sync_to_end(struct log *log, int64_t *ret_end)
{
    enum pst_status status;

    pthread_mutex_lock(&log->sync_lock);
    status = sync_locked(log, ret_end);
    pthread_mutex_unlock(&log->sync_lock);
    return status;
}

/* Takes out who is served: with an error, all. */
static struct log_flush_waiter *take_served(struct log *log, enum pst_status status, int64_t end)
{
    struct log_flush_waiter **link = &log->flush_waiters;
    struct log_flush_waiter *served = NULL;

    while (*link != NULL) {
        struct log_flush_waiter *waiter = *link;

        if (status == PST_OK && waiter->end_offset > end) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = served;
        served = waiter;
    }
    return served;
}

/* Thread: a worker. */
static void flush_job(struct worker_job *job)
{
    struct log *log = CONTAINER_OF(job, struct log, flush_job);
    int64_t end = 0;
    enum pst_status status = sync_to_end(log, &end);
    struct log_flush_waiter *served;
    bool again;

    pthread_mutex_lock(&log->flush_lock);
    served = take_served(log, status, end);
    pthread_mutex_unlock(&log->flush_lock);
    while (served != NULL) {
        struct log_flush_waiter *next = served->next;

        served->done(served, status);
        served = next;
    }
    pthread_mutex_lock(&log->flush_lock);
    again = log->flush_waiters != NULL;
    if (!again) {
        log->flush_busy = false;
        pthread_cond_broadcast(&log->flush_idle);
    }
    pthread_mutex_unlock(&log->flush_lock);
    if (again) /* nobody else touches the job while flush_busy */
        workers_submit(log->env.workers, &log->flush_job);
}

void log_flush_wait(struct log *log, struct log_flush_waiter *waiter)
{
    bool start;

    pthread_mutex_lock(&log->flush_lock);
    waiter->next = log->flush_waiters;
    log->flush_waiters = waiter;
    start = !log->flush_busy;
    log->flush_busy = true;
    pthread_mutex_unlock(&log->flush_lock);
    if (!start)
        return;
    log->flush_job = (struct worker_job){.run = flush_job};
    workers_submit(log->env.workers, &log->flush_job);
}

static void tick_flushed(struct log_flush_waiter *waiter, enum pst_status status)
{
    struct log *log = CONTAINER_OF(waiter, struct log, tick_waiter);

    (void)status; /* a failure has taken the log offline */
    pthread_mutex_lock(&log->flush_lock);
    log->tick_waiting = false;
    pthread_mutex_unlock(&log->flush_lock);
}

void log_flush_soon(struct log *log)
{
    bool queued;

    pthread_mutex_lock(&log->flush_lock);
    queued = log->tick_waiting;
    log->tick_waiting = true;
    pthread_mutex_unlock(&log->flush_lock);
    if (queued)
        return;
    log->tick_waiter = (struct log_flush_waiter){.end_offset = 0, .done = tick_flushed};
    log_flush_wait(log, &log->tick_waiter);
}

static void flush_by_time(struct log *log, int64_t flush_ms)
{
    int64_t since_ms = log->unflushed_since_ms;
    bool due = since_ms != 0 && clock_monotonic_us(log->env.clock) / 1000 - since_ms >= flush_ms;

    if (due && !log_is_offline(log))
        log_flush_soon(log);
}

void log_tick(struct log *log)
{
    int64_t flush_ms;

    if (pthread_mutex_trylock(&log->append_lock) != 0)
        return; /* somebody appends: it is not quiet, and the flush can wait for the next tick */
    flush_ms = log->config.flush_ms;
    window_tick(log);
    pthread_mutex_unlock(&log->append_lock);
    flush_by_time(log, flush_ms);
}

enum pst_status log_flush(struct log *log)
{
    int64_t end;

    if (log->recovery_point >= log->end_offset)
        return log_is_offline(log) ? PST_OFFLINE : PST_OK;
    return sync_to_end(log, &end);
}
