/*
 * Another way: no queue of stage 07 or 08, but a list of the jobs themselves
 * with a lock and a condition variable, as in nginx's thread pool. A job's
 * post, which nobody needs before its completion, is its link in the list. What
 * the lock guards need not be atomic, a job's state neither.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { IDLE, QUEUED, RUNNING, CANCELLED };

struct pool {
    size_t threads, capacity;
    pthread_mutex_t lock; /* guards what follows, and the state of jobs */
    pthread_cond_t news;  /* a job, or the end */
    struct loop_post *first, **last;
    size_t queued, busy;
    bool ending;
    pthread_t thread[];
};

static void
finish(void *arg)
{
    struct pool_job *job = arg;
    bool ran = job->state == RUNNING;
    job->state = IDLE;
    loop_hold(job->loop, -1);
    job->done(job->arg, ran);
}

bool
pool_cancel(struct pool_job *job)
{
    if (job->state == IDLE) /* only our own thread takes it back to that */
        return false;
    pthread_mutex_lock(&job->pool->lock);
    bool in_time = job->state == QUEUED;
    if (in_time)
        job->state = CANCELLED;
    pthread_mutex_unlock(&job->pool->lock);
    return in_time;
}

/* The lock is held, but not while the job is at work. */
static void
run(struct pool *pool, struct pool_job *job)
{
    bool wanted = job->state == QUEUED && !pool->ending;
    job->state = wanted ? RUNNING : CANCELLED;
    pool->busy += wanted;
    pthread_mutex_unlock(&pool->lock);
    if (wanted)
        job->work(job->arg);
    pthread_mutex_lock(&pool->lock);
    pool->busy -= wanted;
    loop_post(job->loop, &job->post);
}

static void *
worker(void *arg)
{
    struct pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->first == NULL && !pool->ending)
            pthread_cond_wait(&pool->news, &pool->lock);
        struct loop_post *post = pool->first;
        if (post == NULL)
            break;
        pool->first = post->next;
        if (pool->first == NULL)
            pool->last = &pool->first;
        pool->queued--;
        run(pool, post->arg);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

bool
pool_submit(struct pool *pool, struct loop *loop, struct pool_job *job)
{
    pthread_mutex_lock(&pool->lock);
    bool taken = pool->queued < pool->capacity;
    if (taken) {
        job->pool = pool;
        job->loop = loop;
        job->post = (struct loop_post){.run = finish, .arg = job};
        job->state = QUEUED;
        *pool->last = &job->post;
        pool->last = &job->post.next;
        pool->queued++;
        loop_hold(loop, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    if (taken)
        pthread_cond_signal(&pool->news);
    return taken;
}

struct pool_counts
pool_counts(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct pool_counts counts = {pool->threads, pool->queued, pool->busy};
    pthread_mutex_unlock(&pool->lock);
    return counts;
}

struct pool *
pool_create(size_t threads, size_t capacity)
{
    sigset_t all, before;
    int error = 0;
    if (threads == 0 || capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct pool *pool = calloc(1, sizeof *pool + threads * sizeof(pthread_t));
    if (pool == NULL)
        return NULL;
    pool->capacity = capacity;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->news, NULL);
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
    pthread_mutex_lock(&pool->lock);
    pool->ending = true; /* workers still take out what is queued */
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->news);
    for (size_t i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->news);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
