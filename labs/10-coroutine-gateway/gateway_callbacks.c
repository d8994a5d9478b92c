/*
 * The gateway on callbacks. It works, it is fast, it needs little memory, and
 * it is here as a warning.
 *
 * The function answer() of the other two gateways has ten lines. Here it is the
 * chain ask(), got_user(), got_order(), got_place(): each one starts something
 * and names the function that goes on when it is done. Such a function plus the
 * data it needs is a closure; C has no closures, so we make them: a function
 * pointer and a `void *arg`. What were local variables are now fields of struct
 * client, and nobody but you knows which of them are valid when. What was a
 * loop is now a function that leads back to itself. What was one place to clean
 * up is every place where the chain may break.
 *
 * And it reads from the bottom up, because what comes next in time has to be
 * declared before.
 */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "rpc.h"

#define NEVER LONG_MAX

enum {
    EVENTS = 256,
    ACCEPT_REST_MS = 100,
    ACCEPT_BATCH = 16,
};

/* What to do when a descriptor is ready, or when it is too late: `why` is then
 * ETIMEDOUT. A watch is good for one event. */
typedef void (*callback)(void *arg, int why);

struct watch {
    int fd; /* or -1: time alone */
    callback callback;
    void *arg;
    long due;
    bool is_on;
    TAILQ_ENTRY(watch) link;
};

TAILQ_HEAD(watches, watch);

struct client;

/* What to do when a call is over. */
typedef void (*call_callback)(struct client *c, bool ok, const char *value);

/* A call under way. */
struct call {
    int fd; /* or -1 */
    long deadline;
    struct input in;
    char line[LINE_SIZE]; /* the question */
    size_t size, done;    /* of it: bytes, and those that are sent */
    call_callback then;
};

struct client {
    struct gateway *gateway;
    int fd;
    struct input in;
    char name[LINE_SIZE];   /* valid from ask() on */
    char order[LINE_SIZE];  /* valid from got_order() on */
    char reply[REPLY_SIZE]; /* valid from reply() on */
    size_t size, done;      /* of the reply */
    bool is_last;           /* after this reply the connection ends */
    struct call call;       /* one at a time */
    struct watch watch;     /* it waits for one thing at a time */
    LIST_ENTRY(client) link;
};

struct gateway {
    struct options options;
    int epoll, listener, signals;
    struct watch accepting, ending;
    struct watches timed;   /* the nearest deadline first */
    struct watches untimed; /* those with none */
    LIST_HEAD(, client) clients;
    bool stopping;
};

/* --- the loop ------------------------------------------------------------- */

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
enlist(struct gateway *g, struct watch *w)
{
    struct watch *before = TAILQ_LAST(&g->timed, watches);
    if (w->due == NEVER) {
        TAILQ_INSERT_TAIL(&g->untimed, w, link);
        return;
    }
    while (before != NULL && before->due > w->due)
        before = TAILQ_PREV(before, watches, link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&g->timed, before, w, link);
    else
        TAILQ_INSERT_HEAD(&g->timed, w, link);
}

static void
watch_off(struct gateway *g, struct watch *w)
{
    if (!w->is_on)
        return;
    w->is_on = false;
    TAILQ_REMOVE(w->due == NEVER ? &g->untimed : &g->timed, w, link);
    if (w->fd >= 0)
        epoll_ctl(g->epoll, EPOLL_CTL_DEL, w->fd, NULL);
}

/* Calls w->callback(w->arg, 0) after one of the events on fd, or with ETIMEDOUT
 * after the deadline. Never before it returns. */
static void
watch_on(struct gateway *g, struct watch *w, int fd, uint32_t events, long due,
         callback callback, void *arg)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    *w = (struct watch){.fd = fd, .callback = callback, .arg = arg, .due = due};
    if (fd >= 0 && epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        w->fd = -1; /* it cannot be waited for: too late, at once */
        w->due = 0;
    }
    w->is_on = true;
    enlist(g, w);
}

static void
run(struct gateway *g, struct watch *w, int why)
{
    watch_off(g, w);
    w->callback(w->arg, why);
}

