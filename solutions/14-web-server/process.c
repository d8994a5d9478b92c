/*
 * A master and its workers, as in nginx (stage 12).
 *
 * The master sleeps in sigwaitinfo(): all that can happen to it is a signal. So
 * it needs no handlers, no flags, and it has no race between looking and
 * sleeping.
 *
 * How does a reload lose nobody? The listening socket stays open all the time,
 * and its backlog keeps who comes. New workers are there before old ones are
 * told to go; those stop accepting, give every client one more answer, which
 * says "Connection: close", and go when the last of them has left.
 */
#include "process.h"
#include "harden.h"
#include "log.h"
#include "stats.h"
#include "worker.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TOO_SOON = 1000, /* ms: a worker that dies so young waits for its heir */
    BACK_OFF = 1000, /* ms */
    MERCY = 10000,   /* ms for workers to end after SIGTERM, then SIGKILL */
};

struct worker {
    pid_t pid;     /* 0: the place is free */
    bool old;      /* it was told to go, and will not be replaced */
    int64_t since; /* ms; when it was started */
    int64_t heir;  /* ms; when to start another in its place. 0: never */
};

struct master {
    struct site *site;
    struct stats *stats;
    struct worker workers[WORKERS_MAX];
    int64_t killing; /* ms; when patience ends. 0: nobody is to be killed */
    bool ending;
};

static int64_t
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* --- the site ------------------------------------------------------------- */

/* A socket that listens on addr:port. -1, with a message, if there is none. */
static int
listen_on(const char *addr, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV};
    struct addrinfo *ai;
    int problem = getaddrinfo(addr, port, &hints, &ai);
    if (problem != 0) {
        warnx("%s: %s", addr, gai_strerror(problem));
        return -1;
    }
    int fd =
        socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    /* SO_REUSEADDR: a connection that this server closed stays in TIME_WAIT for
     * a minute; a restart need not wait. TCP_NODELAY, which accepted sockets
     * inherit: small answers leave at once. */
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        warn("socket");
    } else if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
        warn("bind %s:%s", addr, port);
    } else if (listen(fd, SOMAXCONN) < 0) {
        warn("listen %s:%s", addr, port);
    } else {
        freeaddrinfo(ai);
        return fd;
    }
    freeaddrinfo(ai);
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool
same_address(const struct config *a, const struct config *b)
{
    return strcmp(a->address, b->address) == 0 && strcmp(a->port, b->port) == 0;
}

/* What every worker would fail at is better told now, and once. */
static bool
is_possible(const struct config *config)
{
    if (config->user[0] != '\0' && !getpwnam(config->user)) {
        warnx("user %s: there is none", config->user);
        return false;
    }
    if (config->user[0] != '\0' && geteuid() != 0) {
        warnx("user %s: only root can become another one", config->user);
        return false;
    }
    struct log *log = config->log[0] != '\0' ? log_open(config->log) : NULL;
    if (config->log[0] != '\0' && !log) {
        warn("open %s", config->log);
        return false;
    }
    if (log)
        log_close(log);
    return true;
}

bool
site_open(struct site *site, const struct config *config,
          const struct site *before)
{
    if (!is_possible(config))
        return false;
    int root = open(config->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        warn("open %s", config->root);
        return false;
    }
    int listener = before && same_address(config, &before->config)
                       ? before->listener
                       : listen_on(config->address, config->port);
    if (listener < 0) {
        close(root);
        return false;
    }
    *site = (struct site){*config, listener, root};
    return true;
}

/* Says, once, that clients may come: "listening on 127.0.0.1:4000". */
static void
announce(int listener)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(listener, (struct sockaddr *)&ss, &len) < 0)
        err(1, "getsockname");
    int problem =
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    if (problem != 0)
        errx(1, "getnameinfo: %s", gai_strerror(problem));

    const char *form = ss.ss_family == AF_INET6 ? "listening on [%s]:%s\n"
                                                : "listening on %s:%s\n";
    if (printf(form, host, port) < 0 || fflush(stdout) != 0)
        err(1, "stdout");
}

