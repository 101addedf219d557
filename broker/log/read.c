/* Reading: slices by offset, offsets by time. */
#include "broker/log/log_internal.h"
#include "protocol/record_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* As append.c: what a batch may inflate to. */
#define INFLATED_BYTES_MAX (256u * 1024 * 1024)
/* A slice this close to the end of the log is in the page cache for sure. */
#define HOT_TAIL_BYTES     (16u * 1024 * 1024)

/* A place to start scanning from. */
struct place {
    struct segment *segment; /* referenced */
    int64_t position;
    int64_t size_bytes; /* of the segment, published */
    bool last;          /* the active segment */
};

static bool find_in_tail(const struct log *log, int64_t offset, const struct segment *segment,
                         int64_t *ret_position)
{
    for (unsigned i = 0; i < LOG_TAIL_BATCHES; i++) {
        const struct tail_batch *batch = &log->tail[i];

        if (batch->base_offset == offset && batch->segment_base_offset == segment->base_offset &&
            (batch->position > 0 || offset == segment->base_offset)) {
            *ret_position = batch->position;
            return true;
        }
    }
    return false;
}

/* PST_AGAIN: the segment's indexes are not in memory (log_read_warm loads them); PST_OUT_OF_RANGE: given up
 * by now. */
static enum pst_status find_place(struct log *log, int64_t offset, struct place *ret)
{
    enum pst_status status = PST_OK;
    unsigned index;

    pthread_mutex_lock(&log->state_lock);
    index = log_segment_index(log, offset);
    ret->segment = log->segments[index];
    ret->last = index + 1 == log->segment_count;
    ret->size_bytes = ret->segment->size_bytes;
    ret->segment->used = ++log->index_uses;
    if (ret->segment->base_offset > offset)
        status = PST_OUT_OF_RANGE; /* the log start was raised since the caller looked */
    else if (find_in_tail(log, offset, ret->segment, &ret->position))
        status = PST_OK;
    else if (!ret->segment->indexes_loaded)
        status = PST_AGAIN;
    else
        ret->position = segment_find(ret->segment, offset);
    if (status == PST_OK)
        segment_ref(ret->segment);
    pthread_mutex_unlock(&log->state_lock);
    return status;
}

/* From an index place to the batch that holds `offset` (or the next one, in a log with holes). */
static enum pst_status scan_to(const struct place *place, int64_t offset, bool wait, int64_t *ret_position,
                               struct record_batch_info *ret_batch)
{
    int64_t position = place->position;

    for (;;) {
        enum pst_status status =
            segment_read_header(place->segment, position, place->size_bytes, wait, ret_batch);

        if (status != PST_OK)
            return status;
        if (ret_batch->last_offset >= offset) {
            *ret_position = position;
            return PST_OK;
        }
        position += ret_batch->size_bytes;
    }
}

/* The segment behind, when compaction left nothing from `offset` on in this one. */
static enum pst_status next_segment_start(struct log *log, const struct segment *segment, int64_t *ret_offset)
{
    enum pst_status status = PST_EOF;

    pthread_mutex_lock(&log->state_lock);
    for (unsigned i = 0; i < log->segment_count; i++) {
        if (log->segments[i]->base_offset > segment->base_offset) {
            *ret_offset = log->segments[i]->base_offset;
            status = PST_OK;
            break;
        }
    }
    pthread_mutex_unlock(&log->state_lock);
    return status;
}

static int64_t last_position_before(struct log *log, const struct place *place, int64_t end_offset, bool wait,
                                    enum pst_status *status)
{
    struct place end = *place;
    struct record_batch_info batch;
    int64_t position;

    pthread_mutex_lock(&log->state_lock);
    end.position = place->segment->indexes_loaded ? segment_find(place->segment, end_offset - 1) : 0;
    pthread_mutex_unlock(&log->state_lock);
    *status = scan_to(&end, end_offset, wait, &position, &batch);
    if (*status == PST_EOF) { /* everything in this segment lies below */
        *status = PST_OK;
        return place->size_bytes;
    }
    return position;
}

static void cut_slice(struct log *log, const struct place *place, int64_t from, uint32_t first_bytes,
                      int64_t bound, uint32_t length_max, bool first_whole, struct log_slice *ret)
{
    int64_t cut;

    if (bound - from <= (int64_t)length_max) {
        ret->length_bytes = (uint32_t)(bound - from);
        return;
    }
    pthread_mutex_lock(&log->state_lock);
    cut = place->segment->indexes_loaded ? segment_cut(place->segment, from, from + (int64_t)length_max) : -1;
    pthread_mutex_unlock(&log->state_lock);
    if (cut > from && cut <= bound)
        ret->length_bytes = (uint32_t)(cut - from);
    else if (first_bytes <= length_max || first_whole)
        ret->length_bytes = first_bytes;
}

