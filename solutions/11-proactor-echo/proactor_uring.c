/*
 * The proactor on io_uring, with nothing between us and the system calls.
 *
 * The kernel carries the operations out. We write what is to be done into one
 * ring and read what came of it from another; both are memory that we share
 * with the kernel. One system call, io_uring_enter(), hands over everything
 * that was written since the last time and waits for the next completion. So
 * the busier the server is, the fewer calls there are for each message.
 *
 * The layout of the rings is described in uring_abi.h. Which Linux has what:
 * 5.11 is needed; multishot accept and lent buffers are used from 5.19 on, and
 * done without before.
 */
#include "proactor.h"
#include "uring_abi.h"
#include <err.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
    SQ_ENTRIES = 256,  /* operations that can be handed over in one call */
    CQ_ENTRIES = 4096, /* completions that can wait for us; a power of two */
    LENT = 64,         /* buffers to lend; a power of two */
    GROUP = 0,         /* the number that we give to the group of them */
};

struct uring {
    struct proactor proactor; /* first: a pointer to it is one to us */
    int fd;
    char *rings; /* both rings, one mapping */
    size_t rings_size;

    /* The submission ring: we move the tail, the kernel moves the head. */
    _Atomic unsigned *sq_head, *sq_tail;
    unsigned sq_entries;
    struct io_uring_sqe *sqes;

    /* The completion ring: the other way round. */
    _Atomic unsigned *cq_head, *cq_tail;
    unsigned cq_entries;
    struct io_uring_cqe *cqes;

    bool multishot; /* an accept may go on by itself, as far as we know */

    /* A third ring, of buffers: we move the tail, the kernel takes from the
     * head, which we never see. Made for the first loan. */
    enum { NO_LOAN_YET, LENDING, NO_LOANS } loans;
    struct io_uring_buf *lent;
    uint16_t lent_tail;
    char *pool; /* the buffers themselves */
};

/* ---- Setting up ---- */

/* Ends the program: there is no io_uring to be had. errno says how the call
 * failed; why it is not permitted is something to be looked up. */
static void
refuse(const char *call)
{
    int error = errno;
    const char *why = "a seccomp filter, as in many containers?";
    char disabled[8] = "0";
    FILE *sysctl = fopen("/proc/sys/kernel/io_uring_disabled", "r");
    if (sysctl != NULL && fgets(disabled, sizeof disabled, sysctl) != NULL &&
        disabled[0] != '0')
        why = "the sysctl kernel.io_uring_disabled is not 0";
    if (error == ENOSYS)
        why = "this kernel has no io_uring, or a container hides it";
    if (error == ENOMEM)
        why = "the rings count as locked memory: ulimit -l";
    errx(1, "%s: %s (%s); -b epoll works everywhere", call, strerror(error),
         why);
}

static void *
map(struct uring *u, size_t size, off_t offset)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, u->fd, offset);
    if (memory == MAP_FAILED)
        refuse("mmap of the rings");
    return memory;
}

/* Finds the parts of the mapping, at the offsets that the kernel has told. */
static void
find_rings(struct uring *u, const struct io_uring_params *p)
{
    u->sq_head = (_Atomic unsigned *)(u->rings + p->sq_off.head);
    u->sq_tail = (_Atomic unsigned *)(u->rings + p->sq_off.tail);
    u->sq_entries = p->sq_entries;
    u->cq_head = (_Atomic unsigned *)(u->rings + p->cq_off.head);
    u->cq_tail = (_Atomic unsigned *)(u->rings + p->cq_off.tail);
    u->cq_entries = p->cq_entries;
    u->cqes = (struct io_uring_cqe *)(u->rings + p->cq_off.cqes);

    /* What is in the ring is not an operation but its number in the array
     * sqes, so that one could submit them in another order. We do not. */
    unsigned *numbers = (unsigned *)(u->rings + p->sq_off.array);
    for (unsigned i = 0; i < p->sq_entries; i++)
        numbers[i] = i;
}

