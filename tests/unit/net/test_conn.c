/* Connections over real sockets on 127.0.0.1, with an owner whose frames say by their first byte what to do.
 */
#include "broker/net/conn.h"
#include "broker/net/listener.h"
#include "common/bytes.h"
#include "common/clock.h"
#include "common/list.h"
#include "common/logger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FRAME_BYTES_MAX  (64 * 1024 * 1024)
#define UNSENT_BYTES_MAX (1024u * 1024)
#define SLOTS_MAX        64u
#define IDLE_MS          60000
#define STALL_MS         30000
#define FILE_BYTES       (3u * 1024 * 1024)
#define HELD_MAX         16u
#define PATIENCE_MS      20000

struct net {
    struct manual_clock clock;
    struct loop *loop;
    struct workers *workers;
    struct listener *listener;
    int file; /* FILE_BYTES of pattern() */
};

/* What the owner has seen.  `held` belongs to the loop. */
static struct seen {
    _Atomic unsigned frames;
    _Atomic unsigned closes;
    _Atomic unsigned heads; /* liked for landing */
    _Atomic unsigned landed;
    _Atomic unsigned released;
    _Atomic unsigned waits;
    _Atomic unsigned big_answers;
    _Atomic bool wait_over;
    struct response_slot *held[HELD_MAX];
    unsigned held_count;
    struct conn *waiting_conn;
} seen;

static struct net net;

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* ---- the owner ---- */

static void count_release(void *owner)
{
    (void)owner;
    seen.released++;
}

static void answer(struct response_slot *slot, const void *bytes, size_t length)
{
    struct buf buf;

    buf_init(&buf, FRAME_BYTES_MAX);
    buf_append(&buf, bytes, length);
    conn_slot_send(slot, &buf, NULL, 0);
    buf_free(&buf);
}

static void answer_sum(struct response_slot *slot, char mark, const uint8_t *bytes, size_t length)
{
    uint8_t sum[9] = {(uint8_t)mark};
    uint64_t total = 0;

    for (size_t i = 0; i < length; i++)
        total = total * 131 + bytes[i];
    store_be64(sum + 1, total);
    answer(slot, sum, sizeof sum);
}

/* "F", hot, position, length: "<<", the range, "><", its first half again, ">>" */
static void answer_file(struct response_slot *slot, const uint8_t *frame)
{
    uint32_t position = load_be32(frame + 2);
    uint32_t length = load_be32(frame + 6);
    struct response_slice slices[2] = {
        {2, net.file, position, length, frame[1] != 0, count_release, NULL},
        {4, net.file, position, length / 2, frame[1] != 0, count_release, NULL},
    };
    struct buf buf;

    buf_init(&buf, FRAME_BYTES_MAX);
    buf_append_text(&buf, "<<><>>");
    conn_slot_send(slot, &buf, slices, length / 2 > 0 ? 2 : 1);
    buf_free(&buf);
}

static void answer_big(struct response_slot *slot, uint32_t length)
{
    struct buf buf;

    buf_init(&buf, FRAME_BYTES_MAX);
    memset(buf_reserve(&buf, length), 'b', length);
    buf.length = length;
    seen.big_answers++;
    conn_slot_send(slot, &buf, NULL, 0);
    buf_free(&buf);
}

static void release_held_backwards(void)
{
    while (seen.held_count > 0) {
        char text[16];
        struct response_slot *slot = seen.held[--seen.held_count];

        answer(slot, text, (size_t)snprintf(text, sizeof text, "held %u", seen.held_count));
    }
}

static enum frame_verdict wait_or_not(struct conn *conn)
{
    if (seen.wait_over)
        return FRAME_TAKEN;
    seen.waiting_conn = conn;
    seen.waits++;
    return FRAME_WAIT;
}

static enum frame_verdict on_frame(struct conn *conn, uint8_t *frame, size_t length)
{
    struct response_slot *slot;

