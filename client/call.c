#include "client/call.h"

#include "protocol/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REPLY_ARENA_BYTES (256u * 1024u * 1024u)

/* Shared by the waiting thread and the reactor; the last of the two frees it. */
struct sync_call {
    struct exchange exchange;
    struct mail mail;
    struct pst_client *client;
    const struct call *call; /* valid until settled */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool settled;
    _Atomic unsigned holders;

    pst_err_t code;
    char text[PST_ERROR_TEXT_BYTES];
    int16_t version;
    int32_t broker;
    char address[300];
    int64_t started_us;
    int64_t ended_us;
    struct frame_ref *frame;
    size_t body_at;
};

static void drop_sync(struct sync_call *sync)
{
    if (atomic_fetch_sub(&sync->holders, 1) != 1)
        return;
    frame_ref_drop(sync->frame);
    pthread_cond_destroy(&sync->ended);
    pthread_mutex_destroy(&sync->lock);
    free(sync);
}

static void settle_sync(struct sync_call *sync, pst_err_t code, const char *text)
{
    pthread_mutex_lock(&sync->lock);
    sync->code = code;
    snprintf(sync->text, sizeof sync->text, "%s", text);
    sync->ended_us = reactor_now_us(&sync->client->reactor);
    sync->settled = true;
    pthread_cond_signal(&sync->ended);
    pthread_mutex_unlock(&sync->lock);
}

static enum pst_status encode_sync(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct sync_call *sync = CONTAINER_OF(exchange, struct sync_call, exchange);
    const struct call *call = sync->call;

    sync->started_us = reactor_now_us(&sync->client->reactor);
    if (call->shape != NULL)
        call->shape(call->request, version);
    return message_encode(call->request_schema, version, call->request, out);
}

static void sync_done(struct exchange *exchange, const struct answer *answer)
{
    struct sync_call *sync = CONTAINER_OF(exchange, struct sync_call, exchange);

    if (answer->code == PST_ERR_NONE) {
        sync->frame = frame_ref_share(answer->frame);
        sync->body_at = (size_t)(answer->reader.at - answer->frame->bytes);
        sync->version = answer->version;
    }
    settle_sync(sync, answer->code, answer->text);
}

static void sync_release(struct exchange *exchange)
{
    drop_sync(CONTAINER_OF(exchange, struct sync_call, exchange));
}

static struct node *target_node(struct cluster *cluster, const struct call *call)
{
    if (call->target == CALL_BROKER)
        return cluster_node(cluster, call->broker);
    if (call->target == CALL_CONTROLLER) {
        struct node *node = cluster_node(cluster, cluster->controller_id);

        if (node != NULL)
            return node;
        if (cluster->answers == 0)
            return NULL; /* wait for metadata rather than bother the wrong one */
    }
    return cluster_any_node(cluster);
}

static void deliver_sync(struct mail *mail)
{
    struct sync_call *sync = CONTAINER_OF(mail, struct sync_call, mail);
    struct cluster *cluster = &sync->client->cluster;
    struct node *node = target_node(cluster, sync->call);
    struct channel *channel = node == NULL ? NULL : cluster_channel(cluster, node, CHANNEL_CONTROL);

    if (channel == NULL) {
        cluster_refresh(cluster);
        settle_sync(sync, PST_ERR_TRANSPORT, "the broker is not known yet");
        drop_sync(sync);
        return;
    }
    sync->broker = node->id;
    snprintf(sync->address, sizeof sync->address, "%s", channel_address(channel));
    channel_submit(channel, &sync->exchange);
}

static struct sync_call *new_sync(struct pst_client *client, const struct call *call)
{
    struct sync_call *sync = calloc(1, sizeof *sync);

    if (sync == NULL)
        return NULL;
    atomic_init(&sync->holders, 2);
    pthread_mutex_init(&sync->lock, NULL);
    pthread_cond_init(&sync->ended, NULL);
    sync->client = client;
    sync->call = call;
    sync->mail.deliver = deliver_sync;
    sync->exchange = (struct exchange){.api_key = call->api_key,
                                       .version_min = call->version_min,
                                       .version_max = call->version_max,
                                       .deadline_us = call->deadline_us,
                                       .encode = encode_sync,
                                       .done = sync_done,
                                       .release = sync_release};
    list_init(&sync->exchange.link);
    return sync;
}

