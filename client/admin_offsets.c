/* What only the leaders of partitions know: offsets, deletion of records, producers; and log directories. */
#include "client/leaders.h"
#include "client/result.h"
#include "msg/delete_records.h"
#include "msg/describe_log_dirs.h"
#include "msg/describe_producers.h"
#include "msg/list_offsets.h"
#include "protocol/api.h"

#include <stdlib.h>

#define ITEMS_MAX 1000000u /* of one call */

static bool name_is_valid(const char *topic, int32_t partition)
{
    return topic != NULL && topic[0] != '\0' && partition >= 0;
}

/* ---- offsets ---- */

struct offsets_arg {
    struct pst_client *client;
    struct pst_offset_query *queries;
};

/* Versions are not known when the request is built: fields of later versions are cleared here. */
static void shape_offsets(void *request, int16_t version)
{
    struct list_offsets_request *it = request;

    if (version < 2)
        it->isolation_level = 0;
    if (version < 10)
        it->timeout_ms = 0;
    for (int32_t i = 0; version < 4 && i < it->topics_count; i++)
        it->topics[i].partitions[0].current_leader_epoch = -1;
}

static void *build_offsets(struct arena *arena, const struct leader_item *items, const size_t *chosen,
                           size_t count, void *arg)
{
    struct offsets_arg *offsets = arg;
    struct list_offsets_request *request = arena_alloc(arena, sizeof *request);
    struct list_offsets_request_list_offsets_topic *topics = arena_array(arena, count, sizeof *topics);
    struct list_offsets_request_list_offsets_partition *partitions =
        arena_array(arena, count, sizeof *partitions);

    if (request == NULL || topics == NULL || partitions == NULL)
        return NULL;
    message_init(&list_offsets_request_schema, request);
    request->replica_id = -1;
    request->isolation_level = (int8_t)offsets->client->config->number[OPTION_ISOLATION];
    request->timeout_ms = (int32_t)offsets->client->config->number[OPTION_REQUEST_TIMEOUT];
    request->topics = topics;
    request->topics_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        message_init(&list_offsets_request_list_offsets_topic_schema, &topics[i]);
        message_init(&list_offsets_request_list_offsets_partition_schema, &partitions[i]);
        topics[i].name = str_of(items[chosen[i]].topic);
        topics[i].partitions = &partitions[i];
        topics[i].partitions_count = 1;
        partitions[i].partition_index = items[chosen[i]].partition;
        partitions[i].current_leader_epoch = items[chosen[i]].leader_epoch;
        partitions[i].timestamp = offsets->queries[chosen[i]].timestamp_ms;
    }
    return request;
}

static void take_offsets(const void *response, int16_t version, struct leader_item *items,
                         const size_t *chosen, size_t count, void *arg)
{
    const struct list_offsets_response *answer = response;
    struct offsets_arg *offsets = arg;

    (void)version;
    for (int32_t i = 0; i < answer->topics_count; i++) {
        for (int32_t k = 0; k < answer->topics[i].partitions_count; k++) {
            const struct list_offsets_response_list_offsets_partition_response *from =
                &answer->topics[i].partitions[k];
            size_t at = leader_find(items, chosen, count, answer->topics[i].name, from->partition_index);

            if (at == SIZE_MAX)
                continue;
            outcome_set(items[at].outcome, from->error_code, str_null());
            offsets->queries[at].offset = from->offset;
            offsets->queries[at].record_timestamp_ms = from->timestamp;
            offsets->queries[at].leader_epoch = from->leader_epoch;
        }
    }
}

