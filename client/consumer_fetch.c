/* The side of the consumer that fetches: the reactor's thread only. */
#include "client/consumer.h"

#include "msg/fetch.h"
#include "msg/list_offsets.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"

#include <stdlib.h>

#define ANSWER_ARENA_BYTES (256u * 1024u * 1024u)
#define PARTS_PER_REQUEST  10000u
#define BESIDE_FULL_WAIT_MS                                                                                  \
    10 /* a fetch that leaves out full partitions must not wait long for the others                          \
        */

/* A partition in a request, as it was when asked. */
struct part {
    struct cursor *cursor;
    unsigned generation;
    int64_t offset; /* of a fetch; of an inquiry: the timestamp */
    int32_t epoch;
};

struct parts {
    struct part *items;
    size_t count;
    size_t capacity;
};

struct fetching {
    struct exchange exchange;
    struct pst_consumer *consumer;
    struct fetch_channel *channel;
    struct node *node;
    struct parts parts;
    bool beside_full;
};

struct inquiry {
    struct exchange exchange;
    struct list link;
    struct pst_consumer *consumer; /* NULL: it is gone */
    struct channel *channel;
    struct parts parts;
};

static int64_t option(const struct pst_consumer *consumer, enum option_id id)
{
    return consumer->client->config->number[id];
}

static int64_t now_of(const struct pst_consumer *consumer)
{
    return reactor_now_us(&consumer->client->reactor);
}

/* With the lock. */
static bool parts_add(struct parts *parts, struct cursor *cursor, int64_t offset, int32_t epoch)
{
    if (parts->count == parts->capacity) {
        size_t capacity = parts->capacity == 0 ? 8 : parts->capacity * 2;
        struct part *items = realloc(parts->items, capacity * sizeof *items);

        if (items == NULL)
            return false;
        parts->items = items;
        parts->capacity = capacity;
    }
    cursor->references++;
    parts->items[parts->count++] = (struct part){cursor, cursor->generation, offset, epoch};
    return true;
}

/* With the lock.  Nobody has moved the cursor since. */
static bool part_is_current(const struct part *part)
{
    return part->cursor->assigned && part->cursor->generation == part->generation;
}

static void parts_free(struct pst_consumer *consumer, struct parts *parts)
{
    pthread_mutex_lock(&consumer->lock);
    for (size_t i = 0; i < parts->count; i++)
        if (parts->items[i].cursor != NULL)
            cursor_drop(parts->items[i].cursor);
    pthread_mutex_unlock(&consumer->lock);
    free(parts->items);
    *parts = (struct parts){0};
}

/* Answers usually come in the order of the request. */
static struct part *find_part(struct parts *parts, size_t *hint, struct str name, const struct uuid *id,
                              int32_t partition)
{
    for (size_t tried = 0; tried < parts->count; tried++) {
        size_t at = (*hint + tried) % parts->count;
        const struct cursor *cursor = parts->items[at].cursor;

        if (cursor == NULL || cursor->partition != partition)
            continue;
        if (id != NULL ? !uuid_equal(&cursor->topic->id, id) : !str_equal_text(name, cursor->topic->name))
            continue;
        *hint = at + 1;
        return &parts->items[at];
    }
    return NULL;
}

/* With the lock. */
static void part_done(struct part *part)
{
    cursor_drop(part->cursor);
    part->cursor = NULL;
}

/* With the lock.  Again later. */
static void back_off(struct pst_consumer *consumer, struct cursor *cursor)
{
    int64_t pause_ms = option(consumer, OPTION_RETRY);

    for (unsigned i = 0; i < cursor->failures && pause_ms < option(consumer, OPTION_RETRY_MAX); i++)
        pause_ms *= 2;
    cursor->failures++;
    cursor->retry_at_us = now_of(consumer) + pause_ms * 1000;
}

static bool is_passing(pst_err_t code)
{
    return pst_err_is_retriable(code) || code == PST_ERR_CLOSED || code == PST_ERR_BAD_RESPONSE;
}

/* ---- offsets ---- */

