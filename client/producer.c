/* The side of the producer that takes records: partitions, batches, room, waiting. */
#include "client/producer.h"

#include "client/call.h"
#include "protocol/error_codes.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RECORD_OVERHEAD_BYTES 32u /* varints of a record, at most, without its headers' */
#define HEADER_OVERHEAD_BYTES 10u
#define RECORD_HEADERS_MAX    100000u
#define HEADERS_ON_STACK      16u
#define NUMBER_STEP           (1ull << 32) /* room for the parts a batch may be split into */

static int64_t option(const struct pst_producer *producer, enum option_id id)
{
    return producer->client->config->number[id];
}

static uint64_t next_random(struct pst_producer *producer)
{
    producer->random ^= producer->random >> 12;
    producer->random ^= producer->random << 25;
    producer->random ^= producer->random >> 27;
    return (producer->random * 0x2545f4914f6cdd1dull) >> 11;
}

/* ---- batches ---- */

static void reset_builder(struct pst_producer *producer, struct record_batch_builder *builder)
{
    enum compress_codec codec = (enum compress_codec)option(producer, OPTION_COMPRESSION);
    struct record_batch_settings settings = {.codec = codec,
                                             .compress_level = COMPRESS_LEVEL_DEFAULT,
                                             .leader_epoch = -1,
                                             .producer_id = NO_PRODUCER_ID,
                                             .producer_epoch = -1,
                                             .base_sequence = NO_SEQUENCE,
                                             .size_max = (size_t)option(producer, OPTION_BATCH_SIZE)};

    if (codec == COMPRESS_GZIP)
        settings.compress_level = (int)option(producer, OPTION_GZIP_LEVEL);
    else if (codec == COMPRESS_LZ4)
        settings.compress_level = (int)option(producer, OPTION_LZ4_LEVEL);
    else if (codec == COMPRESS_ZSTD)
        settings.compress_level = (int)option(producer, OPTION_ZSTD_LEVEL);
    record_batch_builder_reset(builder, &settings);
}

struct batch *producer_batch_new(struct pst_producer *producer, struct lane *lane)
{
    struct batch *batch = calloc(1, sizeof *batch);

    if (batch == NULL)
        return NULL;
    batch->builder =
        producer->spare_count > 0 ? producer->spares[--producer->spare_count] : record_batch_builder_new();
    if (batch->builder == NULL) {
        free(batch);
        return NULL;
    }
    reset_builder(producer, batch->builder);
    list_init(&batch->link);
    list_init(&batch->order);
    batch->lane = lane;
    batch->created_us = reactor_now_us(&producer->client->reactor);
    return batch;
}

void producer_batch_free(struct pst_producer *producer, struct batch *batch)
{
    size_t usual_bytes = 2 * (size_t)option(producer, OPTION_BATCH_SIZE);

    list_remove(&batch->link);
    list_remove(&batch->order);
    if (producer->spare_count < SPARE_BUILDERS_MAX &&
        record_batch_builder_size(batch->builder) <= usual_bytes)
        producer->spares[producer->spare_count++] = batch->builder;
    else
        record_batch_builder_free(batch->builder);
    free(batch->tags);
    free(batch);
}

/* Room for the tag of the record about to be added. */
static bool reserve_tag(struct batch *batch)
{
    int32_t capacity = batch->tag_capacity == 0 ? 64 : batch->tag_capacity * 2;
    struct batch_tag *tags;

    if (batch->count < batch->tag_capacity)
        return true;
    tags = realloc(batch->tags, (size_t)capacity * sizeof *tags);
    if (tags == NULL)
        return false;
    batch->tags = tags;
    batch->tag_capacity = capacity;
    return true;
}

/* ---- waking and waiting ---- */

static void deliver_wake(struct mail *mail)
{
    struct pst_producer *producer = CONTAINER_OF(mail, struct pst_producer, wake);

    atomic_store(&producer->wake_posted, false);
    producer_pump(producer);
}

