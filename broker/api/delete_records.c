/* DeleteRecords: raises log start offsets. */
#include "broker/api/call.h"
#include "broker/api/error_map.h"
#include "broker/api/handlers.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/delete_records.h"

static int16_t delete_from(struct call *call, struct str topic,
                           const struct delete_records_request_delete_records_partition *want,
                           int64_t *ret_start)
{
    struct partition *partition;
    int16_t error;

    if (registry_find(call->env->registry, topic, want->partition_index, &partition) != PST_OK)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (partition->internal)
        error = KAFKA_INVALID_TOPIC_EXCEPTION;
    else if (partition->log == NULL)
        error = KAFKA_KAFKA_STORAGE_ERROR;
    else
        error = error_of_status(log_raise_start(partition->log, want->offset, ret_start));
    if (error == KAFKA_NONE)
        partition_notify(partition);
    partition_unref(partition);
    return error;
}

void api_handle_delete_records(struct call *call)
{
    const struct delete_records_request *request = call->request;

    CALL_RESPONSE(delete_records_response, response);
    response.topics = arena_array(call->arena, (size_t)request->topics_count, sizeof *response.topics);
    if (response.topics == NULL)
        goto fail;
    response.topics_count = request->topics_count;
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct delete_records_request_delete_records_topic *topic = &request->topics[i];
        struct delete_records_response_delete_records_topic_result *result = &response.topics[i];

        result->name = topic->name;
        result->partitions =
            arena_array(call->arena, (size_t)topic->partitions_count, sizeof *result->partitions);
        if (result->partitions == NULL)
            goto fail;
        result->partitions_count = topic->partitions_count;
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            struct delete_records_response_delete_records_partition_result *part = &result->partitions[k];
            int64_t start = -1;

            part->partition_index = topic->partitions[k].partition_index;
            part->error_code = delete_from(call, topic->name, &topic->partitions[k], &start);
            part->low_watermark = part->error_code == KAFKA_NONE ? start : -1;
        }
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
