/*
 * Another way: signals come through a pipe that their handler writes to, clients
 * are found in a table by their descriptor, and there is one buffer for all: a
 * client gets memory of its own only for what the socket did not take.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 16384, BATCH = 16, REST_MS = 100, EVENTS = 256 };

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

/* What is still to go back to a client: then it waits for room, and is not read
 * from. */
struct client {
    char *rest; /* NULL: nothing */
    size_t size, done;
    bool here;
};

struct server {
    int epoll, listener; /* -1: no more clients */
    bool resting;        /* the listener is not watched, until: */
    long rest_ends;
    const char *greeting;
    struct client *clients; /* by descriptor */
    int places, present;    /* of the table; clients in it */
    bool draining, stopping;
    char bytes[SIZE];
};

/* Handlers know only what is global. */
static int signal_pipe[2];

static void
on_signal(int signo)
{
    int error = errno;
    char byte = signo == SIGQUIT ? 'q' : 't';
    (void)!write(signal_pipe[1], &byte, 1);
    errno = error;
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

static int
watch(struct server *s, int operation, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data = {.fd = fd}};
    return epoll_ctl(s->epoll, operation, fd, &ev);
}

static void
drop(struct server *s, int fd)
{
    free(s->clients[fd].rest);
    s->clients[fd] = (struct client){0};
    s->present--;
    close(fd);
}

/* The socket took so many of these bytes: the others have to wait. */
static bool
keep(struct server *s, int fd, const char *bytes, size_t size)
{
    struct client *c = &s->clients[fd];
    c->rest = malloc(size);
    if (c->rest == NULL)
        return false;
    memcpy(c->rest, bytes, size);
    c->size = size;
    c->done = 0;
    return watch(s, EPOLL_CTL_MOD, fd, EPOLLOUT) == 0;
}

/* How many bytes the socket took; -1: the client is gone. */
static ssize_t
give(int fd, const char *bytes, size_t size)
{
    ssize_t n = write(fd, bytes, size);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

static bool
send_back(struct server *s, int fd, const char *bytes, size_t size)
{
    ssize_t n = give(fd, bytes, size);
    if (n < 0 || (size_t)n == size)
        return n >= 0;
    return keep(s, fd, bytes + n, size - (size_t)n);
}

static bool
send_rest(struct server *s, int fd)
{
    struct client *c = &s->clients[fd];
    ssize_t n = give(fd, c->rest + c->done, c->size - c->done);
    if (n < 0)
        return false;
    c->done += (size_t)n;
    if (c->done < c->size)
        return true;
    free(c->rest);
    c->rest = NULL;
    return watch(s, EPOLL_CTL_MOD, fd, EPOLLIN) == 0;
}

static bool
talk(struct server *s, int fd)
{
    if (s->clients[fd].rest != NULL)
        return send_rest(s, fd);
    ssize_t n = read(fd, s->bytes, SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    return n > 0 && send_back(s, fd, s->bytes, (size_t)n);
}

static bool
has_place(struct server *s, int fd)
{
    int more = 2 * fd + 64;
    if (fd < s->places)
        return true;
    struct client *table = realloc(s->clients, (size_t)more * sizeof *table);
    if (table == NULL)
        return false;
    memset(table + s->places, 0, (size_t)(more - s->places) * sizeof *table);
    s->clients = table;
    s->places = more;
    return true;
}

static void
welcome(struct server *s, int fd)
{
    if (!has_place(s, fd) || watch(s, EPOLL_CTL_ADD, fd, EPOLLIN) < 0) {
        warn("a client");
        close(fd);
        return;
    }
    s->clients[fd].here = true;
    s->present++;
    size_t size = strlen(s->greeting);
    if (size > 0 && !send_back(s, fd, s->greeting, size))
        drop(s, fd);
}

/* ---- The listener ---- */

static void
watch_listener(struct server *s)
{
    if (watch(s, EPOLL_CTL_ADD, s->listener, EPOLLIN | EPOLLEXCLUSIVE) < 0)
        err(1, "epoll_ctl");
    s->resting = false;
}

static void
unwatch_listener(struct server *s)
{
    if (!s->resting)
        watch(s, EPOLL_CTL_DEL, s->listener, 0);
    s->resting = true;
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
    if (s->listener < 0 || !s->resting)
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
obey(struct server *s)
{
    char byte;
    while (read(signal_pipe[0], &byte, 1) == 1) {
        s->draining |= byte == 'q';
        s->stopping |= byte == 't';
    }
}

static void
turn(struct server *s)
{
    struct epoll_event events[EVENTS];
    int ms = timeout(s);
    int n = epoll_wait(s->epoll, events, EVENTS, ms);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == signal_pipe[0])
            obey(s);
        else if (fd == s->listener)
            let_in(s, BATCH);
        else if (!talk(s, fd))
            drop(s, fd);
    }
    if (s->draining && s->listener >= 0)
        close_listener(s);
}

/* A signal that came before waits, blocked, until the handler is there. */
static void
catch_signals(struct server *s)
{
    static const int ends[] = {SIGQUIT, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    sigemptyset(&set);
    if (pipe2(signal_pipe, O_NONBLOCK | O_CLOEXEC) < 0 ||
        watch(s, EPOLL_CTL_ADD, signal_pipe[0], EPOLLIN) < 0)
        err(1, "a pipe for signals");
    for (int i = 0; i < 3; i++) {
        sigaction(ends[i], &action, NULL);
        sigaddset(&set, ends[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int
work(void *arg)
{
    static struct server s;
    struct echo *e = arg;
    s.listener = e->listener;
    s.greeting = e->config.greeting;
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0)
        err(1, "epoll_create1");
    watch_listener(&s);
    catch_signals(&s);
    while (!s.stopping && (s.listener >= 0 || s.present > 0))
        turn(&s);
    for (int fd = 0; fd < s.places; fd++)
        if (s.clients[fd].here)
            drop(&s, fd);
    free(s.clients);
    close(s.epoll);
    close(signal_pipe[0]);
    close(signal_pipe[1]);
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
