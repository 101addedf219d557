/* Produce: record batches into partitions' logs, answered in the durability the client asked for.
 *
 * The request is decoded in the read buffer; batches are appended before on_frame returns.  Only an answer
 * that waits for the disk outlives it, and copies the topic names it needs. */
#include "broker/api/produce.h"
#include "broker/api/call.h"
#include "broker/api/error_map.h"
#include "broker/api/handlers.h"
#include "broker/api/session.h"
#include "broker/topic/registry.h"
#include "common/bug.h"
#include "protocol/error_codes.h"
#include "protocol/record_batch.h"

#include "msg/produce.h"

#define ACKS_ALL (-1)

/* An answer that is not complete before the disk has synced. */
struct produce {
    struct call *call;
    struct produce_response response;
    _Atomic unsigned flushes_open; /* last one out answers; 1 is held while the request is being worked on */
    int16_t acks;
    bool failed; /* some partition has an error */
};

struct produce_flush {
    struct log_flush_waiter waiter;
    struct produce *produce;
    struct produce_response_partition_produce_response *response;
    struct partition *partition;
};

int16_t produce_check_records(const struct wire_records *records, int16_t version)
{
    struct record_batch_info info;
    enum pst_status status;

    if (records->at == NULL || records->length == 0)
        return KAFKA_INVALID_RECORD;
    status = record_batch_read_header(records->at, records->length, &info);
    if (status == PST_UNSUPPORTED)
        return KAFKA_INVALID_RECORD; /* another magic */
    if (status == PST_TRUNCATED || status == PST_CORRUPT)
        return KAFKA_CORRUPT_MESSAGE;
    if (info.size_bytes < records->length)
        return KAFKA_INVALID_RECORD; /* more than one batch */
    if (info.size_bytes > records->length)
        return KAFKA_CORRUPT_MESSAGE;
    if ((info.attributes & RECORD_BATCH_CODEC_MASK) == COMPRESS_ZSTD && version < 7)
        return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    return KAFKA_NONE;
}

int16_t produce_check_partition(const struct call *call, struct partition *partition, int16_t acks)
{
    if (partition->internal && !str_equal_text(call->client_id, "__admin_client"))
        return KAFKA_INVALID_TOPIC_EXCEPTION;
    if (atomic_load_explicit(&partition->deleted, memory_order_acquire))
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (partition->log == NULL || log_is_offline(partition->log))
        return KAFKA_KAFKA_STORAGE_ERROR;
    if (acks == ACKS_ALL && atomic_load_explicit(&partition->in_sync_count, memory_order_relaxed) <
                                atomic_load_explicit(&partition->min_in_sync, memory_order_relaxed))
        return KAFKA_NOT_ENOUGH_REPLICAS;
    return KAFKA_NONE;
}

static void set_error(struct produce_response_partition_produce_response *response, int16_t error)
{
    response->error_code = error;
    response->base_offset = -1;
    response->log_append_time_ms = -1;
    response->log_start_offset = -1;
}

/* What the log said, in the words of the protocol. */
static void set_outcome(struct arena *arena, struct produce_response_partition_produce_response *response,
                        const struct log_append *append)
{
    struct produce_response_batch_index_and_error_message *bad;

    response->error_code = error_of_append(append->outcome);
    response->base_offset = append->base_offset;
    response->log_append_time_ms = append->append_time_ms;
    response->log_start_offset = append->log_start_offset;
    if (response->error_code == KAFKA_NONE)
        return;
    response->error_message = str_of(append->text);
    if (append->outcome == APPEND_NO_SPACE)
        response->error_message = STR_LITERAL("no space left in the log directory; free some, then retry");
    if (append->bad_record < 0)
        return;
    bad = arena_alloc_zero(arena, sizeof *bad);
    if (bad == NULL)
        return;
    bad->batch_index = append->bad_record;
    bad->batch_index_error_message = str_of(append->text);
    response->record_errors = bad;
    response->record_errors_count = 1;
}

static void finish(struct call *call);

/* Thread: a worker, or the loop when nothing had to be waited for. */
static void flush_done(struct log_flush_waiter *waiter, enum pst_status status)
{
    struct produce_flush *flush = CONTAINER_OF(waiter, struct produce_flush, waiter);
    struct produce *produce = flush->produce;

    if (status != PST_OK)
        set_error(flush->response, KAFKA_KAFKA_STORAGE_ERROR);
    partition_unref(flush->partition);
    if (atomic_fetch_sub(&produce->flushes_open, 1) == 1)
        call_on_loop(produce->call, finish);
}

/* Takes over the reference to the partition. */
static bool wait_for_flush(struct produce *produce, struct partition *partition, int64_t end_offset,
                           struct produce_response_partition_produce_response *response)
{
    struct produce_flush *flush = arena_alloc_zero(produce->call->arena, sizeof *flush);

    if (flush == NULL)
        return false;
    flush->waiter.end_offset = end_offset;
    flush->waiter.done = flush_done;
    flush->produce = produce;
    flush->response = response;
    flush->partition = partition;
    atomic_fetch_add(&produce->flushes_open, 1);
    log_flush_wait(partition->log, &flush->waiter);
    return true;
}

void produce_settle(struct produce *produce, struct partition *partition, const struct log_append *append,
                    struct produce_response_partition_produce_response *response)
{
    set_outcome(produce->call->arena, response, append);
    if (append->outcome == APPEND_OK)
        partition_notify(partition);
    if (append->wait_for_flush && produce->acks != 0 && response->error_code == KAFKA_NONE) {
        if (wait_for_flush(produce, partition, append->end_offset, response))
            return;
        set_error(response, KAFKA_UNKNOWN_SERVER_ERROR);
    }
    partition_unref(partition);
}

