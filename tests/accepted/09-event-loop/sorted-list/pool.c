/*
 * Another way: workers sleep in jq_pop(), and the queue wakes them. That costs
 * more wake-ups than workers that wake each other, and needs nothing of its
 * own.
 */
#include "pool.h"

#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { IDLE, QUEUED, RUNNING, CANCELLED };

struct pool {
    struct job_queue *queue;
    size_t threads;
    _Atomic size_t busy;
    atomic_bool ending;
    pthread_t thread[];
};

static void
finish(void *arg)
{
    struct pool_job *job = arg;
    bool ran = atomic_exchange(&job->state, IDLE) == RUNNING;
    loop_hold(job->loop, -1);
    job->done(job->arg, ran);
}

bool
pool_cancel(struct pool_job *job)
{
    int queued = QUEUED;
    return atomic_compare_exchange_strong(&job->state, &queued, CANCELLED);
}

static void
run(void *arg)
{
    struct pool_job *job = arg;
    int queued = QUEUED;
    if (atomic_load(&job->pool->ending))
        pool_cancel(job);
    if (atomic_compare_exchange_strong(&job->state, &queued, RUNNING)) {
        atomic_fetch_add(&job->pool->busy, 1);
        job->work(job->arg);
        atomic_fetch_sub(&job->pool->busy, 1);
    }
    loop_post(job->loop, &job->post);
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
    loop_hold(loop, 1); /* finish() comes later, on this thread */
    return true;
}

struct pool_counts
pool_counts(struct pool *pool)
{
    return (struct pool_counts){pool->threads, jq_len(pool->queue),
                                atomic_load(&pool->busy)};
}

struct pool *
pool_create(size_t threads, size_t capacity)
{
    sigset_t all, before;
    int error = 0;
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
    sigfillset(&all); /* threads inherit the mask */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; error == 0 && pool->threads < threads; pool->threads += error == 0)
        error =
            pthread_create(&pool->thread[pool->threads], NULL, worker, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        pool_destroy(pool);
        errno = error;
        return NULL;
    }
    return pool;
}

void
pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->ending, true);
    jq_close(pool->queue); /* what is queued still comes out */
    for (size_t i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    jq_destroy(pool->queue);
    free(pool);
}
