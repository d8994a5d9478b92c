/*
 * memory.c - what a load may return, and who may touch what.
 *
 * Weak memory. An atomic place keeps every value stored in it during a run. A
 * load may return any that the thread has not yet seen superseded: so does a
 * processor with buffers, and so says the C standard. A read-modify-write takes
 * the newest one. A store with release order hands on what its thread knows, a
 * load with acquire order takes that over; fences and seq_cst likewise (C17,
 * 5.1.2.4 and 7.17.3). CDSChecker, GenMC and Loom explore the same way. Not
 * covered: stores that take effect in another order than the run's.
 *
 * Data races. Knowledge includes a vector clock. Two accesses to a byte, one a
 * write and one not atomic, are a race unless the later thread knows of the
 * earlier access (FastTrack, PLDI 2009). That finds a race even in a schedule
 * in which it does no harm, so plain accesses need no schedules of their own.
 */
#include "explore.h"
#include <stdatomic.h>
#include <string.h>

enum { HEAP = 1 << 14, WORLD = 1 << 16, STORES = 250, KINDS = 4 };

/* The world of the code under test: `run` has moved its global variables to the
 * section "student", and here is its heap. A run begins with a copy of the
 * world that setup has left. The heap never uses memory twice, so a use after
 * free shows. */
static struct {
    _Alignas(64) char bytes[HEAP];
    bool alive[HEAP];
    size_t used;
} heap __attribute__((section("student")));
static char first_world[WORLD];

static struct place {
    uintptr_t at;
    int size, count;
    struct store {
        uint64_t value;
        struct knowledge gives; /* to whoever reads it with acquire */
    } stores[STORES];
} places[PLACES];
static int place_count;
static struct knowledge in_order; /* what seq_cst has made known to all */

/* The last access of each thread and kind to a byte of the world. A word, 8
 * bytes, has a single shadow, its first, until only a part of it is used. */
static struct shadow {
    long run;
    bool split;
    int steps[THREADS][KINDS];
} shadows[WORLD];

void
remember_world(void)
{
    if (end_of_world - world > WORLD)
        fail("the explorer's limit: more than %d bytes of variables", WORLD);
    memcpy(first_world, world, (size_t)(end_of_world - world));
}

void
restore_world(void)
{
    memcpy(world, first_world, (size_t)(end_of_world - world));
    memset(&in_order, 0, sizeof in_order);
    place_count = 0;
}

void *
student_aligned_alloc(size_t alignment, size_t size)
{
    size_t start = (heap.used + 16 + alignment - 1) & -alignment;

    size += size == 0; /* even that is a block of its own */
    if (size > HEAP || start + size > HEAP)
        fail("the explorer's limit: more than %d bytes allocated", HEAP);
    memset(heap.bytes + start, 0xa5, size);
    memset(heap.alive + start, true, size);
    memcpy(heap.bytes + start - sizeof size, &size, sizeof size);
    heap.used = start + size;
    return heap.bytes + start;
}

void
student_free(char *block)
{
    size_t size = 0, start = (size_t)(block - heap.bytes);

    HERE;
    if (block == NULL)
        return;
    if (start < HEAP)
        memcpy(&size, block - sizeof size, sizeof size);
    if (start >= HEAP || size > HEAP - start)
        fail("BAD MEMORY: %s frees what is not a block", running->name);
    plain(block, size, WRITE); /* nobody may be using it at the same time */
    memset(heap.alive + start, false, size);
}

/* --- who may touch what -------------------------------------------------- */

void
learn(struct knowledge *into, const struct knowledge *from)
{
    for (int i = 0; i < THREADS; i++)
        if (into->steps[i] < from->steps[i])
            into->steps[i] = from->steps[i];
    for (int i = 0; i < PLACES; i++)
        if (into->stores[i] < from->stores[i])
            into->stores[i] = from->stores[i];
}

static void
touch_shadow(struct shadow *s, const void *at, int kind)
{
    int me = (int)(running - threads), *known = running->knows.steps;

    if (s->steps[me][kind] > known[me])
        return; /* checked already, and nobody was told of it since */
    for (int t = 0; t < THREADS; t++)
        for (int k = 0; k < KINDS; k++)
            if (s->steps[t][k] > known[t] && t != me && (k | kind) & WRITE &&
                !(k & kind & ATOMIC))
                fail("DATA RACE: %s %s [%ld], %s %s it in step %d, and nothing "
                     "orders the two",
                     running->name, kind & WRITE ? "writes" : "reads", AT(at),
                     threads[t].name, k & WRITE ? "wrote" : "read",
                     s->steps[t][k]);
    s->steps[me][kind] = run.steps;
}

/* Local variables and errno lie outside. */
static bool
in_world(const void *at)
{
    return (const char *)at >= world && (const char *)at < end_of_world;
}

void
touch(const void *at, size_t size, int kind)
{
    size_t in_heap = (size_t)((const char *)at - heap.bytes);

    if (in_heap < HEAP &&
        !(heap.alive[in_heap] && heap.alive[in_heap + size - 1]))
        fail("BAD MEMORY: %s uses [%ld], which is not allocated, or not any "
             "more",
             running->name, AT(at));
    for (long i = AT(at), end = i + (long)size; in_world(at) && i < end;) {
        struct shadow *word = &shadows[i & ~7L];
        if (word->run != run.number)
            *word = (struct shadow){.run = run.number};
        if (!word->split && (i % 8 != 0 || end - i < 8)) {
            word->split = true;
            for (int k = 1; k < 8; k++)
                word[k] = word[0];
        }
        touch_shadow(&shadows[i], at, kind);
        i += word->split ? 1 : 8;
    }
}

