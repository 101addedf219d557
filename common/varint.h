/* Kafka's variable-length integers: 7 bits a byte, least significant group first, top bit = "more follows".
 *
 * Protocol lengths are unsigned; record fields are zig-zag signed.  A 32-bit value takes at most 5 bytes, a
 * 64-bit value at most 10; longer forms are rejected (clients/.../utils/ByteUtils.java). */
#ifndef PENSTOCK_COMMON_VARINT_H
#define PENSTOCK_COMMON_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define VARINT_BYTES_MAX   10u
#define VARINT32_BYTES_MAX 5u

static inline uint64_t zigzag_encode(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t zigzag_decode(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* Writes 1 to 10 bytes, returns how many. */
static inline size_t uvarint_store(uint8_t *to, uint64_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        to[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    to[n++] = (uint8_t)v;
    return n;
}

static inline size_t uvarint_size(uint64_t v)
{
    return v == 0 ? 1 : (size_t)(70 - __builtin_clzll(v)) / 7;
}

/* Reads one value of at most `bytes_max` bytes (VARINT32_BYTES_MAX or VARINT_BYTES_MAX) from [at, end).
 * Returns the bytes read; 0 when the input ends too early or the value is too long. */
static inline size_t uvarint_load(const uint8_t *at, const uint8_t *end, size_t bytes_max, uint64_t *ret)
{
    size_t room = (size_t)(end - at);
    uint64_t v = 0;

    if (room > bytes_max)
        room = bytes_max;
    for (size_t n = 0; n < room; n++) {
        v |= (uint64_t)(at[n] & 0x7f) << (7 * n);
        if (at[n] < 0x80) {
            *ret = v;
            return n + 1;
        }
    }
    return 0;
}

#endif
