/* The side of the producer that sends: the reactor's thread only. */
#include "client/producer.h"

#include "common/crc32c.h"
#include "msg/init_producer_id.h"
#include "msg/produce.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_OVERHEAD_BYTES 512u /* of a produce request besides its batches, roughly */
#define BATCHES_PER_REQUEST    2000u
#define ANSWER_ARENA_BYTES     (64u * 1024u * 1024u)

/* A produce request on its way. */
struct sending {
    struct exchange exchange;
    struct list link; /* the producer's */
    struct pst_producer *producer;
    struct node *node;
    struct channel *channel;
    struct batch **batches;
    struct slice *slices;
    size_t count;
    size_t next_slice;
};

static int64_t option(const struct pst_producer *producer, enum option_id id)
{
    return producer->client->config->number[id];
}

static struct outlet_lane *outlet_lane_of(struct lane *lane)
{
    return CONTAINER_OF(lane, struct outlet_lane, lane);
}

static int64_t now_of(const struct pst_producer *producer)
{
    return reactor_now_us(&producer->client->reactor);
}

/* ---- fates ---- */

struct fate {
    pst_err_t code;
    const char *text;
    int64_t base_offset;    /* -1: not known */
    int64_t append_time_ms; /* -1: the records' own times */
};

static struct batch_waiter *find_waiter(const struct batch *batch, int32_t index)
{
    for (struct batch_waiter *waiter = batch->waiters; waiter != NULL; waiter = waiter->next)
        if (waiter->index == index)
            return waiter;
    return NULL;
}

static void call_back(struct pst_producer *producer, const struct batch *batch, const struct fate *fate)
{
    const struct outlet_lane *lane = outlet_lane_of(batch->lane);
    struct pst_delivery delivery = {
        .code = fate->code, .text = fate->text, .topic = lane->outlet->name, .partition = lane->partition};

    for (int32_t i = 0; i < batch->count; i++) {
        if (batch->waiters != NULL && find_waiter(batch, i) != NULL)
            continue;
        delivery.offset = fate->base_offset < 0 ? -1 : fate->base_offset + i;
        delivery.timestamp_ms =
            fate->append_time_ms >= 0 ? fate->append_time_ms : batch->tags[i].timestamp_ms;
        delivery.tag = batch->tags[i].tag;
        producer->on_delivery(&delivery, producer->on_delivery_arg);
    }
}

static void settle_waiters(struct batch *batch, const struct fate *fate)
{
    while (batch->waiters != NULL) {
        struct batch_waiter *waiter = batch->waiters;

        batch->waiters = waiter->next;
        waiter->code = fate->code;
        snprintf(waiter->text, sizeof waiter->text, "%s", fate->text);
        waiter->partition = outlet_lane_of(batch->lane)->partition;
        waiter->offset = fate->base_offset < 0 ? -1 : fate->base_offset + waiter->index;
        waiter->settled = true; /* its stack may go as soon as the lock is free */
    }
}

/* Tells everyone and frees the batch, which is in no list of its lane any more.  Without the lock. */
static void finish_batch(struct pst_producer *producer, struct batch *batch, const struct fate *fate)
{
    if (producer->on_delivery != NULL)
        call_back(producer, batch, fate);
    pthread_mutex_lock(&producer->lock);
    settle_waiters(batch, fate);
    producer->buffered_bytes -= batch->charged_bytes;
    if (fate->code == PST_ERR_NONE)
        producer->stats.records_delivered += (uint64_t)batch->count;
    else
        producer->stats.records_failed += (uint64_t)batch->count;
    producer_batch_free(producer, batch);
    pthread_cond_broadcast(&producer->progress);
    pthread_mutex_unlock(&producer->lock);
}

static void lane_settle_list(struct lane *lane)
{
    if (list_is_empty(&lane->queue))
        list_remove(&lane->link);
}

static void lane_activate(struct pst_producer *producer, struct lane *lane)
{
    if (!list_is_empty(&lane->queue) && list_is_empty(&lane->link))
        list_push_back(&producer->active, &lane->link);
}

