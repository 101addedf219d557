#include "broker/net/conn_internal.h"
#include "broker/net/loop_internal.h"
#include "common/bug.h"
#include "common/bytes.h"
#include "common/logger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define FRAME_PREFIX_BYTES 4u
#define SEND_TURN_BYTES                                                                                      \
    (1024u * 1024) /* of one connection in one turn: a fast consumer must not starve others */
#define SLICE_INLINE_BYTES    4096u /* below, one read behind the header beats a sendfile */
#define WARM_PROBE_STEP_BYTES (128u * 1024)
#define IOVECS_MAX            64
#define SLOTS_POOLED_MAX      1024u
#define IDLE_CHECK_MS         1000
#define GATHER_BYTES_MAX                                                                                     \
    (32u * 1024) /* of an incomplete frame that are copied back in front of the next read */
#define LAND_REST_BYTES_MIN (16u * 1024) /* below, copying beats another system call */
#define LAND_HEAD_BYTES_MIN 512u /* the request up to its batch header is in there, or it is not worth it */

struct response_slot {
    struct list link; /* of the connection, in order of requests */
    struct conn *conn;
    bool filled;
    uint8_t prefix[FRAME_PREFIX_BYTES];
    struct buf bytes;
    struct response_slice *slices;
    unsigned slice_count;
    size_t memory_sent; /* of prefix and bytes together */
    unsigned slice_index;
    uint32_t slice_sent;
};

struct conn {
    struct loop *loop;
    int fd;
    uint64_t id;
    const struct conn_context *context;
    void *data;
    struct event read_event;
    struct event write_event;
    struct list lru_link;
    struct list resume_link;
    struct list flush_link;
    struct list close_link;
    int64_t active_us;
    int64_t blocked_since_us; /* 0: the peer takes what we send */
    uint8_t *pending;         /* bytes received and not consumed: [pending_at, pending_length) */
    size_t pending_at;
    size_t pending_length;
    size_t pending_capacity;
    bool reading;
    bool waiting; /* the owner wants the next frame later */
    bool landing; /* the rest of the frame is awaited in the socket */
    bool no_land; /* the frame at hand is buffered after all */
    bool closing;
    bool warming; /* a worker reads ahead for our next slice */
    bool gone;    /* only the worker's reference is left */
    size_t land_rest;
    const char *close_reason;
    struct list slots;
    unsigned slots_open;  /* not filled */
    unsigned slots_total; /* in the queue */
    size_t unsent_bytes;
    struct sockaddr_storage peer;
    char peer_text[64];
    struct worker_job warm_job;
    struct mail warm_mail;
};

static _Atomic uint64_t conn_ids;

static void process_pending(struct conn *conn);
static void flush_conn(struct conn *conn);

/* ---- slots ---- */

static struct response_slot *slot_new(struct loop *loop)
{
    struct response_slot *slot;

    if (loop->slots_free_count == 0)
        return malloc(sizeof *slot);
    slot = CONTAINER_OF(loop->slots_free.next, struct response_slot, link);
    list_remove(&slot->link);
    loop->slots_free_count--;
    return slot;
}

static void release_slices(struct response_slot *slot)
{
    for (unsigned i = slot->slice_index; i < slot->slice_count; i++)
        slot->slices[i].release(slot->slices[i].owner);
    free(slot->slices);
    slot->slices = NULL;
    slot->slice_count = 0;
    slot->slice_index = 0;
}

static void slot_free(struct conn *conn, struct response_slot *slot)
{
    struct loop *loop = conn->loop;

    list_remove(&slot->link);
    conn->slots_total--;
    if (!slot->filled)
        conn->slots_open--;
    release_slices(slot);
    conn->unsent_bytes -= slot->bytes.length;
    buf_free(&slot->bytes);
    if (loop->slots_free_count >= SLOTS_POOLED_MAX) {
        free(slot);
        return;
    }
    list_push_front(&loop->slots_free, &slot->link);
    loop->slots_free_count++;
}

struct response_slot *conn_slot_open(struct conn *conn)
{
    struct response_slot *slot = slot_new(conn->loop);

