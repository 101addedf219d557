#include "client/cluster.h"

#include "msg/metadata.h"
#include "protocol/api.h"
#include "protocol/error_codes.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define METADATA_ARENA_BYTES (256u * 1024u * 1024u)
#define DEFAULT_PORT         9092
#define NODES_MAX            100000 /* a hostile answer must not eat all memory */

static void ask_now(struct cluster *cluster);

/* ---- nodes ---- */

static struct node *node_new(int32_t id, struct str host, uint16_t port)
{
    struct node *node = calloc(1, sizeof *node);

    if (node == NULL)
        return NULL;
    node->id = id;
    node->port = port;
    node->host = str_dup(host);
    if (node->host == NULL) {
        free(node);
        return NULL;
    }
    return node;
}

static void node_free(struct node *node)
{
    if (node == NULL)
        return;
    for (int use = 0; use < CHANNEL_USE_COUNT; use++)
        channel_free(node->channels[use]);
    free(node->host);
    free(node);
}

static bool add_node(struct cluster *cluster, struct node *node)
{
    struct node **nodes;

    if (node == NULL || cluster->node_count >= NODES_MAX)
        goto fail;
    nodes = realloc(cluster->nodes, (cluster->node_count + 1) * sizeof(struct node *));
    if (nodes == NULL)
        goto fail;
    cluster->nodes = nodes;
    nodes[cluster->node_count++] = node;
    return true;

fail:
    node_free(node);
    return false;
}

struct node *cluster_node(struct cluster *cluster, int32_t id)
{
    for (size_t i = cluster->bootstrap_count; i < cluster->node_count; i++)
        if (cluster->nodes[i]->id == id)
            return cluster->nodes[i];
    return NULL;
}

struct channel *cluster_channel(struct cluster *cluster, struct node *node, enum channel_use use)
{
    if (node->channels[use] == NULL)
        node->channels[use] = channel_new(&cluster->env, node->host, node->port);
    return node->channels[use];
}

struct node *cluster_any_node(struct cluster *cluster)
{
    struct node *fallback = NULL;

    for (size_t i = 0; i < cluster->node_count; i++) {
        struct node *node = cluster->nodes[i];

        if (node->channels[CHANNEL_CONTROL] != NULL && channel_is_up(node->channels[CHANNEL_CONTROL]))
            return node;
    }
    for (size_t i = 0; i < cluster->node_count; i++) {
        struct node *node = cluster->nodes[(cluster->next_node + i) % cluster->node_count];
        struct channel *channel = node->channels[CHANNEL_CONTROL];

        if (channel != NULL && channel_is_backing_off(channel))
            continue;
        fallback = node;
        cluster->next_node += i + 1;
        break;
    }
    return fallback != NULL ? fallback : cluster->nodes[cluster->next_node++ % cluster->node_count];
}

static bool parse_address(struct str text, struct str *host, uint16_t *port)
{
    const char *colon = memrchr(text.at, ':', text.length);
    int64_t number = DEFAULT_PORT;

    if (text.length > 0 && text.at[0] == '[') {
        const char *close = memchr(text.at, ']', text.length);

        if (close == NULL)
            return false;
        *host = str_of_bytes(text.at + 1, (size_t)(close - text.at - 1));
        colon = close + 1 < text.at + text.length && close[1] == ':' ? close + 1 : NULL;
        if (colon == NULL && close + 1 != text.at + text.length)
            return false;
    } else {
        *host = str_of_bytes(text.at, colon == NULL ? text.length : (size_t)(colon - text.at));
    }
    if (colon != NULL &&
        !str_parse_i64(str_of_bytes(colon + 1, (size_t)(text.at + text.length - colon - 1)), &number))
        return false;
    *port = (uint16_t)number;
    return host->length > 0 && number > 0 && number <= UINT16_MAX;
}