/* Fails everything that is not in flight. */
static void fail_queued(struct pst_producer *producer, const struct fate *fate)
{
    for (;;) {
        struct batch *batch = NULL;

        pthread_mutex_lock(&producer->lock);
        if (!list_is_empty(&producer->active)) {
            struct lane *lane = CONTAINER_OF(producer->active.next, struct lane, link);

            batch = CONTAINER_OF(lane->queue.next, struct batch, link);
            batch->closed = true;
            lane_drop(lane, batch);
            lane_settle_list(lane);
        }
        pthread_mutex_unlock(&producer->lock);
        if (batch == NULL)
            return;
        finish_batch(producer, batch, fate);
    }
}

static void producer_end(struct pst_producer *producer, pst_err_t code, const char *text)
{
    struct fate fate = {code, text, -1, -1};

    pthread_mutex_lock(&producer->lock);
    producer->fatal = code;
    pthread_cond_broadcast(&producer->progress);
    pthread_mutex_unlock(&producer->lock);
    fail_queued(producer, &fate);
}

/* ---- identity ---- */

struct identity_call {
    struct exchange exchange;
    struct pst_producer *producer; /* NULL: it is gone */
};

static enum pst_status encode_identity(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct init_producer_id_request request;

    (void)exchange;
    message_init(&init_producer_id_request_schema, &request);
    request.transactional_id = str_null();
    request.transaction_timeout_ms = INT32_MAX; /* as Java sends without transactions */
    return message_encode(&init_producer_id_request_schema, version, &request, out);
}

static void identity_failed(struct pst_producer *producer, pst_err_t code, const char *text)
{
    int64_t pause_ms = option(producer, OPTION_RETRY);

    if (!pst_err_is_retriable(code) && code != PST_ERR_CLOSED) {
        producer_end(producer, code, text);
        return;
    }
    for (unsigned i = 0; i < producer->identity_failures && pause_ms < option(producer, OPTION_RETRY_MAX);
         i++)
        pause_ms *= 2;
    producer->identity_failures++;
    producer->ask_identity_at_us = now_of(producer) + pause_ms * 1000;
}

static void identity_done(struct exchange *exchange, const struct answer *answer)
{
    struct pst_producer *producer = CONTAINER_OF(exchange, struct identity_call, exchange)->producer;
    struct init_producer_id_response response = {.error_code = KAFKA_UNKNOWN_SERVER_ERROR};
    struct wire_reader reader = answer->reader;
    struct arena *arena;
    pst_err_t code = answer->code;

    if (producer == NULL)
        return;
    producer->asking_identity = false;
    producer->identity_call = NULL;
    arena = arena_new(ANSWER_ARENA_BYTES);
    if (arena == NULL)
        code = PST_ERR_TIMED_OUT; /* again later */
    else if (code == PST_ERR_NONE && message_decode(&init_producer_id_response_schema, answer->version,
                                                    &reader, arena, &response) != PST_OK)
        code = PST_ERR_TRANSPORT;
    if (code == PST_ERR_NONE)
        code = response.error_code;
    arena_free(arena);
    if (code != PST_ERR_NONE) {
        identity_failed(producer, code, answer->code != 0 ? answer->text : pst_err_text(code));
    } else {
        producer->identity_failures = 0;
        pthread_mutex_lock(&producer->lock);
        producer->identity = (struct identity){response.producer_id, response.producer_epoch};
        pthread_mutex_unlock(&producer->lock);
    }
    producer_pump(producer);
}

static void identity_release(struct exchange *exchange)
{
    free(CONTAINER_OF(exchange, struct identity_call, exchange));
}

static void ask_identity(struct pst_producer *producer)
{
    struct cluster *cluster = &producer->client->cluster;
    struct identity_call *call;
    struct channel *channel;

    if (producer->asking_identity || now_of(producer) < producer->ask_identity_at_us)
        return;
    call = calloc(1, sizeof *call);
    channel = cluster_channel(cluster, cluster_any_node(cluster), CHANNEL_CONTROL);
    if (call == NULL || channel == NULL) {
        free(call);
        identity_failed(producer, PST_ERR_TIMED_OUT, "out of memory");
        return;
    }
    call->producer = producer;
    call->exchange =
        (struct exchange){.api_key = API_INIT_PRODUCER_ID,
                          .version_max = 5,
                          .deadline_us = now_of(producer) + option(producer, OPTION_REQUEST_TIMEOUT) * 1000,
                          .encode = encode_identity,
                          .done = identity_done,
                          .release = identity_release};
    producer->asking_identity = true;
    producer->identity_call = call;
    channel_submit(channel, &call->exchange);
}

