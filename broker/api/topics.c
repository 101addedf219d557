/* CreateTopics, DeleteTopics, CreatePartitions: metadata intents and their outcomes.  Thread: control. */
#include "broker/api/api_metadata.h"
#include "broker/api/handlers.h"
#include "broker/options.h"
#include "broker/topic/topic_config.h"
#include "common/hashmap.h"
#include "protocol/error_codes.h"

#include "msg/create_partitions.h"
#include "msg/create_topics.h"
#include "msg/delete_topics.h"

/* ---- CreateTopics ---- */

static bool copy_assignments(struct call *call, const struct create_topics_request_creatable_topic *want,
                             struct metadata_new_topic *topic)
{
    struct metadata_assignment *assignments =
        arena_array(call->arena, (size_t)want->assignments_count, sizeof *assignments);

    if (assignments == NULL)
        return false;
    for (int32_t i = 0; i < want->assignments_count; i++)
        assignments[i] = (struct metadata_assignment){.partition = want->assignments[i].partition_index,
                                                      .replicas = want->assignments[i].broker_ids,
                                                      .replica_count = want->assignments[i].broker_ids_count};
    topic->assignments = assignments;
    topic->assignment_count = want->assignments_count;
    return true;
}

static bool copy_configs(struct call *call, const struct create_topics_request_creatable_topic *want,
                         struct metadata_new_topic *topic)
{
    struct metadata_config *configs = arena_array(call->arena, (size_t)want->configs_count, sizeof *configs);

    if (configs == NULL)
        return false;
    topic->configs = configs;
    for (int32_t i = 0; i < want->configs_count; i++) {
        configs[i] = (struct metadata_config){want->configs[i].name, want->configs[i].value};
        if (str_is_null(want->configs[i].value)) {
            topic->error = KAFKA_INVALID_CONFIG;
            topic->error_text = arena_printf(call->arena, "Null value not supported for topic configs: %.*s",
                                             STR_FORMAT(want->configs[i].name));
        }
    }
    topic->config_count = want->configs_count;
    return true;
}

static bool describe_created(struct call *call, const struct create_topics_request_creatable_topic *want,
                             struct create_topics_response_creatable_topic_result *result);

/* A name that comes more than once is answered once, with an error. */
static bool topic_came_before(const struct create_topics_request *request, int32_t index)
{
    for (int32_t i = 0; i < index; i++) {
        if (str_equal(request->topics[i].name, request->topics[index].name))
            return true;
    }
    return false;
}

static bool prepare_topic(struct call *call, const struct create_topics_request *request, int32_t index,
                          struct metadata_new_topic *topic)
{
    const struct create_topics_request_creatable_topic *want = &request->topics[index];

    *topic = (struct metadata_new_topic){.name = want->name,
                                         .partition_count = want->num_partitions,
                                         .replication_factor = want->replication_factor};
    for (int32_t i = 0; i < request->topics_count; i++) {
        if (i != index && str_equal(request->topics[i].name, want->name)) {
            topic->error = KAFKA_INVALID_REQUEST;
            topic->error_text = "Duplicate topic name.";
        }
    }
    return copy_assignments(call, want, topic) && copy_configs(call, want, topic);
}