    if (length > 0 && frame[0] == 'W' && wait_or_not(conn) == FRAME_WAIT)
        return FRAME_WAIT;
    seen.frames++;
    if (length > 0 && frame[0] == 'C')
        return FRAME_CLOSE;
    slot = conn_slot_open(conn);
    assert_non_null(slot);
    switch (length == 0 ? 'E' : frame[0]) {
    case 'c':
        conn_close(conn, NULL);
        conn_close(conn, NULL);
        break;
    case 'S':
        conn_slot_skip(slot);
        break;
    case 'D':
        assert_true(seen.held_count < HELD_MAX);
        seen.held[seen.held_count++] = slot;
        break;
    case 'R':
        release_held_backwards();
        answer(slot, "released", 8);
        break;
    case 'F':
        answer_file(slot, frame);
        break;
    case 'B':
        answer_big(slot, load_be32(frame + 1));
        break;
    case 'L':
    case 'l':
        answer_sum(slot, 'b', frame, length);
        break;
    default:
        answer(slot, frame, length);
    }
    return FRAME_TAKEN;
}

static enum frame_plan on_frame_head(struct conn *conn, const uint8_t *head, size_t head_length,
                                     size_t frame_length)
{
    (void)conn;
    assert_true(head_length < frame_length);
    if (memchr("Llwx", head[0], 4) == NULL)
        return FRAME_PLAN_BUFFER;
    seen.heads++;
    return FRAME_PLAN_LAND;
}

/* "L" lands; "l" changes its mind; "w" waits first; "x" closes instead. */
static enum frame_verdict on_land(struct conn *conn, const uint8_t *head, size_t head_length,
                                  size_t frame_length, enum frame_plan *ret_plan)
{
    uint8_t *frame;

    if (head[0] == 'w' && wait_or_not(conn) == FRAME_WAIT)
        return FRAME_WAIT;
    if (head[0] == 'l') {
        *ret_plan = FRAME_PLAN_BUFFER;
        return FRAME_TAKEN;
    }
    if (head[0] == 'x') {
        conn_close(conn, NULL);
        return FRAME_TAKEN;
    }
    frame = malloc(frame_length);
    assert_non_null(frame);
    memcpy(frame, head, head_length);
    if (conn_receive_rest(conn, frame + head_length, 1000) == PST_OK && /* in two parts */
        conn_receive_rest(conn, frame + head_length + 1000, frame_length - head_length - 1000) == PST_OK) {
        seen.landed++;
        answer_sum(conn_slot_open(conn), 'L', frame, frame_length);
    }
    free(frame);
    return FRAME_TAKEN;
}

static void on_close(struct conn *conn)
{
    if (seen.waiting_conn == conn)
        seen.waiting_conn = NULL;
    seen.held_count = 0; /* one test holds slots of one connection only */
    seen.closes++;
}

static const struct conn_owner owner = {on_frame, on_frame_head, on_land, on_close};

/* ---- the fixture ---- */

static int setup_with(uint32_t connections_max, uint32_t per_ip_max)
{
    struct listener_settings settings = {
        .host = "127.0.0.1",
        .backlog = 1024,
        .send_buffer_bytes = -1,
        .receive_buffer_bytes = -1,
        .connections_max = connections_max,
        .connections_per_ip_max = per_ip_max,
        .limits = {FRAME_BYTES_MAX, IDLE_MS, SLOTS_MAX, UNSENT_BYTES_MAX, STALL_MS},
        .owner = &owner,
    };
    char path[] = "/tmp/penstock-test-conn-XXXXXX";
    uint8_t *bytes = malloc(FILE_BYTES);

    memset(&seen, 0, sizeof seen);
    logger_set_level(LOGGER_ERROR);
    manual_clock_init(&net.clock, 0);
    manual_clock_advance_ms(&net.clock, 1000);
    net.file = mkstemp(path);
    assert_true(net.file >= 0);
    unlink(path);
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = pattern(i);
    assert_int_equal(pwrite(net.file, bytes, FILE_BYTES, 0), FILE_BYTES);
    free(bytes);
    assert_int_equal(workers_new("test", 1, &net.workers), PST_OK);
    settings.workers = net.workers;
    assert_int_equal(loop_new(0, &net.clock.clock, &net.loop), PST_OK);
    assert_int_equal(loop_start(net.loop), PST_OK);
    assert_int_equal(listener_open(&settings, &net.loop, 1, &net.listener), PST_OK);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(5000, 5000);
}

