/*
 * master.c: keeps the workers. See master.h.
 *
 * A table tells which workers there are to be, and balance() makes it true:
 * starts who is missing, tells those to leave who are replaced, kills who does
 * not heed. Signals change the table and do nothing else. So they may come in
 * any order and at any time: a second SIGHUP before the first one is carried
 * out, SIGTERM while workers drain.
 *
 * All signals are blocked, always, and are taken one by one when the master is
 * ready for them (sigwaitinfo). No handler ever runs between two lines.
 */
#include "master.h"
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NEVER LONG_MAX

enum {
    QUICK_MS = 1000,    /* a worker that lives shorter "dies at once" */
    REST_MIN_MS = 100,  /* the first rest before such a one is replaced */
    REST_MAX_MS = 5000, /* the longest one */
    KILL_MS = 1000,     /* what SIGTERM has not ended by then is killed */
};

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int
count(struct master *m, enum worker_state state)
{
    int n = 0;
    for (struct worker *w = m->workers; w < m->workers + MASTER_SLOTS; w++)
        n += w->state == state;
    return n;
}

/* The table now says that there are to be n workers more. Returns -1 if it has
 * no room for them, and then says nothing of the kind. */
static int
want(struct master *m, int n)
{
    if (count(m, FREE) < n)
        return -1;
    for (struct worker *w = m->workers; w < m->workers + MASTER_SLOTS; w++)
        if (w->state == FREE && n-- > 0)
            *w = (struct worker){.state = MISSING};
    return 0;
}

/* The worker w could not be started, or has ended: when is the next one due?
 * If each of them dies at once, fork() must not take the whole machine. */
static void
schedule(struct worker *w)
{
    long now = now_ms();
    w->state = MISSING;
    /* TODO 3: let it rest, longer each time.
     * A worker that has lived for QUICK_MS or longer (since w->born) is
     * replaced at once: the rest is 0. After one that has not, the rest is
     * REST_MIN_MS, then twice as long as the last time, but REST_MAX_MS at
     * most. w->rest keeps it from one time to the next.
     */
    w->rest = 0;
    w->due = now + w->rest;
}

/* In a new worker, before anything else. */
static void
begin_worker(pid_t master)
{
    /* TODO 5: let no worker outlive its master.
     * Of SIGKILL the master can tell nobody. Have the kernel do it (prctl(2),
     * PR_SET_PDEATHSIG). And then: what if it has died already?
     */
    (void)master;
}

static void
start(struct master *m, struct worker *w)
{
    w->born = now_ms();
    /* TODO 1: start a worker.
     * fork(). The child does begin_worker() and m->work(m->arg), and then ends
     * with the status that this returns. The master notes its pid, that it is
     * SERVING, and that nothing is due (NEVER). If there can be no process
     * now, say so with warn(); schedule(w) sees to it that it is tried again.
     */
    (void)m;
    (void)begin_worker;
    (void)schedule;
    fputs("TODO 1 is not done: "
          "start a worker\n"
          "(labs/12-master-worker/master.c; read handouts/12-master-worker.md)\n",
          stderr);
    exit(3);
}

/* kill(-1) is meant for everyone, kill(0) for all that we belong to: a pid that
 * is none must never get there. */
static void
send_signal(const struct worker *w, int signo)
{
    if (w->pid > 0)
        kill(w->pid, signo);
}

/* SIGQUIT: when its clients have finished. SIGTERM: at once, or else. */
static void
tell(struct worker *w, int signo)
{
    send_signal(w, signo);
    w->state = LEAVING;
    if (signo == SIGTERM && w->due == NEVER)
        w->due = now_ms() + KILL_MS;
}

/* Makes true what the table says, as far as it is due. The old workers go on
 * until the new ones are there, all of them. Returns when something will be
 * due next. */
static long
balance(struct master *m)
{
    long now = now_ms(), next = NEVER;
    for (struct worker *w = m->workers; w < m->workers + MASTER_SLOTS; w++) {
        if (w->state == MISSING && w->due <= now)
            start(m, w);
        if (w->state == LEAVING && w->due <= now) {
            send_signal(w, SIGKILL); /* one that is stopped dies of it, too */
            w->due = NEVER;
        }
    }
    bool complete = count(m, MISSING) == 0;
    for (struct worker *w = m->workers; w < m->workers + MASTER_SLOTS; w++) {
        if (w->state == OUTDATED && complete)
            tell(w, SIGQUIT);
        if ((w->state == MISSING || w->state == LEAVING) && w->due < next)
            next = w->due;
    }
    return next;
}

