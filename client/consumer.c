/* The side of the consumer that gives records out. */
#include "client/consumer.h"

#include "client/call.h"
#include "protocol/error_codes.h"

#include <stdlib.h>
#include <time.h>

#define INFLATED_BYTES_MAX ((size_t)1024 * 1024 * 1024) /* of one batch: a small one may claim anything */

static int64_t option(const struct pst_consumer *consumer, enum option_id id)
{
    return consumer->client->config->number[id];
}

/* ---- cursors ---- */

void cursor_drop(struct cursor *cursor)
{
    if (--cursor->references == 0)
        free(cursor);
}

void consumer_tell(struct pst_consumer *consumer, struct cursor *cursor, pst_err_t code, int64_t offset,
                   const char *text)
{
    struct chunk *chunk = calloc(1, sizeof *chunk);

    if (chunk == NULL)
        return; /* the state stays, and with it the next occasion to tell */
    cursor->references++;
    chunk->cursor = cursor;
    chunk->generation = cursor->generation;
    chunk->code = code;
    chunk->offset = offset;
    chunk->text = text == NULL ? NULL : strdup(text);
    list_push_back(&consumer->chunks, &chunk->link);
}

void cursor_reset(struct pst_consumer *consumer, struct cursor *cursor, pst_err_t code)
{
    switch (option(consumer, OPTION_OFFSET_RESET)) {
    case 0:
        cursor->target = PST_TIME_LATEST;
        break;
    case 1:
        cursor->target = PST_TIME_EARLIEST;
        break;
    default:
        cursor->state = CURSOR_STOPPED;
        consumer_tell(consumer, cursor, code, cursor->fetch_offset, NULL);
        return;
    }
    cursor->state = CURSOR_RESOLVE;
}

/* With the lock. */
static void cursor_move(struct pst_consumer *consumer, struct cursor *cursor, int64_t offset)
{
    cursor->generation++;
    cursor->end_told = -1;
    cursor->failures = 0;
    cursor->retry_at_us = 0;
    cursor->position = NO_OFFSET;
    cursor->state = CURSOR_RESOLVE;
    if (offset >= 0) {
        cursor->state = CURSOR_FETCH;
        cursor->fetch_offset = offset;
        cursor->position = offset;
    } else if (offset == PST_OFFSET_RESET) {
        cursor->fetch_offset = -1;
        cursor_reset(consumer, cursor, PST_ERR_NO_OFFSET);
    } else {
        cursor->target = offset == PST_OFFSET_END ? PST_TIME_LATEST : PST_TIME_EARLIEST;
    }
}

static struct cursor *find_cursor(struct pst_consumer *consumer, const char *topic, int32_t partition)
{
    LIST_FOR_EACH (link, &consumer->cursors) {
        struct cursor *cursor = CONTAINER_OF(link, struct cursor, link);

        if (cursor->partition == partition && strcmp(cursor->topic->name, topic) == 0)
            return cursor;
    }
    return NULL;
}

/* ---- chunks ---- */

void chunk_free(struct pst_consumer *consumer, struct chunk *chunk)
{
    bool wake;

    if (chunk == NULL)
        return;
    pthread_mutex_lock(&consumer->lock);
    chunk->cursor->queued_bytes -= chunk->charged_bytes;
    consumer->queued_bytes -= chunk->charged_bytes;
    cursor_drop(chunk->cursor);
    wake = consumer->throttled;
    consumer->throttled = false;
    pthread_mutex_unlock(&consumer->lock);
    if (wake)
        consumer_wake(consumer);
    if (chunk->walker != NULL)
        record_walker_close(chunk->walker);
    frame_ref_drop(chunk->frame);
    free(chunk->aborted);
    free(chunk->open_aborts);
    free(chunk->text);
    free(chunk);
}

/* What the last poll gave is valid no more. */
static void drop_kept(struct pst_consumer *consumer)
{
    for (size_t i = 0; i < consumer->kept_count; i++)
        record_walker_close(consumer->kept[i]);
    consumer->kept_count = 0;
    chunk_free(consumer, consumer->kept_chunk);
    consumer->kept_chunk = NULL;
}

static bool keep_walker(struct pst_consumer *consumer, struct chunk *chunk)
{
    if (consumer->kept_count == consumer->kept_capacity) {
        size_t capacity = consumer->kept_capacity == 0 ? 16 : consumer->kept_capacity * 2;
        struct record_walker **kept = realloc(consumer->kept, capacity * sizeof(struct record_walker *));

        if (kept == NULL)
            return false;
        consumer->kept = kept;
        consumer->kept_capacity = capacity;
    }
    consumer->kept[consumer->kept_count++] = chunk->walker;
    chunk->walker = NULL;
    return true;
}

