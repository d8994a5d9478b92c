/*
 * Another way: descriptors stay on the kernel's interest list, and a table says
 * who waits for which.
 *
 * With EPOLLONESHOT an event comes once, so a wait costs one epoll_ctl() in
 * place of two; whoever closes the descriptor takes it off the list. Those that
 * wait are in a list without order, which is searched for the nearest deadline.
 * Stacks come from aligned_alloc(), and their lowest page has no rights while
 * they are in use or spare. The context is made when the coroutine is.
 */
#include <err.h>
#include <errno.h>
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

enum { SPARE_MAX = 64, WAITING = -1 };

struct coro {
    void (*run)(void *arg);
    void *arg;
    char *memory; /* the guard page, and the stack above it */
    ucontext_t context;
    void *sp;
    struct fiber fiber;
    bool ended;
    int state; /* WAITING, or what ended its wait: 0 or an errno */
    int fd;    /* what it waits for; -1: only for its deadline */
    long due;
    TAILQ_ENTRY(coro) link;
};

TAILQ_HEAD(list, coro);

static struct scheduler {
    enum coro_switch how;
    size_t page, size; /* of a stack with its guard page */
    int epoll;
    bool cancelled;
    struct coro loop, *current;
    struct list ready, waiting;
    struct coro **by_fd; /* who waits for a descriptor */
    int fds;
    struct coro *spare[SPARE_MAX];
    int spares;
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

/* --- from stack to stack --------------------------------------------------- */

static void
switch_to(struct coro *to)
{
    struct coro *from = s.current;
    s.current = to;
    s.stats.switches++;
    fiber_leave(&from->fiber, &to->fiber, from->ended);
    if (s.how == CORO_UCONTEXT)
        swapcontext(&from->context, &to->context);
    else
        switch_asm(&from->sp, to->sp);
    fiber_arrive(&from->fiber, NULL);
}

static void
entry(void)
{
    struct coro *c = s.current;
    fiber_arrive(&c->fiber, &s.loop.fiber);
    c->run(c->arg);
    c->ended = true;
    switch_to(&s.loop);
    abort();
}

static struct coro *
make_coro(void)
{
    struct coro *c = malloc(sizeof *c);
    if (c == NULL)
        return NULL;
    c->memory = aligned_alloc(s.page, s.size);
    if (c->memory == NULL || mprotect(c->memory, s.page, PROT_NONE) < 0) {
        free(c->memory);
        free(c);
        return NULL;
    }
    s.stats.stacks++;
    s.stats.made++;
    return c;
}

static void
free_coro(struct coro *c)
{
    mprotect(c->memory, s.page, PROT_READ | PROT_WRITE); /* it is malloc's */
    free(c->memory);
    free(c);
    s.stats.stacks--;
}

int
coro_spawn(void (*run)(void *arg), void *arg)
{
    struct coro *c = s.spares > 0 ? s.spare[--s.spares] : make_coro();
    if (c == NULL)
        return -1;
    c->run = run;
    c->arg = arg;
    c->ended = false;
    c->state = 0;
    fiber_create(&c->fiber, c->memory + s.page, s.size - s.page);
    if (s.how == CORO_ASSEMBLY) {
        c->sp = switch_asm_prepare(c->memory + s.size, entry);
    } else {
        getcontext(&c->context);
        c->context.uc_stack.ss_sp = c->memory + s.page;
        c->context.uc_stack.ss_size = s.size - s.page;
        makecontext(&c->context, entry, 0);
    }
    TAILQ_INSERT_TAIL(&s.ready, c, link);
    s.stats.alive++;
    return 0;
}

/* --- waiting --------------------------------------------------------------- */

void
coro_yield(void)
{
    TAILQ_INSERT_TAIL(&s.ready, s.current, link);
    switch_to(&s.loop);
}

static void
wake(struct coro *c, int why)
{
    TAILQ_REMOVE(&s.waiting, c, link);
    TAILQ_INSERT_TAIL(&s.ready, c, link);
    c->state = why;
    if (c->fd >= 0)
        s.by_fd[c->fd] = NULL;
}

/* Makes the table long enough for fd. */
static bool
has_room_for(int fd)
{
    if (fd < s.fds)
        return true;
    int more = fd + 64;
    struct coro **table = realloc(s.by_fd, (size_t)more * sizeof *table);
    if (table == NULL)
        return false;
    memset(table + s.fds, 0, (size_t)(more - s.fds) * sizeof *table);
    s.by_fd = table;
    s.fds = more;
    return true;
}

static int
watch(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLONESHOT, .data.fd = fd};
    if (!has_room_for(fd))
        return -1;
    if (s.by_fd[fd] != NULL) {
        errno = EEXIST;
        return -1;
    }
    int done = epoll_ctl(s.epoll, EPOLL_CTL_MOD, fd, &event);
    if (done < 0 && errno == ENOENT) /* the first time that we see it */
        done = epoll_ctl(s.epoll, EPOLL_CTL_ADD, fd, &event);
    if (done == 0)
        s.by_fd[fd] = s.current;
    return done;
}