void producer_wake(struct pst_producer *producer)
{
    if (!atomic_exchange(&producer->wake_posted, true))
        reactor_post(&producer->client->reactor, &producer->wake);
}

/* Waits for progress, with the lock; false when the deadline has passed or nobody may wait here. */
static bool wait_progress(struct pst_producer *producer, int64_t deadline_us)
{
    struct timespec until = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};

    if (reactor_is_here(&producer->client->reactor) ||
        reactor_now_us(&producer->client->reactor) >= deadline_us)
        return false;
    if (deadline_us == INT64_MAX)
        pthread_cond_wait(&producer->progress, &producer->lock);
    else
        pthread_cond_timedwait(&producer->progress, &producer->lock, &until);
    return true;
}

/* ---- topics and partitions ---- */

/* With the lock: what metadata says now. */
static void refresh_outlet(struct pst_producer *producer, struct outlet *outlet)
{
    struct cluster *cluster = &producer->client->cluster;

    pthread_mutex_lock(&cluster->lock);
    outlet->partition_count = outlet->topic->known ? outlet->topic->partition_count : 0;
    outlet->error = outlet->topic->error;
    outlet->answers = outlet->topic->answers;
    pthread_mutex_unlock(&cluster->lock);
}

static void metadata_changed(struct cluster_listener *listener)
{
    struct pst_producer *producer = CONTAINER_OF(listener, struct pst_producer, listener);
    size_t cursor = 0;
    struct str name;
    void *value;

    pthread_mutex_lock(&producer->lock);
    while (hashmap_next(producer->outlets, &cursor, &name, &value))
        refresh_outlet(producer, value);
    pthread_cond_broadcast(&producer->progress);
    pthread_mutex_unlock(&producer->lock);
    producer_pump(producer);
}

static void outlet_free(struct outlet *outlet)
{
    for (int32_t i = 0; i < outlet->lane_count; i++)
        free(outlet->lanes[i]);
    free(outlet->lanes);
    free(outlet->name);
    free(outlet);
}

static struct outlet *find_outlet(struct pst_producer *producer, const char *name)
{
    struct outlet *outlet = producer->last_outlet;

    if (outlet != NULL && strcmp(outlet->name, name) == 0)
        return outlet;
    outlet = hashmap_get(producer->outlets, str_of(name));
    if (outlet == NULL) {
        outlet = calloc(1, sizeof *outlet);
        if (outlet == NULL)
            return NULL;
        outlet->name = strdup(name);
        outlet->topic = cluster_topic(&producer->client->cluster, name, true);
        outlet->sticky = -1;
        if (outlet->name == NULL || outlet->topic == NULL ||
            hashmap_put(producer->outlets, str_of(name), outlet) != PST_OK) {
            outlet_free(outlet);
            return NULL;
        }
        refresh_outlet(producer, outlet);
    }
    producer->last_outlet = outlet;
    return outlet;
}

/* With the lock: waits until the number of partitions is known. */
static pst_err_t await_partitions(struct pst_producer *producer, struct outlet *outlet, int64_t deadline_us,
                                  struct pst_error *error)
{
    struct cluster *cluster = &producer->client->cluster;
    char trouble[PST_ERROR_TEXT_BYTES];

    while (outlet->partition_count == 0) {
        if (producer->fatal != PST_ERR_NONE)
            return error_set_code(error, producer->fatal);
        if (outlet->answers > 0 && outlet->error != 0 && !pst_err_is_retriable(outlet->error))
            return error_set(error, outlet->error, "topic %.100s: %s", outlet->name,
                             pst_err_text(outlet->error));
        if (wait_progress(producer, deadline_us))
            continue;
        if (outlet->error != 0)
            return error_set(error, outlet->error, "topic %.100s: %s", outlet->name,
                             pst_err_text(outlet->error));
        pthread_mutex_lock(&cluster->lock);
        memcpy(trouble, cluster->trouble, sizeof trouble);
        pthread_mutex_unlock(&cluster->lock);
        return error_set(error, PST_ERR_TIMED_OUT, "no metadata for topic %.100s within max.block.ms%s%.100s",
                         outlet->name, trouble[0] != '\0' ? "; last trouble: " : "", trouble);
    }
    return PST_ERR_NONE;
}

