/* A log in a temporary directory, batches to put into it, and files that fail on demand.  Test code: a
 * failure of its own calls ends the program. */
#ifndef PENSTOCK_TESTS_SUPPORT_LOG_FIXTURE_H
#define PENSTOCK_TESTS_SUPPORT_LOG_FIXTURE_H

#include "broker/log/log.h"
#include "common/clock.h"
#include "protocol/record_batch.h"

#define FIXTURE_NOW_MS INT64_C(1700000000000)

struct log_fixture {
    char *root;
    char path[256]; /* of the partition's directory */
    struct manual_clock clock;
    struct workers *workers;
    struct log_env env;
    struct log_config config;
    struct log *log;
};

/* The environment and Kafka's defaults, no log yet. */
void log_fixture_init(struct log_fixture *fixture);
void log_fixture_open(struct log_fixture *fixture, bool clean, int64_t recovery_point);
void log_fixture_close(struct log_fixture *fixture);
/* Closes what is open and removes everything. */
void log_fixture_free(struct log_fixture *fixture);
/* What a kill leaves: the files as they are, under another name, without anything close would add. */
void log_fixture_crash_copy(const struct log_fixture *fixture, const char *to);

/* A batch of `count` records with values of value_bytes; malloc'ed. */
struct batch_spec {
    int count;
    size_t value_bytes;
    int64_t timestamp_ms; /* of the first record, then one more each */
    int64_t producer_id;  /* 0: none */
    int16_t producer_epoch;
    int32_t sequence;
    enum compress_codec codec;
    bool null_keys;
};
uint8_t *batch_make(const struct batch_spec *spec, uint32_t *ret_size_bytes);

/* Appends a batch of the spec; asserts APPEND_OK; returns the base offset. */
int64_t log_fixture_append(struct log_fixture *fixture, const struct batch_spec *spec);
/* Appends these bytes (copied) as a client would. */
struct log_append log_fixture_append_bytes(struct log_fixture *fixture, const uint8_t *bytes,
                                           uint32_t size_bytes);

/* Every batch from start to end through log_read; fails on any gap.  Returns the number of records. */
int64_t log_fixture_read_all(struct log_fixture *fixture);

/* failing_files: posix_files with these knobs (process-wide; reset by log_fixture_init). */
struct failing {
    _Atomic int pwritev_errno; /* every pwritev fails, after writing pwritev_partial_bytes of it */
    _Atomic int pwritev_partial_bytes;
    _Atomic int fdatasync_errno;
    _Atomic int fallocate_errno;
    _Atomic int populate_errno;
    _Atomic int fdatasync_calls;
    _Atomic int map_calls;
};
extern struct failing failing;
extern const struct file_ops failing_files;

#endif
