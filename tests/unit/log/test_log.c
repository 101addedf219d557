/* Appending to a log, reading it back, rolling, stopping and starting. */
#include "broker/log/segment.h"
#include "tests/support/log_fixture.h"
#include "tests/support/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct batch_spec plain = {.count = 3, .value_bytes = 100, .timestamp_ms = FIXTURE_NOW_MS};

/* ---- what is refused ---- */

enum damage {
    NONE,
    CUT_SHORT,
    BAD_CRC,
    BAD_MAGIC,
    BASE_OFFSET,
    COUNT_TOO_HIGH,
    CONTROL_BIT,
    BAD_CODEC,
    NO_SEQUENCE_WITH_ID,
    TRAILING_BYTE,
};

static void fix_crc(uint8_t *bytes, uint32_t size)
{
    struct record_batch_info info;

    assert_int_equal(record_batch_read_header(bytes, size, &info), PST_OK);
    /* the setter recomputes the CRC */
    record_batch_set_max_timestamp(bytes, size, info.max_timestamp_ms + 1);
    record_batch_set_max_timestamp(bytes, size, info.max_timestamp_ms);
}

static uint32_t damage(uint8_t *bytes, uint32_t size, enum damage kind)
{
    switch (kind) {
    case NONE:
        break;
    case CUT_SHORT:
        return size - 1;
    case BAD_CRC:
        bytes[size - 1] ^= 1;
        break;
    case BAD_MAGIC:
        bytes[16] = 1;
        break;
    case BASE_OFFSET:
        bytes[7] = 5;
        break;
    case COUNT_TOO_HIGH:
        store_be32(bytes + 57, load_be32(bytes + 57) + 1);
        fix_crc(bytes, size);
        break;
    case CONTROL_BIT:
        bytes[22] |= RECORD_BATCH_CONTROL;
        fix_crc(bytes, size);
        break;
    case BAD_CODEC:
        bytes[22] |= 7;
        fix_crc(bytes, size);
        break;
    case NO_SEQUENCE_WITH_ID:
        store_be64(bytes + 43, 7);
        store_be16(bytes + 51, 0);
        fix_crc(bytes, size);
        break;
    case TRAILING_BYTE:
        bytes[61] = (uint8_t)(bytes[61] - 2); /* the first record claims one byte less */
        fix_crc(bytes, size);
        break;
    }
    return size;
}

