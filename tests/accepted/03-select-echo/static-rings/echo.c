/*
 * An accepted solution of stage 03, of another style.
 *
 * Nothing is ever allocated: each descriptor that fits into a set has its place
 * in a static array, with a ring of 8 KiB for what is to go back. There are no
 * states. A client is read from while its ring has room and it has not
 * finished, and written to while the ring holds something: a client that does
 * not read is stopped by its full ring, which is back-pressure just as well.
 * The sets are made anew for every select(). A signal writes a byte into a
 * pipe, whose other end the loop watches.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 16384,
    READ_SIZE_MAX = 1 << 20,
    RING = 8192,   /* bytes, a power of two: see slice() */
    ARRIVALS = 10, /* at most, in a turn */
};

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

static struct place {
    bool taken, finished;
    unsigned in, out; /* run on for ever; in - out bytes are in the ring */
    char ring[RING];
} places[FD_SETSIZE];

static int highest; /* no place above it is taken */
static size_t limit_of_read;

/* ---- Signals ---- */

static int bell[2];

static void
ring_bell(int signo)
{
    int saved = errno;
    (void)signo;
    /* When the pipe is full it has been rung often enough. */
    if (write(bell[1], "!", 1) < 0)
        errno = saved;
}

static void
make_bell(void)
{
    struct sigaction act = {.sa_handler = ring_bell, .sa_flags = SA_RESTART};
    if (pipe2(bell, O_NONBLOCK | O_CLOEXEC) < 0)
        err(1, "pipe");
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
}

/* ---- Clients ---- */

/* The part of the ring that begins at an index and does not wrap around. */
static size_t
slice(unsigned index, unsigned n)
{
    unsigned to_end = RING - index % RING;
    return n < to_end ? n : to_end;
}

static unsigned
held(const struct place *p)
{
    return p->in - p->out;
}

/* false: the client is gone. */
static bool
pull(int fd, struct place *p)
{
    size_t n = slice(p->in, RING - held(p));
    if (n > limit_of_read)
        n = limit_of_read;
    ssize_t got = recv(fd, p->ring + p->in % RING, n, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    p->in += (unsigned)got;
    p->finished = got == 0;
    return true;
}

static bool
push(int fd, struct place *p)
{
    ssize_t put = send(fd, p->ring + p->out % RING, slice(p->out, held(p)),
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0)
        return errno == EAGAIN || errno == EINTR;
    p->out += (unsigned)put;
    return true;
}

static void
attend(int fd, bool readable)
{
    struct place *p = &places[fd];
    bool well = true;
    if (readable)
        well = pull(fd, p);
    if (well && held(p) > 0)
        well = push(fd, p);
    if (!well || (p->finished && held(p) == 0)) {
        close(fd);
        p->taken = false;
    }
}

static void
welcome(int fd)
{
    static bool said;
    if (fd >= FD_SETSIZE) {
        if (!said)
            warnx("no room in an fd_set for descriptor %d and above", fd);
        said = true;
        close(fd);
        return;
    }
    struct place *p = &places[fd];
    p->taken = true;
    p->finished = false;
    p->in = p->out = 0;
    if (fd > highest)
        highest = fd;
}

/* Returns false if accepting makes no sense for a while. */
static bool
let_in(int listener)
{
    for (int n = 0; n < ARRIVALS; n++) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            welcome(fd);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            return false;
        }
    }
    return true;
}

/* ---- The loop ---- */

/* What all are waiting for; returns select()'s first argument. */
static int
ask(fd_set *in, fd_set *out)
{
    FD_ZERO(in);
    FD_ZERO(out);
    while (highest > 0 && !places[highest].taken)
        highest--;
    for (int fd = 0; fd <= highest; fd++) {
        const struct place *p = &places[fd];
        if (p->taken && !p->finished && held(p) < RING)
            FD_SET(fd, in);
        if (p->taken && held(p) > 0)
            FD_SET(fd, out);
    }
    return highest + 1;
}

static void
serve_all(int listener)
{
    struct timeval rest = {0}; /* how long the listener is left alone */
    fd_set in, out;
    for (;;) {
        int top = ask(&in, &out);
        bool resting = rest.tv_sec > 0 || rest.tv_usec > 0;
        int others[] = {bell[0], resting ? -1 : listener};
        for (int i = 0; i < 2; i++) {
            if (others[i] >= 0)
                FD_SET(others[i], &in);
            if (others[i] >= top)
                top = others[i] + 1;
        }
        /* Linux writes into rest how much of it is left. */
        int n = select(top, &in, &out, NULL, resting ? &rest : NULL);
        if (n < 0 && errno != EINTR)
            err(1, "select");
        if (n < 0)
            continue;
        if (FD_ISSET(bell[0], &in))
            return;
        for (int fd = 0; fd < top; fd++)
            if (places[fd].taken && (FD_ISSET(fd, &in) || FD_ISSET(fd, &out)))
                attend(fd, FD_ISSET(fd, &in));
        if (!resting && FD_ISSET(listener, &in) && !let_in(listener))
            rest.tv_usec = 100000;
    }
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    limit_of_read = o.read_size;
    make_bell();
    int listener = listen_on(o.addr, o.port);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    announce(listener);
    serve_all(listener);
    return 0;
}
