/* A map from byte strings to pointers: open addressing, keys copied, values borrowed.
 *
 * Thread: none of its own; the owner locks.  Keys may hold any bytes. */
#ifndef PENSTOCK_COMMON_HASHMAP_H
#define PENSTOCK_COMMON_HASHMAP_H

#include "common/status.h"
#include "common/str.h"

struct hashmap;

struct hashmap *hashmap_new(void); /* NULL: out of memory */
void hashmap_free(struct hashmap *map);
/* NULL when absent. */
void *hashmap_get(const struct hashmap *map, struct str key);
/* Adds or replaces.  value must not be NULL.  PST_NOMEM: unchanged. */
MUST_CHECK enum pst_status hashmap_put(struct hashmap *map, struct str key, void *value);
/* Takes it out and returns its value; NULL when absent. */
void *hashmap_remove(struct hashmap *map, struct str key);
size_t hashmap_count(const struct hashmap *map);
/* Steps through in no order: start with *cursor = 0; false at the end.  The map must not change meanwhile. */
bool hashmap_next(const struct hashmap *map, size_t *cursor, struct str *ret_key, void **ret_value);

#endif
