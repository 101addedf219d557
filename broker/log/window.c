#include "broker/log/window.h"

#include "broker/log/log_dir.h"
#include "broker/log/log_internal.h"
#include "common/logger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Below this prefaulting costs more than it saves: pages populated ahead are dirty, and a tail slower than
 * the kernel's 30 s expiry writes them twice. */
#define HOT_BYTES_PER_S     (INT64_C(10) * 1000 * 1000)
/* Many small appends gain as well: a copy is a tenth of a write call. */
#define HOT_APPENDS_PER_S   10000
/* Given up below a quarter of either, so that a log at the border does not flap. */
#define COLD_DIVISOR        4
#define RATE_PERIOD_US      (250 * 1000)

#define POPULATE_STEP_BYTES (INT64_C(2) << 20)  /* one step stalls nobody for longer than about 2 ms */
#define AHEAD_BYTES         (INT64_C(16) << 20) /* some 10 ms of what one loop can receive */
#define ALLOCATE_STEP_BYTES AHEAD_BYTES
/* All windows of the process together; 16 hot logs.  The rest is written. */
#define WINDOWS_BYTES_MAX   (INT64_C(256) << 20)
/* After the file system refused: a full disk may have room again. */
#define REFUSED_PAUSE_US    (INT64_C(10) * 1000 * 1000)

static _Atomic int64_t windows_bytes;

struct window {
    struct worker_job job;
    struct log *log;
    struct segment *segment; /* referenced */
    uint8_t *at;             /* of file position 0; NULL: not mapped yet */
    int64_t length;          /* of the mapping; worker, constant once `to` is set */
    int64_t unmapped_to;     /* worker */
    int64_t allocated_to;    /* worker */
    /* Writer: the job (release); reader: the append side (acquire).  `to` publishes `at` and the pages below
     * it. */
    _Atomic int64_t from;
    _Atomic int64_t to;
    _Atomic bool busy;   /* set by the append side, cleared by the job */
    _Atomic bool failed; /* by the job: give it up */
};

uint8_t *window_place(const struct log *log, int64_t position, uint32_t size_bytes)
{
    const struct window *window = log->window;
    int64_t to;

    if (window == NULL || window->segment != log_active(log))
        return NULL;
    to = atomic_load_explicit(&window->to, memory_order_acquire);
    if (to == 0 || position < atomic_load_explicit(&window->from, memory_order_acquire) || position > to ||
        (int64_t)size_bytes > to - position)
        return NULL;
    return window->at + position;
}

static int64_t round_down(int64_t value, int64_t step)
{
    return value - value % step;
}

/* ---- on a worker ---- */

static bool map_segment(struct window *window)
{
    struct log *log = window->log;
    int64_t tail = window->segment->size_bytes;

    window->at = log->env.files->map(window->segment->fd, 0, (size_t)window->length);
    if (window->at == NULL)
        return false;
    window->unmapped_to = 0;
    window->allocated_to = round_down(tail, POPULATE_STEP_BYTES);
    return true;
}

static bool allocate_to(struct window *window, int64_t target)
{
    const struct file_ops *files = window->log->env.files;

    while (window->allocated_to < target) {
        int64_t step = window->length - window->allocated_to;

        if (step > ALLOCATE_STEP_BYTES)
            step = ALLOCATE_STEP_BYTES;
        if (files->fallocate(window->segment->fd, 0, window->allocated_to, step) != 0)
            return false;
        window->allocated_to += step;
    }
    return true;
}

static bool populate_ahead(struct window *window)
{
    int64_t tail = window->segment->size_bytes;
    int64_t to = window->to;
    int64_t target;

    if (to < tail) { /* not started, or the tail was written past it */
        to = round_down(tail, POPULATE_STEP_BYTES);
        atomic_store_explicit(&window->from, to, memory_order_release);
    }
    target = round_down(tail, POPULATE_STEP_BYTES) + AHEAD_BYTES;
    if (target > window->length)
        target = window->length;
    while (to < target) {
        int64_t step = target - to < POPULATE_STEP_BYTES ? target - to : POPULATE_STEP_BYTES;

        if (!allocate_to(window, to + step) ||
            window->log->env.files->populate(window->at + to, (size_t)step) != 0)
            return false;
        to += step;
        atomic_store_explicit(&window->to, to, memory_order_release);
    }
    return true;
}

/* A mapping that outlives the writeback of its pages costs a fault per 4 KB: nothing is kept behind the tail.
 * What is let go starts its way to the disk at once, so that it does not pile up for one long stall. */
