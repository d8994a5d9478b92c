/*
 * Stage 12: an echo server with a master and workers, like nginx.
 *
 * One loop on one thread uses one CPU, and a bug in it ends the service for
 * all. So there is a loop for each CPU now, each in a process of its own, a
 * worker. They share one thing, the listening socket, which the master has
 * opened before it forked them: who comes next is taken by one of them, and
 * stays with it. EPOLLEXCLUSIVE lets the kernel wake one of them, not all.
 *
 * The master serves nobody (master.c). It keeps the workers: replaces those
 * that crash, and on SIGHUP all of them, by new ones that know the new
 * configuration, while the old ones serve their clients to the end.
 *
 * In this file is what a worker does, the loop of stage 05 for the most part.
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
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 16384,    /* bytes that one read() takes at most */
    ACCEPT_BATCH = 16,    /* clients that are accepted in one step */
    ACCEPT_REST_MS = 100, /* rest after accept() ran out of something */
    EVENTS = 256,         /* events that one epoll_wait() brings at most */
};

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

/* What the loop watches: clients, and two descriptors that are none. */
enum state {
    SIGNALS,   /* the signal descriptor: readable when the master says so */
    LISTENING, /* the listening socket: readable when a client waits */
    RESTING,   /* the same while no descriptor is free: left alone */
    GREETING,  /* a client that has just come: the greeting goes first */
    READING,   /* a client that has got back all it sent: read on */
    WRITING,   /* a client that has not: write that first, and read nothing */
    GONE,      /* a client that has finished or vanished: to be closed */
};

struct conn {
    int fd;
    enum state state;
    uint32_t watched;  /* the events that the kernel reports to us */
    char *out;         /* WRITING: what is to go back. Otherwise NULL. */
    size_t size, done; /* bytes in out; how many of them are written */
    LIST_ENTRY(conn) link;
};

struct server {
    int epoll;               /* the interest list, which the kernel keeps */
    LIST_HEAD(, conn) conns; /* all that are on it */
    int conns_n;             /* how many these are */

    struct conn *listener; /* one of them, or NULL: no more clients */
    long rest_ends;        /* ms: when a listener that is RESTING goes on */
    char *spare;           /* a buffer for the next read(), or NULL */
    const char *greeting;  /* what goes first to each client */
    bool draining;         /* SIGQUIT: to end after the last client */
    bool stopping;         /* to end now */
};

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

/* What the master tells a worker, as a descriptor: the loop waits for it as for
 * everything else. The signals are blocked already, since before the fork, and
 * none of them is lost, however early it comes. */
static int
signal_descriptor(void)
{
    signal(SIGPIPE, SIG_IGN); /* writing to a lost client fails with EPIPE */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGQUIT);
    int fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        err(1, "signalfd");
    return fd;
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

/* What c waits for: its state decides, and nothing else does. WRITING does not
 * ask to read: the client's bytes stay in the socket, and when that is full
 * TCP makes the client wait. This is back-pressure. READING does not ask for
 * room: a socket has some most of the time, and the loop would never rest. */
static uint32_t
interest(const struct conn *c)
{
    static const uint32_t of[] = {
        [SIGNALS] = EPOLLIN, [LISTENING] = EPOLLIN,
        [RESTING] = 0,       [GREETING] = EPOLLOUT,
        [READING] = EPOLLIN, [WRITING] = EPOLLOUT,
        [GONE] = 0,
    };
    return of[c->state];
}

/* Tells the kernel what c waits for; op: EPOLL_CTL_ADD or EPOLL_CTL_MOD. */
static int
set_interest(struct server *s, struct conn *c, int op)
{
    struct epoll_event ev = {.events = interest(c), .data.ptr = c};
    c->watched = ev.events;
    /* TODO 6: have one worker woken for a client, not all.
     * The listener is on the interest list of every worker. EPOLLEXCLUSIVE
     * asks the kernel to wake one of those who wait. Only EPOLL_CTL_ADD can
     * ask for it; whoever has, is refused every MOD (EINVAL). So a listener
     * that is RESTING is taken off the list, and added again for LISTENING.
     */

    return epoll_ctl(s->epoll, op, c->fd, &ev);
}

/* After every step: tells the kernel what c waits for, if that has changed. A
 * client that reads what it gets never changes it, and costs no call. */
static void
update(struct server *s, struct conn *c)
{
    if (interest(c) == c->watched)
        return;
    if (set_interest(s, c, EPOLL_CTL_MOD) < 0)
        err(1, "epoll_ctl");
}

/* Begins to watch c. Returns false if that is not possible. */
static bool
watch(struct server *s, struct conn *c)
{
    if (set_interest(s, c, EPOLL_CTL_ADD) < 0) {
        warn("cannot watch descriptor %d", c->fd);
        return false;
    }
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->conns_n++;
    return true;
}

/* The kernel takes a descriptor off its interest list when it is closed, here
 * and everywhere else: enough for clients, which no other process has. */
static void
unwatch(struct server *s, struct conn *c)
{
    LIST_REMOVE(c, link);
    s->conns_n--;
}

/* Takes fd over. Returns NULL, and has closed fd, if something has run out. */
static struct conn *
open_conn(struct server *s, int fd, enum state state)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c != NULL)
        *c = (struct conn){.fd = fd, .state = state};
    if (c == NULL || !watch(s, c)) {
        free(c);
        close(fd);
        return NULL;
    }
    return c;
}

/* Only the client that is being served is ever closed, and a batch has one
 * event for each descriptor: none of those that are left points to c. */
