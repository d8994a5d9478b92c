/*
 * Stage 08, first step: a ring for one producer and one consumer.
 *
 * With a single thread at each end nobody needs a lock, because nothing has
 * two writers: only the producer writes `tail`, only the consumer writes
 * `head`, and a slot belongs to one of them at a time. What is left is to hand
 * a slot over so that its content arrives before the news of it. That is the
 * work of one pair, release and acquire, in each direction.
 *
 *   slots                            state     who may touch them
 *   head <= i < tail                 full      the consumer
 *   tail <= i < head + capacity      empty     the producer
 *
 * The indexes only grow and never wrap back to 0 (2^64 jobs take longer than
 * you will wait), so tail - head is the number of jobs, and a full ring is
 * not mistaken for an empty one. Index i is slot i modulo a power of two.
 *
 *   label     who       what it does                 partner
 *   PUBLISH   producer  stores tail, release         SEE
 *   SEE       consumer  loads tail, acquire          PUBLISH
 *   FREE      consumer  stores head, release         REUSE
 *   REUSE     producer  loads head, acquire          FREE
 *
 * Each side loads its own index relaxed: it reads what it wrote itself.
 */
#include "spsc_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Processors pass memory around in cache lines. Two threads that write to the
 * same line take it away from each other at every store, even when they write
 * to different variables ("false sharing"). Hence a line for each side.
 */
#define CACHE_LINE 64

struct spsc_ring {
    size_t capacity; /* never changes, like mask and slots */
    size_t mask;     /* number of slots - 1 */
    struct job *slots;

    /* The producer's line. head_seen is a copy of head as it was the last time
     * that the producer looked. The real one is at least that far, so there is
     * at least that much room, and the consumer's line can stay where it is. */
    _Alignas(CACHE_LINE) _Atomic size_t tail; /* where the next job goes */
    size_t head_seen;

    /* The consumer's line, with its copy of tail. */
    _Alignas(CACHE_LINE) _Atomic size_t head; /* where the oldest job is */
    size_t tail_seen;
};

struct spsc_ring *
spsc_create(size_t capacity)
{
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    if (capacity > SIZE_MAX / 4 / sizeof(struct job)) {
        errno = ENOMEM; /* nothing below may overflow */
        return NULL;
    }
    size_t slots = 1;
    while (slots < capacity)
        slots *= 2;

    struct spsc_ring *r = aligned_alloc(CACHE_LINE, sizeof *r);
    if (r == NULL)
        return NULL;
    *r = (struct spsc_ring){.capacity = capacity, .mask = slots - 1};
    r->slots = malloc(slots * sizeof *r->slots);
    if (r->slots == NULL) {
        free(r);
        return NULL;
    }
    return r;
}

void
spsc_destroy(struct spsc_ring *r)
{
    if (r == NULL)
        return;
    free(r->slots);
    free(r);
}

enum jq_result
spsc_try_push(struct spsc_ring *r, struct job job)
{
    /* TODO 1: put the job at tail, and then tell the consumer.
     * Load your own tail relaxed. Is there room behind head_seen? If not, load
     * head (REUSE, acquire) into head_seen and ask again: JQ_FULL only if it
     * is still full. Fill the slot first, then store tail + 1 (PUBLISH,
     * release). What could the consumer read if it were the other way round?
     */
    (void)r;
    (void)job;
    fputs("TODO 1 is not done: "
          "put the job at tail, and then tell the consumer\n"
          "(labs/08-lockfree-queue/spsc_ring.c; read handouts/08-lockfree-queue.md)\n",
          stderr);
    exit(3);
}

enum jq_result
spsc_try_pop(struct spsc_ring *r, struct job *job)
{
    /* TODO 2: take the job at head, and then give the slot back.
     * The mirror image: your own head is relaxed; look at tail (SEE, acquire)
     * only when tail_seen leaves nothing to take; copy the job out of its
     * slot before you store head + 1 (FREE, release).
     */
    (void)r;
    (void)job;
    fputs("TODO 2 is not done: "
          "take the job at head, and then give the slot back\n"
          "(labs/08-lockfree-queue/spsc_ring.c; read handouts/08-lockfree-queue.md)\n",
          stderr);
    exit(3);
}