/* With the lock. */
static bool chunk_is_stale(const struct chunk *chunk)
{
    return !chunk->cursor->assigned || chunk->cursor->generation != chunk->generation;
}

static bool is_open_abort(const struct chunk *chunk, int64_t producer_id)
{
    for (size_t i = 0; i < chunk->open_abort_count; i++)
        if (chunk->open_aborts[i] == producer_id)
            return true;
    return false;
}

/* A control batch with an abort marker ends its producer's aborted transaction. */
static void end_abort(struct chunk *chunk)
{
    for (size_t i = 0; i < chunk->open_abort_count; i++) {
        if (chunk->open_aborts[i] == chunk->batch.producer_id) {
            chunk->open_aborts[i] = chunk->open_aborts[--chunk->open_abort_count];
            return;
        }
    }
}

/* Whether the batch is one the application must not see. */
static bool is_hidden(const struct pst_consumer *consumer, struct chunk *chunk)
{
    const struct record_batch_info *batch = &chunk->batch;

    if (option(consumer, OPTION_ISOLATION) == 1) {
        while (chunk->aborted_next < chunk->aborted_count &&
               chunk->aborted[chunk->aborted_next].first_offset <= batch->last_offset) {
            int64_t producer_id = chunk->aborted[chunk->aborted_next++].producer_id;

            if (!is_open_abort(chunk, producer_id))
                chunk->open_aborts[chunk->open_abort_count++] = producer_id;
        }
        if ((batch->attributes & RECORD_BATCH_CONTROL) != 0)
            end_abort(chunk); /* a commit cannot follow in an aborted one: the list says it was aborted */
        else if ((batch->attributes & RECORD_BATCH_TRANSACTIONAL) != 0 &&
                 is_open_abort(chunk, batch->producer_id))
            return true;
    }
    return (batch->attributes & RECORD_BATCH_CONTROL) != 0 || batch->record_count == 0 ||
           batch->last_offset < chunk->offset;
}

static pst_err_t corrupt(const struct chunk *chunk, const char *what, struct pst_error *error)
{
    return error_set(error, PST_ERR_CORRUPT, "%.100s-%d: the batch at offset %lld %s",
                     chunk->cursor->topic->name, chunk->cursor->partition,
                     (long long)chunk->batch.base_offset, what);
}

/* Opens the next batch that has something to show.  PST_ERR_NONE with walker NULL: the chunk is at its end.
 */
static pst_err_t open_batch(struct pst_consumer *consumer, struct chunk *chunk, struct pst_error *error)
{
    while (chunk->walker == NULL && chunk->at < chunk->end) {
        size_t left = (size_t)(chunk->end - chunk->at);
        const uint8_t *at = chunk->at;
        enum pst_status status;
        uint32_t size;

        if (record_batch_size(at, left, &size) != PST_OK || size > left)
            return corrupt(chunk, "has an impossible length", error);
        status = record_batch_read_header(at, size, &chunk->batch);
        if (status != PST_OK)
            return corrupt(chunk,
                           status == PST_UNSUPPORTED ? "has a format older than version 2" : "is malformed",
                           error);
        if (option(consumer, OPTION_CHECK_CRCS) && !record_batch_crc_fits(at, size))
            return corrupt(chunk, "fails its CRC", error);
        chunk->at += size;
        if (is_hidden(consumer, chunk))
            continue;
        if (record_walker_open(at, size, INFLATED_BYTES_MAX, &chunk->walker) != PST_OK) {
            chunk->walker = NULL;
            return corrupt(chunk, "does not decompress", error);
        }
    }
    return PST_ERR_NONE;
}

static void fill_message(const struct chunk *chunk, const struct record *record, struct pst_message *to)
{
    to->topic = chunk->cursor->topic->name;
    to->partition = chunk->cursor->partition;
    to->leader_epoch = chunk->batch.leader_epoch;
    to->offset = record->offset;
    to->timestamp_ms = record->timestamp_ms;
    to->log_append_time = (chunk->batch.attributes & RECORD_BATCH_LOG_APPEND_TIME) != 0;
    to->key = record->key.at;
    to->key_bytes = record->key.length;
    to->value = record->value.at;
    to->value_bytes = record->value.length;
    to->header_count = (size_t)record->header_count;
    to->raw_headers = record->raw_headers.at;
    to->raw_headers_bytes = record->raw_headers.length;
}

