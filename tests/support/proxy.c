#include "tests/support/proxy.h"

#include "common/bytes.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX      64
#define UNANSWERED_MAX 4096
#define PREFIX_BYTES   4u
#define READ_BYTES     65536u

/* Bytes of one direction that are no whole frame yet. */
struct inflow {
    uint8_t *bytes;
    size_t length;
    size_t capacity;
};

struct request {
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
};

struct link {
    int fds[2]; /* 0: the client's side, 1: the broker's; -1: unused */
    struct inflow inflows[2];
    struct request requests[UNANSWERED_MAX]; /* ring by arrival: answers look theirs up */
    size_t request_count;
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock; /* everything below; held while the hook runs */
    int listener;
    int wake;
    uint16_t port;
    uint16_t target;
    proxy_hook hook;
    void *hook_arg;
    bool break_all;
    bool ending;
    unsigned accepted;
    struct link links[LINKS_MAX];
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A reset, not an orderly end. */
static void reset(int fd)
{
    struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static void link_break(struct link *link)
{
    for (int side = 0; side < 2; side++) {
        if (link->fds[side] >= 0)
            reset(link->fds[side]);
        link->fds[side] = -1;
        free(link->inflows[side].bytes);
        link->inflows[side] = (struct inflow){0};
    }
    link->request_count = 0;
}

static void accept_one(struct proxy *proxy)
{
    struct sockaddr_in address = loopback(proxy->target);
    int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC), server, one = 1;

    if (client < 0)
        return;
    proxy->accepted++;
    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0)
        err(1, "socket");
    for (size_t i = 0; proxy->target != 0 && i < LINKS_MAX; i++) {
        struct link *link = &proxy->links[i];

        if (link->fds[0] >= 0)
            continue;
        if (connect(server, (struct sockaddr *)&address, sizeof address) != 0)
            break;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        link->fds[0] = client;
        link->fds[1] = server;
        return;
    }
    reset(client);
    close(server);
}

static bool send_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

static void note_request(struct link *link, struct proxy_frame *frame)
{
    frame->api_key = (int16_t)load_be16(frame->bytes);
    frame->api_version = (int16_t)load_be16(frame->bytes + 2);
    frame->correlation_id = (int32_t)load_be32(frame->bytes + 4);
    link->requests[link->request_count++ % UNANSWERED_MAX] =
        (struct request){frame->api_key, frame->api_version, frame->correlation_id};
}

static void find_request(const struct link *link, struct proxy_frame *frame)
{
    size_t first = link->request_count > UNANSWERED_MAX ? link->request_count - UNANSWERED_MAX : 0;

    frame->correlation_id = (int32_t)load_be32(frame->bytes);
    for (size_t i = link->request_count; i > first; i--) {
        const struct request *request = &link->requests[(i - 1) % UNANSWERED_MAX];

        if (request->correlation_id == frame->correlation_id) {
            frame->api_key = request->api_key;
            frame->api_version = request->api_version;
            return;
        }
    }
    errx(1, "an answer to correlation id %d, which was not asked", frame->correlation_id);
}

/* False: the link is broken. */
static bool pass_on(struct proxy *proxy, struct link *link, int from, const uint8_t *bytes, size_t length)
{
    struct proxy_frame frame = {.is_answer = from == 1, .bytes = malloc(length + 1), .length = length};
    enum proxy_verdict verdict;
    uint8_t prefix[PREFIX_BYTES];
    size_t half;
    bool alive;

    if (frame.bytes == NULL)
        err(1, "malloc");
    memcpy(frame.bytes, bytes, length);
    if (length < (from == 0 ? 8u : 4u))
        errx(1, "a frame of %zu bytes", length);
    if (from == 0)
        note_request(link, &frame);
    else
        find_request(link, &frame);
    verdict = proxy->hook == NULL ? PROXY_PASS : proxy->hook(&frame, proxy->hook_arg);
    store_be32(prefix, (uint32_t)frame.length);
    half = verdict == PROXY_PASS_HALF ? frame.length / 2 : frame.length;
    alive = verdict != PROXY_BREAK;
    if (verdict == PROXY_PASS || verdict == PROXY_PASS_HALF)
        alive = send_all(link->fds[!from], prefix, sizeof prefix) &&
                send_all(link->fds[!from], frame.bytes, half) && verdict == PROXY_PASS;
    free(frame.bytes);
    if (!alive)
        link_break(link);
    return alive;
}