static pst_err_t decode_reply(struct sync_call *sync, const struct call *call, struct reply *ret,
                              struct pst_error *error)
{
    struct wire_reader reader =
        wire_reader_of(sync->frame->bytes + sync->body_at, sync->frame->length - sync->body_at);
    struct reply reply = {.version = sync->version,
                          .broker = sync->broker,
                          .round_trip_us = sync->ended_us - sync->started_us,
                          .frame = frame_ref_share(sync->frame)};

    memcpy(reply.address, sync->address, sizeof reply.address);
    reply.arena = arena_new(REPLY_ARENA_BYTES);
    if (reply.arena != NULL)
        reply.message = arena_alloc_zero(reply.arena, message_struct_size(call->response_schema));
    if (reply.message == NULL) {
        reply_free(&reply);
        return error_set_code(error, PST_ERR_NO_MEMORY);
    }
    if (message_decode(call->response_schema, reply.version, &reader, reply.arena, reply.message) != PST_OK) {
        reply_free(&reply);
        return error_set(error, PST_ERR_BAD_RESPONSE, "%s: the %s answer cannot be read", sync->address,
                         api_find(call->api_key)->name);
    }
    *ret = reply;
    return PST_ERR_NONE;
}

void reply_free(struct reply *reply)
{
    arena_free(reply->arena);
    frame_ref_drop(reply->frame);
    *reply = (struct reply){0};
}

static pst_err_t send_once(struct pst_client *client, const struct call *call, struct reply *ret,
                           struct pst_error *error)
{
    struct sync_call *sync = new_sync(client, call);
    pst_err_t code;

    if (sync == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    reactor_post(&client->reactor, &sync->mail);
    pthread_mutex_lock(&sync->lock);
    while (!sync->settled) /* the channel keeps the deadline */
        pthread_cond_wait(&sync->ended, &sync->lock);
    pthread_mutex_unlock(&sync->lock);
    code = sync->code == PST_ERR_NONE ? decode_reply(sync, call, ret, error)
                                      : error_set(error, sync->code, "%s", sync->text);
    drop_sync(sync);
    return code;
}

int64_t call_deadline_us(const struct pst_client *client, int64_t timeout_ms)
{
    int64_t now_us = reactor_now_us(&client->reactor);

    if (timeout_ms < 0)
        timeout_ms = 0;
    return timeout_ms > (INT64_MAX - now_us) / 1000 ? INT64_MAX : now_us + timeout_ms * 1000;
}

static struct timespec timespec_of_us(int64_t us)
{
    return (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
}

pst_err_t call_pause(struct pst_client *client, unsigned attempt, int64_t deadline_us, const char *what,
                     struct pst_error *error)
{
    const struct pst_config *config = client->config;
    struct cluster *cluster = &client->cluster;
    int64_t now_us = reactor_now_us(&client->reactor), pause_ms = config->number[OPTION_RETRY];
    char trouble[PST_ERROR_TEXT_BYTES];
    struct timespec until;

    for (unsigned i = 0; i < attempt && pause_ms < config->number[OPTION_RETRY_MAX]; i++)
        pause_ms *= 2;
    pthread_mutex_lock(&cluster->lock);
    memcpy(trouble, cluster->trouble, sizeof trouble);
    if (now_us < deadline_us) {
        until =
            timespec_of_us(now_us + pause_ms * 1000 < deadline_us ? now_us + pause_ms * 1000 : deadline_us);
        pthread_cond_timedwait(&cluster->changed, &cluster->lock, &until);
    }
    pthread_mutex_unlock(&cluster->lock);
    if (now_us < deadline_us)
        return PST_ERR_NONE;
    if (trouble[0] == '\0')
        return error_set(error, PST_ERR_TIMED_OUT, "timed out: %s", what);
    return error_set(error, PST_ERR_TIMED_OUT, "timed out: %s; last trouble: %.150s", what, trouble);
}

pst_err_t call_send(struct pst_client *client, const struct call *call, struct reply *ret,
                    struct pst_error *error)
{
    struct pst_error why = {0};
    pst_err_t code;

    for (unsigned attempt = 0;; attempt++) {
        code = send_once(client, call, ret, &why);
        if (code == PST_ERR_NONE)
            return code;
        if (code != PST_ERR_TRANSPORT && code != PST_ERR_TIMED_OUT)
            return error_set(error, code, "%s", why.text);
        cluster_refresh(&client->cluster);
        code = call_pause(client, attempt, call->deadline_us, why.text, error);
        if (code != PST_ERR_NONE)
            return code;
    }
}
