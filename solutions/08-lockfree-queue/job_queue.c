/*
 * Stage 08: the job queue without a lock.
 *
 * A ring for any number of producers and consumers. Two counters, tail and
 * head, give out tickets: a producer that moves tail on by one with a
 * compare-and-swap has the slot under the old tail to itself, and nobody else
 * gets it in this lap. Each slot has a sequence number besides, which says
 * whether it is empty or full, and in which lap. Head and tail are where threads
 * compete; the sequence number is where a job is handed over.
 *
 *   seq of a slot   means                      who moves it on, and how
 *   2 * lap         empty, waits for this      the producer with the ticket:
 *                   lap's producer             fills it, stores seq + 1
 *   2 * lap + 1     full, waits for this       the consumer with the ticket:
 *                   lap's consumer             empties it, stores seq + 1
 *
 *   label     what it does                                        partner
 *   FILLED    producer stores the slot's seq, release             TAKE
 *   TAKE      consumer loads the slot's seq, acquire              FILLED
 *   EMPTIED   consumer stores the slot's seq, release             REUSE
 *   REUSE     producer loads the slot's seq, acquire              EMPTIED
 *   SHUT      jq_close sets a bit of tail, release                SHUT-P, SHUT-C
 *   SHUT-P    producer loads tail and finds the bit, acquire      SHUT
 *   SHUT-C    consumer loads tail and finds the bit, acquire      SHUT
 *   TICKET    compare-and-swap of tail or head, relaxed           (no partner)
 *   LOOK      fence of a thread that goes to sleep, seq_cst       TELL
 *   TELL      fence of a thread that may have to wake one         LOOK
 *   RING      adds one to the epoch, release                      HEARD
 *   HEARD     loads the epoch before looking again, acquire       RING
 *
 * A thread that finds the ring full or empty tries for a moment, and then it
 * sleeps in the kernel, on a futex: see struct eventcount.
 *
 * What it cannot do: a thread that stops between its ticket and its FILLED
 * holds up everyone behind it, although no lock is in sight. So this queue is
 * not lock-free in the strict sense; scq.c is.
 */
#include "job_queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
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

/* Two slots share a line, and none lies across two. Here it does not pay to
 * give each slot a line of its own: neighbours are used one after the other, by
 * the same thread as often as not, so one transfer brings two jobs. */
#define SLOT_ALIGN 32

/* How often push and pop try again before they go to sleep. Falling asleep and
 * being woken costs two system calls and a few microseconds; a thread that is
 * in the middle of its push is usually done much sooner. */
#ifndef SPINS
#define SPINS 100
#endif

/* A position in the ring: the index of a slot in the low bits, and how often
 * the ring has gone round, the lap, above. The top bit of tail says that the
 * queue is closed: then no compare-and-swap on an open tail can succeed any
 * more, and the last ticket has been given out. */
#define CLOSED (UINT64_C(1) << 63)

struct slot {
    _Alignas(SLOT_ALIGN) _Atomic uint64_t seq;
    struct job job;
};

/* Where threads sleep until something has changed: an eventcount.
 *
 * A sleeper says that it is there, then looks at the queue once more, and then
 * sleeps. A thread that has changed the queue looks for sleepers afterwards.
 * Each writes one thing and then reads the other's: as long as neither read
 * moves up before its write (this is what LOOK and TELL are for), at least one
 * of the two sees the other. So nobody sleeps through a change, and a push that
 * finds no sleeper makes no system call.
 */
struct eventcount {
    _Alignas(CACHE_LINE) _Atomic uint32_t sleepers;
    _Atomic uint32_t epoch; /* the futex: sleep only while it is unchanged */
};

struct job_queue {
    size_t capacity; /* never changes, like the next three */
    unsigned index_bits;
    uint64_t index_mask;
    struct slot *slots;
    _Alignas(CACHE_LINE) _Atomic uint64_t tail; /* the next push */
    _Alignas(CACHE_LINE) _Atomic uint64_t head; /* the next pop */
    struct eventcount not_full;                 /* producers sleep here */
    struct eventcount not_empty;                /* consumers sleep here */
};

/* --- positions ----------------------------------------------------------- */

static struct slot *
slot_at(struct job_queue *q, uint64_t position)
{
    return &q->slots[position & q->index_mask];
}

/* The sequence number of an empty slot that waits for this position's push. */
static uint64_t
empty_seq(const struct job_queue *q, uint64_t position)
{
    return (position >> q->index_bits) * 2;
}

/* The position after this one. Behind the last slot a new lap begins, so any
 * capacity will do and not only powers of two. */
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
    while ((UINT64_C(1) << q->index_bits) < capacity)
        q->index_bits++;
    q->index_mask = (UINT64_C(1) << q->index_bits) - 1;

    q->slots = aligned_alloc(SLOT_ALIGN, capacity * sizeof *q->slots);
    if (q->slots == NULL) {
        free(q);
        return NULL;
    }
    for (size_t i = 0; i < capacity; i++)
        atomic_init(&q->slots[i].seq, 0); /* empty, lap 0 */
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

