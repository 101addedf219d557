/* Configurations of topics, brokers and whatever else has them: describe, change. */
#include "client/call.h"
#include "client/result.h"
#include "msg/describe_configs.h"
#include "msg/incremental_alter_configs.h"
#include "protocol/api.h"

#include <stdlib.h>

#define ITEMS_MAX 1000000u /* of one call */

const char *pst_config_source_name(int source)
{
    static const char *const names[] = {
        "unknown",       "topic",   "broker-dynamic", "broker-dynamic-default",
        "broker-static", "default", "broker-logger",  "client-metrics",
        "group",
    };

    return source < 0 || (size_t)source >= sizeof names / sizeof names[0] ? names[0] : names[source];
}

/* The configs of a broker are asked of that broker; all others of anybody.  *ret_id: -1 for anybody. */
static bool parse_home(int type, const char *name, int32_t *ret_id)
{
    int64_t id = -1;

    if ((type == PST_RESOURCE_BROKER || type == PST_RESOURCE_BROKER_LOGGER) && name[0] != '\0' &&
        (!str_parse_i64(str_of(name), &id) || id < 0 || id > INT32_MAX))
        return false;
    *ret_id = (int32_t)id;
    return true;
}

static void aim(struct call *call, int32_t home, enum call_target otherwise)
{
    call->target = home >= 0 ? CALL_BROKER : otherwise;
    call->broker = home;
}

/* ---- describe ---- */

static int compare_values(const void *a, const void *b)
{
    const struct pst_config_value *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static bool copy_synonyms(struct arena *arena, struct pst_config_value *to,
                          const struct describe_configs_response_describe_configs_resource_result *from)
{
    size_t count = from->synonyms_count < 0 ? 0 : (size_t)from->synonyms_count;
    struct pst_config_synonym *synonyms = arena_array(arena, count, sizeof *synonyms);

    if (synonyms == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        synonyms[i].name = arena_str_dup(arena, from->synonyms[i].name);
        synonyms[i].value = arena_str_dup(arena, from->synonyms[i].value);
        synonyms[i].source = from->synonyms[i].source;
    }
    to->synonyms = synonyms;
    to->synonym_count = count;
    return true;
}

static bool copy_values(struct arena *arena, struct pst_resource_configs *to,
                        const struct describe_configs_response_describe_configs_result *from)
{
    size_t count = from->configs_count < 0 ? 0 : (size_t)from->configs_count;
    struct pst_config_value *values = arena_array(arena, count, sizeof *values);

    if (values == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct describe_configs_response_describe_configs_resource_result *source = &from->configs[i];

        values[i].name = arena_str_dup(arena, source->name);
        values[i].value = arena_str_dup(arena, source->value);
        values[i].source = source->config_source;
        values[i].read_only = source->read_only;
        values[i].sensitive = source->is_sensitive;
        values[i].type = source->config_type;
        values[i].doc = arena_str_dup(arena, source->documentation);
        if (values[i].name == NULL || !copy_synonyms(arena, &values[i], source))
            return false;
    }
    qsort(values, count, sizeof *values, compare_values);
    to->values = values;
    to->value_count = count;
    return true;
}

static bool take_resource(struct arena *arena, struct pst_resource_configs *to,
                          const struct describe_configs_response *answer)
{
    for (int32_t i = 0; i < answer->results_count; i++) {
        const struct describe_configs_response_describe_configs_result *from = &answer->results[i];

        if (from->resource_type != to->type || !str_equal_text(from->resource_name, to->name))
            continue;
        to->code = from->error_code;
        to->text = from->error_code == 0            ? ""
                   : from->error_message.length > 0 ? arena_str_dup(arena, from->error_message)
                                                    : pst_err_text(from->error_code);
        return to->text != NULL && copy_values(arena, to, from);
    }
    to->code = PST_ERR_BAD_RESPONSE;
    to->text = "the answer does not mention it";
    return true;
}

/* Asks for everything that lives at `home` and fills it in. */
static pst_err_t describe_home(struct pst_client *client, struct describe_configs_request *request,
                               int32_t home, struct pst_resource_configs *items, const int32_t *homes,
                               size_t count, struct arena *arena, int64_t deadline_us,
                               struct pst_error *error)
{
    struct reply reply;
    struct call call = {.api_key = API_DESCRIBE_CONFIGS,
                        .version_min = 1,
                        .version_max = 4,
                        .request_schema = &describe_configs_request_schema,
                        .request = request,
                        .response_schema = &describe_configs_response_schema,
                        .deadline_us = deadline_us};
    pst_err_t code;

    request->resources_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct describe_configs_request_describe_configs_resource *resource;

        if (homes[i] != home)
            continue;
        resource = &request->resources[request->resources_count++];
        message_init(&describe_configs_request_describe_configs_resource_schema, resource);
        resource->resource_type = (int8_t)items[i].type;
        resource->resource_name = str_of(items[i].name);
        resource->configuration_keys_count = -1; /* null: all */
    }
    aim(&call, home, CALL_ANY);
    code = call_send(client, &call, &reply, error);
    if (code != PST_ERR_NONE)
        return code;
    for (size_t i = 0; i < count && code == PST_ERR_NONE; i++)
        if (homes[i] == home && !take_resource(arena, &items[i], reply.message))
            code = error_set_code(error, PST_ERR_NO_MEMORY);
    reply_free(&reply);
    return code;
}

static bool asked_before(const int32_t *homes, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (homes[i] == homes[index])
            return true;
    return false;
}

