/* OffsetForLeaderEpoch: where an epoch ended, so that clients notice a log that was cut. */
#include "broker/api/call.h"
#include "broker/api/handlers.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/offset_for_leader_epoch.h"

static int16_t
answer_partition(struct call *call, struct str topic,
                 const struct offset_for_leader_epoch_request_offset_for_leader_partition *want,
                 struct offset_for_leader_epoch_response_epoch_end_offset *ret)
{
    struct partition *partition;
    int32_t current;
    int16_t error = KAFKA_NONE;

    if (registry_find(call->env->registry, topic, want->partition, &partition) != PST_OK)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    current = atomic_load(&partition->leader_epoch);
    if (partition->log == NULL || log_is_offline(partition->log))
        error = KAFKA_KAFKA_STORAGE_ERROR;
    else if (want->current_leader_epoch >= 0 && want->current_leader_epoch < current)
        error = KAFKA_FENCED_LEADER_EPOCH;
    else if (want->current_leader_epoch > current)
        error = KAFKA_UNKNOWN_LEADER_EPOCH;
    else
        log_epoch_end(partition->log, want->leader_epoch, current, &ret->leader_epoch, &ret->end_offset);
    partition_unref(partition);
    return error;
}

void api_handle_offset_for_leader_epoch(struct call *call)
{
    const struct offset_for_leader_epoch_request *request = call->request;

    CALL_RESPONSE(offset_for_leader_epoch_response, response);
    response.topics = arena_array(call->arena, (size_t)request->topics_count, sizeof *response.topics);
    if (response.topics == NULL)
        goto fail;
    response.topics_count = request->topics_count;
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct offset_for_leader_epoch_request_offset_for_leader_topic *topic = &request->topics[i];
        struct offset_for_leader_epoch_response_offset_for_leader_topic_result *result = &response.topics[i];

        result->topic = topic->topic;
        result->partitions =
            arena_array(call->arena, (size_t)topic->partitions_count, sizeof *result->partitions);
        if (result->partitions == NULL)
            goto fail;
        result->partitions_count = topic->partitions_count;
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            struct offset_for_leader_epoch_response_epoch_end_offset *end = &result->partitions[k];

            message_init(&offset_for_leader_epoch_response_epoch_end_offset_schema, end);
            end->partition = topic->partitions[k].partition;
            end->error_code = answer_partition(call, topic->topic, &topic->partitions[k], end);
        }
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
