/*
 * One client, and what it waits for.
 *
 * A worker that serves one client waits in read() and in write(). This thread
 * serves all of them, so no connection may wait. It does what can be done now,
 * keeps in its state what it would have to wait for, and returns to the loop,
 * which calls again when that has come:
 *
 *                    part of a request
 *          +------+ ------------------> +---------+
 *    ----> | IDLE |                     | READING |
 *          +------+ <------------------ +---------+
 *            ^  ^      answered, sent        |   not in the cache  +---------+
 *            |  |                            +-------------------> | WAITING |
 *            |  |                            |   socket full       +---------+
 *            |  |      answered, sent        v                          |
 *            |  +----------------------- +---------+ <------------------+
 *            |                           | WRITING |    a worker has it
 *            |                           +---------+
 *            |       last answer sent        |
 *       CLOSED <------ LINGERING <-----------+
 *
 * An answer from the cache that the socket takes at once, and nearly every one
 * is like that, needs no change of state at all: one recv(), one send().
 */
#include "connection.h"
#include "request.h"
#include "server.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* --- bytes in, bytes out -------------------------------------------------- */

/* Takes what has come. The end of the client's sending is the end of the
 * connection: what it asked for before has been answered and sent by then. */
static bool
receive(struct connection *c, uint32_t events)
{
    if (!c->in && !(c->in = server_take_input(c->server))) {
        server_enter(c, CLOSED);
        return false;
    }
    ssize_t n = input_receive(c->in, c->io.fd);
    /* A buffer that is not full has taken everything: but not the end, which is
     * read by a call of its own, nor what follows an urgent byte (EPOLLPRI), in
     * front of which the kernel stops. */
    c->unread = (events & (EPOLLRDHUP | EPOLLPRI)) != 0 ||
                c->in->end == INPUT_SIZE || (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        server_enter(c, CLOSED);
    return n > 0;
}

/* Has a worker read what comes next in a file. True if it can be sent now. */
static bool
warm_up(struct connection *c)
{
    const struct piece *p = output_cold(c->out);
    if (!store_warm(&c->server->store, p->entry, p->content, p->offset,
                    &c->waiter)) {
        server_enter(c, CLOSED); /* in the middle of an answer: no other way */
        return false;
    }
    if (c->waiter.load)
        server_enter(c, WAITING);
    return !c->waiter.load;
}

/* Notes how many bytes the client has not taken yet. True: it took some. */
static bool
takes(struct connection *c)
{
    int before = c->in_flight;
    ioctl(c->io.fd, SIOCOUTQ, &c->in_flight);
    return c->in_flight < before;
}

/* Sends the output. False if the connection has to wait, or is over. */
static bool
send_output(struct connection *c)
{
    while (c->out) {
        switch (
            output_send(c->out, c->io.fd, server_date(c->server)->seconds)) {
        case OUTPUT_SENT:
            return true;
        case OUTPUT_COLD:
            if (warm_up(c))
                continue;
            return false;
        case OUTPUT_LEFT:
            server_enter(c, WRITING);
            takes(c);
            return false;
        default:
            server_enter(c, CLOSED);
            return false;
        }
    }
    return true;
}

/* --- answers -------------------------------------------------------------- */

/* Adds the answer to the output, and gives back what it was about. */
static void
add_answer(struct connection *c, struct answer *a)
{
    if (c->server->draining)
        a->keep_alive = false;
    c->last = !a->keep_alive;
    if (!c->out)
        c->out = server_take_output(c->server);
    if (c->out) {
        response_add(c->out, a, server_date(c->server));
        c->out->last = c->last;
        server_note(c, a);
    } else {
        server_enter(c, CLOSED);
    }
    if (a->entry)
        entry_release(a->entry);
}

/* Says what is wrong, as the last thing on this connection. */
static void
refuse(struct connection *c, int status)
{
    struct answer a;
    struct input *in = c->in;
    request_refuse(status, in->buf + in->start, in->end - in->start, &a);
    add_answer(c, &a);
    c->more_to_come = true;
}

/* The next request is answered: a is complete. */
static void
conclude(struct connection *c, struct answer *a)
{
    /* It did not want to end, or it has a body that it has not sent yet. */
    c->more_to_come = c->in->request.keep_alive ||
                      request_waits(&c->in->request, c->in->buf + c->in->start);
    add_answer(c, a);
    input_drop(c->in);
}

/* Answers the next request, or begins to wait for its file. False if there is
 * none, or no room, or one that waits already. */
static bool
answer_next(struct connection *c)
{
    struct server *s = c->server;
    struct answer a;
    if (c->last || c->waiter.load || !c->in ||
        (c->out && !output_has_room(c->out)))
        return false;
    int status = input_next(c->in);
    if (status == 0)
        return false;
    const char *buf = c->in->buf + c->in->start;
    if (status != 200) {
        refuse(c, status);
    } else if (request_find(&c->in->request, buf, &s->store, &c->waiter, &a)) {
        if (a.status == 0)
            server_show_stats(c, &a);
        conclude(c, &a);
    }
    return true;
}

/* --- the end -------------------------------------------------------------- */

/* The last answer has been handed to the kernel. */
static void
finish(struct connection *c)
{
    /* TODO 10: end a connection so that the last answer arrives.
     * close() on a socket that has unread input, or gets some afterwards, sends
     * a reset. Then the client's send() fails, and it may never look at the
     * answer; some systems throw the answer away. So, if the client may still
     * be sending (more_to_come, or the input is not empty, or the server has
     * unread bytes of it), end only our direction, with shutdown(), and enter
     * LINGERING: throw_away() reads on until the client ends as well.
     * STUB: server_enter(c, CLOSED);
     */
    bool may_send = c->more_to_come || (c->in && !input_is_empty(c->in)) ||
                    server_has_unread(c);
    if (may_send)
        shutdown(c->io.fd, SHUT_WR);
    server_enter(c, may_send ? LINGERING : CLOSED);
    /* END TODO 10 */
}

static void
throw_away(struct connection *c, uint32_t events)
{
    if (c->in)
        c->in->start = c->in->end = 0;
    receive(c, events);
}

/* --- one step after another ----------------------------------------------- */

/* Everything is answered and sent. The time for a request runs from its first
 * byte: it does not begin again with each byte that trickles in. */
static void
wait_for_input(struct connection *c, bool answered)
{
    enum state next = c->in && !input_is_empty(c->in) ? READING : IDLE;
    if (answered || c->state != next)
        server_enter(c, next);
}

/* Sends and answers in turn, until one of the two has to wait. */
static void
advance(struct connection *c)
{
    /* TODO 9: keep the connection, and answer everything that has come.
     * After an answer the connection stays open for the next request, which
     * may be in the input already: clients need not wait for one answer before
     * they ask again. So: send_output(), and when that was the last answer,
     * finish(). If it waits for a file (waiter.load), enter WAITING. Otherwise
     * answer as many requests as answer_next() can, so that one send carries
     * all their answers. Go on until send_output() returns false, or nothing is
     * left to be answered: wait_for_input(). The stub answers once and closes.
     * STUB: (void)wait_for_input;
     * STUB: if (!c->out && !answer_next(c))
     * STUB:     return;
     * STUB: if (c->waiter.load)
     * STUB:     server_enter(c, WAITING);
     * STUB: else if (send_output(c))
     * STUB:     finish(c);
     */
    bool answered = c->state == WAITING;
    while (c->state != CLOSED && send_output(c)) {
        if (c->last) {
            finish(c);
            return;
        }
        if (c->waiter.load) {
            server_enter(c, WAITING);
            return;
        }
        if (!answer_next(c)) {
            wait_for_input(c, answered);
            return;
        }
        while (answer_next(c))
            ;
        answered = true;
    }
    /* END TODO 9 */
}

/* A worker has finished: with the file that the next request is about, or (no
 * entry) with pages of the one that is being sent. */
static void
file_ready(struct waiter *w, struct entry *e)
{
    struct connection *c =
        (struct connection *)((char *)w - offsetof(struct connection, waiter));
    if (e) {
        struct answer a;
        request_found(&c->in->request, c->in->buf + c->in->start, e, &a);
        conclude(c, &a);
    }
    if (c->out)
        c->out->turn = 0;
    advance(c);
    server_settle(c);
}

void
connection_ready(struct connection *c, uint32_t events)
{
    c->waiter.ready = file_ready;
    if (c->out)
        c->out->turn = 0;
    if (c->state == LINGERING)
        throw_away(c, events);
    else if (c->state == WRITING || receive(c, events))
        advance(c);
}

void
connection_late(struct connection *c)
{
    /* TODO 11: end what takes too long.
     * A client that has sent a part of a request, and then nothing, holds a
     * descriptor and memory: refuse() it with 408, and advance(). One that
     * takes its answer slowly, but takes(), may stay in WRITING. In any other
     * state there is nothing to be said: just close. The stub gives everybody
     * more time, again and again.
     * STUB: (void)refuse;
     * STUB: server_enter(c, c->state);
     */
    if (c->state == READING) {
        refuse(c, 408);
        advance(c);
    } else if (c->state == WRITING && takes(c)) {
        server_enter(c, WRITING);
    } else {
        server_enter(c, CLOSED);
    }
    /* END TODO 11 */
}