/* With the lock.  A lane needs to start again under another identity. */
static void serve_wishes(struct pst_producer *producer, struct lane *lane)
{
    if (!lane->wants_epoch)
        return;
    if (lane->identity.producer_id != producer->identity.producer_id ||
        lane->identity.epoch != producer->identity.epoch) {
        /* somebody else's wish has given us a new one already */
    } else if (lane->wants_new_id || producer->identity.epoch == INT16_MAX) {
        producer->identity = (struct identity){NO_PRODUCER_ID, -1};
    } else {
        producer->identity.epoch++;
    }
    lane->wants_epoch = false;
    lane->wants_new_id = false;
}

/* ---- building a request ---- */

/* Header fields that change between attempts: the bytes of the records stay. */
static void restamp(struct batch *batch)
{
    struct record_batch_header *header = (struct record_batch_header *)(uintptr_t)batch->bytes.at;
    uint8_t *bytes = (uint8_t *)header;

    if (!batch->numbered || ((int64_t)load_be64(&header->producer_id) == batch->identity.producer_id &&
                             (int16_t)load_be16(&header->producer_epoch) == batch->identity.epoch &&
                             (int32_t)load_be32(&header->base_sequence) == batch->base_sequence))
        return;
    store_be64(&header->producer_id, (uint64_t)batch->identity.producer_id);
    store_be16(&header->producer_epoch, (uint16_t)batch->identity.epoch);
    store_be32(&header->base_sequence, (uint32_t)batch->base_sequence);
    store_be32(&header->crc,
               crc32c(0, bytes + RECORD_BATCH_CRC_FROM, batch->bytes.length - RECORD_BATCH_CRC_FROM));
}

static enum pst_status seal(struct batch *batch)
{
    if (batch->bytes.at != NULL) {
        restamp(batch);
        return PST_OK;
    }
    if (batch->numbered)
        record_batch_builder_set_producer(batch->builder, batch->identity.producer_id, batch->identity.epoch,
                                          batch->base_sequence);
    return record_batch_builder_finish(batch->builder, &batch->bytes);
}

static struct produce_request_topic_produce_data *topic_entry(struct produce_request *request,
                                                              const struct outlet *outlet, int16_t version,
                                                              const struct outlet **owners)
{
    struct produce_request_topic_produce_data *entry;

    for (int32_t i = request->topic_data_count - 1; i >= 0; i--)
        if (owners[i] == outlet)
            return &request->topic_data[i];
    owners[request->topic_data_count] = outlet;
    entry = &request->topic_data[request->topic_data_count++];
    message_init(&produce_request_topic_produce_data_schema, entry);
    if (version >= 13)
        entry->topic_id = outlet->topic->id;
    else
        entry->name = str_of(outlet->name);
    return entry;
}

static bool fill_request(struct sending *sending, struct arena *arena, struct produce_request *request,
                         int16_t version)
{
    size_t count = sending->count;
    const struct outlet **owners = arena_array(arena, count, sizeof *owners);

    request->topic_data = arena_array(arena, count, sizeof *request->topic_data);
    if (owners == NULL || request->topic_data == NULL)
        return false;
    for (size_t i = 0; i < count; i++) { /* batches of one topic are neighbours: see collect */
        struct outlet_lane *lane = outlet_lane_of(sending->batches[i]->lane);
        struct produce_request_topic_produce_data *entry =
            topic_entry(request, lane->outlet, version, owners);
        struct produce_request_partition_produce_data *data;

        if (entry->partition_data == NULL)
            entry->partition_data = arena_array(arena, count, sizeof *entry->partition_data);
        if (entry->partition_data == NULL)
            return false;
        data = &entry->partition_data[entry->partition_data_count++];
        message_init(&produce_request_partition_produce_data_schema, data);
        data->index = lane->partition;
        data->records.length = sending->batches[i]->bytes.length;
        data->records.external = sending->batches[i];
    }
    return true;
}

static void note_slice(void *arg, size_t position, const struct wire_records *records)
{
    struct sending *sending = arg;
    const struct batch *batch = records->external;

    sending->slices[sending->next_slice++] =
        (struct slice){position, (const uint8_t *)batch->bytes.at, batch->bytes.length};
}

