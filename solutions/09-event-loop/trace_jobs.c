/* The scenarios of loop-trace that are about other threads. */
#include "trace.h"

#include <sched.h>
#include <semaphore.h>
#include <time.h>

/* --- posts --------------------------------------------------------------- */

void
post_order(void)
{
    post_thing("first");
    post_thing("second");
    post_thing("third");
    loop_run(loop);
}

static pthread_t loop_thread;

static void
post_from_thread(void *arg)
{
    struct thing *t = arg;
    printf("%s, on the thread of the loop: %s\n", t->name,
           pthread_equal(pthread_self(), loop_thread) ? "yes" : "no");
    loop_hold(loop, -1);
    free(t);
}

static void *
post_slowly(void *arg)
{
    (void)arg;
    static const char *const name[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) {
        struct thing *t = new_thing(name[i]);
        rest_ms(30); /* the loop is asleep by now */
        t->post = (struct loop_post){.run = post_from_thread, .arg = t};
        loop_post(loop, &t->post);
    }
    return NULL;
}

void
post_thread(void)
{
    pthread_t thread;
    loop_thread = pthread_self();
    loop_hold(loop, 3);
    must(pthread_create(&thread, NULL, post_slowly, NULL) == 0, "thread");
    loop_run(loop);
    pthread_join(thread, NULL);
}

/* Each post comes just when the loop, which has run the one before, goes to
 * sleep. On a busy machine, where each takes its time, there are fewer. */
enum { PINGS = 3000, PINGS_SECONDS = 3 };
static _Atomic int pings, last_ping = PINGS;

static void
count_ping(void *arg)
{
    (void)arg;
    if (++pings == last_ping)
        loop_hold(loop, -1);
}

/* On a processor of its own, if there is one: they are to run at the same time. */
static void
move_to_cpu(int n)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    CPU_SET(n, &one);
    if (sched_getaffinity(0, sizeof all, &all) == 0 && CPU_ISSET(n, &all))
        sched_setaffinity(0, sizeof one, &one);
}

static void *
ping(void *arg)
{
    struct loop_post *post = arg;
    time_t end = time(NULL) + PINGS_SECONDS;
    move_to_cpu(1);
    for (int i = 0; i < last_ping; i++) {
        for (unsigned spins = 1; pings < i; spins++)
            if (spins % 1000 == 0)
                sched_yield();
        for (volatile int spins = i % 200; spins > 0; spins--)
            ; /* a little later each time, to hit every moment */
        if (time(NULL) > end)
            last_ping = i + 1; /* all before it have arrived */
        loop_post(loop, post);
    }
    return NULL;
}

void
post_ping(void)
{
    pthread_t thread;
    struct loop_post post = {.run = count_ping};
    loop_hold(loop, 1);
    must(pthread_create(&thread, NULL, ping, &post) == 0, "thread");
    move_to_cpu(0);
    loop_run(loop);
    pthread_join(thread, NULL);
    printf("all posts have arrived, one after the other\n");
}

enum { POSTERS = 4, POSTS = 50000 };
static int arrived, wrong_order;

static void
arrive(void *arg)
{
    static struct thing *last[POSTERS];
    struct thing *t = arg;
    int poster = t->calls; /* its number */
    if (last[poster] != NULL && last[poster] >= t)
        wrong_order++;
    last[poster] = t;
    if (++arrived == POSTERS * POSTS)
        loop_hold(loop, -1);
}

static void *
post_all(void *arg)
{
    struct thing *t = arg;
    for (int i = 0; i < POSTS; i++) {
        t[i].calls = t->calls;
        t[i].post = (struct loop_post){.run = arrive, .arg = &t[i]};
        loop_post(loop, &t[i].post);
    }
    return NULL;
}

void
post_many(void)
{
    pthread_t threads[POSTERS];
    struct thing *things[POSTERS];
    loop_hold(loop, 1);
    for (int i = 0; i < POSTERS; i++) {
        must((things[i] = calloc(POSTS, sizeof **things)) != NULL, "calloc");
        things[i]->calls = i;
        must(pthread_create(&threads[i], NULL, post_all, things[i]) == 0,
             "thread");
    }
    loop_run(loop);
    printf("%d posts arrived, %d out of order\n", arrived, wrong_order);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
        free(things[i]);
    }
}

/* --- the pool ------------------------------------------------------------ */

static struct pool *pool;
static sem_t gate;   /* jobs wait here until the scenario lets them pass */
static sem_t inside; /* they say so when they have begun */

static void
work_here(void *arg)
{
    struct thing *t = arg;
    t->calls = pthread_equal(pthread_self(), loop_thread) ? 1 : 2;
}

static void
print_done(void *arg, bool ran)
{
    struct thing *t = arg;
    printf("%s: %s, on the thread of the loop: %s\n", t->name,
           ran ? "has run" : "was cancelled",
           pthread_equal(pthread_self(), loop_thread) ? "yes" : "no");
    free(t);
}

static int have_run, cancelled;

static void
count_done(void *arg, bool ran)
{
    have_run += ran;
    cancelled += !ran;
    free(arg);
}

static void
print_where(void *arg, bool ran)
{
    struct thing *t = arg;
    printf("work() was on a thread of its own: %s\n",
           t->calls == 2 ? "yes" : "no");
    print_done(arg, ran);
}

static void
wait_at_gate(void *arg)
{
    (void)arg;
    sem_post(&inside);
    sem_wait(&gate);
}