static void stop(void)
{
    if (net.loop == NULL)
        return;
    loop_stop(net.loop);
    workers_drain(net.workers);
    assert_int_equal(listener_connections(net.listener), 0);
    listener_close(net.listener);
    loop_free(net.loop);
    workers_free(net.workers);
    close(net.file);
    memset(&net, 0, sizeof net);
}

static int teardown(void **state)
{
    (void)state;
    stop();
    return 0;
}

/* ---- the client side: blocking, with a deadline that fails the test ---- */

static int client_socket(void)
{
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    assert_true(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static void client_connect_fd(int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(listener_port(net.listener))};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
}

static int client_connect(void)
{
    int fd = client_socket();

    client_connect_fd(fd);
    return fd;
}

static void send_all(int fd, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

        assert_true(sent > 0);
        at += sent;
        length -= (size_t)sent;
    }
}

static void send_frame(int fd, const void *bytes, size_t length)
{
    uint8_t prefix[4];

    store_be32(prefix, (uint32_t)length);
    send_all(fd, prefix, sizeof prefix);
    send_all(fd, bytes, length);
}

static void receive_all(int fd, void *to, size_t length)
{
    uint8_t *at = to;

    while (length > 0) {
        ssize_t got = recv(fd, at, length, 0);

        assert_true(got > 0);
        at += got;
        length -= (size_t)got;
    }
}

/* Freed by the caller. */
static uint8_t *receive_frame(int fd, size_t *ret_length)
{
    uint8_t prefix[4];
    uint8_t *bytes;

    receive_all(fd, prefix, sizeof prefix);
    *ret_length = load_be32(prefix);
    assert_true(*ret_length <= FRAME_BYTES_MAX);
    bytes = malloc(*ret_length + 1);
    receive_all(fd, bytes, *ret_length);
    bytes[*ret_length] = 0;
    return bytes;
}

static void expect_frame(int fd, const void *bytes, size_t length)
{
    size_t got_length;
    uint8_t *got = receive_frame(fd, &got_length);

    assert_int_equal(got_length, length);
    assert_memory_equal(got, bytes, length);
    free(got);
}

static void expect_text(int fd, const char *text)
{
    expect_frame(fd, text, strlen(text));
}

static void expect_closed(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    close(fd);
}

static void still_serves(void)
{
    int fd = client_connect();

    send_frame(fd, "Ealive", 6);
    expect_text(fd, "Ealive");
    close(fd);
}

static void wait_until(_Atomic unsigned *count, unsigned value)
{
    for (int ms = 0; *count < value; ms++) {
        assert_true(ms < PATIENCE_MS);
        poll(NULL, 0, 1);
    }
}

struct resume_mail {
    struct mail mail;
    _Atomic unsigned done;
};

static void resume(struct mail *mail)
{
    struct resume_mail *resume_mail = CONTAINER_OF(mail, struct resume_mail, mail);

    if (seen.waiting_conn != NULL)
        conn_resume(seen.waiting_conn);
    resume_mail->done = 1;
}

static void resume_waiting(void)
{
    struct resume_mail mail = {.mail.deliver = resume};

    loop_post(net.loop, &mail.mail);
    wait_until(&mail.done, 1);
}

static uint8_t *body_of(char mark, size_t length)
{
    uint8_t *body = malloc(length);

    for (size_t i = 0; i < length; i++)
        body[i] = pattern(i);
    body[0] = (uint8_t)mark;
    return body;
}

static void expect_sum(int fd, char mark, const uint8_t *bytes, size_t length)
{
    uint8_t sum[9] = {(uint8_t)mark};
    uint64_t total = 0;

    for (size_t i = 0; i < length; i++)
        total = total * 131 + bytes[i];
    store_be64(sum + 1, total);
    expect_frame(fd, sum, sizeof sum);
}

/* ---- bad peers ---- */

