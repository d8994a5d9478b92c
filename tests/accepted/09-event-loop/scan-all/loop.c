/*
 * Another way: nothing is kept in order, but looked for.
 *
 * Timers lie in a list as they were started, and the loop looks through all of
 * them for the next one, as Redis does it in ae.c: good for few timers.
 *
 * Hooks go round: each is moved to the end and called, until a mark is in front
 * that was put behind the last one when the phase began.
 *
 * Events that the kernel has handed out stay in the loop, and loop_close()
 * strikes out those of the handle, as libuv does: the dispatcher never sees a
 * closed one.
 *
 * Posts are a stack without a lock, and whether the loop sleeps is a flag of its
 * own. Who posts pushes, then looks at the flag; the loop sets the flag, then
 * looks for posts. Both with sequential consistency, so one sees the other.
 */
#include "loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 128 };

struct loop {
    int epoll, wakeup;
    bool stopping;
    int64_t now, lap_ns;
    size_t active;           /* reasons to go on */
    struct loop_link timers; /* those that are started */
    uint64_t starts;
    struct loop_link hooks[LOOP_PHASES];
    struct loop_handle *closing, *last_closing; /* by link.next, see there */
    struct epoll_event events[EVENTS];          /* of this turn */
    int n_events;
    struct loop_stats stats;
    _Atomic(struct loop_post *) posts; /* the last one first */
    atomic_bool sleeping;
};

#define OWNER(pointer, type, member)                                           \
    ((type *)((char *)(pointer)-offsetof(type, member)))

static void
list_init(struct loop_link *list)
{
    list->next = list->prev = list;
}

static bool
list_is_empty(const struct loop_link *list)
{
    return list->next == list;
}

static void
insert_before(struct loop_link *where, struct loop_link *link)
{
    link->next = where;
    link->prev = where->prev;
    where->prev->next = link;
    where->prev = link;
}

static void
take_out(struct loop_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

/* --- the clock ------------------------------------------------------------- */

static void
lap(struct loop *loop, enum loop_phase phase)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    loop->stats.ns[phase] += (uint64_t)(ns - loop->lap_ns);
    loop->lap_ns = ns;
    loop->now = ns / 1000000;
}

int64_t
loop_now(const struct loop *loop)
{
    return loop->now;
}

const struct loop_stats *
loop_stats(const struct loop *loop)
{
    return &loop->stats;
}

/* --- timers ---------------------------------------------------------------- */

int
loop_timer_init(struct loop *loop, struct loop_timer *timer,
                void (*run)(void *arg), void *arg)
{
    *timer = (struct loop_timer){
        .handle = {.loop = loop, .arg = arg, .kind = LOOP_IS_TIMER},
        .run = run};
    return 0;
}

static struct loop_timer *
timer_of(struct loop_link *link)
{
    return OWNER(link, struct loop_timer, handle.link);
}

void
loop_timer_stop(struct loop_timer *timer)
{
    if (timer->place == 0)
        return;
    timer->place = 0; /* here it only says that the timer is in the list */
    timer->handle.loop->active--;
    take_out(&timer->handle.link);
}

static void
schedule(struct loop_timer *timer, int64_t due)
{
    struct loop *loop = timer->handle.loop;
    loop_timer_stop(timer);
    insert_before(&loop->timers, &timer->handle.link);
    timer->due = due;
    timer->order = loop->starts++;
    timer->place = 1;
    loop->active++;
}

static int64_t
within_reason(int64_t ms)
{
    return ms < 0 ? 0 : ms < INT64_MAX / 4 ? ms : INT64_MAX / 4;
}

void
loop_timer_start(struct loop_timer *timer, int64_t ms, int64_t repeat)
{
    if (timer->handle.closing)
        return;
    timer->repeat = within_reason(repeat);
    schedule(timer, timer->handle.loop->now + within_reason(ms));
}

/* The first to be called of those that were started before `limit`. */
static struct loop_timer *
first_timer(struct loop *loop, uint64_t limit)
{
    struct loop_timer *first = NULL;
    for (struct loop_link *l = loop->timers.next; l != &loop->timers;
         l = l->next) {
        struct loop_timer *t = timer_of(l);
        if (t->order < limit && /* among equals the older one is in front */
            (first == NULL || t->due < first->due))
            first = t;
    }
    return first;
}

static void
run_timers(struct loop *loop)
{
    uint64_t limit = loop->starts, calls = loop->stats.calls[LOOP_TIMERS];
    struct loop_timer *timer;
    while ((timer = first_timer(loop, limit)) != NULL &&
           timer->due <= loop->now) {
        int64_t due = timer->due;
        loop_timer_stop(timer);
        if (timer->repeat != 0) {
            while (due <= loop->now)
                due += timer->repeat;
            schedule(timer, due);
        }
        timer->run(timer->handle.arg);
        loop->stats.calls[LOOP_TIMERS]++;
    }
    if (loop->stats.calls[LOOP_TIMERS] != calls)
        lap(loop, LOOP_TIMERS);
}

