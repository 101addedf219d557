/* What administration calls give back: one arena per result, found again from the pointer the user holds. */
#ifndef PENSTOCK_CLIENT_RESULT_H
#define PENSTOCK_CLIENT_RESULT_H

#include "common/arena.h"

/* A zeroed struct of size_bytes in an arena of its own (*ret_arena, for its parts).  NULL: out of memory. */
void *result_new(size_t size_bytes, struct arena **ret_arena);

#endif
