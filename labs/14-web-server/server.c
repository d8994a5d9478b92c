/*
 * The event loop: who waits for what, and for how long.
 *
 * One thread, one epoll instance, level-triggered (stage 05). A turn of the
 * loop waits for events, lets each connection concerned do what it can without
 * waiting, and then ends those whose time is over.
 *
 * A connection is always in one state (see connection.h), and the state decides
 * two things, here and nowhere else: what epoll is asked for, and how long the
 * connection may stay. As all connections in a state may stay equally long,
 * each state needs only a queue: the next one to time out is at its head.
 */
#include "server.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,  /* events that one turn of the loop takes at most */
    ACCEPT_MAX = 64,   /* and new clients: the old ones wait meanwhile */
    ACCEPT_REST = 100, /* ms without accept() after the descriptors ran out */
};

static const uint32_t interest[] = {
    [IDLE] = EPOLLIN,
    [READING] = EPOLLIN,
    [WRITING] = EPOLLOUT,
    [LINGERING] = EPOLLIN,
};

/* --- time ----------------------------------------------------------------- */

static void
look_at_clocks(struct server *s)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* no system call: see vdso(7) */
    s->now = t.tv_sec * 1000L + t.tv_nsec / 1000000L;
    date_update(&s->date);
}

static void
unlink_connection(struct connection *c)
{
    struct queue *q = &c->server->in[c->state];
    *(c->before ? &c->before->after : &q->first) = c->after;
    *(c->after ? &c->after->before : &q->last) = c->before;
    c->before = c->after = NULL;
}

void
server_enter(struct connection *c, enum state state)
{
    if (c->state != CLOSED)
        unlink_connection(c);
    c->state = state;
    if (state == CLOSED)
        return;
    struct queue *q = &c->server->in[state];
    c->since = c->server->now;
    c->before = q->last;
    *(q->last ? &q->last->after : &q->first) = c;
    q->last = c;
}

/* How long epoll may wait, in ms: until the first time-out, or for ever (-1).
 * The clock above moves in steps of a few ms, so a turn may come a little too
 * early; it finds nobody late and waits again. */
static int
time_to_wait(const struct server *s)
{
    long next = s->rest_until > 0 ? s->rest_until : LONG_MAX;
    for (int state = 0; state < CLOSED; state++) {
        const struct connection *c = s->in[state].first;
        if (c && c->since + s->patience[state] < next)
            next = c->since + s->patience[state];
    }
    if (next == LONG_MAX)
        return -1;
    return next <= s->now ? 0 : (int)(next - s->now) + 1;
}

/* --- connections ---------------------------------------------------------- */

/* After a connection has done something: what does it wait for now? */
static void
settle(struct connection *c)
{
    if (c->state == CLOSED) {
        connection_free(c);
        return;
    }
    if (c->interest == interest[c->state])
        return;
    struct epoll_event event = {.events = interest[c->state], .data.ptr = c};
    int op = c->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(c->server->epoll, op, c->fd, &event) < 0) {
        warn("epoll_ctl"); /* ENOMEM, ENOSPC: this client has to go */
        server_enter(c, CLOSED);
        connection_free(c);
        return;
    }
    c->interest = event.events;
}

static void
watch_listener(struct server *s, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = NULL};
    if (epoll_ctl(s->epoll, EPOLL_CTL_MOD, s->listener, &event) < 0)
        err(1, "epoll_ctl");
}

/* The client that could not be accepted stays in the backlog, and level-
 * triggered epoll would report it again at once, for ever: look away. */
static void
rest(struct server *s)
{
    if (!s->warned)
        warn("accept");
    s->warned = true;
    s->rest_until = s->now + ACCEPT_REST;
    watch_listener(s, 0);
}

static void
accept_clients(struct server *s)
{
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct connection *c = fd < 0 ? NULL : connection_new(s, fd);
        if (c) {
            /* What it has sent already can be answered without epoll. */
            connection_ready(c);
            settle(c);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue; /* that one has gone */
        if (errno == EAGAIN)
            s->warned = false;
        else
            rest(s);
        return;
    }
}

static void
accept_again(struct server *s)
{
    s->rest_until = 0;
    watch_listener(s, EPOLLIN);
}

static void
end_the_late(struct server *s)
{
    for (int state = 0; state < CLOSED; state++) {
        struct connection *c;
        while ((c = s->in[state].first) != NULL &&
               c->since + s->patience[state] <= s->now) {
            connection_late(c);
            settle(c);
        }
    }
}

/* --- the loop ------------------------------------------------------------- */

void
server_init(struct server *s, int listener, struct root root)
{
    *s = (struct server){.listener = listener, .root = root};
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0)
        err(1, "epoll_create1");
    int flags = fcntl(listener, F_GETFL);
    if (flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK) < 0)
        err(1, "fcntl");
    /* Accepted sockets inherit it: small answers leave at once. */
    int on = 1;
    if (setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        err(1, "setsockopt TCP_NODELAY");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        err(1, "epoll_ctl");
    look_at_clocks(s);
}

void
server_run(struct server *s, const sigset_t *waiting,
           const volatile sig_atomic_t *stop)
{
    struct epoll_event events[EVENTS_MAX];
    while (!*stop) {
        int n =
            epoll_pwait(s->epoll, events, EVENTS_MAX, time_to_wait(s), waiting);
        if (n < 0 && errno != EINTR)
            err(1, "epoll_pwait");
        look_at_clocks(s);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                accept_clients(s);
                continue;
            }
            connection_ready(c);
            settle(c);
        }
        end_the_late(s);
        if (s->rest_until > 0 && s->rest_until <= s->now)
            accept_again(s);
    }
}

void
server_close(struct server *s)
{
    for (int state = 0; state < CLOSED; state++) {
        struct connection *c;
        while ((c = s->in[state].first) != NULL) {
            server_enter(c, CLOSED);
            connection_free(c);
        }
    }
    close(s->listener);
    close(s->epoll);
    close(s->root.fd);
}
