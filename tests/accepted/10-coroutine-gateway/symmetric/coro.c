/*
 * Another way: symmetric coroutines. There is no loop on a stack of its own:
 * whoever gives way looks for the next one itself, and switches to it directly,
 * or sleeps in epoll_wait() where it stands. That saves every second switch.
 * Who arrives buries the one that has ended just before.
 *
 * All that wait are in one heap of deadlines, those without one at its bottom.
 * The struct of a coroutine is not on its stack. A stack is mapped without any
 * rights at first, and gets them above the guard page.
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "coro.h"
#include "fiber.h"
#include "switch_asm.h"

enum { SPARE_MAX = 64 };

struct coro {
    void (*run)(void *arg);
    void *arg;
    bool begun, ended;
    size_t place; /* in the heap, from 1; 0: it does not wait */
    int why;      /* its wait has ended */
    long due;
    char *stack; /* above the guard page */
    ucontext_t context;
    void *sp;
    struct fiber fiber;
    struct coro *next; /* that can go on */
};

static enum coro_switch how;
static size_t stack_size, page;
static int epoll;
static bool cancelled;
static struct coro first, *current, *previous; /* first: who calls coro_run() */
static struct coro *ready, **ready_end;        /* these can go on, */
static size_t readies, in_this_round;          /* so many, and before a look */
static struct coro **heap;                     /* these wait: heap[1] ... */
static size_t waiters, places;
static char *spare[SPARE_MAX];
static size_t spares;
static struct coro_stats stats;

long
coro_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct coro_stats
coro_stats(void)
{
    return stats;
}

/* --- those that can go on -------------------------------------------------- */

static void
make_ready(struct coro *c)
{
    c->next = NULL;
    *ready_end = c;
    ready_end = &c->next;
    readies++;
}

static struct coro *
take_ready(void)
{
    struct coro *c = ready;
    ready = c->next;
    if (ready == NULL)
        ready_end = &ready;
    readies--;
    return c;
}

/* --- those that wait ------------------------------------------------------- */

static void
put(size_t i, struct coro *c)
{
    heap[i] = c;
    c->place = i;
}

/* Moves c from place i to where it belongs. */
static void
settle(size_t i, struct coro *c)
{
    for (; i > 1 && c->due < heap[i / 2]->due; i /= 2)
        put(i, heap[i / 2]);
    for (size_t below; (below = 2 * i) <= waiters; i = below) {
        if (below < waiters && heap[below + 1]->due < heap[below]->due)
            below++;
        if (c->due <= heap[below]->due)
            break;
        put(i, heap[below]);
    }
    put(i, c);
}

static void
wake(struct coro *c, int why)
{
    size_t i = c->place;
    if (i == 0)
        return; /* something else was faster */
    struct coro *last = heap[waiters--];
    if (last != c)
        settle(i, last);
    c->place = 0;
    c->why = why;
    make_ready(c);
}

/* Wakes those for whom something has come; sleeps if nobody can go on. */
static void
look_around(void)
{
    struct epoll_event events[128];
    long left = waiters == 0 || heap[1]->due == CORO_NEVER
                    ? -1
                    : heap[1]->due - coro_now();
    if (ready != NULL ||
        (left < 0 && waiters > 0 && heap[1]->due != CORO_NEVER))
        left = 0;
    int n =
        epoll_wait(epoll, events, 128, left < INT_MAX ? (int)left : INT_MAX);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++)
        wake(events[i].data.ptr, 0);
    while (waiters > 0 && heap[1]->due <= coro_now())
        wake(heap[1], ETIMEDOUT);
}

/* --- from stack to stack --------------------------------------------------- */

static void entry(void);

static struct coro *
find_next(void)
{
    if (stats.alive == 0)
        return &first;
    while (in_this_round == 0) {
        look_around();
        in_this_round = readies;
    }
    in_this_round--;
    return take_ready();
}

static void
bury(struct coro *c)
{
    if (!c->ended)
        return;
    fiber_destroy(&c->fiber);
    if (spares < SPARE_MAX) {
        spare[spares++] = c->stack;
    } else {
        munmap(c->stack - page, page + stack_size);
        stats.stacks--;
    }
    free(c);
}

