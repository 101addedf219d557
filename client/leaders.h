/* Work on many partitions that only their leaders can do: groups them by leader, sends, and tries the ones
 * again whose leader has moved.
 *
 * Thread: any but the reactor's. */
#ifndef PENSTOCK_CLIENT_LEADERS_H
#define PENSTOCK_CLIENT_LEADERS_H

#include "client/call.h"

struct leader_item {
    const char *topic;
    int32_t partition;
    struct pst_outcome *outcome;
    bool open; /* no final outcome yet */
    int32_t leader_epoch;
};

/* What one kind of request adds.  `arg` is the caller's. */
struct leader_work {
    struct call call; /* target, request and deadline are filled in */
    /* Builds call.request from the chosen items (indexes into the caller's array) in `arena`.  NULL: out of
     * memory. */
    void *(*build)(struct arena *arena, const struct leader_item *items, const size_t *chosen, size_t count,
                   void *arg);
    /* Sets outcome (and results) of the items the answer mentions, through leader_find. */
    void (*take)(const void *response, int16_t version, struct leader_item *items, const size_t *chosen,
                 size_t count, void *arg);
    void *arg;
};

/* Every item gets an outcome.  An error (no answer from anybody before the deadline) leaves open items'
 * outcomes unset. */
pst_err_t leaders_do(struct pst_client *client, struct leader_work *work, struct leader_item *items,
                     size_t count, int64_t timeout_ms, struct pst_error *error);

/* The chosen item for a partition of an answer; SIZE_MAX: none. */
size_t leader_find(const struct leader_item *items, const size_t *chosen, size_t count, struct str topic,
                   int32_t partition);

#endif
