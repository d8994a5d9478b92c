/*
 * For faults.so: which calls there are, what FAULTS asks for, and whether a
 * call is to be disturbed now. faults.c describes the language.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* A server may have a function fault() of its own. */
#pragma GCC visibility push(hidden)

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* The plain model of thread-local storage: the other one calls a function that
 * sanitizers intercept, and they are not ready for our first malloc(). */
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

/* Name and class of each call. A rule may use either one. */
/* clang-format off */
#define CALLS(X)                                                            \
    X(read, read) X(recv, read) X(recvfrom, read) X(recvmsg, read)          \
    X(readv, read) X(pread, read) X(preadv, read) X(sendfile_in, read)      \
    X(write, write) X(send, write) X(sendto, write) X(sendmsg, write)       \
    X(writev, write) X(pwrite, write) X(pwritev, write) X(sendfile, write)  \
    X(open, open) X(openat, open) X(openat2, open) X(fopen, open)           \
    X(stat, stat) X(lstat, stat) X(fstatat, stat) X(statx, stat)            \
    X(accept, accept) X(accept4, accept)                                    \
    X(epoll_wait, wait) X(epoll_pwait, wait) X(epoll_pwait2, wait)          \
    X(poll, wait) X(ppoll, wait) X(select, wait) X(pselect, wait)           \
    X(malloc, malloc) X(calloc, malloc) X(realloc, malloc)                  \
    X(epoll_ctl, epoll_ctl) X(listen, listen)                               \
    X(io_uring_setup, io_uring_setup) X(io_uring_enter, io_uring_enter)     \
    X(io_uring_register, io_uring_register)                                 \
    X(socket, socket) X(close, close) X(fork, fork)                         \
    X(pthread_create, thread) X(thread_start, thread_start)
/* clang-format on */

#define AS_ENUM(name, class) CALL_##name,
enum call { CALLS(AS_ENUM) CALL_COUNT };

/* To be asked before each call, about one descriptor (or -1) or path (or
 * NULL). May sleep and may lower *size. If it returns true, errno is set and
 * the call is to fail. */
bool fault(enum call call, int fd, const char *path, size_t *size);

#pragma GCC visibility pop
