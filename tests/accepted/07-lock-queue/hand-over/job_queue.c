/*
 * An accepted solution of stage 07, of another style.
 *
 * Whoever has to wait gets into a line, with a condition of his own, and is
 * served by the thread that makes it possible: a push gives its job to the
 * first consumer in line, a pop lets the first producer's job in. So everybody
 * is woken at most once, with his business done, and nobody who comes later is
 * faster: the order is that of arrival. There are consumers in line only while
 * the ring is empty, and producers only while it is full.
 */
#include "job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* On the stack of a thread that sleeps. */
struct waiter {
    struct waiter *next;
    pthread_cond_t served;
    bool is_served;
    enum jq_result result;
    struct job job; /* to be let in, or handed over */
};

struct line {
    struct waiter *first, *last;
};

struct job_queue {
    pthread_mutex_t lock;
    bool closed;
    size_t capacity;
    uint64_t pushed, popped; /* through the ring, since the beginning */
    struct line producers, consumers;
    struct job ring[];
};

struct job_queue *
jq_create(size_t capacity)
{
    size_t ring, size;
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    if (__builtin_mul_overflow(capacity, sizeof(struct job), &ring) ||
        __builtin_add_overflow(ring, sizeof(struct job_queue), &size)) {
        errno = ENOMEM;
        return NULL;
    }
    struct job_queue *q = malloc(size);
    if (q == NULL)
        return NULL;
    *q = (struct job_queue){.capacity = capacity};
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

void
jq_destroy(struct job_queue *q)
{
    if (q != NULL)
        pthread_mutex_destroy(&q->lock);
    free(q);
}

/* Sleeps in line until served; comes and goes with the lock. */
static void
wait_in(struct line *l, struct waiter *me, pthread_mutex_t *lock)
{
    me->next = NULL;
    me->is_served = false;
    pthread_cond_init(&me->served, NULL);
    *(l->first == NULL ? &l->first : &l->last->next) = me;
    l->last = me;
    while (!me->is_served)
        pthread_cond_wait(&me->served, lock);
    pthread_cond_destroy(&me->served);
}

/* The first in line leaves it and wakes up. With the lock held, because the
 * condition is gone as soon as its owner has got the lock. */
static void
serve_first(struct line *l, enum jq_result result)
{
    struct waiter *w = l->first;
    l->first = w->next;
    w->result = result;
    w->is_served = true;
    pthread_cond_signal(&w->served);
}

static size_t
length(const struct job_queue *q)
{
    return (size_t)(q->pushed - q->popped);
}

static void
add(struct job_queue *q, struct job job)
{
    q->ring[q->pushed++ % q->capacity] = job;
}

/* JQ_FULL means: not now. */
static enum jq_result
push_now(struct job_queue *q, struct job job)
{
    if (q->closed)
        return JQ_CLOSED;
    if (q->consumers.first != NULL) {
        q->consumers.first->job = job;
        serve_first(&q->consumers, JQ_OK);
        return JQ_OK;
    }
    if (length(q) == q->capacity)
        return JQ_FULL;
    add(q, job);
    return JQ_OK;
}

static enum jq_result
pop_now(struct job_queue *q, struct job *job)
{
    if (length(q) == 0)
        return q->closed ? JQ_CLOSED : JQ_EMPTY;
    *job = q->ring[q->popped++ % q->capacity];
    if (q->producers.first != NULL) {
        add(q, q->producers.first->job);
        serve_first(&q->producers, JQ_OK);
    }
    return JQ_OK;
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    pthread_mutex_lock(&q->lock);
    enum jq_result result = push_now(q, job);
    if (result == JQ_FULL) {
        struct waiter me = {.job = job};
        wait_in(&q->producers, &me, &q->lock);
        result = me.result;
    }
    pthread_mutex_unlock(&q->lock);
    return result;
}

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    pthread_mutex_lock(&q->lock);
    enum jq_result result = push_now(q, job);
    pthread_mutex_unlock(&q->lock);
    return result;
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    pthread_mutex_lock(&q->lock);
    enum jq_result result = pop_now(q, job);
    if (result == JQ_EMPTY) {
        struct waiter me = {.result = JQ_CLOSED};
        wait_in(&q->consumers, &me, &q->lock);
        result = me.result;
        if (result == JQ_OK)
            *job = me.job;
    }
    pthread_mutex_unlock(&q->lock);
    return result;
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    pthread_mutex_lock(&q->lock);
    enum jq_result result = pop_now(q, job);
    pthread_mutex_unlock(&q->lock);
    return result;
}

void
jq_close(struct job_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    while (q->producers.first != NULL)
        serve_first(&q->producers, JQ_CLOSED);
    while (q->consumers.first != NULL)
        serve_first(&q->consumers, JQ_CLOSED);
    pthread_mutex_unlock(&q->lock);
}

size_t
jq_len(struct job_queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = length(q);
    pthread_mutex_unlock(&q->lock);
    return n;
}