/* Those whose deadline has passed now, and none that they begin. */
static void
run_late(struct gateway *g)
{
    struct watches late = TAILQ_HEAD_INITIALIZER(late);
    struct watch *w;
    long now = now_ms();
    while ((w = TAILQ_FIRST(&g->timed)) != NULL && w->due <= now) {
        watch_off(g, w);
        TAILQ_INSERT_TAIL(&late, w, link);
    }
    while ((w = TAILQ_FIRST(&late)) != NULL) {
        TAILQ_REMOVE(&late, w, link);
        w->callback(w->arg, ETIMEDOUT);
    }
}

/* A callback touches no watch but that of its own client. So no event in the
 * batch can be about something that is gone. */
static void
turn(struct gateway *g)
{
    struct epoll_event events[EVENTS];
    struct watch *first = TAILQ_FIRST(&g->timed);
    long left = first != NULL ? first->due - now_ms() : -1;
    if (first != NULL && left < 0)
        left = 0;
    int n = epoll_wait(g->epoll, events, EVENTS, (int)left);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++)
        run(g, events[i].data.ptr, 0);
    run_late(g);
}

/* --- a client comes and goes ---------------------------------------------- */

static void
end_client(struct client *c)
{
    watch_off(c->gateway, &c->watch);
    LIST_REMOVE(c, link);
    if (c->call.fd >= 0)
        close(c->call.fd);
    close(c->fd);
    free(c);
}

static void read_client(void *arg, int why);

static void
write_reply(void *arg, int why)
{
    struct client *c = arg;
    (void)why; /* there is no deadline */
    while (c->done < c->size) {
        ssize_t n = write(c->fd, c->reply + c->done, c->size - c->done);
        if (n >= 0) {
            c->done += (size_t)n;
        } else if (errno == EAGAIN) {
            watch_on(c->gateway, &c->watch, c->fd, EPOLLOUT, NEVER, write_reply,
                     c);
            return;
        } else if (errno != EINTR) {
            end_client(c);
            return;
        }
    }
    if (c->is_last) {
        end_client(c);
        return;
    }
    /* Not simply read_client(c): that may lead back here at once, a thousand
     * times, one call deeper each time; and nobody else would have a turn. */
    watch_on(c->gateway, &c->watch, -1, 0, 0, read_client, c);
}

static void
reply(struct client *c)
{
    c->size = strlen(c->reply);
    c->done = 0;
    write_reply(c, 0);
}

/* --- one call, in four steps ---------------------------------------------- */

static void
call_end(struct client *c, enum got got, int error, const char *line)
{
    char value[LINE_SIZE];
    bool ok = call_result(got, error, line, value);
    if (c->call.fd >= 0)
        close(c->call.fd);
    c->call.fd = -1;
    c->call.then(c, ok, value);
}

static void
call_receive(void *arg, int why)
{
    struct client *c = arg;
    struct input *in = &c->call.in;
    char line[LINE_SIZE];
    enum got got = GOT_ERROR;
    errno = why;
    while (why == 0 && (got = input_line(in, line)) == GOT_PART) {
        ssize_t n =
            read(c->call.fd, in->bytes + in->n, sizeof in->bytes - in->n);
        if (n < 0 && errno == EAGAIN) {
            watch_on(c->gateway, &c->watch, c->call.fd, EPOLLIN,
                     c->call.deadline, call_receive, c);
            return;
        }
        if (n < 0 && errno == EINTR)
            continue;
        got = n == 0 ? GOT_END : GOT_ERROR;
        if (n <= 0)
            break;
        in->n += (size_t)n;
    }
    call_end(c, got, errno, line);
}

static void
call_send(void *arg, int why)
{
    struct client *c = arg;
    struct call *call = &c->call;
    errno = why;
    while (why == 0 && call->done < call->size) {
        ssize_t n =
            write(call->fd, call->line + call->done, call->size - call->done);
        if (n >= 0) {
            call->done += (size_t)n;
        } else if (errno == EAGAIN) {
            watch_on(c->gateway, &c->watch, call->fd, EPOLLOUT, call->deadline,
                     call_send, c);
            return;
        } else if (errno != EINTR) {
            why = errno;
        }
    }
    if (why != 0)
        call_end(c, GOT_ERROR, why, NULL);
    else
        call_receive(c, 0);
}

static void
call_connected(void *arg, int why)
{
    struct client *c = arg;
    socklen_t size = sizeof why;
    if (why == 0 &&
        getsockopt(c->call.fd, SOL_SOCKET, SO_ERROR, &why, &size) < 0)
        why = errno;
    call_send(c, why);
}

