/* A sticky-failure reader over bytes somebody else made.
 *
 * After the first failure every read yields zeros or null and `status` keeps its first value, so a caller may
 * read many fields and look once. */
#ifndef PENSTOCK_PROTOCOL_WIRE_H
#define PENSTOCK_PROTOCOL_WIRE_H

#include "common/bytes.h"
#include "common/status.h"
#include "common/str.h"
#include "common/uuid.h"
#include "common/varint.h"

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    enum pst_status status; /* PST_OK, PST_TRUNCATED or PST_INVALID */
};

static inline struct wire_reader wire_reader_of(const void *bytes, size_t length)
{
    return (struct wire_reader){bytes, (const uint8_t *)bytes + length, PST_OK};
}

static inline size_t wire_left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->at);
}

/* Marks the reader failed (the first cause stays) and empty. */
static inline void wire_fail(struct wire_reader *r, enum pst_status cause)
{
    if (r->status == PST_OK)
        r->status = cause;
    r->at = r->end;
}

/* size bytes, or NULL. */
static inline const uint8_t *wire_read_bytes(struct wire_reader *r, size_t size)
{
    const uint8_t *at = r->at;

    if (wire_left(r) < size || r->status != PST_OK) {
        wire_fail(r, PST_TRUNCATED);
        return NULL;
    }
    r->at += size;
    return at;
}

static inline uint8_t wire_read_u8(struct wire_reader *r)
{
    const uint8_t *at = wire_read_bytes(r, 1);

    return at == NULL ? 0 : *at;
}

static inline uint16_t wire_read_u16(struct wire_reader *r)
{
    const uint8_t *at = wire_read_bytes(r, 2);

    return at == NULL ? 0 : load_be16(at);
}

static inline uint32_t wire_read_u32(struct wire_reader *r)
{
    const uint8_t *at = wire_read_bytes(r, 4);

    return at == NULL ? 0 : load_be32(at);
}

static inline uint64_t wire_read_u64(struct wire_reader *r)
{
    const uint8_t *at = wire_read_bytes(r, 8);

    return at == NULL ? 0 : load_be64(at);
}

/* At most 5 bytes, as the protocol's lengths and tags. */
static inline uint32_t wire_read_uvarint(struct wire_reader *r)
{
    uint64_t v = 0;
    size_t n = uvarint_load(r->at, r->end, VARINT32_BYTES_MAX, &v);

    if (n == 0 || r->status != PST_OK) {
        wire_fail(r, wire_left(r) < VARINT32_BYTES_MAX ? PST_TRUNCATED : PST_INVALID);
        return 0;
    }
    if (v > UINT32_MAX) {
        wire_fail(r, PST_INVALID);
        return 0;
    }
    r->at += n;
    return (uint32_t)v;
}

#endif