static void lengths_that_cannot_be_close_the_connection(void **state)
{
    static const uint8_t starts[][4] = {
        {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0},      {0x04, 0, 0, 1},
        {0x7f, 0xff, 0xff, 0xff}, {'G', 'E', 'T', ' '}, {0x16, 0x03, 1, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        int fd = client_connect();

        send_all(fd, starts[i], sizeof starts[i]);
        expect_closed(fd);
    }
    assert_int_equal(seen.frames, 0);
    still_serves();
}

static size_t address_space_bytes(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void a_claimed_length_takes_no_memory_before_bytes_come(void **state)
{
    static const uint8_t claim[] = {0x03, 0xff, 0xff, 0xff, 'E', 'x'};
    size_t before;
    int fds[16];

    (void)state;
    still_serves();
    before = address_space_bytes();
    for (size_t i = 0; i < 16; i++) {
        fds[i] = client_connect();
        send_all(fds[i], claim, sizeof claim);
    }
    still_serves();
    assert_true(address_space_bytes() < before + FRAME_BYTES_MAX);
    for (size_t i = 0; i < 16; i++)
        close(fds[i]);
    wait_until(&seen.closes, 18);
}

static void a_peer_that_leaves_in_the_middle_of_a_body_holds_nothing(void **state)
{
    static const char marks[] = {'L', 'E'};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *body = body_of(marks[i], 100000);
        uint8_t prefix[4];
        int fd = client_connect();

        store_be32(prefix, 100000);
        send_all(fd, prefix, 4);
        send_all(fd, body, 50000);
        if (marks[i] == 'L')
            wait_until(&seen.heads, 1);
        close(fd);
        free(body);
        wait_until(&seen.closes, i + 1);
    }
    assert_int_equal(seen.landed, 0);
    assert_int_equal(seen.frames, 0);
    still_serves();
}

static void a_peer_that_reads_nothing_stops_being_read_and_is_closed(void **state)
{
    uint8_t frame[5] = {'B'};
    int small = 4096;
    int fd = client_socket();

    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    client_connect_fd(fd);
    store_be32(frame + 1, 100000);
    for (unsigned i = 0; i < 1000; i++)
        send_frame(fd, frame, sizeof frame);
    for (unsigned last = 0; last == 0 || last != seen.big_answers; poll(NULL, 0, 100))
        last = seen.big_answers;
    for (int ms = 0; seen.closes == 0; ms += 10) { /* the check comes once a second */
        assert_true(ms < PATIENCE_MS);
        manual_clock_advance_ms(&net.clock, STALL_MS + 1000);
        poll(NULL, 0, 10);
    }
    assert_true(seen.big_answers < 400); /* one megabyte and what the sockets hold, not 100 MB */
    close(fd);
    still_serves();
}

static void silence_closes_unless_a_request_is_being_served(void **state)
{
    int silent = client_connect();
    int served = client_connect();

    (void)state;
    send_frame(silent, "Eone", 4);
    expect_text(silent, "Eone");
    send_frame(served, "D", 1);
    wait_until(&seen.frames, 2);
    manual_clock_advance_ms(&net.clock, IDLE_MS + 1000);
    expect_closed(silent);
    assert_int_equal(seen.closes, 1);
    close(served);
}

/* ---- frames ---- */

static void frames_split_at_every_byte_arrive_whole(void **state)
{
    uint8_t bytes[64];
    size_t length = 0;
    int fd = client_connect();

    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        store_be32(bytes + length, n * 7);
        memset(bytes + length + 4, 'E', n * 7);
        length += 4 + n * 7;
    }
    for (size_t cut = 1; cut < length; cut++) {
        unsigned frames = seen.frames;

        send_all(fd, bytes, cut);
        if (cut >= 4)
            wait_until(&seen.frames, frames + 1); /* the first part has been read */
        send_all(fd, bytes + cut, length - cut);
        for (unsigned n = 0; n < 3; n++)
            expect_frame(fd, "EEEEEEEEEEEEEE", n * 7);
    }
    for (size_t i = 0; i < length; i++)
        send_all(fd, bytes + i, 1);
    for (unsigned n = 0; n < 3; n++)
        expect_frame(fd, "EEEEEEEEEEEEEE", n * 7);
    close(fd);
}

