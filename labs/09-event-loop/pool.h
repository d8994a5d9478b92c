/* pool.h - worker threads for what must not run on the loop.
 *
 *     loop thread                                        worker threads
 *     pool_submit() ---- job ----> [bounded queue] ----> job->work(arg)
 *     job->done(arg) <-- event --- [posts] <------------ loop_post()
 *
 * A job is a struct that lies in one of the caller's own. Its work() runs on
 * one of the workers, at the same time as other jobs and as the loop; its done()
 * runs on the loop, in the phase pending of a later turn. For each job that
 * was taken, done() is called exactly once, and until then the loop does not
 * run out of work.
 *
 * Threads: pool_submit(), pool_cancel() and done() belong to the thread of the
 * job's loop. Several loops may share a pool. All that the loop wrote before
 * pool_submit() is visible to work(), and all that work() wrote to done().
 *
 * Signals are blocked on workers: they come to the other threads.
 *
 * After fork(2) only the parent has the threads; make a new pool in the child.
 */
#ifndef POOL_H
#define POOL_H

#include "loop.h"

#include <stdatomic.h>
#include <stddef.h>

enum { POOL_THREADS = 32, POOL_CAPACITY = 65535 }; /* as in nginx */

struct pool;

struct pool_job {
    void (*work)(void *arg);           /* on a worker */
    void (*done)(void *arg, bool ran); /* on the loop; ran: work() was called */
    void *arg;

    /* The pool's, from pool_submit() until done(). */
    struct pool *pool;
    struct loop *loop;
    struct loop_post post;
    _Atomic int state;
};

/* Starts `threads` workers, 1 or more, and a queue for `capacity` jobs, 1 or
 * more. NULL with errno EINVAL, ENOMEM or EAGAIN (no thread could be made). */
struct pool *pool_create(size_t threads, size_t capacity);

/* Hands a job over. true: it is the pool's until done() is called, which is
 * never from within this call. false: refused, as the queue is full; nothing is
 * called. Never blocks. */
bool pool_submit(struct pool *pool, struct loop *loop, struct pool_job *job);

/* true: work() had not begun, and will not; done(arg, false) is called when the
 * job's turn in the queue comes. false: too late, or not submitted. */
bool pool_cancel(struct pool_job *job);

struct pool_counts {
    size_t threads;
    size_t queued; /* jobs that wait for a worker */
    size_t busy;   /* workers that have one */
};

/* From any thread. For statistics: out of date when it arrives. */
struct pool_counts pool_counts(struct pool *pool);

/* Cancels what is queued, waits for what has begun, and ends the threads. When
 * it returns every job has been posted to its loop: run the loop once more, and
 * the last done() is called. Then destroy the loop. NULL is allowed.
 * Not to be called while a thread is in another call on the same pool. */
void pool_destroy(struct pool *pool);

#endif
