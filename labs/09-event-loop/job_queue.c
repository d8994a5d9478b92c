/*
 * Stage 08: the job queue without a lock.
 *
 * A ring for any number of producers and consumers. Two counters, tail and
 * head, give out tickets: a producer that moves tail on by one with a
 * compare-and-swap has the slot under the old tail to itself, and nobody else
 * gets it in this lap. Each slot has a sequence number besides, which says
 * whether it is empty or full, and in which lap. Threads compete for head and
 * tail; a job is handed over with the sequence number.
 *
 *   seq of a slot   means                     who moves it on, and how
 *   2 * lap         empty, waits for this     the producer with the ticket
 *                   lap's producer            fills it, stores seq + 1
 *   2 * lap + 1     full, waits for this      the consumer with the ticket
 *                   lap's consumer            empties it, stores seq + 1
 *
 *   label     what it does                                     partner
 *   TICKET    compare-and-swap of tail or head, relaxed        none
 *   FILLED    a producer stores the slot's seq, release        TAKE
 *   TAKE      a consumer loads the slot's seq, acquire         FILLED
 *   EMPTIED   a consumer stores the slot's seq, release        REUSE
 *   REUSE     a producer loads the slot's seq, acquire         EMPTIED
 *   SHUT      jq_close sets a bit of tail, release             SHUT-P, SHUT-C
 *   SHUT-P    a producer finds the bit in tail, acquire        SHUT
 *   SHUT-C    a consumer finds the bit in tail, acquire        SHUT
 *   COME      a sleeper adds itself to sleepers, acq_rel       TELL
 *   TELL      one who may have to wake adds 0, acq_rel         COME
 *             (with membarrier: loads it, relaxed)
 *   BELL      adds one to the epoch, release                   HEARD
 *   HEARD     loads the epoch before it looks again, acquire   BELL
 *
 * A thread that finds the ring full or empty tries for a moment, and then it
 * sleeps in the kernel, on a futex: see struct eventcount.
 *
 * What it cannot do: a thread that stops between its ticket and FILLED holds
 * up everyone behind it, although no lock is in sight. In the strict sense this
 * queue is not lock-free; scq.c is.
 */
#include "job_queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What different threads write to lies in different cache lines: a line that
 * two of them write to wanders between their processors at every store. */
#define CACHE_LINE 64

/* Two slots share a line, and none lies across two. A line for each slot would
 * be slower: a thread mostly uses one slot after the other, and then a single
 * transfer brings two jobs. */
#define SLOT_ALIGN 32

/* How often push and pop try again before they sleep. Sleeping and being woken
 * costs several microseconds, and mostly the wait is shorter. In between they
 * yield: when there are more threads than processors, a loop that keeps its
 * processor busy keeps it from the very thread that it waits for. */
#ifndef SPINS
#define SPINS 50
#endif

/* A position in the ring: the index of a slot in the low bits, and above them
 * the lap, how often the ring has gone round. The top bit of tail says that the
 * queue is closed: no compare-and-swap of an open tail can succeed any more, so
 * the last ticket has been given out. */
#define CLOSED (UINT64_C(1) << 63)

struct slot {
    _Alignas(SLOT_ALIGN) _Atomic uint64_t seq;
    struct job job;
};

/* Where threads sleep until something has changed: an eventcount.
 *
 * A sleeper says that it is there, looks at the queue once more, and sleeps. A
 * thread that has changed the queue looks for sleepers after that. Each writes
 * one thing and then reads the other's; if neither read can overtake its write,
 * at least one of the two sees the other, and nobody sleeps through a change.
 *
 * Processors do let a read overtake an earlier write, and what forbids it (a
 * fence, or a read-modify-write) would cost every push and pop nearly as much
 * as the rest of it. But a thread can ask the kernel to run a fence on all
 * processors that run this program, with membarrier(2). So the sleeper, who has
 * time, pays for both sides. Where there is no membarrier, everybody pays.
 */
