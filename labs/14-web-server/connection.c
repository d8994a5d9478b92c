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
 *              ^      answered, sent         |
 *              |                             |  socket full
 *              |      answered, sent         v
 *              +----------------------- +---------+
 *                                       | WRITING |
 *                                       +---------+
 *                    last answer sent        |
 *       CLOSED <------ LINGERING <-----------+
 *
 * An answer that the socket takes at once, and nearly every one is like that,
 * needs no change of state at all.
 */
#include "connection.h"
#include "request.h"
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection *
connection_new(struct server *s, int fd)
{
    struct connection *c = malloc(sizeof *c + INPUT_SIZE + OUTPUT_SIZE);
    if (!c) {
        close(fd);
        errno = ENOMEM;
        return NULL;
    }
    *c = (struct connection){.server = s, .state = CLOSED, .fd = fd};
    input_init(&c->in, c->buffers);
    output_init(&c->out, c->buffers + INPUT_SIZE);
    server_enter(c, IDLE);
    return c;
}

void
connection_free(struct connection *c)
{
    output_close(&c->out);
    close(c->fd); /* which takes it out of epoll's interest list, too */
    free(c);
}

/* Takes what has come. The end of the client's sending is the end of the
 * connection: what it asked for before has been answered and sent by then. */
static bool
receive(struct connection *c)
{
    ssize_t n = input_receive(&c->in, c->fd);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        server_enter(c, CLOSED);
    return n > 0;
}

/* Sends the output. False if the connection has to wait, or is over. */
static bool
send_output(struct connection *c)
{
    switch (output_send(&c->out, c->fd)) {
    case OUTPUT_SENT:
        return true;
    case OUTPUT_LEFT:
        server_enter(c, WRITING);
        return false;
    default:
        server_enter(c, CLOSED);
        return false;
    }
}

/* Says what is wrong, as the last thing on this connection. */
static void
refuse(struct connection *c, int status)
{
    struct answer a;
    request_refuse(status, c->in.buf + c->in.start, c->in.end - c->in.start,
                   &a);
    output_add(&c->out, &a, &c->server->date);
    c->last = c->more_to_come = true;
}

/* Answers the next request. False if there is none, or no room. */
static bool
answer_next(struct connection *c)
{
    struct server *s = c->server;
    struct answer a;
    if (c->last || !output_has_room(&c->out))
        return false;
    int status = input_next(&c->in);
    if (status == 0)
        return false;
    if (status != 200) {
        refuse(c, status);
        return true;
    }
    request_answer(&c->in.request, c->in.buf + c->in.start, &s->root, &a);
    output_add(&c->out, &a, &s->date);
    c->last = !a.keep_alive;
    c->more_to_come = c->in.request.keep_alive; /* it did not want to end */
    input_drop(&c->in);
    return true;
}

/* The last answer has been handed to the kernel. */
static void
finish(struct connection *c)
{
    /* TODO 10: end a connection so that the last answer arrives.
     * close() on a socket that has unread input, or gets some afterwards, sends
     * a reset. Then the client's send() fails, and it may never look at the
     * answer; some systems throw the answer away. So, if the client may still
     * be sending (more_to_come, or input is left), end only our direction, with
     * shutdown(), and enter LINGERING: throw_away() reads on until the client
     * ends as well.
     */
    server_enter(c, CLOSED);
}

static void
throw_away(struct connection *c)
{
    c->in.start = c->in.end = 0;
    receive(c);
}

/* Everything is answered and sent. The time for a request runs from its first
 * byte: it does not begin again with each byte that trickles in. */
static void
wait_for_input(struct connection *c, bool answered)
{
    enum state next = c->in.start < c->in.end ? READING : IDLE;
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
     * finish(). Then answer as many requests as answer_next() can, so that
     * one send carries all their answers. Go on until send_output() returns
     * false, or nothing is left to be answered: wait_for_input(). The stub
     * answers once and closes.
     */
    (void)wait_for_input;
    if ((c->state == WRITING || answer_next(c)) && send_output(c))
        finish(c);
}

void
connection_ready(struct connection *c)
{
    c->out.turn = 0;
    if (c->state == LINGERING)
        throw_away(c);
    else if (c->state == WRITING || receive(c))
        advance(c);
}

void
connection_late(struct connection *c)
{
    /* TODO 11: end what takes too long.
     * A client that has sent a part of a request, and then nothing, holds a
     * descriptor and memory: refuse() it with 408, and advance(). In any other
     * state there is nothing to be said: just close. The stub gives everybody
     * more time, again and again.
     */
    server_enter(c, c->state);
}
