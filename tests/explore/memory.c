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
 * Data races. Knowledge is a vector clock. Two accesses to a byte, one a write
 * and one not atomic, are a race unless the later thread knows of the earlier
 * access (FastTrack, PLDI 2009). That finds a race even in a schedule in which
 * it does no harm, so plain accesses need no schedules of their own.
 */
#include "explore.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum { HEAP = 1 << 14, WORLD = 1 << 16, STORES = 250, KINDS = 4 };

/* The world of the code under test: `build` has moved its global variables to
 * the section "student", and here is its heap. It never uses memory twice, so a
 * use after free shows. */
static struct {
    _Alignas(64) char bytes[HEAP];
    bool alive[HEAP];
    size_t used;
} heap __attribute__((section("student")));
static char first_world[WORLD]; /* which the setup has left */

/* The last access of each kind and thread to a byte of the world; what is 4
 * bytes or a multiple has one for each 4 bytes. */
static struct shadow {
    int run;
    int steps[KINDS][THREADS];
} shadows[WORLD];

static struct place {
    const void *at;
    int count;
    struct store {
        uint64_t value;
        struct clock gives; /* to whoever reads it with acquire */
    } stores[STORES];
} places[PLACES];
static int place_count;
static struct clock in_order; /* what seq_cst has made known to all */

static const char *const orders[] = {"relaxed", "consume", "acquire",
                                     "release", "acq_rel", "seq_cst"};
static const char *const operations[] = {"load", "failed CAS", "store",  "swap",
                                         "add",  "sub",        "and",    "or",
                                         "xor",  "locks",      "unlocks"};

void
begin_memory(void)
{
    size_t size = (size_t)(end_of_world - world);

    if (size > WORLD)
        fail("the explorer's limit: more than %d bytes of variables", WORLD);
    if (run.number <= 1)
        memcpy(first_world, world, size);
    memcpy(world, first_world, size);
    in_order = (struct clock){.of = {0}};
    place_count = 0;
}

/* Between two blocks there is a byte at least that is not alive. */
void *
student_aligned_alloc(size_t alignment, size_t size)
{
    size_t start = (heap.used + alignment) & -alignment;

    size += size == 0; /* even that is a block of its own */
    if (size > HEAP || start + size >= HEAP)
        fail("the explorer's limit: more than %d bytes allocated", HEAP);
    heap.used = start + size;
    memset(heap.alive + start, true, size);
    return memset(heap.bytes + start, 0xa5, size);
}

void
student_free(char *block)
{
    size_t i = (size_t)(block - heap.bytes), size = 0;

    HERE;
    if (block == NULL)
        return;
    if (i >= HEAP || !heap.alive[i] || heap.alive[i - 1])
        fail("BAD MEMORY: %s frees what is not a block", running->name);
    while (heap.alive[i + size])
        size++;
    plain(block, size, WRITE); /* nobody may be using it at the same time */
    memset(heap.alive + i, false, size);
}

/* --- who may touch what -------------------------------------------------- */

#define RAISE(TO, LEAST) ((TO) = (TO) < (LEAST) ? (LEAST) : (TO))

void
learn(struct clock *into, const struct clock *from)
{
    for (int i = 0; i < THREADS + PLACES; i++)
        RAISE(into->of[i], from->of[i]);
}

/* Local variables and errno lie outside. */
#define IN_WORLD(AT) ((char *)(AT) >= world && (char *)(AT) < end_of_world)

static void
touch_shadow(struct shadow *s, const void *at, int kind)
{
    int me = (int)(running - threads), *known = running->knows.of;

    if (s->run != run.number)
        *s = (struct shadow){.run = run.number};
    if (s->steps[kind][me] > known[me])
        return; /* checked already, and nobody was told of it since */
    s->steps[kind][me] = run.steps;
    for (int k = 0; k < KINDS; k++) {
        bool harmless = !((k | kind) & WRITE) || k & kind & ATOMIC;
        for (int t = 0; t < THREADS && !harmless; t++)
            if (s->steps[k][t] > known[t] && t != me)
                fail("DATA RACE: %s %s [%ld], %s %s it in step %d, and nothing "
                     "orders the two",
                     running->name, kind & WRITE ? "writes" : "reads", AT(at),
                     threads[t].name, k & WRITE ? "wrote" : "read",
                     s->steps[k][t]);
    }
}

void
touch(const void *at, size_t size, int kind)
{
    long unit = (AT(at) | (long)size) % 4 == 0 ? 4 : 1;
    size_t in_heap = (size_t)((const char *)at - heap.bytes);

    if (in_heap < HEAP &&
        !(heap.alive[in_heap] && heap.alive[in_heap + size - 1]))
        fail("BAD MEMORY: %s uses [%ld], which is not allocated, or not any "
             "more",
             running->name, AT(at));
    for (long i = AT(at); IN_WORLD(at) && i < AT(at) + (long)size; i += unit)
        touch_shadow(&shadows[i], at, kind);
}