static pst_err_t parse_bootstrap(struct cluster *cluster, struct pst_error *error)
{
    const char *at = cluster->env.config->text[OPTION_BOOTSTRAP];

    while (*at != '\0') {
        size_t length = strcspn(at, ","), skip = strspn(at, " ");
        struct str text = str_of_bytes(at + skip, length > skip ? length - skip : 0);
        struct str host;
        uint16_t port;

        while (text.length > 0 && text.at[text.length - 1] == ' ')
            text.length--;
        if (text.length > 0) {
            if (!parse_address(text, &host, &port))
                return error_set(error, PST_ERR_INVALID_CONFIG,
                                 "bootstrap.servers: \"%.*s\" is not host:port", STR_FORMAT(text));
            if (!add_node(cluster, node_new(-1, host, port)))
                return error_set_code(error, PST_ERR_NO_MEMORY);
        }
        at += length + (at[length] == ',');
    }
    cluster->bootstrap_count = cluster->node_count;
    if (cluster->node_count == 0)
        return error_set(error, PST_ERR_INVALID_CONFIG, "bootstrap.servers names nobody");
    return PST_ERR_NONE;
}

/* ---- topics ---- */

static void topic_free(struct topic *topic)
{
    free(topic->leaders);
    free(topic->name);
    free(topic);
}

static void deliver_wake(struct mail *mail)
{
    struct cluster *cluster = CONTAINER_OF(mail, struct cluster, wake);

    atomic_store(&cluster->wake_posted, false);
    cluster_refresh(cluster);
}

void cluster_refresh(struct cluster *cluster)
{
    int64_t soonest_us;

    if (!reactor_is_here(cluster->env.reactor)) {
        if (!atomic_exchange(&cluster->wake_posted, true))
            reactor_post(cluster->env.reactor, &cluster->wake);
        return;
    }
    if (cluster->refreshing) {
        cluster->again = true;
        return;
    }
    soonest_us = cluster->last_asked_us + cluster->env.config->number[OPTION_RETRY] * 1000;
    if (atomic_load(&cluster->urgent) || cluster->last_asked_us == 0 ||
        reactor_now_us(cluster->env.reactor) >= soonest_us)
        ask_now(cluster);
    else if (!timer_is_armed(&cluster->refresh) || cluster->refresh.node.key > soonest_us)
        reactor_arm(cluster->env.reactor, &cluster->refresh, soonest_us);
}

static struct topic *add_topic(struct cluster *cluster, const char *name)
{
    struct topic *topic = calloc(1, sizeof *topic);

    if (topic == NULL)
        return NULL;
    topic->name = strdup(name);
    if (topic->name == NULL || hashmap_put(cluster->topics, str_of(name), topic) != PST_OK) {
        topic_free(topic);
        return NULL;
    }
    return topic;
}

struct topic *cluster_topic(struct cluster *cluster, const char *name, bool may_create)
{
    struct topic *topic;
    bool fresh = false;

    pthread_mutex_lock(&cluster->lock);
    topic = hashmap_get(cluster->topics, str_of(name));
    if (topic == NULL) {
        topic = add_topic(cluster, name);
        fresh = topic != NULL;
    }
    if (topic != NULL && may_create && !topic->may_create) {
        topic->may_create = true;
        fresh |= !topic->known;
    }
    pthread_mutex_unlock(&cluster->lock);
    if (fresh) {
        atomic_store(&cluster->urgent, true);
        cluster_refresh(cluster);
    }
    return topic;
}

struct topic *cluster_topic_by_id(struct cluster *cluster, const struct uuid *id)
{
    struct topic *found = NULL;
    size_t cursor = 0;
    struct str name;
    void *value;

    pthread_mutex_lock(&cluster->lock);
    while (found == NULL && hashmap_next(cluster->topics, &cursor, &name, &value))
        if (uuid_equal(&((struct topic *)value)->id, id))
            found = value;
    pthread_mutex_unlock(&cluster->lock);
    return found;
}

