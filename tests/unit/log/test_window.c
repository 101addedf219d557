/* The two landings of an append: written, and mapped. */
#include "tests/support/log_fixture.h"
#include "tests/support/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

static const struct batch_spec large = {.count = 4, .value_bytes = 200000, .timestamp_ms = FIXTURE_NOW_MS};
static const struct batch_spec small = {.count = 4, .value_bytes = 200, .timestamp_ms = FIXTURE_NOW_MS};

/* Appends above the rate that makes a log hot, then waits for its window.  False: none came. */
static bool heat(struct log_fixture *fixture)
{
    uint8_t *at;

    for (int i = 0; i < 5; i++)
        log_fixture_append(fixture, &large);
    manual_clock_advance_ms(&fixture->clock, 300);
    log_fixture_append(fixture, &large);
    for (int i = 0; i < 20000; i++) {
        if (log_land_begin(fixture->log, 900000, &at) == PST_OK) {
            log_land_abort(fixture->log);
            return true;
        }
        usleep(100);
    }
    return false;
}

/* As a loop would: into the tail when it is mapped, by log_append otherwise. */
static struct log_append land(struct log_fixture *fixture, const uint8_t *bytes, uint32_t size,
                              unsigned *landed)
{
    struct log_append append = {.size_bytes = size, .origin = APPEND_FROM_CLIENT};

    if (log_land_begin(fixture->log, size, &append.bytes) != PST_OK)
        return log_fixture_append_bytes(fixture, bytes, size);
    memcpy(append.bytes, bytes, size);
    log_land_commit(fixture->log, &append);
    ++*landed;
    return append;
}

static void expect_same_files(const struct log_fixture *a, const struct log_fixture *b)
{
    static const char *const suffixes[] = {"log", "index", "timeindex"};
    unsigned compared = 0;

    for (int64_t offset = 0; offset < 10000; offset++) {
        for (size_t i = 0; i < 3; i++) {
            char name[64];
            size_t a_length;
            size_t b_length;
            char *a_bytes;
            char *b_bytes;

            snprintf(name, sizeof name, "%020lld.%s", (long long)offset, suffixes[i]);
            assert_int_equal(path_exists(path_in(a->path, name)), path_exists(path_in(b->path, name)));
            if (!path_exists(path_in(a->path, name)))
                continue;
            a_bytes = file_get(path_in(a->path, name), &a_length);
            b_bytes = file_get(path_in(b->path, name), &b_length);
            assert_int_equal(a_length, b_length);
            assert_memory_equal(a_bytes, b_bytes, a_length);
            free(a_bytes);
            free(b_bytes);
            compared++;
        }
    }
    assert_true(compared >= 9);
}

static void both_landings_mixed_leave_the_bytes_of_written_ones_alone(void **state)
{
    struct log_fixture mapped;
    struct log_fixture written;
    unsigned landed = 0;

    (void)state;
    log_fixture_init(&mapped);
    log_fixture_init(&written);
    mapped.config.segment_bytes = written.config.segment_bytes = 12 << 20;
    mapped.env.map_landing = true;
    log_fixture_open(&mapped, true, 0);
    log_fixture_open(&written, true, 0);
    assert_true(heat(&mapped));
    for (int i = 0; i < 6; i++)
        log_fixture_append(&written, &large);
    for (int i = 0; i < 400; i++) {
        struct batch_spec spec = {.count = 1 + i % 5,
                                  .value_bytes = (size_t)(i * 7919 % 60000),
                                  .timestamp_ms = FIXTURE_NOW_MS + i,
                                  .codec = i % 7 == 0 ? COMPRESS_LZ4 : COMPRESS_NONE};
        uint32_t size;
        uint8_t *bytes = batch_make(&spec, &size);
        struct log_append by_write = log_fixture_append_bytes(&written, bytes, size);
        struct log_append append;
        uint8_t *at;

        if (i % 3 == 0)
            append = log_fixture_append_bytes(&mapped, bytes, size);
        else
            append = land(&mapped, bytes, size, &landed);
        assert_int_equal(append.outcome, APPEND_OK);
        assert_int_equal(append.base_offset, by_write.base_offset);
        if (i % 11 == 0 && log_land_begin(mapped.log, size, &at) == PST_OK) { /* a producer that dies */
            memcpy(at, bytes, size / 2);
            log_land_abort(mapped.log);
        }
        if (i % 13 == 0) { /* a refused one: bad CRC */
            bytes[size - 1] ^= 1;
            assert_int_equal(land(&mapped, bytes, size, &landed).outcome, APPEND_CORRUPT);
        }
        free(bytes);
        if (i % 50 == 0)
            assert_int_equal(log_fixture_read_all(&mapped), log_offsets(mapped.log).end);
    }
    assert_true(landed > 50);
    assert_int_equal(log_fixture_read_all(&mapped), log_offsets(written.log).end);
    log_fixture_close(&mapped);
    log_fixture_close(&written);
    expect_same_files(&mapped, &written);
    log_fixture_free(&mapped);
    log_fixture_free(&written);
}

