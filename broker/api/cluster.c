/* DescribeCluster, FindCoordinator, and the features ApiVersions tells. */
#include "broker/api/api_metadata.h"
#include "broker/api/handlers.h"
#include "protocol/error_codes.h"

#include "msg/api_versions.h"
#include "msg/describe_cluster.h"
#include "msg/find_coordinator.h"

#define ENDPOINT_BROKERS 1

void api_fill_features(struct call *call, struct api_versions_response *response)
{
    const struct metadata_image *image = call_image(call);
    unsigned count;

    if (image == NULL)
        return;
    response->supported_features = arena_array(call->arena, 1, sizeof *response->supported_features);
    if (response->supported_features == NULL)
        return;
    response->supported_features_count = 1;
    response->supported_features[0].name = STR_LITERAL("metadata.version");
    response->supported_features[0].min_version = METADATA_VERSION_MIN;
    response->supported_features[0].max_version = METADATA_VERSION_MAX;
    response->finalized_features_epoch = metadata_image_offset(image);
    count = metadata_feature_count(image);
    response->finalized_features = arena_array(call->arena, count, sizeof *response->finalized_features);
    if (response->finalized_features == NULL)
        return;
    for (unsigned i = 0; i < count; i++) {
        struct metadata_feature feature = metadata_feature_at(image, i);

        /* a level is advertised only for what is served: others belong to a log Kafka has written */
        if (!str_equal_text(feature.name, "metadata.version"))
            continue;
        response->finalized_features[response->finalized_features_count].name = feature.name;
        response->finalized_features[response->finalized_features_count].max_version_level = feature.level;
        response->finalized_features[response->finalized_features_count].min_version_level = feature.level;
        response->finalized_features_count++;
    }
}

void api_handle_describe_cluster(struct call *call)
{
    const struct describe_cluster_request *request = call->request;
    const struct metadata_image *image = call_image(call);
    unsigned count;

    CALL_RESPONSE(describe_cluster_response, response);
    if (image == NULL)
        goto fail;
    response.cluster_id = str_of(metadata_cluster_id(call->env->metadata));
    response.endpoint_type = request->endpoint_type;
    if (request->endpoint_type != ENDPOINT_BROKERS) {
        response.error_code =
            request->endpoint_type == 2 ? KAFKA_MISMATCHED_ENDPOINT_TYPE : KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
        response.error_message = STR_LITERAL("This endpoint serves brokers, not controllers.");
        call_respond(call, &response);
        return;
    }
    response.controller_id = call->env->node_id;
    if (request->include_cluster_authorized_operations)
        response.cluster_authorized_operations = CLUSTER_OPERATIONS_ALL;
    count = metadata_broker_count(image);
    response.brokers = arena_array(call->arena, count, sizeof *response.brokers);
    if (response.brokers == NULL)
        goto fail;
    for (unsigned i = 0; i < count; i++) {
        const struct metadata_broker *broker = metadata_broker_at(image, i);
        const struct metadata_endpoint *endpoint = call_endpoint(call, broker);
        struct describe_cluster_response_describe_cluster_broker *to;

        if (broker->fenced || endpoint == NULL)
            continue;
        to = &response.brokers[response.brokers_count++];
        to->broker_id = broker->id;
        to->host = endpoint->host;
        to->port = endpoint->port;
        to->rack = broker->rack;
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}

/* ---- FindCoordinator: with one node, the coordinator of everything is here ---- */

#define KEY_GROUP       0
#define KEY_TRANSACTION 1

static void fill_coordinator(struct call *call, const struct metadata_image *image, struct str key,
                             int8_t key_type, struct find_coordinator_response_coordinator *ret)
{
    const struct metadata_broker *broker = metadata_broker_find(image, call->env->node_id);
    const struct metadata_endpoint *endpoint = broker == NULL ? NULL : call_endpoint(call, broker);

    message_init(&find_coordinator_response_coordinator_schema, ret);
    ret->key = key;
    ret->node_id = -1;
    ret->port = -1;
    if (key_type != KEY_GROUP && key_type != KEY_TRANSACTION) {
        ret->error_code = KAFKA_INVALID_REQUEST;
        ret->error_message = STR_LITERAL("Only group and transaction coordinators can be found.");
    } else if (endpoint == NULL) {
        ret->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
        ret->error_message = STR_LITERAL("The coordinator has no listener of this name.");
    } else {
        ret->node_id = broker->id;
        ret->host = endpoint->host;
        ret->port = endpoint->port;
        ret->error_message = STR_LITERAL("");
    }
}

void api_handle_find_coordinator(struct call *call)
{
    const struct find_coordinator_request *request = call->request;
    const struct metadata_image *image = call_image(call);
    struct find_coordinator_response_coordinator one;

    CALL_RESPONSE(find_coordinator_response, response);
    if (image == NULL)
        goto fail;
    if (call->version < 4) {
        fill_coordinator(call, image, request->key, request->key_type, &one);
        response.error_code = one.error_code;
        response.error_message = one.error_message;
        response.node_id = one.node_id;
        response.host = one.host;
        response.port = one.port;
    } else {
        response.coordinators =
            arena_array(call->arena, (size_t)request->coordinator_keys_count, sizeof *response.coordinators);
        if (response.coordinators == NULL)
            goto fail;
        response.coordinators_count = request->coordinator_keys_count;
        for (int32_t i = 0; i < request->coordinator_keys_count; i++)
            fill_coordinator(call, image, request->coordinator_keys[i], request->key_type,
                             &response.coordinators[i]);
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
