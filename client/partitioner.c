#include "client/partitioner.h"

#include <zlib.h>

uint32_t partitioner_murmur2(const void *bytes, size_t length)
{
    const uint32_t m = 0x5bd1e995u;
    const uint8_t *at = bytes;
    uint32_t hash = 0x9747b28cu ^ (uint32_t)length;
    size_t left = length;

    for (; left >= 4; left -= 4, at += 4) {
        uint32_t k = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;

        k *= m;
        k ^= k >> 24;
        hash = (hash * m) ^ (k * m);
    }
    if (left >= 3)
        hash ^= (uint32_t)at[2] << 16;
    if (left >= 2)
        hash ^= (uint32_t)at[1] << 8;
    if (left >= 1) {
        hash ^= at[0];
        hash *= m;
    }
    hash ^= hash >> 13;
    hash *= m;
    return hash ^ (hash >> 15);
}

static int32_t any_of(int32_t count, uint64_t random)
{
    return (int32_t)(random % (uint64_t)count);
}

int32_t partitioner_choose(enum partitioner kind, struct str key, int32_t count, uint64_t random)
{
    bool keyed = key.at != NULL;

    switch (kind) {
    case PARTITIONER_MURMUR2:
    case PARTITIONER_MURMUR2_RANDOM:
        if (keyed) /* Java's toPositive */
            return (int32_t)((partitioner_murmur2(key.at, key.length) & 0x7fffffffu) % (uint32_t)count);
        return kind == PARTITIONER_MURMUR2 ? -1 : any_of(count, random);
    case PARTITIONER_CONSISTENT:
    case PARTITIONER_CONSISTENT_RANDOM:
        if (kind == PARTITIONER_CONSISTENT_RANDOM && key.length == 0)
            return any_of(count, random);
        return (int32_t)(crc32(0, (const Bytef *)(keyed ? key.at : ""), (uInt)key.length) % (uint32_t)count);
    case PARTITIONER_RANDOM:
        break;
    }
    return any_of(count, random);
}

int32_t partitioner_next_sticky(int32_t current, int32_t count, uint64_t random)
{
    int32_t next;

    if (count <= 1)
        return 0;
    if (current < 0 || current >= count)
        return any_of(count, random);
    next = any_of(count - 1, random);
    return next >= current ? next + 1 : next;
}
