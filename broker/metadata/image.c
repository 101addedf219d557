#include "broker/metadata/image_internal.h"

#include "common/bug.h"

#include <stdio.h>
#include <stdlib.h>

#define CHANGE_ARENA_BYTES   (16u << 20) /* one record: the longest value a batch can hold, decoded */
#define RESOURCE_TYPE_DIGITS 12u

static bool drop_reference(_Atomic unsigned *references)
{
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

/* ---- entries ---- */

struct metadata_partition *partition_entry_new(const struct partition_counts *counts)
{
    size_t ids = (size_t)counts->replicas + (size_t)counts->isr + (size_t)counts->removing +
                 (size_t)counts->adding + (size_t)counts->eligible + (size_t)counts->last_eligible;
    size_t directories = counts->directories ? (size_t)counts->replicas : 0;
    struct metadata_partition *p =
        calloc(1, sizeof *p + ids * sizeof(int32_t) + directories * sizeof(struct uuid));
    int32_t *at;

    if (p == NULL)
        return NULL;
    atomic_init(&p->references, 1);
    at = (int32_t *)(void *)(p + 1);
    p->replicas = at;
    p->isr = p->replicas + counts->replicas;
    p->removing = p->isr + counts->isr;
    p->adding = p->removing + counts->removing;
    p->eligible = p->adding + counts->adding;
    p->last_eligible = p->eligible + counts->eligible;
    p->directories =
        counts->directories ? (struct uuid *)(void *)(p->last_eligible + counts->last_eligible) : NULL;
    p->replica_count = counts->replicas;
    p->isr_count = counts->isr;
    p->removing_count = counts->removing;
    p->adding_count = counts->adding;
    p->eligible_count = counts->eligible;
    p->last_eligible_count = counts->last_eligible;
    return p;
}

void partition_entry_unref(struct metadata_partition *partition)
{
    if (partition != NULL && drop_reference(&partition->references))
        free(partition);
}

static void topic_ref(void *value)
{
    struct metadata_topic *topic = value;

    atomic_fetch_add_explicit(&topic->references, 1, memory_order_relaxed);
}

static void topic_unref(void *value)
{
    struct metadata_topic *topic = value;

    if (topic == NULL || !drop_reference(&topic->references))
        return;
    for (int32_t i = 0; i < topic->partition_count; i++)
        partition_entry_unref(topic->partitions[i]);
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

static bool name_is_internal(struct str name)
{
    return str_equal_text(name, "__consumer_offsets") || str_equal_text(name, "__transaction_state") ||
           str_equal_text(name, "__share_group_state");
}

static struct metadata_topic *topic_new(struct str name, const struct uuid *id, uint64_t change,
                                        int32_t capacity)
{
    struct metadata_topic *topic = calloc(1, sizeof *topic);

    if (topic == NULL)
        return NULL;
    atomic_init(&topic->references, 1);
    topic->change = change;
    topic->id = *id;
    topic->name = str_dup(name);
    topic->name_length = name.length;
    topic->internal = name_is_internal(name);
    topic->partition_capacity = capacity;
    topic->partitions = capacity == 0 ? NULL : calloc((size_t)capacity, sizeof(struct metadata_partition *));
    if (topic->name == NULL || (capacity > 0 && topic->partitions == NULL)) {
        topic_unref(topic);
        return NULL;
    }
    return topic;
}

static struct metadata_topic *topic_copy(const struct metadata_topic *from, uint64_t change)
{
    struct metadata_topic *topic =
        topic_new(metadata_topic_name(from), &from->id, change, from->partition_count);

    if (topic == NULL)
        return NULL;
    topic->partition_count = from->partition_count;
    for (int32_t i = 0; i < from->partition_count; i++) {
        topic->partitions[i] = from->partitions[i];
        if (topic->partitions[i] != NULL)
            atomic_fetch_add_explicit(&topic->partitions[i]->references, 1, memory_order_relaxed);
    }
    return topic;
}

static void configs_ref(void *value)
{
    struct metadata_configs *configs = value;

    atomic_fetch_add_explicit(&configs->references, 1, memory_order_relaxed);
}

static void config_free(struct metadata_config *config)
{
    free((char *)(uintptr_t)config->name.at);
    free((char *)(uintptr_t)config->value.at);
}

static void configs_unref(void *value)
{
    struct metadata_configs *configs = value;

    if (configs == NULL || !drop_reference(&configs->references))
        return;
    for (unsigned i = 0; i < configs->count; i++)
        config_free(&configs->configs[i]);
    free(configs->configs);
    free(configs->key);
    free(configs);
}

/* The key of a resource in tables: "2:name". */
static char *resource_key(enum metadata_resource type, struct str name, size_t *ret_length)
{
    size_t room = RESOURCE_TYPE_DIGITS + name.length + 1;
    char *key = malloc(room);
    int digits;

    if (key == NULL)
        return NULL;
    digits = snprintf(key, RESOURCE_TYPE_DIGITS, "%u:", (unsigned)type);
    if (name.length > 0)
        memcpy(key + digits, name.at, name.length);
    *ret_length = (size_t)digits + name.length;
    return key;
}

static struct metadata_configs *configs_new(enum metadata_resource type, struct str name, uint64_t change)
{
    struct metadata_configs *configs = calloc(1, sizeof *configs);

    if (configs == NULL)
        return NULL;
    atomic_init(&configs->references, 1);
    configs->change = change;
    configs->type = type;
    configs->key = resource_key(type, name, &configs->key_length);
    if (configs->key == NULL) {
        free(configs);
        return NULL;
    }
    configs->name = str_of_bytes(configs->key + configs->key_length - name.length, name.length);
    return configs;
}

static unsigned config_place(const struct metadata_configs *configs, struct str name, bool *ret_there)
{
    unsigned low = 0;
    unsigned high = configs->count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (str_compare(configs->configs[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_there = low < configs->count && str_equal(configs->configs[low].name, name);
    return low;
}

static enum pst_status configs_put(struct metadata_configs *configs, struct str name, struct str value)
{
    struct metadata_config entry = {str_of_bytes(str_dup(name), name.length),
                                    str_of_bytes(str_dup(value), value.length)};
    bool there;
    unsigned at = config_place(configs, name, &there);

    if (entry.name.at == NULL || entry.value.at == NULL)
        goto nomem;
    if (there) {
        config_free(&configs->configs[at]);
        configs->configs[at] = entry;
        return PST_OK;
    }
    if (configs->count == configs->capacity) {
        unsigned capacity = configs->capacity == 0 ? 4 : configs->capacity * 2;
        struct metadata_config *more = realloc(configs->configs, capacity * sizeof *more);

        if (more == NULL)
            goto nomem;
        configs->configs = more;
        configs->capacity = capacity;
    }
    memmove(&configs->configs[at + 1], &configs->configs[at], (configs->count - at) * sizeof entry);
    configs->configs[at] = entry;
    configs->count++;
    return PST_OK;

nomem:
    config_free(&entry);
    return PST_NOMEM;
}

static void configs_take(struct metadata_configs *configs, struct str name)
{
    bool there;
    unsigned at = config_place(configs, name, &there);

    if (!there)
        return;
    config_free(&configs->configs[at]);
    configs->count--;
    memmove(&configs->configs[at], &configs->configs[at + 1],
            (configs->count - at) * sizeof configs->configs[0]);
}

static struct metadata_configs *configs_copy(const struct metadata_configs *from, uint64_t change)
{
    struct metadata_configs *configs = configs_new(from->type, from->name, change);

    if (configs == NULL)
        return NULL;
    for (unsigned i = 0; i < from->count; i++) {
        if (configs_put(configs, from->configs[i].name, from->configs[i].value) != PST_OK) {
            configs_unref(configs);
            return NULL;
        }
    }
    return configs;
}

struct metadata_broker *broker_entry_new(unsigned endpoint_count, unsigned directory_count, struct str record)
{
    struct metadata_broker *broker =
        calloc(1, sizeof *broker + endpoint_count * sizeof(struct metadata_endpoint) +
                      directory_count * sizeof(struct uuid) + record.length);

    if (broker == NULL)
        return NULL;
    atomic_init(&broker->references, 1);
    broker->endpoint_count = endpoint_count;
    broker->endpoints = (struct metadata_endpoint *)(void *)(broker + 1);
    broker->directory_count = directory_count;
    broker->directories = (struct uuid *)(void *)(broker->endpoints + endpoint_count);
    broker->record = str_of_bytes(broker->directories + directory_count, record.length);
    memcpy(broker->directories + directory_count, record.at, record.length);
    return broker;
}

void broker_entry_unref(struct metadata_broker *broker)
{
    if (broker != NULL && drop_reference(&broker->references))
        free(broker);
}

static void kept_ref(void *value)
{
    struct kept_record *kept = value;

    atomic_fetch_add_explicit(&kept->references, 1, memory_order_relaxed);
}

static void kept_unref(void *value)
{
    struct kept_record *kept = value;

    if (drop_reference(&kept->references))
        free(kept);
}

/* ---- tables ---- */

static struct str topic_name_of(const void *value)
{
    return metadata_topic_name(value);
}

static struct str topic_id_of(const void *value)
{
    const struct metadata_topic *topic = value;

    return str_of_bytes(topic->id.bytes, sizeof topic->id.bytes);
}

static struct str configs_key_of(const void *value)
{
    const struct metadata_configs *configs = value;

    return str_of_bytes(configs->key, configs->key_length);
}

static struct str kept_key_of(const void *value)
{
    return ((const struct kept_record *)value)->key;
}

static const struct shared_map_kind topics_by_name_kind = {topic_name_of, topic_ref, topic_unref};
static const struct shared_map_kind topics_by_id_kind = {topic_id_of, topic_ref, topic_unref};
static const struct shared_map_kind configs_kind = {configs_key_of, configs_ref, configs_unref};
static const struct shared_map_kind kept_kind = {kept_key_of, kept_ref, kept_unref};

/* ---- images ---- */

struct metadata_image *image_new(void)
{
    struct metadata_image *image = calloc(1, sizeof *image);

    if (image == NULL)
        return NULL;
    atomic_init(&image->references, 1);
    image->offset = -1;
    shared_map_init(&image->topics_by_name, &topics_by_name_kind);
    shared_map_init(&image->topics_by_id, &topics_by_id_kind);
    shared_map_init(&image->configs, &configs_kind);
    shared_map_init(&image->kept, &kept_kind);
    return image;
}

struct metadata_image *image_derive(const struct metadata_image *base)
{
    struct metadata_image *image = malloc(sizeof *image);
    struct metadata_broker **brokers = calloc(base->broker_count + 1, sizeof(struct metadata_broker *));

    if (image == NULL || brokers == NULL) {
        free(image);
        free(brokers);
        return NULL;
    }
    memcpy(image, base, sizeof *image);
    atomic_init(&image->references, 1);
    shared_map_copy(&image->topics_by_name, &base->topics_by_name);
    shared_map_copy(&image->topics_by_id, &base->topics_by_id);
    shared_map_copy(&image->configs, &base->configs);
    shared_map_copy(&image->kept, &base->kept);
    image->brokers = brokers;
    image->broker_capacity = base->broker_count + 1;
    for (unsigned i = 0; i < base->broker_count; i++) {
        brokers[i] = base->brokers[i];
        atomic_fetch_add_explicit(&brokers[i]->references, 1, memory_order_relaxed);
    }
    return image;
}

void metadata_hold(const struct metadata_image *image)
{
    struct metadata_image *held = (struct metadata_image *)(uintptr_t)image; /* only the count changes */

    atomic_fetch_add_explicit(&held->references, 1, memory_order_relaxed);
}

void metadata_release(const struct metadata_image *image)
{
    struct metadata_image *held = (struct metadata_image *)(uintptr_t)image;

    if (held == NULL || !drop_reference(&held->references))
        return;
    shared_map_drop(&held->topics_by_name);
    shared_map_drop(&held->topics_by_id);
    shared_map_drop(&held->configs);
    shared_map_drop(&held->kept);
    for (unsigned i = 0; i < held->broker_count; i++)
        broker_entry_unref(held->brokers[i]);
    free(held->brokers);
    free(held);
}

int64_t metadata_image_offset(const struct metadata_image *image)
{
    return image->offset;
}

int32_t metadata_image_epoch(const struct metadata_image *image)
{
    return image->epoch;
}

const struct metadata_topic *metadata_topic_find(const struct metadata_image *image, struct str name)
{
    return shared_map_find(&image->topics_by_name, name);
}

const struct metadata_topic *metadata_topic_find_by_id(const struct metadata_image *image,
                                                       const struct uuid *id)
{
    return shared_map_find(&image->topics_by_id, str_of_bytes(id->bytes, sizeof id->bytes));
}

size_t metadata_topic_count(const struct metadata_image *image)
{
    return image->topics_by_name.count;
}

size_t metadata_partition_total(const struct metadata_image *image)
{
    return image->partition_total;
}

struct each_topic {
    bool (*fn)(void *arg, const struct metadata_topic *topic);
    void *arg;
};

static bool each_topic(void *arg, void *value)
{
    const struct each_topic *each = arg;

    return each->fn(each->arg, value);
}

void metadata_topic_each(const struct metadata_image *image,
                         bool (*fn)(void *arg, const struct metadata_topic *topic), void *arg)
{
    struct each_topic each = {fn, arg};

    shared_map_each(&image->topics_by_name, each_topic, &each);
}

struct topic_collector {
    const struct metadata_topic **topics;
    size_t count;
};

static bool collect_topic(void *arg, const struct metadata_topic *topic)
{
    struct topic_collector *collector = arg;

    collector->topics[collector->count++] = topic;
    return true;
}

static int compare_topics(const void *a, const void *b)
{
    return str_compare(metadata_topic_name(*(const struct metadata_topic *const *)a),
                       metadata_topic_name(*(const struct metadata_topic *const *)b));
}

const struct metadata_topic **metadata_topics_sorted(const struct metadata_image *image, size_t *ret_count)
{
    struct topic_collector collector = {
        calloc(metadata_topic_count(image) + 1, sizeof(struct metadata_topic *)), 0};

    if (collector.topics == NULL)
        return NULL;
    metadata_topic_each(image, collect_topic, &collector);
    qsort(collector.topics, collector.count, sizeof(struct metadata_topic *), compare_topics);
    *ret_count = collector.count;
    return collector.topics;
}

const struct metadata_configs *metadata_configs_find(const struct metadata_image *image,
                                                     enum metadata_resource type, struct str name)
{
    size_t length;
    char *key = resource_key(type, name, &length);
    const struct metadata_configs *configs = NULL;

    BUG_ON(key == NULL); /* a few hundred bytes: nothing goes on without them */
    configs = shared_map_find(&image->configs, str_of_bytes(key, length));
    free(key);
    return configs;
}

struct str metadata_config_get(const struct metadata_configs *configs, struct str name)
{
    bool there;
    unsigned at;

    if (configs == NULL)
        return str_null();
    at = config_place(configs, name, &there);
    return there ? configs->configs[at].value : str_null();
}

unsigned metadata_broker_count(const struct metadata_image *image)
{
    return image->broker_count;
}

const struct metadata_broker *metadata_broker_at(const struct metadata_image *image, unsigned index)
{
    BUG_ON(index >= image->broker_count);
    return image->brokers[index];
}

static unsigned broker_place(const struct metadata_image *image, int32_t id)
{
    unsigned at = 0;

    while (at < image->broker_count && image->brokers[at]->id < id)
        at++;
    return at;
}

const struct metadata_broker *metadata_broker_find(const struct metadata_image *image, int32_t id)
{
    unsigned at = broker_place(image, id);

    return at < image->broker_count && image->brokers[at]->id == id ? image->brokers[at] : NULL;
}

const struct metadata_endpoint *metadata_broker_endpoint(const struct metadata_broker *broker,
                                                         struct str listener)
{
    for (unsigned i = 0; i < broker->endpoint_count; i++) {
        if (str_equal(broker->endpoints[i].name, listener))
            return &broker->endpoints[i];
    }
    return NULL;
}

unsigned metadata_feature_count(const struct metadata_image *image)
{
    return image->feature_count;
}

struct metadata_feature metadata_feature_at(const struct metadata_image *image, unsigned index)
{
    BUG_ON(index >= image->feature_count);
    return (struct metadata_feature){str_of(image->features[index].name), image->features[index].level};
}

static unsigned feature_place(const struct metadata_image *image, struct str name, bool *ret_there)
{
    unsigned at = 0;

    while (at < image->feature_count && str_compare(str_of(image->features[at].name), name) < 0)
        at++;
    *ret_there = at < image->feature_count && str_equal_text(name, image->features[at].name);
    return at;
}

int16_t metadata_feature_level(const struct metadata_image *image, struct str name)
{
    bool there;
    unsigned at = feature_place(image, name, &there);

    return there ? image->features[at].level : 0;
}

int64_t metadata_next_producer_id(const struct metadata_image *image)
{
    return image->next_producer_id;
}

/* ---- changes ---- */

enum pst_status image_change_begin(const struct metadata_image *base, struct image_change *ret)
{
    static _Atomic uint64_t numbers;

    *ret = (struct image_change){
        .base = base,
        .next = image_derive(base),
        .number = atomic_fetch_add_explicit(&numbers, 1, memory_order_relaxed) + 1,
        .topics = hashmap_new(),
        .configs = hashmap_new(),
        .arena = arena_new(CHANGE_ARENA_BYTES),
    };
    metadata_hold(base);
    if (ret->next == NULL || ret->topics == NULL || ret->configs == NULL || ret->arena == NULL) {
        image_change_end(ret);
        return PST_NOMEM;
    }
    return PST_OK;
}

void image_change_end(struct image_change *change)
{
    metadata_release(change->next);
    metadata_release(change->base);
    hashmap_free(change->topics);
    hashmap_free(change->configs);
    arena_free(change->arena);
    free(change->topic_changes);
    free(change->config_changes);
    *change = (struct image_change){0};
}

static enum pst_status topic_is_whole(struct image_change *change, const struct metadata_topic *topic)
{
    for (int32_t i = 0; i < topic->partition_count; i++) {
        if (topic->partitions[i] == NULL) {
            snprintf(change->text, sizeof change->text, "topic %s has no record of its partition %d",
                     topic->name, i);
            return PST_CORRUPT;
        }
    }
    return PST_OK;
}

static enum pst_status list_topic_changes(struct image_change *change)
{
    size_t cursor = 0;
    struct str key;
    void *unused;

    change->topic_changes = calloc(hashmap_count(change->topics) + 1, sizeof *change->topic_changes);
    if (change->topic_changes == NULL)
        return PST_NOMEM;
    while (hashmap_next(change->topics, &cursor, &key, &unused)) {
        struct metadata_topic_change one = {shared_map_find(&change->base->topics_by_id, key),
                                            shared_map_find(&change->next->topics_by_id, key)};

        if (one.before == one.after)
            continue;
        if (one.after != NULL && topic_is_whole(change, one.after) != PST_OK)
            return PST_CORRUPT;
        change->topic_changes[change->delta.topic_count++] = one;
    }
    change->delta.topics = change->topic_changes;
    return PST_OK;
}

/* Of a topic that came or went with this change: its subscribers hear that already. */
static bool topic_is_new_or_gone(const struct image_change *change, struct str name)
{
    const struct metadata_topic *before = metadata_topic_find(change->base, name);
    const struct metadata_topic *after = metadata_topic_find(change->next, name);

    return before == NULL || after == NULL || !uuid_equal(&before->id, &after->id);
}

static enum pst_status list_config_changes(struct image_change *change)
{
    size_t cursor = 0;
    struct str key;
    void *unused;

    change->config_changes = calloc(hashmap_count(change->configs) + 1, sizeof *change->config_changes);
    if (change->config_changes == NULL)
        return PST_NOMEM;
    while (hashmap_next(change->configs, &cursor, &key, &unused)) {
        const struct metadata_configs *configs = shared_map_find(&change->next->configs, key);
        struct metadata_config_resource one;

        if (configs == NULL)
            configs = shared_map_find(&change->base->configs, key);
        if (configs == NULL)
            continue;
        one = (struct metadata_config_resource){configs->type, configs->name};
        if (one.type == METADATA_RESOURCE_TOPIC && topic_is_new_or_gone(change, one.name))
            continue;
        change->config_changes[change->delta.config_count++] = one;
    }
    change->delta.configs = change->config_changes;
    return PST_OK;
}

enum pst_status image_change_finish(struct image_change *change)
{
    enum pst_status status = list_topic_changes(change);

    if (status == PST_OK)
        status = list_config_changes(change);
    change->delta.brokers_changed = change->brokers_changed;
    return status;
}

static enum pst_status touch_topic(struct image_change *change, const struct uuid *id)
{
    return hashmap_put(change->topics, str_of_bytes(id->bytes, sizeof id->bytes), change);
}

/* The topic as an entry of this change, in both tables.  *ret is borrowed. */
static enum pst_status own_topic(struct image_change *change, const struct uuid *id,
                                 struct metadata_topic **ret)
{
    struct metadata_image *next = change->next;
    struct metadata_topic *topic =
        shared_map_find(&next->topics_by_id, str_of_bytes(id->bytes, sizeof id->bytes));
    enum pst_status status;

    if (topic == NULL) {
        char text[UUID_TEXT_LENGTH + 1];

        uuid_format(id, text);
        snprintf(change->text, sizeof change->text, "no topic has the id %s", text);
        return PST_CORRUPT;
    }
    if (topic->change == change->number) {
        *ret = topic;
        return PST_OK;
    }
    topic = topic_copy(topic, change->number);
    if (topic == NULL)
        return PST_NOMEM;
    status = touch_topic(change, id);
    if (status == PST_OK)
        status = shared_map_put(&next->topics_by_id, topic);
    if (status == PST_OK)
        status = shared_map_put(&next->topics_by_name, topic);
    *ret = topic;
    topic_unref(topic);
    return status;
}

enum pst_status change_add_topic(struct image_change *change, struct str name, const struct uuid *id)
{
    struct metadata_topic *topic;
    enum pst_status status;

    if (metadata_topic_find(change->next, name) != NULL ||
        metadata_topic_find_by_id(change->next, id) != NULL) {
        snprintf(change->text, sizeof change->text, "topic %.*s exists already", STR_FORMAT(name));
        return PST_CORRUPT;
    }
    topic = topic_new(name, id, change->number, 0);
    if (topic == NULL)
        return PST_NOMEM;
    status = touch_topic(change, id);
    if (status == PST_OK)
        status = shared_map_put(&change->next->topics_by_id, topic);
    if (status == PST_OK)
        status = shared_map_put(&change->next->topics_by_name, topic);
    topic_unref(topic);
    return status;
}

static enum pst_status touch_configs(struct image_change *change, struct str key)
{
    return hashmap_put(change->configs, key, change);
}

enum pst_status change_remove_topic(struct image_change *change, const struct uuid *id)
{
    struct metadata_image *next = change->next;
    struct metadata_topic *topic;
    struct metadata_configs *configs;
    enum pst_status status = own_topic(change, id, &topic);

    if (status != PST_OK)
        return status;
    topic_ref(topic);
    configs = (struct metadata_configs *)(uintptr_t)metadata_configs_find(next, METADATA_RESOURCE_TOPIC,
                                                                          metadata_topic_name(topic));
    if (configs != NULL) {
        status = touch_configs(change, configs_key_of(configs));
        if (status == PST_OK)
            status = shared_map_remove(&next->configs, configs_key_of(configs));
    }
    if (status == PST_OK)
        status = shared_map_remove(&next->topics_by_id, topic_id_of(topic));
    if (status == PST_OK)
        status = shared_map_remove(&next->topics_by_name, metadata_topic_name(topic));
    if (status == PST_OK) {
        for (int32_t i = 0; i < topic->partition_count; i++)
            next->partition_total -= topic->partitions[i] != NULL;
    }
    topic_unref(topic);
    return status;
}

static enum pst_status topic_make_room(struct metadata_topic *topic, int32_t count)
{
    struct metadata_partition **more;
    int32_t capacity = topic->partition_capacity < 4 ? 4 : topic->partition_capacity;

    if (count <= topic->partition_capacity)
        return PST_OK;
    while (capacity < count)
        capacity *= 2;
    more = realloc(topic->partitions, (size_t)capacity * sizeof(struct metadata_partition *));
    if (more == NULL)
        return PST_NOMEM;
    memset(more + topic->partition_capacity, 0,
           (size_t)(capacity - topic->partition_capacity) * sizeof(struct metadata_partition *));
    topic->partitions = more;
    topic->partition_capacity = capacity;
    return PST_OK;
}

enum pst_status change_put_partition(struct image_change *change, const struct uuid *topic_id,
                                     struct metadata_partition *partition)
{
    struct metadata_topic *topic;
    enum pst_status status = own_topic(change, topic_id, &topic);

    if (status != PST_OK)
        goto fail;
    if (partition->index < 0 || partition->index >= PARTITIONS_OF_TOPIC_MAX) {
        snprintf(change->text, sizeof change->text, "topic %s: partition %d is out of range", topic->name,
                 partition->index);
        status = PST_CORRUPT;
        goto fail;
    }
    status = topic_make_room(topic, partition->index + 1);
    if (status != PST_OK)
        goto fail;
    if (partition->index >= topic->partition_count)
        topic->partition_count = partition->index + 1;
    change->next->partition_total += topic->partitions[partition->index] == NULL;
    partition_entry_unref(topic->partitions[partition->index]);
    topic->partitions[partition->index] = partition;
    return PST_OK;

fail:
    partition_entry_unref(partition);
    return status;
}

/* The resource's settings as an entry of this change; *ret is borrowed. */
static enum pst_status own_configs(struct image_change *change, enum metadata_resource type, struct str name,
                                   struct metadata_configs **ret)
{
    struct metadata_configs *configs =
        (struct metadata_configs *)(uintptr_t)metadata_configs_find(change->next, type, name);
    enum pst_status status;

    if (configs != NULL && configs->change == change->number) {
        *ret = configs;
        return PST_OK;
    }
    configs =
        configs == NULL ? configs_new(type, name, change->number) : configs_copy(configs, change->number);
    if (configs == NULL)
        return PST_NOMEM;
    status = touch_configs(change, configs_key_of(configs));
    if (status == PST_OK)
        status = shared_map_put(&change->next->configs, configs);
    *ret = configs;
    configs_unref(configs);
    return status;
}

enum pst_status change_set_config(struct image_change *change, enum metadata_resource type, struct str name,
                                  struct str config, struct str value)
{
    struct metadata_configs *configs;
    enum pst_status status;

    if (str_is_null(value) && metadata_configs_find(change->next, type, name) == NULL)
        return PST_OK;
    status = own_configs(change, type, name, &configs);
    if (status != PST_OK)
        return status;
    if (!str_is_null(value))
        return configs_put(configs, config, value);
    configs_take(configs, config);
    return configs->count > 0 ? PST_OK : shared_map_remove(&change->next->configs, configs_key_of(configs));
}

enum pst_status change_put_broker(struct image_change *change, struct metadata_broker *broker)
{
    struct metadata_image *next = change->next;
    unsigned at = broker_place(next, broker->id);

    change->brokers_changed = true;
    if (at < next->broker_count && next->brokers[at]->id == broker->id) {
        broker_entry_unref(next->brokers[at]);
        next->brokers[at] = broker;
        return PST_OK;
    }
    if (next->broker_count == next->broker_capacity) {
        unsigned capacity = next->broker_capacity == 0 ? 4 : next->broker_capacity * 2;
        struct metadata_broker **more =
            capacity > BROKERS_MAX ? NULL
                                   : realloc(next->brokers, capacity * sizeof(struct metadata_broker *));

        if (more == NULL) {
            broker_entry_unref(broker);
            return PST_NOMEM;
        }
        next->brokers = more;
        next->broker_capacity = capacity;
    }
    memmove(&next->brokers[at + 1], &next->brokers[at], (next->broker_count - at) * sizeof next->brokers[0]);
    next->brokers[at] = broker;
    next->broker_count++;
    return PST_OK;
}

void change_remove_broker(struct image_change *change, int32_t id)
{
    struct metadata_image *next = change->next;
    unsigned at = broker_place(next, id);

    if (at == next->broker_count || next->brokers[at]->id != id)
        return;
    broker_entry_unref(next->brokers[at]);
    next->broker_count--;
    memmove(&next->brokers[at], &next->brokers[at + 1], (next->broker_count - at) * sizeof next->brokers[0]);
    change->brokers_changed = true;
}

enum pst_status change_set_feature(struct image_change *change, struct str name, int16_t level)
{
    struct metadata_image *next = change->next;
    bool there;
    unsigned at = feature_place(next, name, &there);

    if (level == 0) {
        if (there) {
            next->feature_count--;
            memmove(&next->features[at], &next->features[at + 1],
                    (next->feature_count - at) * sizeof next->features[0]);
        }
        return PST_OK;
    }
    if (!there) {
        if (next->feature_count == FEATURES_MAX || name.length > FEATURE_NAME_LENGTH_MAX) {
            snprintf(change->text, sizeof change->text, "too many features, or a name too long");
            return PST_FULL;
        }
        memmove(&next->features[at + 1], &next->features[at],
                (next->feature_count - at) * sizeof next->features[0]);
        next->feature_count++;
        memcpy(next->features[at].name, name.at, name.length);
        next->features[at].name[name.length] = '\0';
    }
    next->features[at].level = level;
    return PST_OK;
}

enum pst_status change_keep(struct image_change *change, struct str key, struct str record)
{
    struct kept_record *kept = malloc(sizeof *kept + key.length + record.length);
    enum pst_status status;

    if (kept == NULL)
        return PST_NOMEM;
    atomic_init(&kept->references, 1);
    memcpy(kept + 1, key.at, key.length);
    memcpy((char *)(kept + 1) + key.length, record.at, record.length);
    kept->key = str_of_bytes(kept + 1, key.length);
    kept->record = str_of_bytes((char *)(kept + 1) + key.length, record.length);
    status = shared_map_put(&change->next->kept, kept);
    kept_unref(kept);
    return status;
}

enum pst_status change_forget(struct image_change *change, struct str key)
{
    enum pst_status status = shared_map_remove(&change->next->kept, key);

    return status == PST_NOT_FOUND ? PST_OK : status;
}