/* --- posts ----------------------------------------------------------------- */

void
loop_post(struct loop *loop, struct loop_post *post)
{
    post->next = atomic_load(&loop->posts);
    while (!atomic_compare_exchange_weak(&loop->posts, &post->next, post))
        continue;
    uint64_t one = 1;
    if (atomic_load(&loop->sleeping) && atomic_exchange(&loop->sleeping, false))
        while (write(loop->wakeup, &one, sizeof one) < 0 && errno == EINTR)
            continue;
}

static bool
has_posts(struct loop *loop)
{
    return atomic_load(&loop->posts) != NULL;
}

static void
run_pending(struct loop *loop)
{
    struct loop_post *last = atomic_exchange(&loop->posts, NULL);
    struct loop_post *first = NULL;
    if (last == NULL)
        return;
    while (last != NULL) {
        struct loop_post *before = last->next;
        last->next = first;
        first = last;
        last = before;
    }
    while (first != NULL) {
        struct loop_post *post = first;
        first = first->next;
        post->run(post->arg);
        loop->stats.calls[LOOP_PENDING]++;
    }
    lap(loop, LOOP_PENDING);
}

/* --- hooks ----------------------------------------------------------------- */

void
loop_hook_init(struct loop *loop, struct loop_hook *hook, enum loop_phase phase,
               void (*run)(void *arg), void *arg)
{
    *hook = (struct loop_hook){
        .handle = {.loop = loop, .arg = arg, .kind = LOOP_IS_HOOK},
        .run = run,
        .phase = phase};
}

void
loop_hook_start(struct loop_hook *hook)
{
    struct loop *loop = hook->handle.loop;
    if (hook->started || hook->handle.closing)
        return;
    hook->started = true;
    loop->active++;
    insert_before(&loop->hooks[hook->phase], &hook->handle.link);
}

void
loop_hook_stop(struct loop_hook *hook)
{
    if (!hook->started)
        return;
    hook->started = false;
    hook->handle.loop->active--;
    take_out(&hook->handle.link);
}

static void
run_hooks(struct loop *loop, enum loop_phase phase)
{
    struct loop_link *list = &loop->hooks[phase], *link, mark;
    if (list_is_empty(list))
        return;
    insert_before(list, &mark);
    while ((link = list->next) != &mark) {
        struct loop_hook *hook = OWNER(link, struct loop_hook, handle.link);
        take_out(link);
        insert_before(list, link);
        hook->run(hook->handle.arg);
        loop->stats.calls[phase]++;
    }
    take_out(&mark);
    lap(loop, phase);
}

/* --- descriptors ----------------------------------------------------------- */

void
loop_io_init(struct loop *loop, struct loop_io *io, int fd,
             void (*ready)(void *arg, uint32_t events), void *arg)
{
    *io = (struct loop_io){
        .handle = {.loop = loop, .arg = arg, .kind = LOOP_IS_IO},
        .ready = ready,
        .fd = fd};
}

/* Tells the kernel what to look for; nothing takes io off its list. */
static int
watch(struct loop_io *io, uint32_t events)
{
    int operation = EPOLL_CTL_MOD;
    if (io->watched == 0)
        operation = EPOLL_CTL_ADD;
    else if (events == 0)
        operation = EPOLL_CTL_DEL;
    struct epoll_event event = {.events = events, .data = {.ptr = io}};
    int result = epoll_ctl(io->handle.loop->epoll, operation, io->fd, &event);
    if (result == 0)
        io->watched = events;
    return result;
}

static void
set_wanted(struct loop_io *io, uint32_t events)
{
    if (io->wanted == 0 && events != 0)
        io->handle.loop->active++;
    if (io->wanted != 0 && events == 0)
        io->handle.loop->active--;
    io->wanted = events;
}

int
loop_io_want(struct loop_io *io, uint32_t events)
{
    if (io->handle.closing)
        return 0;
    set_wanted(io, events);
    bool edges_only = (io->watched & EPOLLET) != 0;
    bool is_new =
        (events & ~io->watched) != 0 || (edges_only && (events & EPOLLET) == 0);
    if (!is_new || watch(io, events) == 0)
        return 0;
    set_wanted(io, 0);
    return -1;
}

static void
dispatch(struct loop_io *io, uint32_t events)
{
    struct loop *loop = io->handle.loop;
    uint32_t broken = events & (EPOLLERR | EPOLLHUP);
    uint32_t tell = broken != 0 ? io->wanted : events & io->wanted;
    if (tell != 0) {
        io->ready(io->handle.arg, tell | broken);
        loop->stats.calls[LOOP_POLL]++;
    } else if (io->watched != 0) {
        watch(io, io->wanted);
    }
}