    if (slot == NULL)
        return NULL;
    *slot = (struct response_slot){.conn = conn};
    list_push_back(&conn->slots, &slot->link);
    conn->slots_open++;
    conn->slots_total++;
    return slot;
}

/* Whether the response queue has room for another answer. */
static bool has_room(const struct conn *conn)
{
    const struct conn_limits *limits = &conn->context->limits;

    return conn->slots_total < limits->slots_max && conn->unsent_bytes <= limits->unsent_bytes_max;
}

static void want_flush(struct conn *conn)
{
    if (list_is_empty(&conn->flush_link) && !conn->closing)
        list_push_back(&conn->loop->to_flush, &conn->flush_link);
}

void conn_resume(struct conn *conn)
{
    if (conn->waiting && list_is_empty(&conn->resume_link) && !conn->closing)
        list_push_back(&conn->loop->to_resume, &conn->resume_link);
}

/* Small slices that are in the page cache are copied behind their header, so that one send carries all.
 * False: nothing has changed, they leave by sendfile. */
static bool inline_slices(struct buf *bytes, const struct response_slice *slices, unsigned count)
{
    uint8_t copy[SLICE_INLINE_BYTES];
    size_t total = 0;
    size_t end = bytes->length; /* of what has not found its place yet */

    for (unsigned i = 0; i < count; i++) {
        /* cppcheck-suppress legacyUninitvar ; preadv2 fills it */
        struct iovec part = {copy + total, slices[i].length_bytes};

        if (slices[i].length_bytes > SLICE_INLINE_BYTES - total ||
            preadv2(slices[i].fd, &part, 1, slices[i].file_position, RWF_NOWAIT) != (ssize_t)part.iov_len)
            return false;
        total += slices[i].length_bytes;
    }
    if (buf_reserve(bytes, total) == NULL)
        return false;
    bytes->length += total;
    for (unsigned i = count; i-- > 0;) { /* from the end, so that every byte moves once */
        size_t position = slices[i].position;

        memmove(bytes->at + position + total, bytes->at + position, end - position);
        total -= slices[i].length_bytes;
        memcpy(bytes->at + position + total, copy + total, slices[i].length_bytes);
        end = position;
    }
    for (unsigned i = 0; i < count; i++)
        slices[i].release(slices[i].owner);
    return true;
}

void conn_slot_send(struct response_slot *slot, struct buf *bytes, const struct response_slice *slices,
                    unsigned slice_count)
{
    struct conn *conn = slot->conn;
    uint64_t length;

    BUG_ON(slot->filled);
    if (slice_count > 0 && inline_slices(bytes, slices, slice_count))
        slice_count = 0;
    if (slice_count > 0) {
        slot->slices = malloc(slice_count * sizeof *slices);
        if (slot->slices == NULL) {
            for (unsigned i = 0; i < slice_count; i++)
                slices[i].release(slices[i].owner);
            conn_close(conn, "out of memory");
            return;
        }
        memcpy(slot->slices, slices, slice_count * sizeof *slices);
        slot->slice_count = slice_count;
    }
    slot->bytes = *bytes;
    buf_init(bytes, bytes->length_max);
    length = slot->bytes.length;
    for (unsigned i = 0; i < slice_count; i++)
        length += slot->slices[i].length_bytes;
    if (length > INT32_MAX) {
        conn_close(conn, "response larger than a frame can be");
        length = 0;
    }
    store_be32(slot->prefix, (uint32_t)length);
    slot->filled = true;
    conn->active_us =
        clock_monotonic_us(conn->loop->clock); /* a long poll that ends is not idle since its start */
    conn->slots_open--;
    conn->unsent_bytes += slot->bytes.length;
    want_flush(conn);
    conn_resume(conn);
}

void conn_slot_skip(struct response_slot *slot)
{
    struct conn *conn = slot->conn;

    slot_free(conn, slot);
    want_flush(conn); /* what waited behind it may go */
    conn_resume(conn);
}

unsigned conn_slots_open(const struct conn *conn)
{
    return conn->slots_open;
}

/* ---- sending ---- */

