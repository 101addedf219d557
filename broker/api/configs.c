/* DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.  Thread: control. */
#include "broker/api/api_metadata.h"
#include "broker/api/handlers.h"
#include "broker/options.h"
#include "broker/topic/topic_config.h"
#include "protocol/error_codes.h"

#include "msg/alter_configs.h"
#include "msg/describe_configs.h"
#include "msg/incremental_alter_configs.h"

#include <stdio.h>

#define VALUE_BYTES_MAX 65536

enum config_source { /* the numbers of DescribeConfigsResponse.ConfigSource */
                     SOURCE_TOPIC = 1,
                     SOURCE_DYNAMIC_BROKER = 2,
                     SOURCE_STATIC_BROKER = 4,
                     SOURCE_DEFAULT = 5,
};

enum config_type { /* ConfigDef.Type as DescribeConfigs numbers it */
                   TYPE_BOOLEAN = 1,
                   TYPE_STRING = 2,
                   TYPE_INT = 3,
                   TYPE_LONG = 5,
                   TYPE_DOUBLE = 6,
                   TYPE_LIST = 7,
};

typedef struct describe_configs_response_describe_configs_result describe_result;
typedef struct describe_configs_response_describe_configs_resource_result describe_entry;

static struct str copy_value(struct arena *arena, struct buf *value)
{
    const char *copy = arena_str_dup(arena, buf_view(value));
    struct str view = copy == NULL ? str_null() : str_of_bytes(copy, value->length);

    buf_free(value);
    return view;
}

static struct str option_value(struct arena *arena, const struct broker_options *options,
                               const struct option_row *row)
{
    struct buf value;

    buf_init(&value, VALUE_BYTES_MAX);
    options_format(options, row, &value);
    return copy_value(arena, &value);
}

static bool is_wanted(const struct describe_configs_request_describe_configs_resource *resource,
                      const char *name)
{
    if (resource->configuration_keys_count <= 0)
        return true;
    for (int32_t i = 0; i < resource->configuration_keys_count; i++) {
        if (str_equal_text(resource->configuration_keys[i], name))
            return true;
    }
    return false;
}

static int8_t topic_type(const struct topic_config_row *row)
{
    switch (row->type) {
    case TOPIC_CONFIG_BOOL:
        return TYPE_BOOLEAN;
    case TOPIC_CONFIG_INT:
        return row->max > INT32_MAX ? TYPE_LONG : TYPE_INT;
    case TOPIC_CONFIG_DOUBLE:
        return TYPE_DOUBLE;
    case TOPIC_CONFIG_POLICY:
    case TOPIC_CONFIG_STR: /* the lists of throttled replicas */
        return TYPE_LIST;
    default:
        return TYPE_STRING;
    }
}

static struct str configs_get(const void *configs, struct str name)
{
    return metadata_config_get(configs, name);
}

static bool add_synonym(struct call *call, describe_entry *entry, struct str name, struct str value,
                        int8_t source)
{
    if (entry->synonyms == NULL)
        entry->synonyms = arena_array(call->arena, 3, sizeof *entry->synonyms); /* topic, broker, default */
    if (entry->synonyms == NULL)
        return false;
    entry->synonyms[entry->synonyms_count].name = name;
    entry->synonyms[entry->synonyms_count].value = value;
    entry->synonyms[entry->synonyms_count++].source = source;
    return true;
}

/* Where the value comes from, most specific first. */
static bool fill_topic_synonyms(struct call *call, const struct topic_config_row *row, bool own,
                                describe_entry *entry)
{
    const struct broker_options *options = call->env->options;
    const struct option_row *option = row->option == NULL ? NULL : options_find(row->option);

    if (own && !add_synonym(call, entry, entry->name, entry->value, SOURCE_TOPIC))
        return false;
    if (option != NULL && options_is_set(options, option) &&
        !add_synonym(call, entry, str_of(option->key), option_value(call->arena, options, option),
                     SOURCE_STATIC_BROKER))
        return false;
    return option == NULL ||
           add_synonym(call, entry, str_of(option->key), str_of(row->initial), SOURCE_DEFAULT);
}

