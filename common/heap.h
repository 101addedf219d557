/* A binary min-heap of nodes that live inside their owners; the order is an int64 key (a due time). */
#ifndef PENSTOCK_COMMON_HEAP_H
#define PENSTOCK_COMMON_HEAP_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t index; /* HEAP_NOWHERE: not in a heap */
};

#define HEAP_NOWHERE SIZE_MAX

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
};

void heap_free(struct heap *heap);
/* Until `count` nodes are inside heap_add cannot fail.  PST_NOMEM: not promised. */
MUST_CHECK enum pst_status heap_reserve(struct heap *heap, size_t count);
/* PST_NOMEM: not added. */
MUST_CHECK enum pst_status heap_add(struct heap *heap, struct heap_node *node, int64_t key);
void heap_remove(struct heap *heap, struct heap_node *node); /* harmless when not inside */
struct heap_node *heap_first(const struct heap *heap);       /* smallest key, NULL when empty */

#endif
