/* Appending, reading, flushing, retaining and raising the start at the same time. */
#include "tests/support/log_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define APPENDS 3000

struct shared {
    struct log_fixture fixture;
    _Atomic bool done;
    _Atomic int64_t read_records;
    _Atomic int flushes;
};

static void *append_many(void *arg)
{
    struct shared *shared = arg;
    struct batch_spec spec = {.count = 2, .value_bytes = 300, .timestamp_ms = FIXTURE_NOW_MS};
    uint32_t size;
    uint8_t *bytes = batch_make(&spec, &size);

    for (int i = 0; i < APPENDS; i++)
        if (log_fixture_append_bytes(&shared->fixture, bytes, size).outcome != APPEND_OK)
            abort();
    free(bytes);
    return NULL;
}

/* Follows the end; whatever it is given starts with the batch it asked for. */
static void *follow(void *arg)
{
    struct shared *shared = arg;
    struct log *log = shared->fixture.log;
    int64_t at = 0;

    while (!shared->done || at < log_offsets(log).end) {
        struct log_offsets offsets = log_offsets(log);
        struct record_batch_info info;
        uint8_t header[RECORD_BATCH_HEADER_BYTES];
        struct log_slice slice;
        enum pst_status status = log_read(log, at, offsets.high_watermark, 2000, true, &slice);

        if (status == PST_OUT_OF_RANGE) {
            at = log_offsets(log).start;
            continue;
        }
        if (status == PST_AGAIN) {
            log_read_warm(log, at);
            continue;
        }
        if (status != PST_OK) {
            print_error("log_read at %lld: %s\n", (long long)at, pst_status_text(status));
            abort();
        }
        if (slice.length_bytes == 0) {
            usleep(50);
            continue;
        }
        if (pread(slice.fd, header, sizeof header, slice.position_bytes) != (ssize_t)sizeof header ||
            record_batch_read_header(header, sizeof header, &info) != PST_OK || info.last_offset < at ||
            info.base_offset > at) {
            print_error("at %lld: batch %lld to %lld\n", (long long)at, (long long)info.base_offset,
                        (long long)info.last_offset);
            abort();
        }
        at = info.last_offset + 1;
        shared->read_records++;
        segment_unref(slice.segment);
    }
    return NULL;
}

static void *look_after(void *arg)
{
    struct shared *shared = arg;
    struct log *log = shared->fixture.log;
    int64_t start;

    while (!shared->done) {
        if (log_flush(log) != PST_OK)
            abort();
        shared->flushes++;
        log_retain(log);
        log_tick(log);
        if (log_raise_start(log, log_offsets(log).high_watermark / 2, &start) != PST_OK)
            abort();
        log_bytes_between(log, start, log_offsets(log).end);
        manual_clock_advance_ms(&shared->fixture.clock, 300);
        usleep(500);
    }
    return NULL;
}

static void everybody_at_once_sees_whole_batches_in_order(void **state)
{
    struct shared shared = {0};
    pthread_t threads[5];

    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        log_fixture_init(&shared.fixture);
        shared.done = false;
        shared.fixture.env.map_landing = mapped != 0;
        shared.fixture.config.segment_bytes = 400000;
        shared.fixture.config.index_interval_bytes = 2000;
        log_fixture_open(&shared.fixture, true, 0);
        assert_int_equal(pthread_create(&threads[0], NULL, append_many, &shared), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, append_many, &shared), 0);
        assert_int_equal(pthread_create(&threads[2], NULL, follow, &shared), 0);
        assert_int_equal(pthread_create(&threads[3], NULL, follow, &shared), 0);
        assert_int_equal(pthread_create(&threads[4], NULL, look_after, &shared), 0);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        shared.done = true;
        for (int i = 2; i < 5; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(log_offsets(shared.fixture.log).end, 2 * 2 * APPENDS);
        assert_true(shared.read_records > 0);
        assert_true(shared.flushes > 0);
        log_fixture_read_all(&shared.fixture);
        log_fixture_close(&shared.fixture);
        log_fixture_open(&shared.fixture, false, 0);
        assert_int_equal(log_offsets(shared.fixture.log).end, 2 * 2 * APPENDS);
        log_fixture_free(&shared.fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_at_once_sees_whole_batches_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