static void unmap_behind(struct window *window)
{
    const struct file_ops *files = window->log->env.files;
    int64_t behind = round_down(window->segment->size_bytes, POPULATE_STEP_BYTES);

    if (behind <= window->unmapped_to)
        return;
    files->unmap(window->at + window->unmapped_to, (size_t)(behind - window->unmapped_to));
    files->sync_range(window->segment->fd, window->unmapped_to, behind - window->unmapped_to);
    window->unmapped_to = behind;
}

static void extend(struct worker_job *job)
{
    struct window *window = CONTAINER_OF(job, struct window, job);
    struct log *log = window->log;

    if ((window->at == NULL && !map_segment(window)) || !populate_ahead(window))
        atomic_store(&window->failed, true);
    else
        unmap_behind(window);
    atomic_store_explicit(&window->busy, false, memory_order_release);
    log_job_ended(log);
}

void window_close(struct window *window)
{
    if (window == NULL)
        return;
    if (window->at != NULL && window->unmapped_to < window->length)
        window->log->env.files->unmap(window->at + window->unmapped_to,
                                      (size_t)(window->length - window->unmapped_to));
    atomic_fetch_sub(&windows_bytes, AHEAD_BYTES);
    segment_unref(window->segment);
    free(window);
}

static void close_job(struct worker_job *job)
{
    struct window *window = CONTAINER_OF(job, struct window, job);
    struct log *log = window->log;

    window_close(window);
    log_job_ended(log);
}

/* ---- under the append lock ---- */

static void submit(struct window *window, void (*run)(struct worker_job *job))
{
    struct log *log = window->log;

    window->job = (struct worker_job){.run = run, .lane = log->lane};
    log_job_started(log);
    workers_submit(log->env.workers, &window->job);
}

struct window *window_take(struct log *log)
{
    struct window *window = log->window;

    log->window = NULL;
    return window;
}

static bool may_map(const struct log *log, int64_t now_us)
{
    return log->env.map_landing && log->config.flush_messages == INT64_MAX &&
           now_us >= log->window_refused_until_us && (log->dir == NULL || log_dir_can_map(log->dir));
}

static void open_window(struct log *log)
{
    struct window *window;

    if (atomic_fetch_add(&windows_bytes, AHEAD_BYTES) + AHEAD_BYTES > WINDOWS_BYTES_MAX) {
        atomic_fetch_sub(&windows_bytes, AHEAD_BYTES);
        return;
    }
    window = calloc(1, sizeof *window);
    if (window == NULL) {
        atomic_fetch_sub(&windows_bytes, AHEAD_BYTES);
        return;
    }
    window->log = log;
    window->segment = log_active(log);
    segment_ref(window->segment);
    window->length = round_down(log->config.segment_bytes + POPULATE_STEP_BYTES - 1, POPULATE_STEP_BYTES);
    atomic_store(&window->busy, true);
    log->window = window;
    submit(window, extend);
}

static void measure(struct log *log, int64_t now_us)
{
    int64_t elapsed_us = now_us - log->rate_since_us;
    int64_t divisor = log->hot ? COLD_DIVISOR : 1;

    log->hot = log->rate_bytes >= HOT_BYTES_PER_S / divisor * elapsed_us / 1000000 ||
               log->rate_appends >= HOT_APPENDS_PER_S / divisor * elapsed_us / 1000000;
    log->rate_since_us = now_us;
    log->rate_bytes = 0;
    log->rate_appends = 0;
}

/* Gives it up, off-loop; not while its job is under way. */
static void drop(struct log *log, int64_t now_us)
{
    if (atomic_load_explicit(&log->window->busy, memory_order_acquire))
        return;
    if (log->window->failed)
        log->window_refused_until_us = now_us + REFUSED_PAUSE_US;
    submit(window_take(log), close_job);
}

void window_note(struct log *log, uint32_t size_bytes)
{
    struct window *window = log->window;
    int64_t now_us = clock_monotonic_us(log->env.clock);

    log->rate_bytes += size_bytes;
    log->rate_appends++;
    if (now_us - log->rate_since_us >= RATE_PERIOD_US)
        measure(log, now_us);
    if (window == NULL) {
        if (log->hot && may_map(log, now_us))
            open_window(log);
    } else if (window->failed || !log->hot || log->config.flush_messages != INT64_MAX) {
        drop(log, now_us);
    } else if (window->to < window->length && window->to - window->segment->size_bytes < AHEAD_BYTES / 2 &&
               !atomic_load_explicit(&window->busy, memory_order_acquire)) {
        atomic_store(&window->busy, true);
        submit(window, extend);
    }
}

void window_tick(struct log *log)
{
    int64_t now_us = clock_monotonic_us(log->env.clock);

    if (log->window == NULL)
        return;
    if (now_us - log->rate_since_us >= RATE_PERIOD_US)
        measure(log, now_us);
    if (!log->hot || log->window->failed)
        drop(log, now_us);
}
