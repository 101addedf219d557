/* Memory that lives and dies together: one arena per request, with a budget.
 *
 * Thread: its owner only.  Nothing taken from an arena is freed by hand; foreign references (a segment, an
 * image) hang on it as cleanups, run in reverse order when it is cleared.  Over budget means the peer asked
 * for too much: the caller answers with a protocol error. */
#ifndef PENSTOCK_COMMON_ARENA_H
#define PENSTOCK_COMMON_ARENA_H

#include "common/status.h"
#include "common/str.h"

#include <stddef.h>

struct arena;

/* budget_bytes bounds what may be taken between two clears (headers of large blocks included).
 * NULL when memory is out. */
struct arena *arena_new(size_t budget_bytes);
void arena_free(struct arena *arena);

/* Runs the cleanups, gives memory back except one block kept for the next request. */
void arena_clear(struct arena *arena);

/* 16-byte aligned, not zeroed.  NULL when over budget or out of memory.  size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size_bytes);
void *arena_alloc_zero(struct arena *arena, size_t size_bytes);
/* count elements, zeroed; the product is checked. */
void *arena_array(struct arena *arena, size_t count, size_t element_bytes);
/* NUL-terminated copy; NULL view or no memory: NULL. */
char *arena_str_dup(struct arena *arena, struct str s);
char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/* function(arg) is called at the next clear.  PST_NOMEM: not registered, the caller still owns arg. */
MUST_CHECK enum pst_status arena_on_clear(struct arena *arena, void (*function)(void *arg), void *arg);

size_t arena_used_bytes(const struct arena *arena);

#endif