static struct proactor *
create(void)
{
    struct uring *u = calloc(1, sizeof *u);
    if (u == NULL)
        err(1, "calloc");
    u->proactor.backend = &proactor_uring;
    u->multishot = true;
    /* Completions are prepared by our own thread, when it waits for them, and
     * not whenever the kernel interrupts it (Linux 6.1). */
    unsigned wish = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    /* TODO 6: make the rings, and map them.
     * io_uring_setup(SQ_ENTRIES, &p) with a struct io_uring_params that is 0
     * but for p.flags, IORING_SETUP_CQSIZE | wish, and p.cq_entries,
     * CQ_ENTRIES. An older kernel says EINVAL: try again without the wish. If
     * there is no descriptor, refuse("io_uring_setup"). If p.features lacks one
     * of SINGLE_MMAP, NODROP and EXT_ARG (IORING_FEAT_...), the kernel is too
     * old: errx(). Then map() two things: at IORING_OFF_SQ_RING both rings,
     * whose size is the larger of the end of the SQ's array and that of the
     * CQ's cqes; at IORING_OFF_SQES the array of SQEs. find_rings() finds the
     * parts.
     * STUB: (void)wish;
     * STUB: (void)refuse;
     * STUB: (void)map;
     * STUB: (void)find_rings;
     * STUB: todo
     */
    struct io_uring_params p;
    unsigned always = IORING_SETUP_CQSIZE, flags = always | wish;
    do {
        p = (struct io_uring_params){.flags = flags, .cq_entries = CQ_ENTRIES};
        u->fd = io_uring_setup(SQ_ENTRIES, &p);
    } while (u->fd < 0 && errno == EINVAL && flags != always &&
             (flags = always));
    if (u->fd < 0)
        refuse("io_uring_setup");
    unsigned needed =
        IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((p.features & needed) != needed)
        errx(1, "io_uring: this kernel is too old, it takes Linux 5.11");

    size_t sq_end = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_end = p.cq_off.cqes + p.cq_entries * sizeof *u->cqes;
    u->rings_size = sq_end > cq_end ? sq_end : cq_end;
    u->rings = map(u, u->rings_size, IORING_OFF_SQ_RING);
    u->sqes = map(u, p.sq_entries * sizeof *u->sqes, IORING_OFF_SQES);
    find_rings(u, &p);
    /* END TODO 6 */
    return &u->proactor;
}

/* ---- Submission ---- */

/* Hands over what is in the SQ, and waits. When this returns, all of it is
 * with the kernel, except after an error that passes. */
static void
enter(struct uring *u, unsigned complete, int ms)
{
    unsigned tail = atomic_load_explicit(u->sq_tail, memory_order_relaxed);
    unsigned head = atomic_load_explicit(u->sq_head, memory_order_acquire);
    if (io_uring_enter(u->fd, tail - head, complete, ms) < 0 &&
        errno != EINTR && errno != ETIME && errno != EAGAIN && errno != EBUSY)
        err(1, "io_uring_enter");
}

