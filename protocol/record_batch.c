#include "protocol/record_batch.h"

#include "common/bug.h"
#include "common/crc32c.h"
#include "common/varint.h"

#include <stdlib.h>

enum pst_status record_batch_size(const void *bytes, size_t length, uint32_t *ret_size_bytes)
{
    uint32_t counted;

    if (length < RECORD_BATCH_LOG_OVERHEAD)
        return PST_TRUNCATED;
    counted = load_be32((const uint8_t *)bytes + 8);
    if (counted < RECORD_BATCH_HEADER_BYTES - RECORD_BATCH_LOG_OVERHEAD ||
        counted > INT32_MAX - RECORD_BATCH_LOG_OVERHEAD)
        return PST_CORRUPT;
    *ret_size_bytes = counted + RECORD_BATCH_LOG_OVERHEAD;
    return PST_OK;
}

enum pst_status record_batch_read_header(const void *bytes, size_t length, struct record_batch_info *ret)
{
    const struct record_batch_header *header = bytes;
    struct record_batch_info info;
    enum pst_status status;

    if (length < RECORD_BATCH_LOG_OVERHEAD + 5) /* up to the magic, where all formats agree */
        return PST_TRUNCATED;
    ret->magic = header->magic;
    if (header->magic != RECORD_BATCH_MAGIC)
        return PST_UNSUPPORTED;
    if (length < RECORD_BATCH_HEADER_BYTES)
        return PST_TRUNCATED;
    status = record_batch_size(bytes, length, &info.size_bytes);
    if (status != PST_OK)
        return status;
    info.magic = header->magic;
    info.base_offset = (int64_t)load_be64(header->base_offset.bytes);
    info.leader_epoch = (int32_t)load_be32(header->leader_epoch.bytes);
    info.crc = load_be32(header->crc.bytes);
    info.attributes = load_be16(header->attributes.bytes);
    info.last_offset_delta = (int32_t)load_be32(header->last_offset_delta.bytes);
    info.last_offset = info.base_offset + info.last_offset_delta;
    info.base_timestamp_ms = (int64_t)load_be64(header->base_timestamp.bytes);
    info.max_timestamp_ms = (int64_t)load_be64(header->max_timestamp.bytes);
    info.producer_id = (int64_t)load_be64(header->producer_id.bytes);
    info.producer_epoch = (int16_t)load_be16(header->producer_epoch.bytes);
    info.base_sequence = (int32_t)load_be32(header->base_sequence.bytes);
    info.record_count = (int32_t)load_be32(header->record_count.bytes);
    *ret = info;
    return PST_OK;
}

static uint32_t batch_crc(const void *bytes, size_t size_bytes)
{
    return crc32c(0, (const uint8_t *)bytes + RECORD_BATCH_CRC_FROM, size_bytes - RECORD_BATCH_CRC_FROM);
}

bool record_batch_crc_fits(const void *bytes, size_t size_bytes)
{
    const struct record_batch_header *header = bytes;

    return batch_crc(bytes, size_bytes) == load_be32(header->crc.bytes);
}

void record_batch_set_offsets(void *bytes, int64_t base_offset, int32_t leader_epoch)
{
    struct record_batch_header *header = bytes;

    store_be64(header->base_offset.bytes, (uint64_t)base_offset);
    store_be32(header->leader_epoch.bytes, (uint32_t)leader_epoch);
}

static void set_time(void *bytes, size_t size_bytes, uint16_t attributes, int64_t max_timestamp_ms)
{
    struct record_batch_header *header = bytes;

    store_be16(header->attributes.bytes, attributes);
    store_be64(header->max_timestamp.bytes, (uint64_t)max_timestamp_ms);
    store_be32(header->crc.bytes, batch_crc(bytes, size_bytes));
}

void record_batch_set_append_time(void *bytes, size_t size_bytes, int64_t now_ms)
{
    const struct record_batch_header *header = bytes;

    set_time(bytes, size_bytes, load_be16(header->attributes.bytes) | RECORD_BATCH_LOG_APPEND_TIME, now_ms);
}

void record_batch_set_max_timestamp(void *bytes, size_t size_bytes, int64_t max_timestamp_ms)
{
    const struct record_batch_header *header = bytes;

    set_time(bytes, size_bytes,
             (uint16_t)(load_be16(header->attributes.bytes) & ~RECORD_BATCH_LOG_APPEND_TIME),
             max_timestamp_ms);
}

