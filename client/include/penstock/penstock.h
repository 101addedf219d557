/* libpenstock: a client for Penstock, Apache Kafka and everything else that speaks Kafka's protocol.
 *
 * Objects.  A client (struct pst_client) owns one background thread, its connections and a metadata cache; a
 * producer and a consumer are made from a client and must be freed before it.  There is no global state: any
 * number of clients live in one process.
 *
 * Threads.  Functions of a client and of a producer may be called from any thread at the same time.  A
 * consumer is used by one thread at a time.  A config belongs to its caller.  Delivery callbacks run on the
 * client's background thread: they may call pst_produce, which then never waits, and must not call anything
 * else that waits or frees.
 *
 * Errors.  Functions that can fail return a pst_err_t: 0, one of Kafka's own error codes (positive, and -1),
 * or one of PST_ERR_* below.  When the `error` argument is not NULL, it receives the code and a sentence on
 * every failure and is left alone on success.  Results (`ret_...`) are stored only on success unless said
 * otherwise.
 *
 * Units.  Names end in theirs: _ms, _bytes.  Timestamps are milliseconds since 1970-01-01 UTC.  A timeout of
 * 0 means "do not wait"; there is no "for ever" except where said.  Texts are UTF-8 with a terminating NUL.
 */
#ifndef PENSTOCK_PENSTOCK_H
#define PENSTOCK_PENSTOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PST_PUBLIC __attribute__((visibility("default")))
#else
#define PST_PUBLIC
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ---- */

/* 0: success.  1 and up, and -1: the broker's answer, numbered as in Kafka's protocol.  -100 and down: ours.
 */
typedef int pst_err_t;

enum pst_err_code {
    PST_ERR_NONE = 0,
    PST_ERR_BROKER_UNKNOWN = -1, /* the broker met an error it has no code for */

    PST_ERR_INVALID_ARGUMENT = -100, /* a parameter contradicts this file */
    PST_ERR_INVALID_CONFIG = -101, /* unknown key or bad value; the text names the nearest key or the range */
    PST_ERR_NO_MEMORY = -102,
    PST_ERR_TIMED_OUT =
        -103, /* nothing (more) happened within the given time; the text says what stood in the way */
    PST_ERR_QUEUE_FULL = -104,        /* buffer.memory is used up and max.block.ms has passed */
    PST_ERR_TRANSPORT = -105,         /* no broker can be reached, or a connection broke */
    PST_ERR_BAD_RESPONSE = -106,      /* a broker sent bytes that are no valid answer */
    PST_ERR_UNSUPPORTED = -107,       /* the broker serves no version of this request that we speak */
    PST_ERR_CLOSED = -108,            /* the object is being freed */
    PST_ERR_MESSAGE_TOO_LARGE = -109, /* the record alone is over max.request.size; nothing was sent */
    PST_ERR_DELIVERY_TIMED_OUT =
        -110,                     /* delivery.timeout.ms passed; the record may or may not be in the log */
    PST_ERR_CORRUPT = -111,       /* a fetched batch fails its CRC or does not decode */
    PST_ERR_PARTITION_EOF = -112, /* not a failure: the consumer has reached the partition's end */
    PST_ERR_NO_OFFSET = -113,     /* no position, and auto.offset.reset is none */
    PST_ERR_UNKNOWN_PARTITION = -114, /* the topic has no such partition, or it is not assigned */
    PST_ERR_SYSTEM = -115,            /* a call of the operating system failed; the text says which */
};

#define PST_ERROR_TEXT_BYTES 256

struct pst_error {
    pst_err_t code;
    char text[PST_ERROR_TEXT_BYTES]; /* what failed, on which object, why */
};

/* "NOT_LEADER_OR_FOLLOWER", "TIMED_OUT"; "UNKNOWN" for a number nobody knows.  Static. */
PST_PUBLIC const char *pst_err_name(pst_err_t code);
/* A sentence for people.  Static, never NULL. */
PST_PUBLIC const char *pst_err_text(pst_err_t code);
/* Whether the same call may succeed later without any change. */
PST_PUBLIC bool pst_err_is_retriable(pst_err_t code);

/* "0.1.0" */
PST_PUBLIC const char *pst_version(void);

/* ---- configuration ---- */

/* Keys, values and defaults are Kafka's (bootstrap.servers, acks, linger.ms, compression.type, ...);
 * client/README.md lists them.  Of our own: enable.partition.eof (false). */