void api_handle_create_topics(struct call *call)
{
    const struct create_topics_request *request = call->request;
    struct metadata_new_topic *topics =
        arena_array(call->arena, (size_t)request->topics_count, sizeof *topics);

    CALL_RESPONSE(create_topics_response, response);
    response.topics = arena_array(call->arena, (size_t)request->topics_count, sizeof *response.topics);
    if (topics == NULL || response.topics == NULL)
        goto fail;
    for (int32_t i = 0; i < request->topics_count; i++) {
        if (!prepare_topic(call, request, i, &topics[i]))
            goto fail;
    }
    metadata_create_topics(call->env->metadata, topics, (unsigned)request->topics_count,
                           request->validate_only, call->arena);
    for (int32_t i = 0; i < request->topics_count; i++) {
        struct create_topics_response_creatable_topic_result *result =
            &response.topics[response.topics_count];

        if (topic_came_before(request, i))
            continue;
        response.topics_count++;
        message_init(&create_topics_response_creatable_topic_result_schema, result);
        result->name = topics[i].name;
        result->error_code = topics[i].error;
        result->error_message = topics[i].error == KAFKA_NONE ? str_null() : str_of(topics[i].error_text);
        if (topics[i].error != KAFKA_NONE) {
            result->configs_count = call->version >= 5 ? -1 : 0;
            continue;
        }
        result->topic_id = topics[i].id;
        result->num_partitions = topics[i].ret_partition_count;
        result->replication_factor = topics[i].ret_replication_factor;
        if (!describe_created(call, &request->topics[i], result))
            goto fail;
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}

static struct str override_of(const void *overrides, struct str name)
{
    const struct create_topics_request_creatable_topic *want = overrides;

    for (int32_t i = 0; i < want->configs_count; i++) {
        if (str_equal(want->configs[i].name, name))
            return want->configs[i].value;
    }
    return str_null();
}

#define CONFIG_VALUE_BYTES_MAX 65536
#define SOURCE_DEFAULT         5 /* ConfigSource numbers of DescribeConfigs */
#define SOURCE_STATIC_BROKER   4
#define SOURCE_TOPIC           1

/* The settings the new topic has, as an answer since version 5 lists them. */
static bool describe_created(struct call *call, const struct create_topics_request_creatable_topic *want,
                             struct create_topics_response_creatable_topic_result *result)
{
    const struct topic_config_row *rows;
    const struct broker_options *options = call->env->options;
    unsigned count;

    if (call->version < 5)
        return true;
    rows = topic_config_rows(&count);
    result->configs = arena_array(call->arena, count, sizeof *result->configs);
    if (result->configs == NULL)
        return false;
    result->configs_count = (int32_t)count;
    for (unsigned i = 0; i < count; i++) {
        struct buf value;
        bool own;

        buf_init(&value, CONFIG_VALUE_BYTES_MAX);
        own = topic_config_value(&rows[i], override_of, want, options, &value);
        result->configs[i].name = str_of(rows[i].name);
        result->configs[i].value = str_of_bytes(arena_str_dup(call->arena, buf_view(&value)), value.length);
        result->configs[i].config_source =
            own ? SOURCE_TOPIC
            : rows[i].option != NULL && options_is_set(options, options_find(rows[i].option))
                ? SOURCE_STATIC_BROKER
                : SOURCE_DEFAULT;
        buf_free(&value);
        if (result->configs[i].value.at == NULL)
            return false;
    }
    return true;
}

/* ---- DeleteTopics ---- */

static bool is_same_topic(const struct metadata_deleted_topic *a, const struct metadata_deleted_topic *b)
{
    if (str_is_null(a->name) || str_is_null(b->name))
        return str_is_null(a->name) && str_is_null(b->name) && uuid_equal(&a->id, &b->id);
    return str_equal(a->name, b->name);
}

/* What the request may not say of a topic. */
static const char *deletion_fault(const struct metadata_deleted_topic *topics, unsigned count, unsigned index)
{
    const struct metadata_deleted_topic *topic = &topics[index];

    if (str_is_null(topic->name) && uuid_is_zero(&topic->id))
        return "Neither topic name nor id were specified.";
    if (!str_is_null(topic->name) && !uuid_is_zero(&topic->id))
        return "You may not specify both topic name and topic id.";
    for (unsigned i = 0; i < count; i++) {
        if (i != index && is_same_topic(&topics[i], topic))
            return str_is_null(topic->name) ? "Duplicate topic id." : "Duplicate topic name.";
    }
    return NULL;
}

/* A topic named more than once is answered once, with an error.  `*topics` holds what is left. */
static unsigned drop_repeated(struct metadata_deleted_topic *topics, unsigned count)
{
    unsigned left = 0;

    for (unsigned i = 0; i < count; i++) {
        bool repeated = false;

        for (unsigned k = 0; k < left && !repeated; k++)
            repeated = is_same_topic(&topics[k], &topics[i]);
        if (!repeated)
            topics[left++] = topics[i];
    }
    return left;
}

void api_handle_delete_topics(struct call *call)
{
    const struct delete_topics_request *request = call->request;
    bool by_state = call->version >= 6;
    unsigned count = (unsigned)(by_state ? request->topics_count : request->topic_names_count);
    struct metadata_deleted_topic *topics = arena_array(call->arena, count, sizeof *topics);

    CALL_RESPONSE(delete_topics_response, response);
    response.responses = arena_array(call->arena, count, sizeof *response.responses);
    if (topics == NULL || response.responses == NULL) {
        call_fail(call, "out of memory");
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        topics[i].name = by_state ? request->topics[i].name : request->topic_names[i];
        if (by_state)
            topics[i].id = request->topics[i].topic_id;
    }
    for (unsigned i = 0; i < count; i++) {
        const char *fault = deletion_fault(topics, count, i);

        if (!call->env->options->delete_topic_enable) {
            topics[i].error = KAFKA_TOPIC_DELETION_DISABLED;
            topics[i].error_text = "Topic deletion is disabled.";
        } else if (fault != NULL) {
            topics[i].error = KAFKA_INVALID_REQUEST;
            topics[i].error_text = fault;
        }
    }
    count = drop_repeated(topics, count);
    metadata_delete_topics(call->env->metadata, topics, count, call->arena);
    response.responses_count = (int32_t)count;
    for (unsigned i = 0; i < count; i++) {
        message_init(&delete_topics_response_deletable_topic_result_schema, &response.responses[i]);
        response.responses[i].name = topics[i].name;
        response.responses[i].topic_id = topics[i].id;
        response.responses[i].error_code = topics[i].error;
        response.responses[i].error_message =
            topics[i].error == KAFKA_NONE ? str_null() : str_of(topics[i].error_text);
    }
    call_respond(call, &response);
}

/* ---- CreatePartitions ---- */

static bool prepare_more(struct call *call, const struct create_partitions_request *request, int32_t index,
                         struct metadata_more_partitions *more)
{
    const struct create_partitions_request_create_partitions_topic *want = &request->topics[index];
    struct metadata_assignment *assignments;

    *more = (struct metadata_more_partitions){
        .name = want->name, .partition_count = want->count, .assignment_count = want->assignments_count};
    for (int32_t i = 0; i < request->topics_count; i++) {
        if (i != index && str_equal(request->topics[i].name, want->name)) {
            more->error = KAFKA_INVALID_REQUEST;
            more->error_text = "Duplicate topic name.";
        }
    }
    if (want->assignments_count < 0)
        return true;
    assignments = arena_array(call->arena, (size_t)want->assignments_count, sizeof *assignments);
    if (assignments == NULL)
        return false;
    for (int32_t i = 0; i < want->assignments_count; i++)
        assignments[i] = (struct metadata_assignment){.replicas = want->assignments[i].broker_ids,
                                                      .replica_count = want->assignments[i].broker_ids_count};
    more->assignments = assignments;
    return true;
}

void api_handle_create_partitions(struct call *call)
{
    const struct create_partitions_request *request = call->request;
    struct metadata_more_partitions *topics =
        arena_array(call->arena, (size_t)request->topics_count, sizeof *topics);

    CALL_RESPONSE(create_partitions_response, response);
    response.results = arena_array(call->arena, (size_t)request->topics_count, sizeof *response.results);
    if (topics == NULL || response.results == NULL)
        goto fail;
    for (int32_t i = 0; i < request->topics_count; i++) {
        if (!prepare_more(call, request, i, &topics[i]))
            goto fail;
    }
    metadata_create_partitions(call->env->metadata, topics, (unsigned)request->topics_count,
                               request->validate_only, call->arena);
    for (int32_t i = 0; i < request->topics_count; i++) {
        struct create_partitions_response_create_partitions_topic_result *result =
            &response.results[response.results_count];
        bool repeated = false;

        for (int32_t k = 0; k < i && !repeated; k++)
            repeated = str_equal(topics[k].name, topics[i].name);
        if (repeated)
            continue;
        response.results_count++;
        result->name = topics[i].name;
        result->error_code = topics[i].error;
        result->error_message = topics[i].error == KAFKA_NONE ? str_null() : str_of(topics[i].error_text);
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
