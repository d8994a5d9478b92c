/*
 * calls.c - what the code under test calls, knowingly or not.
 *
 * The compiler has put calls to __tsan_...() before its accesses to memory. Its
 * calls to the C library come here too, because `build` renames them in the
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

static bool
compare_swap(void *at, int size, void *hoped, uint64_t wanted, int order,
             int failing, bool weak)
{
    bool swap = memcmp(at, hoped, (size_t)size) == 0 &&
                !(weak && unlikely(&run.spurious, scenario->spurious));
    uint64_t old = swap ? atomic(at, size, SWAP, wanted, order)
                        : atomic(at, size, FIND, wanted, failing);

    memcpy(hoped, &old, (size_t)size);
    return swap;
}

/* clang-format off */
#define U(BITS) uint##BITS##_t
#define MODIFY(BITS, NAME, OP) \
    U(BITS) __tsan_atomic##BITS##_##NAME(void *at, U(BITS) x, int order) \
    { STEP(at); return (U(BITS))atomic(at, BITS / 8, OP, x, order); }
#define COMPARE(BITS, NAME, WEAK) \
    int __tsan_atomic##BITS##_compare_exchange_##NAME( \
        void *at, void *hoped, U(BITS) x, int order, int failing) \
    { STEP(at); \
      return compare_swap(at, BITS / 8, hoped, x, order, failing, WEAK); }
#define COMPARE_VALUE(BITS) /* clang's, and gcc's for __sync_... */ \
    U(BITS) __tsan_atomic##BITS##_compare_exchange_val( \
        void *at, U(BITS) hoped, U(BITS) x, int order, int failing) \
    { STEP(at); \
      compare_swap(at, BITS / 8, &hoped, x, order, failing, false); \
      return hoped; }
#define ATOMIC_CALLS(BITS) \
    U(BITS) __tsan_atomic##BITS##_load(void *at, int order) \
    { STEP(at); return (U(BITS))atomic(at, BITS / 8, LOAD, 0, order); } \
    MODIFY(BITS, store, STORE) MODIFY(BITS, exchange, SWAP) \
    MODIFY(BITS, fetch_add, ADD) MODIFY(BITS, fetch_sub, SUB) \
    MODIFY(BITS, fetch_and, AND) MODIFY(BITS, fetch_or, OR) \
    MODIFY(BITS, fetch_xor, XOR) COMPARE(BITS, weak, true) \
    COMPARE(BITS, strong, false) COMPARE_VALUE(BITS)
ATOMIC_CALLS(8) ATOMIC_CALLS(16) ATOMIC_CALLS(32) ATOMIC_CALLS(64)

#define PLAIN_CALL(NAME, SIZE, KIND) \
    void __tsan_##NAME##SIZE(void *at) { HERE; plain(at, SIZE, KIND); }
#define PLAIN_CALLS(SIZE) \
    PLAIN_CALL(read, SIZE, READ) PLAIN_CALL(unaligned_read, SIZE, READ) \
    PLAIN_CALL(write, SIZE, WRITE) PLAIN_CALL(unaligned_write, SIZE, WRITE)
PLAIN_CALLS(1) PLAIN_CALLS(2) PLAIN_CALLS(4) PLAIN_CALLS(8) PLAIN_CALLS(16)
void __tsan_read_range(void *at, size_t n) { HERE; plain(at, n, READ); }
void __tsan_write_range(void *at, size_t n) { HERE; plain(at, n, WRITE); }
void __tsan_atomic_thread_fence(int order) { STEP(NULL); fence(order); }
void __tsan_atomic_signal_fence(int order) { (void)order; }
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
/* clang-format on */

/* --- locks and sleeping -------------------------------------------------- */

static int
lock(uint32_t *mutex)
{
    while (*mutex != 0)
        block("waits for a mutex", mutex);
    atomic(mutex, 4, LOCK, 1 + (uint64_t)(running - threads),
           memory_order_acquire);
    return 0;
}

static int
unlock(uint32_t *mutex)
{
    if (atomic(mutex, 4, UNLOCK, 0, memory_order_release) !=
        1 + (uint64_t)(running - threads))
        fail("%s unlocks a mutex that it does not hold", running->name);
    wake(mutex, THREADS);
    return 0;
}

/* Unlocks and falls asleep in one step. It may wake up without a signal. */
static int
sleep_on(void *condition, void *mutex)
{
    NOTE("waits on the condition [%ld]", AT(condition));
    unlock(mutex);
    if (unlikely(&run.spurious, scenario->spurious))
        step(mutex);
    else
        block("sleeps on a condition variable", condition);
    return lock(mutex);
}

static long
wake_up(const char *how, void *where, int most)
{
    int woken = wake(where, most);

    NOTE("%s [%ld], wakes %d", how, AT(where), woken);
    return woken;
}

/* The kernel compares and falls asleep in one step. */
static long
futex_wait(uint32_t *word, uint32_t value)
{
    errno = *word != value ? EAGAIN : 0;
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
    if (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET)
        return futex_wait(word, value);
    if (operation == FUTEX_WAKE || operation == FUTEX_WAKE_BITSET)
        return wake_up("futex wake on", word, (int)value);
    if (number == SYS_membarrier)
        return membarrier();
    fail("the explorer's limit: system call %ld, %d", number, operation);
}

/* --- the C library's names ------------------------------------------------ */

/* An unlock is no scheduling point: before it nobody can do anything new. Time
 * never passes here: a timeout must not be needed to make progress. Who yields
 * or sleeps for a while is seen to spin, by step(). */
/* clang-format off */
int student_pthread_mutex_lock(void *m) { STEP(m); return lock(m); }
int student_pthread_mutex_trylock(uint32_t *m)
{ STEP(m); return *m != 0 ? EBUSY : lock(m); }
int student_pthread_mutex_unlock(void *m)
{ HERE; run.steps++; return unlock(m); }
int student_pthread_cond_wait(void *c, void *m)
{ STEP(c); return sleep_on(c, m); }
int student_pthread_cond_signal(void *c)
{ STEP(c); wake_up("signals the condition", c, 1); return 0; }
int student_pthread_cond_broadcast(void *c)
{ STEP(c); wake_up("broadcasts the condition", c, THREADS); return 0; }
int student_sched_yield(void) { return 0; }
ALSO(student_pthread_cond_timedwait, student_pthread_cond_wait);
ALSO(student_usleep, student_sched_yield);
ALSO(student_nanosleep, student_sched_yield);

void *student_malloc(size_t n) { return student_aligned_alloc(16, n); }
void *student_calloc(size_t count, size_t n)
{ return memset(student_malloc(count * n), 0, count * n); }
void *student_realloc(void *block, size_t n)
{ if (block != NULL) fail("the explorer's limit: a block that grows");
  return student_malloc(n); }
void *student_reallocarray(void *block, size_t count, size_t n)
{ return student_realloc(block, count * n); }
int student_posix_memalign(void **at, size_t alignment, size_t n)
{ *at = student_aligned_alloc(alignment, n); return 0; }
void *student_memmove(void *to, const void *from, size_t n)
{ HERE; plain(from, n, READ); plain(to, n, WRITE); return memmove(to, from, n); }
void *student_memset(void *to, int byte, size_t n)
{ HERE; plain(to, n, WRITE); return memset(to, byte, n); }
ALSO(student_memcpy, student_memmove);
ALSO(student___tsan_memcpy, student_memmove);
ALSO(student___tsan_memmove, student_memmove);
ALSO(student___tsan_memset, student_memset);
/* clang-format on */
