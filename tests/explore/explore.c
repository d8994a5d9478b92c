/*
 * explore.c - which thread takes the next step, and which one else could have.
 *
 * A stress test meets the schedules that the machine happens to produce. The
 * explorer makes them itself. The threads of a scenario are coroutines on one
 * real thread; before each step that others could notice (an atomic access, a
 * mutex, condition or futex call) step() decides who goes on. Every decision,
 * also what a load returns and whether a wake-up is spurious, goes through
 * choose(), and `path` holds the answers of the present run. The next run
 * repeats the path except for the last answer that has an alternative: a
 * depth-first search that keeps no state but the path ("stateless model
 * checking": Godefroid, VeriSoft, 1997), and that can repeat any run exactly.
 *
 * All schedules would be too many, so a scenario bounds the preemptions, the
 * switches away from a thread that could have gone on. Most bugs need one or
 * two (Musuvathi and Qadeer, "Iterative context bounding", PLDI 2007: CHESS).
 *
 * Plain accesses are no scheduling points. Without a data race nobody can tell
 * when they happen, and a data race is found in memory.c however they happen.
 */
#include "explore.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
    PATH = 20000,   /* choices in a run */
    POINTS = 100000, /* a run with more scheduling points goes nowhere */
    TURN = 500,      /* steps until others get the CPU, whatever happens */
    MEMORY = 16,     /* steps that a thread remembers */
    PATIENCE = 1000, /* repeated steps until a thread that spins has to rest */
    RESTS = 10,     /* points that it costs when all have to rest */
    STACK = 1 << 16,
};

struct thread threads[THREADS] = {{.name = "main"}}, *running = threads;
const struct scenario *scenario = scenarios;
struct run run;
bool quiet, tracing;
long news;

static struct {
    unsigned char options, taken;
} path[PATH];
static int depth, length; /* choices made in this run; length of the path */
static char verdict[300]; /* the rule that this run broke, or "" */
static jmp_buf explorer;  /* where a run ends early */
static jmp_buf starts[THREADS];

int
choose(int options)
{
    if (options < 2 || quiet)
        return 0;
    if (depth == PATH)
        fail("the explorer's limit: more than %d choices in a run", PATH);
    if (depth == length) { /* beyond the known path: the first option first */
        path[length].options = (unsigned char)options;
        path[length++].taken = 0;
    }
    if (path[depth].options != options)
        fail("the explorer's limit: the same path led somewhere else; does the "
             "code use the time, or chance?");
    return path[depth++].taken;
}

static bool
next_path(void)
{
    while (length > 0 && path[length - 1].taken + 1 == path[length - 1].options)
        length--;
    if (length > 0)
        path[length - 1].taken++;
    return length > 0;
}

bool
unlikely(int *so_far, int bound)
{
    bool yes = *so_far < bound && choose(2) == 1;

    *so_far += yes;
    return yes;
}

void
fail(const char *rule, ...)
{
    va_list args;

    va_start(args, rule);
    vsnprintf(verdict, sizeof verdict, rule, args);
    va_end(args);
    _longjmp(explorer, 1);
}

static void
crash(int number)
{
    sysv_signal(number, crash);
    fail("crash: %s", strsignal(number));
}

/* --- scheduling ---------------------------------------------------------- */

/* swapcontext() would enter the kernel twice, for the signal mask. */
static void
switch_to(struct thread *next)
{
    struct thread *me = running;

    me->error = errno;
    next->turn = 0;
    running = next;
    if (_setjmp(me->here) == 0)
        _longjmp(next->here, 1);
    errno = running->error;
}

static bool
can_run(const struct thread *t)
{
    return t->state == READY && t->rests != news;
}

static _Noreturn void
stuck(void)
{
    fail(run.frozen ? "not lock-free: one thread stands still inside a call, "
                      "and the others get nowhere"
                    : "deadlock, lost wake-up or livelock: nobody gets "
                      "anywhere any more");
}

/* Nobody has anything new to look at. Those who spin look again, in turn, since
 * they may count how often. If nobody spins, the run is stuck; or it is over,
 * and the frozen thread is the only one that has not finished. */
static struct thread *
last_resort(void)
{
    run.points += RESTS;
    for (int i = 1; i <= THREADS; i++) {
        struct thread *t = &threads[(running - threads + i) % THREADS];
        if (t->state == READY && run.points < POINTS) {
            t->rests = -1;
            return t;
        }
    }
    for (int i = 1; i < THREADS; i++)
        if (threads[i].state < FROZEN)
            stuck();
    if (run.frozen == 0)
        stuck();
    _longjmp(explorer, 1);
}

static void
schedule(void)
{
    struct thread *options[THREADS + 1], *me = running, *next;
    bool stay = can_run(me);
    int n = 0;

    for (int i = 0; i < THREADS; i++) {
        struct thread *t = &threads[(me - threads + i) % THREADS];
        if (can_run(t) &&
            (t == me || !stay || run.preemptions < scenario->preemptions))
            options[n++] = t;
    }
    if (n == 0)
        options[n++] = last_resort();
    if (stay && me->call && run.frozen < scenario->frozen)
        options[n++] = NULL; /* me, and never again */
    next = options[choose(n)];
    if (next == NULL) {
        run.frozen++;
        me->state = FROZEN;
        me->why = "stands still";
        NOTE("stands still from here on");
        return schedule();
    }
    if (stay && next != me)
        NOTE("is preempted");
    run.preemptions += stay && next != me;
    if (next != me)
        switch_to(next);
}

