/* Record batches, magic 2: the header view, the checks, the walk over records, and the builder.
 *
 * Source of the layout: Kafka's DefaultRecordBatch and DefaultRecord; drawn in protocol/README.md.
 * Thread: none of its own, except that a builder or a walker belongs to its user. */
#ifndef PENSTOCK_PROTOCOL_RECORD_BATCH_H
#define PENSTOCK_PROTOCOL_RECORD_BATCH_H

#include "common/buf.h"
#include "common/bytes.h"
#include "common/compress.h"
#include "common/status.h"
#include "common/str.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct record_batch_header {
    be64_t base_offset;
    be32_t length; /* bytes behind this field */
    be32_t leader_epoch;
    uint8_t magic;
    be32_t crc; /* CRC-32C of everything from `attributes` on */
    be16_t attributes;
    be32_t last_offset_delta;
    be64_t base_timestamp; /* ms; the delete horizon when RECORD_BATCH_DELETE_HORIZON is set */
    be64_t max_timestamp;
    be64_t producer_id;
    be16_t producer_epoch;
    be32_t base_sequence;
    be32_t record_count;
};
static_assert(sizeof(struct record_batch_header) == 61, "on-disk format");
static_assert(offsetof(struct record_batch_header, crc) == 17, "on-disk format");
static_assert(offsetof(struct record_batch_header, attributes) == 21, "on-disk format");

#define RECORD_BATCH_HEADER_BYTES 61u
#define RECORD_BATCH_LOG_OVERHEAD                                                                            \
    12u /* base_offset and length: what stands in front of the counted bytes                                 \
         */
#define RECORD_BATCH_CRC_FROM        21u
#define RECORD_BATCH_MAGIC           2u

#define RECORD_BATCH_CODEC_MASK      0x0007u
#define RECORD_BATCH_LOG_APPEND_TIME 0x0008u
#define RECORD_BATCH_TRANSACTIONAL   0x0010u
#define RECORD_BATCH_CONTROL         0x0020u
#define RECORD_BATCH_DELETE_HORIZON  0x0040u

#define NO_TIMESTAMP                 (-1)
#define NO_PRODUCER_ID               (-1)
#define NO_SEQUENCE                  (-1)

/* The header in host order. */
struct record_batch_info {
    int64_t base_offset;
    int64_t last_offset;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id;
    uint32_t size_bytes; /* of the whole batch: length + 12 */
    int32_t leader_epoch;
    int32_t last_offset_delta;
    int32_t base_sequence;
    int32_t record_count;
    int16_t producer_epoch;
    uint16_t attributes;
    uint32_t crc;
    uint8_t magic;
};

/* Size of the batch that starts at `bytes`, from its first 12 bytes.  PST_TRUNCATED: fewer than 12 are there.
 * PST_CORRUPT: the length field is below what the header needs.  Does not look at the rest. */
MUST_CHECK enum pst_status record_batch_size(const void *bytes, size_t length, uint32_t *ret_size_bytes);

/* Reads the header.  PST_TRUNCATED: fewer than 61 bytes; PST_UNSUPPORTED: magic is not 2 (ret->magic is set);
 * PST_CORRUPT: length field impossible.  No CRC. */
MUST_CHECK enum pst_status record_batch_read_header(const void *bytes, size_t length,
                                                    struct record_batch_info *ret);

/* Whether the CRC fits; the whole batch (info->size_bytes) must be at `bytes`. */
bool record_batch_crc_fits(const void *bytes, size_t size_bytes);

/* In-place patches of a batch that is not published yet. */
void record_batch_set_offsets(void *bytes, int64_t base_offset, int32_t leader_epoch);
/* LogAppendTime: sets the attribute bit and max_timestamp, recomputes the CRC. */
void record_batch_set_append_time(void *bytes, size_t size_bytes, int64_t now_ms);
/* CreateTime: corrects a wrong max_timestamp (and clears the LogAppendTime bit), recomputes the CRC. */
void record_batch_set_max_timestamp(void *bytes, size_t size_bytes, int64_t max_timestamp_ms);

/* ---- walking over records ---- */

struct record_header {
    struct str key;
    struct str value; /* may be null */
};

struct record {
    int64_t offset;
    int64_t timestamp_ms; /* max_timestamp of the batch when its timestamp type is LogAppendTime */
    int32_t sequence;     /* NO_SEQUENCE without a producer id */
    struct str key;       /* may be null */
    struct str value;     /* may be null */
    int32_t header_count;
    struct str raw_headers; /* iterate with record_header_next */
};