struct pst_config;

/* NULL: out of memory. */
PST_PUBLIC struct pst_config *pst_config_new(void);
/* NULL is fine. */
PST_PUBLIC void pst_config_free(struct pst_config *config);
/* Checks and stores a copy.  PST_ERR_INVALID_CONFIG: unknown key, or a value out of range; nothing changed.
 */
PST_PUBLIC pst_err_t pst_config_set(struct pst_config *config, const char *key, const char *value,
                                    struct pst_error *error);
/* The value set or the default, as text; NULL: no such key.  Valid until the next set of this key, or the
 * free. */
PST_PUBLIC const char *pst_config_get(const struct pst_config *config, const char *key);
/* Steps through the known keys in alphabetical order, 0, 1, ...; false behind the last.  Everything is
 * static. */
PST_PUBLIC bool pst_config_describe(size_t index, const char **ret_key, const char **ret_default,
                                    const char **ret_doc);

/* ---- client ---- */

struct pst_client;

/* Starts the background thread; connects to nobody yet.  The config is copied.
 * PST_ERR_INVALID_CONFIG: keys that contradict each other, or no bootstrap.servers; PST_ERR_NO_MEMORY;
 * PST_ERR_SYSTEM: no thread or no descriptor. */
PST_PUBLIC pst_err_t pst_client_new(const struct pst_config *config, struct pst_client **ret,
                                    struct pst_error *error);
/* Ends the thread and closes all connections.  Its producers and consumers must be freed first.  NULL is
 * fine. */
PST_PUBLIC void pst_client_free(struct pst_client *client);

/* ---- producer ---- */

#define PST_PARTITION_ANY (-1) /* the partitioner chooses */
#define PST_TIMESTAMP_NOW (-1) /* the time of the call */

struct pst_header {
    const char *key; /* need not end in NUL */
    size_t key_bytes;
    const void *value; /* NULL: null */
    size_t value_bytes;
};

/* One record to send.  Start from PST_RECORD_INIT. */
struct pst_record {
    const char *topic;
    int32_t partition;    /* or PST_PARTITION_ANY */
    int64_t timestamp_ms; /* or PST_TIMESTAMP_NOW */
    const void *key;      /* NULL: null */
    size_t key_bytes;
    const void *value; /* NULL: null */
    size_t value_bytes;
    const struct pst_header *headers;
    size_t header_count;
};

#define PST_RECORD_INIT                                                                                      \
    {                                                                                                        \
        NULL, PST_PARTITION_ANY, PST_TIMESTAMP_NOW, NULL, 0, NULL, 0, NULL, 0                                \
    }

/* What became of one record. */
struct pst_delivery {
    pst_err_t code;   /* 0: acknowledged as `acks` demands */
    const char *text; /* a sentence; never NULL */
    const char *topic;
    int32_t partition;
    int64_t offset;       /* -1: not known (acks=0, or failed) */
    int64_t timestamp_ms; /* the record's; the broker's when the topic uses LogAppendTime */
    void *tag;            /* as given to pst_produce */
};

/* Called once for every record pst_produce accepted, in order within a partition as far as they succeed.
 * Thread: the client's background thread.  `delivery` and its texts are valid during the call only. */
typedef void (*pst_delivery_fn)(const struct pst_delivery *delivery, void *arg);

struct pst_producer;

/* on_delivery may be NULL.  PST_ERR_NO_MEMORY. */
PST_PUBLIC pst_err_t pst_producer_new(struct pst_client *client, pst_delivery_fn on_delivery, void *arg,
                                      struct pst_producer **ret, struct pst_error *error);
/* Records not delivered yet fail with PST_ERR_CLOSED (their callbacks run before this returns): flush first.
 * NULL is fine.  Not from a callback. */
PST_PUBLIC void pst_producer_free(struct pst_producer *producer);

/* Copies the record into the current batch of its partition and returns; the background thread sends it.
 * Waits up to max.block.ms for the topic's metadata (first use) and for room in buffer.memory; on the
 * background thread it does not wait. PST_ERR_INVALID_ARGUMENT, PST_ERR_MESSAGE_TOO_LARGE,
 * PST_ERR_UNKNOWN_PARTITION, PST_ERR_QUEUE_FULL (no room), PST_ERR_TIMED_OUT (no metadata),
 * PST_ERR_NO_MEMORY, Kafka's code when the topic cannot be used, or the fatal error that ended this producer.
 * On failure the record was not taken and no callback follows. */