struct eventcount {
    _Alignas(CACHE_LINE) _Atomic uint32_t sleepers;
    _Atomic uint32_t epoch; /* the futex: sleep only while it is unchanged */
    bool has_membarrier;
};

struct job_queue {
    size_t capacity; /* this and the next three never change */
    uint64_t index_mask;
    unsigned index_bits;
    struct slot *slots;
    _Alignas(CACHE_LINE) _Atomic uint64_t tail; /* position of the next push */
    _Alignas(CACHE_LINE) _Atomic uint64_t head; /* position of the next pop */
    struct eventcount not_full;                 /* producers sleep here */
    struct eventcount not_empty;                /* consumers sleep here */
};

/* --- positions ----------------------------------------------------------- */

static struct slot *
slot_at(struct job_queue *q, uint64_t position)
{
    return &q->slots[position & q->index_mask];
}

/* The sequence number of a slot that waits for the push at this position. */
static uint64_t
empty_seq(const struct job_queue *q, uint64_t position)
{
    return (position >> q->index_bits) * 2;
}

/* The position after this one. Behind the last slot the next lap begins, so
 * any capacity will do, not only powers of two. */
static uint64_t
next_position(const struct job_queue *q, uint64_t position)
{
    if ((position & q->index_mask) + 1 < q->capacity)
        return position + 1;
    return ((position >> q->index_bits) + 1) << q->index_bits;
}

/* How many positions there are before this one. */
static uint64_t
ordinal(const struct job_queue *q, uint64_t position)
{
    return (position >> q->index_bits) * q->capacity +
           (position & q->index_mask);
}

/* --- create and destroy -------------------------------------------------- */

static int
membarrier(int command)
{
    return (int)syscall(SYS_membarrier, command, 0, 0);
}

struct job_queue *
jq_create(size_t capacity)
{
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    if (capacity > SIZE_MAX / 4 / sizeof(struct slot)) {
        errno = ENOMEM; /* nothing below may overflow */
        return NULL;
    }
    struct job_queue *q = aligned_alloc(CACHE_LINE, sizeof *q);
    if (q == NULL)
        return NULL;
    *q = (struct job_queue){.capacity = capacity};
    while (UINT64_C(1) << q->index_bits < capacity)
        q->index_bits++;
    q->index_mask = (UINT64_C(1) << q->index_bits) - 1;
    q->slots = aligned_alloc(SLOT_ALIGN, capacity * sizeof *q->slots);
    if (q->slots == NULL) {
        free(q);
        return NULL;
    }
    for (size_t i = 0; i < capacity; i++)
        atomic_init(&q->slots[i].seq, 0); /* empty, lap 0 */
    q->not_full.has_membarrier = q->not_empty.has_membarrier =
        membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
    return q;
}

void
jq_destroy(struct job_queue *q)
{
    if (q == NULL)
        return;
    free(q->slots);
    free(q);
}

/* --- the ring ------------------------------------------------------------ */

/* Tries to move tail or head on by one. Whoever can do it owns the slot. */
static bool
get_ticket(struct job_queue *q, _Atomic uint64_t *counter, uint64_t position)
{
    /* TICKET: relaxed, because it only settles whose slot it is. What is in the
     * slot is handed over by the sequence number. */
    return atomic_compare_exchange_weak_explicit(
        counter, &position, next_position(q, position), memory_order_relaxed,
        memory_order_relaxed);
}

/* Puts the job into the ring and tells nobody: JQ_OK, JQ_FULL or JQ_CLOSED. */
static enum jq_result
put(struct job_queue *q, struct job job)
{
    for (;;) {
        /* SHUT-P: acquire, so that who is refused sees what the closing
         * thread wrote. Partner: SHUT. */
        uint64_t tail = atomic_load_explicit(&q->tail, memory_order_acquire);
        if (tail & CLOSED)
            return JQ_CLOSED;
        struct slot *slot = slot_at(q, tail);
        uint64_t empty = empty_seq(q, tail);
        /* REUSE: acquire, so that the consumer of the lap before has read the
         * job that we are going to write over. Partner: EMPTIED. */
        uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
        if (seq < empty)
            return JQ_FULL;
        if (seq > empty || !get_ticket(q, &q->tail, tail))
            continue; /* another producer was faster */
        slot->job = job;
        /* FILLED: release, so that who sees the slot full sees the job in it.
         * Partner: TAKE. */
        atomic_store_explicit(&slot->seq, empty + 1, memory_order_release);
        return JQ_OK;
    }
}

