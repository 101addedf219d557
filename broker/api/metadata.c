/* Metadata: brokers, topics, leaders; creates what is missing where that is asked for and allowed. */
#include "broker/api/api_metadata.h"
#include "broker/api/handlers.h"
#include "broker/options.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/metadata.h"

#include <stdlib.h>

typedef struct metadata_response_metadata_response_topic response_topic;
typedef struct metadata_response_metadata_response_partition response_partition;

static bool wants_all(const struct call *call)
{
    const struct metadata_request *request = call->request;

    return request->topics_count < 0 || (call->version == 0 && request->topics_count == 0);
}

static bool is_offline(struct call *call, const struct metadata_topic *topic, int32_t index)
{
    struct partition *partition;
    bool offline;

    if (registry_find_by_id(call->env->registry, &topic->id, index, &partition) != PST_OK)
        return true;
    offline = partition->log == NULL || log_is_offline(partition->log);
    partition_unref(partition);
    return offline;
}

static void fill_partition(struct call *call, const struct metadata_topic *topic, int32_t index,
                           response_partition *ret)
{
    const struct metadata_partition *partition = topic->partitions[index];

    message_init(&metadata_response_metadata_response_partition_schema, ret);
    ret->partition_index = index;
    ret->leader_id = partition->leader;
    ret->leader_epoch = partition->leader_epoch;
    ret->replica_nodes = partition->replicas;
    ret->replica_nodes_count = partition->replica_count;
    ret->isr_nodes = partition->isr;
    ret->isr_nodes_count = partition->isr_count;
    if (partition->leader == call->env->node_id && is_offline(call, topic, index)) {
        ret->leader_id = METADATA_NO_LEADER;
        ret->offline_replicas = partition->replicas;
        ret->offline_replicas_count = partition->replica_count;
    }
    if (ret->leader_id == METADATA_NO_LEADER)
        ret->error_code = KAFKA_LEADER_NOT_AVAILABLE;
}

static bool fill_topic(struct call *call, const struct metadata_topic *topic, response_topic *ret)
{
    const struct metadata_request *request = call->request;

    message_init(&metadata_response_metadata_response_topic_schema, ret);
    ret->name = metadata_topic_name(topic);
    ret->topic_id = topic->id;
    ret->is_internal = topic->internal;
    if (request->include_topic_authorized_operations)
        ret->topic_authorized_operations = TOPIC_OPERATIONS_ALL;
    ret->partitions = arena_alloc(call->arena, (size_t)topic->partition_count * sizeof *ret->partitions);
    if (ret->partitions == NULL)
        return false;
    ret->partitions_count = topic->partition_count;
    for (int32_t i = 0; i < topic->partition_count; i++)
        fill_partition(call, topic, i, &ret->partitions[i]);
    return true;
}

static bool fill_brokers(struct call *call, const struct metadata_image *image,
                         struct metadata_response *response)
{
    unsigned count = metadata_broker_count(image);

    response->brokers = arena_array(call->arena, count, sizeof *response->brokers);
    if (response->brokers == NULL)
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct metadata_broker *broker = metadata_broker_at(image, i);
        const struct metadata_endpoint *endpoint = call_endpoint(call, broker);
        struct metadata_response_metadata_response_broker *to;

        if (broker->fenced || endpoint == NULL)
            continue;
        to = &response->brokers[response->brokers_count++];
        to->node_id = broker->id;
        to->host = endpoint->host;
        to->port = endpoint->port;
        to->rack = broker->rack;
    }
    return true;
}

static bool fill_all_topics(struct call *call, const struct metadata_image *image,
                            struct metadata_response *response)
{
    size_t count;
    const struct metadata_topic **topics = metadata_topics_sorted(image, &count);
    bool filled = topics != NULL;

    if (topics == NULL)
        return count == 0;
    response->topics = arena_alloc(call->arena, count * sizeof *response->topics);
    filled = response->topics != NULL;
    for (size_t i = 0; i < count && filled; i++)
        filled = fill_topic(call, topics[i], &response->topics[response->topics_count++]);
    free(topics);
    return filled;
}

static const struct metadata_topic *find_wanted(const struct metadata_image *image,
                                                const struct metadata_request_metadata_request_topic *want)
{
    if (!uuid_is_zero(&want->topic_id))
        return metadata_topic_find_by_id(image, &want->topic_id);
    return str_is_null(want->name) ? NULL : metadata_topic_find(image, want->name);
}

static bool fill_wanted_topics(struct call *call, const struct metadata_image *image, const int16_t *errors,
                               struct metadata_response *response)
{
    const struct metadata_request *request = call->request;

