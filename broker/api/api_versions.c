/* ApiVersions: the dispatch table, told to clients. */
#include "broker/api/call.h"
#include "broker/api/dispatch.h"
#include "broker/api/handlers.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"

#include "msg/api_versions.h"

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool is_software_name(struct str name)
{
    if (name.length == 0 || !is_word(name.at[0]) || !is_word(name.at[name.length - 1]))
        return false;
    for (size_t i = 0; i < name.length; i++) {
        if (!is_word(name.at[i]) && name.at[i] != '-' && name.at[i] != '.')
            return false;
    }
    return true;
}

static void respond(struct call *call, int16_t error, const struct api_row *rows, unsigned count)
{
    CALL_RESPONSE(api_versions_response, response);

    response.error_code = error;
    response.api_keys = arena_array(call->arena, count, sizeof *response.api_keys);
    if (response.api_keys == NULL) {
        call_fail(call, "out of memory");
        return;
    }
    response.api_keys_count = (int32_t)count;
    for (unsigned i = 0; i < count; i++) {
        response.api_keys[i].api_key = rows[i].key;
        response.api_keys[i].min_version = rows[i].version_min;
        response.api_keys[i].max_version = rows[i].version_max;
    }
    api_fill_features(call, &response);
    call_respond(call, &response);
}

void api_handle_api_versions(struct call *call)
{
    const struct api_versions_request *request = call->request;
    const struct api_row *rows;
    unsigned count;

    if (call->version >= 3 && (!is_software_name(request->client_software_name) ||
                               !is_software_name(request->client_software_version))) {
        respond(call, KAFKA_INVALID_REQUEST, NULL, 0);
        return;
    }
    rows = dispatch_rows(&count);
    respond(call, KAFKA_NONE, rows, count);
}

void api_answer_unsupported_api_versions(struct call *call)
{
    call->version = 0; /* the one form everybody reads (KIP-511) */
    respond(call, KAFKA_UNSUPPORTED_VERSION, dispatch_find(API_API_VERSIONS), 1);
}
