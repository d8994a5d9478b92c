/*
 * calls NAME...: makes the named calls one after the other, for the tests of
 * faults.so, and prints what came of each: `NAME RESULT` or `NAME -1 ERROR`.
 *
 * Each call succeeds when nobody disturbs it. One that transfers has 64 bytes
 * to transfer, and tells how many it did after a check that they are the right
 * ones; one that waits finds 1 descriptor ready; the others give 0.
 *
 * `child+NAME` makes the call in a child, `ms+NAME` prints `slow` instead of
 * the result if it took 300 ms or longer, else `fast`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE 64
static const char TEXT[SIZE + 1] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,";

static char new_path[1024]; /* of a file that is not there */
static char path[1024];     /* a file with TEXT in it, */
static int file;            /* open for reading, */
static int empty;           /* and one to write to */
static int near, far;       /* the ends of a stream, TEXT waits in `near` */
static int listener;        /* a client waits there */
static int poller;          /* an epoll that watches `near` */
static char buffer[SIZE];
static struct iovec vector[] = {
    {buffer, 5}, {buffer + 5, 9}, {buffer + 14, SIZE - 14}};
static struct msghdr message = {.msg_iov = vector, .msg_iovlen = 3};

/* The compiler does not know that it is 0: it must make each call as it
 * stands, or its _FORTIFY_SOURCE form with a check at run time. */
static volatile int zero;

static void
check(bool good, const char *what)
{
    if (good)
        return;
    printf("broken: %s\n", what);
    exit(1);
}

/* ---- What the calls need ---- */

/* For our own transfers: libc's function, which rules may be about, is not
 * asked. MSG_DONTWAIT, so that a missing byte is an error and no hang. */
static ssize_t
raw_send(int fd, const void *from, size_t n)
{
    return syscall(SYS_sendto, fd, from, n, MSG_DONTWAIT, NULL, 0);
}

static ssize_t
raw_receive(int fd, void *to, size_t n)
{
    return syscall(SYS_recvfrom, fd, to, n, MSG_DONTWAIT, NULL, NULL);
}

static void
make_file(void)
{
    const char *folder = getenv("CALLS_DIR");
    snprintf(path, sizeof path, "%s/text", folder ? folder : "/tmp");
    snprintf(new_path, sizeof new_path, "%s/new", folder ? folder : "/tmp");
    file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
    check(syscall(SYS_pwrite64, file, TEXT, SIZE, 0) == SIZE, "file");
    empty = memfd_create("empty", 0);
}

static void
make_listener_with_client(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct sockaddr *address = (struct sockaddr *)&a;
    socklen_t length = sizeof a;

    listener = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(bind(listener, address, length) == 0, "bind");
    check(listen(listener, 8) == 0, "listen");
    getsockname(listener, address, &length);
    for (int i = 0; i < 8; i++) {
        int client = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
        check(connect(client, address, length) == 0, "connect");
    }
}

static void
make_stream(void)
{
    int pair[2];
    struct epoll_event event = {.events = EPOLLIN};
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    near = pair[0];
    far = pair[1];
    poller = epoll_create1(0);
    check(epoll_ctl(poller, EPOLL_CTL_ADD, near, &event) == 0, "epoll_ctl");
}

/* Puts TEXT, whole, where the next call looks for it. */
static void
before_call(void)
{
    char rest[4 * SIZE];
    while (raw_receive(near, rest, sizeof rest) > 0)
        ;
    while (raw_receive(far, rest, sizeof rest) > 0)
        ;
    check(raw_send(far, TEXT, SIZE) == SIZE, "stream");
}

/* ---- The calls ---- */

