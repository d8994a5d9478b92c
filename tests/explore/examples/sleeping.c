/*
 * A thread waits until another one has set a flag. Three ways to lose the
 * wake-up, or to believe one that never came, each beside the right way.
 *
 *     tests/explore/run -a tests/explore/examples/sleeping.c
 */
#include "explore.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool set;
static atomic_uint word, asleep;

/* --- a mutex and a condition variable ------------------------------------ */

static void
set_locked(long unused)
{
    pthread_mutex_lock(&lock);
    set = true;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&changed);
    (void)unused;
}

static void
wait_in_while(long unused)
{
    pthread_mutex_lock(&lock);
    while (!set)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    (void)unused;
}

/* Wrong: a thread may also wake up for no reason. */
static void
wait_in_if(long unused)
{
    pthread_mutex_lock(&lock);
    if (!set)
        pthread_cond_wait(&changed, &lock);
    if (!set)
        fail("woken up, and the flag is not set");
    pthread_mutex_unlock(&lock);
    (void)unused;
}

/* Wrong: the flag may be set and signalled where the lock is not held. */
static void
wait_after_gap(long unused)
{
    pthread_mutex_lock(&lock);
    bool is_set = set;
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&lock);
    if (!is_set)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    (void)unused;
}

/* --- a futex -------------------------------------------------------------- */

static void
futex(int operation, unsigned value)
{
    syscall(SYS_futex, &word, operation, value, NULL, NULL, 0);
}

/* Sets the flag, and makes a system call only if somebody is asleep. */
static void
set_word(long fenced)
{
    atomic_store_explicit(&word, 1, memory_order_release);
    if (fenced)
        atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&asleep, memory_order_relaxed))
        futex(FUTEX_WAKE_PRIVATE, 1);
}

static void
wait_for_word(long fenced)
{
    atomic_store_explicit(&asleep, 1, memory_order_relaxed);
    if (fenced)
        atomic_thread_fence(memory_order_seq_cst);
    while (!atomic_load_explicit(&word, memory_order_acquire))
        futex(FUTEX_WAIT_PRIVATE, 0);
}

#define TWO(NAME, WAIT, SET, NUMBER)                                           \
    {                                                                          \
        .name = NAME,                                                          \
        .threads = {{"main", {{NULL, 0}}},                                     \
                    {"waiter", {{WAIT, NUMBER}}},                              \
                    {"setter", {{SET, NUMBER}}}},                              \
        .preemptions = 2, .stale = 1, .spurious = 1                            \
    }

const struct scenario scenarios[] = {
    TWO("condition-if", wait_in_if, set_locked, 0),
    TWO("condition-gap", wait_after_gap, set_locked, 0),
    TWO("condition-while", wait_in_while, set_locked, 0),
    TWO("futex-no-fence", wait_for_word, set_word, 0),
    TWO("futex-fences", wait_for_word, set_word, 1),
    {0},
};
