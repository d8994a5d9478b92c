/* job_queue.h - a bounded queue of jobs between threads.
 *
 * One thread has work, another one has time. The first pushes a job, the
 * second pops it and runs it. The queue is bounded on purpose: when the
 * workers fall behind, push makes the producer wait (back-pressure) instead of
 * letting the memory grow.
 *
 * There are two implementations behind this header: stage 07 with a mutex and
 * two condition variables, stage 08 with C11 atomics. Whoever includes it need
 * not know which one is linked.
 *
 * Threads: any number of threads may call any function on the same queue at
 * the same time, except jq_destroy, which must be the last call.
 *
 * Order: first in, first out. Jobs that one thread pushes one after another
 * are popped in that order, and a job whose push has returned is popped before
 * one whose push begins later.
 *
 * Ownership: the queue copies struct job. It never calls run, and never reads
 * or frees what arg points to: that belongs to the producer until push begins,
 * and to whoever popped the job from then on. Everything that the producer
 * wrote before the push is visible to the thread that popped the job.
 */
#ifndef JOB_QUEUE_H
#define JOB_QUEUE_H

#include <stddef.h>

/* What is to be done: the consumer calls run(arg). */
struct job {
    void (*run)(void *arg);
    void *arg;
};

enum jq_result {
    JQ_OK,     /* the job went in, or came out                              */
    JQ_FULL,   /* try_push only: there is no room now; nothing was changed  */
    JQ_EMPTY,  /* try_pop only: there is no job now; *job was not touched   */
    JQ_CLOSED, /* push: refused. pop: closed and drained, no job will come  */
};

struct job_queue;

/* Makes an empty, open queue with room for exactly `capacity` jobs, at least
 * 1. NULL with errno EINVAL (capacity 0) or ENOMEM. Release it with
 * jq_destroy.
 */
struct job_queue *jq_create(size_t capacity);

/* Frees the queue; NULL is allowed. Every other call on it must have returned
 * before (join the threads first). Jobs still queued are dropped, not run, and
 * their arg is not freed: close and drain first if that matters.
 */
void jq_destroy(struct job_queue *q);

/* Appends a job; while the queue is full, sleeps until there is room.
 * JQ_OK, or JQ_CLOSED if the queue is closed before there is room.
 */
enum jq_result jq_push(struct job_queue *q, struct job job);

/* Appends a job if there is room now. JQ_OK, JQ_FULL or JQ_CLOSED; a closed
 * queue answers JQ_CLOSED, full or not. Never sleeps waiting for room.
 */
enum jq_result jq_try_push(struct job_queue *q, struct job job);

/* Takes the oldest job; while the queue is empty and open, sleeps. JQ_OK, or
 * JQ_CLOSED once the queue is closed and every job is taken.
 */
enum jq_result jq_pop(struct job_queue *q, struct job *job);

/* Takes the oldest job if there is one now. JQ_OK, JQ_EMPTY, or JQ_CLOSED once
 * the queue is closed and every job is taken. Never sleeps waiting for a job.
 *
 * In stage 08, JQ_EMPTY and JQ_FULL can also mean "not yet": the thread whose
 * turn it is at that slot is still in the middle of its own push or pop.
 */
enum jq_result jq_try_pop(struct job_queue *q, struct job *job);

/* Closes the queue for good. A push that begins later is refused; one that is
 * under way either gets its job in or is refused, and says which. What is
 * queued can still be popped. Every thread that sleeps in push or pop wakes up,
 * and who is told JQ_CLOSED sees all that the closing thread wrote before.
 * Does not wait for the drain; closing twice does no harm.
 */
void jq_close(struct job_queue *q);

/* The number of jobs queued, 0 to capacity. Other threads go on meanwhile: it
 * may be out of date when it arrives, so it is for statistics, not decisions.
 */
size_t jq_len(struct job_queue *q);

#endif