int
loop_timeout(bool something_waits, int64_t until_timer)
{
    if (something_waits)
        return 0;
    if (until_timer > INT32_MAX)
        return INT32_MAX;
    return until_timer < 0 ? -1 : (int)until_timer;
}

static int
how_long(struct loop *loop)
{
    struct loop_timer *first = first_timer(loop, UINT64_MAX);
    int64_t left = first == NULL ? -1 : first->due - loop->now;
    if (first != NULL && left < 0)
        left = 0;
    return loop_timeout(loop->stopping || loop->active == 0 ||
                            !list_is_empty(&loop->hooks[LOOP_IDLE]) ||
                            loop->closing != NULL || has_posts(loop),
                        left);
}

static void
wait_and_dispatch(struct loop *loop)
{
    int ms = how_long(loop);
    if (ms != 0) {
        atomic_store(&loop->sleeping, true);
        if (has_posts(loop))
            ms = 0;
    }
    int n = epoll_wait(loop->epoll, loop->events, EVENTS, ms);
    atomic_store(&loop->sleeping, false);
    if (n < 0 && errno != EINTR)
        abort();
    loop->n_events = n > 0 ? n : 0;
    loop->stats.calls[LOOP_WAIT] += (uint64_t)loop->n_events;
    lap(loop, LOOP_WAIT);
    if (loop->n_events == 0)
        return;
    for (int i = 0; i < loop->n_events; i++)
        if (loop->events[i].data.ptr != NULL)
            dispatch(loop->events[i].data.ptr, loop->events[i].events);
    loop->n_events = 0;
    lap(loop, LOOP_POLL);
}

/* --- closing --------------------------------------------------------------- */

static void
stop_io(struct loop *loop, struct loop_io *io)
{
    set_wanted(io, 0);
    if (io->watched != 0 && io->fd >= 0)
        watch(io, 0);
    for (int i = 0; i < loop->n_events; i++)
        if (loop->events[i].data.ptr == io)
            loop->events[i].data.ptr = NULL;
}

void
loop_close(struct loop_handle *handle, void (*closed)(void *arg))
{
    struct loop *loop = handle->loop;
    if (handle->closing)
        return;
    if (handle->kind == LOOP_IS_TIMER)
        loop_timer_stop(OWNER(handle, struct loop_timer, handle));
    else if (handle->kind == LOOP_IS_HOOK)
        loop_hook_stop(OWNER(handle, struct loop_hook, handle));
    else
        stop_io(loop, OWNER(handle, struct loop_io, handle));
    handle->closing = true;
    handle->closed = closed;
    handle->link.next = NULL; /* the list of closing ones ends here */
    if (loop->closing == NULL)
        loop->closing = handle;
    else
        loop->last_closing->link.next = &handle->link;
    loop->last_closing = handle;
}

static void
run_closing(struct loop *loop)
{
    struct loop_handle *handle = loop->closing;
    if (handle == NULL)
        return;
    loop->closing = NULL; /* what is closed from now on: next turn */
    while (handle != NULL) {
        struct loop_link *next = handle->link.next;
        if (handle->closed != NULL)
            handle->closed(handle->arg);
        loop->stats.calls[LOOP_CLOSE]++;
        handle = next ? OWNER(next, struct loop_handle, link) : NULL;
    }
    lap(loop, LOOP_CLOSE);
}

/* --- the loop -------------------------------------------------------------- */

void
loop_run(struct loop *loop)
{
    uint64_t waited = loop->stats.ns[LOOP_WAIT];
    lap(loop, LOOP_WAIT);
    loop->stats.ns[LOOP_WAIT] = waited; /* nobody waited outside */
    while (!loop->stopping &&
           (loop->active > 0 || loop->closing != NULL || has_posts(loop))) {
        loop->stats.turns++;
        run_timers(loop);
        run_pending(loop);
        run_hooks(loop, LOOP_IDLE);
        run_hooks(loop, LOOP_PREPARE);
        wait_and_dispatch(loop);
        run_hooks(loop, LOOP_CHECK);
        run_closing(loop);
    }
    loop->stopping = false;
}

void
loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

void
loop_hold(struct loop *loop, int n)
{
    loop->active += (size_t)n;
}

struct loop *
loop_create(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return NULL;
    list_init(&loop->timers);
    for (int i = 0; i < LOOP_PHASES; i++)
        list_init(&loop->hooks[i]);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    loop->wakeup = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll >= 0)
        loop->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wakeup < 0 ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wakeup, &event) < 0) {
        loop_destroy(loop);
        return NULL;
    }
    lap(loop, LOOP_WAIT);
    loop->stats = (struct loop_stats){0};
    return loop;
}

void
loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->wakeup >= 0)
        close(loop->wakeup);
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop);
}
