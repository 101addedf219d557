#include "broker/api/call.h"

#include "broker/api/session.h"
#include "common/bug.h"
#include "common/logger.h"
#include "protocol/api.h"
#include "protocol/frame.h"

#include <stdio.h>
#include <stdlib.h>

/* A request may make the broker hold this much decoded structure: the largest frame (100 MB) is mostly
 * records, which are never copied; a Fetch of 100,000 partitions decodes to about 10 MB. */
#define CALL_ARENA_BYTES_MAX    (64u * 1024 * 1024)
/* Answers are bounded by what they describe (Metadata of all topics is the largest); file slices do not
 * count. */
#define CALL_RESPONSE_BYTES_MAX (256u * 1024 * 1024)

static void call_come_home(struct mail *mail);

enum pst_status api_loop_new(struct loop *loop, struct api_loop **ret)
{
    struct api_loop *api_loop = calloc(1, sizeof *api_loop);

    if (api_loop == NULL)
        return PST_NOMEM;
    api_loop->loop = loop;
    list_init(&api_loop->calls_free);
    list_init(&api_loop->fetches_ready);
    *ret = api_loop;
    return PST_OK;
}

static void call_free(struct call *call)
{
    buf_free(&call->bytes);
    arena_free(call->arena);
    free(call);
}

void api_loop_free(struct api_loop *api_loop)
{
    if (api_loop == NULL)
        return;
    LIST_FOR_EACH (link, &api_loop->calls_free)
        call_free(CONTAINER_OF(link, struct call, link));
    free(api_loop);
}

static struct api_loop *call_api_loop(const struct call *call)
{
    return call->env->loops[loop_index(call->loop)];
}

struct call *call_new(struct session *session, const struct api_row *row)
{
    struct loop *loop = conn_loop(session->conn);
    struct api_loop *api_loop = session->env->loops[loop_index(loop)];
    struct arena *arena;
    struct call *call;

    if (!list_is_empty(&api_loop->calls_free)) {
        call = CONTAINER_OF(api_loop->calls_free.next, struct call, link);
        list_remove(&call->link);
        api_loop->calls_free_count--;
        arena = call->arena;
    } else {
        call = malloc(sizeof *call);
        arena = arena_new(CALL_ARENA_BYTES_MAX);
        if (call == NULL || arena == NULL) {
            free(call);
            arena_free(arena);
            return NULL;
        }
    }
    *call = (struct call){.env = session->env,
                          .session = session,
                          .loop = loop,
                          .arena = arena,
                          .row = row,
                          .listener = session->listener};
    buf_init(&call->bytes, CALL_RESPONSE_BYTES_MAX);
    call->mail.deliver = call_come_home;
    snprintf(call->peer, sizeof call->peer, "%s", conn_peer(session->conn));
    list_push_back(&session->calls, &call->link);
    session->calls_open++;
    if ((row->flags & API_OVERLAP) == 0)
        session->calls_exclusive++;
    return call;
}

static void call_leave_session(struct call *call)
{
    struct session *session = call->session;

    if (session == NULL)
        return;
    list_remove(&call->link);
    session->calls_open--;
    if ((call->row->flags & API_OVERLAP) == 0)
        session->calls_exclusive--;
    call->session = NULL;
}

void call_discard(struct call *call)
{
    struct api_loop *api_loop = call_api_loop(call);

    BUG_ON(!loop_is_current(call->loop));
    call_leave_session(call);
    for (unsigned i = 0; i < call->slice_count; i++)
        call->slices[i].release(call->slices[i].owner);
    buf_free(&call->bytes);
    arena_clear(call->arena);
    if (api_loop->calls_free_count >= CALLS_POOLED_MAX) {
        call_free(call);
        return;
    }
    list_push_front(&api_loop->calls_free, &call->link);
    api_loop->calls_free_count++;
}

