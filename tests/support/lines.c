#include "tests/support/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define LINE_BYTES_MAX (8u * 1024 * 1024)

unsigned lines_each(const char *path, void (*fn)(char *line, size_t length, void *arg), void *arg)
{
    gzFile file = gzopen(path, "rb");
    char *line = malloc(LINE_BYTES_MAX);
    unsigned count = 0;

    if (file == NULL || line == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    while (gzgets(file, line, LINE_BYTES_MAX) != NULL) {
        size_t length = strlen(line);

        if (length > 0 && line[length - 1] == '\n')
            line[--length] = '\0';
        fn(line, length, arg);
        count++;
    }
    free(line);
    gzclose(file);
    return count;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    fprintf(stderr, "'%c' is no hex digit\n", c);
    exit(1);
}

uint8_t *hex_decode(const char *hex, size_t hex_length, size_t *ret_length)
{
    uint8_t *bytes = malloc(hex_length / 2 + 1);

    for (size_t i = 0; i + 1 < hex_length; i += 2)
        bytes[i / 2] = (uint8_t)(nibble(hex[i]) << 4 | nibble(hex[i + 1]));
    *ret_length = hex_length / 2;
    return bytes;
}
