/*
 * An accepted solution of stage 06, of another style.
 *
 * No object is pointed to: clients are entries of a table by descriptor, and
 * the kernel hands back descriptors. Those of clients that have something to do
 * are in an array, one for this turn and one for the next. The number of a
 * client that has gone may stay there: whoever has that descriptor by then is
 * looked at, has nothing to do, and loses nothing. Both directions of a client
 * are independent: it is read until EAGAIN while fewer than LIMIT bytes wait,
 * written until EAGAIN while some do, with at most CALLS calls in a turn. What
 * waits is a string that grows by realloc().
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE     16384
#define READ_SIZE_MAX (1 << 20)
#define LIMIT         65536
#define CALLS         20

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

struct entry {
    bool used, queued, readable, writable, ended;
    char *text;
    size_t start, length, room; /* text[start .. start + length) waits */
};

struct numbers {
    int *list;
    size_t count, room;
};

static struct entry *table; /* by descriptor */
static size_t table_size;
static struct numbers these, soon; /* to be served in this turn, in the next */
static int epoll, listener;
static bool somebody_waits; /* accept4() has not said EAGAIN since the event */
static struct timespec doors_open;
static char piece[READ_SIZE_MAX];
static size_t piece_size;

/* ---- The table and the numbers ---- */

static bool
reach(size_t fd)
{
    if (fd < table_size)
        return true;
    size_t size = (fd | 255) + 1;
    struct entry *t = realloc(table, size * sizeof *t);
    if (t == NULL)
        return false;
    memset(t + table_size, 0, (size - table_size) * sizeof *t);
    table = t;
    table_size = size;
    return true;
}

/* There is room for as many numbers as entries, so that this cannot fail. */
static void
queue(int fd)
{
    if (!table[fd].queued)
        soon.list[soon.count++] = fd;
    table[fd].queued = true;
}

static bool
fit(struct numbers *n)
{
    if (n->room >= table_size)
        return true;
    int *list = realloc(n->list, table_size * sizeof *list);
    if (list == NULL)
        return false;
    n->list = list;
    n->room = table_size;
    return true;
}

static void
forget(int fd)
{
    struct entry *e = &table[fd];
    bool queued = e->queued; /* the number is still in the array */
    free(e->text);
    close(fd);
    *e = (struct entry){.queued = queued};
    doors_open = (struct timespec){0};
}

static void
remember(int fd)
{
    struct epoll_event e = {.events = EPOLLET | EPOLLIN | EPOLLOUT,
                            .data.fd = fd};
    if (!reach((size_t)fd) || !fit(&these) || !fit(&soon) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
        warn("turned away");
        close(fd);
        return;
    }
    table[fd].used = true;
}

/* ---- Bytes ---- */

static bool
store(struct entry *e, const char *from, size_t n)
{
    if (e->start + e->length + n > e->room && e->start > 0) {
        memmove(e->text, e->text + e->start, e->length);
        e->start = 0;
    }
    if (e->length + n > e->room) {
        size_t room = 2 * (e->length + n);
        char *text = realloc(e->text, room);
        if (text == NULL)
            return false;
        e->text = text;
        e->room = room;
    }
    memcpy(e->text + e->start + e->length, from, n);
    e->length += n;
    return true;
}

enum result { DONE, BLOCKED, BROKEN };

static enum result
what_is_wrong(void)
{
    if (errno == EAGAIN)
        return BLOCKED;
    return errno == EINTR ? DONE : BROKEN;
}

/* Writes from[0..n), sets *n to how much of it is left. */
static enum result
put(int fd, const char *from, size_t *n)
{
    ssize_t written = write(fd, from, *n);
    if (written < 0)
        return what_is_wrong();
    *n -= (size_t)written;
    return DONE;
}

static enum result
flush(int fd, struct entry *e)
{
    size_t left = e->length;
    enum result r = put(fd, e->text + e->start, &left);
    e->start += e->length - left;
    e->length = left;
    e->writable = r != BLOCKED;
    if (left == 0) {
        free(e->text);
        e->text = NULL;
        e->start = e->room = 0;
    }
    return r;
}

