/* Cutting the text files of a log directory into lines and words: views, nothing is copied.  Any thread. */
#ifndef PENSTOCK_BROKER_LOG_TEXT_LINE_H
#define PENSTOCK_BROKER_LOG_TEXT_LINE_H

#include "common/str.h"

/* Takes the next line (without its '\n', and without a '\r' in front of that) off *rest; false at the end. */
static inline bool text_line_next(struct str *rest, struct str *ret)
{
    const char *end;
    size_t length;

    if (rest->length == 0)
        return false;
    end = memchr(rest->at, '\n', rest->length);
    length = end == NULL ? rest->length : (size_t)(end - rest->at);
    *ret = str_of_bytes(rest->at, length);
    if (end != NULL)
        length++;
    *rest = str_of_bytes(rest->at + length, rest->length - length);
    if (ret->length > 0 && ret->at[ret->length - 1] == '\r')
        ret->length--;
    return true;
}

/* Takes the next word (no blanks in it) off *rest; false when only blanks are left. */
static inline bool text_word_next(struct str *rest, struct str *ret)
{
    size_t from = 0;
    size_t to;

    while (from < rest->length && (rest->at[from] == ' ' || rest->at[from] == '\t'))
        from++;
    to = from;
    while (to < rest->length && rest->at[to] != ' ' && rest->at[to] != '\t')
        to++;
    *ret = str_of_bytes(rest->at + from, to - from);
    *rest = str_of_bytes(rest->at + to, rest->length - to);
    return ret->length > 0;
}

/* The next word as a number in [min, max]; false when there is none. */
static inline bool text_number_next(struct str *rest, int64_t min, int64_t max, int64_t *ret)
{
    struct str word;
    int64_t value;

    if (!text_word_next(rest, &word) || !str_parse_i64(word, &value) || value < min || value > max)
        return false;
    *ret = value;
    return true;
}

/* A line that is exactly one number. */
static inline bool text_line_number(struct str *rest, int64_t min, int64_t max, int64_t *ret)
{
    struct str line, more;

    return text_line_next(rest, &line) && text_number_next(&line, min, max, ret) &&
           !text_word_next(&line, &more);
}

#endif
