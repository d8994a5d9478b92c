/*
 * Stage 03: an echo server on select(): one thread, many clients.
 *
 * In stage 02 a process or a thread slept for each client. Here one thread
 * sleeps for all of them, in select(): it returns when at least one of the
 * descriptors in a set can be read or written, and says which. Every
 * descriptor is non-blocking, so that nothing but select() ever puts the thread
 * to sleep: a call that has nothing to do fails with EAGAIN instead.
 *
 * A thread that served one client knew by its place in the program what came
 * next. Here that is data, the state in struct conn, and the program is a
 * loop: wait, look who is ready, make one step with each.
 *
 * The sets are handed to the kernel at every call, they are looked through from
 * end to end, and they have room for FD_SETSIZE (1024) descriptors.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 16384,       /* bytes that one read() takes at most (-b) */
    READ_SIZE_MAX = 1 << 20, /* the most that -b can ask for */
    ACCEPT_BATCH = 16,       /* clients that are accepted in one step */
    ACCEPT_REST_MS = 100,    /* rest after accept() ran out of something */
    WANT_READ = 1,           /* bits of interest() */
    WANT_WRITE = 2,
};

struct options {
    const char *addr;
    const char *port;
    size_t read_size;
};

/* What the loop watches: clients, and two descriptors that are none. */
enum state {
    SIGNALS,   /* the signal descriptor: readable when the server is to end */
    LISTENING, /* the listening socket: readable when a client waits */
    RESTING,   /* the same while no descriptor is free: left alone */
    READING,   /* a client that has got back all it sent: read on */
    WRITING,   /* a client that has not: write that first, and read nothing */
    GONE,      /* a client that has finished or vanished: to be closed */
};

struct conn {
    int fd;
    enum state state;
    char *out;         /* WRITING: what is to go back. Otherwise NULL. */
    size_t size, done; /* bytes in out; how many of them are written */
};

struct server {
    fd_set reading, writing;        /* what select() is to watch */
    int top;                        /* the highest descriptor in them, plus 1 */
    bool full;                      /* a client had to be refused */
    struct conn *conns[FD_SETSIZE]; /* by descriptor; NULL: none */

    struct conn *listener; /* one of them */
    long rest_ends;        /* ms: when a listener that is RESTING goes on */
    char *spare;           /* a buffer for the next read(), or NULL */
    size_t read_size;      /* its size */
    bool stopping;
};

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT] [-b BYTES]\n"
          "  -a ADDR   address to listen on (127.0.0.1)\n"
          "  -p PORT   port, 0 for any free one (4000)\n"
          "  -b BYTES  the most that one read() takes (16384)\n",
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

