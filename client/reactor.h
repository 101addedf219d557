/* The client's background thread: epoll for descriptors, a heap of timers, a mailbox for the other threads.
 *
 * Everything except reactor_post and reactor_run belongs to the reactor's own thread. */
#ifndef PENSTOCK_CLIENT_REACTOR_H
#define PENSTOCK_CLIENT_REACTOR_H

#include "common/clock.h"
#include "common/heap.h"
#include "common/mailbox.h"

#include <pthread.h>

struct watch {
    int fd; /* -1: not watched */
    uint32_t events;
    void (*ready)(struct watch *watch, uint32_t events); /* EPOLLIN ... */
};

struct timer {
    struct heap_node node;
    void (*fire)(struct timer *timer);
};

struct reactor {
    const struct clock *clock;
    struct mailbox *box;
    struct heap timers;
    pthread_t thread;
    int epoll_fd;
    bool running; /* the thread exists */
    bool stop;
};

/* Starts the thread.  PST_NOMEM, PST_IO. */
MUST_CHECK enum pst_status reactor_start(struct reactor *reactor);
/* Ends the thread after the mail posted so far; timers and watches are forgotten.  Any thread but its own. */
void reactor_stop(struct reactor *reactor);
/* After stop: descriptors and memory. */
void reactor_close(struct reactor *reactor);

/* Any thread. */
void reactor_post(struct reactor *reactor, struct mail *mail);
/* Any thread but the reactor's: runs function(arg) there and waits for its end.  On the reactor's thread, or
 * when the thread has ended: runs it in place. */
void reactor_run(struct reactor *reactor, void (*function)(void *arg), void *arg);
bool reactor_is_here(const struct reactor *reactor);

static inline int64_t reactor_now_us(const struct reactor *reactor)
{
    return clock_monotonic_us(reactor->clock);
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer));
/* Fires once at due_us (monotonic) or later; replaces an earlier due time.  Memory for it is waited for:
 * a timer lost would be a request that never ends. */
void reactor_arm(struct reactor *reactor, struct timer *timer, int64_t due_us);
void reactor_disarm(struct reactor *reactor, struct timer *timer);
bool timer_is_armed(const struct timer *timer);

/* Adds or changes a descriptor's events.  PST_IO, PST_NOMEM. */
MUST_CHECK enum pst_status reactor_watch(struct reactor *reactor, struct watch *watch, uint32_t events);
void reactor_unwatch(struct reactor *reactor, struct watch *watch);

#endif
