/* One event loop: a thread with an event base, a mailbox, timers and the buffers its connections share.
 *
 * Everything a loop owns (connections, timers, buffers) is touched by its thread only; others post mail.  A
 * loop never blocks: no fsync, no cold read, no lock held across I/O (design law 4). */
#ifndef PENSTOCK_BROKER_NET_LOOP_H
#define PENSTOCK_BROKER_NET_LOOP_H

#include "common/clock.h"
#include "common/heap.h"
#include "common/mailbox.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

MUST_CHECK enum pst_status loop_new(unsigned index, const struct clock *clock, struct loop **ret);
/* Starts the thread, named "loop-N". */
MUST_CHECK enum pst_status loop_start(struct loop *loop);
/* Asks the thread to close its connections and end, joins it; mail it did not get to is delivered on the
 * caller's thread.  Any other thread. */
void loop_stop(struct loop *loop);
/* When nobody posts any more (workers drained): the last mail is delivered here. */
void loop_free(struct loop *loop);

unsigned loop_index(const struct loop *loop);
bool loop_is_current(const struct loop *loop);        /* the calling thread is this loop's */
void loop_post(struct loop *loop, struct mail *mail); /* any thread */

/* One-shot timers.  Embedded by their owner; loop thread only. */
struct loop_timer {
    void (*expired)(struct loop_timer *timer);
    int64_t due_us;
    struct heap_node node;
};
void loop_timer_init(struct loop_timer *timer, void (*expired)(struct loop_timer *timer));
void loop_timer_start(struct loop *loop, struct loop_timer *timer,
                      int64_t delay_ms);                           /* restarts a running one */
void loop_timer_stop(struct loop *loop, struct loop_timer *timer); /* harmless when idle */

/* Called once at the end of every turn that handled something (wakes batched by the owner). */
void loop_set_turn_end(struct loop *loop, void (*turn_end)(void *arg), void *arg);

#endif
