#include "tests/support/log_fixture.h"

#include "tests/support/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct failing failing;

static ssize_t failing_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    struct iovec part = {iov[0].iov_base, (size_t)failing.pwritev_partial_bytes};

    if (failing.pwritev_errno == 0)
        return posix_files.pwritev(fd, iov, count, offset);
    if (part.iov_len > 0) {
        failing.pwritev_partial_bytes = 0;
        return posix_files.pwritev(fd, &part, 1, offset);
    }
    errno = failing.pwritev_errno;
    return -1;
}

static int failing_fdatasync(int fd)
{
    failing.fdatasync_calls++;
    if (failing.fdatasync_errno == 0)
        return posix_files.fdatasync(fd);
    errno = failing.fdatasync_errno;
    return -1;
}

static int failing_fallocate(int fd, int mode, off_t offset, off_t length)
{
    if (failing.fallocate_errno == 0)
        return posix_files.fallocate(fd, mode, offset, length);
    errno = failing.fallocate_errno;
    return -1;
}

static void *failing_map(int fd, off_t offset, size_t length)
{
    failing.map_calls++;
    return posix_files.map(fd, offset, length);
}

static int failing_populate(void *at, size_t length)
{
    if (failing.populate_errno == 0)
        return posix_files.populate(at, length);
    errno = failing.populate_errno;
    return -1;
}

static int real_open(const char *path, int flags, mode_t mode)
{
    return posix_files.open(path, flags, mode);
}

static int real_sync_range(int fd, off_t offset, off_t length)
{
    return posix_files.sync_range(fd, offset, length);
}

const struct file_ops failing_files = {
    .open = real_open,
    .close = close,
    .pwritev = failing_pwritev,
    .fallocate = failing_fallocate,
    .ftruncate = ftruncate,
    .fdatasync = failing_fdatasync,
    .fsync = fsync,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
    .rmdir = rmdir,
    .map = failing_map,
    .unmap = munmap,
    .populate = failing_populate,
    .sync_range = real_sync_range,
};

static void failing_reset(void)
{
    failing.pwritev_errno = 0;
    failing.pwritev_partial_bytes = 0;
    failing.fdatasync_errno = 0;
    failing.fallocate_errno = 0;
    failing.populate_errno = 0;
    failing.fdatasync_calls = 0;
    failing.map_calls = 0;
}

void log_fixture_init(struct log_fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    failing_reset();
    fixture->root = temp_dir_make();
    snprintf(fixture->path, sizeof fixture->path, "%s/topic-0", fixture->root);
    manual_clock_init(&fixture->clock, FIXTURE_NOW_MS);
    assert_int_equal(workers_new("test", 2, &fixture->workers), PST_OK);
    fixture->env = (struct log_env){
        .clock = &fixture->clock.clock,
        .files = &failing_files,
        .workers = fixture->workers,
        .producer_id_expiration_ms = 86400000,
        .map_landing = false,
    };
    fixture->config = (struct log_config){
        .segment_bytes = 1 << 30,
        .segment_ms = INT64_C(604800000),
        .segment_index_bytes = 10485760,
        .index_interval_bytes = 4096,
        .max_message_bytes = 1048588,
        .retention_ms = -1,
        .retention_bytes = -1,
        .flush_messages = INT64_MAX,
        .flush_ms = INT64_MAX,
        .timestamp_before_max_ms = INT64_MAX,
        .timestamp_after_max_ms = 3600000,
        .compression_codec = LOG_COMPRESSION_PRODUCER,
        .compression_level = COMPRESS_LEVEL_DEFAULT,
        .delete_expired = true,
    };
}

void log_fixture_open(struct log_fixture *fixture, bool clean, int64_t recovery_point)
{
    struct log_opening opening = {
        .path = fixture->path, .clean = clean, .recovery_point = recovery_point, .log_start_checkpoint = -1};
    char *text = NULL;

    assert_null(fixture->log);
    assert_int_equal(log_open(&fixture->env, NULL, &opening, &fixture->config, &fixture->log, &text), PST_OK);
    assert_null(text);
}

void log_fixture_close(struct log_fixture *fixture)
{
    struct log *log = fixture->log;

    fixture->log = NULL;
    assert_int_equal(log_close(log), PST_OK);
}

void log_fixture_free(struct log_fixture *fixture)
{
    enum pst_status ignored;

    failing_reset();
    if (fixture->log != NULL)
        ignored = log_close(fixture->log);
    (void)ignored;
    workers_free(fixture->workers);
    temp_dir_remove(fixture->root);
}

