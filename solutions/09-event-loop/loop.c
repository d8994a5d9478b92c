/*
 * Stage 09: the event loop.
 *
 * turn() is the whole of it: seven phases, one after another. The rest of the
 * file is what they walk through: a heap of timers, a list of posts, rings
 * of hooks, the kernel's interest list, and a ring of handles that are closing.
 *
 * Three rules keep callbacks from pulling the ground from under the loop:
 *
 *   - A phase takes its work off the shared list before it calls anybody, or
 *     looks at the list anew after each call. It never keeps a pointer to "the
 *     next one" across a callback.
 *   - A handle that is closed stays in memory until the turn is over, marked:
 *     an event that the kernel has already handed out finds the mark.
 *   - What is started in a phase waits for the next turn, or a timer of 0 ms that
 *     starts itself would keep the loop from everything else.
 */
#include "loop.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256, /* events that one poll brings at most */
    CACHE_LINE = 64,
};

/* A place in the heap. The timer can be due later than it says here, never
 * earlier: see loop_timer_start(). */
struct place {
    int64_t due;
    uint64_t order;
    struct loop_timer *timer;
};

struct loop {
    int epoll;
    int wakeup;      /* an eventfd: written by loop_post() */
    bool stopping;   /* loop_stop() was called */
    int64_t now;     /* ms, as of the beginning of this phase */
    int64_t lap;     /* ns: the same */
    size_t active;   /* wanted descriptors, started timers and hooks, holds */
    int held;        /* the holds among them: jobs that are under way */
    uint64_t starts; /* how many timers were started so far */

    struct place *heap; /* heap[1] is the first; heap[0] is not used */
    uint32_t timers;    /* places that are taken */
    uint32_t inits;     /* timers that exist: there is a place for each */
    uint32_t places;    /* places that there are */

    struct loop_link hooks[LOOP_PHASES];
    struct loop_link closing;
    struct loop_stats stats;

    /* The only thing that other threads touch, in a cache line of its own: the
     * post that came last, and through `next` all before it. Where the list
     * ends is NULL, or `asleep` if the loop slept when it was empty. */
    _Alignas(CACHE_LINE) _Atomic(struct loop_post *) posts;
};

#define OWNER(pointer, type, member)                                           \
    ((type *)((char *)(pointer)-offsetof(type, member)))

/* --- rings --------------------------------------------------------------- */

/* An element can be taken out without knowing which ring it is in. */
static void
ring_init(struct loop_link *ring)
{
    ring->next = ring->prev = ring;
}

static bool
ring_is_empty(const struct loop_link *ring)
{
    return ring->next == ring;
}

static void
ring_append(struct loop_link *ring, struct loop_link *link)
{
    link->next = ring;
    link->prev = ring->prev;
    ring->prev->next = link;
    ring->prev = link;
}

static struct loop_link *
ring_remove(struct loop_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    return link;
}

/* Empties `from`; all that was in it is in `to` afterwards. */
static void
ring_move(struct loop_link *to, struct loop_link *from)
{
    ring_init(to);
    if (ring_is_empty(from))
        return;
    ring_append(from, to);
    ring_remove(from);
    ring_init(from);
}

/* --- the clock ----------------------------------------------------------- */

/* The phase that has just ended took the time since the last call. */
static void
lap(struct loop *loop, enum loop_phase phase)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* no system call: vdso(7) */
    int64_t ns = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    loop->stats.ns[phase] += (uint64_t)(ns - loop->lap);
    loop->lap = ns;
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

/* --- timers -------------------------------------------------------------- */