static enum pst_status encode_inquiry(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct inquiry *inquiry = CONTAINER_OF(exchange, struct inquiry, exchange);
    size_t count = inquiry->parts.count;
    struct list_offsets_request_list_offsets_topic *topics = calloc(count + 1, sizeof *topics);
    struct list_offsets_request_list_offsets_partition *partitions = calloc(count + 1, sizeof *partitions);
    struct list_offsets_request request;
    enum pst_status status = PST_NOMEM;

    message_init(&list_offsets_request_schema, &request);
    if (inquiry->consumer != NULL) {
        if (version >= 2)
            request.isolation_level = (int8_t)option(inquiry->consumer, OPTION_ISOLATION);
        if (version >= 10)
            request.timeout_ms = (int32_t)option(inquiry->consumer, OPTION_REQUEST_TIMEOUT);
    }
    request.replica_id = -1;
    request.topics = topics;
    for (size_t i = 0; topics != NULL && partitions != NULL && i < count; i++) {
        const struct part *part = &inquiry->parts.items[i];

        message_init(&list_offsets_request_list_offsets_topic_schema, &topics[i]);
        message_init(&list_offsets_request_list_offsets_partition_schema, &partitions[i]);
        topics[i].name = str_of(part->cursor->topic->name);
        topics[i].partitions = &partitions[i];
        topics[i].partitions_count = 1;
        partitions[i].partition_index = part->cursor->partition;
        partitions[i].timestamp = part->offset;
        if (version >= 4)
            partitions[i].current_leader_epoch = part->epoch;
        request.topics_count++;
    }
    if (topics != NULL && partitions != NULL)
        status = message_encode(&list_offsets_request_schema, version, &request, out);
    free(topics);
    free(partitions);
    return status;
}

/* With the lock. */
static void offset_found(struct pst_consumer *consumer, struct part *part, pst_err_t code, int64_t offset)
{
    struct cursor *cursor = part->cursor;

    if (!part_is_current(part) || cursor->state != CURSOR_RESOLVING) {
        part_done(part);
        return;
    }
    cursor->state = CURSOR_RESOLVE;
    if (code == PST_ERR_NONE && offset >= 0) {
        cursor->state = CURSOR_FETCH;
        cursor->fetch_offset = offset;
        cursor->position = offset;
        cursor->failures = 0;
    } else if (code == PST_ERR_NONE && cursor->target != PST_TIME_LATEST) {
        cursor->target = PST_TIME_LATEST; /* no record that late */
    } else if (code == PST_ERR_NONE || is_passing(code)) {
        back_off(consumer, cursor);
        cluster_refresh(&consumer->client->cluster);
    } else {
        cursor->state = CURSOR_STOPPED;
        consumer_tell(consumer, cursor, code, -1, NULL);
    }
    part_done(part);
}

static void inquiry_done(struct exchange *exchange, const struct answer *answer)
{
    struct inquiry *inquiry = CONTAINER_OF(exchange, struct inquiry, exchange);
    struct pst_consumer *consumer = inquiry->consumer;
    struct arena *arena = arena_new(ANSWER_ARENA_BYTES);
    struct wire_reader reader = answer->reader;
    struct list_offsets_response response;
    pst_err_t code = answer->code;
    size_t hint = 0;

    if (code == PST_ERR_NONE &&
        (arena == NULL ||
         message_decode(&list_offsets_response_schema, answer->version, &reader, arena, &response) != PST_OK))
        code = PST_ERR_BAD_RESPONSE;
    pthread_mutex_lock(&consumer->lock);
    for (int32_t i = 0; code == PST_ERR_NONE && i < response.topics_count; i++) {
        for (int32_t k = 0; k < response.topics[i].partitions_count; k++) {
            const struct list_offsets_response_list_offsets_partition_response *from =
                &response.topics[i].partitions[k];
            struct part *part =
                find_part(&inquiry->parts, &hint, response.topics[i].name, NULL, from->partition_index);

            if (part != NULL)
                offset_found(consumer, part, from->error_code, from->offset);
        }
    }
    for (size_t i = 0; i < inquiry->parts.count; i++)
        if (inquiry->parts.items[i].cursor != NULL)
            offset_found(consumer, &inquiry->parts.items[i], code == 0 ? PST_ERR_BAD_RESPONSE : code, -1);
    pthread_cond_signal(&consumer->arrived);
    pthread_mutex_unlock(&consumer->lock);
    arena_free(arena);
}

