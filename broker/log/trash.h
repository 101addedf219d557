/* Files and directories waiting to be removed: after file.delete.delay.ms, off-loop, in bounded steps.
 *
 * What is thrown away has been renamed before ("….deleted", "….<32 hex>-delete"), so that a restart finds and
 * removes what a crash left.  Published inodes are only unlinked, never cut.  Threads: add from any; step by
 * one worker at a time. */
#ifndef PENSTOCK_BROKER_LOG_TRASH_H
#define PENSTOCK_BROKER_LOG_TRASH_H

#include "common/clock.h"
#include "common/file_ops.h"
#include "common/status.h"

#include <stdint.h>

#define DELETED_FILE_SUFFIX ".deleted"
#define DELETED_DIR_SUFFIX  "-delete"

struct log_dir;
struct trash;

/* Borrows both.  NULL: out of memory. */
struct trash *trash_new(const struct clock *clock, const struct file_ops *files);
/* Forgets what is left; the files stay for the next start. */
void trash_free(struct trash *trash);

/* Removes the file or the whole directory at `path` (copied) delay_ms from now.  Failures other than "not
 * there" take `dir` offline (NULL: are ignored).  PST_NOMEM: not taken, the next start will find it. */
MUST_CHECK enum pst_status trash_add(struct trash *trash, struct log_dir *dir, const char *path,
                                     int64_t delay_ms);

/* Removes what is due, at most unlink_max files.  Returns how many were removed.  Blocks; worker. */
unsigned trash_step(struct trash *trash, unsigned unlink_max);
/* Milliseconds until something is due (0: now); -1: nothing waits. */
int64_t trash_next_ms(struct trash *trash);
unsigned trash_count(struct trash *trash);

#endif
