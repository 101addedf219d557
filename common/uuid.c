#include "common/uuid.h"

#include "common/bug.h"

#include <sys/random.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#define RESERVED_IDS 100 /* Kafka keeps the ids below for itself */

bool uuid_is_zero(const struct uuid *uuid)
{
    static const struct uuid zero;

    return uuid_equal(uuid, &zero);
}

static bool uuid_is_reserved(const struct uuid *uuid)
{
    for (size_t i = 0; i < sizeof uuid->bytes - 1; i++) {
        if (uuid->bytes[i] != 0)
            return false;
    }
    return uuid->bytes[sizeof uuid->bytes - 1] < RESERVED_IDS;
}

struct uuid uuid_random(void)
{
    struct uuid uuid;
    char text[UUID_TEXT_LENGTH + 1];

    do {
        ssize_t got = getrandom(uuid.bytes, sizeof uuid.bytes, 0);

        BUG_ON(got != (ssize_t)sizeof uuid.bytes); /* up to 256 bytes never come short (getrandom(2)) */
        uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40);
        uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
        uuid_format(&uuid, text);
    } while (uuid_is_reserved(&uuid) || text[0] == '-');
    return uuid;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LENGTH + 1])
{
    for (size_t i = 0; i < UUID_TEXT_LENGTH; i++) {
        size_t bit = i * 6;
        unsigned pair = (unsigned)uuid->bytes[bit / 8] << 8;

        if (bit / 8 + 1 < sizeof uuid->bytes)
            pair |= uuid->bytes[bit / 8 + 1];
        text[i] = alphabet[(pair >> (10 - bit % 8)) & 0x3f];
    }
    text[UUID_TEXT_LENGTH] = '\0';
}

bool uuid_parse(struct str text, struct uuid *ret)
{
    struct uuid uuid = {{0}};

    if (text.length == UUID_TEXT_LENGTH + 2 && memcmp(text.at + UUID_TEXT_LENGTH, "==", 2) == 0)
        text.length = UUID_TEXT_LENGTH;
    if (text.length != UUID_TEXT_LENGTH)
        return false;
    for (size_t i = 0; i < UUID_TEXT_LENGTH; i++) {
        const char *found = text.at[i] == '\0' ? NULL : strchr(alphabet, text.at[i]);
        size_t bit = i * 6;
        unsigned shifted;

        if (found == NULL)
            return false;
        shifted = (unsigned)(found - alphabet) << (10 - bit % 8);
        uuid.bytes[bit / 8] |= (uint8_t)(shifted >> 8);
        if (bit / 8 + 1 < sizeof uuid.bytes)
            uuid.bytes[bit / 8 + 1] |= (uint8_t)shifted;
        else if ((shifted & 0xff) != 0)
            return false; /* bits beyond the sixteenth byte */
    }
    *ret = uuid;
    return true;
}
