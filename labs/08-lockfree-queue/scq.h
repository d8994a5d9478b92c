/* scq.h - a bounded queue for many threads that is lock-free without an "if".
 *
 * The ring in job_queue.c uses no lock, yet a thread that is stopped halfway
 * through a push holds up every pop behind it. Here a thread may be stopped for
 * ever at any instruction, and the calls of all others still end: that is the
 * definition of lock-free. The algorithm is SCQ, the scalable circular queue:
 * Ruslan Nikolaev, "A Scalable, Portable, and Memory-Efficient Lock-Free FIFO
 * Queue", DISC 2019, https://arxiv.org/abs/1908.04511
 *
 * Threads: any number may call push and pop at the same time.
 *
 * Jobs are copied, order is first in, first out, and ownership is as in
 * job_queue.h. There is no close and nothing sleeps.
 */
#ifndef SCQ_H
#define SCQ_H

#include "job_queue.h"

struct scq;

/* Makes an empty queue with room for exactly `capacity` jobs, 1 to 2^30. NULL
 * with errno EINVAL (capacity out of range) or ENOMEM.
 */
struct scq *scq_create(size_t capacity);

/* Frees the queue; NULL is allowed. No thread may use it any more. */
void scq_destroy(struct scq *q);

/* Appends a job: JQ_OK, or JQ_FULL and nothing is changed. A pop that is under
 * way keeps its place until it has ended, so the queue can say JQ_FULL a moment
 * before the last popper has let go.
 */
enum jq_result scq_try_push(struct scq *q, struct job job);

/* Takes the oldest job: JQ_OK, or JQ_EMPTY and *job is not touched. */
enum jq_result scq_try_pop(struct scq *q, struct job *job);

#endif
