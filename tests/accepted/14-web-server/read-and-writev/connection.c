/*
 * Another way: every step answers what comes next, and one loop takes the steps.
 *
 *   SEND    there is output: send it
 *   ANSWER  everything is sent, or there is room: answer the next request
 *   STOP    the rest has to wait; c->state says for what
 *
 * Whoever wakes the connection (bytes, room, a worker, the clock) only says with
 * which step to begin.
 */
#include "connection.h"
#include "request.h"
#include "server.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum next { STOP, SEND, ANSWER };

static enum next
stop_in(struct connection *c, enum state state)
{
    server_enter(c, state);
    return STOP;
}

/* ---- Answers -------------------------------------------------------------- */

static enum next
add(struct connection *c, struct answer *a, bool more_to_come)
{
    struct server *s = c->server;
    a->keep_alive &= !s->draining;
    c->last = !a->keep_alive;
    c->more_to_come = more_to_come;
    if (c->out == NULL)
        c->out = server_take_output(s);
    if (c->out != NULL) {
        response_add(c->out, a, server_date(s));
        server_note(c, a);
    }
    if (a->entry != NULL)
        entry_release(a->entry);
    return c->out != NULL ? ANSWER : stop_in(c, CLOSED);
}

static enum next
refuse(struct connection *c, int status)
{
    struct answer a;
    request_refuse(status, c->in->buf + c->in->start, c->in->end - c->in->start,
                   &a);
    return add(c, &a, true);
}

/* To the request at the front of the input. */
static enum next
conclude(struct connection *c, struct answer *a)
{
    const struct http_request *r = &c->in->request;
    bool owes_body = request_waits(r, c->in->buf + c->in->start);
    enum next next = add(c, a, r->keep_alive || owes_body);
    input_drop(c->in); /* now: the log wants to see the request */
    return next;
}

/* SEND, if there is nothing to answer now. */
static enum next
answer(struct connection *c)
{
    struct answer a;
    if (c->last || c->waiter.load != NULL || c->in == NULL ||
        (c->out != NULL && !output_has_room(c->out)))
        return SEND;
    int status = input_next(c->in);
    if (status == 0)
        return SEND;
    if (status != 200)
        return refuse(c, status);
    if (!request_find(&c->in->request, c->in->buf + c->in->start,
                      &c->server->store, &c->waiter, &a))
        return SEND; /* what is there already, while a worker looks */
    if (a.status == 0)
        server_show_stats(c, &a);
    return conclude(c, &a);
}

/* ---- Sending -------------------------------------------------------------- */

/* The pages that come next are not in memory. */
static enum next
warm_up(struct connection *c)
{
    const struct piece *p = output_cold(c->out);
    if (!store_warm(&c->server->store, p->entry, p->content, p->offset,
                    &c->waiter))
        return stop_in(c, CLOSED);
    return c->waiter.load != NULL ? stop_in(c, WAITING) : SEND;
}

/* The last answer is with the kernel; what comes now is not wanted. */
static enum next
finish(struct connection *c)
{
    if (!c->more_to_come && (c->in == NULL || input_is_empty(c->in)))
        return stop_in(c, CLOSED);
    shutdown(c->io.fd, SHUT_WR);
    return stop_in(c, LINGERING);
}

/* Everything is sent. `answered`: since the connection woke up. */
static enum next
sent(struct connection *c, bool answered)
{
    if (c->last)
        return finish(c);
    if (c->waiter.load != NULL)
        return stop_in(c, WAITING);
    if (answer(c) == ANSWER)
        return ANSWER;
    if (c->state == CLOSED)
        return STOP;
    if (c->waiter.load != NULL)
        return stop_in(c, WAITING);
    enum state next = c->in && !input_is_empty(c->in) ? READING : IDLE;
    return answered || c->state != next ? stop_in(c, next) : STOP;
}

/* Less is on its way than when it was last asked. */
static bool
takes_bytes(struct connection *c)
{
    int now = 0, then = c->in_flight;
    (void)ioctl(c->io.fd, TIOCOUTQ, &now);
    c->in_flight = now;
    return now < then;
}

static enum next
send_output(struct connection *c, bool answered)
{
    if (c->out == NULL)
        return sent(c, answered);
    switch (output_send(c->out, c->io.fd, server_date(c->server)->seconds)) {
    case OUTPUT_SENT:
        return sent(c, answered);
    case OUTPUT_COLD:
        return warm_up(c);
    case OUTPUT_LEFT:
        (void)takes_bytes(c);
        return stop_in(c, WRITING);
    default:
        return stop_in(c, CLOSED);
    }
}

/* ---- One step after another ----------------------------------------------- */

static void
go_on(struct connection *c, enum next next)
{
    bool answered = c->state == WAITING;
    if (c->out != NULL)
        c->out->turn = 0;
    while (next != STOP) {
        next = next == ANSWER ? answer(c) : send_output(c, answered);
        answered |= next == ANSWER;
    }
}

static void
file_ready(struct waiter *w, struct entry *e)
{
    struct connection *c =
        (struct connection *)((char *)w - offsetof(struct connection, waiter));
    enum next next = SEND;
    if (e != NULL) {
        struct answer a;
        request_found(&c->in->request, c->in->buf + c->in->start, e, &a);
        next = conclude(c, &a);
    }
    go_on(c, next);
    server_settle(c);
}

/* Bytes, into a buffer that is borrowed for them. c->unread: whether there may be
 * more (behind an urgent byte, too), or the end, of which no edge would tell. */
static bool
receive(struct connection *c, uint32_t events)
{
    if (c->in == NULL)
        c->in = server_take_input(c->server);
    errno = 0;
    ssize_t n = c->in == NULL ? 0 : input_receive(c->in, c->io.fd);
    bool failed = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    if (failed)
        server_enter(c, CLOSED);
    c->unread = !failed && ((events & (EPOLLRDHUP | EPOLLPRI)) != 0 ||
                            c->in->end == INPUT_SIZE || errno == EINTR);
    return n > 0;
}

void
connection_ready(struct connection *c, uint32_t events)
{
    c->waiter.ready = file_ready;
    if (c->state == WRITING) {
        go_on(c, SEND);
    } else if (c->state == LINGERING) {
        if (c->in != NULL)
            input_init(c->in);
        receive(c, events);
    } else if (receive(c, events)) {
        go_on(c, c->out != NULL ? SEND : ANSWER);
    }
}

void
connection_late(struct connection *c)
{
    if (c->state == READING)
        go_on(c, refuse(c, 408));
    else if (c->state == WRITING && takes_bytes(c))
        server_enter(c, WRITING);
    else
        server_enter(c, CLOSED);
}