/* A scheduling point, before each step that others could notice. A thread that
 * repeats a step although nothing has changed since is spinning. To preempt it
 * now or a round earlier makes no difference, so there is no choice; and after
 * some rounds it has to let the others go first. */
void
step(const void *at)
{
    static struct memory {
        const void *pc, *at;
        long news, call;
    } memories[THREADS][MEMORY];
    struct thread *me = running;
    struct memory this = {me->pc, at, news, me->call}, *m;
    bool again = false;

    run.steps++;
    if (quiet)
        return;
    m = memories[me - threads];
    for (int i = 0; i < MEMORY; i++)
        again |= memcmp(&m[i], &this, sizeof this) == 0;
    if (!again)
        m[me->turn++ % MEMORY] = this;
    me->idle = again ? me->idle + 1 : 0;
    if (++run.points > POINTS)
        stuck();
    if (me->turn > TURN || me->idle > PATIENCE)
        me->rests = news;
    if (!again || !can_run(me))
        schedule();
}

void
block(const char *why, const void *where)
{
    running->state = WAITS;
    running->why = why;
    running->where = where;
    schedule();
}

/* Wakes at most so many of those that wait there, whichever it may be. */
int
wake(const void *where, int most)
{
    struct thread *waiting[THREADS];
    int n = 0, woken = 0;

    for (struct thread *t = threads; t < threads + THREADS; t++)
        if (t->state == WAITS && t->where == where)
            waiting[n++] = t;
    for (; woken < most && n > 0; woken++) {
        int i = choose(most - woken < n ? n : 1);
        waiting[i]->state = READY;
        waiting[i] = waiting[--n];
    }
    news += woken;
    return woken;
}

/* --- runs ---------------------------------------------------------------- */

static void
perform(const struct act *acts)
{
    for (; acts->call; acts++)
        acts->call(acts->number);
}

/* The bottom of each thread's stack. The stacks are made once: a run begins with
 * a jump to `starts`, wherever the last run has left the thread. */
static void
thread_main(void)
{
    if (_setjmp(starts[running - threads]) == 0)
        _longjmp(explorer, 1);
    perform(scenario->threads[running - threads].acts);
    running->state = OVER;
    running->knows.steps[running - threads] = run.steps;
    learn(&threads[0].knows, &running->knows); /* pthread_join() */
    if (--run.unfinished == 0)
        threads[0].state = READY;
    news++;
    schedule();
}

static void
make_stacks(void)
{
    static _Alignas(64) char stacks[THREADS][STACK];
    static ucontext_t context;

    for (int i = 1; i < THREADS; i++) {
        getcontext(&context);
        context.uc_stack.ss_sp = stacks[i];
        context.uc_stack.ss_size = STACK;
        makecontext(&context, thread_main, 0);
        running = &threads[i];
        if (_setjmp(explorer) == 0)
            setcontext(&context);
    }
    running = threads;
}

static void
run_once(void)
{
    run = (struct run){.steps = 0};
    depth = 0;
    news++;
    restore_world();
    for (int i = 0; i < THREADS; i++) {
        bool there = i > 0 && scenario->threads[i].name;
        threads[i] = (struct thread){.name = scenario->threads[i].name,
                                     .state = there ? READY : OVER,
                                     .rests = -1};
        memcpy(threads[i].here, starts[i], sizeof starts[i]);
        run.unfinished += there;
    }
    running = threads;
    if (_setjmp(explorer) == 0) {
        block("waits for the others to end", threads);
        perform(scenario->threads[0].acts);
        check_history();
    }
}

static bool
is_remark(void)
{
    return scenario->informs && strncmp(verdict, "not lock-free", 13) == 0;
}

static void
report(long runs)
{
    printf("%s|%s|%ld|%d|%d|%d|%d\n%s\n",
           !verdict[0]   ? "ok"
           : is_remark() ? "note"
                         : "FAIL",
           scenario->name, runs, scenario->preemptions, scenario->stale,
           scenario->spurious, scenario->frozen, verdict);
    if (!verdict[0] || runs == 0)
        return;
    tracing = true;
    run_once(); /* the same path again */
    for (struct thread *t = threads + 1; t < threads + THREADS; t++)
        if (t->state != OVER)
            printf("|%s|%s|\n", t->name,
                   t->state == READY ? "goes round in circles" : t->why);
}

/* explore SCENARIO [N]: explores it; shows the N-th run, even if all is well.
 * Without arguments: the names. `run` turns the output into sentences. */
int
main(int argc, char **argv)
{
    static long runs;

    for (; argc < 2 && scenario->name; scenario++)
        puts(scenario->name);
    while (scenario->name && strcmp(scenario->name, argv[1]) != 0)
        scenario++;
    if (scenario->name == NULL)
        return argc > 1 ? 3 : 0;
    sysv_signal(SIGSEGV, crash);
    sysv_signal(SIGFPE, crash);
    sysv_signal(SIGABRT, crash);
    make_stacks();
    quiet = true;
    if (_setjmp(explorer) == 0)
        perform(scenario->setup);
    quiet = false;
    remember_world();
    for (bool more = !verdict[0]; more; more = !verdict[0] && next_path()) {
        tracing = ++runs == (argc > 2 ? atol(argv[2]) : 0);
        run_once();
    }
    report(runs);
    return verdict[0] && !is_remark();
}