static size_t memory_end(const struct response_slot *slot)
{
    if (slot->slice_index < slot->slice_count)
        return FRAME_PREFIX_BYTES + slot->slices[slot->slice_index].position;
    return FRAME_PREFIX_BYTES + slot->bytes.length;
}

static bool slot_is_done(const struct response_slot *slot)
{
    return slot->slice_index == slot->slice_count &&
           slot->memory_sent == FRAME_PREFIX_BYTES + slot->bytes.length;
}

/* Adds the slot's next memory to the vector; true when a slice stands in front of anything further. */
static bool gather_slot(const struct response_slot *slot, struct iovec *iov, int *count)
{
    size_t at = slot->memory_sent;
    size_t end = memory_end(slot);

    if (at < FRAME_PREFIX_BYTES) {
        iov[(*count)++] = (struct iovec){(void *)(uintptr_t)(slot->prefix + at), FRAME_PREFIX_BYTES - at};
        at = FRAME_PREFIX_BYTES;
    }
    if (at < end)
        iov[(*count)++] = (struct iovec){slot->bytes.at + (at - FRAME_PREFIX_BYTES), end - at};
    return slot->slice_index < slot->slice_count;
}

static void drop_done_slots(struct conn *conn)
{
    while (!list_is_empty(&conn->slots)) {
        struct response_slot *slot = CONTAINER_OF(conn->slots.next, struct response_slot, link);

        if (!slot->filled || !slot_is_done(slot))
            return;
        slot_free(conn, slot);
    }
}

static void memory_was_sent(struct conn *conn, size_t sent)
{
    LIST_FOR_EACH (link, &conn->slots) {
        struct response_slot *slot = CONTAINER_OF(link, struct response_slot, link);
        size_t here = memory_end(slot) - slot->memory_sent;

        if (here > sent)
            here = sent;
        slot->memory_sent += here;
        sent -= here;
        if (sent == 0)
            return;
    }
}

static void send_failed(struct conn *conn)
{
    bool ordinary = errno == EPIPE || errno == ECONNRESET;

    conn_close(conn, ordinary ? NULL : strerror(errno));
}

static void wait_writable(struct conn *conn)
{
    if (conn->blocked_since_us == 0)
        conn->blocked_since_us = clock_monotonic_us(conn->loop->clock);
    event_add(&conn->write_event, NULL);
}

enum send_result {
    SEND_MORE,  /* go on */
    SEND_PAUSE, /* an event or a worker continues */
    SEND_DONE,  /* nothing left that is filled */
};

static enum send_result send_memory(struct conn *conn)
{
    struct iovec iov[IOVECS_MAX];
    struct msghdr message = {.msg_iov = iov};
    int count = 0;
    bool slice_next = false;
    ssize_t sent;

    LIST_FOR_EACH (link, &conn->slots) {
        const struct response_slot *slot = CONTAINER_OF(link, const struct response_slot, link);

        if (!slot->filled || count + 2 > IOVECS_MAX)
            break;
        slice_next = gather_slot(slot, iov, &count);
        if (slice_next)
            break;
    }
    if (count == 0)
        return slice_next ? SEND_MORE : SEND_DONE;
    message.msg_iovlen = (size_t)count;
    sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | (slice_next ? MSG_MORE : 0));
    if (sent < 0 && errno == EINTR)
        return SEND_MORE;
    if (sent < 0 && errno == EAGAIN) {
        wait_writable(conn);
        return SEND_PAUSE;
    }
    if (sent < 0) {
        send_failed(conn);
        return SEND_PAUSE;
    }
    conn->blocked_since_us = 0;
    memory_was_sent(conn, (size_t)sent);
    return SEND_MORE;
}

/* Whether the next bytes are in the page cache: a hint, eviction can still win. */
static bool is_warm(int fd, int64_t position, size_t length)
{
    for (size_t at = 0; at < length; at += WARM_PROBE_STEP_BYTES) {
        uint8_t byte;
        struct iovec part = {&byte, 1};

        if (preadv2(fd, &part, 1, position + (int64_t)at, RWF_NOWAIT) < 0 && errno == EAGAIN)
            return false;
    }
    return true;
}

static void conn_destroy(struct conn *conn);