static void inquiry_release(struct exchange *exchange)
{
    struct inquiry *inquiry = CONTAINER_OF(exchange, struct inquiry, exchange);
    struct pst_consumer *consumer = inquiry->consumer;

    list_remove(&inquiry->link);
    if (consumer != NULL)
        parts_free(consumer, &inquiry->parts);
    free(inquiry);
    if (consumer != NULL)
        consumer_pump(consumer);
}

/* With the lock.  One request with everything this node must be asked. */
static struct inquiry *collect_inquiry(struct pst_consumer *consumer, int64_t now_us)
{
    struct cluster *cluster = &consumer->client->cluster;
    struct inquiry *inquiry = NULL;
    struct node *chosen = NULL;

    LIST_FOR_EACH (link, &consumer->cursors) {
        struct cursor *cursor = CONTAINER_OF(link, struct cursor, link);
        struct node *node;
        int32_t epoch = -1;

        if (cursor->state != CURSOR_RESOLVE || cursor->retry_at_us > now_us)
            continue;
        node = cluster_leader(cluster, cursor->topic, cursor->partition, &epoch);
        if (node == NULL || (chosen != NULL && node != chosen))
            continue;
        if (inquiry == NULL) {
            inquiry = calloc(1, sizeof *inquiry);
            if (inquiry == NULL)
                return NULL;
            list_init(&inquiry->link);
            inquiry->consumer = consumer;
            inquiry->channel = cluster_channel(cluster, node, CHANNEL_CONTROL);
            chosen = node;
        }
        if (inquiry->parts.count == PARTS_PER_REQUEST ||
            !parts_add(&inquiry->parts, cursor, cursor->target, epoch))
            break;
        cursor->state = CURSOR_RESOLVING;
    }
    return inquiry;
}

static void send_inquiries(struct pst_consumer *consumer)
{
    for (;;) {
        struct inquiry *inquiry;

        pthread_mutex_lock(&consumer->lock);
        inquiry = collect_inquiry(consumer, now_of(consumer));
        pthread_mutex_unlock(&consumer->lock);
        if (inquiry == NULL)
            return;
        inquiry->exchange = (struct exchange){.api_key = API_LIST_OFFSETS,
                                              .version_min = 1,
                                              .version_max = 10,
                                              .deadline_us = now_of(consumer) +
                                                             option(consumer, OPTION_REQUEST_TIMEOUT) * 1000,
                                              .encode = encode_inquiry,
                                              .done = inquiry_done,
                                              .release = inquiry_release};
        list_push_back(&consumer->inquiries, &inquiry->link);
        list_init(&inquiry->exchange.link);
        if (inquiry->channel != NULL) {
            channel_submit(inquiry->channel, &inquiry->exchange);
        } else {
            struct answer nothing = {.code = PST_ERR_NO_MEMORY, .text = "out of memory"};

            inquiry_done(&inquiry->exchange, &nothing);
            inquiry_release(&inquiry->exchange);
        }
    }
}

/* ---- fetching ---- */

static bool all_have_ids(const struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        if (uuid_is_zero(&parts->items[i].cursor->topic->id))
            return false;
    return true;
}

static int compare_parts(const void *a, const void *b)
{
    const struct part *left = a, *right = b;

    return ((uintptr_t)left->cursor->topic > (uintptr_t)right->cursor->topic) -
           ((uintptr_t)left->cursor->topic < (uintptr_t)right->cursor->topic);
}

static void fill_fetch(struct fetching *fetching, struct fetch_request *request,
                       struct fetch_request_fetch_partition *partitions, int16_t version)
{
    const struct topic *last = NULL;

    for (size_t i = 0; i < fetching->parts.count; i++) {
        const struct part *part = &fetching->parts.items[i];
        struct fetch_request_fetch_topic *topic;

        if (part->cursor->topic != last) {
            last = part->cursor->topic;
            topic = &request->topics[request->topics_count++];
            message_init(&fetch_request_fetch_topic_schema, topic);
            if (version >= 13)
                topic->topic_id = last->id;
            else
                topic->topic = str_of(last->name);
            topic->partitions = &partitions[i];
        }
        topic = &request->topics[request->topics_count - 1];
        topic->partitions_count++;
        message_init(&fetch_request_fetch_partition_schema, &partitions[i]);
        partitions[i].partition = part->cursor->partition;
        partitions[i].fetch_offset = part->offset;
        partitions[i].partition_max_bytes = (int32_t)option(fetching->consumer, OPTION_PARTITION_BYTES);
        if (version >= 9)
            partitions[i].current_leader_epoch = part->epoch;
    }
}