static void a_bad_batch_gets_the_outcome_kafka_gives_and_leaves_no_trace(void **state)
{
    static const struct {
        const char *what;
        struct batch_spec spec;
        enum damage damage;
        bool compact;
        int64_t max_message_bytes;
        int64_t segment_bytes;
        enum append_outcome outcome;
        int32_t bad_record;
    } rows[] = {
        {"cut short", {3, 10, FIXTURE_NOW_MS}, CUT_SHORT, false, 0, 0, APPEND_CORRUPT, -1},
        {"bad crc", {3, 10, FIXTURE_NOW_MS}, BAD_CRC, false, 0, 0, APPEND_CORRUPT, -1},
        {"magic 1", {3, 10, FIXTURE_NOW_MS}, BAD_MAGIC, false, 0, 0, APPEND_INVALID_RECORD, -1},
        {"base offset 5", {3, 10, FIXTURE_NOW_MS}, BASE_OFFSET, false, 0, 0, APPEND_INVALID_RECORD, -1},
        {"count", {3, 10, FIXTURE_NOW_MS}, COUNT_TOO_HIGH, false, 0, 0, APPEND_INVALID_RECORD, -1},
        {"control", {3, 10, FIXTURE_NOW_MS}, CONTROL_BIT, false, 0, 0, APPEND_INVALID_RECORD, -1},
        {"codec 7", {3, 10, FIXTURE_NOW_MS}, BAD_CODEC, false, 0, 0, APPEND_INVALID_RECORD, -1},
        {"id without sequence",
         {3, 10, FIXTURE_NOW_MS},
         NO_SEQUENCE_WITH_ID,
         false,
         0,
         0,
         APPEND_INVALID_RECORD,
         -1},
        {"record length", {3, 10, FIXTURE_NOW_MS}, TRAILING_BYTE, false, 0, 0, APPEND_INVALID_RECORD, -1},
        {"null key", {3, 10, FIXTURE_NOW_MS, .null_keys = true}, NONE, true, 0, 0, APPEND_INVALID_RECORD, 0},
        {"future", {3, 10, FIXTURE_NOW_MS + 3600000 - 1}, NONE, false, 0, 0, APPEND_INVALID_TIMESTAMP, 2},
        {"message bytes", {3, 100, FIXTURE_NOW_MS}, NONE, false, 200, 0, APPEND_TOO_LARGE, -1},
        {"segment bytes", {3, 100, FIXTURE_NOW_MS}, NONE, false, 0, 200, APPEND_LIST_TOO_LARGE, -1},
        {"zstd, future",
         {3, 10, FIXTURE_NOW_MS + 3600001, .codec = COMPRESS_ZSTD},
         NONE,
         false,
         0,
         0,
         APPEND_INVALID_TIMESTAMP,
         0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct log_fixture fixture;
        struct log_append append;
        uint32_t size;
        uint8_t *bytes = batch_make(&rows[i].spec, &size);

        log_fixture_init(&fixture);
        fixture.config.compact = rows[i].compact;
        if (rows[i].max_message_bytes > 0)
            fixture.config.max_message_bytes = rows[i].max_message_bytes;
        if (rows[i].segment_bytes > 0)
            fixture.config.segment_bytes = rows[i].segment_bytes;
        log_fixture_open(&fixture, true, 0);
        append = log_fixture_append_bytes(&fixture, bytes, damage(bytes, size, rows[i].damage));
        if (append.outcome != rows[i].outcome || append.bad_record != rows[i].bad_record)
            print_error("row \"%s\": outcome %d record %d\n", rows[i].what, append.outcome,
                        append.bad_record);
        assert_int_equal(append.outcome, rows[i].outcome);
        assert_int_equal(append.bad_record, rows[i].bad_record);
        assert_int_equal(append.base_offset, -1);
        assert_int_equal(log_offsets(fixture.log).end, 0);
        assert_int_equal(log_size_bytes(fixture.log), 0);
        free(bytes);
        log_fixture_free(&fixture);
    }
}

static void log_append_time_is_written_into_the_batch_and_its_crc_fits(void **state)
{
    struct log_fixture fixture;
    uint32_t size;
    uint8_t *bytes = batch_make(&plain, &size);
    struct log_append append;
    int64_t offset;
    int64_t timestamp;
    int32_t epoch;

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.log_append_time = true;
    log_fixture_open(&fixture, true, 0);
    manual_clock_advance_ms(&fixture.clock, 5000);
    append = log_fixture_append_bytes(&fixture, bytes, size);
    assert_int_equal(append.outcome, APPEND_OK);
    assert_int_equal(append.append_time_ms, FIXTURE_NOW_MS + 5000);
    assert_int_equal(log_fixture_read_all(&fixture), 3);
    assert_int_equal(log_find_time(fixture.log, FIXTURE_NOW_MS + 5000, 3, &offset, &timestamp, &epoch),
                     PST_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(timestamp, FIXTURE_NOW_MS + 5000);
    free(bytes);
    log_fixture_free(&fixture);
}

static void a_topic_codec_recompresses_and_keeps_the_records(void **state)
{
    struct log_fixture fixture;
    struct batch_spec spec = {.count = 50, .value_bytes = 500, .timestamp_ms = FIXTURE_NOW_MS};
    struct log_slice slice;
    struct record_batch_info info;
    uint8_t header[RECORD_BATCH_HEADER_BYTES];

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.compression_codec = COMPRESS_LZ4;
    log_fixture_open(&fixture, true, 0);
    log_fixture_append(&fixture, &spec);
    assert_int_equal(log_fixture_append(&fixture, &spec), 50);
    assert_int_equal(log_fixture_read_all(&fixture), 100);
    assert_int_equal(log_read(fixture.log, 50, 100, 1 << 20, true, &slice), PST_OK);
    assert_int_equal(pread(slice.fd, header, sizeof header, slice.position_bytes), sizeof header);
    assert_int_equal(record_batch_read_header(header, sizeof header, &info), PST_OK);
    assert_int_equal(info.attributes & RECORD_BATCH_CODEC_MASK, COMPRESS_LZ4);
    assert_true(info.size_bytes < 50 * 500);
    segment_unref(slice.segment);
    log_fixture_free(&fixture);
}

/* ---- reading ---- */

static void every_offset_and_limit_reads_whole_batches_from_the_right_one(void **state)
{
    struct log_fixture fixture;
    struct batch_spec spec = plain;

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 20000;
    fixture.config.index_interval_bytes = 1000;
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 200; i++) {
        spec.value_bytes = (size_t)(i * 13 % 200);
        log_fixture_append(&fixture, &spec);
    }
    assert_int_equal(log_fixture_read_all(&fixture), 600);
    for (int64_t offset = 0; offset < 600; offset += 1 + offset % 5) {
        for (uint32_t limit = 1; limit < 5000; limit = limit * 3 + 7) {
            struct log_slice slice;
            struct record_batch_info info;
            uint8_t header[RECORD_BATCH_HEADER_BYTES];
            int64_t end = offset + 1 + (limit % 90) / 3 * 3;
            enum pst_status status;

            end = (end + 2) / 3 * 3; /* a batch border, as high watermark and last stable offset are */
            if (end > 600)
                end = 600;
            while ((status = log_read(fixture.log, offset, end, limit, true, &slice)) == PST_AGAIN)
                log_read_warm(fixture.log, offset);
            assert_int_equal(status, PST_OK);
            assert_true(slice.length_bytes >= RECORD_BATCH_HEADER_BYTES);
            assert_int_equal(pread(slice.fd, header, sizeof header, slice.position_bytes), sizeof header);
            assert_int_equal(record_batch_read_header(header, sizeof header, &info), PST_OK);
            assert_int_equal(info.base_offset, offset / 3 * 3);
            assert_true(slice.length_bytes <= limit || slice.length_bytes == info.size_bytes);
            segment_unref(slice.segment);
        }
    }
    log_fixture_free(&fixture);
}

static void offsets_outside_are_refused_and_the_end_gives_nothing(void **state)
{
    struct log_fixture fixture;
    struct log_slice slice;

    (void)state;
    log_fixture_init(&fixture);
    log_fixture_open(&fixture, true, 0);
    assert_int_equal(log_read(fixture.log, 0, 0, 100, true, &slice), PST_OK);
    assert_int_equal(slice.length_bytes, 0);
    log_fixture_append(&fixture, &plain);
    assert_int_equal(log_read(fixture.log, -1, 3, 100, true, &slice), PST_OUT_OF_RANGE);
    assert_int_equal(log_read(fixture.log, 4, 3, 100, true, &slice), PST_OUT_OF_RANGE);
    assert_int_equal(log_read(fixture.log, 3, 3, 100, true, &slice), PST_OK);
    assert_int_equal(slice.length_bytes, 0);
    assert_int_equal(log_read(fixture.log, 0, 3, 10, false, &slice), PST_OK);
    assert_int_equal(slice.length_bytes, 0);
    log_fixture_free(&fixture);
}

static void a_slice_stays_readable_after_its_segment_was_given_up(void **state)
{
    struct log_fixture fixture;
    struct log_slice slice;
    uint8_t before[400];
    uint8_t after[400];
    int64_t start;
    enum pst_status status;

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 1000;
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 10; i++)
        log_fixture_append(&fixture, &plain);
    while ((status = log_read(fixture.log, 0, 30, 400, true, &slice)) == PST_AGAIN)
        log_read_warm(fixture.log, 0);
    assert_int_equal(status, PST_OK);
    assert_true(slice.length_bytes <= sizeof before);
    assert_int_equal(pread(slice.fd, before, slice.length_bytes, slice.position_bytes), slice.length_bytes);
    assert_int_equal(log_raise_start(fixture.log, 21, &start), PST_OK);
    assert_int_equal(start, 21);
    assert_false(path_exists(path_in(fixture.path, "00000000000000000000.log")));
    assert_int_equal(pread(slice.fd, after, slice.length_bytes, slice.position_bytes), slice.length_bytes);
    assert_memory_equal(before, after, slice.length_bytes);
    segment_unref(slice.segment);
    assert_int_equal(log_fixture_read_all(&fixture), 9);
    assert_int_equal(log_raise_start(fixture.log, 31, &start), PST_OUT_OF_RANGE);
    log_fixture_free(&fixture);
}

