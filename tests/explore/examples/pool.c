/*
 * The workers of stage 09, who wake each other one at a time: does a job ever lie
 * in the queue while all of them sleep?
 *
 *     tests/explore/run -a tests/explore/examples/pool.c
 *
 * pool.c is compiled as it is. Its semaphore is made of a mutex and a condition
 * variable, which the explorer knows; its queue has three places, and as few
 * steps as a queue can have; and no thread is made: the workers are threads of
 * the scenarios.
 */
#define run explorer_run
#include "explore.h"
#undef run
#include <pthread.h>
#include <semaphore.h>

struct semaphore {
    pthread_mutex_t lock;
    pthread_cond_t more;
    int count;
};
static struct semaphore wakeups;

static int
down(sem_t *unused)
{
    (void)unused;
    pthread_mutex_lock(&wakeups.lock);
    while (wakeups.count == 0)
        pthread_cond_wait(&wakeups.more, &wakeups.lock);
    wakeups.count--;
    pthread_mutex_unlock(&wakeups.lock);
    return 0;
}

static int
up(sem_t *unused)
{
    (void)unused;
    pthread_mutex_lock(&wakeups.lock);
    wakeups.count++;
    pthread_mutex_unlock(&wakeups.lock);
    pthread_cond_signal(&wakeups.more);
    return 0;
}

#define sem_wait(SEMAPHORE)              down(SEMAPHORE)
#define sem_post(SEMAPHORE)              up(SEMAPHORE)
#define sem_init(SEMAPHORE, SHARED, NUM) (void)(SEMAPHORE)
#define sem_destroy(SEMAPHORE)           (void)(SEMAPHORE)
#define pthread_create(A, B, C, D)       ((void)(C), 0)
#define pthread_join(THREAD, RESULT)     (void)(THREAD)
#include "../../../solutions/09-event-loop/pool.c"

/* --- what pool.c calls ---------------------------------------------------- */

enum { ROOM = 3 };
static _Atomic(void *) places[ROOM];
static _Atomic bool closed;

struct job_queue *
jq_create(size_t capacity)
{
    return (void *)(capacity > 0 ? places : NULL);
}

void
jq_destroy(struct job_queue *q)
{
    (void)q;
}

void
jq_close(struct job_queue *q)
{
    (void)q;
    atomic_store(&closed, true);
}

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    (void)q;
    for (int i = 0; i < ROOM; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&places[i], &none, job.arg,
                                                    memory_order_release,
                                                    memory_order_relaxed))
            return JQ_OK;
    }
    return JQ_FULL;
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    (void)q;
    for (int i = 0; i < ROOM; i++) {
        void *arg = atomic_load_explicit(&places[i], memory_order_relaxed);
        if (arg != NULL && atomic_compare_exchange_strong_explicit(
                               &places[i], &arg, NULL, memory_order_acquire,
                               memory_order_relaxed)) {
            *job = (struct job){run, arg};
            return JQ_OK;
        }
    }
    return atomic_load(&closed) ? JQ_CLOSED : JQ_EMPTY;
}

size_t
jq_len(struct job_queue *q)
{
    size_t n = 0;
    (void)q;
    for (int i = 0; i < ROOM; i++)
        n += atomic_load_explicit(&places[i], memory_order_relaxed) != NULL;
    return n;
}

void
loop_post(struct loop *loop, struct loop_post *post)
{
    (void)loop;
    (void)post;
}

void
loop_hold(struct loop *loop, int n)
{
    (void)loop;
    (void)n;
}

/* --- threads -------------------------------------------------------------- */

static struct pool pool;
static struct pool_job jobs[2];
static _Atomic int left; /* jobs that have not run */

static void
expect_jobs(long n)
{
    atomic_store(&left, (int)n);
}

/* The last job sends all workers home. */
static void
work(void *arg)
{
    (void)arg;
    if (atomic_fetch_sub(&left, 1) > 1)
        return;
    jq_close(NULL);
    for (int i = 0; i < 2; i++)
        sem_post(&pool.wakeups);
}

static void
submit(long number)
{
    jobs[number] = (struct pool_job){.work = work};
    pool_submit(&pool, NULL, &jobs[number]);
}

static void
be_a_worker(long unused)
{
    (void)unused;
    worker(&pool);
}

#define MAIN                                                                   \
    {                                                                          \
        "main",                                                                \
        {                                                                      \
            {                                                                  \
                NULL, 0                                                        \
            }                                                                  \
        }                                                                      \
    }
#define WORKER                                                                 \
    {                                                                          \
        "worker",                                                              \
        {                                                                      \
            {                                                                  \
                be_a_worker, 0                                                 \
            }                                                                  \
        }                                                                      \
    }
#define WORKER2                                                                \
    {                                                                          \
        "worker 2",                                                            \
        {                                                                      \
            {                                                                  \
                be_a_worker, 0                                                 \
            }                                                                  \
        }                                                                      \
    }

const struct scenario scenarios[] = {
    {
        .name = "pool-one-worker",
        .setup = {{expect_jobs, 2}},
        .threads = {MAIN, WORKER, {"loop", {{submit, 0}, {submit, 1}}}},
        .preemptions = 3,
        .stale = 1,
        .spurious = 1,
    },
    {
        .name = "pool-two-workers",
        .setup = {{expect_jobs, 1}},
        .threads = {MAIN, WORKER, WORKER2, {"loop", {{submit, 0}}}},
        .preemptions = 2,
        .stale = 1,
        .spurious = 1,
    },
    {
        .name = "pool-two-jobs",
        .setup = {{expect_jobs, 2}},
        .threads =
            {MAIN, WORKER, WORKER2, {"loop", {{submit, 0}, {submit, 1}}}},
        .preemptions = 2,
        .stale = 1,
    },
    {
        .name = "pool-two-loops",
        .setup = {{expect_jobs, 2}},
        .threads = {MAIN,
                    WORKER,
                    WORKER2,
                    {"loop", {{submit, 0}}},
                    {"loop 2", {{submit, 1}}}},
        .preemptions = 1,
    },
    {0},
};
