/*
 * The back end behind the gateways: slow, and wicked on demand.
 *
 *   user NAME      ok NUMBER, or no such user (if it is called nobody)
 *   order NUMBER   ok NUMBER
 *   parcel NUMBER  ok TOWN
 *
 * One call a connection: a line, the answer after -d milliseconds, the end.
 * The same question always gets the same answer, and what it is cannot be
 * guessed, so a gateway that has the right town has made all three calls, in
 * order. On stderr it tells each call, and at the end how many there were and
 * how many waited for an answer at the same time.
 *
 * It holds no threads and no coroutines, only a list of who gets an answer
 * when: it is an event loop in which nothing ever happens but time.
 */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "rpc.h"

enum {
    EVENTS = 256,
    BACKLOG = 4096,
    PIECE_MS = 5,   /* between the pieces of an answer */
    BABBLE_MS = 20, /* the same, in an answer without an end */
};

/* What it does to a caller. */
enum mode {
    ANSWER, /* answers */
    PIECES, /* answers byte by byte */
    HALF,   /* closes in the middle of the answer */
    BABBLE, /* begins an answer, and does not come to the end of it */
    STALL,  /* never answers */
    REFUSE, /* holds its port, but does not listen: connections are refused */
    FULL,   /* does not accept, and its backlog is full: connections hang */
    MODES,
};

static const char *const mode_names[MODES] = {
    "answer", "pieces", "half", "babble", "stall", "refuse", "full"};

static struct {
    const char *addr, *port;
    long delay_ms;
    enum mode mode;
    int gather;
} options = {.addr = "127.0.0.1", .port = "4001", .delay_ms = 50, .gather = 1};

struct caller {
    int fd;
    struct input in;
    char answer[LINE_SIZE];
    size_t size, done;
    bool called; /* its question is there, and it is on the list `due` */
    long due;    /* when its next piece goes out; LONG_MAX: not yet known */
    TAILQ_ENTRY(caller) link;
};

TAILQ_HEAD(list, caller);

static struct backend {
    int epoll, listener, signals;
    struct list asking; /* their question is not there yet */
    struct list due;    /* those to answer, the first one first */
    int waiting;        /* how many are on `due` */
    int calls, most;
    bool stopping;
} b;

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- what it says --------------------------------------------------------- */

/* Numbers that nobody guesses: FNV-1a of the question. */
static uint32_t
hash(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * 16777619u;
    return h ^ h >> 16;
}

static size_t
compose(const char *call, char answer[LINE_SIZE])
{
    static const char *const towns[] = {"Aarhus", "Bergen", "Cork",   "Delft",
                                        "Espoo",  "Faro",   "Graz",   "Hull",
                                        "Izmir",  "Jena",   "Krakow", "Lyon"};
    const char *what = strchr(call, ' ');
    uint32_t h = hash(call);
    if (options.mode == BABBLE)
        return strlen(strcpy(answer, "ok"));
    if (what == NULL)
        return strlen(strcpy(answer, "no such call\n"));
    if (strcmp(call, "user nobody") == 0)
        return strlen(strcpy(answer, "no such user\n"));
    if (strncmp(call, "parcel ", 7) == 0)
        return (size_t)snprintf(answer, LINE_SIZE, "ok %s\n",
                                towns[h % (sizeof towns / sizeof towns[0])]);
    return (size_t)snprintf(answer, LINE_SIZE, "ok %u\n", 100000 + h % 900000);
}

/* --- callers -------------------------------------------------------------- */

static void
enlist(struct caller *c, long due)
{
    struct caller *before = TAILQ_LAST(&b.due, list);
    c->due = due;
    while (before != NULL && before->due > due)
        before = TAILQ_PREV(before, list, link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&b.due, before, c, link);
    else
        TAILQ_INSERT_HEAD(&b.due, c, link);
}

static void
drop(struct caller *c)
{
    TAILQ_REMOVE(c->called ? &b.due : &b.asking, c, link);
    b.waiting -= c->called;
    close(c->fd);
    free(c);
}

/* As many as are to be gathered wait now: the time of all begins. */
static void
release(long due)
{
    struct list held = TAILQ_HEAD_INITIALIZER(held);
    struct caller *c;
    TAILQ_CONCAT(&held, &b.due, link);
    while ((c = TAILQ_FIRST(&held)) != NULL) {
        TAILQ_REMOVE(&held, c, link);
        enlist(c, c->due == LONG_MAX ? due : c->due);
    }
}

static void
take_call(struct caller *c, const char *call)
{
    fprintf(stderr, "%s\n", call);
    TAILQ_REMOVE(&b.asking, c, link);
    c->called = true;
    c->size = compose(call, c->answer);
    enlist(c, options.gather > 1 || options.mode == STALL
                  ? LONG_MAX
                  : now_ms() + options.delay_ms);
    b.calls++;
    b.waiting++;
    if (b.waiting > b.most)
        b.most = b.waiting;
    if (options.gather > 1 && b.waiting == options.gather &&
        options.mode != STALL)
        release(now_ms() + options.delay_ms);
}

/* A caller that has finished sending may still wait for its answer; one that
 * would wait for ever has rather given up. */
static void
hear_end(struct caller *c)
{
    if (c->called && c->due != LONG_MAX)
        epoll_ctl(b.epoll, EPOLL_CTL_DEL, c->fd, NULL);
    else
        drop(c);
}

