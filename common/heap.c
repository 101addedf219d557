#include "common/heap.h"

#include "common/bug.h"

#include <stdlib.h>

void heap_free(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

static void place(struct heap *heap, size_t index, struct heap_node *node)
{
    heap->nodes[index] = node;
    node->index = index;
}

static void sift_up(struct heap *heap, size_t index, struct heap_node *node)
{
    while (index > 0 && heap->nodes[(index - 1) / 2]->key > node->key) {
        place(heap, index, heap->nodes[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    place(heap, index, node);
}

static void sift_down(struct heap *heap, size_t index, struct heap_node *node)
{
    for (;;) {
        size_t child = index * 2 + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (heap->nodes[child]->key >= node->key)
            break;
        place(heap, index, heap->nodes[child]);
        index = child;
    }
    place(heap, index, node);
}

enum pst_status heap_reserve(struct heap *heap, size_t count)
{
    size_t capacity = heap->capacity == 0 ? 16 : heap->capacity;
    struct heap_node **nodes;

    if (count <= heap->capacity)
        return PST_OK;
    while (capacity < count)
        capacity *= 2;
    nodes = realloc(heap->nodes, capacity * sizeof(struct heap_node *));
    if (nodes == NULL)
        return PST_NOMEM;
    heap->nodes = nodes;
    heap->capacity = capacity;
    return PST_OK;
}

enum pst_status heap_add(struct heap *heap, struct heap_node *node, int64_t key)
{
    if (heap_reserve(heap, heap->count + 1) != PST_OK)
        return PST_NOMEM;
    node->key = key;
    sift_up(heap, heap->count++, node);
    return PST_OK;
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    size_t index = node->index;
    struct heap_node *last;

    if (index == HEAP_NOWHERE)
        return;
    BUG_ON(index >= heap->count || heap->nodes[index] != node);
    node->index = HEAP_NOWHERE;
    last = heap->nodes[--heap->count];
    if (last == node)
        return;
    if (index > 0 && heap->nodes[(index - 1) / 2]->key > last->key)
        sift_up(heap, index, last);
    else
        sift_down(heap, index, last);
}

struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}
