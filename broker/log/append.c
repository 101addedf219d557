/* Appending: the checks of Kafka's LogValidator in its order, offsets, the landing write, publication. */
#include "broker/log/append.h"

#include "broker/log/log_internal.h"
#include "common/bug.h"
#include "protocol/record_batch.h"

#include <errno.h>
#include <stdlib.h>

/* A compressed batch may inflate to this much before it counts as hostile: about 100 times the default
 * max.message.bytes, what zstd makes of a batch of equal records. */
#define INFLATED_BYTES_MAX (256u * 1024 * 1024)

static void refuse(struct log_append *append, enum append_outcome outcome, const char *text)
{
    append->outcome = outcome;
    append->text = text;
    append->base_offset = -1;
    append->end_offset = -1;
    append->append_time_ms = -1;
}

static void refuse_record(struct log_append *append, enum append_outcome outcome, int32_t index,
                          const char *text)
{
    refuse(append, outcome, text);
    append->bad_record = index;
}

static bool check_header(const struct log_config *config, struct log_append *append,
                         struct record_batch_info *info)
{
    enum pst_status status = record_batch_read_header(append->bytes, append->size_bytes, info);

    if (status == PST_UNSUPPORTED) {
        refuse(append, APPEND_INVALID_RECORD, "only batches of magic 2 are accepted");
    } else if (status != PST_OK || info->size_bytes != append->size_bytes) {
        refuse(append, APPEND_CORRUPT, "the batch length does not fit");
    } else if (append->origin == APPEND_FROM_CLIENT && info->base_offset != 0) {
        refuse(append, APPEND_INVALID_RECORD, "the base offset of a produced batch must be 0");
    } else if (append->origin != APPEND_FROM_LEADER &&
               (int64_t)info->size_bytes > config->max_message_bytes) {
        refuse(append, APPEND_TOO_LARGE, "the batch is larger than max.message.bytes");
    } else if (!record_batch_crc_fits(append->bytes, append->size_bytes)) {
        refuse(append, APPEND_CORRUPT, "the CRC of the batch does not fit");
    } else {
        return true;
    }
    return false;
}

/* LogValidator.validateBatch, for what clients may send. */
static bool check_batch(struct log_append *append, const struct record_batch_info *info)
{
    if (info->record_count <= 0 || info->last_offset_delta < 0 ||
        info->record_count - 1 != info->last_offset_delta)
        refuse(append, APPEND_INVALID_RECORD, "the record count does not fit the last offset delta");
    else if (append->origin == APPEND_FROM_CLIENT && (info->attributes & RECORD_BATCH_CONTROL) != 0)
        refuse(append, APPEND_INVALID_RECORD, "clients may not write control batches");
    else if (append->origin == APPEND_FROM_CLIENT && info->producer_id >= 0 && info->base_sequence < 0)
        refuse(append, APPEND_INVALID_RECORD, "a batch with a producer id needs a sequence number");
    else if ((info->attributes & RECORD_BATCH_CODEC_MASK) >= COMPRESS_CODEC_COUNT)
        refuse(append, APPEND_INVALID_RECORD, "unknown compression codec");
    else
        return true;
    return false;
}

static int64_t time_bound(int64_t now_ms, int64_t span_ms, bool after)
{
    int64_t bound;

    if (after)
        return __builtin_add_overflow(now_ms, span_ms, &bound) ? INT64_MAX : bound;
    return __builtin_sub_overflow(now_ms, span_ms, &bound) ? INT64_MIN : bound;
}

/* The records themselves, and the timestamp the log will carry. */
static bool check_records(const struct log *log, const struct log_config *config, struct log_append *append,
                          struct record_batch_info *info)
{
    int64_t now_ms = clock_wall_ms(log->env.clock);
    bool by_create_time = !config->log_append_time && append->origin == APPEND_FROM_CLIENT;
    int64_t earliest =
        by_create_time ? time_bound(now_ms, config->timestamp_before_max_ms, false) : INT64_MIN;
    int64_t latest = by_create_time ? time_bound(now_ms, config->timestamp_after_max_ms, true) : INT64_MAX;
    struct record_batch_survey survey;
    enum pst_status status =
        record_batch_survey(append->bytes, append->size_bytes, INFLATED_BYTES_MAX, earliest, latest, &survey);

