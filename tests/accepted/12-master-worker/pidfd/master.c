/*
 * Another way: everything is a descriptor. Signals come from a signalfd, and
 * that a worker has ended is told by its pidfd (Linux 5.3), so each slot of the
 * table is waited for by itself and SIGCHLD is not needed. One poll() for all.
 *
 * Workers are started at once where they are wanted; a slot whose worker could
 * not be started or has died young remembers when it may be tried again.
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
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NEVER LONG_MAX

/* Slot i of m->workers has pollfd i; the last one is that of the signals. A
 * pollfd of -1 is left out by poll(). */
static struct pollfd polled[MASTER_SLOTS + 1];
static int used; /* slots from here on have never been used */

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool
lives(const struct worker *w)
{
    return w->state != FREE && w->state != MISSING;
}

/* MISSING, and due when it has rested. */
static void
put_off(struct worker *w)
{
    long age = now_ms() - w->born;
    if (age >= 1000)
        w->rest = 0;
    else
        w->rest = w->rest == 0 ? 100 : w->rest >= 2500 ? 5000 : 2 * w->rest;
    w->state = MISSING;
    w->due = now_ms() + w->rest;
}

static _Noreturn void
be_worker(struct master *m, pid_t master)
{
    for (int i = 0; i <= MASTER_SLOTS; i++)
        if (polled[i].fd >= 0)
            close(polled[i].fd);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != master)
        _exit(1);
    exit(m->work(m->arg));
}

static void
start(struct master *m, struct worker *w)
{
    pid_t master = getpid();
    w->born = now_ms();
    w->pid = fork();
    if (w->pid == 0)
        be_worker(m, master);
    int fd = w->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, w->pid, 0);
    if (fd < 0) {
        warn(w->pid < 0 ? "fork" : "pidfd_open");
        if (w->pid > 0) {
            kill(w->pid, SIGKILL);
            waitpid(w->pid, NULL, 0);
        }
        put_off(w);
        return;
    }
    polled[w - m->workers] = (struct pollfd){.fd = fd, .events = POLLIN};
    w->state = SERVING;
    w->due = NEVER;
}

/* Asks a worker to end; kills it when SIGTERM has been in vain for a second. */
static void
tell(struct worker *w, int signo)
{
    kill(w->pid, signo);
    w->state = LEAVING;
    if (signo == SIGTERM && w->due == NEVER)
        w->due = now_ms() + 1000;
}

/* Whoever is due. Returns when the next one is. */
static long
do_what_is_due(struct master *m)
{
    long next = NEVER;
    bool missing = false;
    for (struct worker *w = m->workers; w < m->workers + used; w++) {
        if (w->state == MISSING && w->due <= now_ms())
            start(m, w);
        if (w->state == LEAVING && w->due <= now_ms()) {
            kill(w->pid, SIGKILL);
            w->due = NEVER;
        }
        missing |= w->state == MISSING;
        if (w->state != FREE && w->due < next)
            next = w->due;
    }
    for (struct worker *w = m->workers; !missing && w < m->workers + used; w++)
        if (w->state == OUTDATED)
            tell(w, SIGQUIT);
    return next;
}

/* n workers more, in slots that are free. false: there are not so many. */
static bool
want(struct master *m, int n)
{
    int last = -1;
    for (int i = 0; i < MASTER_SLOTS && n > 0; i++) {
        if (m->workers[i].state != FREE)
            continue;
        m->workers[i] = (struct worker){.state = MISSING};
        last = i;
        n--;
    }
    if (last >= used)
        used = last + 1;
    return n == 0;
}

/* The worker in this slot has ended. */
static void
bury(struct master *m, struct worker *w)
{
    struct pollfd *p = &polled[w - m->workers];
    int status;
    waitpid(w->pid, &status, 0);
    close(p->fd);
    p->fd = -1;
    char how[80];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    if (w->state == SERVING) {
        put_off(w);
        warnx("worker %d: %s, another one in %ld ms", (int)w->pid, how,
              w->rest);
    } else {
        w->state = FREE;
        if (status != 0)
            warnx("worker %d: %s", (int)w->pid, how);
    }
}

static void
reload(struct master *m)
{
    int n = m->configure(m->arg), room = MASTER_SLOTS;
    for (struct worker *w = m->workers; w < m->workers + used; w++)
        room -= lives(w);
    if (n > room)
        warnx("reload: no room for %d workers", n);
    if (n < 0 || n > room)
        return;
    for (struct worker *w = m->workers; w < m->workers + used; w++) {
        if (w->state == SERVING)
            w->state = OUTDATED;
        else if (w->state == MISSING)
            w->state = FREE;
    }
    want(m, n);
}

static void
stop(struct master *m, int signo)
{
    if (!m->stopping)
        close(m->listener);
    m->stopping = true;
    for (struct worker *w = m->workers; w < m->workers + used; w++) {
        if (lives(w))
            tell(w, signo == SIGQUIT ? SIGQUIT : SIGTERM);
        else
            w->state = FREE;
    }
}

static void
obey(struct master *m)
{
    struct signalfd_siginfo info;
    while (read(polled[MASTER_SLOTS].fd, &info, sizeof info) > 0) {
        if (info.ssi_signo != SIGHUP)
            stop(m, (int)info.ssi_signo);
        else if (!m->stopping)
            reload(m);
    }
}

int
master_start(struct master *m)
{
    int n = m->configure(m->arg);
    if (n < 0 || !want(m, n))
        return -1;
    for (int i = 0; i < MASTER_SLOTS; i++)
        polled[i].fd = -1;
    sigemptyset(&m->signals);
    sigaddset(&m->signals, SIGHUP);
    sigaddset(&m->signals, SIGQUIT);
    sigaddset(&m->signals, SIGTERM);
    sigaddset(&m->signals, SIGINT);
    sigprocmask(SIG_BLOCK, &m->signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored, it would take the status with it */
    int fd = signalfd(-1, &m->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        err(1, "signalfd");
    polled[MASTER_SLOTS] = (struct pollfd){.fd = fd, .events = POLLIN};
    do_what_is_due(m);
    return 0;
}

static bool
some_live(const struct master *m)
{
    for (const struct worker *w = m->workers; w < m->workers + used; w++)
        if (lives(w))
            return true;
    return false;
}

int
master_run(struct master *m)
{
    while (!m->stopping || some_live(m)) {
        long next = do_what_is_due(m), left = next - now_ms();
        int ms = next == NEVER ? -1 : left > 0 ? (int)left : 0;
        if (poll(polled, MASTER_SLOTS + 1, ms) < 0 && errno != EINTR)
            err(1, "poll");
        for (int i = 0; i < used; i++)
            if (polled[i].fd >= 0 && polled[i].revents != 0)
                bury(m, &m->workers[i]);
        if (polled[MASTER_SLOTS].revents != 0)
            obey(m);
    }
    close(polled[MASTER_SLOTS].fd);
    return 0;
}
