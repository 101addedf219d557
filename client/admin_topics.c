/* Topics and the cluster: create, delete, grow, describe. */
#include "client/call.h"
#include "client/result.h"
#include "msg/api_versions.h"
#include "msg/create_partitions.h"
#include "msg/create_topics.h"
#include "msg/delete_topics.h"
#include "msg/metadata.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"

#include <stdlib.h>

#define ITEMS_MAX 1000000u /* of one call */

static pst_err_t check_items(struct pst_client *client, const void *items, size_t count,
                             struct pst_error *error)
{
    if (client == NULL || (items == NULL && count > 0) || count > ITEMS_MAX)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and items must be given");
    return PST_ERR_NONE;
}

/* The time the broker is given: what is left of ours. */
static int32_t broker_timeout_ms(const struct pst_client *client, int64_t deadline_us)
{
    int64_t left_ms = (deadline_us - reactor_now_us(&client->reactor)) / 1000;

    if (left_ms > client->config->number[OPTION_REQUEST_TIMEOUT])
        left_ms = client->config->number[OPTION_REQUEST_TIMEOUT];
    return left_ms < 1 ? 1 : (int32_t)left_ms;
}

/* To the controller, again for as long as the answer is that somebody else is it. */
static pst_err_t send_to_controller(struct pst_client *client, const struct call *call,
                                    bool (*is_not_controller)(const void *response), struct reply *ret,
                                    struct pst_error *error)
{
    for (unsigned attempt = 0;; attempt++) {
        pst_err_t code = call_send(client, call, ret, error);

        if (code != PST_ERR_NONE || !is_not_controller(ret->message))
            return code;
        reply_free(ret);
        cluster_refresh(&client->cluster);
        code = call_pause(client, attempt, call->deadline_us, "the controller is moving", error);
        if (code != PST_ERR_NONE)
            return code;
    }
}

/* ---- create topics ---- */

static bool create_not_controller(const void *response)
{
    const struct create_topics_response *answer = response;

    return answer->topics_count > 0 && answer->topics[0].error_code == KAFKA_NOT_CONTROLLER;
}

static bool fill_create(struct arena *arena, struct create_topics_request *request,
                        const struct pst_new_topic *topics, size_t count)
{
    request->topics = arena_array(arena, count, sizeof *request->topics);
    if (request->topics == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct create_topics_request_creatable_topic *to = &request->topics[i];

        message_init(&create_topics_request_creatable_topic_schema, to);
        to->name = str_of(topics[i].name);
        to->num_partitions = topics[i].partitions;
        to->replication_factor = topics[i].replication_factor;
        to->configs = arena_array(arena, topics[i].setting_count, sizeof *to->configs);
        if (to->configs == NULL)
            return false;
        to->configs_count = (int32_t)topics[i].setting_count;
        for (size_t k = 0; k < topics[i].setting_count; k++) {
            message_init(&create_topics_request_creatable_topic_config_schema, &to->configs[k]);
            to->configs[k].name = str_of(topics[i].settings[k].name);
            to->configs[k].value = str_of(topics[i].settings[k].value);
        }
    }
    request->topics_count = (int32_t)count;
    return true;
}

static void take_create(struct pst_new_topic *topics, size_t count,
                        const struct create_topics_response *answer)
{
    for (size_t i = 0; i < count; i++) {
        outcome_set(&topics[i].outcome, PST_ERR_BAD_RESPONSE, STR_LITERAL("the answer does not mention it"));
        memset(topics[i].topic_id, 0, sizeof topics[i].topic_id);
        for (int32_t k = 0; k < answer->topics_count; k++) {
            const struct create_topics_response_creatable_topic_result *from = &answer->topics[k];

            if (!str_equal_text(from->name, topics[i].name))
                continue;
            outcome_set(&topics[i].outcome, from->error_code, from->error_message);
            memcpy(topics[i].topic_id, from->topic_id.bytes, sizeof topics[i].topic_id);
        }
    }
}

