#include "common/compress.h"

#include "common/bytes.h"

#include <lz4.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

static const char *const codec_names[COMPRESS_CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};

#define GZIP_WINDOW_BITS (15 + 16) /* largest window, gzip wrapper */
#define GZIP_ANY_WRAPPER (15 + 32) /* gzip or zlib, told apart by their first bytes */

/* snappy-java's stream: this head, then blocks of int32 length and raw snappy data. */
static const uint8_t snappy_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
#define SNAPPY_HEAD_BYTES      16u
#define SNAPPY_BLOCK_BYTES     32768u /* snappy-java's default block */
/* A raw snappy block is inflated in one piece, so what it may claim has a bound. */
#define SNAPPY_BLOCK_BYTES_MAX (64u * 1024 * 1024)

static const uint8_t lz4_magic[4] = {0x04, 0x22, 0x4d, 0x18};
#define LZ4_FLAG_INDEPENDENT 0x20u /* in the byte after the magic: blocks do not refer to earlier ones */

const char *compress_name(enum compress_codec codec)
{
    return (unsigned)codec < COMPRESS_CODEC_COUNT ? codec_names[codec] : NULL;
}

bool compress_parse(struct str name, enum compress_codec *ret)
{
    for (int i = 0; i < COMPRESS_CODEC_COUNT; i++) {
        if (str_equal_text(name, codec_names[i])) {
            *ret = (enum compress_codec)i;
            return true;
        }
    }
    return false;
}

bool compress_level_range(enum compress_codec codec, int *ret_min, int *ret_max, int *ret_default)
{
    switch (codec) {
    case COMPRESS_GZIP:
        *ret_min = 1;
        *ret_max = 9;
        *ret_default = -1;
        return true;
    case COMPRESS_LZ4:
        *ret_min = 1;
        *ret_max = 17;
        *ret_default = 9;
        return true;
    case COMPRESS_ZSTD:
        *ret_min = ZSTD_minCLevel();
        *ret_max = ZSTD_maxCLevel();
        *ret_default = 3;
        return true;
    default:
        return false;
    }
}

static int level_or(int level, int fallback)
{
    return level == COMPRESS_LEVEL_DEFAULT ? fallback : level;
}

static enum pst_status gzip_append(int level, struct str input, struct buf *out)
{
    z_stream stream = {0};
    uint8_t *to;
    int result;

    if (deflateInit2(&stream, level_or(level, Z_DEFAULT_COMPRESSION), Z_DEFLATED, GZIP_WINDOW_BITS, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return PST_NOMEM;
    to = buf_reserve(out, deflateBound(&stream, input.length));
    if (to == NULL) {
        deflateEnd(&stream);
        return out->status;
    }
    stream.next_in = (Bytef *)(uintptr_t)input.at;
    stream.avail_in = (uInt)input.length;
    stream.next_out = to;
    stream.avail_out = (uInt)(out->capacity - out->length);
    result = deflate(&stream, Z_FINISH);
    out->length += stream.total_out;
    deflateEnd(&stream);
    return result == Z_STREAM_END ? PST_OK : PST_NOMEM;
}

static enum pst_status snappy_append(struct str input, struct buf *out)
{
    buf_append(out, snappy_magic, sizeof snappy_magic);
    buf_put_be32(out, 1); /* version */
    buf_put_be32(out, 1); /* oldest compatible version */
    for (size_t from = 0; from < input.length; from += SNAPPY_BLOCK_BYTES) {
        size_t length = input.length - from < SNAPPY_BLOCK_BYTES ? input.length - from : SNAPPY_BLOCK_BYTES;
        size_t packed = snappy_max_compressed_length(length);
        uint8_t *to = buf_reserve(out, 4 + packed);

        if (to == NULL)
            return out->status;
        if (snappy_compress(input.at + from, length, (char *)to + 4, &packed) != SNAPPY_OK)
            return PST_INVALID;
        store_be32(to, (uint32_t)packed);
        out->length += 4 + packed;
    }
    return out->status;
}

static enum pst_status lz4_append(int level, struct str input, struct buf *out)
{
    LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
        .compressionLevel = level == COMPRESS_LEVEL_DEFAULT ? 0 : level,
    };
    size_t bound = LZ4F_compressFrameBound(input.length, &preferences);
    uint8_t *to = buf_reserve(out, bound);
    size_t packed;

    if (to == NULL)
        return out->status;
    packed = LZ4F_compressFrame(to, bound, input.at, input.length, &preferences);
    if (LZ4F_isError(packed))
        return PST_NOMEM;
    out->length += packed;
    return PST_OK;
}

static enum pst_status zstd_append(int level, struct str input, struct buf *out)
{
    size_t bound = ZSTD_compressBound(input.length);
    uint8_t *to = buf_reserve(out, bound);
    size_t packed;

