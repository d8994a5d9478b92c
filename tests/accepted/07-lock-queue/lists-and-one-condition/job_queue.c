/*
 * An accepted solution of stage 07, of another style.
 *
 * Two linked lists share the nodes, all of which are made with the queue: one
 * of jobs, one of free places. There is a single condition, "something has
 * changed", and every change is broadcast to all who wait, with the lock still
 * held. It wakes more threads than necessary, and each of them looks again; in
 * return there is nothing to count and nobody who could be forgotten.
 */
#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct node {
    struct job job;
    struct node *next;
};

struct job_queue {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open;
    size_t length;
    struct node *free;           /* the places without a job */
    struct node *oldest, **tail; /* those with one; where the next is put */
    struct node *all;            /* as they were allocated */
};

struct job_queue *
jq_create(size_t capacity)
{
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct job_queue *q = malloc(sizeof *q);
    struct node *nodes = calloc(capacity, sizeof *nodes);
    if (q == NULL || nodes == NULL) {
        free(q);
        free(nodes);
        errno = ENOMEM;
        return NULL;
    }
    for (size_t i = 0; i + 1 < capacity; i++)
        nodes[i].next = &nodes[i + 1];
    *q = (struct job_queue){
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
        .open = true,
        .free = nodes,
        .all = nodes,
    };
    q->tail = &q->oldest;
    return q;
}

void
jq_destroy(struct job_queue *q)
{
    if (q == NULL)
        return;
    pthread_mutex_destroy(&q->mutex);
    pthread_cond_destroy(&q->changed);
    free(q->all);
    free(q);
}

/* All four of them: the mutex is held for as long as that takes, sleep apart.
 * */
static enum jq_result
put(struct job_queue *q, struct job job, bool may_sleep)
{
    enum jq_result result = JQ_OK;
    pthread_mutex_lock(&q->mutex);
    while (may_sleep && q->open && q->free == NULL)
        pthread_cond_wait(&q->changed, &q->mutex);
    if (!q->open) {
        result = JQ_CLOSED;
    } else if (q->free == NULL) {
        result = JQ_FULL;
    } else {
        struct node *n = q->free;
        q->free = n->next;
        n->job = job;
        n->next = NULL;
        *q->tail = n;
        q->tail = &n->next;
        q->length++;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->mutex);
    return result;
}

static enum jq_result
get(struct job_queue *q, struct job *job, bool may_sleep)
{
    enum jq_result result = JQ_OK;
    pthread_mutex_lock(&q->mutex);
    while (may_sleep && q->open && q->oldest == NULL)
        pthread_cond_wait(&q->changed, &q->mutex);
    struct node *n = q->oldest;
    if (n == NULL) {
        result = q->open ? JQ_EMPTY : JQ_CLOSED;
    } else {
        *job = n->job;
        q->oldest = n->next;
        if (q->oldest == NULL)
            q->tail = &q->oldest;
        n->next = q->free;
        q->free = n;
        q->length--;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->mutex);
    return result;
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    return put(q, job, true);
}

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    return put(q, job, false);
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    return get(q, job, true);
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    return get(q, job, false);
}

void
jq_close(struct job_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->open = false;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

size_t
jq_len(struct job_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    size_t length = q->length;
    pthread_mutex_unlock(&q->mutex);
    return length;
}