/* Up to `room` records; *ret_next is the position behind them.  What was read before an error counts. */
static pst_err_t read_records(struct pst_consumer *consumer, struct chunk *chunk,
                              struct pst_message *messages, size_t room, size_t *ret_count, int64_t *ret_next,
                              struct pst_error *error)
{
    pst_err_t code = PST_ERR_NONE;
    struct record record;
    size_t count = 0;

    while (count < room) {
        enum pst_status status;

        code = open_batch(consumer, chunk, error);
        if (code != PST_ERR_NONE || chunk->walker == NULL)
            break;
        status = record_walker_next(chunk->walker, &record);
        if (status == PST_EOF) {
            *ret_next = chunk->batch.last_offset + 1;
            if (!keep_walker(consumer, chunk)) {
                code = error_set_code(error, PST_ERR_NO_MEMORY);
                break;
            }
            continue;
        }
        if (status != PST_OK) {
            code = corrupt(chunk, "has a malformed record", error);
            break;
        }
        if (record.offset < chunk->offset)
            continue;
        fill_message(chunk, &record, &messages[count++]);
        *ret_next = record.offset + 1;
    }
    if (code == PST_ERR_NONE && count < room)
        *ret_next = chunk->batch.last_offset + 1;
    *ret_count = count;
    return count > 0 ? PST_ERR_NONE : code;
}

/* With the lock.  The next chunk that is neither stale nor paused; stale ones go to *stale. */
static struct chunk *next_chunk(struct pst_consumer *consumer, struct list *stale)
{
    LIST_FOR_EACH (link, &consumer->chunks) {
        struct chunk *chunk = CONTAINER_OF(link, struct chunk, link);

        if (chunk_is_stale(chunk)) {
            list_remove(link);
            list_push_back(stale, link);
        } else if (!chunk->cursor->paused) {
            list_remove(link);
            return chunk;
        }
    }
    return NULL;
}

static bool wait_arrival(struct pst_consumer *consumer, int64_t deadline_us)
{
    struct timespec until = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};

    if (reactor_now_us(&consumer->client->reactor) >= deadline_us)
        return false;
    if (deadline_us == INT64_MAX)
        pthread_cond_wait(&consumer->arrived, &consumer->lock);
    else
        pthread_cond_timedwait(&consumer->arrived, &consumer->lock, &until);
    return true;
}

/* Makes `current` the chunk to read from; false: none came in time. */
static bool take_current(struct pst_consumer *consumer, int64_t deadline_us)
{
    struct list stale;
    bool waiting = true;

    list_init(&stale);
    pthread_mutex_lock(&consumer->lock);
    if (consumer->current != NULL) {
        if (chunk_is_stale(consumer->current))
            list_push_back(&stale, &consumer->current->link);
        else if (consumer->current->cursor->paused)
            list_push_front(&consumer->chunks, &consumer->current->link);
        else
            waiting = false;
        if (waiting)
            consumer->current = NULL;
    }
    while (waiting) {
        consumer->current = next_chunk(consumer, &stale);
        waiting = consumer->current == NULL && wait_arrival(consumer, deadline_us);
    }
    pthread_mutex_unlock(&consumer->lock);
    while (!list_is_empty(&stale)) {
        struct chunk *chunk = CONTAINER_OF(stale.next, struct chunk, link);

        list_remove(&chunk->link);
        chunk_free(consumer, chunk);
    }
    return consumer->current != NULL;
}

static pst_err_t give_event(struct pst_consumer *consumer, struct pst_message *message,
                            struct pst_error *error)
{
    struct chunk *chunk = consumer->current;
    pst_err_t code = chunk->code;

    *message = (struct pst_message){.topic = chunk->cursor->topic->name,
                                    .partition = chunk->cursor->partition,
                                    .leader_epoch = -1,
                                    .offset = chunk->offset,
                                    .timestamp_ms = -1};
    error_set(error, code, "%.100s-%d: %s", message->topic, message->partition,
              chunk->text != NULL ? chunk->text : pst_err_text(code));
    consumer->current = NULL;
    chunk_free(consumer, chunk);
    return code;
}