static void warm_done(struct mail *mail)
{
    struct conn *conn = CONTAINER_OF(mail, struct conn, warm_mail);

    conn->warming = false;
    if (conn->gone) {
        conn_destroy(conn);
        return;
    }
    want_flush(conn);
}

/* Thread: a worker.  Reading is what surely brings the pages in; the slot cannot change while conn->warming.
 */
static void warm_slice(struct worker_job *job)
{
    struct conn *conn = CONTAINER_OF(job, struct conn, warm_job);
    const struct response_slot *slot = CONTAINER_OF(conn->slots.next, struct response_slot, link);
    const struct response_slice *slice = &slot->slices[slot->slice_index];
    size_t left = slice->length_bytes - slot->slice_sent;
    int64_t position = slice->file_position + slot->slice_sent;
    uint8_t *scratch = malloc(WARM_PROBE_STEP_BYTES);

    if (left > SEND_TURN_BYTES)
        left = SEND_TURN_BYTES;
    readahead(slice->fd, position, left);
    for (size_t at = 0; at < left && scratch != NULL; at += WARM_PROBE_STEP_BYTES) {
        if (pread(slice->fd, scratch, WARM_PROBE_STEP_BYTES, position + (int64_t)at) <= 0)
            break;
    }
    free(scratch);
    loop_post(conn->loop, &conn->warm_mail);
}

static void start_warming(struct conn *conn)
{
    conn->warming = true;
    conn->warm_mail.deliver = warm_done;
    conn->warm_job = (struct worker_job){.run = warm_slice};
    workers_submit(conn->context->workers, &conn->warm_job);
}

static void slice_was_sent(struct response_slot *slot, size_t sent)
{
    struct response_slice *slice = &slot->slices[slot->slice_index];

    slot->slice_sent += (uint32_t)sent;
    if (slot->slice_sent < slice->length_bytes)
        return;
    slice->release(slice->owner);
    slot->slice_index++;
    slot->slice_sent = 0;
}

/* For file systems without sendfile.  The loop's read buffer is free while a connection is flushed. */
static ssize_t send_copy(struct conn *conn, int fd, off_t position, size_t length)
{
    ssize_t got =
        pread(fd, conn->loop->read_buffer, length < LOOP_READ_BYTES ? length : LOOP_READ_BYTES, position);

    return got <= 0 ? got : send(conn->fd, conn->loop->read_buffer, (size_t)got, MSG_NOSIGNAL);
}

static enum send_result send_slice(struct conn *conn, struct response_slot *slot, size_t *budget)
{
    const struct response_slice *slice = &slot->slices[slot->slice_index];
    off_t position = slice->file_position + slot->slice_sent;
    size_t length = slice->length_bytes - slot->slice_sent;
    ssize_t sent;

    if (*budget == 0) { /* others first */
        event_add(&conn->write_event, NULL);
        return SEND_PAUSE;
    }
    if (length > *budget)
        length = *budget;
    if (!slice->hot && !is_warm(slice->fd, position, length)) {
        start_warming(conn);
        return SEND_PAUSE;
    }
    sent = sendfile(conn->fd, slice->fd, &position, length);
    if (sent < 0 && (errno == EINVAL || errno == ENOSYS))
        sent = send_copy(conn, slice->fd, position, length);
    if (sent < 0 && errno == EINTR)
        return SEND_MORE;
    if (sent < 0 && errno == EAGAIN) {
        wait_writable(conn);
        return SEND_PAUSE;
    }
    if (sent < 0) {
        send_failed(conn);
        return SEND_PAUSE;
    }
    if (sent == 0) {
        conn_close(conn, "a segment file is shorter than it was");
        return SEND_PAUSE;
    }
    conn->blocked_since_us = 0;
    *budget -= (size_t)sent;
    slice_was_sent(slot, (size_t)sent);
    return SEND_MORE;
}

static void update_reading(struct conn *conn)
{
    bool wanted = !conn->closing && !conn->waiting && conn->blocked_since_us == 0 && has_room(conn);

    if (wanted == conn->reading)
        return;
    conn->reading = wanted;
    if (wanted)
        event_add(&conn->read_event, NULL);
    else
        event_del(&conn->read_event);
}

