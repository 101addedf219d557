#include "client/channel.h"

#include "common/bug.h"
#include "msg/api_versions.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"
#include "protocol/frame.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define API_COUNT           128
#define STAGING_BYTES       (64u * 1024u)
#define IOVECS_PER_SEND     64
#define READS_PER_TURN      16 /* one peer must not keep the others waiting */
#define REQUEST_HEAD_MAX    (64u * 1024u * 1024u)
#define NEGOTIATION_ARENA   (256u * 1024u)
#define API_VERSIONS_NEWEST 4
#define TROUBLE_TEXT_BYTES  256

enum channel_state {
    CHANNEL_DOWN,
    CHANNEL_RESOLVING,
    CHANNEL_CONNECTING,
    CHANNEL_NEGOTIATING,
    CHANNEL_UP,
};

struct api_range {
    int16_t low;
    int16_t high; /* below low: not served */
};

struct channel {
    struct watch watch;
    struct timer timer; /* set-up deadline, back-off, request deadlines, idle close */
    struct channel_env *env;
    char *host;
    char *address;
    uint16_t port;
    enum channel_state state;

    struct list waiting;  /* for the connection, or for its turn */
    struct list sending;  /* encoded, not wholly written */
    struct list awaiting; /* written */
    int32_t next_correlation_id;
    struct api_range apis[API_COUNT];

    struct resolution *resolution;
    struct addrinfo *addresses;
    struct addrinfo *next_address;
    unsigned failures;     /* in a row */
    int64_t not_before_us; /* back-off */
    int64_t setup_by_us;
    int64_t last_used_us;

    uint8_t *staging; /* bytes received and not yet parsed */
    size_t staged;
    struct frame_ref *frame; /* being received, too long for staging */
    size_t frame_have;
};

static void channel_open(struct channel *channel);
static void channel_flush(struct channel *channel);
static void on_timer(struct timer *timer);
static void on_ready(struct watch *watch, uint32_t events);

/* xorshift64*: spreads back-offs, nothing more. */
static uint64_t env_random(struct channel_env *env)
{
    env->random ^= env->random >> 12;
    env->random ^= env->random << 25;
    env->random ^= env->random >> 27;
    return env->random * 0x2545f4914f6cdd1dull;
}

static int64_t option_us(const struct channel *channel, enum option_id id)
{
    return channel->env->config->number[id] * 1000;
}

void channel_move(struct channel *channel, const char *host, uint16_t port)
{
    char *name = strdup(host), *address = NULL;

    if (asprintf(&address, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, (unsigned)port) < 0)
        address = NULL;
    if (name == NULL || address == NULL) {
        free(name);
        free(address);
        return;
    }
    free(channel->host);
    free(channel->address);
    channel->host = name;
    channel->address = address;
    channel->port = port;
}

struct channel *channel_new(struct channel_env *env, const char *host, uint16_t port)
{
    struct channel *channel = calloc(1, sizeof *channel);

    if (channel == NULL)
        return NULL;
    channel->env = env;
    channel->watch.fd = -1;
    channel->watch.ready = on_ready;
    timer_init(&channel->timer, on_timer);
    list_init(&channel->waiting);
    list_init(&channel->sending);
    list_init(&channel->awaiting);
    channel->staging = malloc(STAGING_BYTES);
    channel_move(channel, host, port);
    if (channel->host == NULL || channel->staging == NULL) {
        channel_free(channel);
        return NULL;
    }
    return channel;
}

const char *channel_address(const struct channel *channel)
{
    return channel->address;
}

bool channel_is_up(const struct channel *channel)
{
    return channel->state == CHANNEL_UP;
}

bool channel_is_backing_off(const struct channel *channel)
{
    return channel->state == CHANNEL_DOWN && channel->not_before_us > reactor_now_us(channel->env->reactor);
}

/* ---- ends of exchanges ---- */

static void exchange_release(struct exchange *exchange)
{
    list_remove(&exchange->link);
    buf_free(&exchange->head);
    exchange->release(exchange);
}

static void exchange_settle(struct exchange *exchange, const struct answer *answer)
{
    if (exchange->settled)
        return;
    exchange->settled = true;
    exchange->done(exchange, answer);
}

