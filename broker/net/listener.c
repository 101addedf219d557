#include "broker/net/conn_internal.h"
#include "broker/net/loop_internal.h"
#include "common/hashmap.h"
#include "common/logger.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define PAUSE_MS         100 /* after running out of descriptors */

struct listener {
    struct conn_context context;
    struct listener_settings settings;
    struct loop *const *loops;
    unsigned loop_count;
    unsigned next_loop;
    int fd;
    struct event accept_event;
    struct loop_timer pause_timer;
    _Atomic uint32_t connections;
    pthread_mutex_t per_ip_lock;
    struct hashmap *per_ip; /* address bytes -> count as a pointer-sized number */
};

/* A new connection on its way to its loop. */
struct arrival {
    struct mail mail;
    struct loop *loop;
    struct listener *listener;
    int fd;
    struct sockaddr_storage peer;
};

static struct str ip_of(const struct sockaddr_storage *peer)
{
    if (peer->ss_family == AF_INET6)
        return str_of_bytes(&((const struct sockaddr_in6 *)peer)->sin6_addr, sizeof(struct in6_addr));
    return str_of_bytes(&((const struct sockaddr_in *)peer)->sin_addr, sizeof(struct in_addr));
}

/* Adds `step` to the address's count; false: it would exceed the limit (nothing changed). */
static bool count_ip(struct listener *listener, const struct sockaddr_storage *peer, int step)
{
    struct str ip = ip_of(peer);
    uintptr_t count;
    bool fits;

    pthread_mutex_lock(&listener->per_ip_lock);
    count = (uintptr_t)hashmap_get(listener->per_ip, ip);
    fits = step < 0 || count < listener->settings.connections_per_ip_max;
    if (fits) {
        count = step < 0 ? count - (count > 0) : count + 1;
        if (count == 0)
            hashmap_remove(listener->per_ip, ip);
        else if (hashmap_put(listener->per_ip, ip, (void *)count) != PST_OK)
            fits = false;
    }
    pthread_mutex_unlock(&listener->per_ip_lock);
    return fits;
}

static void on_gone(void *arg, const struct sockaddr_storage *peer)
{
    struct listener *listener = arg;

    count_ip(listener, peer, -1);
    listener->connections--;
}

static void arrive(struct mail *mail)
{
    struct arrival *arrival = CONTAINER_OF(mail, struct arrival, mail);

    if (arrival->loop->stopping) {
        close(arrival->fd);
        on_gone(arrival->listener, &arrival->peer);
    } else {
        conn_open(arrival->loop, arrival->fd, &arrival->peer, &arrival->listener->context);
    }
    free(arrival);
}

static void tune(const struct listener *listener, int fd)
{
    const struct listener_settings *settings = &listener->settings;
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (settings->congestion != NULL)
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, settings->congestion,
                   (socklen_t)strlen(settings->congestion));
    if (settings->send_buffer_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &settings->send_buffer_bytes,
                   sizeof settings->send_buffer_bytes);
    if (settings->receive_buffer_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &settings->receive_buffer_bytes,
                   sizeof settings->receive_buffer_bytes);
}

static void admit(struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
    struct arrival *arrival;

    if (listener->connections >= listener->settings.connections_max) {
        LOG_WARN("listener.full", "limit=max.connections value=%u", listener->settings.connections_max);
        close(fd);
        return;
    }
    if (!count_ip(listener, peer, 1)) {
        LOG_WARN("listener.full", "limit=max.connections.per.ip value=%u",
                 listener->settings.connections_per_ip_max);
        close(fd);
        return;
    }
    listener->connections++;
    tune(listener, fd);
    arrival = calloc(1, sizeof *arrival);
    if (arrival == NULL) {
        close(fd);
        on_gone(listener, peer);
        return;
    }
    arrival->mail.deliver = arrive;
    arrival->listener = listener;
    arrival->fd = fd;
    arrival->peer = *peer;
    arrival->loop = listener->loops[listener->next_loop++ % listener->loop_count];
    if (loop_is_current(arrival->loop))
        arrive(&arrival->mail);
    else
        loop_post(arrival->loop, &arrival->mail);
}

