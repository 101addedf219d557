/* Giving up old segments, by time, by size, and below the log start. */
#include "broker/log/log_internal.h"
#include "protocol/record_batch.h"

#include <stdlib.h>
#include <sys/stat.h>

/* Producers looked at in one go, under the append lock: a few microseconds. */
#define EXPIRE_STEP_MAX 256u

/* When the last record of a segment was written: its largest timestamp, or where it has none the file's own
 * time. */
static int64_t largest_timestamp_ms(struct log *log, const struct segment *segment)
{
    int64_t timestamp_ms = NO_TIMESTAMP;
    struct stat info;
    bool loaded;

    pthread_mutex_lock(&log->state_lock);
    loaded = segment->indexes_loaded;
    if (loaded)
        timestamp_ms = segment->max_timestamp_ms;
    pthread_mutex_unlock(&log->state_lock);
    if (!loaded)
        timestamp_ms = segment_stored_timestamp(segment);
    if (timestamp_ms >= 0)
        return timestamp_ms;
    if (fstat(segment->fd, &info) != 0)
        return INT64_MAX; /* not known: keep it */
    return (int64_t)info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000;
}

/* Base offset of the first segment that has not expired by time, or the end when all have.  Reads the disk.
 */
static int64_t first_unexpired(struct log *log, int64_t retention_ms, int64_t now_ms)
{
    int64_t offset;
    unsigned index = 0;

    for (;;) {
        struct segment *segment = NULL;
        int64_t newest_ms;

        pthread_mutex_lock(&log->state_lock);
        if (index < log->segment_count) {
            segment = log->segments[index];
            segment_ref(segment);
        }
        pthread_mutex_unlock(&log->state_lock);
        if (segment == NULL)
            return log->end_offset;
        newest_ms = largest_timestamp_ms(log, segment);
        offset = segment->base_offset;
        if (segment->size_bytes == 0 || newest_ms > now_ms || now_ms - newest_ms <= retention_ms) {
            segment_unref(segment);
            return offset;
        }
        segment_unref(segment);
        index++;
    }
}

static int64_t end_of_segment(const struct log *log, unsigned index)
{
    return index + 1 < log->segment_count ? log->segments[index + 1]->base_offset : log->end_offset;
}

/* Segments in front that may go.  append_lock. */
static unsigned count_expired(const struct log *log, int64_t unexpired_from, int64_t high_watermark)
{
    bool by_size = log->config.delete_expired && log->config.retention_bytes >= 0;
    int64_t excess = log->size_bytes - log->config.retention_bytes;
    unsigned count = 0;

    while (count < log->segment_count) {
        int64_t size = log->segments[count]->size_bytes;
        int64_t end = end_of_segment(log, count);
        bool active = count + 1 == log->segment_count;
        bool goes = (!active && end <= log->start_offset) || end <= unexpired_from;

        if (!goes && by_size && excess - size >= 0) {
            excess -= size;
            goes = true;
        }
        if (!goes || size == 0 || end > high_watermark)
            break;
        count++;
    }
    return count;
}

unsigned log_retain(struct log *log)
{
    int64_t now_ms = clock_wall_ms(log->env.clock);
    int64_t unexpired_from = 0;
    int64_t high_watermark = log_offsets(log).high_watermark;
    struct log_config config;
    unsigned count;

    if (log_is_offline(log) || log->deleted)
        return 0;
    pthread_mutex_lock(&log->append_lock);
    config = log->config;
    pthread_mutex_unlock(&log->append_lock);
    if (config.delete_expired && config.retention_ms >= 0)
        unexpired_from = first_unexpired(log, config.retention_ms, now_ms);
    pthread_mutex_lock(&log->append_lock);
    count = count_expired(log, unexpired_from, high_watermark);
    if (count == log->segment_count && log_roll(log) != PST_OK)
        count--;
    if (count > 0) {
        int64_t start = log->segments[count]->base_offset;

        if (start > log->start_offset)
            atomic_store(&log->start_offset, start);
        pthread_mutex_lock(&log->state_lock);
        epoch_cache_truncate_from_start(log->epochs, log->start_offset);
        pthread_mutex_unlock(&log->state_lock);
        log_drop_front(log, count);
    }
    producer_state_expire(log->producers, now_ms, EXPIRE_STEP_MAX);
    pthread_mutex_unlock(&log->append_lock);
    return count;
}
