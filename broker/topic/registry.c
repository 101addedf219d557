#include "broker/topic/registry.h"

#include "common/bug.h"
#include "common/hashmap.h"

#include <stdlib.h>

/* A topic as the registry holds it: its partitions by index. */
struct topic {
    struct uuid id;
    char *name;
    size_t name_length;
    struct partition **partitions;
    int32_t count;
    int32_t capacity;
};

struct registry {
    pthread_rwlock_t lock;
    struct hashmap *by_name;
    struct hashmap *by_id;
};

static struct str id_key(const struct uuid *id)
{
    return str_of_bytes(id->bytes, sizeof id->bytes);
}

enum pst_status registry_new(struct registry **ret)
{
    struct registry *registry = calloc(1, sizeof *registry);

    if (registry == NULL)
        return PST_NOMEM;
    pthread_rwlock_init(&registry->lock, NULL);
    registry->by_name = hashmap_new();
    registry->by_id = hashmap_new();
    if (registry->by_name == NULL || registry->by_id == NULL) {
        registry_free(registry);
        return PST_NOMEM;
    }
    *ret = registry;
    return PST_OK;
}

static void topic_free(struct topic *topic)
{
    for (int32_t i = 0; i < topic->count; i++)
        partition_unref(topic->partitions[i]);
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

void registry_free(struct registry *registry)
{
    size_t cursor = 0;
    void *value;

    if (registry == NULL)
        return;
    while (registry->by_name != NULL && hashmap_next(registry->by_name, &cursor, NULL, &value))
        topic_free(value);
    hashmap_free(registry->by_name);
    hashmap_free(registry->by_id);
    pthread_rwlock_destroy(&registry->lock);
    free(registry);
}

static enum pst_status take(const struct topic *topic, int32_t index, struct partition **ret)
{
    if (index < 0 || index >= topic->count)
        return PST_INVALID;
    *ret = partition_ref(topic->partitions[index]);
    return PST_OK;
}

enum pst_status registry_find(struct registry *registry, struct str name, int32_t index,
                              struct partition **ret)
{
    enum pst_status status = PST_NOT_FOUND;
    const struct topic *topic;

    pthread_rwlock_rdlock(&registry->lock);
    topic = hashmap_get(registry->by_name, name);
    if (topic != NULL && take(topic, index, ret) == PST_OK)
        status = PST_OK;
    pthread_rwlock_unlock(&registry->lock);
    return status;
}

enum pst_status registry_find_by_id(struct registry *registry, const struct uuid *topic_id, int32_t index,
                                    struct partition **ret)
{
    enum pst_status status = PST_NOT_FOUND;
    const struct topic *topic;

    pthread_rwlock_rdlock(&registry->lock);
    topic = hashmap_get(registry->by_id, id_key(topic_id));
    if (topic != NULL)
        status = take(topic, index, ret);
    pthread_rwlock_unlock(&registry->lock);
    return status;
}

bool registry_topic_name(struct registry *registry, const struct uuid *topic_id, char to[256])
{
    const struct topic *topic;

    pthread_rwlock_rdlock(&registry->lock);
    topic = hashmap_get(registry->by_id, id_key(topic_id));
    if (topic != NULL)
        memcpy(to, topic->name, topic->name_length + 1);
    pthread_rwlock_unlock(&registry->lock);
    return topic != NULL;
}

bool registry_topic_id(struct registry *registry, struct str name, struct uuid *ret)
{
    const struct topic *topic;

    pthread_rwlock_rdlock(&registry->lock);
    topic = hashmap_get(registry->by_name, name);
    if (topic != NULL)
        *ret = topic->id;
    pthread_rwlock_unlock(&registry->lock);
    return topic != NULL;
}

static struct topic *topic_new(const struct partition *partition)
{
    struct topic *topic = calloc(1, sizeof *topic);

    if (topic == NULL)
        return NULL;
    BUG_ON(partition->topic_length > 255);
    topic->id = partition->topic_id;
    topic->name_length = partition->topic_length;
    topic->name = str_dup(partition_topic(partition));
    if (topic->name == NULL) {
        free(topic);
        return NULL;
    }
    return topic;
}

static enum pst_status put_topic(struct registry *registry, struct topic *topic)
{
    struct str name = str_of_bytes(topic->name, topic->name_length);

    if (hashmap_put(registry->by_name, name, topic) != PST_OK)
        return PST_NOMEM;
    if (hashmap_put(registry->by_id, id_key(&topic->id), topic) != PST_OK) {
        hashmap_remove(registry->by_name, name);
        return PST_NOMEM;
    }
    return PST_OK;
}

static enum pst_status add_partition(struct topic *topic, struct partition *partition)
{
    if (topic->count == topic->capacity) {
        int32_t capacity = topic->capacity == 0 ? 1 : topic->capacity * 2;
        struct partition **grown = realloc(topic->partitions, (size_t)capacity * sizeof(struct partition *));

        if (grown == NULL)
            return PST_NOMEM;
        topic->partitions = grown;
        topic->capacity = capacity;
    }
    BUG_ON(partition->index != topic->count);
    topic->partitions[topic->count++] = partition;
    return PST_OK;
}

enum pst_status registry_add(struct registry *registry, struct partition *partition)
{
    enum pst_status status = PST_OK;
    struct topic *topic;

    pthread_rwlock_wrlock(&registry->lock);
    topic = hashmap_get(registry->by_name, partition_topic(partition));
    if (topic == NULL) {
        topic = topic_new(partition);
        status = topic == NULL ? PST_NOMEM : put_topic(registry, topic);
        if (status != PST_OK && topic != NULL)
            topic_free(topic);
    }
    if (status == PST_OK)
        status = add_partition(topic, partition);
    pthread_rwlock_unlock(&registry->lock);
    return status;
}

void registry_remove(struct registry *registry, const struct uuid *topic_id,
                     void (*fn)(struct partition *partition, void *arg), void *arg)
{
    struct topic *topic;

    pthread_rwlock_wrlock(&registry->lock);
    topic = hashmap_remove(registry->by_id, id_key(topic_id));
    if (topic != NULL)
        hashmap_remove(registry->by_name, str_of_bytes(topic->name, topic->name_length));
    pthread_rwlock_unlock(&registry->lock);
    if (topic == NULL)
        return;
    for (int32_t i = 0; i < topic->count; i++)
        fn(topic->partitions[i], arg);
    topic->count = 0;
    topic_free(topic);
}

void registry_each(struct registry *registry, void (*fn)(struct partition *partition, void *arg), void *arg)
{
    size_t cursor = 0;
    void *value;

    pthread_rwlock_rdlock(&registry->lock);
    while (hashmap_next(registry->by_name, &cursor, NULL, &value)) {
        const struct topic *topic = value;

        for (int32_t i = 0; i < topic->count; i++)
            fn(topic->partitions[i], arg);
    }
    pthread_rwlock_unlock(&registry->lock);
}
