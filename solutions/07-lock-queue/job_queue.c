/*
 * Stage 07: a job queue with a lock.
 *
 * The jobs lie in a ring, an array that goes on at its beginning where it
 * ends. One mutex guards all of it: who holds the lock is alone with the queue
 * and may change it as if the program had one thread. Two condition variables
 * are where threads sleep: producers that find the queue full, and consumers
 * that find it empty. A sleeper uses no CPU: the kernel does not look at it
 * again until another thread wakes it.
 *
 *        index     0     1     2     3
 *               +-----+-----+-----+-----+      capacity 4
 *               | 3rd |     | 1st | 2nd |      first    2
 *               +-----+-----+-----+-----+      count    3
 *
 * What it cannot do: the lock is held for a few instructions only, but a thread
 * that is taken off its CPU while it holds the lock stops all the others, and
 * each time one thread puts another to sleep or wakes it, both go through the
 * kernel. Stage 08 keeps the header and gives up the lock.
 */
#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Something that threads wait for. */
struct condition {
    pthread_cond_t cond;
    size_t sleepers; /* threads that wait for it and were not yet signalled */
};

struct job_queue {
    pthread_mutex_t lock; /* guards everything below */
    size_t capacity;      /* but this never changes: anybody may read it */
    size_t first;         /* index of the oldest job */
    size_t count;         /* how many there are, 0 to capacity */
    bool closed;
    struct condition not_full;
    struct condition not_empty;
    struct job jobs[];
};

struct job_queue *
jq_create(size_t capacity)
{
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    if (capacity > (SIZE_MAX - sizeof(struct job_queue)) / sizeof(struct job)) {
        errno = ENOMEM; /* the product below would not fit into a size_t */
        return NULL;
    }
    struct job_queue *q = malloc(sizeof *q + capacity * sizeof q->jobs[0]);
    if (q == NULL)
        return NULL;
    *q = (struct job_queue){.capacity = capacity};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_full.cond, NULL);
    pthread_cond_init(&q->not_empty.cond, NULL);
    return q;
}

