/*
 * Another way: the indexes are nobody else's business. Each side counts for
 * itself, and what the two share is a flag in every slot, as in FastForward
 * (Giacomoni, Moseley, Vachharajani, PPoPP 2008). A full slot is the
 * consumer's, an empty one the producer's.
 */
#include "spsc_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct slot {
    atomic_bool full;
    struct job job;
};

struct spsc_ring {
    struct slot *end;
    _Alignas(64) struct slot *in;  /* the producer's */
    _Alignas(64) struct slot *out; /* the consumer's */
    _Alignas(64) struct slot slots[];
};

struct spsc_ring *
spsc_create(size_t capacity)
{
    struct spsc_ring *r;
    if (capacity == 0 || capacity > SIZE_MAX / 64) {
        errno = capacity == 0 ? EINVAL : ENOMEM;
        return NULL;
    }
    size_t size = sizeof *r + capacity * sizeof(struct slot);
    r = aligned_alloc(64, (size + 63) / 64 * 64);
    if (r == NULL)
        return NULL;
    r->end = r->slots + capacity;
    for (r->in = r->slots; r->in < r->end; r->in++)
        atomic_init(&r->in->full, false);
    r->in = r->out = r->slots;
    return r;
}

void
spsc_destroy(struct spsc_ring *r)
{
    free(r);
}

enum jq_result
spsc_try_push(struct spsc_ring *r, struct job job)
{
    struct slot *slot = r->in;
    if (atomic_load_explicit(&slot->full, memory_order_acquire))
        return JQ_FULL;
    slot->job = job;
    atomic_store_explicit(&slot->full, true, memory_order_release);
    r->in = slot + 1 < r->end ? slot + 1 : r->slots;
    return JQ_OK;
}

enum jq_result
spsc_try_pop(struct spsc_ring *r, struct job *job)
{
    struct slot *slot = r->out;
    if (!atomic_load_explicit(&slot->full, memory_order_acquire))
        return JQ_EMPTY;
    *job = slot->job;
    atomic_store_explicit(&slot->full, false, memory_order_release);
    r->out = slot + 1 < r->end ? slot + 1 : r->slots;
    return JQ_OK;
}