/* The chunk is bad from here on: its partition stops where it is. */
static void stop_cursor(struct pst_consumer *consumer, struct chunk *chunk, struct pst_message *message)
{
    *message = (struct pst_message){.topic = chunk->cursor->topic->name,
                                    .partition = chunk->cursor->partition,
                                    .leader_epoch = -1,
                                    .offset = chunk->batch.base_offset,
                                    .timestamp_ms = -1};
    pthread_mutex_lock(&consumer->lock);
    if (!chunk_is_stale(chunk)) {
        chunk->cursor->generation++;
        chunk->cursor->state = CURSOR_STOPPED;
    }
    pthread_mutex_unlock(&consumer->lock);
    consumer->current = NULL;
    chunk_free(consumer, chunk);
}

static void advance(struct pst_consumer *consumer, const struct chunk *chunk, int64_t next_offset)
{
    pthread_mutex_lock(&consumer->lock);
    if (!chunk_is_stale(chunk) && next_offset > chunk->cursor->position)
        chunk->cursor->position = next_offset;
    pthread_mutex_unlock(&consumer->lock);
}

pst_err_t pst_consumer_poll_batch(struct pst_consumer *consumer, int64_t timeout_ms,
                                  struct pst_message *messages, size_t room, size_t *ret_count,
                                  struct pst_error *error)
{
    int64_t deadline_us;

    if (consumer == NULL || messages == NULL || room == 0 || ret_count == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "consumer, messages and room must be given");
    deadline_us = call_deadline_us(consumer->client, timeout_ms);
    drop_kept(consumer);
    *ret_count = 0;
    for (;;) {
        struct chunk *chunk;
        int64_t next_offset = 0;
        pst_err_t code;

        if (!take_current(consumer, deadline_us)) {
            messages[0] = (struct pst_message){.partition = -1, .leader_epoch = -1, .offset = -1};
            return error_set_code(error, PST_ERR_TIMED_OUT);
        }
        chunk = consumer->current;
        if (chunk->code != PST_ERR_NONE)
            return give_event(consumer, messages, error);
        code = read_records(consumer, chunk, messages, room, ret_count, &next_offset, error);
        if (code != PST_ERR_NONE) {
            stop_cursor(consumer, chunk, messages);
            return code;
        }
        advance(consumer, chunk, next_offset);
        if (chunk->walker == NULL && chunk->at >= chunk->end) {
            consumer->current = NULL;
            consumer->kept_chunk = chunk;
        }
        if (*ret_count > 0)
            return PST_ERR_NONE;
        drop_kept(consumer);
    }
}

pst_err_t pst_consumer_poll(struct pst_consumer *consumer, int64_t timeout_ms, struct pst_message *ret,
                            struct pst_error *error)
{
    size_t count;

    return pst_consumer_poll_batch(consumer, timeout_ms, ret, 1, &count, error);
}

bool pst_message_header(const struct pst_message *message, size_t index, struct pst_header *ret)
{
    struct str raw = str_of_bytes(message->raw_headers, message->raw_headers_bytes);
    struct record_header header;

    if (index >= message->header_count)
        return false;
    for (size_t i = 0; i <= index; i++)
        if (!record_header_next(&raw, &header))
            return false;
    *ret = (struct pst_header){header.key.at, header.key.length, header.value.at, header.value.length};
    return true;
}

/* ---- assignment and position ---- */

static bool offset_is_sane(int64_t offset)
{
    return offset >= 0 || offset == PST_OFFSET_END || offset == PST_OFFSET_BEGINNING ||
           offset == PST_OFFSET_RESET;
}

/* With the lock. */
static void unassign_all(struct pst_consumer *consumer)
{
    while (!list_is_empty(&consumer->cursors)) {
        struct cursor *cursor = CONTAINER_OF(consumer->cursors.next, struct cursor, link);

        list_remove(&cursor->link);
        cursor->assigned = false;
        cursor_drop(cursor);
    }
}

static struct cursor *cursor_new(struct pst_consumer *consumer, const struct pst_assignment *from)
{
    struct cursor *cursor = calloc(1, sizeof *cursor);

    if (cursor == NULL)
        return NULL;
    cursor->topic = cluster_topic(&consumer->client->cluster, from->topic, true);
    if (cursor->topic == NULL) {
        free(cursor);
        return NULL;
    }
    list_init(&cursor->link);
    cursor->references = 1;
    cursor->assigned = true;
    cursor->partition = from->partition;
    cursor->low = cursor->high = cursor->stable = NO_OFFSET;
    return cursor;
}