/* Calls a service about `what`, and then then(). */
static void
call(struct client *c, enum service service, const char *what,
     call_callback then)
{
    const struct options *o = &c->gateway->options;
    c->call = (struct call){.then = then};
    c->call.deadline = now_ms() + o->deadline_ms;
    c->call.size = call_text(c->call.line, service, what);
    c->call.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->call.fd < 0 ||
        (connect(c->call.fd, (const void *)&o->backend[service],
                 sizeof o->backend[service]) < 0 &&
         errno != EINPROGRESS))
        call_end(c, GOT_ERROR, errno, NULL);
    else
        watch_on(c->gateway, &c->watch, c->call.fd, EPOLLOUT, c->call.deadline,
                 call_connected, c);
}

/* --- what the others write as answer() ------------------------------------ */

static void
reply_error(struct client *c, enum service service, const char *why)
{
    snprintf(c->reply, sizeof c->reply, "error: %s: %s\n",
             service_name(service), why);
    reply(c);
}

static void
got_place(struct client *c, bool ok, const char *place)
{
    if (!ok) {
        reply_error(c, PARCELS, place);
        return;
    }
    snprintf(c->reply, sizeof c->reply, "%s: order %s is in %s\n", c->name,
             c->order, place);
    reply(c);
}

static void
got_order(struct client *c, bool ok, const char *order)
{
    if (!ok) {
        reply_error(c, ORDERS, order);
        return;
    }
    strcpy(c->order, order);
    call(c, PARCELS, order, got_place);
}

static void
got_user(struct client *c, bool ok, const char *user)
{
    if (!ok)
        reply_error(c, USERS, user);
    else
        call(c, ORDERS, user, got_order);
}

static void
ask(struct client *c)
{
    if (is_name(c->name)) {
        call(c, USERS, c->name, got_user);
        return;
    }
    strcpy(c->reply, "error: not a name\n");
    reply(c);
}

/* --- and as serve_client() ------------------------------------------------ */

static void
read_client(void *arg, int why)
{
    struct client *c = arg;
    enum got got;
    (void)why;
    while ((got = input_line(&c->in, c->name)) == GOT_PART) {
        ssize_t n =
            read(c->fd, c->in.bytes + c->in.n, sizeof c->in.bytes - c->in.n);
        if (n < 0 && errno == EAGAIN) {
            watch_on(c->gateway, &c->watch, c->fd, EPOLLIN, NEVER, read_client,
                     c);
            return;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            end_client(c);
            return;
        }
        c->in.n += (size_t)n;
    }
    if (got == GOT_LINE) {
        ask(c);
        return;
    }
    strcpy(c->reply, "error: the line is too long\n");
    c->is_last = true;
    reply(c);
}

static void
accept_clients(void *arg, int why)
{
    struct gateway *g = arg;
    (void)why;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(g->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno == EAGAIN)
            break;
        struct client *c = fd >= 0 ? calloc(1, sizeof *c) : NULL;
        if (c == NULL) {
            warn("a client cannot be accepted");
            if (fd >= 0)
                close(fd);
            watch_on(g, &g->accepting, -1, 0, now_ms() + ACCEPT_REST_MS,
                     accept_clients, g);
            return;
        }
        c->gateway = g;
        c->fd = fd;
        c->call.fd = -1;
        LIST_INSERT_HEAD(&g->clients, c, link);
        read_client(c, 0);
    }
    watch_on(g, &g->accepting, g->listener, EPOLLIN, NEVER, accept_clients, g);
}

static void
stop(void *arg, int why)
{
    struct gateway *g = arg;
    (void)why;
    g->stopping = true;
}

int
main(int argc, char **argv)
{
    struct gateway g = {.options = rpc_options(argc, argv, false)};
    net_raise_limit();
    TAILQ_INIT(&g.timed);
    TAILQ_INIT(&g.untimed);
    g.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (g.epoll < 0)
        err(1, "epoll_create1");
    g.signals = net_signals();
    g.listener = net_listen(g.options.addr, g.options.port);
    net_set_nonblocking(g.listener);
    watch_on(&g, &g.ending, g.signals, EPOLLIN, NEVER, stop, &g);
    accept_clients(&g, 0);
    net_announce(g.listener);
    while (!g.stopping)
        turn(&g);

    while (!LIST_EMPTY(&g.clients))
        end_client(LIST_FIRST(&g.clients));
    close(g.epoll);
    close(g.listener);
    close(g.signals);
    return 0;
}
