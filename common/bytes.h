/* Big-endian integers in raw bytes, as Kafka's wire protocol and files have them.
 *
 * The be*_t types are for structs that mirror a format: a forgotten conversion does not compile. */
#ifndef PENSTOCK_COMMON_BYTES_H
#define PENSTOCK_COMMON_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint8_t bytes[2];
} be16_t;
typedef struct {
    uint8_t bytes[4];
} be32_t;
typedef struct {
    uint8_t bytes[8];
} be64_t;

static inline uint16_t load_be16(const void *at)
{
    uint16_t v;

    memcpy(&v, at, sizeof v);
    return be16toh(v);
}

static inline uint32_t load_be32(const void *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return be32toh(v);
}

static inline uint64_t load_be64(const void *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return be64toh(v);
}

static inline void store_be16(void *at, uint16_t v)
{
    v = htobe16(v);
    memcpy(at, &v, sizeof v);
}

static inline void store_be32(void *at, uint32_t v)
{
    v = htobe32(v);
    memcpy(at, &v, sizeof v);
}

static inline void store_be64(void *at, uint64_t v)
{
    v = htobe64(v);
    memcpy(at, &v, sizeof v);
}

#endif
