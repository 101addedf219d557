/* A request made by an application thread that waits for the answer: what administration is built from.
 *
 * Thread: any but the reactor's. */
#ifndef PENSTOCK_CLIENT_CALL_H
#define PENSTOCK_CLIENT_CALL_H

#include "client/client.h"
#include "common/arena.h"
#include "protocol/message.h"

enum call_target { CALL_ANY, CALL_CONTROLLER, CALL_BROKER };

struct call {
    enum call_target target;
    int32_t broker; /* CALL_BROKER */
    int16_t api_key;
    int16_t version_min;
    int16_t version_max;
    const struct message_schema *request_schema;
    void *request; /* borrowed until the call returns */
    /* Bends the request to the version chosen; may be NULL.  Reactor's thread, while the caller waits. */
    void (*shape)(void *request, int16_t version);
    const struct message_schema *response_schema;
    int64_t deadline_us;
};

struct reply {
    int16_t version;
    int32_t broker;        /* who answered; -1: a bootstrap address */
    char address[300];     /* of it */
    int64_t round_trip_us; /* sending to answer, connection set-up included when there was none */
    struct frame_ref *frame;
    struct arena *arena;
    void *message; /* a struct of response_schema, with views into the frame */
};

int64_t call_deadline_us(const struct pst_client *client, int64_t timeout_ms);

/* Sends and waits.  Broken connections and missing brokers are tried again until the deadline.  On success
 * the reply is the caller's to reply_free. */
pst_err_t call_send(struct pst_client *client, const struct call *call, struct reply *ret,
                    struct pst_error *error);
void reply_free(struct reply *reply);

/* Waits a back-off (or until metadata changes) before another attempt; PST_ERR_TIMED_OUT when the deadline is
 * nearer, with the last trouble in the text. */
pst_err_t call_pause(struct pst_client *client, unsigned attempt, int64_t deadline_us, const char *what,
                     struct pst_error *error);

#endif
