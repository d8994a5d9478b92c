/*
 * An accepted solution of stage 07, of another style.
 *
 * Producers and consumers have a lock each and do not disturb each other: one
 * is for the back of the ring, one for its front, as in Java's
 * LinkedBlockingQueue. What both need is an atomic number, the jobs in the
 * ring: a producer writes its job before it counts it, a consumer empties the
 * place before it takes one off, so that neither touches a place that is the
 * other's. Whoever finds the ring empty, or full, before his change may have
 * somebody asleep on the other side to wake, and takes the other lock for that;
 * who wakes up and sees that there is still more wakes the next one.
 */
#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct end {
    pthread_mutex_t lock;
    pthread_cond_t go_on; /* there may be room, or a job */
    size_t at;            /* the index where the next one goes in, or out */
    bool closed;          /* each end has its own, under its own lock */
};

struct job_queue {
    size_t capacity;
    atomic_size_t jobs; /* in the ring */
    struct end back, front;
    struct job *ring;
};

static void
make_end(struct end *e)
{
    e->at = 0;
    e->closed = false;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->go_on, NULL);
}

static void
destroy_end(struct end *e)
{
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->go_on);
}

struct job_queue *
jq_create(size_t capacity)
{
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct job_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->ring = reallocarray(NULL, capacity, sizeof *q->ring);
    if (q->ring == NULL) {
        free(q);
        errno = ENOMEM;
        return NULL;
    }
    q->capacity = capacity;
    make_end(&q->back);
    make_end(&q->front);
    return q;
}

void
jq_destroy(struct job_queue *q)
{
    if (q == NULL)
        return;
    destroy_end(&q->back);
    destroy_end(&q->front);
    free(q->ring);
    free(q);
}

/* To somebody on the other side, or nobody. Without its lock the signal could
 * come between a look at the number of jobs and the sleep that follows. */
static void
wake_one(struct end *other)
{
    pthread_mutex_lock(&other->lock);
    pthread_cond_signal(&other->go_on);
    pthread_mutex_unlock(&other->lock);
}

static size_t
next(const struct job_queue *q, size_t at)
{
    return at + 1 == q->capacity ? 0 : at + 1;
}

static enum jq_result
push(struct job_queue *q, struct job job, bool waits)
{
    struct end *mine = &q->back;
    pthread_mutex_lock(&mine->lock);
    while (waits && !mine->closed && atomic_load(&q->jobs) == q->capacity)
        pthread_cond_wait(&mine->go_on, &mine->lock);
    if (mine->closed || atomic_load(&q->jobs) == q->capacity) {
        enum jq_result no = mine->closed ? JQ_CLOSED : JQ_FULL;
        pthread_mutex_unlock(&mine->lock);
        return no;
    }
    q->ring[mine->at] = job;
    mine->at = next(q, mine->at);
    size_t before = atomic_fetch_add(&q->jobs, 1);
    if (before + 1 < q->capacity)
        pthread_cond_signal(&mine->go_on); /* still room, for another one */
    pthread_mutex_unlock(&mine->lock);
    if (before == 0)
        wake_one(&q->front);
    return JQ_OK;
}

static enum jq_result
pop(struct job_queue *q, struct job *job, bool waits)
{
    struct end *mine = &q->front;
    pthread_mutex_lock(&mine->lock);
    while (waits && !mine->closed && atomic_load(&q->jobs) == 0)
        pthread_cond_wait(&mine->go_on, &mine->lock);
    /* jq_close() closes the back first: once the front is closed, no job that
     * is not counted yet can come. */
    bool closed = mine->closed;
    if (atomic_load(&q->jobs) == 0) {
        pthread_mutex_unlock(&mine->lock);
        return closed ? JQ_CLOSED : JQ_EMPTY;
    }
    *job = q->ring[mine->at];
    mine->at = next(q, mine->at);
    size_t before = atomic_fetch_sub(&q->jobs, 1);
    if (before > 1)
        pthread_cond_signal(&mine->go_on); /* another job, for another one */
    pthread_mutex_unlock(&mine->lock);
    if (before == q->capacity)
        wake_one(&q->back);
    return JQ_OK;
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    return push(q, job, true);
}

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    return push(q, job, false);
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    return pop(q, job, true);
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    return pop(q, job, false);
}

static void
close_end(struct end *e)
{
    pthread_mutex_lock(&e->lock);
    e->closed = true;
    pthread_cond_broadcast(&e->go_on);
    pthread_mutex_unlock(&e->lock);
}

void
jq_close(struct job_queue *q)
{
    close_end(&q->back);
    close_end(&q->front);
}

size_t
jq_len(struct job_queue *q)
{
    return atomic_load(&q->jobs);
}
