#include "client/leaders.h"

#include "protocol/error_codes.h"

#include <stdlib.h>

#define NO_NODE (-1)

size_t leader_find(const struct leader_item *items, const size_t *chosen, size_t count, struct str topic,
                   int32_t partition)
{
    for (size_t i = 0; i < count; i++)
        if (items[chosen[i]].partition == partition && str_equal_text(topic, items[chosen[i]].topic))
            return chosen[i];
    return SIZE_MAX;
}

/* The leader now.  PST_ERR_NONE with NO_NODE: wait.  Other codes are final for this item. */
static pst_err_t find_leader(struct cluster *cluster, struct leader_item *item, unsigned asked_before,
                             int32_t *ret_node)
{
    struct topic *topic = cluster_topic(cluster, item->topic, false);
    pst_err_t code = PST_ERR_NONE;

    *ret_node = NO_NODE;
    if (topic == NULL)
        return PST_ERR_NO_MEMORY;
    pthread_mutex_lock(&cluster->lock);
    if (topic->answers > 0 && topic->error != 0 &&
        (topic->error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION ? asked_before > 0
                                                          : !pst_err_is_retriable(topic->error)))
        code = topic->error;
    else if (topic->known && topic->error == 0 && item->partition >= topic->partition_count &&
             asked_before > 0)
        code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    else if (topic->known && item->partition < topic->partition_count) {
        *ret_node = topic->leaders[item->partition].node_id;
        item->leader_epoch = topic->leaders[item->partition].epoch;
    }
    pthread_mutex_unlock(&cluster->lock);
    return code;
}

static pst_err_t do_node(struct pst_client *client, struct leader_work *work, struct leader_item *items,
                         const size_t *chosen, size_t count, int32_t node, struct pst_error *error)
{
    struct arena *arena = arena_new(SIZE_MAX / 2);
    struct reply reply;
    pst_err_t code;

    work->call.request = arena == NULL ? NULL : work->build(arena, items, chosen, count, work->arg);
    if (work->call.request == NULL) {
        arena_free(arena);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    work->call.target = CALL_BROKER;
    work->call.broker = node;
    code = call_send(client, &work->call, &reply, error);
    if (code == PST_ERR_NONE) {
        for (size_t i = 0; i < count; i++)
            outcome_set(items[chosen[i]].outcome, PST_ERR_BAD_RESPONSE,
                        STR_LITERAL("the answer does not mention it"));
        work->take(reply.message, reply.version, items, chosen, count, work->arg);
        for (size_t i = 0; i < count; i++) {
            struct leader_item *item = &items[chosen[i]];

            item->open = item->outcome->code > 0 && pst_err_is_retriable(item->outcome->code);
        }
        reply_free(&reply);
    }
    arena_free(arena);
    return code;
}

/* One pass over what is open.  *ret_open: how many still are. */
static pst_err_t do_pass(struct pst_client *client, struct leader_work *work, struct leader_item *items,
                         size_t count, unsigned pass, size_t *chosen, int32_t *nodes, size_t *ret_open,
                         struct pst_error *error)
{
    size_t open = 0;

    for (size_t i = 0; i < count; i++) {
        pst_err_t code = PST_ERR_NONE;

        nodes[i] = NO_NODE;
        if (items[i].open)
            code = find_leader(&client->cluster, &items[i], pass, &nodes[i]);
        if (code != PST_ERR_NONE) {
            outcome_set(items[i].outcome, code, str_null());
            items[i].open = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int32_t node = nodes[i];
        size_t chosen_count = 0;
        pst_err_t code;

        if (node == NO_NODE)
            continue;
        for (size_t k = i; k < count; k++) {
            if (nodes[k] != node)
                continue;
            nodes[k] = NO_NODE;
            chosen[chosen_count++] = k;
        }
        code = do_node(client, work, items, chosen, chosen_count, node, error);
        if (code != PST_ERR_NONE)
            return code;
    }
    for (size_t i = 0; i < count; i++)
        open += items[i].open;
    *ret_open = open;
    return PST_ERR_NONE;
}

/* Time is over: what has been answered at least once keeps that answer. */
static pst_err_t give_up(struct leader_item *items, size_t count, pst_err_t code)
{
    bool answered = false;

    for (size_t i = 0; i < count; i++)
        answered |= !items[i].open || items[i].outcome->code != PST_ERR_NONE;
    for (size_t i = 0; answered && i < count; i++)
        if (items[i].open && items[i].outcome->code == PST_ERR_NONE)
            outcome_set(items[i].outcome, PST_ERR_TIMED_OUT, str_null());
    return answered ? PST_ERR_NONE : code;
}

pst_err_t leaders_do(struct pst_client *client, struct leader_work *work, struct leader_item *items,
                     size_t count, int64_t timeout_ms, struct pst_error *error)
{
    size_t *chosen = calloc(count + 1, sizeof *chosen);
    int32_t *nodes = calloc(count + 1, sizeof *nodes);
    pst_err_t code = PST_ERR_NONE;
    size_t open = count;

    if (chosen == NULL || nodes == NULL)
        code = error_set_code(error, PST_ERR_NO_MEMORY);
    for (size_t i = 0; i < count; i++) {
        outcome_set(items[i].outcome, PST_ERR_NONE, str_null());
        items[i].open = true;
    }
    work->call.deadline_us = call_deadline_us(client, timeout_ms);
    for (unsigned pass = 0; code == PST_ERR_NONE && open > 0; pass++) {
        code = do_pass(client, work, items, count, pass, chosen, nodes, &open, error);
        if (code != PST_ERR_NONE || open == 0)
            break;
        cluster_refresh(&client->cluster);
        code = call_pause(client, pass, work->call.deadline_us, "partitions have no leader", error);
    }
    if (code == PST_ERR_TIMED_OUT)
        code = give_up(items, count, code);
    free(chosen);
    free(nodes);
    return code;
}
