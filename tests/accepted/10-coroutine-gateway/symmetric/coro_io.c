/*
 * Another way: one question decides what all of the calls do after a failure,
 * whether to try again; it waits if it has to.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "coro.h"

/* Did the call fail in a way that passes? Then waits until it may succeed. */
static bool
try_again(ssize_t result, int fd, uint32_t events, long deadline)
{
    if (result >= 0)
        return false;
    if (errno == EAGAIN)
        return coro_wait(fd, events, deadline) == 0;
    return errno == EINTR || errno == ECONNABORTED;
}

ssize_t
coro_read(int fd, void *buf, size_t n, long deadline)
{
    ssize_t got = -1;
    do
        if (coro_cancelled())
            return -1;
    while (try_again(got = read(fd, buf, n), fd, EPOLLIN, deadline));
    return got;
}

int
coro_write(int fd, const void *buf, size_t n, long deadline)
{
    if (n == 0)
        return 0;
    ssize_t done = -1;
    do
        if (coro_cancelled())
            return -1;
    while (try_again(done = write(fd, buf, n), fd, EPOLLOUT, deadline));
    if (done < 0)
        return -1;
    return coro_write(fd, (const char *)buf + done, n - (size_t)done, deadline);
}

int
coro_accept(int fd)
{
    int got = -1;
    do
        if (coro_cancelled())
            return -1;
    while (
        try_again(got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC),
                  fd, EPOLLIN, CORO_NEVER));
    return got;
}

/* Who is connected has a peer. Who has none any more is told why by a read. */
int
coro_connect(int fd, const struct sockaddr *addr, socklen_t len, long deadline)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    char byte;
    if (coro_cancelled())
        return -1;
    if (connect(fd, addr, len) == 0)
        return 0;
    if ((errno != EINPROGRESS && errno != EINTR) ||
        coro_wait(fd, EPOLLOUT, deadline) < 0)
        return -1;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0)
        return 0;
    return (int)read(fd, &byte, 1) < 0 ? -1 : 0;
}
