/* What the client knows of the cluster: brokers with their channels, topics with their partitions' leaders.
 *
 * Thread: written by the reactor's thread only, under `lock`; read there without it, elsewhere under it.  The
 * map of topics is used under `lock` everywhere, because any thread adds names.  Nodes and topics are never
 * freed before the client, so pointers to them stay good; their number is bounded by what the application
 * names and the cluster has. */
#ifndef PENSTOCK_CLIENT_CLUSTER_H
#define PENSTOCK_CLIENT_CLUSTER_H

#include "client/channel.h"
#include "common/hashmap.h"
#include "common/uuid.h"

/* One connection each, because a broker answers a connection's requests in order: a fetch that waits for data
 * must not keep a produce waiting. */
enum channel_use {
    CHANNEL_CONTROL,
    CHANNEL_PRODUCE,
    CHANNEL_USE_COUNT
}; /* consumers have channels of their own */

struct node {
    int32_t id; /* -1: a bootstrap address */
    char *host;
    uint16_t port;
    struct channel *channels[CHANNEL_USE_COUNT]; /* NULL until first used */
    unsigned produce_in_flight;                  /* requests, of all producers */
};

struct leader {
    int32_t node_id; /* -1: none */
    int32_t epoch;   /* -1: not told */
    int16_t error;
};

struct topic {
    char *name;
    struct uuid id;   /* zero: not told */
    pst_err_t error;  /* of the topic as a whole, from the last answer */
    unsigned answers; /* answers that spoke of it */
    int32_t partition_count;
    struct leader *leaders;
    bool known;      /* an answer without error has come */
    bool may_create; /* asking for it may create it */
};

/* Told after every answer, on the reactor's thread. */
struct cluster_listener {
    struct list link;
    void (*changed)(struct cluster_listener *listener);
};

struct cluster {
    struct channel_env env; /* first: env.on_trouble finds the cluster by it */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC; topics, nodes or troubles changed */
    struct hashmap *topics;
    struct node **nodes;
    size_t node_count;
    size_t bootstrap_count; /* the first so many nodes */
    size_t next_node;       /* where to ask next */
    int32_t controller_id;
    char *cluster_id;
    uint64_t answers;                   /* metadata answers so far */
    char trouble[PST_ERROR_TEXT_BYTES]; /* the last failure of a connection; "" since the last success */

    struct list listeners;
    struct timer refresh;
    bool refreshing; /* a request is on its way */
    bool last_was_creating;
    bool again;          /* another one is wanted after it */
    _Atomic bool urgent; /* set with a new name, cleared when it is asked for: no back-off for it */
    int64_t last_asked_us;
    unsigned failures; /* in a row */
    struct mail wake;
    _Atomic bool wake_posted;
};

/* Parses bootstrap.servers.  PST_ERR_INVALID_CONFIG, PST_ERR_NO_MEMORY.  env's fields are filled in by the
 * client. */
pst_err_t cluster_open(struct cluster *cluster, struct pst_error *error);
void cluster_close(struct cluster *cluster);

/* Any thread.  The topic, known or not; new names are asked for, and created by that when may_create and
 * allow.auto.create.topics say so.  NULL: out of memory. */
struct topic *cluster_topic(struct cluster *cluster, const char *name, bool may_create);
/* Any thread.  Metadata is stale: ask soon, but not oftener than retry.backoff.ms. */
void cluster_refresh(struct cluster *cluster);

/* Reactor's thread.  NULL: no such broker (yet). */
struct node *cluster_node(struct cluster *cluster, int32_t id);
/* Reactor's thread.  A node to ask anything: one that is connected if there is one. */
struct node *cluster_any_node(struct cluster *cluster);
/* Reactor's thread.  NULL: out of memory. */
struct channel *cluster_channel(struct cluster *cluster, struct node *node, enum channel_use use);
/* Reactor's thread.  The leader's node; NULL: none known. */
struct node *cluster_leader(struct cluster *cluster, const struct topic *topic, int32_t partition,
                            int32_t *ret_epoch);
/* Reactor's thread.  A broker's answer named a newer leader (KIP-951). */
void cluster_learn_leader(struct cluster *cluster, struct topic *topic, int32_t partition, int32_t leader_id,
                          int32_t leader_epoch);
/* Reactor's thread.  By topic id; NULL: none. */
struct topic *cluster_topic_by_id(struct cluster *cluster, const struct uuid *id);

#endif
