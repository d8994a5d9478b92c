/*
 * For queue-scenarios: closing, what the other side can see then (these scenes
 * are for ThreadSanitizer), and the end of a queue.
 */
#include "queue_scenarios.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* Lets everyone go who still sleeps, and frees the queue. */
static void
close_and_destroy(struct job_queue *q, struct actor **sleepers, size_t n)
{
    jq_close(q);
    for (size_t i = 0; i < n; i++)
        must_return(sleepers[i], JQ_CLOSED);
    jq_destroy(q);
}

void
close_wakes(void)
{
    struct job_queue *q = queue_with(2, 0);
    struct actor *a[MANY];
    did("%d threads call jq_pop(); jq_close() when all sleep", MANY);
    for (int i = 0; i < MANY; i++)
        a[i] = start(POP, q, 0);
    for (int i = 0; i < MANY; i++)
        must_sleep(a[i]);
    close_and_destroy(q, a, MANY);

    q = queue_with(2, 2);
    did("%d threads call jq_push(); jq_close() when all sleep", MANY);
    for (int i = 0; i < MANY; i++)
        a[i] = start(PUSH, q, 100);
    for (int i = 0; i < MANY; i++)
        must_sleep(a[i]);
    jq_close(q);
    for (int i = 0; i < MANY; i++)
        must_return(a[i], JQ_CLOSED);
    did("pop what is left");
    expect_number("the first job", 1, pop_number(q));
    expect_number("the second job", 2, pop_number(q));
    struct job job;
    expect_result("the third pop", JQ_CLOSED, jq_try_pop(q, &job));
    jq_destroy(q);
}

void
close_drains(void)
{
    struct job_queue *q = queue_with(5, 3);
    did("jq_close(), twice; then jq_pop() and jq_try_pop()");
    jq_close(q);
    jq_close(q);
    expect_number("jq_len()", 3, jq_len(q));
    expect_job(1, must_return(start(POP, q, 0), JQ_OK));
    expect_job(2, must_return(start(TRY_POP, q, 0), JQ_OK));
    expect_job(3, must_return(start(POP, q, 0), JQ_OK));
    for (int i = 0; i < 2; i++) {
        must_return(start(POP, q, 0), JQ_CLOSED);
        must_return(start(TRY_POP, q, 0), JQ_CLOSED);
    }
    expect_number("jq_len()", 0, jq_len(q));
    jq_destroy(q);
}

void
close_refuses(void)
{
    for (size_t jobs = 1; jobs <= 2; jobs++) {
        struct job_queue *q = queue_with(2, jobs);
        did("jq_close(); then push one more");
        jq_close(q);
        must_return(start(TRY_PUSH, q, 9), JQ_CLOSED);
        must_return(start(PUSH, q, 9), JQ_CLOSED);
        expect_number("jq_len()", jobs, jq_len(q));
        for (size_t i = 1; i <= jobs; i++)
            expect_number("the next job", i, pop_number(q));
        must_return(start(TRY_PUSH, q, 9), JQ_CLOSED);
        jq_destroy(q);
    }
}

void
close_last_moment(void)
{
    for (enum act act = PUSH; act <= POP; act++) {
        struct job_queue *q = queue_with(1, act == PUSH ? 1 : 0);
        did("%s(); just before it falls asleep, another thread closes",
            act_names[act]);
        intrude(CLOSE, q);
        struct actor *sleeper = start(act, q, 2);
        struct actor *other = the_intruder();
        must_return(sleeper, JQ_CLOSED);
        end(other);
        jq_destroy(q);
    }
}

/* --- what the other side can see: for ThreadSanitizer --------------------- */

static int reason; /* no atomic: the queue has to make it safe to read */

static void *
close_with_reason(void *q)
{
    reason = 42;
    jq_close(q);
    return NULL;
}

/* Whoever is told JQ_CLOSED sees what was written before jq_close(). */
void
close_shows(void)
{
    for (int kind = 0; kind < 4; kind++) {
        struct job_queue *q = queue_with(1, kind < 2 ? 0 : 1);
        pthread_t closer;
        struct job job = numbered(3);
        enum jq_result result;
        did("another thread sets a variable and calls jq_close(); read it");
        reason = 0;
        pthread_create(&closer, NULL, close_with_reason, q);
        do {
            result = kind == 0   ? jq_try_pop(q, &job)
                     : kind == 1 ? jq_pop(q, &job)
                     : kind == 2 ? jq_try_push(q, job)
                                 : jq_push(q, job);
        } while (result != JQ_CLOSED);
        expect_number("the variable", 42, (size_t)reason);
        pthread_join(closer, NULL);
        jq_destroy(q);
    }
}

enum { PARCELS = 3000 };

static void *
send_parcels(void *q)
{
    for (int i = 0; i < PARCELS; i++) {
        int *parcel = malloc(sizeof *parcel);
        *parcel = i;
        enum jq_result result = jq_push(q, (struct job){run_odd, parcel});
        if (result != JQ_OK)
            expect_result("each push", JQ_OK, result);
    }
    return NULL;
}

static void *
open_parcels(void *q)
{
    struct job job;
    long *sum = calloc(1, sizeof *sum);
    while (jq_pop(q, &job) == JQ_OK) {
        *sum += *(int *)job.arg;
        *(int *)job.arg = -1;
        free(job.arg);
    }
    return sum;
}

/* Whoever pops a job sees what was written before it was pushed, and has it to
 * itself. */
void
shows(void)
{
    struct job_queue *q = queue_with(3, 0);
    pthread_t senders[2], openers[2];
    did("2 threads push pointers to %d parcels each, 2 pop and open them",
        PARCELS);
    for (int i = 0; i < 2; i++) {
        pthread_create(&senders[i], NULL, send_parcels, q);
        pthread_create(&openers[i], NULL, open_parcels, q);
    }
    for (int i = 0; i < 1000; i++)
        if (jq_len(q) > 3)
            fail("jq_len() is 0 to 3 all the time", "%zu", jq_len(q));
    for (int i = 0; i < 2; i++)
        pthread_join(senders[i], NULL);
    jq_close(q);
    long total = 0;
    for (int i = 0; i < 2; i++) {
        void *sum;
        pthread_join(openers[i], &sum);
        total += *(long *)sum;
        free(sum);
    }
    expect_number("the sum of what was in them",
                  (size_t)PARCELS * (PARCELS - 1), (size_t)total);
    jq_destroy(q);
}

/* Impossible capacities, and the end of a queue that still holds jobs (the
 * sanitizer looks for leaks). */
void
create_and_destroy(void)
{
    did("push and pop a job");
    struct job_queue *q = queue_with(3, 1);
    expect_number("the job", 1, pop_number(q));
    did("jq_destroy() with two jobs inside; jq_destroy(NULL)");
    for (size_t i = 1; i <= 2; i++)
        expect_result("each push", JQ_OK, jq_push(q, numbered(i)));
    jq_destroy(q);
    jq_destroy(NULL);
    done[0] = '\0';
    did("jq_create(0)");
    errno = 0;
    if (jq_create(0) != NULL || errno != EINVAL)
        fail("NULL and EINVAL", "errno %d", errno);
    did("jq_create(SIZE_MAX / 8)");
    if (jq_create(SIZE_MAX / 8) != NULL || errno != ENOMEM)
        fail("NULL and ENOMEM", "errno %d", errno);
}
