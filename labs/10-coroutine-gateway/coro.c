/*
 * Coroutines on one epoll loop: coro.h says what they are.
 *
 * A thread is a stack, and a place to put the registers while it does not run;
 * the kernel decides which one runs. Here are the same two things in user
 * space, and the decision is ours. It is made in one place: a coroutine never
 * switches to another one, but always to the loop, which runs on the stack that
 * the program began with. The loop lets everyone who can go on have a turn, and
 * when nobody can, it sleeps in epoll_wait() until a descriptor or a deadline
 * wakes somebody up.
 *
 * So a coroutine is always in exactly one of four places: it runs; it is on the
 * list `ready`; it waits, on `timed` or `untimed`; or it has ended, and its
 * stack is spare.
 */
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "coro.h"
#include "fiber.h"
#include "switch_asm.h"

enum {
    EVENTS = 256,    /* events that one epoll_wait() brings at most */
    SPARE_MAX = 64,  /* stacks that are kept for later */
    CACHE_LINE = 64, /* bytes; also more alignment than any stack needs */
};

/* It lies at the upper end of its own stack, so that both are one piece of
 * memory. A stack grows down, away from it, and towards the guard page:
 *
 *   low          stack                                    high
 *   | guard page |       free       <-- in use | struct coro |
 */
struct coro {
    void (*run)(void *arg);
    void *arg;
    bool begun, ended;
    bool waits;         /* it is on `timed` or `untimed` */
    int why;            /* why its wait is over: 0, ETIMEDOUT, ECANCELED */
    long due;           /* its deadline, while it waits */
    ucontext_t context; /* its registers, while it does not run; or, */
    void *sp;           /* in assembly, where on its stack they are */
    char *stack;        /* the lowest byte of it */
    size_t stack_size;
    size_t guard_size; /* of what lies below it and belongs to it */
    struct fiber fiber;
    TAILQ_ENTRY(coro) link; /* in the list of the place where it is */
    SLIST_ENTRY(coro) next_spare;
};

TAILQ_HEAD(list, coro);

/* All there is to the scheduler. It is a global, because coro_read() has no
 * other way to know who calls it: just as read() does not take the thread. */
static struct {
    enum coro_switch how;
    size_t stack_size; /* whole pages */
    int epoll;
    bool cancelled;
    struct coro self;     /* the loop itself: no coroutine, but it is left */
    struct coro *current; /* who runs: a coroutine, or &self */
    struct list ready;    /* can go on */
    struct list timed;    /* wait until a deadline; the nearest one first */
    struct list untimed;  /* wait for ever */
    SLIST_HEAD(, coro) spare;
    size_t spare_count;
    struct coro_stats stats;
} s;

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
    return s.stats;
}

/* --- one stack for another ------------------------------------------------ */

static void switch_to(struct coro *to);

/* The first function on every new stack. Nobody has called it, so there is
 * nowhere to return to; and it cannot free the stack that it stands on. So it
 * leaves it for good, and the loop does the rest. */
static void
entry(void)
{
    struct coro *c = s.current;
    fiber_arrive(&c->fiber, &s.self.fiber);
    c->begun = true;
    c->run(c->arg);
    c->ended = true;
    switch_to(&s.self);
    abort();
}

/* The way of POSIX. swapcontext() also saves and sets the signal mask, and for
 * that it calls the kernel each time. */
static void
switch_ucontext(struct coro *from, struct coro *to)
{
    /* TODO 1: leave the stack of `from` for that of `to`.
     * A coroutine that has begun goes on where it was put aside: that is what
     * to->context holds, and swapcontext() does it, after it has put aside what
     * runs now in from->context. One that has not begun needs a context first:
     * getcontext() fills it in, its uc_stack is the new stack (ss_sp is the
     * lowest byte, ss_size the number of bytes), and makecontext() lets it
     * begin with entry(), which takes no arguments.
     */
    (void)from;
    (void)to;
    (void)entry;
    fputs("TODO 1 is not done: "
          "leave the stack of `from` for that of `to`\n"
          "(labs/10-coroutine-gateway/coro.c; read handouts/10-coroutine-gateway.md)\n",
          stderr);
    exit(3);
}

