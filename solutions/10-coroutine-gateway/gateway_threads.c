/*
 * The gateway in the old way: a thread for each client, and calls that block.
 * It is here to be compared: read answer(), then the other two.
 *
 * The kernel does what coro.c does: it puts a thread aside in the middle of
 * read(), with its registers and its stack, and lets others run. That is
 * convenient, and dear: a system call for each switch, a stack in the kernel
 * beside the one here, and nobody knows when the switch comes, so that all
 * that is shared needs locks.
 */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "rpc.h"

#define NEVER LONG_MAX

enum {
    STACK_SIZE = 64 * 1024, /* the same as in gateway.c */
    ACCEPT_REST_US = 100000,
};

struct gateway {
    struct options options;
    int listener;
    int signals;
};

struct client {
    const struct gateway *gateway;
    int fd;
};

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A blocking call knows no deadline. So the thread blocks here, in poll(). */
static int
wait_for(int fd, short events, long deadline)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        long left = deadline == NEVER ? -1 : deadline - now_ms();
        if (left < 0 && deadline != NEVER)
            left = 0;
        int n = poll(&p, 1, (int)left);
        if (n > 0)
            return 0;
        if (n == 0)
            errno = ETIMEDOUT;
        if (n == 0 || errno != EINTR)
            return -1;
    }
}

static int
connect_in_time(int fd, const struct sockaddr *to, socklen_t len, long deadline)
{
    int why = 0;
    socklen_t size = sizeof why;
    net_set_nonblocking(fd);
    if (connect(fd, to, len) < 0 &&
        (errno != EINPROGRESS || wait_for(fd, POLLOUT, deadline) < 0 ||
         getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) < 0))
        return -1;
    errno = why;
    return why == 0 ? 0 : -1;
}

static int
write_in_time(int fd, const char *text, size_t n, long deadline)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN && wait_for(fd, POLLOUT, deadline) < 0)
            return -1;
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return -1;
        if (sent > 0) {
            text += sent;
            n -= (size_t)sent;
        }
    }
    return 0;
}

static enum got
read_line(int fd, struct input *in, char line[LINE_SIZE], long deadline)
{
    enum got got;
    while ((got = input_line(in, line)) == GOT_PART) {
        if (wait_for(fd, POLLIN, deadline) < 0)
            return GOT_ERROR;
        ssize_t n = read(fd, in->bytes + in->n, sizeof in->bytes - in->n);
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
    const void *to = &g->options.backend[service];
    long until = now_ms() + g->options.deadline_ms;
    struct input in = {0};
    char line[LINE_SIZE];
    enum got got = GOT_ERROR;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        connect_in_time(fd, to, sizeof(struct sockaddr_in), until) == 0 &&
        write_in_time(fd, line, call_text(line, service, what), until) == 0)
        got = read_line(fd, &in, line, until);
    int why = errno;
    if (fd >= 0)
        close(fd);
    return call_result(got, why, line, value);
}

/* Where is the parcel of `name`? Three calls, one after the other. */
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

static void *
serve_client(void *arg)
{
    struct client *c = arg;
    struct input in = {0};
    char name[LINE_SIZE], reply[REPLY_SIZE];
    enum got got;
    while ((got = read_line(c->fd, &in, name, NEVER)) == GOT_LINE) {
        answer(c->gateway, name, reply);
        if (write_in_time(c->fd, reply, strlen(reply), NEVER) < 0)
            break;
    }
    const char *too_long = "error: the line is too long\n";
    if (got == GOT_MUCH)
        write_in_time(c->fd, too_long, strlen(too_long), NEVER);
    close(c->fd);
    free(c);
    return NULL;
}

static bool
start_client(const struct gateway *g, int fd, const pthread_attr_t *attr)
{
    pthread_t thread;
    struct client *c = malloc(sizeof *c);
    if (c != NULL)
        *c = (struct client){.gateway = g, .fd = fd};
    if (c != NULL && pthread_create(&thread, attr, serve_client, c) == 0)
        return true;
    free(c);
    close(fd);
    return false;
}

static void
accept_clients(const struct gateway *g, const pthread_attr_t *attr)
{
    struct pollfd p[] = {{.fd = g->signals, .events = POLLIN},
                         {.fd = g->listener, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0)
            err(1, "poll");
        if (p[0].revents != 0)
            return;
        int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
            continue;
        if (fd < 0 || !start_client(g, fd, attr)) {
            warn("a client cannot be accepted");
            usleep(ACCEPT_REST_US);
        }
    }
}

int
main(int argc, char **argv)
{
    struct gateway g = {.options = rpc_options(argc, argv, false)};
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    net_raise_limit();
    g.signals = net_signals();
    g.listener = net_listen(g.options.addr, g.options.port);
    net_set_nonblocking(g.listener);
    net_announce(g.listener);
    accept_clients(&g, &attr);
    _exit(0); /* threads in the middle of a call: the kernel cleans up */
}