/* The place in the SQ for the next operation, empty. There always is one. */
static struct io_uring_sqe *
next_sqe(struct uring *u)
{
    unsigned tail = atomic_load_explicit(u->sq_tail, memory_order_relaxed);
    struct io_uring_sqe *sqe = &u->sqes[tail & (u->sq_entries - 1)];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

/* That place is filled: moves the tail on. */
static void
publish(struct uring *u)
{
    unsigned tail = atomic_load_explicit(u->sq_tail, memory_order_relaxed) + 1;
    atomic_store_explicit(u->sq_tail, tail, memory_order_release);
    /* TODO 9: let operations gather.
     * run() hands over, in the call that waits, whatever is in the SQ by then.
     * So there is nothing to do here, unless the SQ is full now, sq_entries
     * from its head to its tail: then enter() without waiting (0, 0) until it
     * is not. The stub makes a system call for each operation.
     * STUB: enter(u, 0, 0);
     */
    while (tail - atomic_load_explicit(u->sq_head, memory_order_acquire) ==
           u->sq_entries)
        enter(u, 0, 0);
    /* END TODO 9 */
}

/* ---- Buffers to lend ---- */

/* TODO 12: lend buffers (a bonus).
 * A read that waits in silence need not own a buffer: with IOSQE_BUFFER_SELECT
 * the kernel takes one from our ring of buffers when there are bytes to put
 * into it. The ring is an array of struct io_uring_buf; its tail is 16 bits in
 * the place of bufs[0].resv. Five functions, all below: put a buffer into the
 * ring, make the ring, ask for a loan, take it, give it back. Without the
 * ring (before Linux 5.19), or when it is empty (-ENOBUFS), malloc() lends.
 * The stub knows nothing but malloc().
 * STUB: static void
 * STUB: ask_for_loan(struct uring *u, struct operation *op,
 * STUB:              struct io_uring_sqe *sqe)
 * STUB: {
 * STUB:     (void)u;
 * STUB:     op->buffer = malloc(LENT_SIZE);
 * STUB:     sqe->addr = (uintptr_t)op->buffer;
 * STUB: }
 * STUB:
 * STUB: static void
 * STUB: give_back(struct proactor *p, void *buffer)
 * STUB: {
 * STUB:     (void)p;
 * STUB:     free(buffer);
 * STUB: }
 * STUB:
 * STUB: static bool
 * STUB: take_loan(struct uring *u, struct operation *op,
 * STUB:           const struct io_uring_cqe *cqe)
 * STUB: {
 * STUB:     if (cqe->res <= 0)
 * STUB:         give_back(&u->proactor, op->buffer);
 * STUB:     return true;
 * STUB: }
 */
/* Puts a buffer of the pool into the ring. */
static void
put_buffer(struct uring *u, unsigned number)
{
    struct io_uring_buf *b = &u->lent[u->lent_tail++ & (LENT - 1)];
    b->addr = (uintptr_t)(u->pool + (size_t)number * LENT_SIZE);
    b->len = LENT_SIZE;
    b->bid = (uint16_t)number;
    atomic_store_explicit((_Atomic uint16_t *)&u->lent[0].resv, u->lent_tail,
                          memory_order_release);
}

/* Makes the ring and its buffers, one mapping: the ring begins a page. */
static void
make_loans(struct uring *u)
{
    size_t pool_size = LENT * LENT_SIZE;
    size_t size = pool_size + LENT * sizeof *u->lent;
    u->loans = NO_LOANS;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    u->pool = memory;
    u->lent = (struct io_uring_buf *)(memory + pool_size);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)u->lent, .ring_entries = LENT, .bgid = GROUP};
    if (io_uring_register(u->fd, IORING_REGISTER_PBUF_RING, &reg, 1) < 0) {
        warn("no ring of buffers before Linux 5.19: malloc() lends instead");
        munmap(memory, size);
        u->pool = NULL;
        return;
    }
    for (unsigned i = 0; i < LENT; i++)
        put_buffer(u, i);
    u->loans = LENDING;
}

/* Asks for a buffer for op, which is about to be started at sqe. */
static void
ask_for_loan(struct uring *u, struct operation *op, struct io_uring_sqe *sqe)
{
    if (u->loans == NO_LOAN_YET)
        make_loans(u);
    if (u->loans == LENDING && op->buffer == NULL) {
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = GROUP;
        return;
    }
    if (op->buffer == NULL)
        op->buffer = malloc(LENT_SIZE); /* NULL: it will fail with EFAULT */
    sqe->addr = (uintptr_t)op->buffer;
}

static void
give_back(struct proactor *p, void *buffer)
{
    struct uring *u = (struct uring *)p;
    size_t offset = (uintptr_t)buffer - (uintptr_t)u->pool;
    if (u->loans == LENDING && offset < LENT * LENT_SIZE)
        put_buffer(u, (unsigned)(offset / LENT_SIZE));
    else
        free(buffer);
}

/* A read with a loan has completed: which buffer? Returns false if it has to
 * start again because all buffers were on loan: then op has one of its own. */
static bool
take_loan(struct uring *u, struct operation *op, const struct io_uring_cqe *cqe)
{
    if (cqe->flags & IORING_CQE_F_BUFFER)
        op->buffer =
            u->pool + (cqe->flags >> IORING_CQE_BUFFER_SHIFT) * LENT_SIZE;
    if (cqe->res == -ENOBUFS && op->buffer == NULL) {
        op->buffer = malloc(LENT_SIZE);
        return op->buffer == NULL;
    }
    if (cqe->res <= 0 && op->buffer != NULL)
        give_back(&u->proactor, op->buffer);
    return true;
}
/* END TODO 12 */

/* ---- Operations ---- */

/* An accept of a kernel that can go on by itself is asked to do so. */
static void
go_on_accepting(struct uring *u, struct io_uring_sqe *sqe)
{
    /* TODO 11: one accept for many clients (a bonus).
     * With IORING_ACCEPT_MULTISHOT in sqe->ioprio the operation stays, and
     * each client is one more completion. Only if u->multishot says that the
     * kernel can: complete() clears it when one has said EINVAL.
     * STUB: (void)u;
     * STUB: (void)sqe;
     */
    if (u->multishot)
        sqe->ioprio |= IORING_ACCEPT_MULTISHOT;
    /* END TODO 11 */
}

