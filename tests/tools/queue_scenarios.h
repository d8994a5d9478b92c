/*
 * What the parts of queue-scenarios share: verdicts, numbered jobs, threads that
 * make one call each, and the scenes themselves.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "job_queue.h"
#if __has_include("spsc_ring.h")
#include "scq.h"
#include "spsc_ring.h"
#define HAVE_RINGS 1
#else
#define HAVE_RINGS 0
#endif

enum { MANY = 4 }; /* threads that do the same */

/* ---- Verdicts and jobs --------------------------------------------------- */

extern char done[4096]; /* what the scene has done so far */
void did(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Both end the program at once: some threads may sleep for ever. */
_Noreturn void well_done(void);
_Noreturn void fail(const char *expected, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

const char *answer(enum jq_result result);
void expect_result(const char *what, enum jq_result expected,
                   enum jq_result actual);
void expect_number(const char *what, size_t expected, size_t actual);

/* Job number n. Its two halves belong together. */
struct job numbered(size_t n);
void expect_job(size_t expected, struct job job);
void run_odd(void *arg); /* the function of odd ones: it is never called */

/* ---- Actors -------------------------------------------------------------- */

enum act { PUSH, POP, TRY_PUSH, TRY_POP, CLOSE };
extern const char *const act_names[];

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

/* The actor whose thread this is; NULL in the main thread. */
extern _Thread_local struct actor *self;

struct actor *start(enum act act, struct job_queue *q, size_t number);
struct job end(struct actor *a); /* waits for its end */

double now(void);      /* seconds */
double patience(void); /* seconds until something has gone wrong */
void rest(void);       /* a millisecond */
void give_up(int signo);

/* Is it asleep in a futex (which is what a mutex or a condition variable sleeps
 * in, too), and does it stay there? */
bool asleep(const struct actor *a);
double
cpu_of(pid_t tid); /* nanoseconds that a thread has been on a processor */

/* The call waits, asleep, and in the place that it should. */
void must_sleep(struct actor *a);
struct job must_return(struct actor *a, enum jq_result expected);

/* ---- On the way to sleep ------------------------------------------------- */

extern atomic_int spurious; /* so many waits end at once, for no reason */
extern atomic_long syscalls;
extern bool no_membarrier;

/* Just before the next thread falls asleep, another one does this, once. */
void intrude(enum act act, struct job_queue *q);
struct actor *the_intruder(void);

/* ---- Scenes -------------------------------------------------------------- */

/* A queue as one thread sees it. */
struct kind {
    const char *name;
    void *(*create)(size_t capacity);
    enum jq_result (*push)(void *q, struct job job);
    enum jq_result (*pop)(void *q, struct job *job);
    void (*destroy)(void *q);
};
const struct kind *kind_named(const char *name); /* NULL: there is none */

/* For one thread, and every kind of queue. */
void fill(const struct kind *k);
void full(const struct kind *k);
void empty(const struct kind *k);
void order(const struct kind *k);
void two(const struct kind *k);

/* For several, and a job_queue. */
struct job_queue *queue_with(size_t capacity, size_t jobs);
size_t pop_number(struct job_queue *q);
void push_sleeps(void);
void pop_sleeps(void);
void idle(void);
void push_wakes_pop(void);
void pop_wakes_push(void);
void wake_each(void);
void spurious_wake_up(void);
void spurious_wake_up_push(void);
void last_moment(void);
void no_syscall(void);
void close_wakes(void);
void close_drains(void);
void close_refuses(void);
void close_last_moment(void);
void close_shows(void);
void shows(void);
void create_and_destroy(void);
