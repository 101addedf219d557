/* Opening what a stop has left: trusting a clean one, verifying everything above the recovery point after any
 * other. */
#include "broker/log/log_dir.h"
#include "broker/log/log_internal.h"
#include "broker/log/trash.h"
#include "common/logger.h"
#include "protocol/record_batch.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool parse_segment_name(const char *name, int64_t *ret_base_offset)
{
    if (strlen(name) != SEGMENT_NAME_LENGTH + strlen(".log") ||
        strcmp(name + SEGMENT_NAME_LENGTH, ".log") != 0)
        return false;
    return name[0] >= '0' && name[0] <= '9' &&
           str_parse_i64(str_of_bytes(name, SEGMENT_NAME_LENGTH), ret_base_offset);
}

static int by_offset(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* Base offsets of all segments, ascending; what an interrupted deletion left goes. */
static enum pst_status list_segments(const struct log *log, int64_t **ret, unsigned *ret_count)
{
    DIR *dir = opendir(log->path);
    int64_t *offsets = NULL;
    unsigned count = 0;
    unsigned capacity = 0;
    enum pst_status status = PST_OK;
    struct dirent *entry;

    if (dir == NULL)
        return pst_status_of_errno(errno);
    while (status == PST_OK && (entry = readdir(dir)) != NULL) {
        size_t length = strlen(entry->d_name);
        int64_t offset;

        if (length > strlen(DELETED_FILE_SUFFIX) &&
            strcmp(entry->d_name + length - strlen(DELETED_FILE_SUFFIX), DELETED_FILE_SUFFIX) == 0) {
            char *path = log_file_path(log, entry->d_name);

            if (path != NULL)
                log->env.files->unlink(path);
            free(path);
            continue;
        }
        if (!parse_segment_name(entry->d_name, &offset))
            continue;
        if (count == capacity) {
            int64_t *grown =
                realloc(offsets, (capacity = capacity == 0 ? 8 : capacity * 2) * sizeof *offsets);

            if (grown == NULL) {
                status = PST_NOMEM;
                break;
            }
            offsets = grown;
        }
        offsets[count++] = offset;
    }
    closedir(dir);
    if (status != PST_OK) {
        free(offsets);
        return status;
    }
    if (count > 0)
        qsort(offsets, count, sizeof *offsets, by_offset);
    *ret = offsets;
    *ret_count = count;
    return PST_OK;
}

static enum pst_status read_exactly(const struct segment *segment, int64_t position, uint8_t *to,
                                    uint32_t length)
{
    while (length > 0) {
        ssize_t n = pread(segment->fd, to, length, position);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return PST_IO;
        if (n == 0)
            return PST_CORRUPT;
        to += n;
        position += n;
        length -= (uint32_t)n;
    }
    return PST_OK;
}

/* What a scan of a segment carries along. */
struct scan {
    struct log *log;
    struct segment *segment;
    int64_t position;
    int64_t next_offset;
    int32_t epoch;
    int64_t replay_from; /* producers know everything below */
    uint8_t *batch;
    uint32_t batch_capacity;
    bool old_magic;
};

static enum pst_status replay_producer(struct scan *scan, const struct record_batch_info *info)
{
    struct log *log = scan->log;
    struct txn_marker marker;
    struct aborted_txn aborted;
    bool is_aborted = false;
    enum pst_status status = PST_OK;

    if (info->producer_id < 0 || info->last_offset < scan->replay_from)
        return PST_OK;
    if ((info->attributes & RECORD_BATCH_CONTROL) == 0)
        return producer_state_update(log->producers, info);
    if (!txn_marker_read(scan->batch, info->size_bytes, &marker))
        return PST_OK;
    status = producer_state_update_marker(log->producers, info, &marker, &aborted, &is_aborted);
    if (status == PST_OK && is_aborted) {
        status = txn_index_append(scan->segment->txns, &aborted);
        if (status == PST_INVALID) /* it is in there already */
            status = PST_OK;
    }
    return status;
}

/* One batch, with everything a torn or stale tail could get wrong.  PST_EOF at the end, PST_CORRUPT where the
 * valid part ends. */
static enum pst_status scan_batch(struct scan *scan, bool verify)
{
    struct segment *segment = scan->segment;
    struct record_batch_info info;
    enum pst_status status = segment_read_header(segment, scan->position, segment->size_bytes, true, &info);

    if (status == PST_CORRUPT && info.magic < RECORD_BATCH_MAGIC) {
        uint8_t raw[17] = {0};

        /* a whole old message: length sane, offset in place */
        if (scan->position == 0 && read_exactly(segment, 0, raw, sizeof raw) == PST_OK &&
            load_be32(raw + 8) >= 14 && load_be32(raw + 8) <= (uint64_t)segment->size_bytes &&
            (int64_t)load_be64(raw) >= segment->base_offset)
            scan->old_magic = true;
    }
    if (status != PST_OK)
        return status;
    if (info.base_offset < scan->next_offset || info.last_offset < info.base_offset ||
        info.last_offset - segment->base_offset > INT32_MAX ||
        (info.leader_epoch >= 0 && info.leader_epoch < scan->epoch))
        return PST_CORRUPT;
    if (verify || (info.attributes & RECORD_BATCH_CONTROL) != 0) {
        if (info.size_bytes > scan->batch_capacity) {
            uint8_t *grown = realloc(scan->batch, info.size_bytes);

            if (grown == NULL)
                return PST_NOMEM;
            scan->batch = grown;
            scan->batch_capacity = info.size_bytes;
        }
        status = read_exactly(segment, scan->position, scan->batch, info.size_bytes);
        if (status != PST_OK)
            return status;
        if (verify && !record_batch_crc_fits(scan->batch, info.size_bytes))
            return PST_CORRUPT;
    }
    status = replay_producer(scan, &info);
    if (status != PST_OK)
        return status;
    if (verify) {
        bool changed;

        segment_note_append(segment, info.last_offset, scan->position, info.size_bytes, info.max_timestamp_ms,
                            scan->log->config.index_interval_bytes);
        if (info.leader_epoch >= 0 && info.leader_epoch > epoch_cache_latest(scan->log->epochs))
            status = epoch_cache_assign(scan->log->epochs, info.leader_epoch, info.base_offset, &changed);
    }
    scan->position += info.size_bytes;
    scan->next_offset = info.last_offset + 1;
    if (info.leader_epoch >= 0)
        scan->epoch = info.leader_epoch;
    return status;
}

/* Cuts the segment where its valid part ends, durably, before anything is appended.  Nobody reads it yet. */
static enum pst_status cut_tail(struct log *log, struct segment *segment, int64_t position)
{
    LOG_WARN("log.recovery.cut", "file=%s from_bytes=%" PRId64 " to_bytes=%" PRId64, segment->path,
             (int64_t)segment->size_bytes, position);
    if (log->env.files->ftruncate(segment->fd, position) != 0 || log->env.files->fsync(segment->fd) != 0)
        return PST_IO;
    atomic_store(&segment->size_bytes, position);
    return PST_OK;
}

/* Segments behind a cut belong to a log that no longer reaches them. */
static enum pst_status drop_behind(struct log *log, unsigned keep)
{
    static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex", ".snapshot"};

    while (log->segment_count > keep) {
        struct segment *segment = log->segments[--log->segment_count];

        LOG_WARN("log.recovery.dropped", "file=%s", segment->path);
        for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
            char *path = segment_file_path(log->path, segment->base_offset, suffixes[i]);

            if (path != NULL)
                log->env.files->unlink(path);
            free(path);
        }
        segment_unref(segment);
    }
    return file_sync_dir(log->env.files, log->path) == PST_OK ? PST_OK : PST_IO;
}