static struct outlet_lane *find_lane(struct pst_producer *producer, struct outlet *outlet, int32_t partition)
{
    struct outlet_lane *lane;

    if (partition >= outlet->lane_count) {
        struct outlet_lane **lanes =
            realloc(outlet->lanes, (size_t)outlet->partition_count * sizeof(struct outlet_lane *));

        if (lanes == NULL)
            return NULL;
        for (int32_t i = outlet->lane_count; i < outlet->partition_count; i++)
            lanes[i] = NULL;
        outlet->lanes = lanes;
        outlet->lane_count = outlet->partition_count;
    }
    lane = outlet->lanes[partition];
    if (lane == NULL) {
        lane = calloc(1, sizeof *lane);
        if (lane == NULL)
            return NULL;
        lane_init(&lane->lane, option(producer, OPTION_IDEMPOTENCE) != 0,
                  option(producer, OPTION_MAX_IN_FLIGHT) == 1);
        lane->outlet = outlet;
        lane->partition = partition;
        outlet->lanes[partition] = lane;
    }
    return lane;
}

static int32_t choose_partition(struct pst_producer *producer, struct outlet *outlet, struct str key,
                                size_t record_bytes)
{
    enum partitioner kind = (enum partitioner)option(producer, OPTION_PARTITIONER);
    int32_t partition = partitioner_choose(kind, key, outlet->partition_count,
                                           outlet->partition_count > 1 ? next_random(producer) : 0);

    if (partition >= 0)
        return partition;
    if (outlet->sticky < 0 || outlet->sticky >= outlet->partition_count ||
        outlet->sticky_bytes >= (size_t)option(producer, OPTION_BATCH_SIZE)) {
        outlet->sticky =
            partitioner_next_sticky(outlet->sticky, outlet->partition_count, next_random(producer));
        outlet->sticky_bytes = 0;
    }
    outlet->sticky_bytes += record_bytes;
    return outlet->sticky;
}

/* ---- taking a record ---- */

static pst_err_t check_record(const struct pst_producer *producer, const struct pst_record *record,
                              size_t *ret_bytes, struct pst_error *error)
{
    size_t bytes = RECORD_OVERHEAD_BYTES + record->key_bytes + record->value_bytes;
    size_t largest = (size_t)option(producer, OPTION_MAX_REQUEST);

    if (record->topic == NULL || record->topic[0] == '\0')
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "the record has no topic");
    if (record->partition < PST_PARTITION_ANY || record->timestamp_ms < PST_TIMESTAMP_NOW)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "partition or timestamp is negative");
    if (record->header_count > RECORD_HEADERS_MAX || (record->headers == NULL && record->header_count > 0))
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "headers are missing or too many");
    if (record->key_bytes > INT32_MAX || record->value_bytes > INT32_MAX)
        bytes = SIZE_MAX / 2;
    for (size_t i = 0; i < record->header_count; i++) {
        if (record->headers[i].key == NULL)
            return error_set(error, PST_ERR_INVALID_ARGUMENT, "a header has no key");
        if (record->headers[i].key_bytes > INT32_MAX || record->headers[i].value_bytes > INT32_MAX)
            bytes = SIZE_MAX / 2;
        else if (bytes < SIZE_MAX / 2)
            bytes += HEADER_OVERHEAD_BYTES + record->headers[i].key_bytes + record->headers[i].value_bytes;
    }
    if (bytes + RECORD_BATCH_HEADER_BYTES > largest || bytes > (size_t)option(producer, OPTION_BUFFER_MEMORY))
        return error_set(error, PST_ERR_MESSAGE_TOO_LARGE,
                         "a record of %zu bytes is over max.request.size (%zu) or buffer.memory", bytes,
                         largest);
    *ret_bytes = bytes + (producer->on_delivery != NULL ? sizeof(struct batch_tag) : 0);
    return PST_ERR_NONE;
}

