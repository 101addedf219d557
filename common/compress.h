/* The codec table: what Kafka's attributes call 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
 *
 * Thread: a decompressor belongs to its user; the functions keep no state of their own.  All input is
 * hostile: output is bounded by the caller, never by what the input claims. */
#ifndef PENSTOCK_COMMON_COMPRESS_H
#define PENSTOCK_COMMON_COMPRESS_H

#include "common/buf.h"
#include "common/status.h"
#include "common/str.h"

enum compress_codec {
    COMPRESS_NONE = 0,
    COMPRESS_GZIP = 1,
    COMPRESS_SNAPPY =
        2,            /* written in the framing of snappy-java ("\x82SNAPPY\0"), read with and without it */
    COMPRESS_LZ4 = 3, /* LZ4 frames of independent blocks: Kafka's Java clients read no others */
    COMPRESS_ZSTD = 4,
    COMPRESS_CODEC_COUNT
};

#define COMPRESS_LEVEL_DEFAULT (-1000000)

/* "none", "gzip", ...; NULL outside the list.  Parsing accepts exactly these names. */
const char *compress_name(enum compress_codec codec);
bool compress_parse(struct str name, enum compress_codec *ret);
/* The levels a codec takes; false: it has none (none, snappy). */
bool compress_level_range(enum compress_codec codec, int *ret_min, int *ret_max, int *ret_default);

/* Appends the compressed form of `input`.  PST_FULL or PST_NOMEM from the buffer. */
MUST_CHECK enum pst_status compress_append(enum compress_codec codec, int level, struct str input,
                                           struct buf *out);
/* Appends the inflated form.  PST_CORRUPT: not a whole valid stream; PST_FULL: over out->length_max. */
MUST_CHECK enum pst_status decompress_append(enum compress_codec codec, struct str input, struct buf *out);

/* Piece by piece, in bounded memory whatever the input says. */
struct decompressor;

MUST_CHECK enum pst_status decompressor_open(enum compress_codec codec, struct str input,
                                             struct decompressor **ret);
/* Up to room bytes; *ret_length 0 with PST_OK never happens.  PST_EOF at the end of a whole stream;
 * PST_CORRUPT. */
MUST_CHECK enum pst_status decompressor_read(struct decompressor *d, void *to, size_t room,
                                             size_t *ret_length);
void decompressor_close(struct decompressor *d);

#endif
