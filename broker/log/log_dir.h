/* One entry of log.dirs: locked against a second broker, known by its meta.properties, online or failed.
 *
 * Threads: opening and closing by the control thread; state and space from any thread.  A failed directory
 * stays failed until the broker restarts: an input/output error is never retried into success. */
#ifndef PENSTOCK_BROKER_LOG_LOG_DIR_H
#define PENSTOCK_BROKER_LOG_LOG_DIR_H

#include "broker/log/meta_properties.h"
#include "common/file_ops.h"
#include "common/status.h"
#include "common/uuid.h"

#include <stdbool.h>
#include <stdint.h>

struct log_dir;

/* Makes the directory when missing (parents too), takes the lock in ".lock", reads meta.properties.
 * PST_BUSY: another process (or handle) has the lock; PST_DENIED, PST_NOSPACE, PST_IO; PST_CORRUPT,
 * PST_UNSUPPORTED: meta.properties.  *ret_text (malloc'ed, may be NULL) explains any failure for people. */
MUST_CHECK enum pst_status log_dir_open(const struct file_ops *files, const char *path, struct log_dir **ret,
                                        char **ret_text);
/* Gives up the lock.  NULL is fine. */
void log_dir_close(struct log_dir *dir);

/* What meta.properties said at opening; NULL: there is none yet. */
const struct meta_properties *log_dir_meta(const struct log_dir *dir);
/* Checks the directory against this broker and writes meta.properties where it is missing or incomplete
 * (version 0, no directory id).  PST_INVALID: it belongs to another cluster or node, *ret_text (malloc'ed)
 * says which. */
MUST_CHECK enum pst_status log_dir_adopt(struct log_dir *dir, const char *cluster_id, int32_t node_id,
                                         char **ret_text);

const char *log_dir_path(const struct log_dir *dir);
struct uuid log_dir_id(const struct log_dir *dir); /* zero before log_dir_adopt */

/* Whom to tell of a failure, once; set before the directory is shared.  Runs on the thread that met the
 * error, whatever locks that holds: it may only post or flag.  `text` is borrowed for the call. */
void log_dir_on_failed(struct log_dir *dir, void (*failed)(struct log_dir *dir, const char *text, void *arg),
                       void *arg);
/* Takes the directory offline.  The first call counts, later ones do nothing.  Any thread. */
void log_dir_fail(struct log_dir *dir, const char *text);
bool log_dir_is_offline(const struct log_dir *dir);

/* False: a copy-on-write or unknown-to-be-safe file system, where a prefaulted page may still fault: appends
 * are written, never mapped.  Decided at opening. */
bool log_dir_can_map(const struct log_dir *dir);

/* Of the file system it is on (free: for us, without the reserve of root).  PST_IO. */
MUST_CHECK enum pst_status log_dir_space(const struct log_dir *dir, int64_t *ret_total_bytes,
                                         int64_t *ret_free_bytes);

#endif
