#include "client/result.h"

#include "client/include/penstock/penstock.h"

#include <stdint.h>

#define RESULT_ARENA_BYTES (1024u * 1024u * 1024u)
#define RESULT_OFFSET      16u /* keeps the alignment of arena_alloc */

void *result_new(size_t size_bytes, struct arena **ret_arena)
{
    struct arena *arena = arena_new(RESULT_ARENA_BYTES);
    uint8_t *at = arena == NULL ? NULL : arena_alloc_zero(arena, RESULT_OFFSET + size_bytes);

    if (at == NULL) {
        arena_free(arena);
        return NULL;
    }
    memcpy(at, &arena, sizeof arena);
    *ret_arena = arena;
    return at + RESULT_OFFSET;
}

void pst_result_free(const void *result)
{
    struct arena *arena;

    if (result == NULL)
        return;
    memcpy(&arena, (const uint8_t *)result - RESULT_OFFSET, sizeof arena);
    arena_free(arena);
}
