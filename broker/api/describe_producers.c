/* DescribeProducers: who writes idempotently to a partition, for finding hanging transactions. */
#include "broker/api/call.h"
#include "broker/api/error_map.h"
#include "broker/api/handlers.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/describe_producers.h"

#include <stdlib.h>

static int16_t list_producers(struct call *call, struct log *log,
                              struct describe_producers_response_partition_response *ret)
{
    struct log_producer *producers = NULL;
    unsigned count = 0;
    enum pst_status status = log_producers(log, &producers, &count);

    if (status != PST_OK)
        return error_of_status(status);
    ret->active_producers = arena_array(call->arena, count, sizeof *ret->active_producers);
    if (ret->active_producers == NULL) {
        free(producers);
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
    ret->active_producers_count = (int32_t)count;
    for (unsigned i = 0; i < count; i++) {
        struct describe_producers_response_producer_state *state = &ret->active_producers[i];

        message_init(&describe_producers_response_producer_state_schema, state);
        state->producer_id = producers[i].producer_id;
        state->producer_epoch = producers[i].producer_epoch;
        state->last_sequence = producers[i].last_sequence;
        state->last_timestamp = producers[i].last_timestamp_ms;
        state->coordinator_epoch = producers[i].coordinator_epoch;
        state->current_txn_start_offset = producers[i].txn_first_offset;
    }
    free(producers);
    return KAFKA_NONE;
}

static void answer_partition(struct call *call, struct str topic, int32_t index,
                             struct describe_producers_response_partition_response *ret)
{
    struct partition *partition;

    message_init(&describe_producers_response_partition_response_schema, ret);
    ret->partition_index = index;
    if (registry_find(call->env->registry, topic, index, &partition) != PST_OK) {
        ret->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    ret->error_code =
        partition->log == NULL ? KAFKA_KAFKA_STORAGE_ERROR : list_producers(call, partition->log, ret);
    partition_unref(partition);
}

void api_handle_describe_producers(struct call *call)
{
    const struct describe_producers_request *request = call->request;

    CALL_RESPONSE(describe_producers_response, response);
    response.topics = arena_array(call->arena, (size_t)request->topics_count, sizeof *response.topics);
    if (response.topics == NULL)
        goto fail;
    response.topics_count = request->topics_count;
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct describe_producers_request_topic_request *topic = &request->topics[i];
        struct describe_producers_response_topic_response *result = &response.topics[i];

        result->name = topic->name;
        result->partitions =
            arena_array(call->arena, (size_t)topic->partition_indexes_count, sizeof *result->partitions);
        if (result->partitions == NULL)
            goto fail;
        result->partitions_count = topic->partition_indexes_count;
        for (int32_t k = 0; k < topic->partition_indexes_count; k++)
            answer_partition(call, topic->name, topic->partition_indexes[k], &result->partitions[k]);
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