static void append_partition(struct produce *produce, struct str topic,
                             const struct produce_request_partition_produce_data *data,
                             struct produce_response_partition_produce_response *response)
{
    struct call *call = produce->call;
    struct log_append append = {.origin = APPEND_FROM_CLIENT, .bad_record = -1};
    struct partition *partition;
    int16_t error;

    if (registry_find(call->env->registry, topic, data->index, &partition) != PST_OK) {
        set_error(response, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        return;
    }
    error = produce_check_records(&data->records, call->version);
    if (error == KAFKA_NONE)
        error = produce_check_partition(call, partition, produce->acks);
    if (error != KAFKA_NONE) {
        set_error(response, error);
        partition_unref(partition);
        return;
    }
    append.bytes =
        (uint8_t *)(uintptr_t)data->records.at; /* API_IN_PLACE: the read buffer is ours to patch */
    append.size_bytes = (uint32_t)data->records.length;
    append.leader_epoch = atomic_load_explicit(&partition->leader_epoch, memory_order_relaxed);
    log_append(partition->log, &append, 1);
    produce_settle(produce, partition, &append, response);
}

static bool append_topic(struct produce *produce, const struct produce_request_topic_produce_data *data,
                         struct produce_response_topic_produce_response *response)
{
    struct arena *arena = produce->call->arena;
    bool valid_acks = produce->acks >= ACKS_ALL && produce->acks <= 1;

    response->name = data->name;
    response->partition_responses =
        arena_array(arena, (size_t)data->partition_data_count, sizeof *response->partition_responses);
    if (response->partition_responses == NULL)
        return false;
    response->partition_responses_count = data->partition_data_count;
    for (int32_t i = 0; i < data->partition_data_count; i++) {
        struct produce_response_partition_produce_response *part = &response->partition_responses[i];

        message_init(&produce_response_partition_produce_response_schema, part);
        part->index = data->partition_data[i].index;
        if (valid_acks)
            append_partition(produce, data->name, &data->partition_data[i], part);
        else
            set_error(part, KAFKA_INVALID_REQUIRED_ACKS);
        produce->failed |= part->error_code != KAFKA_NONE;
    }
    return true;
}

static bool keep_names(struct produce *produce)
{
    for (int32_t i = 0; i < produce->response.responses_count; i++) {
        struct str *name = &produce->response.responses[i].name;
        const char *copy = arena_str_dup(produce->call->arena, *name);

        if (copy == NULL)
            return false;
        name->at = copy;
    }
    return true;
}

static void finish(struct call *call)
{
    struct produce *produce = call->request;

    if (produce->acks != 0)
        call_respond(call, &produce->response);
    else if (produce->failed)
        call_fail(call,
                  "a produce request without acknowledgement failed; closing tells the client to refresh");
    else
        call_end_silently(call);
}

struct produce *produce_begin(struct call *call, int16_t acks, int32_t topic_count)
{
    struct produce *produce = arena_alloc_zero(call->arena, sizeof *produce);

    if (produce == NULL)
        return NULL;
    message_init(&produce_response_schema, &produce->response);
    produce->call = call;
    produce->acks = acks;
    atomic_init(&produce->flushes_open, 1);
    produce->response.responses =
        arena_array(call->arena, (size_t)topic_count, sizeof *produce->response.responses);
    if (produce->response.responses == NULL)
        return NULL;
    produce->response.responses_count = topic_count;
    return produce;
}

bool produce_open_partition(struct produce *produce, struct str topic, int32_t partition)
{
    struct produce_response_topic_produce_response *response = &produce->response.responses[0];

    response->name = topic;
    response->partition_responses = arena_alloc(produce->call->arena, sizeof *response->partition_responses);
    if (response->partition_responses == NULL)
        return false;
    message_init(&produce_response_partition_produce_response_schema, response->partition_responses);
    response->partition_responses_count = 1;
    response->partition_responses->index = partition;
    return true;
}

void produce_settle_only(struct produce *produce, struct partition *partition,
                         const struct log_append *append)
{
    struct produce_response_partition_produce_response *response =
        &produce->response.responses[0].partition_responses[0];

    produce_settle(produce, partition, append, response);
    produce->failed |= response->error_code != KAFKA_NONE;
}

void produce_end(struct produce *produce)
{
    struct call *call = produce->call;

    if (atomic_load(&produce->flushes_open) > 1 && !keep_names(produce)) {
        /* Out of memory with flushes under way: they end before the call does. */
        produce->failed = true;
        produce->acks = 0;
    }
    call->request = produce;
    if (atomic_fetch_sub(&produce->flushes_open, 1) == 1)
        finish(call);
}

void api_handle_produce(struct call *call)
{
    const struct produce_request *request = call->request;
    struct produce *produce = produce_begin(call, request->acks, request->topic_data_count);

    if (produce == NULL) {
        call_fail(call, "out of memory");
        return;
    }
    for (int32_t i = 0; i < request->topic_data_count; i++) {
        if (!append_topic(produce, &request->topic_data[i], &produce->response.responses[i])) {
            produce->failed = true;
            produce->acks = 0; /* the answer would lie: close instead */
            break;
        }
    }
    produce_end(produce);
}