static void frames_of_every_size_come_back_as_they_went(void **state)
{
    static const size_t lengths[] = {0,      1,      16383,  16384,  32767,  32768,   65536,  131072,
                                     262139, 262140, 262141, 262144, 262145, 1048576, 5000000};
    int fd = client_connect();

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t *body = body_of('E', lengths[i] + 1);

        send_frame(fd, body, lengths[i]);
        send_frame(fd, "Esmall", 6);
        expect_frame(fd, body, lengths[i]);
        expect_text(fd, "Esmall");
        free(body);
    }
    close(fd);
}

static void many_frames_in_one_write_are_all_answered_in_order(void **state)
{
    enum { COUNT = 5000 };
    static uint8_t bytes[COUNT * 9];
    int fd = client_connect();

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        store_be32(bytes + i * 9, 5);
        bytes[i * 9 + 4] = 'E';
        store_be32(bytes + i * 9 + 5, i);
    }
    send_all(fd, bytes, sizeof bytes);
    for (uint32_t i = 0; i < COUNT; i++)
        expect_frame(fd, bytes + i * 9 + 4, 5);
    close(fd);
}

static void answers_leave_in_the_order_of_requests_however_they_are_completed(void **state)
{
    int fd = client_connect();

    (void)state;
    send_frame(fd, "D", 1);
    send_frame(fd, "Ebetween", 8);
    send_frame(fd, "S", 1);
    send_frame(fd, "D", 1);
    send_frame(fd, "S", 1);
    send_frame(fd, "D", 1);
    send_frame(fd, "R", 1);
    expect_text(fd, "held 0");
    expect_text(fd, "Ebetween");
    expect_text(fd, "held 1");
    expect_text(fd, "held 2");
    expect_text(fd, "released");
    close(fd);
}

static void a_frame_that_must_wait_is_offered_again_and_keeps_its_place(void **state)
{
    int fd = client_connect();

    (void)state;
    send_frame(fd, "Ebefore", 7);
    send_frame(fd, "Wait", 4);
    send_frame(fd, "Ebehind", 7);
    expect_text(fd, "Ebefore");
    wait_until(&seen.waits, 1);
    resume_waiting();
    wait_until(&seen.waits, 2);
    assert_int_equal(seen.frames, 1);
    seen.wait_over = true;
    resume_waiting();
    expect_text(fd, "Wait");
    expect_text(fd, "Ebehind");
    close(fd);
}

static void closing_inside_a_callback_drops_what_is_behind(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        unsigned before = seen.frames;
        int fd = client_connect();

        send_all(fd, "\0\0\0\1", 4);
        send_all(fd, i == 0 ? "C\0\0\0\1E" : "c\0\0\0\1E", 6);
        expect_closed(fd);
        assert_int_equal(seen.frames, before + 1);
    }
    still_serves();
}

/* ---- landing ---- */

static void a_large_body_lands_once_all_of_it_is_there(void **state)
{
    static const size_t lengths[] = {20000, 65536, 200000};
    int fd = client_connect();

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t *body = body_of('L', lengths[i]);
        uint8_t prefix[4];

        store_be32(prefix, (uint32_t)lengths[i]);
        send_all(fd, prefix, 4);
        send_all(fd, body, 1000);
        wait_until(&seen.heads, (unsigned)i + 1);
        send_all(fd, body + 1000, lengths[i] / 2);
        still_serves();
        assert_true(seen.landed <= i);
        send_all(fd, body + 1000 + lengths[i] / 2, lengths[i] - 1000 - lengths[i] / 2);
        send_frame(fd, "Eafter", 6);
        expect_sum(fd, 'L', body, lengths[i]);
        expect_text(fd, "Eafter");
        free(body);
    }
    assert_int_equal(seen.landed, 3);
    close(fd);
}

static void a_body_beyond_the_socket_buffer_is_buffered(void **state)
{
    uint8_t *body = body_of('L', 50000000);
    int fd = client_connect();

    (void)state;
    send_frame(fd, body, 50000000);
    expect_sum(fd, 'b', body, 50000000);
    assert_int_equal(seen.landed, 0);
    free(body);
    close(fd);
}