static bool
is_before(const struct place *a, const struct place *b)
{
    return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void
put(struct loop *loop, uint32_t i, struct place place)
{
    loop->heap[i] = place;
    place.timer->place = i;
}

/* Puts `place` where i is, or further up. */
static void
sift_up(struct loop *loop, uint32_t i, struct place place)
{
    for (; i > 1 && is_before(&place, &loop->heap[i / 2]); i /= 2)
        put(loop, i, loop->heap[i / 2]);
    put(loop, i, place);
}

/* Puts `place` where i is, or further down. */
static void
sift_down(struct loop *loop, uint32_t i, struct place place)
{
    /* TODO 2: let the place sink until none below it comes before it.
     * The two places below i are 2 * i and 2 * i + 1, as long as they are not
     * beyond loop->timers. While the earlier one of them is before `place`, it
     * moves up to i, and i moves down to where it was. put() tells a timer where
     * it is now. With the stub only two timers are in order.
     * STUB:
     */
    for (;;) {
        uint32_t child = 2 * i;
        if (child < loop->timers &&
            is_before(&loop->heap[child + 1], &loop->heap[child]))
            child++;
        if (child > loop->timers || !is_before(&loop->heap[child], &place))
            break;
        put(loop, i, loop->heap[child]);
        i = child;
    }
    /* END TODO 2 */
    put(loop, i, place);
}

int
loop_timer_init(struct loop *loop, struct loop_timer *timer,
                void (*run)(void *arg), void *arg)
{
    if (loop->inits + 1 >= loop->places) {
        uint32_t more = loop->places ? 2 * loop->places : 64;
        struct place *heap = realloc(loop->heap, more * sizeof *heap);
        if (heap == NULL)
            return -1;
        loop->heap = heap;
        loop->places = more;
    }
    loop->inits++;
    *timer = (struct loop_timer){
        .handle = {.loop = loop, .arg = arg, .kind = LOOP_IS_TIMER},
        .run = run};
    return 0;
}

static struct place
place_of(struct loop_timer *timer)
{
    return (struct place){timer->due, timer->order, timer};
}

static void
schedule(struct loop_timer *timer, int64_t due)
{
    struct loop *loop = timer->handle.loop;
    timer->due = due;
    timer->order = loop->starts++;
    if (timer->place == 0) {
        loop->active++;
        sift_up(loop, ++loop->timers, place_of(timer));
    } else if (due < loop->heap[timer->place].due) {
        sift_up(loop, timer->place, place_of(timer));
    }
    /* Otherwise it comes later than its place says, and stays there: when the
     * place is first in the heap and due, it moves. A connection that puts its
     * deadline off with every request pays nothing for that. */
}

/* Between 0 and 70 million years: with more, due times would overflow. */
static int64_t
within_reason(int64_t ms)
{
    if (ms < 0)
        return 0;
    return ms < INT64_MAX / 4 ? ms : INT64_MAX / 4;
}

void
loop_timer_start(struct loop_timer *timer, int64_t ms, int64_t repeat)
{
    if (timer->handle.closing)
        return;
    timer->repeat = within_reason(repeat);
    schedule(timer, timer->handle.loop->now + within_reason(ms));
}

void
loop_timer_stop(struct loop_timer *timer)
{
    struct loop *loop = timer->handle.loop;
    uint32_t i = timer->place;
    if (i == 0)
        return;
    timer->place = 0;
    loop->active--;
    struct place last = loop->heap[loop->timers--];
    if (last.timer == timer)
        return;
    if (i > 1 && is_before(&last, &loop->heap[i / 2]))
        sift_up(loop, i, last);
    else
        sift_down(loop, i, last);
}

/* The next time that a timer repeats: a whole number of periods after it was
 * due, and not in the past. */
static int64_t
next_due(const struct loop_timer *timer, int64_t now)
{
    int64_t late = now - timer->due;
    return timer->due + (late / timer->repeat + 1) * timer->repeat;
}

/* Those that are due and were started before this phase. What is started now
 * comes behind them in the heap, as it is not due before `now` and its order is
 * higher: the first such place ends the phase. */
static void
run_timers(struct loop *loop)
{
    if (loop->timers == 0 || loop->heap[1].due > loop->now)
        return;
    /* TODO 1: call the timers that are due, and no others.
     * As long as heap[1] is due: Has its timer another order than the place?
     * Then it was started again, for later: sift_down() with its place_of().
     * Was it started in this phase? Then all behind it were, too, and it is for
     * the next turn. Otherwise stop it, or schedule() the next_due() time if it
     * repeats; and only then call it: it may stop, start or close any timer,
     * itself too. So look at heap[1] anew after that. Count the calls in
     * stats.calls[LOOP_TIMERS].
     * STUB: (void)next_due;
     * STUB: (void)place_of;
     * STUB: (void)sift_down;
     * STUB: todo
     */
    uint64_t limit = loop->starts;
    while (loop->timers > 0 && loop->heap[1].due <= loop->now) {
        struct loop_timer *timer = loop->heap[1].timer;
        if (timer->order != loop->heap[1].order) {
            sift_down(loop, 1, place_of(timer));
            continue;
        }
        if (timer->order >= limit)
            break;
        if (timer->repeat > 0)
            schedule(timer, next_due(timer, loop->now));
        else
            loop_timer_stop(timer);
        timer->run(timer->handle.arg);
        loop->stats.calls[LOOP_TIMERS]++;
    }
    /* END TODO 1 */
    lap(loop, LOOP_TIMERS);
}

/* --- posts --------------------------------------------------------------- */

/* Stands for an empty list, and a loop that sleeps. */
static struct loop_post asleep;

void
loop_post(struct loop *loop, struct loop_post *post)
{
    /* TODO 8: put the post in front of the list, and wake the loop if it sleeps.
     * Any number of threads do this at the same time: load `posts`, let
     * post->next be what you found, and put the post there with a compare-and-
     * swap; if that fails somebody was faster, and you begin again (PUT). What
     * did you replace? Only if it was `asleep` the loop has to be woken: write
     * the number 1, 8 bytes, to loop->wakeup. In all other cases it is awake, or
     * somebody has just woken it.
     * STUB: (void)loop;
     * STUB: (void)post;
     * STUB: todo
     */
    struct loop_post *last =
        atomic_load_explicit(&loop->posts, memory_order_relaxed);
    do
        post->next = last;
    /* PUT: release, so that the loop sees the post, and all that was written
     * before it. Partner: SWAP. */
    while (!atomic_compare_exchange_weak_explicit(
        &loop->posts, &last, post, memory_order_release, memory_order_relaxed));
    uint64_t one = 1;
    if (last == &asleep)
        while (write(loop->wakeup, &one, sizeof one) < 0 && errno == EINTR)
            ; /* EAGAIN: so many wake-ups are there that no more fit in */
    /* END TODO 8 */
}

static bool
has_posts(struct loop *loop)
{
    return atomic_load_explicit(&loop->posts, memory_order_relaxed) != NULL;
}

/* The loop is going to sleep. false: it must not, there is a post. */
static bool
fall_asleep(struct loop *loop)
{
    struct loop_post *none = NULL;
    return atomic_compare_exchange_strong_explicit(&loop->posts, &none, &asleep,
                                                   memory_order_relaxed,
                                                   memory_order_relaxed);
}

static void
wake_up(struct loop *loop)
{
    struct loop_post *none = &asleep;
    atomic_compare_exchange_strong_explicit(
        &loop->posts, &none, NULL, memory_order_relaxed, memory_order_relaxed);
}

static void
run_pending(struct loop *loop)
{
    if (!has_posts(loop))
        return;
    /* TODO 9: take the whole list out, bring it in order, and run it.
     * The list has the last post in front: turn it round before you run it; it
     * ends with NULL or with &asleep. What is posted while it runs is for the
     * next turn. run() may free its post: fetch `next` before. The stub runs
     * them from the last to the first, and does not stop while there are more.
     * STUB: struct loop_post *post, *next;
     * STUB: while ((post = atomic_exchange(&loop->posts, NULL)) != NULL)
     * STUB:     for (; post != NULL && post != &asleep; post = next) {
     * STUB:         next = post->next;
     * STUB:         post->run(post->arg);
     * STUB:     }
     */
    /* SWAP: acquire. Partner: PUT. */
    struct loop_post *post =
        atomic_exchange_explicit(&loop->posts, NULL, memory_order_acquire);
    struct loop_post *first = NULL, *next;
    for (; post != NULL && post != &asleep; post = next) {
        next = post->next;
        post->next = first;
        first = post;
    }
    for (; first != NULL; first = next) {
        next = first->next;
        first->run(first->arg);
        loop->stats.calls[LOOP_PENDING]++;
    }
    /* END TODO 9 */
    lap(loop, LOOP_PENDING);
}

/* --- hooks --------------------------------------------------------------- */

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
    ring_append(&loop->hooks[hook->phase], &hook->handle.link);
}

