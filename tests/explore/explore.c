/*
 * explore.c - runs a scenario in all schedules, one after the other.
 *
 * A stress test meets the schedules that the machine happens to produce. The
 * explorer makes them itself. Whatever could go one way or another in a run,
 * who goes on, what a load returns, whether a wake-up is spurious, is decided
 * by choose(), and `path` holds the answers of the present run. The next run
 * repeats the path but for the last answer that has an alternative left: a
 * depth-first search that keeps no state but the path ("stateless model
 * checking": Godefroid's VeriSoft, POPL 1997). So the same program always
 * explores the same runs, and the one that fails can be repeated, step by step.
 */
#include "explore.h"
#include "../tools/last_word.h"
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { PATH = 20000, STACK = 1 << 16 };

struct thread threads[THREADS] = {{.name = "main"}}, *running = threads;
const struct scenario *scenario = scenarios;
struct run run;
bool quiet, tracing;
long news;

static struct {
    unsigned char options, taken;
} path[PATH];
static int depth, length; /* choices made in this run; length of the path */
static char verdict[300]; /* the rule that this run has broken, or "" */
static jmp_buf run_ends;
static jmp_buf starts[THREADS];

/* --- choices ------------------------------------------------------------- */

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

/* Things that happen a limited number of times in a run. */
bool
unlikely(int *so_far, int bound)
{
    bool yes = *so_far < bound && choose(2) == 1;

    *so_far += yes;
    return yes;
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

/* --- runs ---------------------------------------------------------------- */

void
end_run(void)
{
    _longjmp(run_ends, 1);
}

void
fail(const char *rule, ...)
{
    va_list args;

    va_start(args, rule);
    vsnprintf(verdict, sizeof verdict, rule, args);
    va_end(args);
    end_run();
}

static void
crash(int number)
{
    sysv_signal(number, crash);
    fail("CRASH: %s", strsignal(number));
}

static void
perform(const struct act *acts)
{
    for (; acts->call; acts++)
        acts->call(acts->number);
}

/* The bottom of each thread's stack. Stacks are made once: a run begins with a
 * jump to `starts`, wherever the last run has left the thread. */
static void
thread_main(void)
{
    if (_setjmp(starts[running - threads]) == 0)
        end_run();
    perform(scenario->threads[running - threads].acts);
    running->state = OVER;
    running->knows.steps[running - threads] = run.steps;
    learn(&threads[0].knows, &running->knows); /* pthread_join() */
    if (--run.unfinished == 0)
        wake(threads, 1);
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
        if (_setjmp(run_ends) == 0)
            setcontext(&context);
    }
    running = threads;
}

static void
run_once(void)
{
    run = (struct run){.number = run.number + 1};
    depth = 0;
    news = 0;
    quiet = false;
    verdict[0] = '\0';
    restore_world();
    for (int i = 0; i < THREADS; i++) {
        bool there = i > 0 && scenario->threads[i].name;
        threads[i] = (struct thread){.name = scenario->threads[i].name,
                                     .state = there || i == 0 ? READY : OVER,
                                     .rests = -1};
        memcpy(threads[i].here, starts[i], sizeof starts[i]);
        run.unfinished += there;
    }
    running = threads;
    if (_setjmp(run_ends) == 0) {
        if (run.unfinished > 0)
            block("waits for the others to end", threads);
        perform(scenario->threads[0].acts);
        check_history();
    }
}

/* A queue that is not lock-free may still be as good as its contract says. */
static bool
is_remark(void)
{
    return scenario->informs && strncmp(verdict, "NOT LOCK-FREE", 13) == 0;
}

/* `run` turns this into sentences. */
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
                   t->state == READY    ? "goes round in circles"
                   : t->state == FROZEN ? "stands still"
                                        : t->why);
}

static void
explore(long show)
{
    static long runs; /* not in a register that longjmp() restores */

    quiet = true;
    if (_setjmp(run_ends) == 0) {
        perform(scenario->setup);
        remember_world();
    }
    quiet = false;
    for (bool more = !verdict[0]; more; more = !verdict[0] && next_path()) {
        tracing = ++runs == show;
        run_once();
    }
    report(runs);
}

/* explore SCENARIO [N]: explores it, and shows run N even if all is well.
 * Without arguments: the names. */
int
main(int argc, char **argv)
{
    take_last_word();
    for (; argc < 2 && scenario->name; scenario++)
        puts(scenario->name);
    while (scenario->name && strcmp(scenario->name, argv[1]) != 0)
        scenario++;
    if (scenario->name == NULL)
        return argc < 2 ? 0 : 2;
    sysv_signal(SIGSEGV, crash);
    sysv_signal(SIGFPE, crash);
    sysv_signal(SIGABRT, crash);
    make_stacks();
    explore(argc > 2 ? atol(argv[2]) : 0);
    say_last_word();
    return verdict[0] && !is_remark();
}
