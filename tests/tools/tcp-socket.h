/*
 * For tcp.c: connections, and the bytes that go through them. Sockets are
 * non-blocking; whoever waits says until when.
 */
#pragma once
#include "tcp-report.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 16384 /* bytes in one send() or recv() */
#define GRACE 0.2   /* seconds without a byte that mean "no more" */

struct connection {
    const char *name;
    int fd;                  /* -1: not connected */
    bool over;               /* by close or reset; `on` begins a new one */
    bool half_closed;        /* we have nothing more to send */
    bool was_reset;          /* the kernel reports it only once */
    uint64_t sent, received; /* positions in the pattern */
};

enum event { DATA, QUIET, CLOSED, RESET };

static struct sockaddr_in server = {.sin_family = AF_INET};
static double patience = 5; /* seconds that a step waits for the next event */
static double factor = 1;   /* TIMEOUT_FACTOR, for slow machines */
static double step_end;     /* a step that gets on byte by byte ends, too */
static int rcvbuf;          /* 0: leave it to the kernel */

/* ---- Time ---- */

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Until when to wait for what should come next. */
static double
deadline(void)
{
    double until = now() + patience;
    return until < step_end ? until : step_end;
}

static bool
wait_for(int fd, short events, double until)
{
    struct pollfd p = {fd, events, 0};
    for (;;) {
        double left = until - now();
        int n = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            die_errno("poll");
        if (n == 0 && left <= 0)
            return false;
    }
}

/* ---- What happens at a socket ---- */

static const char *
in_words(enum event e, double waited)
{
    if (e == CLOSED)
        return "the server closed the connection (EOF)";
    if (e == RESET)
        return "the server reset the connection (RST)\n"
               "(often it exited, or closed a socket with unread bytes)";
    if (now() >= step_end)
        return text("the step was not done after %g s", 6 * patience);
    return text("nothing came within %g s", waited);
}

/* What came before it ended, and how it ended. */
static const char *
came(const char *data, size_t n, enum event e)
{
    if (n == 0)
        return in_words(e, patience);
    if (e == DATA)
        return text("%s (%s)", quote(data, n), count(n));
    return text("%s (%s), then %s", quote(data, n), count(n),
                in_words(e, patience));
}

/* What the errno of a failed send() or recv() says. */
static enum event
socket_event(struct connection *c, const char *call)
{
    if (errno == EAGAIN)
        return QUIET;
    if (errno != ECONNRESET && errno != EPIPE)
        die_errno(call);
    c->was_reset = true;
    return RESET;
}

/* Waits for bytes, at most `size`, and says in *n how many came. */
static enum event
receive(struct connection *c, char *buf, size_t size, double until, size_t *n)
{
    *n = 0;
    for (;;) {
        ssize_t k = recv(c->fd, buf, size, 0);
        if (k == 0)
            return c->was_reset ? RESET : CLOSED;
        if (k > 0) {
            *n = (size_t)k;
            return DATA;
        }
        if (errno == EINTR)
            continue;
        enum event e = socket_event(c, "recv");
        if (e != QUIET || !wait_for(c->fd, POLLIN, until))
            return e;
    }
}

/* Reads on until *n is `size` or no more comes for a moment, so that a
 * message shows the whole of a wrong answer and not its first packet. */
static enum event
receive_more(struct connection *c, char *buf, size_t size, size_t *n)
{
    enum event e = DATA;
    for (size_t k; e == DATA && *n < size; *n += k)
        e = receive(c, buf + *n, size - *n, now() + GRACE * factor, &k);
    return e;
}

/* Sends what the socket takes now; DATA: all of it is sent. */
static enum event
push(struct connection *c, const struct bytes *out, size_t *sent)
{
    static char chunk[CHUNK];
    while (*sent < out->n) {
        size_t n = copy(out, *sent, chunk, CHUNK);
        ssize_t k = send(c->fd, chunk, n, MSG_NOSIGNAL);
        if (k >= 0)
            *sent += (size_t)k;
        else if (errno != EINTR)
            return socket_event(c, "send");
    }
    return DATA;
}

/* ---- Connecting ---- */

static const char *
server_name(void)
{
    return text("%s:%d", inet_ntoa(server.sin_addr), ntohs(server.sin_port));
}

/* Number 1 comes from 127.0.0.2, and so on; 0: the kernel chooses. */
static void
bind_source(int fd, uint32_t number)
{
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (number && bind(fd, (struct sockaddr *)&source, sizeof source) != 0)
        die_errno("bind");
}

