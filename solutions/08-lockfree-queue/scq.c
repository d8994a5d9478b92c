/*
 * Stage 08, bonus: a bounded queue that is lock-free in the strict sense.
 *
 * In job_queue.c a producer first takes a ticket and then fills its slot, and
 * everyone behind has to wait for it in between. The way out is to let the
 * others go past: a consumer that finds nothing under its ticket marks the
 * entry as passed and takes the next ticket, and a producer that finds its
 * entry passed takes another one. Nobody waits for anybody. This is SCQ; scq.h
 * names the paper.
 *
 * An entry that can be passed has to change in a single compare-and-swap, and a
 * job is too big for one. So the rings hold small numbers instead, indexes into
 * an array of jobs. `free_ones` has the indexes that are free, `queued` those
 * that hold a job. A push moves one over, and a pop moves it back:
 *
 *     push:   free_ones --index--> write jobs[index] --index--> queued
 *     pop:    queued    --index--> read  jobs[index] --index--> free_ones
 *
 * There are at most n indexes in a ring of 2n entries. So a producer finds an
 * empty entry after a few tickets, however many have been passed.
 *
 *   an entry packs    cycle   the lap in which it was last used
 *                     safe    0: a consumer of a later lap has passed it
 *                     index   NONE if it holds nothing
 *
 * Memory order: every atomic access here is sequentially consistent, which is
 * the default in C. The proof in the paper assumes that, we have no better one,
 * and on x86 it costs something in one place only, the store SET, which is
 * rare. These belong together:
 *
 *   label    what it does                                   partner
 *   INSERT   writes an index to an entry (after the job     REMOVE
 *            was written, or was read)
 *   REMOVE   takes it out (before the job is read, or       INSERT
 *            the slot is written again)
 *   PASS     marks an entry that a consumer cannot use      CHECK
 *   CHECK    asks if a marked entry can be used after all   PASS
 *   SET      a producer: there is something to find         COUNT
 *   COUNT    a consumer: one attempt less                   SET
 */
#include "scq.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CACHE_LINE 64

/* More threads than ever pop at the same time. See `attempts`. */
#ifndef SCQ_THREADS
#define SCQ_THREADS 1024
#endif

/* A ring of indexes. Tickets only grow; ticket t is for entry t modulo 2n in
 * lap t / 2n, its cycle. */
struct ring {
    uint64_t none; /* 2n - 1: no index. As a mask, the index of an entry. */
    uint64_t safe; /* 2n, the bit above it; the cycle comes above that. */
    unsigned bits; /* log2 of 2n */
    _Atomic uint64_t *entries;
    _Alignas(CACHE_LINE) _Atomic uint64_t tail; /* next ticket to put in */
    _Alignas(CACHE_LINE) _Atomic uint64_t head; /* next ticket to take out */

    /* How many more tickets the consumers may try in vain before they know
     * that the ring is empty. Without it they could chase the tail for ever.
     * An index lies at most 2n tickets ahead, and each of the other consumers
     * can count one attempt that it began before the index was put in. (The
     * paper has 3n - 1, because it assumes at most n threads.) */
    _Alignas(CACHE_LINE) _Atomic int64_t attempts;
};

struct scq {
    struct ring free_ones; /* indexes of jobs[] that are free */
    struct ring queued;    /* indexes of jobs[] that are queued, in order */
    struct job *jobs;
};

/* --- entries ------------------------------------------------------------- */

static uint64_t
pack(const struct ring *r, uint64_t cycle, bool safe, uint64_t index)
{
    return cycle << (r->bits + 1) | (safe ? r->safe : 0) | index;
}

static uint64_t
cycle_of(const struct ring *r, uint64_t entry)
{
    return entry >> (r->bits + 1);
}

static uint64_t
index_of(const struct ring *r, uint64_t entry)
{
    return entry & r->none;
}

static _Atomic uint64_t *
entry_of(struct ring *r, uint64_t ticket)
{
    return &r->entries[ticket & r->none];
}

static int64_t
max_attempts(const struct ring *r)
{
    return (int64_t)r->safe + SCQ_THREADS;
}

/* --- the ring of indexes ------------------------------------------------- */

/* Puts an index in. There is always room: a ring has twice as many entries as
 * there are indexes. */
static void
insert(struct ring *r, uint64_t index)
{
    /* TODO 9: take tickets until one has an entry that you can use.
     * An entry can be used if its cycle is lower than your ticket's, it holds
     * nothing, and it is safe. If it is not safe, a consumer has passed it; it
     * can still be used if head has not gone beyond your ticket (CHECK): the
     * consumer of your ticket is still to come. Put your cycle, safe, and the
     * index in with one compare-and-swap (INSERT); when that fails look at the
     * entry again. At last say that there is something to find (SET).
     * STUB: (void)r;
     * STUB: (void)index;
     * STUB: (void)cycle_of;
     * STUB: (void)max_attempts;
     * STUB: todo
     */
    for (;;) {
        uint64_t ticket = atomic_fetch_add(&r->tail, 1);
        uint64_t cycle = ticket >> r->bits;
        _Atomic uint64_t *at = entry_of(r, ticket);
        uint64_t entry = atomic_load(at);
        /* CHECK: an entry that is not safe was passed, but perhaps not yet
         * with our ticket. Partner: PASS. */
        while (cycle_of(r, entry) < cycle && index_of(r, entry) == r->none &&
               ((entry & r->safe) || atomic_load(&r->head) <= ticket)) {
            /* INSERT. Partner: REMOVE. */
            if (!atomic_compare_exchange_weak(at, &entry,
                                              pack(r, cycle, true, index)))
                continue;
            /* SET. Partner: COUNT. */
            if (atomic_load(&r->attempts) != max_attempts(r))
                atomic_store(&r->attempts, max_attempts(r));
            return;
        }
    }
    /* END TODO 9 */
}