static void landing_may_be_refused_put_off_or_closed(void **state)
{
    uint8_t *body = body_of('l', 60000);
    uint8_t prefix[4];
    int fd = client_connect();

    (void)state;
    store_be32(prefix, 60000);
    send_all(fd, prefix, 4);
    send_all(fd, body, 1000);
    wait_until(&seen.heads, 1);
    send_all(fd, body + 1000, 59000);
    expect_sum(fd, 'b', body, 60000);

    body[0] = 'w';
    send_all(fd, prefix, 4);
    send_all(fd, body, 1000);
    wait_until(&seen.heads, 2);
    send_all(fd, body + 1000, 59000);
    wait_until(&seen.waits, 1);
    seen.wait_over = true;
    resume_waiting();
    expect_sum(fd, 'L', body, 60000);

    body[0] = 'x';
    send_all(fd, prefix, 4);
    send_all(fd, body, 1000);
    wait_until(&seen.heads, 3);
    send_all(fd, body + 1000, 59000);
    expect_closed(fd);
    free(body);
    still_serves();
}

/* ---- files ---- */

static void check_file_answer(int fd, uint32_t position, uint32_t length)
{
    size_t got_length;
    uint8_t *got = receive_frame(fd, &got_length);
    const uint8_t *at = got;

    assert_int_equal(got_length, 6 + length + length / 2);
    assert_memory_equal(at, "<<", 2);
    at += 2;
    for (uint32_t i = 0; i < length; i++)
        assert_true(at[i] == pattern(position + i));
    at += length;
    assert_memory_equal(at, "><", 2);
    at += 2;
    for (uint32_t i = 0; i < length / 2; i++)
        assert_true(at[i] == pattern(position + i));
    assert_memory_equal(at + length / 2, ">>", 2);
    free(got);
}

static void request_file(int fd, bool hot, uint32_t position, uint32_t length)
{
    uint8_t frame[10] = {'F', hot};

    store_be32(frame + 2, position);
    store_be32(frame + 6, length);
    send_frame(fd, frame, sizeof frame);
}

static void file_ranges_arrive_between_their_bytes_hot_or_cold(void **state)
{
    static const uint32_t lengths[] = {1, 2, 100, 2730, 2731, 4096, 4097, 65536, 1048576, 1048577, 2500000};
    int fd = client_connect();
    unsigned expected = 0;

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            if (round == 1) { /* out of the page cache */
                assert_int_equal(fdatasync(net.file), 0);
                assert_int_equal(posix_fadvise(net.file, 0, 0, POSIX_FADV_DONTNEED), 0);
            }
            request_file(fd, round == 0, 4099, lengths[i]);
            send_frame(fd, "Enext", 5);
            check_file_answer(fd, 4099, lengths[i]);
            expect_text(fd, "Enext");
            expected += lengths[i] > 1 ? 2 : 1;
        }
    }
    assert_int_equal(seen.released, expected);
    close(fd);
}

static void a_file_shorter_than_promised_closes_the_connection(void **state)
{
    static const uint32_t lengths[] = {100, 100000};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t byte;
        int fd = client_connect();

        request_file(fd, i == 0, FILE_BYTES - 50, lengths[i]);
        while (recv(fd, &byte, 1, 0) > 0)
            continue;
        close(fd);
        wait_until(&seen.released, 2 * (i + 1));
        assert_int_equal(seen.closes, i + 1);
    }
    still_serves();
}

/* ---- numbers ---- */

static void an_idle_connection_takes_less_than_a_kilobyte(void **state)
{
    enum { COUNT = 1500 };
    static int fds[COUNT];
    struct rlimit limit;
    struct mallinfo2 before;
    struct mallinfo2 after;

    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
    setrlimit(RLIMIT_NOFILE, &limit);
    still_serves();
    before = mallinfo2();
    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = client_connect();
        send_frame(fds[i], "Ehello", 6);
        expect_text(fds[i], "Ehello");
    }
    after = mallinfo2();
    assert_true(after.uordblks < before.uordblks + COUNT * 1024ul);
    for (unsigned i = 0; i < COUNT; i++)
        close(fds[i]);
    wait_until(&seen.closes, COUNT + 1);
}