struct node *cluster_leader(struct cluster *cluster, const struct topic *topic, int32_t partition,
                            int32_t *ret_epoch)
{
    const struct leader *leader;

    if (partition < 0 || partition >= topic->partition_count)
        return NULL;
    leader = &topic->leaders[partition];
    if (leader->node_id < 0)
        return NULL;
    if (ret_epoch != NULL)
        *ret_epoch = leader->epoch;
    return cluster_node(cluster, leader->node_id);
}

void cluster_learn_leader(struct cluster *cluster, struct topic *topic, int32_t partition, int32_t leader_id,
                          int32_t leader_epoch)
{
    struct leader *leader;

    if (partition < 0 || partition >= topic->partition_count || leader_id < 0)
        return;
    leader = &topic->leaders[partition];
    if (leader_epoch <= leader->epoch || cluster_node(cluster, leader_id) == NULL)
        return;
    pthread_mutex_lock(&cluster->lock);
    leader->node_id = leader_id;
    leader->epoch = leader_epoch;
    leader->error = 0;
    pthread_mutex_unlock(&cluster->lock);
}

/* ---- asking ---- */

struct inquiry {
    struct exchange exchange;
    struct cluster *cluster;
    bool creating; /* asks only for topics that may be created by asking */
};

static bool may_create(const struct topic *topic)
{
    return topic->may_create && !topic->known;
}

/* One flag of the request says whether asking creates, so topics that may be created are asked for by
 * themselves, in turn with all the others. */
static bool choose_creating(struct cluster *cluster)
{
    bool creating = false;
    size_t cursor = 0;
    struct str name;
    void *value;

    if (cluster->last_was_creating || cluster->env.config->number[OPTION_ALLOW_AUTO_CREATE] == 0)
        return false;
    pthread_mutex_lock(&cluster->lock);
    while (!creating && hashmap_next(cluster->topics, &cursor, &name, &value))
        creating = may_create(value);
    pthread_mutex_unlock(&cluster->lock);
    return creating;
}

static enum pst_status encode_inquiry(struct exchange *exchange, int16_t version, struct buf *out)
{
    struct inquiry *inquiry = CONTAINER_OF(exchange, struct inquiry, exchange);
    struct cluster *cluster = inquiry->cluster;
    struct metadata_request_metadata_request_topic *topics;
    struct metadata_request request;
    enum pst_status status;
    size_t cursor = 0;
    struct str name;
    void *value;

    message_init(&metadata_request_schema, &request);
    pthread_mutex_lock(&cluster->lock);
    atomic_store(&cluster->urgent, false);
    topics = calloc(hashmap_count(cluster->topics) + 1, sizeof *topics);
    while (topics != NULL && hashmap_next(cluster->topics, &cursor, &name, &value)) {
        const struct topic *topic = value;

        if (inquiry->creating && !may_create(topic))
            continue;
        message_init(&metadata_request_metadata_request_topic_schema, &topics[request.topics_count]);
        topics[request.topics_count++].name = str_of(topic->name);
    }
    pthread_mutex_unlock(&cluster->lock);
    if (topics == NULL)
        return PST_NOMEM;
    request.topics = topics;
    request.allow_auto_topic_creation = version < 4 || inquiry->creating;
    status = message_encode(&metadata_request_schema, version, &request, out);
    free(topics);
    return status;
}

static void apply_broker(struct cluster *cluster,
                         const struct metadata_response_metadata_response_broker *broker)
{
    struct node *node = cluster_node(cluster, broker->node_id);
    char *host;

    if (broker->node_id < 0 || broker->host.length == 0 || broker->port <= 0 || broker->port > UINT16_MAX)
        return;
    if (node == NULL) {
        (void)!add_node(cluster, node_new(broker->node_id, broker->host, (uint16_t)broker->port));
        return;
    }
    if (node->port == broker->port && str_equal_text(broker->host, node->host))
        return;
    host = str_dup(broker->host);
    if (host == NULL)
        return;
    free(node->host);
    node->host = host;
    node->port = (uint16_t)broker->port;
    for (int use = 0; use < CHANNEL_USE_COUNT; use++)
        if (node->channels[use] != NULL)
            channel_move(node->channels[use], host, node->port);
}