static enum pst_status read_slice(struct log *log, int64_t offset, int64_t end_offset, uint32_t length_max,
                                  bool first_whole, struct log_slice *ret)
{
    struct place place;
    struct record_batch_info batch;
    int64_t position = 0;
    int64_t bound;
    enum pst_status status = find_place(log, offset, &place);

    if (status != PST_OK)
        return status;
    status = scan_to(&place, offset, place.last, &position, &batch);
    if (status == PST_EOF) {
        struct segment *exhausted = place.segment;

        status = next_segment_start(log, exhausted, &offset);
        segment_unref(exhausted);
        if (status != PST_OK)
            return PST_OK; /* nothing yet */
        return offset >= end_offset ? PST_OK
                                    : read_slice(log, offset, end_offset, length_max, first_whole, ret);
    }
    if (status != PST_OK)
        goto fail;
    bound = place.size_bytes;
    if (end_offset < atomic_load(&log->end_offset))
        bound = last_position_before(log, &place, end_offset, place.last, &status);
    if (status != PST_OK)
        goto fail;
    if (bound <= position) { /* the batch is not readable as a whole yet */
        segment_unref(place.segment);
        return PST_OK;
    }
    cut_slice(log, &place, position, batch.size_bytes, bound, length_max, first_whole, ret);
    if (ret->length_bytes == 0) {
        segment_unref(place.segment);
        return PST_OK;
    }
    ret->segment = place.segment;
    ret->fd = place.segment->fd;
    ret->position_bytes = position;
    ret->hot = place.last && place.size_bytes - position <= HOT_TAIL_BYTES;
    ret->segment_base_offset = place.segment->base_offset;
    return PST_OK;

fail:
    segment_unref(place.segment);
    return status;
}

enum pst_status log_read(struct log *log, int64_t offset, int64_t end_offset, uint32_t length_max,
                         bool first_whole, struct log_slice *ret)
{
    struct log_offsets offsets = log_offsets(log);
    enum pst_status status;

    *ret = (struct log_slice){.fd = -1};
    if (log_is_offline(log))
        return PST_OFFLINE;
    if (offset < offsets.start || offset > offsets.end)
        return PST_OUT_OF_RANGE;
    if (offset >= end_offset)
        return PST_OK;
    status = read_slice(log, offset, end_offset, length_max, first_whole, ret);
    if (status == PST_CORRUPT ||
        status == PST_IO) { /* frozen bytes that cannot be read: the disk has failed us */
        log_fail(log, "reading", status);
        return PST_OFFLINE;
    }
    return status;
}

/* Loads a sealed segment's indexes, or rebuilds them from the segment. */
static enum pst_status load_or_rebuild(struct log *log, struct segment *segment)
{
    struct segment *shadow = NULL;
    struct record_batch_info batch;
    int64_t position = 0;
    int64_t interval;
    enum pst_status status = segment_open(log->env.files, log->path, segment->base_offset, false, 0, &shadow);

    if (status != PST_OK)
        return status;
    status = segment_load_indexes(shadow);
    if (status == PST_CORRUPT) {
        pthread_mutex_lock(&log->append_lock);
        interval = log->config.index_interval_bytes;
        pthread_mutex_unlock(&log->append_lock);
        segment_clear_indexes(shadow);
        while ((status = segment_read_header(shadow, position, segment->size_bytes, true, &batch)) ==
               PST_OK) {
            segment_note_append(shadow, batch.last_offset, position, batch.size_bytes, batch.max_timestamp_ms,
                                interval);
            position += batch.size_bytes;
        }
        if (status == PST_EOF)
            status = segment_write_indexes(shadow);
    }
    if (status == PST_OK) {
        pthread_mutex_lock(&log->state_lock);
        if (!segment->indexes_loaded) { /* hand the arrays over */
            free(segment->offsets);
            free(segment->times);
            segment->offsets = shadow->offsets;
            segment->offset_count = shadow->offset_count;
            segment->offset_capacity = shadow->offset_capacity;
            segment->times = shadow->times;
            segment->time_count = shadow->time_count;
            segment->time_capacity = shadow->time_capacity;
            segment->max_timestamp_ms = shadow->max_timestamp_ms;
            segment->max_timestamp_offset = shadow->max_timestamp_offset;
            segment->indexes_loaded = true;
            segment->indexes_saved = true;
            segment->used = ++log->index_uses;
            log_bound_indexes(log);
            shadow->offsets = NULL;
            shadow->times = NULL;
        }
        pthread_mutex_unlock(&log->state_lock);
    }
    segment_unref(shadow);
    return status;
}