/* ---- reading records, from memory or piece by piece ---- */

/* Bytes of records in order: all in memory, or inflated into a window.  Failure is sticky. */
struct record_source {
    const uint8_t *at;
    const uint8_t *end;
    struct decompressor *decompressor; /* NULL: everything is in [at, end) */
    uint8_t *window;
    size_t inflated_left; /* of the bound */
    enum pst_status status;
};

#define WINDOW_BYTES 65536u

static void source_fail(struct record_source *source, enum pst_status status)
{
    if (source->status == PST_OK)
        source->status = status;
    source->at = source->end;
}

/* More bytes into an empty window; false at the end or on failure. */
static bool source_refill(struct record_source *source)
{
    enum pst_status status;
    size_t length;

    if (source->decompressor == NULL || source->status != PST_OK)
        return false;
    status = decompressor_read(source->decompressor, source->window, WINDOW_BYTES, &length);
    if (status == PST_EOF)
        return false;
    if (status == PST_OK && length > source->inflated_left)
        status = PST_FULL;
    if (status != PST_OK) {
        source_fail(source, status == PST_UNSUPPORTED ? PST_CORRUPT : status);
        return false;
    }
    source->inflated_left -= length;
    source->at = source->window;
    source->end = source->window + length;
    return true;
}

static uint8_t source_byte(struct record_source *source)
{
    if (source->at == source->end && !source_refill(source)) {
        source_fail(source, PST_CORRUPT);
        return 0;
    }
    return *source->at++;
}

static int64_t source_varint(struct record_source *source, size_t bytes_max)
{
    uint64_t v = 0;

    if ((size_t)(source->end - source->at) >= bytes_max) {
        size_t n = uvarint_load(source->at, source->end, bytes_max, &v);

        if (n == 0)
            source_fail(source, PST_CORRUPT);
        else
            source->at += n;
        return zigzag_decode(v);
    }
    for (size_t n = 0; n < bytes_max; n++) {
        uint8_t byte = source_byte(source);

        v |= (uint64_t)(byte & 0x7f) << (7 * n);
        if (byte < 0x80)
            return zigzag_decode(v);
    }
    source_fail(source, PST_CORRUPT);
    return 0;
}

static void source_skip(struct record_source *source, size_t length)
{
    while (length > 0) {
        size_t here = (size_t)(source->end - source->at);

        if (here == 0) {
            if (!source_refill(source)) {
                source_fail(source, PST_CORRUPT);
                return;
            }
            continue;
        }
        if (here > length)
            here = length;
        source->at += here;
        length -= here;
    }
}

static bool source_at_end(struct record_source *source)
{
    return source->at == source->end && !source_refill(source) && source->status == PST_OK;
}

static enum compress_codec codec_of(const struct record_batch_info *info)
{
    return (enum compress_codec)(info->attributes & RECORD_BATCH_CODEC_MASK);
}

static void source_close(struct record_source *source)
{
    decompressor_close(source->decompressor);
    free(source->window);
}

static enum pst_status source_open(const void *bytes, const struct record_batch_info *info,
                                   size_t inflated_max, struct record_source *source)
{
    struct str body = str_of_bytes((const uint8_t *)bytes + RECORD_BATCH_HEADER_BYTES,
                                   info->size_bytes - RECORD_BATCH_HEADER_BYTES);
    enum pst_status status;

    *source = (struct record_source){.status = PST_OK, .inflated_left = inflated_max};
    if (codec_of(info) == COMPRESS_NONE) {
        source->at = (const uint8_t *)body.at;
        source->end = source->at + body.length;
        return PST_OK;
    }
    source->window = malloc(WINDOW_BYTES);
    if (source->window == NULL)
        return PST_NOMEM;
    source->at = source->window;
    source->end = source->window;
    status = decompressor_open(codec_of(info), body, &source->decompressor);
    if (status != PST_OK) {
        source_close(source);
        return status == PST_UNSUPPORTED ? PST_CORRUPT : status;
    }
    return PST_OK;
}

/* One record without its contents. */
struct record_outline {
    int64_t timestamp_delta;
    int32_t offset_delta;
    bool has_key;
};

static int32_t read_size(struct record_source *source, int32_t min, int64_t *left)
{
    int64_t size = source_varint(source, VARINT32_BYTES_MAX);

    *left -= (int64_t)uvarint_size(zigzag_encode(size));
    if (size < min || size > *left) {
        source_fail(source, PST_CORRUPT);
        return 0;
    }
    return (int32_t)size;
}