static void a_time_is_found_in_every_segment(void **state)
{
    struct log_fixture fixture;
    int64_t offset;
    int64_t timestamp;
    int32_t epoch;

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 2000;
    fixture.config.index_interval_bytes = 300;
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 30; i++) {
        struct batch_spec spec = plain;

        spec.timestamp_ms = FIXTURE_NOW_MS - 100000 + i * 1000;
        log_fixture_append(&fixture, &spec);
    }
    for (int i = 0; i < 30; i++) {
        int64_t base_ms = FIXTURE_NOW_MS - 100000 + i * 1000;

        assert_int_equal(log_find_time(fixture.log, base_ms + 1, 90, &offset, &timestamp, &epoch), PST_OK);
        assert_int_equal(offset, 3 * i + 1);
        assert_int_equal(timestamp, base_ms + 1);
        if (i < 29) {
            assert_int_equal(log_find_time(fixture.log, base_ms + 3, 90, &offset, &timestamp, &epoch),
                             PST_OK);
            assert_int_equal(offset, 3 * i + 3);
        }
    }
    assert_int_equal(log_find_time(fixture.log, FIXTURE_NOW_MS, 90, &offset, &timestamp, &epoch),
                     PST_NOT_FOUND);
    assert_int_equal(log_raise_start(fixture.log, 4, &offset), PST_OK); /* inside the second batch */
    assert_int_equal(log_find_time(fixture.log, 0, 90, &offset, &timestamp, &epoch), PST_OK);
    assert_int_equal(offset, 4);
    assert_int_equal(log_find_max_time(fixture.log, &offset, &timestamp, &epoch), PST_OK);
    assert_int_equal(offset, 89);
    log_fixture_free(&fixture);
}