struct record_walker;

/* Prepares a walk over the batch (whole, header valid; the CRC is the caller's business).  Compressed batches
 * are inflated into memory of the walker, at most inflated_max bytes (PST_FULL beyond).  PST_CORRUPT: does
 * not inflate. */
MUST_CHECK enum pst_status record_walker_open(const void *bytes, size_t size_bytes, size_t inflated_max,
                                              struct record_walker **ret);
/* PST_OK: *ret is the next record, views valid until close; PST_EOF: no more, and the batch ended exactly
 * there; PST_CORRUPT: malformed record, wrong count, or trailing bytes. */
MUST_CHECK enum pst_status record_walker_next(struct record_walker *walker, struct record *ret);
void record_walker_close(struct record_walker *walker);

/* Steps through record->raw_headers: pass a copy of it; false at its end.  The walker has checked the bytes.
 */
bool record_header_next(struct str *raw_headers, struct record_header *ret);

/* What LogValidator needs to know of the records, found in bounded memory: compressed batches are inflated
 * piece by piece and keys and values are skipped, never stored. */
struct record_batch_survey {
    int64_t max_timestamp_ms; /* NO_TIMESTAMP when no record has one */
    int64_t min_timestamp_ms;
    int64_t offset_of_max_timestamp_delta; /* offset delta of the first record with the largest timestamp */
    int32_t first_null_key;                /* index of the first record without key, -1: none */
    int32_t first_time_outside; /* index of the first record outside [time_min, time_max], -1: none */
};

/* PST_OK, or PST_CORRUPT (malformed, wrong count, offset deltas not 0,1,2..., trailing bytes, does not
 * inflate). `inflated_max` bounds the inflated size (PST_FULL beyond). */
MUST_CHECK enum pst_status record_batch_survey(const void *bytes, size_t size_bytes, size_t inflated_max,
                                               int64_t time_min_ms, int64_t time_max_ms,
                                               struct record_batch_survey *ret);

/* The first record with timestamp >= target_ms: PST_OK, or PST_NOT_FOUND, or PST_CORRUPT/PST_FULL. */
MUST_CHECK enum pst_status record_batch_find_time(const void *bytes, size_t size_bytes, size_t inflated_max,
                                                  int64_t target_ms, int64_t *ret_offset,
                                                  int64_t *ret_timestamp_ms);

/* ---- building ---- */

struct record_batch_builder;

struct record_batch_settings {
    enum compress_codec codec;
    int compress_level;  /* COMPRESS_LEVEL_DEFAULT, or the codec's own */
    uint16_t attributes; /* RECORD_BATCH_TRANSACTIONAL, _CONTROL, _LOG_APPEND_TIME; the codec is added */
    int64_t base_offset;
    int32_t leader_epoch;
    int64_t producer_id; /* NO_PRODUCER_ID: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    size_t size_max; /* bytes of uncompressed batch the builder may hold */
};

/* A builder is reused: reset starts the next batch and keeps the memory.  NULL when memory is out. */
struct record_batch_builder *record_batch_builder_new(void);
void record_batch_builder_free(struct record_batch_builder *builder);
void record_batch_builder_reset(struct record_batch_builder *builder,
                                const struct record_batch_settings *settings);
/* Appends a record with the next offset.  PST_FULL: it does not fit size_max (nothing appended, except that a
 * first record is always taken). */
MUST_CHECK enum pst_status record_batch_builder_add(struct record_batch_builder *builder,
                                                    int64_t timestamp_ms, struct str key, struct str value,
                                                    const struct record_header *headers,
                                                    int32_t header_count);
/* The same with an explicit offset (compaction, recompression): offsets must rise. */
MUST_CHECK enum pst_status record_batch_builder_add_at(struct record_batch_builder *builder, int64_t offset,
                                                       int64_t timestamp_ms, struct str key, struct str value,
                                                       const struct record_header *headers,
                                                       int32_t header_count);
int32_t record_batch_builder_count(const struct record_batch_builder *builder);
/* Bytes of the batch so far, uncompressed, header included. */
size_t record_batch_builder_size(const struct record_batch_builder *builder);
/* Producer identity known only when the batch is closed (idempotent producers). */
void record_batch_builder_set_producer(struct record_batch_builder *builder, int64_t producer_id,
                                       int16_t producer_epoch, int32_t base_sequence);
/* Compresses, writes header and CRC; *ret is valid until the next reset. */
MUST_CHECK enum pst_status record_batch_builder_finish(struct record_batch_builder *builder, struct str *ret);

#endif