static void skip_part(struct record_source *source, int32_t size, int64_t *left)
{
    if (size <= 0)
        return;
    source_skip(source, (size_t)size);
    *left -= size;
}

static void skip_headers(struct record_source *source, int64_t *left)
{
    int32_t count =
        read_size(source, 0, left); /* a header takes two bytes at least: bounded by what is left */

    while (count-- > 0 && source->status == PST_OK) {
        skip_part(source, read_size(source, 0, left), left);
        skip_part(source, read_size(source, -1, left), left);
    }
}

/* Reads past one record, checking its own lengths.  Over-long varints are taken as Kafka takes them: by
 * value. */
static void read_outline(struct record_source *source, struct record_outline *ret)
{
    int64_t left = source_varint(source, VARINT32_BYTES_MAX);
    int64_t timestamp_delta;
    int64_t offset_delta;
    int32_t key;

    source_byte(source); /* attributes, unused */
    timestamp_delta = source_varint(source, VARINT_BYTES_MAX);
    offset_delta = source_varint(source, VARINT32_BYTES_MAX);
    left -= 1 + (int64_t)uvarint_size(zigzag_encode(timestamp_delta)) +
            (int64_t)uvarint_size(zigzag_encode(offset_delta));
    key = read_size(source, -1, &left);
    ret->timestamp_delta = timestamp_delta;
    ret->offset_delta = (int32_t)offset_delta;
    ret->has_key = key >= 0;
    skip_part(source, key, &left);
    skip_part(source, read_size(source, -1, &left), &left);
    skip_headers(source, &left);
    if (left != 0)
        source_fail(source, PST_CORRUPT);
}

static int64_t timestamp_of(const struct record_batch_info *info, int64_t delta)
{
    if ((info->attributes & RECORD_BATCH_LOG_APPEND_TIME) != 0)
        return info->max_timestamp_ms;
    return (int64_t)((uint64_t)info->base_timestamp_ms + (uint64_t)delta);
}

static void survey_record(struct record_batch_survey *survey, const struct record_outline *outline,
                          int32_t index, int64_t timestamp_ms, int64_t time_min_ms, int64_t time_max_ms)
{
    if (!outline->has_key && survey->first_null_key < 0)
        survey->first_null_key = index;
    if (timestamp_ms > survey->max_timestamp_ms) {
        survey->max_timestamp_ms = timestamp_ms;
        survey->offset_of_max_timestamp_delta = outline->offset_delta;
    }
    if (index == 0 || timestamp_ms < survey->min_timestamp_ms)
        survey->min_timestamp_ms = timestamp_ms;
    if (timestamp_ms != NO_TIMESTAMP && (timestamp_ms < time_min_ms || timestamp_ms > time_max_ms) &&
        survey->first_time_outside < 0)
        survey->first_time_outside = index;
}

enum pst_status record_batch_survey(const void *bytes, size_t size_bytes, size_t inflated_max,
                                    int64_t time_min_ms, int64_t time_max_ms, struct record_batch_survey *ret)
{
    struct record_batch_survey survey = {.max_timestamp_ms = NO_TIMESTAMP,
                                         .min_timestamp_ms = NO_TIMESTAMP,
                                         .first_null_key = -1,
                                         .first_time_outside = -1};
    struct record_batch_info info;
    struct record_source source;
    enum pst_status status = record_batch_read_header(bytes, size_bytes, &info);

    if (status != PST_OK || info.size_bytes != size_bytes)
        return PST_CORRUPT;
    status = source_open(bytes, &info, inflated_max, &source);
    if (status != PST_OK)
        return status;
    for (int32_t i = 0; i < info.record_count && source.status == PST_OK; i++) {
        struct record_outline outline;

        read_outline(&source, &outline);
        if (source.status == PST_OK && outline.offset_delta != i)
            source_fail(&source, PST_CORRUPT);
        survey_record(&survey, &outline, i, timestamp_of(&info, outline.timestamp_delta), time_min_ms,
                      time_max_ms);
    }
    if (source.status == PST_OK && !source_at_end(&source))
        source_fail(&source, PST_CORRUPT);
    status = source.status;
    source_close(&source);
    if (status == PST_OK)
        *ret = survey;
    return status;
}