static void exchange_fail(struct exchange *exchange, pst_err_t code, const char *text)
{
    struct answer answer = {.code = code, .text = text, .version = exchange->version};

    exchange_settle(exchange, &answer);
    exchange_release(exchange);
}

static void fail_list(struct list *from, pst_err_t code, const char *text)
{
    struct list taken;

    /* done() may submit again: what it submits must not be failed with the rest */
    list_init(&taken);
    while (!list_is_empty(from)) {
        struct list *link = from->next;

        list_remove(link);
        list_push_back(&taken, link);
    }
    while (!list_is_empty(&taken))
        exchange_fail(CONTAINER_OF(taken.next, struct exchange, link), code, text);
}

/* ---- the connection's end ---- */

static void drop_addresses(struct channel *channel)
{
    if (channel->addresses != NULL)
        freeaddrinfo(channel->addresses);
    channel->addresses = NULL;
    channel->next_address = NULL;
}

static void close_socket(struct channel *channel)
{
    reactor_unwatch(channel->env->reactor, &channel->watch);
    if (channel->watch.fd >= 0)
        close(channel->watch.fd);
    channel->watch.fd = -1;
    channel->staged = 0;
    frame_ref_drop(channel->frame);
    channel->frame = NULL;
}

static void set_backoff(struct channel *channel)
{
    int64_t pause_us = option_us(channel, OPTION_RECONNECT);
    int64_t longest_us = option_us(channel, OPTION_RECONNECT_MAX);

    for (unsigned i = 0; i < channel->failures && pause_us < longest_us; i++)
        pause_us *= 2;
    if (pause_us > longest_us)
        pause_us = longest_us;
    pause_us = pause_us * (int64_t)(80 + env_random(channel->env) % 41) / 100; /* as Kafka: 20 % either way */
    channel->not_before_us = reactor_now_us(channel->env->reactor) + pause_us;
    channel->failures++;
}

/* Back to nothing.  Fails what is on the connection; what waits for one fails too when it never came up. */
static void channel_down(struct channel *channel, pst_err_t code, const char *why)
{
    bool was_up = channel->state == CHANNEL_UP;
    char text[TROUBLE_TEXT_BYTES];

    if (channel->state == CHANNEL_DOWN)
        return;
    snprintf(text, sizeof text, "%s: %s", channel->address, why);
    close_socket(channel);
    drop_addresses(channel);
    if (channel->resolution != NULL)
        channel->resolution->user = NULL;
    channel->resolution = NULL;
    channel->state = CHANNEL_DOWN;
    if (was_up)
        channel->failures = 0;
    set_backoff(channel);
    if (code != PST_ERR_CLOSED)
        channel->env->on_trouble(channel->env, text);
    fail_list(&channel->awaiting, code, text);
    fail_list(&channel->sending, code, text);
    if (!was_up || code == PST_ERR_CLOSED)
        fail_list(&channel->waiting, code, text);
    else if (!list_is_empty(&channel->waiting))
        channel_open(channel);
}

void channel_break(struct channel *channel, pst_err_t code, const char *why)
{
    channel_down(channel, code, why);
}

void channel_free(struct channel *channel)
{
    if (channel == NULL)
        return;
    channel_down(channel, PST_ERR_CLOSED, "closed");
    fail_list(&channel->waiting, PST_ERR_CLOSED, "closed");
    reactor_disarm(channel->env->reactor, &channel->timer);
    free(channel->staging);
    free(channel->address);
    free(channel->host);
    free(channel);
}

/* ---- timer ---- */

static void earliest_of(const struct list *list, int64_t *due_us)
{
    LIST_FOR_EACH (link, list) {
        const struct exchange *exchange = CONTAINER_OF(link, struct exchange, link);
        int64_t mine_us = exchange->settled ? exchange->answer_by_us : exchange->deadline_us;

        if (mine_us < *due_us)
            *due_us = mine_us;
    }
}

