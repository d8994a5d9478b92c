/*
 * An accepted solution of stage 04, of another style.
 *
 * The array for poll() is written anew before each call, from a ring of
 * clients, each of which knows its neighbours; so it never has a gap to be
 * closed, and who comes or goes during a turn changes only the next array. One
 * state machine does all the work for a client: step() goes from state to state
 * by recursion until a call would block or the turn's one read is used up.
 * What is not sent yet is moved to the front of the client's own buffer
 * (memmove), behind it the client may be read on. Signals are let in by ppoll()
 * alone; those that find it busy are asked for after each turn.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const int READ_SIZE = 16384, READ_SIZE_MAX = 1 << 20;

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

enum phase { TALKING, FAREWELL, DEAD };

/* The buffer comes with the first byte and goes when nothing is in it, so that
 * ten thousand silent clients have none. */
struct client {
    struct client *prev, *next;
    int fd;
    enum phase phase; /* FAREWELL: it has finished, its rest has not gone out */
    char *buffer;
    size_t fill; /* bytes in buffer */
};

static struct client everyone = {
    .prev = &everyone, .next = &everyone, .fd = -1};
static size_t population;
static size_t buffer_size;
static char *idle_buffer; /* one that nobody has, or NULL */

/* ---- Buffers ---- */

static bool
give_buffer(struct client *c)
{
    if (c->buffer == NULL) {
        c->buffer = idle_buffer != NULL ? idle_buffer : malloc(buffer_size);
        idle_buffer = NULL;
    }
    return c->buffer != NULL;
}

static void
take_buffer_back(struct client *c)
{
    if (idle_buffer == NULL)
        idle_buffer = c->buffer;
    else
        free(c->buffer);
    c->buffer = NULL;
}

/* ---- Who is there ---- */

static void
join(int fd)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    c->fd = fd;
    c->prev = everyone.prev;
    c->next = &everyone;
    c->prev->next = c;
    everyone.prev = c;
    population++;
}

static void
leave(struct client *c)
{
    c->prev->next = c->next;
    c->next->prev = c->prev;
    population--;
    take_buffer_back(c);
    close(c->fd);
    free(c);
}

/* ---- What happens to a client ---- */

static bool
must_wait(ssize_t result)
{
    return result < 0 && (errno == EAGAIN || errno == EINTR);
}

static void step(struct client *c, short ready);

static void
read_step(struct client *c, short ready)
{
    if (c->fill == buffer_size) /* it does not take its echo: let it wait */
        return;
    if (!give_buffer(c)) {
        c->phase = DEAD;
        return;
    }
    ssize_t n = read(c->fd, c->buffer + c->fill, buffer_size - c->fill);
    if (must_wait(n))
        return;
    if (n < 0)
        c->phase = DEAD;
    else if (n == 0)
        c->phase = FAREWELL;
    else
        c->fill += (size_t)n;
    step(c, (ready & ~POLLIN) | POLLOUT);
}

static void
write_step(struct client *c, short ready)
{
    ssize_t n = write(c->fd, c->buffer, c->fill);
    if (n < 0 && !must_wait(n))
        c->phase = DEAD;
    if (n > 0) {
        c->fill -= (size_t)n;
        memmove(c->buffer, c->buffer + n, c->fill);
    }
    step(c, ready & ~POLLOUT);
}

/* ready: what has not been tried yet in this turn. There is one read in a turn,
 * and one write before and after it: that is as deep as the recursion goes. */
static void
step(struct client *c, short ready)
{
    if (c->phase == DEAD || (c->phase == FAREWELL && c->fill == 0))
        leave(c);
    else if ((ready & POLLOUT) && c->fill > 0)
        write_step(c, ready);
    else if ((ready & POLLIN) && c->phase == TALKING)
        read_step(c, ready);
    else if (c->fill == 0)
        take_buffer_back(c);
}

/* ---- The loop ---- */

