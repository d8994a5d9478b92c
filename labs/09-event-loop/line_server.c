/*
 * Stage 09: a line server on the event loop.
 *
 * Each line is a request, and gets one line as its answer, in order:
 *
 *   echo TEXT    TEXT
 *   sleep MS     slept MS
 *   read FILE    N bytes, M lines
 *   stats        what the loop and the pool are doing
 *
 * echo and stats are answered on the loop. sleep and read block, so they go to
 * the pool, and the loop goes on with other clients. A client has one job under
 * way at most: what it sends meanwhile stays in its socket, and the order of its
 * answers needs no thought.
 *
 * The struct client is used from two sides then, by the loop and by a job. It
 * is freed when both have let go of it: a client that vanishes is closed at
 * once, and its completion event finds it closed, and frees it.
 */
#include "loop.h"
#include "pool.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE = 1024,       /* bytes of a request or an answer, with its newline */
    BUFFER = 4 * LINE, /* of a client, in each direction */
    ACCEPT_BATCH = 16, /* clients that are accepted in one turn */
    ACCEPT_REST_MS = 100, /* rest after accept() ran out of something */
    SLEEP_MAX = 10000,    /* ms */
};

struct options {
    const char *addr;
    const char *port;
    size_t threads;
    size_t capacity;
};

struct server {
    struct loop *loop;
    struct pool *pool;
    struct loop_io listener;
    struct loop_io signals;
    struct loop_timer rest; /* of the listener, when no descriptor is free */
    LIST_HEAD(, client) clients;
    unsigned long connected, refused; /* clients now, jobs so far */
};

struct client {
    struct server *server;
    struct loop_io io;
    struct pool_job job;
    bool working;  /* the job is under way */
    bool finished; /* no more requests will come */
    bool closed;   /* the loop has let go of it */
    size_t begin;  /* of what is in `in` and not yet handled */
    size_t end;
    size_t out_end;       /* bytes in `out`, to be sent */
    const char *argument; /* of the job: it lies in `in` */
    char answer[LINE];    /* of the job */
    LIST_ENTRY(client) link;
    char in[BUFFER];
    char out[BUFFER];
};

static void
usage(FILE *out, int status)
{
    fputs("usage: line-server [-a ADDR] [-p PORT] [-t THREADS] [-q JOBS]\n"
          "  -a ADDR     address to listen on (127.0.0.1)\n"
          "  -p PORT     port, 0 for any free one (4000)\n"
          "  -t THREADS  workers, 1 to 1000 (32)\n"
          "  -q JOBS     jobs that can wait for a worker (65535)\n",
          out);
    exit(status);
}

/* The kernel keeps the low 16 bits of a port, so 65537 would listen on 1. */
static const char *
port_or_usage(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0' ||
        atoi(text) > 65535) {
        warnx("-p %s: not a port (0 to 65535)", text);
        usage(stderr, 2);
    }
    return text;
}

static size_t
number_or_usage(const char *text, size_t most)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long n = strtoul(text, NULL, 10);
    if (digits == 0 || digits > 9 || text[digits] != '\0' || n < 1 || n > most)
        usage(stderr, 2);
    return n;
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {.addr = "127.0.0.1",
                        .port = "4000",
                        .threads = POOL_THREADS,
                        .capacity = POOL_CAPACITY};
    int c;
    while ((c = getopt(argc, argv, "a:p:t:q:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 't':
            o.threads = number_or_usage(optarg, 1000);
            break;
        case 'q':
            o.capacity = number_or_usage(optarg, 1000000);
            break;
        case 'h':
            usage(stdout, 0);
            break;
        default:
            usage(stderr, 2);
        }
    }
    if (optind < argc) {
        warnx("unexpected argument: %s", argv[optind]);
        usage(stderr, 2);
    }
    return o;
}

