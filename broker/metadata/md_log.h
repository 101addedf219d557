/* The files of the metadata log: one active segment, snapshots, quorum-state, leader-epoch-checkpoint.
 *
 * Thread: control.  Only md_local writes through this.  Formats and crash states: README.md. */
#ifndef PENSTOCK_BROKER_METADATA_MD_LOG_H
#define PENSTOCK_BROKER_METADATA_MD_LOG_H

#include "common/file_ops.h"
#include "common/status.h"
#include "common/str.h"
#include "protocol/record_batch.h"

#include <stdbool.h>
#include <stdint.h>

struct md_log;

#define MD_LOG_REASON_MAX 1024u

/* Sees every batch in order, checked (CRC, contiguous): first those of the newest snapshot (offsets of their
 * own, from 0), then the log's.  `batch` is borrowed.  Anything but PST_OK stops the opening with that
 * status; `reason` (of MD_LOG_REASON_MAX bytes) may say why. */
typedef enum pst_status (*md_log_reader)(void *arg, const void *batch, const struct record_batch_info *info,
                                         bool from_snapshot, char *reason);

/* Opens dir_path (made when missing), reads everything, cuts a torn tail durably.  A batch that is damaged
 * with more behind it is PST_CORRUPT: nothing is cut that was once synced.  `reason` says what for every
 * failure. */
MUST_CHECK enum pst_status md_log_open(const struct file_ops *files, const char *dir_path,
                                       md_log_reader reader, void *arg, struct md_log **ret, char *reason);
void md_log_close(struct md_log *log); /* NULL is fine */

int64_t md_log_end(const struct md_log *log);   /* offset of the next record */
int32_t md_log_epoch(const struct md_log *log); /* latest in log, snapshot and quorum-state; 0: none */
int64_t md_log_grown(const struct md_log *log); /* bytes appended since the last snapshot */
bool md_log_is_offline(const struct md_log *log);

/* Remembers the epoch that begins now: quorum-state and leader-epoch-checkpoint, durably. */
MUST_CHECK enum pst_status md_log_begin_epoch(struct md_log *log, int32_t epoch, int32_t node_id,
                                              int16_t kraft_version);

/* Appends one batch (or several, contiguous) and syncs.  PST_NOSPACE: nothing appended, may work later;
 * PST_IO, PST_OFFLINE: offline from now on. */
MUST_CHECK enum pst_status md_log_append(struct md_log *log, struct str batches, int64_t end_offset);

/* Puts `content` in place as the snapshot of everything below the log's end, begins a new segment there and
 * drops what is in front.  A failure leaves the log as it was. */
MUST_CHECK enum pst_status md_log_put_snapshot(struct md_log *log, int32_t epoch, struct str content);

#endif