static void running_out_of_descriptors_delays_connections_only(void **state)
{
    struct rlimit limit;
    struct rlimit tight;
    int fds[8];
    int lowest;

    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    for (unsigned i = 0; i < 8; i++)
        fds[i] = client_socket();
    lowest = dup(0);
    close(lowest);
    tight = limit;
    tight.rlim_cur = (rlim_t)lowest;
    logger_set_fd(-1); /* the line about it is not of interest */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (unsigned i = 0; i < 8; i++) {
        client_connect_fd(fds[i]);
        send_frame(fds[i], "Elate", 5);
    }
    poll(NULL, 0, 150); /* at least one pause passes */
    assert_int_equal(seen.frames, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned i = 0; i < 8; i++) {
        manual_clock_advance_ms(&net.clock, 200);
        expect_text(fds[i], "Elate");
        close(fds[i]);
    }
    logger_set_fd(2);
}

static int setup_few(void **state)
{
    (void)state;
    return setup_with(100, 3);
}

static void connections_over_the_limit_are_closed_until_others_leave(void **state)
{
    int fds[4];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        fds[i] = client_connect();
        send_frame(fds[i], "Ein", 3);
        expect_text(fds[i], "Ein");
    }
    fds[3] = client_connect();
    expect_closed(fds[3]);
    close(fds[0]);
    for (int ms = 0; listener_connections(net.listener) > 2; ms++) {
        assert_true(ms < PATIENCE_MS);
        poll(NULL, 0, 1);
    }
    still_serves();
    close(fds[1]);
    close(fds[2]);
}

static void stopping_ends_everything_under_way(void **state)
{
    uint8_t *body = body_of('L', 100000);
    uint8_t prefix[4];
    int fds[5];

    (void)state;
    for (unsigned i = 0; i < 5; i++)
        fds[i] = client_connect();
    send_frame(fds[0], "D", 1);
    send_frame(fds[1], "Wait", 4);
    store_be32(prefix, 100000);
    send_all(fds[2], prefix, 4);
    send_all(fds[2], body, 50000);
    fdatasync(net.file);
    posix_fadvise(net.file, 0, 0, POSIX_FADV_DONTNEED);
    request_file(fds[3], false, 0, 2000000);
    wait_until(&seen.waits, 1);
    wait_until(&seen.frames, 2);
    stop();
    assert_int_equal(seen.closes, 5);
    assert_int_equal(seen.released, 2);
    for (unsigned i = 0; i < 5; i++)
        close(fds[i]);
    free(body);
}

#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(lengths_that_cannot_be_close_the_connection),
        NET_TEST(a_claimed_length_takes_no_memory_before_bytes_come),
        NET_TEST(a_peer_that_leaves_in_the_middle_of_a_body_holds_nothing),
        NET_TEST(a_peer_that_reads_nothing_stops_being_read_and_is_closed),
        NET_TEST(silence_closes_unless_a_request_is_being_served),
        NET_TEST(frames_split_at_every_byte_arrive_whole),
        NET_TEST(frames_of_every_size_come_back_as_they_went),
        NET_TEST(many_frames_in_one_write_are_all_answered_in_order),
        NET_TEST(answers_leave_in_the_order_of_requests_however_they_are_completed),
        NET_TEST(a_frame_that_must_wait_is_offered_again_and_keeps_its_place),
        NET_TEST(closing_inside_a_callback_drops_what_is_behind),
        NET_TEST(a_large_body_lands_once_all_of_it_is_there),
        NET_TEST(a_body_beyond_the_socket_buffer_is_buffered),
        NET_TEST(landing_may_be_refused_put_off_or_closed),
        NET_TEST(file_ranges_arrive_between_their_bytes_hot_or_cold),
        NET_TEST(a_file_shorter_than_promised_closes_the_connection),
        NET_TEST(an_idle_connection_takes_less_than_a_kilobyte),
        NET_TEST(running_out_of_descriptors_delays_connections_only),
        cmocka_unit_test_setup_teardown(connections_over_the_limit_are_closed_until_others_leave, setup_few,
                                        teardown),
        NET_TEST(stopping_ends_everything_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
