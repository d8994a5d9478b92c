/*
 * Another way to be lock-free: no ring at all, but the linked list of Michael
 * and Scott ("Simple, Fast, and Practical Non-Blocking and Blocking Concurrent
 * Queue Algorithms", PODC 1996), with nodes from a fixed array. Free nodes are
 * a stack of the kind of Treiber's. The header asks for what every thread may
 * rely on, and a list keeps it: whoever finds the work of a stopped thread half
 * done finishes it (HELP), and every other loop repeats only because some other
 * call has got further.
 *
 * Nodes are used again, so a link is an index with a tag that grows, in one
 * word: a compare-and-swap on a link that was away and has come back fails.
 * All accesses are sequentially consistent but those to the job, whose words
 * may be read while a later push writes them; such a read is thrown away.
 */
#include "scq.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define NONE UINT32_MAX

/* A link is an index in the low half and a tag in the high one. */

struct node {
    _Atomic uint64_t next;
    _Atomic(void (*)(void *)) run;
    _Atomic(void *) arg;
};

struct scq {
    _Alignas(
        64) _Atomic uint64_t head; /* a dummy; the oldest job is behind it */
    _Alignas(64) _Atomic uint64_t tail; /* the newest, or the one before it */
    _Alignas(64) _Atomic uint64_t free; /* top of the stack of free nodes */
    struct node *nodes;                 /* capacity, and the dummy */
};

static uint32_t
index_of(uint64_t l)
{
    return (uint32_t)l;
}

/* A link to put in the place of an old one. */
static uint64_t
instead(uint64_t old, uint32_t index)
{
    return ((old >> 32) + 1) << 32 | index;
}

/* --- free nodes ------------------------------------------------------------ */

static uint32_t
allocate(struct scq *q)
{
    uint64_t top = atomic_load(&q->free);
    while (index_of(top) != NONE) {
        uint64_t below = atomic_load(&q->nodes[index_of(top)].next);
        if (atomic_compare_exchange_weak(&q->free, &top,
                                         instead(top, index_of(below))))
            break;
    }
    return index_of(top);
}

/* Points a node that is ours to another one. Its tag must grow, too. */
static void
point(struct scq *q, uint32_t node, uint32_t to)
{
    uint64_t old = atomic_load(&q->nodes[node].next);
    atomic_store(&q->nodes[node].next, instead(old, to));
}

static void
release(struct scq *q, uint32_t node)
{
    uint64_t top = atomic_load(&q->free);
    do
        point(q, node, index_of(top));
    while (!atomic_compare_exchange_weak(&q->free, &top, instead(top, node)));
}

/* --- the calls of scq.h ---------------------------------------------------- */

struct scq *
scq_create(size_t capacity)
{
    if (capacity == 0 || capacity > (size_t)1 << 30) {
        errno = EINVAL;
        return NULL;
    }
    struct scq *q = aligned_alloc(64, sizeof *q);
    if (q == NULL)
        return NULL;
    *q = (struct scq){.head = 0, .tail = 0, .free = NONE};
    q->nodes = calloc(capacity + 1, sizeof *q->nodes);
    if (q->nodes == NULL) {
        free(q);
        return NULL;
    }
    atomic_init(&q->nodes[0].next, NONE);
    for (uint32_t node = 1; node <= capacity; node++)
        release(q, node);
    return q;
}

void
scq_destroy(struct scq *q)
{
    if (q == NULL)
        return;
    free(q->nodes);
    free(q);
}

enum jq_result
scq_try_push(struct scq *q, struct job job)
{
    uint32_t node = allocate(q);
    if (node == NONE)
        return JQ_FULL;
    atomic_store_explicit(&q->nodes[node].run, job.run, memory_order_relaxed);
    atomic_store_explicit(&q->nodes[node].arg, job.arg, memory_order_relaxed);
    point(q, node, NONE);
    for (;;) {
        uint64_t tail = atomic_load(&q->tail);
        uint64_t next = atomic_load(&q->nodes[index_of(tail)].next);
        if (tail != atomic_load(&q->tail))
            continue; /* next may be that of a node used again */
        if (index_of(next) != NONE) {
            /* HELP: a push is done but for this. */
            atomic_compare_exchange_strong(&q->tail, &tail,
                                           instead(tail, index_of(next)));
            continue;
        }
        if (!atomic_compare_exchange_strong(&q->nodes[index_of(tail)].next,
                                            &next, instead(next, node)))
            continue;
        atomic_compare_exchange_strong(&q->tail, &tail, instead(tail, node));
        return JQ_OK;
    }
}

enum jq_result
scq_try_pop(struct scq *q, struct job *job)
{
    for (;;) {
        uint64_t head = atomic_load(&q->head), tail = atomic_load(&q->tail);
        uint64_t next = atomic_load(&q->nodes[index_of(head)].next);
        if (head != atomic_load(&q->head))
            continue;
        if (index_of(next) == NONE)
            return JQ_EMPTY;
        if (index_of(head) == index_of(tail)) { /* HELP */
            atomic_compare_exchange_strong(&q->tail, &tail,
                                           instead(tail, index_of(next)));
            continue;
        }
        struct node *first = &q->nodes[index_of(next)]; /* the new dummy */
        struct job copy = {
            atomic_load_explicit(&first->run, memory_order_relaxed),
            atomic_load_explicit(&first->arg, memory_order_relaxed)};
        if (!atomic_compare_exchange_strong(&q->head, &head,
                                            instead(head, index_of(next))))
            continue;
        *job = copy;
        release(q, index_of(head));
        return JQ_OK;
    }
}