static void
start(struct proactor *p, struct operation *op)
{
    struct uring *u = (struct uring *)p;
    struct io_uring_sqe *sqe = next_sqe(u);
    /* TODO 7: write down what the kernel is to do.
     * The opcode, IORING_OP_ACCEPT, _READ or _WRITE; fd; and op itself as
     * user_data, which the completion brings back. An accept gets SOCK_CLOEXEC
     * as its accept_flags. A read or a write has addr, len, and off -1: not at
     * a certain place of a file. The last lines are for the bonuses.
     * STUB: todo
     */
    static const uint8_t opcodes[] = {[OP_ACCEPT] = IORING_OP_ACCEPT,
                                      [OP_READ] = IORING_OP_READ,
                                      [OP_WRITE] = IORING_OP_WRITE};
    sqe->opcode = opcodes[op->kind];
    sqe->fd = op->fd;
    sqe->user_data = (uintptr_t)op;
    if (op->kind == OP_ACCEPT) {
        sqe->accept_flags = SOCK_CLOEXEC;
    } else {
        sqe->addr = (uintptr_t)op->buffer;
        sqe->len = (unsigned)op->size;
        sqe->off = (uint64_t)-1;
    }
    /* END TODO 7 */
    if (op->kind == OP_ACCEPT)
        go_on_accepting(u, sqe);
    if (op->lent)
        ask_for_loan(u, op, sqe);
    publish(u);
}

static void
cancel(struct proactor *p, struct operation *op)
{
    struct uring *u = (struct uring *)p;
    struct io_uring_sqe *sqe = next_sqe(u);
    /* TODO 10: ask the kernel for an early end of op.
     * That is an operation, too: IORING_OP_ASYNC_CANCEL, fd -1, and in addr the
     * user_data of the one to be cancelled. Its own user_data stays 0: nobody
     * waits for this completion. What matters is that of op. The stub gives up:
     * the program ends with status 3.
     * STUB: (void)op;
     * STUB: (void)sqe;
     * STUB: exit(3);
     */
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = (uintptr_t)op;
    /* END TODO 10 */
    publish(u);
}

/* Nothing here remembers descriptors. (An operation under way would: it keeps
 * the socket open although its descriptor is closed.) */
static void
just_close(struct proactor *p, int fd)
{
    (void)p;
    close(fd);
}

/* ---- Completion ---- */

static void
complete(struct uring *u, const struct io_uring_cqe *cqe)
{
    struct operation *op = (struct operation *)(uintptr_t)cqe->user_data;
    if (op == NULL)
        return; /* the answer to a cancel() */
    bool again = op->lent && !take_loan(u, op, cqe);
    if (op->kind == OP_ACCEPT && cqe->res == -EINVAL && u->multishot) {
        u->multishot = false; /* before Linux 5.19 it is one for each client */
        again = true;
    }
    if (again)
        start(&u->proactor, op);
    else
        operation_done(op, cqe->res, cqe->flags & IORING_CQE_F_MORE);
}

static void
reap(struct uring *u)
{
    /* TODO 8: take what has completed, and call the handlers.
     * From *cq_head to *cq_tail, loaded once, with acquire: what comes
     * meanwhile is for the next turn. Copy each completion, then give its place
     * back, a store of the head with release; then complete(). A place that is
     * given back before it is copied may be overwritten by the kernel.
     * STUB: (void)u;
     * STUB: (void)complete;
     * STUB: todo
     */
    unsigned head = atomic_load_explicit(u->cq_head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(u->cq_tail, memory_order_acquire);
    while (head != tail) {
        struct io_uring_cqe cqe = u->cqes[head & (u->cq_entries - 1)];
        atomic_store_explicit(u->cq_head, ++head, memory_order_release);
        complete(u, &cqe);
    }
    /* END TODO 8 */
}

static void
run(struct proactor *p, int ms)
{
    struct uring *u = (struct uring *)p;
    enter(u, 1, ms);
    reap(u);
}

static void
destroy(struct proactor *p)
{
    struct uring *u = (struct uring *)p;
    close(u->fd);
    munmap(u->rings, u->rings_size);
    munmap(u->sqes, u->sq_entries * sizeof *u->sqes);
    if (u->pool != NULL)
        munmap(u->pool, LENT * (LENT_SIZE + sizeof *u->lent));
    free(u);
}

const struct backend proactor_uring = {
    .create = create,
    .start = start,
    .cancel = cancel,
    .give_back = give_back,
    .close = just_close,
    .run = run,
    .destroy = destroy,
};