static enum pst_status encode_fetch(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct fetching *fetching = CONTAINER_OF(exchange, struct fetching, exchange);
    struct pst_consumer *consumer = fetching->consumer;
    size_t count = fetching->parts.count;
    struct fetch_request_fetch_partition *partitions = calloc(count + 1, sizeof *partitions);
    int64_t wait_ms = option(consumer, OPTION_FETCH_WAIT);
    struct fetch_request request;
    enum pst_status status = PST_NOMEM;

    message_init(&fetch_request_schema, &request);
    request.topics = calloc(count + 1, sizeof *request.topics);
    if (fetching->beside_full && wait_ms > BESIDE_FULL_WAIT_MS)
        wait_ms = BESIDE_FULL_WAIT_MS;
    request.max_wait_ms = (int32_t)wait_ms;
    request.min_bytes = (int32_t)option(consumer, OPTION_FETCH_MIN_BYTES);
    request.max_bytes = (int32_t)option(consumer, OPTION_FETCH_MAX_BYTES);
    request.isolation_level = (int8_t)option(consumer, OPTION_ISOLATION);
    if (version >= 11)
        request.rack_id = str_of(consumer->client->config->text[OPTION_CLIENT_RACK]);
    if (partitions != NULL && request.topics != NULL) {
        qsort(fetching->parts.items, count, sizeof *fetching->parts.items, compare_parts);
        fill_fetch(fetching, &request, partitions, version);
        status = message_encode(&fetch_request_schema, version, &request, out);
    }
    free(request.topics);
    free(partitions);
    return status;
}

static int compare_aborted(const void *a, const void *b)
{
    const struct aborted *left = a, *right = b;

    return (left->first_offset > right->first_offset) - (left->first_offset < right->first_offset);
}

static bool copy_aborted(struct chunk *chunk, const struct fetch_response_partition_data *data)
{
    size_t count = data->aborted_transactions_count < 0 ? 0 : (size_t)data->aborted_transactions_count;

    if (count == 0)
        return true;
    chunk->aborted = calloc(count, sizeof *chunk->aborted);
    chunk->open_aborts = calloc(count, sizeof *chunk->open_aborts);
    if (chunk->aborted == NULL || chunk->open_aborts == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        chunk->aborted[i] = (struct aborted){data->aborted_transactions[i].producer_id,
                                             data->aborted_transactions[i].first_offset};
    chunk->aborted_count = count;
    qsort(chunk->aborted, count, sizeof *chunk->aborted, compare_aborted);
    return true;
}

/* Whole batches only: where they end, and the offset behind the last one.  A last batch may be cut. */
static size_t measure(const struct wire_records *records, int64_t *next_offset)
{
    size_t length = 0;

    while (length < records->length) {
        struct record_batch_info info;
        uint32_t size;

        if (record_batch_size(records->at + length, records->length - length, &size) != PST_OK ||
            size > records->length - length)
            break;
        if (record_batch_read_header(records->at + length, size, &info) == PST_OK)
            *next_offset = info.last_offset + 1;
        length += size;
    }
    return length;
}

/* With the lock.  PST_ERR_NO_MEMORY: nothing kept. */
static pst_err_t keep_records(struct pst_consumer *consumer, struct part *part, struct frame_ref *frame,
                              const struct fetch_response_partition_data *data)
{
    struct cursor *cursor = part->cursor;
    int64_t next_offset = part->offset;
    size_t length = data->records.at == NULL ? 0 : measure(&data->records, &next_offset);
    struct chunk *chunk;

    if (length == 0)
        return data->records.length == 0 ? PST_ERR_NONE : PST_ERR_CORRUPT;
    chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL)
        return PST_ERR_NO_MEMORY;
    if (!copy_aborted(chunk, data)) {
        free(chunk->aborted);
        free(chunk->open_aborts);
        free(chunk);
        return PST_ERR_NO_MEMORY;
    }
    cursor->references++;
    chunk->cursor = cursor;
    chunk->generation = part->generation;
    chunk->offset = part->offset;
    chunk->frame = frame_ref_share(frame);
    chunk->at = data->records.at;
    chunk->end = data->records.at + length;
    chunk->charged_bytes = length;
    cursor->queued_bytes += length;
    consumer->queued_bytes += length;
    cursor->fetch_offset = next_offset > part->offset ? next_offset : part->offset;
    list_push_back(&consumer->chunks, &chunk->link);
    return PST_ERR_NONE;
}

