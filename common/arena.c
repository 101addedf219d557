#include "common/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_ALIGN       16u
#define ARENA_BLOCK_BYTES (16u * 1024) /* one block serves most requests without a second malloc */

struct arena_block {
    struct arena_block *next;
    size_t size_bytes; /* of the room behind the header */
    size_t used_bytes;
    size_t unused; /* keeps the room 16-byte aligned */
};

struct arena_cleanup {
    struct arena_cleanup *next;
    void (*function)(void *arg);
    void *arg;
};

struct arena {
    struct arena_block *blocks; /* the first one is being filled */
    struct arena_cleanup *cleanups;
    size_t budget_bytes;
    size_t used_bytes;
};

static struct arena_block *block_new(size_t size_bytes)
{
    struct arena_block *block = malloc(sizeof *block + size_bytes);

    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->size_bytes = size_bytes;
    block->used_bytes = 0;
    return block;
}

struct arena *arena_new(size_t budget_bytes)
{
    struct arena *arena = calloc(1, sizeof *arena);

    if (arena != NULL)
        arena->budget_bytes = budget_bytes;
    return arena;
}

void arena_clear(struct arena *arena)
{
    struct arena_block *keep = NULL;

    while (arena->cleanups != NULL) {
        struct arena_cleanup *cleanup = arena->cleanups;

        arena->cleanups = cleanup->next;
        cleanup->function(cleanup->arg);
    }
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;

        arena->blocks = block->next;
        if (keep == NULL && block->size_bytes == ARENA_BLOCK_BYTES) {
            keep = block;
            keep->next = NULL;
            keep->used_bytes = 0;
        } else {
            free(block);
        }
    }
    arena->blocks = keep;
    arena->used_bytes = 0;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    arena_clear(arena);
    free(arena->blocks);
    free(arena);
}

static void *block_take(struct arena_block *block, size_t size_bytes)
{
    void *at = (uint8_t *)(block + 1) + block->used_bytes;

    block->used_bytes += size_bytes;
    return at;
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
    struct arena_block *block = arena->blocks;
    bool large;

    if (size_bytes > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    size_bytes = (size_bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (size_bytes > arena->budget_bytes - arena->used_bytes)
        return NULL;
    if (block != NULL && size_bytes <= block->size_bytes - block->used_bytes) {
        arena->used_bytes += size_bytes;
        return block_take(block, size_bytes);
    }
    large = size_bytes > ARENA_BLOCK_BYTES / 4;
    block = block_new(large ? size_bytes : ARENA_BLOCK_BYTES);
    if (block == NULL)
        return NULL;
    if (large && arena->blocks != NULL) { /* keep filling the current block */
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    arena->used_bytes += size_bytes;
    return block_take(block, size_bytes);
}

void *arena_alloc_zero(struct arena *arena, size_t size_bytes)
{
    void *at = arena_alloc(arena, size_bytes);

    if (at != NULL)
        memset(at, 0, size_bytes);
    return at;
}

void *arena_array(struct arena *arena, size_t count, size_t element_bytes)
{
    size_t size_bytes;

    if (__builtin_mul_overflow(count, element_bytes, &size_bytes))
        return NULL;
    return arena_alloc_zero(arena, size_bytes);
}

char *arena_str_dup(struct arena *arena, struct str s)
{
    char *copy;

    if (s.at == NULL)
        return NULL;
    copy = arena_alloc(arena, s.length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s.at, s.length);
    copy[s.length] = '\0';
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_list again;
    char *text = NULL;
    int length;

    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0)
        text = arena_alloc(arena, (size_t)length + 1);
    if (text != NULL)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

enum pst_status arena_on_clear(struct arena *arena, void (*function)(void *arg), void *arg)
{
    struct arena_cleanup *cleanup = arena_alloc(arena, sizeof *cleanup);

    if (cleanup == NULL)
        return PST_NOMEM;
    cleanup->function = function;
    cleanup->arg = arg;
    cleanup->next = arena->cleanups;
    arena->cleanups = cleanup;
    return PST_OK;
}

size_t arena_used_bytes(const struct arena *arena)
{
    return arena->used_bytes;
}
