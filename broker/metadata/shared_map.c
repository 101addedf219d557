#include "broker/metadata/shared_map.h"

#include "common/bug.h"

#include <stdatomic.h>
#include <stdlib.h>

#define FANOUT_BITS 4u
#define FANOUT      16u
#define DEPTH_MAX   (64u / FANOUT_BITS) /* levels below which the hash has no more bits */
#define LEAF_TAG    1u                  /* values are aligned, so the lowest bit is free */

/* A child is NULL, a node, or a value with LEAF_TAG.  Below the last level children are values of one hash.
 */
struct shared_map_node {
    _Atomic unsigned references;
    void *children[FANOUT];
};

static bool is_leaf(const void *child)
{
    return ((uintptr_t)child & LEAF_TAG) != 0;
}

static void *leaf_of(void *value)
{
    BUG_ON(is_leaf(value));
    return (char *)value + LEAF_TAG;
}

static void *value_of(const void *child)
{
    return (char *)(uintptr_t)child - LEAF_TAG;
}

static unsigned slot_of(uint64_t hash, unsigned depth)
{
    return (unsigned)(hash >> (depth * FANOUT_BITS)) & (FANOUT - 1);
}

static void child_ref(const struct shared_map_kind *kind, void *child)
{
    if (child == NULL)
        return;
    if (is_leaf(child))
        kind->ref(value_of(child));
    else
        atomic_fetch_add_explicit(&((struct shared_map_node *)child)->references, 1, memory_order_relaxed);
}

static void child_unref(const struct shared_map_kind *kind, void *child)
{
    struct shared_map_node *node = child;

    if (child == NULL)
        return;
    if (is_leaf(child)) {
        kind->unref(value_of(child));
        return;
    }
    if (atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < FANOUT; i++)
        child_unref(kind, node->children[i]);
    free(node);
}

void shared_map_init(struct shared_map *map, const struct shared_map_kind *kind)
{
    *map = (struct shared_map){.kind = kind};
}

void shared_map_copy(struct shared_map *to, const struct shared_map *from)
{
    *to = *from;
    child_ref(from->kind, from->root);
}

void shared_map_drop(struct shared_map *map)
{
    child_unref(map->kind, map->root);
    map->root = NULL;
    map->count = 0;
}

static bool leaf_has_key(const struct shared_map *map, const void *child, struct str key)
{
    return str_equal(map->kind->key_of(value_of(child)), key);
}

/* Below the last level: where the key is, else the first free slot, else FANOUT. */
static unsigned last_level_slot(const struct shared_map *map, const struct shared_map_node *node,
                                struct str key)
{
    unsigned free_slot = FANOUT;

    for (unsigned i = 0; i < FANOUT; i++) {
        if (node->children[i] == NULL) {
            if (free_slot == FANOUT)
                free_slot = i;
        } else if (leaf_has_key(map, node->children[i], key)) {
            return i;
        }
    }
    return free_slot;
}

static unsigned place_of(const struct shared_map *map, const struct shared_map_node *node, struct str key,
                         uint64_t hash, unsigned depth)
{
    return depth < DEPTH_MAX ? slot_of(hash, depth) : last_level_slot(map, node, key);
}

void *shared_map_find(const struct shared_map *map, struct str key)
{
    uint64_t hash = str_hash(key);
    const void *child = map->root;

    for (unsigned depth = 0; child != NULL; depth++) {
        const struct shared_map_node *node = child;
        unsigned slot = place_of(map, node, key, hash, depth);

        child = slot < FANOUT ? node->children[slot] : NULL;
        if (child != NULL && is_leaf(child))
            return leaf_has_key(map, child, key) ? value_of(child) : NULL;
    }
    return NULL;
}

/* The node at *at, made ours alone.  NULL: out of memory, nothing changed. */
static struct shared_map_node *own(const struct shared_map_kind *kind, void **at)
{
    struct shared_map_node *node = *at;
    struct shared_map_node *copy;

    if (node != NULL && atomic_load_explicit(&node->references, memory_order_acquire) == 1)
        return node;
    copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    atomic_init(&copy->references, 1);
    for (unsigned i = 0; node != NULL && i < FANOUT; i++) {
        copy->children[i] = node->children[i];
        child_ref(kind, copy->children[i]);
    }
    *at = copy;
    child_unref(kind, node);
    return copy;
}

/* Puts a node in the place of a leaf, with the leaf inside. */
static struct shared_map_node *push_down(const struct shared_map *map, void **at, unsigned depth)
{
    struct shared_map_node *node = calloc(1, sizeof *node);
    uint64_t hash;

    if (node == NULL)
        return NULL;
    atomic_init(&node->references, 1);
    hash = str_hash(map->kind->key_of(value_of(*at)));
    node->children[depth < DEPTH_MAX ? slot_of(hash, depth) : 0] = *at;
    *at = node;
    return node;
}

enum pst_status shared_map_put(struct shared_map *map, void *value)
{
    struct str key = map->kind->key_of(value);
    uint64_t hash = str_hash(key);
    void **at = &map->root;

    for (unsigned depth = 0; depth <= DEPTH_MAX; depth++) {
        struct shared_map_node *node =
            *at != NULL && is_leaf(*at) ? push_down(map, at, depth) : own(map->kind, at);
        unsigned slot;

        if (node == NULL)
            return PST_NOMEM;
        slot = place_of(map, node, key, hash, depth);
        BUG_ON(slot == FANOUT); /* seventeen keys of one seeded 64-bit hash */
        at = &node->children[slot];
        if (*at == NULL || (is_leaf(*at) && leaf_has_key(map, *at, key))) {
            void *old = *at;

            map->kind->ref(value);
            *at = leaf_of(value);
            map->count += old == NULL;
            child_unref(map->kind, old);
            return PST_OK;
        }
    }
    BUG_ON(true); /* the last level has a slot or stopped above */
    return PST_INVALID;
}

static bool node_is_empty(const struct shared_map_node *node)
{
    for (unsigned i = 0; i < FANOUT; i++) {
        if (node->children[i] != NULL)
            return false;
    }
    return true;
}

/* The key is below *at.  Nodes that become empty go, so that names that come and go leave nothing behind. */
static enum pst_status remove_below(struct shared_map *map, void **at, struct str key, uint64_t hash,
                                    unsigned depth)
{
    struct shared_map_node *node;
    enum pst_status status;

    if (is_leaf(*at)) {
        child_unref(map->kind, *at);
        *at = NULL;
        map->count--;
        return PST_OK;
    }
    node = own(map->kind, at);
    if (node == NULL)
        return PST_NOMEM;
    status = remove_below(map, &node->children[place_of(map, node, key, hash, depth)], key, hash, depth + 1);
    if (status == PST_OK && node_is_empty(node)) {
        child_unref(map->kind, node);
        *at = NULL;
    }
    return status;
}

enum pst_status shared_map_remove(struct shared_map *map, struct str key)
{
    if (shared_map_find(map, key) == NULL)
        return PST_NOT_FOUND;
    return remove_below(map, &map->root, key, str_hash(key), 0);
}

static bool child_each(void *child, bool (*fn)(void *arg, void *value), void *arg)
{
    struct shared_map_node *node = child;

    if (child == NULL)
        return true;
    if (is_leaf(child))
        return fn(arg, value_of(child));
    for (unsigned i = 0; i < FANOUT; i++) {
        if (!child_each(node->children[i], fn, arg))
            return false;
    }
    return true;
}

bool shared_map_each(const struct shared_map *map, bool (*fn)(void *arg, void *value), void *arg)
{
    return child_each(map->root, fn, arg);
}
