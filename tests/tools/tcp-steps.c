#include "tcp-steps.h"
#include "tcp-crowd.h"
#include "tcp-freeze.h"
#include "tcp-http.h"
#include "tcp-report.h"
#include "tcp-transfer.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILL_MAX ((size_t)64 << 20) /* who takes more has no bound */
#define NAMES    64                 /* named connections */

static const struct step *step; /* the one being done */
static const struct bytes nothing = {.text = ""};

static struct connection named[NAMES] = {{.name = "a", .fd = -1}};
static struct connection *current = named;
static int named_n = 1;

/* ---- Connections ---- */

static void
step_on(void)
{
    for (current = named; current < named + named_n; current++)
        if (strcmp(current->name, step->word) == 0)
            break;
    if (current == named + NAMES)
        die(2, "on %s: more than %d names", step->word, NAMES);
    if (current == named + named_n)
        named_n++;
    if (current->name == NULL || current->over)
        *current = (struct connection){.name = step->word, .fd = -1};
}

static void
step_rcvbuf(void)
{
    rcvbuf = (int)step->number;
}

/* Before each step that is about a connection; `connect` is no more than that.
 */
static void
step_connect(void)
{
    if (current->over)
        die(2, "%s: connection %s is closed, `on %s` begins a new one",
            step->kind->name, current->name, current->name);
    if (current->fd >= 0)
        return;
    remember(text("connect to %s (%s)", server_name(), current->name));
    int error = start_connect(current);
    check_connect(error ? error : finish_connect(current, deadline()));
}

static void
step_refused(void)
{
    struct connection c = {.fd = -1};
    int error;
    double until = deadline();
    do { /* a server that is about to end may take a moment to close */
        error = start_connect(&c);
        if (error == 0)
            error = finish_connect(&c, until);
        close(c.fd);
        if (error == ECONNREFUSED)
            return;
        nap();
    } while (now() < until);
    fail(text("connecting to %s is refused", server_name()),
         error ? strerror(error)
               : text("it was still accepted after %g s", patience));
}

static void
step_half_close(void)
{
    current->half_closed = true;
    if (shutdown(current->fd, SHUT_WR) == 0)
        return;
    if (errno != ENOTCONN)
        die_errno("shutdown");
    fail("the connection is still there", in_words(RESET, 0));
}

static void
step_close(void)
{
    end_connection(current, false);
}

static void
step_reset(void)
{
    end_connection(current, true);
}

/* ---- Sending and expecting ---- */

static void
step_send(void)
{
    transfer(current, step->text, nothing);
}

static void
step_send_urgent(void)
{
    ssize_t n = send(current->fd, step->text.text, step->text.n, MSG_OOB);
    if (n != (ssize_t)step->text.n)
        die(1, "send with MSG_OOB: %s", strerror(errno));
}

static void
step_send_each(void)
{
    for (size_t i = 0; i < step->text.n; i++)
        transfer(current, (struct bytes){step->text.text + i, 0, 1}, nothing);
}

static void
step_expect(void)
{
    transfer(current, nothing, step->text);
}

static void
move_pattern(size_t out, size_t in)
{
    transfer(current, (struct bytes){NULL, current->sent, out},
             (struct bytes){NULL, current->received, in});
    current->sent += out;
    current->received += in;
}

static void
step_send_bytes(void)
{
    move_pattern(step->number, 0);
}

static void
step_expect_bytes(void)
{
    move_pattern(0, step->number);
}

static void
step_exchange(void)
{
    move_pattern(step->number, step->number);
}

static void
step_drain(void)
{
    move_pattern(0, current->sent - current->received);
}

static void
step_fill(void)
{
    size_t max = step->number ? step->number : FILL_MAX, sent = 0;
    struct bytes out = {NULL, current->sent, max};
    enum event e;
    do
        e = push(current, &out, &sent);
    while (e == QUIET &&
           wait_for(current->fd, POLLOUT, now() + GRACE * factor));
    current->sent += sent;
    remember_more(text("%s taken", count(sent)));
    const char *actual = NULL;
    if (e == DATA)
        actual = text("it took %s and would take more", count(sent));
    if (e == RESET)
        actual = text("it took %s, then %s", count(sent), in_words(RESET, 0));
    if (actual)
        fail("the server takes no more while nobody reads its answers", actual);
}

static void
step_eof(void)
{
    expect_eof(current);
}

static void
step_gone(void)
{
    char ignored[CHUNK];
    size_t n;
    enum event e;
    do
        e = receive(current, ignored, sizeof ignored, deadline(), &n);
    while (e == DATA && now() < step_end);
    if (e == QUIET || e == DATA)
        fail("end of stream (EOF) or a reset", in_words(QUIET, patience));
}

static void
step_silence(void)
{
    char data[CHUNK];
    size_t n;
    double begin = now(), span = (double)step->number / 1000 * factor;
    enum event e = receive(current, data, sizeof data, begin + span, &n);
    if (e != QUIET)
        fail(
            text("nothing for %.0f ms", span * 1000),
            text("after %.0f ms %s", (now() - begin) * 1000, came(data, n, e)));
}

static void
print_raw(const struct response *r)
{
    fwrite(r->data, 1, r->n, stdout);
    if (r->n > 0)
        last_printed = r->data[r->n - 1];
    free(r->data);
}