/* Puts the job into the ring and tells nobody: JQ_OK, JQ_FULL or JQ_CLOSED. */
static enum jq_result
put(struct job_queue *q, struct job job)
{
    /* TODO 3: get a ticket, fill the slot, hand it over.
     * Load tail (SHUT-P). Closed? Then look at the sequence number of its slot
     * (REUSE) and compare it with empty_seq(): lower means that the job of the
     * lap before is still there, higher that your tail is out of date. If they
     * are equal, try to move tail on to next_position() (TICKET). Only when
     * that succeeds is the slot yours: write the job, and then the sequence
     * number (FILLED). If anything has changed, begin again.
     * STUB: (void)q;
     * STUB: (void)job;
     * STUB: (void)next_position;
     * STUB: (void)empty_seq;
     * STUB: (void)slot_at;
     * STUB: todo
     */
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
        if (seq > empty)
            continue; /* another producer has had this ticket since */
        /* TICKET: relaxed, because it only settles whose slot it is. What is
         * in the slot is handed over by the sequence number. */
        if (!atomic_compare_exchange_weak_explicit(
                &q->tail, &tail, next_position(q, tail), memory_order_relaxed,
                memory_order_relaxed))
            continue;
        slot->job = job;
        /* FILLED: release, so that who sees the slot full sees the job in it.
         * Partner: TAKE. */
        atomic_store_explicit(&slot->seq, empty + 1, memory_order_release);
        return JQ_OK;
    }
    /* END TODO 3 */
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
    /* TODO 4: get a ticket, empty the slot, give it back.
     * The mirror image of TODO 3: head may be loaded relaxed; a full slot has
     * the sequence number empty_seq() + 1 (TAKE); given back (EMPTIED) it waits
     * for the next lap's producer. Nothing there: ask drained(). A closed queue
     * that is not drained has a job coming: JQ_EMPTY, not JQ_CLOSED.
     * STUB: (void)q;
     * STUB: (void)job;
     * STUB: (void)drained;
     * STUB: todo
     */
    for (;;) {
        uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
        struct slot *slot = slot_at(q, head);
        uint64_t full = empty_seq(q, head) + 1;
        /* TAKE: acquire, so that the job is in the slot before we read it.
         * Partner: FILLED. */
        uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
        if (seq < full)
            return drained(q, head) ? JQ_CLOSED : JQ_EMPTY;
        if (seq > full)
            continue; /* another consumer has had this ticket since */
        if (!atomic_compare_exchange_weak_explicit(/* TICKET */
                                                   &q->head, &head,
                                                   next_position(q, head),
                                                   memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        *job = slot->job;
        /* EMPTIED: release, so that our reading is over when a producer sees
         * the slot empty and writes to it. Partner: REUSE. */
        atomic_store_explicit(&slot->seq, full + 1, memory_order_release);
        return JQ_OK;
    }
    /* END TODO 4 */
}

/* Would a push be answered at once? A guess, like jq_len(). */
static bool
push_can_go_on(struct job_queue *q)
{
    uint64_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    return (tail & CLOSED) ||
           atomic_load_explicit(&slot_at(q, tail)->seq, memory_order_relaxed) >=
               empty_seq(q, tail);
}

/* Would a pop be answered at once? */
static bool
pop_can_go_on(struct job_queue *q)
{
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    return drained(q, head) ||
           atomic_load_explicit(&slot_at(q, head)->seq, memory_order_relaxed) >
               empty_seq(q, head);
}

/* --- sleeping and waking ------------------------------------------------- */

/* FUTEX_WAIT: sleeps if *word is still `value`; the kernel compares and falls
 * asleep as one step. FUTEX_WAKE: wakes up to `value` threads that sleep on
 * word. EAGAIN and EINTR need no handling: whoever returns looks again. */
static void
futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

/* Says that this thread is about to sleep, and returns what sleep_on() needs.
 * Look at the queue once more in between. */
static uint32_t
announce_sleeper(struct eventcount *ec)
{
    atomic_fetch_add_explicit(&ec->sleepers, 1, memory_order_relaxed);
    /* HEARD: acquire, so that if we have missed the ring, we see the change
     * that it was for. Partner: RING. */
    uint32_t epoch = atomic_load_explicit(&ec->epoch, memory_order_acquire);
    /* LOOK: nothing after the fence is read before our arrival is visible.
     * Partner: TELL. */
    atomic_thread_fence(memory_order_seq_cst);
    return epoch;
}

static void
sleep_on(struct eventcount *ec, uint32_t epoch)
{
    futex(&ec->epoch, FUTEX_WAIT_PRIVATE, epoch);
}

static void
dismiss_sleeper(struct eventcount *ec)
{
    atomic_fetch_sub_explicit(&ec->sleepers, 1, memory_order_relaxed);
}

/* After a change: wakes up to `most` threads that sleep on ec. */
static void
wake(struct eventcount *ec, int most)
{
    /* TODO 7: wake sleepers, if there are any.
     * A fence first (TELL), or the processor reads `sleepers` while the change
     * is still in its store buffer. Nobody there: return, without a system
     * call. Otherwise change the epoch (RING), so that a thread that is on
     * its way to sleep does not fall asleep any more, and wake with a futex.
     * STUB: (void)ec;
     * STUB: (void)most;
     */
    /* TELL: our change is visible before we look for sleepers. Partner: LOOK.
     * This is the whole price of being able to sleep, in every push and pop. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ec->sleepers, memory_order_relaxed) == 0)
        return;
    /* RING: release, so that who sees the new epoch sees the change. Partner:
     * HEARD. */
    atomic_fetch_add_explicit(&ec->epoch, 1, memory_order_release);
    futex(&ec->epoch, FUTEX_WAKE_PRIVATE, (uint32_t)most);
    /* END TODO 7 */
}

/* Tells the processor that this is a loop that waits. */
static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static enum jq_result
push_or_sleep(struct job_queue *q, struct job job)
{
    /* TODO 5: try for a moment, and then sleep until there is room.
     * Up to SPINS times: relax() and put(). Then: announce_sleeper(), put()
     * once more, sleep_on() if that was JQ_FULL, dismiss_sleeper(); and again.
     * What if you slept before the second look, or looked before announcing?
     * In the end, pass the wake-up on: if push_can_go_on(), wake another one.
     * STUB: (void)q;
     * STUB: (void)job;
     * STUB: (void)relax;
     * STUB: (void)announce_sleeper;
     * STUB: (void)sleep_on;
     * STUB: (void)dismiss_sleeper;
     * STUB: (void)push_can_go_on;
     * STUB: return JQ_FULL;
     */
    enum jq_result result = JQ_FULL;
    for (int i = 0; i < SPINS && result == JQ_FULL; i++) {
        relax();
        result = put(q, job);
    }
    while (result == JQ_FULL) {
        uint32_t epoch = announce_sleeper(&q->not_full);
        result = put(q, job);
        if (result == JQ_FULL)
            sleep_on(&q->not_full, epoch);
        dismiss_sleeper(&q->not_full);
    }
    /* Slots may come free in another order than they are used in. Then one of
     * us was woken in vain, and the one for the slot in front has room for two:
     * whoever got an answer passes the wake-up on. */
    if (push_can_go_on(q))
        wake(&q->not_full, 1);
    return result;
    /* END TODO 5 */
}

static enum jq_result
pop_or_sleep(struct job_queue *q, struct job *job)
{
    /* TODO 6: try for a moment, and then sleep until there is a job.
     * The mirror image of TODO 5.
     * STUB: (void)q;
     * STUB: (void)job;
     * STUB: (void)pop_can_go_on;
     * STUB: return JQ_EMPTY;
     */
    enum jq_result result = JQ_EMPTY;
    for (int i = 0; i < SPINS && result == JQ_EMPTY; i++) {
        relax();
        result = take(q, job);
    }
    while (result == JQ_EMPTY) {
        uint32_t epoch = announce_sleeper(&q->not_empty);
        result = take(q, job);
        if (result == JQ_EMPTY)
            sleep_on(&q->not_empty, epoch);
        dismiss_sleeper(&q->not_empty);
    }
    if (pop_can_go_on(q))
        wake(&q->not_empty, 1);
    return result;
    /* END TODO 6 */
}

/* --- the calls of job_queue.h -------------------------------------------- */

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    enum jq_result result = put(q, job);
    if (result == JQ_FULL)
        result = push_or_sleep(q, job);
    if (result == JQ_OK)
        wake(&q->not_empty, 1);
    return result;
}

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    enum jq_result result = put(q, job);
    if (result == JQ_OK)
        wake(&q->not_empty, 1);
    return result;
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    enum jq_result result = take(q, job);
    if (result == JQ_EMPTY)
        result = pop_or_sleep(q, job);
    if (result == JQ_OK)
        wake(&q->not_full, 1);
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

void
jq_close(struct job_queue *q)
{
    /* TODO 8: close the queue, and wake everyone who sleeps.
     * The bit has to be in tail itself (SHUT): then no ticket can be given out
     * after it, not even to a producer that has just found the queue open.
     * STUB: atomic_fetch_or(&q->tail, CLOSED);
     */
    /* SHUT: release, so that who sees the bit sees what we wrote before.
     * Partners: SHUT-P, SHUT-C. */
    atomic_fetch_or_explicit(&q->tail, CLOSED, memory_order_release);
    wake(&q->not_full, INT_MAX);
    wake(&q->not_empty, INT_MAX);
    /* END TODO 8 */
}

size_t
jq_len(struct job_queue *q)
{
    /* Two loads, and other threads go on between them: hence the bounds. */
    uint64_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    uint64_t pushed = ordinal(q, tail & ~CLOSED), popped = ordinal(q, head);
    if (pushed <= popped)
        return 0;
    return pushed - popped < q->capacity ? pushed - popped : q->capacity;
}