/* A socket that listens on addr:port. Ends the program if there can be none. */
static int
listen_on(const char *addr, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV};
    struct addrinfo *ai;
    int problem = getaddrinfo(addr, port, &hints, &ai);
    if (problem != 0)
        errx(1, "%s: %s", addr, gai_strerror(problem));

    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK, 0);
    if (fd < 0)
        err(1, "socket");

    /* A connection that this server closed stays in TIME_WAIT for a minute
     * and keeps the port taken; with SO_REUSEADDR a restart need not wait. */
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        err(1, "setsockopt SO_REUSEADDR");

    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
        err(1, "bind %s:%s", addr, port);
    if (listen(fd, SOMAXCONN) < 0)
        err(1, "listen %s:%s", addr, port);
    freeaddrinfo(ai);
    return fd;
}

/* Says, once, that clients may come: "listening on 127.0.0.1:4000". */
static void
announce(int listener)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(listener, (struct sockaddr *)&ss, &len) < 0)
        err(1, "getsockname");
    int problem =
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    if (problem != 0)
        errx(1, "getnameinfo: %s", gai_strerror(problem));

    const char *form = ss.ss_family == AF_INET6 ? "listening on [%s]:%s\n"
                                                : "listening on %s:%s\n";
    if (printf(form, host, port) < 0 || fflush(stdout) != 0)
        err(1, "stdout");
}

/* --- answers ------------------------------------------------------------- */

/* The caller has made sure that there is room for a line. */
static void
answer_bytes(struct client *c, const char *bytes, size_t size)
{
    memcpy(c->out + c->out_end, bytes, size);
    c->out_end += size;
    c->out[c->out_end++] = '\n';
}

__attribute__((format(printf, 2, 3))) static void
answer(struct client *c, const char *form, ...)
{
    char line[LINE];
    va_list args;
    va_start(args, form);
    vsnprintf(line, sizeof line, form, args);
    va_end(args);
    answer_bytes(c, line, strlen(line));
}

static void
answer_stats(struct client *c)
{
    struct server *s = c->server;
    const struct loop_stats *stats = loop_stats(s->loop);
    struct pool_counts pool = pool_counts(s->pool);
    answer(c,
           "clients %lu threads %zu queued %zu busy %zu refused %lu turns %ju "
           "timers %ju pending %ju poll %ju close %ju asleep-ms %ju",
           s->connected, pool.threads, pool.queued, pool.busy, s->refused,
           (uintmax_t)stats->turns, (uintmax_t)stats->calls[LOOP_TIMERS],
           (uintmax_t)stats->calls[LOOP_PENDING],
           (uintmax_t)stats->calls[LOOP_POLL],
           (uintmax_t)stats->calls[LOOP_CLOSE],
           (uintmax_t)stats->ns[LOOP_WAIT] / 1000000);
}

/* --- jobs: these run on workers ------------------------------------------ */

static void
sleep_job(void *arg)
{
    struct client *c = arg;
    long ms = atol(c->argument);
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
    snprintf(c->answer, sizeof c->answer, "slept %ld", ms);
}

static void
read_job(void *arg)
{
    struct client *c = arg;
    char block[16384];
    size_t bytes = 0, lines = 0;
    ssize_t n = -1;
    int fd = open(c->argument, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd >= 0 && (n = read(fd, block, sizeof block)) > 0) {
        bytes += (size_t)n;
        for (ssize_t i = 0; i < n; i++)
            lines += block[i] == '\n';
    }
    if (n < 0)
        snprintf(c->answer, sizeof c->answer, "error read: %s",
                 strerror(errno));
    else
        snprintf(c->answer, sizeof c->answer, "%zu bytes, %zu lines", bytes,
                 lines);
    if (fd >= 0)
        close(fd);
}

/* --- clients ------------------------------------------------------------- */

static void advance(struct client *c);

/* The loop has let go of it. The job may still be under way. */
static void
client_closed(void *arg)
{
    struct client *c = arg;
    c->closed = true;
    if (!c->working)
        free(c);
}