pst_err_t pst_create_topics(struct pst_client *client, struct pst_new_topic *topics, size_t count,
                            bool validate_only, int64_t timeout_ms, struct pst_error *error)
{
    struct create_topics_request request;
    struct arena *arena;
    struct reply reply;
    struct call call = {.target = CALL_CONTROLLER,
                        .api_key = API_CREATE_TOPICS,
                        .version_min = 1,
                        .version_max = 7,
                        .request_schema = &create_topics_request_schema,
                        .request = &request,
                        .response_schema = &create_topics_response_schema};
    pst_err_t code = check_items(client, topics, count, error);

    if (code != PST_ERR_NONE)
        return code;
    arena = arena_new(SIZE_MAX / 2);
    message_init(&create_topics_request_schema, &request);
    if (arena == NULL || !fill_create(arena, &request, topics, count)) {
        arena_free(arena);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    call.deadline_us = call_deadline_us(client, timeout_ms);
    request.timeout_ms = broker_timeout_ms(client, call.deadline_us);
    request.validate_only = validate_only;
    code = send_to_controller(client, &call, create_not_controller, &reply, error);
    if (code == PST_ERR_NONE) {
        take_create(topics, count, reply.message);
        reply_free(&reply);
    }
    arena_free(arena);
    return code;
}

/* ---- delete topics ---- */

static bool delete_not_controller(const void *response)
{
    const struct delete_topics_response *answer = response;

    return answer->responses_count > 0 && answer->responses[0].error_code == KAFKA_NOT_CONTROLLER;
}

/* Version 6 names topics in another place. */
static void shape_delete(void *request, int16_t version)
{
    struct delete_topics_request *it = request;

    if (version >= 6) {
        it->topics_count = it->topics_count > 0 ? it->topics_count : it->topic_names_count;
        it->topic_names_count = 0;
    } else {
        it->topic_names_count = it->topic_names_count > 0 ? it->topic_names_count : it->topics_count;
        it->topics_count = 0;
    }
}

static void take_delete(struct pst_topic_removal *topics, size_t count,
                        const struct delete_topics_response *answer)
{
    for (size_t i = 0; i < count; i++) {
        outcome_set(&topics[i].outcome, PST_ERR_BAD_RESPONSE, STR_LITERAL("the answer does not mention it"));
        for (int32_t k = 0; k < answer->responses_count; k++)
            if (str_equal_text(answer->responses[k].name, topics[i].name))
                outcome_set(&topics[i].outcome, answer->responses[k].error_code,
                            answer->responses[k].error_message);
    }
}

pst_err_t pst_delete_topics(struct pst_client *client, struct pst_topic_removal *topics, size_t count,
                            int64_t timeout_ms, struct pst_error *error)
{
    struct delete_topics_request request;
    struct arena *arena;
    struct reply reply;
    struct call call = {.target = CALL_CONTROLLER,
                        .api_key = API_DELETE_TOPICS,
                        .version_min = 1,
                        .version_max = 6,
                        .request_schema = &delete_topics_request_schema,
                        .request = &request,
                        .shape = shape_delete,
                        .response_schema = &delete_topics_response_schema};
    pst_err_t code = check_items(client, topics, count, error);

    if (code != PST_ERR_NONE)
        return code;
    arena = arena_new(SIZE_MAX / 2);
    message_init(&delete_topics_request_schema, &request);
    request.topics = arena == NULL ? NULL : arena_array(arena, count, sizeof *request.topics);
    request.topic_names = arena == NULL ? NULL : arena_array(arena, count, sizeof *request.topic_names);
    if (request.topics == NULL || request.topic_names == NULL) {
        arena_free(arena);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    for (size_t i = 0; i < count; i++) {
        message_init(&delete_topics_request_delete_topic_state_schema, &request.topics[i]);
        request.topics[i].name = str_of(topics[i].name);
        request.topic_names[i] = request.topics[i].name;
    }
    request.topics_count = (int32_t)count;
    request.topic_names_count = (int32_t)count;
    call.deadline_us = call_deadline_us(client, timeout_ms);
    request.timeout_ms = broker_timeout_ms(client, call.deadline_us);
    code = send_to_controller(client, &call, delete_not_controller, &reply, error);
    if (code == PST_ERR_NONE) {
        take_delete(topics, count, reply.message);
        reply_free(&reply);
    }
    arena_free(arena);
    return code;
}

/* ---- more partitions ---- */

static bool grow_not_controller(const void *response)
{
    const struct create_partitions_response *answer = response;

    return answer->results_count > 0 && answer->results[0].error_code == KAFKA_NOT_CONTROLLER;
}

pst_err_t pst_create_partitions(struct pst_client *client, struct pst_more_partitions *topics, size_t count,
                                bool validate_only, int64_t timeout_ms, struct pst_error *error)
{
    struct create_partitions_request request;
    const struct create_partitions_response *answer;
    struct reply reply;
    struct call call = {.target = CALL_CONTROLLER,
                        .api_key = API_CREATE_PARTITIONS,
                        .version_max = 3,
                        .request_schema = &create_partitions_request_schema,
                        .request = &request,
                        .response_schema = &create_partitions_response_schema};
    pst_err_t code = check_items(client, topics, count, error);

    if (code != PST_ERR_NONE)
        return code;
    message_init(&create_partitions_request_schema, &request);
    request.topics = calloc(count + 1, sizeof *request.topics);
    if (request.topics == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        message_init(&create_partitions_request_create_partitions_topic_schema, &request.topics[i]);
        request.topics[i].name = str_of(topics[i].topic);
        request.topics[i].count = topics[i].partitions;
        request.topics[i].assignments = NULL;
        request.topics[i].assignments_count = -1;
    }
    request.topics_count = (int32_t)count;
    request.validate_only = validate_only;
    call.deadline_us = call_deadline_us(client, timeout_ms);
    request.timeout_ms = broker_timeout_ms(client, call.deadline_us);
    code = send_to_controller(client, &call, grow_not_controller, &reply, error);
    free(request.topics);
    if (code != PST_ERR_NONE)
        return code;
    answer = reply.message;
    for (size_t i = 0; i < count; i++) {
        outcome_set(&topics[i].outcome, PST_ERR_BAD_RESPONSE, STR_LITERAL("the answer does not mention it"));
        for (int32_t k = 0; k < answer->results_count; k++)
            if (str_equal_text(answer->results[k].name, topics[i].topic))
                outcome_set(&topics[i].outcome, answer->results[k].error_code,
                            answer->results[k].error_message);
    }
    reply_free(&reply);
    cluster_refresh(&client->cluster);
    return PST_ERR_NONE;
}

/* ---- describe ---- */

static int compare_topics(const void *a, const void *b)
{
    const struct pst_topic_info *left = a, *right = b;

    if (left->name == NULL || right->name == NULL)
        return (left->name != NULL) - (right->name != NULL);
    return strcmp(left->name, right->name);
}

static int compare_partitions(const void *a, const void *b)
{
    const struct pst_partition_info *left = a, *right = b;

    return (left->partition > right->partition) - (left->partition < right->partition);
}

static const int32_t *copy_ids(struct arena *arena, const int32_t *ids, int32_t count, size_t *ret_count)
{
    int32_t *copy = count <= 0 ? NULL : arena_array(arena, (size_t)count, sizeof *copy);

    *ret_count = copy == NULL ? 0 : (size_t)count;
    if (copy != NULL)
        memcpy(copy, ids, (size_t)count * sizeof *copy);
    return copy;
}

static bool copy_partitions(struct arena *arena, struct pst_topic_info *to,
                            const struct metadata_response_metadata_response_topic *from)
{
    size_t count = from->partitions_count < 0 ? 0 : (size_t)from->partitions_count;
    struct pst_partition_info *partitions = arena_array(arena, count, sizeof *partitions);

    if (partitions == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct metadata_response_metadata_response_partition *source = &from->partitions[i];
        struct pst_partition_info *partition = &partitions[i];

        partition->code = source->error_code;
        partition->partition = source->partition_index;
        partition->leader = source->leader_id;
        partition->leader_epoch = source->leader_epoch;
        partition->replicas =
            copy_ids(arena, source->replica_nodes, source->replica_nodes_count, &partition->replica_count);
        partition->in_sync =
            copy_ids(arena, source->isr_nodes, source->isr_nodes_count, &partition->in_sync_count);
        partition->offline = copy_ids(arena, source->offline_replicas, source->offline_replicas_count,
                                      &partition->offline_count);
    }
    qsort(partitions, count, sizeof *partitions, compare_partitions);
    to->partitions = partitions;
    to->partition_count = count;
    return true;
}

static pst_err_t copy_topics(const struct metadata_response *answer, const struct pst_topics **ret,
                             struct pst_error *error)
{
    size_t count = answer->topics_count < 0 ? 0 : (size_t)answer->topics_count;
    struct pst_topic_info *topics;
    struct arena *arena;
    struct pst_topics *result = result_new(sizeof *result, &arena);

    if (result == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    topics = arena_array(arena, count, sizeof *topics);
    for (size_t i = 0; topics != NULL && i < count; i++) {
        const struct metadata_response_metadata_response_topic *from = &answer->topics[i];

        topics[i].code = from->error_code;
        topics[i].name = arena_str_dup(arena, from->name);
        memcpy(topics[i].topic_id, from->topic_id.bytes, sizeof topics[i].topic_id);
        topics[i].internal = from->is_internal;
        if (!copy_partitions(arena, &topics[i], from))
            topics = NULL;
    }
    if (topics == NULL) {
        pst_result_free(result);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    qsort(topics, count, sizeof *topics, compare_topics);
    result->topics = topics;
    result->count = count;
    *ret = result;
    return PST_ERR_NONE;
}

static pst_err_t ask_metadata(struct pst_client *client, struct metadata_request *request, int64_t timeout_ms,
                              struct reply *ret, struct pst_error *error)
{
    struct call call = {.target = CALL_ANY,
                        .api_key = API_METADATA,
                        .version_min = 4, /* before it, asking creates */
                        .version_max = 12,
                        .request_schema = &metadata_request_schema,
                        .request = request,
                        .response_schema = &metadata_response_schema,
                        .deadline_us = call_deadline_us(client, timeout_ms)};

    request->allow_auto_topic_creation = false;
    return call_send(client, &call, ret, error);
}

pst_err_t pst_describe_topics(struct pst_client *client, const char *const *names, size_t count,
                              int64_t timeout_ms, const struct pst_topics **ret, struct pst_error *error)
{
    struct metadata_request request;
    struct reply reply;
    pst_err_t code = check_items(client, names, count, error);

    if (code != PST_ERR_NONE)
        return code;
    message_init(&metadata_request_schema, &request);
    request.topics = calloc(count + 1, sizeof *request.topics);
    if (request.topics == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        message_init(&metadata_request_metadata_request_topic_schema, &request.topics[i]);
        request.topics[i].name = str_of(names[i]);
    }
    request.topics_count = count == 0 ? -1 : (int32_t)count; /* null: all */
    code = ask_metadata(client, &request, timeout_ms, &reply, error);
    free(request.topics);
    if (code != PST_ERR_NONE)
        return code;
    code = copy_topics(reply.message, ret, error);
    reply_free(&reply);
    return code;
}

static int compare_brokers(const void *a, const void *b)
{
    const struct pst_broker_info *left = a, *right = b;

    return (left->id > right->id) - (left->id < right->id);
}

pst_err_t pst_describe_cluster(struct pst_client *client, int64_t timeout_ms, const struct pst_cluster **ret,
                               struct pst_error *error)
{
    static struct metadata_request_metadata_request_topic none;
    const struct metadata_response *answer;
    struct metadata_request request;
    struct pst_broker_info *brokers;
    struct pst_cluster *result;
    struct arena *arena;
    struct reply reply;
    pst_err_t code = check_items(client, NULL, 0, error);

    if (code != PST_ERR_NONE)
        return code;
    message_init(&metadata_request_schema, &request);
    request.topics = &none; /* empty, not null: no topics */
    request.topics_count = 0;
    code = ask_metadata(client, &request, timeout_ms, &reply, error);
    if (code != PST_ERR_NONE)
        return code;
    answer = reply.message;
    result = result_new(sizeof *result, &arena);
    brokers = result == NULL ? NULL : arena_array(arena, (size_t)answer->brokers_count, sizeof *brokers);
    if (brokers == NULL) {
        pst_result_free(result);
        reply_free(&reply);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    for (int32_t i = 0; i < answer->brokers_count; i++) {
        brokers[i].id = answer->brokers[i].node_id;
        brokers[i].host = arena_str_dup(arena, answer->brokers[i].host);
        brokers[i].port = answer->brokers[i].port;
        brokers[i].rack = arena_str_dup(arena, answer->brokers[i].rack);
    }
    qsort(brokers, (size_t)answer->brokers_count, sizeof *brokers, compare_brokers);
    result->cluster_id = arena_str_dup(arena, answer->cluster_id);
    result->controller = answer->controller_id;
    result->brokers = brokers;
    result->broker_count = (size_t)answer->brokers_count;
    reply_free(&reply);
    *ret = result;
    return PST_ERR_NONE;
}

/* ---- versions ---- */

static int compare_apis(const void *a, const void *b)
{
    const struct pst_api_range *left = a, *right = b;

    return (left->key > right->key) - (left->key < right->key);
}

static pst_err_t copy_versions(const struct reply *reply, const struct pst_api_versions **ret,
                               struct pst_error *error)
{
    const struct api_versions_response *answer = reply->message;
    size_t count = answer->api_keys_count < 0 ? 0 : (size_t)answer->api_keys_count;
    struct arena *arena;
    struct pst_api_versions *result = result_new(sizeof *result, &arena);
    struct pst_api_range *ranges = result == NULL ? NULL : arena_array(arena, count, sizeof *ranges);

    if (ranges == NULL) {
        pst_result_free(result);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    for (size_t i = 0; i < count; i++) {
        const struct api *api = api_find(answer->api_keys[i].api_key);

        ranges[i] = (struct pst_api_range){answer->api_keys[i].api_key, answer->api_keys[i].min_version,
                                           answer->api_keys[i].max_version, api == NULL ? NULL : api->name};
    }
    qsort(ranges, count, sizeof *ranges, compare_apis);
    result->broker = reply->broker;
    result->address = arena_str_dup(arena, str_of(reply->address));
    result->round_trip_us = reply->round_trip_us;
    result->apis = ranges;
    result->count = count;
    *ret = result;
    return PST_ERR_NONE;
}

pst_err_t pst_api_versions(struct pst_client *client, int32_t broker, int64_t timeout_ms,
                           const struct pst_api_versions **ret, struct pst_error *error)
{
    struct api_versions_request request;
    struct reply reply;
    struct call call = {.target = broker < 0 ? CALL_ANY : CALL_BROKER,
                        .broker = broker,
                        .api_key = API_API_VERSIONS,
                        .version_max = 4,
                        .request_schema = &api_versions_request_schema,
                        .request = &request,
                        .response_schema = &api_versions_response_schema};
    pst_err_t code = check_items(client, NULL, 0, error);

    if (code != PST_ERR_NONE)
        return code;
    message_init(&api_versions_request_schema, &request);
    request.client_software_name = STR_LITERAL("penstock");
    request.client_software_version = STR_LITERAL(PENSTOCK_VERSION);
    call.deadline_us = call_deadline_us(client, timeout_ms);
    code = call_send(client, &call, &reply, error);
    if (code != PST_ERR_NONE)
        return code;
    code = copy_versions(&reply, ret, error);
    reply_free(&reply);
    return code;
}
