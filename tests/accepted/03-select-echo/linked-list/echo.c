/*
 * An accepted solution of stage 03, of another style.
 *
 * Clients stand in a linked list, and the sets are made from it for every
 * pselect(). What comes is read into one buffer for all and sent on at once;
 * only what the socket does not take is copied, to a chain of pieces that
 * belongs to the client and is given to writev(). Below HIGH_WATER bytes in the
 * chain the client is read on, above it is not: a bound for each client, and so
 * for the server. Signals are blocked; each turn asks which are pending, and
 * pselect() lets them in while it waits, so that there is no moment in which
 * one is missed.
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
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE      16384
#define READ_SIZE_MAX  (1 << 20)
#define HIGH_WATER     65536
#define PIECES_AT_ONCE 8
#define NANOSECOND     1
#define MILLISECOND    (1000 * 1000 * NANOSECOND)

struct options {
    const char *addr;
    const char *port;
    size_t read_size;
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

struct piece {
    struct piece *next;
    size_t from, to; /* of bytes: those not yet sent */
    char bytes[];
};

struct client {
    struct client *next;
    int fd;
    bool at_end; /* it sends no more */
    bool lost;   /* to be removed from the list */
    size_t waiting;
    struct piece *first, **last; /* the chain, and where it goes on */
};

struct server {
    int listener;
    struct client *clients;
    struct timespec open_at; /* before that nobody is let in */
    sigset_t ends;           /* SIGTERM and SIGINT */
    size_t read_size;
    char *buffer; /* of read_size bytes, for all clients in turn */
};

static struct timespec
in_ms(long ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += ms * MILLISECOND;
    t.tv_sec += t.tv_nsec / (1000 * MILLISECOND);
    t.tv_nsec %= 1000 * MILLISECOND;
    return t;
}

/* How long it is until t; {0, 0} if it is over. */
static struct timespec
until(struct timespec t)
{
    struct timespec now = in_ms(0);
    t.tv_sec -= now.tv_sec;
    t.tv_nsec -= now.tv_nsec;
    if (t.tv_nsec < 0) {
        t.tv_nsec += 1000 * MILLISECOND;
        t.tv_sec--;
    }
    return t.tv_sec < 0 ? (struct timespec){0} : t;
}

/* ---- The chain of what could not be sent ---- */

static bool
append(struct client *c, const char *bytes, size_t n)
{
    struct piece *p = malloc(sizeof *p + n);
    if (p == NULL)
        return false;
    p->next = NULL;
    p->from = 0;
    p->to = n;
    memcpy(p->bytes, bytes, n);
    *c->last = p;
    c->last = &p->next;
    c->waiting += n;
    return true;
}

/* Forgets the first n bytes; pieces that are empty then are freed. */
static void
advance(struct client *c, size_t n)
{
    c->waiting -= n;
    while (c->first != NULL) {
        struct piece *p = c->first;
        size_t here = p->to - p->from < n ? p->to - p->from : n;
        p->from += here;
        n -= here;
        if (p->from < p->to)
            return;
        c->first = p->next;
        free(p);
    }
    c->last = &c->first;
}

static bool
is_passing(int error)
{
    return error == EAGAIN || error == EINTR;
}

static void
send_chain(struct client *c)
{
    struct iovec v[PIECES_AT_ONCE];
    int n = 0;
    for (struct piece *p = c->first; p != NULL && n < PIECES_AT_ONCE;
         p = p->next)
        v[n++] = (struct iovec){p->bytes + p->from, p->to - p->from};
    ssize_t sent = writev(c->fd, v, n);
    if (sent >= 0)
        advance(c, (size_t)sent);
    else if (!is_passing(errno))
        c->lost = true;
}

