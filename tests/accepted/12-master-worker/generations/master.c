/*
 * Another way: no table of states, but a list of those who live, each with the
 * number of the configuration it was started for. Whoever has the newest number
 * serves; whoever has an older one is told to leave as soon as there are enough
 * of the newest. One rest for all of them, not one for each.
 *
 * Signals have handlers that set flags. They are blocked except in ppoll(), in
 * which the master sleeps, so none is missed between the look at the flags and
 * the sleep.
 */
#include "master.h"
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NEVER LONG_MAX

enum { YOUNG_MS = 1000, REST_MIN_MS = 100, REST_MAX_MS = 5000, KILL_MS = 1000 };

struct child {
    pid_t pid;
    unsigned generation;
    long born;
    int told;     /* the signal that asked it to end, or 0 */
    long kill_at; /* or NEVER */
    struct child *next;
};

static struct child *children;
static unsigned generation; /* the newest */
static int wanted;          /* children of the newest generation */
static long rest, start_at; /* ms: the last rest; not before then */

static volatile sig_atomic_t got[NSIG];

static void
note(int signo)
{
    got[signo] = 1;
}

static bool
take(int signo) /* the signals are blocked */
{
    bool was = got[signo];
    got[signo] = 0;
    return was;
}

static const int signals[] = {SIGHUP, SIGQUIT, SIGTERM, SIGINT, SIGCHLD};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

static void
handle_with(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NOCLDSTOP};
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &action, NULL);
}

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool
serves(const struct child *c)
{
    return c->generation == generation && c->told == 0;
}

static int
count(bool those_who_serve)
{
    int n = 0;
    for (struct child *c = children; c != NULL; c = c->next)
        n += !those_who_serve || serves(c);
    return n;
}

/* Something has gone wrong with a new child: the next one later. */
static void
lengthen_rest(void)
{
    rest = rest == 0 ? REST_MIN_MS : 2 * rest;
    if (rest > REST_MAX_MS)
        rest = REST_MAX_MS;
    start_at = now_ms() + rest;
}

static bool
start(struct master *m)
{
    struct child *c = malloc(sizeof *c);
    pid_t master = getpid(), pid = c == NULL ? -1 : fork();
    if (pid < 0) {
        warn("fork");
        free(c);
        lengthen_rest();
        return false;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != master)
            _exit(1);
        free(c);
        handle_with(SIG_DFL);
        exit(m->work(m->arg));
    }
    *c = (struct child){pid, generation, now_ms(), 0, NEVER, children};
    children = c;
    return true;
}

static void
tell(struct child *c, int signo)
{
    kill(c->pid, signo);
    c->told = signo;
    if (signo == SIGTERM && c->kill_at == NEVER)
        c->kill_at = now_ms() + KILL_MS;
}

/* Does what there is to be done now. Returns how many ms that will do; -1:
 * until a signal comes. */
static int
keep(struct master *m)
{
    long now = now_ms(), next = NEVER;
    int missing = m->stopping ? 0 : wanted - count(true);
    while (missing > 0 && now >= start_at && start(m))
        missing--;
    if (missing > 0)
        next = start_at;
    for (struct child *c = children; c != NULL; c = c->next) {
        if (missing == 0 && c->generation != generation && c->told == 0)
            tell(c, SIGQUIT);
        if (c->kill_at <= now) {
            kill(c->pid, SIGKILL);
            c->kill_at = NEVER;
        }
        if (c->kill_at < next)
            next = c->kill_at;
    }
    if (next == NEVER)
        return -1;
    now = now_ms();
    return next > now ? (int)(next - now) : 0;
}

static void
report(const struct child *c, int status, bool another)
{
    char how[80], then[60] = "";
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    if (another)
        snprintf(then, sizeof then, ", another one in %ld ms", rest);
    if (another || status != 0)
        warnx("worker %d: %s%s", (int)c->pid, how, then);
}

/* Takes the first one out of the list that has ended. */
static struct child *
take_dead(int *status)
{
    for (struct child **at = &children; *at != NULL; at = &(*at)->next) {
        struct child *c = *at;
        if (waitpid(c->pid, status, WNOHANG) == c->pid) {
            *at = c->next;
            return c;
        }
    }
    return NULL;
}

static void
reap(struct master *m)
{
    struct child *c;
    bool lengthened = false; /* once is enough, however many died */
    int status;
    while ((c = take_dead(&status)) != NULL) {
        bool another = serves(c) && !m->stopping;
        bool young = now_ms() - c->born < YOUNG_MS;
        if (another && young && !lengthened)
            lengthen_rest();
        if (another && !young && !lengthened)
            rest = start_at = 0;
        lengthened |= another && young;
        report(c, status, another);
        free(c);
    }
}

static void
reload(struct master *m)
{
    int n = m->stopping ? -1 : m->configure(m->arg);
    if (n < 0)
        return;
    if (count(false) + n > MASTER_SLOTS) {
        warnx("reload: no room for %d workers while so many drain", n);
        return;
    }
    generation++;
    wanted = n;
    rest = start_at = 0;
}

static void
stop(struct master *m, int signo)
{
    if (!m->stopping)
        close(m->listener);
    m->stopping = true;
    for (struct child *c = children; c != NULL; c = c->next)
        tell(c, signo);
}

int
master_start(struct master *m)
{
    wanted = m->configure(m->arg);
    if (wanted < 0)
        return -1;
    sigemptyset(&m->signals);
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&m->signals, signals[i]);
    sigprocmask(SIG_BLOCK, &m->signals, NULL);
    handle_with(note);
    signal(SIGPIPE, SIG_IGN);
    keep(m);
    return 0;
}

int
master_run(struct master *m)
{
    sigset_t open;
    sigprocmask(SIG_SETMASK, NULL, &open);
    for (int i = 0; i < SIGNALS; i++)
        sigdelset(&open, signals[i]);
    while (!m->stopping || children != NULL) {
        int ms = keep(m);
        struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
        if (ppoll(NULL, 0, ms < 0 ? NULL : &t, &open) < 0 && errno != EINTR)
            err(1, "ppoll");
        if (take(SIGCHLD))
            reap(m);
        if (take(SIGHUP))
            reload(m);
        if (take(SIGQUIT))
            stop(m, SIGQUIT);
        if (take(SIGTERM))
            stop(m, SIGTERM);
        if (take(SIGINT))
            stop(m, SIGTERM);
    }
    return 0;
}
