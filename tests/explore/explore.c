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
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

enum { PATH = 20000 };

const struct scenario *scenario = scenarios;
struct run run;
bool tracing;
int quiet;
uint64_t news;

static struct choice {
    int options, taken;
} path[PATH];
static int depth, length; /* choices made in this run; length of the path */
static char verdict[300]; /* the rule that this run has broken, or "" */
static jmp_buf run_ends;

/* --- choices ------------------------------------------------------------- */

int
choose(int options)
{
    if (options < 2 || quiet)
        return 0;
    if (depth == PATH)
        fail("the explorer's limit: more than %d choices in a run", PATH);
    if (depth == length) /* beyond the known path: the first option first */
        path[length++] = (struct choice){options, 0};
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
    return length > 0 && ++path[length - 1].taken;
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
run_once(int number)
{
    run = (struct run){.number = number};
    quiet = number ? 0 : -1; /* in the setup nobody has a choice */
    depth = 0;
    news = 0;
    verdict[0] = '\0';
    begin_memory();
    if (_setjmp(run_ends) == 0)
        start_threads();
}

/* `run` turns this into sentences. A queue that is not lock-free may still be as
 * good as its contract says. */
static bool
report(void)
{
    bool failed = verdict[0] != '\0',
         remark = scenario->informs && strncmp(verdict, "NOT LOCK", 8) == 0;

    printf("%s|%s|%d|%d|%d|%d|%d\n%s\n",
           remark   ? "note"
           : failed ? "FAIL"
                    : "ok",
           scenario->name, run.number, scenario->preemptions, scenario->stale,
           scenario->spurious, scenario->frozen, verdict);
    tracing = failed && run.number > 0;
    if (tracing)
        run_once(run.number + 1); /* the same path again */
    for (struct thread *t = threads + 1; tracing && t < threads + THREADS; t++)
        if (t->state != OVER)
            printf("|%s|%s|\n", t->name,
                   t->state == READY ? "goes round in circles" : t->why);
    return failed && !remark;
}

/* explore SCENARIO [N]: explores it, and shows run N even if all is well.
 * Without arguments: the names. */
int
main(int argc, char **argv)
{
    int show = argc > 2 ? atoi(argv[2]) : 0;

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
    run_once(0);
    for (bool more = !verdict[0]; more; more = !verdict[0] && next_path()) {
        tracing = run.number + 1 == show;
        run_once(run.number + 1);
    }
    bool failed = report();
    say_last_word();
    return failed;
}
