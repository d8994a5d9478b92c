/*
 * faults.so: makes chosen system calls of a server go wrong, on purpose.
 *
 *   LD_PRELOAD=.../faults.so FAULTS="RULE RULE ..." FAULTS_LOG=file ./echo
 *
 * Short writes, interrupted calls, a full descriptor table, a slow disk: all
 * of them are rare on a test machine and daily on a busy one. A rule brings
 * them about exactly when a test wants them:
 *
 *   write:short=3:fd=sock           sockets take 3 bytes a call
 *   read:error=EINTR:when=1         a signal interrupts the first read
 *   accept:error=EMFILE:when=2..4   no descriptor for the 2nd to 4th client
 *   malloc:error=ENOMEM:when=7+     memory is used up from the 7th call on
 *   open,stat,read:delay=400:path=/slow/    a slow disk
 *
 * A rule is CALLS:OPTION:OPTION... and has at least one of
 *
 *   short=N     let the call transfer at most N bytes (read and write only)
 *   error=E     do not make the call: fail with errno E (EINTR, EAGAIN, ...)
 *   delay=MS    sleep before the call
 *   flag=append set O_APPEND on the descriptor, a flag that is to stay there
 *   reach=PATH  try to open PATH, and log `reach PATH: open` or the error
 *
 * and may be narrowed to some of the calls:
 *
 *   fd=sock  fd=file  fd=nb   sockets, regular files, O_NONBLOCK descriptors
 *   path=TEXT                 TEXT is part of the path that is opened, or of
 *                             the path behind the descriptor
 *   when=F  F+  F+S  F..L     the F-th; from the F-th on; every S-th from the
 *                             F-th on; the F-th to the L-th (default: all)
 *
 * `when` counts, for each rule, the calls that pass its other filters, over
 * all threads and forked children. CALLS is a list, with commas, of names of
 * calls or of classes of calls; a word that could be both is the class:
 *
 *   read    read recv recvfrom recvmsg readv pread preadv sendfile_in
 *   write   write send sendto sendmsg writev pwrite pwritev sendfile
 *   open    open openat openat2 fopen          accept  accept accept4
 *   stat    stat lstat fstatat statx           malloc  malloc calloc realloc
 *   wait    epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect
 *   socket  close  fork  thread (pthread_create)
 *   thread_start   the first moment of a new thread (it can only be delayed)
 *   io_uring_setup  io_uring_enter  io_uring_register (by syscall())
 *
 * eventfd_read() and eventfd_write() are a read and a write.
 * sendfile() counts twice: as a read of the file (sendfile_in), then as a
 * write to the socket (sendfile). close() does close, also if it then fails,
 * as in Linux. Calls that libc makes for itself (the write() inside printf(),
 * the read() inside fgets()) cannot be caught, except malloc().
 *
 * EAGAIN needs thought: without when=, a correct server waits for ever; and
 * under edge-triggered epoll nobody announces again the data that a false
 * EAGAIN hid.
 *
 * FAULTS_LOG gets a line for each fault: `read fd=5 #3 RULE`, the third call
 * that the rule matched. A wrong rule ends the program with status 97.
 *
 * With AddressSanitizer, set ASAN_OPTIONS=verify_asan_link_order=0.
 */
#include "faults-wrap.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8 &&
                   sizeof(struct stat) == sizeof(struct stat64),
               "the 64-bit names are the same calls");

/* ---- Paths ---- */

/* The optional third argument of open(), after its last fixed one. */
#define MODE(flags, mode)                                                      \
    mode_t mode = 0;                                                           \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                   \
        va_list args;                                                          \
        va_start(args, flags);                                                 \
        mode = va_arg(args, mode_t);                                           \
        va_end(args);                                                          \
    }

