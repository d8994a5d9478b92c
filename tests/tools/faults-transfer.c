/*
 * For faults.so: the calls that read and write, which can also be short.
 */
#include "faults-wrap.h"
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

typedef const struct iovec *vector;
typedef const struct sockaddr *const_address;

/* clang-format off */

WRAP(ssize_t, read, (int fd, void *to, size_t n),
     (fd, to, n), fd, NULL, &n)
WRAP(ssize_t, recv, (int fd, void *to, size_t n, int flags),
     (fd, to, n, flags), fd, NULL, &n)
WRAP(ssize_t, recvfrom,
     (int fd, void *to, size_t n, int flags, address a, socklen_t *length),
     (fd, to, n, flags, a, length), fd, NULL, &n)
WRAP(ssize_t, pread, (int fd, void *to, size_t n, off_t at),
     (fd, to, n, at), fd, NULL, &n)
WRAP(ssize_t, write, (int fd, const void *from, size_t n),
     (fd, from, n), fd, NULL, &n)
WRAP(ssize_t, send, (int fd, const void *from, size_t n, int flags),
     (fd, from, n, flags), fd, NULL, &n)
WRAP(ssize_t, sendto,
     (int fd, const void *from, size_t n, int flags, const_address a,
      socklen_t length),
     (fd, from, n, flags, a, length), fd, NULL, &n)
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at),
     (fd, from, n, at), fd, NULL, &n)

SAME(ssize_t, pread64, (int fd, void *to, size_t n, off64_t at),
     pread(fd, to, n, at))
SAME(ssize_t, pwrite64, (int fd, const void *from, size_t n, off64_t at),
     pwrite(fd, from, n, at))
SAME(int, eventfd_read, (int fd, eventfd_t *value),
     read(fd, value, sizeof *value) == sizeof *value ? 0 : -1)
SAME(int, eventfd_write, (int fd, eventfd_t value),
     write(fd, &value, sizeof value) == sizeof value ? 0 : -1)
SAME(ssize_t, __read_chk, (int fd, void *to, size_t n, size_t room),
     read(fd, to, checked(n, room)))
SAME(ssize_t, __recv_chk,
     (int fd, void *to, size_t n, size_t room, int flags),
     recv(fd, to, checked(n, room), flags))
SAME(ssize_t, __recvfrom_chk,
     (int fd, void *to, size_t n, size_t room, int flags, address a,
      socklen_t *length),
     recvfrom(fd, to, checked(n, room), flags, a, length))
SAME(ssize_t, __pread_chk,
     (int fd, void *to, size_t n, off_t at, size_t room),
     pread(fd, to, checked(n, room), at))
SAME(ssize_t, __pread64_chk,
     (int fd, void *to, size_t n, off64_t at, size_t room),
     pread(fd, to, checked(n, room), at))

/* clang-format on */

/* The beginning of a vector: at most `max` bytes and LENGTH(out->part) parts.
 * It is no matter to leave parts out, since a short transfer was asked for. */
struct shorter {
    struct iovec part[32];
    int count;
};

static void
shorten(struct shorter *out, const struct iovec *v, int count, size_t max)
{
    out->count = 0;
    for (int i = 0; i < count && max > 0; i++) {
        if (out->count == LENGTH(out->part))
            return;
        struct iovec *part = &out->part[out->count++];
        *part = v[i];
        if (part->iov_len > max)
            part->iov_len = max;
        max -= part->iov_len;
    }
}

static size_t
total(const struct iovec *v, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += v[i].iov_len;
    return sum;
}

/* Like WRAP, for calls with a vector `v` of `count` parts. */
#define WRAP_VECTOR(name, parameters, arguments)                               \
    ssize_t name parameters                                                    \
    {                                                                          \
        NEXT(name);                                                            \
        struct shorter s;                                                      \
        size_t all = total(v, count), size = all;                              \
        if (fault(CALL_##name, fd, NULL, &size))                               \
            return -1;                                                         \
        if (size < all) {                                                      \
            shorten(&s, v, count, size);                                       \
            v = s.part;                                                        \
            count = s.count;                                                   \
        }                                                                      \
        return next arguments;                                                 \
    }

/* clang-format off */

WRAP_VECTOR(readv, (int fd, vector v, int count), (fd, v, count))
WRAP_VECTOR(writev, (int fd, vector v, int count), (fd, v, count))
WRAP_VECTOR(preadv, (int fd, vector v, int count, off_t at),
            (fd, v, count, at))
WRAP_VECTOR(pwritev, (int fd, vector v, int count, off_t at),
            (fd, v, count, at))
SAME(ssize_t, preadv64, (int fd, vector v, int count, off64_t at),
     preadv(fd, v, count, at))
SAME(ssize_t, pwritev64, (int fd, vector v, int count, off64_t at),
     pwritev(fd, v, count, at))

/* clang-format on */

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
    NEXT(sendmsg);
    struct shorter s;
    struct msghdr copy = *message;
    size_t all = total(message->msg_iov, message->msg_iovlen), size = all;
    if (fault(CALL_sendmsg, fd, NULL, &size))
        return -1;
    if (size == all)
        return next(fd, message, flags);
    shorten(&s, message->msg_iov, message->msg_iovlen, size);
    copy.msg_iov = s.part;
    copy.msg_iovlen = s.count;
    return next(fd, &copy, flags);
}

/* Other than sendmsg() it also writes to the header, so that one is lent to
 * it and put right afterwards. */
ssize_t
recvmsg(int fd, struct msghdr *message, int flags)
{
    NEXT(recvmsg);
    struct shorter s;
    struct msghdr original = *message;
    size_t all = total(message->msg_iov, message->msg_iovlen), size = all;
    if (fault(CALL_recvmsg, fd, NULL, &size))
        return -1;
    if (size < all) {
        shorten(&s, message->msg_iov, message->msg_iovlen, size);
        message->msg_iov = s.part;
        message->msg_iovlen = s.count;
    }
    ssize_t result = next(fd, message, flags);
    message->msg_iov = original.msg_iov;
    message->msg_iovlen = original.msg_iovlen;
    return result;
}

ssize_t
sendfile(int out, int in, off_t *at, size_t n)
{
    NEXT(sendfile);
    if (fault(CALL_sendfile_in, in, NULL, &n) ||
        fault(CALL_sendfile, out, NULL, &n))
        return -1;
    return next(out, in, at, n);
}

ssize_t
sendfile64(int out, int in, off64_t *at, size_t n)
{
    return sendfile(out, in, at, n);
}