pst_err_t pst_consumer_assign(struct pst_consumer *consumer, const struct pst_assignment *assignments,
                              size_t count, struct pst_error *error)
{
    struct list fresh;
    pst_err_t code = PST_ERR_NONE;

    if (consumer == NULL || (assignments == NULL && count > 0))
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "consumer and assignments must be given");
    for (size_t i = 0; i < count; i++)
        if (assignments[i].topic == NULL || assignments[i].topic[0] == '\0' || assignments[i].partition < 0 ||
            !offset_is_sane(assignments[i].offset))
            return error_set(error, PST_ERR_INVALID_ARGUMENT, "assignment %zu is not valid", i);
    drop_kept(consumer);
    list_init(&fresh);
    for (size_t i = 0; i < count && code == PST_ERR_NONE; i++) {
        struct cursor *cursor = cursor_new(consumer, &assignments[i]);

        if (cursor == NULL)
            code = error_set_code(error, PST_ERR_NO_MEMORY);
        else
            list_push_back(&fresh, &cursor->link);
    }
    pthread_mutex_lock(&consumer->lock);
    if (code == PST_ERR_NONE)
        unassign_all(consumer);
    for (size_t i = 0; !list_is_empty(&fresh); i++) {
        struct cursor *cursor = CONTAINER_OF(fresh.next, struct cursor, link);

        list_remove(&cursor->link);
        if (code == PST_ERR_NONE) {
            list_push_back(&consumer->cursors, &cursor->link);
            cursor_move(consumer, cursor, assignments[i].offset);
        } else {
            cursor_drop(cursor);
        }
    }
    pthread_mutex_unlock(&consumer->lock);
    consumer_wake(consumer);
    return code;
}

/* With the lock on success. */
static struct cursor *lock_cursor(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                  struct pst_error *error)
{
    struct cursor *cursor;

    if (consumer == NULL || topic == NULL) {
        error_set(error, PST_ERR_INVALID_ARGUMENT, "consumer and topic must be given");
        return NULL;
    }
    pthread_mutex_lock(&consumer->lock);
    cursor = find_cursor(consumer, topic, partition);
    if (cursor == NULL) {
        pthread_mutex_unlock(&consumer->lock);
        error_set(error, PST_ERR_UNKNOWN_PARTITION, "%.100s-%d is not assigned", topic, partition);
    }
    return cursor;
}

static pst_err_t move_to(struct pst_consumer *consumer, const char *topic, int32_t partition, int64_t offset,
                         int64_t target, struct pst_error *error)
{
    struct cursor *cursor = lock_cursor(consumer, topic, partition, error);

    if (cursor == NULL)
        return consumer == NULL || topic == NULL ? PST_ERR_INVALID_ARGUMENT : PST_ERR_UNKNOWN_PARTITION;
    cursor_move(consumer, cursor, offset);
    if (target >= 0)
        cursor->target = target;
    pthread_mutex_unlock(&consumer->lock);
    drop_kept(consumer);
    consumer_wake(consumer);
    return PST_ERR_NONE;
}

pst_err_t pst_consumer_seek(struct pst_consumer *consumer, const char *topic, int32_t partition,
                            int64_t offset, struct pst_error *error)
{
    if (!offset_is_sane(offset))
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "%lld is no offset", (long long)offset);
    return move_to(consumer, topic, partition, offset, -1, error);
}

pst_err_t pst_consumer_seek_time(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                 int64_t timestamp_ms, struct pst_error *error)
{
    if (timestamp_ms < 0)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "%lld is no timestamp", (long long)timestamp_ms);
    return move_to(consumer, topic, partition, PST_OFFSET_BEGINNING, timestamp_ms, error);
}

pst_err_t pst_consumer_position(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                int64_t *ret_offset, struct pst_error *error)
{
    struct cursor *cursor = lock_cursor(consumer, topic, partition, error);
    int64_t position;

    if (cursor == NULL)
        return consumer == NULL || topic == NULL ? PST_ERR_INVALID_ARGUMENT : PST_ERR_UNKNOWN_PARTITION;
    position = cursor->position;
    pthread_mutex_unlock(&consumer->lock);
    if (position == NO_OFFSET)
        return error_set(error, PST_ERR_NO_OFFSET, "%.100s-%d: the position is not known yet", topic,
                         partition);
    *ret_offset = position;
    return PST_ERR_NONE;
}

pst_err_t pst_consumer_bounds(struct pst_consumer *consumer, const char *topic, int32_t partition,
                              int64_t *ret_low, int64_t *ret_high, int64_t *ret_last_stable,
                              struct pst_error *error)
{
    struct cursor *cursor = lock_cursor(consumer, topic, partition, error);
    int64_t low, high, stable;

