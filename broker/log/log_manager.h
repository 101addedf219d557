/* Every partition's log of every log directory: opening, finding, checkpoints, retention, deletion, clean
 * stop.
 *
 * Threads: new, load, create, delete, tick and close are the control thread's; log_manager_find and _each any
 * thread's.  Work that may block runs on log_env.workers.  Lock: one mutex (rank: above every log's locks)
 * that is never held across input/output.
 *
 * The order of a start: log_manager_new (locks, meta.properties, checkpoints, what the last stop left), then
 * log_manager_open for __cluster_metadata, then log_manager_load with a resolver that knows the topics. */
#ifndef PENSTOCK_BROKER_LOG_LOG_MANAGER_H
#define PENSTOCK_BROKER_LOG_LOG_MANAGER_H

#include "broker/log/log.h"
#include "broker/log/log_dir.h"
#include "common/str.h"
#include "common/uuid.h"

struct log_manager;

struct log_manager_settings {
    const struct log_env *env; /* borrowed; env->trash is set by the manager in its own copy */
    const char *const *dirs;   /* log.dirs, used during log_manager_new only */
    unsigned dir_count;
    int32_t node_id;
    const char *cluster_id; /* NULL: what the directories say, or a new random one */
    int64_t broker_epoch;   /* for the marker of a clean stop; -1 when unknown */
    int64_t retention_check_interval_ms;
    int64_t recovery_point_interval_ms; /* log.flush.offset.checkpoint.interval.ms */
    int64_t start_offset_interval_ms;   /* log.flush.start.offset.checkpoint.interval.ms */
    int64_t high_watermark_interval_ms; /* replica.high.watermark.checkpoint.interval.ms */
    /* A directory failed, or something was left behind or repaired: one line for people.  From any thread. */
    void (*report)(void *arg, struct log_dir *dir, const char *text);
    void *report_arg;
};

/* Kafka's defaults of the intervals. */
#define LOG_MANAGER_RETENTION_CHECK_INTERVAL_MS 300000
#define LOG_MANAGER_CHECKPOINT_INTERVAL_MS      60000
#define LOG_MANAGER_HIGH_WATERMARK_INTERVAL_MS  5000

/* Opens and locks the directories.  One that cannot be used is offline if another can (reported); with none
 * left, or one that belongs to another cluster or node or is in use, nothing starts: *ret_text (malloc'ed)
 * says why. */
MUST_CHECK enum pst_status log_manager_new(const struct log_manager_settings *settings,
                                           struct log_manager **ret, char **ret_text);
/* Closes all logs (in parallel), writes the checkpoints and, per directory where all went well, the marker of
 * a clean stop; then frees everything.  Blocks.  PST_IO: some directory will have to recover. */
MUST_CHECK enum pst_status log_manager_close(struct log_manager *manager);

const char *log_manager_cluster_id(const struct log_manager *manager);
unsigned log_manager_dir_count(const struct log_manager *manager);
struct log_dir *log_manager_dir(const struct log_manager *manager, unsigned index);

/* ---- opening ---- */

enum log_resolution {
    LOG_RESOLVED,     /* open it */
    LOG_UNKNOWN,      /* leave the directory alone */
    LOG_STRAY,        /* not ours any more: rename to "….<32 hex>-stray" and leave it */
    LOG_DELETED_TOPIC /* the topic was deleted: delete the directory */
};

struct log_identity {
    struct str topic;
    int32_t partition;
    struct uuid topic_id; /* from partition.metadata; zero: none there */
};

struct log_resolver {
    /* Fills config, topic id and leader epoch for LOG_RESOLVED.  Called from the control thread. */
    enum log_resolution (*resolve)(void *arg, const struct log_identity *identity,
                                   struct log_config *ret_config, struct uuid *ret_topic_id,
                                   int32_t *ret_leader_epoch);
    /* One log is open (status PST_OK) or could not be opened (log NULL, text says why).  Called from the
     * control thread, in no order.  `done` of `total` so far. */
    void (*opened)(void *arg, const struct log_identity *identity, struct log *log, enum pst_status status,
                   const char *text, unsigned done, unsigned total);
    void *arg;
};

/* Opens what the directories hold and is not open yet, in parallel on the workers; blocks until all is done.
 * A log that fails does not stop the others.  PST_NOMEM, PST_IO (workers). */
MUST_CHECK enum pst_status log_manager_load(struct log_manager *manager, const struct log_resolver *resolver);

/* Opens one partition where it lies, or makes it in the online directory with the fewest partitions.  Blocks.
 * PST_OFFLINE: no directory is online; else as log_open. */
MUST_CHECK enum pst_status log_manager_open(struct log_manager *manager, struct str topic, int32_t partition,
                                            const struct uuid *topic_id, int32_t leader_epoch,
                                            const struct log_config *config, struct log **ret,
                                            char **ret_text);
/* Deletes a log that this manager opened; the pointer is gone afterwards.  Waits for retention or flush of
 * this log to end.  Files go after file.delete.delay.ms.  Blocks. */
MUST_CHECK enum pst_status log_manager_delete(struct log_manager *manager, struct log *log);
/* log_set_config plus what the periodic work needs to know. */
void log_manager_set_config(struct log_manager *manager, struct log *log, const struct log_config *config);

/* ---- finding ---- */

/* NULL: not open.  Valid until log_manager_delete or _close. */
struct log *log_manager_find(struct log_manager *manager, struct str topic, int32_t partition);
unsigned log_manager_count(struct log_manager *manager);
/* Every open log, under the manager's mutex: fn must not block nor call the manager.  `topic` is borrowed. */
void log_manager_each(struct log_manager *manager,
                      void (*fn)(void *arg, struct str topic, int32_t partition, struct log *log), void *arg);

/* ---- periodic work ---- */

/* Hands what is due (checkpoints, retention, flush.ms, deletions) to the workers; never blocks.  Returns
 * milliseconds until the next call makes sense, at most 1000.  Work of a kind is not started again before it
 * ended. */
int64_t log_manager_tick(struct log_manager *manager);
/* Waits until the work handed out so far is done (tests, close). */
void log_manager_settle(struct log_manager *manager);
/* Writes all three checkpoints of every online directory now.  Blocks. */
MUST_CHECK enum pst_status log_manager_checkpoint(struct log_manager *manager);

/* Splits "topic-0" at the last '-'.  False: not of that form (no number, leading zero or sign, empty topic).
 */
bool log_dir_name_parse(struct str name, struct str *ret_topic, int32_t *ret_partition);

#endif
