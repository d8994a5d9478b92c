/*
 * The access log, in the combined format of Apache and nginx:
 *
 *   127.0.0.1 - - [25/Nov/2026:22:01:22 +0000] "GET / HTTP/1.1" 200 12 "-" "curl"
 *
 * What a client writes comes into a file that people read on terminals, and
 * programs parse: quotes, backslashes and all that is not printable ASCII are
 * written as \xHH, so that nobody can forge a line.
 *
 * Two buffers take turns: one collects while a worker thread writes the other.
 * Each write() holds whole lines and goes to the end of the file (O_APPEND), so
 * that several processes can write to the same one.
 */
#include "log.h"

#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LOG_SIZE = 1024 * 1024,
    LINE_MAX_SIZE = 8 * 1024, /* a longer one is cut */
    FIELD_MAX = 2 * 1024,     /* bytes of one that a client has sent */
    EVERY = 1000,             /* ms */
};

struct log {
    int fd;
    struct loop *loop;
    struct pool *pool;
    struct pool_job job;
    struct loop_timer timer;
    bool writing; /* a worker has buffers[!current] */
    int current;
    size_t used[2];
    unsigned long lost; /* lines for which there was no room */
    char buffers[2][LOG_SIZE];
    time_t second; /* that `time` is about */
    char time[sizeof "[25/Nov/2026:22:01:22 +0000]"];
};

/* --- writing -------------------------------------------------------------- */

static void
write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, p, n);
        if (written <= 0)
            return; /* the disk is full: the site is more important */
        p += written;
        n -= (size_t)written;
    }
}

/* On a worker. */
static void
work(void *arg)
{
    struct log *l = arg;
    write_all(l->fd, l->buffers[!l->current], l->used[!l->current]);
}

static void
done(void *arg, bool ran)
{
    struct log *l = arg;
    if (ran)
        l->used[!l->current] = 0;
    l->writing = false;
}

/* Hands what there is to a worker, unless one is still busy with the last. */
static void
flush(struct log *l)
{
    if (l->writing || l->used[l->current] == 0)
        return;
    l->current = !l->current;
    l->writing = true;
    if (pool_submit(l->pool, l->loop, &l->job))
        return;
    l->current = !l->current;
    l->writing = false;
}

/* A second after the first line that nobody has written yet. */
static void
ring(void *arg)
{
    struct log *l = arg;
    flush(l);
    if (l->used[l->current] > 0)
        loop_timer_start(&l->timer, EVERY, 0);
}

/* --- lines ---------------------------------------------------------------- */

static void
put_escaped(struct text *t, const char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n && i < FIELD_MAX; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\') {
            put_bytes(t, p + i, 1);
        } else {
            char code[] = {'\\', 'x', hex[c / 16], hex[c % 16]};
            put_bytes(t, code, sizeof code);
        }
    }
}

static void
put_field(struct text *t, const struct http_request *r, const char *buf,
          const char *name)
{
    const struct http_header *h = r ? http_find(r, buf, name, NULL) : NULL;
    put(t, " \"");
    if (h)
        put_escaped(t, buf + h->value.at, h->value.len);
    else
        put(t, "-");
    put(t, "\"");
}

static void
put_request(struct text *t, const struct http_request *r, const char *buf)
{
    put(t, " \"");
    if (r) {
        put_escaped(t, buf + r->method.at, r->method.len);
        put(t, " ");
        put_escaped(t, buf + r->target.at, r->target.len);
        put(t, r->minor_version == 0 ? " HTTP/1.0" : " HTTP/1.1");
    } else {
        put(t, "-");
    }
    put(t, "\" ");
}

static void
put_peer(struct text *t, const struct in6_addr *peer)
{
    char name[INET6_ADDRSTRLEN];
    if (IN6_IS_ADDR_V4MAPPED(peer))
        inet_ntop(AF_INET, peer->s6_addr + 12, name, sizeof name);
    else
        inet_ntop(AF_INET6, peer, name, sizeof name);
    put(t, name);
}

static void
put_time(struct log *l, struct text *t, const struct date *now)
{
    if (l->second != now->seconds) {
        /* "Sun, 06 Nov 1994 08:49:37 GMT" */
        const char *d = now->text;
        struct text out = {l->time, l->time + sizeof l->time, false};
        l->second = now->seconds;
        put_format(&out, "[%.2s/%.3s/%.4s:%.8s +0000]", d + 5, d + 8, d + 12,
                   d + 17);
    }
    put(t, l->time);
}

void
log_answer(struct log *l, const struct in6_addr *peer,
           const struct http_request *r, const char *buf,
           const struct answer *a, const struct date *now)
{
    if (l->used[l->current] == 0)
        loop_timer_start(&l->timer, EVERY, 0);
    /* TODO 24: write a line of the log.
     * Without room for LINE_MAX_SIZE in the buffer, flush(); if there is still
     * none, count the line as lost. Then one after another: put_peer(), two
     * dashes for names that nobody knows, put_time(), put_request(), the status, the bytes of the body, and the
     * fields Referer and User-Agent (put_field()). What the client has sent is
     * escaped there: it could contain a quote, or what makes a terminal do
     * things. End the line with '\n', and add its length to used[]. The stub
     * writes nothing.
     */
    (void)l;
    (void)peer;
    (void)r;
    (void)buf;
    (void)a;
    (void)now;
    (void)put_field;
    (void)put_peer;
    (void)put_request;
    (void)put_time;
}

/* --- beginning and end ---------------------------------------------------- */

struct log *
log_open(const char *path)
{
    int fd = strcmp(path, "-") == 0
                 ? dup(STDERR_FILENO)
                 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    struct log *l = fd >= 0 ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    l->fd = fd;
    return l;
}

bool
log_start(struct log *l, struct loop *loop, struct pool *pool)
{
    l->loop = loop;
    l->pool = pool;
    l->job = (struct pool_job){.work = work, .done = done, .arg = l};
    return loop_timer_init(loop, &l->timer, ring, l) == 0;
}

void
log_stop(struct log *l)
{
    loop_close(&l->timer.handle, NULL);
}

void
log_close(struct log *l)
{
    if (l->used[!l->current] > 0) /* its turn never came */
        write_all(l->fd, l->buffers[!l->current], l->used[!l->current]);
    write_all(l->fd, l->buffers[l->current], l->used[l->current]);
    if (l->lost > 0)
        warnx("the log could not keep up: %lu lines are missing", l->lost);
    close(l->fd);
    free(l);
}