/* One query a partition and round: an answer says nothing about the timestamp it is for. */
static pst_err_t list_round(struct pst_client *client, struct pst_offset_query *queries, size_t count,
                            int64_t timeout_ms, struct pst_error *error)
{
    struct leader_item *items = calloc(count + 1, sizeof *items);
    struct offsets_arg arg = {client, queries};
    struct leader_work work = {.call = {.api_key = API_LIST_OFFSETS,
                                        .version_min = 1,
                                        .version_max = 10,
                                        .request_schema = &list_offsets_request_schema,
                                        .shape = shape_offsets,
                                        .response_schema = &list_offsets_response_schema},
                               .build = build_offsets,
                               .take = take_offsets,
                               .arg = &arg};
    pst_err_t code;

    if (items == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        items[i] =
            (struct leader_item){queries[i].topic, queries[i].partition, &queries[i].outcome, true, -1};
        queries[i].offset = -1;
        queries[i].record_timestamp_ms = -1;
        queries[i].leader_epoch = -1;
        if (queries[i].timestamp_ms == PST_TIME_MAX_TIMESTAMP)
            work.call.version_min = 7;
    }
    code = leaders_do(client, &work, items, count, timeout_ms, error);
    free(items);
    return code;
}

static bool repeats(const struct pst_offset_query *queries, size_t from, size_t index)
{
    for (size_t i = from; i < index; i++)
        if (queries[i].partition == queries[index].partition &&
            strcmp(queries[i].topic, queries[index].topic) == 0)
            return true;
    return false;
}

pst_err_t pst_list_offsets(struct pst_client *client, struct pst_offset_query *queries, size_t count,
                           int64_t timeout_ms, struct pst_error *error)
{
    int64_t deadline_us;
    size_t from = 0;

    if (client == NULL || (queries == NULL && count > 0) || count > ITEMS_MAX)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and queries must be given");
    for (size_t i = 0; i < count; i++)
        if (!name_is_valid(queries[i].topic, queries[i].partition) ||
            queries[i].timestamp_ms < PST_TIME_MAX_TIMESTAMP)
            return error_set(error, PST_ERR_INVALID_ARGUMENT, "query %zu is not valid", i);
    deadline_us = call_deadline_us(client, timeout_ms);
    while (from < count) {
        int64_t left_ms = (deadline_us - reactor_now_us(&client->reactor)) / 1000;
        size_t to = from + 1;
        pst_err_t code;

        while (to < count && !repeats(queries, from, to))
            to++;
        code = list_round(client, queries + from, to - from, left_ms, error);
        if (code != PST_ERR_NONE)
            return code;
        from = to;
    }
    return PST_ERR_NONE;
}

pst_err_t pst_watermarks(struct pst_client *client, const char *topic, int32_t partition, int64_t timeout_ms,
                         int64_t *ret_low, int64_t *ret_high, struct pst_error *error)
{
    struct pst_offset_query queries[2] = {
        {.topic = topic, .partition = partition, .timestamp_ms = PST_TIME_EARLIEST},
        {.topic = topic, .partition = partition, .timestamp_ms = PST_TIME_LATEST},
    };
    pst_err_t code = pst_list_offsets(client, queries, 2, timeout_ms, error);

    if (code != PST_ERR_NONE)
        return code;
    for (int i = 0; i < 2; i++)
        if (queries[i].outcome.code != PST_ERR_NONE)
            return error_set(error, queries[i].outcome.code, "%.100s-%d: %.100s", topic, partition,
                             queries[i].outcome.text);
    *ret_low = queries[0].offset;
    *ret_high = queries[1].offset;
    return PST_ERR_NONE;
}

/* ---- deletion of records ---- */

static void *build_deletion(struct arena *arena, const struct leader_item *items, const size_t *chosen,
                            size_t count, void *arg)
{
    const struct pst_record_deletion *deletions = arg;
    struct delete_records_request *request = arena_alloc(arena, sizeof *request);
    struct delete_records_request_delete_records_topic *topics = arena_array(arena, count, sizeof *topics);
    struct delete_records_request_delete_records_partition *partitions =
        arena_array(arena, count, sizeof *partitions);

    if (request == NULL || topics == NULL || partitions == NULL)
        return NULL;
    message_init(&delete_records_request_schema, request);
    request->timeout_ms = 30000; /* for replicas to follow; our own deadline ends the wait */
    request->topics = topics;
    request->topics_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        message_init(&delete_records_request_delete_records_topic_schema, &topics[i]);
        message_init(&delete_records_request_delete_records_partition_schema, &partitions[i]);
        topics[i].name = str_of(items[chosen[i]].topic);
        topics[i].partitions = &partitions[i];
        topics[i].partitions_count = 1;
        partitions[i].partition_index = items[chosen[i]].partition;
        partitions[i].offset = deletions[chosen[i]].before_offset;
    }
    return request;
}

