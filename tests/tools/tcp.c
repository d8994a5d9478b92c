/* tcp - a scripted TCP client, the hand that the tests have on the socket.
 *
 *     tcp 4000 send 'hello\n' expect 'hello\n' half-close eof
 *
 * A scenario is a list of steps, done one after the other; `tcp -h` lists
 * them. All of it is checked before the first one is done. Every step that
 * waits has a deadline. The first step that fails ends the program with three
 * paragraphs on stdout: what it did, what it expected, and what came instead.
 *
 * Much data is not text but the pattern: a stream in which every byte depends
 * on its position. What comes back is compared with it, so that a byte that
 * was lost, doubled or swapped is found, and a lost piece can be named.
 *
 * Exit: 0 all steps done, 1 a step failed, 2 usage, 3 trouble of our own.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK     16384              /* bytes in one send() or recv() */
#define FILL_MAX  ((size_t)64 << 20) /* a peer that takes more has no bound */
#define GRACE     0.2                /* seconds: how long is "no more"? */
#define NAMES     64 /* connections with a name; frozen processes */
#define DID_LINES 10 /* steps that a failure shows */

/* Bytes to send or to expect: text, or a piece of the pattern. */
struct bytes {
    const char *text; /* NULL: the pattern */
    uint64_t start;   /* position in the pattern */
    size_t n;
};

struct connection {
    const char *name;
    int fd;                  /* -1: not connected */
    bool over;               /* by close or reset; `on` begins a new one */
    bool half_closed;        /* we have nothing more to send */
    uint64_t sent, received; /* positions in the pattern */
};

struct step {
    const struct kind *kind;
    size_t number;     /* N, MS, PID, ...; 0 when left out */
    const char *word;  /* NAME or FILE */
    struct bytes text; /* TEXT unescaped, or what is in FILE */
};

struct kind {
    const char *name;
    const char *args; /* what follows; it also says how to read it */
    bool connects;    /* works on the current connection, opens it if need be */
    void (*run)(const struct step *);
    const char *help;
};

/* What can happen at a socket. */
enum event { DATA, QUIET, CLOSED, RESET };

static struct sockaddr_in server = {.sin_family = AF_INET};
static double patience = 5; /* deadline of a step, in seconds */
static double factor = 1;   /* TIMEOUT_FACTOR, for slow machines */
static double step_end;     /* even a step that gets on ends some time */
static int rcvbuf;          /* 0: leave it to the kernel */
static struct connection named[NAMES], *current = named;
static int named_n = 1;
static struct connection *crowd; /* many connections without a name */
static size_t crowd_n;
static struct connection *crowd_at; /* the one a crowd step is busy with */
static volatile pid_t frozen[NAMES];
static char **did; /* a line for each step done */
static size_t did_n;
static char last_printed = '\n';

/* ---- trouble of our own ------------------------------------------------ */

static _Noreturn void
die(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("tcp: ", stderr);
    vfprintf(stderr, format, args);
    fputs(status == 2 ? "\n(tcp -h lists the steps)\n" : "\n", stderr);
    exit(status);
}

static _Noreturn void
die_errno(const char *call)
{
    die(3, "%s: %s", call, strerror(errno));
}

static void *
grow(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (p == NULL)
        die_errno("realloc");
    return p;
}

