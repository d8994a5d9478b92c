/* The plain queue to compare with: job_queue.h as a textbook has it, one mutex,
 * two condition variables, and a signal in every push and pop. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "job_queue.h"

struct job_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_full, not_empty;
    size_t capacity, first, count;
    bool closed;
    struct job *jobs;
};

struct job_queue *
jq_create(size_t capacity)
{
    struct job_queue *q = calloc(1, sizeof *q);
    q->capacity = capacity;
    q->jobs = calloc(capacity, sizeof *q->jobs);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_full, NULL);
    pthread_cond_init(&q->not_empty, NULL);
    return q;
}

static enum jq_result
push(struct job_queue *q, struct job job, bool wait)
{
    pthread_mutex_lock(&q->lock);
    while (wait && q->count == q->capacity && !q->closed)
        pthread_cond_wait(&q->not_full, &q->lock);
    enum jq_result result = q->closed                 ? JQ_CLOSED
                            : q->count == q->capacity ? JQ_FULL
                                                      : JQ_OK;
    if (result == JQ_OK) {
        q->jobs[(q->first + q->count++) % q->capacity] = job;
        pthread_cond_signal(&q->not_empty);
    }
    pthread_mutex_unlock(&q->lock);
    return result;
}

static enum jq_result
pop(struct job_queue *q, struct job *job, bool wait)
{
    pthread_mutex_lock(&q->lock);
    while (wait && q->count == 0 && !q->closed)
        pthread_cond_wait(&q->not_empty, &q->lock);
    enum jq_result result = q->count > 0 ? JQ_OK
                            : q->closed  ? JQ_CLOSED
                                         : JQ_EMPTY;
    if (result == JQ_OK) {
        *job = q->jobs[q->first];
        q->first = (q->first + 1) % q->capacity;
        q->count--;
        pthread_cond_signal(&q->not_full);
    }
    pthread_mutex_unlock(&q->lock);
    return result;
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
