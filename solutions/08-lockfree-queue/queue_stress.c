/*
 * queue-stress: as many jobs as you like through a queue, and then the account.
 *
 * Producers push numbered jobs, consumers pop and run them. In the end as many
 * must have come out as went in, with the same checksum; each consumer must
 * have seen the jobs of each producer in order, and no job may have been put
 * together from halves of two others. Stages 07 and 08 share this file, byte
 * for byte; where the rings of stage 08 are in the folder, they can be stressed
 * as well.
 *
 * Passing says little. Threads interleave by chance, and some faults need a
 * very small chance, or another processor. Let it run long, with many slots and
 * with few, and under ThreadSanitizer (make tsan).
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

enum {
    MAX_THREADS = 64,  /* producers, and as many consumers */
    STUCK_SECONDS = 5, /* no job has moved for so long: it hangs */
    NUMBER_BITS = 48,  /* of a job's arg; the producer is above them */
};

enum kind { MPMC, SPSC, SCQ };

static const char *const kind_names[] = {"mpmc", "spsc", "scq"};
static const char *const answers[] = {"JQ_OK", "JQ_FULL", "JQ_EMPTY",
                                      "JQ_CLOSED"};

struct options {
    unsigned producers, consumers;
    uint64_t items; /* for each producer */
    size_t capacity;
    enum kind kind;
    bool try_only;
};

/* What one thread did. Only that thread writes to it; main looks on, hence the
 * atomics. Aligned, or neighbours would disturb each other. */
struct worker {
    _Alignas(64) pthread_t thread;
    unsigned id;
    _Atomic uint64_t moved; /* jobs pushed or popped */
    uint64_t checksum;
    uint64_t torn;         /* jobs whose run does not belong to their arg */
    uint64_t out_of_order; /* jobs that came before an older one */
    uint64_t next[MAX_THREADS]; /* of each producer, the lowest that may come */
};

static struct options options;
static struct worker producers[MAX_THREADS], consumers[MAX_THREADS];
static pthread_barrier_t start;
static atomic_bool all_pushed;
static _Thread_local struct worker *self;

/* --- the queue under test ------------------------------------------------ */

static struct job_queue *queue;
#if HAVE_RINGS
static struct spsc_ring *spsc;
static struct scq *scq;
#endif

static void
create_queue(void)
{
    bool ok = false;
    if (options.kind == MPMC)
        ok = (queue = jq_create(options.capacity)) != NULL;
#if HAVE_RINGS
    else if (options.kind == SPSC)
        ok = (spsc = spsc_create(options.capacity)) != NULL;
    else
        ok = (scq = scq_create(options.capacity)) != NULL;
#endif
    if (!ok)
        err(1, "create a queue for %zu jobs", options.capacity);
}

static void
destroy_queue(void)
{
    jq_destroy(queue);
#if HAVE_RINGS
    spsc_destroy(spsc);
    scq_destroy(scq);
#endif
}

static enum jq_result
push(struct job job)
{
#if HAVE_RINGS
    if (options.kind == SPSC)
        return spsc_try_push(spsc, job);
    if (options.kind == SCQ)
        return scq_try_push(scq, job);
#endif
    return options.try_only ? jq_try_push(queue, job) : jq_push(queue, job);
}

static enum jq_result
pop(struct job *job)
{
#if HAVE_RINGS
    if (options.kind != MPMC) {
        /* The rings have no close: once the last push has returned, empty
         * means empty for good. Ask in this order. */
        bool last = atomic_load(&all_pushed);
        enum jq_result result = options.kind == SPSC ? spsc_try_pop(spsc, job)
                                                     : scq_try_pop(scq, job);
        return result == JQ_EMPTY && last ? JQ_CLOSED : result;
    }
#endif
    return options.try_only ? jq_try_pop(queue, job) : jq_pop(queue, job);
}

/* --- jobs ---------------------------------------------------------------- */

/* Spreads the bits of x, so that the sum of wrong jobs is not right by chance
 * (the end of splitmix64). */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void
