/*
 * tcp - a scripted TCP client, the hand that the tests have on a socket.
 *
 *     tcp 4000 send 'hello\n' expect 'hello\n' half-close eof
 *
 * A scenario is a list of steps, done one after the other; `tcp -h` lists
 * them. All of it is checked before the first step is done. Every step that
 * waits has a deadline. The first one that fails ends the program with three
 * paragraphs on stdout: what it did, what it expected, and what came instead.
 *
 * Exit: 0 all steps done, 1 a step failed, 2 usage, 3 trouble of our own.
 */
#include "tcp-freeze.h"
#include "tcp-http.h"
#include "tcp-socket.h"
#include <limits.h>
#include <sys/resource.h>

#define FILL_MAX ((size_t)64 << 20) /* who takes more has no bound */
#define NAMES    64                 /* named connections */

struct step {
    const struct kind *kind;
    size_t number;     /* N, MS, PID, ...; 0 when left out */
    const char *word;  /* NAME */
    struct bytes text; /* TEXT without its escapes, or what is in FILE */
    const char *line;  /* how a failure shows this step */
};

struct kind {
    const char *name;
    const char *args; /* what follows, and thereby how to read it */
    bool connects;    /* is about the current connection, opens it if need be */
    void (*run)(void);
    const char *help;
};

static const struct step *step; /* the one being done */
static const struct bytes nothing = {.text = ""};

static struct connection named[NAMES] = {{.name = "a", .fd = -1}};
static struct connection *current = named;
static int named_n = 1;

static struct connection *crowd; /* many connections without a name */
static size_t crowd_n, crowd_at; /* how many; which one a step is busy with */

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
    did[did_n - 1] = text("%s: %s taken", did[did_n - 1], count(sent));
    const char *actual = NULL;
    if (e == DATA)
        actual = text("it took %s and would take more", count(sent));
    if (e == RESET)
        actual = text("it took %s, then %s", count(sent), in_words(RESET, 0));
    if (actual)
        fail("the server takes no more while nobody reads its answers", actual);
}

static void
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

/* Of many, one fails: how the others fare tells a server that is slow from one
 * that has forgotten somebody. */
static char *
crowd_note(void)
{
    size_t waiting = 0;
    char byte;
    for (size_t i = crowd_at + 1; i < crowd_n; i++)
        waiting += recv(crowd[i].fd, &byte, 1, MSG_PEEK) == 1;
    return text("\n(this is connection %zu of the crowd of %zu;"
                "\n%zu of those after it have an answer waiting)",
                crowd_at + 1, crowd_n, waiting);
}

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
        die(3, "%zu open files: %s (ulimit -Hn shows how many)", need,
            strerror(errno));
}

static void
step_crowd(void)
{
    size_t first = crowd_n, n = first + step->number;
    raise_open_files(n + NAMES + 16);
    crowd = grow(crowd, n * sizeof *crowd);
    fail_note = crowd_note;
    for (; crowd_n < n; crowd_n++) {
        crowd[crowd_n] = (struct connection){.name = "crowd"};
        int error = start_connect(&crowd[crowd_at = crowd_n]);
        check_connect(error);
    }
    for (crowd_at = first; crowd_at < n; crowd_at++)
        check_connect(finish_connect(&crowd[crowd_at], deadline()));
    fail_note = NULL;
}

/* On `chosen` of them, evenly spread. One after the other is enough: while we
 * wait for one, the answers to the others arrive all the same. */
static void
crowd_transfer(size_t chosen, struct bytes out, struct bytes in)
{
    if (chosen > crowd_n || crowd_n == 0)
        die(2, "%s: the crowd has %zu connections", step->kind->name, crowd_n);
    fail_note = crowd_note;
    for (size_t i = 0; i < chosen; i++) {
        crowd_at = i * crowd_n / chosen;
        transfer(&crowd[crowd_at], out, in);
    }
    fail_note = NULL;
}

static void
step_crowd_send(void)
{
    crowd_transfer(crowd_n, step->text, nothing);
}

static void
step_crowd_expect(void)
{
    crowd_transfer(crowd_n, nothing, step->text);
}

/* crowd-echo TEXT, crowd-some K TEXT */
static void
step_crowd_echo(void)
{
    size_t chosen = step->number ? step->number : crowd_n;
    crowd_transfer(chosen, step->text, nothing);
    crowd_transfer(chosen, nothing, step->text);
}

static void
step_crowd_eof(void)
{
    fail_note = crowd_note;
    for (crowd_at = 0; crowd_at < crowd_n; crowd_at++)
        expect_eof(&crowd[crowd_at]);
    fail_note = NULL;
}

static void
step_crowd_close(void)
{
    while (crowd_n > 0)
        end_connection(&crowd[--crowd_n], false);
}

static void
step_crowd_reset(void)
{
    while (crowd_n > 0)
        end_connection(&crowd[--crowd_n], true);
}

/* ---- The steps ---- */

/* clang-format off */
static const struct kind kinds[] = {
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
};
/* clang-format on */

static const char usage[] = "usage: tcp [-a ADDR] [-t SECONDS] PORT STEP...";

static const char help[] =
    "\n"
    "  tcp 4000 send 'hello\\n' expect 'hello\\n' half-close eof\n"
    "\n"
    "  -a  IPv4 address of the server (default 127.0.0.1)\n"
    "  -t  seconds that a step waits while nothing happens (default 5);\n"
    "      the environment variable TIMEOUT_FACTOR multiplies it\n"
    "\n"
    "TEXT may have \\n \\r \\t \\0 \\\\ \\\" \\xHH in it; a number may end in K"
    " or M.\n"
    "The pattern is a fixed stream of bytes, begun anew on each connection.\n";

