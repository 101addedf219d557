#include "client/lane.h"

#include "common/bug.h"
#include "protocol/error_codes.h"

#define BATCH_OF(l) CONTAINER_OF(l, struct batch, link)

void lane_init(struct lane *lane, bool idempotent, bool serial)
{
    *lane = (struct lane){.idempotent = idempotent, .serial = serial, .identity = {NO_PRODUCER_ID, -1}};
    list_init(&lane->link);
    list_init(&lane->queue);
    list_init(&lane->flight);
}

int32_t lane_sequence_after(int32_t sequence, int32_t count)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)count) & INT32_MAX);
}

static bool same_identity(const struct identity *a, const struct identity *b)
{
    return a->producer_id == b->producer_id && a->epoch == b->epoch;
}

static struct batch *first_of(const struct list *list)
{
    return list_is_empty(list) ? NULL : BATCH_OF(list->next);
}

void lane_push(struct lane *lane, struct batch *batch)
{
    batch->lane = lane;
    list_push_back(&lane->queue, &batch->link);
}

static void insert_by_number(struct list *list, struct batch *batch)
{
    struct list *at = list->previous;

    while (at != list && BATCH_OF(at)->number > batch->number)
        at = at->previous;
    list_insert_after(at, &batch->link);
}

void lane_requeue(struct lane *lane, struct batch *batch)
{
    insert_by_number(&lane->queue, batch);
}

/* Everything that has a number gets one of the new epoch, in order. */
static void number_again(struct lane *lane, const struct identity *identity)
{
    lane->identity = *identity;
    lane->next_sequence = 0;
    LIST_FOR_EACH (link, &lane->queue) {
        struct batch *batch = BATCH_OF(link);

        if (!batch->numbered)
            continue;
        batch->identity = *identity;
        batch->base_sequence = lane->next_sequence;
        lane->next_sequence = lane_sequence_after(lane->next_sequence, batch->count);
    }
}

static struct batch *next_idempotent(struct lane *lane, struct batch *first, const struct identity *identity)
{
    struct batch *flying = first_of(&lane->flight);

    if (identity->producer_id == NO_PRODUCER_ID || lane->flight_count >= LANE_FLIGHT_MAX)
        return NULL;
    if (lane->restart) {
        if (flying != NULL || same_identity(&lane->identity, identity))
            return NULL;
        number_again(lane, identity);
        lane->restart = false;
        lane->unresolved = false;
    }
    if (first->numbered)
        return flying == NULL || first->number < flying->number ? first : NULL;
    if (lane->unresolved) {
        if (flying != NULL)
            return NULL;
        if (same_identity(&lane->identity, identity)) {
            lane->wants_epoch = true;
            return NULL;
        }
        lane->unresolved = false;
    }
    if (!same_identity(&lane->identity, identity)) {
        if (flying != NULL)
            return NULL;
        lane->identity = *identity;
        lane->next_sequence = 0;
    }
    return first;
}

struct batch *lane_next(struct lane *lane, const struct identity *identity, int64_t now_us)
{
    struct batch *first = first_of(&lane->queue);

    if (first == NULL || first->retry_at_us > now_us)
        return NULL;
    if (lane->serial && lane->flight_count > 0)
        return NULL;
    return lane->idempotent ? next_idempotent(lane, first, identity) : first;
}

void lane_sent(struct lane *lane, struct batch *batch)
{
    BUG_ON(batch->in_flight);
    if (lane->idempotent && !batch->numbered) {
        batch->numbered = true;
        batch->identity = lane->identity;
        batch->base_sequence = lane->next_sequence;
        lane->next_sequence = lane_sequence_after(lane->next_sequence, batch->count);
    }
    list_remove(&batch->link);
    insert_by_number(&lane->flight, batch);
    batch->in_flight = true;
    batch->closed = true;
    batch->attempts++;
    lane->flight_count++;
}

/* A batch before this one is still to be answered or sent: then this one's number is not the broker's next.
 */
static bool has_earlier(const struct lane *lane, const struct batch *batch)
{
    const struct batch *flying = first_of(&lane->flight);
    const struct batch *queued = first_of(&lane->queue);

    return (flying != NULL && flying->number < batch->number) ||
           (queued != NULL && queued->numbered && queued->number < batch->number);
}

static void ask_restart(struct lane *lane, struct batch *batch, bool new_id)
{
    /* an answer to a number of the past says nothing about today's */
    if (!same_identity(&batch->identity, &lane->identity))
        return;
    lane->restart = true;
    lane->wants_epoch = true;
    lane->wants_new_id |= new_id;
}

static bool sequence_trouble(struct lane *lane, struct batch *batch, pst_err_t code)
{
    switch (code) {
    case KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER:
        if (!has_earlier(lane, batch))
            ask_restart(lane, batch, false);
        return true;
    case KAFKA_UNKNOWN_PRODUCER_ID:
        ask_restart(lane, batch, false);
        return true;
    case KAFKA_INVALID_PRODUCER_EPOCH:
        ask_restart(lane, batch, true);
        return true;
    default:
        return false;
    }
}

enum lane_verdict lane_answer(struct lane *lane, struct batch *batch, pst_err_t code, bool may_retry)
{
    BUG_ON(!batch->in_flight);
    list_remove(&batch->link);
    batch->in_flight = false;
    lane->flight_count--;
    if (code == PST_ERR_NONE || code == KAFKA_DUPLICATE_SEQUENCE_NUMBER)
        return LANE_DONE;
    if (code == KAFKA_MESSAGE_TOO_LARGE && batch->count > 1)
        return LANE_SPLIT;
    if (may_retry &&
        ((batch->numbered && sequence_trouble(lane, batch, code)) || pst_err_is_retriable(code))) {
        lane_requeue(lane, batch);
        return LANE_RETRY;
    }
    lane->unresolved |= batch->numbered;
    return LANE_FAIL;
}

void lane_drop(struct lane *lane, struct batch *batch)
{
    BUG_ON(batch->in_flight);
    list_remove(&batch->link);
    lane->unresolved |= batch->numbered;
}