/* With the lock. */
static void tell_end(struct pst_consumer *consumer, struct cursor *cursor)
{
    int64_t end =
        option(consumer, OPTION_ISOLATION) == 1 && cursor->stable >= 0 ? cursor->stable : cursor->high;

    if (!option(consumer, OPTION_PARTITION_EOF) || cursor->fetch_offset < end || cursor->end_told >= end)
        return;
    cursor->end_told = end;
    consumer_tell(consumer, cursor, PST_ERR_PARTITION_EOF, cursor->fetch_offset, NULL);
}

/* With the lock. */
static void part_failed(struct pst_consumer *consumer, struct part *part, pst_err_t code)
{
    struct cursor *cursor = part->cursor;

    if (part_is_current(part) && cursor->state == CURSOR_FETCHING) {
        cursor->state = CURSOR_FETCH;
        if (code == KAFKA_OFFSET_OUT_OF_RANGE) {
            cursor_reset(consumer, cursor, code);
        } else if (is_passing(code) || code == PST_ERR_NO_MEMORY) {
            back_off(consumer, cursor);
            cluster_refresh(&consumer->client->cluster);
        } else {
            cursor->state = CURSOR_STOPPED;
            consumer_tell(consumer, cursor, code, part->offset, NULL);
        }
    }
    part_done(part);
}

/* With the lock. */
static void part_fetched(struct pst_consumer *consumer, struct part *part, struct frame_ref *frame,
                         const struct fetch_response_partition_data *data)
{
    struct cursor *cursor = part->cursor;
    pst_err_t code = data->error_code;

    if (!part_is_current(part) || cursor->state != CURSOR_FETCHING) {
        part_done(part);
        return;
    }
    if (code == PST_ERR_NONE)
        code = keep_records(consumer, part, frame, data);
    if (code != PST_ERR_NONE) {
        part_failed(consumer, part, code);
        return;
    }
    cursor->state = CURSOR_FETCH;
    cursor->failures = 0;
    cursor->high = data->high_watermark;
    cursor->stable = data->last_stable_offset;
    cursor->low = data->log_start_offset;
    tell_end(consumer, cursor);
    part_done(part);
}

static void take_answer(struct fetching *fetching, const struct fetch_response *response, int16_t version,
                        struct frame_ref *frame)
{
    struct pst_consumer *consumer = fetching->consumer;
    struct cluster *cluster = &consumer->client->cluster;
    size_t hint = 0;

    for (int32_t i = 0; i < response->responses_count; i++) {
        const struct fetch_response_fetchable_topic_response *topic = &response->responses[i];

        for (int32_t k = 0; k < topic->partitions_count; k++) {
            const struct fetch_response_partition_data *data = &topic->partitions[k];
            struct part *part = find_part(&fetching->parts, &hint, topic->topic,
                                          version >= 13 ? &topic->topic_id : NULL, data->partition_index);

            if (part == NULL)
                continue;
            if (data->current_leader.leader_id >= 0)
                cluster_learn_leader(cluster, part->cursor->topic, data->partition_index,
                                     data->current_leader.leader_id, data->current_leader.leader_epoch);
            part_fetched(consumer, part, frame, data);
        }
    }
}