/* With the lock. */
static pst_err_t await_room(struct pst_producer *producer, size_t bytes, int64_t deadline_us,
                            struct pst_error *error)
{
    size_t most = (size_t)option(producer, OPTION_BUFFER_MEMORY);

    while (producer->buffered_bytes > most - (bytes < most ? bytes : most)) {
        bool waited;

        if (producer->fatal != PST_ERR_NONE)
            return error_set_code(error, producer->fatal);
        producer->room_waiters++;
        producer_wake(producer); /* lingering is no use now */
        waited = wait_progress(producer, deadline_us);
        producer->room_waiters--;
        if (!waited)
            return error_set(error, PST_ERR_QUEUE_FULL, "%zu of %zu bytes of buffer.memory wait for delivery",
                             producer->buffered_bytes, most);
    }
    return PST_ERR_NONE;
}

static enum pst_status add_record(struct pst_producer *producer, struct batch *batch,
                                  const struct pst_record *record, int64_t timestamp_ms, void *tag)
{
    struct record_header few[HEADERS_ON_STACK], *headers = record->header_count == 0 ? NULL : few;
    struct str key = str_of_bytes(record->key, record->key == NULL ? 0 : record->key_bytes);
    struct str value = str_of_bytes(record->value, record->value == NULL ? 0 : record->value_bytes);
    enum pst_status status;

    if (producer->on_delivery != NULL && !reserve_tag(batch))
        return PST_NOMEM;
    if (record->header_count > HEADERS_ON_STACK) {
        headers = calloc(record->header_count, sizeof *headers);
        if (headers == NULL)
            return PST_NOMEM;
    }
    for (size_t i = 0; i < record->header_count; i++) {
        const struct pst_header *from = &record->headers[i];

        headers[i].key = str_of_bytes(from->key, from->key_bytes);
        headers[i].value = str_of_bytes(from->value, from->value == NULL ? 0 : from->value_bytes);
    }
    status = record_batch_builder_add(batch->builder, timestamp_ms, key, value, headers,
                                      (int32_t)record->header_count);
    if (headers != few)
        free(headers);
    if (status == PST_OK && producer->on_delivery != NULL)
        batch->tags[batch->count] = (struct batch_tag){tag, timestamp_ms};
    return status;
}

static struct batch *open_batch(struct lane *lane)
{
    struct batch *last =
        list_is_empty(&lane->queue) ? NULL : CONTAINER_OF(lane->queue.previous, struct batch, link);

    return last == NULL || last->closed ? NULL : last;
}

static struct batch *start_batch(struct pst_producer *producer, struct lane *lane)
{
    struct batch *batch = producer_batch_new(producer, lane);

    if (batch == NULL)
        return NULL;
    producer->next_number += NUMBER_STEP;
    batch->number = producer->next_number;
    return batch;
}

