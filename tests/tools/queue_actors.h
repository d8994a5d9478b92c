/* queue_actors.h - what the scenes in queue_scenarios.c are made of: verdicts,
 * numbered jobs, threads that make one call each, what /proc tells about them,
 * and the two wrapped functions through which everyone goes to sleep.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "job_queue.h"
#if __has_include("spsc_ring.h")
#include "scq.h"
#include "spsc_ring.h"
#define HAVE_RINGS 1
#else
#define HAVE_RINGS 0
#endif

enum { SLEEP_PEEKS = 4 };

static const char *const answers[] = {"JQ_OK", "JQ_FULL", "JQ_EMPTY",
                                      "JQ_CLOSED"};

static const char *
answer(enum jq_result result)
{
    return (unsigned)result < 4 ? answers[result] : "no answer of job_queue.h";
}

/* --- verdicts ------------------------------------------------------------ */

static char done[4096]; /* what the scene has done so far */

static void __attribute__((format(printf, 1, 2))) did(const char *format, ...)
{
    size_t used = strlen(done);
    va_list args;
    va_start(args, format);
    if (used > 0 && used < sizeof done - 3)
        used += (size_t)snprintf(done + used, sizeof done - used, "; ");
    vsnprintf(done + used, sizeof done - used, format, args);
    va_end(args);
}

/* Ends the program at once: some threads may sleep for ever. */
static void __attribute__((noreturn, format(printf, 2, 3)))
fail(const char *expected, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("did:      %s\nexpected: %s\nactual:   ", done, expected);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(1);
}

static void
expect_result(const char *what, enum jq_result expected, enum jq_result actual)
{
    char text[128];
    snprintf(text, sizeof text, "%s answers %s", what, answer(expected));
    if (actual != expected)
        fail(text, "%s", answer(actual));
}

static void
expect_number(const char *what, size_t expected, size_t actual)
{
    char text[128];
    snprintf(text, sizeof text, "%s is %zu", what, expected);
    if (actual != expected)
        fail(text, "%zu", actual);
}

/* --- jobs ---------------------------------------------------------------- */

static void
run_odd(void *arg)
{
    (void)arg;
    fail("jobs are never run by the queue", "run was called");
}

static void
run_even(void *arg)
{
    run_odd(arg);
}

/* Job number n. Its two halves belong together. */
static struct job
numbered(size_t n)
{
    return (struct job){n % 2 ? run_odd : run_even, (void *)(uintptr_t)n};
}

static void
expect_job(size_t expected, struct job job)
{
    struct job right = numbered(expected);
    char text[64];
    snprintf(text, sizeof text, "job %zu", expected);
    if (job.arg != right.arg)
        fail(text, "job %zu", (size_t)(uintptr_t)job.arg);
    if (job.run != right.run)
        fail(text, "its arg, with the run of another job");
}

/* --- actors -------------------------------------------------------------- */

enum act { PUSH, POP, TRY_PUSH, TRY_POP, CLOSE };

static const char *const act_names[] = {"jq_push", "jq_pop", "jq_try_push",
                                        "jq_try_pop", "jq_close"};

/* A thread that makes one call. */
struct actor {
    pthread_t thread;
    _Atomic pid_t tid;
    enum act act;
    struct job_queue *queue;
    struct job job; /* to push, or popped */
    enum jq_result result;
    atomic_bool finished;
    atomic_bool waits; /* is in pthread_cond_wait or FUTEX_WAIT */
};

static _Thread_local struct actor *self;

static void *
play(void *arg)
{
    self = arg;
    struct job_queue *q = self->queue;
    atomic_store(&self->tid, (pid_t)gettid());
    switch (self->act) {
    case PUSH:
        self->result = jq_push(q, self->job);
        break;
    case POP:
        self->result = jq_pop(q, &self->job);
        break;
    case TRY_PUSH:
        self->result = jq_try_push(q, self->job);
        break;
    case TRY_POP:
        self->result = jq_try_pop(q, &self->job);
        break;
    case CLOSE:
        jq_close(q);
        break;
    }
    atomic_store(&self->finished, true);
    return NULL;
}

static struct actor *
start(enum act act, struct job_queue *q, size_t number)
{
    struct actor *a = calloc(1, sizeof *a);
    a->act = act;
    a->queue = q;
    a->job = numbered(number);
    errno = pthread_create(&a->thread, NULL, play, a);
    if (errno != 0)
        fail("a thread can be started", "%s", strerror(errno));
    while (atomic_load(&a->tid) == 0)
        sched_yield();
    return a;
}