PST_PUBLIC pst_err_t pst_produce(struct pst_producer *producer, const struct pst_record *record, void *tag,
                                 struct pst_error *error);

/* Sends one record without lingering and waits for its fate, at most max.block.ms + delivery.timeout.ms.  The
 * delivery callback is not called for it.  ret_partition and ret_offset may be NULL.  Not from a callback. */
PST_PUBLIC pst_err_t pst_produce_wait(struct pst_producer *producer, const struct pst_record *record,
                                      int32_t *ret_partition, int64_t *ret_offset, struct pst_error *error);

/* Ends lingering and waits until every record accepted before the call has its fate.  PST_ERR_TIMED_OUT: some
 * have not; they stay queued.  Says nothing about success: that is the callbacks' business.  Not from a
 * callback. */
PST_PUBLIC pst_err_t pst_producer_flush(struct pst_producer *producer, int64_t timeout_ms,
                                        struct pst_error *error);

struct pst_producer_stats {
    uint64_t records_accepted;
    uint64_t records_delivered;
    uint64_t records_failed;
    uint64_t batches_sent; /* retries included */
    uint64_t batches_retried;
    uint64_t bytes_sent;     /* of batches, compressed */
    uint64_t bytes_buffered; /* of buffer.memory, now */
};

PST_PUBLIC void pst_producer_stats(struct pst_producer *producer, struct pst_producer_stats *ret);

/* ---- consumer ---- */

#define PST_OFFSET_END       (-1)   /* behind the last record (read_committed: the last stable one) */
#define PST_OFFSET_BEGINNING (-2)   /* the first record there is */
#define PST_OFFSET_RESET     (-100) /* as auto.offset.reset says */

struct pst_assignment {
    const char *topic;
    int32_t partition;
    int64_t offset; /* 0 and up, or PST_OFFSET_* */
};

/* A record received, or an event about a partition. */
struct pst_message {
    const char *topic;
    int32_t partition;
    int32_t leader_epoch; /* of the batch; -1: none */
    int64_t offset;       /* of the record; of the end for PST_ERR_PARTITION_EOF */
    int64_t timestamp_ms; /* -1: none */
    bool log_append_time; /* the broker's time, not the producer's */
    const void *key;      /* NULL: null */
    size_t key_bytes;
    const void *value; /* NULL: null */
    size_t value_bytes;
    size_t header_count;     /* see pst_message_header */
    const void *raw_headers; /* library's own */
    size_t raw_headers_bytes;
};

struct pst_consumer;

PST_PUBLIC pst_err_t pst_consumer_new(struct pst_client *client, struct pst_consumer **ret,
                                      struct pst_error *error);
PST_PUBLIC void pst_consumer_free(struct pst_consumer *consumer);

/* Replaces the assigned partitions by these (count 0: none) and starts fetching them in the background.
 * Nothing is asked of a broker inside the call; unknown topics show up as errors of pst_consumer_poll. */
PST_PUBLIC pst_err_t pst_consumer_assign(struct pst_consumer *consumer,
                                         const struct pst_assignment *assignments, size_t count,
                                         struct pst_error *error);
/* Moves the position; what was fetched ahead is dropped.  PST_ERR_UNKNOWN_PARTITION: not assigned. */
PST_PUBLIC pst_err_t pst_consumer_seek(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                       int64_t offset, struct pst_error *error);
/* To the first record with this timestamp or a later one, or to the end when there is none.  Resolved in the
 * background. */
PST_PUBLIC pst_err_t pst_consumer_seek_time(struct pst_consumer *consumer, const char *topic,
                                            int32_t partition, int64_t timestamp_ms, struct pst_error *error);
/* Offset of the next record poll will give.  PST_ERR_NO_OFFSET: not resolved yet. */
PST_PUBLIC pst_err_t pst_consumer_position(struct pst_consumer *consumer, const char *topic,
                                           int32_t partition, int64_t *ret_offset, struct pst_error *error);
/* The partition's log start, high watermark and last stable offset as the last fetch reported them; any may
 * be NULL. PST_ERR_NO_OFFSET: no fetch has answered yet.  For a fresh answer ask pst_watermarks. */