    if (to == NULL)
        return out->status;
    packed = ZSTD_compress(to, bound, input.at, input.length, level_or(level, ZSTD_CLEVEL_DEFAULT));
    if (ZSTD_isError(packed))
        return PST_NOMEM;
    out->length += packed;
    return PST_OK;
}

enum pst_status compress_append(enum compress_codec codec, int level, struct str input, struct buf *out)
{
    if (out->status != PST_OK)
        return out->status;
    switch (codec) {
    case COMPRESS_NONE:
        buf_append_str(out, input);
        return out->status;
    case COMPRESS_GZIP:
        return gzip_append(level, input, out);
    case COMPRESS_SNAPPY:
        return snappy_append(input, out);
    case COMPRESS_LZ4:
        return lz4_append(level, input, out);
    case COMPRESS_ZSTD:
        return zstd_append(level, input, out);
    default:
        return PST_UNSUPPORTED;
    }
}

/* ---- inflating ---- */

struct decompressor {
    enum compress_codec codec;
    const uint8_t *at; /* input not consumed yet */
    const uint8_t *end;
    bool ended; /* the stream's own end mark was seen */
    z_stream gzip;
    bool gzip_open;
    LZ4F_dctx *lz4;
    bool lz4_in_frame;
    ZSTD_DCtx *zstd;
    bool snappy_framed;
    char *block; /* snappy: the block being read out */
    size_t block_length;
    size_t block_at;
};

void decompressor_close(struct decompressor *d)
{
    if (d == NULL)
        return;
    if (d->gzip_open)
        inflateEnd(&d->gzip);
    LZ4F_freeDecompressionContext(d->lz4);
    ZSTD_freeDCtx(d->zstd);
    free(d->block);
    free(d);
}

static bool open_codec(struct decompressor *d)
{
    switch (d->codec) {
    case COMPRESS_NONE:
        return true;
    case COMPRESS_GZIP:
        d->gzip_open = inflateInit2(&d->gzip, GZIP_ANY_WRAPPER) == Z_OK;
        return d->gzip_open;
    case COMPRESS_SNAPPY:
        d->snappy_framed = (size_t)(d->end - d->at) >= SNAPPY_HEAD_BYTES &&
                           memcmp(d->at, snappy_magic, sizeof snappy_magic) == 0;
        if (d->snappy_framed)
            d->at += SNAPPY_HEAD_BYTES;
        return true;
    case COMPRESS_LZ4:
        return !LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION));
    case COMPRESS_ZSTD:
        d->zstd = ZSTD_createDCtx();
        return d->zstd != NULL;
    default:
        return false;
    }
}

enum pst_status decompressor_open(enum compress_codec codec, struct str input, struct decompressor **ret)
{
    struct decompressor *d;

    if ((unsigned)codec >= COMPRESS_CODEC_COUNT)
        return PST_UNSUPPORTED;
    d = calloc(1, sizeof *d);
    if (d == NULL)
        return PST_NOMEM;
    d->codec = codec;
    d->at = (const uint8_t *)input.at;
    d->end = d->at + input.length;
    if (!open_codec(d)) {
        decompressor_close(d);
        return PST_NOMEM;
    }
    *ret = d;
    return PST_OK;
}

static enum pst_status read_plain(struct decompressor *d, void *to, size_t room, size_t *ret_length)
{
    size_t left = (size_t)(d->end - d->at);
    size_t length = left < room ? left : room;

    if (length == 0)
        return PST_EOF;
    memcpy(to, d->at, length);
    d->at += length;
    *ret_length = length;
    return PST_OK;
}

static enum pst_status read_gzip(struct decompressor *d, void *to, size_t room, size_t *ret_length)
{
    int result;

    for (;;) {
        if (d->ended) {
            if (d->at == d->end)
                return PST_EOF;
            if (inflateReset(&d->gzip) != Z_OK) /* another member follows */
                return PST_CORRUPT;
            d->ended = false;
        }
        d->gzip.next_in = (Bytef *)(uintptr_t)d->at;
        d->gzip.avail_in = (uInt)(d->end - d->at);
        d->gzip.next_out = to;
        d->gzip.avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
        result = inflate(&d->gzip, Z_NO_FLUSH);
        d->at = d->gzip.next_in;
        d->ended = result == Z_STREAM_END;
        if (result != Z_OK && result != Z_STREAM_END)
            return PST_CORRUPT;
        *ret_length = (size_t)((uint8_t *)d->gzip.next_out - (uint8_t *)to);
        if (*ret_length > 0)
            return PST_OK;
        if (!d->ended && d->at == d->end)
            return PST_CORRUPT; /* cut */
    }
}

/* Inflates the next block into d->block. */
static enum pst_status next_snappy_block(struct decompressor *d)
{
    size_t packed = (size_t)(d->end - d->at);
    size_t length;
    char *block;