static enum pst_status encode_produce(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct sending *sending = CONTAINER_OF(exchange, struct sending, exchange);
    struct pst_producer *producer = sending->producer;
    struct arena *arena = arena_new(ANSWER_ARENA_BYTES);
    struct produce_request request;
    enum pst_status status = PST_NOMEM;

    message_init(&produce_request_schema, &request);
    request.acks = config_acks(producer->client->config);
    request.timeout_ms = (int32_t)option(producer, OPTION_REQUEST_TIMEOUT);
    sending->next_slice = 0;
    if (arena != NULL && fill_request(sending, arena, &request, version))
        status =
            message_encode_external(&produce_request_schema, version, &request, out, note_slice, sending);
    arena_free(arena);
    exchange->slices = sending->slices;
    exchange->slice_count = sending->next_slice;
    return status;
}

/* ---- answers ---- */

static bool may_retry(const struct pst_producer *producer, const struct batch *batch)
{
    return (int64_t)batch->attempts <= option(producer, OPTION_RETRIES) &&
           now_of(producer) < batch->created_us + option(producer, OPTION_DELIVERY_TIMEOUT) * 1000;
}

static void set_retry_time(const struct pst_producer *producer, struct batch *batch)
{
    int64_t pause_ms = option(producer, OPTION_RETRY);

    for (unsigned i = 1; i < batch->attempts && pause_ms < option(producer, OPTION_RETRY_MAX); i++)
        pause_ms *= 2;
    batch->retry_at_us = now_of(producer) + pause_ms * 1000;
}

/* Rebuilds the records [from, to) of a batch as a batch of its own. */
static struct batch *part_of(struct pst_producer *producer, struct batch *whole, int32_t from, int32_t to)
{
    struct record_walker *walker = NULL;
    struct batch *part = producer_batch_new(producer, whole->lane);
    struct record record;
    bool complete = part != NULL &&
                    record_walker_open(whole->bytes.at, whole->bytes.length, SIZE_MAX / 2, &walker) == PST_OK;

    for (int32_t i = 0; complete && i < to; i++) {
        struct record_header *headers = NULL;
        struct str raw;

        complete = record_walker_next(walker, &record) == PST_OK;
        if (!complete || i < from)
            continue;
        raw = record.raw_headers;
        if (record.header_count > 0)
            headers = calloc((size_t)record.header_count, sizeof *headers);
        complete = record.header_count == 0 || headers != NULL;
        for (int32_t k = 0; complete && k < record.header_count; k++)
            complete = record_header_next(&raw, &headers[k]);
        /* a part is as large as it is: batch.size has been applied before */
        complete = complete && record_batch_builder_add(part->builder, record.timestamp_ms, record.key,
                                                        record.value, headers, record.header_count) == PST_OK;
        free(headers);
    }
    if (walker != NULL)
        record_walker_close(walker);
    if (complete && whole->tags != NULL) {
        part->tags = calloc((size_t)(to - from), sizeof *part->tags);
        complete = part->tags != NULL;
        if (complete)
            memcpy(part->tags, whole->tags + from, (size_t)(to - from) * sizeof *part->tags);
        part->tag_capacity = to - from;
    }
    if (!complete) {
        if (part != NULL)
            producer_batch_free(producer, part);
        return NULL;
    }
    part->count = to - from;
    part->number = whole->number + (uint64_t)from;
    part->created_us = whole->created_us;
    part->closed = true;
    part->urgent = true;
    part->numbered = whole->numbered;
    part->identity = whole->identity;
    part->base_sequence = lane_sequence_after(whole->base_sequence, from);
    return part;
}

static void share_waiters(struct batch *whole, struct batch *first, struct batch *second)
{
    while (whole->waiters != NULL) {
        struct batch_waiter *waiter = whole->waiters;
        struct batch *to = waiter->index < first->count ? first : second;

        whole->waiters = waiter->next;
        if (to == second)
            waiter->index -= first->count;
        waiter->next = to->waiters;
        to->waiters = waiter;
    }
}

