#include "common/workers.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define JOBS 400

struct lane_state {
    _Atomic unsigned inside;
    _Atomic unsigned overlaps;
    unsigned order[JOBS]; /* written by one job of the lane at a time */
    unsigned count;
};

struct test_job {
    struct worker_job job;
    struct lane_state *lane;
    unsigned number;
};

static _Atomic unsigned ran;

static void run_in_lane(struct worker_job *job)
{
    struct test_job *test = CONTAINER_OF(job, struct test_job, job);
    struct lane_state *lane = test->lane;

    if (atomic_fetch_add(&lane->inside, 1) != 0)
        lane->overlaps++;
    lane->order[lane->count++] = test->number;
    atomic_fetch_sub(&lane->inside, 1);
    ran++;
}

static void jobs_of_a_lane_keep_their_order_and_never_overlap(void **state)
{
    static struct lane_state lanes[3];
    static struct test_job jobs[JOBS];
    struct workers *workers;

    (void)state;
    ran = 0;
    assert_int_equal(workers_new("test", 4, &workers), PST_OK);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct test_job){{.run = run_in_lane, .lane = 1 + i % 3}, &lanes[i % 3], i};
        workers_submit(workers, &jobs[i].job);
    }
    workers_drain(workers);
    assert_int_equal(ran, JOBS);
    assert_int_equal(workers_backlog(workers), 0);
    for (unsigned l = 0; l < 3; l++) {
        assert_int_equal(lanes[l].overlaps, 0);
        for (unsigned i = 0; i < lanes[l].count; i++)
            assert_int_equal(lanes[l].order[i], l + 3 * i);
    }
    workers_free(workers);
}

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned inside;
    bool open;
};

struct gated_job {
    struct worker_job job;
    struct gate *gate;
};

static void wait_at_gate(struct worker_job *job)
{
    struct gate *gate = CONTAINER_OF(job, struct gated_job, job)->gate;

    pthread_mutex_lock(&gate->lock);
    gate->inside++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    ran++;
}

static void wait_for_inside(struct gate *gate, unsigned count)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->inside < count)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

/* Would hang if the threads did not work side by side, or if a busy lane held up others. */
static void jobs_without_a_lane_run_side_by_side_past_a_busy_lane(void **state)
{
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};
    struct gated_job jobs[5] = {{{.run = wait_at_gate, .lane = 7}, &gate},
                                {{.run = wait_at_gate, .lane = 7}, &gate},
                                {{.run = wait_at_gate, .lane = 7}, &gate},
                                {{.run = wait_at_gate, .lane = 0}, &gate},
                                {{.run = wait_at_gate, .lane = 0}, &gate}};
    struct workers *workers;

    (void)state;
    ran = 0;
    assert_int_equal(workers_new("test", 3, &workers), PST_OK);
    for (unsigned i = 0; i < 5; i++)
        workers_submit(workers, &jobs[i].job);
    wait_for_inside(&gate, 3); /* the first of the lane and both without */
    assert_int_equal(workers_backlog(workers), 5);
    open_gate(&gate);
    workers_drain(workers);
    assert_int_equal(ran, 5);
    workers_free(workers);
}

static void freeing_runs_what_is_queued_first(void **state)
{
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, true};
    static struct gated_job jobs[JOBS];
    struct workers *workers;

    (void)state;
    ran = 0;
    assert_int_equal(workers_new("test", 2, &workers), PST_OK);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct gated_job){{.run = wait_at_gate, .lane = i % 2 == 0 ? 9 : 0}, &gate};
        workers_submit(workers, &jobs[i].job);
    }
    workers_free(workers);
    assert_int_equal(ran, JOBS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_a_lane_keep_their_order_and_never_overlap),
        cmocka_unit_test(jobs_without_a_lane_run_side_by_side_past_a_busy_lane),
        cmocka_unit_test(freeing_runs_what_is_queued_first),
    };

    workers_free(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