static int
open_socket(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die_errno("socket");
    /* Each send becomes a packet of its own, as the scenario says. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (rcvbuf)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
    return fd;
}

/* Begins to connect; returns 0 or an errno. When our address has no port left
 * (after 28,000 connections or so), it goes on from the next address. */
static int
start_connect(struct connection *c)
{
    static uint32_t source;
    for (;; source++) {
        c->fd = open_socket();
        bind_source(c->fd, source);
        if (connect(c->fd, (struct sockaddr *)&server, sizeof server) == 0)
            return 0;
        if (errno != EADDRNOTAVAIL || source == 200)
            return errno == EINPROGRESS ? 0 : errno;
        close(c->fd);
    }
}

/* When nobody listens, a client whose own port happens to be the server's
 * connects to itself. It is rare, but tests run often. */
static bool
is_connected_to_itself(int fd)
{
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    return getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
           own.sin_port == server.sin_port &&
           own.sin_addr.s_addr == server.sin_addr.s_addr;
}

/* Waits until it is connected; returns 0 or an errno. */
static int
finish_connect(struct connection *c, double until)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (!wait_for(c->fd, POLLOUT, until))
        return ETIMEDOUT;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0 && is_connected_to_itself(c->fd))
        return ECONNREFUSED;
    if (error != ECONNRESET)
        return error;
    c->was_reset = true; /* connected, and then reset: for the next step */
    return 0;
}

static void
check_connect(int error)
{
    const char *actual;
    if (error == 0)
        return;
    else if (error == ECONNREFUSED)
        actual = "connection refused: nothing listens on that port any more";
    else if (error == ETIMEDOUT)
        actual = text("no answer within %g s\n(often the server does not accept"
                      " and its listen() queue is full)",
                      patience);
    else
        die(3, "connect to %s: %s", server_name(), strerror(error));
    fail("the server accepts the connection", actual);
}

static void
end_connection(struct connection *c, bool by_reset)
{
    struct linger no_wait = {.l_onoff = 1, .l_linger = 0};
    if (by_reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &no_wait, sizeof no_wait);
    close(c->fd);
    c->fd = -1;
    c->over = true;
}

/* ---- Both ways at once ---- */

struct transfer {
    struct connection *c;
    struct bytes out, in;
    size_t sent, got;  /* how much of each is done */
    char wrong[CHUNK]; /* what came at the first difference, and after it */
    size_t wrong_n;
};

/* Reads what is there now and compares it; DATA: all of it came, or a
 * difference. */
static enum event
pull(struct transfer *t)
{
    static char chunk[CHUNK], want[CHUNK];
    while (t->got < t->in.n && t->wrong_n == 0) {
        size_t n, left = t->in.n - t->got, same = 0;
        size_t most = left < CHUNK ? left : CHUNK;
        enum event e = receive(t->c, chunk, most, 0, &n);
        if (e != DATA)
            return e;
        copy(&t->in, t->got, want, n);
        while (same < n && chunk[same] == want[same])
            same++;
        t->got += same;
        t->wrong_n = n - same;
        memcpy(t->wrong, chunk + same, t->wrong_n);
    }
    return DATA;
}

static _Noreturn void
report_difference(struct transfer *t)
{
    size_t left = t->in.n - t->got, most = left < CHUNK ? left : CHUNK;
    enum event e = receive_more(t->c, t->wrong, most, &t->wrong_n);
    fail_difference(&t->in, t->got, t->wrong, t->wrong_n,
                    in_words(e, GRACE * factor));
}

static _Noreturn void
report_unsent(const struct transfer *t, enum event e)
{
    int unread = 0;
    ioctl(t->c->fd, FIONREAD, &unread);
    const char *note = "", *end = in_words(e, 0);
    if (e == QUIET)
        end = text("no more within %g s", patience);
    if (unread)
        note = text("\n(%s of its answer wait here, unread)",
                    count((size_t)unread));
    fail(text("the server takes %s", count(t->out.n)),
         text("it took %s, then %s%s", count(t->sent), end, note));
}

static _Noreturn void
report_end(const struct transfer *t, enum event e)
{
    if (t->got == t->in.n)
        report_unsent(t, e);
    const char *actual, *taken = "";
    if (t->in.text && t->got <= SHOWN)
        actual = came(t->in.text, t->got, e);
    else
        actual = text("the first %zu of %zu bytes, then %s", t->got, t->in.n,
                      in_words(e, patience));
    if (t->sent < t->out.n)
        taken = text("\n(it had taken %zu of the %zu bytes sent to it)",
                     t->sent, t->out.n);
    fail(show(&t->in), text("%s%s", actual, taken));
}

/* Sends `out` and expects `in`, both at the same time: a client that first
 * sends all waits for ever on a server that wants to be rid of its answer. */
static void
transfer(struct connection *c, struct bytes out, struct bytes in)
{
    struct transfer t = {.c = c, .out = out, .in = in};
    double until = deadline();
    if (c->half_closed && out.n > 0)
        die(2, "after half-close nothing can be sent");
    while (t.sent < out.n || t.got < in.n) {
        size_t before = t.sent + t.got;
        enum event reading = pull(&t), sending = push(c, &out, &t.sent);
        if (sending == RESET && reading == QUIET)
            reading = pull(&t); /* what came before the reset */
        if (t.wrong_n)
            report_difference(&t);
        if (reading == CLOSED || reading == RESET)
            report_end(&t, reading);
        if (sending == RESET)
            report_end(&t, RESET);
        if (t.sent + t.got > before)
            until = deadline();
        short events = (short)((reading == QUIET ? POLLIN : 0) |
                               (sending == QUIET ? POLLOUT : 0));
        if (events && (!wait_for(c->fd, events, until) || now() > step_end))
            report_end(&t, QUIET);
    }
}