    if (status == PST_NOMEM)
        refuse(append, APPEND_NOMEM, NULL);
    else if (status == PST_FULL)
        refuse(append, APPEND_TOO_LARGE, "the batch inflates to more than the broker accepts");
    else if (status != PST_OK)
        refuse(append, APPEND_INVALID_RECORD, "the records of the batch are malformed");
    else if (config->compact && survey.first_null_key >= 0)
        refuse_record(append, APPEND_INVALID_RECORD, survey.first_null_key,
                      "a compacted topic takes no records without a key");
    else if ((info->attributes & RECORD_BATCH_LOG_APPEND_TIME) != 0 && config->log_append_time)
        refuse(append, APPEND_INVALID_TIMESTAMP,
               "producers may not send batches with timestamp type LogAppendTime");
    else if (survey.first_time_outside >= 0)
        refuse_record(
            append, APPEND_INVALID_TIMESTAMP, survey.first_time_outside,
            "the timestamp is outside what message.timestamp.before.max.ms and .after.max.ms allow");
    else
        status = PST_EOF; /* passed */
    if (status != PST_EOF)
        return false;
    append->append_time_ms = -1;
    if (config->log_append_time) {
        record_batch_set_append_time(append->bytes, append->size_bytes, now_ms);
        info->max_timestamp_ms = now_ms;
        append->append_time_ms = now_ms;
    } else if (survey.max_timestamp_ms != info->max_timestamp_ms ||
               (info->attributes & RECORD_BATCH_LOG_APPEND_TIME) != 0) {
        record_batch_set_max_timestamp(append->bytes, append->size_bytes, survey.max_timestamp_ms);
        info->max_timestamp_ms = survey.max_timestamp_ms;
        info->attributes &= (uint16_t)~RECORD_BATCH_LOG_APPEND_TIME;
    }
    return true;
}

static int copy_headers(const struct record *record, struct record_header **headers)
{
    struct str raw = record->raw_headers;
    struct record_header *grown;
    int count = 0;

    if (record->header_count == 0)
        return 0;
    grown = realloc(*headers, (size_t)record->header_count * sizeof *grown);
    if (grown == NULL)
        return -1;
    *headers = grown;
    while (count < record->header_count && record_header_next(&raw, &grown[count]))
        count++;
    return count;
}

/* The batch again in the topic's codec.  *ret: malloc'ed. */
static enum pst_status recompress(const struct log_config *config, const struct log_append *append,
                                  const struct record_batch_info *info, uint8_t **ret, uint32_t *ret_size)
{
    struct record_batch_settings settings = {
        .codec = (enum compress_codec)config->compression_codec,
        .compress_level = config->compression_level,
        .attributes = info->attributes & (RECORD_BATCH_TRANSACTIONAL | RECORD_BATCH_LOG_APPEND_TIME),
        .producer_id = info->producer_id,
        .producer_epoch = info->producer_epoch,
        .base_sequence = info->base_sequence,
        .base_offset = info->base_offset,
        .size_max = INFLATED_BYTES_MAX,
    };
    struct record_batch_builder *builder = record_batch_builder_new();
    struct record_header *headers = NULL;
    struct record_walker *walker = NULL;
    enum pst_status status = PST_NOMEM;
    struct record record;
    struct str batch = str_null();

    if (builder == NULL)
        return PST_NOMEM;
    record_batch_builder_reset(builder, &settings);
    status = record_walker_open(append->bytes, append->size_bytes, INFLATED_BYTES_MAX, &walker);
    while (status == PST_OK) {
        int count;

        status = record_walker_next(walker, &record);
        if (status != PST_OK)
            break;
        count = copy_headers(&record, &headers);
        status = count < 0 ? PST_NOMEM
                           : record_batch_builder_add(builder, record.timestamp_ms, record.key, record.value,
                                                      headers, count);
    }
    if (status == PST_EOF)
        status = record_batch_builder_finish(builder, &batch);
    if (status == PST_OK) {
        *ret = malloc(batch.length);
        status = *ret == NULL ? PST_NOMEM : PST_OK;
    }
    if (status == PST_OK) {
        memcpy(*ret, batch.at, batch.length);
        *ret_size = (uint32_t)batch.length;
    }
    free(headers);
    record_walker_close(walker);
    record_batch_builder_free(builder);
    return status;
}

static bool needs_recompression(const struct log_config *config, const struct log_append *append,
                                const struct record_batch_info *info)
{
    return append->origin == APPEND_FROM_CLIENT && config->compression_codec != LOG_COMPRESSION_PRODUCER &&
           (info->attributes & RECORD_BATCH_CODEC_MASK) != (unsigned)config->compression_codec;
}