static void take_deletion(const void *response, int16_t version, struct leader_item *items,
                          const size_t *chosen, size_t count, void *arg)
{
    const struct delete_records_response *answer = response;
    struct pst_record_deletion *deletions = arg;

    (void)version;
    for (int32_t i = 0; i < answer->topics_count; i++) {
        for (int32_t k = 0; k < answer->topics[i].partitions_count; k++) {
            const struct delete_records_response_delete_records_partition_result *from =
                &answer->topics[i].partitions[k];
            size_t at = leader_find(items, chosen, count, answer->topics[i].name, from->partition_index);

            if (at == SIZE_MAX)
                continue;
            outcome_set(items[at].outcome, from->error_code, str_null());
            deletions[at].low_watermark = from->error_code == 0 ? from->low_watermark : -1;
        }
    }
}

pst_err_t pst_delete_records(struct pst_client *client, struct pst_record_deletion *deletions, size_t count,
                             int64_t timeout_ms, struct pst_error *error)
{
    struct leader_item *items;
    struct leader_work work = {.call = {.api_key = API_DELETE_RECORDS,
                                        .version_max = 2,
                                        .request_schema = &delete_records_request_schema,
                                        .response_schema = &delete_records_response_schema},
                               .build = build_deletion,
                               .take = take_deletion,
                               .arg = deletions};
    pst_err_t code;

    if (client == NULL || (deletions == NULL && count > 0) || count > ITEMS_MAX)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and deletions must be given");
    items = calloc(count + 1, sizeof *items);
    if (items == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        if (!name_is_valid(deletions[i].topic, deletions[i].partition)) {
            free(items);
            return error_set(error, PST_ERR_INVALID_ARGUMENT, "deletion %zu names no partition", i);
        }
        items[i] =
            (struct leader_item){deletions[i].topic, deletions[i].partition, &deletions[i].outcome, true, -1};
        deletions[i].low_watermark = -1;
    }
    code = leaders_do(client, &work, items, count, timeout_ms, error);
    free(items);
    return code;
}

/* ---- producers ---- */

struct producers_arg {
    struct arena *arena; /* of the result */
    struct pst_partition_producers *partitions;
};

static void *build_producers(struct arena *arena, const struct leader_item *items, const size_t *chosen,
                             size_t count, void *arg)
{
    struct describe_producers_request *request = arena_alloc(arena, sizeof *request);
    struct describe_producers_request_topic_request *topics = arena_array(arena, count, sizeof *topics);
    int32_t *indexes = arena_array(arena, count, sizeof *indexes);

    (void)arg;
    if (request == NULL || topics == NULL || indexes == NULL)
        return NULL;
    message_init(&describe_producers_request_schema, request);
    request->topics = topics;
    request->topics_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        message_init(&describe_producers_request_topic_request_schema, &topics[i]);
        indexes[i] = items[chosen[i]].partition;
        topics[i].name = str_of(items[chosen[i]].topic);
        topics[i].partition_indexes = &indexes[i];
        topics[i].partition_indexes_count = 1;
    }
    return request;
}

static void copy_producers(struct arena *arena, struct pst_partition_producers *to,
                           const struct describe_producers_response_partition_response *from)
{
    size_t count = from->active_producers_count < 0 ? 0 : (size_t)from->active_producers_count;
    struct pst_producer_state *states = arena_array(arena, count, sizeof *states);

    for (size_t i = 0; states != NULL && i < count; i++) {
        const struct describe_producers_response_producer_state *source = &from->active_producers[i];

        states[i] = (struct pst_producer_state){source->producer_id,       source->producer_epoch,
                                                source->last_sequence,     source->last_timestamp,
                                                source->coordinator_epoch, source->current_txn_start_offset};
    }
    to->producers = states;
    to->producer_count = states == NULL ? 0 : count;
}