/* Has the queue been closed, and its last job before this head? */
static bool
drained(struct job_queue *q, uint64_t head)
{
    /* SHUT-C: acquire, so that who is told JQ_CLOSED sees what the closing
     * thread wrote. Partner: SHUT. A closed tail does not move any more, so an
     * equal head settles it: no ticket is out there that could bring a job. */
    return atomic_load_explicit(&q->tail, memory_order_acquire) ==
           (head | CLOSED);
}

/* Takes the oldest job and tells nobody: JQ_OK, JQ_EMPTY or JQ_CLOSED. */
static enum jq_result
take(struct job_queue *q, struct job *job)
{
    for (;;) {
        /* Relaxed: a head that is out of date does not survive TICKET. */
        uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
        struct slot *slot = slot_at(q, head);
        uint64_t full = empty_seq(q, head) + 1;
        /* TAKE: acquire, so that the job is in the slot before we read it.
         * Partner: FILLED. */
        uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
        if (seq < full)
            return drained(q, head) ? JQ_CLOSED : JQ_EMPTY;
        if (seq > full || !get_ticket(q, &q->head, head))
            continue; /* another consumer was faster */
        *job = slot->job;
        /* EMPTIED: release, so that our reading is over when a producer sees
         * the slot empty and writes to it. Partner: REUSE. */
        atomic_store_explicit(&slot->seq, full + 1, memory_order_release);
        return JQ_OK;
    }
}

/* Would a push be answered at once? A guess: whoever is woken because of it
 * looks for itself, so relaxed will do. */
static bool
push_can_go_on(struct job_queue *q)
{
    uint64_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    return (tail & CLOSED) ||
           atomic_load_explicit(&slot_at(q, tail)->seq, memory_order_relaxed) >=
               empty_seq(q, tail);
}

/* Would a pop be answered at once? The same. */
static bool
pop_can_go_on(struct job_queue *q)
{
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    return drained(q, head) ||
           atomic_load_explicit(&slot_at(q, head)->seq, memory_order_relaxed) >
               empty_seq(q, head);
}

/* --- sleeping and waking ------------------------------------------------- */

/* FUTEX_WAIT sleeps if *word is still `value`; the kernel compares and puts to
 * sleep as one step. FUTEX_WAKE wakes up to `value` threads that sleep on word.
 * EAGAIN and EINTR need no handling: whoever comes back looks again. */
static void
futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

/* Says that this thread is about to sleep. Returns the epoch for sleep_on().
 * Look at the queue once more in between. */
static uint32_t
announce_sleeper(struct eventcount *ec)
{
    /* COME: acq_rel, as sleepers_now() explains. Partner: TELL. */
    atomic_fetch_add_explicit(&ec->sleepers, 1, memory_order_acq_rel);
    /* HEARD: acquire, so that if the bell has rung already, we see what it
     * rang for when we look. Partner: BELL. */
    uint32_t epoch = atomic_load_explicit(&ec->epoch, memory_order_acquire);
    if (ec->has_membarrier && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)
        abort(); /* cannot fail once registered; going on could hang */
    return epoch;
}

static void
dismiss_sleeper(struct eventcount *ec)
{
    /* Relaxed: who still counts us makes a system call in vain. */
    atomic_fetch_sub_explicit(&ec->sleepers, 1, memory_order_relaxed);
}

/* How many sleepers have announced themselves? A sleeper that is not counted
 * here will see what this thread did before the call, when it looks. */
