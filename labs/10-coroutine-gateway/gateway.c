/*
 * Stage 10: a gateway. One question of a client, three calls to slow back ends,
 * each of which needs the answer to the one before: see rpc.h.
 *
 * Read answer() first. It is the whole program, and it says what happens in the
 * order in which it happens; there is no state, no callback, and nothing to
 * remember. It is word for word the function in gateway_threads.c, where a
 * thread sleeps in each call. Here there is one thread for all clients. What
 * sleeps is a coroutine: a stack, and a place to go on.
 *
 * gateway_callbacks.c does the same without a stack for each client. It is as
 * fast, and smaller. Read that one, too.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coro.h"
#include "net.h"
#include "rpc.h"

enum {
    STACK_SIZE = 64 * 1024, /* addresses; memory is what is really used of it */
    ACCEPT_REST_MS = 100,   /* rest after accept() ran out of something */
    ACCEPT_BATCH = 16,      /* clients that are accepted in one turn */
};

struct gateway {
    struct options options;
    int listener;
    int signals; /* readable when the program is to end */
};

/* A coroutine's closure: what it needs to know, and owns. */
struct client {
    const struct gateway *gateway;
    int fd;
};

/* The next line from fd; what came behind it stays in the input. */
static enum got
read_line(int fd, struct input *in, char line[LINE_SIZE], long deadline)
{
    enum got got;
    while ((got = input_line(in, line)) == GOT_PART) {
        ssize_t n = coro_read(fd, in->bytes + in->n, sizeof in->bytes - in->n,
                              deadline);
        if (n <= 0)
            return n == 0 ? GOT_END : GOT_ERROR;
        in->n += (size_t)n;
    }
    return got;
}

/* Calls a service. True: what it said is in `value`. False: there, why not. */
static bool
call(const struct gateway *g, enum service service, const char *what,
     char value[LINE_SIZE])
{
    /* TODO 10: connect, send the call, read the answer, close.
     * All of it under one deadline, deadline_ms from now: a point in time.
     * call_text() writes the call, read_line() gets the answer, and
     * call_result() says what became of it, from `got` and errno. Whatever
     * happens, the socket has to be closed; close() may change errno. The
     * blocking version is in gateway_threads.c.
     */
    (void)g;
    (void)service;
    (void)what;
    (void)value;
    (void)read_line;
    fputs("TODO 10 is not done: "
          "connect, send the call, read the answer, close\n"
          "(labs/10-coroutine-gateway/gateway.c; read handouts/10-coroutine-gateway.md)\n",
          stderr);
    exit(3);
}

/* Where is the parcel of `name`? Three calls, one after the other. There is
 * nothing to do here: it is word for word the one of gateway_threads.c. */
static void
answer(const struct gateway *g, const char *name, char reply[REPLY_SIZE])
{
    char user[LINE_SIZE], order[LINE_SIZE], place[LINE_SIZE];
    if (!is_name(name))
        snprintf(reply, REPLY_SIZE, "error: not a name\n");
    else if (!call(g, USERS, name, user))
        snprintf(reply, REPLY_SIZE, "error: users: %s\n", user);
    else if (!call(g, ORDERS, user, order))
        snprintf(reply, REPLY_SIZE, "error: orders: %s\n", order);
    else if (!call(g, PARCELS, order, place))
        snprintf(reply, REPLY_SIZE, "error: parcels: %s\n", place);
    else
        snprintf(reply, REPLY_SIZE, "%s: order %s is in %s\n", name, order,
                 place);
}

static const char too_long[] = "error: the line is too long\n";

/* A coroutine for each client: a line, its answer, the next line. */
static void
serve_client(void *arg)
{
    struct client *c = arg;
    struct input in = {0};
    char name[LINE_SIZE], reply[REPLY_SIZE];
    /* TODO 11: serve the client until it has finished.
     * Write each reply with coro_write(), and stop when that fails. A line that
     * is too long is answered with `too_long`, and the connection ends.
     * After each reply coro_yield(): a client whose questions need no call,
     * because they are no names, would never have to wait, and nobody else
     * would have a turn. The stub answers one line.
     */
    (void)too_long;
    if (read_line(c->fd, &in, name, CORO_NEVER) == GOT_LINE) {
        answer(c->gateway, name, reply);
        coro_write(c->fd, reply, strlen(reply), CORO_NEVER);
    }
    close(c->fd);
    free(c);
}

static bool
start_client(const struct gateway *g, int fd)
{
    struct client *c = malloc(sizeof *c);
    if (c != NULL)
        *c = (struct client){.gateway = g, .fd = fd};
    if (c != NULL && coro_spawn(serve_client, c) == 0)
        return true;
    free(c);
    close(fd);
    return false;
}

/* The coroutine that lets clients in. When no descriptor or no stack is left it
 * rests: the clients wait in the backlog. */
static void
accept_clients(void *arg)
{
    struct gateway *g = arg;
    for (int n = 1;; n++) {
        int fd = coro_accept(g->listener);
        if (fd < 0 && errno == ECANCELED)
            return;
        if (fd < 0 || !start_client(g, fd)) {
            warn("a client cannot be accepted");
            coro_sleep(ACCEPT_REST_MS);
        }
        if (n % ACCEPT_BATCH == 0)
            coro_yield();
    }
}

static void
await_signal(void *arg)
{
    struct gateway *g = arg;
    coro_wait(g->signals, EPOLLIN, CORO_NEVER);
    coro_cancel();
}

int
main(int argc, char **argv)
{
    struct gateway g = {.options = rpc_options(argc, argv, true)};
    net_raise_limit();
    g.signals = net_signals();
    g.listener = net_listen(g.options.addr, g.options.port);
    net_set_nonblocking(g.listener);
    if (coro_init(g.options.assembly ? CORO_ASSEMBLY : CORO_UCONTEXT,
                  STACK_SIZE) < 0)
        err(1, "coroutines");
    if (coro_spawn(accept_clients, &g) < 0 || coro_spawn(await_signal, &g) < 0)
        err(1, "first coroutines");
    net_announce(g.listener);
    coro_run();

    close(g.listener);
    close(g.signals);
    return 0;
}