void
loop_hook_stop(struct loop_hook *hook)
{
    if (!hook->started)
        return;
    hook->started = false;
    hook->handle.loop->active--;
    ring_remove(&hook->handle.link);
}

static void
run_hooks(struct loop *loop, enum loop_phase phase)
{
    if (ring_is_empty(&loop->hooks[phase]))
        return;
    /* TODO 7: call each hook once, whatever the hooks do to each other.
     * Any of them may stop or close any other, also the next one, and start new
     * ones, which are for the next turn. So keep no pointer across a call: move
     * all of them to a ring of their own, and while there is one in it, take the
     * first out, append it to the hooks of the phase, and call it. Whoever is
     * stopped is in neither ring. The stub keeps a pointer to the next one.
     * STUB: struct loop_link *link = loop->hooks[phase].next, *next;
     * STUB: for (; link != &loop->hooks[phase]; link = next) {
     * STUB:     struct loop_hook *hook =
     * STUB:         OWNER(link, struct loop_hook, handle.link);
     * STUB:     next = link->next;
     * STUB:     hook->run(hook->handle.arg);
     * STUB: }
     */
    struct loop_link todo;
    ring_move(&todo, &loop->hooks[phase]);
    while (!ring_is_empty(&todo)) {
        struct loop_link *link = ring_remove(todo.next);
        struct loop_hook *hook = OWNER(link, struct loop_hook, handle.link);
        ring_append(&loop->hooks[phase], link);
        hook->run(hook->handle.arg);
        loop->stats.calls[phase]++;
    }
    /* END TODO 7 */
    lap(loop, phase);
}

