/* queue-scenarios - what a job queue must do, scene by scene, without chance.
 *
 *     queue-scenarios pop-sleeps
 *
 * It is linked with the learner's queue, and plays one scene with it. The
 * actors are threads that each make one call. Whether a call waits is not
 * judged by the clock: /proc/self/task/TID says whether the thread is asleep,
 * and in which system call. A deadline ends only what has gone wrong.
 *
 * Two functions are wrapped by the linker (--wrap), pthread_cond_wait and
 * syscall, because everyone who goes to sleep passes through one of them. There
 * the program can let a thread wake up for no reason, or let another thread act
 * in the very moment before this one falls asleep.
 *
 * The first thing that is wrong ends the program with three lines: what was
 * done, what was expected, what came. Exit: 0, 1, or 2 for an unknown scene.
 */
#include "queue_actors.h"

enum {
    MANY = 4,   /* threads that do the same */
    LAPS = 300, /* more than fit into a byte */
};

/* --- scenes for one thread: every kind of queue -------------------------- */

/* A queue as one thread sees it. */
struct kind {
    const char *name;
    void *(*create)(size_t capacity);
    enum jq_result (*push)(void *q, struct job job);
    enum jq_result (*pop)(void *q, struct job *job);
    void (*destroy)(void *q);
};

#define KIND(prefix, type, push_call, pop_call)                                \
    static void *prefix##_new(size_t capacity)                                 \
    {                                                                          \
        return prefix##_create(capacity);                                      \
    }                                                                          \
    static enum jq_result prefix##_in(void *q, struct job job)                 \
    {                                                                          \
        return push_call((struct type *)q, job);                               \
    }                                                                          \
    static enum jq_result prefix##_out(void *q, struct job *job)               \
    {                                                                          \
        return pop_call((struct type *)q, job);                                \
    }                                                                          \
    static void prefix##_free(void *q)                                         \
    {                                                                          \
        prefix##_destroy((struct type *)q);                                    \
    }

KIND(jq, job_queue, jq_try_push, jq_try_pop)
#if HAVE_RINGS
KIND(spsc, spsc_ring, spsc_try_push, spsc_try_pop)
KIND(scq, scq, scq_try_push, scq_try_pop)
#endif

static const struct kind kinds[] = {
    {"jq", jq_new, jq_in, jq_out, jq_free},
#if HAVE_RINGS
    {"spsc", spsc_new, spsc_in, spsc_out, spsc_free},
    {"scq", scq_new, scq_in, scq_out, scq_free},
#endif
};

static const size_t capacities[] = {1, 2, 3, 4, 5, 7, 8, 100};
enum { CAPACITIES = sizeof capacities / sizeof capacities[0] };

static void *
create(const struct kind *k, size_t capacity)
{
    done[0] = '\0';
    did("%s_create(%zu)", k->name, capacity);
    void *q = k->create(capacity);
    if (q == NULL)
        fail("a queue", "NULL: %s", strerror(errno));
    return q;
}

/* Exactly as many jobs as the capacity go in. */
static void
fill(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        did("%s_try_push() %zu times", k->name, capacities[c]);
        for (size_t i = 1; i <= capacities[c]; i++) {
            expect_result("each of them", JQ_OK, k->push(q, numbered(i)));
            if (k == &kinds[0])
                expect_number("jq_len() after each", i, jq_len(q));
        }
        k->destroy(q);
    }
}

/* ...and not one more. */
static void
full(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        did("fill it with %zu jobs", capacities[c]);
        for (size_t i = 1; i <= capacities[c]; i++)
            expect_result("each push", JQ_OK, k->push(q, numbered(i)));
        did("push two more");
        for (int i = 0; i < 2; i++)
            expect_result("each of the two", JQ_FULL,
                          k->push(q, numbered(1000)));
        k->destroy(q);
    }
}

static void
empty(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        did("push and pop a job, and pop again");
        struct job job = numbered(0);
        expect_result("the push", JQ_OK, k->push(q, numbered(7)));
        expect_result("the first pop", JQ_OK, k->pop(q, &job));
        expect_job(7, job);
        job = numbered(1234);
        for (int i = 0; i < 2; i++)
            expect_result("the pop of an empty queue", JQ_EMPTY,
                          k->pop(q, &job));
        did("look at *job, which was job 1234");
        expect_job(1234, job);
        k->destroy(q);
    }
}

/* In and out, in groups of every size, round and round. */
static void
order(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        size_t in = 0, out = 0;
        did("push and pop %zu jobs in groups of 1 to %zu", LAPS * capacities[c],
            capacities[c]);
        for (size_t group = 1; out < LAPS * capacities[c];
             group = group % capacities[c] + 1) {
            for (size_t i = 0; i < group; i++)
                expect_result("each push", JQ_OK, k->push(q, numbered(in++)));
            for (size_t i = 0; i < group; i++) {
                struct job job = {NULL, NULL};
                expect_result("each pop", JQ_OK, k->pop(q, &job));
                expect_job(out++, job);
            }
        }
        k->destroy(q);
    }
}

/* Two queues at once have nothing to do with each other. */
static void
two(const struct kind *k)
{
    void *a = create(k, 2), *b = k->create(3);
    did("make a second one for 3 jobs, and use both in turn");
    struct job job = {NULL, NULL};
    for (size_t i = 0; i < 20; i++) {
        expect_result("the first's push", JQ_OK, k->push(a, numbered(i)));
        expect_result("the second's push", JQ_OK,
                      k->push(b, numbered(100 + i)));
        expect_result("the first's pop", JQ_OK, k->pop(a, &job));
        expect_job(i, job);
        expect_result("the first's second pop", JQ_EMPTY, k->pop(a, &job));
        expect_result("the second's pop", JQ_OK, k->pop(b, &job));
        expect_job(100 + i, job);
    }
    k->destroy(a);
    k->destroy(b);
}

