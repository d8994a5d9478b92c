/*
 * Another way: threads sleep on the slot whose turn it is.
 *
 * A full ring is full because the slot at tail is still full, and nothing
 * can go in before that very slot changes; an empty one the same at head. So
 * the sequence number of the slot is the futex. Its lowest bit says that
 * somebody sleeps on it; who changes the number takes the bit out, with an
 * exchange, and wakes those. News and sleeper meet in one word: no second
 * counter, no fence, and nothing to pass on.
 *
 *   number of a slot   4 * lap        empty, waits for this lap's push
 *                      4 * lap + 2    full, waits for this lap's pop
 *                      + 1            and somebody sleeps until it changes
 *
 * A futex has 32 bits, so numbers are compared by their difference, and who is
 * told "not yet" by one makes sure that tail or head, with 64 bits, has not
 * moved: then it was no number of 2^30 laps ago.
 */
#include "job_queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLOSED  (UINT64_C(1) << 63) /* a bit of tail */
#define SLEEPER 1u

struct slot {
    _Atomic uint32_t number;
    struct job job;
};

struct job_queue {
    size_t capacity;
    struct slot *slots;
    _Alignas(64) _Atomic uint64_t tail; /* jobs ever pushed, and CLOSED */
    _Alignas(64) _Atomic uint64_t head; /* jobs ever popped */
};

struct job_queue *
jq_create(size_t capacity)
{
    if (capacity == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct job_queue *q = aligned_alloc(64, sizeof *q);
    if (q == NULL)
        return NULL;
    *q = (struct job_queue){.capacity = capacity};
    q->slots = calloc(capacity, sizeof *q->slots); /* empty, lap 0 */
    if (q->slots == NULL) {
        free(q);
        return NULL;
    }
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

/* Stores a slot's new number and wakes who slept until then. */
static void
change(struct slot *slot, uint32_t number)
{
    uint32_t old = atomic_exchange(&slot->number, number);
    if (old & SLEEPER)
        syscall(SYS_futex, &slot->number, FUTEX_WAKE_PRIVATE, INT_MAX, NULL,
                NULL, 0);
}

/* What a call saw that could not go on. */
struct place {
    struct slot *slot;
    uint32_t number;
    bool closed;
};

static enum jq_result
put(struct job_queue *q, struct job job, struct place *place)
{
    uint64_t tail = atomic_load(&q->tail);
    while (!(tail & CLOSED)) {
        struct slot *slot = &q->slots[tail % q->capacity];
        uint32_t turn = (uint32_t)(tail / q->capacity) * 4;
        uint32_t number = atomic_load(&slot->number);
        int32_t ahead = (int32_t)((number & ~SLEEPER) - turn);
        if (ahead == 0) {
            if (!atomic_compare_exchange_weak(&q->tail, &tail, tail + 1))
                continue;
            slot->job = job;
            change(slot, turn + 2);
            return JQ_OK;
        }
        uint64_t before = tail;
        tail = atomic_load(&q->tail);
        if (ahead < 0 && tail == before) {
            *place = (struct place){slot, number, false};
            return JQ_FULL;
        }
    }
    return JQ_CLOSED;
}

static enum jq_result
take(struct job_queue *q, struct job *job, struct place *place)
{
    uint64_t head = atomic_load(&q->head);
    for (;;) {
        struct slot *slot = &q->slots[head % q->capacity];
        uint32_t turn = (uint32_t)(head / q->capacity) * 4 + 2;
        uint32_t number = atomic_load(&slot->number);
        int32_t ahead = (int32_t)((number & ~SLEEPER) - turn);
        if (ahead == 0) {
            if (!atomic_compare_exchange_weak(&q->head, &head, head + 1))
                continue;
            *job = slot->job;
            change(slot, turn + 2);
            return JQ_OK;
        }
        uint64_t before = head, tail = atomic_load(&q->tail);
        if (ahead < 0 && tail == (head | CLOSED))
            return JQ_CLOSED;
        head = atomic_load(&q->head);
        if (ahead < 0 && head == before) {
            *place = (struct place){slot, number, (tail & CLOSED) != 0};
            return JQ_EMPTY;
        }
    }
}

/* Wakes who sleeps on a slot although it has not changed. */
static void
rouse(struct slot *slot)
{
    if (atomic_fetch_and(&slot->number, ~SLEEPER) & SLEEPER)
        syscall(SYS_futex, &slot->number, FUTEX_WAKE_PRIVATE, INT_MAX, NULL,
                NULL, 0);
}

/* Sleeps until the slot changes. jq_close() first sets its bit in tail and then
 * rouses each slot: whoever marks one after that sees the bit, and undoes it,
 * or another one could fall asleep on that mark. But a pop that knew of the
 * close waits for a push that has its ticket, and will change the slot. */
static void
sleep_on(struct job_queue *q, struct place at)
{
    uint32_t marked = at.number | SLEEPER;
    if (!atomic_compare_exchange_strong(&at.slot->number, &at.number, marked))
        return; /* it has changed, or somebody else has marked it: look again */
    if (!at.closed && (atomic_load(&q->tail) & CLOSED)) {
        rouse(at.slot);
        return;
    }
    syscall(SYS_futex, &at.slot->number, FUTEX_WAIT_PRIVATE, marked, NULL, NULL,
            0);
}

/* --- the calls of job_queue.h ---------------------------------------------- */

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    struct place unused;
    return put(q, job, &unused);
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    struct place unused;
    return take(q, job, &unused);
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    enum jq_result result;
    struct place at;
    while ((result = put(q, job, &at)) == JQ_FULL)
        sleep_on(q, at);
    return result;
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    enum jq_result result;
    struct place at;
    while ((result = take(q, job, &at)) == JQ_EMPTY)
        sleep_on(q, at);
    return result;
}

void
jq_close(struct job_queue *q)
{
    atomic_fetch_or(&q->tail, CLOSED);
    for (size_t i = 0; i < q->capacity; i++)
        rouse(&q->slots[i]);
}

size_t
jq_len(struct job_queue *q)
{
    uint64_t head = atomic_load(&q->head);
    uint64_t tail = atomic_load(&q->tail) & ~CLOSED;
    if (tail <= head)
        return 0;
    return tail - head < q->capacity ? tail - head : q->capacity;
}
