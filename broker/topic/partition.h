/* One partition of a topic as the broker serves it: its log, its leadership, and who waits for new data.
 *
 * Threads: any.  References keep it alive; a deleted partition stays valid for those who hold one.
 * Lock rank: partition.waiters is a leaf, taken with nothing else held. */
#ifndef PENSTOCK_BROKER_TOPIC_PARTITION_H
#define PENSTOCK_BROKER_TOPIC_PARTITION_H

#include "broker/log/log.h"
#include "common/list.h"
#include "common/str.h"
#include "common/uuid.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct partition {
    _Atomic unsigned references;
    char *topic;         /* name, NUL-terminated, for the life of the partition */
    size_t topic_length; /* of the name, in bytes */
    struct uuid topic_id;
    int32_t index;
    bool internal;                 /* __consumer_offsets, __transaction_state */
    struct log *log;               /* NULL: could not be opened, storage errors for everybody */
    _Atomic int32_t leader_epoch;  /* writer: control thread; readers: any */
    _Atomic int32_t in_sync_count; /* replicas in sync, this one included; writer: control thread */
    _Atomic int32_t min_in_sync;   /* min.insync.replicas; writer: control thread */
    _Atomic bool deleted;          /* set before the log goes away */

    pthread_mutex_t waiters_lock;
    struct list waiters;           /* struct partition_waiter */
    _Atomic unsigned waiter_count; /* lets an append skip the lock when nobody waits */
};

/* Somebody who wants to know when the partition has more to read (a parked fetch).  Embedded by its owner. */
struct partition_waiter {
    struct list link;
    void (*wake)(
        struct partition_waiter *waiter); /* any thread, under waiters_lock: must only post or flag */
};

/* References the log's name and id; takes over `log`.  NULL: out of memory (log untouched). */
struct partition *partition_new(struct str topic, const struct uuid *topic_id, int32_t index,
                                struct log *log);
struct partition *partition_ref(struct partition *partition);
void partition_unref(struct partition *partition); /* NULL is fine */

struct str partition_topic(const struct partition *partition);

/* After waiting starts, look at the log once more: data may have come in between. */
void partition_wait(struct partition *partition, struct partition_waiter *waiter);
void partition_wait_end(struct partition *partition,
                        struct partition_waiter *waiter); /* harmless when not waiting */
/* New data, a moved high watermark, or the partition is going away. */
void partition_notify(struct partition *partition);

#endif
