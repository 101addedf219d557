/* The consumer's insides, shared by the side that gives records out (consumer.c) and the side that fetches
 * them (consumer_fetch.c).
 *
 * Threads: `lock` guards cursors and the list of chunks.  The reactor fetches and appends chunks; the
 * application's thread takes them, and checks, inflates and walks the batches outside the lock.  The chunk in
 * hand (`current`) and the walkers kept for the caller are the application's alone. */
#ifndef PENSTOCK_CLIENT_CONSUMER_H
#define PENSTOCK_CLIENT_CONSUMER_H

#include "client/client.h"
#include "protocol/record_batch.h"

#define NO_OFFSET INT64_MIN

enum cursor_state {
    CURSOR_RESOLVE,   /* an offset must be asked for: `target` says which */
    CURSOR_RESOLVING, /* it is being asked for */
    CURSOR_FETCH,     /* fetch_offset may be fetched */
    CURSOR_FETCHING,
    CURSOR_STOPPED, /* an error was told; a seek starts it again */
};

/* An assigned partition. */
struct cursor {
    struct list link;
    unsigned references; /* the assignment, requests and chunks; under the lock */
    unsigned generation; /* of seeks: what older requests bring is dropped */
    struct topic *topic;
    int32_t partition;
    enum cursor_state state;
    bool assigned;
    bool paused;
    bool unknown_told; /* that the topic does not exist */
    int64_t target;    /* CURSOR_RESOLVE: a timestamp, or PST_TIME_LATEST or _EARLIEST */
    int64_t fetch_offset;
    int64_t position;          /* next to give out; NO_OFFSET: not resolved */
    int64_t low, high, stable; /* NO_OFFSET: not told */
    int64_t end_told;          /* the offset PST_ERR_PARTITION_EOF was told at */
    size_t queued_bytes;
    int64_t retry_at_us;
    unsigned failures;
};

struct aborted {
    int64_t producer_id;
    int64_t first_offset;
};

/* What one fetch brought for one partition, or an event in its place. */
struct chunk {
    struct list link;
    struct cursor *cursor;
    unsigned generation;
    pst_err_t code; /* 0: records */
    int64_t offset; /* of an event; of records: the first wanted */
    char *text;     /* of an error; NULL: the code's own */
    struct frame_ref *frame;
    const uint8_t *at;
    const uint8_t *end;
    size_t charged_bytes;
    struct record_walker *walker; /* NULL: between two batches */
    struct record_batch_info batch;
    struct aborted *aborted; /* by first offset */
    size_t aborted_count;
    size_t aborted_next;
    int64_t *open_aborts; /* producers inside an aborted transaction; room for aborted_count */
    size_t open_abort_count;
};

struct fetch_channel {
    struct node *node;
    struct channel *channel;
    bool busy; /* a fetch is under way */
};

struct pst_consumer {
    struct pst_client *client;
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* CLOCK_MONOTONIC */
    struct list cursors;
    struct list chunks;
    size_t queued_bytes;
    bool throttled; /* something is not fetched for want of room */
    _Atomic bool wake_posted;
    struct mail wake;

    /* the application's */
    struct chunk *current;
    struct record_walker **kept; /* what the last poll gave points into them */
    size_t kept_count;
    size_t kept_capacity;
    struct chunk *kept_chunk;

    /* the reactor's */
    struct cluster_listener listener;
    struct timer timer;
    struct fetch_channel *channels;
    size_t channel_count;
    struct list inquiries; /* for offsets */
    bool pumping;
    bool pump_again;
    bool closing;
};

/* Reactor's thread: asks for offsets and records as far as there is room. */
void consumer_pump(struct pst_consumer *consumer);
/* Reactor's thread: no more requests, none outstanding. */
void consumer_detach(void *consumer);
/* Any thread. */
void consumer_wake(struct pst_consumer *consumer);
/* With the lock. */
void cursor_drop(struct cursor *cursor);
/* Without the lock; releases the room it took. */
void chunk_free(struct pst_consumer *consumer, struct chunk *chunk);
/* With the lock: what auto.offset.reset says, or stopped with an event.  code: why. */
void cursor_reset(struct pst_consumer *consumer, struct cursor *cursor, pst_err_t code);
/* With the lock.  An event in the partition's place; text may be NULL. */
void consumer_tell(struct pst_consumer *consumer, struct cursor *cursor, pst_err_t code, int64_t offset,
                   const char *text);

#endif
