/* The mapped tail of a hot log: where a batch lands by memcpy or recv instead of by a write.
 *
 * A mapped write is cheaper than write(2) only on pages somebody has prefaulted, and a store into a page that
 * faults may kill the process when the disk is full.  So a worker allocates and populates ahead of the tail,
 * and only what it has reported is ever stored to; whatever lies outside is written.  Both leave the same
 * bytes.
 *
 * Threads: every function but window_close is called under the log's append_lock; the job runs on a worker in
 * the log's lane.  A log that is not hot has no window. */
#ifndef PENSTOCK_BROKER_LOG_WINDOW_H
#define PENSTOCK_BROKER_LOG_WINDOW_H

#include <stdint.h>

struct log;
struct window;

/* Populated memory for exactly this place of the active segment; NULL: use a write. */
uint8_t *window_place(const struct log *log, int64_t position, uint32_t size_bytes);
/* An append of this size was published: measures the rate; opens, extends or gives up the window, off-loop.
 */
void window_note(struct log *log, uint32_t size_bytes);
/* Without an append: gives up the window of a log that has gone quiet. */
void window_tick(struct log *log);
/* Takes the window from the log: nothing lands there any more.  NULL when there is none.  The caller closes
 * it on a worker of the log's lane, or where no job of the log is under way. */
struct window *window_take(struct log *log);
/* Unmaps and frees; NULL is fine.  Blocks.  What was allocated behind the end stays for segment_trim. */
void window_close(struct window *window);

#endif