account(uintptr_t arg)
{
    unsigned from = (unsigned)(arg >> NUMBER_BITS);
    uint64_t number = arg & ((UINT64_C(1) << NUMBER_BITS) - 1);
    self->checksum += mix(arg);
    if (from >= options.producers) {
        self->torn++;
        return;
    }
    if (number < self->next[from])
        self->out_of_order++;
    self->next[from] = number + 1;
}

/* Odd and even numbers have different functions, so that a job with the run of
 * one job and the arg of another is noticed. */
static void
run_even(void *arg)
{
    self->torn += (uintptr_t)arg & 1;
    account((uintptr_t)arg);
}

static void
run_odd(void *arg)
{
    self->torn += !((uintptr_t)arg & 1);
    account((uintptr_t)arg);
}

/* Ends the program. Not with exit(): other threads may hang, or go on. */
static void __attribute__((noreturn, format(printf, 1, 2)))
give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vwarnx(format, args);
    _exit(EXIT_FAILURE);
}

/* --- the threads --------------------------------------------------------- */

/* Only this thread writes it, so a load and a store will do. */
static void
count(struct worker *w)
{
    atomic_store_explicit(
        &w->moved, atomic_load_explicit(&w->moved, memory_order_relaxed) + 1,
        memory_order_relaxed);
}

static void *
produce(void *arg)
{
    self = arg;
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < options.items; i++) {
        uintptr_t number = (uintptr_t)self->id << NUMBER_BITS | i;
        struct job job = {i % 2 ? run_odd : run_even, (void *)number};
        enum jq_result result;
        while ((result = push(job)) == JQ_FULL && options.try_only)
            sched_yield();
        if (result != JQ_OK)
            give_up("push answered %s", answers[result]);
        self->checksum += mix(number);
        count(self);
    }
    return NULL;
}

static void *
consume(void *arg)
{
    self = arg;
    pthread_barrier_wait(&start);
    for (;;) {
        struct job job;
        enum jq_result result = pop(&job);
        if (result == JQ_OK) {
            job.run(job.arg);
            count(self);
        } else if (result == JQ_EMPTY && options.try_only) {
            sched_yield();
        } else if (result == JQ_CLOSED) {
            return NULL;
        } else {
            give_up("pop answered %s", answers[result]);
        }
    }
}

static void
create_thread(struct worker *w, unsigned id, void *(*body)(void *))
{
    w->id = id;
    errno = pthread_create(&w->thread, NULL, body, w);
    if (errno != 0)
        err(1, "pthread_create");
}

static uint64_t
moved(const struct worker *workers, unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += atomic_load_explicit(&workers[i].moved, memory_order_relaxed);
    return sum;
}

/* Waits for the end of a thread, as long as jobs move. */
static void
join(struct worker *w)
{
    uint64_t before = 0, now = 0;
    do {
        struct timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += STUCK_SECONDS;
        if (pthread_timedjoin_np(w->thread, NULL, &deadline) == 0)
            return;
        before = now;
        now = moved(producers, options.producers) +
              moved(consumers, options.consumers);
    } while (now != before);
    give_up("stuck: no job has moved for %d s, after %" PRIu64
            " pushed and %" PRIu64 " popped",
            STUCK_SECONDS, moved(producers, options.producers),
            moved(consumers, options.consumers));
}