enum pst_status record_batch_find_time(const void *bytes, size_t size_bytes, size_t inflated_max,
                                       int64_t target_ms, int64_t *ret_offset, int64_t *ret_timestamp_ms)
{
    struct record_batch_info info;
    struct record_source source;
    enum pst_status status = record_batch_read_header(bytes, size_bytes, &info);

    if (status != PST_OK || info.size_bytes > size_bytes)
        return PST_CORRUPT;
    status = source_open(bytes, &info, inflated_max, &source);
    if (status != PST_OK)
        return status;
    status = PST_NOT_FOUND;
    for (int32_t i = 0; i < info.record_count && source.status == PST_OK; i++) {
        struct record_outline outline;
        int64_t timestamp_ms;

        read_outline(&source, &outline);
        timestamp_ms = timestamp_of(&info, outline.timestamp_delta);
        if (source.status == PST_OK && timestamp_ms >= target_ms) {
            *ret_offset = info.base_offset + outline.offset_delta;
            *ret_timestamp_ms = timestamp_ms;
            status = PST_OK;
            break;
        }
    }
    if (source.status != PST_OK)
        status = source.status;
    source_close(&source);
    return status;
}

/* ---- walker ---- */

struct record_walker {
    struct record_batch_info info;
    struct buf inflated;
    struct record_source source; /* always in memory */
    int32_t index;
};

enum pst_status record_walker_open(const void *bytes, size_t size_bytes, size_t inflated_max,
                                   struct record_walker **ret)
{
    struct record_walker *walker = calloc(1, sizeof *walker);
    struct str body;
    enum pst_status status;

    if (walker == NULL)
        return PST_NOMEM;
    buf_init(&walker->inflated, inflated_max);
    status = record_batch_read_header(bytes, size_bytes, &walker->info);
    if (status == PST_OK && walker->info.size_bytes > size_bytes)
        status = PST_TRUNCATED;
    if (status != PST_OK)
        goto fail;
    body = str_of_bytes((const uint8_t *)bytes + RECORD_BATCH_HEADER_BYTES,
                        walker->info.size_bytes - RECORD_BATCH_HEADER_BYTES);
    if (codec_of(&walker->info) != COMPRESS_NONE && walker->info.record_count > 0) {
        status = decompress_append(codec_of(&walker->info), body, &walker->inflated);
        if (status != PST_OK) {
            status = status == PST_UNSUPPORTED ? PST_CORRUPT : status;
            goto fail;
        }
        body = buf_view(&walker->inflated);
    }
    walker->source.at = (const uint8_t *)body.at;
    walker->source.end = walker->source.at + body.length;
    *ret = walker;
    return PST_OK;

fail:
    record_walker_close(walker);
    return status;
}

static struct str take_part(struct record_source *source, int32_t size, int64_t *left)
{
    const uint8_t *at = source->at;

    if (size < 0 || source->status != PST_OK)
        return str_null();
    if ((size_t)(source->end - source->at) < (size_t)size) {
        source_fail(source, PST_CORRUPT);
        return str_null();
    }
    source->at += size;
    *left -= size;
    return str_of_bytes(at, (size_t)size);
}

static void read_record(struct record_walker *walker, struct record *ret)
{
    struct record_source *source = &walker->source;
    const struct record_batch_info *info = &walker->info;
    int64_t left = source_varint(source, VARINT32_BYTES_MAX);
    const uint8_t *from = source->at;
    const uint8_t *headers_from;
    int64_t headers_left;
    int64_t delta;

    source_byte(source);
    ret->timestamp_ms = timestamp_of(info, source_varint(source, VARINT_BYTES_MAX));
    delta = source_varint(source, VARINT32_BYTES_MAX);
    ret->offset = info->base_offset + delta;
    ret->sequence = info->producer_id == NO_PRODUCER_ID || info->base_sequence < 0
                        ? NO_SEQUENCE
                        : (int32_t)((uint32_t)(info->base_sequence + delta) & INT32_MAX);
    left -= source->at - from;
    ret->key = take_part(source, read_size(source, -1, &left), &left);
    ret->value = take_part(source, read_size(source, -1, &left), &left);
    ret->header_count = read_size(source, 0, &left);
    headers_from = source->at;
    headers_left = left;
    for (int32_t i = 0; i < ret->header_count && source->status == PST_OK; i++) {
        skip_part(source, read_size(source, 0, &left), &left);
        skip_part(source, read_size(source, -1, &left), &left);
    }
    ret->raw_headers = str_of_bytes(headers_from, headers_left > 0 ? (size_t)headers_left : 0);
    if (left != 0)
        source_fail(source, PST_CORRUPT);
}

