#include "common/properties.h"

#include <stdlib.h>

struct cursor {
    const char *at;
    const char *end;
    unsigned line;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && is_blank(*c->at))
        c->at++;
}

static void skip_line(struct cursor *c)
{
    while (c->at < c->end && *c->at != '\n')
        c->at++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static size_t put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    to[0] = (char)(0xe0 | code >> 12);
    to[1] = (char)(0x80 | (code >> 6 & 0x3f));
    to[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

/* Behind a backslash.  Returns the bytes written. */
static size_t unescape(struct cursor *c, char *to)
{
    unsigned code = 0;
    char letter;

    if (c->at == c->end)
        return 0;
    letter = *c->at++;
    switch (letter) {
    case 't':
        *to = '\t';
        return 1;
    case 'n':
        *to = '\n';
        return 1;
    case 'r':
        *to = '\r';
        return 1;
    case 'f':
        *to = '\f';
        return 1;
    case '\r':
        if (c->at < c->end && *c->at == '\n')
            c->at++;
        /* fall through */
    case '\n': /* the line goes on */
        c->line++;
        skip_blanks(c);
        return 0;
    case 'u':
        for (int i = 0; i < 4; i++) {
            int digit = i < c->end - c->at ? hex_digit(c->at[i]) : -1;

            if (digit < 0) {
                *to = 'u';
                return 1;
            }
            code = code << 4 | (unsigned)digit;
        }
        c->at += 4;
        return code == 0 ? 0 : put_utf8(to, code); /* a NUL would end the string early */
    default:
        *to = letter;
        return 1;
    }
}

static bool ends_key(char c)
{
    return c == '=' || c == ':' || is_blank(c);
}

static void read_key(struct cursor *c, char *to)
{
    while (c->at < c->end && *c->at != '\n' && *c->at != '\r' && !ends_key(*c->at)) {
        if (*c->at == '\\') {
            c->at++;
            to += unescape(c, to);
        } else {
            *to++ = *c->at++;
        }
    }
    *to = '\0';
    skip_blanks(c);
    if (c->at < c->end && (*c->at == '=' || *c->at == ':'))
        c->at++;
    skip_blanks(c);
}

static void read_value(struct cursor *c, char *to)
{
    while (c->at < c->end && *c->at != '\n' && *c->at != '\r') {
        if (*c->at == '\\') {
            c->at++;
            to += unescape(c, to);
        } else {
            *to++ = *c->at++;
        }
    }
    *to = '\0';
}

enum pst_status properties_each(struct str text,
                                enum pst_status (*fn)(void *arg, const char *key, const char *value,
                                                      unsigned line),
                                void *arg)
{
    struct cursor c = {text.at, text.at + text.length, 1};
    char *key = malloc(text.length + 1); /* unescaping never makes it longer */
    char *value = malloc(text.length + 1);
    enum pst_status status = key == NULL || value == NULL ? PST_NOMEM : PST_OK;

    while (status == PST_OK && c.at < c.end) {
        unsigned line = c.line;

        skip_blanks(&c);
        if (c.at < c.end && (*c.at == '#' || *c.at == '!'))
            skip_line(&c);
        if (c.at == c.end)
            break;
        if (*c.at == '\n' || *c.at == '\r') {
            c.line += *c.at == '\n';
            c.at++;
            continue;
        }
        read_key(&c, key);
        read_value(&c, value);
        status = fn(arg, key, value, line);
    }
    free(key);
    free(value);
    return status;
}