/* Verifies one segment batch by batch, rebuilding its indexes.  *ret_cut: it ended early. */
static enum pst_status verify_segment(struct scan *scan, bool *ret_cut)
{
    struct segment *segment = scan->segment;
    enum pst_status status;

    segment_clear_indexes(segment);
    status = txn_index_truncate(segment->txns, segment->base_offset);
    if (status != PST_OK)
        return status;
    scan->position = 0;
    do
        status = scan_batch(scan, true);
    while (status == PST_OK);
    *ret_cut = status == PST_CORRUPT;
    if (status == PST_EOF || status == PST_CORRUPT)
        return PST_OK;
    return status;
}

/* Goes through the headers of a trusted segment from what the producers know on. */
static enum pst_status replay_segment(struct scan *scan)
{
    enum pst_status status;

    scan->position = scan->segment->indexes_loaded ? segment_find(scan->segment, scan->replay_from) : 0;
    if (scan->position > 0)
        scan->next_offset = scan->segment->base_offset; /* somewhere inside */
    do
        status = scan_batch(scan, false);
    while (status == PST_OK);
    return status == PST_EOF ? PST_OK : status;
}

static char *refusal(const struct segment *segment)
{
    char *text;

    return asprintf(&text,
                    "%s holds messages of an old format (magic 0 or 1), which Penstock does not read; let "
                    "Kafka 3.x "
                    "convert it, the file is unchanged",
                    segment->path) < 0
               ? NULL
               : text;
}