static void apply_partition(struct topic *topic,
                            const struct metadata_response_metadata_response_partition *from)
{
    struct leader *leader;

    if (from->partition_index < 0 || from->partition_index >= topic->partition_count)
        return;
    leader = &topic->leaders[from->partition_index];
    if (from->leader_epoch >= 0 && from->leader_epoch < leader->epoch)
        return; /* an answer of a broker that is behind */
    *leader = (struct leader){from->leader_id, from->leader_epoch, from->error_code};
    if (from->error_code == KAFKA_LEADER_NOT_AVAILABLE)
        leader->node_id = -1;
}

static void apply_topic(struct cluster *cluster, const struct metadata_response_metadata_response_topic *from)
{
    struct topic *topic = hashmap_get(cluster->topics, from->name);
    struct leader *leaders;

    if (topic == NULL)
        return;
    topic->answers++;
    topic->error = from->error_code;
    if (from->error_code != 0)
        return;
    if (!uuid_equal(&topic->id, &from->topic_id)) /* created anew: its epochs start again */
        topic->partition_count = 0;
    topic->id = from->topic_id;
    if (from->partitions_count > topic->partition_count) {
        leaders = realloc(topic->leaders, (size_t)from->partitions_count * sizeof *leaders);
        if (leaders == NULL)
            return;
        for (int32_t i = topic->partition_count; i < from->partitions_count; i++)
            leaders[i] = (struct leader){-1, -1, KAFKA_LEADER_NOT_AVAILABLE};
        topic->leaders = leaders;
        topic->partition_count = from->partitions_count;
    }
    for (int32_t i = 0; i < from->partitions_count; i++)
        apply_partition(topic, &from->partitions[i]);
    topic->known = topic->partition_count > 0;
}

static void apply_answer(struct cluster *cluster, const struct metadata_response *response)
{
    pthread_mutex_lock(&cluster->lock);
    for (int32_t i = 0; i < response->brokers_count; i++)
        apply_broker(cluster, &response->brokers[i]);
    for (int32_t i = 0; i < response->topics_count; i++)
        apply_topic(cluster, &response->topics[i]);
    cluster->controller_id = response->controller_id;
    if (response->cluster_id.at != NULL && cluster->cluster_id == NULL)
        cluster->cluster_id = str_dup(response->cluster_id);
    cluster->answers++;
    cluster->trouble[0] = '\0';
    pthread_cond_broadcast(&cluster->changed);
    pthread_mutex_unlock(&cluster->lock);
}

static void schedule_next(struct cluster *cluster, bool failed)
{
    const struct pst_config *config = cluster->env.config;
    int64_t pause_ms = config->number[OPTION_RETRY];

    if (!failed && !cluster->again) {
        cluster->failures = 0;
        pause_ms = config->number[OPTION_METADATA_AGE];
    } else {
        for (unsigned i = 0; i < cluster->failures && pause_ms < config->number[OPTION_RETRY_MAX]; i++)
            pause_ms *= 2;
        cluster->failures++;
    }
    if (!failed && atomic_load(&cluster->urgent))
        pause_ms = 0;
    cluster->again = false;
    reactor_arm(cluster->env.reactor, &cluster->refresh,
                reactor_now_us(cluster->env.reactor) + pause_ms * 1000);
}

static bool topic_wants_more(const struct topic *topic)
{
    if (topic->answers == 0 || (topic->error != 0 && kafka_error_is_retriable((int16_t)topic->error)))
        return true;
    for (int32_t i = 0; i < topic->partition_count; i++)
        if (topic->leaders[i].node_id < 0)
            return true;
    return false;
}

static bool wants_more(struct cluster *cluster)
{
    bool more = false;
    size_t cursor = 0;
    struct str name;
    void *value;

    pthread_mutex_lock(&cluster->lock);
    while (!more && hashmap_next(cluster->topics, &cursor, &name, &value))
        more = topic_wants_more(value);
    pthread_mutex_unlock(&cluster->lock);
    return more;
}