/* With the lock.  Two halves take the place of a batch the broker finds too large. */
static bool split(struct pst_producer *producer, struct batch *whole)
{
    int32_t middle = whole->count / 2;
    struct batch *first = part_of(producer, whole, 0, middle);
    struct batch *second = first == NULL ? NULL : part_of(producer, whole, middle, whole->count);

    if (second == NULL) {
        if (first != NULL)
            producer_batch_free(producer, first);
        return false;
    }
    first->charged_bytes = whole->charged_bytes / 2;
    second->charged_bytes = whole->charged_bytes - first->charged_bytes;
    share_waiters(whole, first, second);
    list_insert_after(&whole->order, &second->order);
    list_insert_after(&whole->order, &first->order);
    lane_requeue(whole->lane, first);
    lane_requeue(whole->lane, second);
    producer_batch_free(producer, whole);
    return true;
}

static void learn(struct pst_producer *producer, struct batch *batch, pst_err_t code,
                  const struct produce_response_partition_produce_response *part)
{
    struct outlet_lane *lane = outlet_lane_of(batch->lane);

    if (part != NULL && part->current_leader.leader_id >= 0)
        cluster_learn_leader(&producer->client->cluster, lane->outlet->topic, lane->partition,
                             part->current_leader.leader_id, part->current_leader.leader_epoch);
    if (code == KAFKA_NOT_LEADER_OR_FOLLOWER || code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION ||
        code == KAFKA_LEADER_NOT_AVAILABLE || code == KAFKA_FENCED_LEADER_EPOCH ||
        code == KAFKA_UNKNOWN_TOPIC_ID || code == KAFKA_KAFKA_STORAGE_ERROR || code == PST_ERR_TRANSPORT ||
        code == PST_ERR_TIMED_OUT)
        cluster_refresh(&producer->client->cluster);
}

static void batch_answered(struct pst_producer *producer, struct batch *batch, const struct fate *fate,
                           const struct produce_response_partition_produce_response *part)
{
    struct lane *lane = batch->lane;
    enum lane_verdict verdict;

    learn(producer, batch, fate->code, part);
    pthread_mutex_lock(&producer->lock);
    verdict = lane_answer(lane, batch, fate->code, may_retry(producer, batch));
    if (verdict == LANE_RETRY) {
        set_retry_time(producer, batch);
        producer->stats.batches_retried++;
    }
    if (verdict == LANE_SPLIT && split(producer, batch)) {
        producer->stats.batches_retried++;
        verdict = LANE_RETRY;
    }
    serve_wishes(producer, lane);
    lane_activate(producer, lane);
    pthread_mutex_unlock(&producer->lock);
    if (verdict == LANE_DONE) {
        struct fate success = *fate;

        success.code = PST_ERR_NONE;
        success.text = "";
        finish_batch(producer, batch, &success);
    } else if (verdict != LANE_RETRY) {
        finish_batch(producer, batch, fate);
    }
}

static void all_answered(struct sending *sending, pst_err_t code, const char *text)
{
    struct fate fate = {code, text, -1, -1};

    for (size_t i = 0; i < sending->count; i++) {
        struct batch *batch = sending->batches[i];

        sending->batches[i] = NULL;
        if (batch != NULL)
            batch_answered(sending->producer, batch, &fate, NULL);
    }
}

/* The request's batch for this answer: answers usually come in the order of the request. */
static struct batch *take_batch(struct sending *sending, size_t *hint, struct str name, const struct uuid *id,
                                bool by_id, int32_t partition)
{
    for (size_t tried = 0; tried < sending->count; tried++) {
        size_t at = (*hint + tried) % sending->count;
        struct batch *batch = sending->batches[at];
        const struct outlet_lane *lane = batch == NULL ? NULL : outlet_lane_of(batch->lane);

        if (lane == NULL || lane->partition != partition)
            continue;
        if (by_id ? !uuid_equal(&lane->outlet->topic->id, id) : !str_equal_text(name, lane->outlet->name))
            continue;
        *hint = at + 1;
        sending->batches[at] = NULL;
        return batch;
    }
    return NULL;
}

