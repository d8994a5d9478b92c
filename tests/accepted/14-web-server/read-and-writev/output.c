/*
 * Another way: all that is in memory goes by writev(), however little it is, and
 * what has been sent is taken off the pieces in one place, from the front. (The
 * server ignores SIGPIPE, so a client that is gone is EPIPE here, too.)
 */
#include "output.h"
#include "store.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

void
output_init(struct output *o)
{
    o->filled = 0;
    o->first = o->count = 0;
    o->files = 0;
}

/* The first piece has been sent, or never will be. */
static void
forget_first(struct output *o)
{
    struct piece *p = &o->pieces[o->first++];
    if (p->data == NULL)
        o->files--;
    if (p->entry != NULL)
        entry_release(p->entry);
}

void
output_drop(struct output *o)
{
    while (o->first < o->count)
        forget_first(o);
    output_init(o);
}

bool
output_has_room(const struct output *o)
{
    return o->files == 0 && PIECES - o->count >= PIECES_MAX &&
           OUTPUT_SIZE - o->filled >= ANSWER_MAX;
}

struct text
output_text(struct output *o)
{
    char *end = o->buf + OUTPUT_SIZE;
    return (struct text){.at = o->buf + o->filled, .end = end};
}

void
output_add(struct output *o, const struct text *t)
{
    char *start = o->buf + o->filled;
    size_t n = (size_t)(t->at - start);
    o->filled += n;
    if (o->count > o->first && o->pieces[o->count - 1].entry == NULL)
        o->pieces[o->count - 1].left += n;
    else if (n > 0)
        o->pieces[o->count++] = (struct piece){.data = start, .left = n};
}

void
output_add_content(struct output *o, struct entry *e, struct content *c,
                   off_t offset, off_t n)
{
    const char *body = content_body(c);
    if (n <= 0)
        return;
    size_t room = OUTPUT_SIZE - ANSWER_MAX; /* the rest is for heads */
    if (body != NULL && n <= COPY_MAX && o->filled + (size_t)n <= room) {
        struct text t = output_text(o);
        put_bytes(&t, body + offset, (size_t)n);
        output_add(o, &t);
        return;
    }
    if (body == NULL)
        o->files++;
    struct piece *p = &o->pieces[o->count++];
    *p = (struct piece){.left = (size_t)n, .content = c, .offset = offset};
    p->data = body != NULL ? body + offset : NULL;
    p->entry = entry_hold(e);
}

/* n bytes less to send. */
static void
take_off(struct output *o, size_t n)
{
    o->total += n;
    o->turn += n;
    while (n > 0) {
        struct piece *p = &o->pieces[o->first];
        if (n >= p->left) {
            n -= p->left;
            forget_first(o);
            continue;
        }
        p->left -= n;
        p->offset += (off_t)n;
        if (p->data != NULL)
            p->data += n;
        return;
    }
}

static ssize_t
write_pieces(struct output *o, int fd)
{
    struct iovec v[PIECES];
    int n = 0;
    for (unsigned i = o->first; i < o->count && o->pieces[i].data; i++) {
        v[n].iov_base = (void *)(uintptr_t)o->pieces[i].data;
        v[n++].iov_len = o->pieces[i].left;
    }
    return writev(fd, v, n);
}

static ssize_t
send_part(const struct piece *p, int fd, off_t end)
{
    off_t offset = p->offset;
    size_t n = (size_t)(end - offset);
    if (n > p->left)
        n = p->left;
    if (n > TURN_MAX)
        n = TURN_MAX;
    return sendfile(fd, p->content->fd, &offset, n);
}

const struct piece *
output_cold(const struct output *o)
{
    return o->pieces + o->first;
}

enum output_result
output_send(struct output *o, int fd, time_t now)
{
    while (o->first < o->count) {
        const struct piece *p = &o->pieces[o->first];
        off_t end = p->offset;
        if (p->data == NULL) {
            end = store_warm_until(p->content, p->offset, now);
            if (end == p->offset)
                return OUTPUT_COLD;
        }
        if (o->turn >= TURN_MAX)
            return OUTPUT_LEFT;
        ssize_t n =
            p->data != NULL ? write_pieces(o, fd) : send_part(p, fd, end);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return OUTPUT_LEFT;
        if (n <= 0)
            return OUTPUT_LOST; /* 0: the file is shorter than it was */
        take_off(o, (size_t)n);
    }
    output_init(o);
    return OUTPUT_SENT;
}