static uint32_t
sleepers_now(struct eventcount *ec)
{
    if (ec->has_membarrier) {
        /* TELL with membarrier: relaxed, because the fence that belongs here
         * is run by announce_sleeper(). Only the compiler must be kept from
         * moving the load up. */
        atomic_signal_fence(memory_order_seq_cst);
        return atomic_load_explicit(&ec->sleepers, memory_order_relaxed);
    }
    /* TELL without: acq_rel. Of two changes to one counter one comes first,
     * even if it adds nothing. If that is COME, we count the sleeper; if it is
     * this one, COME reads from it and so sees all we did. Partner: COME. */
    return atomic_fetch_add_explicit(&ec->sleepers, 0, memory_order_acq_rel);
}

static void
sleep_on(struct eventcount *ec, uint32_t epoch)
{
    futex(&ec->epoch, FUTEX_WAIT_PRIVATE, epoch);
}

/* After a change: wakes up to `most` of the threads that sleep for it. */
static void
wake(struct eventcount *ec, int most)
{
    if (sleepers_now(ec) == 0)
        return;
    /* BELL: release, so that who finds the new epoch finds the change. Partner:
     * HEARD. */
    atomic_fetch_add_explicit(&ec->epoch, 1, memory_order_release);
    futex(&ec->epoch, FUTEX_WAKE_PRIVATE, (uint32_t)most);
}

/* --- the calls of job_queue.h -------------------------------------------- */

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    enum jq_result result = put(q, job);
    if (result == JQ_OK)
        wake(&q->not_empty, 1);
    return result;
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    enum jq_result result = take(q, job);
    if (result == JQ_OK)
        wake(&q->not_full, 1);
    return result;
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    enum jq_result result = jq_try_push(q, job);
    if (result != JQ_FULL)
        return result;
    for (int i = 0; i < SPINS && result == JQ_FULL; i++) {
        sched_yield();
        result = jq_try_push(q, job);
    }
    while (result == JQ_FULL) {
        uint32_t epoch = announce_sleeper(&q->not_full);
        result = jq_try_push(q, job);
        if (result == JQ_FULL)
            sleep_on(&q->not_full, epoch);
        dismiss_sleeper(&q->not_full);
    }
    /* Slots can come free in another order than that of their turn. Those who
     * are woken too early sleep again, and the one who is woken for the slot in
     * front finds room for more than itself: it passes the wake-up on. */
    if (push_can_go_on(q))
        wake(&q->not_full, 1);
    return result;
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    enum jq_result result = jq_try_pop(q, job);
    if (result != JQ_EMPTY)
        return result;
    for (int i = 0; i < SPINS && result == JQ_EMPTY; i++) {
        sched_yield();
        result = jq_try_pop(q, job);
    }
    while (result == JQ_EMPTY) {
        uint32_t epoch = announce_sleeper(&q->not_empty);
        result = jq_try_pop(q, job);
        if (result == JQ_EMPTY)
            sleep_on(&q->not_empty, epoch);
        dismiss_sleeper(&q->not_empty);
    }
    if (pop_can_go_on(q))
        wake(&q->not_empty, 1);
    return result;
}

void
jq_close(struct job_queue *q)
{
    /* SHUT: release, so that who sees the bit sees what we wrote before.
     * Partners: SHUT-P, SHUT-C. */
    atomic_fetch_or_explicit(&q->tail, CLOSED, memory_order_release);
    wake(&q->not_full, INT_MAX);
    wake(&q->not_empty, INT_MAX);
}

size_t
jq_len(struct job_queue *q)
{
    /* Two loads, and other threads go on between them: hence the bounds, and
     * hence relaxed, as no order could make the number more true. */
    uint64_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    uint64_t pushed = ordinal(q, tail & ~CLOSED), popped = ordinal(q, head);
    if (pushed <= popped)
        return 0;
    return pushed - popped < q->capacity ? pushed - popped : q->capacity;
}