/* The segment for `offset`, with its indexes in memory; referenced.  Blocks. */
static enum pst_status warm_segment(struct log *log, int64_t offset, struct segment **ret)
{
    enum pst_status status = PST_OK;
    struct segment *segment;
    bool loaded;

    pthread_mutex_lock(&log->state_lock);
    segment = log->segments[log_segment_index(log, offset)];
    segment_ref(segment);
    loaded = segment->indexes_loaded;
    pthread_mutex_unlock(&log->state_lock);
    if (!loaded)
        status = load_or_rebuild(log, segment);
    if (status != PST_OK) {
        segment_unref(segment);
        return status;
    }
    *ret = segment;
    return PST_OK;
}

void log_read_warm(struct log *log, int64_t offset)
{
    struct segment *segment;
    struct record_batch_info batch;
    struct place place;
    int64_t position;

    if (warm_segment(log, offset, &segment) != PST_OK) {
        log_fail(log, "reading an index", PST_IO);
        return;
    }
    segment_unref(segment);
    if (find_place(log, offset, &place) != PST_OK)
        return;
    if (scan_to(&place, offset, true, &position, &batch) == PST_OK) /* brings the pages in */
        readahead(place.segment->fd, position, 1u << 20);
    segment_unref(place.segment);
}

int64_t log_bytes_between(struct log *log, int64_t offset, int64_t end_offset)
{
    int64_t from = 0;
    int64_t to = 0;

    if (offset >= end_offset)
        return 0;
    pthread_mutex_lock(&log->state_lock);
    for (unsigned i = log_segment_index(log, offset); i < log->segment_count; i++) {
        const struct segment *segment = log->segments[i];

        if (segment->base_offset >= end_offset)
            break;
        if (segment->base_offset <= offset)
            from = segment->indexes_loaded ? segment_find(segment, offset) : 0;
        to += segment->size_bytes;
    }
    pthread_mutex_unlock(&log->state_lock);
    return to - from;
}

enum pst_status log_aborted_txns(struct log *log, int64_t offset, int64_t end_offset,
                                 struct log_aborted_txn **ret, unsigned *ret_count)
{
    struct txn_index_found found = {0};
    struct log_aborted_txn *txns = NULL;
    enum pst_status status = PST_OK;

    *ret = NULL;
    *ret_count = 0;
    for (int64_t at = offset; status == PST_OK && !found.complete;) {
        struct segment *segment;

        pthread_mutex_lock(&log->state_lock);
        segment = log->segments[log_segment_index(log, at)];
        segment_ref(segment);
        pthread_mutex_unlock(&log->state_lock);
        if (txn_index_count(segment->txns) > 0)
            status = txn_index_find(segment->txns, offset, end_offset, &found);
        found.complete |= next_segment_start(log, segment, &at) != PST_OK;
        segment_unref(segment);
    }
    if (status == PST_OK && found.count > 0) {
        txns = malloc(found.count * sizeof *txns);
        if (txns == NULL)
            status = PST_NOMEM;
        for (unsigned i = 0; txns != NULL && i < found.count; i++)
            txns[i] = (struct log_aborted_txn){found.txns[i].producer_id, found.txns[i].first_offset};
    }
    free(found.txns);
    if (status == PST_OK) {
        *ret = txns;
        *ret_count = found.count;
    }
    return status;
}

/* ---- by time ---- */

static enum pst_status read_batch(const struct segment *segment, int64_t position, uint32_t size_bytes,
                                  uint8_t **ret)
{
    uint8_t *bytes = malloc(size_bytes);
    size_t got = 0;

    if (bytes == NULL)
        return PST_NOMEM;
    while (got < size_bytes) {
        ssize_t n = pread(segment->fd, bytes + got, size_bytes - got, position + (int64_t)got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(bytes);
            return PST_IO;
        }
        got += (size_t)n;
    }
    *ret = bytes;
    return PST_OK;
}

/* The log start may lie inside a batch: what is below it does not count. */
static enum pst_status find_time_behind(const uint8_t *bytes, uint32_t size_bytes, int64_t timestamp_ms,
                                        int64_t start_offset, int64_t *ret_offset, int64_t *ret_timestamp_ms)
{
    struct record_walker *walker = NULL;
    struct record record;
    enum pst_status status = record_walker_open(bytes, size_bytes, INFLATED_BYTES_MAX, &walker);

    while (status == PST_OK && (status = record_walker_next(walker, &record)) == PST_OK) {
        if (record.offset < start_offset || record.timestamp_ms < timestamp_ms)
            continue;
        *ret_offset = record.offset;
        *ret_timestamp_ms = record.timestamp_ms;
        break;
    }
    record_walker_close(walker);
    return status == PST_EOF ? PST_NOT_FOUND : status;
}