/* The worker with this pid, or NULL. */
static struct worker *
find(struct master *m, pid_t pid)
{
    for (struct worker *w = m->workers; w < m->workers + MASTER_SLOTS; w++)
        if (w->pid == pid && w->state != FREE && w->state != MISSING)
            return w;
    return NULL;
}

/* Says how a worker ended. One that was told to, and ended well, is no news. */
static void
report(const struct worker *w, int status)
{
    char how[80];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    if (w->state == MISSING)
        warnx("worker %d: %s, another one in %ld ms", (int)w->pid, how,
              w->rest);
    else if (status != 0)
        warnx("worker %d: %s", (int)w->pid, how);
}

/* SIGCHLD: workers have ended. */
static void
reap(struct master *m)
{
    /* TODO 2: collect them, and have them replaced.
     * One SIGCHLD may stand for several of them: ask waitpid() until it knows
     * of nobody else, without waiting for those who are alive. find() the slot.
     * If that worker was SERVING, schedule() another one; otherwise the slot
     * is FREE. Then report() it.
     */
    (void)m;
    (void)find;
    (void)report;
    fputs("TODO 2 is not done: "
          "collect them, and have them replaced\n"
          "(labs/12-master-worker/master.c; read handouts/12-master-worker.md)\n",
          stderr);
    exit(3);
}

/* SIGHUP: new workers for old ones. */
static void
reload(struct master *m)
{
    /* TODO 8: want new workers, and have the old ones replaced.
     * Not while stopping. m->configure(m->arg) returns how many there are to
     * be; -1: nothing changes. want() that many; if there is no room, say so,
     * and nothing changes either. Of the old ones, those that are MISSING will
     * not be needed (FREE), and those that are SERVING are OUTDATED now. The
     * rest is up to balance(). Which of the two comes first?
     */
    (void)m;
    fputs("TODO 8 is not done: "
          "want new workers, and have the old ones replaced\n"
          "(labs/12-master-worker/master.c; read handouts/12-master-worker.md)\n",
          stderr);
    exit(3);
}

/* SIGQUIT, SIGTERM or SIGINT; one of them may follow another. */
static void
stop(struct master *m, int signo)
{
    /* TODO 4: end the workers.
     * From now on the master is stopping. Close the listener, once: nobody
     * will serve those who still come. Who is MISSING is FREE now; all the
     * others are to be told, SIGQUIT or (for SIGINT, too) SIGTERM. The stub
     * ends the master alone.
     */
    (void)m;
    (void)signo;
    exit(0);
}

/* Sleeps until a signal comes, or something is due. Returns the signal, or -1.
 * One that has come meanwhile is there at once: it was blocked, not lost. */
static int
await_signal(const struct master *m, long due)
{
    if (due == NEVER)
        return sigwaitinfo(&m->signals, NULL);
    long ms = due - now_ms();
    if (ms < 0)
        ms = 0;
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    return sigtimedwait(&m->signals, NULL, &t);
}

int
master_start(struct master *m)
{
    int n = m->configure(m->arg);
    if (n < 0 || want(m, n) < 0)
        return -1;
    static const int signals[] = {SIGHUP, SIGQUIT, SIGTERM, SIGINT, SIGCHLD};
    sigemptyset(&m->signals);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(&m->signals, signals[i]);
    sigprocmask(SIG_BLOCK, &m->signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* a log that nobody reads must not end it */
    /* Ignored, it would not come; and who is stopped has not ended. */
    struct sigaction ended = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGCHLD, &ended, NULL);
    balance(m);
    return 0;
}

int
master_run(struct master *m)
{
    while (count(m, FREE) < MASTER_SLOTS) {
        int signo = await_signal(m, balance(m));
        if (signo == SIGCHLD)
            reap(m);
        else if (signo == SIGHUP)
            reload(m);
        else if (signo > 0)
            stop(m, signo);
    }
    return 0;
}
