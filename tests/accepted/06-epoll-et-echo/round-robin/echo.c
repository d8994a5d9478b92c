/*
 * An accepted solution of stage 06, of another style.
 *
 * Fairness by turns of one step each: whoever can do something stands in a
 * queue; the first makes one read with its echo, or one write, or accepts one
 * client, and goes to the end. The kernel is asked for news after every 64
 * steps, without waiting, and waited for when the queue is empty. Nothing is
 * guessed from short reads: only EAGAIN says that a socket is empty, so that
 * neither EPOLLRDHUP nor EPOLLPRI need be asked for. The bytes of a client are
 * in a pair of buffers that change places: one is read into, the other is
 * written from.
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
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 16384,
    READ_SIZE_MAX = 1 << 20,
    HALF = 8192, /* of a client's pair of buffers */
    STEPS = 64,
    REST = 100, /* ms */
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

struct half {
    size_t from, to;
    char bytes[HALF];
};

/* Anything that the kernel reports; the listener has no halves. */
struct peer {
    int fd;
    bool may_read, may_write; /* until EAGAIN */
    bool at_end, lost;
    bool in_queue;
    struct half *in, *out; /* two, or none while nothing is under way */
    TAILQ_ENTRY(peer) place;
    LIST_ENTRY(peer) neighbours;
};

static TAILQ_HEAD(, peer) queue = TAILQ_HEAD_INITIALIZER(queue);
static LIST_HEAD(, peer) peers = LIST_HEAD_INITIALIZER(peers);
static struct peer listener, stopper;
static int epoll;
static size_t bite;
static int64_t rest_until;
static struct half *spare[2]; /* what the last client has left */

static int64_t
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- What can be done ---- */

static bool
holds(const struct half *h)
{
    return h != NULL && h->from < h->to;
}

static bool
can_write(const struct peer *p)
{
    return p->may_write && (holds(p->out) || holds(p->in));
}

static bool
can_read(const struct peer *p)
{
    return p->may_read && !p->at_end && !holds(p->in);
}

static bool
can_go_on(const struct peer *p)
{
    if (p == &listener)
        return p->may_read && rest_until == 0;
    return p->lost || can_write(p) || can_read(p) ||
           (p->at_end && !holds(p->in) && !holds(p->out));
}

static void
line_up(struct peer *p)
{
    if (!p->in_queue && can_go_on(p)) {
        p->in_queue = true;
        TAILQ_INSERT_TAIL(&queue, p, place);
    }
}

static bool
watch(struct peer *p)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                            .data.ptr = p};
    int on = 1;
    return ioctl(p->fd, FIONBIO, &on) == 0 &&
           epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &e) == 0;
}

/* ---- Steps ---- */

static bool
get_halves(struct peer *p)
{
    struct half **both[2] = {&p->in, &p->out};
    for (int i = 0; i < 2; i++) {
        if (*both[i] != NULL)
            continue;
        *both[i] = spare[i] != NULL ? spare[i] : malloc(sizeof(struct half));
        spare[i] = NULL;
        if (*both[i] == NULL)
            return false;
        (*both[i])->from = (*both[i])->to = 0;
    }
    return true;
}

static void
put_halves(struct peer *p)
{
    if (spare[0] == NULL && spare[1] == NULL) {
        spare[0] = p->in;
        spare[1] = p->out;
    } else {
        free(p->in);
        free(p->out);
    }
    p->in = p->out = NULL;
}

static void
depart(struct peer *p)
{
    put_halves(p);
    close(p->fd);
    LIST_REMOVE(p, neighbours);
    free(p);
    rest_until = 0;
    line_up(&listener);
}

/* What was read is now to be written, if the other half is through. */
static void
swap_halves(struct peer *p)
{
    if (holds(p->out) || !holds(p->in))
        return;
    struct half *h = p->in;
    p->in = p->out;
    p->out = h;
}