static void flush_conn(struct conn *conn)
{
    size_t budget = SEND_TURN_BYTES;
    enum send_result result = SEND_MORE;

    while (result == SEND_MORE && !conn->closing && !conn->warming) {
        struct response_slot *slot;

        drop_done_slots(conn);
        if (list_is_empty(&conn->slots))
            break;
        slot = CONTAINER_OF(conn->slots.next, struct response_slot, link);
        if (!slot->filled)
            break;
        if (slot->memory_sent == memory_end(slot) && slot->slice_index < slot->slice_count)
            result = send_slice(conn, slot, &budget);
        else
            result = send_memory(conn);
    }
    if (conn->closing)
        return;
    if (conn->waiting && has_room(conn))
        conn_resume(conn);
    update_reading(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;

    (void)fd;
    (void)what;
    conn->active_us = clock_monotonic_us(conn->loop->clock);
    flush_conn(conn);
}

/* ---- receiving ---- */

static void drop_pending(struct conn *conn)
{
    free(conn->pending);
    conn->pending = NULL;
    conn->pending_at = 0;
    conn->pending_length = 0;
    conn->pending_capacity = 0;
}

static bool reserve_pending(struct conn *conn, size_t capacity)
{
    uint8_t *grown;

    if (capacity <= conn->pending_capacity)
        return true;
    grown = realloc(conn->pending, capacity);
    if (grown == NULL) {
        conn_close(conn, "out of memory");
        return false;
    }
    conn->pending = grown;
    conn->pending_capacity = capacity;
    return true;
}

/* Keeps what could not be consumed.  `from` may lie in the pending buffer itself. */
static void keep_rest(struct conn *conn, const uint8_t *from, size_t length)
{
    if (conn->closing)
        return;
    if (length == 0) {
        drop_pending(conn);
        return;
    }
    if (conn->pending != NULL && from >= conn->pending && from < conn->pending + conn->pending_capacity) {
        conn->pending_at = (size_t)(from - conn->pending);
        conn->pending_length = conn->pending_at + length;
        return;
    }
    if (!reserve_pending(conn, length))
        return;
    memcpy(conn->pending, from, length);
    conn->pending_at = 0;
    conn->pending_length = length;
}

static const char *guess_peer_protocol(const uint8_t *at)
{
    if (memcmp(at, "GET ", 4) == 0 || memcmp(at, "POST", 4) == 0 || memcmp(at, "HEAD", 4) == 0)
        return "the peer speaks HTTP, this port speaks Kafka's protocol";
    if (at[0] == 0x16 && at[1] == 0x03)
        return "the peer starts TLS, this listener is PLAINTEXT";
    return "frame length negative or over socket.request.max.bytes";
}

/* The rest of a large frame may go straight to where it belongs. */
static void try_land(struct conn *conn, const uint8_t *head, size_t head_length, size_t frame_length)
{
    size_t rest = frame_length - head_length;
    int lowat = rest > INT32_MAX ? INT32_MAX : (int)rest;
    int got = 0;
    socklen_t got_length = sizeof got;

    if (conn->context->owner->on_frame_head == NULL || conn->no_land || rest < LAND_REST_BYTES_MIN ||
        head_length < LAND_HEAD_BYTES_MIN ||
        conn->context->owner->on_frame_head(conn, head, head_length, frame_length) != FRAME_PLAN_LAND)
        return;
    /* The kernel caps it at half of what the socket buffer may grow to: what does not fit never becomes
     * readable. */
    if (setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof lowat) != 0 ||
        getsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &got, &got_length) != 0 || got < lowat) {
        lowat = 1;
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof lowat);
        return;
    }
    conn->landing = true;
    conn->land_rest = rest;
}