/* ---- idempotence ---- */

static void a_retry_gets_its_first_offsets_also_after_a_restart(void **state)
{
    struct log_fixture fixture;
    struct batch_spec spec = {
        .count = 2, .value_bytes = 10, .timestamp_ms = FIXTURE_NOW_MS, .producer_id = 9, .sequence = 0};
    struct log_append append;
    uint32_t size;
    uint8_t *bytes;

    (void)state;
    for (int clean = 0; clean < 2; clean++) {
        log_fixture_init(&fixture);
        log_fixture_open(&fixture, true, 0);
        log_fixture_append(&fixture, &plain);
        spec.sequence = 0;
        assert_int_equal(log_fixture_append(&fixture, &spec), 3);
        bytes = batch_make(&spec, &size);
        append = log_fixture_append_bytes(&fixture, bytes, size);
        assert_int_equal(append.outcome, APPEND_DUPLICATE);
        assert_int_equal(append.base_offset, 3);
        assert_int_equal(append.end_offset, 5);
        log_fixture_close(&fixture);
        log_fixture_open(&fixture, clean != 0, 0);
        assert_int_equal(log_offsets(fixture.log).end, 5);
        append = log_fixture_append_bytes(&fixture, bytes, size);
        assert_int_equal(append.outcome, APPEND_DUPLICATE);
        assert_int_equal(append.base_offset, 3);
        free(bytes);
        spec.sequence = 3; /* 2 is missing */
        bytes = batch_make(&spec, &size);
        append = log_fixture_append_bytes(&fixture, bytes, size);
        assert_int_equal(append.outcome, APPEND_OUT_OF_ORDER_SEQUENCE);
        free(bytes);
        assert_int_equal(log_offsets(fixture.log).end, 5);
        log_fixture_free(&fixture);
    }
}

/* ---- transactions ---- */

