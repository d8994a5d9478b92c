/* spsc_ring.h - a ring for a single producer and a single consumer.
 *
 * The smallest lock-free queue there is: two threads, two indexes, and each
 * index has exactly one writer. No operation ever waits for the other thread
 * (wait-free): it ends after a fixed number of steps, whatever the other one
 * does.
 *
 * Threads: at any time at most one thread is in spsc_try_push and at most one
 * in spsc_try_pop. Nothing checks this. With two producers, jobs get lost.
 *
 * Jobs are copied, order is first in, first out, and ownership is as in
 * job_queue.h. There is no close and nothing sleeps: this is the fast core of a
 * queue, for two threads that have an agreement of their own about the end.
 */
#ifndef SPSC_RING_H
#define SPSC_RING_H

#include "job_queue.h"

struct spsc_ring;

/* Makes an empty ring with room for exactly `capacity` jobs, at least 1.
 * NULL with errno EINVAL (capacity 0) or ENOMEM.
 */
struct spsc_ring *spsc_create(size_t capacity);

/* Frees the ring; NULL is allowed. Neither thread may use it any more. */
void spsc_destroy(struct spsc_ring *r);

/* The producer's: appends a job. JQ_OK, or JQ_FULL and nothing is changed. */
enum jq_result spsc_try_push(struct spsc_ring *r, struct job job);

/* The consumer's: takes the oldest job. JQ_OK, or JQ_EMPTY and *job is not
 * touched.
 */
enum jq_result spsc_try_pop(struct spsc_ring *r, struct job *job);

#endif