static void
close_client(struct client *c)
{
    if (c->io.handle.closing)
        return;
    LIST_REMOVE(c, link);
    c->server->connected--;
    if (c->working)
        pool_cancel(&c->job); /* if it has not begun, it need not */
    close(c->io.fd);          /* nobody else has it, so this takes it off */
    c->io.fd = -1;            /* the interest list */
    loop_close(&c->io.handle, client_closed);
}

/* The completion event. */
static void
job_done(void *arg, bool ran)
{
    struct client *c = arg;
    c->working = false;
    if (c->closed) {
        free(c); /* nobody waits for the answer any more */
    } else if (!c->io.handle.closing) {
        answer(c, "%s", ran ? c->answer : "error cancelled");
        advance(c);
    }
}

static void
start_job(struct client *c, void (*work)(void *arg), const char *argument)
{
    c->argument = argument;
    c->job = (struct pool_job){.work = work, .done = job_done, .arg = c};
    c->working = pool_submit(c->server->pool, c->server->loop, &c->job);
    if (!c->working) {
        c->server->refused++;
        answer(c, "error the queue is full");
    }
}

/* One line, without its newline, with a 0 behind it instead. */
static void
handle(struct client *c, char *line, size_t size)
{
    if (size >= 5 && memcmp(line, "echo ", 5) == 0) {
        answer_bytes(c, line + 5, size - 5);
    } else if (strncmp(line, "sleep ", 6) == 0) {
        size_t digits = strspn(line + 6, "0123456789");
        if (digits == 0 || digits > 5 || digits != size - 6 ||
            atol(line + 6) > SLEEP_MAX)
            answer(c, "error sleep: not a number from 0 to %d", SLEEP_MAX);
        else
            start_job(c, sleep_job, line + 6);
    } else if (strncmp(line, "read ", 5) == 0) {
        start_job(c, read_job, line + 5);
    } else if (strcmp(line, "stats") == 0) {
        answer_stats(c);
    } else {
        answer(c, "error unknown request");
    }
}

/* Takes requests until a job is under way, until there is no room for another
 * answer, or until no whole line is left. */
static void
take_requests(struct client *c)
{
    while (!c->working && sizeof c->out - c->out_end >= LINE) {
        char *line = c->in + c->begin;
        char *newline = memchr(line, '\n', c->end - c->begin);
        size_t size = newline ? (size_t)(newline - line) : c->end - c->begin;
        if (size >= LINE) {
            answer(c, "error the line is too long");
            c->begin = c->end = 0;
            c->finished = true;
        }
        if (newline == NULL || size >= LINE)
            return;
        c->begin += size + 1;
        *newline = '\0';
        handle(c, line, size);
    }
}

/* Writes what the socket has room for. false: the client has vanished. */
static bool
send_answers(struct client *c)
{
    if (c->out_end == 0)
        return true;
    ssize_t n = write(c->io.fd, c->out, c->out_end);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->out_end -= (size_t)n;
    memmove(c->out, c->out + n, c->out_end);
    return true;
}

/* What it waits for follows from how far it is. While it has a job, only for the
 * news that it has vanished: EPOLLRDHUP, and the EPOLLHUP that comes with it. */
static uint32_t
interest(const struct client *c)
{
    uint32_t events = 0;
    if (c->out_end > 0)
        events |= EPOLLOUT;
    else if (!c->working && !c->finished)
        events |= EPOLLIN;
    if (c->working && !c->finished)
        events |= EPOLLRDHUP;
    return events;
}

/* Goes on as far as it can go without waiting. */
static void
advance(struct client *c)
{
    size_t unsent;
    do {
        take_requests(c);
        unsent = c->out_end;
        if (!send_answers(c)) {
            close_client(c);
            return;
        }
    } while (c->out_end < unsent && c->out_end == 0 && !c->working &&
             memchr(c->in + c->begin, '\n', c->end - c->begin) != NULL);
    bool done = c->finished && !c->working && c->out_end == 0;
    if (done || loop_io_want(&c->io, interest(c)) < 0)
        close_client(c);
}