static void pause_over(struct loop_timer *timer)
{
    event_add(&CONTAINER_OF(timer, struct listener, pause_timer)->accept_event, NULL);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t length = sizeof peer;
        int accepted = accept4(fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (accepted >= 0) {
            admit(listener, accepted, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            LOG_ERROR("listener.paused", "reason=\"%s\" pause_ms=%d", strerror(errno), PAUSE_MS);
            event_del(&listener->accept_event);
            loop_timer_start(listener->loops[0], &listener->pause_timer, PAUSE_MS);
        }
        return; /* nobody left, or the one in front has given up */
    }
}

static int bind_one(const struct addrinfo *address, int backlog, int *ret_error)
{
    int one = 1;
    int zero = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        *ret_error = errno;
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    *ret_error = errno;
    close(fd);
    return -1;
}

static enum pst_status bind_any(const struct listener_settings *settings, int *ret_fd)
{
    bool everywhere = settings->host == NULL || settings->host[0] == '\0';
    struct addrinfo hints = {.ai_family = everywhere ? AF_INET : AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char port[8];
    int error = EADDRNOTAVAIL;

    snprintf(port, sizeof port, "%u", settings->port);
    if (getaddrinfo(everywhere ? NULL : settings->host, port, &hints, &found) != 0)
        return PST_NOT_FOUND;
    *ret_fd = -1;
    for (const struct addrinfo *address = found; address != NULL && *ret_fd < 0; address = address->ai_next)
        *ret_fd = bind_one(address, settings->backlog, &error);
    freeaddrinfo(found);
    return *ret_fd >= 0 ? PST_OK : pst_status_of_errno(error);
}

struct start_mail {
    struct mail mail;
    struct listener *listener;
};

static void start_accepting(struct mail *mail)
{
    struct start_mail *start = CONTAINER_OF(mail, struct start_mail, mail);

    event_add(&start->listener->accept_event, NULL);
    free(start);
}

enum pst_status listener_open(const struct listener_settings *settings, struct loop *const *loops,
                              unsigned loop_count, struct listener **ret)
{
    struct listener *listener = calloc(1, sizeof *listener);
    struct start_mail *start = calloc(1, sizeof *start);
    enum pst_status status = PST_NOMEM;

    if (listener == NULL || start == NULL)
        goto fail;
    listener->per_ip = hashmap_new();
    if (listener->per_ip == NULL)
        goto fail;
    status = bind_any(settings, &listener->fd);
    if (status != PST_OK)
        goto fail;
    pthread_mutex_init(&listener->per_ip_lock, NULL);
    listener->settings = *settings;
    listener->loops = loops;
    listener->loop_count = loop_count;
    listener->context = (struct conn_context){.limits = settings->limits,
                                              .owner = settings->owner,
                                              .data = settings->data,
                                              .workers = settings->workers,
                                              .on_gone = on_gone,
                                              .on_gone_arg = listener};
    loop_timer_init(&listener->pause_timer, pause_over);
    event_assign(&listener->accept_event, loops[0]->base, listener->fd, EV_READ | EV_PERSIST, on_acceptable,
                 listener);
    start->mail.deliver = start_accepting;
    start->listener = listener;
    loop_post(loops[0], &start->mail);
    *ret = listener;
    return PST_OK;

fail:
    if (listener != NULL)
        hashmap_free(listener->per_ip);
    free(listener);
    free(start);
    return status;
}

uint16_t listener_port(const struct listener *listener)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;

    if (getsockname(listener->fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&address)->sin_port);
}

/* After the loops have stopped: nobody touches the event any more. */
void listener_close(struct listener *listener)
{
    if (listener == NULL)
        return;
    event_del(&listener->accept_event);
    close(listener->fd);
    hashmap_free(listener->per_ip);
    pthread_mutex_destroy(&listener->per_ip_lock);
    free(listener);
}

uint32_t listener_connections(const struct listener *listener)
{
    return listener->connections;
}
