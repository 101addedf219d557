/* Fetch: what to read comes from the request or its session; each partition gives a slice of a segment; too
 * little means waiting for an append or for max.wait.ms.  The loop never blocks: what is cold is warmed by a
 * worker first. */
#include "broker/api/fetch.h"

#include "broker/api/call.h"
#include "broker/api/error_map.h"
#include "broker/api/fetch_session.h"
#include "broker/api/handlers.h"
#include "broker/api/session.h"
#include "broker/options.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/fetch.h"

#include <stdlib.h>

#define READ_COMMITTED 1
#define NO_EPOCH       (-1)

struct fetch;

/* One partition of a fetch. */
struct fetch_part {
    struct partition_waiter waiter;
    struct fetch *fetch;
    const struct fetch_want *want;
    struct partition *partition; /* NULL: error says why */
    int16_t error;
    bool cold; /* its index or headers must be warmed */
    bool diverging;
    int32_t diverging_epoch;
    int64_t diverging_end_offset;
    struct log_offsets offsets;
    struct log_slice slice;
    struct log_aborted_txn *aborted;
    unsigned aborted_count;
};

struct fetch {
    struct call *call;
    struct fetch_context context;
    struct fetch_part *parts;
    unsigned part_count;
    struct loop_timer timer;
    struct list ready_link; /* of the loop, while woken */
    struct mail mail;       /* woken from another loop */
    _Atomic bool mailed;
    bool parked;
    bool timed_out;
    bool abandoned; /* the connection went while a mail was under way */
    int64_t max_wait_ms;
    int64_t bytes_max;
    int64_t min_bytes;
    bool read_committed;
};

static void serve(struct fetch *fetch);

/* ---- reading ---- */

static void drop_results(struct fetch *fetch)
{
    for (unsigned i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];

        segment_unref(part->slice.segment);
        part->slice = (struct log_slice){.fd = -1};
        free(part->aborted);
        part->aborted = NULL;
        part->aborted_count = 0;
        part->diverging = false;
        part->cold = false;
    }
}

static int16_t check_epoch(const struct fetch_part *part)
{
    int32_t current = atomic_load_explicit(&part->partition->leader_epoch, memory_order_relaxed);
    int32_t client = part->want->leader_epoch;

    if (client == NO_EPOCH || client == current)
        return KAFKA_NONE;
    return client < current ? KAFKA_FENCED_LEADER_EPOCH : KAFKA_UNKNOWN_LEADER_EPOCH;
}

/* Whether the client's log has left ours (KIP-595: only since version 12). */
static bool diverges(struct fetch_part *part)
{
    int32_t last = part->want->last_fetched_epoch;
    int32_t epoch;
    int64_t end_offset;

    if (last == NO_EPOCH || part->fetch->call->version < 12)
        return false;
    log_epoch_end(part->partition->log, last, atomic_load(&part->partition->leader_epoch), &epoch,
                  &end_offset);
    if (epoch == NO_EPOCH || (epoch == last && end_offset >= part->want->offset))
        return false;
    part->diverging = true;
    part->diverging_epoch = epoch;
    part->diverging_end_offset = end_offset;
    return true;
}

static int16_t read_part(struct fetch_part *part, uint32_t length_max, bool first_whole)
{
    struct log *log = part->partition->log;
    enum pst_status status;
    int64_t bound;
    int16_t error;

    if (log == NULL || log_is_offline(log))
        return KAFKA_KAFKA_STORAGE_ERROR;
    if (atomic_load_explicit(&part->partition->deleted, memory_order_acquire))
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    part->offsets = log_offsets(log);
    error = check_epoch(part);
    if (error != KAFKA_NONE || diverges(part))
        return error;
    bound = part->fetch->read_committed ? part->offsets.last_stable : part->offsets.high_watermark;
    status = log_read(log, part->want->offset, bound, length_max, first_whole, &part->slice);
    if (status == PST_AGAIN) {
        part->cold = true;
        return KAFKA_NONE;
    }
    if (status == PST_OK && part->fetch->read_committed && part->slice.length_bytes > 0)
        status = log_aborted_txns(log, part->want->offset, bound, &part->aborted, &part->aborted_count);
    return error_of_status(status);
}

struct reading {
    int64_t bytes;
    bool error;
    bool diverging;
    bool cold;
};

/* Reads every partition in order within the limits of the request. */
static struct reading read_all(struct fetch *fetch)
{
    struct reading reading = {0};