static size_t
bytes_or_usage(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits > 7 || text[digits] != '\0' || atoi(text) < 1 ||
        atoi(text) > READ_SIZE_MAX) {
        warnx("-b %s: not a number of bytes (1 to %d)", text, READ_SIZE_MAX);
        usage(stderr, 2);
    }
    return (size_t)atoi(text);
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {
        .addr = "127.0.0.1", .port = "4000", .read_size = READ_SIZE};
    int c;
    while ((c = getopt(argc, argv, "a:p:b:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 'b':
            o.read_size = bytes_or_usage(optarg);
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

/* SIGTERM and SIGINT as a descriptor, readable when one has come: the loop can
 * wait for them as for everything else. A handler that sets a flag is not
 * enough: when the signal comes just before the wait, the wait begins all the
 * same. pselect(), ppoll() and epoll_pwait() let signals in only while they
 * wait; but when they need not wait they let none in, and in a busy server they
 * never need. */
static int
signal_descriptor(void)
{
    /* TODO 6: make the descriptor, and let no signal kill the server.
     * Ignore SIGPIPE: write() then fails with EPIPE when the client has gone.
     * Block SIGTERM and SIGINT, so that they stay pending instead of killing,
     * and let signalfd() tell of them. The stub's descriptor never becomes
     * readable.
     * STUB: sigset_t none;
     * STUB: sigemptyset(&none);
     * STUB: return signalfd(-1, &none, SFD_NONBLOCK | SFD_CLOEXEC);
     */
    signal(SIGPIPE, SIG_IGN); /* writing to a lost client fails with EPIPE */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        err(1, "signalfd");
    return fd;
    /* END TODO 6 */
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

/* What c waits for: its state decides, and nothing else does. */
static int
interest(const struct conn *c)
{
    /* TODO 3: say for each state what has to happen before c can go on.
     * WANT_READ, WANT_WRITE, or nothing (0). A client that is WRITING is not
     * read from: its bytes stay in the socket, and when that is full TCP makes
     * the client wait. This is back-pressure. A client that is READING needs
     * no room: a socket nearly always has some, and the loop would never rest,
     * as it does not with the stub.
     * STUB: (void)c;
     * STUB: return WANT_READ | WANT_WRITE;
     */
    static const int of[] = {
        [SIGNALS] = WANT_READ, [LISTENING] = WANT_READ, [RESTING] = 0,
        [READING] = WANT_READ, [WRITING] = WANT_WRITE,  [GONE] = 0,
    };
    return of[c->state];
    /* END TODO 3 */
}

/* After every step: puts what c waits for into the sets. */
static void
update(struct server *s, struct conn *c)
{
    FD_CLR(c->fd, &s->reading);
    FD_CLR(c->fd, &s->writing);
    if (interest(c) & WANT_READ)
        FD_SET(c->fd, &s->reading);
    if (interest(c) & WANT_WRITE)
        FD_SET(c->fd, &s->writing);
}

/* Begins to watch c. Returns false if that is not possible. */
static bool
watch(struct server *s, struct conn *c)
{
    /* TODO 4: refuse a descriptor that does not fit into a set.
     * An fd_set has FD_SETSIZE bits, and FD_SET() checks nothing: a higher
     * number is a write to memory that belongs to something else. The same
     * holds for s->conns. Return false before either is touched; say so
     * on stderr, but only the first time (s->full).
     * STUB:
     */
    if (c->fd >= FD_SETSIZE) {
        if (!s->full)
            warnx("refusing clients: descriptor %d does not fit into an fd_set",
                  c->fd);
        s->full = true;
        return false;
    }
    /* END TODO 4 */
    s->conns[c->fd] = c;
    if (s->top <= c->fd)
        s->top = c->fd + 1;
    update(s, c);
    return true;
}

static void
unwatch(struct server *s, struct conn *c)
{
    FD_CLR(c->fd, &s->reading);
    FD_CLR(c->fd, &s->writing);
    s->conns[c->fd] = NULL;
    while (s->top > 0 && s->conns[s->top - 1] == NULL)
        s->top--;
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

/* Only the client that is being served is ever closed, so that the loop in
 * turn() does not meet it again. */
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
 * listener stays readable: without a rest the loop would burn a whole CPU. */
static void
accept_clients(struct server *s, struct conn *c)
{
    /* TODO 5: survive what accept4() reports.
     * EAGAIN: nobody waits any more. EINTR, ECONNABORTED: try the next one.
     * Everything else, EMFILE above all, would come again at once: make the
     * listener RESTING and set rest_ends, so that turn() leaves it alone for
     * ACCEPT_REST_MS. Let in up to ACCEPT_BATCH clients: each turn costs O(n).
     * STUB: int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
     * STUB: if (fd < 0)
     * STUB:     err(1, "accept");
     * STUB: open_conn(s, fd, READING);
     * STUB: (void)now_ms;
     */
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            open_conn(s, fd, READING);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            c->state = RESTING;
            s->rest_ends = now_ms() + ACCEPT_REST_MS;
            return;
        }
    }
    /* END TODO 5 */
}

/* WRITING: writes what the socket has room for. When all is written the buffer
 * is spare again, and it is time to read on. */
static void
transmit(struct server *s, struct conn *c)
{
    /* TODO 2: write what there is room for, and remember how far it went.
     * c->out has c->size bytes, and c->done of them are written. A short
     * write, or none (EAGAIN, EINTR), is no error: return, and stay WRITING.
     * select() will tell when there is room. Any other error: GONE. Go on to
     * the lines below when all is written. The stub hopes that it always is.
     * STUB: if (write(c->fd, c->out, c->size) < 0)
     * STUB:     c->state = GONE;
     * STUB: if (c->state == GONE)
     * STUB:     return;
     */
    ssize_t n = write(c->fd, c->out + c->done, c->size - c->done);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        c->state = GONE; /* EPIPE, ECONNRESET: nobody is left to write to */
    if (n < 0)
        return;
    c->done += (size_t)n;
    if (c->done < c->size)
        return;
    /* END TODO 2 */
    free(s->spare);
    s->spare = c->out;
    c->out = NULL;
    c->state = READING;
}

/* READING: one read, and its echo at once. Only a client whose echo does not
 * fit into the socket keeps a buffer, and never more than one. */
static void
receive(struct server *s, struct conn *c)
{
    if (s->spare == NULL)
        s->spare = malloc(s->read_size);
    ssize_t n = s->spare ? read(c->fd, s->spare, s->read_size) : -1;
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

static void
step(struct server *s, struct conn *c)
{
    if (c->state == SIGNALS)
        s->stopping = true;
    else if (c->state == LISTENING)
        accept_clients(s, c);
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
    if (s->listener->state != RESTING)
        return -1;
    long left = s->rest_ends - now_ms();
    if (left > 0)
        return (int)left;
    s->listener->state = LISTENING;
    update(s, s->listener);
    return -1;
}

/* One turn of the loop: wait, then one step with everyone who is ready. */
static void
turn(struct server *s)
{
    /* TODO 1: select, and serve who is ready.
     * select() leaves in the sets what is ready and clears the rest: hand it
     * copies, made after timeout(), which may put the listener back. It wants
     * the highest descriptor plus 1, and a struct timeval, or NULL to wait for
     * ever. -1 with EINTR means that a signal came first: then the sets say
     * nothing. Any other error: err(). Look at every descriptor below s->top:
     * serve(s, s->conns[fd]) once, be it readable or writable.
     * STUB: (void)serve;
     * STUB: (void)timeout;
     * STUB: (void)s;
     * STUB: todo
     */
    int ms = timeout(s), top = s->top;
    struct timeval limit = {.tv_usec = ms * 1000};
    fd_set readable = s->reading, writable = s->writing;
    int n = select(top, &readable, &writable, NULL, ms < 0 ? NULL : &limit);
    if (n < 0 && errno != EINTR)
        err(1, "select");
    for (int fd = 0; n > 0 && fd < top; fd++) {
        if (FD_ISSET(fd, &readable) || FD_ISSET(fd, &writable)) {
            serve(s, s->conns[fd]);
            n--;
        }
    }
    /* END TODO 1 */
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.read_size = o.read_size};
    int signals = signal_descriptor();
    int listener = listen_on(o.addr, o.port);
    set_nonblocking(listener);
    s.listener = open_conn(&s, listener, LISTENING);
    if (s.listener == NULL || open_conn(&s, signals, SIGNALS) == NULL)
        return 1;
    announce(listener);
    while (!s.stopping)
        turn(&s);

    for (int fd = s.top; fd-- > 0;)
        if (s.conns[fd] != NULL)
            close_conn(&s, s.conns[fd]);
    free(s.spare);
    return 0;
}