bool append_check(const struct log *log, const struct log_config *config, struct log_append *append,
                  struct append_batch *batch)
{
    append->bad_record = -1;
    append->text = NULL;
    append->wait_for_flush = false;
    batch->owned = NULL;
    batch->in_window = false;
    if (!check_header(config, append, &batch->info))
        return false;
    if (append->origin != APPEND_FROM_LEADER && !check_batch(append, &batch->info))
        return false;
    if (append->origin == APPEND_FROM_CLIENT && !check_records(log, config, append, &batch->info))
        return false;
    batch->bytes = append->bytes;
    if (needs_recompression(config, append, &batch->info)) {
        uint32_t size = 0;
        enum pst_status status = recompress(config, append, &batch->info, &batch->owned, &size);

        if (status != PST_OK) {
            refuse(append, APPEND_NOMEM, NULL);
            return false;
        }
        batch->bytes = batch->owned;
        if (record_batch_read_header(batch->bytes, size, &batch->info) != PST_OK ||
            (int64_t)size > config->max_message_bytes) {
            refuse(append, APPEND_TOO_LARGE, "the recompressed batch is larger than max.message.bytes");
            free(batch->owned);
            return false;
        }
    }
    if ((int64_t)batch->info.size_bytes > config->segment_bytes) {
        refuse(append, APPEND_LIST_TOO_LARGE, "the batch is larger than segment.bytes");
        free(batch->owned);
        return false;
    }
    return true;
}

/* Idempotence and transactions.  append_lock.  False: refused or a duplicate, the outcome is set. */
static bool check_producer(struct log *log, struct log_append *append, struct append_batch *batch)
{
    struct producer_duplicate duplicate;
    enum producer_verdict verdict = PRODUCER_OK;

    batch->is_marker = (batch->info.attributes & RECORD_BATCH_CONTROL) != 0 &&
                       txn_marker_read(batch->bytes, batch->info.size_bytes, &batch->marker);
    if (batch->info.producer_id < 0)
        return true;
    if (batch->is_marker)
        verdict = producer_state_check_marker(log->producers, &batch->info, &batch->marker, append->origin);
    else if ((batch->info.attributes & RECORD_BATCH_CONTROL) == 0)
        verdict = producer_state_check(log->producers, &batch->info, append->origin, &duplicate);
    switch (verdict) {
    case PRODUCER_OK:
        return true;
    case PRODUCER_DUPLICATE:
        append->outcome = APPEND_DUPLICATE;
        append->base_offset = duplicate.base_offset;
        append->end_offset = duplicate.last_offset + 1;
        append->append_time_ms = log->config.log_append_time ? duplicate.timestamp_ms : -1;
        /* the first attempt may still wait for the disk: a retry must not be acknowledged before it */
        append->wait_for_flush =
            log->config.flush_messages != INT64_MAX && log->recovery_point < append->end_offset;
        return false;
    case PRODUCER_OUT_OF_ORDER_SEQUENCE:
        refuse(append, APPEND_OUT_OF_ORDER_SEQUENCE,
               "the sequence does not follow the producer's last batch");
        return false;
    case PRODUCER_INVALID_EPOCH:
    case PRODUCER_COORDINATOR_FENCED:
        refuse(append, APPEND_INVALID_PRODUCER_EPOCH, "the producer id is used under a newer epoch");
        return false;
    case PRODUCER_INVALID_TXN_STATE:
        refuse(append, APPEND_INVALID_TXN_STATE, "the producer has an open transaction");
        return false;
    case PRODUCER_NOMEM:
        break;
    }
    refuse(append, APPEND_NOMEM, NULL);
    return false;
}

static bool roll_is_due(const struct log *log, const struct record_batch_info *info)
{
    const struct segment *active = log_active(log);
    int64_t size = active->size_bytes;
    int64_t end = log->end_offset;
    int64_t age_ms;

    if (size == 0)
        return end + info->last_offset_delta - active->base_offset > INT32_MAX;
    if (size + (int64_t)info->size_bytes > log->config.segment_bytes)
        return true;
    if (end + info->last_offset_delta - active->base_offset > INT32_MAX)
        return true;
    if (segment_index_is_full(active, log->config.segment_index_bytes))
        return true;
    if (active->first_timestamp_ms >= 0 && info->max_timestamp_ms >= 0)
        age_ms = info->max_timestamp_ms - active->first_timestamp_ms;
    else
        age_ms = clock_wall_ms(log->env.clock) - active->created_ms;
    return age_ms > log->config.segment_ms - log->roll_jitter_ms;
}