static void inquiry_done(struct exchange *exchange, const struct answer *answer)
{
    struct cluster *cluster = CONTAINER_OF(exchange, struct inquiry, exchange)->cluster;
    struct arena *arena = arena_new(METADATA_ARENA_BYTES);
    struct wire_reader reader = answer->reader;
    struct metadata_response response;
    bool failed = true;

    cluster->refreshing = false;
    if (answer->code == PST_ERR_NONE && arena != NULL &&
        message_decode(&metadata_response_schema, answer->version, &reader, arena, &response) == PST_OK) {
        apply_answer(cluster, &response);
        failed = false;
        cluster->again |= wants_more(cluster);
    }
    arena_free(arena);
    if (answer->code == PST_ERR_CLOSED && cluster->env.reactor->stop)
        return;
    schedule_next(cluster, failed);
    if (!failed)
        LIST_FOR_EACH (link, &cluster->listeners) {
            struct cluster_listener *listener = CONTAINER_OF(link, struct cluster_listener, link);

            listener->changed(listener);
        }
}

static void inquiry_release(struct exchange *exchange)
{
    free(CONTAINER_OF(exchange, struct inquiry, exchange));
}

static void ask_now(struct cluster *cluster)
{
    int64_t now_us = reactor_now_us(cluster->env.reactor);
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    struct node *node = cluster_any_node(cluster);
    struct channel *channel = cluster_channel(cluster, node, CHANNEL_CONTROL);

    cluster->last_asked_us = now_us;
    if (inquiry == NULL || channel == NULL) {
        free(inquiry);
        schedule_next(cluster, true);
        return;
    }
    reactor_disarm(cluster->env.reactor, &cluster->refresh);
    inquiry->cluster = cluster;
    inquiry->creating = choose_creating(cluster);
    cluster->last_was_creating = inquiry->creating;
    inquiry->exchange =
        (struct exchange){.api_key = API_METADATA,
                          .version_min = 1,
                          .version_max = 12,
                          .deadline_us = now_us + cluster->env.config->number[OPTION_REQUEST_TIMEOUT] * 1000,
                          .encode = encode_inquiry,
                          .done = inquiry_done,
                          .release = inquiry_release};
    cluster->refreshing = true;
    channel_submit(channel, &inquiry->exchange);
}

static void refresh_due(struct timer *timer)
{
    struct cluster *cluster = CONTAINER_OF(timer, struct cluster, refresh);

    if (!cluster->refreshing)
        ask_now(cluster);
}

/* ---- life ---- */

static void note_trouble(struct channel_env *env, const char *text)
{
    struct cluster *cluster = CONTAINER_OF(env, struct cluster, env);

    pthread_mutex_lock(&cluster->lock);
    snprintf(cluster->trouble, sizeof cluster->trouble, "%s", text);
    pthread_mutex_unlock(&cluster->lock);
    cluster_refresh(cluster);
}

pst_err_t cluster_open(struct cluster *cluster, struct pst_error *error)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&cluster->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cluster->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&cluster->listeners);
    timer_init(&cluster->refresh, refresh_due);
    cluster->wake.deliver = deliver_wake;
    cluster->controller_id = -1;
    cluster->env.on_trouble = note_trouble;
    cluster->topics = hashmap_new();
    if (cluster->topics == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    return parse_bootstrap(cluster, error);
}

void cluster_close(struct cluster *cluster)
{
    size_t cursor = 0;
    struct str name;
    void *value;

    for (size_t i = 0; i < cluster->node_count; i++)
        node_free(cluster->nodes[i]);
    free(cluster->nodes);
    if (cluster->topics != NULL)
        while (hashmap_next(cluster->topics, &cursor, &name, &value))
            topic_free(value);
    hashmap_free(cluster->topics);
    free(cluster->cluster_id);
    pthread_cond_destroy(&cluster->changed);
    pthread_mutex_destroy(&cluster->lock);
}