#define NO_SUCH_CALL (-1000L)
#define IS(call_name)                                                          \
    if (strcmp(name, #call_name) == 0)                                         \
    return

/* Each may read the 64 bytes into `buffer`. */
static long
make_reading_call(const char *name)
{
    IS(read) read(near, buffer, SIZE + zero);
    IS(recv) recv(near, buffer, SIZE + zero, 0);
    IS(recvfrom) recvfrom(near, buffer, SIZE + zero, 0, NULL, NULL);
    IS(recvmsg) recvmsg(near, &message, 0);
    IS(readv) readv(near, vector, 3);
    IS(pread) pread(file, buffer, SIZE + zero, 0);
    IS(preadv) preadv(file, vector, 3, 0);
    return NO_SUCH_CALL;
}

/* Each may send the 64 bytes of `buffer` to `far`. */
static long
make_writing_call(const char *name)
{
    off_t at = 0;
    IS(write) write(near, buffer, SIZE);
    IS(send) send(near, buffer, SIZE, 0);
    IS(sendto) sendto(near, buffer, SIZE, 0, NULL, 0);
    IS(sendmsg) sendmsg(near, &message, 0);
    IS(writev) writev(near, vector, 3);
    IS(sendfile) sendfile(near, file, &at, SIZE);
    return NO_SUCH_CALL;
}

/* Each may write the 64 bytes of `buffer` to the beginning of `empty`. */
static long
make_file_writing_call(const char *name)
{
    IS(pwrite) pwrite(empty, buffer, SIZE, 0);
    IS(pwritev) pwritev(empty, vector, 3, 0);
    return NO_SUCH_CALL;
}

/* Each returns a new descriptor. */
static long
make_opening_call(const char *name)
{
    struct open_how how = {.flags = O_RDONLY};
    IS(open) open(path, O_RDONLY | zero);
    IS(open_new) open(new_path, O_CREAT | O_RDWR, 0640);
    IS(openat) openat(AT_FDCWD, path, O_RDONLY | zero);
    IS(openat2) syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    IS(accept) accept(listener, NULL, NULL);
    IS(accept4) accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    IS(socket) socket(AF_INET, SOCK_STREAM, 0);
    return NO_SUCH_CALL;
}

/* Each finds that one descriptor is ready. */
static long
make_waiting_call(const char *name)
{
    struct epoll_event event;
    struct timespec second = {1, 0};
    struct timeval second_too = {1, 0};
    struct pollfd entry[] = {{near, POLLIN, 0}};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(near, &set);
    IS(epoll_wait) epoll_wait(poller, &event, 1, 1000);
    IS(epoll_pwait) epoll_pwait(poller, &event, 1, 1000, NULL);
    IS(epoll_pwait2) epoll_pwait2(poller, &event, 1, &second, NULL);
    IS(poll) poll(entry, 1 + zero, 1000);
    IS(ppoll) ppoll(entry, 1 + zero, &second, NULL);
    IS(select) select(near + 1, &set, NULL, NULL, &second_too);
    IS(pselect) pselect(near + 1, &set, NULL, NULL, &second, NULL);
    return NO_SUCH_CALL;
}

/* 0 or -1 */
static long
pointer_result(void *pointer)
{
    int error = errno;
    free(pointer);
    errno = error;
    return pointer ? 0 : -1;
}

static void *
thread(void *argument)
{
    return argument;
}

static long
make_thread(void)
{
    pthread_t id;
    void *result;
    int error = pthread_create(&id, NULL, thread, path);
    if (error) {
        errno = error;
        return -1;
    }
    pthread_join(id, &result);
    return result == path ? 0 : -1;
}

/* A close() that fails must have closed nevertheless. */
static long
close_and_look(void)
{
    int copy = dup(near);
    check(close(copy) == -1 && errno == EINTR, "a failing close");
    return fcntl(copy, F_GETFD) == -1 && errno == EBADF ? 0 : -1;
}

static long
make_child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static long
lowest_descriptor(void)
{
    int copy = dup(near);
    syscall(SYS_close, copy);
    return copy;
}

/* Each returns 0, but for lowest_descriptor and appending. */
static long
make_other_call(const char *name)
{
    struct stat st;
    struct statx stx;
    FILE *stream;
    IS(stat) stat(path, &st);
    IS(lstat) lstat(path, &st);
    IS(fstatat) fstatat(AT_FDCWD, path, &st, 0);
    IS(statx) statx(AT_FDCWD, path, 0, STATX_SIZE, &stx);
    IS(close) close(dup(near));
    IS(close_and_look) close_and_look();
    IS(fork) make_child();
    IS(pthread_create) make_thread();
    IS(malloc) pointer_result(malloc(SIZE + zero));
    IS(calloc) pointer_result(calloc(SIZE, 1 + zero));
    IS(realloc) pointer_result(realloc(zero ? path : NULL, SIZE + zero));
    IS(strdup) pointer_result(strdup(TEXT + zero));
    IS(lowest_descriptor) lowest_descriptor();
    IS(nonblock) fcntl(near, F_SETFL, O_NONBLOCK);
    IS(appending) fcntl(near, F_GETFL) & O_APPEND ? 1 : 0;
    IS(fopen)(stream = fopen(path, "r")) ? fclose(stream) : -1;
    return NO_SUCH_CALL;
}

/* ---- Judging ---- */

/* Nothing but the first n bytes of TEXT may have been written to `far`. */
static void
check_arrived(long n)
{
    char got[2 * SIZE];
    check(raw_receive(far, got, sizeof got) == n, "count of bytes sent");
    check(memcmp(got, TEXT, n) == 0, "bytes sent");
}

static void
check_written(long n)
{
    char got[2 * SIZE];
    check(syscall(SYS_pread64, empty, got, sizeof got, 0) == n, "file size");
    check(memcmp(got, TEXT, n) == 0, "bytes written");
}

/* Makes the call, checks what it did, returns its result, and errno. */
static long
make_call(const char *name)
{
    memset(buffer, 0, SIZE);
    errno = 0;
    long n = make_reading_call(name);
    if (n > 0)
        check(memcmp(buffer, TEXT, n) == 0, "bytes read");
    check(message.msg_iovlen == 3 && message.msg_iov == vector, "message");
    if (n != NO_SUCH_CALL)
        return n;
    memcpy(buffer, TEXT, SIZE);
    if ((n = make_writing_call(name)) > 0)
        check_arrived(n);
    if (n == NO_SUCH_CALL && (n = make_file_writing_call(name)) > 0)
        check_written(n);
    if (n == NO_SUCH_CALL && (n = make_opening_call(name)) > 0)
        n = close(n);
    if (n == NO_SUCH_CALL)
        n = make_waiting_call(name);
    if (n == NO_SUCH_CALL)
        n = make_other_call(name);
    check(n != NO_SUCH_CALL, name);
    return n;
}

static void
report(const char *name)
{
    long n = make_call(name);
    if (n < 0)
        printf("%s %ld %s\n", name, n, strerrorname_np(errno));
    else
        printf("%s %ld\n", name, n);
}

static void
report_time(const char *name)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    make_call(name);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ms = (end.tv_sec - start.tv_sec) * 1000 +
              (end.tv_nsec - start.tv_nsec) / 1000000;
    printf("%s %s\n", name, ms >= 300 ? "slow" : "fast");
}

static void
report_from_child(const char *name)
{
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
        report(name);
        exit(0);
    }
    waitpid(pid, NULL, 0);
}

int
main(int argc, char **argv)
{
    /* By lines, for a child must not inherit any; in a buffer of our own, for
     * libc would call malloc() for one. */
    static char output[BUFSIZ];
    setvbuf(stdout, output, _IOLBF, sizeof output);
    make_file();
    make_listener_with_client();
    make_stream();
    for (int i = 1; i < argc; i++) {
        before_call();
        if (strncmp(argv[i], "child+", 6) == 0)
            report_from_child(argv[i] + 6);
        else if (strncmp(argv[i], "ms+", 3) == 0)
            report_time(argv[i] + 3);
        else
            report(argv[i]);
    }
    return 0;
}
