/* One partition's batches on their way out: order, sequence numbers, and what an answer means for them.
 *
 * Pure: no locks, no I/O, no clock.  The producer's lock guards it.
 *
 * A lane has a queue (waiting, in sending order) and a flight (sent, unanswered).  An idempotent lane numbers
 * its batches when they are first sent and never changes a number whose fate is not known, except through
 * `restart`:
 *   - a batch that comes back is sent again with its number, and only when no earlier one is in flight;
 *   - the broker has lost our state (UNKNOWN_PRODUCER_ID), or misses a batch although none is under way
 *     (OUT_OF_ORDER at the head), or knows a later epoch: once the flight has come home, everything is
 * numbered again from 0 under a new epoch;
 *   - a numbered batch failed for good: what is numbered goes out with its numbers, then a new epoch begins.
 */
#ifndef PENSTOCK_CLIENT_LANE_H
#define PENSTOCK_CLIENT_LANE_H

#include "client/include/penstock/penstock.h"
#include "common/list.h"
#include "protocol/record_batch.h"

#define LANE_FLIGHT_MAX 5u /* a broker remembers this many batches of a producer */

struct identity {
    int64_t producer_id; /* NO_PRODUCER_ID: none yet */
    int16_t epoch;
};

struct batch_tag {
    void *tag;
    int64_t timestamp_ms;
};

struct batch_waiter; /* the producer's */

struct batch {
    struct list link;  /* in its lane's queue or flight */
    struct list order; /* in the producer's list of everything unfinished */
    struct lane *lane;
    uint64_t number; /* rises with the time of making, within a lane with the order of records */
    struct record_batch_builder *builder;
    struct str bytes;       /* null until the builder is finished */
    struct batch_tag *tags; /* NULL: nobody asked */
    int32_t tag_capacity;
    int32_t count;
    struct batch_waiter *waiters;
    size_t charged_bytes; /* of buffer.memory */
    int64_t created_us;
    int64_t retry_at_us;
    unsigned attempts; /* times sent */
    bool closed;       /* takes no more records */
    bool urgent;       /* does not linger */
    bool in_flight;
    bool numbered;
    struct identity identity; /* with base_sequence, when numbered */
    int32_t base_sequence;
};

struct lane {
    struct list link; /* the producer's list of lanes with something queued */
    struct list queue;
    struct list flight;
    unsigned flight_count;
    bool idempotent;
    bool serial; /* one batch at a time */
    bool restart;
    bool unresolved;
    bool wants_epoch;  /* told to the producer, which clears it */
    bool wants_new_id; /* an epoch is not enough */
    struct identity identity;
    int32_t next_sequence;
};

enum lane_verdict {
    LANE_DONE,
    LANE_RETRY, /* it is back in the queue */
    LANE_SPLIT, /* too large, taken out: lane_requeue its halves */
    LANE_FAIL,  /* taken out */
};

void lane_init(struct lane *lane, bool idempotent, bool serial);

/* Puts a new batch at the end. */
void lane_push(struct lane *lane, struct batch *batch);
/* The batch to send next, NULL: none may go now.  retry_at_us is looked at, lingering is the caller's
 * business. */
struct batch *lane_next(struct lane *lane, const struct identity *identity, int64_t now_us);
/* Moves it into the flight, numbering it if it has no number. */
void lane_sent(struct lane *lane, struct batch *batch);
/* The answer for a batch in flight: `code` as from the broker, or ours for a lost connection.  may_retry:
 * retries and time are left. */
enum lane_verdict lane_answer(struct lane *lane, struct batch *batch, pst_err_t code, bool may_retry);
/* Back into the queue, in its place. */
void lane_requeue(struct lane *lane, struct batch *batch);
/* Takes a queued batch out for good (it came too late). */
void lane_drop(struct lane *lane, struct batch *batch);

/* sequence + count, which wraps to 0 behind INT32_MAX. */
int32_t lane_sequence_after(int32_t sequence, int32_t count);

#endif