/* --- a worker ------------------------------------------------------------- */

/* The life of a worker, from what only root may do to what a stranger could
 * make it do. master: who has to live on for this to make sense, or 0. */
static void
serve(const struct site *site, struct stats *stats, pid_t master)
{
    const struct config *c = &site->config;
    struct log *log = NULL;
    struct root root;
    struct server s;
    if (c->log[0] != '\0' && !(log = log_open(c->log)))
        err(1, "open %s", c->log);
    root_init(&root, site->root, c->listing);
    harden(c->user, root.fd);
    /* To end with the master. Not earlier: a change of user takes it back. */
    if (master != 0 &&
        (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != master))
        return;
    worker_start(&s, c, site->listener, root, stats, log);
    if (master == 0)
        announce(site->listener);
    worker_run(&s);
}

/* Starts a process in a free place, or notes when to try again. */
static void
spawn(struct master *m, struct worker *w)
{
    /* TODO 19: start a worker.
     * fork(). The child serves, and exits with status 0. The master notes its
     * pid, and since when it lives. A fork() that fails is no reason to end: it
     * may succeed in a moment, `heir` says when. The stub serves clients
     * itself, and so nobody looks after it.
     * STUB: (void)w;
     * STUB: serve(m->site, m->stats, 0);
     * STUB: exit(0);
     */
    pid_t master = getpid(), pid = fork();
    if (pid == 0) {
        serve(m->site, m->stats, master);
        exit(0);
    }
    *w = (struct worker){.pid = pid, .since = now()};
    if (pid < 0) {
        warn("fork");
        *w = (struct worker){.heir = now() + BACK_OFF};
    }
    /* END TODO 19 */
}

static void
spawn_all(struct master *m)
{
    unsigned missing = m->site->config.workers;
    for (int i = 0; i < WORKERS_MAX && missing > 0; i++)
        if (m->workers[i].pid == 0) {
            spawn(m, &m->workers[i]);
            missing--;
        }
}

static void
signal_all(struct master *m, int signo, bool old_only)
{
    for (int i = 0; i < WORKERS_MAX; i++)
        if (m->workers[i].pid > 0 && (m->workers[i].old || !old_only))
            kill(m->workers[i].pid, signo);
}

/* --- what can happen ------------------------------------------------------ */

/* A worker has ended. If nobody told it to, another has to take its place: at
 * once, or a little later if it did not live long, as whatever killed it may
 * still be there. */
static void
bury(struct master *m, pid_t pid, int status)
{
    stats_give_back(m->stats, pid);
    struct worker *w = m->workers;
    while (w < m->workers + WORKERS_MAX && w->pid != pid)
        w++;
    if (w == m->workers + WORKERS_MAX)
        return;
    bool expected = w->old || m->ending;
    int64_t age = now() - w->since;
    *w = (struct worker){.pid = 0};
    if (expected)
        return;
    if (WIFSIGNALED(status))
        warnx("worker %d: ended by signal %d", (int)pid, WTERMSIG(status));
    else
        warnx("worker %d: exit status %d", (int)pid, WEXITSTATUS(status));
    w->heir = now() + (age < TOO_SOON ? BACK_OFF : 0);
}

static void
reap(struct master *m)
{
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        bury(m, pid, status);
}

static void
start_heirs(struct master *m)
{
    for (int i = 0; i < WORKERS_MAX; i++)
        if (m->workers[i].heir != 0 && m->workers[i].heir <= now())
            spawn(m, &m->workers[i]);
}

/* Old workers stay as long as they have clients. */
static bool
has_places(const struct master *m, unsigned wanted)
{
    unsigned places = 0;
    for (int i = 0; i < WORKERS_MAX; i++)
        places += m->workers[i].pid == 0;
    if (places < wanted)
        warnx("%u old workers still have clients: no place for %u new ones",
              WORKERS_MAX - places, wanted);
    return places >= wanted;
}

