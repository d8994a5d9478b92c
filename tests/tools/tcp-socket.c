#include "tcp-socket.h"
#include "tcp-report.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct sockaddr_in server = {.sin_family = AF_INET};
double patience = 5, factor = 1, step_end;
int rcvbuf;

/* ---- Time ---- */

double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void
nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

double
deadline(void)
{
    double until = now() + patience;
    return until < step_end ? until : step_end;
}

bool
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

const char *
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

const char *
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

enum event
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

enum event
receive_more(struct connection *c, char *buf, size_t size, size_t *n)
{
    enum event e = DATA;
    for (size_t k; e == DATA && *n < size; *n += k)
        e = receive(c, buf + *n, size - *n, now() + GRACE * factor, &k);
    return e;
}

enum event
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

const char *
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

int
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

int
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

void
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

void
end_connection(struct connection *c, bool by_reset)
{
    struct linger no_wait = {.l_onoff = 1, .l_linger = 0};
    if (by_reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &no_wait, sizeof no_wait);
    close(c->fd);
    c->fd = -1;
    c->over = true;
}
