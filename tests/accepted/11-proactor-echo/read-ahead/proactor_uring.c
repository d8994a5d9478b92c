/*
 * Another way: operations wait in a queue of our own. start() only puts them
 * there; run() writes down as many as the SQ has places for, each at the last
 * moment, and hands them over. Who is cancelled before that has never been
 * started, and needs no help from the kernel. Completions are taken one by one.
 */
#include "proactor.h"
#include "uring_abi.h"
#include <err.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { ENTRIES = 512, LENT = 64 };

STAILQ_HEAD(operations, operation);

struct uring {
    struct proactor proactor;
    int fd;
    char *memory; /* of both rings */
    size_t size;
    struct {
        _Atomic unsigned *head, *tail;
        unsigned mask, *numbers;
        struct io_uring_sqe *sqes;
    } sq;
    struct {
        _Atomic unsigned *head, *tail;
        unsigned mask;
        struct io_uring_cqe *cqes;
    } cq;
    struct operations queued;   /* not yet written down */
    struct operations recalled; /* cancelled before they were */
    bool one_by_one;            /* the kernel knows no multishot accept */
    bool tried_loans;
    char *pool;                /* LENT buffers; NULL: malloc() lends */
    struct io_uring_buf *lent; /* the ring of them */
    uint16_t lent_tail;
};

/* ---- Setting up ---- */

static int
set_up(struct io_uring_params *p, unsigned flags)
{
    *p = (struct io_uring_params){.flags = flags | IORING_SETUP_CQSIZE,
                                  .cq_entries = 16 * ENTRIES};
    return io_uring_setup(ENTRIES, p);
}

static void *
map(struct uring *u, size_t size, off_t offset)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, offset);
    if (memory == MAP_FAILED)
        err(1, "mmap of the rings");
    return memory;
}

static struct proactor *
create(void)
{
    struct uring *u = calloc(1, sizeof *u);
    struct io_uring_params p;
    if (u == NULL)
        err(1, "calloc");
    u->proactor.backend = &proactor_uring;
    STAILQ_INIT(&u->queued);
    STAILQ_INIT(&u->recalled);
    u->fd = set_up(&p, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (u->fd < 0 && errno == EINVAL)
        u->fd = set_up(&p, 0);
    if (u->fd < 0)
        err(1, "io_uring_setup");
    if (!(p.features & IORING_FEAT_SINGLE_MMAP) ||
        !(p.features & IORING_FEAT_NODROP) ||
        !(p.features & IORING_FEAT_EXT_ARG))
        errx(1, "io_uring: this kernel is too old");
    u->size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    if (u->size < p.sq_off.array + p.sq_entries * sizeof(unsigned))
        u->size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    u->memory = map(u, u->size, IORING_OFF_SQ_RING);
    u->sq.head = (void *)(u->memory + p.sq_off.head);
    u->sq.tail = (void *)(u->memory + p.sq_off.tail);
    u->sq.numbers = (void *)(u->memory + p.sq_off.array);
    u->sq.mask = p.sq_entries - 1;
    u->sq.sqes = map(u, p.sq_entries * sizeof *u->sq.sqes, IORING_OFF_SQES);
    u->cq.head = (void *)(u->memory + p.cq_off.head);
    u->cq.tail = (void *)(u->memory + p.cq_off.tail);
    u->cq.cqes = (void *)(u->memory + p.cq_off.cqes);
    u->cq.mask = p.cq_entries - 1;
    return &u->proactor;
}

static void
destroy(struct proactor *p)
{
    struct uring *u = (struct uring *)p;
    munmap(u->sq.sqes, (u->sq.mask + 1) * sizeof *u->sq.sqes);
    munmap(u->memory, u->size);
    close(u->fd);
    if (u->lent != NULL)
        munmap(u->lent, LENT * sizeof *u->lent);
    free(u->pool);
    free(u);
}

/* ---- Submission ---- */

static unsigned
gathered(struct uring *u)
{
    return atomic_load_explicit(u->sq.tail, memory_order_relaxed) -
           atomic_load_explicit(u->sq.head, memory_order_acquire);
}

/* Only errors that pass, or the end. */
static void
enter(struct uring *u, unsigned complete, int ms)
{
    if (io_uring_enter(u->fd, gathered(u), complete, ms) >= 0)
        return;
    if (errno != EINTR && errno != ETIME && errno != EAGAIN && errno != EBUSY)
        err(1, "io_uring_enter");
}

/* A copy of the operation goes into the ring. */
static void
submit(struct uring *u, struct io_uring_sqe sqe)
{
    while (gathered(u) > u->sq.mask)
        enter(u, 0, 0);
    unsigned tail = atomic_load_explicit(u->sq.tail, memory_order_relaxed);
    u->sq.sqes[tail & u->sq.mask] = sqe;
    u->sq.numbers[tail & u->sq.mask] = tail & u->sq.mask;
    atomic_store_explicit(u->sq.tail, tail + 1, memory_order_release);
}

/* ---- Buffers to lend ---- */

static void
lend_out(struct uring *u, unsigned number)
{
    u->lent[u->lent_tail % LENT] =
        (struct io_uring_buf){.addr = (uintptr_t)(u->pool + number * LENT_SIZE),
                              .len = LENT_SIZE,
                              .bid = (uint16_t)number,
                              .resv = u->lent[u->lent_tail % LENT].resv};
    u->lent_tail++;
    atomic_store_explicit((_Atomic uint16_t *)&u->lent->resv, u->lent_tail,
                          memory_order_release);
}

static void
make_loans(struct uring *u)
{
    void *ring = mmap(NULL, LENT * sizeof *u->lent, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)ring,
                                   .ring_entries = LENT};
    u->tried_loans = true;
    if (ring == MAP_FAILED)
        return;
    if (io_uring_register(u->fd, IORING_REGISTER_PBUF_RING, &reg, 1) < 0) {
        munmap(ring, LENT * sizeof *u->lent);
        return;
    }
    u->lent = ring;
    u->pool = malloc((size_t)LENT * LENT_SIZE);
    for (unsigned i = 0; u->pool != NULL && i < LENT; i++)
        lend_out(u, i); /* without a pool the ring stays empty: ENOBUFS */
}

