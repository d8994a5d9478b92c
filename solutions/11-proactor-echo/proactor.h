/* proactor.h - operations that are started now and complete later.
 *
 * A reactor says "this socket can be read", and you read it. A proactor is told
 * "read this socket into this buffer", carries that out, and calls your
 * completion handler when it is done. The pattern: Pyarali, Harrison, Schmidt,
 * Jordan, "Proactor: An Object Behavioral Pattern for Demultiplexing and
 * Dispatching Handlers for Asynchronous Events", PLoP 1997.
 *
 * Ownership: from its start until its handler is called, an operation belongs
 * to the proactor, and so does the memory that it works on. Neither may be
 * freed, moved or looked at. There is no call that takes them back at once:
 * cancelling is a wish, and its answer is a completion, too.
 *
 * Handlers: called by proactor_run() and by nothing else, so never from within
 * a call that starts an operation. A handler may start, cancel and close
 * anything, and start its own operation anew.
 *
 * Threads: one proactor, one thread.
 */
#ifndef PROACTOR_H
#define PROACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct operation;
typedef void completion_handler(struct operation *op);

/* Belongs to the caller, who keeps it in the object that it is about. */
struct operation {
    void *arg; /* the caller's, for the handler; nobody else touches it */

    /* What the handler finds. */
    int result;    /* as of the system call, but -errno if that fails */
    bool more;     /* an accept that is not over: its handler is called again */
    void *buffer;  /* where the bytes are, if it was a read or a write */
    bool underway; /* from the start on, until the last call of the handler */

    /* The proactor's. */
    enum { OP_ACCEPT, OP_READ, OP_WRITE } kind;
    int fd;
    size_t size;
    bool lent; /* a read into a buffer of the proactor */
    completion_handler *done;
    STAILQ_ENTRY(operation) next;
};

struct proactor {
    const struct backend *backend;
};

/* What differs between "on epoll" and "on io_uring". */
struct backend {
    struct proactor *(*create)(void);
    void (*start)(struct proactor *p, struct operation *op);
    void (*cancel)(struct proactor *p, struct operation *op);
    void (*give_back)(struct proactor *p, void *buffer);
    void (*close)(struct proactor *p, int fd);
    void (*run)(struct proactor *p, int ms);
    void (*destroy)(struct proactor *p);
};

extern const struct backend proactor_epoll, proactor_uring;

enum { LENT_SIZE = 16384 }; /* bytes in a buffer that the proactor lends */

/* Makes a proactor of the given kind. Ends the program with a message that says
 * why if there can be none. */
static inline struct proactor *
proactor_create(const struct backend *backend)
{
    return backend->create();
}

/* Ends it. No operation may be under way. */
static inline void
proactor_destroy(struct proactor *p)
{
    p->backend->destroy(p);
}

/* For the functions below and for back ends: an operation begins, ... */
static inline void
operation_start(struct proactor *p, struct operation *op)
{
    op->underway = true;
    op->more = false;
    p->backend->start(p, op);
}

/* ... and this is how a back end calls the handler. */
static inline void
operation_done(struct operation *op, int result, bool more)
{
    op->result = result;
    op->more = more;
    op->underway = more;
    op->done(op);
}

/* Starts to wait for a client of a listening socket. Result: its descriptor. A
 * proactor may go on by itself then, and says so in op->more: expect more calls
 * of the handler. If not, start the operation again. */
static inline void
proactor_accept(struct proactor *p, struct operation *op, int listener,
                completion_handler *done)
{
    op->kind = OP_ACCEPT;
    op->fd = listener;
    op->done = done;
    op->lent = false;
    operation_start(p, op);
}

/* Starts to read what comes next, size bytes at most. Result: how many; 0 at
 * the end of the stream. */
static inline void
proactor_read(struct proactor *p, struct operation *op, int fd, void *buffer,
              size_t size, completion_handler *done)
{
    op->kind = OP_READ;
    op->fd = fd;
    op->buffer = buffer;
    op->size = size;
    op->done = done;
    op->lent = false;
    operation_start(p, op);
}

/* The same, into a buffer of LENT_SIZE bytes that the proactor finds when there
 * is something to put into it: whoever waits in silence needs none. If the
 * result is above 0, op->buffer is on loan; proactor_give_back() returns it. */
static inline void
proactor_read_lent(struct proactor *p, struct operation *op, int fd,
                   completion_handler *done)
{
    op->kind = OP_READ;
    op->fd = fd;
    op->buffer = NULL;
    op->size = LENT_SIZE;
    op->done = done;
    op->lent = true;
    operation_start(p, op);
}

static inline void
proactor_give_back(struct proactor *p, void *buffer)
{
    p->backend->give_back(p, buffer);
}

/* Starts to write. Result: how many bytes, which may be fewer than size. */
static inline void
proactor_write(struct proactor *p, struct operation *op, int fd, void *buffer,
               size_t size, completion_handler *done)
{
    op->kind = OP_WRITE;
    op->fd = fd;
    op->buffer = buffer;
    op->size = size;
    op->done = done;
    op->lent = false;
    operation_start(p, op);
}

/* Asks for an early end. The handler is still called: with -ECANCELED, or with
 * the result, if the operation was faster. */
static inline void
proactor_cancel(struct proactor *p, struct operation *op)
{
    if (op->underway)
        p->backend->cancel(p, op);
}

/* Closes a descriptor. No operation on it may be under way. */
static inline void
proactor_close(struct proactor *p, int fd)
{
    p->backend->close(p, fd);
}

/* Waits until operations have completed, for ms milliseconds at most (-1: for
 * ever), and calls the handlers of those that have. */
static inline void
proactor_run(struct proactor *p, int ms)
{
    p->backend->run(p, ms);
}

#endif
