/* DescribeTopicPartitions: topics page by page, in the order of their names. */
#include "broker/api/api_metadata.h"
#include "broker/api/handlers.h"
#include "protocol/error_codes.h"

#include "msg/describe_topic_partitions.h"

#include <stdlib.h>

#define PARTITIONS_MAX 2000 /* Kafka's max.request.partition.size.limit */

typedef struct describe_topic_partitions_response_describe_topic_partitions_response_topic page_topic;
typedef struct describe_topic_partitions_response_describe_topic_partitions_response_partition page_partition;

struct page {
    struct call *call;
    const struct metadata_image *image;
    struct describe_topic_partitions_response *response;
    struct str from_topic; /* null: from the start */
    int32_t from_partition;
    int32_t room;
    bool full;
};

static int by_name(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static void fill_partition(const struct metadata_partition *partition, page_partition *ret)
{
    message_init(&describe_topic_partitions_response_describe_topic_partitions_response_partition_schema,
                 ret);
    ret->partition_index = partition->index;
    ret->leader_id = partition->leader;
    ret->leader_epoch = partition->leader_epoch;
    ret->error_code = partition->leader == METADATA_NO_LEADER ? KAFKA_LEADER_NOT_AVAILABLE : KAFKA_NONE;
    ret->replica_nodes = partition->replicas;
    ret->replica_nodes_count = partition->replica_count;
    ret->isr_nodes = partition->isr;
    ret->isr_nodes_count = partition->isr_count;
    ret->eligible_leader_replicas = partition->eligible;
    ret->eligible_leader_replicas_count = partition->eligible_count;
    ret->last_known_elr = partition->last_eligible;
    ret->last_known_elr_count = partition->last_eligible_count;
}

static bool stop_at(struct page *page, struct str topic, int32_t partition)
{
    struct describe_topic_partitions_response_cursor *cursor =
        arena_alloc_zero(page->call->arena, sizeof *cursor);

    page->full = true;
    if (cursor == NULL)
        return false;
    cursor->topic_name = topic;
    cursor->partition_index = partition;
    page->response->next_cursor = cursor;
    return true;
}

static bool add_topic(struct page *page, struct str name)
{
    const struct metadata_topic *topic = metadata_topic_find(page->image, name);
    page_topic *to = &page->response->topics[page->response->topics_count];
    int32_t from = str_equal(name, page->from_topic) && page->from_partition > 0 ? page->from_partition : 0;
    int32_t count;

    message_init(&describe_topic_partitions_response_describe_topic_partitions_response_topic_schema, to);
    to->name = name;
    if (topic == NULL) {
        to->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        page->response->topics_count++;
        return true;
    }
    if (page->room == 0)
        return stop_at(page, metadata_topic_name(topic), from);
    to->name = metadata_topic_name(topic);
    to->topic_id = topic->id;
    to->is_internal = topic->internal;
    to->topic_authorized_operations = TOPIC_OPERATIONS_ALL;
    count = from < topic->partition_count ? topic->partition_count - from : 0;
    if (count > page->room)
        count = page->room;
    to->partitions = arena_array(page->call->arena, (size_t)count, sizeof *to->partitions);
    if (to->partitions == NULL)
        return false;
    for (int32_t i = 0; i < count; i++)
        fill_partition(topic->partitions[from + i], &to->partitions[i]);
    to->partitions_count = count;
    page->response->topics_count++;
    page->room -= count;
    return from + count >= topic->partition_count || stop_at(page, to->name, from + count);
}

/* The names to describe, ascending; *ret in the arena. */
static bool wanted_names(struct page *page, struct str **ret, size_t *ret_count)
{
    const struct describe_topic_partitions_request *request = page->call->request;
    const struct metadata_topic **topics;

    if (request->topics_count > 0) {
        *ret_count = (size_t)request->topics_count;
        *ret = arena_array(page->call->arena, *ret_count, sizeof **ret);
        for (size_t i = 0; i < *ret_count && *ret != NULL; i++)
            (*ret)[i] = request->topics[i].name;
        if (*ret != NULL)
            qsort(*ret, *ret_count, sizeof **ret, by_name);
        return *ret != NULL;
    }
    topics = metadata_topics_sorted(page->image, ret_count);
    if (topics == NULL)
        return *ret_count == 0;
    *ret = arena_array(page->call->arena, *ret_count, sizeof **ret);
    for (size_t i = 0; i < *ret_count && *ret != NULL; i++)
        (*ret)[i] = metadata_topic_name(topics[i]);
    free(topics);
    return *ret != NULL;
}

void api_handle_describe_topic_partitions(struct call *call)
{
    const struct describe_topic_partitions_request *request = call->request;
    struct page page = {.call = call, .image = call_image(call), .room = request->response_partition_limit};
    struct str *names = NULL;
    size_t count = 0;

    CALL_RESPONSE(describe_topic_partitions_response, response);
    page.response = &response;
    if (page.room > PARTITIONS_MAX || page.room < 1)
        page.room = PARTITIONS_MAX;
    if (request->cursor != NULL) {
        page.from_topic = request->cursor->topic_name;
        page.from_partition = request->cursor->partition_index;
    }
    if (page.image == NULL || !wanted_names(&page, &names, &count))
        goto fail;
    response.topics = arena_alloc(call->arena, count * sizeof *response.topics);
    if (response.topics == NULL)
        goto fail;
    for (size_t i = 0; i < count && !page.full; i++) {
        if (!str_is_null(page.from_topic) && str_compare(names[i], page.from_topic) < 0)
            continue;
        if (!add_topic(&page, names[i]))
            goto fail;
    }
    call_respond(call, &response);
    return;

fail:
    call_fail(call, "out of memory");
}