static void
take_bytes(struct server *s, struct client *c)
{
    ssize_t n = read(c->fd, s->buffer, s->read_size);
    if (n < 0 && is_passing(errno))
        return;
    c->at_end = n == 0;
    c->lost = n < 0;
    if (n <= 0)
        return;
    ssize_t sent = 0;
    if (c->first == NULL)
        sent = write(c->fd, s->buffer, (size_t)n);
    if (sent < 0 && is_passing(errno))
        sent = 0;
    if (sent < 0 ||
        (sent < n && !append(c, s->buffer + sent, (size_t)(n - sent))))
        c->lost = true;
}

/* ---- Clients ---- */

static void
admit(struct server *s, int fd)
{
    static bool complained;
    struct client *c = fd < FD_SETSIZE ? malloc(sizeof *c) : NULL;
    if (c == NULL) {
        if (!complained)
            warnx("a client is refused: %s",
                  fd < FD_SETSIZE ? "no memory" : "no room in an fd_set");
        complained = true;
        close(fd);
        return;
    }
    *c = (struct client){.fd = fd, .next = s->clients};
    c->last = &c->first;
    s->clients = c;
}

static void
open_doors(struct server *s)
{
    for (int guests = 0; guests < 32; guests++) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            admit(s, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            s->open_at = in_ms(80);
            return;
        }
    }
}

static bool
has_left(const struct client *c)
{
    return c->lost || (c->at_end && c->first == NULL);
}

/* Takes those out of the list who have left, or all. */
static void
sweep(struct server *s, bool all)
{
    struct client **link = &s->clients;
    while (*link != NULL) {
        struct client *c = *link;
        if (all || has_left(c)) {
            *link = c->next;
            advance(c, c->waiting);
            close(c->fd);
            free(c);
            s->open_at = (struct timespec){0};
        } else {
            link = &c->next;
        }
    }
}

/* ---- The loop ---- */

static void
put(int fd, fd_set *set, int *top)
{
    FD_SET(fd, set);
    if (fd >= *top)
        *top = fd + 1;
}

static void
turn(struct server *s, const sigset_t *usual)
{
    fd_set in, out;
    int top = 0;
    FD_ZERO(&in);
    FD_ZERO(&out);
    for (struct client *c = s->clients; c != NULL; c = c->next) {
        if (!c->at_end && c->waiting < HIGH_WATER)
            put(c->fd, &in, &top);
        if (c->first != NULL)
            put(c->fd, &out, &top);
    }
    struct timespec rest = until(s->open_at);
    bool resting = rest.tv_sec > 0 || rest.tv_nsec > 0;
    if (!resting)
        put(s->listener, &in, &top);

    if (pselect(top, &in, &out, NULL, resting ? &rest : NULL, usual) < 0) {
        if (errno != EINTR)
            err(1, "pselect");
        return; /* the sets say nothing */
    }
    for (struct client *c = s->clients; c != NULL; c = c->next) {
        if (FD_ISSET(c->fd, &out))
            send_chain(c);
        if (!c->lost && FD_ISSET(c->fd, &in))
            take_bytes(s, c);
    }
    if (!resting && FD_ISSET(s->listener, &in))
        open_doors(s);
    sweep(s, false);
}

static volatile sig_atomic_t told;

static void
tell(int signo)
{
    told = signo;
}

static bool
is_told_to_end(const struct server *s)
{
    static const struct timespec at_once;
    return told || sigtimedwait(&s->ends, NULL, &at_once) > 0;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.read_size = o.read_size};
    sigset_t usual;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, tell);
    signal(SIGINT, tell);
    sigemptyset(&s.ends);
    sigaddset(&s.ends, SIGTERM);
    sigaddset(&s.ends, SIGINT);
    sigprocmask(SIG_BLOCK, &s.ends, &usual);
    s.buffer = malloc(s.read_size);
    if (s.buffer == NULL)
        err(1, "malloc");
    s.listener = listen_on(o.addr, o.port);
    if (fcntl(s.listener, F_SETFL, O_NONBLOCK) < 0)
        err(1, "fcntl");
    announce(s.listener);
    while (!is_told_to_end(&s))
        turn(&s, &usual);
    sweep(&s, true);
    close(s.listener);
    free(s.buffer);
    return 0;
}