/* Consumers may be ahead of the producers: move tail up to head, or each
 * producer would have to try all the tickets that are already passed. */
static void
catch_up(struct ring *r, uint64_t tail, uint64_t head)
{
    while (!atomic_compare_exchange_weak(&r->tail, &tail, head)) {
        head = atomic_load(&r->head);
        if (tail >= head)
            break;
    }
}

/* What a consumer of this cycle leaves behind in an entry that has nothing for
 * it, so that no producer of its cycle puts anything there any more. */
static uint64_t
passed(const struct ring *r, uint64_t entry, uint64_t cycle)
{
    if (index_of(r, entry) == r->none)
        return pack(r, cycle, entry & r->safe, r->none);
    return entry & ~r->safe; /* an index of an earlier lap stays in order */
}

/* Takes the oldest index out; r->none if there is none. */
static uint64_t
take_out(struct ring *r)
{
    /* TODO 10: take tickets until one has an index, or all is empty.
     * If the entry has your ticket's cycle, the index is yours: replace it with
     * none by an atomic or, which keeps the other bits (REMOVE). If the cycle
     * is lower, leave passed() behind with a compare-and-swap (PASS), and look
     * again when that fails. Then: has tail come no further than your ticket?
     * The ring is empty; catch_up(). And each ticket in vain costs an
     * attempt (COUNT); when none was left, the ring counts as empty. The lines
     * below do for one thread only.
     * STUB: (void)passed;
     * STUB: (void)catch_up;
     * STUB: if (r->head == r->tail)
     * STUB:     return r->none;
     * STUB: uint64_t entry = *entry_of(r, r->head);
     * STUB: *entry_of(r, r->head) = entry | r->none;
     * STUB: r->head = r->head + 1;
     * STUB: return index_of(r, entry);
     */
    if (atomic_load(&r->attempts) < 0)
        return r->none;
    for (;;) {
        uint64_t ticket = atomic_fetch_add(&r->head, 1);
        uint64_t cycle = ticket >> r->bits;
        _Atomic uint64_t *at = entry_of(r, ticket);
        uint64_t entry = atomic_load(at);
        while (cycle_of(r, entry) < cycle) {
            /* PASS. Partner: CHECK. */
            uint64_t mark = passed(r, entry, cycle);
            if (atomic_compare_exchange_weak(at, &entry, mark))
                break;
        }
        if (cycle_of(r, entry) == cycle) {
            /* REMOVE. Partner: INSERT. */
            atomic_fetch_or(at, r->none);
            return index_of(r, entry);
        }
        uint64_t tail = atomic_load(&r->tail);
        bool empty = tail <= ticket + 1;
        if (empty)
            catch_up(r, tail, ticket + 1);
        /* COUNT. Partner: SET. */
        if (atomic_fetch_sub(&r->attempts, 1) <= 0 || empty)
            return r->none;
    }
    /* END TODO 10 */
}

/* --- create and destroy -------------------------------------------------- */

/* An empty ring for n indexes, n a power of two. */
static bool
ring_init(struct ring *r, uint64_t n)
{
    uint64_t size = 2 * n;
    *r = (struct ring){.none = size - 1, .safe = size};
    while (UINT64_C(1) << r->bits < size)
        r->bits++;
    atomic_init(&r->tail, size); /* the first lap is cycle 1 */
    atomic_init(&r->head, size);
    atomic_init(&r->attempts, -1);
    r->entries =
        aligned_alloc(CACHE_LINE, (size * sizeof *r->entries + CACHE_LINE - 1) /
                                      CACHE_LINE * CACHE_LINE);
    if (r->entries == NULL)
        return false;
    for (uint64_t i = 0; i < size; i++)
        atomic_init(&r->entries[i], pack(r, 0, true, r->none));
    return true;
}

struct scq *
scq_create(size_t capacity)
{
    if (capacity == 0 || capacity > (size_t)1 << 30) {
        errno = EINVAL;
        return NULL;
    }
    uint64_t n = 1;
    while (n < capacity)
        n *= 2;
    struct scq *q = aligned_alloc(CACHE_LINE, sizeof *q);
    if (q == NULL)
        return NULL;
    *q = (struct scq){.jobs = malloc(capacity * sizeof *q->jobs)};
    if (q->jobs == NULL || !ring_init(&q->free_ones, n) ||
        !ring_init(&q->queued, n)) {
        scq_destroy(q);
        return NULL;
    }
    for (size_t i = 0; i < capacity; i++)
        insert(&q->free_ones, i);
    return q;
}

void
scq_destroy(struct scq *q)
{
    if (q == NULL)
        return;
    free(q->queued.entries);
    free(q->free_ones.entries);
    free(q->jobs);
    free(q);
}

/* --- the calls of scq.h -------------------------------------------------- */

enum jq_result
scq_try_push(struct scq *q, struct job job)
{
    uint64_t index = take_out(&q->free_ones);
    if (index == q->free_ones.none)
        return JQ_FULL;
    q->jobs[index] = job;
    insert(&q->queued, index);
    return JQ_OK;
}

enum jq_result
scq_try_pop(struct scq *q, struct job *job)
{
    uint64_t index = take_out(&q->queued);
    if (index == q->queued.none)
        return JQ_EMPTY;
    *job = q->jobs[index];
    insert(&q->free_ones, index);
    return JQ_OK;
}
