#include "tcp-transfer.h"
#include "tcp-report.h"
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

struct transfer {
    struct connection *c;
    struct bytes out, in;
    size_t sent, got;  /* how much of each is done */
    char wrong[CHUNK]; /* what came at the first difference, and after it */
    size_t wrong_n;
};

/* Reads what is there now and compares it; DATA: all of it came, or a
 * difference. */
static enum event
pull(struct transfer *t)
{
    static char chunk[CHUNK], want[CHUNK];
    while (t->got < t->in.n && t->wrong_n == 0) {
        size_t n, left = t->in.n - t->got, same = 0;
        size_t most = left < CHUNK ? left : CHUNK;
        enum event e = receive(t->c, chunk, most, 0, &n);
        if (e != DATA)
            return e;
        copy(&t->in, t->got, want, n);
        while (same < n && chunk[same] == want[same])
            same++;
        t->got += same;
        t->wrong_n = n - same;
        memcpy(t->wrong, chunk + same, t->wrong_n);
    }
    return DATA;
}

static _Noreturn void
report_difference(struct transfer *t)
{
    size_t left = t->in.n - t->got, most = left < CHUNK ? left : CHUNK;
    enum event e = receive_more(t->c, t->wrong, most, &t->wrong_n);
    fail_difference(&t->in, t->got, t->wrong, t->wrong_n,
                    in_words(e, GRACE * factor));
}

static _Noreturn void
report_unsent(const struct transfer *t, enum event e)
{
    int unread = 0;
    ioctl(t->c->fd, FIONREAD, &unread);
    const char *note = "", *end = in_words(e, 0);
    if (e == QUIET)
        end = text("no more within %g s", patience);
    if (unread)
        note = text("\n(%s of its answer wait here, unread)",
                    count((size_t)unread));
    fail(text("the server takes %s", count(t->out.n)),
         text("it took %s, then %s%s", count(t->sent), end, note));
}

static _Noreturn void
report_end(const struct transfer *t, enum event e)
{
    if (t->got == t->in.n)
        report_unsent(t, e);
    const char *actual, *taken = "";
    if (t->in.text && t->got <= SHOWN)
        actual = came(t->in.text, t->got, e);
    else
        actual = text("the first %zu of %zu bytes, then %s", t->got, t->in.n,
                      in_words(e, patience));
    if (t->sent < t->out.n)
        taken = text("\n(it had taken %zu of the %zu bytes sent to it)",
                     t->sent, t->out.n);
    fail(show(&t->in), text("%s%s", actual, taken));
}

void
transfer(struct connection *c, struct bytes out, struct bytes in)
{
    struct transfer t = {.c = c, .out = out, .in = in};
    double until = deadline();
    if (c->half_closed && out.n > 0)
        die(2, "after half-close nothing can be sent");
    while (t.sent < out.n || t.got < in.n) {
        size_t before = t.sent + t.got;
        enum event reading = pull(&t), sending = push(c, &out, &t.sent);
        if (sending == RESET && reading == QUIET)
            reading = pull(&t); /* what came before the reset */
        if (t.wrong_n)
            report_difference(&t);
        if (reading == CLOSED || reading == RESET)
            report_end(&t, reading);
        if (sending == RESET)
            report_end(&t, RESET);
        if (t.sent + t.got > before)
            until = deadline();
        short events = (short)((reading == QUIET ? POLLIN : 0) |
                               (sending == QUIET ? POLLOUT : 0));
        if (events && (!wait_for(c->fd, events, until) || now() > step_end))
            report_end(&t, QUIET);
    }
}

void
expect_eof(struct connection *c)
{
    char extra[CHUNK];
    size_t n;
    enum event e = receive(c, extra, sizeof extra, deadline(), &n);
    if (e == CLOSED)
        return;
    if (e == DATA && (e = receive_more(c, extra, sizeof extra, &n)) == QUIET)
        e = DATA; /* that no more came is no news */
    fail("end of stream (EOF)", came(extra, n, e));
}