static void
step_response(void)
{
    struct response r = {.c = current};
    take_response(&r, false);
    print_raw(&r);
}

static void
step_response_to_head(void)
{
    struct response r = {.c = current};
    take_response(&r, true);
    print_raw(&r);
}

static void
step_rest(void)
{
    struct response r = {.c = current};
    take_rest(&r, "bytes, or none, then the end of stream (EOF)");
    print_raw(&r);
}

/* ---- A server that stands still ---- */

static void
step_freeze(void)
{
    freeze((pid_t)step->number);
}

static void
step_thaw(void)
{
    thaw((pid_t)step->number);
}

/* ---- A crowd ---- */

static void
step_crowd(void)
{
    crowd_open(step->number);
}

/* On so many of them; 0: on each. */
static void
transfer_on(size_t chosen, struct bytes out, struct bytes in)
{
    size_t all = crowd_size();
    if (chosen > all || all == 0)
        die(2, "%s: the crowd has %zu connections", step->kind->name, all);
    crowd_transfer(chosen ? chosen : all, out, in);
}

static void
step_crowd_send(void)
{
    transfer_on(0, step->text, nothing);
}

static void
step_crowd_expect(void)
{
    transfer_on(0, nothing, step->text);
}

/* crowd-echo TEXT, crowd-some K TEXT */
static void
step_crowd_echo(void)
{
    transfer_on(step->number, step->text, nothing);
    transfer_on(step->number, nothing, step->text);
}

static void
step_crowd_eof(void)
{
    crowd_eof();
}

static void
step_crowd_close(void)
{
    crowd_end(false);
}

static void
step_crowd_reset(void)
{
    crowd_end(true);
}

/* ---- The steps ---- */

/* clang-format off */
const struct kind kinds[] = {
    {"on", "NAME", false, step_on,
     "go on with connection NAME (at first it is `a`)"},
    {"rcvbuf", "BYTES", false, step_rcvbuf,
     "receive buffer of the connections made after this"},
    {"connect", "", true, step_connect, "connect now, not when first needed"},
    {"refused", "", false, step_refused, "connecting is refused"},
    {"send", "TEXT", true, step_send, "send it"},
    {"send-each", "TEXT", true, step_send_each, "send it byte by byte"},
    {"send-urgent", "TEXT", true, step_send_urgent,
     "send it, the last byte out of band (MSG_OOB)"},
    {"send-file", "FILE", true, step_send, "send what is in FILE"},
    {"send-bytes", "N", true, step_send_bytes,
     "send the next N bytes of the pattern"},
    {"expect", "TEXT", true, step_expect, "exactly these bytes come next"},
    {"expect-bytes", "N", true, step_expect_bytes,
     "the next N bytes of the pattern come"},
    {"exchange", "N", true, step_exchange,
     "send N bytes of the pattern, meanwhile read them back"},
    {"fill", "[MAX]", true, step_fill,
     "send the pattern until the server takes no more;\n"
     "MAX (64M) means that it would take everything"},
    {"drain", "", true, step_drain,
     "read back what of the pattern is still to come back"},
    {"eof", "", true, step_eof, "the stream ends here"},
    {"gone", "", true, step_gone,
     "the stream ends, or is reset, whatever comes before"},
    {"silence", "MS", true, step_silence,
     "nothing comes for so many ms (times TIMEOUT_FACTOR)"},
    {"half-close", "", true, step_half_close, "send no more, but read on"},
    {"close", "", true, step_close,
     "close; with unread bytes, the kernel sends a reset"},
    {"reset", "", true, step_reset, "close with a reset (RST)"},
    {"freeze", "PID", false, step_freeze,
     "stop a process, and wait until it stands"},
    {"thaw", "PID", false, step_thaw, "let it go on (at exit, too)"},
    {"crowd", "N", false, step_crowd, "open N more connections, all at once"},
    {"crowd-send", "TEXT", false, step_crowd_send, "send on each of them"},
    {"crowd-expect", "TEXT", false, step_crowd_expect, "expect on each"},
    {"crowd-echo", "TEXT", false, step_crowd_echo,
     "send on each, then expect it on each"},
    {"crowd-some", "K TEXT", false, step_crowd_echo,
     "the same on K of them, evenly spread"},
    {"crowd-eof", "", false, step_crowd_eof, "each stream ends here"},
    {"crowd-close", "", false, step_crowd_close, "close them all"},
    {"crowd-reset", "", false, step_crowd_reset, "reset them all"},
    {"response", "", true, step_response,
     "read one HTTP response, print it as it came"},
    {"response-to-head", "", true, step_response_to_head,
     "the same after a HEAD request: no body follows"},
    {"rest", "", true, step_rest, "read to the end of the stream, print it"},
    {NULL, NULL, false, NULL, NULL},
};
/* clang-format on */

void
run_step(const struct step *s)
{
    step = s;
    bool shows_itself = step->kind->run == step_connect;
    step_end = now() + 6 * patience;
    if (step->kind->connects)
        step_connect();
    if (step->kind->connects && named_n > 1 && !shows_itself)
        remember(text("on %s %s", current->name, step->line));
    else if (step->kind->run != step_on && !shows_itself)
        remember(text("%s", step->line));
    step->kind->run();
}