/* Lets the next one run. Returns when it is our turn again. */
static void
give_way(void)
{
    struct coro *from = current, *to = find_next();
    if (to == from)
        return;
    previous = from;
    current = to;
    stats.switches++;
    fiber_leave(&from->fiber, &to->fiber, from->ended);
    if (how == CORO_ASSEMBLY) {
        if (!to->begun)
            to->sp = switch_asm_prepare(to->stack + stack_size, entry);
        switch_asm(&from->sp, to->sp);
    } else {
        if (!to->begun) {
            getcontext(&to->context);
            to->context.uc_stack.ss_sp = to->stack;
            to->context.uc_stack.ss_size = stack_size;
            makecontext(&to->context, entry, 0);
        }
        swapcontext(&from->context, &to->context);
    }
    fiber_arrive(&from->fiber, NULL);
    bury(previous);
}

static void
entry(void)
{
    fiber_arrive(&current->fiber, &previous->fiber);
    bury(previous);
    current->begun = true;
    current->run(current->arg);
    current->ended = true;
    stats.alive--;
    give_way();
    abort();
}

/* --- beginning ------------------------------------------------------------- */

static char *
get_stack(void)
{
    if (spares > 0)
        return spare[--spares];
    char *low = mmap(NULL, page + stack_size, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (low == MAP_FAILED)
        return NULL;
    if (mprotect(low + page, stack_size, PROT_READ | PROT_WRITE) < 0) {
        munmap(low, page + stack_size);
        return NULL;
    }
    stats.stacks++;
    stats.made++;
    return low + page;
}

int
coro_spawn(void (*run)(void *arg), void *arg)
{
    if (stats.alive + 1 >= places) { /* so that no wait lacks memory */
        size_t more = places == 0 ? 64 : 2 * places;
        struct coro **larger = realloc(heap, more * sizeof *heap);
        if (larger == NULL)
            return -1;
        heap = larger;
        places = more;
    }
    struct coro *c = calloc(1, sizeof *c);
    char *stack = c == NULL ? NULL : get_stack();
    if (stack == NULL) {
        free(c);
        errno = ENOMEM;
        return -1;
    }
    c->run = run;
    c->arg = arg;
    c->stack = stack;
    fiber_create(&c->fiber, stack, stack_size);
    stats.alive++;
    make_ready(c);
    return 0;
}

/* --- waiting --------------------------------------------------------------- */

void
coro_yield(void)
{
    make_ready(current);
    give_way();
}

bool
coro_cancelled(void)
{
    if (cancelled)
        errno = ECANCELED;
    return cancelled;
}

void
coro_cancel(void)
{
    cancelled = true;
    while (waiters > 0)
        wake(heap[waiters], ECANCELED);
}

int
coro_wait(int fd, uint32_t events, long deadline)
{
    struct coro *me = current;
    struct epoll_event event = {.events = events, .data = {.ptr = me}};
    if (coro_cancelled() ||
        (fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0))
        return -1;
    me->due = deadline;
    settle(++waiters, me);
    give_way();
    if (fd >= 0)
        epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    errno = me->why;
    return me->why == 0 ? 0 : -1;
}

int
coro_sleep(long ms)
{
    coro_wait(-1, 0, coro_now() + ms);
    return errno == ETIMEDOUT ? 0 : -1;
}

/* --- the scheduler --------------------------------------------------------- */

int
coro_init(enum coro_switch switch_how, size_t size)
{
    if (switch_how == CORO_ASSEMBLY && !HAVE_SWITCH_ASM) {
        errno = ENOSYS;
        return -1;
    }
    how = switch_how;
    page = (size_t)sysconf(_SC_PAGESIZE);
    stack_size = (size + page - 1) / page * page;
    cancelled = false;
    stats = (struct coro_stats){0};
    first = (struct coro){.begun = true};
    current = &first;
    fiber_adopt(&first.fiber);
    ready = NULL;
    ready_end = &ready;
    readies = in_this_round = 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    return epoll < 0 ? -1 : 0;
}

void
coro_run(void)
{
    if (stats.alive > 0)
        give_way(); /* comes back when the last one has ended */
    while (spares > 0)
        munmap(spare[--spares] - page, page + stack_size);
    stats.stacks = 0;
    free(heap);
    heap = NULL;
    places = 0;
    close(epoll);
}
