/*
 * The proactor, emulated on epoll: the kernel says when, and we do the work.
 * Boost.Asio does it so on Linux (boost/asio/detail/impl/epoll_reactor.ipp):
 *
 * - a descriptor is registered once, for everything, edge-triggered;
 * - starting an operation tries it at once. Only one that would block is put
 *   aside, and is tried again at the next event;
 * - what has completed goes to a queue, and the handlers are called from there.
 *   So a chain of operations that all succeed at once does not grow the stack,
 *   and a client that floods has one completion a turn, like everybody.
 */
#include "proactor.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 256,     /* events that one epoll_wait() brings at most */
    FIRST_ROOM = 256, /* descriptors that the table has room for at first */
};

struct descriptor {
    struct operation *reader, *writer; /* they wait for an event; or NULL */
    bool watched;                      /* it is on the interest list */
};

STAILQ_HEAD(operations, operation);

struct epoll_proactor {
    struct proactor proactor; /* first: a pointer to it is one to us */
    int epoll;
    struct descriptor *table;    /* by number */
    size_t room;                 /* numbers below this are in it */
    struct operations completed; /* their handlers are still to be called */
    void *spare;                 /* a buffer for the next loan, or NULL */
};

static struct proactor *
create(void)
{
    struct epoll_proactor *e = calloc(1, sizeof *e);
    if (e == NULL)
        err(1, "calloc");
    e->proactor.backend = &proactor_epoll;
    STAILQ_INIT(&e->completed);
    e->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (e->epoll < 0)
        err(1, "epoll_create1");
    return &e->proactor;
}

static void
destroy(struct proactor *p)
{
    struct epoll_proactor *e = (struct epoll_proactor *)p;
    close(e->epoll);
    free(e->table);
    free(e->spare);
    free(e);
}

/* The entry of a descriptor; NULL: no memory for a larger table. */
static struct descriptor *
entry_of(struct epoll_proactor *e, int fd)
{
    size_t room = e->room ? e->room : FIRST_ROOM;
    while (room <= (size_t)fd)
        room *= 2;
    if (room > e->room) {
        struct descriptor *table = realloc(e->table, room * sizeof *table);
        if (table == NULL)
            return NULL;
        memset(table + e->room, 0, (room - e->room) * sizeof *table);
        e->table = table;
        e->room = room;
    }
    return &e->table[fd];
}

/* Puts fd on the interest list. Returns false, with errno set, if it cannot. A
 * call that finds nothing has to come back: hence O_NONBLOCK. */
static bool
watch(struct epoll_proactor *e, struct descriptor *d, int fd)
{
    uint32_t all = EPOLLIN | EPOLLOUT | EPOLLET;
    struct epoll_event ev = {.events = all, .data.fd = fd};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        epoll_ctl(e->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        return false;
    d->watched = true;
    return true;
}

/* The read of a loan: into the spare buffer, which is lent when it is full of
 * something. */
static ssize_t
read_lent(struct epoll_proactor *e, struct operation *op)
{
    if (e->spare == NULL)
        e->spare = malloc(LENT_SIZE);
    if (e->spare == NULL) {
        errno = ENOMEM;
        return -1;
    }
    ssize_t n = read(op->fd, e->spare, LENT_SIZE);
    if (n > 0) {
        op->buffer = e->spare;
        e->spare = NULL;
    }
    return n;
}

static void
give_back(struct proactor *p, void *buffer)
{
    struct epoll_proactor *e = (struct epoll_proactor *)p;
    free(e->spare);
    e->spare = buffer;
}

static ssize_t
carry_out(struct epoll_proactor *e, struct operation *op)
{
    if (op->kind == OP_ACCEPT)
        return accept4(op->fd, NULL, NULL, SOCK_CLOEXEC);
    if (op->kind == OP_WRITE)
        return write(op->fd, op->buffer, op->size);
    return op->lent ? read_lent(e, op) : read(op->fd, op->buffer, op->size);
}

static void
complete(struct epoll_proactor *e, struct operation *op, int result)
{
    op->result = result;
    STAILQ_INSERT_TAIL(&e->completed, op, next);
}

/* Makes the system call. Returns false if it would block. */
static bool
attempt(struct epoll_proactor *e, struct operation *op)
{
    ssize_t n;
    do
        n = carry_out(e, op);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return false;
    complete(e, op, n < 0 ? -errno : (int)n);
    return true;
}

static void
start(struct proactor *p, struct operation *op)
{
    struct epoll_proactor *e = (struct epoll_proactor *)p;
    struct descriptor *d = entry_of(e, op->fd);
    if (d == NULL || (!d->watched && !watch(e, d, op->fd)))
        complete(e, op, -errno);
    else if (!attempt(e, op))
        *(op->kind == OP_WRITE ? &d->writer : &d->reader) = op;
}

/* The operation that waits at *waiting is tried again. */
static void
resume(struct epoll_proactor *e, struct operation **waiting)
{
    if (*waiting != NULL && attempt(e, *waiting))
        *waiting = NULL;
}

static void
cancel(struct proactor *p, struct operation *op)
{
    struct epoll_proactor *e = (struct epoll_proactor *)p;
    struct descriptor *d = &e->table[op->fd];
    struct operation **waiting = op->kind == OP_WRITE ? &d->writer : &d->reader;
    if (*waiting != op)
        return; /* it has completed, and its handler is about to be called */
    *waiting = NULL;
    complete(e, op, -ECANCELED);
}

/* The kernel takes a descriptor off its interest list when it is closed. */
static void
forget_and_close(struct proactor *p, int fd)
{
    struct epoll_proactor *e = (struct epoll_proactor *)p;
    if ((size_t)fd < e->room)
        e->table[fd] = (struct descriptor){0};
    close(fd);
}

static void
run(struct proactor *p, int ms)
{
    struct epoll_proactor *e = (struct epoll_proactor *)p;
    struct epoll_event events[EVENTS];
    if (!STAILQ_EMPTY(&e->completed))
        ms = 0;
    int n = epoll_wait(e->epoll, events, EVENTS, ms);
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++) {
        struct descriptor *d = &e->table[events[i].data.fd];
        if (events[i].events & ~EPOLLOUT)
            resume(e, &d->reader);
        if (events[i].events & ~EPOLLIN)
            resume(e, &d->writer);
    }

    /* What handlers start now, and what succeeds at once, is for the next
     * turn: others are to have their turn before. */
    struct operations now = STAILQ_HEAD_INITIALIZER(now);
    STAILQ_CONCAT(&now, &e->completed);
    struct operation *op;
    while ((op = STAILQ_FIRST(&now)) != NULL) {
        STAILQ_REMOVE_HEAD(&now, next);
        operation_done(op, op->result, false);
    }
}

const struct backend proactor_epoll = {
    .create = create,
    .start = start,
    .cancel = cancel,
    .give_back = give_back,
    .close = forget_and_close,
    .run = run,
    .destroy = destroy,
};