/* With the lock, room and partition at hand. */
static pst_err_t append(struct pst_producer *producer, struct lane *lane, const struct pst_record *record,
                        size_t bytes, void *tag, struct batch_waiter *waiter, struct pst_error *error)
{
    int64_t timestamp_ms = record->timestamp_ms == PST_TIMESTAMP_NOW
                               ? clock_wall_ms(producer->client->reactor.clock)
                               : record->timestamp_ms;
    struct batch *batch = open_batch(lane);
    enum pst_status status =
        batch == NULL ? PST_FULL : add_record(producer, batch, record, timestamp_ms, tag);
    bool fresh = status == PST_FULL, ready = false;
    int64_t due_us;

    if (fresh) {
        if (batch != NULL) {
            batch->closed = true;
            ready = true;
        }
        batch = start_batch(producer, lane);
        status = batch == NULL ? PST_NOMEM : add_record(producer, batch, record, timestamp_ms, tag);
    }
    if (status != PST_OK) {
        if (fresh && batch != NULL)
            producer_batch_free(producer, batch);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    if (fresh) {
        lane_push(lane, batch);
        list_push_back(&producer->all, &batch->order);
        if (list_is_empty(&lane->link))
            list_push_back(&producer->active, &lane->link);
    }
    if (waiter != NULL) {
        waiter->index = batch->count;
        waiter->next = batch->waiters;
        batch->waiters = waiter;
        batch->urgent = true;
    }
    batch->count++;
    batch->charged_bytes += bytes;
    producer->buffered_bytes += bytes;
    producer->stats.records_accepted++;
    due_us = batch->urgent ? 0 : batch->created_us + option(producer, OPTION_LINGER) * 1000;
    if (ready || due_us < producer->next_due_us) {
        if (due_us < producer->next_due_us)
            producer->next_due_us = due_us;
        producer_wake(producer);
    }
    return PST_ERR_NONE;
}

static pst_err_t take(struct pst_producer *producer, const struct pst_record *record, void *tag,
                      struct batch_waiter *waiter, struct pst_error *error)
{
    int64_t deadline_us = call_deadline_us(producer->client, option(producer, OPTION_MAX_BLOCK));
    struct str key = str_of_bytes(record->key, record->key == NULL ? 0 : record->key_bytes);
    struct outlet_lane *lane;
    struct outlet *outlet;
    int32_t partition;
    size_t bytes = 0;
    pst_err_t code;

    code = check_record(producer, record, &bytes, error);
    if (code != PST_ERR_NONE)
        return code;
    pthread_mutex_lock(&producer->lock);
    outlet = find_outlet(producer, record->topic);
    code = outlet == NULL ? error_set_code(error, PST_ERR_NO_MEMORY)
                          : await_partitions(producer, outlet, deadline_us, error);
    if (code == PST_ERR_NONE)
        code = await_room(producer, bytes, deadline_us, error);
    if (code == PST_ERR_NONE && producer->fatal != PST_ERR_NONE)
        code = error_set_code(error, producer->fatal);
    if (code == PST_ERR_NONE && record->partition >= outlet->partition_count)
        code = error_set(error, PST_ERR_UNKNOWN_PARTITION, "topic %.100s has %d partitions, not partition %d",
                         outlet->name, outlet->partition_count, record->partition);
    if (code == PST_ERR_NONE) {
        partition =
            record->partition >= 0 ? record->partition : choose_partition(producer, outlet, key, bytes);
        lane = find_lane(producer, outlet, partition);
        code = lane == NULL ? error_set_code(error, PST_ERR_NO_MEMORY)
                            : append(producer, &lane->lane, record, bytes, tag, waiter, error);
    }
    pthread_mutex_unlock(&producer->lock);
    return code;
}

pst_err_t pst_produce(struct pst_producer *producer, const struct pst_record *record, void *tag,
                      struct pst_error *error)
{
    if (producer == NULL || record == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "producer and record must be given");
    return take(producer, record, tag, NULL, error);
}

pst_err_t pst_produce_wait(struct pst_producer *producer, const struct pst_record *record,
                           int32_t *ret_partition, int64_t *ret_offset, struct pst_error *error)
{
    struct batch_waiter waiter = {.offset = -1};
    pst_err_t code;

    if (producer == NULL || record == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "producer and record must be given");
    if (reactor_is_here(&producer->client->reactor))
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "a callback must not wait");
    code = take(producer, record, NULL, &waiter, error);
    if (code != PST_ERR_NONE)
        return code;
    pthread_mutex_lock(&producer->lock);
    while (!waiter.settled)
        wait_progress(producer, INT64_MAX);
    pthread_mutex_unlock(&producer->lock);
    if (waiter.code != PST_ERR_NONE)
        return error_set(error, waiter.code, "%s", waiter.text);
    if (ret_partition != NULL)
        *ret_partition = waiter.partition;
    if (ret_offset != NULL)
        *ret_offset = waiter.offset;
    return PST_ERR_NONE;
}