static void read_side(struct proxy *proxy, struct link *link, int side)
{
    struct inflow *inflow = &link->inflows[side];
    size_t at = 0;
    ssize_t count;

    if (inflow->capacity - inflow->length < READ_BYTES) {
        inflow->capacity = inflow->capacity * 2 + READ_BYTES;
        inflow->bytes = realloc(inflow->bytes, inflow->capacity);
        if (inflow->bytes == NULL)
            err(1, "realloc");
    }
    count = recv(link->fds[side], inflow->bytes + inflow->length, READ_BYTES, 0);
    if (count <= 0) {
        link_break(link);
        return;
    }
    inflow->length += (size_t)count;
    while (inflow->length - at >= PREFIX_BYTES) {
        size_t length = load_be32(inflow->bytes + at);

        if (inflow->length - at - PREFIX_BYTES < length)
            break;
        if (!pass_on(proxy, link, side, inflow->bytes + at + PREFIX_BYTES, length))
            return;
        at += PREFIX_BYTES + length;
    }
    memmove(inflow->bytes, inflow->bytes + at, inflow->length - at);
    inflow->length -= at;
}

/* With the lock. */
static void turn(struct proxy *proxy, const struct pollfd *polls, const struct link *const *owners,
                 const int *sides, size_t count)
{
    uint64_t woken;

    if (polls[1].revents != 0 && read(proxy->wake, &woken, sizeof woken) < 0)
        err(1, "eventfd");
    for (size_t i = 0; proxy->break_all && i < LINKS_MAX; i++)
        link_break(&proxy->links[i]);
    proxy->break_all = false;
    for (size_t i = 2; i < count; i++) {
        struct link *link = &proxy->links[owners[i] - proxy->links];

        if (polls[i].revents != 0 && link->fds[sides[i]] == polls[i].fd)
            read_side(proxy, link, sides[i]);
    }
    if (polls[0].revents != 0)
        accept_one(proxy);
}

static void *proxy_main(void *arg)
{
    struct pollfd polls[2 + 2 * LINKS_MAX];
    const struct link *owners[2 + 2 * LINKS_MAX];
    int sides[2 + 2 * LINKS_MAX];
    struct proxy *proxy = arg;

    pthread_mutex_lock(&proxy->lock);
    while (!proxy->ending) {
        size_t count = 2;

        polls[0] = (struct pollfd){proxy->listener, POLLIN, 0};
        polls[1] = (struct pollfd){proxy->wake, POLLIN, 0};
        for (size_t i = 0; i < LINKS_MAX; i++) {
            for (int side = 0; side < 2 && proxy->links[i].fds[0] >= 0; side++) {
                polls[count] = (struct pollfd){proxy->links[i].fds[side], POLLIN, 0};
                owners[count] = &proxy->links[i];
                sides[count++] = side;
            }
        }
        pthread_mutex_unlock(&proxy->lock);
        if (poll(polls, count, -1) < 0 && errno != EINTR)
            err(1, "poll");
        pthread_mutex_lock(&proxy->lock);
        turn(proxy, polls, owners, sides, count);
    }
    for (size_t i = 0; i < LINKS_MAX; i++)
        link_break(&proxy->links[i]);
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

struct proxy *proxy_new(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    struct proxy *proxy = calloc(1, sizeof *proxy);

    if (proxy == NULL)
        err(1, "calloc");
    for (size_t i = 0; i < LINKS_MAX; i++)
        proxy->links[i].fds[0] = proxy->links[i].fds[1] = -1;
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    proxy->wake = eventfd(0, EFD_CLOEXEC);
    if (proxy->listener < 0 || proxy->wake < 0 ||
        bind(proxy->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(proxy->listener, LINKS_MAX) != 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&address, &size) != 0)
        err(1, "proxy");
    proxy->port = ntohs(address.sin_port);
    pthread_mutex_init(&proxy->lock, NULL);
    if (pthread_create(&proxy->thread, NULL, proxy_main, proxy) != 0)
        errx(1, "pthread_create");
    return proxy;
}

static void wake_up(struct proxy *proxy)
{
    uint64_t one = 1;

    if (write(proxy->wake, &one, sizeof one) != sizeof one)
        err(1, "eventfd");
}

void proxy_free(struct proxy *proxy)
{
    if (proxy == NULL)
        return;
    pthread_mutex_lock(&proxy->lock);
    proxy->ending = true;
    pthread_mutex_unlock(&proxy->lock);
    wake_up(proxy);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    close(proxy->wake);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

uint16_t proxy_port(const struct proxy *proxy)
{
    return proxy->port;
}

void proxy_aim(struct proxy *proxy, uint16_t port)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->target = port;
    pthread_mutex_unlock(&proxy->lock);
}

void proxy_set_hook(struct proxy *proxy, proxy_hook hook, void *arg)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->hook = hook;
    proxy->hook_arg = arg;
    pthread_mutex_unlock(&proxy->lock);
}

void proxy_break_all(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->break_all = true;
    pthread_mutex_unlock(&proxy->lock);
    wake_up(proxy);
}

unsigned proxy_accepted(struct proxy *proxy)
{
    unsigned accepted;

    pthread_mutex_lock(&proxy->lock);
    accepted = proxy->accepted;
    pthread_mutex_unlock(&proxy->lock);
    return accepted;
}
