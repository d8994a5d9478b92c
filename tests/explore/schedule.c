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
#include <errno.h>
#include <string.h>

enum {
    POINTS = 100000, /* a run with more scheduling points goes nowhere */
    RESTS = 10,      /* points that it costs when everybody has to rest */
    TURN = 500,      /* different steps until the others get the CPU */
    PATIENCE = 1000, /* repeated steps until a thread that spins has to rest */
    MEMORY = 16,     /* steps that a thread remembers */
};

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
    bool spins = false, sleeps = false;

    for (struct thread *t = threads; t < threads + THREADS; t++) {
        spins |= t->state == READY;
        sleeps |= t->state == WAITS && strncmp(t->why, "sleeps", 6) == 0;
    }
    fail(run.frozen ? "NOT LOCK-FREE: one thread stands still inside a call, "
                      "and the others get nowhere"
         : spins    ? "LIVELOCK: nobody gets anywhere any more"
         : sleeps   ? "LOST WAKE-UP: nobody is left to wake those who sleep"
                    : "DEADLOCK: each waits for another one");
}

/* Nobody has anything new to look at. Those who spin look again, in turn, since
 * they may count how often. If nobody spins, the run is stuck; or it is over,
 * and only the frozen thread has not finished. */
static struct thread *
last_resort(void)
{
    bool waits = false;

    run.points += RESTS;
    for (int i = 1; i <= THREADS; i++) {
        struct thread *t = &threads[(running - threads + i) % THREADS];
        if (t->state == READY && run.points < POINTS) {
            t->rests = -1;
            return t;
        }
        waits |= t != threads && t->state < FROZEN;
    }
    if (waits || run.frozen == 0)
        stuck();
    end_run();
}

void
schedule(void)
{
    struct thread *options[THREADS + 1], *me = running, *next;
    bool stay = can_run(me), all = run.preemptions < scenario->preemptions;
    int n = 0;

    for (int i = 0; i < THREADS; i++) {
        struct thread *t = &threads[(me - threads + i) % THREADS];
        if (can_run(t) && (t == me || !stay || all))
            options[n++] = t;
    }
    if (n == 0)
        options[n++] = last_resort();
    if (stay && me->call && run.frozen < scenario->frozen)
        options[n++] = NULL; /* me, and never again */
    next = options[choose(n)];
    if (next == NULL) {
        NOTE("stands still from here on");
        run.frozen++;
        me->state = FROZEN;
        schedule();
    } else if (next != me) {
        if (stay)
            NOTE("is preempted");
        run.preemptions += stay;
        switch_to(next);
    }
}

/* A scheduling point, before each step that others could notice. A thread that
 * repeats a step although nothing has changed since is spinning. To preempt it
 * now or a round earlier makes no difference, so there is no choice; and after
 * many rounds it has to let the others go first. */
void
step(const void *at)
{
    static struct memory {
        const void *pc, *at;
        long news, call, run;
    } memories[THREADS][MEMORY];
    struct thread *me = running;
    struct memory *mine = memories[me - threads];
    struct memory this = {me->pc, at, news, me->call, run.number};
    bool again = false;

    run.steps++;
    if (quiet)
        return;
    for (int i = 0; i < MEMORY; i++)
        again |= memcmp(&mine[i], &this, sizeof this) == 0;
    if (!again)
        mine[me->turn++ % MEMORY] = this;
    me->idle = again ? me->idle + 1 : 0;
    if (++run.points > POINTS)
        stuck();
    if (me->turn > TURN || me->idle > PATIENCE)
        me->rests = news;
    if (!again || !can_run(me))
        schedule();
}

void
quietly(void (*work)(long), long number)
{
    step(NULL);
    NOTE("works on, in one step");
    quiet = true;
    work(number);
    quiet = false;
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
