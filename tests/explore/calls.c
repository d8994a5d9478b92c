/*
 * calls.c - what the code under test calls, knowingly or not.
 *
 * The compiler has put calls to __tsan_...() before its accesses to memory. Its
 * calls to the C library come here too, because `run` renames them in the
 * compiled code: pthread_mutex_lock becomes student_pthread_mutex_lock, and so
 * on. A mutex is an atomic place of its own whose value is 1 + the owner, so
 * what the last owner knew is passed on, and a mutex that has been freed shows.
 */
#include "explore.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>

#define STEP(AT)       (HERE, step(AT))
#define ALSO(NAME, IS) __typeof__(IS) NAME __attribute__((alias(#IS)))

/* --- the compiler's calls ------------------------------------------------ */

static const char *const orders[] = {"relaxed", "consume", "acquire",
                                     "release", "acq_rel", "seq_cst"};

static uint64_t
access(void *at, int size, int op, uint64_t x, int order)
{
    static const char *const names[] = {"load", "failed CAS", "store",
                                        "swap", "add",        "sub",
                                        "and",  "or",         "xor"};
    int stale = run.stale;
    uint64_t old = atomic(at, size, op, x, order);

    if (op < STORE)
        NOTE("%s %s [%ld]: %ld%s", orders[order], names[op], AT(at), (long)old,
             run.stale > stale ? ", which is stale" : "");
    else
        NOTE("%s %s [%ld]: %ld -> %ld", orders[order], names[op], AT(at),
             (long)old, (long)newest(at, size));
    return old;
}

static bool
compare_swap(void *at, int size, void *hoped, uint64_t wanted, int order,
             int failing, bool weak)
{
    uint64_t now = newest(at, size);
    bool swap = memcmp(&now, hoped, (size_t)size) == 0 &&
                !(weak && unlikely(&run.spurious, scenario->spurious));

    access(at, size, swap ? SWAP : FIND, wanted, swap ? order : failing);
    memcpy(hoped, &now, (size_t)size);
    return swap;
}

/* clang-format off */
#define MODIFY(U, BITS, NAME, OP) \
    U __tsan_atomic##BITS##_##NAME(void *at, U operand, int order) \
    { STEP(at); return (U)access(at, BITS / 8, OP, operand, order); }
#define COMPARE(U, BITS, STRENGTH, WEAK) \
    int __tsan_atomic##BITS##_compare_exchange_##STRENGTH( \
        void *at, void *hoped, U wanted, int order, int failing) \
    { \
        STEP(at); \
        return compare_swap(at, BITS / 8, hoped, wanted, order, failing, \
                            WEAK); \
    }
/* clang calls this for every compare-and-swap, gcc for __sync_... */
#define COMPARE_VALUE(U, BITS) \
    U __tsan_atomic##BITS##_compare_exchange_val( \
        void *at, U hoped, U wanted, int order, int failing) \
    { \
        STEP(at); \
        compare_swap(at, BITS / 8, &hoped, wanted, order, failing, false); \
        return hoped; \
    }
#define ATOMIC_CALLS(U, BITS) \
    U __tsan_atomic##BITS##_load(void *at, int order) \
    { STEP(at); return (U)access(at, BITS / 8, LOAD, 0, order); } \
    MODIFY(U, BITS, store, STORE) \
    MODIFY(U, BITS, exchange, SWAP) \
    MODIFY(U, BITS, fetch_add, ADD) \
    MODIFY(U, BITS, fetch_sub, SUB) \
    MODIFY(U, BITS, fetch_and, AND) \
    MODIFY(U, BITS, fetch_or, OR) \
    MODIFY(U, BITS, fetch_xor, XOR) \
    COMPARE(U, BITS, weak, true) \
    COMPARE(U, BITS, strong, false) \
    COMPARE_VALUE(U, BITS)
ATOMIC_CALLS(uint8_t, 8)
ATOMIC_CALLS(uint16_t, 16)
ATOMIC_CALLS(uint32_t, 32)
ATOMIC_CALLS(uint64_t, 64)