enum pst_status record_walker_next(struct record_walker *walker, struct record *ret)
{
    if (walker->source.status != PST_OK)
        return walker->source.status;
    if (walker->index >= walker->info.record_count)
        return walker->source.at == walker->source.end ? PST_EOF : PST_CORRUPT;
    walker->index++;
    read_record(walker, ret);
    return walker->source.status;
}

void record_walker_close(struct record_walker *walker)
{
    if (walker == NULL)
        return;
    buf_free(&walker->inflated);
    free(walker);
}

bool record_header_next(struct str *raw_headers, struct record_header *ret)
{
    struct record_source source = {.at = (const uint8_t *)raw_headers->at,
                                   .end = (const uint8_t *)raw_headers->at + raw_headers->length,
                                   .status = PST_OK};
    int64_t left = (int64_t)raw_headers->length;

    if (raw_headers->length == 0)
        return false;
    ret->key = take_part(&source, read_size(&source, 0, &left), &left);
    ret->value = take_part(&source, read_size(&source, -1, &left), &left);
    *raw_headers = str_of_bytes(source.at, (size_t)(source.end - source.at));
    return source.status == PST_OK;
}

/* ---- builder ---- */

struct record_batch_builder {
    struct record_batch_settings settings;
    struct buf batch;  /* header, then records in plain form */
    struct buf packed; /* header, then records compressed */
    int32_t count;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t last_offset;
};

/* A batch is at most what its int32 length can say. */
#define BATCH_BYTES_MAX ((size_t)INT32_MAX - RECORD_BATCH_LOG_OVERHEAD)

struct record_batch_builder *record_batch_builder_new(void)
{
    struct record_batch_builder *builder = calloc(1, sizeof *builder);

    if (builder == NULL)
        return NULL;
    buf_init(&builder->batch, BATCH_BYTES_MAX);
    buf_init(&builder->packed, BATCH_BYTES_MAX);
    return builder;
}

void record_batch_builder_free(struct record_batch_builder *builder)
{
    if (builder == NULL)
        return;
    buf_free(&builder->batch);
    buf_free(&builder->packed);
    free(builder);
}

void record_batch_builder_reset(struct record_batch_builder *builder,
                                const struct record_batch_settings *settings)
{
    builder->settings = *settings;
    buf_reset(&builder->batch);
    buf_reset(&builder->packed);
    builder->count = 0;
    builder->max_timestamp_ms = NO_TIMESTAMP;
    builder->last_offset = settings->base_offset - 1;
}

static size_t part_size(struct str part)
{
    return part.at == NULL ? 1 : uvarint_size(zigzag_encode((int64_t)part.length)) + part.length;
}

static size_t record_body_size(int64_t timestamp_delta, int64_t offset_delta, struct str key,
                               struct str value, const struct record_header *headers, int32_t header_count)
{
    size_t size = 1 + uvarint_size(zigzag_encode(timestamp_delta)) +
                  uvarint_size(zigzag_encode(offset_delta)) + part_size(key) + part_size(value) +
                  uvarint_size(zigzag_encode(header_count));

    for (int32_t i = 0; i < header_count; i++)
        size += part_size(headers[i].key) + part_size(headers[i].value);
    return size;
}

static uint8_t *store_varint(uint8_t *at, int64_t v)
{
    return at + uvarint_store(at, zigzag_encode(v));
}

static uint8_t *store_part(uint8_t *at, struct str part)
{
    if (part.at == NULL)
        return store_varint(at, -1);
    at = store_varint(at, (int64_t)part.length);
    if (part.length > 0)
        memcpy(at, part.at, part.length);
    return at + part.length;
}