static struct thing *
new_job(const char *name, void (*work)(void *arg),
        void (*done)(void *arg, bool ran))
{
    struct thing *t = new_thing(name);
    t->job = (struct pool_job){.work = work, .done = done, .arg = t};
    return t;
}

static void
open_pool(size_t threads, size_t capacity)
{
    loop_thread = pthread_self();
    sem_init(&gate, 0, 0);
    sem_init(&inside, 0, 0);
    pool = pool_create(threads, capacity);
    must(pool != NULL, "pool_create");
}

static struct thing *
submit(struct thing *t)
{
    must(pool_submit(pool, loop, &t->job), "pool_submit");
    return t;
}

void
jobs(void)
{
    open_pool(1, 10); /* one worker: the order is that of the queue */
    submit(new_job("first", work_here, print_where));
    submit(new_job("second", work_here, print_done));
    submit(new_job("third", work_here, print_done));
    printf("pool_submit() has called nothing\n");
    loop_run(loop);
    pool_destroy(pool);
}

void
jobs_full(void)
{
    open_pool(2, 4);
    for (int i = 0; i < 2; i++)
        submit(new_job("at work", wait_at_gate, count_done));
    sem_wait(&inside);
    sem_wait(&inside);
    for (int i = 0; i < 7; i++) {
        struct thing *t = new_job("queued", wait_at_gate, count_done);
        bool taken = pool_submit(pool, loop, &t->job);
        printf("job %d is %s\n", i, taken ? "taken" : "refused");
        if (!taken)
            free(t);
    }
    struct pool_counts counts = pool_counts(pool);
    printf("threads %zu, queued %zu, busy %zu\n", counts.threads, counts.queued,
           counts.busy);
    for (int i = 0; i < 6; i++)
        sem_post(&gate);
    loop_run(loop);
    counts = pool_counts(pool);
    printf("done: %d; queued %zu, busy %zu\n", have_run, counts.queued,
           counts.busy);
    pool_destroy(pool);
}

void
jobs_cancel(void)
{
    open_pool(1, 10);
    struct thing *a = submit(new_job("a, at work", wait_at_gate, print_done));
    struct thing *b = submit(new_job("b, cancelled", wait_at_gate, print_done));
    submit(new_job("c, queued", wait_at_gate, print_done));
    sem_wait(&inside);
    printf("a can be cancelled: %s\n", pool_cancel(&a->job) ? "yes" : "no");
    printf("b can be cancelled: %s\n", pool_cancel(&b->job) ? "yes" : "no");
    printf("b can be cancelled again: %s\n",
           pool_cancel(&b->job) ? "yes" : "no");
    sem_post(&gate);
    sem_post(&gate);
    loop_run(loop);
    pool_destroy(pool);
}

static void *
open_gate(void *arg)
{
    (void)arg;
    rest_ms(100); /* pool_destroy() is waiting by now */
    sem_post(&gate);
    sem_post(&gate);
    return NULL;
}

void
jobs_end(void)
{
    pthread_t thread;
    open_pool(2, 10);
    for (int i = 0; i < 2; i++)
        submit(new_job("at work", wait_at_gate, count_done));
    sem_wait(&inside);
    sem_wait(&inside);
    for (int i = 0; i < 3; i++)
        submit(new_job("queued", wait_at_gate, count_done));
    must(pthread_create(&thread, NULL, open_gate, NULL) == 0, "thread");
    pool_destroy(pool);
    printf("the pool is gone; now the completion events\n");
    loop_run(loop);
    pthread_join(thread, NULL);
    printf("%d have run, %d were cancelled\n", have_run, cancelled);
}

enum { JOBS = 20000, IN_FLIGHT = 500 };
static int submitted, finished;
static _Atomic int worked;

static void
work_once(void *arg)
{
    (void)arg;
    worked++;
}

static void
submit_next(void *arg, bool ran)
{
    finished += ran;
    free(arg); /* ASan sees a worker that is not done with it yet */
    if (submitted == JOBS)
        return;
    submitted++;
    submit(new_job("one of many", work_once, submit_next));
}

void
jobs_many(void)
{
    /* More places than jobs: a worker that is put aside while it takes one has
     * its place, and a ring that has come round to it would say "full". */
    open_pool(POOL_THREADS, POOL_CAPACITY);
    for (int i = 0; i < IN_FLIGHT; i++) {
        submitted++;
        submit(new_job("one of many", work_once, submit_next));
    }
    loop_run(loop);
    printf("%d jobs submitted, %d run, %d done\n", submitted, worked, finished);
    pool_destroy(pool);
}

/* As many jobs wait for each other as there are threads: they can go on only if
 * each has a thread, although they were submitted at once. */
static void
meet(void *arg)
{
    pthread_barrier_wait(arg);
}

static void
nothing(void *arg, bool ran)
{
    (void)arg;
    (void)ran;
}

void
jobs_meet(void)
{
    pthread_barrier_t barrier;
    struct pool_job job[POOL_THREADS];
    pthread_barrier_init(&barrier, NULL, POOL_THREADS);
    open_pool(POOL_THREADS, 2 * POOL_THREADS);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < POOL_THREADS; i++) {
            job[i] = (struct pool_job){
                .work = meet, .done = nothing, .arg = &barrier};
            must(pool_submit(pool, loop, &job[i]), "pool_submit");
        }
        loop_run(loop);
    }
    printf("%d jobs were at work at the same time, 50 times\n", POOL_THREADS);
    pool_destroy(pool);
    pthread_barrier_destroy(&barrier);
}