pst_err_t pst_describe_configs(struct pst_client *client, const struct pst_resource *resources, size_t count,
                               bool with_synonyms, bool with_docs, int64_t timeout_ms,
                               const struct pst_configs **ret, struct pst_error *error)
{
    struct describe_configs_request request;
    struct pst_resource_configs *items = NULL;
    struct pst_configs *result;
    struct arena *arena;
    int64_t deadline_us;
    int32_t *homes = NULL;
    pst_err_t code = PST_ERR_NONE;

    if (client == NULL || ret == NULL || (resources == NULL && count > 0) || count > ITEMS_MAX)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client, resources and ret must be given");
    message_init(&describe_configs_request_schema, &request);
    result = result_new(sizeof *result, &arena);
    if (result != NULL) {
        items = arena_array(arena, count, sizeof *items);
        homes = arena_array(arena, count, sizeof *homes);
        request.resources = arena_array(arena, count, sizeof *request.resources);
    }
    if (items == NULL || homes == NULL || request.resources == NULL) {
        pst_result_free(result);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    request.include_synonyms = with_synonyms;
    request.include_documentation = with_docs;
    deadline_us = call_deadline_us(client, timeout_ms);
    for (size_t i = 0; i < count && code == PST_ERR_NONE; i++) {
        items[i].type = resources[i].type;
        items[i].name = arena_str_dup(arena, str_of(resources[i].name));
        if (items[i].name == NULL || !parse_home(items[i].type, items[i].name, &homes[i]))
            code = error_set(error, PST_ERR_INVALID_ARGUMENT, "resource %zu has no valid name", i);
    }
    for (size_t i = 0; i < count && code == PST_ERR_NONE; i++)
        if (!asked_before(homes, i))
            code = describe_home(client, &request, homes[i], items, homes, count, arena, deadline_us, error);
    if (code != PST_ERR_NONE) {
        pst_result_free(result);
        return code;
    }
    result->resources = items;
    result->count = count;
    *ret = result;
    return PST_ERR_NONE;
}

/* ---- change ---- */

static bool fill_alter(struct arena *arena, struct incremental_alter_configs_request *request,
                       const struct pst_resource_changes *resources, size_t count)
{
    request->resources = arena_array(arena, count, sizeof *request->resources);
    if (request->resources == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct incremental_alter_configs_request_alter_configs_resource *to = &request->resources[i];

        message_init(&incremental_alter_configs_request_alter_configs_resource_schema, to);
        to->resource_type = (int8_t)resources[i].type;
        to->resource_name = str_of(resources[i].name);
        to->configs = arena_array(arena, resources[i].change_count, sizeof *to->configs);
        if (to->configs == NULL)
            return false;
        to->configs_count = (int32_t)resources[i].change_count;
        for (size_t k = 0; k < resources[i].change_count; k++) {
            message_init(&incremental_alter_configs_request_alterable_config_schema, &to->configs[k]);
            to->configs[k].name = str_of(resources[i].changes[k].name);
            to->configs[k].config_operation = (int8_t)resources[i].changes[k].op;
            to->configs[k].value = str_of(resources[i].changes[k].value);
        }
    }
    request->resources_count = (int32_t)count;
    return true;
}

static void take_alter(struct pst_resource_changes *resource,
                       const struct incremental_alter_configs_response *answer)
{
    outcome_set(&resource->outcome, PST_ERR_BAD_RESPONSE, STR_LITERAL("the answer does not mention it"));
    for (int32_t i = 0; i < answer->responses_count; i++)
        if (answer->responses[i].resource_type == resource->type &&
            str_equal_text(answer->responses[i].resource_name, resource->name))
            outcome_set(&resource->outcome, answer->responses[i].error_code,
                        answer->responses[i].error_message);
}

/* One request for each resource that lives elsewhere: brokers take only their own. */
static pst_err_t alter_one(struct pst_client *client, struct pst_resource_changes *resource,
                           bool validate_only, int64_t deadline_us, struct pst_error *error)
{
    struct incremental_alter_configs_request request;
    struct arena *arena = arena_new(SIZE_MAX / 2);
    struct reply reply;
    struct call call = {.api_key = API_INCREMENTAL_ALTER_CONFIGS,
                        .version_max = 1,
                        .request_schema = &incremental_alter_configs_request_schema,
                        .request = &request,
                        .response_schema = &incremental_alter_configs_response_schema,
                        .deadline_us = deadline_us};
    pst_err_t code = PST_ERR_NO_MEMORY;
    int32_t home;

    message_init(&incremental_alter_configs_request_schema, &request);
    request.validate_only = validate_only;
    if (arena == NULL || !fill_alter(arena, &request, resource, 1))
        error_set_code(error, code);
    else if (!parse_home(resource->type, resource->name, &home))
        code = error_set(error, PST_ERR_INVALID_ARGUMENT, "\"%.100s\" is no broker id", resource->name);
    else {
        aim(&call, home, CALL_CONTROLLER);
        code = call_send(client, &call, &reply, error);
        if (code == PST_ERR_NONE) {
            take_alter(resource, reply.message);
            reply_free(&reply);
        }
    }
    arena_free(arena);
    return code;
}

pst_err_t pst_alter_configs(struct pst_client *client, struct pst_resource_changes *resources, size_t count,
                            bool validate_only, int64_t timeout_ms, struct pst_error *error)
{
    pst_err_t code = PST_ERR_NONE;
    int64_t deadline_us;

    if (client == NULL || (resources == NULL && count > 0) || count > ITEMS_MAX)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and resources must be given");
    for (size_t i = 0; i < count; i++)
        if (resources[i].name == NULL || (resources[i].changes == NULL && resources[i].change_count > 0))
            return error_set(error, PST_ERR_INVALID_ARGUMENT, "resource %zu is not complete", i);
    deadline_us = call_deadline_us(client, timeout_ms);
    for (size_t i = 0; i < count && code == PST_ERR_NONE; i++)
        code = alter_one(client, &resources[i], validate_only, deadline_us, error);
    return code;
}
