/*
 * Another way: the ring of the textbooks. The two indexes go round with the
 * slots, equal means empty, and one slot more than the capacity always stays
 * empty, so that full does not look like empty. Neither side keeps a copy of
 * the other's index: slower, and as correct.
 */
#include "spsc_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

struct spsc_ring {
    size_t slots;
    _Atomic size_t in, out; /* where the next job goes, and comes from */
    struct job job[];
};

struct spsc_ring *
spsc_create(size_t capacity)
{
    if (capacity == 0 || capacity > SIZE_MAX / 64) {
        errno = capacity == 0 ? EINVAL : ENOMEM;
        return NULL;
    }
    struct spsc_ring *r =
        calloc(1, sizeof *r + (capacity + 1) * sizeof r->job[0]);
    if (r != NULL)
        r->slots = capacity + 1;
    return r;
}

void
spsc_destroy(struct spsc_ring *r)
{
    free(r);
}

static size_t
after(const struct spsc_ring *r, size_t index)
{
    return index + 1 == r->slots ? 0 : index + 1;
}

enum jq_result
spsc_try_push(struct spsc_ring *r, struct job job)
{
    size_t in = atomic_load_explicit(&r->in, memory_order_relaxed);
    size_t next = after(r, in);
    if (next == atomic_load_explicit(&r->out, memory_order_acquire))
        return JQ_FULL;
    r->job[in] = job;
    atomic_store_explicit(&r->in, next, memory_order_release);
    return JQ_OK;
}

enum jq_result
spsc_try_pop(struct spsc_ring *r, struct job *job)
{
    size_t out = atomic_load_explicit(&r->out, memory_order_relaxed);
    if (out == atomic_load_explicit(&r->in, memory_order_acquire))
        return JQ_EMPTY;
    *job = r->job[out];
    atomic_store_explicit(&r->out, after(r, out), memory_order_release);
    return JQ_OK;
}