/* Loop thread: the answer is encoded, hand it to the connection. */
static void call_finish(struct call *call)
{
    struct session *session = call->session;
    struct conn *conn;

    if (session == NULL) { /* the peer went away meanwhile */
        call_discard(call);
        return;
    }
    conn = session->conn;
    if (!call->answered) {
        if (call->slot != NULL)
            conn_slot_skip(call->slot);
        call_discard(call);
        conn_close(conn, "the request could not be answered");
        return;
    }
    if (call->slot != NULL)
        conn_slot_send(call->slot, &call->bytes, call->slices, call->slice_count);
    call->slice_count = 0; /* taken over */
    call_discard(call);
}

static void call_come_home(struct mail *mail)
{
    call_finish(CONTAINER_OF(mail, struct call, mail));
}

static void call_return(struct call *call)
{
    if (loop_is_current(call->loop)) {
        call_finish(call);
        return;
    }
    call->mail.deliver = call_come_home;
    loop_post(call->loop, &call->mail);
}

/* Where the records of slices[i] belong becomes known while the answer is encoded. */
static void place_slice(void *arg, size_t position, const struct wire_records *records)
{
    struct response_slice *slice = records->external;

    (void)arg;
    slice->position = position;
}

static bool call_encode(struct call *call, const void *response)
{
    const struct api *api = api_find(call->row->key);
    enum pst_status status;

    response_header_encode(call->row->key, call->version, call->correlation_id, &call->bytes);
    status = message_encode_external(api->response, call->version, response, &call->bytes, place_slice, NULL);
    if (status == PST_OK)
        return true;
    LOG_ERROR("api.response.encode.failed", "api=%s version=%d reason=\"%s\"", api->name, call->version,
              pst_status_text(status));
    return false;
}

void call_respond(struct call *call, const void *response)
{
    call->answered = call_encode(call, response);
    call_return(call);
}

void call_respond_slices(struct call *call, const void *response, struct response_slice *slices,
                         unsigned count)
{
    call->slices = slices;
    call->slice_count = count;
    call->answered = call_encode(call, response);
    call_finish(call);
}

void call_end_silently(struct call *call)
{
    if (call->slot != NULL)
        conn_slot_skip(call->slot);
    call_discard(call);
}

void call_fail(struct call *call, const char *why)
{
    LOG_WARN("api.request.refused", "peer=%s reason=\"%s\"", call->peer, why);
    call->answered = false;
    call_return(call);
}

static void run_offloaded(struct worker_job *job)
{
    struct call *call = CONTAINER_OF(job, struct call, job);

    call->offloaded(call);
}

static void offload(struct call *call, struct workers *workers, api_handler handler)
{
    call->offloaded = handler;
    call->cancel = NULL;
    call->job = (struct worker_job){.run = run_offloaded};
    workers_submit(workers, &call->job);
}

void call_on_control(struct call *call, api_handler handler)
{
    offload(call, call->env->control, handler);
}

void call_on_worker(struct call *call, api_handler handler)
{
    offload(call, call->env->workers, handler);
}

static void run_delivered(struct mail *mail)
{
    struct call *call = CONTAINER_OF(mail, struct call, mail);

    call->offloaded(call);
}

void call_on_mailbox(struct call *call, struct mailbox *box, api_handler handler)
{
    call->offloaded = handler;
    call->cancel = NULL;
    call->mail.deliver = run_delivered;
    mailbox_post(box, &call->mail);
}

void call_on_loop(struct call *call, api_handler handler)
{
    call->offloaded = handler;
    call->mail.deliver = run_delivered;
    loop_post(call->loop, &call->mail);
}

void call_set_cancel(struct call *call, void (*cancel)(struct call *call))
{
    call->cancel = cancel;
}

void session_closed(struct session *session)
{
    while (!list_is_empty(&session->calls)) {
        struct call *call = CONTAINER_OF(session->calls.next, struct call, link);

        call_leave_session(call);
        call->slot = NULL;
        if (call->cancel != NULL)
            call->cancel(call);
    }
}
