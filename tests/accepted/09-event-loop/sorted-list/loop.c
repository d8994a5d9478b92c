/*
 * Another way: everything that the loop walks through is a linked list.
 *
 * Timers lie in a list in the order of their times; starting one looks for its
 * place from the back. That costs as much as there are timers, and next to
 * nothing when each is due later than the one before, as deadlines mostly are.
 * Those that are due move to a list of their own before the first is called.
 *
 * Hooks are walked with a cursor, up to a mark at the end of what was there when
 * the phase began. Whoever takes out the link under the cursor moves it on.
 *
 * Posts are a queue with a lock. `sleeping` is guarded by the same lock: who
 * posts knows whether the loop has to be woken. The eventfd is level-triggered
 * and is read when it has woken the loop.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64 };

struct loop {
    int epoll, wakeup;
    bool stopping;
    int64_t now, lap_ns;
    size_t active; /* reasons to go on */
    struct loop_link timers, due;
    uint64_t starts;
    struct loop_link hooks[LOOP_PHASES], closing;
    struct loop_link *cursor; /* the next that the phase will call */
    struct loop_stats stats;

    pthread_mutex_t lock; /* guards what follows */
    struct loop_post *first, **last;
    bool sleeping;
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
take_out(struct loop *loop, struct loop_link *link)
{
    if (loop->cursor == link)
        loop->cursor = link->next;
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
    timer->place = 0; /* here it only says that the timer is in a list */
    timer->handle.loop->active--;
    take_out(timer->handle.loop, &timer->handle.link);
}

static void
schedule(struct loop_timer *timer, int64_t due)
{
    struct loop *loop = timer->handle.loop;
    loop_timer_stop(timer);
    struct loop_link *before = loop->timers.prev;
    while (before != &loop->timers && timer_of(before)->due > due)
        before = before->prev;
    insert_before(before->next, &timer->handle.link);
    timer->due = due;
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

static void
run_timers(struct loop *loop)
{
    struct loop_link *link;
    while ((link = loop->timers.next) != &loop->timers &&
           timer_of(link)->due <= loop->now) {
        take_out(loop, link);
        insert_before(&loop->due, link);
    }
    if (list_is_empty(&loop->due))
        return;
    while (!list_is_empty(&loop->due)) {
        struct loop_timer *timer = timer_of(loop->due.next);
        if (timer->repeat == 0) {
            loop_timer_stop(timer);
        } else {
            int64_t missed = (loop->now - timer->due) / timer->repeat;
            schedule(timer, timer->due + (missed + 1) * timer->repeat);
        }
        timer->run(timer->handle.arg);
        loop->stats.calls[LOOP_TIMERS]++;
    }
    lap(loop, LOOP_TIMERS);
}

/* --- posts ----------------------------------------------------------------- */

void
loop_post(struct loop *loop, struct loop_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&loop->lock);
    *loop->last = post;
    loop->last = &post->next;
    bool wake = loop->sleeping;
    loop->sleeping = false;
    pthread_mutex_unlock(&loop->lock);
    if (wake)
        eventfd_write(loop->wakeup, 1);
}

/* All posts, in order; none are left. */
static struct loop_post *
take_posts(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct loop_post *first = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    pthread_mutex_unlock(&loop->lock);
    return first;
}

/* Are there posts? If not, the next one will wake the loop, if it wants that. */
static bool
has_posts(struct loop *loop, bool going_to_sleep)
{
    pthread_mutex_lock(&loop->lock);
    bool any = loop->first != NULL;
    loop->sleeping = going_to_sleep && !any;
    pthread_mutex_unlock(&loop->lock);
    return any;
}