    for (unsigned i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        int64_t room = fetch->bytes_max - reading.bytes;
        int64_t length_max = part->want->bytes_max < room ? part->want->bytes_max : room;

        if (part->partition != NULL)
            part->error = read_part(part, length_max > 0 ? (uint32_t)length_max : 0, reading.bytes == 0);
        reading.bytes += part->slice.length_bytes;
        reading.error |= part->error != KAFKA_NONE;
        reading.diverging |= part->diverging;
        reading.cold |= part->cold;
    }
    return reading;
}

/* ---- answering ---- */

static void release_segment(void *owner)
{
    segment_unref(owner);
}

static bool fill_aborted(struct arena *arena, struct fetch_response_partition_data *data,
                         struct fetch_part *part)
{
    if (!part->fetch->read_committed) {
        data->aborted_transactions_count = -1;
        return true;
    }
    data->aborted_transactions = arena_array(arena, part->aborted_count, sizeof *data->aborted_transactions);
    if (data->aborted_transactions == NULL)
        return false;
    data->aborted_transactions_count = (int32_t)part->aborted_count;
    for (unsigned i = 0; i < part->aborted_count; i++) {
        data->aborted_transactions[i].producer_id = part->aborted[i].producer_id;
        data->aborted_transactions[i].first_offset = part->aborted[i].first_offset;
    }
    return true;
}

static bool fill_partition(struct fetch_part *part, struct fetch_response_partition_data *data,
                           struct response_slice *slices, unsigned *slice_count)
{
    message_init(&fetch_response_partition_data_schema, data);
    data->partition_index = part->want->partition;
    data->error_code = part->error;
    data->records = (struct wire_records){(const uint8_t *)"", 0, NULL};
    data->high_watermark = -1;
    if (part->error != KAFKA_NONE) {
        data->aborted_transactions_count = -1;
        return true;
    }
    data->high_watermark = part->offsets.high_watermark;
    data->last_stable_offset = part->offsets.last_stable;
    data->log_start_offset = part->offsets.start;
    if (part->diverging) {
        data->diverging_epoch.epoch = part->diverging_epoch;
        data->diverging_epoch.end_offset = part->diverging_end_offset;
    }
    if (part->slice.length_bytes > 0) {
        struct response_slice *slice = &slices[(*slice_count)++];

        *slice = (struct response_slice){.fd = part->slice.fd,
                                         .file_position = part->slice.position_bytes,
                                         .length_bytes = part->slice.length_bytes,
                                         .hot = part->slice.hot,
                                         .release = release_segment,
                                         .owner = part->slice.segment};
        part->slice.segment = NULL; /* the response has it now */
        data->records = (struct wire_records){NULL, slice->length_bytes, slice};
    }
    return fill_aborted(part->fetch->call->arena, data, part);
}

static bool same_topic(const struct fetch_want *a, const struct fetch_want *b)
{
    return uuid_equal(&a->topic_id, &b->topic_id) && str_equal(a->topic, b->topic);
}

/* Neighbours of one topic share an entry of the answer. */
static bool fill_topics(struct fetch *fetch, const struct fetch_answer *answers,
                        struct fetch_response *response, struct response_slice *slices, unsigned *slice_count)
{
    struct arena *arena = fetch->call->arena;
    struct fetch_response_partition_data *data = arena_array(arena, fetch->part_count, sizeof *data);
    struct fetch_response_fetchable_topic_response *topic = NULL;
    const struct fetch_want *topic_want = NULL;

    response->responses = arena_array(arena, fetch->part_count, sizeof *response->responses);
    if (data == NULL || response->responses == NULL)
        return false;
    for (unsigned i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];

        if (!answers[i].send)
            continue;
        if (topic == NULL || !same_topic(topic_want, part->want)) {
            topic = &response->responses[response->responses_count++];
            topic->topic = part->want->topic;
            topic->topic_id = part->want->topic_id;
            topic->partitions = data;
            topic_want = part->want;
        }
        if (!fill_partition(part, data++, slices, slice_count))
            return false;
        topic->partitions_count++;
    }
    return true;
}

static void release_parts(struct fetch *fetch)
{
    drop_results(fetch);
    for (unsigned i = 0; i < fetch->part_count; i++)
        partition_unref(fetch->parts[i].partition);
    fetch->part_count = 0;
}