PST_PUBLIC pst_err_t pst_consumer_bounds(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                         int64_t *ret_low, int64_t *ret_high, int64_t *ret_last_stable,
                                         struct pst_error *error);
/* A paused partition is not fetched, and poll gives nothing of it; what was fetched ahead is kept. */
PST_PUBLIC pst_err_t pst_consumer_pause(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                        struct pst_error *error);
PST_PUBLIC pst_err_t pst_consumer_resume(struct pst_consumer *consumer, const char *topic, int32_t partition,
                                         struct pst_error *error);

/* The next record, waiting for it up to timeout_ms.  Its bytes are valid until the next poll, assign, seek or
 * free of this consumer. 0: *ret is a record.  PST_ERR_TIMED_OUT: nothing came.  PST_ERR_PARTITION_EOF: (only
 * with enable.partition.eof, once each time the end is reached) topic, partition and offset are set.  Any
 * other error of a partition is told once in its place, with topic and partition set in *ret (topic NULL: not
 * about one partition); retriable ones are retried in the background and are not told, others stop the
 * partition until a seek. */
PST_PUBLIC pst_err_t pst_consumer_poll(struct pst_consumer *consumer, int64_t timeout_ms,
                                       struct pst_message *ret, struct pst_error *error);
/* Up to `room` records of one partition at once; the first decides the return value as above (for a result
 * other than 0, *ret_count is 0 and messages[0] has topic and partition).  Cheaper than poll for small
 * records. */
PST_PUBLIC pst_err_t pst_consumer_poll_batch(struct pst_consumer *consumer, int64_t timeout_ms,
                                             struct pst_message *messages, size_t room, size_t *ret_count,
                                             struct pst_error *error);
/* Header number `index` of a message that is still valid; false: it has no such header. */
PST_PUBLIC bool pst_message_header(const struct pst_message *message, size_t index, struct pst_header *ret);

/* ---- administration: each call waits for its answer, at most timeout_ms ----
 *
 * Calls about several items return 0 when a broker answered; each item then has its own code and text.  They
 * return an error when nobody answered (PST_ERR_TIMED_OUT, PST_ERR_TRANSPORT, PST_ERR_UNSUPPORTED, ...); the
 * items are then untouched.  Structures returned through a pointer are freed with pst_result_free, whole.
 * Requests that must go to a partition's leader or to the controller find them and follow them when they
 * move. */

/* Any structure an administration call returned; NULL is fine. */
PST_PUBLIC void pst_result_free(const void *result);

/* How one item ended. */
struct pst_outcome {
    pst_err_t code;
    char text[PST_ERROR_TEXT_BYTES]; /* the broker's own words when it sent some; "" on success */
};

#define PST_UUID_BYTES 16

struct pst_setting {
    const char *name;
    const char *value; /* NULL: null */
};

struct pst_new_topic {
    const char *name;
    int32_t partitions;                 /* -1: the broker's default */
    int16_t replication_factor;         /* -1: the broker's default */
    const struct pst_setting *settings; /* topic configs */
    size_t setting_count;
    struct pst_outcome outcome;       /* set by the call */
    uint8_t topic_id[PST_UUID_BYTES]; /* set by the call; zeros: not told */
};

PST_PUBLIC pst_err_t pst_create_topics(struct pst_client *client, struct pst_new_topic *topics, size_t count,
                                       bool validate_only, int64_t timeout_ms, struct pst_error *error);

struct pst_topic_removal {
    const char *name;
    struct pst_outcome outcome; /* set by the call */
};

PST_PUBLIC pst_err_t pst_delete_topics(struct pst_client *client, struct pst_topic_removal *topics,
                                       size_t count, int64_t timeout_ms, struct pst_error *error);

struct pst_more_partitions {
    const char *topic;
    int32_t partitions;         /* the new total */
    struct pst_outcome outcome; /* set by the call */
};

PST_PUBLIC pst_err_t pst_create_partitions(struct pst_client *client, struct pst_more_partitions *topics,
                                           size_t count, bool validate_only, int64_t timeout_ms,
                                           struct pst_error *error);

struct pst_partition_info {
    pst_err_t code; /* LEADER_NOT_AVAILABLE and the like */
    int32_t partition;
    int32_t leader; /* broker id, -1: none */
    int32_t leader_epoch;
    const int32_t *replicas;
    size_t replica_count;
    const int32_t *in_sync;
    size_t in_sync_count;
    const int32_t *offline;
    size_t offline_count;
};

