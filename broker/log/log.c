#include "broker/log/log_internal.h"

#include "broker/log/log_dir.h"
#include "broker/log/partition_metadata.h"
#include "broker/log/trash.h"
#include "common/bug.h"
#include "common/logger.h"
#include "protocol/record_batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static _Atomic uint64_t lanes;

struct segment *log_active(const struct log *log)
{
    return log->segments[log->segment_count - 1];
}

char *log_file_path(const struct log *log, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", log->path, name) < 0 ? NULL : path;
}

void log_fail(struct log *log, const char *operation, enum pst_status status)
{
    char text[512];

    if (atomic_exchange(&log->offline, true))
        return;
    snprintf(text, sizeof text, "%s of %s failed: %s", operation, log->path, pst_status_text(status));
    LOG_ERROR("log.offline", "path=%s operation=\"%s\" reason=\"%s\"", log->path, operation,
              pst_status_text(status));
    if (log->dir != NULL)
        log_dir_fail(log->dir, text);
}

enum pst_status log_add_segment(struct log *log, struct segment *segment)
{
    if (log->segment_count == log->segment_capacity) {
        unsigned capacity = log->segment_capacity == 0 ? 4 : log->segment_capacity * 2;
        struct segment **segments = realloc(log->segments, capacity * sizeof(struct segment *));

        if (segments == NULL)
            return PST_NOMEM;
        log->segments = segments;
        log->segment_capacity = capacity;
    }
    log->segments[log->segment_count++] = segment;
    return PST_OK;
}

void log_bound_indexes(struct log *log)
{
    for (;;) {
        struct segment *oldest = NULL;
        unsigned loaded = 0;

        for (unsigned i = 0; i + 1 < log->segment_count; i++) {
            struct segment *segment = log->segments[i];

            if (!segment->indexes_loaded || !segment->indexes_saved)
                continue;
            loaded++;
            if (oldest == NULL || segment->used < oldest->used)
                oldest = segment;
        }
        if (loaded <= LOG_SEALED_INDEXES_MAX)
            return;
        segment_unload_indexes(oldest);
    }
}

