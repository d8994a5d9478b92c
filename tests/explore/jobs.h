/*
 * jobs.h - what the threads of a scenario can do with a queue.
 *
 * Each call is announced with begin() and its answer reported with end(), so
 * that history.c can judge them. Jobs are numbers from 1 on.
 */
#ifndef JOBS_H
#define JOBS_H

#include "history.h"
#include "job_queue.h"

_Static_assert((int)JQ_OK == DONE && (int)JQ_FULL == FULL &&
                   (int)JQ_EMPTY == EMPTY && (int)JQ_CLOSED == CLOSED,
               "an answer has the same number here and there");

static struct job_queue *queue;

static enum jq_result
queue_put(struct job job)
{
    return jq_try_push(queue, job);
}

static enum jq_result
queue_take(struct job *job)
{
    return jq_try_pop(queue, job);
}

/* The try calls of the queue that the scenario is about. */
static enum jq_result (*put)(struct job job) = queue_put;
static enum jq_result (*take)(struct job *job) = queue_take;

static void
make(long capacity)
{
    queue = jq_create((size_t)capacity);
}

static void
push(long job)
{
    begin(PUSH, job);
    end((enum answer)jq_push(queue, (struct job){.arg = (void *)job}), job);
}

static void
pop(long unused)
{
    struct job job = {.arg = NULL};

    begin(POP, unused);
    enum jq_result answer = jq_pop(queue, &job);
    end((enum answer)answer, (long)job.arg);
}

static void
try_push(long job)
{
    begin(TRY_PUSH, job);
    end((enum answer)put((struct job){.arg = (void *)job}), job);
}

static enum jq_result last_try_pop;

static void
try_pop(long unused)
{
    struct job job = {.arg = NULL};

    begin(TRY_POP, unused);
    last_try_pop = take(&job);
    end((enum answer)last_try_pop, (long)job.arg);
}

/* Who is told that it is closed can read data of that number. */
static void
close_queue(long number)
{
    begin(CLOSE, number);
    jq_close(queue);
    end(DONE, number);
}

static void
length(long most)
{
    size_t says = jq_len(queue);

    if (says > (size_t)most)
        fail("jq_len says %zu, and there were never more than %ld", says, most);
}

/* Goes round and round, to where counters of 8 or 16 bits begin again. */
static void
laps(long count)
{
    struct job job = {.arg = NULL};

    for (; count > 0; count--)
        if (put(job) != JQ_OK || take(&job) != JQ_OK)
            return;
}

/* When the others are over: takes what is left. */
static void
finish(long unused)
{
    do
        try_pop(unused);
    while (last_try_pop == JQ_OK && run.calls < 20);
    jq_destroy(queue);
    check_history();
}

#endif
