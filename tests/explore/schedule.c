/*
 * schedule.c - which thread takes the next step, and which one else could have.
 *
 * The threads of a scenario are coroutines on one real thread. Before each step
 * that others could notice (an atomic access, a call for a mutex, a condition
 * or a futex) step() decides who goes on. All schedules would be too many, so a
 * scenario bounds the preemptions, the switches away from a thread that could
 * have gone on: most bugs need one or two (Musuvathi and Qadeer, "Iterative
 * context bounding", PLDI 2007, the program CHESS). Switches away from a thread
 * that has to wait are free.
 *
 * Plain accesses are no scheduling points. Without a data race nobody can tell
 * when they happen, and a data race is found in memory.c whenever they happen.
 */
#include "explore.h"
#include <string.h>
#include <ucontext.h>

enum {
    STACK = 1 << 16,
    POINTS = 100000, /* a run with more scheduling points goes nowhere */
    TURN = 1000,     /* steps until the others get the processor */
};

struct thread threads[THREADS], *running = threads;
static ucontext_t contexts[THREADS];
static void schedule(void);

/* --- threads ------------------------------------------------------------- */

/* The bottom of each thread's stack. The first thread does the setup, in run 0,
 * and in any other run waits for all others first. */
static void
be_thread(void)
{
    struct thread *me = running;
    const struct act *act = scenario->threads[me - threads].acts;

    if (me == threads)
        block("waits for the others to end", threads);
    for (act = run.number ? act : scenario->setup; act->call; act++)
        act->call(act->number);
    me->state = OVER;
    me->knows.of[me - threads] = run.steps;
    learn(&threads[0].knows, &me->knows); /* pthread_join() */
    news++;
    schedule();
}

static void
start(int i)
{
    static _Alignas(64) char stacks[THREADS][STACK];
    const char *name = run.number ? scenario->threads[i].name : NULL;

    threads[i] = (struct thread){.name = name, .rests = -1};
    threads[i].state = name || i == 0 ? READY : OVER;
    if (run.number == 0)
        getcontext(&contexts[i]);
    contexts[i].uc_stack.ss_sp = stacks[i];
    contexts[i].uc_stack.ss_size = STACK;
    makecontext(&contexts[i], be_thread, 0);
}

void
start_threads(void)
{
    for (int i = 0; i < THREADS; i++)
        start(i);
    running = threads;
    setcontext(&contexts[0]);
}

/* --- who goes on --------------------------------------------------------- */

static bool
can_run(const struct thread *t)
{
    return t->state == READY && t->rests != news;
}

/* Nobody has anything new to look at. Those who spin look again, in turn, since
 * they may count how often. If nobody spins the others are over, and it is the
 * first thread's turn; or the run is stuck. */
static struct thread *
last_resort(void)
{
    bool spins = false, sleeps = false, waits = false;

    for (int i = 1; i <= THREADS; i++) {
        struct thread *t = &threads[(running - threads + i) % THREADS];
        if (t->state == READY && run.points < POINTS) {
            t->rests = -1;
            return t;
        }
        spins |= t->state == READY;
        waits |= t->state == WAITS && t->where != threads;
        sleeps |= t->state == WAITS && strncmp(t->why, "sleeps", 6) == 0;
    }
    if (spins || waits)
        fail(run.frozen ? "NOT LOCK-FREE: one thread stands still inside a "
                          "call, and the others get nowhere"
             : spins    ? "LIVELOCK: nobody gets anywhere any more"
             : sleeps   ? "LOST WAKE-UP: nobody is left to wake those who sleep"
                        : "DEADLOCK: each waits for another one");
    if (run.frozen || wake(threads, 1) == 0)
        end_run();
    return threads;
}

static void
schedule(void)
{
    struct thread *options[THREADS], *me = running, *next;
    bool stay = can_run(me), all = run.preemptions < scenario->preemptions;
    int n = 0;

    for (int i = 0; i < THREADS; i++) {
        struct thread *t = &threads[(me - threads + i) % THREADS];
        if (can_run(t) && (t == me || !stay || all))
            options[n++] = t;
    }
    next = n > 0 ? options[choose(n)] : last_resort();
    if (next == me)
        return;
    if (stay)
        NOTE("is preempted");
    run.preemptions += stay;
    next->turn = 0;
    running = next;
    swapcontext(&contexts[me - threads], &contexts[next - threads]);
}

/* A scheduling point, before each step that others could notice. A thread that
 * repeats a step although nothing has changed since is spinning. To preempt it
 * now or a round earlier makes no difference, so there is no choice; and after
 * many rounds it has to let the others go first. */
void
step(const void *at)
{
    struct thread *me = running;
    uint64_t this = MIX(me->pc, MIX(at, MIX(me->call + 1, news)));

    run.steps++;
    if (quiet) {
        quiet -= quiet > 0;
        return;
    }
    me->again = false;
    for (int i = 0; i < RECENT; i++)
        me->again |= me->recent[i] == this;
    if (!me->again)
        me->recent[me->turn % RECENT] = this;
    if (++me->turn > TURN)
        me->rests = news;
    if (++run.points > POINTS)
        last_resort();
    if (!me->again && me->call && unlikely(&run.frozen, scenario->frozen)) {
        NOTE("stands still from here on");
        me->state = FROZEN;
        me->why = "stands still";
    }
    if (!me->again || !can_run(me))
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
