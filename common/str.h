/* Views: a pointer and a length into memory somebody else owns, without NUL.
 *
 * `at == NULL` is the null value of the wire protocol; an empty string has a non-NULL `at`.
 * A view lives as long as what it points into (usually: the frame of the request).  What outlives that is
 * copied by the module that keeps it. */
#ifndef PENSTOCK_COMMON_STR_H
#define PENSTOCK_COMMON_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *at;
    size_t length;
};

/* For printf("%.*s", STR_FORMAT(s)). */
#define STR_FORMAT(s) (int)(s).length, (s).at

#define STR_LITERAL(text)                                                                                    \
    (struct str)                                                                                             \
    {                                                                                                        \
        (text), sizeof(text) - 1                                                                             \
    }

static inline struct str str_null(void)
{
    return (struct str){NULL, 0};
}

static inline struct str str_of(const char *text)
{
    return text == NULL ? str_null() : (struct str){text, strlen(text)};
}

static inline struct str str_of_bytes(const void *at, size_t length)
{
    return (struct str){(const char *)at, length};
}

static inline bool str_is_null(struct str s)
{
    return s.at == NULL;
}

/* Same bytes; null equals only null. */
static inline bool str_equal(struct str a, struct str b)
{
    if (a.at == NULL || b.at == NULL)
        return a.at == b.at;
    return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

static inline bool str_equal_text(struct str a, const char *text)
{
    return str_equal(a, str_of(text));
}

/* memcmp order, then length; null first. */
int str_compare(struct str a, struct str b);

/* A malloc'ed, NUL-terminated copy; NULL when s is null or memory is out. */
char *str_dup(struct str s);

/* 64-bit hash of the bytes, seeded per process (hostile names cannot aim for one bucket). */
uint64_t str_hash(struct str s);

/* Decimal, optional sign, whole string; false (and *ret untouched) on anything else or overflow. */
bool str_parse_i64(struct str s, int64_t *ret);

#endif
