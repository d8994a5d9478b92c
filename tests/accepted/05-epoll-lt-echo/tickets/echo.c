/*
 * An accepted solution of stage 05, of another style.
 *
 * The kernel is not given pointers but tickets: the number of a slot, and how
 * often that slot has changed its client. An event whose ticket is of yesterday
 * is seen to be so, whatever order a batch has. Slots come in blocks that never
 * move and are never given back, only reused. What a socket does not take waits
 * in a ring, and a client is read on while its ring has room: both directions
 * may be under way at the same time. Signals are let in by epoll_pwait(), and
 * asked for when it had no need to wait.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE     16384
#define READ_SIZE_MAX (1 << 20)
#define RING          16384u /* bytes, a power of two */
#define BLOCK         64u    /* slots that are allocated together */
#define BLOCKS        16384u

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

struct slot {
    int fd;
    uint32_t generation; /* odd while somebody is here */
    uint32_t number;
    uint32_t asked; /* what the kernel reports */
    bool finished;
    uint32_t in, out; /* of the ring, running on */
    char *ring;       /* NULL while nothing waits */
    struct slot *next_free;
};

static struct slot *blocks[BLOCKS];
static uint32_t blocks_made;
static struct slot *free_slots;

static int epoll, listener;
static bool listening;
static int64_t listen_again; /* ms */
static size_t most;
static char scratch[READ_SIZE_MAX];

#define LISTENER_TICKET UINT64_MAX

/* ---- Slots ---- */

static bool
make_block(void)
{
    if (blocks_made == BLOCKS)
        return false;
    struct slot *block = calloc(BLOCK, sizeof *block);
    if (block == NULL)
        return false;
    for (uint32_t i = 0; i < BLOCK; i++) {
        block[i].number = blocks_made * BLOCK + i;
        block[i].next_free = free_slots;
        free_slots = &block[i];
    }
    blocks[blocks_made++] = block;
    return true;
}

static uint64_t
ticket(const struct slot *s)
{
    return (uint64_t)s->generation << 32 | s->number;
}

/* NULL if the ticket's client is no longer there. */
static struct slot *
find(uint64_t t)
{
    uint32_t number = (uint32_t)t;
    struct slot *s = &blocks[number / BLOCK][number % BLOCK];
    return ticket(s) == t ? s : NULL;
}

static void
vacate(struct slot *s)
{
    close(s->fd);
    free(s->ring);
    s->ring = NULL;
    s->generation++;
    s->next_free = free_slots;
    free_slots = s;
    listen_again = 0;
}

static void
settle(int fd)
{
    if (free_slots == NULL && !make_block()) {
        close(fd);
        return;
    }
    struct slot *s = free_slots;
    free_slots = s->next_free;
    s->generation++;
    s->fd = fd;
    s->finished = false;
    s->in = s->out = 0;
    s->asked = EPOLLIN;
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = ticket(s)};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        warn("epoll_ctl");
        vacate(s);
    }
}

/* ---- Bytes ---- */

static uint32_t
waiting(const struct slot *s)
{
    return s->in - s->out;
}

static int
parts(struct iovec v[2], char *ring, uint32_t from, uint32_t n)
{
    uint32_t at = from % RING, first = n < RING - at ? n : RING - at;
    v[0] = (struct iovec){.iov_base = ring + at, .iov_len = first};
    v[1] = (struct iovec){.iov_base = ring, .iov_len = n - first};
    return 2;
}

