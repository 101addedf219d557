#include "broker/net/loop_internal.h"

#include "common/bug.h"

#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct loop *current_loop;

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;

    (void)fd;
    (void)what;
    mailbox_deliver(loop->box);
}

static void arm_timer(struct loop *loop)
{
    const struct heap_node *first = heap_first(&loop->timers);
    struct timeval delay;
    int64_t delay_us;

    if (first == NULL) {
        event_del(&loop->timer_event);
        return;
    }
    delay_us = first->key - clock_monotonic_us(loop->clock);
    if (delay_us < 0)
        delay_us = 0;
    delay.tv_sec = delay_us / 1000000;
    delay.tv_usec = delay_us % 1000000;
    event_add(&loop->timer_event, &delay);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    int64_t now_us = clock_monotonic_us(loop->clock);

    (void)fd;
    (void)what;
    for (;;) {
        struct heap_node *first = heap_first(&loop->timers);
        struct loop_timer *timer;

        if (first == NULL || first->key > now_us)
            break;
        timer = CONTAINER_OF(first, struct loop_timer, node);
        heap_remove(&loop->timers, first);
        timer->expired(timer);
    }
    arm_timer(loop);
}

enum pst_status loop_new(unsigned index, const struct clock *clock, struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof *loop);
    enum pst_status status = PST_NOMEM;

    if (loop == NULL)
        return PST_NOMEM;
    loop->index = index;
    loop->clock = clock;
    loop_conns_init(loop);
    loop->read_buffer = malloc(LOOP_READ_BYTES);
    loop->base = event_base_new();
    if (loop->read_buffer == NULL || loop->base == NULL)
        goto fail;
    status = mailbox_new(&loop->box);
    if (status != PST_OK)
        goto fail;
    event_assign(&loop->box_event, loop->base, mailbox_fd(loop->box), EV_READ | EV_PERSIST, on_mail, loop);
    event_assign(&loop->timer_event, loop->base, -1, 0, on_timer, loop);
    if (event_add(&loop->box_event, NULL) != 0) {
        status = PST_IO;
        goto fail;
    }
    *ret = loop;
    return PST_OK;

fail:
    loop_free(loop);
    return status;
}

/* One turn: events, then what they put off, until nothing is left that could be done now. */
static void run_turn(struct loop *loop, bool *more)
{
    event_base_loop(loop->base, EVLOOP_ONCE | (*more ? EVLOOP_NONBLOCK : 0));
    if (loop->turn_end != NULL)
        loop->turn_end(loop->turn_end_arg);
    *more = loop_conns_turn_end(loop);
}

static void *loop_main(void *arg)
{
    struct loop *loop = arg;
    bool more = false;

    current_loop = loop;
    while (!loop->stopping)
        run_turn(loop, &more);
    loop_conns_close_all(loop);
    return NULL;
}

enum pst_status loop_start(struct loop *loop)
{
    char name[16];

    if (pthread_create(&loop->thread, NULL, loop_main, loop) != 0)
        return PST_IO;
    loop->started = true;
    snprintf(name, sizeof name, "loop-%u", loop->index % 1000);
    pthread_setname_np(loop->thread, name);
    return PST_OK;
}

/* On the thread that tidies up, which stands in for the loop's. */
static void deliver_late_mail(struct loop *loop)
{
    current_loop = loop;
    while (mailbox_deliver(loop->box) > 0)
        continue;
    current_loop = NULL;
}

static void nothing(struct mail *mail)
{
    (void)mail;
}

void loop_stop(struct loop *loop)
{
    struct mail wake = {.deliver = nothing};

    if (!loop->started)
        return;
    loop->stopping = true;
    mailbox_post(loop->box, &wake);
    pthread_join(loop->thread, NULL);
    loop->started = false;
    deliver_late_mail(
        loop); /* `wake` itself may still be there; arrivals must end before their listener does */
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    BUG_ON(loop->started);
    if (loop->box != NULL) {
        deliver_late_mail(loop); /* what workers have posted since the stop */
        event_del(&loop->box_event);
        event_del(&loop->timer_event);
    }
    loop_conns_free(loop);
    mailbox_free(loop->box, NULL);
    heap_free(&loop->timers);
    if (loop->base != NULL)
        event_base_free(loop->base);
    free(loop->read_buffer);
    free(loop);
}

unsigned loop_index(const struct loop *loop)
{
    return loop->index;
}

bool loop_is_current(const struct loop *loop)
{
    return current_loop == loop;
}

void loop_post(struct loop *loop, struct mail *mail)
{
    mailbox_post(loop->box, mail);
}

void loop_timer_init(struct loop_timer *timer, void (*expired)(struct loop_timer *timer))
{
    timer->expired = expired;
    timer->due_us = 0;
    timer->node.index = HEAP_NOWHERE;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t delay_ms)
{
    heap_remove(&loop->timers, &timer->node);
    timer->due_us = clock_monotonic_us(loop->clock) + delay_ms * 1000;
    BUG_ON(heap_add(&loop->timers, &timer->node, timer->due_us) != PST_OK);
    if (heap_first(&loop->timers) == &timer->node)
        arm_timer(loop);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    heap_remove(&loop->timers, &timer->node); /* the event may fire once for nothing */
}

void loop_set_turn_end(struct loop *loop, void (*turn_end)(void *arg), void *arg)
{
    loop->turn_end = turn_end;
    loop->turn_end_arg = arg;
}