static void set_timer(struct channel *channel)
{
    int64_t due_us = INT64_MAX;
    bool idle = list_is_empty(&channel->sending) && list_is_empty(&channel->awaiting);

    earliest_of(&channel->waiting, &due_us);
    earliest_of(&channel->sending, &due_us);
    earliest_of(&channel->awaiting, &due_us);
    if (channel->state == CHANNEL_DOWN && !list_is_empty(&channel->waiting) &&
        channel->not_before_us < due_us)
        due_us = channel->not_before_us;
    if (channel->state > CHANNEL_DOWN && channel->state < CHANNEL_UP && channel->setup_by_us < due_us)
        due_us = channel->setup_by_us;
    if (channel->state == CHANNEL_UP && idle && channel->env->config->number[OPTION_IDLE_MS] >= 0 &&
        channel->last_used_us + option_us(channel, OPTION_IDLE_MS) < due_us)
        due_us = channel->last_used_us + option_us(channel, OPTION_IDLE_MS);
    if (due_us == INT64_MAX)
        reactor_disarm(channel->env->reactor, &channel->timer);
    else
        reactor_arm(channel->env->reactor, &channel->timer, due_us);
}

static void sooner(struct channel *channel, int64_t due_us)
{
    if (!timer_is_armed(&channel->timer) || channel->timer.node.key > due_us)
        reactor_arm(channel->env->reactor, &channel->timer, due_us);
}

/* Settles what is late; true when the connection itself has kept a request for too long. */
static bool expire_list(struct list *list, int64_t now_us, bool sent)
{
    bool stuck = false;

    LIST_FOR_EACH (link, list) {
        struct exchange *exchange = CONTAINER_OF(link, struct exchange, link);

        if (sent && now_us >= exchange->answer_by_us) {
            stuck = true;
        } else if (!exchange->settled && now_us >= exchange->deadline_us && exchange->slice_count == 0) {
            struct answer answer = {.code = PST_ERR_TIMED_OUT, .text = "no answer in time"};

            exchange_settle(exchange, &answer);
            if (!sent)
                exchange_release(exchange);
        }
    }
    return stuck;
}

static void on_timer(struct timer *timer)
{
    struct channel *channel = CONTAINER_OF(timer, struct channel, timer);
    int64_t now_us = reactor_now_us(channel->env->reactor);
    bool stuck;

    expire_list(&channel->waiting, now_us, false);
    stuck = expire_list(&channel->sending, now_us, true);
    stuck |= expire_list(&channel->awaiting, now_us, true);
    if (stuck)
        channel_down(channel, PST_ERR_TIMED_OUT, "no answer within request.timeout.ms");
    else if (channel->state > CHANNEL_DOWN && channel->state < CHANNEL_UP && now_us >= channel->setup_by_us)
        channel_down(channel, PST_ERR_TRANSPORT, "connecting took too long");
    else if (channel->state == CHANNEL_UP && list_is_empty(&channel->sending) &&
             list_is_empty(&channel->awaiting) && channel->env->config->number[OPTION_IDLE_MS] >= 0 &&
             now_us >= channel->last_used_us + option_us(channel, OPTION_IDLE_MS))
        channel_down(channel, PST_ERR_CLOSED, "idle");
    if (channel->state == CHANNEL_DOWN && !list_is_empty(&channel->waiting))
        channel_open(channel);
    set_timer(channel);
}

/* ---- connecting ---- */

