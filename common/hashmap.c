#include "common/hashmap.h"

#include "common/bug.h"

#include <stdlib.h>

struct hashmap_slot {
    uint64_t hash;
    char *key; /* NULL: free */
    size_t key_length;
    void *value;
};

struct hashmap {
    struct hashmap_slot *slots;
    size_t capacity; /* power of two, or 0 */
    size_t count;
};

#define CAPACITY_FIRST 8

struct hashmap *hashmap_new(void)
{
    return calloc(1, sizeof(struct hashmap));
}

void hashmap_free(struct hashmap *map)
{
    if (map == NULL)
        return;
    for (size_t i = 0; i < map->capacity; i++)
        free(map->slots[i].key);
    free(map->slots);
    free(map);
}

/* The slot with this key, or the free one where it belongs. */
static struct hashmap_slot *find(const struct hashmap *map, struct str key, uint64_t hash)
{
    size_t i = hash & (map->capacity - 1);

    for (;;) {
        struct hashmap_slot *slot = &map->slots[i];

        if (slot->key == NULL || (slot->hash == hash && slot->key_length == key.length &&
                                  memcmp(slot->key, key.at, key.length) == 0))
            return slot;
        i = (i + 1) & (map->capacity - 1);
    }
}

void *hashmap_get(const struct hashmap *map, struct str key)
{
    if (map->count == 0 || key.at == NULL)
        return NULL;
    return find(map, key, str_hash(key))->value; /* a free slot has no value */
}

static enum pst_status grow(struct hashmap *map)
{
    size_t capacity = map->capacity == 0 ? CAPACITY_FIRST : map->capacity * 2;
    struct hashmap bigger = {calloc(capacity, sizeof *bigger.slots), capacity, map->count};

    if (bigger.slots == NULL)
        return PST_NOMEM;
    for (size_t i = 0; i < map->capacity; i++) {
        const struct hashmap_slot *slot = &map->slots[i];

        if (slot->key != NULL)
            *find(&bigger, str_of_bytes(slot->key, slot->key_length), slot->hash) = *slot;
    }
    free(map->slots);
    *map = bigger;
    return PST_OK;
}

enum pst_status hashmap_put(struct hashmap *map, struct str key, void *value)
{
    uint64_t hash = str_hash(key);
    struct hashmap_slot *slot;

    BUG_ON(value == NULL || key.at == NULL);
    if (map->count + 1 > map->capacity / 4 * 3 && grow(map) != PST_OK)
        return PST_NOMEM;
    slot = find(map, key, hash);
    if (slot->key == NULL) {
        slot->key = str_dup(key);
        if (slot->key == NULL)
            return PST_NOMEM;
        slot->hash = hash;
        slot->key_length = key.length;
        map->count++;
    }
    slot->value = value;
    return PST_OK;
}

/* Closes the gap: every later slot of the run that may stand here moves up. */
static void close_gap(struct hashmap *map, size_t gap)
{
    size_t mask = map->capacity - 1;

    for (size_t i = (gap + 1) & mask; map->slots[i].key != NULL; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;

        if (((i - home) & mask) >= ((i - gap) & mask)) {
            map->slots[gap] = map->slots[i];
            gap = i;
        }
    }
    map->slots[gap] = (struct hashmap_slot){0};
}

void *hashmap_remove(struct hashmap *map, struct str key)
{
    struct hashmap_slot *slot;
    void *value;

    if (map->count == 0 || key.at == NULL)
        return NULL;
    slot = find(map, key, str_hash(key));
    if (slot->key == NULL)
        return NULL;
    value = slot->value;
    free(slot->key);
    slot->key = NULL;
    map->count--;
    close_gap(map, (size_t)(slot - map->slots));
    return value;
}

size_t hashmap_count(const struct hashmap *map)
{
    return map->count;
}

bool hashmap_next(const struct hashmap *map, size_t *cursor, struct str *ret_key, void **ret_value)
{
    while (*cursor < map->capacity) {
        const struct hashmap_slot *slot = &map->slots[(*cursor)++];

        if (slot->key == NULL)
            continue;
        if (ret_key != NULL)
            *ret_key = str_of_bytes(slot->key, slot->key_length);
        *ret_value = slot->value;
        return true;
    }
    return false;
}
