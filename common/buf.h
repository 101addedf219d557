/* A growing byte buffer with a maximum.
 *
 * Failure is sticky: after PST_FULL or PST_NOMEM every append is ignored until buf_reset, so a writer may
 * append many fields and look at buf->status once.  Thread: its owner only. */
#ifndef PENSTOCK_COMMON_BUF_H
#define PENSTOCK_COMMON_BUF_H

#include "common/status.h"
#include "common/str.h"

#include <stdint.h>

struct buf {
    uint8_t *at;
    size_t length;   /* bytes written */
    size_t capacity; /* bytes allocated */
    size_t length_max;
    enum pst_status status; /* PST_OK, PST_FULL or PST_NOMEM */
};

/* No memory is taken before the first append. */
void buf_init(struct buf *buf, size_t length_max);
void buf_free(struct buf *buf);
/* Empties it and clears the failure; keeps the memory. */
void buf_reset(struct buf *buf);
/* Room for size more bytes behind the end, or NULL (status says why).  Does not move the end. */
uint8_t *buf_reserve(struct buf *buf, size_t size_bytes);
void buf_append(struct buf *buf, const void *bytes, size_t size_bytes);
void buf_append_str(struct buf *buf, struct str s);
void buf_append_text(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_put_u8(struct buf *buf, uint8_t v);
void buf_put_be16(struct buf *buf, uint16_t v);
void buf_put_be32(struct buf *buf, uint32_t v);
void buf_put_be64(struct buf *buf, uint64_t v);
/* Unsigned LEB128 and zig-zag forms of Kafka's varints. */
void buf_put_uvarint(struct buf *buf, uint64_t v);
void buf_put_varint(struct buf *buf, int64_t v);

static inline struct str buf_view(const struct buf *buf)
{
    return str_of_bytes(buf->at == NULL ? (const uint8_t *)"" : buf->at, buf->length);
}

#endif
