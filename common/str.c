#include "common/str.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/random.h>

int str_compare(struct str a, struct str b)
{
    size_t shared = a.length < b.length ? a.length : b.length;
    int order;

    if (a.at == NULL || b.at == NULL)
        return (a.at != NULL) - (b.at != NULL);
    order = memcmp(a.at, b.at, shared);
    if (order != 0)
        return order;
    return (a.length > b.length) - (a.length < b.length);
}

char *str_dup(struct str s)
{
    char *copy;

    if (s.at == NULL)
        return NULL;
    copy = malloc(s.length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s.at, s.length);
    copy[s.length] = '\0';
    return copy;
}

static uint64_t hash_seed;

__attribute__((constructor)) static void hash_seed_choose(void)
{
    if (getrandom(&hash_seed, sizeof hash_seed, GRND_NONBLOCK) != sizeof hash_seed)
        hash_seed = (uint64_t)(uintptr_t)&hash_seed * 0x9e3779b97f4a7c15u;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t str_hash(struct str s)
{
    const uint8_t *at = (const uint8_t *)s.at;
    size_t left = s.length;
    uint64_t hash = hash_seed ^ (s.length * 0x9e3779b97f4a7c15u);
    uint64_t word = 0;

    while (left >= 8) {
        memcpy(&word, at, 8);
        hash = mix(hash ^ word, 0xa0761d6478bd642fu);
        at += 8;
        left -= 8;
    }
    word = 0;
    if (left > 0)
        memcpy(&word, at, left);
    return mix(hash ^ word, 0xe7037ed1a0b428dbu);
}

bool str_parse_i64(struct str s, int64_t *ret)
{
    size_t i = 0;
    bool negative = false;
    uint64_t value = 0;
    uint64_t limit;

    if (s.length > 0 && (s.at[0] == '-' || s.at[0] == '+')) {
        negative = s.at[0] == '-';
        i = 1;
    }
    if (i == s.length)
        return false;
    limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    for (; i < s.length; i++) {
        unsigned digit = (unsigned)(unsigned char)s.at[i] - '0';

        if (digit > 9 || value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
