/* loop.h - an event loop: the reactor.
 *
 * One thread, and many things that it waits for. Each of them is a handle:
 * a struct that lies in one of the caller's own, with a function and its
 * argument. The loop waits in the kernel until something happens, and calls.
 * Nothing else runs in between: a callback that blocks stops everybody.
 *
 * A turn of the loop has these phases, in this order:
 *
 *   timers    those that are due, by due time, then by order of start
 *   pending   what loop_post() has brought, from this thread or another
 *   idle      hooks; while there is one, the loop does not sleep
 *   prepare   hooks, just before the wait
 *   poll      the wait; then descriptors that are ready, EVENTS at most
 *   check     hooks, just after that
 *   close     tells owners that their handle is closed
 *
 * What a callback starts in its own phase has its turn in the next turn.
 *
 * A callback may stop and close any handle, its own too, at any time; it is not
 * called any more, even if it was due in the same turn. But the memory of a
 * handle is the loop's until `closed` is called, in the phase close.
 *
 * Threads: a loop belongs to the thread that runs it. Only loop_post() may be
 * called from others. Several loops do not know of each other.
 *
 * Signals: block them, and give a signalfd(2) to a loop_io.
 *
 * After fork(2) only the parent may use a loop; make a new one in the child.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

enum loop_phase {
    LOOP_TIMERS,
    LOOP_PENDING,
    LOOP_IDLE,
    LOOP_PREPARE,
    LOOP_WAIT, /* the first part of poll: asleep, or just asking for news */
    LOOP_POLL, /* the second: callbacks of descriptors */
    LOOP_CHECK,
    LOOP_CLOSE,
    LOOP_PHASES
};

/* A link in a ring of them; the loop's own business. */
struct loop_link {
    struct loop_link *next, *prev;
};

/* What all kinds of handles have in common. Only loop.c looks inside. */
struct loop_handle {
    struct loop *loop;
    void *arg;
    void (*closed)(void *arg);
    struct loop_link link;
    enum { LOOP_IS_IO, LOOP_IS_TIMER, LOOP_IS_HOOK } kind;
    bool closing;
};

/* --- the loop ------------------------------------------------------------ */

/* Makes a loop. NULL with errno ENOMEM, EMFILE or ENFILE: it takes two
 * descriptors. */
struct loop *loop_create(void);

/* Frees it. Close all handles and let it run to its end first, and destroy
 * the pools that post to it. NULL is allowed. */
void loop_destroy(struct loop *loop);

/* Makes turns until loop_stop(), or until nothing is left that could happen: no
 * descriptor is wanted, no timer or hook started, nothing held, posted or
 * closing. May be called again after that. Not from a callback. */
void loop_run(struct loop *loop);

/* loop_run() is to return when this turn is over, or at once if it is not
 * running yet. */
void loop_stop(struct loop *loop);

/* Milliseconds of CLOCK_MONOTONIC, as of the beginning of this phase. Costs no
 * system call. */
int64_t loop_now(const struct loop *loop);

/* Keeps the loop running by n more (or less, if negative) reasons, which are
 * none of its handles: a job that is under way elsewhere. */
void loop_hold(struct loop *loop, int n);

/* How long the poll may wait, in ms, for epoll_wait(2): 0 when something waits
 * already; until the nearest timer is due (`until_timer`, < 0: there is none);
 * or no limit, -1. */
int loop_timeout(bool something_waits, int64_t until_timer);

/* --- descriptors --------------------------------------------------------- */

struct loop_io {
    struct loop_handle handle;
    void (*ready)(void *arg, uint32_t events);
    int fd;
    uint32_t wanted;  /* the events that the owner wants to hear of */
    uint32_t watched; /* those that the kernel looks for; 0: not on its list */
};

/* Watches fd, for nothing as yet: costs no system call. The descriptor stays
 * the caller's, who closes it after loop_close(). */
void loop_io_init(struct loop *loop, struct loop_io *io, int fd,
                  void (*ready)(void *arg, uint32_t events), void *arg);

