/*
 * For queue-scenarios: who has to wait sleeps, and is woken.
 */
#include "queue_scenarios.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

struct job_queue *
queue_with(size_t capacity, size_t jobs)
{
    struct job_queue *q = jq_create(capacity);
    done[0] = '\0';
    did("jq_create(%zu)", capacity);
    if (q == NULL)
        fail("a queue", "NULL: %s", strerror(errno));
    if (jobs > 0)
        did("push %zu job%s", jobs, jobs == 1 ? "" : "s");
    for (size_t i = 1; i <= jobs; i++)
        expect_result("each push", JQ_OK, jq_try_push(q, numbered(i)));
    return q;
}

size_t
pop_number(struct job_queue *q)
{
    struct job job = {NULL, NULL};
    expect_result("a pop", JQ_OK, jq_try_pop(q, &job));
    expect_job((size_t)(uintptr_t)job.arg, job);
    return (size_t)(uintptr_t)job.arg;
}

void
push_sleeps(void)
{
    struct job_queue *q = queue_with(2, 2);
    did("jq_push() a third");
    struct actor *a = start(PUSH, q, 3);
    must_sleep(a);
    expect_number("jq_len()", 2, jq_len(q));
    well_done(); /* whether it wakes up again is another scene */
}

void
pop_sleeps(void)
{
    struct job_queue *q = queue_with(2, 0);
    did("jq_pop()");
    struct actor *a = start(POP, q, 0);
    must_sleep(a);
    well_done();
}

/* Four workers with nothing to do use no processor time for a quarter of a
 * second. A busy machine gets a few attempts; a spinner fails all of them. */
void
idle(void)
{
    struct job_queue *q = queue_with(2, 0);
    struct actor *a[MANY];
    did("%d threads call jq_pop(); wait until they sleep", MANY);
    for (int i = 0; i < MANY; i++)
        a[i] = start(POP, q, 0);
    for (int i = 0; i < MANY; i++)
        must_sleep(a[i]);
    double used = 0;
    for (int attempt = 0; attempt < 6; attempt++) {
        used = 0;
        for (int i = 0; i < MANY; i++)
            used -= cpu_of(a[i]->tid);
        nanosleep(&(struct timespec){0, 250000000}, NULL);
        for (int i = 0; i < MANY; i++)
            used += cpu_of(a[i]->tid);
        if (used < 1e6)
            well_done();
    }
    fail("they use no processor time", "%.1f ms in 250 ms", used / 1e6);
}

void
push_wakes_pop(void)
{
    struct job_queue *q = queue_with(2, 0);
    for (enum act act = PUSH; act <= TRY_PUSH; act += TRY_PUSH - PUSH) {
        did("jq_pop(), and when it sleeps %s() job 5", act_names[act]);
        struct actor *sleeper = start(POP, q, 0);
        must_sleep(sleeper);
        must_return(start(act, q, 5), JQ_OK);
        expect_job(5, must_return(sleeper, JQ_OK));
    }
    jq_destroy(q);
}

void
pop_wakes_push(void)
{
    for (enum act act = POP; act <= TRY_POP; act += TRY_POP - POP) {
        struct job_queue *q = queue_with(2, 2);
        did("jq_push() job 3, and when it sleeps %s()", act_names[act]);
        struct actor *sleeper = start(PUSH, q, 3);
        must_sleep(sleeper);
        expect_job(1, must_return(start(act, q, 0), JQ_OK));
        must_return(sleeper, JQ_OK);
        did("pop the rest");
        expect_number("the next job", 2, pop_number(q));
        expect_number("the last job", 3, pop_number(q));
        jq_destroy(q);
    }
}