/* Runs all threads to their end. Returns how many seconds it took. */
static double
run(void)
{
    pthread_barrier_init(&start, NULL,
                         options.producers + options.consumers + 1);
    for (unsigned i = 0; i < options.producers; i++)
        create_thread(&producers[i], i, produce);
    for (unsigned i = 0; i < options.consumers; i++)
        create_thread(&consumers[i], i, consume);

    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < options.producers; i++)
        join(&producers[i]);
    atomic_store(&all_pushed, true);
    if (queue != NULL)
        jq_close(queue);
    for (unsigned i = 0; i < options.consumers; i++)
        join(&consumers[i]);
    clock_gettime(CLOCK_MONOTONIC, &end);
    pthread_barrier_destroy(&start);
    return (double)(end.tv_sec - begin.tv_sec) +
           (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

/* --- the account --------------------------------------------------------- */

/* Prints it. Returns the exit status. */
static int
report(double seconds)
{
    uint64_t in = moved(producers, options.producers), in_sum = 0;
    uint64_t out = moved(consumers, options.consumers), out_sum = 0;
    uint64_t torn = 0, out_of_order = 0;
    for (unsigned i = 0; i < options.producers; i++)
        in_sum += producers[i].checksum;
    for (unsigned i = 0; i < options.consumers; i++) {
        out_sum += consumers[i].checksum;
        torn += consumers[i].torn;
        out_of_order += consumers[i].out_of_order;
    }
    printf("produced %" PRIu64 ", checksum %016" PRIx64 "\n", in, in_sum);
    printf("consumed %" PRIu64 ", checksum %016" PRIx64 "\n", out, out_sum);
    printf("out of order %" PRIu64 ", torn %" PRIu64 "\n", out_of_order, torn);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("threads went to sleep %ld times\n", usage.ru_nvcsw);
    printf("operations per second %.0f (%s, %ux%u, capacity %zu, %s)\n",
           (double)out / seconds, kind_names[options.kind], options.producers,
           options.consumers, options.capacity,
           options.try_only ? "trying" : "blocking");
    return in == out && in_sum == out_sum && torn == 0 && out_of_order == 0
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}

/* --- options ------------------------------------------------------------- */

static void
usage(FILE *out, int status)
{
    fputs(
        "usage: queue-stress [-P N] [-C N] [-n ITEMS] [-c CAPACITY]\n"
        "                    [-q mpmc|spsc|scq] [-t]\n"
        "  -P N         producers, 1 to 64 (1)\n"
        "  -C N         consumers, 1 to 64 (1)\n"
        "  -n ITEMS     jobs that each producer pushes (1000000)\n"
        "  -c CAPACITY  jobs that the queue has room for (128)\n"
        "  -q QUEUE     mpmc: the one in job_queue.h (mpmc); stage 08 has\n"
        "               spsc (only with -P 1 -C 1) and scq too\n"
        "  -t           try and yield instead of blocking; with spsc and scq\n"
        "               always so\n",
        out);
    exit(status);
}

static uint64_t
number_or_usage(int option, const char *text, uint64_t max)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t n = digits > 0 && digits < 19 ? strtoull(text, NULL, 10) : 0;
    if (text[digits] != '\0' || n < 1 || n > max) {
        warnx("-%c %s: not a number from 1 to %" PRIu64, option, text, max);
        usage(stderr, 2);
    }
    return n;
}

static enum kind
kind_or_usage(const char *name)
{
    for (int kind = MPMC; kind <= (HAVE_RINGS ? SCQ : MPMC); kind++)
        if (strcmp(name, kind_names[kind]) == 0)
            return (enum kind)kind;
    warnx("-q %s: there is no such queue here", name);
    usage(stderr, 2);
    return MPMC;
}

static void
parse_options(int argc, char **argv)
{
    options = (struct options){1, 1, 1000000, 128, MPMC, false};
    int c;
    while ((c = getopt(argc, argv, "P:C:n:c:q:th")) != -1) {
        switch (c) {
        case 'P':
            options.producers = (unsigned)number_or_usage(c, optarg, 64);
            break;
        case 'C':
            options.consumers = (unsigned)number_or_usage(c, optarg, 64);
            break;
        case 'n':
            options.items =
                number_or_usage(c, optarg, (UINT64_C(1) << NUMBER_BITS) - 1);
            break;
        case 'c':
            options.capacity = number_or_usage(c, optarg, 1 << 30);
            break;
        case 'q':
            options.kind = kind_or_usage(optarg);
            break;
        case 't':
            options.try_only = true;
            break;
        case 'h':
            usage(stdout, 0);
            break;
        default:
            usage(stderr, 2);
        }
    }
    if (optind < argc) {
        warnx("unexpected argument: %s", argv[optind]);
        usage(stderr, 2);
    }
    if (options.kind != MPMC)
        options.try_only = true;
    if (options.kind == SPSC && options.producers * options.consumers != 1) {
        warnx("-q spsc is for one producer and one consumer");
        usage(stderr, 2);
    }
}

int
main(int argc, char **argv)
{
    parse_options(argc, argv);
    create_queue();
    double seconds = run();
    int status = report(seconds);
    destroy_queue();
    return status;
}