/* From now on calls ready(arg, events) in each turn in which any of `events`
 * holds: EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP; 0 for none. With EPOLLET among
 * them it calls when they begin to hold, and again when they do so anew.
 * ready() is told only what is wanted; after an error or a hang-up that is all
 * of it, besides EPOLLERR or EPOLLHUP, so that the next read or write shows what
 * is the matter. While nothing is wanted, of these nothing is heard, either.
 *
 * One epoll_ctl(2) if something is new in `events`, otherwise none: the kernel
 * hears of what is not wanted any more when it brings it in vain.
 * Returns 0, or -1 with the errno of epoll_ctl(2), and then nothing is wanted.
 */
int loop_io_want(struct loop_io *io, uint32_t events);

/* --- timers -------------------------------------------------------------- */

struct loop_timer {
    struct loop_handle handle;
    void (*run)(void *arg);
    int64_t due;    /* ms; while it is started */
    int64_t repeat; /* ms, or 0: only once */
    uint64_t order; /* of starts: which of two is first if both are due */
    uint32_t place; /* in the heap, from 1; 0: it is stopped */
};

/* Returns 0, or -1 with errno ENOMEM. Then starting it cannot fail. */
int loop_timer_init(struct loop *loop, struct loop_timer *timer,
                    void (*run)(void *arg), void *arg);

/* Calls run(arg) `ms` after loop_now(), and, if repeat is not 0, every `repeat`
 * ms after that: the times do not drift, and those that were missed are left
 * out. A timer that is started already begins anew; if its time becomes later,
 * or stays, that costs next to nothing. */
void loop_timer_start(struct loop_timer *timer, int64_t ms, int64_t repeat);

/* Does nothing if it is stopped. A timer that repeats not is stopped before
 * its run() is called. */
void loop_timer_stop(struct loop_timer *timer);

/* --- hooks --------------------------------------------------------------- */

struct loop_hook {
    struct loop_handle handle;
    void (*run)(void *arg);
    enum loop_phase phase;
    bool started;
};

/* `phase` is LOOP_IDLE, LOOP_PREPARE or LOOP_CHECK. Not yet started. */
void loop_hook_init(struct loop *loop, struct loop_hook *hook,
                    enum loop_phase phase, void (*run)(void *arg), void *arg);

/* From now on calls run(arg) once in each turn, in the order of starts. */
void loop_hook_start(struct loop_hook *hook);
void loop_hook_stop(struct loop_hook *hook);

/* --- posts --------------------------------------------------------------- */

struct loop_post {
    void (*run)(void *arg);
    void *arg;
    struct loop_post *next; /* the loop's */
};

/* From any thread: has the loop call post->run(post->arg) on its own thread, in
 * the phase pending. Each post runs once, in the order of posts; all that
 * the posting thread wrote before is visible to it. The struct is the loop's
 * until run() is called; then it may be posted again, or freed.
 */
void loop_post(struct loop *loop, struct loop_post *post);

/* --- closing ------------------------------------------------------------- */

/* Stops a handle for good: &io.handle, &timer.handle, &hook.handle. In the
 * phase close calls closed(arg), with the handle's arg, unless closed is NULL;
 * from then on its memory is the owner's again. Handles are closed in the order
 * of loop_close(): an owner of several frees them when the last one is closed.
 * Closing twice does nothing.
 *
 * An io that is on the kernel's list is taken off by one epoll_ctl(2), as a
 * descriptor can have duplicates, in other processes too, which would keep it
 * there. Whoever knows that there are none saves the call: close(fd), io.fd =
 * -1, and then loop_close().
 */
void loop_close(struct loop_handle *handle, void (*closed)(void *arg));

/* --- statistics ---------------------------------------------------------- */

struct loop_stats {
    uint64_t turns;
    uint64_t calls[LOOP_PHASES]; /* callbacks; LOOP_WAIT: events that came */
    uint64_t ns[LOOP_PHASES];    /* time spent */
};

/* Always up to date, and always counted: costs two readings of the clock in a
 * turn, without a system call, and one for each other phase that has work. */
const struct loop_stats *loop_stats(const struct loop *loop);

#endif