enum pst_status record_batch_builder_add_at(struct record_batch_builder *builder, int64_t offset,
                                            int64_t timestamp_ms, struct str key, struct str value,
                                            const struct record_header *headers, int32_t header_count)
{
    struct buf *batch = &builder->batch;
    int64_t base_ms = builder->count == 0 ? timestamp_ms : builder->base_timestamp_ms;
    int64_t timestamp_delta = timestamp_ms - base_ms;
    int64_t offset_delta = offset - builder->settings.base_offset;
    size_t header_room = batch->length == 0 ? RECORD_BATCH_HEADER_BYTES : 0;
    size_t body = record_body_size(timestamp_delta, offset_delta, key, value, headers, header_count);
    size_t size = uvarint_size(zigzag_encode((int64_t)body)) + body;
    uint8_t *at;

    BUG_ON(offset <= builder->last_offset && builder->count > 0);
    if (builder->count > 0 &&
        (builder->settings.size_max < batch->length || size > builder->settings.size_max - batch->length))
        return PST_FULL;
    if (builder->count == INT32_MAX || offset_delta > INT32_MAX)
        return PST_FULL;
    at = buf_reserve(batch, header_room + size);
    if (at == NULL)
        return batch->status;
    at += header_room;
    at = store_varint(at, (int64_t)body);
    *at++ = 0;
    at = store_varint(at, timestamp_delta);
    at = store_varint(at, offset_delta);
    at = store_part(at, key);
    at = store_part(at, value);
    at = store_varint(at, header_count);
    for (int32_t i = 0; i < header_count; i++) {
        at = store_part(at, headers[i].key);
        at = store_part(at, headers[i].value);
    }
    batch->length = (size_t)(at - batch->at);
    builder->base_timestamp_ms = base_ms;
    if (builder->count == 0 || timestamp_ms > builder->max_timestamp_ms)
        builder->max_timestamp_ms = timestamp_ms;
    builder->last_offset = offset;
    builder->count++;
    return PST_OK;
}

enum pst_status record_batch_builder_add(struct record_batch_builder *builder, int64_t timestamp_ms,
                                         struct str key, struct str value,
                                         const struct record_header *headers, int32_t header_count)
{
    return record_batch_builder_add_at(builder, builder->last_offset + 1, timestamp_ms, key, value, headers,
                                       header_count);
}

int32_t record_batch_builder_count(const struct record_batch_builder *builder)
{
    return builder->count;
}

size_t record_batch_builder_size(const struct record_batch_builder *builder)
{
    return builder->batch.length;
}

void record_batch_builder_set_producer(struct record_batch_builder *builder, int64_t producer_id,
                                       int16_t producer_epoch, int32_t base_sequence)
{
    builder->settings.producer_id = producer_id;
    builder->settings.producer_epoch = producer_epoch;
    builder->settings.base_sequence = base_sequence;
}

static void fill_header(const struct record_batch_builder *builder, struct buf *batch)
{
    const struct record_batch_settings *settings = &builder->settings;
    struct record_batch_header *header = (struct record_batch_header *)(void *)batch->at;

    store_be64(header->base_offset.bytes, (uint64_t)settings->base_offset);
    store_be32(header->length.bytes, (uint32_t)(batch->length - RECORD_BATCH_LOG_OVERHEAD));
    store_be32(header->leader_epoch.bytes, (uint32_t)settings->leader_epoch);
    header->magic = RECORD_BATCH_MAGIC;
    store_be16(header->attributes.bytes, (uint16_t)(settings->attributes | settings->codec));
    store_be32(header->last_offset_delta.bytes, (uint32_t)(builder->last_offset - settings->base_offset));
    store_be64(header->base_timestamp.bytes, (uint64_t)builder->base_timestamp_ms);
    store_be64(header->max_timestamp.bytes, (uint64_t)builder->max_timestamp_ms);
    store_be64(header->producer_id.bytes, (uint64_t)settings->producer_id);
    store_be16(header->producer_epoch.bytes, (uint16_t)settings->producer_epoch);
    store_be32(header->base_sequence.bytes, (uint32_t)settings->base_sequence);
    store_be32(header->record_count.bytes, (uint32_t)builder->count);
    store_be32(header->crc.bytes, batch_crc(batch->at, batch->length));
}

enum pst_status record_batch_builder_finish(struct record_batch_builder *builder, struct str *ret)
{
    struct buf *batch = &builder->batch;
    enum pst_status status;

    BUG_ON(builder->count == 0);
    if (batch->status != PST_OK)
        return batch->status;
    if (builder->settings.codec != COMPRESS_NONE) {
        buf_reset(&builder->packed);
        if (buf_reserve(&builder->packed, RECORD_BATCH_HEADER_BYTES) == NULL)
            return builder->packed.status;
        builder->packed.length = RECORD_BATCH_HEADER_BYTES;
        status = compress_append(
            builder->settings.codec, builder->settings.compress_level,
            str_of_bytes(batch->at + RECORD_BATCH_HEADER_BYTES, batch->length - RECORD_BATCH_HEADER_BYTES),
            &builder->packed);
        if (status != PST_OK)
            return status;
        batch = &builder->packed;
    }
    fill_header(builder, batch);
    *ret = buf_view(batch);
    return PST_OK;
}