void
plain(const void *at, size_t size, int kind)
{
    if (!in_world(at))
        return;
    run.steps++;
    NOTE("%s [%ld]", kind == WRITE ? "writes" : "reads", AT(at));
    touch(at, size, kind);
    running->wrote |= kind == WRITE;
    for (int i = 0; kind == WRITE && i < place_count; i++)
        if (places[i].at - (uintptr_t)at < size)
            places[i].at = 0; /* initialised anew: begins a new history */
}

/* --- what a load may return ---------------------------------------------- */

static struct place *
place_of(const void *at, int size)
{
    struct place *p = places;

    while (p < places + place_count && p->at != (uintptr_t)at)
        p++;
    if (p == places + PLACES)
        fail("the explorer's limit: more than %d atomic places", PLACES);
    if (p == places + place_count) {
        place_count++;
        p->at = (uintptr_t)at;
        p->size = size;
        p->count = 1;
        p->stores[0] = (struct store){.value = 0};
        memcpy(&p->stores[0].value, at, (size_t)size);
    }
    return p;
}

uint64_t
newest(const void *at, int size)
{
    struct place *p = place_of(at, size);

    return p->stores[p->count - 1].value;
}

static bool
acquires(int order)
{
    return order != memory_order_relaxed && order != memory_order_release;
}

static bool
releases(int order)
{
    return order >= memory_order_release;
}

/* How far back may a load look? Not beyond what it has seen, nor, if it is
 * seq_cst, beyond what seq_cst accesses and fences have shown to all. */
static int
choose_store(struct place *p, int order)
{
    int last = p->count - 1, first = running->knows.stores[p - places];

    if (order == memory_order_seq_cst && in_order.stores[p - places] > first)
        first = in_order.stores[p - places];
    if (run.stale == scenario->stale || running->idle > 0)
        return last;
    last -= choose(last - first + 1);
    run.stale += last < p->count - 1;
    return last;
}

static void
see(struct place *p, int which, int order)
{
    unsigned char *seen = &running->knows.stores[p - places];
    unsigned char *by_all = &in_order.stores[p - places];

    if (*seen < which)
        *seen = (unsigned char)which;
    if (order == memory_order_seq_cst && *by_all < which)
        *by_all = (unsigned char)which;
}

/* `news` includes a hash of the values of all places: who goes through a loop
 * that puts everything back is spinning. */
static long
mix(uintptr_t at, uint64_t value)
{
    return (long)((at ^ value << 20 ^ value >> 44) * 0x9e3779b97f4a7c15);
}

static void
append(struct place *p, uint64_t value, int order, bool after_read)
{
    struct thread *me = running;
    struct store last = p->stores[p->count - 1];
    int this = p->count < STORES ? p->count++ : STORES - 1;
    struct store *s = &p->stores[this];

    see(p, this, order);
    if (releases(order))
        me->knows.steps[me - threads] = run.steps;
    s->value = value;
    s->gives = releases(order) ? me->knows : me->fenced;
    s->gives.stores[p - places] = (unsigned char)this;
    if (after_read) /* a read-modify-write continues the release sequence */
        learn(&s->gives, &last.gives);
    news ^= mix(p->at, last.value) ^ mix(p->at, value);
    memcpy((void *)p->at, &value, (size_t)p->size);
}

/* An atomic access; returns the value that was there. */
uint64_t
atomic(void *at, int size, int op, uint64_t x, int order)
{
    struct place *p = place_of(at, size);
    int which = op == LOAD ? choose_store(p, order) : p->count - 1;
    uint64_t old = p->stores[which].value;
    uint64_t results[] = {old,     old,     x,       x,      old + x,
                          old - x, old & x, old | x, old ^ x};

    touch(at, (size_t)size, op < STORE ? ATOMIC : ATOMIC | WRITE);
    if (op != STORE) {
        see(p, which, order);
        learn(acquires(order) ? &running->knows : &running->pending,
              &p->stores[which].gives);
    }
    if (op >= STORE)
        append(p, results[op] & UINT64_MAX >> (64 - 8 * size), order,
               op != STORE);
    return old;
}

void
fence(int order)
{
    struct thread *me = running;

    if (acquires(order))
        learn(&me->knows, &me->pending);
    if (order == memory_order_seq_cst) {
        learn(&me->knows, &in_order);
        memcpy(in_order.stores, me->knows.stores, PLACES);
    }
    if (releases(order)) {
        me->knows.steps[me - threads] = run.steps;
        me->fenced = me->knows;
    }
}

/* membarrier(2): a full fence in every thread at once. */
int
everybody_sees_everything(void)
{
    for (int i = 0; i < THREADS * place_count; i++)
        threads[i % THREADS].knows.stores[i / THREADS] =
            (unsigned char)(places[i / THREADS].count - 1);
    return 0;
}