struct pst_topic_info {
    pst_err_t code;                   /* UNKNOWN_TOPIC_OR_PARTITION and the like */
    const char *name;                 /* NULL: the broker knows none (asked by id) */
    uint8_t topic_id[PST_UUID_BYTES]; /* zeros: the broker has no topic ids */
    bool internal;
    const struct pst_partition_info *partitions; /* ascending */
    size_t partition_count;
};

struct pst_topics {
    const struct pst_topic_info *topics; /* by name */
    size_t count;
};

/* count 0: all topics.  Never creates a topic. */
PST_PUBLIC pst_err_t pst_describe_topics(struct pst_client *client, const char *const *names, size_t count,
                                         int64_t timeout_ms, const struct pst_topics **ret,
                                         struct pst_error *error);

struct pst_broker_info {
    int32_t id;
    const char *host;
    int32_t port;
    const char *rack; /* NULL: none */
};

struct pst_cluster {
    const char *cluster_id;                /* NULL: not told */
    int32_t controller;                    /* broker id, -1: not known */
    const struct pst_broker_info *brokers; /* by id */
    size_t broker_count;
};

PST_PUBLIC pst_err_t pst_describe_cluster(struct pst_client *client, int64_t timeout_ms,
                                          const struct pst_cluster **ret, struct pst_error *error);

enum pst_resource_type {
    PST_RESOURCE_TOPIC = 2,
    PST_RESOURCE_BROKER = 4,
    PST_RESOURCE_BROKER_LOGGER = 8,
    PST_RESOURCE_CLIENT_METRICS = 16,
    PST_RESOURCE_GROUP = 32,
};

/* Where a config value comes from, as in Kafka's DescribeConfigs. */
enum pst_config_source {
    PST_SOURCE_UNKNOWN = 0,
    PST_SOURCE_TOPIC = 1,
    PST_SOURCE_DYNAMIC_BROKER = 2,
    PST_SOURCE_DYNAMIC_DEFAULT_BROKER = 3,
    PST_SOURCE_STATIC_BROKER = 4,
    PST_SOURCE_DEFAULT = 5,
    PST_SOURCE_DYNAMIC_BROKER_LOGGER = 6,
    PST_SOURCE_CLIENT_METRICS = 7,
    PST_SOURCE_GROUP = 8,
};

/* "topic", "broker-static", "default" ...; never NULL. */
PST_PUBLIC const char *pst_config_source_name(int source);

struct pst_config_synonym {
    const char *name;
    const char *value; /* NULL: null or sensitive */
    int source;        /* enum pst_config_source */
};

struct pst_config_value {
    const char *name;
    const char *value; /* NULL: null or sensitive */
    int source;        /* enum pst_config_source */
    bool read_only;
    bool sensitive;
    int type; /* Kafka's: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password
               */
    const char *doc; /* NULL: not asked for or not told */
    const struct pst_config_synonym *synonyms;
    size_t synonym_count;
};

struct pst_resource {
    int type;         /* enum pst_resource_type */
    const char *name; /* topic name, or broker id in decimal */
};

struct pst_resource_configs {
    int type;
    const char *name;
    pst_err_t code;
    const char *text;                      /* never NULL */
    const struct pst_config_value *values; /* by name */
    size_t value_count;
};

struct pst_configs {
    const struct pst_resource_configs *resources; /* in the order asked */
    size_t count;
};

PST_PUBLIC pst_err_t pst_describe_configs(struct pst_client *client, const struct pst_resource *resources,
                                          size_t count, bool with_synonyms, bool with_docs,
                                          int64_t timeout_ms, const struct pst_configs **ret,
                                          struct pst_error *error);

enum pst_config_op {
    PST_CONFIG_SET = 0,
    PST_CONFIG_DELETE = 1, /* back to the default */
    PST_CONFIG_APPEND = 2, /* to a list */
    PST_CONFIG_SUBTRACT = 3,
};

struct pst_config_change {
    const char *name;
    int op;            /* enum pst_config_op */
    const char *value; /* NULL for PST_CONFIG_DELETE */
};

struct pst_resource_changes {
    int type; /* enum pst_resource_type */
    const char *name;
    const struct pst_config_change *changes;
    size_t change_count;
    struct pst_outcome outcome; /* set by the call */
};