static bool describe_topic(struct call *call, const struct metadata_image *image,
                           const struct describe_configs_request_describe_configs_resource *resource,
                           describe_result *result)
{
    const struct describe_configs_request *request = call->request;
    const struct metadata_configs *own =
        metadata_configs_find(image, METADATA_RESOURCE_TOPIC, resource->resource_name);
    const struct broker_options *options = call->env->options;
    const struct topic_config_row *rows;
    unsigned count;

    if (metadata_topic_find(image, resource->resource_name) == NULL) {
        const char *fault = metadata_topic_name_fault(resource->resource_name, call->arena);

        result->error_code = fault == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_INVALID_TOPIC_EXCEPTION;
        result->error_message = fault == NULL ? STR_LITERAL("") : str_of(fault);
        return true;
    }
    rows = topic_config_rows(&count);
    result->configs = arena_array(call->arena, count, sizeof *result->configs);
    if (result->configs == NULL)
        return false;
    for (unsigned i = 0; i < count; i++) {
        describe_entry *entry = &result->configs[result->configs_count];
        struct buf value;
        bool is_own;

        if (!is_wanted(resource, rows[i].name))
            continue;
        message_init(&describe_configs_response_describe_configs_resource_result_schema, entry);
        buf_init(&value, VALUE_BYTES_MAX);
        is_own = topic_config_value(&rows[i], configs_get, own, options, &value);
        entry->name = str_of(rows[i].name);
        entry->value = copy_value(call->arena, &value);
        entry->config_source =
            is_own ? SOURCE_TOPIC
            : rows[i].option != NULL && options_is_set(options, options_find(rows[i].option))
                ? SOURCE_STATIC_BROKER
                : SOURCE_DEFAULT;
        entry->config_type = topic_type(&rows[i]);
        entry->documentation = request->include_documentation ? str_of(rows[i].text) : str_null();
        if (request->include_synonyms && !fill_topic_synonyms(call, &rows[i], is_own, entry))
            return false;
        result->configs_count++;
    }
    return true;
}

static bool is_this_broker(const struct call *call, struct str name)
{
    int64_t id;

    return name.length == 0 || (str_parse_i64(name, &id) && id == call->env->node_id);
}

static const char *broker_name_fault(const struct call *call, struct str name, const char *what,
                                     const char *or_what)
{
    int64_t id;

    if (!str_parse_i64(name, &id))
        return arena_printf(call->arena, "%s must be an integer, but it is: %.*s", what, STR_FORMAT(name));
    return arena_printf(call->arena, "Unexpected broker id, expected %d%s, but received %.*s",
                        call->env->node_id, or_what, STR_FORMAT(name));
}

static int8_t option_type(const struct option_row *row)
{
    return row->type == OPTION_TYPE_BOOL  ? TYPE_BOOLEAN
           : row->type == OPTION_TYPE_STR ? TYPE_STRING
           : row->max > INT32_MAX         ? TYPE_LONG
                                          : TYPE_INT;
}

static bool describe_broker(struct call *call,
                            const struct describe_configs_request_describe_configs_resource *resource,
                            describe_result *result)
{
    const struct describe_configs_request *request = call->request;
    const struct broker_options *options = call->env->options;
    const struct option_row *rows;
    unsigned count;

    if (!is_this_broker(call, resource->resource_name)) {
        result->error_code = KAFKA_INVALID_REQUEST;
        result->error_message =
            str_of(broker_name_fault(call, resource->resource_name, "Broker id", " or empty string"));
        return true;
    }
    rows = options_rows(&count);
    result->configs = arena_array(call->arena, count, sizeof *result->configs);
    if (result->configs == NULL)
        return false;
    for (unsigned i = 0; i < count; i++) {
        describe_entry *entry = &result->configs[result->configs_count];

        if (!is_wanted(resource, rows[i].key) ||
            (resource->resource_name.length == 0 && !options_is_set(options, &rows[i])))
            continue; /* the cluster-wide default lists what was set */
        message_init(&describe_configs_response_describe_configs_resource_result_schema, entry);
        entry->name = str_of(rows[i].key);
        entry->value = option_value(call->arena, options, &rows[i]);
        entry->read_only = (rows[i].flags & RELOADABLE) == 0;
        entry->config_source = options_is_set(options, &rows[i]) ? SOURCE_STATIC_BROKER : SOURCE_DEFAULT;
        entry->config_type = option_type(&rows[i]);
        entry->documentation = request->include_documentation ? str_of(rows[i].text) : str_null();
        if (request->include_synonyms &&
            !add_synonym(call, entry, entry->name, entry->value, entry->config_source))
            return false;
        result->configs_count++;
    }
    return true;
}

static bool describe(struct call *call, const struct metadata_image *image,
                     const struct describe_configs_request_describe_configs_resource *resource,
                     describe_result *result)
{
    message_init(&describe_configs_response_describe_configs_result_schema, result);
    result->resource_type = resource->resource_type;
    result->resource_name = resource->resource_name;
    switch (resource->resource_type) {
    case METADATA_RESOURCE_TOPIC:
        return describe_topic(call, image, resource, result);
    case METADATA_RESOURCE_BROKER:
        return describe_broker(call, resource, result);
    default:
        result->error_code = KAFKA_INVALID_REQUEST;
        result->error_message = STR_LITERAL("Only topics and brokers have configurations here.");
        return true;
    }
}

