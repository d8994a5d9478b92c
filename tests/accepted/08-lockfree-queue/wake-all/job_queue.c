/*
 * Another way: a slot says for which turn it waits, and the whole of sleeping
 * and waking is one word that wakes everybody.
 *
 * Turn 2p is the push at position p, turn 2p + 1 the pop of the same job; 2p +
 * 2 * capacity is the next push there. No lap and no mask are needed: a slot is
 * found with %. Bit 0 of tail, never part of a turn to push, means closed.
 *
 * No membarrier(2), no count of sleepers, no spinning. Whoever changes the ring
 * pays for one read-modify-write of the bell instead. Everybody who sleeps is
 * woken, so nobody has to pass a wake-up on. Slower, and as correct.
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

struct slot {
    _Atomic uint64_t turn;
    struct job job;
};

struct job_queue {
    size_t capacity;
    _Alignas(64) _Atomic uint64_t tail; /* turn of the next push; | 1: closed */
    _Alignas(64) _Atomic uint64_t head; /* turn of the next pop, less one */

    /* Two bells, to sleep on until they ring. Bit 0: somebody may be asleep;
     * the rest counts how often it has rung. */
    _Alignas(64) _Atomic uint32_t not_full, not_empty;
    struct slot slots[];
};

struct job_queue *
jq_create(size_t capacity)
{
    if (capacity == 0 || capacity > SIZE_MAX / 64) {
        errno = capacity == 0 ? EINVAL : ENOMEM;
        return NULL;
    }
    size_t size = sizeof(struct job_queue) + capacity * sizeof(struct slot);
    struct job_queue *q = aligned_alloc(64, (size + 63) / 64 * 64);
    if (q == NULL)
        return NULL;
    *q = (struct job_queue){.capacity = capacity};
    for (size_t i = 0; i < capacity; i++)
        atomic_init(&q->slots[i].turn, 2 * i);
    return q;
}

void
jq_destroy(struct job_queue *q)
{
    free(q);
}

static struct slot *
slot_of(struct job_queue *q, uint64_t turn)
{
    return &q->slots[turn / 2 % q->capacity];
}

/* --- the bell -------------------------------------------------------------- */

/* Sets the bit. Whoever rings after this rings for us; whoever rang before has
 * done so with a read-modify-write that this one reads from, so that we see
 * what it rang for when we look again. */
static uint32_t
listen_to(_Atomic uint32_t *bell)
{
    return atomic_fetch_or(bell, 1) | 1;
}

static void
sleep_until_rung(_Atomic uint32_t *bell, uint32_t heard)
{
    syscall(SYS_futex, bell, FUTEX_WAIT_PRIVATE, heard, NULL, NULL, 0);
}

static void
ring(_Atomic uint32_t *bell)
{
    uint32_t now = atomic_fetch_add(bell, 0);
    while (now & 1) {
        /* One more clears the bit and counts. */
        if (atomic_compare_exchange_weak(bell, &now, now + 1)) {
            syscall(SYS_futex, bell, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL,
                    0);
            return;
        }
    }
}

/* --- the calls ------------------------------------------------------------- */

enum jq_result
jq_try_push(struct job_queue *q, struct job job)
{
    uint64_t turn = atomic_load_explicit(&q->tail, memory_order_acquire);
    for (;;) {
        if (turn & 1)
            return JQ_CLOSED;
        struct slot *slot = slot_of(q, turn);
        uint64_t is = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (is < turn)
            return JQ_FULL; /* the pop of a lap ago is still to come */
        if (is > turn) {
            turn = atomic_load_explicit(&q->tail, memory_order_acquire);
            continue;
        }
        if (!atomic_compare_exchange_weak_explicit(&q->tail, &turn, turn + 2,
                                                   memory_order_acquire,
                                                   memory_order_acquire))
            continue; /* which has loaded tail again */
        slot->job = job;
        atomic_store_explicit(&slot->turn, turn + 1, memory_order_release);
        ring(&q->not_empty);
        return JQ_OK;
    }
}

enum jq_result
jq_try_pop(struct job_queue *q, struct job *job)
{
    uint64_t turn = atomic_load_explicit(&q->head, memory_order_relaxed);
    for (;;) {
        struct slot *slot = slot_of(q, turn);
        uint64_t is = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (is == turn) { /* no job; a closed tail here says there is none */
            uint64_t tail =
                atomic_load_explicit(&q->tail, memory_order_acquire);
            return tail == (turn | 1) ? JQ_CLOSED : JQ_EMPTY;
        }
        if (is < turn)
            return JQ_EMPTY; /* not even the pop of a lap ago has ended */
        if (is > turn + 1) {
            turn = atomic_load_explicit(&q->head, memory_order_relaxed);
            continue;
        }
        if (!atomic_compare_exchange_weak_explicit(&q->head, &turn, turn + 2,
                                                   memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        *job = slot->job;
        atomic_store_explicit(&slot->turn, turn + 2 * q->capacity,
                              memory_order_release);
        ring(&q->not_full);
        return JQ_OK;
    }
}

enum jq_result
jq_push(struct job_queue *q, struct job job)
{
    for (;;) {
        enum jq_result result = jq_try_push(q, job);
        if (result != JQ_FULL)
            return result;
        uint32_t heard = listen_to(&q->not_full);
        result = jq_try_push(q, job);
        if (result != JQ_FULL)
            return result;
        sleep_until_rung(&q->not_full, heard);
    }
}

enum jq_result
jq_pop(struct job_queue *q, struct job *job)
{
    for (;;) {
        enum jq_result result = jq_try_pop(q, job);
        if (result != JQ_EMPTY)
            return result;
        uint32_t heard = listen_to(&q->not_empty);
        result = jq_try_pop(q, job);
        if (result != JQ_EMPTY)
            return result;
        sleep_until_rung(&q->not_empty, heard);
    }
}

void
jq_close(struct job_queue *q)
{
    atomic_fetch_or_explicit(&q->tail, 1, memory_order_release);
    ring(&q->not_full);
    ring(&q->not_empty);
}

size_t
jq_len(struct job_queue *q)
{
    uint64_t head = atomic_load(&q->head) / 2, tail = atomic_load(&q->tail) / 2;
    if (tail <= head)
        return 0;
    return tail - head < q->capacity ? tail - head : q->capacity;
}