void
jq_destroy(struct job_queue *q)
{
    if (q == NULL)
        return;
    pthread_cond_destroy(&q->not_empty.cond);
    pthread_cond_destroy(&q->not_full.cond);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* Puts a job behind the newest. The lock is held, the queue is not full. */
static void
append(struct job_queue *q, struct job job)
{
    /* TODO 1: put the job into the ring.
     * The oldest job is at index first, and the others follow it, count of
     * them in all. After the last element of the array comes element 0.
     * STUB: (void)q;
     * STUB: (void)job;
     * STUB: todo
     */
    size_t place = q->first + q->count;
    if (place >= q->capacity) /* % would do as well; a division takes longer */
        place -= q->capacity;
    q->jobs[place] = job;
    q->count++;
    /* END TODO 1 */
}

/* Takes the oldest job out. The lock is held, the queue is not empty. */
static struct job
take(struct job_queue *q)
{
    /* TODO 2: take the oldest job out of the ring.
     * What is the second job becomes the first; nothing is moved.
     * STUB: (void)q;
     * STUB: todo
     */
    struct job job = q->jobs[q->first];
    if (++q->first == q->capacity)
        q->first = 0;
    q->count--;
    return job;
    /* END TODO 2 */
}

/* Sleeps until someone wakes this thread. The lock is held on the way in and on
 * the way out, but not in between: pthread_cond_wait() lets go of it and falls
 * asleep as one step, so that no wake-up can come between the two. Others
 * change the queue meanwhile. What was true before is only a guess now.
 */
static void
sleep_until(struct condition *condition, pthread_mutex_t *lock)
{
    condition->sleepers++; /* whoever signals takes one off */
    pthread_cond_wait(&condition->cond, lock);
}

/* Lets go of the lock, and wakes one thread that waits for the condition. */
static void
unlock_and_wake(struct job_queue *q, struct condition *condition)
{
    /* TODO 7: unlock, and wake a sleeper if there is one.
     * Signal after unlocking: a thread that is woken while you hold the lock
     * can do nothing but wait for it. But sleepers belongs to what the lock
     * guards. Take the one that you will signal off the count, so that those
     * who come before it has woken up need not signal again. The line below
     * wakes nobody.
     * STUB: (void)condition;
     * STUB: pthread_mutex_unlock(&q->lock);
     */
    /* No wake-up gets lost. A thread that is asleep is counted, or somebody is
     * about to signal; one that comes for the lock after us looks at the queue
     * before it sleeps, and finds what we have changed. (A thread that woke up
     * for no reason is counted twice: that costs a signal for nobody.) */
    bool somebody_sleeps = condition->sleepers > 0;
    if (somebody_sleeps)
        condition->sleepers--;
    pthread_mutex_unlock(&q->lock);
    if (somebody_sleeps)
        pthread_cond_signal(&condition->cond);
    /* END TODO 7 */
}

/* The end of every push: the lock is held, and this function lets go of it. */
static enum jq_result
finish_push(struct job_queue *q, struct job job)
{
    /* TODO 3: append the job, or say why not, and unlock.
     * A closed queue answers JQ_CLOSED, full or not; a full one JQ_FULL. Every
     * way out lets go of the lock: unlock_and_wake() after a change, because
     * a consumer may be waiting for this job, and pthread_mutex_unlock() if
     * nothing was changed. The lines below believe that there is always room.
     * STUB: append(q, job);
     * STUB: unlock_and_wake(q, &q->not_empty);
     * STUB: return JQ_OK;
     */
    if (q->closed || q->count == q->capacity) {
        enum jq_result refused = q->closed ? JQ_CLOSED : JQ_FULL;
        pthread_mutex_unlock(&q->lock);
        return refused;
    }
    append(q, job);
    unlock_and_wake(q, &q->not_empty);
    return JQ_OK;
    /* END TODO 3 */
}

/* The end of every pop: the lock is held, and this function lets go of it. */
static enum jq_result
finish_pop(struct job_queue *q, struct job *job)
{
    /* TODO 4: take the oldest job, or say why not, and unlock.
     * What is queued comes out even if the queue is closed. Without a job it
     * is JQ_CLOSED or JQ_EMPTY, and *job stays as it is. The lines below
     * believe that there is always a job.
     * STUB: *job = take(q);
     * STUB: unlock_and_wake(q, &q->not_full);
     * STUB: return JQ_OK;
     */
    if (q->count == 0) {
        enum jq_result nothing = q->closed ? JQ_CLOSED : JQ_EMPTY;
        pthread_mutex_unlock(&q->lock);
        return nothing;
    }
    *job = take(q);
    unlock_and_wake(q, &q->not_full);
    return JQ_OK;
    /* END TODO 4 */
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    pthread_mutex_lock(&q->lock);
    /* TODO 5: sleep while there is no room.
     * Call sleep_until(). When it returns, look again before you go on: a
     * third thread may have been faster, and a thread may even wake up for
     * no reason. On a closed queue nobody waits.
     * STUB: (void)sleep_until;
     */
    while (q->count == q->capacity && !q->closed)
        sleep_until(&q->not_full, &q->lock);
    /* END TODO 5 */
    return finish_push(q, job);
}

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    pthread_mutex_lock(&q->lock);
    return finish_push(q, job);
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    pthread_mutex_lock(&q->lock);
    /* TODO 6: sleep while there is no job.
     * The mirror image of TODO 5.
     * STUB: (void)sleep_until;
     */
    while (q->count == 0 && !q->closed)
        sleep_until(&q->not_empty, &q->lock);
    /* END TODO 6 */
    return finish_pop(q, job);
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    pthread_mutex_lock(&q->lock);
    return finish_pop(q, job);
}

void
jq_close(struct job_queue *q)
{
    /* TODO 8: close the queue, and wake everyone who sleeps.
     * Each sleeper's condition has changed, so a signal for one of them is not
     * enough. `closed` belongs to what the lock guards: a thread that has just
     * looked at it and is about to sleep must not miss the broadcast.
     * STUB: q->closed = true;
     */
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_broadcast(&q->not_full.cond);
    pthread_cond_broadcast(&q->not_empty.cond);
    /* END TODO 8 */
}

size_t
jq_len(struct job_queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t count = q->count;
    pthread_mutex_unlock(&q->lock);
    return count;
}