static void answer(struct fetch *fetch)
{
    struct call *call = fetch->call;
    struct fetch_answer *answers = arena_array(call->arena, fetch->part_count, sizeof *answers);
    struct response_slice *slices = arena_array(call->arena, fetch->part_count, sizeof *slices);
    unsigned slice_count = 0;
    int32_t session_id;

    CALL_RESPONSE(fetch_response, response);
    if (answers == NULL || slices == NULL)
        goto fail;
    for (unsigned i = 0; i < fetch->part_count; i++) {
        const struct fetch_part *part = &fetch->parts[i];

        answers[i] = (struct fetch_answer){.want = part->want,
                                           .high_watermark = part->offsets.high_watermark,
                                           .log_start_offset = part->offsets.start,
                                           .has_records = part->slice.length_bytes > 0,
                                           .must_send = part->error != KAFKA_NONE || part->diverging ||
                                                        part->slice.length_bytes > 0};
    }
    session_id = fetch_session_end(call->env->fetch_sessions, &fetch->context, answers, fetch->part_count);
    if (session_id < 0) {
        response.error_code = (int16_t)-session_id;
    } else {
        response.session_id = session_id;
        if (!fill_topics(fetch, answers, &response, slices, &slice_count))
            goto fail;
    }
    release_parts(fetch);
    call_respond_slices(call, &response, slices, slice_count);
    return;

fail:
    for (unsigned i = 0; i < slice_count; i++)
        slices[i].release(slices[i].owner);
    release_parts(fetch);
    call_fail(call, "a fetch needs more memory than a request may take");
}

/* ---- waiting ---- */

static void stop_waiting(struct fetch *fetch)
{
    if (!fetch->parked)
        return;
    fetch->parked = false;
    for (unsigned i = 0; i < fetch->part_count; i++) {
        if (fetch->parts[i].partition != NULL)
            partition_wait_end(fetch->parts[i].partition, &fetch->parts[i].waiter);
    }
    loop_timer_stop(fetch->call->loop, &fetch->timer);
    list_remove(&fetch->ready_link);
    call_set_cancel(fetch->call, NULL);
}

static void make_ready(struct fetch *fetch)
{
    struct api_loop *api_loop = fetch->call->env->loops[loop_index(fetch->call->loop)];

    if (fetch->parked && list_is_empty(&fetch->ready_link))
        list_push_back(&api_loop->fetches_ready, &fetch->ready_link);
}

static void mail_came(struct mail *mail)
{
    struct fetch *fetch = CONTAINER_OF(mail, struct fetch, mail);

    atomic_store(&fetch->mailed, false);
    if (fetch->abandoned)
        call_discard(fetch->call);
    else
        make_ready(fetch);
}

/* Any thread, under the partition's waiters lock. */
static void wake(struct partition_waiter *waiter)
{
    struct fetch *fetch = CONTAINER_OF(waiter, struct fetch_part, waiter)->fetch;

    if (loop_is_current(fetch->call->loop))
        make_ready(fetch);
    else if (!atomic_exchange(&fetch->mailed, true))
        loop_post(fetch->call->loop, &fetch->mail);
}

static void waited_long_enough(struct loop_timer *timer)
{
    struct fetch *fetch = CONTAINER_OF(timer, struct fetch, timer);

    fetch->timed_out = true;
    make_ready(fetch);
}

/* The connection is gone. */
static void cancel(struct call *call)
{
    struct fetch *fetch = call->request;

    stop_waiting(fetch);
    release_parts(fetch);
    if (atomic_load(&fetch->mailed)) /* the arena must outlive the mail */
        fetch->abandoned = true;
    else
        call_discard(call);
}

static void park(struct fetch *fetch, int64_t delay_ms)
{
    fetch->parked = true;
    call_set_cancel(fetch->call, cancel);
    loop_timer_start(fetch->call->loop, &fetch->timer, delay_ms);
    for (unsigned i = 0; i < fetch->part_count; i++) {
        if (fetch->parts[i].partition != NULL)
            partition_wait(fetch->parts[i].partition, &fetch->parts[i].waiter);
    }
}

static void serve_again(struct call *call)
{
    serve(call->request);
}

/* Thread: a worker. */
static void warm(struct call *call)
{
    struct fetch *fetch = call->request;

    for (unsigned i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];

        if (part->cold)
            log_read_warm(part->partition->log, part->want->offset);
    }
    call_on_loop(call, serve_again);
}