static void fetch_done(struct exchange *exchange, const struct answer *answer)
{
    struct fetching *fetching = CONTAINER_OF(exchange, struct fetching, exchange);
    struct pst_consumer *consumer = fetching->consumer;
    struct arena *arena = arena_new(ANSWER_ARENA_BYTES);
    struct wire_reader reader = answer->reader;
    struct fetch_response response;
    pst_err_t code = answer->code;

    if (code == PST_ERR_NONE && (arena == NULL || message_decode(&fetch_response_schema, answer->version,
                                                                 &reader, arena, &response) != PST_OK))
        code = PST_ERR_BAD_RESPONSE;
    if (code == PST_ERR_NONE)
        code = response.error_code;
    pthread_mutex_lock(&consumer->lock);
    if (code == PST_ERR_NONE)
        take_answer(fetching, &response, answer->version, answer->frame);
    for (size_t i = 0; i < fetching->parts.count; i++)
        if (fetching->parts.items[i].cursor != NULL)
            part_failed(consumer, &fetching->parts.items[i], code == PST_ERR_NONE ? PST_ERR_TRANSPORT : code);
    pthread_cond_signal(&consumer->arrived);
    pthread_mutex_unlock(&consumer->lock);
    arena_free(arena);
}

static void fetch_release(struct exchange *exchange)
{
    struct fetching *fetching = CONTAINER_OF(exchange, struct fetching, exchange);
    struct pst_consumer *consumer = fetching->consumer;

    for (size_t i = 0; i < consumer->channel_count; i++)
        if (consumer->channels[i].node == fetching->node)
            consumer->channels[i].busy = false;
    parts_free(consumer, &fetching->parts);
    free(fetching);
    consumer_pump(consumer);
}

static struct fetch_channel *find_channel(struct pst_consumer *consumer, struct node *node)
{
    struct fetch_channel *channels;
    struct channel *channel;

    for (size_t i = 0; i < consumer->channel_count; i++)
        if (consumer->channels[i].node == node)
            return &consumer->channels[i];
    channels = realloc(consumer->channels, (consumer->channel_count + 1) * sizeof *channels);
    if (channels == NULL)
        return NULL;
    consumer->channels = channels;
    channel = channel_new(&consumer->client->cluster.env, node->host, node->port);
    if (channel == NULL)
        return NULL;
    channels[consumer->channel_count] = (struct fetch_channel){node, channel, false};
    return &channels[consumer->channel_count++];
}

static bool has_room(struct pst_consumer *consumer, const struct cursor *cursor)
{
    return cursor->queued_bytes <= (size_t)option(consumer, OPTION_PARTITION_BYTES) &&
           consumer->queued_bytes <= (size_t)option(consumer, OPTION_FETCH_MAX_BYTES);
}

/* With the lock.  One request for one idle node with every partition of it that has room. */
static struct fetching *collect_fetch(struct pst_consumer *consumer, int64_t now_us)
{
    struct cluster *cluster = &consumer->client->cluster;
    struct fetching *fetching = NULL;
    bool full = false;

    LIST_FOR_EACH (link, &consumer->cursors) {
        struct cursor *cursor = CONTAINER_OF(link, struct cursor, link);
        struct fetch_channel *channel;
        struct node *node;
        int32_t epoch = -1;

        if (cursor->state != CURSOR_FETCH || cursor->paused || cursor->retry_at_us > now_us)
            continue;
        node = cluster_leader(cluster, cursor->topic, cursor->partition, &epoch);
        if (node == NULL || (fetching != NULL && fetching->node != node))
            continue;
        channel = find_channel(consumer, node);
        if (channel == NULL || channel->busy)
            continue;
        if (!has_room(consumer, cursor)) {
            full = true;
            consumer->throttled = true;
            continue;
        }
        if (fetching == NULL) {
            fetching = calloc(1, sizeof *fetching);
            if (fetching == NULL)
                return NULL;
            fetching->consumer = consumer;
            fetching->node = node;
        }
        if (fetching->parts.count == PARTS_PER_REQUEST ||
            !parts_add(&fetching->parts, cursor, cursor->fetch_offset, epoch))
            break;
        cursor->state = CURSOR_FETCHING;
    }
    if (fetching != NULL)
        fetching->beside_full = full;
    return fetching;
}