void api_handle_describe_configs(struct call *call)
{
    const struct describe_configs_request *request = call->request;
    const struct metadata_image *image = call_image(call);

    CALL_RESPONSE(describe_configs_response, response);
    response.results = arena_array(call->arena, (size_t)request->resources_count, sizeof *response.results);
    if (image == NULL || response.results == NULL)
        goto fail;
    response.results_count = request->resources_count;
    for (int32_t i = 0; i < request->resources_count; i++) {
        if (!describe(call, image, &request->resources[i], &response.results[i]))
            goto fail;
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}

/* ---- changing ---- */

/* What every form of the request checks of its resources before the metadata does. */
static void check_resources(struct call *call, struct metadata_altered_resource *resources, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct metadata_altered_resource *resource = &resources[i];
        const char *fault = NULL;

        for (size_t k = 0; k < count && fault == NULL; k++) {
            if (k != i && resources[k].type == resource->type && str_equal(resources[k].name, resource->name))
                fault = "Each resource must appear at most once.";
        }
        if (fault == NULL && resource->type == METADATA_RESOURCE_BROKER &&
            !is_this_broker(call, resource->name))
            fault = broker_name_fault(call, resource->name, "Node id", "");
        if (fault == NULL && resource->type != METADATA_RESOURCE_TOPIC &&
            resource->type != METADATA_RESOURCE_BROKER)
            fault = "Only topics and brokers have configurations here.";
        if (fault != NULL) {
            resource->error = KAFKA_INVALID_REQUEST;
            resource->error_text = fault;
        }
    }
}

void api_handle_incremental_alter_configs(struct call *call)
{
    const struct incremental_alter_configs_request *request = call->request;
    size_t count = (size_t)request->resources_count;
    struct metadata_altered_resource *resources = arena_array(call->arena, count, sizeof *resources);

    CALL_RESPONSE(incremental_alter_configs_response, response);
    response.responses = arena_array(call->arena, count, sizeof *response.responses);
    if (resources == NULL || response.responses == NULL)
        goto fail;
    for (size_t i = 0; i < count; i++) {
        const struct incremental_alter_configs_request_alter_configs_resource *want = &request->resources[i];
        struct metadata_config_change *changes =
            arena_array(call->arena, (size_t)want->configs_count, sizeof *changes);

        if (changes == NULL)
            goto fail;
        for (int32_t k = 0; k < want->configs_count; k++)
            changes[k] = (struct metadata_config_change){want->configs[k].name, want->configs[k].value,
                                                         want->configs[k].config_operation};
        resources[i] = (struct metadata_altered_resource){.type = (enum metadata_resource)want->resource_type,
                                                          .name = want->resource_name,
                                                          .changes = changes,
                                                          .change_count = want->configs_count};
    }
    check_resources(call, resources, count);
    metadata_alter_configs(call->env->metadata, resources, (unsigned)count, request->validate_only,
                           call->arena);
    response.responses_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        response.responses[i].error_code = resources[i].error;
        response.responses[i].error_message =
            resources[i].error == KAFKA_NONE ? str_null() : str_of(resources[i].error_text);
        response.responses[i].resource_type = (int8_t)resources[i].type;
        response.responses[i].resource_name = resources[i].name;
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}

void api_handle_alter_configs(struct call *call)
{
    const struct alter_configs_request *request = call->request;
    size_t count = (size_t)request->resources_count;
    struct metadata_altered_resource *resources = arena_array(call->arena, count, sizeof *resources);

    CALL_RESPONSE(alter_configs_response, response);
    response.responses = arena_array(call->arena, count, sizeof *response.responses);
    if (resources == NULL || response.responses == NULL)
        goto fail;
    for (size_t i = 0; i < count; i++) {
        const struct alter_configs_request_alter_configs_resource *want = &request->resources[i];
        struct metadata_config_change *changes =
            arena_array(call->arena, (size_t)want->configs_count, sizeof *changes);

        if (changes == NULL)
            goto fail;
        for (int32_t k = 0; k < want->configs_count; k++)
            changes[k] = (struct metadata_config_change){want->configs[k].name, want->configs[k].value,
                                                         METADATA_CONFIG_SET};
        resources[i] = (struct metadata_altered_resource){.type = (enum metadata_resource)want->resource_type,
                                                          .name = want->resource_name,
                                                          .changes = changes,
                                                          .change_count = want->configs_count,
                                                          .replace = true};
    }
    check_resources(call, resources, count);
    metadata_alter_configs(call->env->metadata, resources, (unsigned)count, request->validate_only,
                           call->arena);
    response.responses_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        response.responses[i].error_code = resources[i].error;
        response.responses[i].error_message =
            resources[i].error == KAFKA_NONE ? str_null() : str_of(resources[i].error_text);
        response.responses[i].resource_type = (int8_t)resources[i].type;
        response.responses[i].resource_name = resources[i].name;
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
