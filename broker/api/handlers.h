/* Every request handler of the dispatch table.  Contract of all: see call.h. */
#ifndef PENSTOCK_BROKER_API_HANDLERS_H
#define PENSTOCK_BROKER_API_HANDLERS_H

struct call;

void api_handle_alter_configs(struct call *call);
void api_handle_api_versions(struct call *call);
void api_handle_create_partitions(struct call *call);
void api_handle_create_topics(struct call *call);
void api_handle_delete_records(struct call *call);
void api_handle_delete_topics(struct call *call);
void api_handle_describe_cluster(struct call *call);
void api_handle_describe_configs(struct call *call);
void api_handle_describe_log_dirs(struct call *call);
void api_handle_describe_producers(struct call *call);
void api_handle_describe_topic_partitions(struct call *call);
void api_handle_fetch(struct call *call);
void api_handle_find_coordinator(struct call *call);
void api_handle_incremental_alter_configs(struct call *call);
void api_handle_init_producer_id(struct call *call);
void api_handle_list_offsets(struct call *call);
void api_handle_metadata(struct call *call);
void api_handle_offset_for_leader_epoch(struct call *call);
void api_handle_produce(struct call *call);

struct api_versions_response;
/* Supported and finalized features, from the metadata image.  In the arena. */
void api_fill_features(struct call *call, struct api_versions_response *response);
/* ApiVersions in a version we do not know: answered in version 0 with our range. */
void api_answer_unsupported_api_versions(struct call *call);

#endif
