/*
 * Stage 11: an echo server on a proactor.
 *
 * The stages before asked "which socket is ready?" and then made the call. Here
 * we start the call, "read into this buffer", and are told when it is done. So
 * a session is a chain: the handler of each completion starts the next
 * operation, read, write, read, until one brings nothing to go on with.
 *
 * Meanwhile the operation owns the session: its buffer is written to, its
 * handler will be called with it, whatever has happened to the client. Hence a
 * count: each operation holds a reference, and whoever lets the last one go
 * frees the session. Boost.Asio's `shared_from_this()` does the same.
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

enum {
    READ_SIZE = 16384,    /* bytes that one read takes at most */
    ACCEPT_REST_MS = 100, /* rest after accept ran out of something */
};

struct options {
    const char *addr;
    const char *port;
    const struct backend *backend;
    bool lend;
};

struct session {
    struct server *server;
    int fd;
    int references;      /* how many operations hold it */
    struct operation op; /* the one under way: a read, or a write */
    char *bytes;         /* what is to go back, NULL during a read */
    size_t size, done;   /* how many; how many of them are written */
    LIST_ENTRY(session) link;
    char own[]; /* READ_SIZE bytes, unless the proactor lends */
};

struct server {
    struct proactor *proactor;
    bool lend; /* sessions read into buffers of the proactor */
    int listener;
    struct operation accepting;
    long rest_ends; /* ms: when to accept again, if not accepting */
    struct operation signal;
    struct signalfd_siginfo signal_info; /* what it reads */
    LIST_HEAD(, session) sessions;       /* all that there are; not counted */
    bool stopping;
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

/* SIGTERM and SIGINT as a descriptor, so that they come like everything else:
 * as the completion of a read. It is a blocking one, and so are the sockets: an
 * operation is to wait, and some kernels take O_NONBLOCK for a wish that it
 * does not. (The emulation sets O_NONBLOCK itself.) */
static int
signal_descriptor(void)
{
    signal(SIGPIPE, SIG_IGN); /* writing to a lost client fails with EPIPE */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (fd < 0)
        err(1, "signalfd");
    return fd;
}

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- The session: a chain of completions ---- */

/* An operation begins to hold s. */
static void
hold(struct session *s)
{
    s->references++;
}

/* An operation lets s go. */
static void
release(struct session *s)
{
    /* TODO 5: count down, and end the session with its last reference.
     * A handler that started nothing new was the last to hold it. Then nobody
     * knows s any more: take it off the list, give a buffer on loan back
     * (server->lend, and bytes is not NULL), proactor_close() its descriptor,
     * and free it. The server has a descriptor again: rest_ends = 0. With the
     * stub sessions last for ever.
     * STUB: (void)s;
     */
    if (--s->references > 0)
        return;
    LIST_REMOVE(s, link);
    if (s->server->lend && s->bytes != NULL)
        proactor_give_back(s->server->proactor, s->bytes);
    proactor_close(s->server->proactor, s->fd);
    s->server->rest_ends = 0;
    free(s);
    /* END TODO 5 */
}

static completion_handler on_read, on_write;

static void
start_read(struct session *s)
{
    struct proactor *p = s->server->proactor;
    hold(s);
    if (s->server->lend)
        proactor_read_lent(p, &s->op, s->fd, on_read);
    else
        proactor_read(p, &s->op, s->fd, s->own, READ_SIZE, on_read);
}

/* Of what is to go back, what is left. */
static void
start_write(struct session *s)
{
    hold(s);
    proactor_write(s->server->proactor, &s->op, s->fd, s->bytes + s->done,
                   s->size - s->done, on_write);
}

/* Does the chain go on after this completion? Not if the client has finished
 * (0), has vanished (-ECONNRESET, -EPIPE), or is not served any more. */
static bool
goes_on(const struct session *s)
{
    return s->op.result > 0 && !s->server->stopping;
}

/* What was read is to be written, all of it. */
static void
on_read(struct operation *op)
{
    struct session *s = op->arg;
    /* TODO 3: go on with the write of what has been read.
     * op->buffer has op->result bytes, if that is above 0: note them as bytes
     * and size, with done 0. If the chain goes on, start_write(). Whether it
     * does or not, the read is over, and release(s) is last: then s may be
     * gone.
     * STUB: (void)s;
     * STUB: (void)goes_on;
     * STUB: (void)start_write;
     * STUB: (void)release;
     * STUB: todo
     */
    if (op->result > 0) {
        s->bytes = op->buffer;
        s->size = (size_t)op->result;
        s->done = 0;
    }
    if (goes_on(s))
        start_write(s);
    release(s);
    /* END TODO 3 */
}

/* A write may have been short: the rest first, then the next read. */
static void
on_write(struct operation *op)
{
    struct session *s = op->arg;
    /* TODO 4: finish the write, then read on.
     * op->result bytes more are written. Is something left, start_write()
     * again; is nothing left, the buffer goes back if it was a loan, bytes is
     * NULL, and it is time to start_read(). The stub takes each write for a
     * whole one.
     * STUB: if (s->server->lend)
     * STUB:     proactor_give_back(s->server->proactor, s->bytes);
     * STUB: s->bytes = NULL;
     * STUB: if (goes_on(s))
     * STUB:     start_read(s);
     * STUB: (void)op;
     */
    if (op->result > 0)
        s->done += (size_t)op->result;
    if (s->done == s->size) {
        if (s->server->lend)
            proactor_give_back(s->server->proactor, s->bytes);
        s->bytes = NULL;
    }
    if (goes_on(s) && s->bytes != NULL)
        start_write(s);
    else if (goes_on(s))
        start_read(s);
    /* END TODO 4 */
    release(s);
}

/* Takes fd over: from here on the session keeps itself alive. */
static void
open_session(struct server *server, int fd)
{
    struct session *s = malloc(sizeof *s + (server->lend ? 0 : READ_SIZE));
    if (s == NULL) {
        close(fd);
        return;
    }
    *s = (struct session){.server = server, .fd = fd, .op.arg = s};
    LIST_INSERT_HEAD(&server->sessions, s, link);
    start_read(s);
}

/* ---- The server ---- */

static completion_handler on_accept;

static void
start_accept(struct server *s)
{
    /* TODO 1: start to wait for a client.
     * The operation is s->accepting, the socket s->listener, the handler
     * on_accept.
     * STUB: (void)s;
     * STUB: (void)on_accept;
     * STUB: todo
     */
    proactor_accept(s->proactor, &s->accepting, s->listener, on_accept);
    /* END TODO 1 */
}

/* Whatever happens to one client, the server goes on. When no descriptor is
 * free, the next accept would fail at once: without a rest the loop would burn
 * a whole CPU. */
static void
on_accept(struct operation *op)
{
    struct server *s = op->arg;
    /* TODO 2: let the client in, and wait for the next.
     * A result from 0 on is its descriptor: open_session(), or close() it if
     * the server is stopping. -ECONNABORTED is no problem of ours, -ECANCELED
     * none at all. Any other error: put -result into errno, warn("accept"), and
     * note in rest_ends when the rest is over. At the end, unless the operation
     * goes on by itself (op->more), or a rest has begun, or the server is
     * stopping: start_accept().
     * STUB: (void)s;
     * STUB: (void)open_session;
     * STUB: todo
     */
    if (op->result >= 0 && s->stopping) {
        close(op->result);
    } else if (op->result >= 0) {
        open_session(s, op->result);
    } else if (op->result != -ECONNABORTED && op->result != -ECANCELED) {
        errno = -op->result;
        warn("accept");
        s->rest_ends = now_ms() + ACCEPT_REST_MS;
    }
    if (!op->more && s->rest_ends == 0 && !s->stopping)
        start_accept(s);
    /* END TODO 2 */
}

/* How long the proactor may wait, in ms; -1: for ever. Accepts again when the
 * time has come. */
static int
timeout(struct server *s)
{
    if (s->accepting.underway)
        return -1;
    long left = s->rest_ends - now_ms();
    if (left > 0)
        return (int)left;
    s->rest_ends = 0;
    start_accept(s);
    return -1;
}

static void
on_signal(struct operation *op)
{
    struct server *s = op->arg;
    s->stopping = true;
}

static bool
some_underway(const struct server *s)
{
    const struct session *each = LIST_FIRST(&s->sessions);
    while (each != NULL && !each->op.underway)
        each = LIST_NEXT(each, link);
    return each != NULL || s->accepting.underway;
}

/* Nothing can be freed that an operation holds: cancel them all, and wait for
 * the completions. */
static void
drain(struct server *s)
{
    proactor_cancel(s->proactor, &s->accepting);
    for (struct session *each = LIST_FIRST(&s->sessions); each != NULL;
         each = LIST_NEXT(each, link))
        proactor_cancel(s->proactor, &each->op);
    while (some_underway(s))
        proactor_run(s->proactor, -1);
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.lend = o.lend, .accepting.arg = &s, .signal.arg = &s};
    s.proactor = proactor_create(o.backend);
    int signals = signal_descriptor();
    s.listener = listen_on(o.addr, o.port);
    start_accept(&s);
    proactor_read(s.proactor, &s.signal, signals, &s.signal_info,
                  sizeof s.signal_info, on_signal);
    announce(s.listener);
    while (!s.stopping)
        proactor_run(s.proactor, timeout(&s));

    drain(&s);
    proactor_close(s.proactor, s.listener);
    proactor_close(s.proactor, signals);
    proactor_destroy(s.proactor);
    return 0;
}
