/* Which leader epoch begins at which offset: the file "leader-epoch-checkpoint" of a partition, held in
 * memory.
 *
 * Epochs and start offsets both rise strictly.  Thread: under the log's lock; changes are in memory until
 * epoch_cache_save(), which blocks and must have succeeded before an offset of a new epoch is served. */
#ifndef PENSTOCK_BROKER_LOG_EPOCH_CACHE_H
#define PENSTOCK_BROKER_LOG_EPOCH_CACHE_H

#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"

#include <stdbool.h>
#include <stdint.h>

#define EPOCH_CACHE_FILE      "leader-epoch-checkpoint"
/* Epochs kept per log; one is added per election, and retention drops those in front. */
#define EPOCH_CACHE_COUNT_MAX 100000u
#define NO_EPOCH              (-1)

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};

struct epoch_cache;

struct epoch_cache *epoch_cache_new(void); /* empty; NULL: out of memory */
void epoch_cache_free(struct epoch_cache *cache);

/* Replaces the entries by the text's ("0\n<count>\n<epoch> <start offset>\n...").  PST_CORRUPT: anything
 * else, or entries out of order; *ret_text (may be NULL) then names line and reason, static.  The cache is
 * unchanged then. */
MUST_CHECK enum pst_status epoch_cache_parse(struct epoch_cache *cache, struct str text,
                                             const char **ret_reason);
/* Loads dir_path/leader-epoch-checkpoint; a missing file is an empty cache. */
MUST_CHECK enum pst_status epoch_cache_load(struct epoch_cache *cache, const char *dir_path,
                                            const char **ret_reason);
/* Rewrites the file durably (temporary, fsync, rename). */
MUST_CHECK enum pst_status epoch_cache_save(const struct epoch_cache *cache, const struct file_ops *files,
                                            const char *dir_path);

/* Epoch `epoch` begins at start_offset: entries that contradict it (same or later in either order) go.
 * *ret_changed: save is due.  PST_NOMEM, PST_FULL (unchanged); PST_INVALID: negative. */
MUST_CHECK enum pst_status epoch_cache_assign(struct epoch_cache *cache, int32_t epoch, int64_t start_offset,
                                              bool *ret_changed);
/* Both return whether anything changed. */
bool epoch_cache_truncate_from_end(struct epoch_cache *cache, int64_t end_offset);
bool epoch_cache_truncate_from_start(struct epoch_cache *cache, int64_t start_offset);

int32_t epoch_cache_latest(const struct epoch_cache *cache); /* NO_EPOCH when empty */
/* Epoch of the record at `offset`; NO_EPOCH when unknown. */
int32_t epoch_cache_at(const struct epoch_cache *cache, int64_t offset);
/* Kafka's endOffsetFor: where the greatest known epoch <= `epoch` ends.  (-1, -1) when not known. */
void epoch_cache_end(const struct epoch_cache *cache, int32_t epoch, int64_t log_end_offset,
                     int32_t *ret_epoch, int64_t *ret_end_offset);

unsigned epoch_cache_count(const struct epoch_cache *cache);
struct epoch_entry epoch_cache_entry(const struct epoch_cache *cache, unsigned index); /* index < count */

#endif
