/* A pool of threads for work that may block: fsync, fallocate, populate, unlink, cold reads.
 *
 * A job is a struct that its owner embeds and keeps alive until its function has run; the function runs on a
 * worker and usually ends by posting to the owner's mailbox.  Jobs with the same non-zero `lane` never run at
 * the same time and keep their order (one partition's flushes, one directory's deletions). */
#ifndef PENSTOCK_COMMON_WORKERS_H
#define PENSTOCK_COMMON_WORKERS_H

#include "common/list.h"
#include "common/status.h"

#include <stdint.h>

struct workers;

struct worker_job {
    void (*run)(struct worker_job *job); /* thread: a worker.  May free the job as its last act. */
    uint64_t lane;                       /* 0: any order */
    struct list link;                    /* the pool's while queued */
};

/* Names the threads "name-0"...; PST_NOMEM or PST_IO when no thread can be started. */
MUST_CHECK enum pst_status workers_new(const char *name, unsigned thread_count, struct workers **ret);
/* Runs everything queued, then joins the threads.  Nothing may be submitted any more.  NULL is fine. */
void workers_free(struct workers *workers);
/* Any thread.  Never blocks on the work, never fails. */
void workers_submit(struct workers *workers, struct worker_job *job);
/* Returns once nothing is queued or running: what the jobs use may then be taken away.  Not from a job. */
void workers_drain(struct workers *workers);
/* Jobs waiting or running: for metrics and back-pressure. */
unsigned workers_backlog(const struct workers *workers);

#endif
