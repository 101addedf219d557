#include "client/reactor.h"

#include "common/bug.h"
#include "common/list.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64

static _Thread_local const struct reactor *reactor_here;

bool reactor_is_here(const struct reactor *reactor)
{
    return reactor_here == reactor;
}

static int turn_timeout_ms(const struct reactor *reactor)
{
    const struct heap_node *first = heap_first(&reactor->timers);
    int64_t wait_us;

    if (first == NULL)
        return -1;
    wait_us = first->key - reactor_now_us(reactor);
    if (wait_us <= 0)
        return 0;
    return wait_us / 1000 >= 60000 ? 60000 : (int)((wait_us + 999) / 1000);
}

static void fire_timers(struct reactor *reactor)
{
    int64_t now_us = reactor_now_us(reactor);
    struct heap_node *node;

    while ((node = heap_first(&reactor->timers)) != NULL && node->key <= now_us) {
        struct timer *timer = CONTAINER_OF(node, struct timer, node);

        heap_remove(&reactor->timers, node);
        timer->fire(timer);
    }
}

static void *reactor_main(void *arg)
{
    struct epoll_event events[EVENTS_PER_TURN];
    struct reactor *reactor = arg;

    reactor_here = reactor;
    pthread_setname_np(pthread_self(), "pst-client");
    while (!reactor->stop) {
        int count = epoll_wait(reactor->epoll_fd, events, EVENTS_PER_TURN, turn_timeout_ms(reactor));
        bool mail = false;

        for (int i = 0; i < count; i++) {
            struct watch *watch = events[i].data.ptr;

            if (watch == NULL)
                mail = true;
            else if (watch->fd >= 0)
                watch->ready(watch, events[i].events);
        }
        if (mail) /* last: it may free a channel whose event is among these */
            mailbox_deliver(reactor->box);
        fire_timers(reactor);
    }
    return NULL;
}

enum pst_status reactor_start(struct reactor *reactor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    enum pst_status status;

    status = mailbox_new(&reactor->box);
    if (status != PST_OK)
        return status;
    reactor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (reactor->epoll_fd < 0)
        return PST_IO;
    if (epoll_ctl(reactor->epoll_fd, EPOLL_CTL_ADD, mailbox_fd(reactor->box), &event) != 0)
        return PST_IO;
    if (pthread_create(&reactor->thread, NULL, reactor_main, reactor) != 0)
        return PST_IO;
    reactor->running = true;
    return PST_OK;
}

static void stop_now(void *arg)
{
    struct reactor *reactor = arg;

    reactor->stop = true;
}

void reactor_stop(struct reactor *reactor)
{
    if (!reactor->running)
        return;
    reactor_run(reactor, stop_now, reactor);
    pthread_join(reactor->thread, NULL);
    reactor->running = false;
}

void reactor_close(struct reactor *reactor)
{
    BUG_ON(reactor->running);
    if (reactor->epoll_fd >= 0)
        close(reactor->epoll_fd);
    reactor->epoll_fd = -1;
    mailbox_free(reactor->box, NULL);
    reactor->box = NULL;
    heap_free(&reactor->timers);
}

void reactor_post(struct reactor *reactor, struct mail *mail)
{
    mailbox_post(reactor->box, mail);
}

struct remote_run {
    struct mail mail;
    void (*function)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
};

static void deliver_run(struct mail *mail)
{
    struct remote_run *run = CONTAINER_OF(mail, struct remote_run, mail);

    run->function(run->arg);
    pthread_mutex_lock(&run->lock);
    run->done = true;
    pthread_cond_signal(&run->ended);
    pthread_mutex_unlock(&run->lock);
}

void reactor_run(struct reactor *reactor, void (*function)(void *arg), void *arg)
{
    struct remote_run run = {.mail.deliver = deliver_run, .function = function, .arg = arg};

    if (reactor_is_here(reactor) || !reactor->running) {
        function(arg);
        return;
    }
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.ended, NULL);
    reactor_post(reactor, &run.mail);
    pthread_mutex_lock(&run.lock);
    while (!run.done)
        pthread_cond_wait(&run.ended, &run.lock);
    pthread_mutex_unlock(&run.lock);
    pthread_cond_destroy(&run.ended);
    pthread_mutex_destroy(&run.lock);
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer))
{
    timer->node.index = HEAP_NOWHERE;
    timer->fire = fire;
}

bool timer_is_armed(const struct timer *timer)
{
    return timer->node.index != HEAP_NOWHERE;
}

void reactor_arm(struct reactor *reactor, struct timer *timer, int64_t due_us)
{
    heap_remove(&reactor->timers, &timer->node);
    while (heap_add(&reactor->timers, &timer->node, due_us) != PST_OK)
        usleep(1000); /* a timer lost would be a request never ended */
}

void reactor_disarm(struct reactor *reactor, struct timer *timer)
{
    heap_remove(&reactor->timers, &timer->node);
}

enum pst_status reactor_watch(struct reactor *reactor, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    int op = watch->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (watch->events == events)
        return PST_OK;
    if (epoll_ctl(reactor->epoll_fd, op, watch->fd, &event) != 0)
        return errno == ENOMEM ? PST_NOMEM : PST_IO;
    watch->events = events;
    return PST_OK;
}

void reactor_unwatch(struct reactor *reactor, struct watch *watch)
{
    if (watch->fd >= 0 && watch->events != 0)
        epoll_ctl(reactor->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->events = 0;
}