static void a_kill_with_a_mapped_tail_leaves_a_log_that_recovers(void **state)
{
    struct log_fixture fixture;
    struct log *running;
    char original[sizeof fixture.path];
    char copy[sizeof fixture.path];
    uint32_t size;
    uint8_t *bytes = batch_make(&small, &size);
    unsigned landed = 0;
    int64_t end;

    (void)state;
    log_fixture_init(&fixture);
    memcpy(original, fixture.path, sizeof original);
    assert_true(snprintf(copy, sizeof copy, "%s/killed-0", fixture.root) < (int)sizeof copy);
    fixture.env.map_landing = true;
    log_fixture_open(&fixture, true, 0);
    assert_true(heat(&fixture));
    assert_int_equal(land(&fixture, bytes, size, &landed).outcome, APPEND_OK);
    end = log_offsets(fixture.log).end;
    bytes[100] ^= 1;
    assert_int_equal(land(&fixture, bytes, size, &landed).outcome, APPEND_CORRUPT);
    assert_int_equal(landed, 2);
    log_fixture_crash_copy(&fixture, copy);
    running = fixture.log;
    fixture.log = NULL;
    memcpy(fixture.path, copy, sizeof copy);
    log_fixture_open(&fixture, false, 0);
    assert_int_equal(log_offsets(fixture.log).end, end);
    assert_int_equal(log_fixture_read_all(&fixture), end);
    log_fixture_close(&fixture);
    memcpy(fixture.path, original, sizeof original);
    fixture.log = running;
    free(bytes);
    log_fixture_free(&fixture);
}

static void a_quiet_log_gives_its_window_up(void **state)
{
    struct log_fixture fixture;
    bool mapped = true;
    uint8_t *at;

    (void)state;
    log_fixture_init(&fixture);
    fixture.env.map_landing = true;
    log_fixture_open(&fixture, true, 0);
    assert_true(heat(&fixture));
    for (int i = 0; i < 20000 && mapped; i++) {
        manual_clock_advance_ms(&fixture.clock, 1000);
        log_tick(fixture.log);
        mapped = log_land_begin(fixture.log, 1000, &at) == PST_OK;
        if (mapped)
            log_land_abort(fixture.log);
        usleep(100);
    }
    assert_false(mapped);
    log_fixture_append(&fixture, &large);
    assert_int_equal(log_fixture_read_all(&fixture), log_offsets(fixture.log).end);
    log_fixture_free(&fixture);
}

static void nothing_is_mapped_where_it_must_not_be(void **state)
{
    static const char *const why[] = {"switched off", "a durable topic", "fallocate refused",
                                      "populate refused"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct log_fixture fixture;
        uint8_t *at;

        log_fixture_init(&fixture);
        fixture.env.map_landing = i != 0;
        if (i == 1)
            fixture.config.flush_messages = 1;
        if (i == 2)
            failing.fallocate_errno = EOPNOTSUPP;
        if (i == 3)
            failing.populate_errno = EFAULT;
        log_fixture_open(&fixture, true, 0);
        for (int k = 0; k < 12; k++) {
            log_fixture_append(&fixture, &large);
            manual_clock_advance_ms(&fixture.clock, 60);
            usleep(1000);
            if (log_land_begin(fixture.log, 1000, &at) == PST_OK)
                fail_msg("mapped although %s", why[i]);
        }
        assert_int_equal(log_fixture_read_all(&fixture), 48);
        if (i < 2)
            assert_int_equal(failing.map_calls, 0);
        log_fixture_close(&fixture);
        log_fixture_open(&fixture, true, 48);
        assert_int_equal(log_fixture_read_all(&fixture), 48);
        log_fixture_free(&fixture);
    }
}

static void a_disk_that_fills_up_under_a_mapped_tail_refuses_and_recovers(void **state)
{
    struct log_fixture fixture;
    char filler[300];
    unsigned landed = 0;
    uint32_t size;
    uint8_t *bytes = batch_make(&large, &size);
    struct log_append append = {.outcome = APPEND_OK};
    char *block = calloc(1, 16 << 20);
    int64_t end;

    (void)state;
    log_fixture_init(&fixture);
    if (mount("tmpfs", fixture.root, "tmpfs", 0, "size=48m") != 0) {
        print_message("skipped: mounting a small tmpfs is not permitted (%s)\n", strerror(errno));
        free(block);
        free(bytes);
        log_fixture_free(&fixture);
        skip();
    }
    snprintf(filler, sizeof filler, "%s/filler", fixture.root);
    file_put(filler, block, 16 << 20);
    free(block);
    fixture.env.map_landing = true;
    log_fixture_open(&fixture, true, 0);
    assert_true(heat(&fixture));
    for (int i = 0; i < 200 && append.outcome == APPEND_OK; i++) {
        append = land(&fixture, bytes, size, &landed);
        manual_clock_advance_ms(&fixture.clock, 10);
    }
    assert_int_equal(append.outcome, APPEND_NO_SPACE);
    assert_true(landed > 0);
    end = log_offsets(fixture.log).end;
    assert_int_equal(log_fixture_read_all(&fixture), end);
    assert_int_equal(unlink(filler), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(land(&fixture, bytes, size, &landed).outcome, APPEND_OK);
    assert_int_equal(log_fixture_read_all(&fixture), end + 20);
    log_fixture_close(&fixture);
    log_fixture_open(&fixture, true, end + 20);
    assert_int_equal(log_fixture_read_all(&fixture), end + 20);
    log_fixture_close(&fixture);
    assert_int_equal(umount2(fixture.root, MNT_DETACH), 0);
    free(bytes);
    log_fixture_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_landings_mixed_leave_the_bytes_of_written_ones_alone),
        cmocka_unit_test(a_kill_with_a_mapped_tail_leaves_a_log_that_recovers),
        cmocka_unit_test(a_quiet_log_gives_its_window_up),
        cmocka_unit_test(nothing_is_mapped_where_it_must_not_be),
        cmocka_unit_test(a_disk_that_fills_up_under_a_mapped_tail_refuses_and_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