static bool has_batch_below(const struct pst_producer *producer, uint64_t number)
{
    return !list_is_empty(&producer->all) &&
           CONTAINER_OF(producer->all.next, struct batch, order)->number < number;
}

pst_err_t pst_producer_flush(struct pst_producer *producer, int64_t timeout_ms, struct pst_error *error)
{
    pst_err_t code = PST_ERR_NONE;
    int64_t deadline_us;
    uint64_t below;

    if (producer == NULL || reactor_is_here(&producer->client->reactor))
        return error_set(error, PST_ERR_INVALID_ARGUMENT,
                         "there is no producer, or a callback must not wait");
    deadline_us = call_deadline_us(producer->client, timeout_ms);
    pthread_mutex_lock(&producer->lock);
    below = producer->next_number + NUMBER_STEP;
    producer->flush_below = below;
    producer_wake(producer);
    while (has_batch_below(producer, below)) {
        if (!wait_progress(producer, deadline_us)) {
            code = error_set(error, PST_ERR_TIMED_OUT, "%zu bytes still wait for delivery",
                             producer->buffered_bytes);
            break;
        }
    }
    pthread_mutex_unlock(&producer->lock);
    return code;
}

void pst_producer_stats(struct pst_producer *producer, struct pst_producer_stats *ret)
{
    pthread_mutex_lock(&producer->lock);
    *ret = producer->stats;
    ret->bytes_buffered = producer->buffered_bytes;
    pthread_mutex_unlock(&producer->lock);
}

/* ---- life ---- */

static void on_timer(struct timer *timer)
{
    producer_pump(CONTAINER_OF(timer, struct pst_producer, timer));
}

static void attach(void *arg)
{
    struct pst_producer *producer = arg;

    list_push_back(&producer->client->cluster.listeners, &producer->listener.link);
}

static void destroy(struct pst_producer *producer)
{
    size_t cursor = 0;
    struct str name;
    void *value;

    if (producer->outlets != NULL)
        while (hashmap_next(producer->outlets, &cursor, &name, &value))
            outlet_free(value);
    hashmap_free(producer->outlets);
    for (size_t i = 0; i < producer->spare_count; i++)
        record_batch_builder_free(producer->spares[i]);
    pthread_cond_destroy(&producer->progress);
    pthread_mutex_destroy(&producer->lock);
    free(producer);
}

pst_err_t pst_producer_new(struct pst_client *client, pst_delivery_fn on_delivery, void *arg,
                           struct pst_producer **ret, struct pst_error *error)
{
    struct pst_producer *producer;
    pthread_condattr_t attributes;

    if (client == NULL || ret == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and ret must be given");
    producer = calloc(1, sizeof *producer);
    if (producer == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    producer->client = client;
    producer->on_delivery = on_delivery;
    producer->on_delivery_arg = arg;
    pthread_mutex_init(&producer->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&producer->progress, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&producer->active);
    list_init(&producer->all);
    list_init(&producer->sendings);
    list_init(&producer->listener.link);
    producer->listener.changed = metadata_changed;
    timer_init(&producer->timer, on_timer);
    producer->wake.deliver = deliver_wake;
    producer->identity = (struct identity){NO_PRODUCER_ID, -1};
    producer->next_due_us = INT64_MAX;
    producer->random = (uint64_t)reactor_now_us(&client->reactor) * 2 + 1;
    producer->outlets = hashmap_new();
    if (producer->outlets == NULL) {
        destroy(producer);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    reactor_run(&client->reactor, attach, producer);
    *ret = producer;
    return PST_ERR_NONE;
}

void pst_producer_free(struct pst_producer *producer)
{
    if (producer == NULL)
        return;
    reactor_run(&producer->client->reactor, producer_detach, producer);
    /* a wake posted before the detach has been delivered before it; one more turn for one posted during it */
    reactor_run(&producer->client->reactor, producer_detach, producer);
    destroy(producer);
}