/* --- the kernel's side: epoll -------------------------------------------- */

/* Has the kernel look for `events` on io from now on, 0: take it off its list.
 * An interest of 0 would not do: errors and hang-ups are always reported. */
static int
backend_watch(struct loop *loop, struct loop_io *io, uint32_t events)
{
    /* TODO 4: tell the kernel what to look for on io->fd.
     * epoll_ctl(2) with EPOLL_CTL_ADD if io is not on its list yet, which is
     * when io->watched is 0; EPOLL_CTL_DEL if `events` is 0; EPOLL_CTL_MOD in
     * all other cases. data.ptr is io: that is what dispatch() gets. Only when
     * that has worked, io->watched is what the kernel knows. Level-triggered.
     * STUB: (void)loop;
     * STUB: (void)io;
     * STUB: (void)events;
     * STUB: todo
     */
    int operation = io->watched == 0 ? EPOLL_CTL_ADD
                    : events == 0    ? EPOLL_CTL_DEL
                                     : EPOLL_CTL_MOD;
    struct epoll_event ev = {.events = events, .data.ptr = io};
    if (epoll_ctl(loop->epoll, operation, io->fd, &ev) < 0)
        return -1;
    io->watched = events;
    return 0;
    /* END TODO 4 */
}

/* The eventfd is the one descriptor that is edge-triggered: each write is an
 * event of its own, and nobody need read the counter. */
static int
backend_open(struct loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return -1;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    loop->wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wakeup >= 0 &&
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wakeup, &ev) == 0)
        return 0;
    if (loop->wakeup >= 0)
        close(loop->wakeup);
    close(loop->epoll);
    return -1;
}

static void
backend_close(struct loop *loop)
{
    close(loop->wakeup);
    close(loop->epoll);
}

/* Waits for up to `ms`; returns how many events there are. */
static int
backend_wait(struct loop *loop, struct epoll_event *events, int ms)
{
    int n = epoll_wait(loop->epoll, events, EVENTS, ms);
    if (n < 0 && errno != EINTR)
        abort(); /* not a matter of luck: the loop itself is broken */
    return n < 0 ? 0 : n;
}

