/*
 * calls.c - what the code under test calls: locks, sleeping, memory.
 *
 * `run` renames these calls in the compiled code: pthread_mutex_lock becomes
 * student_pthread_mutex_lock, and so on. A mutex is an atomic place of its own
 * whose value is 1 + the owner, so memory.c passes on what the last owner knew,
 * and a mutex that has been freed shows.
 */
#include "explore.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>

#define ALSO(NAME, IS) __typeof__(IS) NAME __attribute__((alias(#IS)))

static void
lock(void *mutex)
{
    while (newest(mutex, 4) != 0)
        block("waits for a mutex", mutex);
    NOTE("locks the mutex [%ld]", AT(mutex));
    atomic(mutex, 4, SWAP, 1 + (uint64_t)(running - threads),
           memory_order_acquire);
}

/* No scheduling point: before an unlock nobody could do anything new. */
int
student_pthread_mutex_unlock(void *mutex)
{
    HERE;
    if (atomic(mutex, 4, SWAP, 0, memory_order_release) !=
        1 + (uint64_t)(running - threads))
        fail("%s unlocks a mutex that it does not hold", running->name);
    wake(mutex, THREADS);
    return 0;
}

int
student_pthread_mutex_lock(void *mutex)
{
    HERE;
    step(mutex);
    lock(mutex);
    return 0;
}

int
student_pthread_mutex_trylock(void *mutex)
{
    HERE;
    step(mutex);
    if (newest(mutex, 4) != 0)
        return EBUSY;
    lock(mutex);
    return 0;
}

/* Unlocks and falls asleep in one step. It may wake up without a signal. */
int
student_pthread_cond_wait(void *condition, void *mutex)
{
    HERE;
    step(condition);
    NOTE("waits on the condition [%ld]", AT(condition));
    student_pthread_mutex_unlock(mutex);
    HERE;
    if (unlikely(&run.spurious, scenario->spurious))
        step(mutex);
    else
        block("sleeps on a condition variable", condition);
    lock(mutex);
    return 0;
}

static int
signal_condition(void *condition, int most)
{
    step(condition);
    int woken = wake(condition, most);
    NOTE("signals the condition [%ld], wakes %d", AT(condition), woken);
    return 0;
}

int
student_pthread_cond_signal(void *condition)
{
    HERE;
    return signal_condition(condition, 1);
}

int
student_pthread_cond_broadcast(void *condition)
{
    HERE;
    return signal_condition(condition, THREADS);
}

/* Time never passes here: a timeout must not be needed to make progress. */
ALSO(student_pthread_cond_timedwait, student_pthread_cond_wait);

int
student_sched_yield(void)
{
    return 0; /* step() sees by itself when a thread spins */
}
ALSO(student_usleep, student_sched_yield);
ALSO(student_nanosleep, student_sched_yield);

/* The kernel compares and falls asleep in one step. */
static long
futex_wait(void *word, uint32_t value)
{
    errno = newest(word, 4) != value ? EAGAIN : 0;
    if (!errno && unlikely(&run.spurious, scenario->spurious))
        errno = EINTR;
    NOTE("futex wait on [%ld] while %u: %s", AT(word), value,
         errno ? strerror(errno) : "sleeps");
    if (errno)
        return -1;
    block("sleeps on a futex", word);
    return 0;
}

long
student_syscall(long number, void *word, int operation, uint32_t value)
{
    HERE;
    step(word);
    operation = number == SYS_futex ? operation & FUTEX_CMD_MASK : -1;
    if (number == SYS_membarrier) {
        NOTE("membarrier%s", scenario->no_membarrier ? " is not there" : "");
        errno = ENOSYS;
        return scenario->no_membarrier ? -1 : everybody_sees_everything();
    }
    if (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET)
        return futex_wait(word, value);
    if (operation != FUTEX_WAKE && operation != FUTEX_WAKE_BITSET)
        fail("the explorer's limit: system call %ld, %d", number, operation);
    int woken = wake(word, (int)value);
    NOTE("futex wake on [%ld], wakes %d", AT(word), woken);
    return woken;
}

void *
student_malloc(size_t size)
{
    return student_aligned_alloc(16, size);
}

void *
student_calloc(size_t count, size_t size)
{
    return memset(student_aligned_alloc(16, count * size), 0, count * size);
}

void *
student_memcpy(void *to, const void *from, size_t size)
{
    HERE;
    plain(from, size, READ);
    plain(to, size, WRITE);
    return memmove(to, from, size);
}

void *
student_memset(void *to, int byte, size_t size)
{
    HERE;
    plain(to, size, WRITE);
    return memset(to, byte, size);
}
ALSO(student_memmove, student_memcpy);
ALSO(student___tsan_memcpy, student_memcpy);
ALSO(student___tsan_memmove, student_memcpy);
ALSO(student___tsan_memset, student_memset);