void log_fixture_crash_copy(const struct log_fixture *fixture, const char *to)
{
    char command[1024];

    snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'", to, fixture->path, to);
    assert_int_equal(system(command), 0);
}

uint8_t *batch_make(const struct batch_spec *spec, uint32_t *ret_size_bytes)
{
    struct record_batch_settings settings = {
        .codec = spec->codec,
        .compress_level = COMPRESS_LEVEL_DEFAULT,
        .producer_id = spec->producer_id > 0 ? spec->producer_id : NO_PRODUCER_ID,
        .producer_epoch = spec->producer_id > 0 ? spec->producer_epoch : -1,
        .base_sequence = spec->producer_id > 0 ? spec->sequence : NO_SEQUENCE,
        .leader_epoch = -1,
        .size_max = 64u << 20,
    };
    struct record_batch_builder *builder = record_batch_builder_new();
    char *value = malloc(spec->value_bytes + 1);
    struct str batch;
    uint8_t *bytes;

    assert_non_null(builder);
    assert_non_null(value);
    record_batch_builder_reset(builder, &settings);
    for (size_t i = 0; i < spec->value_bytes; i++)
        value[i] = (char)('a' + (i * 7 + (size_t)spec->timestamp_ms) % 26);
    for (int i = 0; i < spec->count; i++)
        assert_int_equal(record_batch_builder_add(builder, spec->timestamp_ms + i,
                                                  spec->null_keys ? (struct str){0} : str_of("key"),
                                                  str_of_bytes(value, spec->value_bytes), NULL, 0),
                         PST_OK);
    assert_int_equal(record_batch_builder_finish(builder, &batch), PST_OK);
    bytes = malloc(batch.length);
    assert_non_null(bytes);
    memcpy(bytes, batch.at, batch.length);
    *ret_size_bytes = (uint32_t)batch.length;
    record_batch_builder_free(builder);
    free(value);
    return bytes;
}

struct log_append log_fixture_append_bytes(struct log_fixture *fixture, const uint8_t *bytes,
                                           uint32_t size_bytes)
{
    uint8_t *copy = malloc(size_bytes);
    struct log_append append = {.bytes = copy, .size_bytes = size_bytes, .origin = APPEND_FROM_CLIENT};

    assert_non_null(copy);
    memcpy(copy, bytes, size_bytes);
    log_append(fixture->log, &append, 1);
    free(copy);
    append.bytes = NULL;
    return append;
}

int64_t log_fixture_append(struct log_fixture *fixture, const struct batch_spec *spec)
{
    uint32_t size;
    uint8_t *bytes = batch_make(spec, &size);
    struct log_append append = log_fixture_append_bytes(fixture, bytes, size);

    free(bytes);
    if (append.outcome != APPEND_OK)
        print_error("append: outcome %d %s\n", append.outcome, append.text == NULL ? "" : append.text);
    assert_int_equal(append.outcome, APPEND_OK);
    return append.base_offset;
}

/* The batches of one slice follow `expected`; returns the offset behind them. */
static int64_t check_slice(const struct log_slice *slice, int64_t expected)
{
    uint8_t *bytes = malloc(slice->length_bytes);
    uint32_t at = 0;

    assert_non_null(bytes);
    assert_int_equal(pread(slice->fd, bytes, slice->length_bytes, slice->position_bytes),
                     slice->length_bytes);
    while (at < slice->length_bytes) {
        struct record_batch_info info;

        assert_int_equal(record_batch_read_header(bytes + at, slice->length_bytes - at, &info), PST_OK);
        assert_true(info.size_bytes <= slice->length_bytes - at);
        assert_true(record_batch_crc_fits(bytes + at, info.size_bytes));
        if (at == 0) /* the log start may lie inside a batch */
            assert_true(info.base_offset <= expected && expected <= info.last_offset);
        else
            assert_int_equal(info.base_offset, expected);
        expected = info.last_offset + 1;
        at += info.size_bytes;
    }
    free(bytes);
    return expected;
}

int64_t log_fixture_read_all(struct log_fixture *fixture)
{
    struct log_offsets offsets = log_offsets(fixture->log);
    int64_t at = offsets.start;

    while (at < offsets.end) {
        struct log_slice slice;
        enum pst_status status = log_read(fixture->log, at, offsets.end, 65536, true, &slice);

        if (status == PST_AGAIN) {
            log_read_warm(fixture->log, at);
            continue;
        }
        assert_int_equal(status, PST_OK);
        assert_true(slice.length_bytes > 0);
        at = check_slice(&slice, at);
        segment_unref(slice.segment);
    }
    return at - offsets.start;
}