/* false: the client has vanished. */
static bool
receive(struct client *c)
{
    memmove(c->in, c->in + c->begin, c->end - c->begin);
    c->end -= c->begin;
    c->begin = 0;
    ssize_t n = read(c->io.fd, c->in + c->end, sizeof c->in - c->end);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->end += (size_t)n;
    c->finished = n == 0;
    return true;
}

static void
client_ready(void *arg, uint32_t events)
{
    struct client *c = arg;
    bool vanished = c->working && (events & (EPOLLERR | EPOLLHUP));
    if (!vanished && (events & EPOLLIN))
        vanished = !receive(c);
    if (vanished) {
        close_client(c);
        return;
    }
    if (events & EPOLLRDHUP)
        c->finished = true;
    advance(c);
}

/* --- the listener, and the end ------------------------------------------- */

static void
open_client(struct server *s, int fd)
{
    struct client *c = malloc(sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    memset(c, 0, offsetof(struct client, in));
    c->server = s;
    s->connected++;
    LIST_INSERT_HEAD(&s->clients, c, link);
    loop_io_init(s->loop, &c->io, fd, client_ready, c);
    if (loop_io_want(&c->io, EPOLLIN) < 0)
        close_client(c);
}

static void
accept_clients(void *arg, uint32_t events)
{
    struct server *s = arg;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd =
            accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            open_client(s, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            loop_io_want(&s->listener, 0);
            loop_timer_start(&s->rest, ACCEPT_REST_MS, 0);
            return;
        }
    }
}

static void
end_rest(void *arg)
{
    struct server *s = arg;
    loop_io_want(&s->listener, EPOLLIN);
}

/* SIGTERM and SIGINT come as a descriptor: the loop waits for them as for all
 * else. They are blocked before the workers start, who inherit that. */
static int
signal_descriptor(void)
{
    signal(SIGPIPE, SIG_IGN); /* writing to a lost client fails with EPIPE */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        err(1, "signalfd");
    return fd;
}

static void
end_server(void *arg, uint32_t events)
{
    struct server *s = arg;
    (void)events;
    loop_stop(s->loop);
}

static void
start(struct server *s, const struct options *o)
{
    int signals = signal_descriptor();
    int listener = listen_on(o->addr, o->port);
    s->loop = loop_create();
    if (s->loop == NULL || loop_timer_init(s->loop, &s->rest, end_rest, s) < 0)
        err(1, "loop");
    s->pool = pool_create(o->threads, o->capacity);
    if (s->pool == NULL)
        err(1, "pool");
    loop_io_init(s->loop, &s->listener, listener, accept_clients, s);
    loop_io_init(s->loop, &s->signals, signals, end_server, s);
    if (loop_io_want(&s->listener, EPOLLIN) < 0 ||
        loop_io_want(&s->signals, EPOLLIN) < 0)
        err(1, "epoll_ctl");
    announce(listener);
}

/* Jobs that have begun are waited for, the others are cancelled; all completion
 * events come in the last turns of the loop, and find their clients closed. */
static void
finish(struct server *s)
{
    struct client *c, *next;
    for (c = LIST_FIRST(&s->clients); c != NULL; c = next) {
        next = LIST_NEXT(c, link);
        close_client(c);
    }
    loop_close(&s->listener.handle, NULL);
    loop_close(&s->signals.handle, NULL);
    loop_close(&s->rest.handle, NULL);
    close(s->listener.fd);
    close(s->signals.fd);
    pool_destroy(s->pool);
    loop_run(s->loop);
    loop_destroy(s->loop);
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct server s = {.connected = 0};
    start(&s, &o);
    loop_run(s.loop);
    finish(&s);
    return 0;
}
