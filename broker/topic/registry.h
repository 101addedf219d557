/* All partitions this broker serves, found by topic name or id.
 *
 * Threads: lookups from any thread under a read lock (rank: above everything a partition locks); changes from
 * the control thread only.  What a lookup returns is referenced: give it back with partition_unref. */
#ifndef PENSTOCK_BROKER_TOPIC_REGISTRY_H
#define PENSTOCK_BROKER_TOPIC_REGISTRY_H

#include "broker/topic/partition.h"
#include "common/status.h"

struct registry;

MUST_CHECK enum pst_status registry_new(struct registry **ret);
/* Drops its references; logs are closed by their owner before. */
void registry_free(struct registry *registry);

/* PST_OK: *ret is referenced; PST_NOT_FOUND: no such topic or partition. */
MUST_CHECK enum pst_status registry_find(struct registry *registry, struct str topic, int32_t index,
                                         struct partition **ret);
/* As above by id; PST_INVALID: the topic has no such partition (an unknown id is PST_NOT_FOUND). */
MUST_CHECK enum pst_status registry_find_by_id(struct registry *registry, const struct uuid *topic_id,
                                               int32_t index, struct partition **ret);
/* Name of a topic, copied into `to` (249 bytes at most plus NUL); false: unknown id. */
bool registry_topic_name(struct registry *registry, const struct uuid *topic_id, char to[256]);
/* False: unknown name. */
bool registry_topic_id(struct registry *registry, struct str topic, struct uuid *ret);

/* Takes over the caller's reference.  The partitions of a topic are added in order 0, 1, 2, ...  PST_NOMEM:
 * not added, the reference stays with the caller. */
MUST_CHECK enum pst_status registry_add(struct registry *registry, struct partition *partition);
/* Takes a topic out and hands its partitions to fn (with the registry's reference, without the lock held). */
void registry_remove(struct registry *registry, const struct uuid *topic_id,
                     void (*fn)(struct partition *partition, void *arg), void *arg);
/* Every partition, under the read lock; fn must not call the registry. */
void registry_each(struct registry *registry, void (*fn)(struct partition *partition, void *arg), void *arg);

#endif