/* Offers every whole frame in [at, at + length); what is left is kept. */
static void consume(struct conn *conn, uint8_t *at, size_t length)
{
    const struct conn_context *context = conn->context;

    conn->waiting = false;
    while (!conn->closing && length >= FRAME_PREFIX_BYTES) {
        int32_t frame_length = (int32_t)load_be32(at);
        enum frame_verdict verdict;

        if (frame_length < 0 || frame_length > context->limits.frame_bytes_max) {
            conn_close(conn, guess_peer_protocol(at));
            return;
        }
        if (length - FRAME_PREFIX_BYTES < (size_t)frame_length) {
            try_land(conn, at + FRAME_PREFIX_BYTES, length - FRAME_PREFIX_BYTES, (size_t)frame_length);
            break;
        }
        if (!has_room(conn)) {
            conn->waiting = true;
            break;
        }
        verdict = context->owner->on_frame(conn, at + FRAME_PREFIX_BYTES, (size_t)frame_length);
        if (verdict == FRAME_CLOSE) {
            conn_close(conn, NULL); /* the owner has said why */
            return;
        }
        if (verdict == FRAME_WAIT) {
            conn->waiting = true;
            break;
        }
        conn->no_land = false;
        at += FRAME_PREFIX_BYTES + (size_t)frame_length;
        length -= FRAME_PREFIX_BYTES + (size_t)frame_length;
    }
    keep_rest(conn, at, length);
    if (!conn->closing)
        update_reading(conn);
}

static void process_pending(struct conn *conn)
{
    if (conn->landing) {
        conn->waiting = false;
        update_reading(
            conn); /* the landing is tried again when the socket says readable, which it does at once */
        return;
    }
    consume(conn, conn->pending + conn->pending_at, conn->pending_length - conn->pending_at);
}

/* Bytes still missing of the frame in the pending buffer; 0: its length is not known yet. */
static size_t missing_bytes(const struct conn *conn)
{
    size_t have = conn->pending_length - conn->pending_at;
    size_t frame;

    if (have < FRAME_PREFIX_BYTES)
        return 0;
    frame = FRAME_PREFIX_BYTES + (size_t)load_be32(conn->pending + conn->pending_at);
    return frame > have ? frame - have : 0;
}

/* 0: end of stream or failure, the connection is being closed; negative: nothing now. */
static ssize_t receive(struct conn *conn, void *to, size_t room)
{
    ssize_t got = recv(conn->fd, to, room, 0);

    if (got > 0)
        return got;
    if (got == 0) {
        conn_close(conn, NULL);
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR)
        return -1;
    conn_close(conn, errno == ECONNRESET ? NULL : strerror(errno));
    return 0;
}

/* A large frame: its buffer grows as bytes come, never on the word of its length alone. */
static void receive_large(struct conn *conn, size_t missing)
{
    size_t have = conn->pending_length - conn->pending_at;
    size_t room = have < LOOP_READ_BYTES ? LOOP_READ_BYTES : have;
    ssize_t got;

    if (room > missing)
        room = missing;
    if (conn->pending_at > 0) {
        memmove(conn->pending, conn->pending + conn->pending_at, have);
        conn->pending_at = 0;
        conn->pending_length = have;
    }
    if (conn->pending_capacity - conn->pending_length < room &&
        !reserve_pending(conn, conn->pending_length + room))
        return;
    got = receive(conn, conn->pending + conn->pending_length, room);
    if (got <= 0)
        return;
    conn->pending_length += (size_t)got;
    if ((size_t)got == missing)
        consume(conn, conn->pending, conn->pending_length);
}

static void receive_small(struct conn *conn)
{
    uint8_t *buffer = conn->loop->read_buffer;
    size_t have = conn->pending_length - conn->pending_at;
    ssize_t got;

    if (have > 0)
        memcpy(buffer, conn->pending + conn->pending_at, have);
    got = receive(conn, buffer + have, LOOP_READ_BYTES - have);
    if (got <= 0)
        return;
    consume(conn, buffer, have + (size_t)got);
}

static void stop_landing(struct conn *conn)
{
    int one = 1;

    conn->landing = false;
    setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
}