static void take_answer(struct sending *sending, const struct produce_response *response, int16_t version)
{
    size_t hint = 0;

    for (int32_t i = 0; i < response->responses_count; i++) {
        const struct produce_response_topic_produce_response *topic = &response->responses[i];

        for (int32_t k = 0; k < topic->partition_responses_count; k++) {
            const struct produce_response_partition_produce_response *part = &topic->partition_responses[k];
            struct batch *batch =
                take_batch(sending, &hint, topic->name, &topic->topic_id, version >= 13, part->index);
            char text[PST_ERROR_TEXT_BYTES];
            struct fate fate = {part->error_code, text, part->base_offset, part->log_append_time_ms};

            if (batch == NULL)
                continue;
            if (part->error_message.length > 0)
                snprintf(text, sizeof text, "%.*s", STR_FORMAT(part->error_message));
            else
                snprintf(text, sizeof text, "%s", pst_err_text(part->error_code));
            batch_answered(sending->producer, batch, &fate, part);
        }
    }
    all_answered(sending, PST_ERR_TRANSPORT, "the answer does not mention the partition");
}

static void produce_done(struct exchange *exchange, const struct answer *answer)
{
    struct sending *sending = CONTAINER_OF(exchange, struct sending, exchange);
    struct wire_reader reader = answer->reader;
    struct produce_response response;
    struct arena *arena;

    if (sending->producer->closing)
        return; /* producer_detach fails the batches */
    if (answer->code != PST_ERR_NONE || exchange->one_way) {
        /* a connection given up because of what the broker said on it is as good as one that broke */
        all_answered(sending, answer->code == PST_ERR_BAD_RESPONSE ? PST_ERR_TRANSPORT : answer->code,
                     answer->text);
        return;
    }
    arena = arena_new(ANSWER_ARENA_BYTES);
    if (arena != NULL &&
        message_decode(&produce_response_schema, answer->version, &reader, arena, &response) == PST_OK)
        take_answer(sending, &response, answer->version);
    else
        all_answered(sending, PST_ERR_TRANSPORT, "the broker's answer cannot be read");
    arena_free(arena);
}

static void sending_free(struct sending *sending)
{
    list_remove(&sending->link);
    free(sending->batches);
    free(sending->slices);
    free(sending);
}

static void produce_release(struct exchange *exchange)
{
    struct sending *sending = CONTAINER_OF(exchange, struct sending, exchange);
    struct pst_producer *producer = sending->producer;

    sending->node->produce_in_flight--;
    sending_free(sending);
    if (!producer->closing)
        producer_pump(producer);
}

/* ---- what goes next ---- */

static bool ready(const struct pst_producer *producer, const struct lane *lane, const struct batch *batch,
                  int64_t now_us)
{
    return batch->closed || batch->urgent || batch->attempts > 0 || batch->number < producer->flush_below ||
           producer->room_waiters > 0 || lane->queue.previous != &batch->link ||
           now_us >= batch->created_us + option(producer, OPTION_LINGER) * 1000;
}

static void due(int64_t *next_us, int64_t at_us)
{
    if (at_us < *next_us)
        *next_us = at_us;
}

/* With the lock.  The node this lane's next batch may go to now; NULL: nothing or nowhere yet. */
static struct node *candidate(struct pst_producer *producer, struct lane *lane, int64_t now_us,
                              int64_t *next_us, struct batch **ret_batch, bool *leaderless)
{
    struct outlet_lane *home = outlet_lane_of(lane);
    struct cluster *cluster = &producer->client->cluster;
    struct batch *first = CONTAINER_OF(lane->queue.next, struct batch, link);
    struct batch *batch = lane_next(lane, &producer->identity, now_us);
    struct node *node;

    due(next_us, first->created_us + option(producer, OPTION_DELIVERY_TIMEOUT) * 1000);
    if (first->retry_at_us > now_us)
        due(next_us, first->retry_at_us);
    if (lane->wants_epoch) {
        serve_wishes(producer, lane);
        batch = lane_next(lane, &producer->identity, now_us);
    }
    if (batch == NULL)
        return NULL;
    if (!ready(producer, lane, batch, now_us)) {
        due(next_us, batch->created_us + option(producer, OPTION_LINGER) * 1000);
        return NULL;
    }
    node = cluster_leader(cluster, home->outlet->topic, home->partition, NULL);
    if (node == NULL) {
        *leaderless = true;
        return NULL;
    }
    if (node->produce_in_flight >= (unsigned)option(producer, OPTION_MAX_IN_FLIGHT))
        return NULL;
    *ret_batch = batch;
    return node;
}

