#include "common/workers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t idle; /* backlog has become 0 */
    struct list queue;
    uint64_t *lanes_busy; /* one per thread: the lane it runs, 0: none */
    unsigned thread_count;
    unsigned started;
    _Atomic unsigned backlog;
    bool stopping;
    pthread_t *threads;
};

struct worker_start {
    struct workers *workers;
    unsigned index;
};

static bool lane_is_busy(const struct workers *workers, uint64_t lane)
{
    for (unsigned i = 0; lane != 0 && i < workers->thread_count; i++) {
        if (workers->lanes_busy[i] == lane)
            return true;
    }
    return false;
}

/* The first job whose lane is free; jobs behind a busy lane keep their order because the scan starts in
 * front. */
static struct worker_job *next_job(struct workers *workers)
{
    LIST_FOR_EACH (link, &workers->queue) {
        struct worker_job *job = CONTAINER_OF(link, struct worker_job, link);

        if (!lane_is_busy(workers, job->lane)) {
            list_remove(&job->link);
            return job;
        }
    }
    return NULL;
}

static void *worker_main(void *arg)
{
    struct worker_start start = *(struct worker_start *)arg;
    struct workers *workers = start.workers;

    free(arg);
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct worker_job *job = next_job(workers);

        if (job == NULL) {
            if (workers->stopping && list_is_empty(&workers->queue))
                break;
            pthread_cond_wait(&workers->work, &workers->lock);
            continue;
        }
        workers->lanes_busy[start.index] = job->lane;
        pthread_mutex_unlock(&workers->lock);
        job->run(job);
        pthread_mutex_lock(&workers->lock);
        if (--workers->backlog == 0)
            pthread_cond_broadcast(&workers->idle);
        if (workers->lanes_busy[start.index] != 0) {
            workers->lanes_busy[start.index] = 0;
            pthread_cond_broadcast(&workers->work); /* somebody may have waited for the lane */
        }
    }
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

static enum pst_status start_thread(struct workers *workers, const char *name)
{
    struct worker_start *start = malloc(sizeof *start);
    char thread_name[16];

    if (start == NULL)
        return PST_NOMEM;
    *start = (struct worker_start){workers, workers->started};
    if (pthread_create(&workers->threads[workers->started], NULL, worker_main, start) != 0) {
        free(start);
        return PST_IO;
    }
    snprintf(thread_name, sizeof thread_name, "%.10s-%u", name, workers->started % 1000);
    pthread_setname_np(workers->threads[workers->started], thread_name);
    workers->started++;
    return PST_OK;
}

enum pst_status workers_new(const char *name, unsigned thread_count, struct workers **ret)
{
    struct workers *workers = calloc(1, sizeof *workers);
    enum pst_status status = PST_NOMEM;

    if (workers == NULL)
        return PST_NOMEM;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->work, NULL);
    pthread_cond_init(&workers->idle, NULL);
    list_init(&workers->queue);
    workers->thread_count = thread_count;
    workers->lanes_busy = calloc(thread_count, sizeof *workers->lanes_busy);
    workers->threads = calloc(thread_count, sizeof *workers->threads);
    if (workers->lanes_busy == NULL || workers->threads == NULL)
        goto fail;
    while (workers->started < thread_count) {
        status = start_thread(workers, name);
        if (status != PST_OK)
            goto fail;
    }
    *ret = workers;
    return PST_OK;

fail:
    workers_free(workers);
    return status;
}

void workers_free(struct workers *workers)
{
    if (workers == NULL)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->started; i++)
        pthread_join(workers->threads[i], NULL);
    pthread_cond_destroy(&workers->idle);
    pthread_cond_destroy(&workers->work);
    pthread_mutex_destroy(&workers->lock);
    free(workers->lanes_busy);
    free(workers->threads);
    free(workers);
}

void workers_submit(struct workers *workers, struct worker_job *job)
{
    pthread_mutex_lock(&workers->lock);
    list_push_back(&workers->queue, &job->link);
    workers->backlog++;
    pthread_cond_signal(&workers->work);
    pthread_mutex_unlock(&workers->lock);
}

void workers_drain(struct workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    while (workers->backlog > 0)
        pthread_cond_wait(&workers->idle, &workers->lock);
    pthread_mutex_unlock(&workers->lock);
}

unsigned workers_backlog(const struct workers *workers)
{
    return workers->backlog;
}
