/*
 * The connections of a worker process, and what they share.
 *
 * A connection is always in one state (see connection.h), and the state decides
 * two things, here and nowhere else: which events the loop is asked for, and
 * how long the connection may stay.
 *
 * What thousands of idle clients would have to pay for is lent: the buffers
 * for input and output belong to the server, and a connection has them only
 * while something is in them. In a turn of the loop in which a hundred clients
 * are served one after another, all of them use the same two.
 */
#include "server.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_MAX = 64,   /* new clients after a long turn */
    ACCEPT_REST = 100, /* ms without accept() after descriptors ran out */
    WARN_REST = 10000, /* ms without another line in the log about that */
    SPARE_MAX = 64,    /* buffers that are kept for the next burst */
};

/* --- buffers -------------------------------------------------------------- */

struct input *
server_take_input(struct server *s)
{
    struct input *in = s->inputs;
    if (in) {
        s->inputs = in->next;
        s->spare_inputs--;
    } else if (!(in = malloc(sizeof *in))) {
        return NULL;
    }
    input_init(in);
    return in;
}

struct output *
server_take_output(struct server *s)
{
    struct output *out = s->outputs;
    if (out) {
        s->outputs = out->next;
        s->spare_outputs--;
    } else if (!(out = malloc(sizeof *out))) {
        return NULL;
    }
    output_init(out);
    out->turn = out->total = 0;
    return out;
}

static void
give_back_input(struct connection *c)
{
    struct server *s = c->server;
    if (s->spare_inputs >= SPARE_MAX) {
        free(c->in);
    } else {
        s->spare_inputs++;
        c->in->next = s->inputs;
        s->inputs = c->in;
    }
    c->in = NULL;
}

static void
give_back_output(struct connection *c)
{
    struct server *s = c->server;
    output_drop(c->out);
    s->numbers[BYTES_SENT] += c->out->total;
    if (s->spare_outputs >= SPARE_MAX) {
        free(c->out);
    } else {
        s->spare_outputs++;
        c->out->next = s->outputs;
        s->outputs = c->out;
    }
    c->out = NULL;
}

void
server_free_buffers(struct server *s)
{
    for (struct input *in; (in = s->inputs) != NULL; free(in))
        s->inputs = in->next;
    for (struct output *out; (out = s->outputs) != NULL; free(out))
        s->outputs = out->next;
}

/* --- states --------------------------------------------------------------- */

static void
append(struct connection *c)
{
    struct server *s = c->server;
    c->before = s->last;
    c->after = NULL;
    *(s->last ? &s->last->after : &s->first) = c;
    s->last = c;
}

static void
unlink_connection(struct connection *c)
{
    struct server *s = c->server;
    *(c->before ? &c->before->after : &s->first) = c->after;
    *(c->after ? &c->after->before : &s->last) = c->before;
}

void
server_enter(struct connection *c, enum state state)
{
    struct server *s = c->server;
    s->in_state[c->state]--;
    s->in_state[state]++;
    c->state = state;
    c->since = loop_now(s->loop);
    if (state == CLOSED)
        return;
    if (c->after) {
        unlink_connection(c);
        append(c);
    }
    loop_timer_start(&c->timer, s->patience[state], 0);
}

/* In the phase close: nothing points to the connection any more. */
static void
free_connection(void *arg)
{
    struct connection *c = arg;
    struct server *s = c->server;
    s->in_state[CLOSED]--;
    free(c);
    s->connections--;
    if (s->draining && s->connections == 0)
        loop_stop(s->loop);
}

static void
end_connection(struct connection *c)
{
    store_cancel(&c->waiter);
    if (c->in)
        give_back_input(c);
    if (c->out)
        give_back_output(c);
    unlink_connection(c);
    close(c->io.fd); /* which takes it off the kernel's list, too */
    c->io.fd = -1;
    loop_close(&c->io.handle, NULL);
    loop_close(&c->timer.handle, free_connection);
}

/* What the loop is asked for. Once all that has come is read, only news counts:
 * edge-triggered, as the kernel looks at a socket once for an event then, and
 * not a second time to see that nothing is left. As long as there may be more,
 * level-triggered: an edge that was there already does not come again. */
static uint32_t
interest(const struct connection *c)
{
    if (c->state == WAITING || c->state == CLOSED)
        return 0;
    if (c->state == WRITING)
        return EPOLLOUT;
    return c->unread ? EPOLLIN : EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET;
}

void
server_settle(struct connection *c)
{
    if (c->in && c->state != WAITING && c->state != WRITING &&
        input_is_empty(c->in))
        give_back_input(c);
    if (c->out && c->out->first == c->out->count)
        give_back_output(c);
    if (c->state != CLOSED && loop_io_want(&c->io, interest(c)) < 0) {
        warn("epoll_ctl"); /* ENOMEM, ENOSPC: this client has to go */
        server_enter(c, CLOSED);
    }
    if (c->state == CLOSED)
        end_connection(c);
}

static void
ready(void *arg, uint32_t events)
{
    struct connection *c = arg;
    connection_ready(c, events);
    server_settle(c);
}

static void
late(void *arg)
{
    struct connection *c = arg;
    connection_late(c);
    server_settle(c);
}

bool
server_has_unread(const struct connection *c)
{
    int n = 0;
    ioctl(c->io.fd, FIONREAD, &n);
    return n > 0;
}

/* --- new clients ---------------------------------------------------------- */