    response->topics = arena_alloc(call->arena, (size_t)request->topics_count * sizeof *response->topics);
    if (response->topics == NULL)
        return false;
    response->topics_count = request->topics_count;
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct metadata_request_metadata_request_topic *want = &request->topics[i];
        const struct metadata_topic *topic = find_wanted(image, want);
        response_topic *to = &response->topics[i];

        if (topic != NULL) {
            if (!fill_topic(call, topic, to))
                return false;
            continue;
        }
        message_init(&metadata_response_metadata_response_topic_schema, to);
        to->name = want->name;
        to->topic_id = want->topic_id;
        if (!uuid_is_zero(&want->topic_id)) {
            to->error_code = KAFKA_UNKNOWN_TOPIC_ID;
            to->name = str_null();
            if (call->version < 12)
                to->name = STR_LITERAL("");
        } else if (str_is_null(want->name)) {
            to->error_code = KAFKA_INVALID_REQUEST;
            to->name = STR_LITERAL("");
        } else if (errors != NULL && errors[i] != KAFKA_NONE) {
            to->error_code = errors[i];
        } else {
            to->error_code = metadata_topic_name_fault(want->name, call->arena) != NULL
                                 ? KAFKA_INVALID_TOPIC_EXCEPTION
                                 : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
    return true;
}

static void answer(struct call *call, const int16_t *errors)
{
    const struct metadata_request *request = call->request;
    const struct metadata_image *image = call_image(call);

    CALL_RESPONSE(metadata_response, response);
    if (image == NULL || !fill_brokers(call, image, &response))
        goto fail;
    response.cluster_id = str_of(metadata_cluster_id(call->env->metadata));
    response.controller_id = call->env->node_id;
    if (request->include_cluster_authorized_operations && call->version >= 8 && call->version <= 10)
        response.cluster_authorized_operations = CLUSTER_OPERATIONS_ALL;
    if (wants_all(call) ? !fill_all_topics(call, image, &response)
                        : !fill_wanted_topics(call, image, errors, &response))
        goto fail;
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "a metadata answer needs more memory than a request may take");
}

static bool is_wanted_twice(const struct metadata_request *request, int32_t index)
{
    for (int32_t i = 0; i < index; i++) {
        if (str_equal(request->topics[i].name, request->topics[index].name))
            return true;
    }
    return false;
}

/* Thread: control. */
static void create_missing(struct call *call)
{
    const struct metadata_request *request = call->request;
    const struct metadata_image *image = call_image(call);
    struct metadata_new_topic *topics =
        arena_array(call->arena, (size_t)request->topics_count, sizeof *topics);
    int16_t *errors = arena_array(call->arena, (size_t)request->topics_count, sizeof *errors);
    unsigned count = 0;

    if (image == NULL || topics == NULL || errors == NULL) {
        call_fail(call, "out of memory");
        return;
    }
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct metadata_request_metadata_request_topic *want = &request->topics[i];

        if (!str_is_null(want->name) && uuid_is_zero(&want->topic_id) &&
            metadata_topic_find(image, want->name) == NULL && !is_wanted_twice(request, i))
            topics[count++] = (struct metadata_new_topic){
                .name = want->name, .partition_count = -1, .replication_factor = -1};
    }
    metadata_create_topics(call->env->metadata, topics, count, false, call->arena);
    for (int32_t i = 0; i < request->topics_count; i++) {
        for (unsigned k = 0; k < count; k++) {
            if (str_equal(topics[k].name, request->topics[i].name) &&
                topics[k].error != KAFKA_TOPIC_ALREADY_EXISTS)
                errors[i] = topics[k].error;
        }
    }
    answer(call, errors);
}

static bool has_missing(const struct metadata_request *request, const struct metadata_image *image)
{
    for (int32_t i = 0; i < request->topics_count; i++) {
        const struct metadata_request_metadata_request_topic *want = &request->topics[i];

        if (!str_is_null(want->name) && uuid_is_zero(&want->topic_id) &&
            metadata_topic_find(image, want->name) == NULL)
            return true;
    }
    return false;
}

void api_handle_metadata(struct call *call)
{
    const struct metadata_request *request = call->request;
    const struct metadata_image *image;
    bool create;

    if (wants_all(call) || !request->allow_auto_topic_creation ||
        !call->env->options->auto_create_topics_enable) {
        answer(call, NULL);
        return;
    }
    image = metadata_acquire(call->env->metadata);
    create = has_missing(request, image);
    metadata_release(image);
    if (create)
        call_on_control(call, create_missing);
    else
        answer(call, NULL);
}