static void
switch_assembly(struct coro *from, struct coro *to)
{
    if (!to->begun)
        to->sp = switch_asm_prepare(to->stack + to->stack_size, entry);
    switch_asm(&from->sp, to->sp);
}

/* Returns when somebody switches back: then `from` is current again. */
static void
switch_to(struct coro *to)
{
    struct coro *from = s.current;
    s.current = to;
    s.stats.switches++;
    fiber_leave(&from->fiber, &to->fiber, from->ended);
    if (s.how == CORO_ASSEMBLY)
        switch_assembly(from, to);
    else
        switch_ucontext(from, to);
    fiber_arrive(&from->fiber, NULL);
}

/* --- stacks --------------------------------------------------------------- */

static size_t
page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* A stack with the struct on top of it, or NULL. mmap() gives addresses, not
 * memory: that comes page by page, where the stack is really used. */
static struct coro *
make_stack(void)
{
    /* TODO 7: put a guard page below the stack.
     * Map one page more, and take all rights from the lowest one: mprotect()
     * with PROT_NONE. Whoever uses up the stack then dies by SIGSEGV, instead
     * of writing into what lies below: the stack of someone else. If it does
     * not work, there is no stack.
     */
    size_t guard = 0;
    char *low = mmap(NULL, s.stack_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (low == MAP_FAILED)
        return NULL;
    size_t own = (sizeof(struct coro) + CACHE_LINE - 1) & -(size_t)CACHE_LINE;
    struct coro *c = (void *)(low + guard + s.stack_size - own);
    c->stack = low + guard;
    c->stack_size = s.stack_size - own;
    c->guard_size = guard;
    s.stats.stacks++;
    s.stats.made++;
    return c;
}

static void
free_stack(struct coro *c)
{
    s.stats.stacks--;
    munmap(c->stack - c->guard_size, c->guard_size + s.stack_size);
}

/* The loop calls this when c has ended. */
static void
give_back(struct coro *c)
{
    s.stats.alive--;
    fiber_destroy(&c->fiber);
    /* TODO 8: keep the stack for the next coroutine.
     * Put it on the list `spare`, in front: whose stack was used last has it
     * still in the processor's cache. But keep no more than SPARE_MAX
     * (s.spare_count counts them): the memory of one busy minute is not needed
     * for ever.
     */
    free_stack(c);
}

static struct coro *
take_spare(void)
{
    struct coro *c = SLIST_FIRST(&s.spare);
    if (c == NULL)
        return NULL;
    SLIST_REMOVE_HEAD(&s.spare, next_spare);
    s.spare_count--;
    return c;
}

/* --- the four places ------------------------------------------------------ */

static void
make_ready(struct coro *c)
{
    TAILQ_INSERT_TAIL(&s.ready, c, link);
}

int
coro_spawn(void (*run)(void *arg), void *arg)
{
    struct coro *c = take_spare();
    if (c == NULL)
        c = make_stack();
    if (c == NULL)
        return -1;
    c->run = run;
    c->arg = arg;
    c->begun = c->ended = c->waits = false;
    fiber_create(&c->fiber, c->stack, c->stack_size);
    s.stats.alive++;
    make_ready(c);
    return 0;
}

/* Those on the list now, each once: who becomes ready meanwhile has its turn
 * when the loop comes round again, after a look at the descriptors. */
static void
run_ready(void)
{
    struct list now = TAILQ_HEAD_INITIALIZER(now);
    struct coro *c;
    TAILQ_CONCAT(&now, &s.ready, link);
    while ((c = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, c, link);
        switch_to(c);
        if (c->ended)
            give_back(c);
    }
}

void
coro_yield(void)
{
    /* TODO 2: let the others have a turn.
     * Who runs now can go on, so its place is on the list of those who can, at
     * the end of it; and then it is the loop's turn. Two lines.
     */

}

/* Most deadlines are later than all that are there: looking for the place from
 * the far end, one is nearly always there at once. */
static void
put_to_sleep(struct coro *c, long deadline)
{
    c->waits = true;
    c->why = 0;
    c->due = deadline;
    if (deadline == CORO_NEVER) {
        TAILQ_INSERT_TAIL(&s.untimed, c, link);
        return;
    }
    struct coro *before = TAILQ_LAST(&s.timed, list);
    while (before != NULL && before->due > deadline)
        before = TAILQ_PREV(before, list, link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&s.timed, before, c, link);
    else
        TAILQ_INSERT_HEAD(&s.timed, c, link);
}

/* An event and the deadline may come in the same turn: the first one counts. */
static void
wake(struct coro *c, int why)
{
    if (!c->waits)
        return;
    TAILQ_REMOVE(c->due == CORO_NEVER ? &s.untimed : &s.timed, c, link);
    c->waits = false;
    c->why = why;
    make_ready(c);
}

bool
coro_cancelled(void)
{
    if (s.cancelled)
        errno = ECANCELED;
    return s.cancelled;
}

int
coro_wait(int fd, uint32_t events, long deadline)
{
    if (coro_cancelled())
        return -1;
    /* TODO 3: sleep until an event or the deadline comes.
     * Put fd on the interest list (s.epoll), with the coroutine as data.ptr:
     * poll_events() wakes whom it finds there. Then put_to_sleep(), and leave
     * the stack to the loop. Whoever is back here was woken: take fd off the
     * list again, and look at `why`. An fd of -1 is on no list.
     */
    (void)fd;
    (void)events;
    (void)deadline;
    (void)put_to_sleep;
    fputs("TODO 3 is not done: "
          "sleep until an event or the deadline comes\n"
          "(labs/10-coroutine-gateway/coro.c; read handouts/10-coroutine-gateway.md)\n",
          stderr);
    exit(3);
}

int
coro_sleep(long ms)
{
    coro_wait(-1, 0, coro_now() + ms);
    return errno == ETIMEDOUT ? 0 : -1;
}

void
coro_cancel(void)
{
    /* TODO 9: wake everyone who waits, and let nobody wait any more.
     * s.cancelled makes every call fail that could wait. Those that do wait
     * are on two lists; wake() takes them off. The stub ends the program where
     * it stands: what the coroutines have open is not cleaned up.
     */
    exit(0);
}

/* --- the loop ------------------------------------------------------------- */

/* How long the loop may sleep, in ms; -1: for ever. */
static int
next_timeout(void)
{
    /* TODO 4: wake those whose deadline has passed, then find the next one.
     * `timed` begins with the nearest deadline; wake() with ETIMEDOUT takes the
     * first one off it. Then: if somebody is ready, the loop may not sleep at
     * all; if nobody has a deadline, it may sleep for ever. The stub knows no
     * deadlines.
     */
    return TAILQ_EMPTY(&s.ready) ? -1 : 0;
}

static void
poll_events(int timeout)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(s.epoll, events, EVENTS, timeout);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++)
        wake(events[i].data.ptr, 0);
}

int
coro_init(enum coro_switch how, size_t stack_size)
{
    if (how == CORO_ASSEMBLY && !HAVE_SWITCH_ASM) {
        errno = ENOSYS;
        return -1;
    }
    memset(&s, 0, sizeof s);
    s.how = how;
    s.stack_size = (stack_size + page_size() - 1) & -page_size();
    TAILQ_INIT(&s.ready);
    TAILQ_INIT(&s.timed);
    TAILQ_INIT(&s.untimed);
    s.self.begun = true;
    s.current = &s.self;
    fiber_adopt(&s.self.fiber);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    return s.epoll < 0 ? -1 : 0;
}

void
coro_run(void)
{
    while (s.stats.alive > 0) {
        poll_events(next_timeout());
        run_ready();
    }
    struct coro *c;
    while ((c = take_spare()) != NULL)
        free_stack(c);
    close(s.epoll);
}
