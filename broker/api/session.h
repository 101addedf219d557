/* What the API layer keeps per connection, and per loop.  Owner: the connection's loop. */
#ifndef PENSTOCK_BROKER_API_SESSION_H
#define PENSTOCK_BROKER_API_SESSION_H

#include "broker/api/call.h"

#define CALLS_POOLED_MAX 64 /* finished calls kept per loop: their arenas hold 16 KB each */

struct session {
    struct api_env *env;
    struct conn *conn;
    struct list calls; /* in progress, oldest first */
    unsigned calls_open;
    unsigned calls_exclusive; /* of rows without API_OVERLAP: at most 1 */
    uint16_t listener;
};

struct api_loop {
    struct loop *loop;
    struct list calls_free; /* pooled struct call */
    unsigned calls_free_count;
    struct list fetches_ready; /* parked fetches woken in this turn (fetch.c) */
};

MUST_CHECK enum pst_status api_loop_new(struct loop *loop, struct api_loop **ret);
/* After the loop has stopped. */
void api_loop_free(struct api_loop *api_loop);

/* NULL: out of memory.  The call is in the session's list, without slot. */
struct call *call_new(struct session *session, const struct api_row *row);

/* Of the connection; made on first use.  NULL: out of memory. */
struct session *session_of(struct conn *conn);
/* The connection is gone: parked calls are cancelled, calls on other threads end silently when they come
 * home. */
void session_closed(struct session *session);

/* The callbacks every listener of the broker is opened with; conn_listener_data is a struct listener_context.
 */
extern const struct conn_owner api_conn_owner;

struct listener_context {
    struct api_env *env;
    uint16_t index; /* among the broker's listeners */
};

#endif
