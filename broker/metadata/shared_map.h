/* A persistent map from byte strings to reference-counted values: copying one is free, changing a copy leaves
 * the original as it was.
 *
 * A trie over the 64-bit hash of the key, 16 children a node.  Nodes are reference-counted and shared between
 * copies; a node with one reference, reached through nodes with one reference, belongs to this copy alone and
 * is changed in place.  Thread: a map that is being changed belongs to one thread; maps that are not may be
 * read by any. */
#ifndef PENSTOCK_BROKER_METADATA_SHARED_MAP_H
#define PENSTOCK_BROKER_METADATA_SHARED_MAP_H

#include "common/status.h"
#include "common/str.h"

#include <stdbool.h>

struct shared_map_kind {
    struct str (*key_of)(const void *value); /* lives as long as the value */
    void (*ref)(void *value);
    void (*unref)(void *value);
};

struct shared_map {
    const struct shared_map_kind *kind;
    void *root; /* a node; NULL: empty */
    size_t count;
};

void shared_map_init(struct shared_map *map, const struct shared_map_kind *kind);
void shared_map_copy(struct shared_map *to, const struct shared_map *from);
void shared_map_drop(struct shared_map *map); /* leaves it empty */

/* NULL: absent. */
void *shared_map_find(const struct shared_map *map, struct str key);
/* Adds, or replaces the value of the same key; takes a reference of its own.  PST_NOMEM: unchanged. */
MUST_CHECK enum pst_status shared_map_put(struct shared_map *map, void *value);
/* PST_NOT_FOUND: it was not in; PST_NOMEM: unchanged. */
MUST_CHECK enum pst_status shared_map_remove(struct shared_map *map, struct str key);
/* Every value, in no order, until fn returns false; false then. */
bool shared_map_each(const struct shared_map *map, bool (*fn)(void *arg, void *value), void *arg);

#endif