static void
run_pending(struct loop *loop)
{
    struct loop_post *post = take_posts(loop), *next;
    if (post == NULL)
        return;
    for (; post != NULL; post = next) {
        next = post->next; /* run() may free the post, or post it again */
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
    take_out(hook->handle.loop, &hook->handle.link);
}

static void
run_hooks(struct loop *loop, enum loop_phase phase)
{
    struct loop_link *list = &loop->hooks[phase], mark;
    if (list_is_empty(list))
        return;
    insert_before(list, &mark); /* what is started now comes behind it */
    loop->cursor = list->next;
    while (loop->cursor != &mark) {
        struct loop_hook *hook =
            OWNER(loop->cursor, struct loop_hook, handle.link);
        loop->cursor = loop->cursor->next;
        hook->run(hook->handle.arg);
        loop->stats.calls[phase]++;
    }
    loop->cursor = NULL;
    take_out(loop, &mark);
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
    uint32_t broken = events & (EPOLLERR | EPOLLHUP);
    uint32_t tell = broken != 0 ? io->wanted : events & io->wanted;
    if (io->handle.closing)
        return;
    if (tell == 0) {
        if (io->watched != 0)
            watch(io, io->wanted);
        return;
    }
    io->ready(io->handle.arg, tell | broken);
    io->handle.loop->stats.calls[LOOP_POLL]++;
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
    int64_t left = -1;
    if (!list_is_empty(&loop->timers)) {
        left = timer_of(loop->timers.next)->due - loop->now;
        if (left < 0)
            left = 0;
    }
    int ms = loop_timeout(loop->stopping || loop->active == 0 ||
                              !list_is_empty(&loop->hooks[LOOP_IDLE]) ||
                              !list_is_empty(&loop->closing),
                          left);
    return has_posts(loop, ms != 0) ? 0 : ms;
}

static void
wait_and_dispatch(struct loop *loop)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(loop->epoll, events, EVENTS, how_long(loop));
    if (n < 0 && errno != EINTR)
        abort();
    has_posts(loop, false); /* awake */
    loop->stats.calls[LOOP_WAIT] += n > 0 ? (uint64_t)n : 0;
    lap(loop, LOOP_WAIT);
    for (int i = 0; i < n; i++) {
        eventfd_t count;
        if (events[i].data.ptr == NULL)
            eventfd_read(loop->wakeup, &count);
        else
            dispatch(events[i].data.ptr, events[i].events);
    }
    if (n > 0)
        lap(loop, LOOP_POLL);
}

/* --- closing --------------------------------------------------------------- */

void
loop_close(struct loop_handle *handle, void (*closed)(void *arg))
{
    if (handle->closing)
        return;
    if (handle->kind == LOOP_IS_TIMER) {
        loop_timer_stop(OWNER(handle, struct loop_timer, handle));
    } else if (handle->kind == LOOP_IS_HOOK) {
        loop_hook_stop(OWNER(handle, struct loop_hook, handle));
    } else {
        struct loop_io *io = OWNER(handle, struct loop_io, handle);
        set_wanted(io, 0);
        if (io->watched != 0 && io->fd >= 0)
            watch(io, 0);
    }
    handle->closing = true;
    handle->closed = closed;
    insert_before(&handle->loop->closing, &handle->link);
}

static void
run_closing(struct loop *loop)
{
    struct loop_link *link, *last = loop->closing.prev;
    if (list_is_empty(&loop->closing))
        return;
    for (bool more = true; more;) { /* what is closed now comes behind last */
        link = loop->closing.next;
        more = link != last;
        struct loop_handle *handle = OWNER(link, struct loop_handle, link);
        take_out(loop, link);
        loop->stats.calls[LOOP_CLOSE]++;
        if (handle->closed != NULL)
            handle->closed(handle->arg); /* it may free the handle */
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
           (loop->active > 0 || !list_is_empty(&loop->closing) ||
            has_posts(loop, false))) {
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
    list_init(&loop->due);
    list_init(&loop->closing);
    for (int i = 0; i < LOOP_PHASES; i++)
        list_init(&loop->hooks[i]);
    loop->last = &loop->first;
    pthread_mutex_init(&loop->lock, NULL);
    struct epoll_event event = {.events = EPOLLIN};
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
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}