/* With the lock.  Gathers one request for one node: of every lane at most one batch, up to max.request.size.
 */
static struct sending *collect(struct pst_producer *producer, int64_t *next_us, bool *leaderless)
{
    size_t room = (size_t)option(producer, OPTION_MAX_REQUEST), used = REQUEST_OVERHEAD_BYTES, capacity = 0;
    int64_t now_us = now_of(producer);
    struct sending *sending = NULL;
    struct list taken;

    list_init(&taken);
    LIST_FOR_EACH (link, &producer->active) {
        struct lane *lane = CONTAINER_OF(link, struct lane, link);
        struct batch *batch = NULL;
        struct node *node = candidate(producer, lane, now_us, next_us, &batch, leaderless);
        size_t bytes = node == NULL ? 0 : record_batch_builder_size(batch->builder);

        if (node == NULL || (sending != NULL && (sending->node != node || used + bytes > room ||
                                                 sending->count == BATCHES_PER_REQUEST)))
            continue;
        if (sending == NULL) {
            sending = calloc(1, sizeof *sending);
            if (sending == NULL)
                return NULL;
            list_init(&sending->link);
            sending->producer = producer;
            sending->node = node;
        }
        if (sending->count == capacity) {
            size_t more = capacity == 0 ? 16 : capacity * 2;
            struct batch **batches = realloc(sending->batches, more * sizeof(struct batch *));

            if (batches == NULL)
                break;
            sending->batches = batches;
            capacity = more;
        }
        lane_sent(lane, batch);
        sending->batches[sending->count++] = batch;
        used += bytes;
        list_remove(&lane->link); /* to the end: the others' turn is next */
        if (!list_is_empty(&lane->queue))
            list_push_back(&taken, &lane->link);
    }
    while (!list_is_empty(&taken)) {
        struct list *link = taken.next;

        list_remove(link);
        list_push_back(&producer->active, link);
    }
    return sending;
}

static bool all_have_ids(const struct sending *sending)
{
    for (size_t i = 0; i < sending->count; i++)
        if (uuid_is_zero(&outlet_lane_of(sending->batches[i]->lane)->outlet->topic->id))
            return false;
    return true;
}

/* Without the lock. */
static void submit(struct pst_producer *producer, struct sending *sending)
{
    struct cluster *cluster = &producer->client->cluster;
    bool zstd = option(producer, OPTION_COMPRESSION) == COMPRESS_ZSTD;
    enum pst_status status = PST_OK;
    uint64_t bytes = 0;

    sending->channel = cluster_channel(cluster, sending->node, CHANNEL_PRODUCE);
    sending->slices = calloc(sending->count, sizeof *sending->slices);
    for (size_t i = 0; i < sending->count && status == PST_OK; i++) {
        status = seal(sending->batches[i]);
        bytes += sending->batches[i]->bytes.length;
    }
    if (status != PST_OK || sending->channel == NULL || sending->slices == NULL) {
        all_answered(sending, PST_ERR_NO_MEMORY, pst_err_text(PST_ERR_NO_MEMORY));
        sending_free(sending);
        return;
    }
    pthread_mutex_lock(&producer->lock);
    producer->stats.batches_sent += sending->count;
    producer->stats.bytes_sent += bytes;
    pthread_mutex_unlock(&producer->lock);
    sending->exchange =
        (struct exchange){.api_key = API_PRODUCE,
                          .version_min = zstd ? 7 : 3,
                          .version_max = all_have_ids(sending) ? 13 : 12,
                          .deadline_us = now_of(producer) + option(producer, OPTION_REQUEST_TIMEOUT) * 1000,
                          .one_way = config_acks(producer->client->config) == 0,
                          .encode = encode_produce,
                          .done = produce_done,
                          .release = produce_release};
    sending->node->produce_in_flight++;
    list_push_back(&producer->sendings, &sending->link);
    channel_submit(sending->channel, &sending->exchange);
}