static void
close_conn(struct server *s, struct conn *c)
{
    unwatch(s, c);
    close(c->fd);
    free(c->out);
    free(c);
    s->rest_ends = 0; /* a descriptor is free */
}

/* LISTENING: lets clients in. Whatever happens to one of them, the server goes
 * on. When no descriptor is free, the client stays in the backlog and the
 * listener stays readable: without a rest the loop would burn a whole CPU.
 * Returns whether there may be more. */
static bool
accept_clients(struct server *s, struct conn *c)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            open_conn(s, fd, s->greeting[0] ? GREETING : READING);
        } else if (errno == EAGAIN) {
            return false;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            c->state = RESTING;
            s->rest_ends = now_ms() + ACCEPT_REST_MS;
            return false;
        }
    }
    return true;
}

/* WRITING: writes what the socket has room for. When all is written the buffer
 * is spare again, and it is time to read on. */
static void
transmit(struct server *s, struct conn *c)
{
    ssize_t n = write(c->fd, c->out + c->done, c->size - c->done);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        c->state = GONE; /* EPIPE, ECONNRESET: nobody is left to write to */
    if (n < 0)
        return;
    c->done += (size_t)n;
    if (c->done < c->size)
        return;
    free(s->spare);
    s->spare = c->out;
    c->out = NULL;
    c->state = READING;
}

/* GREETING: what goes out first goes out as an echo does. */
static void
greet(struct server *s, struct conn *c)
{
    c->out = malloc(READ_SIZE); /* transmit() will have it as the spare one */
    if (c->out == NULL) {
        c->state = GONE;
        return;
    }
    c->size = strlen(s->greeting);
    c->done = 0;
    memcpy(c->out, s->greeting, c->size);
    c->state = WRITING;
    transmit(s, c);
}

/* READING: one read, and its echo at once. Only a client whose echo does not
 * fit into the socket keeps a buffer, and never more than one. */
static void
receive(struct server *s, struct conn *c)
{
    if (s->spare == NULL)
        s->spare = malloc(READ_SIZE);
    ssize_t n = s->spare ? read(c->fd, s->spare, READ_SIZE) : -1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* 0: it has finished, and has got everything, or we would be WRITING.
     * -1: it has vanished (ECONNRESET), or there is no memory for it. */
    if (n <= 0) {
        c->state = GONE;
        return;
    }
    c->out = s->spare;
    s->spare = NULL;
    c->size = (size_t)n;
    c->done = 0;
    c->state = WRITING;
    transmit(s, c);
}

/* SIGNALS: the master has said something. */
static void
obey(struct server *s, struct conn *c)
{
    struct signalfd_siginfo info;
    if (read(c->fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGQUIT)
        s->draining = true;
    else
        s->stopping = true;
}

static void
step(struct server *s, struct conn *c)
{
    if (c->state == SIGNALS)
        obey(s, c);
    else if (c->state == LISTENING)
        accept_clients(s, c);
    else if (c->state == GREETING)
        greet(s, c);
    else if (c->state == READING)
        receive(s, c);
    else if (c->state == WRITING)
        transmit(s, c);
}

/* Which event it was does not matter: the call itself tells what is wrong. */
static void
serve(struct server *s, struct conn *c)
{
    step(s, c);
    if (c->state == GONE)
        close_conn(s, c);
    else
        update(s, c);
}

/* How long the loop may wait, in ms; -1: for ever. Ends the rest of a listener
 * when its time has come. */
static int
timeout(struct server *s)
{
    if (s->listener == NULL || s->listener->state != RESTING)
        return -1;
    long left = s->rest_ends - now_ms();
    if (left > 0)
        return (int)left;
    s->listener->state = LISTENING;
    update(s, s->listener);
    return -1;
}

/* After SIGQUIT, at the end of each turn: no more clients, and when those that
 * are here have finished, the worker has, too. */
static void
drain(struct server *s)
{
    /* TODO 7: let go of the listener, and end when all clients have gone.
     * Once: accept those who wait, as long as accept_clients() says that there
     * may be more, but no more than the queue can hold (SOMAXCONN). The kernel
     * may have woken us for them, and nobody else. Then close_conn() the
     * listener; s->listener is NULL from then on. The kernel does not take it
     * off the interest list this time, as others have it open: EPOLL_CTL_DEL,
     * before. Each time: s->conns has s->conns_n entries. Which one stays to
     * the last? The stub waits for nobody.
     */
    s->stopping = true;
}

/* One turn of the loop: wait, then one step with everyone who is ready. */
static void
turn(struct server *s)
{
    struct epoll_event events[EVENTS];
    int ms = timeout(s);
    int n = epoll_wait(s->epoll, events, EVENTS, ms);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++)
        serve(s, events[i].data.ptr);
    if (s->draining)
        drain(s); /* now: before, an event of the batch may be the listener's */
}

/* A worker, from the first to the last. Nothing that it waits with is older
 * than the worker: an epoll that was made before fork() would be one interest
 * list for all of them, full of pointers into the memory of others. */
static int
work(void *arg)
{
    struct echo *e = arg;
    struct server s = {.greeting = e->config.greeting};
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0)
        err(1, "epoll_create1");
    s.listener = open_conn(&s, e->listener, LISTENING);
    if (s.listener == NULL ||
        open_conn(&s, signal_descriptor(), SIGNALS) == NULL)
        return 1;
    while (!s.stopping)
        turn(&s);

    while (!LIST_EMPTY(&s.conns))
        close_conn(&s, LIST_FIRST(&s.conns));
    close(s.epoll);
    free(s.spare);
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
