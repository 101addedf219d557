/* Which partition a record goes to.  Pure functions; any thread. */
#ifndef PENSTOCK_CLIENT_PARTITIONER_H
#define PENSTOCK_CLIENT_PARTITIONER_H

#include "common/str.h"

/* In the order of options.def. */
enum partitioner {
    PARTITIONER_MURMUR2,           /* keys: as Java; no key: a partition for a batch's worth of bytes */
    PARTITIONER_MURMUR2_RANDOM,    /* keys: as Java; no key: any */
    PARTITIONER_CONSISTENT,        /* CRC-32; no key: like the empty key */
    PARTITIONER_CONSISTENT_RANDOM, /* CRC-32; no key or an empty one: any */
    PARTITIONER_RANDOM,
};

/* The hash of Java's client (org.apache.kafka.common.utils.Utils.murmur2). */
uint32_t partitioner_murmur2(const void *bytes, size_t length);

/* 0 to count - 1; -1: this kind leaves a record with such a key to the sticky choice.  random: 64 fresh
 * random bits. */
int32_t partitioner_choose(enum partitioner kind, struct str key, int32_t count, uint64_t random);

/* The next partition to stick to: any but `current` when there is another one. */
int32_t partitioner_next_sticky(int32_t current, int32_t count, uint64_t random);

#endif
