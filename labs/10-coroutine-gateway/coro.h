/*
 * Coroutines on one thread, with calls that look as if they blocked.
 *
 * A coroutine is a function with a stack of its own. It runs until it calls
 * one of the functions below that can wait; then it is put aside, in the
 * middle of that call, and another one runs. The kernel knows nothing of it:
 * for the kernel there is one thread, and it sleeps in epoll_wait().
 *
 * Nobody is interrupted. Between two calls that can wait a coroutine has
 * everything for itself, without a lock; and one that never calls any stops
 * all the others.
 *
 * Threads: one, the one that called coro_init. There is one scheduler in a
 * program.
 *
 * Time: deadlines are points in time, in milliseconds as coro_now() counts
 * them, and not durations: three calls under one deadline take no longer than
 * one. CORO_NEVER is no deadline.
 *
 * Errors: -1, with the reason in errno. Every call that can wait may fail with
 * ETIMEDOUT (the deadline has passed) and ECANCELED (coro_cancel was called).
 * What others do meanwhile changes errno, so its value from before such a call
 * is lost.
 */
#ifndef CORO_H
#define CORO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define CORO_NEVER LONG_MAX

/* How one coroutine gives way to another. */
enum coro_switch {
    CORO_UCONTEXT, /* swapcontext(): POSIX, with a system call in it */
    CORO_ASSEMBLY, /* switch_asm.c: a dozen instructions, no system call */
};

struct coro_stats {
    size_t alive;    /* coroutines that have begun, or will, and not ended */
    size_t stacks;   /* stacks there are: in use, or spare */
    size_t made;     /* stacks that were made since the start */
    size_t switches; /* how often one stack was left for another */
};

/* Makes the scheduler. stack_size: bytes of stack for each coroutine, rounded
 * up to whole pages. ENOSYS: no such switch for this processor.
 */
int coro_init(enum coro_switch how, size_t stack_size);

/* A new coroutine that will call run(arg), and end when that returns. It does
 * not begin at once, but when it is its turn. May be called before coro_run,
 * too. ENOMEM: no memory for a stack. arg stays the caller's business.
 */
int coro_spawn(void (*run)(void *arg), void *arg);

/* Runs coroutines until the last one has ended. Not from a coroutine. */
void coro_run(void);

/* From now on every call that can wait fails with ECANCELED, those that wait
 * already included: each coroutine cleans up, and returns. For good.
 */
void coro_cancel(void);

/* Was it called? Then also sets errno to ECANCELED. */
bool coro_cancelled(void);

/* Lets all others that can go on have a turn first. Does not fail. */
void coro_yield(void);

/* Waits for at least one of the events (EPOLLIN, EPOLLOUT ...) of epoll(7) on
 * fd. At most one coroutine can wait for a descriptor at a time (EEXIST). With
 * fd -1 it waits for the deadline alone.
 */
int coro_wait(int fd, uint32_t events, long deadline);

/* Lets ms milliseconds pass. 0, or -1 with ECANCELED. */
int coro_sleep(long ms);

/* As read(2), write(2), accept(2), connect(2) on a descriptor that blocks, but
 * only this coroutine waits. fd must have O_NONBLOCK. EINTR never comes out.
 * coro_write writes all n bytes and returns 0. A client that coro_accept has
 * accepted has O_NONBLOCK and FD_CLOEXEC.
 */
ssize_t coro_read(int fd, void *buf, size_t n, long deadline);
int coro_write(int fd, const void *buf, size_t n, long deadline);
int coro_accept(int fd);
int coro_connect(int fd, const struct sockaddr *addr, socklen_t len,
                 long deadline);

/* Milliseconds of a clock that nobody sets. */
long coro_now(void);

struct coro_stats coro_stats(void);

#endif
