/* Directories and files of a test, below $TMPDIR or /tmp.  Test code: any failure ends the program with a
 * message. */
#ifndef PENSTOCK_TESTS_SUPPORT_TEMP_DIR_H
#define PENSTOCK_TESTS_SUPPORT_TEMP_DIR_H

#include "common/str.h"

#include <stdbool.h>
#include <stddef.h>

/* A fresh directory; free the path with temp_dir_remove. */
char *temp_dir_make(void);
/* Removes it with all that is in it, and frees the path. */
void temp_dir_remove(char *path);

/* "dir/name", in one of a few static buffers: good until the sixteenth next call. */
const char *path_in(const char *dir, const char *name);
void file_put(const char *path, const void *bytes, size_t length);
/* malloc'ed, NUL behind. */
char *file_get(const char *path, size_t *ret_length);
bool path_exists(const char *path);
/* Entries other than "." and "..". */
unsigned dir_entry_count(const char *path);

#endif