static void take_producers(const void *response, int16_t version, struct leader_item *items,
                           const size_t *chosen, size_t count, void *arg)
{
    const struct describe_producers_response *answer = response;
    struct producers_arg *producers = arg;

    (void)version;
    for (int32_t i = 0; i < answer->topics_count; i++) {
        for (int32_t k = 0; k < answer->topics[i].partitions_count; k++) {
            const struct describe_producers_response_partition_response *from =
                &answer->topics[i].partitions[k];
            size_t at = leader_find(items, chosen, count, answer->topics[i].name, from->partition_index);

            if (at == SIZE_MAX)
                continue;
            outcome_set(items[at].outcome, from->error_code, from->error_message);
            copy_producers(producers->arena, &producers->partitions[at], from);
        }
    }
}

static pst_err_t ask_producers(struct pst_client *client, struct pst_partition_producers *partitions,
                               size_t count, struct arena *arena, int64_t timeout_ms, struct pst_error *error)
{
    struct leader_item *items = arena_array(arena, count, sizeof *items);
    struct pst_outcome *outcomes = arena_array(arena, count, sizeof *outcomes);
    struct producers_arg arg = {arena, partitions};
    struct leader_work work = {.call = {.api_key = API_DESCRIBE_PRODUCERS,
                                        .request_schema = &describe_producers_request_schema,
                                        .response_schema = &describe_producers_response_schema},
                               .build = build_producers,
                               .take = take_producers,
                               .arg = &arg};
    pst_err_t code;

    if (items == NULL || outcomes == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct leader_item){partitions[i].topic, partitions[i].partition, &outcomes[i], true, -1};
    code = leaders_do(client, &work, items, count, timeout_ms, error);
    for (size_t i = 0; i < count; i++) {
        partitions[i].code = outcomes[i].code;
        partitions[i].text = outcomes[i].text;
    }
    return code;
}

pst_err_t pst_describe_producers(struct pst_client *client, const struct pst_partition_name *names,
                                 size_t count, int64_t timeout_ms, const struct pst_producers **ret,
                                 struct pst_error *error)
{
    struct pst_partition_producers *partitions;
    struct pst_producers *result;
    struct arena *arena;
    pst_err_t code = PST_ERR_NONE;

    if (client == NULL || ret == NULL || (names == NULL && count > 0) || count > ITEMS_MAX)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client, partitions and ret must be given");
    result = result_new(sizeof *result, &arena);
    partitions = result == NULL ? NULL : arena_array(arena, count, sizeof *partitions);
    if (partitions == NULL)
        code = error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count && code == PST_ERR_NONE; i++) {
        partitions[i].topic = arena_str_dup(arena, str_of(names[i].topic));
        partitions[i].partition = names[i].partition;
        if (!name_is_valid(partitions[i].topic, partitions[i].partition))
            code = error_set(error, PST_ERR_INVALID_ARGUMENT, "item %zu names no partition", i);
    }
    if (code == PST_ERR_NONE)
        code = ask_producers(client, partitions, count, arena, timeout_ms, error);
    if (code != PST_ERR_NONE) {
        pst_result_free(result);
        return code;
    }
    result->partitions = partitions;
    result->count = count;
    *ret = result;
    return PST_ERR_NONE;
}

/* ---- log directories ---- */

static bool copy_dir(struct arena *arena, struct pst_log_dir *to,
                     const struct describe_log_dirs_response_describe_log_dirs_result *from)
{
    struct pst_replica_size *replicas;
    size_t count = 0;

    for (int32_t i = 0; i < from->topics_count; i++)
        count += from->topics[i].partitions_count < 0 ? 0 : (size_t)from->topics[i].partitions_count;
    replicas = arena_array(arena, count, sizeof *replicas);
    to->code = from->error_code;
    to->path = arena_str_dup(arena, from->log_dir);
    to->total_bytes = from->total_bytes;
    to->usable_bytes = from->usable_bytes;
    to->replicas = replicas;
    if (replicas == NULL || to->path == NULL)
        return false;
    for (int32_t i = 0; i < from->topics_count; i++) {
        const char *topic = arena_str_dup(arena, from->topics[i].name);

        for (int32_t k = 0; k < from->topics[i].partitions_count; k++) {
            const struct describe_log_dirs_response_describe_log_dirs_partition *source =
                &from->topics[i].partitions[k];

            replicas[to->replica_count++] =
                (struct pst_replica_size){topic, source->partition_index, source->partition_size,
                                          source->offset_lag, source->is_future_key};
        }
    }
    return true;
}

