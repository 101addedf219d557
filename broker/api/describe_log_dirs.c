/* DescribeLogDirs: what lies where, and how much room there is.  Thread: a worker. */
#include "broker/api/call.h"
#include "broker/api/handlers.h"
#include "broker/log/log_dir.h"
#include "broker/log/log_manager.h"
#include "broker/topic/registry.h"
#include "protocol/error_codes.h"

#include "msg/describe_log_dirs.h"

#include <stdlib.h>

struct placed {
    struct str topic; /* in the arena */
    int32_t partition;
    int64_t size_bytes;
    const struct log_dir *dir;
};

struct listing {
    struct call *call;
    struct placed *placed; /* malloc'ed */
    size_t count;
    size_t capacity;
    bool failed;
};

static bool is_wanted(const struct describe_log_dirs_request *request, struct str topic, int32_t partition)
{
    if (request->topics_count < 0)
        return true;
    for (int32_t i = 0; i < request->topics_count; i++) {
        if (!str_equal(request->topics[i].topic, topic))
            continue;
        for (int32_t k = 0; k < request->topics[i].partitions_count; k++) {
            if (request->topics[i].partitions[k] == partition)
                return true;
        }
    }
    return false;
}

static void list_partition(struct partition *partition, void *arg)
{
    struct listing *listing = arg;
    const char *topic;

    if (partition->log == NULL || listing->failed ||
        !is_wanted(listing->call->request, partition_topic(partition), partition->index))
        return;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity == 0 ? 64 : listing->capacity * 2;
        struct placed *grown = realloc(listing->placed, capacity * sizeof *grown);

        if (grown == NULL) {
            listing->failed = true;
            return;
        }
        listing->placed = grown;
        listing->capacity = capacity;
    }
    topic = arena_str_dup(listing->call->arena, partition_topic(partition));
    listing->failed |= topic == NULL;
    listing->placed[listing->count++] = (struct placed){.topic = str_of(topic),
                                                        .partition = partition->index,
                                                        .size_bytes = log_size_bytes(partition->log),
                                                        .dir = log_dir_of(partition->log)};
}

static int by_place(const void *a, const void *b)
{
    const struct placed *left = a;
    const struct placed *right = b;
    int order = str_compare(left->topic, right->topic);

    return order != 0 ? order : (left->partition > right->partition) - (left->partition < right->partition);
}

static bool fill_topics(const struct listing *listing, const struct log_dir *dir,
                        struct describe_log_dirs_response_describe_log_dirs_result *result)
{
    struct arena *arena = listing->call->arena;
    struct describe_log_dirs_response_describe_log_dirs_partition *partitions =
        arena_array(arena, listing->count, sizeof *partitions);
    struct describe_log_dirs_response_describe_log_dirs_topic *topic = NULL;

    result->topics = arena_array(arena, listing->count, sizeof *result->topics);
    if (partitions == NULL || result->topics == NULL)
        return false;
    for (size_t i = 0; i < listing->count; i++) {
        const struct placed *placed = &listing->placed[i];

        if (placed->dir != dir)
            continue;
        if (topic == NULL || !str_equal(topic->name, placed->topic)) {
            topic = &result->topics[result->topics_count++];
            topic->name = placed->topic;
            topic->partitions = partitions;
        }
        partitions->partition_index = placed->partition;
        partitions->partition_size = placed->size_bytes;
        partitions++;
        topic->partitions_count++;
    }
    return true;
}

void api_handle_describe_log_dirs(struct call *call)
{
    struct log_manager *logs = call->env->logs;
    struct listing listing = {.call = call};
    unsigned count = log_manager_dir_count(logs);

    CALL_RESPONSE(describe_log_dirs_response, response);
    response.results = arena_array(call->arena, count, sizeof *response.results);
    registry_each(call->env->registry, list_partition, &listing);
    if (response.results == NULL || listing.failed)
        goto fail;
    if (listing.count > 0)
        qsort(listing.placed, listing.count, sizeof *listing.placed, by_place);
    response.results_count = (int32_t)count;
    for (unsigned i = 0; i < count; i++) {
        const struct log_dir *dir = log_manager_dir(logs, i);
        struct describe_log_dirs_response_describe_log_dirs_result *result = &response.results[i];

        message_init(&describe_log_dirs_response_describe_log_dirs_result_schema, result);
        result->log_dir = str_of(log_dir_path(dir));
        if (log_dir_is_offline(dir)) {
            result->error_code = KAFKA_KAFKA_STORAGE_ERROR;
            continue;
        }
        if (log_dir_space(dir, &result->total_bytes, &result->usable_bytes) != PST_OK)
            result->error_code = KAFKA_KAFKA_STORAGE_ERROR;
        if (!fill_topics(&listing, dir, result))
            goto fail;
    }
    free(listing.placed);
    call_respond(call, &response);
    return;

fail:
    free(listing.placed);
    call_fail(call, "out of memory");
}
