/* 128-bit identifiers as Kafka has them: 16 bytes on the wire, 22 characters of unpadded URL-safe base64 in
 * text. */
#ifndef PENSTOCK_COMMON_UUID_H
#define PENSTOCK_COMMON_UUID_H

#include "common/str.h"

#define UUID_TEXT_LENGTH 22

struct uuid {
    uint8_t bytes[16];
};

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* All bytes 0: "no id". */
bool uuid_is_zero(const struct uuid *uuid);

/* Version 4 from the kernel's generator.  Never one of Kafka's reserved ids (upper half 0, lower half < 100)
 * and its text never starts with '-' (org.apache.kafka.common.Uuid). */
struct uuid uuid_random(void);

/* Writes 22 characters and a NUL. */
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LENGTH + 1]);

/* False when the text is not exactly 22 characters of the alphabet (a trailing "==" is accepted). */
bool uuid_parse(struct str text, struct uuid *ret);

#endif
