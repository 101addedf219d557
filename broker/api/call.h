/* One request being served: from its frame to its response.
 *
 * Owner: the loop of its connection.  A handler row says where it runs: API_ON_LOOP (must not block),
 * API_ON_CONTROL (the one control thread: may block, sees metadata changes in order) or API_ON_WORKER (may
 * block, any order).  While it runs elsewhere it is the handler's alone; call_respond brings it home from any
 * thread.
 *
 * Everything a call needs lives in its arena, until the response is handed to the connection.  For all rows
 * but those with API_IN_PLACE the frame is copied into the arena first, so views into the request live as
 * long as the call. */
#ifndef PENSTOCK_BROKER_API_CALL_H
#define PENSTOCK_BROKER_API_CALL_H

#include "broker/api/api_env.h"
#include "broker/net/conn.h"
#include "common/arena.h"
#include "common/list.h"
#include "common/mailbox.h"
#include "common/workers.h"
#include "protocol/message.h"

#include <stdbool.h>
#include <stdint.h>

struct call;
struct session;

typedef void (*api_handler)(struct call *call);

enum api_place {
    API_ON_LOOP,
    API_ON_CONTROL,
    API_ON_WORKER,
};

enum api_flags {
    API_IN_PLACE = 1, /* decoded in the read buffer: the handler copies what must outlive it */
    API_OVERLAP = 2,  /* may be in progress together with others of its kind on one connection */
};

/* One row of the dispatch table, which is also the row of the ApiVersions answer. */
struct api_row {
    int16_t key;
    int16_t version_min;
    int16_t version_max;
    enum api_place place;
    unsigned flags;
    api_handler handler;
};

struct call {
    struct api_env *env;
    struct session *session;    /* NULL once the connection is gone (loop thread only) */
    struct loop *loop;          /* where it was born and ends */
    struct response_slot *slot; /* NULL: no answer expected */
    struct arena *arena;
    const struct api_row *row;
    void *request; /* the generated struct of the row's request schema */
    int16_t version;
    int32_t correlation_id;
    struct str client_id; /* "" when null */
    uint16_t listener;    /* index of the listener the request came in by (advertised address) */
    char peer[64];        /* "127.0.0.1:54321" */

    /* private to call.c */
    struct list link; /* of the session */
    struct mail mail;
    struct worker_job job;
    api_handler offloaded;
    void (*cancel)(struct call *call);
    struct buf bytes;
    struct response_slice *slices;
    unsigned slice_count;
    bool answered;
};

/* A response struct of the call's schema at its defaults. */
#define CALL_RESPONSE(type, name)                                                                            \
    struct type name;                                                                                        \
    message_init(&type##_schema, &name)

/* Encodes the response (a struct of the row's response schema) and sends it home.  Exactly once per call, any
 * thread; the call must not be touched afterwards.  An answer that cannot be encoded closes the connection
 * with a log line. */
void call_respond(struct call *call, const void *response);
/* The same for answers with file slices: slices[i] belongs to the records field whose `external` is
 * &slices[i]. Loop thread only. */
void call_respond_slices(struct call *call, const void *response, struct response_slice *slices,
                         unsigned count);
/* No answer, by protocol (acks=0).  Loop thread only. */
void call_end_silently(struct call *call);
/* The request cannot be answered: closes the connection. */
void call_fail(struct call *call, const char *why);

/* Runs handler(call) on another thread. */
void call_on_control(struct call *call, api_handler handler);
void call_on_worker(struct call *call, api_handler handler);
/* Runs handler(call) on the thread that delivers this mailbox. */
void call_on_mailbox(struct call *call, struct mailbox *box, api_handler handler);
/* Brings the call back: handler(call) runs on its loop. */
void call_on_loop(struct call *call, api_handler handler);

/* Loop thread: called instead of nothing when the connection goes while the call is parked on its loop; must
 * let go of everything (waiters, timers) and end with call_discard. */
void call_set_cancel(struct call *call, void (*cancel)(struct call *call));
void call_discard(struct call *call);

#endif