unsigned log_segment_index(const struct log *log, int64_t offset)
{
    unsigned low = 0;
    unsigned high = log->segment_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (log->segments[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : low - 1;
}

static void log_free(struct log *log)
{
    if (log == NULL)
        return;
    window_close(log->window);
    for (unsigned i = 0; i < log->segment_count; i++)
        segment_unref(log->segments[i]);
    free(log->segments);
    producer_state_free(log->producers);
    epoch_cache_free(log->epochs);
    pthread_mutex_destroy(&log->append_lock);
    pthread_mutex_destroy(&log->state_lock);
    pthread_mutex_destroy(&log->flush_lock);
    pthread_mutex_destroy(&log->sync_lock);
    pthread_cond_destroy(&log->flush_idle);
    free(log->path);
    free(log);
}

static struct log *log_new(const struct log_env *env, struct log_dir *dir, const char *path,
                           const struct log_config *config)
{
    struct log *log = calloc(1, sizeof *log);

    if (log == NULL)
        return NULL;
    log->env = *env;
    log->dir = dir;
    log->config = *config;
    log->lane = atomic_fetch_add(&lanes, 1) + 1;
    pthread_mutex_init(&log->append_lock, NULL);
    pthread_mutex_init(&log->state_lock, NULL);
    pthread_mutex_init(&log->flush_lock, NULL);
    pthread_mutex_init(&log->sync_lock, NULL);
    pthread_cond_init(&log->flush_idle, NULL);
    atomic_init(&log->high_watermark, -1);
    atomic_init(&log->first_unstable, -1);
    log->path = str_dup(str_of(path));
    log->producers = producer_state_new(env->producer_id_expiration_ms);
    log->epochs = epoch_cache_new();
    if (config->segment_jitter_ms > 0)
        log->roll_jitter_ms = (int64_t)(str_hash(str_of(path)) % (uint64_t)config->segment_jitter_ms);
    if (log->path == NULL || log->producers == NULL || log->epochs == NULL) {
        log_free(log);
        return NULL;
    }
    return log;
}

/* Makes the directory and the topic id in it, or checks the id. */
static enum pst_status settle_directory(const struct log *log, const struct log_opening *opening,
                                        char **ret_text)
{
    enum pst_status status;
    struct uuid topic_id;
    const char *reason = NULL;

    if (log->env.files->mkdir(log->path, 0755) != 0 && errno != EEXIST)
        return pst_status_of_errno(errno);
    status = partition_metadata_load(log->path, &topic_id, &reason);
    if (status == PST_NOT_FOUND) {
        if (uuid_is_zero(&opening->topic_id))
            return PST_OK;
        return partition_metadata_save(log->env.files, log->path, &opening->topic_id);
    }
    if (status == PST_OK && !uuid_is_zero(&opening->topic_id) && !uuid_equal(&topic_id, &opening->topic_id)) {
        char ours[UUID_TEXT_LENGTH + 1];
        char theirs[UUID_TEXT_LENGTH + 1];

        uuid_format(&opening->topic_id, ours);
        uuid_format(&topic_id, theirs);
        if (asprintf(ret_text, "%s/partition.metadata holds topic id %s, the metadata says %s", log->path,
                     theirs, ours) < 0)
            *ret_text = NULL;
        return PST_EXISTS;
    }
    if (status == PST_CORRUPT && asprintf(ret_text, "%s/partition.metadata: %s", log->path, reason) < 0)
        *ret_text = NULL;
    return status;
}

enum pst_status log_open(const struct log_env *env, struct log_dir *dir, const struct log_opening *opening,
                         const struct log_config *config, struct log **ret, char **ret_text)
{
    struct log *log = log_new(env, dir, opening->path, config);
    enum pst_status status;

    *ret_text = NULL;
    if (log == NULL)
        return PST_NOMEM;
    status = settle_directory(log, opening, ret_text);
    if (status == PST_OK)
        status = log_recover(log, opening, ret_text);
    if (status != PST_OK) {
        log_free(log);
        return status;
    }
    *ret = log;
    return PST_OK;
}

void log_set_config(struct log *log, const struct log_config *config)
{
    pthread_mutex_lock(&log->append_lock);
    log->config = *config;
    log->roll_jitter_ms = config->segment_jitter_ms > 0
                              ? (int64_t)(str_hash(str_of(log->path)) % (uint64_t)config->segment_jitter_ms)
                              : 0;
    pthread_mutex_unlock(&log->append_lock);
}

/* ---- rolling and sealing ---- */

struct seal_job {
    struct worker_job job;
    struct log *log;
    struct segment *segment;
    struct window *window;
    int64_t snapshot_offset;
    struct buf snapshot;
};

void log_job_started(struct log *log)
{
    pthread_mutex_lock(&log->flush_lock);
    log->jobs++;
    pthread_mutex_unlock(&log->flush_lock);
}

void log_job_ended(struct log *log)
{
    pthread_mutex_lock(&log->flush_lock);
    log->jobs--;
    pthread_cond_broadcast(&log->flush_idle);
    pthread_mutex_unlock(&log->flush_lock);
}

/* Thread: a worker.  What a roll leaves to do: indexes on disk, the producer snapshot at the new base offset.
 */
static void seal(struct worker_job *job)
{
    struct seal_job *seal_job = CONTAINER_OF(job, struct seal_job, job);
    struct log *log = seal_job->log;
    enum pst_status status;

    window_close(seal_job->window); /* it would allocate behind the end again */
    status = segment_trim(seal_job->segment);
    if (status == PST_OK)
        status = segment_write_indexes(seal_job->segment);
    if (status == PST_OK) {
        pthread_mutex_lock(&log->state_lock);
        seal_job->segment->indexes_saved = true;
        seal_job->segment->used = ++log->index_uses;
        log_bound_indexes(log);
        pthread_mutex_unlock(&log->state_lock);
    }
    if (status == PST_OK)
        status = producer_snapshot_write(log->env.files, log->path, seal_job->snapshot_offset,
                                         buf_view(&seal_job->snapshot));
    if (status == PST_NOSPACE) /* both are rebuilt from the log when they are missing */
        LOG_WARN("log.seal.failed", "path=%s reason=\"%s\"", log->path, pst_status_text(status));
    else if (status != PST_OK && !log->deleted)
        log_fail(log, "sealing a segment", status);
    segment_unref(seal_job->segment);
    buf_free(&seal_job->snapshot);
    free(seal_job);
    log_job_ended(log);
}

#define SNAPSHOT_BYTES_MAX (64u * 1024 * 1024) /* PRODUCER_STATE_COUNT_MAX producers take less */

enum pst_status log_roll(struct log *log)
{
    struct segment *old = log_active(log);
    struct seal_job *job = calloc(1, sizeof *job);
    struct segment *segment = NULL;
    enum pst_status status = PST_NOMEM;

    if (job == NULL)
        return PST_NOMEM;
    buf_init(&job->snapshot, SNAPSHOT_BYTES_MAX);
    status = producer_snapshot_encode(log->producers, &job->snapshot);
    if (status == PST_OK)
        status = segment_open(log->env.files, log->path, log->end_offset, true, clock_wall_ms(log->env.clock),
                              &segment);
    if (status != PST_OK)
        goto fail;
    pthread_mutex_lock(&log->state_lock);
    status = log_add_segment(log, segment);
    if (status == PST_OK)
        old->sealed = true;
    pthread_mutex_unlock(&log->state_lock);
    if (status != PST_OK)
        goto fail;
    job->job = (struct worker_job){.run = seal, .lane = log->lane};
    job->log = log;
    job->segment = old;
    job->window = window_take(log);
    job->snapshot_offset = log->end_offset;
    segment_ref(old);
    pthread_mutex_lock(&log->flush_lock);
    log->dir_dirty = true;
    pthread_mutex_unlock(&log->flush_lock);
    log_job_started(log);
    workers_submit(log->env.workers, &job->job);
    log_flush_soon(log); /* so that a recovery starts at the active segment */
    return PST_OK;

fail:
    segment_unref(segment);
    buf_free(&job->snapshot);
    free(job);
    return status;
}

/* ---- giving up segments ---- */

static void discard_file(struct log *log, int64_t base_offset, const char *suffix)
{
    char *from = segment_file_path(log->path, base_offset, suffix);
    char *to = NULL;

    if (from == NULL)
        return;
    if (asprintf(&to, "%s%s", from, DELETED_FILE_SUFFIX) >= 0 && log->env.files->rename(from, to) == 0) {
        if (log->env.trash == NULL ||
            trash_add(log->env.trash, log->dir, to, log->config.file_delete_delay_ms) != PST_OK)
            log->env.files->unlink(to);
    }
    free(from);
    free(to);
}

void log_drop_front(struct log *log, unsigned count)
{
    static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex", ".snapshot"};

    for (unsigned i = 0; i < count; i++) {
        struct segment *segment = log->segments[i];

        atomic_fetch_sub(&log->size_bytes, segment->size_bytes);
        for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++)
            discard_file(log, segment->base_offset, suffixes[k]);
    }
    pthread_mutex_lock(&log->state_lock);
    for (unsigned i = 0; i < count; i++)
        segment_unref(log->segments[i]);
    log->segment_count -= count;
    memmove(log->segments, log->segments + count, log->segment_count * sizeof(struct segment *));
    pthread_mutex_unlock(&log->state_lock);
}

/* ---- offsets ---- */

struct log_offsets log_offsets(const struct log *log)
{
    struct log_offsets offsets;
    int64_t unstable = atomic_load_explicit(&log->first_unstable, memory_order_acquire);

    offsets.start = atomic_load_explicit(&log->start_offset, memory_order_acquire);
    offsets.end = atomic_load_explicit(&log->end_offset, memory_order_acquire);
    offsets.high_watermark = atomic_load_explicit(&log->high_watermark, memory_order_acquire);
    if (offsets.high_watermark < 0)
        offsets.high_watermark = offsets.end;
    offsets.last_stable =
        unstable >= 0 && unstable < offsets.high_watermark ? unstable : offsets.high_watermark;
    offsets.recovery_point = atomic_load_explicit(&log->recovery_point, memory_order_relaxed);
    return offsets;
}

void log_set_high_watermark(struct log *log, int64_t offset)
{
    pthread_mutex_lock(&log->append_lock);
    atomic_store(&log->high_watermark, offset);
    producer_state_settle(log->producers, offset);
    atomic_store(&log->first_unstable, producer_state_first_unstable(log->producers));
    pthread_mutex_unlock(&log->append_lock);
}

int64_t log_size_bytes(const struct log *log)
{
    return atomic_load(&log->size_bytes);
}

const char *log_path(const struct log *log)
{
    return log->path;
}

struct log_dir *log_dir_of(const struct log *log)
{
    return log->dir;
}

bool log_is_offline(const struct log *log)
{
    return atomic_load_explicit(&log->offline, memory_order_relaxed) ||
           (log->dir != NULL && log_dir_is_offline(log->dir));
}

/* ---- epochs and producers ---- */

void log_epoch_end(struct log *log, int32_t epoch, int32_t current_epoch, int32_t *ret_epoch,
                   int64_t *ret_end_offset)
{
    int64_t end = atomic_load(&log->end_offset);

    if (epoch == current_epoch) {
        *ret_epoch = epoch;
        *ret_end_offset = end;
        return;
    }
    pthread_mutex_lock(&log->state_lock);
    epoch_cache_end(log->epochs, epoch, end, ret_epoch, ret_end_offset);
    pthread_mutex_unlock(&log->state_lock);
}

int32_t log_latest_epoch(const struct log *log)
{
    struct log *unlocked = (struct log *)(uintptr_t)log;
    int32_t epoch;

    pthread_mutex_lock(&unlocked->state_lock);
    epoch = epoch_cache_latest(log->epochs);
    pthread_mutex_unlock(&unlocked->state_lock);
    return epoch;
}

enum pst_status log_begin_epoch(struct log *log, int32_t epoch)
{
    enum pst_status status;
    bool changed = false;

    pthread_mutex_lock(&log->append_lock);
    pthread_mutex_lock(&log->state_lock);
    status = epoch_cache_assign(log->epochs, epoch, log->end_offset, &changed);
    pthread_mutex_unlock(&log->state_lock);
    if (status == PST_OK && changed)
        status = epoch_cache_save(log->epochs, log->env.files, log->path);
    pthread_mutex_unlock(&log->append_lock);
    return status;
}

enum pst_status log_producers(struct log *log, struct log_producer **ret, unsigned *ret_count)
{
    enum pst_status status;

    pthread_mutex_lock(&log->append_lock);
    status = producer_state_list(log->producers, ret, ret_count);
    pthread_mutex_unlock(&log->append_lock);
    return status;
}

/* ---- start offset ---- */

enum pst_status log_raise_start(struct log *log, int64_t offset, int64_t *ret_start)
{
    struct log_offsets offsets = log_offsets(log);
    unsigned count = 0;

    if (offset == -1)
        offset = offsets.high_watermark;
    if (offset < 0 || offset > offsets.high_watermark)
        return PST_OUT_OF_RANGE;
    if (log_is_offline(log))
        return PST_OFFLINE;
    pthread_mutex_lock(&log->append_lock);
    if (offset > log->start_offset) {
        atomic_store(&log->start_offset, offset);
        pthread_mutex_lock(&log->state_lock);
        epoch_cache_truncate_from_start(log->epochs, offset); /* saved with the next epoch or at the close */
        pthread_mutex_unlock(&log->state_lock);
        while (count + 1 < log->segment_count && log->segments[count + 1]->base_offset <= offset)
            count++;
        if (count > 0)
            log_drop_front(log, count);
    }
    *ret_start = log->start_offset;
    pthread_mutex_unlock(&log->append_lock);
    return PST_OK;
}

/* ---- closing and deleting ---- */

/* Waits until no job of this log is under way and none will start. */
static void wait_for_jobs(struct log *log)
{
    pthread_mutex_lock(&log->flush_lock);
    while (log->flush_busy || log->jobs > 0 || log->flush_waiters != NULL)
        pthread_cond_wait(&log->flush_idle, &log->flush_lock);
    pthread_mutex_unlock(&log->flush_lock);
}

static enum pst_status write_final_snapshot(struct log *log)
{
    enum pst_status status;
    struct buf snapshot;

    buf_init(&snapshot, SNAPSHOT_BYTES_MAX);
    status = producer_snapshot_encode(log->producers, &snapshot);
    if (status == PST_OK)
        status = producer_snapshot_write(log->env.files, log->path, log->end_offset, buf_view(&snapshot));
    buf_free(&snapshot);
    return status;
}

enum pst_status log_close(struct log *log)
{
    enum pst_status status = PST_OK;

    wait_for_jobs(log);
    window_close(window_take(log));
    if (log_is_offline(log))
        status = PST_OFFLINE;
    if (status == PST_OK)
        status = log_flush(log);
    if (status == PST_OK)
        status = segment_trim(log_active(log));
    if (status == PST_OK && log_active(log)->indexes_loaded)
        status = segment_write_indexes(log_active(log));
    if (status == PST_OK && log->end_offset > 0)
        status = write_final_snapshot(log);
    if (status == PST_OK) /* those of earlier stops, inside the active segment */
        status = producer_snapshot_remove(log->env.files, log->path, log_active(log)->base_offset + 1,
                                          log->end_offset);
    if (status == PST_OK)
        status = epoch_cache_save(log->epochs, log->env.files, log->path);
    log_free(log);
    return status;
}

enum pst_status log_delete(struct log *log)
{
    const char *slash = strrchr(log->path, '/');
    const char *name = slash == NULL ? log->path : slash + 1;
    const char *dash = strrchr(name, '-');
    struct uuid uuid = uuid_random();
    char hex[33];
    char *to = NULL;
    enum pst_status status = PST_OK;
    size_t topic_max;

    BUG_ON(dash == NULL);
    atomic_store(&log->deleted, true);
    wait_for_jobs(log);
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", uuid.bytes[i]);
    /* a file name has 255 bytes: the topic gives way */
    topic_max = 255 - strlen(dash) - 1 - 32 - strlen(DELETED_DIR_SUFFIX);
    if ((size_t)(dash - name) < topic_max)
        topic_max = (size_t)(dash - name);
    if (asprintf(&to, "%.*s%.*s%s.%s%s", (int)(name - log->path), log->path, (int)topic_max, name, dash, hex,
                 DELETED_DIR_SUFFIX) < 0)
        to = NULL;
    if (to == NULL)
        status = PST_NOMEM;
    else if (log->env.files->rename(log->path, to) != 0)
        status = pst_status_of_errno(errno);
    if (status == PST_OK && log->env.trash != NULL)
        status = trash_add(log->env.trash, log->dir, to, log->config.file_delete_delay_ms);
    free(to);
    log_free(log);
    return status;
}
