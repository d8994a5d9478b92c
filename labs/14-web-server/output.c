/*
 * From answers to bytes on the wire.
 *
 * Small files are read into the buffer behind their heads: one send() for a
 * whole answer, or for many of them. Large ones go from the page cache to the
 * socket by sendfile(), without a copy through this program.
 *
 * The client decides how fast bytes leave. What it does not take stays here,
 * and no answer is added meanwhile: however slowly it reads, it costs one
 * buffer and one open file.
 */
#include "output.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(ANSWER_MAX > 3 * PATH_LIMIT + TARGET_MAX + 2048,
               "a redirect to an encoded path, with its query and its page");

void
output_init(struct output *o, char *buf)
{
    *o = (struct output){.buf = buf, .file = -1};
}

void
output_close(struct output *o)
{
    if (o->file >= 0)
        close(o->file);
    o->file = -1;
}

bool
output_has_room(const struct output *o)
{
    return o->file < 0 && OUTPUT_SIZE - o->filled >= ANSWER_MAX;
}

/* Reads a file behind its head. False if it has fewer bytes than the head says:
 * then the client must not get that head. */
static bool
read_file(struct output *o, const struct file *f)
{
    off_t done = 0;
    while (done < f->size) {
        ssize_t n = pread(f->fd, o->buf + o->filled + done,
                          (size_t)(f->size - done), done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += n;
    }
    o->filled += (size_t)f->size;
    return true;
}

void
output_add(struct output *o, struct answer *a, const struct date *now)
{
    size_t before = o->filled;
    o->filled +=
        response_head(a, now, o->buf + o->filled, OUTPUT_SIZE - o->filled);
    if (a->status != 200)
        return;
    if (!a->head_only && a->file.size > OUTPUT_SIZE - (off_t)o->filled) {
        o->file = a->file.fd;
        o->offset = 0;
        o->file_left = a->file.size;
        return;
    }
    bool whole = a->head_only || read_file(o, &a->file);
    close(a->file.fd);
    if (!whole) {
        o->filled = before;
        a->status = 500;
        output_add(o, a, now);
    }
}

/* Sends one piece. Returns as send() does, or 0 if the file has become shorter
 * than its head says. */
static ssize_t
send_piece(struct output *o, int fd)
{
    ssize_t n;
    if (o->sent < o->filled) {
        /* MSG_MORE: the file comes right behind; they can share a packet. */
        int flags = MSG_NOSIGNAL | (o->file_left > 0 ? MSG_MORE : 0);
        n = send(fd, o->buf + o->sent, o->filled - o->sent, flags);
        if (n > 0)
            o->sent += (size_t)n;
    } else {
        size_t most = o->file_left < TURN_MAX ? (size_t)o->file_left : TURN_MAX;
        n = sendfile(fd, o->file, &o->offset, most);
        if (n > 0)
            o->file_left -= n;
    }
    return n;
}

enum output_result
output_send(struct output *o, int fd)
{
    /* TODO 8: send, and never wait for the client.
     * Call send_piece() until nothing is left, neither in the buffer nor of the
     * file. A piece may be shorter than you would like. When the socket is
     * full, it fails with EAGAIN: OUTPUT_LEFT, and the loop calls again as
     * soon as there is room. Any other failure, and 0, is OUTPUT_LOST. A client
     * that takes everything at once would never give the thread back: when
     * `turn` has reached TURN_MAX, others go first: OUTPUT_LEFT. The stub
     * takes it for granted that the kernel takes everything at once.
     */
    if (o->filled > 0)
        send_piece(o, fd);
    o->sent = o->filled;
    if (o->file >= 0)
        send_piece(o, fd);
    o->file_left = 0;
    o->sent = o->filled = 0;
    output_close(o);
    return OUTPUT_SENT;
}