static void set_socket_options(const struct channel *channel, int fd)
{
    const struct pst_config *config = channel->env->config;
    int send_bytes = (int)config->number[OPTION_SEND_BUFFER];
    int receive_bytes = (int)config->number[OPTION_RECEIVE_BUFFER];
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if (send_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    if (receive_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
}

/* Tries the addresses left; the last failure is the one told. */
static void connect_next(struct channel *channel, int error)
{
    while (channel->next_address != NULL) {
        const struct addrinfo *address = channel->next_address;
        int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

        channel->next_address = address->ai_next;
        if (fd < 0) {
            error = errno;
            continue;
        }
        set_socket_options(channel, fd);
        if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
            error = errno;
            close(fd);
            continue;
        }
        channel->watch.fd = fd;
        channel->state = CHANNEL_CONNECTING;
        if (reactor_watch(channel->env->reactor, &channel->watch, EPOLLOUT) == PST_OK)
            return;
        close_socket(channel);
        error = ENOMEM;
    }
    channel_down(channel, PST_ERR_TRANSPORT, strerror(error));
}

static void on_resolved(struct resolution *resolution)
{
    struct channel *channel = resolution->user;
    int error = resolution->gai_error;

    if (channel != NULL) {
        channel->resolution = NULL;
        if (error == 0) {
            channel->addresses = resolution->addresses;
            channel->next_address = channel->addresses;
            resolution->addresses = NULL;
            connect_next(channel, ENOENT);
        } else {
            channel_down(channel, PST_ERR_TRANSPORT, gai_strerror(error));
        }
        set_timer(channel);
    }
    resolution_free(resolution);
}

static void channel_open(struct channel *channel)
{
    int64_t now_us = reactor_now_us(channel->env->reactor);
    int64_t setup_us = option_us(channel, OPTION_SETUP_TIMEOUT);
    int64_t setup_max_us = option_us(channel, OPTION_SETUP_TIMEOUT_MAX);

    if (channel->state != CHANNEL_DOWN)
        return;
    if (now_us < channel->not_before_us) {
        sooner(channel, channel->not_before_us);
        return;
    }
    for (unsigned i = 0; i < channel->failures && setup_us < setup_max_us; i++)
        setup_us *= 2;
    channel->setup_by_us = now_us + (setup_us < setup_max_us ? setup_us : setup_max_us);
    channel->state = CHANNEL_RESOLVING;
    sooner(channel, channel->setup_by_us);
    if (resolver_numeric(channel->host, channel->port, &channel->addresses)) {
        channel->next_address = channel->addresses;
        connect_next(channel, ENOENT);
    } else if (resolver_ask(channel->env->workers, channel->env->reactor, channel->host, channel->port,
                            on_resolved, channel, &channel->resolution) != PST_OK) {
        channel_down(channel, PST_ERR_TRANSPORT, "out of memory");
    }
}

/* ---- version negotiation ---- */

static enum pst_status encode_api_versions(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct api_versions_request request;

    (void)exchange;
    message_init(&api_versions_request_schema, &request);
    request.client_software_name = STR_LITERAL("penstock");
    request.client_software_version = STR_LITERAL(PENSTOCK_VERSION);
    return message_encode(&api_versions_request_schema, version, &request, out);
}

struct negotiation {
    struct exchange exchange;
    struct channel *channel;
};

static void negotiate(struct channel *channel, int16_t version);

static void keep_ranges(struct channel *channel, const struct api_versions_response *response)
{
    for (size_t i = 0; i < API_COUNT; i++)
        channel->apis[i] = (struct api_range){0, -1};
    for (int32_t i = 0; i < response->api_keys_count; i++) {
        const struct api_versions_response_api_version *range = &response->api_keys[i];

        if (range->api_key >= 0 && range->api_key < API_COUNT)
            channel->apis[range->api_key] = (struct api_range){range->min_version, range->max_version};
    }
}

/* An old broker answers a version it does not know in the form of version 0, with error 35 and what it does
 * know. */
static void negotiated(struct exchange *exchange, const struct answer *answer)
{
    struct channel *channel = CONTAINER_OF(exchange, struct negotiation, exchange)->channel;
    struct wire_reader reader = answer->reader;
    struct api_versions_response response;
    struct arena *arena;
    int16_t error, version = answer->version;

    if (answer->code != PST_ERR_NONE)
        return; /* the connection's end has seen to everything */
    arena = arena_new(NEGOTIATION_ARENA);
    error = wire_left(&reader) < 2 ? -1 : (int16_t)load_be16(reader.at);
    if (error == KAFKA_UNSUPPORTED_VERSION)
        version = 0;
    if (arena == NULL ||
        message_decode(&api_versions_response_schema, version, &reader, arena, &response) != PST_OK) {
        channel_down(channel, PST_ERR_BAD_RESPONSE, "its ApiVersions answer cannot be read");
    } else if (error == KAFKA_UNSUPPORTED_VERSION && answer->version > 0) {
        keep_ranges(channel, &response);
        version = channel->apis[API_API_VERSIONS].high;
        negotiate(channel, version > 0 && version < answer->version ? version : 0);
    } else if (error != 0) {
        channel_down(channel, PST_ERR_TRANSPORT, pst_err_text(error));
    } else {
        keep_ranges(channel, &response);
        channel->state = CHANNEL_UP;
        channel->failures = 0;
        channel_flush(channel);
    }
    arena_free(arena);
}

static void negotiation_release(struct exchange *exchange)
{
    free(CONTAINER_OF(exchange, struct negotiation, exchange));
}

static void negotiate(struct channel *channel, int16_t version)
{
    struct negotiation *negotiation = calloc(1, sizeof *negotiation);
    struct exchange *exchange;

    if (negotiation == NULL) {
        channel_down(channel, PST_ERR_TRANSPORT, "out of memory");
        return;
    }
    exchange = &negotiation->exchange;
    negotiation->channel = channel;
    *exchange = (struct exchange){.api_key = API_API_VERSIONS,
                                  .version_min = version,
                                  .version_max = version,
                                  .deadline_us = channel->setup_by_us,
                                  .encode = encode_api_versions,
                                  .done = negotiated,
                                  .release = negotiation_release};
    buf_init(&exchange->head, REQUEST_HEAD_MAX);
    channel->apis[API_API_VERSIONS] = (struct api_range){version, version};
    list_push_front(&channel->waiting, &exchange->link);
    channel_flush(channel);
}

static void connected(struct channel *channel)
{
    socklen_t size = sizeof(int);
    int error = 0;

    if (getsockopt(channel->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error != 0) {
        close_socket(channel);
        connect_next(channel, error);
        return;
    }
    drop_addresses(channel);
    channel->state = CHANNEL_NEGOTIATING;
    if (reactor_watch(channel->env->reactor, &channel->watch, EPOLLIN) != PST_OK) {
        channel_down(channel, PST_ERR_TRANSPORT, "out of memory");
        return;
    }
    negotiate(channel, API_VERSIONS_NEWEST);
}

/* ---- sending ---- */

static bool choose_version(const struct channel *channel, struct exchange *exchange)
{
    const struct api_range *range = &channel->apis[exchange->api_key];
    int16_t high = exchange->version_max < range->high ? exchange->version_max : range->high;

    if (high < exchange->version_min || high < range->low)
        return false;
    exchange->version = high;
    return true;
}

static enum pst_status encode_exchange(struct channel *channel, struct exchange *exchange)
{
    const char *id = channel->env->config->text[OPTION_CLIENT_ID];
    struct request_header header = {exchange->api_key, exchange->version, exchange->correlation_id,
                                    str_of(id)};
    struct buf *head = &exchange->head;
    enum pst_status status;

    buf_reset(head);
    buf_put_be32(head, 0);
    request_header_encode(&header, head);
    status = exchange->encode(exchange, exchange->version, head);
    if (status == PST_OK)
        status = head->status;
    if (status != PST_OK)
        return status;
    exchange->total_bytes = head->length;
    for (size_t i = 0; i < exchange->slice_count; i++)
        exchange->total_bytes += exchange->slices[i].length;
    if (exchange->total_bytes - FRAME_PREFIX_BYTES > INT32_MAX)
        return PST_FULL;
    store_be32(head->at, (uint32_t)(exchange->total_bytes - FRAME_PREFIX_BYTES));
    return PST_OK;
}

/* Moves what may go now from waiting to sending. */
static void encode_waiting(struct channel *channel)
{
    while (!list_is_empty(&channel->waiting)) {
        struct exchange *exchange = CONTAINER_OF(channel->waiting.next, struct exchange, link);
        char text[TROUBLE_TEXT_BYTES];
        enum pst_status status;

        if (channel->state == CHANNEL_NEGOTIATING && exchange->done != negotiated)
            return;
        if (!choose_version(channel, exchange)) {
            const struct api *api = api_find(exchange->api_key);

            snprintf(text, sizeof text, "%s does not serve %s in a version from %d to %d", channel->address,
                     api == NULL ? "this request" : api->name, exchange->version_min, exchange->version_max);
            exchange_fail(exchange, PST_ERR_UNSUPPORTED, text);
            continue;
        }
        exchange->correlation_id = channel->next_correlation_id++ & INT32_MAX;
        status = encode_exchange(channel, exchange);
        if (status != PST_OK) {
            exchange_fail(exchange, error_of_status(status), pst_status_text(status));
            continue;
        }
        exchange->answer_by_us =
            reactor_now_us(channel->env->reactor) + option_us(channel, OPTION_REQUEST_TIMEOUT);
        sooner(channel, exchange->answer_by_us);
        list_remove(&exchange->link);
        list_push_back(&channel->sending, &exchange->link);
    }
}

static int add_piece(struct iovec *iov, int count, const uint8_t *at, size_t length, size_t *skip)
{
    if (*skip >= length) {
        *skip -= length;
        return count;
    }
    if (count < IOVECS_PER_SEND)
        iov[count] = (struct iovec){(void *)(uintptr_t)(at + *skip), length - *skip};
    *skip = 0;
    return count < IOVECS_PER_SEND ? count + 1 : count;
}

/* The unsent rest of one exchange: head up to a slice, the slice, head up to the next. */
static int add_exchange(struct iovec *iov, int count, const struct exchange *exchange)
{
    size_t skip = exchange->sent_bytes, from = 0;

    for (size_t i = 0; i < exchange->slice_count && count < IOVECS_PER_SEND; i++) {
        const struct slice *slice = &exchange->slices[i];

        count = add_piece(iov, count, exchange->head.at + from, slice->position - from, &skip);
        count = add_piece(iov, count, slice->at, slice->length, &skip);
        from = slice->position;
    }
    if (count < IOVECS_PER_SEND)
        count = add_piece(iov, count, exchange->head.at + from, exchange->head.length - from, &skip);
    return count;
}

/* Ends what needs no answer.  Its done() and release() may submit, and so flush, again: the books are up to
 * date. */
static void end_written(struct list *written)
{
    while (!list_is_empty(written)) {
        struct exchange *exchange = CONTAINER_OF(written->next, struct exchange, link);
        struct answer nothing = {.version = exchange->version, .text = ""};

        list_remove(&exchange->link);
        exchange_settle(exchange, &nothing);
        exchange_release(exchange);
    }
}

static void account_sent(struct channel *channel, size_t sent)
{
    struct list written; /* wholly, and no answer will come */

    list_init(&written);
    while (sent > 0 && !list_is_empty(&channel->sending)) {
        struct exchange *exchange = CONTAINER_OF(channel->sending.next, struct exchange, link);
        size_t left = exchange->total_bytes - exchange->sent_bytes;

        if (sent < left) {
            exchange->sent_bytes += sent;
            break;
        }
        sent -= left;
        exchange->sent_bytes = exchange->total_bytes;
        list_remove(&exchange->link);
        list_push_back(exchange->one_way ? &written : &channel->awaiting, &exchange->link);
    }
    end_written(&written);
}

static void channel_flush(struct channel *channel)
{
    struct iovec iov[IOVECS_PER_SEND];
    uint32_t events = EPOLLIN;

    encode_waiting(channel);
    while (!list_is_empty(&channel->sending)) {
        struct msghdr message = {.msg_iov = iov};
        int count = 0;
        ssize_t sent;

        LIST_FOR_EACH (link, &channel->sending) {
            if (count == IOVECS_PER_SEND)
                break;
            count = add_exchange(iov, count, CONTAINER_OF(link, struct exchange, link));
        }
        message.msg_iovlen = (size_t)count;
        sent = sendmsg(channel->watch.fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            channel_down(channel, PST_ERR_TRANSPORT, strerror(errno));
            return;
        }
        if (sent < 0) {
            events |= EPOLLOUT;
            break;
        }
        account_sent(channel, (size_t)sent);
    }
    channel->last_used_us = reactor_now_us(channel->env->reactor);
    if (channel->state >= CHANNEL_NEGOTIATING &&
        reactor_watch(channel->env->reactor, &channel->watch, events) != PST_OK)
        channel_down(channel, PST_ERR_TRANSPORT, "out of memory");
}

void channel_submit(struct channel *channel, struct exchange *exchange)
{
    BUG_ON(exchange->api_key < 0 || exchange->api_key >= API_COUNT);
    buf_init(&exchange->head, REQUEST_HEAD_MAX);
    exchange->sent_bytes = 0;
    exchange->settled = false;
    list_push_back(&channel->waiting, &exchange->link);
    sooner(channel, exchange->deadline_us);
    if (channel->state == CHANNEL_UP)
        channel_flush(channel);
    else
        channel_open(channel);
}

void channel_withdraw(struct channel *channel, struct exchange *exchange)
{
    bool encoded = exchange->head.length > 0;

    BUG_ON(exchange->slice_count > 0);
    (void)channel;
    exchange->settled = true;
    if (!encoded)
        exchange_release(exchange);
}

/* ---- receiving ---- */

static bool take_response(struct channel *channel, struct frame_ref *frame)
{
    struct wire_reader reader = wire_reader_of(frame->bytes, frame->length);
    struct exchange *exchange;
    struct answer answer;
    int32_t correlation_id;

    if (list_is_empty(&channel->awaiting)) {
        channel_down(channel, PST_ERR_BAD_RESPONSE, "sent an answer nobody waits for");
        return false;
    }
    exchange = CONTAINER_OF(channel->awaiting.next, struct exchange, link);
    if (response_header_decode(exchange->api_key, exchange->version, &reader, &correlation_id) != PST_OK ||
        correlation_id != exchange->correlation_id) {
        channel_down(channel, PST_ERR_BAD_RESPONSE, "answered out of order");
        return false;
    }
    answer = (struct answer){.version = exchange->version, .text = "", .frame = frame, .reader = reader};
    list_remove(&exchange->link);
    exchange_settle(exchange, &answer);
    exchange_release(exchange);
    return channel->state >= CHANNEL_NEGOTIATING;
}

/* Whole frames in staging are given out; the start of one that does not fit gets memory of its own. */
static bool parse_staging(struct channel *channel)
{
    size_t at = 0;

    while (channel->staged - at >= FRAME_PREFIX_BYTES) {
        uint32_t length = load_be32(channel->staging + at);
        size_t have = channel->staged - at - FRAME_PREFIX_BYTES;
        struct frame_ref *frame;

        if (length < sizeof(int32_t) || length > RESPONSE_BYTES_MAX) {
            channel_down(channel, PST_ERR_BAD_RESPONSE, "sent an answer of impossible length");
            return false;
        }
        if (have < length && length <= STAGING_BYTES - FRAME_PREFIX_BYTES)
            break;
        frame = frame_ref_new(length);
        if (frame == NULL) {
            channel_down(channel, PST_ERR_TRANSPORT, "out of memory");
            return false;
        }
        if (have < length) {
            memcpy(frame->bytes, channel->staging + at + FRAME_PREFIX_BYTES, have);
            channel->frame = frame;
            channel->frame_have = have;
            at = channel->staged;
            break;
        }
        memcpy(frame->bytes, channel->staging + at + FRAME_PREFIX_BYTES, length);
        at += FRAME_PREFIX_BYTES + length;
        if (!take_response(channel, frame)) {
            frame_ref_drop(frame);
            return false;
        }
        frame_ref_drop(frame);
    }
    memmove(channel->staging, channel->staging + at, channel->staged - at);
    channel->staged -= at;
    return true;
}

static bool received(struct channel *channel, size_t count)
{
    struct frame_ref *frame = channel->frame;
    bool alive;

    if (frame == NULL) {
        channel->staged += count;
        return parse_staging(channel);
    }
    channel->frame_have += count;
    if (channel->frame_have < frame->length)
        return true;
    channel->frame = NULL;
    alive = take_response(channel, frame);
    frame_ref_drop(frame);
    return alive;
}

static void channel_receive(struct channel *channel)
{
    for (int turn = 0; turn < READS_PER_TURN; turn++) {
        struct frame_ref *frame = channel->frame;
        uint8_t *to = frame == NULL ? channel->staging + channel->staged : frame->bytes + channel->frame_have;
        size_t room = frame == NULL ? STAGING_BYTES - channel->staged : frame->length - channel->frame_have;
        ssize_t count = recv(channel->watch.fd, to, room, 0);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0) {
            channel_down(channel, PST_ERR_TRANSPORT,
                         count == 0 ? "the broker closed the connection" : strerror(errno));
            return;
        }
        if (!received(channel, (size_t)count))
            return;
        if ((size_t)count < room)
            return;
    }
}

static void on_ready(struct watch *watch, uint32_t events)
{
    struct channel *channel = CONTAINER_OF(watch, struct channel, watch);

    if (channel->state == CHANNEL_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            connected(channel);
    } else if (channel->state >= CHANNEL_NEGOTIATING) {
        channel->last_used_us = reactor_now_us(channel->env->reactor);
        if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            channel_receive(channel);
        if ((events & EPOLLOUT) && channel->state >= CHANNEL_NEGOTIATING)
            channel_flush(channel);
    }
    if (!timer_is_armed(&channel->timer))
        set_timer(channel);
}