/* --- descriptors --------------------------------------------------------- */

void
loop_io_init(struct loop *loop, struct loop_io *io, int fd,
             void (*ready)(void *arg, uint32_t events), void *arg)
{
    *io = (struct loop_io){
        .handle = {.loop = loop, .arg = arg, .kind = LOOP_IS_IO},
        .ready = ready,
        .fd = fd};
}

static void
set_wanted(struct loop_io *io, uint32_t events)
{
    io->handle.loop->active += (events != 0) - (size_t)(io->wanted != 0);
    io->wanted = events;
}

int
loop_io_want(struct loop_io *io, uint32_t events)
{
    if (io->handle.closing)
        return 0;
    /* What is wanted less is no news; but no longer only the edges is, and so is
     * no longer to take events away from others. */
    uint32_t news = events | EPOLLET | EPOLLEXCLUSIVE;
    bool is_new = ((events ^ io->watched) & news) != 0;
    set_wanted(io, events);
    if (!is_new || backend_watch(io->handle.loop, io, events) == 0)
        return 0;
    set_wanted(io, 0);
    return -1;
}

int
loop_timeout(bool something_waits, int64_t until_timer)
{
    /* TODO 3: say how long the poll may wait.
     * The rule stands in loop.h. epoll_wait(2) takes an int, and a timer may be
     * 2^40 ms away: wait INT32_MAX then, and ask again. With the stub the loop
     * never sleeps.
     * STUB: (void)something_waits;
     * STUB: (void)until_timer;
     * STUB: return 0;
     */
    if (something_waits)
        return 0;
    if (until_timer < 0)
        return -1;
    return until_timer < INT32_MAX ? (int)until_timer : INT32_MAX;
    /* END TODO 3 */
}

/* What can go on without anything new from the kernel. Check hooks are no reason
 * not to sleep: they tell of a wait, whatever it brought. */
static bool
something_waits(struct loop *loop)
{
    return loop->stopping || loop->active == 0 ||
           !ring_is_empty(&loop->hooks[LOOP_IDLE]) ||
           !ring_is_empty(&loop->closing) || has_posts(loop);
}

static int64_t
until_timer(const struct loop *loop)
{
    if (loop->timers == 0)
        return -1;
    int64_t left = loop->heap[1].due - loop->now;
    return left > 0 ? left : 0;
}

/* One descriptor is ready. A callback before it may have closed it, or may not
 * want it any more. */
static void
dispatch(struct loop *loop, struct loop_io *io, uint32_t events)
{
    /* TODO 5: tell io of the events that it wants.
     * It may have been closed since the kernel handed this event out: then it
     * hears nothing. EPOLLERR and EPOLLHUP stand for all that is wanted, and
     * are told besides. If nothing is left, the event came in vain, and it will
     * come again in the next turn: backend_watch() what is wanted now, if io is
     * on the kernel's list. Count the calls in stats.calls[LOOP_POLL]. The
     * stub tells everything to everybody.
     * STUB: (void)loop;
     * STUB: io->ready(io->handle.arg, events);
     */
    if (io->handle.closing)
        return;
    uint32_t broken = events & (EPOLLERR | EPOLLHUP);
    if (broken != 0)
        events |= io->wanted; /* a read or a write will tell what it is */
    if (events & io->wanted) {
        io->ready(io->handle.arg, (events & io->wanted) | broken);
        loop->stats.calls[LOOP_POLL]++;
    } else if (io->watched != 0) {
        backend_watch(loop, io, io->wanted);
    }
    /* END TODO 5 */
}

static void
poll_and_dispatch(struct loop *loop)
{
    struct epoll_event events[EVENTS];
    int ms = loop_timeout(something_waits(loop), until_timer(loop));
    if (ms != 0 && !fall_asleep(loop))
        ms = 0;
    int n = backend_wait(loop, events, ms);
    if (ms != 0)
        wake_up(loop);
    /* One of several jobs is done, and nothing else has happened: let the others
     * get on. They may be done, too, when it is our turn again, and then we wake
     * up once for all of them. */
    if (n == 1 && events[0].data.ptr == NULL && loop->held > 1)
        sched_yield();
    loop->stats.calls[LOOP_WAIT] += (uint64_t)n;
    lap(loop, LOOP_WAIT);
    if (n == 0)
        return;
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr != NULL) /* NULL: woken by loop_post() */
            dispatch(loop, events[i].data.ptr, events[i].events);
    lap(loop, LOOP_POLL);
}

