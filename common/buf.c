#include "common/buf.h"

#include "common/bytes.h"
#include "common/varint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *buf, size_t length_max)
{
    *buf = (struct buf){.length_max = length_max, .status = PST_OK};
}

void buf_free(struct buf *buf)
{
    free(buf->at);
    buf_init(buf, buf->length_max);
}

void buf_reset(struct buf *buf)
{
    buf->length = 0;
    buf->status = PST_OK;
}

uint8_t *buf_reserve(struct buf *buf, size_t size_bytes)
{
    size_t capacity;
    uint8_t *at;

    if (buf->status != PST_OK)
        return NULL;
    if (size_bytes <= buf->capacity - buf->length)
        return buf->at + buf->length;
    if (size_bytes > buf->length_max - buf->length) {
        buf->status = PST_FULL;
        return NULL;
    }
    capacity = buf->capacity == 0 ? BUF_FIRST_BYTES : buf->capacity * 2;
    if (capacity < buf->length + size_bytes)
        capacity = buf->length + size_bytes;
    if (capacity > buf->length_max)
        capacity = buf->length_max;
    at = realloc(buf->at, capacity);
    if (at == NULL) {
        buf->status = PST_NOMEM;
        return NULL;
    }
    buf->at = at;
    buf->capacity = capacity;
    return at + buf->length;
}

void buf_append(struct buf *buf, const void *bytes, size_t size_bytes)
{
    uint8_t *to;

    if (size_bytes == 0)
        return;
    to = buf_reserve(buf, size_bytes);
    if (to == NULL)
        return;
    memcpy(to, bytes, size_bytes);
    buf->length += size_bytes;
}

void buf_append_str(struct buf *buf, struct str s)
{
    buf_append(buf, s.at, s.length);
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_list again;
    uint8_t *to;
    int length;

    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    to = length < 0 ? NULL : buf_reserve(buf, (size_t)length + 1);
    if (to != NULL) {
        vsnprintf((char *)to, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    }
    va_end(again);
}

void buf_put_u8(struct buf *buf, uint8_t v)
{
    buf_append(buf, &v, 1);
}

void buf_put_be16(struct buf *buf, uint16_t v)
{
    be16_t raw;

    store_be16(raw.bytes, v);
    buf_append(buf, raw.bytes, sizeof raw);
}

void buf_put_be32(struct buf *buf, uint32_t v)
{
    be32_t raw;

    store_be32(raw.bytes, v);
    buf_append(buf, raw.bytes, sizeof raw);
}

void buf_put_be64(struct buf *buf, uint64_t v)
{
    be64_t raw;

    store_be64(raw.bytes, v);
    buf_append(buf, raw.bytes, sizeof raw);
}

void buf_put_uvarint(struct buf *buf, uint64_t v)
{
    uint8_t raw[VARINT_BYTES_MAX];

    buf_append(buf, raw, uvarint_store(raw, v));
}

void buf_put_varint(struct buf *buf, int64_t v)
{
    buf_put_uvarint(buf, zigzag_encode(v));
}
