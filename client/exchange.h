/* One request and its answer, on the way through a channel.
 *
 * Thread: the reactor's.  Whoever submits an exchange to a channel gets exactly one call of done(), in order:
 * an answer, or an error (the connection broke, the deadline passed, the broker speaks no common version).
 * release() follows when the channel needs the memory no more; that may be later, because a request given up
 * by its deadline still has its place in the connection's order.  encode() runs when the connection is up and
 * the version known. */
#ifndef PENSTOCK_CLIENT_EXCHANGE_H
#define PENSTOCK_CLIENT_EXCHANGE_H

#include "client/error.h"
#include "client/frame_ref.h"
#include "common/buf.h"
#include "common/list.h"
#include "protocol/wire.h"

struct exchange;

struct answer {
    pst_err_t code;          /* 0: reader stands at the body */
    const char *text;        /* of the error; valid during the call */
    int16_t version;         /* of request and answer */
    struct frame_ref *frame; /* share it to keep what the reader gives */
    struct wire_reader reader;
};

/* Bytes of somebody else that belong at `position` of the encoded head; borrowed until release(). */
struct slice {
    size_t position;
    const uint8_t *at;
    size_t length;
};

struct exchange {
    struct list link; /* the channel's */
    int16_t api_key;
    int16_t version_min;
    int16_t version_max;
    int16_t version; /* set when encoded */
    int32_t correlation_id;
    int64_t deadline_us;  /* monotonic; from then on it fails with PST_ERR_TIMED_OUT */
    int64_t answer_by_us; /* set when sent: deadline of the connection */
    bool one_way;         /* no answer will come (acks=0): done() when written */
    bool settled;         /* done() was called */

    enum pst_status (*encode)(struct exchange *exchange, int16_t version, struct buf *out);
    void (*done)(struct exchange *exchange, const struct answer *answer);
    void (*release)(struct exchange *exchange);

    struct buf head;      /* prefix, header and body without the slices */
    struct slice *slices; /* set by encode, owned by the user; positions ascend */
    size_t slice_count;
    size_t total_bytes; /* head and slices */
    size_t sent_bytes;
};

#endif