bool
coro_cancelled(void)
{
    if (!s.cancelled)
        return false;
    errno = ECANCELED;
    return true;
}

int
coro_wait(int fd, uint32_t events, long deadline)
{
    struct coro *c = s.current;
    if (coro_cancelled() || (fd >= 0 && watch(fd, events) < 0))
        return -1;
    c->state = WAITING;
    c->fd = fd;
    c->due = deadline;
    TAILQ_INSERT_TAIL(&s.waiting, c, link);
    switch_to(&s.loop);
    errno = c->state;
    return errno == 0 ? 0 : -1;
}

int
coro_sleep(long ms)
{
    return coro_wait(-1, 0, coro_now() + ms) < 0 && errno == ETIMEDOUT ? 0 : -1;
}

void
coro_cancel(void)
{
    s.cancelled = true;
    while (!TAILQ_EMPTY(&s.waiting))
        wake(TAILQ_FIRST(&s.waiting), ECANCELED);
}

/* --- the loop -------------------------------------------------------------- */

static struct coro *
nearest_deadline(void)
{
    struct coro *nearest = TAILQ_FIRST(&s.waiting), *c;
    TAILQ_FOREACH(c, &s.waiting, link)
    if (c->due < nearest->due)
        nearest = c;
    return nearest;
}

static int
how_long(void)
{
    struct coro *c;
    long now = coro_now();
    while ((c = nearest_deadline()) != NULL && c->due <= now)
        wake(c, ETIMEDOUT);
    if (!TAILQ_EMPTY(&s.ready))
        return 0;
    if (c == NULL || c->due == CORO_NEVER)
        return -1;
    return c->due - now > INT_MAX ? INT_MAX : (int)(c->due - now);
}

static void
poll_descriptors(int ms)
{
    struct epoll_event events[64];
    int n = epoll_wait(s.epoll, events, 64, ms);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    while (n-- > 0) {
        struct coro *c = s.by_fd[events[n].data.fd];
        if (c != NULL)
            wake(c, 0);
    }
}

static void
have_a_turn(struct coro *c)
{
    switch_to(c);
    if (!c->ended)
        return;
    fiber_destroy(&c->fiber);
    s.stats.alive--;
    if (s.spares < SPARE_MAX)
        s.spare[s.spares++] = c;
    else
        free_coro(c);
}

int
coro_init(enum coro_switch how, size_t stack_size)
{
    errno = ENOSYS;
    if (how == CORO_ASSEMBLY && !HAVE_SWITCH_ASM)
        return -1;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    s = (struct scheduler){.how = how, .page = page};
    s.size = page + (stack_size + page - 1) / page * page;
    s.current = &s.loop;
    TAILQ_INIT(&s.ready);
    TAILQ_INIT(&s.waiting);
    fiber_adopt(&s.loop.fiber);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    return s.epoll < 0 ? -1 : 0;
}

void
coro_run(void)
{
    while (s.stats.alive > 0) {
        struct coro *c, *last = TAILQ_LAST(&s.ready, list);
        while (last != NULL) { /* those that were there before */
            c = TAILQ_FIRST(&s.ready);
            TAILQ_REMOVE(&s.ready, c, link);
            bool was_last = c == last;
            have_a_turn(c);
            if (was_last)
                break;
        }
        if (s.stats.alive > 0)
            poll_descriptors(how_long());
    }
    while (s.spares > 0)
        free_coro(s.spare[--s.spares]);
    free(s.by_fd);
    close(s.epoll);
}