#define PLAIN_CALL(NAME, SIZE, KIND) \
    void __tsan_##NAME##SIZE(void *at) { HERE; plain(at, SIZE, KIND); }
#define PLAIN_CALLS(SIZE) \
    PLAIN_CALL(read, SIZE, READ) PLAIN_CALL(unaligned_read, SIZE, READ) \
    PLAIN_CALL(write, SIZE, WRITE) PLAIN_CALL(unaligned_write, SIZE, WRITE)
PLAIN_CALLS(1)
PLAIN_CALLS(2)
PLAIN_CALLS(4)
PLAIN_CALLS(8)
PLAIN_CALLS(16)
void __tsan_read_range(void *at, size_t n) { HERE; plain(at, n, READ); }
void __tsan_write_range(void *at, size_t n) { HERE; plain(at, n, WRITE); }
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_atomic_signal_fence(int order) { (void)order; }
void __tsan_init(void) {}
/* clang-format on */

void
__tsan_atomic_thread_fence(int order)
{
    STEP(NULL);
    fence(order);
    NOTE("%s fence", orders[order]);
}

/* --- locks and sleeping -------------------------------------------------- */

static void
lock(void *mutex)
{
    while (newest(mutex, 4) != 0)
        block("waits for a mutex", mutex);
    long before = news;
    atomic(mutex, 4, SWAP, 1 + (uint64_t)(running - threads),
           memory_order_acquire);
    news = before;
    running->wrote = false;
    NOTE("locks the mutex [%ld]", AT(mutex));
}

/* If nothing was written under the lock, it is no news that it is free again:
 * who locks only to look is one who spins. */
static void
unlock(void *mutex)
{
    long before = news;
    uint64_t owner = atomic(mutex, 4, SWAP, 0, memory_order_release);

    NOTE("unlocks the mutex [%ld]", AT(mutex));
    if (owner != 1 + (uint64_t)(running - threads))
        fail("%s unlocks a mutex that it does not hold", running->name);
    news = before + running->wrote;
    wake(mutex, THREADS);
}

int
student_pthread_mutex_lock(void *mutex)
{
    STEP(mutex);
    lock(mutex);
    return 0;
}

int
student_pthread_mutex_trylock(void *mutex)
{
    STEP(mutex);
    if (newest(mutex, 4) != 0)
        return EBUSY;
    lock(mutex);
    return 0;
}

int
student_pthread_mutex_unlock(void *mutex)
{
    HERE;
    run.steps++; /* no scheduling point: before it nobody can do anything new */
    unlock(mutex);
    return 0;
}

/* Unlocks and falls asleep in one step. It may wake up without a signal. */
int
student_pthread_cond_wait(void *condition, void *mutex)
{
    STEP(condition);
    NOTE("waits on the condition [%ld]", AT(condition));
    unlock(mutex);
    if (unlikely(&run.spurious, scenario->spurious))
        step(mutex);
    else
        block("sleeps on a condition variable", condition);
    lock(mutex);
    return 0;
}

int
student_pthread_cond_signal(void *condition)
{
    STEP(condition);
    int woken = wake(condition, 1);
    NOTE("signals the condition [%ld], wakes %d", AT(condition), woken);
    return 0;
}

int
student_pthread_cond_broadcast(void *condition)
{
    STEP(condition);
    int woken = wake(condition, THREADS);
    NOTE("broadcasts the condition [%ld], wakes %d", AT(condition), woken);
    return 0;
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
    STEP(word);
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

/* --- memory -------------------------------------------------------------- */

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

/* Another way to write calloc() or malloc(): nothing grows here. */
void *
student_reallocarray(void *block, size_t count, size_t size)
{
    if (block != NULL)
        fail("the explorer's limit: a block that grows");
    return student_aligned_alloc(16, count * size);
}

void *
student_realloc(void *block, size_t size)
{
    return student_reallocarray(block, 1, size);
}

int
student_posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = student_aligned_alloc(alignment, size);
    return 0;
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