static void
hear(struct caller *c)
{
    char line[LINE_SIZE];
    size_t room = sizeof c->in.bytes - c->in.n; /* a call has room in it */
    ssize_t n = room > 0 ? read(c->fd, c->in.bytes + c->in.n, room) : 0;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        hear_end(c);
        return;
    }
    c->in.n += (size_t)n;
    if (!c->called && input_line(&c->in, line) == GOT_LINE)
        take_call(c, line);
}

/* Sends the next piece; after the last one, the end. A caller that does not
 * even take a line is gone. */
static void
speak(struct caller *c)
{
    bool slowly = options.mode == PIECES || options.mode == BABBLE;
    size_t end = options.mode == HALF ? c->size / 2 : c->size;
    size_t n = slowly ? 1 : end - c->done;
    bool sent = send(c->fd, c->answer + c->done, n, 0) == (ssize_t)n;
    if (options.mode != BABBLE)
        c->done += n;
    if (!sent || c->done == end) {
        drop(c);
        return;
    }
    TAILQ_REMOVE(&b.due, c, link);
    enlist(c, c->due + (options.mode == BABBLE ? BABBLE_MS : PIECE_MS));
}

static void
watch(int fd, void *what)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(b.epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        err(1, "cannot watch descriptor %d", fd);
}

static void
accept_callers(void)
{
    int fd;
    while ((fd = accept4(b.listener, NULL, NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct caller *c = calloc(1, sizeof *c);
        if (c == NULL)
            err(1, "a caller");
        c->fd = fd;
        TAILQ_INSERT_TAIL(&b.asking, c, link);
        watch(fd, c);
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        err(1, "accept");
}

/* --- the loop ------------------------------------------------------------- */

static int
next_timeout(void)
{
    struct caller *c;
    while ((c = TAILQ_FIRST(&b.due)) != NULL && c->due <= now_ms())
        speak(c);
    return c == NULL || c->due == LONG_MAX ? -1 : (int)(c->due - now_ms()) + 1;
}

static void
turn(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(b.epoll, events, EVENTS, next_timeout());
    for (int i = 0; i < n; i++) {
        void *what = events[i].data.ptr;
        if (what == &b.signals)
            b.stopping = true;
        else if (what == &b.listener)
            accept_callers();
        else
            hear(what);
    }
}

/* --- the beginning -------------------------------------------------------- */

static void
usage(FILE *out, int status)
{
    fputs("usage: backend [-a ADDR] [-p PORT] [-d MS] [-m MODE] [-g N]\n"
          "  -a ADDR  address to listen on (127.0.0.1)\n"
          "  -p PORT  port, 0 for any free one (4001)\n"
          "  -d MS    how long an answer takes (50)\n"
          "  -m MODE  answer (the default), pieces, half, babble, stall,\n"
          "           refuse or full\n"
          "  -g N     answer only when N calls wait for it (1)\n",
          out);
    exit(status);
}

static bool
parse_option(int option)
{
    switch (option) {
    case 'a':
        options.addr = optarg;
        return true;
    case 'p':
        options.port = optarg;
        return net_port(optarg) >= 0;
    case 'd':
        options.delay_ms = atol(optarg);
        return strspn(optarg, "0123456789") == strlen(optarg) &&
               options.delay_ms <= 1000000;
    case 'g':
        options.gather = atoi(optarg);
        return options.gather > 0;
    case 'm':
        options.mode = ANSWER;
        while (options.mode < MODES &&
               strcmp(optarg, mode_names[options.mode]) != 0)
            options.mode++;
        return options.mode < MODES;
    default:
        return false;
    }
}

static void
parse_options(int argc, char **argv)
{
    int c;
    while ((c = getopt(argc, argv, "a:p:d:m:g:h")) != -1) {
        if (c == 'h')
            usage(stdout, 0);
        if (!parse_option(c))
            usage(stderr, 2);
    }
    if (optind < argc)
        usage(stderr, 2);
}

/* A backlog of none has room for one. From then on the kernel does not answer
 * who wants to connect, and they try again and again. */
static void
fill_backlog(void)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listen(b.listener, 0) < 0 || fd < 0 ||
        getsockname(b.listener, (struct sockaddr *)&ss, &len) < 0)
        err(1, "fill the backlog");
    if (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
        err(1, "connect to itself");
}

static void
open_port(void)
{
    b.listener = net_bind(options.addr, options.port);
    if (options.mode == FULL)
        fill_backlog();
    if (options.mode == REFUSE || options.mode == FULL)
        return;
    if (listen(b.listener, BACKLOG) < 0)
        err(1, "listen %s:%s", options.addr, options.port);
    net_set_nonblocking(b.listener);
    watch(b.listener, &b.listener);
}

int
main(int argc, char **argv)
{
    parse_options(argc, argv);
    net_raise_limit();
    TAILQ_INIT(&b.asking);
    TAILQ_INIT(&b.due);
    b.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (b.epoll < 0)
        err(1, "epoll_create1");
    b.signals = net_signals();
    watch(b.signals, &b.signals);
    open_port();
    net_announce(b.listener);
    while (!b.stopping)
        turn();
    fprintf(stderr, "%d calls, %d at most at the same time\n", b.calls, b.most);

    while (!TAILQ_EMPTY(&b.asking))
        drop(TAILQ_FIRST(&b.asking));
    while (!TAILQ_EMPTY(&b.due))
        drop(TAILQ_FIRST(&b.due));
    return 0;
}