/* --- scenes with sleepers ------------------------------------------------ */

static struct job_queue *
queue_with(size_t capacity, size_t jobs)
{
    struct job_queue *q = create(&kinds[0], capacity);
    if (jobs > 0)
        did("push %zu job%s", jobs, jobs == 1 ? "" : "s");
    for (size_t i = 1; i <= jobs; i++)
        expect_result("each push", JQ_OK, jq_try_push(q, numbered(i)));
    return q;
}

static size_t
pop_number(struct job_queue *q)
{
    struct job job = {NULL, NULL};
    expect_result("a pop", JQ_OK, jq_try_pop(q, &job));
    expect_job((size_t)(uintptr_t)job.arg, job);
    return (size_t)(uintptr_t)job.arg;
}

/* Lets everyone go who still sleeps, and frees the queue. */
static void
close_and_destroy(struct job_queue *q, struct actor **sleepers, size_t n)
{
    jq_close(q);
    for (size_t i = 0; i < n; i++)
        must_return(sleepers[i], JQ_CLOSED);
    jq_destroy(q);
}

static void
push_sleeps(void)
{
    struct job_queue *q = queue_with(2, 2);
    did("jq_push() a third");
    struct actor *a = start(PUSH, q, 3);
    must_sleep(a);
    expect_number("jq_len()", 2, jq_len(q));
    _exit(0); /* whether it wakes up again is another scene */
}

static void
pop_sleeps(void)
{
    struct job_queue *q = queue_with(2, 0);
    did("jq_pop()");
    struct actor *a = start(POP, q, 0);
    must_sleep(a);
    _exit(0);
}

/* Four workers with nothing to do use no processor time for a quarter of a
 * second. A busy machine gets a few attempts; a spinner fails all of them. */
static void
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
            _exit(0);
    }
    fail("they use no processor time", "%.1f ms in 250 ms", used / 1e6);
}

static void
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

static void
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
static void
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
static void
spurious_wake_up(void)
{
    struct job_queue *q = queue_with(1, 0);
    did("jq_pop(), which wakes up three times for no reason");
    atomic_store(&spurious, 3);
    struct actor *a = start(POP, q, 0);
    must_sleep(a);
    if (atomic_load(&spurious) > 0)
        fail("it looks again, and waits again", "it waited less often");
    _exit(0);
}

static void
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
    _exit(0);
}

/* What happens between the last look and the sleep is not slept through. */
static void
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

/* --- closing ------------------------------------------------------------- */

static void
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

static void
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

static void
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

static void
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
static void
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
static void
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

/* --- odds and ends ------------------------------------------------------- */

/* While nobody sleeps, the kernel has nothing to do with it. */
static void
no_syscall(void)
{
    struct job_queue *q = queue_with(4, 0);
    struct job job;
    did("push and pop 1000 jobs in one thread");
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

/* Impossible capacities, and the end of a queue that still holds jobs (the
 * sanitizer looks for leaks). */
static void
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

/* --- the programme ------------------------------------------------------- */

static const struct scene {
    const char *name;
    void (*alone)(const struct kind *k); /* one of the two */
    void (*play)(void);
} scenes[] = {
    {"fill", fill, NULL},
    {"full", full, NULL},
    {"empty", empty, NULL},
    {"order", order, NULL},
    {"two", two, NULL},
    {"push-sleeps", NULL, push_sleeps},
    {"pop-sleeps", NULL, pop_sleeps},
    {"idle", NULL, idle},
    {"push-wakes-pop", NULL, push_wakes_pop},
    {"pop-wakes-push", NULL, pop_wakes_push},
    {"wake-each", NULL, wake_each},
    {"spurious-pop", NULL, spurious_wake_up},
    {"spurious-push", NULL, spurious_wake_up_push},
    {"last-moment", NULL, last_moment},
    {"close-wakes", NULL, close_wakes},
    {"close-drains", NULL, close_drains},
    {"close-refuses", NULL, close_refuses},
    {"close-last-moment", NULL, close_last_moment},
    {"close-shows", NULL, close_shows},
    {"shows", NULL, shows},
    {"no-syscall", NULL, no_syscall},
    {"create-destroy", NULL, create_and_destroy},
};

/* queue-scenarios SCENE [jq|spsc|scq]; NO_MEMBARRIER=1: as if the kernel had
 * none. */
int
main(int argc, char **argv)
{
    const struct kind *kind = &kinds[0];
    no_membarrier = getenv("NO_MEMBARRIER") != NULL;
    signal(SIGALRM, give_up);
    alarm(3 * (unsigned)patience());
    for (size_t i = 0; argc > 2 && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(argv[2], kinds[i].name) == 0)
            kind = &kinds[i];
    for (size_t i = 0; argc > 1 && i < sizeof scenes / sizeof scenes[0]; i++) {
        if (strcmp(argv[1], scenes[i].name) != 0)
            continue;
        if (scenes[i].alone != NULL)
            scenes[i].alone(kind);
        else
            scenes[i].play();
        return 0;
    }
    fputs("usage: queue-scenarios SCENE [jq|spsc|scq], with SCENE one of\n",
          stderr);
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        fprintf(stderr, "  %s\n", scenes[i].name);
    return 2;
}