/* --- closing ------------------------------------------------------------- */

static void
stop(struct loop_handle *handle)
{
    struct loop *loop = handle->loop;
    if (handle->kind == LOOP_IS_IO) {
        struct loop_io *io = OWNER(handle, struct loop_io, handle);
        set_wanted(io, 0);
        if (io->watched != 0 && io->fd >= 0)
            backend_watch(loop, io, 0);
    } else if (handle->kind == LOOP_IS_TIMER) {
        loop_timer_stop(OWNER(handle, struct loop_timer, handle));
        loop->inits--;
    } else {
        loop_hook_stop(OWNER(handle, struct loop_hook, handle));
    }
}

void
loop_close(struct loop_handle *handle, void (*closed)(void *arg))
{
    /* TODO 6: stop the handle, and put off what is to happen when it is closed.
     * Its event may be in the batch that is being dispatched, its place in the
     * ring that is being walked: the memory has to stay until the turn is over.
     * So mark it, remember `closed`, and append it to the ring `closing`. A
     * handle that is closing already is left alone. The stub calls closed() at
     * once, which often goes well.
     * STUB: stop(handle);
     * STUB: if (closed != NULL)
     * STUB:     closed(handle->arg);
     */
    if (handle->closing)
        return;
    stop(handle);
    handle->closing = true;
    handle->closed = closed;
    ring_append(&handle->loop->closing, &handle->link);
    /* END TODO 6 */
}

/* Here, and nowhere else, memory of handles goes. */
static void
run_closing(struct loop *loop)
{
    struct loop_link todo;
    if (ring_is_empty(&loop->closing))
        return;
    ring_move(&todo, &loop->closing);
    while (!ring_is_empty(&todo)) {
        struct loop_handle *handle =
            OWNER(ring_remove(todo.next), struct loop_handle, link);
        loop->stats.calls[LOOP_CLOSE]++;
        if (handle->closed != NULL)
            handle->closed(handle->arg);
    }
    lap(loop, LOOP_CLOSE);
}

/* --- the loop ------------------------------------------------------------ */

static void
turn(struct loop *loop)
{
    loop->stats.turns++;
    run_timers(loop);
    run_pending(loop);
    run_hooks(loop, LOOP_IDLE);
    run_hooks(loop, LOOP_PREPARE);
    poll_and_dispatch(loop);
    run_hooks(loop, LOOP_CHECK);
    run_closing(loop);
}

/* Can anything still happen? */
static bool
is_alive(struct loop *loop)
{
    return loop->active > 0 || !ring_is_empty(&loop->closing) ||
           has_posts(loop);
}

void
loop_run(struct loop *loop)
{
    uint64_t outside = loop->stats.ns[LOOP_WAIT];
    lap(loop, LOOP_WAIT); /* what passed since the last turn is no phase's */
    loop->stats.ns[LOOP_WAIT] = outside;
    while (!loop->stopping && is_alive(loop))
        turn(loop);
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
    loop->held += n;
}

struct loop *
loop_create(void)
{
    struct loop *loop = aligned_alloc(CACHE_LINE, sizeof *loop);
    if (loop == NULL)
        return NULL;
    *loop = (struct loop){.now = 0};
    ring_init(&loop->closing);
    for (int phase = 0; phase < LOOP_PHASES; phase++)
        ring_init(&loop->hooks[phase]);
    if (backend_open(loop) < 0) {
        free(loop);
        return NULL;
    }
    lap(loop, LOOP_WAIT); /* now loop_now() tells the time */
    loop->stats = (struct loop_stats){.turns = 0};
    return loop;
}

void
loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    backend_close(loop);
    free(loop->heap);
    free(loop);
}
