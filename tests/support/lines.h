/* Reads gzip'ed test data line by line.  Test code: any failure ends the program with a message. */
#ifndef PENSTOCK_TESTS_SUPPORT_LINES_H
#define PENSTOCK_TESTS_SUPPORT_LINES_H

#include <stddef.h>
#include <stdint.h>

/* Calls fn for every line (without its newline); returns the number of lines. */
unsigned lines_each(const char *path, void (*fn)(char *line, size_t length, void *arg), void *arg);

/* Hex to malloc'ed bytes. */
uint8_t *hex_decode(const char *hex, size_t hex_length, size_t *ret_length);

#endif