    if (packed == 0)
        return PST_EOF;
    if (d->snappy_framed) {
        if (packed < 4)
            return PST_CORRUPT;
        if (packed - 4 < load_be32(d->at))
            return PST_CORRUPT;
        packed = load_be32(d->at);
        d->at += 4;
    }
    if (snappy_uncompressed_length((const char *)d->at, packed, &length) != SNAPPY_OK ||
        length > SNAPPY_BLOCK_BYTES_MAX ||
        length / 64 > packed) /* a snappy copy makes at most 64 bytes of 2 */
        return PST_CORRUPT;
    block = realloc(d->block, length + 1);
    if (block == NULL)
        return PST_NOMEM;
    d->block = block;
    d->block_length = length;
    d->block_at = 0;
    if (snappy_uncompress((const char *)d->at, packed, block, &length) != SNAPPY_OK)
        return PST_CORRUPT;
    d->at += packed;
    return PST_OK;
}

static enum pst_status read_snappy(struct decompressor *d, void *to, size_t room, size_t *ret_length)
{
    size_t length;

    while (d->block_at == d->block_length) {
        enum pst_status status = next_snappy_block(d);

        if (status != PST_OK)
            return status;
    }
    length = d->block_length - d->block_at;
    if (length > room)
        length = room;
    memcpy(to, d->block + d->block_at, length);
    d->block_at += length;
    *ret_length = length;
    return PST_OK;
}

/* Kafka's Java clients read frames of independent blocks and nothing else: no blocks that refer to earlier
 * ones, no skippable frames. What they could not read must not get into a log. */
static bool lz4_frame_is_kafkas(const struct decompressor *d)
{
    return (size_t)(d->end - d->at) > sizeof lz4_magic && memcmp(d->at, lz4_magic, sizeof lz4_magic) == 0 &&
           (d->at[sizeof lz4_magic] & LZ4_FLAG_INDEPENDENT) != 0;
}

static enum pst_status read_lz4(struct decompressor *d, void *to, size_t room, size_t *ret_length)
{
    for (;;) {
        size_t taken = (size_t)(d->end - d->at);
        size_t made = room;
        size_t hint;

        if (d->ended && taken == 0)
            return PST_EOF;
        if (!d->lz4_in_frame && !lz4_frame_is_kafkas(d))
            return PST_CORRUPT;
        hint = LZ4F_decompress(d->lz4, to, &made, d->at, &taken, NULL);
        if (LZ4F_isError(hint))
            return PST_CORRUPT;
        d->at += taken;
        d->ended = hint == 0;
        d->lz4_in_frame = !d->ended;
        *ret_length = made;
        if (made > 0)
            return PST_OK;
        if (!d->ended && taken == 0)
            return PST_CORRUPT; /* cut */
    }
}

static enum pst_status read_zstd(struct decompressor *d, void *to, size_t room, size_t *ret_length)
{
    for (;;) {
        ZSTD_inBuffer in = {d->at, (size_t)(d->end - d->at), 0};
        ZSTD_outBuffer out = {to, room, 0};
        size_t hint;

        if (d->ended && in.size == 0)
            return PST_EOF;
        hint = ZSTD_decompressStream(d->zstd, &out, &in);
        if (ZSTD_isError(hint))
            return PST_CORRUPT;
        d->at += in.pos;
        d->ended = hint == 0;
        *ret_length = out.pos;
        if (out.pos > 0)
            return PST_OK;
        if (!d->ended && in.pos == 0)
            return PST_CORRUPT; /* cut */
    }
}

enum pst_status decompressor_read(struct decompressor *d, void *to, size_t room, size_t *ret_length)
{
    switch (d->codec) {
    case COMPRESS_NONE:
        return read_plain(d, to, room, ret_length);
    case COMPRESS_GZIP:
        return read_gzip(d, to, room, ret_length);
    case COMPRESS_SNAPPY:
        return read_snappy(d, to, room, ret_length);
    case COMPRESS_LZ4:
        return read_lz4(d, to, room, ret_length);
    case COMPRESS_ZSTD:
        return read_zstd(d, to, room, ret_length);
    default:
        return PST_UNSUPPORTED;
    }
}

#define INFLATE_STEP_BYTES 65536u

enum pst_status decompress_append(enum compress_codec codec, struct str input, struct buf *out)
{
    struct decompressor *d;
    enum pst_status status = decompressor_open(codec, input, &d);

    if (status != PST_OK)
        return status;
    for (;;) {
        size_t room = out->length_max - out->length;
        uint8_t beyond;
        size_t length;
        uint8_t *to;

        if (room == 0) { /* full: fine only if nothing follows */
            status = decompressor_read(d, &beyond, 1, &length);
            if (status == PST_OK)
                status = PST_FULL;
            break;
        }
        to = buf_reserve(out, room < INFLATE_STEP_BYTES ? room : INFLATE_STEP_BYTES);
        if (to == NULL) {
            status = out->status;
            break;
        }
        status = decompressor_read(d, to, out->capacity - out->length, &length);
        if (status != PST_OK)
            break;
        out->length += length;
    }
    decompressor_close(d);
    return status == PST_EOF ? PST_OK : status;
}