/* The end offset of the last, trusted segment: its headers behind the last index entry say it. */
static enum pst_status settle_last(struct scan *scan)
{
    struct segment *segment = scan->segment;
    enum pst_status status;

    scan->position = segment_find(segment, INT64_MAX);
    scan->next_offset = segment->base_offset;
    scan->epoch = NO_EPOCH;
    while ((status = scan_batch(scan, false)) == PST_OK)
        continue;
    return status == PST_EOF ? PST_OK : status;
}

static enum pst_status open_segments(struct log *log, const int64_t *offsets, unsigned count)
{
    enum pst_status status = PST_OK;

    for (unsigned i = 0; i < count && status == PST_OK; i++) {
        struct segment *segment;

        status = segment_open(log->env.files, log->path, offsets[i], false, clock_wall_ms(log->env.clock),
                              &segment);
        if (status != PST_OK)
            break;
        segment->sealed = i + 1 < count;
        status = log_add_segment(log, segment);
        if (status != PST_OK)
            segment_unref(segment);
    }
    return status;
}

/* Verifies from the segment of the recovery point on; cuts and drops what does not pass. */
static enum pst_status verify_tail(struct scan *scan, unsigned first, char **ret_text)
{
    struct log *log = scan->log;
    enum pst_status status = PST_OK;
    bool cut = false;

    for (unsigned i = first; i < log->segment_count && status == PST_OK; i++) {
        scan->segment = log->segments[i];
        if (scan->next_offset < scan->segment->base_offset)
            scan->next_offset = scan->segment->base_offset;
        status = verify_segment(scan, &cut);
        if (scan->old_magic) {
            *ret_text = refusal(scan->segment);
            return PST_CORRUPT;
        }
        if (status == PST_OK && cut) {
            status = cut_tail(log, scan->segment, scan->position);
            if (status == PST_OK)
                status = drop_behind(log, i + 1);
            scan->segment->sealed = false;
        } else if (status == PST_OK && scan->segment->sealed) {
            status = segment_write_indexes(scan->segment);
            scan->segment->indexes_saved = status == PST_OK;
        }
    }
    return status;
}

static enum pst_status recover_segments(struct log *log, const struct log_opening *opening, struct scan *scan,
                                        char **ret_text)
{
    int64_t from = opening->clean ? INT64_MAX : opening->recovery_point;
    struct segment *last = log_active(log);
    unsigned verify_first = log->segment_count;
    int64_t snapshot_offset = -1;
    enum pst_status status;

    if (!opening->clean) {
        verify_first = log_segment_index(log, from);
    } else if (segment_load_indexes(last) != PST_OK && last->size_bytes > 0) {
        verify_first =
            log->segment_count - 1; /* an index that does not fit its segment: look at everything in it */
    } else {
        last->indexes_loaded = true;
    }
    status = producer_snapshot_load(
        log->producers, log->env.files, log->path,
        verify_first < log->segment_count ? log->segments[verify_first]->base_offset : INT64_MAX,
        clock_wall_ms(log->env.clock), &snapshot_offset);
    if (status != PST_OK)
        return status;
    scan->replay_from = snapshot_offset > 0 ? snapshot_offset : log->segments[0]->base_offset;
    for (unsigned i = log_segment_index(log, scan->replay_from); i < verify_first && status == PST_OK; i++) {
        scan->segment = log->segments[i];
        scan->next_offset = scan->segment->base_offset;
        scan->epoch = NO_EPOCH;
        if (!scan->segment->indexes_loaded && segment_load_indexes(scan->segment) != PST_OK)
            verify_first = i; /* missing or wrong: rebuilt below, by verifying from here on */
        else
            status = replay_segment(scan);
    }
    if (status == PST_OK && verify_first < log->segment_count)
        return verify_tail(scan, verify_first, ret_text);
    if (status == PST_OK) {
        scan->segment = last;
        scan->replay_from = INT64_MAX; /* done above */
        status = settle_last(scan);
    }
    if (status == PST_CORRUPT && !scan->old_magic) { /* trusted, and wrong: look closely */
        LOG_WARN("log.recovery.distrust", "file=%s", last->path);
        producer_state_clear(log->producers);
        scan->replay_from = log->segments[0]->base_offset;
        scan->next_offset = last->base_offset;
        scan->epoch = NO_EPOCH;
        return verify_tail(scan, log->segment_count - 1, ret_text);
    }
    if (scan->old_magic)
        *ret_text = refusal(last);
    return status;
}

