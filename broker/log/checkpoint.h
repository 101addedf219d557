/* Small text files of a log directory: offsets per partition, and the marker of a clean stop.
 *
 * An offset checkpoint is "0\n<count>\n<topic> <partition> <offset>\n...".  Written to X.tmp, synced,
 * renamed: a crash leaves the old or the new file.  Thread: owned by one at a time; loading and saving block.
 */
#ifndef PENSTOCK_BROKER_LOG_CHECKPOINT_H
#define PENSTOCK_BROKER_LOG_CHECKPOINT_H

#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"

#include <stdbool.h>
#include <stdint.h>

#define CHECKPOINT_RECOVERY_POINT_FILE "recovery-point-offset-checkpoint"
#define CHECKPOINT_LOG_START_FILE      "log-start-offset-checkpoint"
#define CHECKPOINT_HIGH_WATERMARK_FILE "replication-offset-checkpoint"
#define CHECKPOINT_CLEANER_FILE        "cleaner-offset-checkpoint"
#define CLEAN_SHUTDOWN_FILE            ".kafka_cleanshutdown"

/* Partitions in one file; far above what one broker serves. */
#define CHECKPOINT_COUNT_MAX           1000000u

struct offset_checkpoint;

struct offset_checkpoint_entry {
    struct str topic; /* lives as long as the checkpoint */
    int32_t partition;
    int64_t offset;
};

struct offset_checkpoint *offset_checkpoint_new(void); /* empty; NULL: out of memory */
void offset_checkpoint_free(struct offset_checkpoint *checkpoint);

/* PST_CORRUPT: not this format; *ret_reason says what, static.  Nothing is stored then. */
MUST_CHECK enum pst_status offset_checkpoint_parse(struct str text, struct offset_checkpoint **ret,
                                                   const char **ret_reason);
/* Loads dir_path/file_name; PST_NOT_FOUND: there is none; *ret_reason is set for PST_CORRUPT. */
MUST_CHECK enum pst_status offset_checkpoint_load(const char *dir_path, const char *file_name,
                                                  struct offset_checkpoint **ret, const char **ret_reason);
MUST_CHECK enum pst_status offset_checkpoint_save(const struct offset_checkpoint *checkpoint,
                                                  const struct file_ops *files, const char *dir_path,
                                                  const char *file_name);

/* The caller adds each partition once.  PST_NOMEM; PST_FULL. */
MUST_CHECK enum pst_status offset_checkpoint_add(struct offset_checkpoint *checkpoint, struct str topic,
                                                 int32_t partition, int64_t offset);
/* The offset, or -1 when the partition is not in it.  Any number of threads, once offset_checkpoint_sort()
 * was called after the last add. */
int64_t offset_checkpoint_find(const struct offset_checkpoint *checkpoint, struct str topic,
                               int32_t partition);
void offset_checkpoint_sort(struct offset_checkpoint *checkpoint);
unsigned offset_checkpoint_count(const struct offset_checkpoint *checkpoint);
/* In the order of adding (or of the file); index < count. */
struct offset_checkpoint_entry offset_checkpoint_entry(const struct offset_checkpoint *checkpoint,
                                                       unsigned index);

/* ---- the marker of a clean stop: its existence is what counts ---- */

bool clean_shutdown_exists(const char *dir_path);
/* Durably; a missing marker is fine. */
MUST_CHECK enum pst_status clean_shutdown_remove(const struct file_ops *files, const char *dir_path);
MUST_CHECK enum pst_status clean_shutdown_write(const struct file_ops *files, const char *dir_path,
                                                int64_t broker_epoch);

#endif
