/*
 * An accepted solution of stage 04, of another style.
 *
 * The array for poll() has its entries in the order of the descriptors: entry 7
 * is about descriptor 7, or has -1 in fd, which poll() passes over. Nothing
 * ever moves, nothing has to learn a new place, and a client needs no object:
 * what it is doing is the function that comes next for it. The buffer of a
 * client that does not take its echo is mapped for as long as that lasts.
 * Signals arrive as a number in an eventfd, which a handler writes.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 16384, READ_SIZE_MAX = 1 << 20, PER_TURN = 20 };

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

/* What happens with a descriptor when poll() has something to say about it. */
typedef void action(int fd);
static action accept_some, read_some, write_rest, stop_all;

struct job {
    action *next;
    char *rest; /* write_rest: what is left; a mapping of chunk_size bytes */
    size_t from, to;
};

static struct pollfd *polled; /* both by descriptor */
static struct job *jobs;
static int room, top; /* entries that there are; those above top are unused */
static bool running = true;
static size_t chunk_size;
static char *chunk;      /* what read_some() reads into */
static int shy_listener; /* it is left alone until closed_until, or 0 */
static int64_t closed_until;

static int64_t
clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- The two arrays ---- */

/* Makes room for descriptor fd. What is new is unused. */
static bool
has_room_for(int fd)
{
    int wanted = room;
    while (wanted <= fd)
        wanted = wanted + wanted / 2 + 100;
    if (wanted == room)
        return true;
    void *p = reallocarray(polled, (size_t)wanted, sizeof *polled);
    if (p == NULL)
        return false;
    polled = p;
    p = reallocarray(jobs, (size_t)wanted, sizeof *jobs);
    if (p == NULL)
        return false;
    jobs = p;
    for (; room < wanted; room++) {
        polled[room].fd = -1;
        jobs[room] = (struct job){0};
    }
    return true;
}

static void
next_is(int fd, action *next, short events)
{
    polled[fd].events = events;
    jobs[fd].next = next;
}

/* Takes fd over, for good or bad. */
static bool
enroll(int fd, action *first)
{
    if (!has_room_for(fd)) {
        warn("no place for descriptor %d", fd);
        close(fd);
        return false;
    }
    polled[fd] = (struct pollfd){.fd = fd};
    next_is(fd, first, POLLIN);
    if (fd >= top)
        top = fd + 1;
    return true;
}

static void
drop_rest(int fd)
{
    if (jobs[fd].rest != NULL)
        munmap(jobs[fd].rest, chunk_size);
    jobs[fd].rest = NULL;
}

static void
dismiss(int fd)
{
    drop_rest(fd);
    jobs[fd].next = NULL;
    polled[fd].fd = -1;
    close(fd);
    while (top > 0 && polled[top - 1].fd < 0)
        top--;
    closed_until = 0; /* now there is a descriptor */
}

/* ---- The actions ---- */

static void
stop_all(int fd)
{
    (void)fd;
    running = false;
}

static void
accept_some(int listener)
{
    for (int i = 0; i < PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            enroll(fd, read_some);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            polled[listener].fd = -1; /* passed over, as if it were unused */
            shy_listener = listener;
            closed_until = clock_ms() + 120;
            break;
        }
    }
}

static bool
later(void)
{
    return errno == EWOULDBLOCK || errno == EINTR;
}

/* What has not been written of chunk[0..n) waits in a mapping of its own. */
static void
keep_rest(int fd, size_t from, size_t n)
{
    void *p = mmap(NULL, chunk_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        dismiss(fd);
        return;
    }
    memcpy(p, chunk, n);
    jobs[fd].rest = p;
    jobs[fd].from = from;
    jobs[fd].to = n;
    next_is(fd, write_rest, POLLOUT);
}

static void
read_some(int fd)
{
    ssize_t n = read(fd, chunk, chunk_size);
    if (n < 0 && later())
        return;
    if (n <= 0) {
        dismiss(fd);
        return;
    }
    ssize_t written = write(fd, chunk, (size_t)n);
    if (written < 0 && !later())
        dismiss(fd);
    else if (written < n)
        keep_rest(fd, written < 0 ? 0 : (size_t)written, (size_t)n);
}

static void
write_rest(int fd)
{
    struct job *j = &jobs[fd];
    ssize_t n = write(fd, j->rest + j->from, j->to - j->from);
    if (n < 0 && !later()) {
        dismiss(fd);
    } else if (n > 0 && (j->from += (size_t)n) == j->to) {
        drop_rest(fd);
        next_is(fd, read_some, POLLIN);
    }
}

/* ---- The loop ---- */

static int
patience(void)
{
    if (shy_listener == 0)
        return -1;
    int64_t left = closed_until - clock_ms();
    if (left > 0)
        return (int)left;
    polled[shy_listener].fd = shy_listener;
    shy_listener = 0;
    return -1;
}

static void
turn(void)
{
    int ms = patience(), n = poll(polled, (nfds_t)top, ms);
    if (n < 0 && errno != EINTR)
        err(1, "poll");
    if (n <= 0)
        return;
    /* A descriptor that is new in this turn has no revents yet. */
    for (int fd = 0; fd < top; fd++)
        if (polled[fd].fd >= 0 && polled[fd].revents != 0)
            jobs[fd].next(fd);
}

static int stop_event;

static void
on_signal(int signo)
{
    int saved = errno;
    uint64_t one = (uint64_t)signo;
    if (write(stop_event, &one, sizeof one) < 0)
        _exit(1);
    errno = saved;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    chunk_size = o.read_size;
    chunk = malloc(chunk_size);
    stop_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (chunk == NULL || stop_event < 0)
        err(1, "setting up");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int listener = listen_on(o.addr, o.port);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    if (!enroll(stop_event, stop_all) || !enroll(listener, accept_some))
        return 1;
    announce(listener);
    while (running)
        turn();
    while (top > 0)
        dismiss(top - 1);
    free(polled);
    free(jobs);
    free(chunk);
    return 0;
}