/* Reads the configuration again, and opens what it asks for. */
static bool
read_again(struct master *m, int argc, char **argv, struct site *site)
{
    struct config config;
    bool good = config_read(&config, argc, argv) == CONFIG_GOOD;
    if (good && config.workers == 0) /* there is a master already */
        config.workers = 1;
    if (good && has_places(m, config.workers) &&
        site_open(site, &config, m->site))
        return true;
    warnx("the configuration stays as it was");
    return false;
}

static void
reload(struct master *m, int argc, char **argv)
{
    struct site site;
    if (m->ending || !read_again(m, argc, argv, &site))
        return;
    /* TODO 20: replace all workers, and lose nobody.
     * All workers that there are become old; places that wait for an heir need
     * none any more. The new site takes the place of the old one, whose root is
     * closed, and its listener, too, if the new one is another. Then
     * spawn_all(), and only then SIGQUIT to the old ones: the other way round,
     * nobody would accept for a moment. The stub stays as it is.
     * STUB: close(site.root);
     * STUB: (void)signal_all;
     */
    for (int i = 0; i < WORKERS_MAX; i++) {
        m->workers[i].old = m->workers[i].pid > 0;
        m->workers[i].heir = 0;
    }
    close(m->site->root);
    if (m->site->listener != site.listener)
        close(m->site->listener);
    *m->site = site;
    spawn_all(m);
    signal_all(m, SIGQUIT, true);
    /* END TODO 20 */
}

static void
end(struct master *m, int signo)
{
    if (!m->ending)
        close(m->site->listener);
    m->ending = true;
    if (signo == SIGTERM)
        m->killing = now() + MERCY;
    for (int i = 0; i < WORKERS_MAX; i++)
        m->workers[i].heir = 0;
    signal_all(m, signo, false);
}

/* --- the master ----------------------------------------------------------- */

static bool
has_workers(const struct master *m)
{
    for (int i = 0; i < WORKERS_MAX; i++)
        if (m->workers[i].pid > 0)
            return true;
    return false;
}

/* Sleeps until a signal comes, or something is to be done. */
static int
wait_for_signal(const struct master *m, const sigset_t *set)
{
    int64_t next = m->killing;
    for (int i = 0; i < WORKERS_MAX; i++) {
        int64_t heir = m->workers[i].heir;
        if (heir != 0 && (next == 0 || heir < next))
            next = heir;
    }
    if (next == 0)
        return sigwaitinfo(set, NULL);
    int64_t left = next - now() > 0 ? next - now() : 0;
    struct timespec t = {left / 1000, left % 1000 * 1000000};
    return sigtimedwait(set, NULL, &t);
}

static void
run_master(struct master *m, const sigset_t *set, int argc, char **argv)
{
    while (!m->ending || has_workers(m)) {
        switch (wait_for_signal(m, set)) {
        case SIGCHLD:
            reap(m);
            break;
        case SIGHUP:
            reload(m, argc, argv);
            break;
        case SIGQUIT:
            end(m, SIGQUIT);
            break;
        case SIGTERM:
        case SIGINT:
            end(m, SIGTERM);
            break;
        }
        start_heirs(m);
        if (m->killing != 0 && m->killing <= now())
            signal_all(m, SIGKILL, false);
    }
}

int
process_run(struct site *site, int argc, char **argv)
{
    static struct master m;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL); /* workers inherit it */
    signal(SIGPIPE, SIG_IGN);           /* sendfile() to one who has gone */

    m = (struct master){.site = site, .stats = stats_create()};
    if (site->config.workers == 0) {
        serve(site, m.stats, 0);
        return 0;
    }
    spawn_all(&m);
    announce(site->listener);
    run_master(&m, &set, argc, argv);
    close(site->root);
    return 0;
}