static void
give_back(struct proactor *p, void *buffer)
{
    struct uring *u = (struct uring *)p;
    char *b = buffer;
    if (u->pool != NULL && b >= u->pool && b < u->pool + LENT * LENT_SIZE)
        lend_out(u, (unsigned)((b - u->pool) / LENT_SIZE));
    else
        free(buffer);
}

/* ---- Operations ---- */

static void
start(struct proactor *p, struct operation *op)
{
    struct uring *u = (struct uring *)p;
    STAILQ_INSERT_TAIL(&u->queued, op, next);
}

static void
borrow(struct uring *u, struct operation *op, struct io_uring_sqe *sqe)
{
    if (!u->tried_loans)
        make_loans(u);
    if (u->lent != NULL) {
        sqe->flags = IOSQE_BUFFER_SELECT;
        return;
    }
    op->buffer = malloc(LENT_SIZE);
    sqe->addr = (uintptr_t)op->buffer;
}

static struct io_uring_sqe
write_down(struct uring *u, struct operation *op)
{
    struct io_uring_sqe sqe = {.fd = op->fd,
                               .user_data = (uintptr_t)op,
                               .addr = (uintptr_t)op->buffer,
                               .len = (unsigned)op->size,
                               .off = UINT64_MAX};
    switch (op->kind) {
    case OP_ACCEPT:
        return (struct io_uring_sqe){
            .opcode = IORING_OP_ACCEPT,
            .fd = op->fd,
            .user_data = (uintptr_t)op,
            .accept_flags = SOCK_CLOEXEC,
            .ioprio = u->one_by_one ? 0 : IORING_ACCEPT_MULTISHOT};
    case OP_WRITE:
        sqe.opcode = IORING_OP_WRITE;
        break;
    case OP_READ:
        sqe.opcode = IORING_OP_READ;
        if (op->lent && op->buffer == NULL)
            borrow(u, op, &sqe);
    }
    return sqe;
}

static void
write_down_all(struct uring *u)
{
    struct operation *op;
    while ((op = STAILQ_FIRST(&u->queued)) != NULL) {
        STAILQ_REMOVE_HEAD(&u->queued, next);
        submit(u, write_down(u, op));
    }
}

static void
cancel(struct proactor *p, struct operation *op)
{
    struct uring *u = (struct uring *)p;
    struct operation *each;
    STAILQ_FOREACH(each, &u->recalled, next)
    {
        if (each == op)
            return;
    }
    STAILQ_FOREACH(each, &u->queued, next)
    {
        if (each == op) {
            STAILQ_REMOVE(&u->queued, op, operation, next);
            STAILQ_INSERT_TAIL(&u->recalled, op, next);
            return;
        }
    }
    submit(u, (struct io_uring_sqe){.opcode = IORING_OP_ASYNC_CANCEL,
                                    .fd = -1,
                                    .addr = (uintptr_t)op});
}

/* ---- Completion ---- */

/* Does it have to be started again in another way? */
static bool
falls_back(struct uring *u, struct operation *op, int result)
{
    if (op->kind == OP_ACCEPT && result == -EINVAL && !u->one_by_one) {
        u->one_by_one = true;
        return true;
    }
    if (op->lent && result == -ENOBUFS && op->buffer == NULL) {
        op->buffer = malloc(LENT_SIZE);
        return op->buffer != NULL;
    }
    return false;
}

static void
complete(struct uring *u, struct io_uring_cqe cqe)
{
    struct operation *op = (struct operation *)(uintptr_t)cqe.user_data;
    if (op == NULL)
        return; /* of a cancellation */
    if (cqe.flags & IORING_CQE_F_BUFFER)
        op->buffer =
            u->pool + (cqe.flags >> IORING_CQE_BUFFER_SHIFT) * LENT_SIZE;
    if (falls_back(u, op, cqe.res)) {
        start(&u->proactor, op);
        return;
    }
    if (op->lent && cqe.res <= 0 && op->buffer != NULL)
        give_back(&u->proactor, op->buffer);
    operation_done(op, cqe.res, (cqe.flags & IORING_CQE_F_MORE) != 0);
}

static void
run(struct proactor *p, int ms)
{
    struct uring *u = (struct uring *)p;
    struct operation *op;
    write_down_all(u);
    enter(u, 1, STAILQ_EMPTY(&u->recalled) ? ms : 0);
    unsigned head = atomic_load_explicit(u->cq.head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(u->cq.tail, memory_order_acquire);
    while (head != tail) {
        struct io_uring_cqe cqe = u->cq.cqes[head & u->cq.mask];
        atomic_store_explicit(u->cq.head, ++head, memory_order_release);
        complete(u, cqe);
    }
    while ((op = STAILQ_FIRST(&u->recalled)) != NULL) {
        STAILQ_REMOVE_HEAD(&u->recalled, next);
        if (op->lent && op->buffer != NULL)
            give_back(p, op->buffer);
        operation_done(op, -ECANCELED, false);
    }
}

static void
close_descriptor(struct proactor *p, int fd)
{
    (void)p;
    close(fd);
}

const struct backend proactor_uring = {
    create, start, cancel, give_back, close_descriptor, run, destroy};