static pst_err_t ask_dirs(struct pst_client *client, int32_t broker, int64_t deadline_us, struct reply *ret,
                          struct pst_error *error)
{
    struct describe_log_dirs_request request;
    struct call call = {.target = CALL_BROKER,
                        .broker = broker,
                        .api_key = API_DESCRIBE_LOG_DIRS,
                        .version_min = 1,
                        .version_max = 4,
                        .request_schema = &describe_log_dirs_request_schema,
                        .request = &request,
                        .response_schema = &describe_log_dirs_response_schema,
                        .deadline_us = deadline_us};

    message_init(&describe_log_dirs_request_schema, &request);
    request.topics_count = -1; /* null: all */
    return call_send(client, &call, ret, error);
}

static pst_err_t collect_dirs(struct pst_client *client, const int32_t *brokers, size_t broker_count,
                              int64_t deadline_us, struct arena *arena, struct pst_log_dirs *result,
                              struct pst_error *error)
{
    struct pst_log_dir *dirs = NULL;

    for (size_t i = 0; i < broker_count; i++) {
        const struct describe_log_dirs_response *answer;
        struct pst_log_dir *more;
        struct reply reply;
        pst_err_t code = ask_dirs(client, brokers[i], deadline_us, &reply, error);

        if (code != PST_ERR_NONE)
            return code;
        answer = reply.message;
        if (answer->error_code != 0)
            code = error_set_code(error, answer->error_code);
        more = arena_array(arena, result->count + (size_t)answer->results_count, sizeof *more);
        if (more == NULL)
            code = error_set_code(error, PST_ERR_NO_MEMORY);
        else if (dirs != NULL)
            memcpy(more, dirs, result->count * sizeof *more);
        dirs = more;
        for (int32_t k = 0; code == PST_ERR_NONE && k < answer->results_count; k++) {
            dirs[result->count].broker = brokers[i];
            if (!copy_dir(arena, &dirs[result->count++], &answer->results[k]))
                code = error_set_code(error, PST_ERR_NO_MEMORY);
        }
        reply_free(&reply);
        if (code != PST_ERR_NONE)
            return code;
        result->dirs = dirs;
    }
    return PST_ERR_NONE;
}

pst_err_t pst_describe_log_dirs(struct pst_client *client, int32_t broker, int64_t timeout_ms,
                                const struct pst_log_dirs **ret, struct pst_error *error)
{
    const struct pst_cluster *cluster = NULL;
    struct pst_log_dirs *result = NULL;
    int64_t deadline_us;
    struct arena *arena;
    int32_t *brokers = NULL;
    pst_err_t code;

    if (client == NULL || ret == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "client and ret must be given");
    deadline_us = call_deadline_us(client, timeout_ms);
    code = pst_describe_cluster(client, timeout_ms, &cluster, error);
    if (code != PST_ERR_NONE)
        return code;
    result = result_new(sizeof *result, &arena);
    if (result != NULL)
        brokers = arena_array(arena, cluster->broker_count + 1, sizeof *brokers);
    if (brokers == NULL) {
        code = error_set_code(error, PST_ERR_NO_MEMORY);
    } else {
        brokers[0] = broker;
        for (size_t i = 0; broker < 0 && i < cluster->broker_count; i++)
            brokers[i] = cluster->brokers[i].id;
        code = collect_dirs(client, brokers, broker < 0 ? cluster->broker_count : 1, deadline_us, arena,
                            result, error);
    }
    pst_result_free(cluster);
    if (code != PST_ERR_NONE) {
        pst_result_free(result);
        return code;
    }
    *ret = result;
    return PST_ERR_NONE;
}
