/*
 * The scenarios of stage 08: rings of atomics.
 *
 * Names that begin with spsc- and scq- are about those rings, the others about
 * job_queue.c. A try call of the latter may answer "full" or "empty" because
 * another thread is in the middle of a call, as its header says (half_done);
 * the ring for two threads may not.
 */
#include "jobs.h"
#include "scq.h"
#include "spsc_ring.h"

static struct spsc_ring *ring;
static struct scq *scq;

static enum jq_result
ring_put(struct job job)
{
    return spsc_try_push(ring, job);
}

static enum jq_result
ring_take(struct job *job)
{
    return spsc_try_pop(ring, job);
}

static void
make_ring(long capacity)
{
    ring = spsc_create((size_t)capacity);
    put = ring_put;
    take = ring_take;
}

static enum jq_result
scq_put(struct job job)
{
    return scq_try_push(scq, job);
}

static enum jq_result
scq_take(struct job *job)
{
    return scq_try_pop(scq, job);
}

static void
make_scq(long capacity)
{
    scq = scq_create((size_t)capacity);
    put = scq_put;
    take = scq_take;
}

static void
finish_all(long unused)
{
    finish(unused);
    spsc_destroy(ring);
    scq_destroy(scq);
}

/* The same while another thread sleeps in the middle of a call. */
static void
quiet_laps(long count)
{
    step(NULL);
    NOTE("works on, in one step");
    quiet = -1;
    laps(count);
    quiet = 0;
}

/* A try pop that makes its first steps at once: fewer schedules. */
static void
pop_late(long steps)
{
    struct job job = {.arg = NULL};

    begin(TRY_POP, 0);
    NOTE("makes %ld steps at once", steps);
    quiet = (int)steps;
    enum jq_result answer = take(&job);
    quiet = 0;
    end((enum answer)answer, (long)job.arg);
}

static int
steps_of_a_push(void)
{
    int before = run.points;

    put((struct job){.arg = NULL});
    return run.points - before;
}

/* A pop that finds nothing uses up a ticket. The push behind it must not have
 * to try them all. */
static void
push_after(long pops)
{
    struct job job;
    int usual = steps_of_a_push(), after;

    take(&job);
    for (long i = 0; i < pops; i++)
        take(&job);
    after = steps_of_a_push();
    if (after > usual + 2)
        fail("SLOW: a push has %d steps, but %d behind %ld pops of an empty "
             "queue",
             usual, after, pops);
}

/* Jobs that nobody asks for. */
static void
fill(long count)
{
    for (; count > 0; count--)
        put((struct job){.arg = NULL});
}

/* Tries until it succeeds: lock-free means that it does, in the end, even if
 * another thread never takes another step. */
static void
push_somehow(long job)
{
    begin(PUSH, job);
    while (put((struct job){.arg = (void *)job}) != JQ_OK)
        ;
    end(DONE, job);
}

static void
pop_somehow(long unused)
{
    struct job job;

    begin(POP, unused);
    while (take(&job) != JQ_OK)
        ;
    end(DONE, (long)job.arg);
}

/* clang-format off */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* {pop} */
#define MAIN {"main", {{finish_all}}}
#define THREE_AND_TWO \
    .threads = {MAIN, \
                {"producer", {{try_push, 1}, {try_push, 2}, {try_push, 3}}}, \
                {"consumer", {{try_pop}, {try_pop}}}}
#define FOUR_AND_TWO \
    .threads = {MAIN, \
                {"producer", {{try_push, 1}, {try_push, 2}, {try_push, 3}, \
                              {try_push, 4}}}, \
                {"consumer", {{try_pop}, {try_pop}}}}
#define MIXED \
    .threads = {MAIN, \
                {"A", {{try_push, 1}, {try_pop}}}, \
                {"B", {{try_push, 2}, {try_pop}, {try_push, 3}, {try_pop}}}}
#define FROZEN_PUSH \
    .threads = {MAIN, \
                {"frozen", {{try_push, 1}}}, \
                {"other", {{push_somehow, 2}, {pop_somehow}}}}
#define FROZEN_POP \
    .threads = {MAIN, \
                {"frozen", {{try_pop}}}, \
                {"other", {{push_somehow, 2}, {pop_somehow}, \
                           {push_somehow, 3}, {pop_somehow}}}}

