/*
 * Stage 09: the worker pool.
 *
 * The queue of stage 08 carries jobs to the workers, the loop's posts carry
 * completion events back.
 *
 * Workers that have nothing to do sleep, and waking one costs the loop a system
 * call. jq_pop() would ask for one with every job, as long as anyone sleeps: for
 * a hundred short jobs a hundred calls, and a crowd that finds the queue empty.
 * Here workers are woken one at a time. The one that is awake and looks for a
 * job is the searcher. While there is one, pool_submit() wakes nobody: the
 * searcher will find the job. When it has found one it stops searching, and
 * before it runs the job it wakes the next worker if there are more. So the
 * workers wake each other, as many as it takes, and the loop goes on. (The
 * scheduler of Go does the same with its spinning threads.)
 *
 *   label    who       what it does to `idle`, acq_rel              partner
 *   TELL     submit    adds 0, and sees whether anyone will look    FOUND, PARK
 *   FOUND    searcher  gives up the search, then looks for more     TELL
 *   PARK     worker    is parked, then looks once more              TELL
 *
 * All of them change one word, so one comes first. Is it TELL? Then FOUND or
 * PARK see what was pushed before it. If not, TELL sees that nobody searches,
 * or that somebody is parked, and wakes one. (tests/explore/examples/pool.c tries
 * this in every order.)
 */
#include "pool.h"

#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

/* A job's state decides between cancelling and running it: whoever moves it on
 * from QUEUED has won. */
enum { IDLE, QUEUED, RUNNING, CANCELLED };

/* The word `idle`: the lowest bit says that there is a searcher; above it is the
 * number of workers that are parked and that no wake-up is under way to. */
enum { SEARCHER = 1, PARKED = 2 };

/* How often the searcher looks again before it sleeps, too. The next job is
 * mostly there sooner than it could fall asleep and be woken. */
#ifndef SPINS
#define SPINS 50
#endif

struct pool {
    struct job_queue *queue;
    size_t threads;
    _Atomic size_t busy;
    _Atomic bool ending;
    _Atomic uint32_t idle;
    sem_t wakeups; /* parked workers wait for one */
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
    /* TODO 11: run the job unless it was cancelled, and tell its loop.
     * pool_cancel() moves the state from QUEUED to CANCELLED with a compare-and-
     * swap; here it moves from QUEUED to RUNNING in the same way, and only one of
     * the two can succeed. When the pool is ending, cancel it yourself first.
     * pool->busy counts those that are in work(). At last loop_post() it, cancelled
     * or not, and touch the job no more: it is the loop's. The stub
     * knows no cancelling.
     * STUB: atomic_store(&job->state, RUNNING);
     * STUB: atomic_fetch_add(&pool->busy, 1);
     * STUB: job->work(job->arg);
     * STUB: atomic_fetch_sub(&pool->busy, 1);
     * STUB: loop_post(job->loop, &job->post);
     */
    if (atomic_load(&pool->ending))
        pool_cancel(job);
    int queued = QUEUED;
    if (atomic_compare_exchange_strong(&job->state, &queued, RUNNING)) {
        atomic_fetch_add(&pool->busy, 1);
        job->work(job->arg);
        atomic_fetch_sub(&pool->busy, 1);
    }
    loop_post(job->loop, &job->post);
    /* END TODO 11 */
}

/* After a job went in: sees to it that somebody looks for it. */
static void
tell(struct pool *pool)
{
    /* TELL. Nobody parked: all have work, and look when it is done. */
    uint32_t idle = atomic_fetch_add(&pool->idle, 0);
    while (!(idle & SEARCHER) && idle >= PARKED)
        if (atomic_compare_exchange_weak(&pool->idle, &idle,
                                         idle - PARKED + SEARCHER)) {
            sem_post(&pool->wakeups);
            return;
        }
}

/* Back from being parked, without a wake-up. false: one is already under way. */
static bool
unpark(struct pool *pool)
{
    uint32_t idle = atomic_load(&pool->idle);
    while (idle >= PARKED)
        if (atomic_compare_exchange_weak(&pool->idle, &idle, idle - PARKED))
            return true;
    return false;
}

/* Sleeps until there is something in the queue, perhaps. Returns whether this
 * worker is the searcher now.
 *
 * It only looks at the queue, and takes nothing: wake-ups are for whoever comes
 * first, and ours may wake another worker, who has just come. Then we sleep on,
 * which we must not with a job in our hands. */
static bool
park(struct pool *pool, bool searches)
{
    /* PARK */
    atomic_fetch_add(&pool->idle, searches ? PARKED - SEARCHER : PARKED);
    if (jq_len(pool->queue) > 0 && unpark(pool))
        return false;
    while (sem_wait(&pool->wakeups) < 0)
        ;        /* EINTR */
    return true; /* tell() has said so */
}

/* Waits for the next job. false: there will be none. */
static bool
next_job(struct pool *pool, struct job *job)
{
    bool searches = false;
    enum jq_result result;
    while ((result = jq_try_pop(pool->queue, job)) == JQ_EMPTY) {
        if (!searches)
            searches = !(atomic_fetch_or(&pool->idle, SEARCHER) & SEARCHER);
        for (int i = 0; searches && i < SPINS && result == JQ_EMPTY; i++) {
            sched_yield();
            result = jq_try_pop(pool->queue, job);
        }
        if (result != JQ_EMPTY)
            break;
        searches = park(pool, searches);
    }
    if (searches && result == JQ_OK) {
        atomic_fetch_sub(&pool->idle, SEARCHER); /* FOUND */
        if (jq_len(pool->queue) > 0)
            tell(pool);
    }
    return result == JQ_OK;
}

static void *
worker(void *arg)
{
    struct pool *pool = arg;
    struct job job;
    while (next_job(pool, &job))
        job.run(job.arg);
    return NULL;
}

bool
pool_submit(struct pool *pool, struct loop *loop, struct pool_job *job)
{
    job->pool = pool;
    job->loop = loop;
    job->post = (struct loop_post){.run = finish, .arg = job};
    /* TODO 10: hand the job over to a worker, or refuse it.
     * Its state is QUEUED before it is in the queue, as a worker may have it a
     * moment later. jq_try_push() it, to be run with run(): jq_push() would
     * block the loop. If there is no room the state is IDLE again, and the answer
     * false. Otherwise tell() the workers, and loop_hold() the loop until
     * finish(). The stub does the work on the loop's own thread.
     * STUB: (void)pool;
     * STUB: (void)run;
     * STUB: (void)tell;
     * STUB: atomic_store(&job->state, RUNNING);
     * STUB: job->work(job->arg);
     * STUB: loop_hold(loop, 1);
     * STUB: loop_post(loop, &job->post);
     * STUB: return true;
     */
    atomic_store(&job->state, QUEUED);
    if (jq_try_push(pool->queue, (struct job){run, job}) != JQ_OK) {
        atomic_store(&job->state, IDLE);
        return false;
    }
    tell(pool);
    loop_hold(loop, 1);
    return true;
    /* END TODO 10 */
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
    sem_init(&pool->wakeups, 0, 0);
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
        sem_post(&pool->wakeups);
    for (size_t i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    sem_destroy(&pool->wakeups);
    jq_destroy(pool->queue);
    free(pool);
}