/* A new leader epoch is durable before an offset of it is served. */
static enum pst_status note_epoch(struct log *log, int32_t epoch, int64_t offset)
{
    enum pst_status status = PST_OK;
    bool changed = false;

    if (epoch < 0 || epoch == epoch_cache_latest(log->epochs))
        return PST_OK;
    pthread_mutex_lock(&log->state_lock);
    status = epoch_cache_assign(log->epochs, epoch, offset, &changed);
    pthread_mutex_unlock(&log->state_lock);
    if (status == PST_OK && changed)
        status = epoch_cache_save(log->epochs, log->env.files, log->path);
    return status;
}

static void fail_write(struct log *log, struct log_append *append, enum pst_status status)
{
    if (status == PST_NOSPACE) {
        refuse(append, APPEND_NO_SPACE, "no space left on the device");
        return;
    }
    if (status == PST_NOMEM) {
        refuse(append, APPEND_NOMEM, NULL);
        return;
    }
    log_fail(log, "append", status);
    refuse(append, APPEND_OFFLINE, "the log directory is offline after an input/output error");
}

static void update_producers(struct log *log, struct segment *segment, const struct append_batch *batch)
{
    struct aborted_txn aborted;
    bool is_aborted = false;
    enum pst_status status = PST_OK;

    if (batch->info.producer_id < 0)
        return;
    if (batch->is_marker) {
        status =
            producer_state_update_marker(log->producers, &batch->info, &batch->marker, &aborted, &is_aborted);
        if (status == PST_OK && is_aborted)
            status = txn_index_append(segment->txns, &aborted);
        if (status != PST_OK) /* the index would hide an aborted transaction: nobody may read on */
            log_fail(log, "transaction index", status);
    } else if ((batch->info.attributes & RECORD_BATCH_CONTROL) == 0) {
        status = producer_state_update(log->producers, &batch->info);
        BUG_ON(status != PST_OK); /* the check has reserved what this needs */
    }
    atomic_store(&log->first_unstable, producer_state_first_unstable(log->producers));
}

/* The bytes are in the file: make them visible. */
static void publish(struct log *log, struct segment *segment, const struct append_batch *batch,
                    int64_t position)
{
    pthread_mutex_lock(&log->state_lock);
    segment_note_append(segment, batch->info.last_offset, position, batch->info.size_bytes,
                        batch->info.max_timestamp_ms, log->config.index_interval_bytes);
    log->tail[log->tail_next++ % LOG_TAIL_BATCHES] =
        (struct tail_batch){batch->info.base_offset, segment->base_offset, position};
    atomic_store_explicit(&segment->size_bytes, position + batch->info.size_bytes, memory_order_release);
    atomic_store_explicit(&log->end_offset, batch->info.last_offset + 1, memory_order_release);
    pthread_mutex_unlock(&log->state_lock);
    atomic_fetch_add(&log->size_bytes, batch->info.size_bytes);
}

/* One replica: what a marker ended is settled as soon as the marker is published. */
static void settle_transactions(struct log *log, const struct append_batch *batch)
{
    if (!batch->is_marker || atomic_load(&log->high_watermark) >= 0)
        return;
    producer_state_settle(log->producers, log->end_offset);
    atomic_store_explicit(&log->first_unstable, producer_state_first_unstable(log->producers),
                          memory_order_release);
}

static void note_unflushed(struct log *log, struct log_append *append, const struct record_batch_info *info)
{
    log->unflushed_records += info->last_offset_delta + 1;
    if (log->unflushed_records >= log->config.flush_messages) {
        log->unflushed_records = 0;
        append->wait_for_flush = true;
    } else if (log->unflushed_since_ms == 0) {
        log->unflushed_since_ms = clock_monotonic_us(log->env.clock) / 1000;
    }
}

/* Both ways leave the same bytes; which one is the window's business. */
static enum pst_status land(struct log *log, const struct segment *segment, const struct append_batch *batch,
                            int64_t position)
{
    uint8_t *at = window_place(log, position, batch->info.size_bytes);

    if (at == NULL)
        return file_write_all(log->env.files, segment->fd, batch->bytes, batch->info.size_bytes, position);
    if (at != batch->bytes)
        memcpy(at, batch->bytes, batch->info.size_bytes);
    return PST_OK;
}

/* A segment's age could only be judged when the header was known; the roll takes the window with it. */
static enum pst_status move_out_of_window(struct append_batch *batch)
{
    batch->owned = malloc(batch->info.size_bytes);
    if (batch->owned == NULL)
        return PST_NOMEM;
    memcpy(batch->owned, batch->bytes, batch->info.size_bytes);
    batch->bytes = batch->owned;
    batch->in_window = false;
    return PST_OK;
}