void
plain(const void *at, size_t size, int kind)
{
    if (!IN_WORLD(at))
        return;
    run.steps++;
    NOTE("%s [%ld]", kind == WRITE ? "writes" : "reads", AT(at));
    touch(at, size, kind);
    news += kind == WRITE;
}

/* --- what a load may return ---------------------------------------------- */

static struct place *
place_of(const void *at, int size)
{
    struct place *p = places;

    for (; p < places + place_count; p++) {
        const struct store *last = &p->stores[p->count - 1];
        if (p->at == at && memcmp(at, &last->value, (size_t)size) == 0)
            return p;
        if (p->at == at)
            p->at = NULL; /* a plain write has initialised it anew */
    }
    if (place_count++ == PLACES)
        fail("the explorer's limit: more than %d atomic places", PLACES);
    p->at = at;
    p->count = 1;
    p->stores[0] = (struct store){.value = 0};
    memcpy(&p->stores[0].value, at, (size_t)size);
    return p;
}

#define ACQUIRES(ORDER)                                                        \
    ((ORDER) != memory_order_relaxed && (ORDER) != memory_order_release)
#define RELEASES(ORDER) ((ORDER) >= memory_order_release)

/* How far back may a load look? Not beyond what its thread has seen, nor, if it
 * is seq_cst, beyond what seq_cst accesses and fences have shown to all. */
static int
choose_store(const struct place *p, int order)
{
    int last = p->count - 1, back = 0, place = THREADS + (int)(p - places);
    int seen = running->knows.of[place];

    if (order == memory_order_seq_cst)
        RAISE(seen, in_order.of[place]);
    if (run.stale < scenario->stale && !running->again)
        back = choose(last - seen + 1);
    run.stale += back > 0;
    return last - back;
}

/* A read-modify-write (`read` is what it has read) continues the release
 * sequence. */
static void
append(struct place *p, uint64_t value, int order, const struct store *read)
{
    struct thread *me = running;
    struct store s = {value, me->fenced};

    p->count += p->count < STORES;
    if (RELEASES(order)) {
        me->knows.of[me - threads] = run.steps;
        s.gives = me->knows;
    }
    s.gives.of[THREADS + (p - places)] = p->count - 1;
    if (read)
        learn(&s.gives, &read->gives);
    p->stores[p->count - 1] = s;
}

/* `news` includes a hash of the values of all places: who goes through a loop
 * that puts everything back is spinning. Locks are left out: if nothing was
 * written under a lock, it is no news that it is free again. */
/* An atomic access; returns the value that was there. */
uint64_t
atomic(void *at, int size, int op, uint64_t x, int order)
{
    struct place *p = place_of(at, size);
    int which = op == LOAD ? choose_store(p, order) : p->count - 1;
    const struct store *read = &p->stores[which];
    uint64_t old = read->value, new,
             results[] = {old,     old,     x,       x, old + x, old - x,
                          old & x, old | x, old ^ x, x, x};

    new = results[op] & UINT64_MAX >> (64 - 8 * size);
    if (op >= LOCK)
        NOTE("%s the mutex [%ld]", operations[op], AT(at));
    else if (op >= STORE)
        NOTE("%s %s [%ld]: %ld -> %ld", orders[order], operations[op], AT(at),
             (long)old, (long)new);
    else
        NOTE("%s %s [%ld]: %ld%s", orders[order], operations[op], AT(at),
             (long)old, which < p->count - 1 ? ", which is stale" : "");
    touch(at, (size_t)size, op < STORE ? ATOMIC : ATOMIC | WRITE);
    if (op != STORE)
        learn(ACQUIRES(order) ? &running->knows : &running->pending,
              &read->gives);
    if (op >= STORE) {
        append(p, new, order, op == STORE ? NULL : read);
        memcpy(at, &new, (size_t)size);
        which = p->count - 1;
    }
    RAISE(running->knows.of[THREADS + (p - places)], which);
    if (order == memory_order_seq_cst)
        RAISE(in_order.of[THREADS + (p - places)], which);
    if (op < LOCK)
        news ^= MIX(at, old) ^ MIX(at, new);
    return old;
}

void
fence(int order)
{
    struct thread *me = running;

    NOTE("%s fence", orders[order]);
    if (ACQUIRES(order))
        learn(&me->knows, &me->pending);
    if (order == memory_order_seq_cst) {
        learn(&me->knows, &in_order);
        in_order = me->knows;
        memset(in_order.of, 0, THREADS * sizeof in_order.of[0]);
    }
    if (RELEASES(order)) {
        me->knows.of[me - threads] = run.steps;
        me->fenced = me->knows;
    }
}

/* membarrier(2): a full fence in every thread at once. */
int
membarrier(void)
{
    NOTE("membarrier%s", scenario->no_membarrier ? " is not there" : "");
    errno = ENOSYS;
    if (scenario->no_membarrier)
        return -1;
    for (int i = 0; i < THREADS * place_count; i++)
        threads[i % THREADS].knows.of[THREADS + i / THREADS] =
            places[i / THREADS].count - 1;
    return 0;
}