/* In the first batch, from `offset` on, that reaches the timestamp.  PST_EOF: none in this segment. */
static enum pst_status find_time_in(const struct segment *segment, int64_t position, int64_t size_bytes,
                                    int64_t timestamp_ms, int64_t start_offset, int64_t *ret_offset,
                                    int64_t *ret_timestamp_ms, int32_t *ret_epoch)
{
    struct record_batch_info batch;
    enum pst_status status;

    for (;; position += batch.size_bytes) {
        uint8_t *bytes;

        status = segment_read_header(segment, position, size_bytes, true, &batch);
        if (status != PST_OK)
            return status;
        if (batch.max_timestamp_ms < timestamp_ms || batch.last_offset < start_offset)
            continue;
        status = read_batch(segment, position, batch.size_bytes, &bytes);
        if (status != PST_OK)
            return status;
        if (batch.base_offset < start_offset)
            status = find_time_behind(bytes, batch.size_bytes, timestamp_ms, start_offset, ret_offset,
                                      ret_timestamp_ms);
        else
            status = record_batch_find_time(bytes, batch.size_bytes, INFLATED_BYTES_MAX, timestamp_ms,
                                            ret_offset, ret_timestamp_ms);
        free(bytes);
        *ret_epoch = batch.leader_epoch;
        if (status != PST_NOT_FOUND)
            return status;
    }
}

static enum pst_status find_time_from(struct log *log, int64_t segment_offset, int64_t timestamp_ms,
                                      int64_t start_offset, int64_t *ret_offset, int64_t *ret_timestamp_ms,
                                      int32_t *ret_epoch, int64_t *ret_next)
{
    struct segment *segment;
    struct place place;
    int64_t scan_offset;
    int64_t max_ms;
    enum pst_status status = warm_segment(log, segment_offset, &segment);

    if (status != PST_OK)
        return status;
    pthread_mutex_lock(&log->state_lock);
    max_ms = segment->max_timestamp_ms;
    scan_offset = segment_find_time(segment, timestamp_ms);
    place.position = segment_find(segment, scan_offset);
    place.size_bytes = segment->size_bytes;
    pthread_mutex_unlock(&log->state_lock);
    status = PST_EOF;
    if (max_ms >= timestamp_ms)
        status = find_time_in(segment, place.position, place.size_bytes, timestamp_ms, start_offset,
                              ret_offset, ret_timestamp_ms, ret_epoch);
    if (status == PST_EOF && next_segment_start(log, segment, ret_next) != PST_OK)
        status = PST_NOT_FOUND;
    segment_unref(segment);
    return status;
}

enum pst_status log_find_time(struct log *log, int64_t timestamp_ms, int64_t end_offset, int64_t *ret_offset,
                              int64_t *ret_timestamp_ms, int32_t *ret_epoch)
{
    int64_t start = log->start_offset;
    int64_t at = start;
    enum pst_status status;

    if (log_is_offline(log))
        return PST_OFFLINE;
    do
        status = find_time_from(log, at, timestamp_ms, start, ret_offset, ret_timestamp_ms, ret_epoch, &at);
    while (status == PST_EOF);
    if (status == PST_OK && *ret_offset >= end_offset)
        status = PST_NOT_FOUND;
    return status;
}

enum pst_status log_find_max_time(struct log *log, int64_t *ret_offset, int64_t *ret_timestamp_ms,
                                  int32_t *ret_epoch)
{
    int64_t best_ms = NO_TIMESTAMP;
    int64_t offset = log->start_offset;
    int64_t next = offset;

    do {
        struct segment *segment;
        enum pst_status status = warm_segment(log, next, &segment);

        if (status != PST_OK)
            return status;
        pthread_mutex_lock(&log->state_lock);
        if (segment->max_timestamp_ms > best_ms) {
            best_ms = segment->max_timestamp_ms;
            offset = segment->base_offset;
        }
        pthread_mutex_unlock(&log->state_lock);
        if (next_segment_start(log, segment, &next) != PST_OK)
            next = -1;
        segment_unref(segment);
    } while (next >= 0);
    if (best_ms == NO_TIMESTAMP)
        return PST_NOT_FOUND;
    return find_time_from(log, offset, best_ms, log->start_offset, ret_offset, ret_timestamp_ms, ret_epoch,
                          &next) == PST_OK
               ? PST_OK
               : PST_NOT_FOUND;
}
