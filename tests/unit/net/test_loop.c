#include "broker/net/listener.h"
#include "broker/net/loop.h"
#include "common/list.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

struct named_timer {
    struct loop_timer timer;
    char name;
};

static struct loop *loop;
static struct named_timer timers[4];
static char expired[8]; /* the loop's until `expired_count` says so */
static _Atomic unsigned expired_count;

static void note(struct loop_timer *timer)
{
    expired[expired_count] = CONTAINER_OF(timer, struct named_timer, timer)->name;
    expired_count++;
}

static void start_timers(struct mail *mail)
{
    static const int64_t delays_ms[] = {60, 20, 40, 0};

    (void)mail;
    assert_true(loop_is_current(loop));
    for (unsigned i = 0; i < 4; i++) {
        timers[i].name = (char)('a' + i);
        loop_timer_init(&timers[i].timer, note);
        loop_timer_stop(loop, &timers[i].timer); /* idle: harmless */
        loop_timer_start(loop, &timers[i].timer, 1);
        loop_timer_start(loop, &timers[i].timer, delays_ms[i]); /* the second start counts */
    }
    loop_timer_stop(loop, &timers[2].timer);
}

static void timers_expire_in_the_order_they_are_due_and_stopped_ones_never(void **state)
{
    struct mail mail = {.deliver = start_timers};

    (void)state;
    assert_int_equal(loop_new(3, &real_clock, &loop), PST_OK);
    assert_int_equal(loop_index(loop), 3);
    assert_false(loop_is_current(loop));
    assert_int_equal(loop_start(loop), PST_OK);
    loop_post(loop, &mail);
    for (int ms = 0; expired_count < 3; ms++) {
        assert_true(ms < PATIENCE_MS);
        poll(NULL, 0, 1);
    }
    loop_stop(loop);
    assert_int_equal(expired_count, 3);
    assert_memory_equal(expired, "dba", 3);
    loop_free(loop);
}

static _Atomic unsigned delivered;

static void count(struct mail *mail)
{
    (void)mail;
    delivered++;
}

static void mail_posted_before_the_stop_is_delivered_by_its_end(void **state)
{
    struct mail mails[50];

    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        delivered = 0;
        assert_int_equal(loop_new(0, &real_clock, &loop), PST_OK);
        assert_int_equal(loop_start(loop), PST_OK);
        for (unsigned i = 0; i < 50; i++) {
            mails[i].deliver = count;
            loop_post(loop, &mails[i]);
        }
        loop_stop(loop);
        assert_int_equal(delivered, 50);
        loop_free(loop);
    }
}

static void a_loop_that_never_started_stops_and_frees(void **state)
{
    (void)state;
    assert_int_equal(loop_new(0, &real_clock, &loop), PST_OK);
    loop_stop(loop);
    loop_free(loop);
    loop_free(NULL);
}

/* ---- listeners ---- */

static _Atomic unsigned frames_on[2];

static enum frame_verdict note_loop(struct conn *conn, uint8_t *frame, size_t length)
{
    struct response_slot *slot = conn_slot_open(conn);
    struct buf buf;

    assert_non_null(slot);
    assert_string_equal(conn_listener_data(conn), "data");
    assert_memory_equal(conn_peer(conn), "127.0.0.1:", 10);
    assert_true(loop_is_current(conn_loop(conn)));
    frames_on[loop_index(conn_loop(conn))]++;
    buf_init(&buf, 100);
    buf_append(&buf, frame, length);
    conn_slot_send(slot, &buf, NULL, 0);
    return FRAME_TAKEN;
}

static void ignore_close(struct conn *conn)
{
    (void)conn;
}

static const struct conn_owner owner = {.on_frame = note_loop, .on_close = ignore_close};

static struct listener_settings settings_for(const char *host, uint16_t port)
{
    return (struct listener_settings){.host = host,
                                      .port = port,
                                      .backlog = 16,
                                      .send_buffer_bytes = -1,
                                      .receive_buffer_bytes = -1,
                                      .congestion = "reno",
                                      .connections_max = 10,
                                      .connections_per_ip_max = 10,
                                      .limits = {1000, 60000, 10, 100000, 30000},
                                      .owner = &owner,
                                      .data = "data"};
}

static void ping(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint8_t got[6];

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, "\0\0\0\2hi", 6, MSG_NOSIGNAL), 6);
    assert_int_equal(recv(fd, got, 6, MSG_WAITALL), 6);
    assert_memory_equal(got, "\0\0\0\2hi", 6);
    close(fd);
}

static void listeners_say_why_they_cannot_and_spread_what_they_accept(void **state)
{
    struct loop *loops[2];
    struct listener_settings settings = settings_for("127.0.0.1", 0);
    struct listener_settings bad;
    struct listener *listener;
    struct listener *second;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(loop_new(i, &real_clock, &loops[i]), PST_OK);
        assert_int_equal(loop_start(loops[i]), PST_OK);
    }
    assert_int_equal(listener_open(&settings, loops, 2, &listener), PST_OK);
    assert_int_not_equal(listener_port(listener), 0);
    bad = settings_for("127.0.0.1", listener_port(listener));
    assert_int_equal(listener_open(&bad, loops, 2, &second), PST_BUSY);
    bad = settings_for("no such host", 0);
    assert_int_equal(listener_open(&bad, loops, 2, &second), PST_NOT_FOUND);
    for (unsigned i = 0; i < 6; i++)
        ping(listener_port(listener));
    assert_int_equal(frames_on[0], 3);
    assert_int_equal(frames_on[1], 3);
    for (unsigned i = 0; i < 2; i++)
        loop_stop(loops[i]);
    assert_int_equal(listener_connections(listener), 0);
    listener_close(listener);
    listener_close(NULL);
    for (unsigned i = 0; i < 2; i++)
        loop_free(loops[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_expire_in_the_order_they_are_due_and_stopped_ones_never),
        cmocka_unit_test(mail_posted_before_the_stop_is_delivered_by_its_end),
        cmocka_unit_test(a_loop_that_never_started_stops_and_frees),
        cmocka_unit_test(listeners_say_why_they_cannot_and_spread_what_they_accept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
