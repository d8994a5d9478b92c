/*
 * For queue-scenarios: the two functions through which everyone goes to sleep,
 * pthread_cond_wait() and syscall(), with what can happen on the way.
 */
#include "queue_scenarios.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>

atomic_int spurious; /* so many waits end at once, for no reason */
atomic_long syscalls;
bool no_membarrier;

/* What happens in the moment before a thread falls asleep, once. */
static _Atomic(struct actor *) intruder;
static enum act intruder_act;
static struct job_queue *intruder_queue;
static atomic_bool intruding;

/* The intruder acts now, as far as it can: it may need a lock that the caller
 * holds until it is asleep. */
static void
let_intruder_act(void)
{
    if (!atomic_exchange(&intruding, false))
        return;
    struct actor *a = start(intruder_act, intruder_queue, 1);
    while (!atomic_load(&a->finished) && !asleep(a))
        continue;
    atomic_store(&intruder, a);
}

void
intrude(enum act act, struct job_queue *q)
{
    intruder_act = act;
    intruder_queue = q;
    atomic_store(&intruding, true);
}

struct actor *
the_intruder(void)
{
    for (double limit = now() + patience(); atomic_load(&intruder) == NULL;) {
        if (now() > limit)
            fail("the call goes to sleep", "it never does");
        rest();
    }
    return atomic_exchange(&intruder, NULL);
}

static bool
wakes_for_no_reason(void)
{
    return atomic_load(&spurious) > 0 && atomic_fetch_sub(&spurious, 1) > 0;
}

static void
set_waits(bool waits)
{
    if (self != NULL)
        atomic_store(&self->waits, waits);
}

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

int
__wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    let_intruder_act();
    if (wakes_for_no_reason()) {
        pthread_mutex_unlock(mutex);
        sched_yield();
        pthread_mutex_lock(mutex);
        return 0;
    }
    set_waits(true);
    int problem = __real_pthread_cond_wait(cond, mutex);
    set_waits(false);
    return problem;
}

long
__wrap_syscall(long number, ...)
{
    long arg[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        arg[i] = va_arg(args, long);
    va_end(args);
    atomic_fetch_add(&syscalls, 1);

    if (number == SYS_membarrier && no_membarrier) {
        errno = ENOSYS;
        return -1;
    }
    long command = arg[1] & FUTEX_CMD_MASK;
    bool wait = number == SYS_futex &&
                (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET);
    if (wait) {
        let_intruder_act();
        if (wakes_for_no_reason()) {
            errno = EINTR;
            return -1;
        }
        set_waits(true);
    }
    long result =
        __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    if (wait)
        set_waits(false);
    return result;
}