static void receive_landing(struct conn *conn)
{
    const uint8_t *head = conn->pending + conn->pending_at + FRAME_PREFIX_BYTES;
    size_t head_length = conn->pending_length - conn->pending_at - FRAME_PREFIX_BYTES;
    enum frame_plan plan = FRAME_PLAN_LAND;
    enum frame_verdict verdict;
    int readable = 0;

    if (ioctl(conn->fd, FIONREAD, &readable) != 0 || (size_t)readable < conn->land_rest) {
        stop_landing(conn); /* the peer is closing, or the kernel woke us early: buffer, and learn which */
        conn->no_land = true;
        return;
    }
    verdict = conn->context->owner->on_land(conn, head, head_length, head_length + conn->land_rest, &plan);
    if (conn->closing)
        return;
    if (verdict == FRAME_CLOSE) {
        conn_close(conn, NULL);
    } else if (verdict == FRAME_WAIT) {
        conn->waiting = true;
        update_reading(conn);
    } else {
        stop_landing(conn);
        if (plan == FRAME_PLAN_BUFFER) {
            conn->no_land = true;
            return;
        }
        BUG_ON(conn->land_rest != 0); /* the owner took the frame: all of it */
        drop_pending(conn);
    }
}

enum pst_status conn_receive_rest(struct conn *conn, uint8_t *to, size_t length)
{
    BUG_ON(!conn->landing || length > conn->land_rest);
    conn->land_rest -= length;
    while (length > 0) {
        ssize_t got = recv(conn->fd, to, length, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            conn_close(conn, "the rest of a frame was promised readable and is not");
            return PST_CLOSED;
        }
        to += got;
        length -= (size_t)got;
    }
    return PST_OK;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;
    size_t missing;
    size_t have;

    (void)fd;
    (void)what;
    conn->active_us = clock_monotonic_us(conn->loop->clock);
    list_remove(&conn->lru_link);
    list_push_back(&conn->loop->conns, &conn->lru_link);
    if (conn->landing) {
        receive_landing(conn);
        return;
    }
    missing = missing_bytes(conn);
    have = conn->pending_length - conn->pending_at;
    if (missing + have > LOOP_READ_BYTES || have > GATHER_BYTES_MAX)
        receive_large(conn, missing);
    else
        receive_small(conn);
}

/* ---- life ---- */

static void format_peer(struct conn *conn)
{
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;

    if (conn->peer.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&conn->peer;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        port = ntohs(in->sin_port);
        snprintf(conn->peer_text, sizeof conn->peer_text, "%s:%u", host, port);
    } else if (conn->peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&conn->peer;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        port = ntohs(in6->sin6_port);
        snprintf(conn->peer_text, sizeof conn->peer_text, "[%s]:%u", host, port);
    }
}

void conn_open(struct loop *loop, int fd, const struct sockaddr_storage *peer,
               const struct conn_context *context)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL) {
        close(fd);
        context->on_gone(context->on_gone_arg, peer);
        return;
    }
    conn->loop = loop;
    conn->fd = fd;
    conn->id = atomic_fetch_add(&conn_ids, 1) + 1;
    conn->context = context;
    conn->peer = *peer;
    conn->active_us = clock_monotonic_us(loop->clock);
    format_peer(conn);
    list_init(&conn->slots);
    list_init(&conn->resume_link);
    list_init(&conn->flush_link);
    list_init(&conn->close_link);
    list_push_back(&loop->conns, &conn->lru_link);
    event_assign(&conn->read_event, loop->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->write_event, loop->base, fd, EV_WRITE, on_writable, conn);
    if (loop->idle_timer.node.index == HEAP_NOWHERE)
        loop_timer_start(loop, &loop->idle_timer, IDLE_CHECK_MS);
    update_reading(conn);
    LOG_DEBUG("conn.open", "peer=%s loop=%u", conn->peer_text, loop->index);
}

void conn_close(struct conn *conn, const char *why)
{
    if (conn->closing)
        return;
    conn->closing = true;
    conn->close_reason = why;
    event_del(&conn->read_event);
    event_del(&conn->write_event);
    list_remove(&conn->resume_link);
    list_remove(&conn->flush_link);
    list_push_back(&conn->loop->to_close, &conn->close_link);
}

static void conn_destroy(struct conn *conn)
{
    while (!list_is_empty(&conn->slots))
        slot_free(conn, CONTAINER_OF(conn->slots.next, struct response_slot, link));
    free(conn);
}