static enum result
take(int fd, struct entry *e)
{
    ssize_t n = read(fd, piece, piece_size);
    if (n < 0) {
        enum result r = what_is_wrong();
        e->readable = r != BLOCKED;
        return r;
    }
    e->ended = n == 0;
    size_t left = (size_t)n;
    if (e->length == 0 && e->writable && left > 0) {
        enum result r = put(fd, piece, &left);
        e->writable = r != BLOCKED;
        if (r == BROKEN)
            return r;
    }
    return left == 0 || store(e, piece + (size_t)n - left, left) ? DONE
                                                                 : BROKEN;
}

static bool
wants_to_read(const struct entry *e)
{
    return e->readable && !e->ended && e->length < LIMIT;
}

static bool
wants_to_write(const struct entry *e)
{
    return e->writable && e->length > 0;
}

static void
serve(int fd)
{
    struct entry *e = &table[fd];
    enum result r = DONE;
    for (int calls = CALLS; calls > 0 && r != BROKEN; calls--) {
        if (wants_to_write(e))
            r = flush(fd, e);
        else if (wants_to_read(e))
            r = take(fd, e);
        else
            break;
    }
    if (r == BROKEN || (e->ended && e->length == 0))
        forget(fd);
    else if (wants_to_read(e) || wants_to_write(e))
        queue(fd);
}

/* ---- The doors ---- */

static struct timespec
after(long ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* ms until the doors open, 0 if they are open. */
static long
closed_for(void)
{
    struct timespec now = after(0);
    long ms = (doors_open.tv_sec - now.tv_sec) * 1000 +
              (doors_open.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? ms : 0;
}

static void
let_in(void)
{
    for (int i = 0; i < CALLS && somebody_waits; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            remember(fd);
        } else if (errno == EAGAIN) {
            somebody_waits = false;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            doors_open = after(100);
            return;
        }
    }
}

/* ---- The loop ---- */

static int
patience(void)
{
    if (soon.count > 0)
        return 0;
    if (!somebody_waits)
        return -1;
    return (int)closed_for();
}

static void
listen_to_kernel(const sigset_t *let_through)
{
    struct epoll_event events[200];
    int n = epoll_pwait(epoll, events, 200, patience(), let_through);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_pwait");
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        uint32_t what = events[i].events;
        if (fd == listener) {
            somebody_waits = true;
            continue;
        }
        if (what & ~(uint32_t)EPOLLOUT)
            table[fd].readable = true;
        if (what & ~(uint32_t)EPOLLIN)
            table[fd].writable = true;
        queue(fd);
    }
}

static void
turn(void)
{
    struct numbers swap = these;
    these = soon;
    soon = swap;
    soon.count = 0;
    for (size_t i = 0; i < these.count; i++) {
        int fd = these.list[i];
        table[fd].queued = false;
        if (table[fd].used)
            serve(fd);
    }
    these.count = 0;
    if (somebody_waits && closed_for() == 0)
        let_in();
}

static volatile sig_atomic_t end;

static void
on_end(int signo)
{
    end = signo;
}

static bool
is_to_end(const sigset_t *ends)
{
    static const struct timespec none;
    return end != 0 || sigtimedwait(ends, NULL, &none) > 0;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    sigset_t ends, usual;
    piece_size = o.read_size;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, &usual);
    signal(SIGTERM, on_end);
    signal(SIGINT, on_end);
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = listen_on(o.addr, o.port);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (epoll < 0 ||
        fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK) < 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) < 0)
        err(1, "epoll");
    announce(listener);
    while (!is_to_end(&ends)) {
        listen_to_kernel(&usual);
        turn();
    }
    for (size_t fd = 0; fd < table_size; fd++)
        if (table[fd].used)
            forget((int)fd);
    free(table);
    free(soon.list);
    free(these.list);
    return 0;
}