/* Fails the queued batches whose time is over, oldest first in each lane. */
static void expire(struct pst_producer *producer)
{
    struct fate fate = {PST_ERR_DELIVERY_TIMED_OUT, pst_err_text(PST_ERR_DELIVERY_TIMED_OUT), -1, -1};
    int64_t born_before_us = now_of(producer) - option(producer, OPTION_DELIVERY_TIMEOUT) * 1000;
    char text[PST_ERROR_TEXT_BYTES];
    struct batch *late;

    do {
        late = NULL;
        pthread_mutex_lock(&producer->lock);
        LIST_FOR_EACH (link, &producer->active) {
            struct lane *lane = CONTAINER_OF(link, struct lane, link);
            struct batch *first = CONTAINER_OF(lane->queue.next, struct batch, link);

            if (first->created_us > born_before_us)
                continue;
            late = first;
            late->closed = true;
            lane_drop(lane, late);
            lane_settle_list(lane);
            break;
        }
        pthread_mutex_unlock(&producer->lock);
        if (late != NULL) {
            struct cluster *cluster = &producer->client->cluster;

            snprintf(text, sizeof text, "%s%s%.150s", pst_err_text(fate.code),
                     cluster->trouble[0] == '\0' ? "" : "; last trouble: ", cluster->trouble);
            fate.text = text;
            finish_batch(producer, late, &fate);
        }
    } while (late != NULL);
}

static int64_t oldest_expiry_us(const struct pst_producer *producer)
{
    if (list_is_empty(&producer->all))
        return INT64_MAX;
    return CONTAINER_OF(producer->all.next, struct batch, order)->created_us +
           option(producer, OPTION_DELIVERY_TIMEOUT) * 1000;
}

static bool lacks_identity(const struct pst_producer *producer)
{
    return option(producer, OPTION_IDEMPOTENCE) != 0 && producer->identity.producer_id == NO_PRODUCER_ID;
}

static void pump_once(struct pst_producer *producer)
{
    struct sending *sending;
    int64_t next_us;
    bool leaderless = false;

    if (now_of(producer) >= oldest_expiry_us(producer))
        expire(producer);
    do {
        next_us = INT64_MAX;
        leaderless = false;
        pthread_mutex_lock(&producer->lock);
        sending = collect(producer, &next_us, &leaderless);
        if (sending == NULL)
            producer->next_due_us = next_us;
        pthread_mutex_unlock(&producer->lock);
        if (sending != NULL)
            submit(producer, sending);
    } while (sending != NULL);
    if (lacks_identity(producer) && !list_is_empty(&producer->active) && producer->fatal == PST_ERR_NONE) {
        ask_identity(producer);
        if (!producer->asking_identity)
            due(&next_us, producer->ask_identity_at_us);
    }
    if (leaderless)
        cluster_refresh(&producer->client->cluster);
    if (next_us == INT64_MAX)
        reactor_disarm(&producer->client->reactor, &producer->timer);
    else
        reactor_arm(&producer->client->reactor, &producer->timer, next_us);
}

void producer_pump(struct pst_producer *producer)
{
    if (producer->pumping || producer->closing) {
        producer->pump_again = true;
        return;
    }
    producer->pumping = true;
    do {
        producer->pump_again = false;
        pump_once(producer);
    } while (producer->pump_again && !producer->closing);
    producer->pumping = false;
}

/* ---- the end ---- */

static void abandon_sendings(struct pst_producer *producer)
{
    while (!list_is_empty(&producer->sendings)) {
        struct sending *sending = CONTAINER_OF(producer->sendings.next, struct sending, link);

        if (sending->exchange.head.length == 0)
            channel_withdraw(sending->channel, &sending->exchange);
        else
            channel_break(sending->channel, PST_ERR_TRANSPORT,
                          "a producer was closed with records under way");
    }
}

void producer_detach(void *arg)
{
    struct fate fate = {PST_ERR_CLOSED, pst_err_text(PST_ERR_CLOSED), -1, -1};
    struct pst_producer *producer = arg;

    producer->closing = true;
    list_remove(&producer->listener.link);
    reactor_disarm(&producer->client->reactor, &producer->timer);
    if (producer->identity_call != NULL)
        producer->identity_call->producer = NULL;
    producer->identity_call = NULL;
    abandon_sendings(producer);
    pthread_mutex_lock(&producer->lock);
    producer->fatal = PST_ERR_CLOSED;
    pthread_mutex_unlock(&producer->lock);
    while (!list_is_empty(&producer->all)) {
        struct batch *batch = CONTAINER_OF(producer->all.next, struct batch, order);

        list_remove(&batch->link);
        finish_batch(producer, batch, &fate);
    }
}
