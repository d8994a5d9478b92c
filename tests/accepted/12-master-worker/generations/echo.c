/*
 * Another way: no descriptor for the signals. They have handlers, and
 * epoll_pwait() lets them through while the worker sleeps, and only then. Each
 * client has a buffer of its own from the start, and what it waits for follows
 * from what is in there: something, to write; nothing, to read. The listener is
 * no connection, but two functions.
 */
#include "config.h"
#include "master.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 8192, BATCH = 16, REST_MS = 100, EVENTS = 128 };

struct options {
    const char *addr;
    const char *port;
    int workers;      /* unless the file says something else */
    const char *file; /* the configuration, or NULL */
};

/* What the master knows, and each worker from it. */
struct echo {
    struct options options;
    struct config config;
    int listener;
};

struct client {
    int fd;
    bool waits_for_room; /* EPOLLOUT is watched, else EPOLLIN */
    size_t from, to;     /* bytes[from] to bytes[to - 1] are to go back */
    LIST_ENTRY(client) link;
    char bytes[SIZE];
};

struct server {
    int epoll, listener; /* -1: no more clients */
    long rest_ends;      /* ms, while the listener is not watched; or 0 */
    const char *greeting;
    LIST_HEAD(, client) clients;
};

static volatile sig_atomic_t draining, stopping;

static void
on_signal(int signo)
{
    if (signo == SIGQUIT)
        draining = 1;
    else
        stopping = 1;
}

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT] [-n WORKERS] [-c FILE]\n"
          "  -a ADDR     address to listen on (127.0.0.1)\n"
          "  -p PORT     port, 0 for any free one (4000)\n"
          "  -n WORKERS  1 to 256, or auto: one for each CPU (auto)\n"
          "  -c FILE     configuration; what it says comes before -n\n"
          "SIGHUP reads FILE again, SIGQUIT lets clients finish first,\n"
          "SIGTERM and SIGINT do not.\n",
          out);
    exit(status);
}

/* The kernel keeps the low 16 bits of a port, so 65537 would listen on 1. */
static const char *
port_or_usage(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0' ||
        atoi(text) > 65535) {
        warnx("-p %s: not a port (0 to 65535)", text);
        usage(stderr, 2);
    }
    return text;
}

static int
workers_or_usage(const char *text)
{
    int n = config_workers(text);
    if (n < 0) {
        warnx("-n %s: not a number of workers (1 to 256, or auto)", text);
        usage(stderr, 2);
    }
    return n;
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {"127.0.0.1", "4000", config_workers("auto"), NULL};
    int c;
    while ((c = getopt(argc, argv, "a:p:n:c:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 'n':
            o.workers = workers_or_usage(optarg);
            break;
        case 'c':
            o.file = optarg;
            break;
        case 'h':
            usage(stdout, 0);
            break;
        default:
            usage(stderr, 2);
        }
    }
    if (optind < argc) {
        warnx("unexpected argument: %s", argv[optind]);
        usage(stderr, 2);
    }
    return o;
}

/* A socket that listens on addr:port. Ends the program if there can be none. */
static int
listen_on(const char *addr, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV};
    struct addrinfo *ai;
    int problem = getaddrinfo(addr, port, &hints, &ai);
    if (problem != 0)
        errx(1, "%s: %s", addr, gai_strerror(problem));

    int fd = socket(ai->ai_family, ai->ai_socktype, 0);
    if (fd < 0)
        err(1, "socket");

    /* A connection that this server closed stays in TIME_WAIT for a minute
     * and keeps the port taken; with SO_REUSEADDR a restart need not wait. */
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        err(1, "setsockopt SO_REUSEADDR");

    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
        err(1, "bind %s:%s", addr, port);
    if (listen(fd, SOMAXCONN) < 0)
        err(1, "listen %s:%s", addr, port);
    freeaddrinfo(ai);
    return fd;
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

/* F_SETFL replaces all the flags: those that are set already have to stay. */
static void
set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        err(1, "fcntl");
}

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- Clients ---- */

static void
drop(struct client *c)
{
    LIST_REMOVE(c, link);
    close(c->fd);
    free(c);
}

