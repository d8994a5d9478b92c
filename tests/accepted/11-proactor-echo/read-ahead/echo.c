/*
 * Another way: a session reads ahead. It has two places for bytes: while those
 * in one are written, the other is read into. So two operations can be under
 * way, and the session ends when neither is; their own `underway` says so, and
 * nothing else is counted. One function, pump(), starts whatever can be started.
 *
 * A signal comes through a pipe: the handler writes, the proactor reads.
 */
#include "proactor.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 8192, ACCEPT_REST_MS = 100 };

struct options {
    const char *addr;
    const char *port;
    const struct backend *backend;
    bool lend;
};

struct session {
    struct server *server;
    int fd;
    struct operation read, write;
    struct {
        char *bytes;
        size_t size;
    } place[2];
    unsigned first, filled; /* places with bytes: the older one, how many */
    size_t written;         /* bytes of the first that have gone back */
    bool finished;          /* the client sends no more */
    bool broken;            /* and gets no more, either */
    LIST_ENTRY(session) link;
    char own[][SIZE]; /* two, or none if the proactor lends */
};

struct server {
    struct proactor *proactor;
    bool lend, stopping;
    int listener;
    struct operation accepting, signal;
    char signal_byte;
    long rest_ends;
    LIST_HEAD(, session) sessions;
};

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT] [-b epoll|uring] [-l]\n"
          "  -a ADDR   address to listen on (127.0.0.1)\n"
          "  -p PORT   port, 0 for any free one (4000)\n"
          "  -b KIND   proactor on io_uring, or emulated on epoll (epoll)\n"
          "  -l        lend buffers: a silent client has none\n",
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

static const struct backend *
backend_or_usage(const char *name)
{
    if (strcmp(name, "epoll") == 0)
        return &proactor_epoll;
    if (strcmp(name, "uring") == 0)
        return &proactor_uring;
    warnx("-b %s: epoll or uring", name);
    usage(stderr, 2);
    return NULL;
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {
        .addr = "127.0.0.1", .port = "4000", .backend = &proactor_epoll};
    int c;
    while ((c = getopt(argc, argv, "a:p:b:lh")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 'b':
            o.backend = backend_or_usage(optarg);
            break;
        case 'l':
            o.lend = true;
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

/* ---- Signals ---- */

static int signal_pipe[2];

static void
on_signal_itself(int signo)
{
    int error = errno;
    (void)signo;
    (void)!write(signal_pipe[1], "x", 1); /* full: there is enough to read */
    errno = error;
}

static void
catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal_itself,
                               .sa_flags = SA_RESTART};
    if (pipe2(signal_pipe, O_CLOEXEC) < 0)
        err(1, "pipe");
    fcntl(signal_pipe[1], F_SETFL, O_NONBLOCK); /* the handler must not wait */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- The session ---- */

static completion_handler on_read, on_write;

static void
start_read(struct session *s, unsigned place)
{
    struct proactor *p = s->server->proactor;
    if (s->server->lend)
        proactor_read_lent(p, &s->read, s->fd, on_read);
    else
        proactor_read(p, &s->read, s->fd, s->own[place], SIZE, on_read);
}

static void
forget_first(struct session *s)
{
    if (s->server->lend)
        proactor_give_back(s->server->proactor, s->place[s->first].bytes);
    s->first = !s->first;
    s->filled--;
    s->written = 0;
}

static void
end(struct session *s)
{
    while (s->filled > 0)
        forget_first(s);
    LIST_REMOVE(s, link);
    proactor_close(s->server->proactor, s->fd);
    s->server->rest_ends = 0;
    free(s);
}

/* After each completion: what can go on, goes on. */
static void
pump(struct session *s)
{
    struct proactor *p = s->server->proactor;
    bool goes_on = !s->broken && !s->server->stopping;
    if (goes_on && !s->finished && s->filled < 2 && !s->read.underway)
        start_read(s, (s->first + s->filled) % 2);
    if (goes_on && s->filled > 0 && !s->write.underway)
        proactor_write(p, &s->write, s->fd,
                       s->place[s->first].bytes + s->written,
                       s->place[s->first].size - s->written, on_write);
    if (s->broken)
        proactor_cancel(p, &s->read);
    if (!s->read.underway && !s->write.underway)
        end(s);
}

static void
on_read(struct operation *op)
{
    struct session *s = op->arg;
    unsigned place = (s->first + s->filled) % 2;
    if (op->result > 0) {
        s->place[place].bytes = op->buffer;
        s->place[place].size = (size_t)op->result;
        s->filled++;
    } else {
        s->finished = true;
        s->broken |= op->result < 0;
    }
    pump(s);
}

static void
on_write(struct operation *op)
{
    struct session *s = op->arg;
    if (op->result > 0)
        s->written += (size_t)op->result;
    else
        s->broken = true;
    if (s->written == s->place[s->first].size)
        forget_first(s);
    pump(s);
}

static void
open_session(struct server *server, int fd)
{
    struct session *s = malloc(sizeof *s + (server->lend ? 0 : 2 * SIZE));
    if (s == NULL || server->stopping) {
        free(s);
        close(fd);
        return;
    }
    *s = (struct session){
        .server = server, .fd = fd, .read.arg = s, .write.arg = s};
    LIST_INSERT_HEAD(&server->sessions, s, link);
    pump(s);
}

/* ---- The server ---- */

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
on_accept(struct operation *op)
{
    struct server *s = op->arg;
    if (op->result >= 0) {
        open_session(s, op->result);
    } else if (op->result != -ECANCELED && op->result != -ECONNABORTED) {
        errno = -op->result;
        warn("accept");
        s->rest_ends = now_ms() + ACCEPT_REST_MS;
    }
}

static void
on_signal(struct operation *op)
{
    ((struct server *)op->arg)->stopping = true;
}

static void
serve(struct server *s)
{
    while (!s->stopping) {
        long rest = s->rest_ends == 0 ? 0 : s->rest_ends - now_ms();
        if (rest <= 0 && !s->accepting.underway) {
            s->rest_ends = 0;
            proactor_accept(s->proactor, &s->accepting, s->listener, on_accept);
        }
        proactor_run(s->proactor, rest > 0 ? (int)rest : -1);
    }
}

/* A session with nothing under way has ended: who is left in the list can only
 * be waited for. */
static void
drain(struct server *s)
{
    struct session *each;
    proactor_cancel(s->proactor, &s->accepting);
    LIST_FOREACH(each, &s->sessions, link)
    {
        proactor_cancel(s->proactor, &each->read);
        proactor_cancel(s->proactor, &each->write);
    }
    while (s->accepting.underway || !LIST_EMPTY(&s->sessions))
        proactor_run(s->proactor, -1);
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.lend = o.lend, .accepting.arg = &s, .signal.arg = &s};
    s.proactor = proactor_create(o.backend);
    s.listener = listen_on(o.addr, o.port);
    catch_signals();
    proactor_read(s.proactor, &s.signal, signal_pipe[0], &s.signal_byte, 1,
                  on_signal);
    announce(s.listener);
    serve(&s);
    drain(&s);
    proactor_close(s.proactor, s.listener);
    proactor_close(s.proactor, signal_pipe[0]);
    proactor_close(s.proactor, signal_pipe[1]);
    proactor_destroy(s.proactor);
    return 0;
}
