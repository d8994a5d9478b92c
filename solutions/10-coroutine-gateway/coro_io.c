/*
 * Calls that look as if they blocked, on coro_wait(): see coro.h.
 *
 * All of them are alike: try; if that would block, wait until it would not, and
 * try again. coro_read() and coro_accept() show how. errno is that of the try,
 * as long as nobody else has run since: after coro_wait() it may be anything.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "coro.h"

ssize_t
coro_read(int fd, void *buf, size_t n, long deadline)
{
    while (!coro_cancelled()) {
        ssize_t got = read(fd, buf, n);
        if (got >= 0 || (errno != EAGAIN && errno != EINTR))
            return got;
        if (errno == EAGAIN && coro_wait(fd, EPOLLIN, deadline) < 0)
            return -1;
    }
    return -1;
}

int
coro_accept(int fd)
{
    while (!coro_cancelled()) {
        int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got >= 0)
            return got;
        if (errno == EAGAIN) { /* only here: coro_wait() changes errno */
            if (coro_wait(fd, EPOLLIN, CORO_NEVER) < 0)
                return -1;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return -1;
        }
    }
    return -1;
}

int
coro_write(int fd, const void *buf, size_t n, long deadline)
{
    /* TODO 5: write all n bytes, as if write() blocked.
     * A full socket says EAGAIN, and EPOLLOUT when it has room again. A short
     * write is no error: the rest is still to be written. The stub gives up
     * where it would have to wait.
     * STUB: (void)deadline;
     * STUB: return write(fd, buf, n) < 0 ? -1 : 0;
     */
    const char *rest = buf;
    while (n > 0 && !coro_cancelled()) {
        ssize_t done = write(fd, rest, n);
        if (done < 0 && errno != EAGAIN && errno != EINTR)
            return -1;
        if (done < 0 && errno == EAGAIN &&
            coro_wait(fd, EPOLLOUT, deadline) < 0)
            return -1;
        if (done > 0) {
            rest += done;
            n -= (size_t)done;
        }
    }
    return n == 0 ? 0 : -1;
    /* END TODO 5 */
}

int
coro_connect(int fd, const struct sockaddr *addr, socklen_t len, long deadline)
{
    if (coro_cancelled())
        return -1;
    /* TODO 6: connect, as if connect() blocked.
     * It cannot be tried again like the others: it goes on by itself after it
     * has said EINPROGRESS. The end of it, good or bad, is an EPOLLOUT, and
     * getsockopt() with SO_ERROR tells which. After EINTR, too, it goes on by
     * itself.
     * STUB: (void)deadline;
     * STUB: return connect(fd, addr, len);
     */
    if (connect(fd, addr, len) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -1;
    if (coro_wait(fd, EPOLLOUT, deadline) < 0)
        return -1;
    int error;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -1;
    errno = error;
    return error == 0 ? 0 : -1;
    /* END TODO 6 */
}