/* Writes what is there. false: the client is gone. */
static bool
flush(struct server *s, struct client *c)
{
    while (c->from < c->to) {
        ssize_t n = write(c->fd, c->bytes + c->from, c->to - c->from);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n < 0)
            break;
        c->from += (size_t)n;
    }
    bool wait = c->from < c->to;
    struct epoll_event ev = {wait ? EPOLLOUT : EPOLLIN, {.ptr = c}};
    if (wait != c->waits_for_room &&
        epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &ev) < 0)
        return false;
    c->waits_for_room = wait;
    return true;
}

static bool
talk(struct server *s, struct client *c)
{
    if (!c->waits_for_room) {
        ssize_t n = read(c->fd, c->bytes, SIZE);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        c->from = 0;
        c->to = n > 0 ? (size_t)n : 0;
    }
    return flush(s, c);
}

static void
welcome(struct server *s, int fd)
{
    struct client *c = malloc(sizeof *c);
    struct epoll_event ev = {EPOLLIN, {.ptr = c}};
    if (c == NULL || epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        warn("a client");
        free(c);
        close(fd);
        return;
    }
    c->fd = fd;
    c->waits_for_room = false;
    c->from = 0;
    c->to = strlen(s->greeting);
    memcpy(c->bytes, s->greeting, c->to);
    LIST_INSERT_HEAD(&s->clients, c, link);
    if (!flush(s, c))
        drop(c);
}

/* ---- The listener ---- */

static void
watch_listener(struct server *s)
{
    struct epoll_event ev = {EPOLLIN | EPOLLEXCLUSIVE, {.ptr = NULL}};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &ev) < 0)
        err(1, "epoll_ctl");
    s->rest_ends = 0;
}

static void
unwatch_listener(struct server *s)
{
    if (s->rest_ends == 0)
        epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->listener, NULL);
}

/* Accepts up to `most` clients. */
static void
let_in(struct server *s, int most)
{
    while (most-- > 0) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(s, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
                   errno == ENOBUFS) {
            warn("accept");
            unwatch_listener(s);
            s->rest_ends = now_ms() + REST_MS;
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

static int
timeout(struct server *s)
{
    if (s->listener < 0 || s->rest_ends == 0)
        return -1;
    long left = s->rest_ends - now_ms();
    if (left > 0)
        return (int)left;
    watch_listener(s);
    return -1;
}

static void
close_listener(struct server *s)
{
    let_in(s, SOMAXCONN);
    unwatch_listener(s);
    close(s->listener);
    s->listener = -1;
}

/* ---- The worker ---- */

static void
turn(struct server *s, const sigset_t *awake)
{
    struct epoll_event events[EVENTS];
    int ms = timeout(s);
    int n = epoll_pwait(s->epoll, events, EVENTS, ms, awake);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_pwait");
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (c == NULL)
            let_in(s, BATCH);
        else if (!talk(s, c))
            drop(c);
    }
    if (draining && s->listener >= 0)
        close_listener(s);
}

static sigset_t
catch_signals(void)
{
    static const int ends[] = {SIGQUIT, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t awake;
    sigprocmask(SIG_SETMASK, NULL, &awake);
    for (int i = 0; i < 3; i++) {
        sigaction(ends[i], &action, NULL);
        sigdelset(&awake, ends[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    return awake;
}

static int
work(void *arg)
{
    struct echo *e = arg;
    struct server s = {.listener = e->listener, .greeting = e->config.greeting};
    sigset_t awake = catch_signals();
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0)
        err(1, "epoll_create1");
    watch_listener(&s);
    while (!stopping && !(s.listener < 0 && LIST_EMPTY(&s.clients)))
        turn(&s, &awake);
    while (!LIST_EMPTY(&s.clients))
        drop(LIST_FIRST(&s.clients));
    close(s.epoll);
    return 0;
}

/* Takes the configuration as a whole, or leaves all as it was. */
static int
configure(void *arg)
{
    struct echo *e = arg;
    struct config config = {.workers = e->options.workers};
    if (e->options.file && config_read(e->options.file, &config) < 0)
        return -1;
    e->config = config;
    return config.workers;
}

int
main(int argc, char **argv)
{
    struct echo e = {.options = parse_options(argc, argv)};
    e.listener = listen_on(e.options.addr, e.options.port);
    set_nonblocking(e.listener);
    struct master m = {.listener = e.listener,
                       .configure = configure,
                       .work = work,
                       .arg = &e};
    if (master_start(&m) < 0)
        return 1;
    announce(e.listener);
    return master_run(&m);
}