    if (cursor == NULL)
        return consumer == NULL || topic == NULL ? PST_ERR_INVALID_ARGUMENT : PST_ERR_UNKNOWN_PARTITION;
    low = cursor->low;
    high = cursor->high;
    stable = cursor->stable;
    pthread_mutex_unlock(&consumer->lock);
    if (high == NO_OFFSET)
        return error_set(error, PST_ERR_NO_OFFSET, "%.100s-%d: nothing was fetched yet", topic, partition);
    if (ret_low != NULL)
        *ret_low = low;
    if (ret_high != NULL)
        *ret_high = high;
    if (ret_last_stable != NULL)
        *ret_last_stable = stable;
    return PST_ERR_NONE;
}

static pst_err_t set_paused(struct pst_consumer *consumer, const char *topic, int32_t partition, bool paused,
                            struct pst_error *error)
{
    struct cursor *cursor = lock_cursor(consumer, topic, partition, error);

    if (cursor == NULL)
        return consumer == NULL || topic == NULL ? PST_ERR_INVALID_ARGUMENT : PST_ERR_UNKNOWN_PARTITION;
    cursor->paused = paused;
    pthread_mutex_unlock(&consumer->lock);
    consumer_wake(consumer);
    return PST_ERR_NONE;
}

pst_err_t pst_consumer_pause(struct pst_consumer *consumer, const char *topic, int32_t partition,
                             struct pst_error *error)
{
    return set_paused(consumer, topic, partition, true, error);
}

pst_err_t pst_consumer_resume(struct pst_consumer *consumer, const char *topic, int32_t partition,
                              struct pst_error *error)
{
    return set_paused(consumer, topic, partition, false, error);
}

/* ---- life ---- */

static void deliver_wake(struct mail *mail)
{
    struct pst_consumer *consumer = CONTAINER_OF(mail, struct pst_consumer, wake);

    atomic_store(&consumer->wake_posted, false);
    consumer_pump(consumer);
}

void consumer_wake(struct pst_consumer *consumer)
{
    if (!atomic_exchange(&consumer->wake_posted, true))
        reactor_post(&consumer->client->reactor, &consumer->wake);
}

static void metadata_changed(struct cluster_listener *listener)
{
    consumer_pump(CONTAINER_OF(listener, struct pst_consumer, listener));
}

static void on_timer(struct timer *timer)
{
    consumer_pump(CONTAINER_OF(timer, struct pst_consumer, timer));
}

static void attach(void *arg)
{
    struct pst_consumer *consumer = arg;

    list_push_back(&consumer->client->cluster.listeners, &consumer->listener.link);
}

pst_err_t pst_consumer_new(struct pst_client *client, struct pst_consumer **ret, struct pst_error *error)
{
    struct pst_consumer *consumer;
    pthread_condattr_t attributes;

    if (client == NULL || ret == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and ret must be given");
    consumer = calloc(1, sizeof *consumer);
    if (consumer == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    consumer->client = client;
    pthread_mutex_init(&consumer->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&consumer->arrived, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&consumer->cursors);
    list_init(&consumer->chunks);
    list_init(&consumer->inquiries);
    list_init(&consumer->listener.link);
    consumer->listener.changed = metadata_changed;
    consumer->wake.deliver = deliver_wake;
    timer_init(&consumer->timer, on_timer);
    reactor_run(&client->reactor, attach, consumer);
    *ret = consumer;
    return PST_ERR_NONE;
}

static void nothing(void *arg)
{
    (void)arg;
}

void pst_consumer_free(struct pst_consumer *consumer)
{
    if (consumer == NULL)
        return;
    reactor_run(&consumer->client->reactor, consumer_detach, consumer);
    drop_kept(consumer);
    chunk_free(consumer, consumer->current);
    while (!list_is_empty(&consumer->chunks)) {
        struct chunk *chunk = CONTAINER_OF(consumer->chunks.next, struct chunk, link);

        list_remove(&chunk->link);
        chunk_free(consumer, chunk);
    }
    unassign_all(consumer);
    reactor_run(&consumer->client->reactor, nothing, NULL); /* a wake still in the mailbox refers to us */
    free(consumer->kept);
    pthread_cond_destroy(&consumer->arrived);
    pthread_mutex_destroy(&consumer->lock);
    free(consumer);
}
