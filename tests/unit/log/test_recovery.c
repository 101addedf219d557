/* What a crash may leave behind, and what the log makes of it. */
#include "tests/support/log_fixture.h"
#include "tests/support/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct batch_spec plain = {.count = 3, .value_bytes = 20, .timestamp_ms = FIXTURE_NOW_MS};
static const char first_log[] = "00000000000000000000.log";

/* Three batches, stopped cleanly; returns the size of one. */
static uint32_t three_batches(struct log_fixture *fixture)
{
    uint32_t size;

    free(batch_make(&plain, &size));
    log_fixture_init(fixture);
    log_fixture_open(fixture, true, 0);
    for (int i = 0; i < 3; i++)
        log_fixture_append(fixture, &plain);
    log_fixture_close(fixture);
    return size;
}

static void expect_end_and_go_on(struct log_fixture *fixture, int64_t end, int64_t size_bytes)
{
    struct log_fixture *at = fixture;

    assert_int_equal(log_offsets(at->log).end, end);
    assert_int_equal(log_size_bytes(at->log), size_bytes);
    assert_int_equal(log_fixture_read_all(at), end);
    assert_int_equal(log_fixture_append(at, &plain), end);
    assert_int_equal(log_fixture_read_all(at), end + 3);
    log_fixture_close(at);
    log_fixture_open(at, true, end + 3);
    assert_int_equal(log_fixture_read_all(at), end + 3);
    log_fixture_close(at);
}

static void a_tail_torn_at_any_byte_is_cut_to_the_last_whole_batch(void **state)
{
    struct log_fixture fixture;
    uint32_t size = three_batches(&fixture);
    size_t length;
    char *bytes = file_get(path_in(fixture.path, first_log), &length);

    (void)state;
    assert_int_equal(length, 3 * size);
    for (size_t cut = 2 * size; cut < length; cut++) {
        file_put(path_in(fixture.path, first_log), bytes, cut);
        log_fixture_open(&fixture, false, 0);
        expect_end_and_go_on(&fixture, 6, 2 * size);
    }
    free(bytes);
    log_fixture_free(&fixture);
}

static void zeros_and_garbage_behind_the_end_are_cut(void **state)
{
    static const struct {
        int fill;
        size_t length;
    } tails[] = {{0, 1}, {0, 61}, {0, 100000}, {0xff, 16}, {0xff, 70}, {2, 5000}, {0x7f, 300}};
    struct log_fixture fixture;
    uint32_t size = three_batches(&fixture);
    size_t length;
    char *bytes = file_get(path_in(fixture.path, first_log), &length);

    (void)state;
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        char *image = malloc(length + tails[i].length);

        assert_non_null(image);
        memcpy(image, bytes, length);
        memset(image + length, tails[i].fill, tails[i].length);
        file_put(path_in(fixture.path, first_log), image, length + tails[i].length);
        free(image);
        log_fixture_open(&fixture, false, 0);
        expect_end_and_go_on(&fixture, 9, 3 * size);
    }
    free(bytes);
    log_fixture_free(&fixture);
}

static void a_flipped_bit_anywhere_in_a_batch_ends_the_log_before_it(void **state)
{
    struct log_fixture fixture;
    uint32_t size = three_batches(&fixture);
    size_t length;
    char *bytes = file_get(path_in(fixture.path, first_log), &length);

    (void)state;
    for (size_t at = size; at < 2 * size; at++) {
        if (at >= size + 12 && at < size + 16)
            continue; /* the leader epoch: outside the CRC, any rise is legal */
        if (at < size + 8)
            continue; /* the base offset: outside the CRC, tested below */
        bytes[at] ^= 0x10;
        file_put(path_in(fixture.path, first_log), bytes, length);
        log_fixture_open(&fixture, false, 0);
        assert_int_equal(log_offsets(fixture.log).end, 3);
        assert_int_equal(log_size_bytes(fixture.log), size);
        log_fixture_close(&fixture);
        bytes[at] ^= 0x10;
    }
    bytes[size + 7] = 2; /* offset 2 again */
    file_put(path_in(fixture.path, first_log), bytes, length);
    log_fixture_open(&fixture, false, 0);
    assert_int_equal(log_offsets(fixture.log).end, 3);
    free(bytes);
    log_fixture_free(&fixture);
}

static void segments_behind_a_cut_are_dropped(void **state)
{
    struct log_fixture fixture;
    uint32_t size;
    size_t length;
    char *bytes;

    (void)state;
    free(batch_make(&plain, &size));
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 2 * size;
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 6; i++)
        log_fixture_append(&fixture, &plain);
    log_fixture_close(&fixture);
    bytes = file_get(path_in(fixture.path, "00000000000000000006.log"), &length);
    bytes[length - 1] ^= 1;
    file_put(path_in(fixture.path, "00000000000000000006.log"), bytes, length);
    free(bytes);
    log_fixture_open(&fixture, false, 6);
    assert_false(path_exists(path_in(fixture.path, "00000000000000000012.log")));
    assert_false(path_exists(path_in(fixture.path, "00000000000000000018.snapshot")));
    expect_end_and_go_on(&fixture, 9, 3 * size);
    log_fixture_free(&fixture);
}

