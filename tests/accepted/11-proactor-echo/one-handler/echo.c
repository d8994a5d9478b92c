/*
 * Another way: a session is a state machine, not a chain of functions. It has
 * one operation under way, always; so there is one handler, a state that says
 * what has completed, and nothing to be counted: the session ends where it
 * starts no operation. The server drops its sessions the same way at the end:
 * they are cancelled, and it waits until the list is empty.
 */
#include "proactor.h"
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 8192, REST_MS = 50 };

struct options {
    const char *addr;
    const char *port;
    const struct backend *backend;
    bool lend;
};

struct session {
    struct server *server;
    int fd;
    enum { READING, WRITING } state;
    struct operation op;
    char *bytes; /* to go back: from here on, so many */
    size_t left;
    char *loan; /* the proactor's buffer that they lie in; NULL: our own */
    TAILQ_ENTRY(session) link;
    char *own;
};

struct server {
    struct proactor *proactor;
    bool lend, stopping;
    int listener;
    struct operation accepting, signal;
    struct signalfd_siginfo info;
    long rest_ends; /* ms: when to accept again; 0: now */
    TAILQ_HEAD(, session) sessions;
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

/* ---- The session ---- */

static completion_handler step;

static void
read_more(struct session *s)
{
    struct proactor *p = s->server->proactor;
    s->state = READING;
    if (s->server->lend)
        proactor_read_lent(p, &s->op, s->fd, step);
    else
        proactor_read(p, &s->op, s->fd, s->own, READ_SIZE, step);
}

static void
end(struct session *s)
{
    if (s->loan != NULL)
        proactor_give_back(s->server->proactor, s->loan);
    proactor_close(s->server->proactor, s->fd);
    s->server->rest_ends = 0; /* a descriptor is free */
    TAILQ_REMOVE(&s->server->sessions, s, link);
    free(s->own);
    free(s);
}

/* An operation has completed. Starts the next one, or ends the session. */
static void
step(struct operation *op)
{
    struct session *s = op->arg;
    if (op->result > 0 && s->state == READING) {
        s->bytes = op->buffer;
        s->left = (size_t)op->result;
        s->loan = s->server->lend ? op->buffer : NULL;
    } else if (op->result > 0) {
        s->bytes += op->result;
        s->left -= (size_t)op->result;
    }
    if (op->result <= 0 || s->server->stopping) {
        end(s);
        return;
    }
    if (s->left > 0) {
        s->state = WRITING;
        proactor_write(s->server->proactor, op, s->fd, s->bytes, s->left, step);
        return;
    }
    if (s->loan != NULL)
        proactor_give_back(s->server->proactor, s->loan);
    s->loan = NULL;
    read_more(s);
}

static void
open_session(struct server *server, int fd)
{
    struct session *s = calloc(1, sizeof *s);
    char *own = server->lend ? NULL : malloc(READ_SIZE);
    if (s == NULL || (own == NULL && !server->lend)) {
        close(fd);
        free(s);
        free(own);
        return;
    }
    s->server = server;
    s->fd = fd;
    s->own = own;
    s->op.arg = s;
    TAILQ_INSERT_TAIL(&server->sessions, s, link);
    read_more(s);
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
    if (op->result < 0 && op->result != -ECONNABORTED &&
        op->result != -ECANCELED) {
        warnx("accept: %s", strerror(-op->result));
        s->rest_ends = now_ms() + REST_MS;
    }
    if (op->result >= 0 && s->stopping)
        close(op->result);
    else if (op->result >= 0)
        open_session(s, op->result);
}

static void
on_signal(struct operation *op)
{
    ((struct server *)op->arg)->stopping = true;
}

/* Until SIGTERM or SIGINT. The accept is started in one place, here: whenever
 * it is not under way and no rest keeps it from that. */
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

static void
drain(struct server *s)
{
    struct session *each;
    proactor_cancel(s->proactor, &s->accepting);
    TAILQ_FOREACH(each, &s->sessions, link)
    proactor_cancel(s->proactor, &each->op);
    while (s->accepting.underway || !TAILQ_EMPTY(&s->sessions))
        proactor_run(s->proactor, -1);
}

static int
signal_descriptor(void)
{
    sigset_t ends;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (fd < 0)
        err(1, "signalfd");
    return fd;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.lend = o.lend, .accepting.arg = &s, .signal.arg = &s};
    TAILQ_INIT(&s.sessions);
    int signals = signal_descriptor();
    s.proactor = proactor_create(o.backend);
    s.listener = listen_on(o.addr, o.port);
    proactor_read(s.proactor, &s.signal, signals, &s.info, sizeof s.info,
                  on_signal);
    announce(s.listener);
    serve(&s);
    drain(&s);
    proactor_close(s.proactor, s.listener);
    proactor_close(s.proactor, signals);
    proactor_destroy(s.proactor);
    return 0;
}
