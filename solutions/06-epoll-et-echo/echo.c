/*
 * Stage 06: an echo server on epoll, edge-triggered.
 *
 * Level-triggered epoll says "there is data" as long as there is some.
 * Edge-triggered epoll says "data has arrived", once. We register a descriptor
 * once, for everything, and from then on it is up to us to remember what was
 * reported: `ready` in struct conn. A socket counts as readable from the event
 * on until a call has shown that it is empty, as writable until one has
 * shown that it is full. Forget that too early, and the client waits for ever:
 * there is no second event for the same bytes.
 *
 * Nor does the kernel say any more whose turn it is. A client makes up to
 * BUDGET steps; if it could go on then, it stays on our own ready list, and
 * the next turn does not wait. So a client that floods delays the others by a
 * bounded number of reads.
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
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 16384,       /* bytes that one read() takes at most (-b) */
    READ_SIZE_MAX = 1 << 20, /* the most that -b can ask for */
    ACCEPT_REST_MS = 100,    /* rest after accept() ran out of something */
    EVENTS = 256,            /* events that one epoll_wait() brings at most */
    BUDGET = 16,             /* steps that anybody makes in one turn at most */
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
    uint32_t ready;    /* the events that were reported and still hold */
    bool queued;       /* it is on the ready list */
    char *out;         /* WRITING: what is to go back. Otherwise NULL. */
    size_t size, done; /* bytes in out; how many of them are written */
    LIST_ENTRY(conn) link;
    SLIST_ENTRY(conn) next_ready;
};

struct server {
    int epoll;                /* the interest list, which the kernel keeps */
    LIST_HEAD(, conn) conns;  /* all that are on it */
    SLIST_HEAD(, conn) ready; /* those that can make a step at once */

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
}

/* "Until EAGAIN" takes a descriptor that says EAGAIN instead of blocking. */
static void
set_nonblocking(int fd)
{
    /* TODO 5: set O_NONBLOCK.
     * The flags of a descriptor are one number, and F_SETFL replaces all of
     * it. So read it with F_GETFL first, add O_NONBLOCK, and set the result:
     * whoever sets O_NONBLOCK alone clears all the others.
     * STUB: (void)fd;
     */
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        err(1, "fcntl");
    /* END TODO 5 */
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
 * TCP makes the client wait. This is back-pressure. */
static uint32_t
interest(const struct conn *c)
{
    static const uint32_t of[] = {
        [SIGNALS] = EPOLLIN, [LISTENING] = EPOLLIN, [RESTING] = 0,
        [READING] = EPOLLIN, [WRITING] = EPOLLOUT,  [GONE] = 0,
    };
    return of[c->state];
}

/* After every event and every turn: whoever can go on is on the ready list. */
static void
update(struct server *s, struct conn *c)
{
    if (c->queued || !(c->ready & interest(c)))
        return;
    c->queued = true;
    SLIST_INSERT_HEAD(&s->ready, c, next_ready);
}

/* Begins to watch c. Returns false if that is not possible. */
static bool
watch(struct server *s, struct conn *c)
{
    /* TODO 1: put c on the interest list, once and for everything.
     * Edge-triggered (EPOLLET), readable and writable; and the two events that
     * receive() looks at: EPOLLRDHUP, the client has finished, and EPOLLPRI,
     * an urgent byte. The rest is as in stage 05; there will be no MOD.
     * STUB: (void)s;
     * STUB: free(c);
     * STUB: todo
     */
    uint32_t all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    struct epoll_event ev = {.events = all, .data.ptr = c};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
        warn("cannot watch descriptor %d", c->fd);
        return false;
    }
    LIST_INSERT_HEAD(&s->conns, c, link);
    return true;
    /* END TODO 1 */
}

/* The kernel takes a descriptor off its interest list when it is closed. */
static void
unwatch(struct server *s, struct conn *c)
{
    (void)s;
    LIST_REMOVE(c, link);
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

/* Only the client that is being served is ever closed. It has just been taken
 * off the ready list, and no event is left: nothing points to c any more. */
static void
close_conn(struct server *s, struct conn *c)
{
    unwatch(s, c);
    close(c->fd);
    free(c->out);
    free(c);
    s->rest_ends = 0; /* a descriptor is free */
}

/* LISTENING: lets a client in. Whatever happens to it, the server goes on.
 * When no descriptor is free, the client stays in the backlog and the listener
 * stays ready: without a rest the loop would burn a whole CPU. */
static void
accept_clients(struct server *s, struct conn *c)
{
    /* TODO 6: accept until nobody waits.
     * Ten clients that come at once may be one single event. serve() makes
     * step after step while the listener is ready, BUDGET at most: take one
     * client in each. Only EAGAIN says that the listener is not ready any more;
     * after any other error it still is. The stub takes one client for each
     * event.
     * STUB: int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
     * STUB: c->ready = 0;
     * STUB: if (fd >= 0)
     * STUB:     open_conn(s, fd, READING);
     * STUB: (void)now_ms;
     */
    int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        open_conn(s, fd, READING);
    } else if (errno == EAGAIN) {
        c->ready = 0;
    } else if (errno != EINTR && errno != ECONNABORTED) {
        warn("accept");
        c->state = RESTING;
        s->rest_ends = now_ms() + ACCEPT_REST_MS;
    }
    /* END TODO 6 */
}