static struct job
end(struct actor *a)
{
    pthread_join(a->thread, NULL);
    struct job job = a->job;
    free(a);
    return job;
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
patience(void)
{
    const char *factor = getenv("TIMEOUT_FACTOR");
    return 4.0 * (factor != NULL && atoi(factor) > 0 ? atoi(factor) : 1);
}

static void
rest(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* For SIGALRM: the scene itself is stuck inside a call. */
static void
give_up(int signo)
{
    (void)signo;
    fail("the call returns", "it hangs");
}

/* --- what /proc shows ---------------------------------------------------- */

/* Reads a file of a thread; an empty text if there is none. */
static void
read_task_file(pid_t tid, const char *name, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)tid, name);
    buf[0] = '\0';
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    size_t n = fread(buf, 1, size - 1, f);
    buf[n] = '\0';
    fclose(f);
}

/* The state letter of a thread: S is asleep. */
static char
state_of(pid_t tid)
{
    char buf[512];
    read_task_file(tid, "stat", buf, sizeof buf);
    char *paren = strrchr(buf, ')');
    return paren != NULL && paren[1] == ' ' ? paren[2] : '?';
}

/* The system call a thread is in; -1 if it runs, -2 if nobody says. */
static long
syscall_of(pid_t tid)
{
    char buf[256];
    read_task_file(tid, "syscall", buf, sizeof buf);
    if (buf[0] == '\0')
        return -2;
    return strncmp(buf, "running", 7) == 0 ? -1 : strtol(buf, NULL, 10);
}

/* How often a thread has gone to sleep. */
static long
sleeps_of(pid_t tid)
{
    char buf[4096];
    read_task_file(tid, "status", buf, sizeof buf);
    char *line = strstr(buf, "\nvoluntary_ctxt_switches:");
    return line != NULL ? strtol(strchr(line, ':') + 1, NULL, 10) : -1;
}

/* Nanoseconds that a thread has been on a processor. */
static double
cpu_of(pid_t tid)
{
    char buf[256];
    read_task_file(tid, "schedstat", buf, sizeof buf);
    return strtod(buf, NULL);
}

/* Is it asleep in a futex (which is what a mutex or a condition variable sleeps
 * in, too), and does it stay there? */
static bool
asleep(const struct actor *a)
{
    long sleeps = sleeps_of(a->tid);
    for (int i = 0; i < SLEEP_PEEKS; i++) {
        long call = syscall_of(a->tid);
        if (state_of(a->tid) != 'S' || (call != SYS_futex && call != -2))
            return false;
        rest();
    }
    return sleeps == sleeps_of(a->tid);
}

static const char *
condition_of(const struct actor *a)
{
    static char text[96];
    char state = state_of(a->tid);
    if (atomic_load(&a->finished))
        snprintf(text, sizeof text, "has returned %s", answer(a->result));
    else if (asleep(a))
        snprintf(text, sizeof text, "is asleep");
    else
        snprintf(text, sizeof text,
                 "goes round without sleeping (state %c, system call %ld)",
                 state, syscall_of(a->tid));
    return text;
}

/* --- what actors are expected to do -------------------------------------- */

/* The call waits, asleep, and in the place that it should. */
static void
must_sleep(struct actor *a)
{
    char text[128];
    snprintf(text, sizeof text, "%s sleeps, without using the processor",
             act_names[a->act]);
    for (double limit = now() + patience(); !asleep(a);) {
        if (atomic_load(&a->finished) || now() > limit)
            fail(text, "it %s", condition_of(a));
    }
    if (!atomic_load(&a->waits))
        fail(HAVE_RINGS ? "it sleeps in FUTEX_WAIT, called with syscall()"
                        : "it sleeps in pthread_cond_wait()",
             "it sleeps somewhere else");
}

static struct job
must_return(struct actor *a, enum jq_result expected)
{
    char text[128];
    snprintf(text, sizeof text, "%s returns %s", act_names[a->act],
             answer(expected));
    for (double limit = now() + patience(); !atomic_load(&a->finished);) {
        if (now() > limit)
            fail(text, "it %s", condition_of(a));
        rest();
    }
    if (a->result != expected)
        fail(text, "%s", answer(a->result));
    return end(a);
}

/* --- on the way to sleep ------------------------------------------------- */

static atomic_int spurious; /* so many waits end at once, for no reason */
static atomic_long syscalls;
static bool no_membarrier;

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

static void
intrude(enum act act, struct job_queue *q)
{
    intruder_act = act;
    intruder_queue = q;
    atomic_store(&intruding, true);
}

static struct actor *
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
