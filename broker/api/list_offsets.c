/* ListOffsets: ends answer at once on the loop, searches by time run on a worker. */
#include "broker/api/call.h"
#include "broker/api/error_map.h"
#include "broker/api/handlers.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/list_offsets.h"

#define LATEST           (-1)
#define EARLIEST         (-2)
#define MAX_TIMESTAMP    (-3)
#define EARLIEST_LOCAL   (-4)
#define LATEST_TIERED    (-5)
#define EARLIEST_PENDING (-6)
#define READ_COMMITTED   1
#define CURRENT_UNKNOWN  (-1)

struct special {
    int64_t timestamp;
    int16_t version_min;
};

static const struct special specials[] = {
    {LATEST, 0},         {EARLIEST, 0},      {MAX_TIMESTAMP, 7},
    {EARLIEST_LOCAL, 8}, {LATEST_TIERED, 9}, {EARLIEST_PENDING, 11},
};

static bool is_served(int64_t timestamp, int16_t version)
{
    if (timestamp >= 0)
        return true;
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
        if (specials[i].timestamp == timestamp)
            return version >= specials[i].version_min;
    }
    return false;
}

static bool needs_disk(const struct list_offsets_request *request)
{
    for (int32_t i = 0; i < request->topics_count; i++) {
        for (int32_t k = 0; k < request->topics[i].partitions_count; k++) {
            int64_t timestamp = request->topics[i].partitions[k].timestamp;

            if (timestamp >= 0 || timestamp == MAX_TIMESTAMP)
                return true;
        }
    }
    return false;
}

static int16_t check_epoch(const struct partition *partition, int32_t epoch)
{
    int32_t current = atomic_load(&partition->leader_epoch);

    if (epoch == CURRENT_UNKNOWN || epoch == current)
        return KAFKA_NONE;
    return epoch < current ? KAFKA_FENCED_LEADER_EPOCH : KAFKA_UNKNOWN_LEADER_EPOCH;
}

static int16_t search(struct log *log, int64_t timestamp, int64_t end_offset,
                      struct list_offsets_response_list_offsets_partition_response *ret)
{
    enum pst_status status;

    if (timestamp == MAX_TIMESTAMP)
        status = log_find_max_time(log, &ret->offset, &ret->timestamp, &ret->leader_epoch);
    else
        status = log_find_time(log, timestamp, end_offset, &ret->offset, &ret->timestamp, &ret->leader_epoch);
    if (status != PST_NOT_FOUND)
        return error_of_status(status);
    ret->offset = -1;
    ret->timestamp = -1;
    ret->leader_epoch = -1;
    return KAFKA_NONE;
}

static int16_t find(struct partition *partition, int64_t timestamp, bool read_committed,
                    struct list_offsets_response_list_offsets_partition_response *ret)
{
    struct log_offsets offsets;
    int64_t end_offset;

    if (partition->log == NULL || log_is_offline(partition->log))
        return KAFKA_KAFKA_STORAGE_ERROR;
    offsets = log_offsets(partition->log);
    end_offset = read_committed ? offsets.last_stable : offsets.high_watermark;
    ret->leader_epoch = atomic_load(&partition->leader_epoch);
    switch (timestamp) {
    case LATEST:
        ret->offset = end_offset;
        return KAFKA_NONE;
    case EARLIEST:
    case EARLIEST_LOCAL:
        ret->offset = offsets.start;
        return KAFKA_NONE;
    case LATEST_TIERED:
    case EARLIEST_PENDING:
        ret->offset = -1; /* nothing is tiered */
        ret->leader_epoch = -1;
        return KAFKA_NONE;
    default:
        return search(partition->log, timestamp, end_offset, ret);
    }
}

static bool is_twice(const struct list_offsets_request_list_offsets_topic *topic, int32_t index)
{
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        if (i != index && topic->partitions[i].partition_index == topic->partitions[index].partition_index)
            return true;
    }
    return false;
}

static void answer_partition(struct call *call, const struct list_offsets_request *request,
                             const struct list_offsets_request_list_offsets_topic *topic, int32_t index,
                             struct list_offsets_response_list_offsets_partition_response *ret)
{
    const struct list_offsets_request_list_offsets_partition *want = &topic->partitions[index];
    struct partition *partition;

    message_init(&list_offsets_response_list_offsets_partition_response_schema, ret);
    ret->partition_index = want->partition_index;
    if (is_twice(topic, index)) {
        ret->error_code = KAFKA_INVALID_REQUEST;
        return;
    }
    if (!is_served(want->timestamp, call->version)) {
        ret->error_code = KAFKA_UNSUPPORTED_VERSION;
        return;
    }
    if (registry_find(call->env->registry, topic->name, want->partition_index, &partition) != PST_OK) {
        ret->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    ret->error_code = check_epoch(partition, want->current_leader_epoch);
    if (ret->error_code == KAFKA_NONE)
        ret->error_code = find(partition, want->timestamp, request->isolation_level == READ_COMMITTED, ret);
    if (ret->error_code != KAFKA_NONE) {
        ret->offset = -1;
        ret->timestamp = -1;
    }
    if (ret->error_code != KAFKA_NONE || call->version < 4) /* not carried before version 4 */
        ret->leader_epoch = -1;
    partition_unref(partition);
}

static void answer(struct call *call)
{
    const struct list_offsets_request *request = call->request;

    CALL_RESPONSE(list_offsets_response, response);
    response.topics = arena_array(call->arena, (size_t)request->topics_count, sizeof *response.topics);
    if (response.topics == NULL)
        goto fail;
    response.topics_count = request->topics_count;
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct list_offsets_request_list_offsets_topic *topic = &request->topics[i];

        response.topics[i].name = topic->name;
        response.topics[i].partitions =
            arena_array(call->arena, (size_t)topic->partitions_count, sizeof *response.topics[i].partitions);
        if (response.topics[i].partitions == NULL)
            goto fail;
        response.topics[i].partitions_count = topic->partitions_count;
        for (int32_t k = 0; k < topic->partitions_count; k++)
            answer_partition(call, request, topic, k, &response.topics[i].partitions[k]);
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}

void api_handle_list_offsets(struct call *call)
{
    if (needs_disk(call->request))
        call_on_worker(call, answer);
    else
        answer(call);
}
