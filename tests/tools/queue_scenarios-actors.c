/*
 * For queue-scenarios: threads that make one call each, and what /proc tells
 * about them.
 */
#include "queue_scenarios.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLEEP_PEEKS = 4 };

const char *const act_names[] = {"jq_push", "jq_pop", "jq_try_push",
                                 "jq_try_pop", "jq_close"};

_Thread_local struct actor *self;

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

struct actor *
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

struct job
end(struct actor *a)
{
    pthread_join(a->thread, NULL);
    struct job job = a->job;
    free(a);
    return job;
}

double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double
patience(void)
{
    const char *factor = getenv("TIMEOUT_FACTOR");
    return 4.0 * (factor != NULL && atoi(factor) > 0 ? atoi(factor) : 1);
}

void
rest(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* For SIGALRM: the scene itself is stuck inside a call. */
void
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
double
cpu_of(pid_t tid)
{
    char buf[256];
    read_task_file(tid, "schedstat", buf, sizeof buf);
    return strtod(buf, NULL);
}

/* Is it asleep in a futex (which is what a mutex or a condition variable sleeps
 * in, too), and does it stay there? */
bool
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
void
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

struct job
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