static void close_now(struct conn *conn)
{
    list_remove(&conn->close_link);
    list_remove(&conn->lru_link);
    if (conn->close_reason != NULL)
        LOG_WARN("conn.closed", "peer=%s reason=\"%s\"", conn->peer_text, conn->close_reason);
    else
        LOG_DEBUG("conn.closed", "peer=%s", conn->peer_text);
    conn->context->owner->on_close(conn);
    close(conn->fd);
    conn->context->on_gone(conn->context->on_gone_arg, &conn->peer);
    drop_pending(conn);
    if (conn->warming) { /* the worker still reads from the head slot's file */
        conn->gone = true;
        return;
    }
    conn_destroy(conn);
}

#define TURN_ROUNDS_MAX 8 /* then events are looked at again, without waiting */

bool loop_conns_turn_end(struct loop *loop)
{
    for (int round = 0; round < TURN_ROUNDS_MAX; round++) {
        struct list now;

        if (list_is_empty(&loop->to_resume) && list_is_empty(&loop->to_flush))
            break;
        list_init(&now); /* what is there at this moment: a connection may come back in the next round */
        while (!list_is_empty(&loop->to_resume)) {
            struct list *link = loop->to_resume.next;

            list_remove(link);
            list_push_back(&now, link);
        }
        while (!list_is_empty(&now)) {
            struct conn *conn = CONTAINER_OF(now.next, struct conn, resume_link);

            list_remove(&conn->resume_link);
            process_pending(conn);
        }
        if (loop->turn_end != NULL)
            loop->turn_end(loop->turn_end_arg);
        while (!list_is_empty(&loop->to_flush)) {
            struct conn *conn = CONTAINER_OF(loop->to_flush.next, struct conn, flush_link);

            list_remove(&conn->flush_link);
            flush_conn(conn);
        }
    }
    while (!list_is_empty(&loop->to_close))
        close_now(CONTAINER_OF(loop->to_close.next, struct conn, close_link));
    return !list_is_empty(&loop->to_resume) || !list_is_empty(&loop->to_flush);
}

/* Closes who has been silent, or takes nothing, for too long.  A request being served is no silence. */
static void idle_check(struct loop_timer *timer)
{
    struct loop *loop = CONTAINER_OF(timer, struct loop, idle_timer);
    int64_t now_us = clock_monotonic_us(loop->clock);

    LIST_FOR_EACH (link, &loop->conns) {
        struct conn *conn = CONTAINER_OF(link, struct conn, lru_link);
        const struct conn_limits *limits = &conn->context->limits;

        if (conn->blocked_since_us != 0 && now_us - conn->blocked_since_us > limits->send_stall_ms_max * 1000)
            conn_close(conn, "the peer takes no bytes");
        else if (conn->slots_total == 0 && now_us - conn->active_us > limits->idle_ms_max * 1000)
            conn_close(conn, NULL);
    }
    if (!list_is_empty(&loop->conns))
        loop_timer_start(loop, timer, IDLE_CHECK_MS);
}

void loop_conns_init(struct loop *loop)
{
    list_init(&loop->conns);
    list_init(&loop->to_resume);
    list_init(&loop->to_flush);
    list_init(&loop->to_close);
    list_init(&loop->slots_free);
    loop_timer_init(&loop->idle_timer, idle_check);
}

void loop_conns_close_all(struct loop *loop)
{
    LIST_FOR_EACH (link, &loop->conns)
        conn_close(CONTAINER_OF(link, struct conn, lru_link), NULL);
    while (!list_is_empty(&loop->to_close))
        close_now(CONTAINER_OF(loop->to_close.next, struct conn, close_link));
}

void loop_conns_free(struct loop *loop)
{
    LIST_FOR_EACH (link, &loop->slots_free)
        free(CONTAINER_OF(link, struct response_slot, link));
}

void conn_set_data(struct conn *conn, void *data)
{
    conn->data = data;
}

void *conn_data(const struct conn *conn)
{
    return conn->data;
}

void *conn_listener_data(const struct conn *conn)
{
    return conn->context->data;
}

struct loop *conn_loop(const struct conn *conn)
{
    return conn->loop;
}

uint64_t conn_id(const struct conn *conn)
{
    return conn->id;
}

const char *conn_peer(const struct conn *conn)
{
    return conn->peer_text;
}