/* No accept() for a moment. */
static void
look_away(struct server *s)
{
    s->away = true;
    loop_timer_start(&s->rest, ACCEPT_REST, 0);
}

/* The client that could not be accepted stays in the backlog, and level-
 * triggered epoll would report it again at once, for ever: look away. */
static void
rest(struct server *s, const char *problem)
{
    if (loop_now(s->loop) >= s->warn_next) {
        warn("%s", problem);
        s->warn_next = loop_now(s->loop) + WARN_REST;
    }
    look_away(s);
}

/* EPOLLEXCLUSIVE: of the workers that wait for the same socket, a new client
 * wakes up one, not all (the thundering herd of stage 12). So who has no room
 * must not wait for it: nobody else would hear of that client. A full worker
 * looks now and then whether somebody is there, and no other can take him. */
void
server_choose_listening(struct server *s)
{
    const uint64_t *ns = loop_stats(s->loop)->ns;
    if (s->draining)
        return;
    if (s->connections >= s->limit && !s->away)
        look_away(s);
    uint32_t wanted = s->away ? 0 : EPOLLIN | EPOLLEXCLUSIVE;
    if (loop_io_want(&s->listener, wanted) < 0)
        rest(s, "epoll_ctl");
    int64_t asleep = (int64_t)((ns[LOOP_WAIT] - s->waited) / 1000000);
    s->most = loop_now(s->loop) - s->turn - asleep > 1 ? ACCEPT_MAX : 1;
    s->turn = loop_now(s->loop);
    s->waited = ns[LOOP_WAIT];
}

static bool
new_connection(struct server *s, int fd, const struct sockaddr_storage *peer)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c || loop_timer_init(s->loop, &c->timer, late, c) < 0) {
        free(c);
        close(fd);
        errno = ENOMEM;
        return false;
    }
    c->server = s;
    loop_io_init(s->loop, &c->io, fd, ready, c);
    if (peer->ss_family == AF_INET6) {
        c->peer = ((const struct sockaddr_in6 *)peer)->sin6_addr;
    } else {
        c->peer.s6_addr[10] = c->peer.s6_addr[11] = 0xff;
        memcpy(c->peer.s6_addr + 12,
               &((const struct sockaddr_in *)peer)->sin_addr, 4);
    }
    append(c);
    s->connections++;
    s->numbers[ACCEPTED]++;
    s->in_state[IDLE]++;
    server_enter(c, IDLE);
    server_settle(c);
    return true;
}

/* Who can go for a new client? One that has just come, or just been answered, is
 * about to ask. The list is in the order of `since`: the first is idle longest. */
static struct connection *
idle_longest(const struct server *s)
{
    struct connection *c = s->first;
    while (c && (c->state != IDLE || server_has_unread(c)))
        c = c->after;
    return c && loop_now(s->loop) - c->since >= ACCEPT_REST ? c : NULL;
}

/* Whether there is room for one more. `*goes` is who has to leave when it has
 * come, or NULL. */
static bool
has_room(struct server *s, struct connection **goes)
{
    *goes = NULL;
    /* TODO 22: keep the number of connections within the limit.
     * As long as there are fewer than `limit`, there is room. Otherwise there is
     * if somebody is idle_longest(), who loses nothing but time; but not if
     * stats_have_room() says that another worker can take the new client. The
     * stub lets everybody in.
     */
    (void)idle_longest;
    (void)s;
    return true;
}

static bool
accept_client(struct server *s)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int fd = accept4(s->listener.fd, (struct sockaddr *)&peer, &size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd >= 0 && new_connection(s, fd, &peer);
}

/* One client, and if there are more, the loop comes back: whether there is one
 * more nobody knows, and to ask in vain is dearer than that, for the kernel makes
 * the socket first, and looks for a client then. But after a long turn those who
 * wait have waited long enough. */
static void
accept_clients(void *arg, uint32_t events)
{
    struct server *s = arg;
    struct connection *goes;
    (void)events;
    for (unsigned n = 0; n < s->most && has_room(s, &goes); n++) {
        if (accept_client(s)) {
            if (goes) {
                s->numbers[REFUSED]++;
                server_enter(goes, CLOSED);
                server_settle(goes);
            }
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN) /* that was all, or another was faster */
                rest(s, "accept");
            return;
        }
    }
}

/* Also for a full worker, who does not listen. */
static void
look_again(void *arg)
{
    struct server *s = arg;
    s->away = false;
    if (!s->draining && s->connections >= s->limit)
        accept_clients(s, EPOLLIN);
}

void
server_listen(struct server *s, int listener)
{
    if (loop_timer_init(s->loop, &s->rest, look_again, s) < 0)
        err(1, "start");
    loop_io_init(s->loop, &s->listener, listener, accept_clients, s);
}

/* --- numbers -------------------------------------------------------------- */

const struct date *
server_date(struct server *s)
{
    if (loop_now(s->loop) != s->date_checked) {
        s->date_checked = loop_now(s->loop);
        date_update(&s->date);
    }
    return &s->date;
}

void
server_note(struct connection *c, const struct answer *a)
{
    struct server *s = c->server;
    s->numbers[ANSWERED]++;
    s->numbers[STATUS + a->status / 100 - 2]++;
    if (s->log)
        log_answer(s->log, &c->peer, c->in->taken > 0 ? &c->in->request : NULL,
                   c->in->buf + c->in->start, a, server_date(s));
}