int
open(const char *path, int flags, ...)
{
    NEXT(open);
    MODE(flags, mode)
    if (fault(CALL_open, -1, path, NULL))
        return -1;
    return next(path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    MODE(flags, mode)
    return open(path, flags, mode);
}

int
openat(int dir, const char *path, int flags, ...)
{
    NEXT(openat);
    MODE(flags, mode)
    if (fault(CALL_openat, -1, path, NULL))
        return -1;
    return next(dir, path, flags, mode);
}

int
openat64(int dir, const char *path, int flags, ...)
{
    MODE(flags, mode)
    return openat(dir, path, flags, mode);
}

/* libc has no openat2() and no io_uring: servers use syscall(). Other numbers
 * pass through; to hand on six arguments of which some were not given is
 * harmless. */
long
syscall(long number, ...)
{
    NEXT(syscall);
    va_list args;
    long a[6];
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    bool fails = false;
    if (number == SYS_openat2)
        fails = fault(CALL_openat2, -1, (const char *)a[1], NULL);
    else if (number == SYS_io_uring_setup)
        fails = fault(CALL_io_uring_setup, -1, NULL, NULL);
    else if (number == SYS_io_uring_enter)
        fails = fault(CALL_io_uring_enter, (int)a[0], NULL, NULL);
    else if (number == SYS_io_uring_register)
        fails = fault(CALL_io_uring_register, (int)a[0], NULL, NULL);
    if (fails)
        return -1;
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

FILE *
fopen(const char *path, const char *mode)
{
    NEXT(fopen);
    if (fault(CALL_fopen, -1, path, NULL))
        return NULL;
    return next(path, mode);
}

/* clang-format off */

WRAP(int, stat, (const char *path, struct stat *st),
     (path, st), -1, path, NULL)
WRAP(int, lstat, (const char *path, struct stat *st),
     (path, st), -1, path, NULL)
WRAP(int, fstatat, (int dir, const char *path, struct stat *st, int flags),
     (dir, path, st, flags), -1, path, NULL)
WRAP(int, statx,
     (int dir, const char *path, int flags, unsigned mask, struct statx *st),
     (dir, path, flags, mask, st), -1, path, NULL)

SAME(int, __open_2, (const char *path, int flags), open(path, flags))
SAME(int, __open64_2, (const char *path, int flags), open(path, flags))
SAME(int, __openat_2, (int dir, const char *path, int flags),
     openat(dir, path, flags))
SAME(int, __openat64_2, (int dir, const char *path, int flags),
     openat(dir, path, flags))
SAME(FILE *, fopen64, (const char *path, const char *mode), fopen(path, mode))
SAME(int, stat64, (const char *path, struct stat64 *st),
     stat(path, (struct stat *)st))
SAME(int, lstat64, (const char *path, struct stat64 *st),
     lstat(path, (struct stat *)st))
SAME(int, fstatat64,
     (int dir, const char *path, struct stat64 *st, int flags),
     fstatat(dir, path, (struct stat *)st, flags))

/* ---- Waiting, descriptors, processes ---- */

typedef const struct timespec *interval;
typedef struct epoll_event *event_list;

WRAP(int, accept, (int fd, address a, socklen_t *length),
     (fd, a, length), fd, NULL, NULL)
WRAP(int, accept4, (int fd, address a, socklen_t *length, int flags),
     (fd, a, length, flags), fd, NULL, NULL)
WRAP(int, epoll_wait, (int fd, event_list events, int n, int ms),
     (fd, events, n, ms), fd, NULL, NULL)
WRAP(int, epoll_pwait,
     (int fd, event_list events, int n, int ms, const sigset_t *mask),
     (fd, events, n, ms, mask), fd, NULL, NULL)
WRAP(int, epoll_pwait2,
     (int fd, event_list events, int n, interval t, const sigset_t *mask),
     (fd, events, n, t, mask), fd, NULL, NULL)
WRAP(int, poll, (struct pollfd *fds, nfds_t n, int ms),
     (fds, n, ms), -1, NULL, NULL)
WRAP(int, ppoll,
     (struct pollfd *fds, nfds_t n, interval t, const sigset_t *mask),
     (fds, n, t, mask), -1, NULL, NULL)
WRAP(int, select,
     (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *t),
     (n, r, w, e, t), -1, NULL, NULL)
WRAP(int, pselect,
     (int n, fd_set *r, fd_set *w, fd_set *e, interval t,
      const sigset_t *mask),
     (n, r, w, e, t, mask), -1, NULL, NULL)
WRAP(int, socket, (int domain, int type, int protocol),
     (domain, type, protocol), -1, NULL, NULL)
WRAP(int, listen, (int fd, int n), (fd, n), fd, NULL, NULL)
WRAP(int, epoll_ctl, (int fd, int op, int to, event_list event),
     (fd, op, to, event), to, NULL, NULL)
WRAP(pid_t, fork, (void), (), -1, NULL, NULL)

SAME(int, __poll_chk, (struct pollfd *fds, nfds_t n, int ms, size_t room),
     poll(fds, checked(n, room / sizeof *fds), ms))
SAME(int, __ppoll_chk,
     (struct pollfd *fds, nfds_t n, interval t, const sigset_t *mask,
      size_t room),
     ppoll(fds, checked(n, room / sizeof *fds), t, mask))

/* clang-format on */

int
close(int fd)
{
    NEXT(close);
    bool fails = fault(CALL_close, fd, NULL, NULL);
    int error = errno;
    int result = next(fd);
    if (!fails)
        return result;
    errno = error;
    return -1;
}

struct thread {
    void *(*run)(void *);
    void *argument;
};

static void *
run_thread(void *memory)
{
    struct thread t = *(struct thread *)memory;
    free(memory);
    fault(CALL_thread_start, -1, NULL, NULL);
    return t.run(t.argument);
}

int
pthread_create(pthread_t *id, const pthread_attr_t *attributes,
               void *(*run)(void *), void *argument)
{
    NEXT(pthread_create);
    if (fault(CALL_pthread_create, -1, NULL, NULL))
        return errno;
    /* Not malloc(): that would be counted as a call of the server. */
    struct thread *t = aligned_alloc(sizeof *t, sizeof *t);
    if (!t)
        return EAGAIN;
    *t = (struct thread){run, argument};
    int error = next(id, attributes, run_thread, t);
    if (error)
        free(t);
    return error;
}

/* ---- Memory ---- */

/* Whoever looks up the next malloc() may have to call malloc(): that one gets
 * nothing, which dlsym() can cope with. */
#define WRAP_MEMORY(name, parameters, arguments)                               \
    void *name parameters                                                      \
    {                                                                          \
        static THREAD_LOCAL bool asking;                                       \
        static __typeof__(&name) next;                                         \
        if (!next) {                                                           \
            if (asking)                                                        \
                return NULL;                                                   \
            asking = true;                                                     \
            next = dlsym(RTLD_NEXT, #name);                                    \
            asking = false;                                                    \
        }                                                                      \
        if (fault(CALL_##name, -1, NULL, NULL))                                \
            return NULL;                                                       \
        return next arguments;                                                 \
    }

/* clang-format off */
WRAP_MEMORY(malloc, (size_t size), (size))
WRAP_MEMORY(calloc, (size_t count, size_t size), (count, size))
WRAP_MEMORY(realloc, (void *old, size_t size), (old, size))

/* clang-format on */