static void what_lies_below_the_recovery_point_is_trusted(void **state)
{
    struct log_fixture fixture;
    uint32_t size;
    size_t length;
    char *bytes;

    (void)state;
    free(batch_make(&plain, &size));
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 2 * size;
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 6; i++)
        log_fixture_append(&fixture, &plain);
    log_fixture_close(&fixture);
    bytes = file_get(path_in(fixture.path, first_log), &length);
    bytes[length - 1] ^= 1; /* not looked at */
    file_put(path_in(fixture.path, first_log), bytes, length);
    free(bytes);
    log_fixture_open(&fixture, false, 6);
    assert_int_equal(log_offsets(fixture.log).end, 18);
    log_fixture_free(&fixture);
}

static void an_old_message_format_is_refused_and_its_file_left_alone(void **state)
{
    struct log_fixture fixture;
    struct log_opening opening = {.path = fixture.path, .log_start_checkpoint = -1};
    uint8_t old[40] = {0};
    char *text = NULL;
    size_t length;
    char *after;

    (void)state;
    store_be32(old + 8, 28);
    old[16] = 1; /* magic */
    log_fixture_init(&fixture);
    assert_int_equal(posix_files.mkdir(fixture.path, 0755), 0);
    file_put(path_in(fixture.path, first_log), old, sizeof old);
    assert_int_equal(log_open(&fixture.env, NULL, &opening, &fixture.config, &fixture.log, &text),
                     PST_CORRUPT);
    assert_non_null(text);
    assert_non_null(strstr(text, first_log));
    free(text);
    fixture.log = NULL;
    after = file_get(path_in(fixture.path, first_log), &length);
    assert_int_equal(length, sizeof old);
    assert_memory_equal(after, old, sizeof old);
    free(after);
    log_fixture_free(&fixture);
}

static void missing_and_wrong_indexes_are_rebuilt(void **state)
{
    static const char *const suffixes[] = {"00000000000000000000.index", "00000000000000000000.timeindex"};
    static const char zeros[1200];
    struct log_fixture fixture;
    int64_t offset;
    int64_t timestamp;
    int32_t epoch;

    (void)state;
    for (int damage = 0; damage < 3; damage++) {
        for (int clean = 0; clean < 2; clean++) {
            log_fixture_init(&fixture);
            fixture.config.index_interval_bytes = 100;
            fixture.config.segment_bytes = 4000;
            log_fixture_open(&fixture, true, 0);
            for (int i = 0; i < 60; i++)
                log_fixture_append(&fixture, &plain);
            log_fixture_close(&fixture);
            for (int i = 0; i < 2; i++) {
                if (damage == 0)
                    posix_files.unlink(path_in(fixture.path, suffixes[i]));
                else
                    file_put(path_in(fixture.path, suffixes[i]), zeros, damage == 1 ? sizeof zeros : 7);
            }
            log_fixture_open(&fixture, clean != 0, 0);
            assert_int_equal(log_offsets(fixture.log).end, 180);
            assert_int_equal(log_fixture_read_all(&fixture), 180);
            assert_int_equal(log_find_time(fixture.log, FIXTURE_NOW_MS, 180, &offset, &timestamp, &epoch),
                             PST_OK);
            assert_int_equal(offset, 0);
            log_fixture_free(&fixture);
        }
    }
}

static void a_kill_in_the_middle_of_work_loses_nothing_that_was_appended(void **state)
{
    struct log_fixture fixture;
    char copy[sizeof fixture.path];
    char original[sizeof fixture.path];

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 1500;
    fixture.config.index_interval_bytes = 200;
    memcpy(original, fixture.path, sizeof original);
    assert_true(snprintf(copy, sizeof copy, "%s/killed-0", fixture.root) < (int)sizeof copy);
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 40; i++) {
        struct log *running;
        struct batch_spec spec = plain;

        spec.producer_id = 5;
        spec.sequence = 3 * i;
        log_fixture_append(&fixture, &spec);
        log_fixture_crash_copy(&fixture, copy);
        running = fixture.log;
        fixture.log = NULL;
        memcpy(fixture.path, copy, sizeof copy);
        log_fixture_open(&fixture, false, 0);
        assert_int_equal(log_offsets(fixture.log).end, 3 * (i + 1));
        assert_int_equal(log_fixture_read_all(&fixture), 3 * (i + 1));
        spec.sequence = 3 * (i + 1); /* the producer goes on where it was */
        assert_int_equal(log_fixture_append(&fixture, &spec), 3 * (i + 1));
        log_fixture_close(&fixture);
        memcpy(fixture.path, original, sizeof original);
        fixture.log = running;
    }
    log_fixture_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tail_torn_at_any_byte_is_cut_to_the_last_whole_batch),
        cmocka_unit_test(zeros_and_garbage_behind_the_end_are_cut),
        cmocka_unit_test(a_flipped_bit_anywhere_in_a_batch_ends_the_log_before_it),
        cmocka_unit_test(segments_behind_a_cut_are_dropped),
        cmocka_unit_test(what_lies_below_the_recovery_point_is_trusted),
        cmocka_unit_test(an_old_message_format_is_refused_and_its_file_left_alone),
        cmocka_unit_test(missing_and_wrong_indexes_are_rebuilt),
        cmocka_unit_test(a_kill_in_the_middle_of_work_loses_nothing_that_was_appended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
