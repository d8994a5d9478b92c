/*
 * Stage 09: the worker pool.
 *
 * The queue of stage 08 carries jobs to the workers, the loop's posts carry
 * completion events back. Both are lists that many may write to, and both are
 * silent while the other side is awake: a worker that finds the next job in the
 * queue needs nobody to wake it, and of all workers that finish while the loop
 * is busy only the first one writes to its eventfd.
 */
#include "pool.h"

#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* A job's state decides between cancelling and running it: whoever moves it on
 * from QUEUED has won. */
enum { IDLE, QUEUED, RUNNING, CANCELLED };

struct pool {
    struct job_queue *queue;
    size_t threads;
    _Atomic size_t busy;
    _Atomic bool ending;
    pthread_t thread[];
};

/* On the loop: the completion event. */
static void
finish(void *arg)
{
    struct pool_job *job = arg;
    bool ran = atomic_load(&job->state) == RUNNING;
    atomic_store(&job->state, IDLE);
    loop_hold(job->loop, -1);
    job->done(job->arg, ran); /* may free the job, or submit it again */
}

/* On a worker: the job, unless it is cancelled. */
static void
run(void *arg)
{
    struct pool_job *job = arg;
    struct pool *pool = job->pool;
    if (atomic_load(&pool->ending))
        pool_cancel(job);
    int queued = QUEUED;
    if (atomic_compare_exchange_strong(&job->state, &queued, RUNNING)) {
        atomic_fetch_add(&pool->busy, 1);
        job->work(job->arg);
        atomic_fetch_sub(&pool->busy, 1);
    }
    loop_post(job->loop, &job->post); /* the job is the loop's again */
}

static void *
worker(void *arg)
{
    struct pool *pool = arg;
    struct job job;
    while (jq_pop(pool->queue, &job) == JQ_OK)
        job.run(job.arg);
    return NULL;
}

bool
pool_submit(struct pool *pool, struct loop *loop, struct pool_job *job)
{
    job->pool = pool;
    job->loop = loop;
    job->post = (struct loop_post){.run = finish, .arg = job};
    atomic_store(&job->state, QUEUED);
    if (jq_try_push(pool->queue, (struct job){run, job}) != JQ_OK) {
        atomic_store(&job->state, IDLE);
        return false;
    }
    loop_hold(loop, 1);
    return true;
}

bool
pool_cancel(struct pool_job *job)
{
    int queued = QUEUED;
    return atomic_compare_exchange_strong(&job->state, &queued, CANCELLED);
}

struct pool_counts
pool_counts(struct pool *pool)
{
    return (struct pool_counts){.threads = pool->threads,
                                .queued = jq_len(pool->queue),
                                .busy = atomic_load(&pool->busy)};
}

/* Starts one more worker, deaf to signals: they inherit the mask. */
static int
add_worker(struct pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error =
        pthread_create(&pool->thread[pool->threads], NULL, worker, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pool->threads++;
    return error;
}

struct pool *
pool_create(size_t threads, size_t capacity)
{
    if (threads == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct pool *pool = calloc(1, sizeof *pool + threads * sizeof(pthread_t));
    if (pool == NULL)
        return NULL;
    pool->queue = jq_create(capacity);
    if (pool->queue == NULL) {
        free(pool);
        return NULL;
    }
    while (pool->threads < threads) {
        int error = add_worker(pool);
        if (error != 0) {
            pool_destroy(pool);
            errno = error;
            return NULL;
        }
    }
    return pool;
}

void
pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->ending, true);
    jq_close(pool->queue); /* workers drain it, and end */
    for (size_t i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    jq_destroy(pool->queue);
    free(pool);
}
