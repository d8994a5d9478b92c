/*
 * history.c - do the answers fit a bounded queue?
 *
 * A queue is linearizable (Herlihy and Wing, 1990) if each call seems to take
 * effect at one instant between its begin and its end. So the calls of a run
 * must have some order that keeps "ended before the other began" and in which
 * a plain sequential queue would have given the same answers. There are few
 * calls in a run: we try all orders.
 *
 * When may a try answer "full" or "empty"? Strictly, only if there is an
 * instant within the call when the queue is. A scenario with `half_done` also
 * accepts what the contract of stage 08 says: "full" while a pop that has
 * taken its job has not returned, "empty" while the push of the job that is
 * next has not returned. It never accepts either for mere contention.
 *
 * If a load in the run was stale, one call is before another only if the other
 * could know, not by the clock on the wall: with weak memory a job is there for
 * those who have heard of it.
 */
#include "history.h"

enum { CALLS = 24 };

static struct entry {
    const struct thread *thread;
    enum call call;
    enum answer answer;
    long job;
    int begun, ended;  /* steps of the run */
    struct clock knew; /* what the thread knew when it began */
} entries[CALLS];

struct queue {
    int pushes[CALLS], head, tail; /* the calls that put in what is queued */
    bool closed;
};

/* What the producer of a job writes before the push, and the consumer reads
 * after the pop: the queue has to order the two. So it does for the one who
 * closes, if the number of that call is not 0, and those who are told. */
static long data[CALLS] __attribute__((section("student")));

static const char *const calls[] = {"push", "try_push", "pop", "try_pop",
                                    "close"};
static const char *const answers[] = {"done", "full", "empty", "closed"};
static const struct entry *odd; /* the call that does not fit in */
static int most;                /* at the best order so far, of this length */

#define IS_PUSH(E) ((E)->call == PUSH || (E)->call == TRY_PUSH)
#define IS_POP(E)  ((E)->call == POP || (E)->call == TRY_POP)

void
begin(enum call call, long job)
{
    if (quiet)
        return;
    if (run.calls == CALLS)
        fail("the explorer's limit: more than %d calls", CALLS);
    running->pc = NULL;
    run.steps++;
    NOTE(job ? "%s begins, job %ld, its data at [%ld]" : "%s begins",
         calls[call], job, AT(&data[job]));
    if (job)
        touch(&data[job], sizeof data[job], WRITE);
    entries[run.calls] = (struct entry){.thread = running,
                                        .call = call,
                                        .job = job,
                                        .begun = run.steps,
                                        .knew = running->knows};
    running->call = ++run.calls;
}

void
end(enum answer answer, long job)
{
    if (quiet)
        return;
    struct entry *e = &entries[running->call - 1];
    running->pc = NULL;
    running->call = 0;
    e->answer = answer;
    e->job = job;
    e->ended = ++run.steps;
    NOTE(job ? "%s ends: %s, job %ld" : "%s ends: %s", calls[e->call],
         answers[answer], job);
    if ((e->call == PUSH && answer == FULL) ||
        (e->call == POP && answer == EMPTY))
        fail("NOT LINEARIZABLE: %s of %s answers \"%s\", but has to wait",
             calls[e->call], running->name, answers[answer]);
    for (struct entry *o = entries; o < entries + run.calls; o++)
        if (o->job && ((o->call == CLOSE && answer == CLOSED) ||
                       (IS_PUSH(o) && IS_POP(e) && o->job == job)))
            touch(&data[o->job], sizeof data[0], READ);
}

static bool
before(const struct entry *a, const struct entry *b)
{
    if (run.stale == 0 || a->thread == b->thread)
        return a->ended < b->begun;
    return a->ended <= b->knew.of[a->thread - threads];
}

/* May this call be half done when `now`, the last one of the set, is answered?
 * Not if one of them began after it had ended. */
static bool
half_done(const struct entry *e, unsigned set, const struct entry *now)
{
    for (int i = 0; i < run.calls && run.stale == 0; i++)
        if (set >> i & 1 && before(e, &entries[i]))
            return false;
    return scenario->half_done && !before(e, now);
}

/* Would a sequential queue answer so, after those in the set? */
static bool
fits(struct queue *q, unsigned set, const struct entry *e)
{
    int queued = q->tail - q->head;
    const struct entry *next = &entries[q->pushes[q->head]];
    bool full = queued == scenario->capacity;

    if (e->call == CLOSE)
        return q->closed = true;
    if (e->answer == CLOSED)
        return q->closed && (IS_PUSH(e) || queued == 0);
    if (e->answer == EMPTY)
        return queued ? half_done(next, set, e) : !q->closed;
    if (e->answer == FULL) {
        for (int i = 0; i < run.calls; i++)
            full |= set >> i & 1 && IS_POP(&entries[i]) &&
                    entries[i].answer == DONE && half_done(&entries[i], set, e);
        return full && !q->closed;
    }
    if (IS_PUSH(e)) {
        q->pushes[q->tail++] = (int)(e - entries);
        return !full && !q->closed;
    }
    q->head++;
    return queued > 0 && next->job == e->job;
}

/* Is there an order of the calls that are not in the set? */
static bool
ordered(struct queue q, unsigned set, int size)
{
    if (size > most)
        most = size;
    for (int i = 0; i < run.calls; i++) {
        struct queue after = q;
        bool next = !(set >> i & 1);
        for (int j = 0; j < run.calls; j++)
            next = next && (set >> j & 1 || !before(&entries[j], &entries[i]));
        if (!next)
            continue;
        if (!fits(&after, set | 1u << i, &entries[i]))
            odd = size == most ? &entries[i] : odd;
        else if (ordered(after, set | 1u << i, size + 1))
            return true;
    }
    return set == (1u << run.calls) - 1;
}

static void
check_order(unsigned left_out)
{
    most = 0;
    if (!ordered((struct queue){.head = 0}, left_out, 0))
        fail("NOT LINEARIZABLE: in no order of the calls can %s's %s, job %ld, "
             "be answered with \"%s\"",
             odd->thread->name, calls[odd->call], odd->job,
             answers[odd->answer]);
}

/* What went in comes out, once. (Job 0 is nobody's, see laps().) */
static void
check_jobs(void)
{
    for (long job = 1; job < CALLS; job++) {
        int in = 0, out = 0;
        for (struct entry *e = entries; e < entries + run.calls; e++) {
            in += e->job == job && e->answer == DONE && IS_PUSH(e);
            out += e->job == job && e->answer == DONE && IS_POP(e);
        }
        if (in != out)
            fail("NOT LINEARIZABLE: job %ld went in %s, and came out %s", job,
                 in ? "once" : "never",
                 out > 1   ? "twice"
                 : out > 0 ? "once"
                           : "never");
    }
}

/* With stale loads, those who were refused need not agree on one order. */
void
check_history(void)
{
    unsigned refused = 0;

    check_jobs();
    if (scenario->capacity == 0)
        return;
    for (int i = 0; i < run.calls && run.stale; i++)
        if (entries[i].answer == FULL || entries[i].answer == EMPTY)
            refused |= 1u << i;
    check_order(refused);
    for (int i = 0; i < run.calls; i++)
        if (refused >> i & 1)
            check_order(refused & ~(1u << i));
}