static void
write_once(struct peer *p)
{
    swap_halves(p);
    ssize_t n = send(p->fd, p->out->bytes + p->out->from,
                     p->out->to - p->out->from, MSG_NOSIGNAL);
    if (n >= 0)
        p->out->from += (size_t)n;
    else if (errno == EAGAIN)
        p->may_write = false;
    else if (errno != EINTR)
        p->lost = true;
}

static void
read_once(struct peer *p)
{
    if (!get_halves(p)) {
        p->lost = true;
        return;
    }
    ssize_t n = recv(p->fd, p->in->bytes, bite, 0);
    if (n > 0) {
        p->in->from = 0;
        p->in->to = (size_t)n;
    } else if (n == 0) {
        p->at_end = true;
    } else if (errno == EAGAIN) {
        p->may_read = false;
    } else if (errno != EINTR) {
        p->lost = true;
    }
}

static void
welcome(int fd)
{
    struct peer *p = calloc(1, sizeof *p);
    if (p != NULL)
        p->fd = fd;
    if (p == NULL || !watch(p)) {
        warn("a client is turned away");
        free(p);
        close(fd);
        return;
    }
    LIST_INSERT_HEAD(&peers, p, neighbours);
}

static void
accept_once(void)
{
    int fd = accept(listener.fd, NULL, NULL);
    if (fd >= 0) {
        welcome(fd);
    } else if (errno == EAGAIN) {
        listener.may_read = false;
    } else if (errno != EINTR && errno != ECONNABORTED) {
        warn("accept");
        rest_until = now() + REST;
    }
}

static void
step(struct peer *p)
{
    if (p == &listener) {
        accept_once();
    } else if (can_write(p) && !p->lost) {
        write_once(p);
    } else if (can_read(p) && !p->lost) {
        read_once(p);
        if (can_write(p)) /* an echo need not wait for its next turn */
            write_once(p);
    } else {
        depart(p);
        return;
    }
    if (p != &listener && p->in != NULL && !holds(p->in) && !holds(p->out))
        put_halves(p);
    line_up(p);
}

/* ---- The loop ---- */

static int
patience(void)
{
    if (!TAILQ_EMPTY(&queue))
        return 0;
    if (rest_until == 0)
        return -1;
    int64_t left = rest_until - now();
    return left > 0 ? (int)left : 0;
}

static void
hear_news(void)
{
    struct epoll_event news[100];
    int n = epoll_wait(epoll, news, 100, patience());
    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < n; i++) {
        struct peer *p = news[i].data.ptr;
        uint32_t e = news[i].events;
        p->may_read |= (e & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
        p->may_write |= (e & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0;
        if (p != &stopper)
            line_up(p);
    }
    if (rest_until != 0 && now() >= rest_until) {
        rest_until = 0;
        line_up(&listener);
    }
}

static void
on_stop(int signo)
{
    int saved = errno;
    (void)signo;
    eventfd_write(stopper.fd, 1);
    errno = saved;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    bite = o.read_size < HALF ? o.read_size : HALF;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    stopper.fd = eventfd(0, EFD_CLOEXEC);
    if (epoll < 0 || stopper.fd < 0 || !watch(&stopper))
        err(1, "epoll");
    stopper.may_read = false;
    signal(SIGINT, on_stop);
    signal(SIGTERM, on_stop);
    listener.fd = listen_on(o.addr, o.port);
    if (!watch(&listener))
        err(1, "epoll_ctl");
    announce(listener.fd);
    while (!stopper.may_read) {
        hear_news();
        for (int i = 0; i < STEPS && !TAILQ_EMPTY(&queue); i++) {
            struct peer *p = TAILQ_FIRST(&queue);
            TAILQ_REMOVE(&queue, p, place);
            p->in_queue = false;
            step(p);
        }
    }
    while (!LIST_EMPTY(&peers))
        depart(LIST_FIRST(&peers));
    free(spare[0]);
    free(spare[1]);
    return 0;
}
