/* The producer's insides, shared by the side that takes records (producer.c) and the side that sends them
 * (producer_send.c).
 *
 * Threads: `lock` guards everything here except what is marked; application threads append under it, the
 * reactor drains under it and compresses and sends outside it.  A batch is touched by application threads
 * only while it is open; once closed it is the reactor's. */
#ifndef PENSTOCK_CLIENT_PRODUCER_H
#define PENSTOCK_CLIENT_PRODUCER_H

#include "client/client.h"
#include "client/lane.h"
#include "client/partitioner.h"

#define SPARE_BUILDERS_MAX 64u

/* A thread in pst_produce_wait, on its stack. */
struct batch_waiter {
    struct batch_waiter *next;
    int32_t index; /* of its record in the batch */
    bool settled;
    pst_err_t code;
    char text[PST_ERROR_TEXT_BYTES];
    int32_t partition;
    int64_t offset;
};

struct outlet { /* a topic we produce to */
    char *name;
    struct topic *topic;
    int32_t partition_count; /* copied from the topic when metadata changes; 0: not known */
    pst_err_t error;
    unsigned answers;
    struct outlet_lane **lanes; /* lane_count of them, NULL until used */
    int32_t lane_count;
    int32_t sticky;
    size_t sticky_bytes;
};

struct identity_call;

struct outlet_lane {
    struct lane lane;
    struct outlet *outlet;
    int32_t partition;
};

struct pst_producer {
    struct pst_client *client;
    pst_delivery_fn on_delivery;
    void *on_delivery_arg;

    pthread_mutex_t lock;
    pthread_cond_t progress; /* CLOCK_MONOTONIC: room, metadata, a settled waiter, flush */
    struct hashmap *outlets;
    struct outlet *last_outlet;
    struct list active; /* lanes with something queued */
    struct list all;    /* every unfinished batch, by number */
    uint64_t next_number;
    uint64_t flush_below; /* batches with smaller numbers do not linger */
    size_t buffered_bytes;
    unsigned room_waiters;
    int64_t next_due_us; /* when the reactor looks next; INT64_MAX: not planned */
    pst_err_t fatal;     /* the producer is over */
    struct identity identity;
    struct record_batch_builder *spares[SPARE_BUILDERS_MAX];
    size_t spare_count;
    uint64_t random;
    struct pst_producer_stats stats;

    _Atomic bool wake_posted;
    struct mail wake;

    /* the reactor's */
    struct cluster_listener listener;
    struct timer timer;
    struct list sendings;
    struct identity_call *identity_call; /* NULL: none under way */
    bool asking_identity;
    int64_t ask_identity_at_us;
    unsigned identity_failures;
    bool pumping;
    bool pump_again;
    bool closing;
};

/* Reactor's thread: sends what is ready, fails what is late, plans the next look. */
void producer_pump(struct pst_producer *producer);
/* Reactor's thread: nothing is sent any more; everything left fails with PST_ERR_CLOSED. */
void producer_detach(void *producer);
/* Any thread, under the lock. */
void producer_wake(struct pst_producer *producer);
/* Under the lock.  NULL: out of memory. */
struct batch *producer_batch_new(struct pst_producer *producer, struct lane *lane);
void producer_batch_free(struct pst_producer *producer, struct batch *batch);

#endif