/* For each job a sleeper wakes up, and no job is left lying. */
void
wake_each(void)
{
    struct job_queue *q = queue_with(MANY, 0);
    struct actor *a[MANY];
    did("%d threads call jq_pop(); push %d jobs when all sleep", MANY, MANY);
    for (int i = 0; i < MANY; i++)
        a[i] = start(POP, q, 0);
    for (int i = 0; i < MANY; i++)
        must_sleep(a[i]);
    for (size_t i = 1; i <= MANY; i++)
        expect_result("each push", JQ_OK, jq_try_push(q, numbered(i)));
    size_t sum = 0;
    for (int i = 0; i < MANY; i++)
        sum += (size_t)(uintptr_t)must_return(a[i], JQ_OK).arg;
    expect_number("the sum of the jobs", MANY * (MANY + 1) / 2, sum);
    jq_destroy(q);

    q = queue_with(MANY, MANY);
    did("%d threads call jq_push(); pop %d jobs when all sleep", MANY, MANY);
    for (int i = 0; i < MANY; i++)
        a[i] = start(PUSH, q, 100);
    for (int i = 0; i < MANY; i++)
        must_sleep(a[i]);
    for (size_t i = 1; i <= MANY; i++)
        expect_number("the next job", i, pop_number(q));
    for (int i = 0; i < MANY; i++)
        must_return(a[i], JQ_OK);
    expect_number("jq_len()", MANY, jq_len(q));
    jq_destroy(q);
}

/* A thread may wake up although nobody woke it. */
void
spurious_wake_up(void)
{
    struct job_queue *q = queue_with(1, 0);
    did("jq_pop(), which wakes up three times for no reason");
    atomic_store(&spurious, 3);
    struct actor *a = start(POP, q, 0);
    must_sleep(a);
    if (atomic_load(&spurious) > 0)
        fail("it looks again, and waits again", "it waited less often");
    well_done();
}

void
spurious_wake_up_push(void)
{
    struct job_queue *q = queue_with(1, 1);
    did("jq_push(), which wakes up three times for no reason");
    atomic_store(&spurious, 3);
    struct actor *a = start(PUSH, q, 2);
    must_sleep(a);
    expect_number("jq_len()", 1, jq_len(q));
    if (atomic_load(&spurious) > 0)
        fail("it looks again, and waits again", "it waited less often");
    well_done();
}

/* What happens between the last look and the sleep is not slept through. */
void
last_moment(void)
{
    struct job_queue *q = queue_with(1, 0);
    did("jq_pop(); just before it falls asleep, another thread pushes job 1");
    intrude(PUSH, q);
    struct actor *sleeper = start(POP, q, 0);
    struct actor *other = the_intruder();
    expect_job(1, must_return(sleeper, JQ_OK));
    must_return(other, JQ_OK);
    jq_destroy(q);

    q = queue_with(1, 1);
    did("jq_push(); just before it falls asleep, another thread pops");
    intrude(POP, q);
    sleeper = start(PUSH, q, 2);
    other = the_intruder();
    must_return(sleeper, JQ_OK);
    expect_job(1, must_return(other, JQ_OK));
    jq_destroy(q);
}

/* While nobody sleeps, the kernel has nothing to do with it. */
void
no_syscall(void)
{
    struct job_queue *q = queue_with(1, 0);
    struct job job;
    did("let a pop sleep and wake it, and then a push");
    struct actor *a = start(POP, q, 0);
    must_sleep(a);
    expect_result("the push", JQ_OK, jq_push(q, numbered(1)));
    must_return(a, JQ_OK);
    expect_result("the push", JQ_OK, jq_push(q, numbered(2)));
    a = start(PUSH, q, 3);
    must_sleep(a);
    expect_number("the job", 2, pop_number(q));
    must_return(a, JQ_OK);
    expect_number("the job", 3, pop_number(q));
    did("when all are awake, push and pop 1000 jobs in one thread");
    long before = atomic_load(&syscalls);
    for (size_t i = 0; i < 1000; i++) {
        expect_result("each push", JQ_OK, jq_push(q, numbered(i)));
        expect_result("each pop", JQ_OK, jq_pop(q, &job));
        expect_job(i, job);
    }
    expect_number("the number of system calls", 0,
                  (size_t)(atomic_load(&syscalls) - before));
    jq_destroy(q);
}
