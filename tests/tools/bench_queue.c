/* bench-queue - how many jobs a second go through a queue: one line of CSV.
 *
 * It is compiled once for each queue (see scripts/bench-queue) and knows it only
 * through its header. Producers push numbers from 0 up, consumers add up what
 * they pop; nothing else is done with a job, unlike in queue-stress, so that
 * the time is the queue's. With a wrong sum there is no line, and status 1.
 *
 *   try     the try functions; sched_yield() when they have to be called again
 *   block   jq_push and jq_pop
 *   alone   one thread, push and pop in turn: nobody waits, nothing is shared
 *   alone-block    the same with jq_push and jq_pop
 *
 * Columns: queue, way, producers, consumers, capacity, jobs, seconds, jobs per
 * second.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "job_queue.h"

/* The queue under test, chosen when this is compiled. */
#if defined(BENCH_SPSC)
#include "spsc_ring.h"
#define QUEUE    struct spsc_ring
#define CREATE   spsc_create
#define TRY_PUSH spsc_try_push
#define TRY_POP  spsc_try_pop
#define PUSH     spsc_try_push /* has no other */
#define POP      spsc_try_pop
#elif defined(BENCH_SCQ)
#include "scq.h"
#define QUEUE    struct scq
#define CREATE   scq_create
#define TRY_PUSH scq_try_push
#define TRY_POP  scq_try_pop
#define PUSH     scq_try_push
#define POP      scq_try_pop
#else
#define QUEUE    struct job_queue
#define CREATE   jq_create
#define TRY_PUSH jq_try_push
#define TRY_POP  jq_try_pop
#define PUSH     jq_push
#define POP      jq_pop
#endif

static QUEUE *queue;
static unsigned producers, consumers;
static uint64_t jobs; /* of each producer */
static bool blocking;
static pthread_barrier_t start;
static _Atomic uint64_t sum;

static void
push(uint64_t number)
{
    struct job job = {NULL, (void *)(uintptr_t)number};
    if (blocking) {
        PUSH(queue, job);
        return;
    }
    while (TRY_PUSH(queue, job) != JQ_OK)
        sched_yield();
}

static uint64_t
pop(void)
{
    struct job job = {NULL, NULL};
    if (blocking) {
        POP(queue, &job);
        return (uintptr_t)job.arg;
    }
    while (TRY_POP(queue, &job) != JQ_OK)
        sched_yield();
    return (uintptr_t)job.arg;
}

static void *
produce(void *unused)
{
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < jobs; i++)
        push(i);
    return unused;
}

static void *
consume(void *unused)
{
    uint64_t mine = 0;
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < jobs * producers / consumers; i++)
        mine += pop();
    atomic_fetch_add(&sum, mine);
    return unused;
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *
produce_and_consume(void *unused)
{
    uint64_t mine = 0;
    for (uint64_t i = 0; i < jobs; i++) {
        push(i);
        mine += pop();
    }
    sum = mine;
    return unused;
}

/* Main waits meanwhile. Its only merit is to exist: a process with a single
 * thread gets mutexes without atomic instructions from the C library. */
static double
run_alone(void)
{
    pthread_t thread;
    double begin = now();
    errno = pthread_create(&thread, NULL, produce_and_consume, NULL);
    if (errno != 0)
        err(1, "pthread_create");
    pthread_join(thread, NULL);
    return now() - begin;
}

static double
run_threads(void)
{
    pthread_t threads[128];
    pthread_barrier_init(&start, NULL, producers + consumers + 1);
    for (unsigned i = 0; i < producers + consumers; i++) {
        errno = pthread_create(&threads[i], NULL,
                               i < producers ? produce : consume, NULL);
        if (errno != 0)
            err(1, "pthread_create");
    }
    double begin = now(); /* before: main may be the last one to go on */
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < producers + consumers; i++)
        pthread_join(threads[i], NULL);
    return now() - begin;
}

int
main(int argc, char **argv)
{
    if (argc != 7)
        errx(2, "usage: bench-queue NAME try|block|alone|alone-block "
                "PRODUCERS CONSUMERS CAPACITY JOBS");
    const char *name = argv[1], *way = argv[2];
    producers = (unsigned)atoi(argv[3]);
    consumers = (unsigned)atoi(argv[4]);
    size_t capacity = strtoull(argv[5], NULL, 10);
    bool alone = strncmp(way, "alone", 5) == 0;
    if (producers < 1 || producers > 64 || consumers < 1 || consumers > 64)
        errx(2, "1 to 64 producers and consumers");
    jobs = strtoull(argv[6], NULL, 10) / producers / consumers * consumers;
    blocking = strstr(way, "block") != NULL;

    queue = CREATE(capacity);
    if (queue == NULL)
        err(1, "create");
    double seconds = alone ? run_alone() : run_threads();
    uint64_t total = jobs * producers;
    if (sum != producers * (jobs * (jobs - 1) / 2))
        errx(1, "%s: jobs were lost or doubled", name);
    printf("%s,%s,%u,%u,%zu,%llu,%.6f,%.0f\n", name, way, producers, consumers,
           capacity, (unsigned long long)total, seconds,
           (double)total / seconds);
    return 0;
}