/* append_lock. */
static void append_one(struct log *log, struct log_append *append, struct append_batch *batch)
{
    int64_t base_offset = log->end_offset;
    enum pst_status status = PST_OK;
    struct segment *segment;
    int64_t position;

    if (log->offline || log->deleted) {
        refuse(append, APPEND_OFFLINE, "the log directory is offline after an input/output error");
        return;
    }
    if (append->origin == APPEND_FROM_LEADER) {
        if (batch->info.base_offset < base_offset) {
            refuse(append, APPEND_INVALID_RECORD, "the batch does not follow the end of the log");
            return;
        }
        base_offset = batch->info.base_offset;
    }
    if (!check_producer(log, append, batch))
        return;
    if (roll_is_due(log, &batch->info)) {
        if (batch->in_window)
            status = move_out_of_window(batch);
        if (status == PST_OK)
            status = log_roll(log);
    }
    if (status == PST_OK)
        status = note_epoch(log, append->leader_epoch, base_offset);
    if (status != PST_OK) {
        fail_write(log, append, status);
        return;
    }
    segment = log_active(log);
    position = segment->size_bytes;
    record_batch_set_offsets(batch->bytes, base_offset, append->leader_epoch);
    batch->info.base_offset = base_offset;
    batch->info.last_offset = base_offset + batch->info.last_offset_delta;
    batch->info.leader_epoch = append->leader_epoch;
    status = land(log, segment, batch, position);
    if (status != PST_OK) { /* the end has not moved: what was written is overwritten by the next append */
        fail_write(log, append, status);
        return;
    }
    update_producers(log, segment, batch);
    publish(log, segment, batch, position);
    settle_transactions(log, batch);
    append->outcome = APPEND_OK;
    append->base_offset = base_offset;
    append->end_offset = batch->info.last_offset + 1;
    note_unflushed(log, append, &batch->info);
    window_note(log, batch->info.size_bytes);
}

void log_append(struct log *log, struct log_append *appends, unsigned count)
{
    struct log_config config;

    pthread_mutex_lock(&log->append_lock);
    config = log->config;
    pthread_mutex_unlock(&log->append_lock);
    for (unsigned i = 0; i < count; i++) {
        struct append_batch batch;

        appends[i].log_start_offset = atomic_load(&log->start_offset);
        if (!append_check(log, &config, &appends[i], &batch))
            continue;
        pthread_mutex_lock(&log->append_lock);
        append_one(log, &appends[i], &batch);
        pthread_mutex_unlock(&log->append_lock);
        free(batch.owned);
    }
}

enum pst_status log_land_begin(struct log *log, uint32_t size_bytes, uint8_t **ret)
{
    const struct segment *segment;
    uint8_t *at = NULL;

    pthread_mutex_lock(&log->append_lock);
    segment = log_active(log);
    if (!log->offline && !log->deleted && (int64_t)size_bytes <= log->config.max_message_bytes &&
        size_bytes >= RECORD_BATCH_HEADER_BYTES &&
        segment->size_bytes + size_bytes <= log->config.segment_bytes &&
        !segment_index_is_full(segment, log->config.segment_index_bytes))
        at = window_place(log, segment->size_bytes, size_bytes);
    if (at == NULL) {
        pthread_mutex_unlock(&log->append_lock);
        return PST_AGAIN;
    }
    *ret = at;
    return PST_OK;
}

/* What is not appended must not look like a batch to a recovery. */
static void wipe_landing(struct log *log)
{
    uint8_t *at = window_place(log, log_active(log)->size_bytes, RECORD_BATCH_HEADER_BYTES);

    if (at != NULL)
        memset(at, 0, RECORD_BATCH_HEADER_BYTES);
}

void log_land_commit(struct log *log, struct log_append *append)
{
    struct append_batch batch;

    BUG_ON(append->bytes != window_place(log, log_active(log)->size_bytes, append->size_bytes));
    append->log_start_offset = atomic_load(&log->start_offset);
    if (append_check(log, &log->config, append, &batch)) {
        batch.in_window = batch.owned == NULL;
        append_one(log, append, &batch);
        free(batch.owned);
    }
    if (append->outcome != APPEND_OK)
        wipe_landing(log);
    pthread_mutex_unlock(&log->append_lock);
}

void log_land_abort(struct log *log)
{
    wipe_landing(log);
    pthread_mutex_unlock(&log->append_lock);
}
