/*
 * An accepted solution of stage 05, of another style.
 *
 * The loop knows only sources: a descriptor, a function and what is asked for.
 * A client, the listener, a timer and a socket pair for signals each have one
 * inside of them, and get from it to themselves by container_of(). The rest of
 * a listener is a timerfd, so that epoll_wait() needs no timeout at all. Who is
 * done is put on a list and freed after the batch. Each client has a small
 * buffer of its own from beginning to end, for what was read and not yet
 * written; silent clients differ from busy ones in nothing.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define READ_SIZE     16384
#define READ_SIZE_MAX (1 << 20)
#define ROOM          4096
#define container_of(p, type, member)                                          \
    ((type *)(void *)((char *)(p)-offsetof(type, member)))

struct options {
    const char *addr;
    const char *port;
    size_t read_size;
};

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT] [-b BYTES]\n"
          "  -a ADDR   address to listen on (127.0.0.1)\n"
          "  -p PORT   port, 0 for any free one (4000)\n"
          "  -b BYTES  the most that one read() takes (16384)\n",
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
bytes_or_usage(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits > 7 || text[digits] != '\0' || atoi(text) < 1 ||
        atoi(text) > READ_SIZE_MAX) {
        warnx("-b %s: not a number of bytes (1 to %d)", text, READ_SIZE_MAX);
        usage(stderr, 2);
    }
    return (size_t)atoi(text);
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {
        .addr = "127.0.0.1", .port = "4000", .read_size = READ_SIZE};
    int c;
    while ((c = getopt(argc, argv, "a:p:b:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 'b':
            o.read_size = bytes_or_usage(optarg);
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

    int fd = socket(ai->ai_family, ai->ai_socktype, 0);
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

/* ---- The loop: it knows nothing of clients ---- */

struct source {
    int fd;
    uint32_t asked;
    void (*happened)(struct source *self);
};

static int epoll;
static bool goes_on = true;

static bool
add_source(struct source *s, int fd, uint32_t events,
           void (*happened)(struct source *))
{
    *s = (struct source){.fd = fd, .asked = events, .happened = happened};
    struct epoll_event e = {.events = events, .data = {.ptr = s}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

static void
ask_for(struct source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data = {.ptr = s}};
    if (events != s->asked && epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e) != 0)
        err(1, "epoll_ctl");
    s->asked = events;
}

/* Until told to end; calls after() when all events of a batch are served. */
static void
run(void (*after)(void))
{
    struct epoll_event batch[128];
    while (goes_on) {
        int n = epoll_wait(epoll, batch, 128, -1);
        if (n < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < n; i++) {
            struct source *s = batch[i].data.ptr;
            s->happened(s);
        }
        after();
    }
}

/* ---- Clients ---- */

struct client {
    struct source source;
    struct client *older, *newer; /* all that are connected */
    bool done;
    size_t begin, end; /* of bytes: to be written */
    char bytes[ROOM];
};

/* Both ends of the list of clients; then those that are done, by newer. */
static struct client *oldest, *newest, *done;
static size_t read_limit = ROOM;
static void wake_listener(void);

static void
finish(struct client *c)
{
    if (c->done)
        return;
    c->done = true;
    *(c->older != NULL ? &c->older->newer : &oldest) = c->newer;
    *(c->newer != NULL ? &c->newer->older : &newest) = c->older;
    c->newer = done;
    done = c;
}

static void
bury_the_done(void)
{
    if (done != NULL)
        wake_listener();
    while (done != NULL) {
        struct client *c = done;
        done = c->newer;
        close(c->source.fd);
        free(c);
    }
}

static bool
again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static void
write_out(struct client *c)
{
    ssize_t n = send(c->source.fd, c->bytes + c->begin, c->end - c->begin,
                     MSG_NOSIGNAL);
    if (n >= 0)
        c->begin += (size_t)n;
    else if (!again())
        finish(c);
}

static void
read_in(struct client *c)
{
    ssize_t n = recv(c->source.fd, c->bytes, read_limit, 0);
    if (n > 0) {
        c->begin = 0;
        c->end = (size_t)n;
        write_out(c);
    } else if (n == 0 || !again()) {
        finish(c);
    }
}

static void
client_happened(struct source *s)
{
    struct client *c = container_of(s, struct client, source);
    if (c->begin < c->end)
        write_out(c);
    else
        read_in(c);
    if (!c->done)
        ask_for(s, c->begin < c->end ? EPOLLOUT : EPOLLIN);
}

static void
new_client(int fd)
{
    struct client *c = malloc(sizeof *c);
    if (c == NULL || !add_source(&c->source, fd, EPOLLIN, client_happened)) {
        warn("no place for a client");
        close(fd);
        free(c);
        return;
    }
    c->older = newest;
    c->newer = NULL;
    *(newest != NULL ? &newest->newer : &oldest) = c;
    newest = c;
    c->done = false;
    c->begin = c->end = 0;
}

/* ---- The listener and its timer ---- */

static struct source listener, timer;

static void
ring_after(long ns)
{
    struct itimerspec t = {.it_value.tv_nsec = ns};
    timerfd_settime(timer.fd, 0, &t, NULL);
}

static void
listener_happened(struct source *s)
{
    for (int left = 30; left > 0; left--) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            new_client(fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            ask_for(s, 0);
            ring_after(100000000);
            return;
        }
    }
}

static void
wake_listener(void)
{
    ask_for(&listener, EPOLLIN);
}

static void
timer_happened(struct source *s)
{
    (void)s;
    ring_after(0); /* nothing is set, and nothing is to be read any more */
    wake_listener();
}

/* ---- Signals ---- */

static int signal_pair[2];
static struct source signals;

static void
pass_signal(int signo)
{
    int saved = errno;
    send(signal_pair[1], &signo, sizeof signo, MSG_DONTWAIT);
    errno = saved;
}

static void
signals_happened(struct source *s)
{
    (void)s;
    goes_on = false;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    if (o.read_size < read_limit)
        read_limit = o.read_size;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll < 0 || t < 0 ||
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, signal_pair) != 0)
        err(1, "setting up");
    int fd = listen_on(o.addr, o.port);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (!add_source(&timer, t, EPOLLIN, timer_happened) ||
        !add_source(&signals, signal_pair[0], EPOLLIN, signals_happened) ||
        !add_source(&listener, fd, EPOLLIN, listener_happened))
        err(1, "epoll_ctl");
    signal(SIGTERM, pass_signal);
    signal(SIGINT, pass_signal);
    announce(fd);
    run(bury_the_done);
    while (newest != NULL)
        finish(newest);
    bury_the_done();
    return 0;
}