static struct log_append append_marker(struct log_fixture *fixture, bool commit)
{
    static const uint8_t value[6] = {0, 0, 0, 0, 0, 3}; /* version, coordinator epoch */
    const uint8_t key[4] = {0, 0, 0, commit};           /* version, type */
    struct record_batch_settings settings = {.compress_level = COMPRESS_LEVEL_DEFAULT,
                                             .attributes = RECORD_BATCH_TRANSACTIONAL | RECORD_BATCH_CONTROL,
                                             .producer_id = 11,
                                             .base_sequence = NO_SEQUENCE,
                                             .size_max = 1000};
    struct record_batch_builder *builder = record_batch_builder_new();
    struct log_append append = {.origin = APPEND_FROM_COORDINATOR};
    struct str batch;

    assert_non_null(builder);
    record_batch_builder_reset(builder, &settings);
    assert_int_equal(record_batch_builder_add(builder, FIXTURE_NOW_MS, str_of_bytes(key, sizeof key),
                                              str_of_bytes(value, sizeof value), NULL, 0),
                     PST_OK);
    assert_int_equal(record_batch_builder_finish(builder, &batch), PST_OK);
    append.bytes = (uint8_t *)(uintptr_t)batch.at;
    append.size_bytes = (uint32_t)batch.length;
    log_append(fixture->log, &append, 1);
    record_batch_builder_free(builder);
    return append;
}

static void append_transactional(struct log_fixture *fixture, int32_t sequence)
{
    struct batch_spec spec = {.count = 3,
                              .value_bytes = 100,
                              .timestamp_ms = FIXTURE_NOW_MS,
                              .producer_id = 11,
                              .sequence = sequence};
    uint32_t size;
    uint8_t *bytes = batch_make(&spec, &size);

    bytes[22] |= RECORD_BATCH_TRANSACTIONAL;
    fix_crc(bytes, size);
    assert_int_equal(log_fixture_append_bytes(fixture, bytes, size).outcome, APPEND_OK);
    free(bytes);
}

static void an_aborted_transaction_is_listed_also_across_segments_and_restarts(void **state)
{
    struct log_fixture fixture;
    struct log_aborted_txn *txns;
    unsigned count;

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 700;
    log_fixture_open(&fixture, true, 0);
    log_fixture_append(&fixture, &plain);
    append_transactional(&fixture, 0); /* 3, 4, 5 */
    assert_int_equal(log_offsets(fixture.log).last_stable, 3);
    log_fixture_append(&fixture, &plain); /* 6, 7, 8 */
    append_transactional(&fixture, 3);    /* 9, 10, 11 */
    assert_int_equal(append_marker(&fixture, false).outcome, APPEND_OK);
    assert_int_equal(log_offsets(fixture.log).last_stable, 13);
    append_transactional(&fixture, 6); /* 13, 14, 15 */
    assert_int_equal(append_marker(&fixture, true).outcome, APPEND_OK);
    assert_int_equal(log_offsets(fixture.log).last_stable, 17);
    for (int restart = 0; restart < 3; restart++) {
        assert_int_equal(log_aborted_txns(fixture.log, 0, 17, &txns, &count), PST_OK);
        assert_int_equal(count, 1);
        assert_int_equal(txns[0].producer_id, 11);
        assert_int_equal(txns[0].first_offset, 3);
        free(txns);
        assert_int_equal(log_aborted_txns(fixture.log, 13, 17, &txns, &count), PST_OK);
        assert_int_equal(count, 0);
        log_fixture_close(&fixture);
        log_fixture_open(&fixture, restart == 0, 0);
        assert_int_equal(log_offsets(fixture.log).last_stable, 17);
    }
    log_fixture_free(&fixture);
}

/* ---- the disk fails ---- */