/* A string made by format. Nobody frees it: this program ends soon. */
static char *
text(const char *format, ...)
{
    char *s;
    va_list args;
    va_start(args, format);
    if (vasprintf(&s, format, args) < 0)
        die_errno("vasprintf");
    va_end(args);
    return s;
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* When something has to have happened, if we begin to wait for it now. */
static double
deadline(void)
{
    double until = now() + patience;
    return until < step_end ? until : step_end;
}

/* ---- bytes, and how they are shown ------------------------------------- */

/* The finaliser of splitmix64: neighbours come out entirely different. */
static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

static void
pattern(uint64_t position, char *out, size_t n)
{
    uint64_t word = mix(position / 8);
    for (size_t i = 0; i < n; i++, position++) {
        if (position % 8 == 0)
            word = mix(position / 8);
        out[i] = (char)(word >> (position % 8 * 8));
    }
}

/* Copies up to `room` bytes of b, from offset `at` on; returns how many. */
static size_t
copy(const struct bytes *b, size_t at, char *out, size_t room)
{
    size_t n = b->n - at < room ? b->n - at : room;
    if (b->text)
        memcpy(out, b->text + at, n);
    else
        pattern(b->start + at, out, n);
    return n;
}

/* "as\n in C"; at most `most` bytes, and dots for the rest. */
static char *
quote(const char *data, size_t n, size_t most)
{
    static const char special[] = "\n\r\t\0\\\"", letter[] = "nrt0\\\"";
    size_t shown = n < most ? n : most;
    char *s = grow(NULL, 4 * shown + 6), *end = s;
    *end++ = '"';
    for (size_t i = 0; i < shown; i++) {
        const char *found = memchr(special, data[i], sizeof special - 1);
        if (found)
            end += sprintf(end, "\\%c", letter[found - special]);
        else if (isascii(data[i]) && isprint(data[i]))
            *end++ = data[i];
        else
            end += sprintf(end, "\\x%02x", (unsigned char)data[i]);
    }
    strcpy(end, shown < n ? "\"..." : "\"");
    return s;
}

static const char *
count(size_t n)
{
    return n == 1 ? "1 byte" : text("%zu bytes", n);
}

/* bytes 10..19, or byte 10 */
static char *
range(uint64_t first, uint64_t n)
{
    if (n == 1)
        return text("byte %ju", (uintmax_t)first);
    return text("bytes %ju..%ju", (uintmax_t)first, (uintmax_t)(first + n - 1));
}

static char *
show(const struct bytes *b)
{
    if (b->text)
        return text("%s (%s)", quote(b->text, b->n, 48), count(b->n));
    return text("%s of the pattern (%s)", range(b->start, b->n), count(b->n));
}

/* ---- what a failure says ----------------------------------------------- */

static void
remember(char *line)
{
    did = grow(did, (did_n + 1) * sizeof *did);
    did[did_n++] = line;
}

/* A label in column 0, its lines from column 10 on. */
static void
print_paragraph(const char *label, const char *lines)
{
    printf("%-10s", label);
    for (; *lines; lines++) {
        putchar(*lines);
        if (*lines == '\n')
            printf("%10s", "");
    }
    putchar('\n');
}

static const char *
did_lines(void)
{
    size_t first = did_n > DID_LINES ? did_n - DID_LINES : 0;
    char *all = first ? text("... (%zu before)", first) : text("");
    for (size_t i = first; i < did_n; i++)
        all = text("%s%s%s", all, *all ? "\n" : "", did[i]);
    return all;
}

/* Of a crowd one fails; the state of the others tells a slow server from one
 * that has forgotten somebody. */
static char *
crowd_note(void)
{
    size_t at = (size_t)(crowd_at - crowd), waiting = 0;
    char byte;
    for (size_t i = at + 1; i < crowd_n; i++)
        waiting += recv(crowd[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    return text("\n(connection %zu of the crowd of %zu;"
                " bytes wait on %zu of those after it)",
                at + 1, crowd_n, waiting);
}

static _Noreturn void
fail(const char *expected, const char *actual)
{
    if (last_printed != '\n')
        putchar('\n');
    if (crowd_at)
        actual = text("%s%s", actual, crowd_note());
    print_paragraph("did:", did_lines());
    print_paragraph("expected:", expected);
    print_paragraph("actual:", actual);
    exit(1);
}

static const char *
in_words(enum event e, double waited)
{
    switch (e) {
    case CLOSED:
        return "the server closed the connection (EOF)";
    case RESET:
        return "the server reset the connection (RST: often the server\n"
               "exited, or closed a socket with unread bytes)";
    default:
        if (now() >= step_end)
            return text("this step took too long: %g s", 6 * patience);
        return text("nothing came within %g s", waited);
    }
}

/* What came before it ended, and how it ended. */
static char *
came(const char *data, size_t n, enum event e, double waited)
{
    if (n == 0)
        return text("%s", in_words(e, waited));
    char *shown = text("%s (%s)", quote(data, n, 48), count(n));
    return e == DATA ? shown : text("%s, then %s", shown, in_words(e, waited));
}

/* ---- sockets ----------------------------------------------------------- */

static bool
wait_for(int fd, short events, double until)
{
    struct pollfd p = {fd, events, 0};
    for (;;) {
        double left = until - now();
        int n = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            die_errno("poll");
        if (n == 0 && left <= 0)
            return false;
    }
}

/* What the errno of a failed send() or recv() says. */
static enum event
socket_event(const char *call)
{
    if (errno == EAGAIN)
        return QUIET;
    if (errno == ECONNRESET || errno == EPIPE)
        return RESET;
    die_errno(call);
}

/* Waits for bytes, at most `size`, and says in *n how many came. */
static enum event
receive(struct connection *c, char *buf, size_t size, double until, size_t *n)
{
    *n = 0;
    for (;;) {
        ssize_t k = recv(c->fd, buf, size, 0);
        if (k == 0)
            return CLOSED;
        if (k > 0) {
            *n = (size_t)k;
            return DATA;
        }
        if (errno == EINTR)
            continue;
        enum event e = socket_event("recv");
        if (e != QUIET || !wait_for(c->fd, POLLIN, until))
            return e;
    }
}

/* Reads until `size` bytes are there or no more come for a moment. For
 * messages: it shows the whole of a wrong answer, not its first piece. */
static enum event
receive_tail(struct connection *c, char *buf, size_t size, size_t *total)
{
    enum event e = DATA;
    for (size_t n; e == DATA && *total < size; *total += n)
        e = receive(c, buf + *total, size - *total, now() + GRACE * factor, &n);
    return e;
}

static int
open_socket(int source)
{
    int on = 1,
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die_errno("socket");
    /* Each send is a packet of its own, as the scenario has written it. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (rcvbuf)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
    if (source) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)source);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
            die_errno("bind");
    }
    return fd;
}

/* Begins to connect; returns 0 or an errno. When our address has no port left
 * (about 28,000 connections), the next ones come from 127.0.0.2 and so on. */
static int
start_connect(struct connection *c)
{
    static int source;
    for (;;) {
        c->fd = open_socket(source);
        if (connect(c->fd, (struct sockaddr *)&server, sizeof server) == 0 ||
            errno == EINPROGRESS)
            return 0;
        if (errno != EADDRNOTAVAIL || source == 200)
            return errno;
        close(c->fd);
        source++;
    }
}

/* Without a listener, a client whose own port happens to be the server's port
 * connects to itself. Rare, but tests run often. */
static bool
is_connected_to_itself(int fd)
{
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    return getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
           own.sin_port == server.sin_port &&
           own.sin_addr.s_addr == server.sin_addr.s_addr;
}

/* Waits until it is connected; returns 0 or an errno. */
static int
finish_connect(struct connection *c, double until)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (!wait_for(c->fd, POLLOUT, until))
        return ETIMEDOUT;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0 && is_connected_to_itself(c->fd))
        return ECONNREFUSED;
    return error;
}

static void
check_connect(int error)
{
    static const char expected[] = "the server accepts the connection";
    if (error == ECONNREFUSED)
        fail(expected, "connection refused: nothing listens on that port"
                       " any more");
    if (error == ETIMEDOUT)
        fail(expected, text("no answer within %g s: often the queue of"
                            " listen() is full,\nand the server does not"
                            " accept",
                            patience));
    if (error == ECONNRESET)
        fail(expected, in_words(RESET, 0));
    if (error)
        die(3, "connect: %s", strerror(error));
}

static char *
server_name(void)
{
    return text("%s:%d", inet_ntoa(server.sin_addr), ntohs(server.sin_port));
}

static void
connect_current(void)
{
    remember(text("connect to %s (%s)", server_name(), current->name));
    int error = start_connect(current);
    check_connect(error ? error : finish_connect(current, deadline()));
}

static void
end_connection(struct connection *c, bool by_reset)
{
    struct linger now_ = {.l_onoff = 1, .l_linger = 0};
    if (by_reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now_, sizeof now_);
    close(c->fd);
    c->fd = -1;
    c->over = true;
}

/* ---- moving bytes, both ways at once ----------------------------------- */

struct transfer {
    struct connection *c;
    struct bytes out, in;
    size_t sent, got;  /* how much of each is done */
    char wrong[CHUNK]; /* what came at the first difference, and after it */
    size_t wrong_n;
};

/* Sends what the socket takes now. */
static enum event
push(struct connection *c, const struct bytes *out, size_t *sent)
{
    static char chunk[CHUNK];
    while (*sent < out->n) {
        size_t n = copy(out, *sent, chunk, CHUNK);
        ssize_t k = send(c->fd, chunk, n, MSG_NOSIGNAL);
        if (k >= 0)
            *sent += (size_t)k;
        else if (errno != EINTR)
            return socket_event("send");
    }
    return DATA;
}

/* Reads what is there now, and compares it. */
static enum event
pull(struct transfer *t)
{
    static char chunk[CHUNK], want[CHUNK];
    while (t->got < t->in.n) {
        size_t n, left = t->in.n - t->got, same = 0;
        enum event e = receive(t->c, chunk, left < CHUNK ? left : CHUNK, 0, &n);
        if (e != DATA)
            return e;
        copy(&t->in, t->got, want, n);
        while (same < n && chunk[same] == want[same])
            same++;
        t->got += same;
        if (same < n) {
            t->wrong_n = n - same;
            memcpy(t->wrong, chunk + same, t->wrong_n);
            return DATA;
        }
    }
    return DATA;
}

/* Where in the pattern do the wrong bytes come from? If that can be told, it
 * tells the mistake: a piece left out, sent again, or overwritten. */
static const char *
diagnosis(const struct transfer *t)
{
    enum { NEAR = 1 << 20, PROBE = 16 };
    uint64_t here = t->in.start + t->got;
    uint64_t low = here > NEAR ? here - NEAR : 0;
    char *near = grow(NULL, 2 * NEAR);
    pattern(low, near, 2 * NEAR);
    for (size_t i = 0; i + PROBE <= t->wrong_n && i < 4096; i++) {
        char *found = memmem(near, 2 * NEAR, t->wrong + i, PROBE);
        if (found == NULL)
            continue;
        uint64_t from = low + (uint64_t)(found - near);
        if (from == here + i)
            return text("\n%s wrong here; then it goes on rightly", count(i));
        if (from == here)
            return text("\n%s that nobody sent here; then it goes on",
                        count(i));
        if (i > 0)
            break;
        if (from > here)
            return text("\n%s missing here", range(here, from - here));
        return text("\n%s came twice", range(from, here - from));
    }
    return "";
}

/* Shows both sides around the first difference, and points at it. */
static _Noreturn void
report_difference(struct transfer *t)
{
    size_t window = t->in.text ? 48 : 16, before = window / 3, at = t->got;
    size_t left = t->in.n - at, most = left < CHUNK ? left : CHUNK;
    enum event e = receive_tail(t->c, t->wrong, most, &t->wrong_n);
    size_t start = t->in.n <= window || at <= before ? 0 : at - before;
    char want[48], got[48];
    size_t want_n = copy(&t->in, start, want, window);
    size_t same = at - start, room = window - same;
    size_t got_n = same + (t->wrong_n < room ? t->wrong_n : room);
    memcpy(got, want, same);
    memcpy(got + same, t->wrong, got_n - same);

    bool whole = want_n == t->in.n;
    const char *dots = start ? "..." : "", *end = whole ? "" : "...";
    uint64_t first = t->in.start + start;
    char *caret = text("%s%.*s", dots, (int)strlen(quote(got, same, 48)) - 1,
                       quote(got, same, 48));
    bool ended = got_n < want_n;
    fail(text("%s%s%s (%s%s)", dots, quote(want, want_n, 48), end,
              whole ? count(want_n) : range(first, want_n),
              t->in.text ? "" : " of the pattern"),
         text("%s%s%s (%s)%s%s\n%*s^ first difference, at byte %ju%s", dots,
              quote(got, got_n, 48), ended ? "" : end,
              whole ? count(got_n) : range(first, got_n),
              ended ? ", then " : "", ended ? in_words(e, GRACE * factor) : "",
              (int)strlen(caret), "", (uintmax_t)(t->in.start + at),
              t->in.text ? "" : diagnosis(t)));
}

static _Noreturn void
report_unsent(const struct transfer *t, enum event e)
{
    int unread = 0;
    ioctl(t->c->fd, FIONREAD, &unread);
    fail(text("the server takes %s", count(t->out.n)),
         text("it took %s, then %s%s", count(t->sent),
              e == QUIET ? text("no more within %g s", patience)
                         : in_words(e, 0),
              unread ? text("\n(%s of its answer wait here for us to read)",
                            count((size_t)unread))
                     : ""));
}

static _Noreturn void
report_end(const struct transfer *t, enum event e)
{
    if (t->got == t->in.n)
        report_unsent(t, e);
    const char *taken = "", *first = "";
    if (t->sent < t->out.n)
        taken = text("\n(the server had taken %zu of the %zu bytes sent to it)",
                     t->sent, t->out.n);
    if (t->in.text && t->in.n <= 48)
        first = came(t->in.text, t->got, e, patience);
    else if (t->got == 0)
        first = in_words(e, patience);
    else
        first = text("the first %zu of %zu bytes, then %s", t->got, t->in.n,
                     in_words(e, patience));
    fail(show(&t->in), text("%s%s", first, taken));
}

/* Sends `out` and expects `in`, at the same time: a client that first sends
 * all would wait for ever on a server that wants to get rid of its answer. */
static void
transfer(struct connection *c, struct bytes out, struct bytes in)
{
    struct transfer t = {.c = c, .out = out, .in = in};
    double until = deadline();
    if (c->half_closed && out.n > 0)
        die(2, "there is no sending after half-close");
    while (t.sent < out.n || t.got < in.n) {
        size_t before = t.sent + t.got;
        enum event e = pull(&t), sending = push(c, &out, &t.sent);
        if (t.wrong_n)
            report_difference(&t);
        if (e == CLOSED || e == RESET)
            report_end(&t, e);
        if (sending == RESET)
            report_end(&t, RESET);
        if (t.sent + t.got > before)
            until = deadline();
        short events = (short)((e == QUIET ? POLLIN : 0) |
                               (sending == QUIET ? POLLOUT : 0));
        if (events && (!wait_for(c->fd, events, until) || now() > step_end))
            report_end(&t, QUIET);
    }
}

/* ---- the steps --------------------------------------------------------- */

static const struct bytes nothing = {.text = ""};

static void
step_on(const struct step *s)
{
    for (current = named; current < named + named_n; current++)
        if (strcmp(current->name, s->word) == 0)
            break;
    if (current == named + NAMES)
        die(2, "on %s: more than %d names", s->word, NAMES);
    if (current == named + named_n)
        named[named_n++] = (struct connection){.name = s->word, .fd = -1};
    if (current->over)
        *current = (struct connection){.name = current->name, .fd = -1};
}

static void
step_rcvbuf(const struct step *s)
{
    rcvbuf = (int)s->number;
}

static void
step_connect(const struct step *s)
{
    (void)s; /* whoever calls a step has connected */
}

static void
step_refused(const struct step *s)
{
    (void)s;
    struct connection c;
    int error;
    double until = deadline();
    do { /* a server that is just ending may take a moment to close */
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
step_send(const struct step *s)
{
    transfer(current, s->text, nothing);
}

static void
step_send_each(const struct step *s)
{
    for (size_t i = 0; i < s->text.n; i++)
        transfer(current, (struct bytes){s->text.text + i, 0, 1}, nothing);
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
step_send_bytes(const struct step *s)
{
    move_pattern(s->number, 0);
}

static void
step_expect(const struct step *s)
{
    transfer(current, nothing, s->text);
}

static void
step_expect_bytes(const struct step *s)
{
    move_pattern(0, s->number);
}

static void
step_exchange(const struct step *s)
{
    move_pattern(s->number, s->number);
}

static void
step_drain(const struct step *s)
{
    (void)s;
    move_pattern(0, current->sent - current->received);
}

static void
step_fill(const struct step *s)
{
    struct bytes out = {NULL, current->sent, s->number ? s->number : FILL_MAX};
    size_t sent = 0;
    enum event e;
    do
        e = push(current, &out, &sent);
    while (e == QUIET &&
           wait_for(current->fd, POLLOUT, now() + GRACE * factor));
    current->sent += sent;
    did[did_n - 1] = text("%s (%s)", did[did_n - 1], count(sent));
    static const char expected[] = "the server stops taking bytes while nobody"
                                   " reads its answers";
    if (e == DATA)
        fail(expected, text("it took %s and would take more:"
                            " its memory has no bound",
                            count(sent)));
    if (e == RESET)
        fail(expected,
             text("it took %s, then %s", count(sent), in_words(RESET, 0)));
}

static void
expect_eof(struct connection *c)
{
    char extra[CHUNK];
    size_t n, waited = 0;
    enum event e = receive(c, extra, sizeof extra, deadline(), &n);
    waited = n;
    if (e == DATA)
        e = receive_tail(c, extra, sizeof extra, &waited);
    if (n > 0 || e != CLOSED)
        fail("end of stream (EOF)",
             came(extra, waited, e == QUIET && n > 0 ? DATA : e, patience));
}

static void
step_eof(const struct step *s)
{
    (void)s;
    expect_eof(current);
}

static void
step_gone(const struct step *s)
{
    (void)s;
    char ignored[CHUNK];
    size_t n;
    enum event e;
    do
        e = receive(current, ignored, sizeof ignored, deadline(), &n);
    while (e == DATA && now() < step_end);
    if (e == QUIET || e == DATA)
        fail("end of stream (EOF) or a reset", in_words(e, patience));
}

static void
step_silence(const struct step *s)
{
    char data[CHUNK];
    size_t n;
    double begin = now(), span = (double)s->number / 1000 * factor;
    enum event e = receive(current, data, sizeof data, begin + span, &n);
    double after = (now() - begin) * 1000;
    if (e != QUIET)
        fail(text("nothing, for %.0f ms", span * 1000),
             text("after %.0f ms %s", after, came(data, n, e, 0)));
}

static void
step_half_close(const struct step *s)
{
    (void)s;
    current->half_closed = true;
    if (shutdown(current->fd, SHUT_WR) == 0)
        return;
    if (errno != ENOTCONN)
        die_errno("shutdown");
    fail("the connection is still there", in_words(RESET, 0));
}

static void
step_close(const struct step *s)
{
    (void)s;
    end_connection(current, false);
}

static void
step_reset(const struct step *s)
{
    (void)s;
    end_connection(current, true);
}

/* ---- a server that stands still ---------------------------------------- */

/* 1: all threads are stopped (or dead); 0: not yet; -1: no such process. */
static int
is_stopped(pid_t pid)
{
    int stopped = -1;
    DIR *tasks = opendir(text("/proc/%d/task", pid));
    if (tasks == NULL)
        return -1;
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        FILE *f = fopen(text("/proc/%d/task/%s/stat", pid, task->d_name), "r");
        char line[256] = "", *paren;
        if (f == NULL)
            continue;
        if (fgets(line, sizeof line, f) && (paren = strrchr(line, ')')))
            stopped = stopped != 0 && strchr("TtZX", paren[2]) != NULL;
        fclose(f);
    }
    closedir(tasks);
    return stopped;
}

static void
thaw_all(void)
{
    for (int i = 0; i < NAMES; i++)
        if (frozen[i])
            kill(frozen[i], SIGCONT);
}

static void
thaw_and_exit(int sig)
{
    thaw_all();
    _exit(128 + sig);
}

static void
step_freeze(const struct step *s)
{
    pid_t pid = (pid_t)s->number;
    const char *expected = text("process %d stops", pid);
    double until = deadline();
    int slot = 0, stopped;
    while (frozen[slot] && frozen[slot] != pid)
        if (++slot == NAMES)
            die(2, "freeze: more than %d processes", NAMES);
    frozen[slot] = pid;
    if (kill(pid, SIGSTOP) != 0)
        fail(expected, strerror(errno));
    while ((stopped = is_stopped(pid)) == 0 && now() < until)
        nap();
    if (stopped != 1)
        fail(expected, stopped ? "it is gone" : "it runs on");
}

static void
step_thaw(const struct step *s)
{
    pid_t pid = (pid_t)s->number;
    if (kill(pid, SIGCONT) != 0)
        fail(text("process %d goes on", pid), strerror(errno));
    for (int i = 0; i < NAMES; i++)
        if (frozen[i] == pid)
            frozen[i] = 0;
}

/* ---- a crowd ----------------------------------------------------------- */

static void
raise_open_files(size_t need)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need;
    if (limit.rlim_max < need)
        limit.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die(3, "%zu open files: %s (see ulimit -Hn)", need, strerror(errno));
}

static void
step_crowd(const struct step *s)
{
    size_t first = crowd_n;
    crowd_n += s->number;
    raise_open_files(crowd_n + NAMES + 16);
    crowd = grow(crowd, (crowd_n + 1) * sizeof *crowd);
    for (crowd_at = crowd + first; crowd_at < crowd + crowd_n; crowd_at++) {
        *crowd_at = (struct connection){.name = "crowd"};
        check_connect(start_connect(crowd_at));
    }
    for (crowd_at = crowd + first; crowd_at < crowd + crowd_n; crowd_at++)
        check_connect(finish_connect(crowd_at, deadline()));
    crowd_at = NULL;
}

/* On `chosen` of them, evenly spread. One after the other is enough: while we
 * wait for one, the answers to the others arrive all the same. */
static void
crowd_transfer(size_t chosen, struct bytes out, struct bytes in)
{
    if (chosen > crowd_n || crowd_n == 0)
        die(2, "the crowd has %zu connections", crowd_n);
    for (size_t i = 0; i < chosen; i++) {
        crowd_at = &crowd[i * crowd_n / chosen];
        transfer(crowd_at, out, in);
    }
    crowd_at = NULL;
}

static void
step_crowd_send(const struct step *s)
{
    crowd_transfer(crowd_n, s->text, nothing);
}

static void
step_crowd_expect(const struct step *s)
{
    crowd_transfer(crowd_n, nothing, s->text);
}

static void
step_crowd_echo(const struct step *s)
{
    crowd_transfer(crowd_n, s->text, nothing);
    crowd_transfer(crowd_n, nothing, s->text);
}

static void
step_crowd_some(const struct step *s)
{
    crowd_transfer(s->number, s->text, nothing);
    crowd_transfer(s->number, nothing, s->text);
}

static void
step_crowd_eof(const struct step *s)
{
    (void)s;
    for (crowd_at = crowd; crowd_at < crowd + crowd_n; crowd_at++)
        expect_eof(crowd_at);
    crowd_at = NULL;
}

static void
end_crowd(bool by_reset)
{
    while (crowd_n > 0)
        end_connection(&crowd[--crowd_n], by_reset);
}

static void
step_crowd_close(const struct step *s)
{
    (void)s;
    end_crowd(false);
}

static void
step_crowd_reset(const struct step *s)
{
    (void)s;
    end_crowd(true);
}

/* ---- HTTP responses ---------------------------------------------------- */

/* What has come of a response; the part being read begins at `part`. */
struct response {
    char *data;
    size_t n, room, part;
    const char *expected; /* what this part is */
};

static void
begin_part(struct response *r, const char *expected)
{
    r->part = r->n;
    r->expected = expected;
}

static _Noreturn void
report_response(const struct response *r, enum event e)
{
    fail(r->expected, came(r->data + r->part, r->n - r->part, e, patience));
}

/* Appends what comes next, at most `most` bytes; returns how many, 0: EOF. */
static size_t
take_some(struct response *r, size_t most)
{
    size_t n, size = most < CHUNK ? most : CHUNK;
    if (r->n + size >= r->room)
        r->data = grow(r->data, r->room = 2 * (r->n + size) + 1);
    enum event e = receive(current, r->data + r->n, size, deadline(), &n);
    r->n += n;
    r->data[r->n] = '\0';
    if (e == QUIET || e == RESET || now() > step_end)
        report_response(r, e);
    return n;
}

static void
take(struct response *r, size_t n)
{
    while (n > 0) {
        size_t k = take_some(r, n);
        if (k == 0)
            report_response(r, CLOSED);
        n -= k;
    }
}

/* Byte by byte: what follows the response is for the next step. */
static char *
take_line(struct response *r)
{
    size_t begin = r->n;
    do
        take(r, 1);
    while (r->data[r->n - 1] != '\n');
    return r->data + begin;
}

static bool
is_blank(const char *line)
{
    return strcmp(line, "\r\n") == 0;
}

static void
take_chunks(struct response *r)
{
    size_t size;
    do {
        begin_part(r, "a line with the size of a chunk, in hex");
        char *line = take_line(r), *end;
        size = strtoul(line, &end, 16);
        if (end == line || size > FILL_MAX)
            report_response(r, DATA);
        begin_part(r, text("a chunk of %s and CR LF", count(size)));
        if (size > 0)
            take(r, size + 2);
        if (size > 0 && !is_blank(r->data + r->n - 2))
            report_response(r, DATA);
    } while (size > 0);
    begin_part(r, "trailers, ended by an empty line");
    while (!is_blank(take_line(r)))
        ;
}

struct head {
    int status;
    bool chunked, has_length;
    size_t length;
};

static void
take_head(struct response *r, struct head *h)
{
    begin_part(r, "a status line: HTTP/1.1 and a number of three digits");
    for (const char *p = "HTTP/1."; *p; p++) {
        take(r, 1);
        if (r->data[r->n - 1] != *p) {
            enum event e = receive_tail(current, r->data, 1, &(size_t){1});
            report_response(r, e);
        }
    }
    take_line(r);
    if (sscanf(r->data, "HTTP/1.%*c %3d", &h->status) != 1 || h->status < 100)
        report_response(r, DATA);
    begin_part(r, "header lines, ended by an empty line (CR LF CR LF)");
    for (char *line; !is_blank(line = take_line(r));) {
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            h->has_length = sscanf(line + 15, "%zu", &h->length) == 1;
        if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
            h->chunked = strcasestr(line, "chunked") != NULL;
    }
}

static void
print_raw(const char *data, size_t n)
{
    fwrite(data, 1, n, stdout);
    if (n > 0)
        last_printed = data[n - 1];
}

static void
read_response(bool has_body)
{
    struct response r = {.data = NULL};
    struct head h = {.status = 0};
    take_head(&r, &h);
    if (!has_body || h.status < 200 || h.status == 204 || h.status == 304) {
        /* ends with its head, whatever that says */
    } else if (h.chunked) {
        take_chunks(&r);
    } else if (h.has_length) {
        begin_part(&r, text("a body of %s (Content-Length)", count(h.length)));
        take(&r, h.length);
    } else {
        begin_part(&r, "a body that ends with the connection");
        while (take_some(&r, CHUNK) > 0)
            ;
    }
    print_raw(r.data, r.n);
    free(r.data);
}

static void
step_response(const struct step *s)
{
    (void)s;
    read_response(true);
}

static void
step_response_to_head(const struct step *s)
{
    (void)s;
    read_response(false);
}

static void
step_rest(const struct step *s)
{
    (void)s;
    struct response r = {.data = NULL};
    begin_part(&r, "some bytes, or none, and the end of the stream (EOF)");
    while (take_some(&r, CHUNK) > 0)
        ;
    print_raw(r.data, r.n);
    free(r.data);
}

/* ---- the command line -------------------------------------------------- */

static const struct kind kinds[] = {
    {"on", "NAME", false, step_on,
     "go on with connection NAME (the first is `a`)"},
    {"rcvbuf", "BYTES", false, step_rcvbuf,
     "small receive buffer for connections made after this"},
    {"connect", "", true, step_connect, "connect now, not when first needed"},
    {"refused", "", false, step_refused, "connecting is refused"},
    {"send", "TEXT", true, step_send, "send it"},
    {"send-each", "TEXT", true, step_send_each, "one packet for each byte"},
    {"send-file", "FILE", true, step_send, "send what is in FILE"},
    {"send-bytes", "N", true, step_send_bytes,
     "send the next N bytes of the pattern"},
    {"expect", "TEXT", true, step_expect, "exactly these bytes come next"},
    {"expect-bytes", "N", true, step_expect_bytes,
     "the next N bytes of the pattern come"},
    {"exchange", "N", true, step_exchange,
     "send N bytes of the pattern and read them back meanwhile"},
    {"fill", "[MAX]", true, step_fill,
     "send the pattern until no more is taken; MAX (64M) is too much"},
    {"drain", "", true, step_drain,
     "read back what of the pattern has not come back yet"},
    {"eof", "", true, step_eof, "the end of the stream comes, and no byte"},
    {"gone", "", true, step_gone, "the end of the stream comes, or a reset"},
    {"silence", "MS", true, step_silence, "nothing comes for MS milliseconds"},
    {"half-close", "", true, step_half_close, "send no more, read on"},
    {"close", "", true, step_close, "close (`on NAME` may connect anew)"},
    {"reset", "", true, step_reset, "close with a reset (RST)"},
    {"freeze", "PID", false, step_freeze, "stop a process; see that it stands"},
    {"thaw", "PID", false, step_thaw, "let it go on (done at exit, too)"},
    {"crowd", "N", false, step_crowd, "open N connections more, all at once"},
    {"crowd-send", "TEXT", false, step_crowd_send, "send on each of the crowd"},
    {"crowd-expect", "TEXT", false, step_crowd_expect, "expect on each"},
    {"crowd-echo", "TEXT", false, step_crowd_echo, "send on each, then expect"},
    {"crowd-some", "K TEXT", false, step_crowd_some,
     "echo on K of them, evenly spread"},
    {"crowd-eof", "", false, step_crowd_eof, "the end of the stream, on each"},
    {"crowd-close", "", false, step_crowd_close, "close the whole crowd"},
    {"crowd-reset", "", false, step_crowd_reset, "reset the whole crowd"},
    {"response", "", true, step_response,
     "read one HTTP response and print it as it came"},
    {"response-to-head", "", true, step_response_to_head,
     "the same after a HEAD request: no body follows"},
    {"rest", "", true, step_rest, "read to the end of the stream and print it"},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static _Noreturn void
help(void)
{
    puts(
        "usage: tcp [-a ADDR] [-t SECONDS] PORT STEP...\n\n"
        "  tcp 4000 send 'hello\\n' expect 'hello\\n' half-close eof\n\n"
        "-a  the server's IPv4 address (default 127.0.0.1)\n"
        "-t  how long a step may wait (default 5; times TIMEOUT_FACTOR)\n\n"
        "TEXT has the escapes \\n \\r \\t \\0 \\\\ \\\" \\xHH. A number may end in K"
        " or M.\n");
    for (const struct kind *k = kinds; k < kinds + KINDS; k++)
        printf("%-16s %-6s %s\n", k->name, k->args, k->help);
    exit(0);
}

static size_t
parse_number(const char *what, const char *arg)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(arg, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 0;
    if (!isdigit(*arg) || errno || end[shift > 0] || n >> (40 - shift))
        die(2, "%s is to be a number, not %s", what,
            quote(arg, strlen(arg), 48));
    return n << shift;
}

static struct bytes
parse_text(const char *what, const char *arg)
{
    static const char letter[] = "nrt0\\\"'", special[] = "\n\r\t\0\\\"'";
    char *out = grow(NULL, strlen(arg) + 1), *end = out, *found;
    for (const char *p = arg; *p; p++) {
        unsigned byte;
        if (*p != '\\') {
            *end++ = *p;
        } else if (p[1] && (found = strchr(letter, p[1]))) {
            *end++ = special[found - letter];
            p++;
        } else if (p[1] == 'x' && isxdigit(p[2]) && isxdigit(p[3])) {
            sscanf(p + 2, "%2x", &byte);
            *end++ = (char)byte;
            p += 3;
        } else {
            die(2, "%s: unknown escape in %s at %s", what,
                quote(arg, strlen(arg), 48), quote(p, strlen(p), 4));
        }
    }
    return (struct bytes){out, 0, (size_t)(end - out)};
}

static struct bytes
read_file(const char *name)
{
    FILE *f = fopen(name, "r");
    char *data = NULL;
    size_t n = 0, k;
    do {
        data = grow(data, n + CHUNK);
        k = f ? fread(data + n, 1, CHUNK, f) : 0;
        n += k;
    } while (k > 0);
    if (f == NULL || ferror(f))
        die(2, "%s: %s", quote(name, strlen(name), 200), strerror(errno));
    fclose(f);
    return (struct bytes){data, 0, n};
}

/* Reads one step from arg[0] on; returns how many words it has. */
static int
parse_step(struct step *s, int number, char **arg)
{
    char words[16], *word, *rest = words;
    int used = 1;
    const char *name =
        text("step %d, %s", number, quote(*arg, strlen(*arg), 48));
    *s = (struct step){.kind = kinds};
    while (strcmp(s->kind->name, *arg) != 0)
        if (++s->kind == kinds + KINDS)
            die(2, "%s: there is no such step", name);
    strcpy(words, s->kind->args);
    while ((word = strsep(&rest, " ")) && *word) {
        const char *a = arg[used];
        if (*word == '[' && (a == NULL || !isdigit(*a)))
            continue;
        if (a == NULL)
            die(2, "%s needs %s", name, word);
        const char *what = text("%s: %s", name, word);
        if (strcmp(word, "TEXT") == 0)
            s->text = parse_text(what, a);
        else if (strcmp(word, "NAME") == 0 || strcmp(word, "FILE") == 0)
            s->word = a;
        else
            s->number = parse_number(what, a);
        if (strcmp(word, "FILE") == 0)
            s->text = read_file(a);
        used++;
    }
    return used;
}

/* The step as one reads it on the command line. */
static char *
describe(const struct step *s)
{
    char *line = text("%s", s->kind->name);
    if (s->kind->connects && named_n > 1)
        line = text("on %s %s", current->name, line);
    if (s->number)
        line = text("%s %zu", line, s->number);
    if (s->word)
        line = text("%s %s", line, quote(s->word, strlen(s->word), 200));
    else if (s->text.text)
        line = text("%s %s", line, quote(s->text.text, s->text.n, 48));
    if (strncmp(s->kind->name, "send", 4) == 0 && s->text.text)
        line = text("%s (%s)", line, count(s->text.n));
    return line;
}

static void
run_step(const struct step *s)
{
    step_end = now() + 6 * patience;
    if (s->kind->connects && current->over)
        die(2, "%s: connection %s is closed; `on %s` begins a new one",
            s->kind->name, current->name, current->name);
    if (s->kind->connects && current->fd < 0)
        connect_current();
    if (s->kind->run != step_on && s->kind->run != step_connect)
        remember(describe(s));
    s->kind->run(s);
}

static double
parse_seconds(const char *what, const char *arg)
{
    char *end;
    double value = strtod(arg, &end);
    if (end == arg || *end || !(value > 0 && value < 1e6))
        die(2, "%s is to be a number above 0, not %s", what,
            quote(arg, strlen(arg), 48));
    return value;
}

/* Returns the index of PORT. */
static int
parse_options(int argc, char **argv)
{
    int option;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (getenv("TIMEOUT_FACTOR"))
        factor = parse_seconds("TIMEOUT_FACTOR", getenv("TIMEOUT_FACTOR"));
    while ((option = getopt(argc, argv, "+a:t:h")) != -1) {
        if (option == 'h')
            help();
        else if (option == 't')
            patience = parse_seconds("-t", optarg);
        else if (option != 'a')
            die(2, "usage: tcp [-a ADDR] [-t SECONDS] PORT STEP...");
        else if (inet_pton(AF_INET, optarg, &server.sin_addr) != 1)
            die(2, "-a is to be an IPv4 address");
    }
    patience *= factor;
    return optind;
}

int
main(int argc, char **argv)
{
    int at = parse_options(argc, argv), n = 0;
    if (argc - at < 2)
        die(2, "usage: tcp [-a ADDR] [-t SECONDS] PORT STEP...");
    size_t port = parse_number("PORT", argv[at++]);
    if (port == 0 || port > 65535)
        die(2, "PORT is to be 1..65535");
    server.sin_port = htons((uint16_t)port);
    named[0] = (struct connection){.name = "a", .fd = -1};

    struct step *steps = grow(NULL, (size_t)argc * sizeof *steps);
    for (; at < argc; n++)
        at += parse_step(&steps[n], n + 1, argv + at);

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, thaw_and_exit);
    signal(SIGINT, thaw_and_exit);
    signal(SIGHUP, thaw_and_exit);
    atexit(thaw_all);
    for (int i = 0; i < n; i++)
        run_step(&steps[i]);
    return fflush(stdout) == 0 ? 0 : 3;
}
