/*
 * What is to be sent to a client, in order.
 *
 * The client decides how fast bytes leave. What it does not take stays here,
 * and no answer is added meanwhile: however slowly it reads, it costs this
 * buffer and that of its input, and holds the entries that it is being sent
 * from.
 */
#include "output.h"
#include "store.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    VECTORS = 16,           /* pieces in memory that one call sends at most */
    JOINED_MAX = 64 * 1024, /* of a file that goes in one packet with its head */
};

void
output_init(struct output *o)
{
    o->filled = o->first = o->count = o->files = 0;
    o->last = o->cut = false;
}

void
output_drop(struct output *o)
{
    for (; o->first < o->count; o->first++)
        if (o->pieces[o->first].entry)
            entry_release(o->pieces[o->first].entry);
    output_init(o);
}

bool
output_has_room(const struct output *o)
{
    return o->files == 0 && o->count <= PIECES - PIECES_MAX &&
           o->filled <= OUTPUT_SIZE - ANSWER_MAX;
}

struct text
output_text(struct output *o)
{
    return (struct text){o->buf + o->filled, o->buf + OUTPUT_SIZE, false};
}

/* Bytes that are in buf, at its end. They prolong the last piece, if that is
 * in buf as well: then it ends right there. */
void
output_add(struct output *o, const struct text *t)
{
    size_t n = (size_t)(t->at - (o->buf + o->filled));
    o->cut |= t->full;
    bool after_text = o->count > o->first && !o->pieces[o->count - 1].entry;
    if (after_text)
        o->pieces[o->count - 1].left += n;
    else if (n > 0)
        o->pieces[o->count++] =
            (struct piece){.data = o->buf + o->filled, .left = n};
    o->filled += n;
}

void
output_add_content(struct output *o, struct entry *e, struct content *c,
                   off_t offset, off_t n)
{
    const char *body = content_body(c);
    if (n == 0)
        return;
    /* The room for text stays: another part of this answer may follow. */
    if (body && n <= COPY_MAX &&
        o->filled + (size_t)n <= OUTPUT_SIZE - ANSWER_MAX) {
        struct text t = output_text(o);
        put_bytes(&t, body + offset, (size_t)n);
        output_add(o, &t);
        return;
    }
    o->files += body == NULL;
    o->pieces[o->count++] = (struct piece){.data = body ? body + offset : NULL,
                                           .left = (size_t)n,
                                           .entry = entry_hold(e),
                                           .content = c,
                                           .offset = offset};
}

/* n bytes have been sent: whole pieces, and perhaps a part of one. */
static void
advance(struct output *o, size_t n)
{
    o->turn += n;
    o->total += n;
    while (n > 0) {
        struct piece *p = &o->pieces[o->first];
        size_t part = n < p->left ? n : p->left;
        p->left -= part;
        n -= part;
        if (p->data)
            p->data += part;
        else
            p->offset += (off_t)part;
        if (p->left > 0)
            return;
        o->files -= p->data == NULL;
        if (p->entry)
            entry_release(p->entry);
        o->first++;
    }
}

/* Whether the kernel should hold back what it gets until more follows: the file
 * behind its head, or, behind the last answer, the end of the connection. In one
 * packet they wake the client up once. But a file of several packets goes alone:
 * with the head in front of it, all its pages would be cut at odd places. */
static int
more_to_come(const struct output *o, unsigned next)
{
    bool more = next < o->count ? o->pieces[next].left <= JOINED_MAX : o->last;
    return more ? MSG_MORE : 0;
}

/* Sends pieces that are in memory, as many as there are in a row. */
static ssize_t
send_memory(struct output *o, int fd)
{
    struct iovec v[VECTORS];
    unsigned n = 0, i = o->first;
    for (; i < o->count && n < VECTORS && o->pieces[i].data; i++)
        v[n++] = (struct iovec){(char *)o->pieces[i].data, o->pieces[i].left};
    int flags = MSG_NOSIGNAL | more_to_come(o, i);
    if (n == 1) /* nearly always, and cheaper */
        return send(fd, v[0].iov_base, v[0].iov_len, flags);
    struct msghdr message = {.msg_iov = v, .msg_iovlen = n};
    return sendmsg(fd, &message, flags);
}

/* Sends from a file up to `end`, where what is surely in memory ends. */
static ssize_t
send_file(struct output *o, int fd, off_t end)
{
    struct piece *p = &o->pieces[o->first];
    size_t most = p->left < TURN_MAX ? p->left : TURN_MAX;
    if ((off_t)most > end - p->offset)
        most = (size_t)(end - p->offset);
    off_t offset = p->offset;
    return sendfile(fd, p->content->fd, &offset, most);
}

const struct piece *
output_cold(const struct output *o)
{
    return &o->pieces[o->first];
}

enum output_result
output_send(struct output *o, int fd, time_t now)
{
    if (o->cut)
        return OUTPUT_LOST;
    while (o->first < o->count) {
        struct piece *p = &o->pieces[o->first];
        off_t end = 0;
        if (!p->data &&
            (end = store_warm_until(p->content, p->offset, now)) == p->offset)
            return OUTPUT_COLD;
        /* TODO 8: send, and never wait for the client.
         * send_memory() or send_file() (if there is no p->data, up to `end`)
         * sends what the socket takes, perhaps less than you would like:
         * advance() by that much, and go on. When the socket is full, they
         * fail with EAGAIN: OUTPUT_LEFT, and the loop calls again as soon as
         * there is room. Any other failure is OUTPUT_LOST, and so is 0: the
         * file has become shorter than the head says. A client that takes
         * everything at once would never give the thread back: when `turn` has
         * reached TURN_MAX, others go first: OUTPUT_LEFT. The stub takes it for
         * granted that the kernel takes everything at once.
         */
        size_t all = p->left;
        ssize_t n = p->data ? send_memory(o, fd) : send_file(o, fd, end);
        advance(o, n > (ssize_t)all ? (size_t)n : all);
    }
    output_init(o);
    return OUTPUT_SENT;
}