static void send_fetches(struct pst_consumer *consumer)
{
    for (;;) {
        struct fetch_channel *channel;
        struct fetching *fetching;

        pthread_mutex_lock(&consumer->lock);
        fetching = collect_fetch(consumer, now_of(consumer));
        pthread_mutex_unlock(&consumer->lock);
        if (fetching == NULL)
            return;
        channel = find_channel(consumer, fetching->node);
        channel->busy = true;
        channel_move(channel->channel, fetching->node->host, fetching->node->port);
        fetching->exchange =
            (struct exchange){.api_key = API_FETCH,
                              .version_min = 4,
                              .version_max = all_have_ids(&fetching->parts) ? 17 : 12,
                              .deadline_us = now_of(consumer) + (option(consumer, OPTION_REQUEST_TIMEOUT) +
                                                                 option(consumer, OPTION_FETCH_WAIT)) *
                                                                    1000,
                              .encode = encode_fetch,
                              .done = fetch_done,
                              .release = fetch_release};
        channel_submit(channel->channel, &fetching->exchange);
    }
}

/* ---- the round ---- */

/* With the lock.  Partitions without a leader, and when to look again. */
static int64_t survey(struct pst_consumer *consumer, int64_t now_us, bool *leaderless)
{
    struct cluster *cluster = &consumer->client->cluster;
    int64_t next_us = INT64_MAX;

    LIST_FOR_EACH (link, &consumer->cursors) {
        struct cursor *cursor = CONTAINER_OF(link, struct cursor, link);
        const struct topic *topic = cursor->topic;

        if (cursor->state != CURSOR_RESOLVE && cursor->state != CURSOR_FETCH)
            continue;
        if (cursor->retry_at_us > now_us && cursor->retry_at_us < next_us)
            next_us = cursor->retry_at_us;
        if (cluster_leader(cluster, topic, cursor->partition, NULL) != NULL)
            continue;
        *leaderless = true;
        if (topic->answers > 0 && topic->error != 0 && topic->error != KAFKA_LEADER_NOT_AVAILABLE &&
            !cursor->unknown_told) {
            cursor->unknown_told = true;
            consumer_tell(consumer, cursor, topic->error, -1, NULL);
        } else if (topic->known && topic->error == 0 && cursor->partition >= topic->partition_count &&
                   !cursor->unknown_told) {
            cursor->unknown_told = true;
            consumer_tell(consumer, cursor, PST_ERR_UNKNOWN_PARTITION, -1, NULL);
        }
    }
    return next_us;
}

static void pump_once(struct pst_consumer *consumer)
{
    bool leaderless = false;
    int64_t next_us;

    send_inquiries(consumer);
    send_fetches(consumer);
    pthread_mutex_lock(&consumer->lock);
    next_us = survey(consumer, now_of(consumer), &leaderless);
    pthread_cond_signal(&consumer->arrived);
    pthread_mutex_unlock(&consumer->lock);
    if (leaderless)
        cluster_refresh(&consumer->client->cluster);
    if (next_us == INT64_MAX)
        reactor_disarm(&consumer->client->reactor, &consumer->timer);
    else
        reactor_arm(&consumer->client->reactor, &consumer->timer, next_us);
}

void consumer_pump(struct pst_consumer *consumer)
{
    if (consumer->pumping || consumer->closing) {
        consumer->pump_again = true;
        return;
    }
    consumer->pumping = true;
    do {
        consumer->pump_again = false;
        pump_once(consumer);
    } while (consumer->pump_again && !consumer->closing);
    consumer->pumping = false;
}

void consumer_detach(void *arg)
{
    struct pst_consumer *consumer = arg;

    consumer->closing = true;
    list_remove(&consumer->listener.link);
    reactor_disarm(&consumer->client->reactor, &consumer->timer);
    while (!list_is_empty(&consumer->inquiries)) {
        struct inquiry *inquiry = CONTAINER_OF(consumer->inquiries.next, struct inquiry, link);

        list_remove(&inquiry->link);
        parts_free(consumer, &inquiry->parts);
        inquiry->consumer = NULL;
        channel_withdraw(inquiry->channel, &inquiry->exchange);
    }
    for (size_t i = 0; i < consumer->channel_count; i++)
        channel_free(consumer->channels[i].channel);
    free(consumer->channels);
    consumer->channels = NULL;
    consumer->channel_count = 0;
}