/* WRITING: writes what the socket has room for. When all is written the buffer
 * is spare again, and it is time to read on. */
static void
transmit(struct server *s, struct conn *c)
{
    ssize_t n = write(c->fd, c->out + c->done, c->size - c->done);
    if (n < 0 && errno == EAGAIN)
        c->ready &= ~EPOLLOUT;
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

/* READING: one read, and its echo at once. Only a client whose echo does not
 * fit into the socket keeps a buffer, and never more than one. */
static void
receive(struct server *s, struct conn *c)
{
    if (s->spare == NULL)
        s->spare = malloc(s->read_size);
    ssize_t n = s->spare ? read(c->fd, s->spare, s->read_size) : -1;
    /* TODO 4: find out when the socket is empty.
     * EAGAIN says so: then c is ready for neither EPOLLIN nor EPOLLPRI. A read
     * that gets less than it asks for says so, too, and saves the call that
     * would only fail. There are two exceptions, and both are reported: after
     * EPOLLRDHUP the end of the stream is still to be read, and at an urgent
     * byte (EPOLLPRI) a read stops short. With the stub c is ready for ever.
     * STUB:
     */
    bool is_empty = n < 0 && errno == EAGAIN;
    bool is_short = n > 0 && (size_t)n < s->read_size;
    if (is_empty)
        c->ready &= ~(EPOLLIN | EPOLLPRI);
    else if (is_short && !(c->ready & (EPOLLRDHUP | EPOLLPRI)))
        c->ready &= ~EPOLLIN;
    /* END TODO 4 */
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

/* As many steps as it can make, but BUDGET at most. */
static void
serve(struct server *s, struct conn *c)
{
    /* TODO 2: go on while c is ready for what it waits for.
     * c->ready is what was reported, interest(c) is what c needs; a step may
     * change both. The stub makes one step for each event, as stage 05 does.
     * STUB: step(s, c);
     */
    for (int i = 0; i < BUDGET && (c->ready & interest(c)); i++)
        step(s, c);
    /* END TODO 2 */
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

/* One turn of the loop: take note of what has happened, then serve everyone who
 * is ready, once. Whoever can still go on then waits for the next turn. */
static void
turn(struct server *s)
{
    struct epoll_event events[EVENTS];
    int ms = timeout(s);
    /* TODO 3: serve the ready list, and do not wait while it has someone.
     * The timeout is 0 then. Add each event to what its conn is ready for, and
     * update() it. Then take the whole list and empty it before you serve
     * anyone: whoever joins it meanwhile is for the next turn. serve() may free
     * its conn: get the next one first, and clear `queued`. The stub knows no
     * list: whoever has used up the budget is forgotten.
     * STUB: int n = epoll_wait(s->epoll, events, EVENTS, ms);
     * STUB: for (int i = 0; i < n; i++) {
     * STUB:     struct conn *c = events[i].data.ptr;
     * STUB:     c->ready |= events[i].events;
     * STUB:     serve(s, c);
     * STUB: }
     */
    if (!SLIST_EMPTY(&s->ready))
        ms = 0;
    int n = epoll_wait(s->epoll, events, EVENTS, ms);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        c->ready |= events[i].events;
        update(s, c);
    }
    struct conn *c = SLIST_FIRST(&s->ready), *next;
    SLIST_INIT(&s->ready);
    for (; c != NULL; c = next) {
        next = SLIST_NEXT(c, next_ready);
        c->queued = false;
        serve(s, c);
    }
    /* END TODO 3 */
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.read_size = o.read_size};
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0)
        err(1, "epoll_create1");
    int signals = signal_descriptor();
    int listener = listen_on(o.addr, o.port);
    set_nonblocking(listener);
    s.listener = open_conn(&s, listener, LISTENING);
    if (s.listener == NULL || open_conn(&s, signals, SIGNALS) == NULL)
        return 1;
    announce(listener);
    while (!s.stopping)
        turn(&s);

    while (!LIST_EMPTY(&s.conns))
        close_conn(&s, LIST_FIRST(&s.conns));
    close(s.epoll);
    free(s.spare);
    return 0;
}
