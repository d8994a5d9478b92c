/* uring_abi.h - what libc and older headers leave out of io_uring.
 *
 * libc has no functions for the three system calls. They return as all do: -1
 * with errno. io_uring_setup(2), io_uring_enter(2) and io_uring_register(2)
 * describe them; where those pages are missing: package liburing-dev.
 *
 * Kernel and program share two rings of fixed size, an array beside one of
 * them, and no lock:
 *
 *   submission ring (SQ): what to do     completion ring (CQ): what came of it
 *
 *        head        tail                     head        tail
 *         |           |                        |           |
 *     +---v---+---+---v---+---+            +---v---+---+---v---+---+
 *     |   | x | x | x |   |   |            |   | y | y | y |   |   |
 *     +---+---+---+---+---+---+            +---+---+---+---+---+---+
 *     kernel moves head, we tail           we move head, kernel moves tail
 *
 * Both count on and on and wrap at 2^32; `index & mask` is the place. The side
 * that moves the tail fills the place first and then stores the tail with
 * release order; the other side loads it with acquire order before it reads the
 * place. The same holds for the head, the other way round. It is the ring with
 * one producer and one consumer from stage 08; the other thread is the kernel.
 */
#ifndef URING_ABI_H
#define URING_ABI_H

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SETUP_SINGLE_ISSUER /* Linux 6.0 */
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN /* Linux 6.1 */
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif
#ifndef IORING_ACCEPT_MULTISHOT /* Linux 5.19; so are the buffers */
#define IORING_ACCEPT_MULTISHOT   (1U << 0)
#define IORING_REGISTER_PBUF_RING 22

struct io_uring_buf {
    __u64 addr;
    __u32 len;
    __u16 bid, resv;
};

struct io_uring_buf_reg {
    __u64 ring_addr;
    __u32 ring_entries;
    __u16 bgid, pad;
    __u64 resv[3];
};
#endif

/* Makes the rings, `entries` places in the SQ. Returns their descriptor. */
static inline int
io_uring_setup(unsigned entries, struct io_uring_params *params)
{
    return (int)syscall(SYS_io_uring_setup, entries, params);
}

/* Hands `submit` operations over, then waits until `complete` completions are
 * in the CQ, for ms milliseconds at most (-1: for ever). Returns how many were
 * handed over; errors that are none: EINTR, ETIME (the time was over). */
static inline int
io_uring_enter(int fd, unsigned submit, unsigned complete, int ms)
{
    struct __kernel_timespec t = {.tv_sec = ms / 1000,
                                  .tv_nsec = ms % 1000 * 1000000L};
    struct io_uring_getevents_arg arg = {.ts = ms < 0 ? 0 : (uintptr_t)&t};
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    return (int)syscall(SYS_io_uring_enter, fd, submit, complete, flags, &arg,
                        sizeof arg);
}

/* Makes something known to the rings for good; `what` tells what arg is. */
static inline int
io_uring_register(int fd, unsigned what, void *arg, unsigned count)
{
    return (int)syscall(SYS_io_uring_register, fd, what, arg, count);
}

#endif
