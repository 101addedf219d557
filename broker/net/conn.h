/* One client connection: frames in, an ordered queue of responses out.
 *
 * Thread: the loop that accepted it, for every function here.  Knows frames (int32 length + bytes), not APIs.
 *
 * In: small frames are read many at a time into the loop's 256 KB buffer and handed over in place; what is
 * left of an incomplete frame moves to a pooled buffer of the connection (given back when idle).  A large
 * frame is offered to the owner by its head first, so that a Produce body can be received straight into a
 * segment. Out: every taken frame owns one slot in the response queue; slots are filled in any order and sent
 * in queue order. Memory parts of consecutive responses leave in one writev at the end of the turn; file
 * slices leave by sendfile in steps of at most 1 MB a turn, cold ones after a worker has warmed them.  While
 * the peer reads slowly nothing more is read from it. Bounds: frame size, unsent bytes, slots in flight, idle
 * time; each an option in struct conn_limits. */
#ifndef PENSTOCK_BROKER_NET_CONN_H
#define PENSTOCK_BROKER_NET_CONN_H

#include "broker/net/loop.h"
#include "common/buf.h"
#include "common/status.h"
#include "common/workers.h"

#include <netinet/in.h>
#include <stdint.h>

struct conn;
struct response_slot;

/* What to do with a frame that was offered. */
enum frame_verdict {
    FRAME_TAKEN, /* a slot was opened, or the frame needs no answer */
    FRAME_WAIT,  /* not now: offer it again when a slot has been completed or conn_resume is called */
    FRAME_CLOSE, /* garbage: close the connection after one log line */
};

/* How a large frame is received, decided from its head. */
enum frame_plan {
    FRAME_PLAN_BUFFER, /* into memory, then on_frame */
    FRAME_PLAN_LAND,   /* wait until the whole rest is readable, then on_land */
};

struct conn_owner {
    /* A whole frame without its length prefix.  The bytes may be changed and are valid during the call only.
     */
    enum frame_verdict (*on_frame)(struct conn *conn, uint8_t *frame, size_t length);
    /* The first head_length bytes of a large frame of frame_length bytes.  NULL: every frame is buffered. */
    enum frame_plan (*on_frame_head)(struct conn *conn, const uint8_t *head, size_t head_length,
                                     size_t frame_length);
    /* The rest is readable: take it with conn_receive_rest (exactly once, or not at all: FRAME_WAIT, or
     * *ret_plan = FRAME_PLAN_BUFFER to have it buffered after all). */
    enum frame_verdict (*on_land)(struct conn *conn, const uint8_t *head, size_t head_length,
                                  size_t frame_length, enum frame_plan *ret_plan);
    /* The connection is gone; every open slot has become invalid.  Drop what refers to it. */
    void (*on_close)(struct conn *conn);
};

struct conn_limits {
    int64_t frame_bytes_max;   /* socket.request.max.bytes */
    int64_t idle_ms_max;       /* connections.max.idle.ms; not while a request is being served */
    uint32_t slots_max;        /* requests in flight on one connection */
    uint64_t unsent_bytes_max; /* memory waiting in the response queue before reading stops */
    int64_t send_stall_ms_max; /* a peer that takes no byte for so long is closed */
};

/* Bytes of the landing frame behind its head, straight to `to`; PST_OK only when all `length` bytes came. */
MUST_CHECK enum pst_status conn_receive_rest(struct conn *conn, uint8_t *to, size_t length);

/* The owner's pointer (one per connection, NULL at first). */
void conn_set_data(struct conn *conn, void *data);
void *conn_data(const struct conn *conn);
/* What conn's listener was created with. */
void *conn_listener_data(const struct conn *conn);
struct loop *conn_loop(const struct conn *conn);
uint64_t
conn_id(const struct conn *conn); /* never reused in this process: how other threads name a connection */
/* "127.0.0.1:54321" */
const char *conn_peer(const struct conn *conn);

/* ---- responses ---- */

/* A range of a file to be sent at `position` of the response's bytes. */
struct response_slice {
    size_t position;
    int fd;
    int64_t file_position;
    uint32_t length_bytes;
    bool hot;                     /* skip the cold probe */
    void (*release)(void *owner); /* called once when sent or dropped */
    void *owner;
};

/* Opens the next slot in order.  NULL: out of memory (close the connection). */
struct response_slot *conn_slot_open(struct conn *conn);
/* Fills it.  `bytes` (the response without length prefix) is taken over and emptied; slices (sorted by
 * position) are copied and their references taken over. */
void conn_slot_send(struct response_slot *slot, struct buf *bytes, const struct response_slice *slices,
                    unsigned slice_count);
/* No answer for this frame (acks=0). */
void conn_slot_skip(struct response_slot *slot);
unsigned conn_slots_open(const struct conn *conn); /* opened, not yet filled */

/* Offer waiting frames again. */
void conn_resume(struct conn *conn);
/* Closes now; `why` for the log line (NULL: silent).  Safe inside callbacks: freed at the end of the turn. */
void conn_close(struct conn *conn, const char *why);

#endif