static void a_full_disk_refuses_the_append_and_later_appends_work(void **state)
{
    struct log_fixture fixture;
    uint32_t size;
    uint8_t *bytes = batch_make(&plain, &size);

    (void)state;
    log_fixture_init(&fixture);
    log_fixture_open(&fixture, true, 0);
    log_fixture_append(&fixture, &plain);
    failing.pwritev_errno = ENOSPC;
    failing.pwritev_partial_bytes = 100;
    assert_int_equal(log_fixture_append_bytes(&fixture, bytes, size).outcome, APPEND_NO_SPACE);
    assert_int_equal(log_offsets(fixture.log).end, 3);
    assert_int_equal(log_fixture_read_all(&fixture), 3);
    assert_false(log_is_offline(fixture.log));
    failing.pwritev_errno = 0;
    assert_int_equal(log_fixture_append(&fixture, &plain), 3);
    assert_int_equal(log_fixture_read_all(&fixture), 6);
    /* and what a failed write left behind the end does not survive the stop */
    failing.pwritev_errno = ENOSPC;
    failing.pwritev_partial_bytes = 100;
    assert_int_equal(log_fixture_append_bytes(&fixture, bytes, size).outcome, APPEND_NO_SPACE);
    failing.pwritev_errno = 0;
    log_fixture_close(&fixture);
    log_fixture_open(&fixture, true, 6);
    assert_int_equal(log_size_bytes(fixture.log), 2 * size);
    assert_int_equal(log_fixture_append(&fixture, &plain), 6);
    free(bytes);
    log_fixture_free(&fixture);
}

static void a_write_error_takes_the_log_offline_for_good(void **state)
{
    struct log_fixture fixture;
    struct log_slice slice;
    uint32_t size;
    uint8_t *bytes = batch_make(&plain, &size);

    (void)state;
    log_fixture_init(&fixture);
    log_fixture_open(&fixture, true, 0);
    log_fixture_append(&fixture, &plain);
    failing.pwritev_errno = EIO;
    assert_int_equal(log_fixture_append_bytes(&fixture, bytes, size).outcome, APPEND_OFFLINE);
    failing.pwritev_errno = 0;
    assert_true(log_is_offline(fixture.log));
    assert_int_equal(log_fixture_append_bytes(&fixture, bytes, size).outcome, APPEND_OFFLINE);
    assert_int_equal(log_read(fixture.log, 0, 3, 100, true, &slice), PST_OFFLINE);
    free(bytes);
    log_fixture_free(&fixture);
}

struct waiting {
    struct log_flush_waiter waiter;
    _Atomic int status; /* -1: not yet */
};

static void flushed(struct log_flush_waiter *waiter, enum pst_status status)
{
    ((struct waiting *)(void *)waiter)->status = (int)status;
}

static int wait_flush(struct log *log, int64_t end_offset)
{
    struct waiting waiting = {.waiter = {.end_offset = end_offset, .done = flushed}, .status = -1};

    log_flush_wait(log, &waiting.waiter);
    while (waiting.status < 0)
        usleep(100);
    return waiting.status;
}

static void a_flush_is_acknowledged_only_when_the_disk_has_it(void **state)
{
    struct log_fixture fixture;
    struct log_append append;
    uint32_t size;
    uint8_t *bytes = batch_make(&plain, &size);

    (void)state;
    log_fixture_init(&fixture);
    fixture.config.flush_messages = 1;
    log_fixture_open(&fixture, true, 0);
    append = log_fixture_append_bytes(&fixture, bytes, size);
    assert_true(append.wait_for_flush);
    assert_int_equal(log_offsets(fixture.log).recovery_point, 0);
    assert_int_equal(wait_flush(fixture.log, append.end_offset), PST_OK);
    assert_true(failing.fdatasync_calls > 0);
    assert_int_equal(log_offsets(fixture.log).recovery_point, 3);
    append = log_fixture_append_bytes(&fixture, bytes, size);
    failing.fdatasync_errno = EIO;
    assert_int_equal(wait_flush(fixture.log, append.end_offset), PST_OFFLINE);
    failing.fdatasync_errno = 0; /* the kernel forgets; we do not */
    assert_int_equal(wait_flush(fixture.log, append.end_offset), PST_OFFLINE);
    assert_int_equal(log_flush(fixture.log), PST_OFFLINE);
    assert_int_equal(log_offsets(fixture.log).recovery_point, 3);
    free(bytes);
    log_fixture_free(&fixture);
}

/* ---- files ---- */