static bool
passing(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* Nothing waits: what comes goes out at once, and what does not fit is kept.
 * Like the two below: false if the client is lost. */
static bool
pass_on(struct slot *s)
{
    ssize_t n = recv(s->fd, scratch, most < RING ? most : RING, 0);
    if (n <= 0) {
        s->finished = n == 0;
        return n == 0 || passing();
    }
    ssize_t sent = send(s->fd, scratch, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0 && !passing())
        return false;
    if (sent < 0)
        sent = 0;
    if (sent == n)
        return true;
    s->ring = malloc(RING);
    if (s->ring == NULL)
        return false;
    s->out = 0;
    s->in = (uint32_t)(n - sent);
    memcpy(s->ring, scratch + sent, s->in);
    return true;
}

static bool
fill(struct slot *s)
{
    struct iovec v[2];
    uint32_t room = RING - waiting(s);
    ssize_t n =
        readv(s->fd, v,
              parts(v, s->ring, s->in, room < most ? room : (uint32_t)most));
    if (n > 0)
        s->in += (uint32_t)n;
    s->finished = n == 0;
    return n >= 0 || passing();
}

static bool
empty(struct slot *s)
{
    struct iovec v[2];
    struct msghdr m = {.msg_iov = v};
    m.msg_iovlen = (size_t)parts(v, s->ring, s->out, waiting(s));
    ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
    if (n > 0)
        s->out += (uint32_t)n;
    if (waiting(s) == 0) {
        free(s->ring);
        s->ring = NULL;
    }
    return n >= 0 || passing();
}

static bool
exchange(struct slot *s, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) /* whichever is asked for will tell */
        events |= s->asked;
    bool well = true;
    if (s->ring != NULL && (events & EPOLLOUT))
        well = empty(s);
    if (well && !s->finished && (events & EPOLLIN))
        well = s->ring == NULL ? pass_on(s) : waiting(s) == RING || fill(s);
    return well && !(s->finished && s->ring == NULL);
}

static void
serve(struct slot *s, uint32_t events)
{
    if (!exchange(s, events)) {
        vacate(s);
        return;
    }
    uint32_t wanted = s->ring != NULL ? EPOLLOUT : 0;
    if (!s->finished && (s->ring == NULL || waiting(s) < RING))
        wanted |= EPOLLIN;
    if (wanted == s->asked)
        return;
    s->asked = wanted;
    struct epoll_event e = {.events = wanted, .data.u64 = ticket(s)};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e) != 0)
        vacate(s);
}

/* ---- The listener ---- */

static int64_t
ms_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* On the list or off it: a listener that is not on it cannot be reported. */
static void
set_listening(bool on)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = LISTENER_TICKET};
    if (epoll_ctl(epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener, &e) != 0)
        err(1, "epoll_ctl");
    listening = on;
}

static void
admit(void)
{
    for (int i = 0; i < 16; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            settle(fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            set_listening(false);
            listen_again = ms_now() + 100;
            return;
        }
    }
}

static int
wait_at_most(void)
{
    if (listening)
        return -1;
    int64_t left = listen_again - ms_now();
    if (left > 0)
        return (int)left;
    set_listening(true);
    return -1;
}

/* ---- The loop ---- */

static volatile sig_atomic_t stop_now;

static void
stop(int signo)
{
    (void)signo;
    stop_now = 1;
}

static bool
asked_to_stop(void)
{
    sigset_t pending;
    sigpending(&pending);
    return stop_now || sigismember(&pending, SIGINT) == 1 ||
           sigismember(&pending, SIGTERM) == 1;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    most = o.read_size;
    sigset_t block, open;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &open);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);

    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        err(1, "epoll_create1");
    listener = listen_on(o.addr, o.port);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    set_listening(true);
    announce(listener);
    while (!asked_to_stop()) {
        struct epoll_event batch[64];
        int n = epoll_pwait(epoll, batch, 64, wait_at_most(), &open);
        if (n < 0 && errno != EINTR)
            err(1, "epoll_pwait");
        for (int i = 0; i < n; i++) {
            uint64_t t = batch[i].data.u64;
            struct slot *s = t == LISTENER_TICKET ? NULL : find(t);
            if (t == LISTENER_TICKET)
                admit();
            else if (s != NULL)
                serve(s, batch[i].events);
        }
    }
    for (uint32_t i = 0; i < blocks_made * BLOCK; i++)
        free(blocks[i / BLOCK][i % BLOCK].ring);
    for (uint32_t i = 0; i < blocks_made; i++)
        free(blocks[i]);
    return 0;
}
