/*
 * echo_load: measure an echo server with many connections, few of them active.
 *
 *   echo_load [-n CONNECTIONS] [-a ACTIVE] [-s BYTES] [-t SECONDS] PORT PID
 *
 * Opens CONNECTIONS connections to 127.0.0.1:PORT, sends one message over each
 * and waits for the echo, so that all of them are known to be held by the
 * server. Then ACTIVE of them, evenly spread, play ping-pong for SECONDS: each
 * always has exactly one message under way. The others stay silent. Prints one
 * line of comma-separated values:
 *
 *   connections,active,messages,messages_per_s,p50_us,p99_us,cpu_us_per_message
 *
 * The last one is the CPU time (user and system) of process PID and of its
 * children, divided by the messages. This is the number to compare: it does
 * not depend on how fast the client is. Exit status 1: the server does not
 * hold that many connections, with the reason on stderr.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_MESSAGE = 65536, BATCH = 256, PATIENCE_MS = 10000 };

struct conn {
    int fd;
    size_t received;  /* of the message under way */
    uint64_t sent_at; /* ns */
};

struct latencies {
    uint32_t *us10; /* tenths of a microsecond */
    size_t count, size;
};

static char message[MAX_MESSAGE];
static size_t message_size = 64;

static uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- CPU time of the server ---- */

/* The words of a file in /proc, or "" if it is gone. */
static void
read_proc(const char *path, char *buf, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(buf, 1, size - 1, f) : 0;
    buf[n] = '\0';
    if (f)
        fclose(f);
}

/* The time on a CPU of all threads of a process, in us. /proc/PID/stat has it in
 * ticks of 10 ms, too coarse for a thousand processes with a little each. */
static double
process_cpu_us(int pid)
{
    char path[64], times[128];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *d; tasks && (d = readdir(tasks)) != NULL;) {
        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid,
                 d->d_name);
        read_proc(path, times, sizeof times);
        sum += strtod(times, NULL) / 1000;
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static double
tree_cpu_us(int pid)
{
    static char children[1 << 17];
    char path[64];
    double sum = process_cpu_us(pid);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    read_proc(path, children, sizeof children);
    for (char *p = children, *end; *p; p = end) {
        long child = strtol(p, &end, 10);
        if (end == p)
            break;
        sum += process_cpu_us((int)child);
    }
    return sum;
}

/* ---- Connections ---- */

static int
connect_to(int port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    /* Reset at the end: no port is left in TIME_WAIT for the next round. */
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        err(1, "socket");
    if (connect(fd, (struct sockaddr *)&sin, sizeof sin) < 0)
        err(1, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return fd;
}

/* The first echo: it proves that the server has accepted this connection. */
static void
greet(const struct conn *c, long which)
{
    if (send(c->fd, "x", 1, MSG_NOSIGNAL) != 1)
        err(1, "connection %ld: send", which);
}

static void
await_greeting(const struct conn *c, long which)
{
    char back[1];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, PATIENCE_MS) != 1)
        errx(1, "connection %ld gets no answer", which);
    if (recv(c->fd, back, 1, 0) != 1)
        errx(1, "connection %ld was closed", which);
}

/* Greets many at once: a server that looks at all its clients in each turn
 * would take n turns for n greetings, one after another. */
static struct conn *
open_all(long n, int port)
{
    struct conn *conns = calloc((size_t)n, sizeof *conns);
    if (!conns)
        err(1, "calloc");
    for (long i = 0; i < n; i++)
        conns[i].fd = connect_to(port);
    for (long first = 0; first < n; first += BATCH) {
        long end = first + BATCH < n ? first + BATCH : n;
        for (long i = first; i < end; i++)
            greet(&conns[i], i);
        for (long i = first; i < end; i++)
            await_greeting(&conns[i], i);
    }
    return conns;
}

/* ---- Ping-pong ---- */

static void
ping(struct conn *c)
{
    c->received = 0;
    c->sent_at = now_ns();
    if (send(c->fd, message, message_size, MSG_NOSIGNAL) !=
        (ssize_t)message_size)
        err(1, "send");
}

static void
record(struct latencies *l, uint64_t ns)
{
    if (l->count == l->size) {
        l->size = l->size ? 2 * l->size : 1 << 16;
        l->us10 = realloc(l->us10, l->size * sizeof *l->us10);
        if (!l->us10)
            err(1, "realloc");
    }
    l->us10[l->count++] = (uint32_t)(ns / 100);
}

/* Takes what came; when the message is whole, the next one goes out. */
static void
pong(struct conn *c, struct latencies *l)
{
    static char sink[MAX_MESSAGE];
    ssize_t n = recv(c->fd, sink, sizeof sink, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        errx(1, "the server closed an active connection");
    c->received += (size_t)n;
    if (c->received < message_size)
        return;
    record(l, now_ns() - c->sent_at);
    ping(c);
}

static void
play(int epoll, double seconds, struct latencies *l)
{
    struct epoll_event events[BATCH];
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end) {
        int ready = epoll_wait(epoll, events, BATCH, PATIENCE_MS);
        if (ready == 0)
            errx(1, "no echo within %d s", PATIENCE_MS / 1000);
        for (int i = 0; i < ready; i++)
            pong(events[i].data.ptr, l);
    }
}

static int
by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double
percentile(const struct latencies *l, double p)
{
    return l->us10[(size_t)(p * (double)(l->count - 1))] / 10.0;
}

static void
measure(struct conn *conns, long n, long active, double seconds, int pid)
{
    struct latencies l = {0}, warm_up = {0};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (long i = 0; i < active; i++) {
        struct conn *c = &conns[i * n / active];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
            err(1, "epoll_ctl");
        ping(c);
    }
    play(epoll, seconds / 10, &warm_up);
    double cpu = tree_cpu_us(pid);
    uint64_t start = now_ns();
    play(epoll, seconds, &l);
    double took = (double)(now_ns() - start) / 1e9;
    cpu = tree_cpu_us(pid) - cpu;
    qsort(l.us10, l.count, sizeof *l.us10, by_value);
    printf("%ld,%ld,%zu,%.0f,%.1f,%.1f,%.3f\n", n, active, l.count,
           (double)l.count / took, percentile(&l, 0.5), percentile(&l, 0.99),
           cpu / (double)l.count);
}

int
main(int argc, char **argv)
{
    long n = 100, active = 64;
    double seconds = 1;
    for (int c; (c = getopt(argc, argv, "n:a:s:t:")) != -1;) {
        switch (c) {
        case 'n':
            n = atol(optarg);
            break;
        case 'a':
            active = atol(optarg);
            break;
        case 's':
            message_size = strtoul(optarg, NULL, 10);
            break;
        case 't':
            seconds = atof(optarg);
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 2 || n < 1 || active < 1 || message_size < 1 ||
        message_size > MAX_MESSAGE || seconds <= 0)
        errx(2, "usage: echo_load [-n CONNECTIONS] [-a ACTIVE] [-s BYTES] "
                "[-t SECONDS] PORT PID");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct conn *conns = open_all(n, atoi(argv[optind]));
    measure(conns, n, active < n ? active : n, seconds, atoi(argv[optind + 1]));
    return 0;
}