const struct scenario scenarios[] = {
    /* the ring for two threads */
    {.name = "spsc", .setup = {{make_ring, 2}}, THREE_AND_TWO, .capacity = 2,
     .preemptions = 3, .stale = 2},
    {.name = "spsc-3", .setup = {{make_ring, 3}, {laps, 254}}, FOUR_AND_TWO,
     .capacity = 3, .preemptions = 3, .stale = 2},
    {.name = "spsc-laps", .setup = {{make_ring, 2}, {laps, 65535}},
     THREE_AND_TWO, .capacity = 2, .preemptions = 3, .stale = 1},

    /* the try calls of the ring for many */
    {.name = "try-1x1", .setup = {{make, 2}}, THREE_AND_TWO, .capacity = 2,
     .half_done = true, .preemptions = 3, .stale = 1, .spurious = 1},
    {.name = "try-one-slot", .setup = {{make, 1}}, MIXED, .capacity = 1,
     .half_done = true, .preemptions = 3, .stale = 1},
    {.name = "try-three", .setup = {{make, 3}, {laps, 254}}, FOUR_AND_TWO,
     .capacity = 3, .half_done = true, .preemptions = 2, .stale = 1},
    {.name = "try-2x1", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"prod A", {{try_push, 1}, {try_push, 2}}},
                 {"prod B", {{try_push, 3}}},
                 {"consumer", {{try_pop}, {try_pop}}}},
     .half_done = true, .preemptions = 2, .stale = 1},
    {.name = "try-1x2", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"producer", {{try_push, 1}, {try_push, 2}}},
                 {"cons A", {{try_pop}}},
                 {"cons B", {{try_pop}, {try_pop}}}},
     .half_done = true, .preemptions = 2, .stale = 1},
    {.name = "try-2x2", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"prod A", {{try_push, 1}, {try_push, 2}}},
                 {"prod B", {{try_push, 3}}},
                 {"cons A", {{try_pop}}},
                 {"cons B", {{try_pop}, {length, 2}}}},
     .half_done = true, .preemptions = 2},
    {.name = "try-mixed", .setup = {{make, 2}}, MIXED, .capacity = 2,
     .half_done = true, .preemptions = 3, .stale = 1},
    {.name = "len", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"producer", {{try_push, 1}}},
                 {"consumer", {{try_pop}}},
                 {"counter", {{length, 1}}}},
     .half_done = true, .preemptions = 2, .stale = 1},
    {.name = "try-frozen", .setup = {{make, 2}},
     .threads = {MAIN,
                 {"prod A", {{try_push, 1}, {try_push, 2}}},
                 {"prod B", {{try_push, 3}}},
                 {"consumer", {{try_pop}, {try_pop}}}},
     .preemptions = 1, .frozen = 1},

    /* counters that wrap */
    {.name = "laps-8", .setup = {{make, 2}, {laps, 255}}, MIXED, .capacity = 2,
     .half_done = true, .preemptions = 2},
    {.name = "laps-16", .setup = {{make, 2}, {laps, 65535}}, MIXED,
     .capacity = 2, .half_done = true, .preemptions = 2},
    {.name = "asleep-push", .setup = {{make, 2}},
     .threads = {MAIN,
                 {"sleeper", {{try_push, 1}}},
                 {"other", {{quiet_laps, 254}, {try_push, 2}, {try_push, 3}}}},
     .preemptions = 2},
    {.name = "asleep-pop", .setup = {{make, 2}},
     .threads = {MAIN,
                 {"sleeper", {{try_pop}}},
                 {"other", {{try_push, 1}, {try_push, 2}, {try_pop}, {try_pop},
                            {quiet_laps, 254}}}},
     .preemptions = 2},

    /* push and pop, which sleep */
    {.name = "sleep-1x1", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}}},
                 {"consumer", {{pop}, {pop}}}},
     .half_done = true, .preemptions = 2, .stale = 1, .spurious = 1},
    {.name = "sleep-2x1", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"prod A", {{push, 1}, {push, 2}}},
                 {"prod B", {{push, 3}}},
                 {"consumer", {{pop}, {pop}, {pop}}}},
     .half_done = true, .preemptions = 1, .spurious = 1},
    {.name = "sleep-1x2", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}, {push, 3}}},
                 {"cons A", {{pop}}},
                 {"cons B", {{pop}, {pop}}}},
     .half_done = true, .preemptions = 1, .spurious = 1},
    {.name = "sleep-2x2", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"prod A", {{push, 1}}},
                 {"prod B", {{push, 2}}},
                 {"cons A", {{pop}}},
                 {"cons B", {{pop}}}},
     .half_done = true, .preemptions = 1},
    {.name = "sleep-2x2-full", .setup = {{make, 2}, {fill, 2}},
     .threads = {MAIN,
                 {"cons A", {{pop}}},
                 {"cons B", {{pop}}},
                 {"prod A", {{push, 1}}},
                 {"prod B", {{push, 2}}}},
     .preemptions = 1},
    {.name = "sleep-no-membarrier", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}}},
                 {"consumer", {{pop}, {pop}}}},
     .half_done = true, .preemptions = 2, .stale = 1, .spurious = 1,
     .no_membarrier = true},

    /* close */
    {.name = "close-pop", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"cons A", {{pop}}},
                 {"cons B", {{pop}}},
                 {"closer", {{close_queue, 9}}}},
     .half_done = true, .preemptions = 2, .stale = 1},
    {.name = "close-push", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"prod A", {{push, 1}, {push, 2}}},
                 {"prod B", {{push, 3}}},
                 {"closer", {{close_queue, 9}, {push, 4}}}},
     .half_done = true, .preemptions = 1, .stale = 1},
    {.name = "close-race", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {try_push, 2}}},
                 {"consumer", {{pop}, {pop}, {pop}}},
                 {"closer", {{close_queue, 9}}}},
     .half_done = true, .preemptions = 2},

    /* is it lock-free? */
    {.name = "lock-free-push", .setup = {{make, 2}}, FROZEN_PUSH,
     .preemptions = 1, .frozen = 1, .informs = true},
    {.name = "lock-free-pop", .setup = {{make, 2}, {fill, 1}}, FROZEN_POP,
     .preemptions = 1, .frozen = 1, .informs = true},

    /* the bonus ring */
    {.name = "scq-lock-free-push", .setup = {{make_scq, 2}}, FROZEN_PUSH,
     .preemptions = 1, .frozen = 1},
    {.name = "scq-lock-free-pop", .setup = {{make_scq, 2}, {fill, 1}},
     FROZEN_POP, .preemptions = 1, .frozen = 1},
    {.name = "scq-1x1", .setup = {{make_scq, 2}}, THREE_AND_TWO, .capacity = 2,
     .half_done = true, .preemptions = 2, .stale = 1, .spurious = 1},
    {.name = "scq-mixed", .setup = {{make_scq, 2}, {laps, 300}}, MIXED,
     .capacity = 2, .half_done = true, .preemptions = 3},
    {.name = "scq-2x1", .setup = {{make_scq, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"prod A", {{try_push, 1}, {try_push, 2}}},
                 {"prod B", {{try_push, 3}}},
                 {"consumer", {{try_pop}, {try_pop}}}},
     .half_done = true, .preemptions = 2},
    {.name = "scq-1x2", .setup = {{make_scq, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"producer", {{try_push, 1}, {try_push, 2}}},
                 {"cons A", {{try_pop}}},
                 {"cons B", {{try_pop}, {try_pop}}}},
     .half_done = true, .preemptions = 2},
    /* The consumers pass all tickets of a lap, while one of them has not yet
     * taken what it has the ticket for: its entry must not be used again. */
    {.name = "scq-passed", .setup = {{make_scq, 2}, {fill, 1}},
     .threads = {MAIN,
                 {"slow", {{try_pop}}},
                 {"cons A", {{try_pop}, {try_pop}, {try_pop}}},
                 {"producer", {{try_push, 2}}},
                 {"cons B", {{try_pop}}}},
     .preemptions = 2},
    /* Three consumers have found nothing, and count their attempts when the
     * producer has set a new limit: what is left has to be enough. */
    {.name = "scq-crowd", .setup = {{make_scq, 1}, {laps, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"cons A", {{pop_late, 6}}},
                 {"cons B", {{pop_late, 6}}},
                 {"cons C", {{pop_late, 6}}},
                 {"producer", {{try_push, 1}}}},
     .half_done = true, .preemptions = 3},
    {.name = "scq-catches-up", .setup = {{make_scq, 2}},
     .threads = {{"main", {{push_after, 5}}}}},
    {0},
};
/* clang-format on */
