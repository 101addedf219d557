#include "protocol/api.h"

#include "msg/add_offsets_to_txn.h"
#include "msg/add_partitions_to_txn.h"
#include "msg/add_raft_voter.h"
#include "msg/allocate_producer_ids.h"
#include "msg/alter_client_quotas.h"
#include "msg/alter_configs.h"
#include "msg/alter_partition.h"
#include "msg/alter_partition_reassignments.h"
#include "msg/alter_replica_log_dirs.h"
#include "msg/alter_share_group_offsets.h"
#include "msg/alter_user_scram_credentials.h"
#include "msg/api_versions.h"
#include "msg/assign_replicas_to_dirs.h"
#include "msg/begin_quorum_epoch.h"
#include "msg/broker_heartbeat.h"
#include "msg/broker_registration.h"
#include "msg/consumer_group_describe.h"
#include "msg/consumer_group_heartbeat.h"
#include "msg/controller_registration.h"
#include "msg/create_acls.h"
#include "msg/create_delegation_token.h"
#include "msg/create_partitions.h"
#include "msg/create_topics.h"
#include "msg/delete_acls.h"
#include "msg/delete_groups.h"
#include "msg/delete_records.h"
#include "msg/delete_share_group_offsets.h"
#include "msg/delete_share_group_state.h"
#include "msg/delete_topics.h"
#include "msg/describe_acls.h"
#include "msg/describe_client_quotas.h"
#include "msg/describe_cluster.h"
#include "msg/describe_configs.h"
#include "msg/describe_delegation_token.h"
#include "msg/describe_groups.h"
#include "msg/describe_log_dirs.h"
#include "msg/describe_producers.h"
#include "msg/describe_quorum.h"
#include "msg/describe_share_group_offsets.h"
#include "msg/describe_topic_partitions.h"
#include "msg/describe_transactions.h"
#include "msg/describe_user_scram_credentials.h"
#include "msg/elect_leaders.h"
#include "msg/end_quorum_epoch.h"
#include "msg/end_txn.h"
#include "msg/envelope.h"
#include "msg/expire_delegation_token.h"
#include "msg/fetch.h"
#include "msg/fetch_snapshot.h"
#include "msg/find_coordinator.h"
#include "msg/get_telemetry_subscriptions.h"
#include "msg/heartbeat.h"
#include "msg/incremental_alter_configs.h"
#include "msg/init_producer_id.h"
#include "msg/initialize_share_group_state.h"
#include "msg/join_group.h"
#include "msg/leave_group.h"
#include "msg/list_config_resources.h"
#include "msg/list_groups.h"
#include "msg/list_offsets.h"
#include "msg/list_partition_reassignments.h"
#include "msg/list_transactions.h"
#include "msg/metadata.h"
#include "msg/offset_commit.h"
#include "msg/offset_delete.h"
#include "msg/offset_fetch.h"
#include "msg/offset_for_leader_epoch.h"
#include "msg/produce.h"
#include "msg/push_telemetry.h"
#include "msg/read_share_group_state.h"
#include "msg/read_share_group_state_summary.h"
#include "msg/remove_raft_voter.h"
#include "msg/renew_delegation_token.h"
#include "msg/sasl_authenticate.h"
#include "msg/sasl_handshake.h"
#include "msg/share_acknowledge.h"
#include "msg/share_fetch.h"
#include "msg/share_group_describe.h"
#include "msg/share_group_heartbeat.h"
#include "msg/streams_group_describe.h"
#include "msg/streams_group_heartbeat.h"
#include "msg/sync_group.h"
#include "msg/txn_offset_commit.h"
#include "msg/unregister_broker.h"
#include "msg/update_features.h"
#include "msg/update_raft_voter.h"
#include "msg/vote.h"
#include "msg/write_share_group_state.h"
#include "msg/write_txn_markers.h"

#define API(key, upper, lower, text) {key, text, &lower##_request_schema, &lower##_response_schema},
static const struct api apis[] = {
#include "protocol/apis.def"
};
#undef API

#define API_COUNT (sizeof apis / sizeof apis[0])

const struct api *api_find(int16_t key)
{
    size_t low = 0;
    size_t high = API_COUNT;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (apis[middle].key == key)
            return &apis[middle];
        if (apis[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct api *api_at(size_t index)
{
    return index < API_COUNT ? &apis[index] : NULL;
}

int16_t api_request_header_version(const struct api *api, int16_t version)
{
    return message_is_flexible(api->request, version) ? 2 : 1;
}

int16_t api_response_header_version(const struct api *api, int16_t version)
{
    if (api->key == API_API_VERSIONS)
        return 0; /* a client that does not know our versions yet must be able to read it (KIP-511) */
    return message_is_flexible(api->response, version) ? 1 : 0;
}