static void indexes_follow_kafkas_rules(void **state)
{
    struct log_fixture fixture;
    struct batch_spec spec = {.count = 2, .value_bytes = 0, .timestamp_ms = FIXTURE_NOW_MS - 1000};
    uint32_t size;
    size_t length;
    char *index;
    char *times;

    (void)state;
    free(batch_make(&spec, &size));
    log_fixture_init(&fixture);
    fixture.config.index_interval_bytes = 2 * size; /* an entry once MORE than two batches lie between */
    log_fixture_open(&fixture, true, 0);
    for (int i = 0; i < 10; i++) {
        spec.timestamp_ms += 10;
        log_fixture_append(&fixture, &spec);
    }
    log_fixture_close(&fixture);
    index = file_get(path_in(fixture.path, "00000000000000000000.index"), &length);
    assert_int_equal(length, 3 * 8);
    for (unsigned i = 0; i < 3; i++) { /* batches 3, 6 and 9: last offset, position of the batch */
        assert_int_equal(load_be32(index + 8 * i), 6 * (i + 1) + 1);
        assert_int_equal(load_be32(index + 8 * i + 4), 3 * (i + 1) * size);
    }
    times = file_get(path_in(fixture.path, "00000000000000000000.timeindex"), &length);
    assert_int_equal(length,
                     3 * 12); /* the last batch is the last entry already: the final one adds nothing */
    assert_int_equal(load_be64(times + 24), FIXTURE_NOW_MS - 1000 + 100 + 1);
    assert_int_equal(load_be32(times + 32), 19);
    free(index);
    free(times);
    log_fixture_free(&fixture);
}

static void segments_roll_by_size_and_by_time(void **state)
{
    struct log_fixture fixture;
    struct batch_spec spec = plain;
    uint32_t size;

    (void)state;
    free(batch_make(&spec, &size));
    log_fixture_init(&fixture);
    fixture.config.segment_bytes = 2 * size;
    fixture.config.segment_ms = 60000;
    log_fixture_open(&fixture, true, 0);
    log_fixture_append(&fixture, &spec);
    log_fixture_append(&fixture, &spec); /* fits exactly */
    assert_false(path_exists(path_in(fixture.path, "00000000000000000006.log")));
    log_fixture_append(&fixture, &spec);
    assert_true(path_exists(path_in(fixture.path, "00000000000000000006.log")));
    spec.timestamp_ms += 60000 + 2;
    log_fixture_append(&fixture, &spec); /* first batch's max is +2, this one's +60004: 60002 ms apart */
    assert_true(path_exists(path_in(fixture.path, "00000000000000000009.log")));
    log_fixture_close(&fixture);
    assert_true(path_exists(path_in(fixture.path, "00000000000000000006.snapshot")));
    assert_true(path_exists(path_in(fixture.path, "00000000000000000012.snapshot")));
    log_fixture_open(&fixture, true, 12);
    assert_int_equal(log_fixture_read_all(&fixture), 12);
    log_fixture_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_batch_gets_the_outcome_kafka_gives_and_leaves_no_trace),
        cmocka_unit_test(log_append_time_is_written_into_the_batch_and_its_crc_fits),
        cmocka_unit_test(a_topic_codec_recompresses_and_keeps_the_records),
        cmocka_unit_test(every_offset_and_limit_reads_whole_batches_from_the_right_one),
        cmocka_unit_test(offsets_outside_are_refused_and_the_end_gives_nothing),
        cmocka_unit_test(a_slice_stays_readable_after_its_segment_was_given_up),
        cmocka_unit_test(a_time_is_found_in_every_segment),
        cmocka_unit_test(a_retry_gets_its_first_offsets_also_after_a_restart),
        cmocka_unit_test(an_aborted_transaction_is_listed_also_across_segments_and_restarts),
        cmocka_unit_test(a_full_disk_refuses_the_append_and_later_appends_work),
        cmocka_unit_test(a_write_error_takes_the_log_offline_for_good),
        cmocka_unit_test(a_flush_is_acknowledged_only_when_the_disk_has_it),
        cmocka_unit_test(indexes_follow_kafkas_rules),
        cmocka_unit_test(segments_roll_by_size_and_by_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