static struct pollfd *list;
static struct client **who; /* list[i] is about who[i]; list[0] the listener */
static size_t list_room;

/* Makes the list longer if need be. Without memory for that the last
 * clients have to wait for a turn in which there is. */
static size_t
list_length(void)
{
    size_t wanted = population + 1;
    if (wanted > list_room) {
        size_t more = wanted + wanted / 4 + 30;
        struct pollfd *l = malloc(more * sizeof *l);
        struct client **w = malloc(more * sizeof(struct client *));
        if (l != NULL && w != NULL) {
            free(list);
            free(who);
            list = l;
            who = w;
            list_room = more;
        } else {
            free(l);
            free(w);
        }
    }
    return wanted < list_room ? wanted : list_room;
}

static short
wish(const struct client *c)
{
    short in = c->phase == TALKING && c->fill < buffer_size ? POLLIN : 0;
    short out = c->fill > 0 ? POLLOUT : 0;
    return in | out;
}

static struct timespec opening; /* nobody is let in before this time */

/* Is it too early? Then *rest is how long it still takes. */
static bool
is_closed(struct timespec *rest)
{
    clock_gettime(CLOCK_MONOTONIC, rest);
    rest->tv_sec = opening.tv_sec - rest->tv_sec;
    rest->tv_nsec = opening.tv_nsec - rest->tv_nsec;
    if (rest->tv_nsec < 0) {
        rest->tv_sec--;
        rest->tv_nsec += 1000000000;
    }
    return rest->tv_sec >= 0;
}

static void
close_for(long ms)
{
    clock_gettime(CLOCK_MONOTONIC, &opening);
    opening.tv_nsec += ms * 1000000;
    opening.tv_sec += opening.tv_nsec / 1000000000;
    opening.tv_nsec %= 1000000000;
}

static void
let_them_in(int listener)
{
    for (int n = 16; n > 0; n--) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            join(fd);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR && errno != ECONNABORTED) {
            warn("accept");
            close_for(100);
            return;
        }
    }
}

static void
turn(int listener, const sigset_t *during)
{
    struct timespec rest;
    bool closed = is_closed(&rest);
    size_t n = list_length();
    list[0] = (struct pollfd){.fd = closed ? -1 : listener, .events = POLLIN};
    struct client *c = everyone.next;
    for (size_t i = 1; i < n; i++, c = c->next) {
        list[i] = (struct pollfd){.fd = c->fd, .events = wish(c)};
        who[i] = c;
    }
    int ready = ppoll(list, n, closed ? &rest : NULL, during);
    if (ready < 0 && errno != EINTR)
        err(1, "ppoll");
    if (ready < 0)
        return;
    for (size_t i = n; i-- > 1;) {
        /* Errors and ends come unasked; read() and write() know more. */
        short events = list[i].revents;
        if (events & (POLLERR | POLLHUP))
            events |= POLLIN | POLLOUT;
        if (events != 0)
            step(who[i], events);
    }
    if (list[0].revents != 0)
        let_them_in(listener);
}

static volatile sig_atomic_t end;

static void
on_end(int signo)
{
    (void)signo;
    end = 1;
}

/* A busy ppoll() does not let signals in. */
static bool
shall_end(void)
{
    sigset_t pending;
    sigpending(&pending);
    return end || sigismember(&pending, SIGTERM) ||
           sigismember(&pending, SIGINT);
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    sigset_t both, during;
    buffer_size = o.read_size;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    sigprocmask(SIG_BLOCK, &both, &during);
    signal(SIGTERM, on_end);
    signal(SIGINT, on_end);
    signal(SIGPIPE, SIG_IGN);
    if (list_length() == 0)
        err(1, "malloc");
    int listener = listen_on(o.addr, o.port);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    announce(listener);
    while (!shall_end())
        turn(listener, &during);
    while (everyone.next != &everyone)
        leave(everyone.next);
    free(idle_buffer);
    free(list);
    free(who);
    return 0;
}