/* Only what is named changes (IncrementalAlterConfigs). */
PST_PUBLIC pst_err_t pst_alter_configs(struct pst_client *client, struct pst_resource_changes *resources,
                                       size_t count, bool validate_only, int64_t timeout_ms,
                                       struct pst_error *error);

#define PST_TIME_LATEST                                                                                      \
    (-1) /* the end: high watermark, or last stable offset when isolation is committed                       \
          */
#define PST_TIME_EARLIEST      (-2) /* the log start */
#define PST_TIME_MAX_TIMESTAMP (-3) /* the record with the largest timestamp */

struct pst_offset_query {
    const char *topic;
    int32_t partition;
    int64_t timestamp_ms; /* 0 and up: first record at or after it; or PST_TIME_* */
    /* set by the call */
    struct pst_outcome outcome;
    int64_t offset;              /* -1: no such record */
    int64_t record_timestamp_ms; /* -1: none */
    int32_t leader_epoch;        /* -1: not told */
};

/* isolation.level of the client decides what "end" is. */
PST_PUBLIC pst_err_t pst_list_offsets(struct pst_client *client, struct pst_offset_query *queries,
                                      size_t count, int64_t timeout_ms, struct pst_error *error);
/* Log start and end of one partition. */
PST_PUBLIC pst_err_t pst_watermarks(struct pst_client *client, const char *topic, int32_t partition,
                                    int64_t timeout_ms, int64_t *ret_low, int64_t *ret_high,
                                    struct pst_error *error);

struct pst_record_deletion {
    const char *topic;
    int32_t partition;
    int64_t before_offset; /* records below go; -1: all up to the high watermark */
    /* set by the call */
    struct pst_outcome outcome;
    int64_t low_watermark; /* the new log start; -1: failed */
};

PST_PUBLIC pst_err_t pst_delete_records(struct pst_client *client, struct pst_record_deletion *deletions,
                                        size_t count, int64_t timeout_ms, struct pst_error *error);

struct pst_replica_size {
    const char *topic;
    int32_t partition;
    int64_t size_bytes;
    int64_t offset_lag;
    bool future; /* being moved to this directory */
};

struct pst_log_dir {
    int32_t broker;
    pst_err_t code;
    const char *path;
    int64_t total_bytes;  /* of the volume; -1: not told */
    int64_t usable_bytes; /* -1: not told */
    const struct pst_replica_size *replicas;
    size_t replica_count;
};

struct pst_log_dirs {
    const struct pst_log_dir *dirs;
    size_t count;
};

/* broker -1: all of them. */
PST_PUBLIC pst_err_t pst_describe_log_dirs(struct pst_client *client, int32_t broker, int64_t timeout_ms,
                                           const struct pst_log_dirs **ret, struct pst_error *error);

struct pst_producer_state {
    int64_t producer_id;
    int32_t producer_epoch;
    int32_t last_sequence;
    int64_t last_timestamp_ms;
    int32_t coordinator_epoch;
    int64_t transaction_start_offset; /* -1: no open transaction */
};

struct pst_partition_producers {
    const char *topic;
    int32_t partition;
    pst_err_t code;
    const char *text; /* never NULL */
    const struct pst_producer_state *producers;
    size_t producer_count;
};

struct pst_producers {
    const struct pst_partition_producers *partitions; /* in the order asked */
    size_t count;
};

struct pst_partition_name {
    const char *topic;
    int32_t partition;
};

PST_PUBLIC pst_err_t pst_describe_producers(struct pst_client *client,
                                            const struct pst_partition_name *partitions, size_t count,
                                            int64_t timeout_ms, const struct pst_producers **ret,
                                            struct pst_error *error);

struct pst_api_range {
    int16_t key;
    int16_t version_min;
    int16_t version_max;
    const char *name; /* "Produce"; NULL: an API this library does not know */
};

struct pst_api_versions {
    int32_t broker;                   /* its id; -1: asked through a bootstrap address */
    const char *address;              /* "host:port" asked */
    int64_t round_trip_us;            /* of this request */
    const struct pst_api_range *apis; /* by key */
    size_t count;
};

/* Asks anew each time.  broker -1: whichever can be reached. */
PST_PUBLIC pst_err_t pst_api_versions(struct pst_client *client, int32_t broker, int64_t timeout_ms,
                                      const struct pst_api_versions **ret, struct pst_error *error);

#ifdef __cplusplus
}
#endif

#endif