static void sum_sizes(struct log *log)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < log->segment_count; i++)
        sum += log->segments[i]->size_bytes;
    atomic_store(&log->size_bytes, sum);
}

static enum pst_status start_empty(struct log *log, int64_t offset)
{
    struct segment *segment;
    enum pst_status status =
        segment_open(log->env.files, log->path, offset, true, clock_wall_ms(log->env.clock), &segment);

    if (status != PST_OK)
        return status;
    status = log_add_segment(log, segment);
    if (status != PST_OK)
        segment_unref(segment);
    log->dir_dirty = true;
    return status;
}

/* segment.ms counts from the first batch; of an empty or unreadable segment there is none. */
static void note_first_timestamp(struct segment *segment)
{
    struct record_batch_info batch;

    if (segment->first_timestamp_ms == NO_TIMESTAMP &&
        segment_read_header(segment, 0, segment->size_bytes, true, &batch) == PST_OK)
        segment->first_timestamp_ms = batch.max_timestamp_ms;
}

enum pst_status log_recover(struct log *log, const struct log_opening *opening, char **ret_text)
{
    struct scan scan = {.log = log, .epoch = NO_EPOCH};
    const char *reason = NULL;
    int64_t *offsets = NULL;
    unsigned count = 0;
    int64_t start;
    enum pst_status status = epoch_cache_load(log->epochs, log->path, &reason);

    if (status == PST_CORRUPT) { /* rebuilt from the batches that are verified; older epochs are lost */
        LOG_WARN("log.epochs.corrupt", "path=%s reason=\"%s\"", log->path, reason);
        status = PST_OK;
    }
    if (status == PST_OK)
        status = list_segments(log, &offsets, &count);
    if (status != PST_OK)
        return status;
    status = open_segments(log, offsets, count);
    free(offsets);
    if (status == PST_OK && count == 0)
        status = start_empty(log, opening->log_start_checkpoint > 0 ? opening->log_start_checkpoint : 0);
    if (status != PST_OK)
        return status;
    scan.next_offset = log->segments[0]->base_offset;
    if (count > 0)
        status = recover_segments(log, opening, &scan, ret_text);
    free(scan.batch);
    if (status != PST_OK)
        return status;
    if (scan.next_offset < log_active(log)->base_offset)
        scan.next_offset = log_active(log)->base_offset;
    start = log->segments[0]->base_offset;
    if (opening->log_start_checkpoint > start)
        start = opening->log_start_checkpoint;
    if (start > scan.next_offset)
        start = scan.next_offset;
    epoch_cache_truncate_from_end(log->epochs, scan.next_offset);
    epoch_cache_truncate_from_start(log->epochs, start);
    if (!opening->clean) { /* snapshots of what was cut would be believed by the next clean start */
        status = producer_snapshot_remove(log->env.files, log->path, scan.next_offset + 1, INT64_MAX);
        if (status != PST_OK)
            return status;
    }
    note_first_timestamp(log_active(log));
    atomic_store(&log->start_offset, start);
    atomic_store(&log->end_offset, scan.next_offset);
    producer_state_settle(log->producers, scan.next_offset);
    atomic_store(&log->first_unstable, producer_state_first_unstable(log->producers));
    /* what was verified but not synced is synced by the next flush */
    atomic_store(&log->recovery_point, opening->clean                               ? scan.next_offset
                                       : opening->recovery_point < scan.next_offset ? opening->recovery_point
                                                                                    : scan.next_offset);
    if (log->recovery_point < scan.next_offset)
        atomic_store(&log->unflushed_since_ms, clock_monotonic_us(log->env.clock) / 1000);
    log_bound_indexes(log);
    sum_sizes(log);
    return PST_OK;
}
