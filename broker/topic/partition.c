#include "broker/topic/partition.h"

#include "common/bug.h"

#include <stdlib.h>

struct partition *partition_new(struct str topic, const struct uuid *topic_id, int32_t index, struct log *log)
{
    struct partition *partition = calloc(1, sizeof *partition);

    if (partition == NULL)
        return NULL;
    partition->topic = str_dup(topic);
    if (partition->topic == NULL) {
        free(partition);
        return NULL;
    }
    partition->topic_length = topic.length;
    partition->topic_id = *topic_id;
    partition->index = index;
    partition->log = log;
    partition->internal = str_equal(topic, STR_LITERAL("__consumer_offsets")) ||
                          str_equal(topic, STR_LITERAL("__transaction_state"));
    atomic_init(&partition->references, 1);
    atomic_init(&partition->in_sync_count, 1);
    atomic_init(&partition->min_in_sync, 1);
    pthread_mutex_init(&partition->waiters_lock, NULL);
    list_init(&partition->waiters);
    return partition;
}

struct partition *partition_ref(struct partition *partition)
{
    atomic_fetch_add_explicit(&partition->references, 1, memory_order_relaxed);
    return partition;
}

void partition_unref(struct partition *partition)
{
    if (partition == NULL || atomic_fetch_sub_explicit(&partition->references, 1, memory_order_acq_rel) != 1)
        return;
    BUG_ON(!list_is_empty(&partition->waiters));
    pthread_mutex_destroy(&partition->waiters_lock);
    free(partition->topic);
    free(partition);
}

struct str partition_topic(const struct partition *partition)
{
    return str_of_bytes(partition->topic, partition->topic_length);
}

void partition_wait(struct partition *partition, struct partition_waiter *waiter)
{
    pthread_mutex_lock(&partition->waiters_lock);
    list_push_back(&partition->waiters, &waiter->link);
    /* Ordered before the caller's second look at the log; partition_notify reads it after the publication. */
    atomic_fetch_add(&partition->waiter_count, 1);
    pthread_mutex_unlock(&partition->waiters_lock);
}

void partition_wait_end(struct partition *partition, struct partition_waiter *waiter)
{
    pthread_mutex_lock(&partition->waiters_lock);
    if (!list_is_empty(&waiter->link)) {
        list_remove(&waiter->link);
        atomic_fetch_sub(&partition->waiter_count, 1);
    }
    pthread_mutex_unlock(&partition->waiters_lock);
}

void partition_notify(struct partition *partition)
{
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the increment in partition_wait */
    if (atomic_load_explicit(&partition->waiter_count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&partition->waiters_lock);
    LIST_FOR_EACH (link, &partition->waiters) {
        struct partition_waiter *waiter = CONTAINER_OF(link, struct partition_waiter, link);

        waiter->wake(waiter);
    }
    pthread_mutex_unlock(&partition->waiters_lock);
}