static _Noreturn void
print_help(void)
{
    printf("%s\n%s\n", usage, help);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        printf("  %-17s%-8s", kinds[i].name, kinds[i].args);
        for (const char *p = kinds[i].help; *p; p++)
            *p == '\n' ? printf("\n%27s", "") : putchar(*p);
        putchar('\n');
    }
    exit(0);
}

/* ---- Reading the scenario ---- */

static size_t
parse_number(const char *what, const char *arg, size_t max)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(arg, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 0;
    if (!isdigit(*arg) || errno || end[shift > 0] || n > max >> shift)
        die(2, "%s is to be a number up to %zu, not %s", what, max,
            quote_word(arg));
    return n << shift;
}

static struct bytes
parse_text(const char *what, const char *arg)
{
    static const char letter[] = "nrt0\\\"'", special[] = "\n\r\t\0\\\"'";
    char *out = grow(NULL, strlen(arg) + 1), *end = out, *found;
    for (const char *p = arg; *p; p++) {
        if (*p != '\\') {
            *end++ = *p;
        } else if (p[1] && (found = strchr(letter, p[1]))) {
            *end++ = special[found - letter];
            p++;
        } else if (p[1] == 'x' && isxdigit(p[2]) && isxdigit(p[3])) {
            *end++ = (char)strtol((char[]){p[2], p[3], '\0'}, NULL, 16);
            p += 3;
        } else {
            die(2, "%s: \\%.1s is no escape (\\\\ is a backslash)", what,
                p + 1);
        }
    }
    return (struct bytes){out, 0, (size_t)(end - out)};
}

static struct bytes
read_file(const char *what, const char *name)
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
        die(2, "%s %s: %s", what, quote_word(name), strerror(errno));
    fclose(f);
    return (struct bytes){data, 0, n};
}

static void
parse_argument(struct step *s, const char *what, const char *kind,
               const char *arg)
{
    const char *shown = arg;
    if (strcmp(kind, "TEXT") == 0) {
        s->text = parse_text(what, arg);
        shown = quote(s->text.text, s->text.n);
    } else if (strcmp(kind, "FILE") == 0) {
        s->text = read_file(what, arg);
        shown = quote_word(arg);
    } else if (strcmp(kind, "NAME") == 0) {
        s->word = arg;
    } else {
        s->number = parse_number(what, arg, INT_MAX);
    }
    if (strcmp(kind, "PID") == 0 && s->number == 0)
        die(2, "%s is to be a process, not 0", what);
    s->line = text("%s %s", s->line, shown);
    if (s->text.text && strncmp(s->line, "send", 4) == 0)
        s->line = text("%s (%s)", s->line, count(s->text.n));
}

static const struct kind *
find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* Reads step `number`, from arg[0] on; returns how many words it has. */
static int
parse_step(struct step *s, int number, char **arg)
{
    char args[16], *kind, *rest = args;
    int used = 1;
    *s = (struct step){.kind = find_kind(arg[0]), .line = arg[0]};
    if (s->kind == NULL)
        die(2, "step %d: %s is not a step", number, quote_word(arg[0]));
    strcpy(args, s->kind->args);
    while ((kind = strsep(&rest, " ")) && *kind) {
        const char *what = text("step %d: %s %s", number, arg[0], kind);
        if (*kind == '[' && (arg[used] == NULL || !isdigit(*arg[used])))
            continue;
        if (arg[used] == NULL)
            die(2, "%s: this is missing", what);
        parse_argument(s, what, kind, arg[used++]);
    }
    return used;
}

static double
parse_seconds(const char *what, const char *arg)
{
    char *end;
    double value = strtod(arg, &end);
    if (end == arg || *end || !(value > 0 && value < 1e5))
        die(2, "%s is to be a number above 0, not %s", what, quote_word(arg));
    return value;
}

/* Returns the index of the first step. */
static int
parse_options(int argc, char **argv)
{
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (getenv("TIMEOUT_FACTOR"))
        factor = parse_seconds("TIMEOUT_FACTOR", getenv("TIMEOUT_FACTOR"));
    for (int option; (option = getopt(argc, argv, "+a:t:h")) != -1;) {
        if (option == 'h')
            print_help();
        else if (option == 't')
            patience = parse_seconds("-t", optarg);
        else if (option != 'a')
            die(2, "%s", usage);
        else if (inet_pton(AF_INET, optarg, &server.sin_addr) != 1)
            die(2, "-a is to be an IPv4 address, not %s", quote_word(optarg));
    }
    if (argc - optind < 2)
        die(2, "%s", usage);
    patience *= factor;
    size_t port = parse_number("PORT", argv[optind], 65535);
    server.sin_port = htons((uint16_t)port);
    return optind + 1;
}

/* ---- Doing it ---- */

static void
run_step(void)
{
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

int
main(int argc, char **argv)
{
    int at = parse_options(argc, argv), n = 0;
    struct step *steps = grow(NULL, (size_t)argc * sizeof *steps);
    for (; at < argc; n++)
        at += parse_step(&steps[n], n + 1, argv + at);

    signal(SIGPIPE, SIG_IGN);
    thaw_at_exit();
    for (step = steps; step < steps + n; step++)
        run_step();
    if (fflush(stdout) != 0)
        die_errno("stdout");
    return 0;
}