static bool is_satisfied(const struct fetch *fetch, const struct reading *reading)
{
    return fetch->timed_out || reading->error || reading->diverging || reading->bytes >= fetch->min_bytes ||
           fetch->part_count == 0;
}

static void serve(struct fetch *fetch)
{
    struct call *call = fetch->call;
    struct reading reading;

    if (call->session == NULL) { /* came home from warming to a closed connection */
        release_parts(fetch);
        call_discard(call);
        return;
    }
    reading = read_all(fetch);
    if (reading.cold) {
        if (reading.bytes == 0) {
            stop_waiting(fetch);
            if (atomic_load(&fetch->mailed)) { /* let the mail come home before another thread has the call */
                drop_results(fetch);
                park(fetch, 1);
                return;
            }
            for (unsigned i = 0; i < fetch->part_count; i++) {
                bool cold = fetch->parts[i].cold;

                segment_unref(fetch->parts[i].slice.segment);
                fetch->parts[i].slice = (struct log_slice){.fd = -1};
                fetch->parts[i].cold = cold;
            }
            call_on_worker(call, warm);
            return;
        }
    } else if (!is_satisfied(fetch, &reading)) {
        drop_results(fetch);
        if (!fetch->parked) { /* look once more after waiting began: an append may have come in between */
            park(fetch, fetch->max_wait_ms);
            serve(fetch);
        }
        return;
    }
    stop_waiting(fetch);
    if (atomic_load(&fetch->mailed)) { /* the mail refers to the arena the answer would free */
        drop_results(fetch);
        park(fetch, 1);
        return;
    }
    answer(fetch);
}

void fetch_serve_ready(struct api_loop *api_loop)
{
    while (!list_is_empty(&api_loop->fetches_ready)) {
        struct fetch *fetch = CONTAINER_OF(api_loop->fetches_ready.next, struct fetch, ready_link);

        list_remove(&fetch->ready_link);
        serve(fetch);
    }
}

/* ---- the request ---- */

static int16_t find_partition(struct fetch *fetch, struct fetch_part *part)
{
    struct registry *registry = fetch->call->env->registry;

    if (!fetch->context.topic_ids)
        return registry_find(registry, part->want->topic, part->want->partition, &part->partition) == PST_OK
                   ? KAFKA_NONE
                   : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    switch (registry_find_by_id(registry, &part->want->topic_id, part->want->partition, &part->partition)) {
    case PST_OK:
        return KAFKA_NONE;
    case PST_INVALID:
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    default:
        return KAFKA_UNKNOWN_TOPIC_ID;
    }
}

static bool prepare_parts(struct fetch *fetch)
{
    fetch->parts = arena_array(fetch->call->arena, fetch->context.want_count, sizeof *fetch->parts);
    if (fetch->parts == NULL)
        return false;
    fetch->part_count = fetch->context.want_count;
    for (unsigned i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];

        part->fetch = fetch;
        part->want = &fetch->context.wants[i];
        part->waiter.wake = wake;
        part->slice.fd = -1;
        list_init(&part->waiter.link);
        part->error = find_partition(fetch, part);
    }
    return true;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void api_handle_fetch(struct call *call)
{
    const struct fetch_request *request = call->request;
    struct fetch *fetch = arena_alloc_zero(call->arena, sizeof *fetch);

    if (fetch == NULL || fetch_session_begin(call->env->fetch_sessions, request, call->version, call->arena,
                                             &fetch->context) != PST_OK) {
        call_fail(call, "a fetch needs more memory than a request may take");
        return;
    }
    if (fetch->context.error != KAFKA_NONE) {
        CALL_RESPONSE(fetch_response, response);
        response.error_code = fetch->context.error;
        call_respond(call, &response);
        return;
    }
    fetch->call = call;
    fetch->mail.deliver = mail_came;
    list_init(&fetch->ready_link);
    loop_timer_init(&fetch->timer, waited_long_enough);
    fetch->timed_out = request->max_wait_ms <= 0;
    fetch->max_wait_ms = request->max_wait_ms;
    fetch->min_bytes = request->min_bytes;
    fetch->bytes_max = smaller(request->max_bytes, call->env->options->fetch_max_bytes);
    fetch->read_committed = request->isolation_level == READ_COMMITTED;
    if (!prepare_parts(fetch)) {
        call_fail(call, "a fetch needs more memory than a request may take");
        return;
    }
    call->request = fetch;
    serve(fetch);
}
