/*
 * An accepted solution of stage 02, of another style.
 *
 * Signals are blocked all the time, and no handler does any work. Who accepts
 * lets them in while ppoll() waits and asks for those which are pending; who
 * has nothing to accept takes them one by one from sigwaitinfo(). So children
 * are collected, counted and ended by ordinary code, which may call anything.
 * They stand in a linked list. At the end each gets SIGTERM, and SIGKILL if
 * that has not helped for a second. Bytes are copied by readv() and sendmsg()
 * through a ring that each worker has.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING 4096u /* a power of two: indexes run on, and are cut when used */

struct child {
    pid_t pid;
    struct child *next;
};

struct server {
    int listener;
    int workers;
    struct child *children;
    sigset_t quiet, usual; /* all that matter blocked; as it was before */
};

static volatile sig_atomic_t ending, child_ended;

static void
note(int signo)
{
    if (signo == SIGCHLD)
        child_ended = 1;
    else
        ending = 1;
}

/* ---- A client ---- */

/* Two pieces at most: the part of the ring from index `from`, n bytes long. */
static int
pieces(struct iovec v[2], unsigned char *ring, unsigned from, unsigned n)
{
    unsigned at = from % RING;
    unsigned first = n < RING - at ? n : RING - at;
    v[0] = (struct iovec){ring + at, first};
    v[1] = (struct iovec){ring, n - first};
    return n == first ? 1 : 2;
}

/* Reads only when all that came has gone back: nobody waits for an echo that is
 * here already. The ring goes on from where it stands. */
static void
echo(int fd)
{
    unsigned char ring[RING];
    unsigned in = 0, out = 0;
    for (;;) {
        struct iovec v[2];
        ssize_t n;
        if (in == out) {
            n = readv(fd, v, pieces(v, ring, in, RING));
            if (n > 0)
                in += (unsigned)n;
        } else {
            struct msghdr m = {.msg_iov = v};
            m.msg_iovlen = (size_t)pieces(v, ring, out, in - out);
            n = sendmsg(fd, &m, MSG_NOSIGNAL);
            if (n > 0)
                out += (unsigned)n;
        }
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
    }
    close(fd);
}

static void
pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int
take(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 && errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) {
        warn("accept");
        pause_ms(100);
    }
    return fd;
}

/* ---- Children ---- */

/* Blocks nothing and inherits no list; dies with its parent. */
static void
become_child(struct server *s, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    while (s->children != NULL) {
        struct child *c = s->children;
        s->children = c->next;
        free(c);
    }
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &s->usual, NULL);
}

/* Is true in the child. */
static bool
breed(struct server *s)
{
    pid_t parent = getpid();
    struct child *c = malloc(sizeof *c);
    pid_t pid = c == NULL ? -1 : fork();
    if (pid < 0) {
        warn("fork");
        free(c);
    } else if (pid > 0) {
        *c = (struct child){pid, s->children};
        s->children = c;
    } else {
        free(c);
        become_child(s, parent);
    }
    return pid == 0;
}

/* Takes the ended ones off the list; returns how many are left. */
static int
count_alive(struct server *s)
{
    int alive = 0;
    for (struct child **at = &s->children; *at != NULL;) {
        struct child *c = *at;
        if (waitpid(c->pid, NULL, WNOHANG) == 0) {
            alive++;
            at = &c->next;
        } else {
            *at = c->next;
            free(c);
        }
    }
    return alive;
}

static void
end_all(struct server *s)
{
    for (int try = 0; count_alive(s) > 0; try++) {
        for (struct child *c = s->children; c != NULL; c = c->next)
            kill(c->pid, try < 100 ? SIGTERM : SIGKILL);
        pause_ms(10);
    }
}

/* ---- The models: each returns when a signal says so ---- */

/* What signals have come? Returns true if the server is to end. */
static bool
told_to_end(struct server *s)
{
    static const struct timespec no_time;
    for (int signo; (signo = sigtimedwait(&s->quiet, NULL, &no_time)) > 0;)
        note(signo);
    if (child_ended)
        count_alive(s);
    child_ended = 0;
    return ending;
}

/* The next client, or -1 and the server is to end. A signal that comes after
 * the question ends ppoll(), or, if that has no need to wait, stays for the
 * next. */
static int
next_client(struct server *s)
{
    struct pollfd p = {.fd = s->listener, .events = POLLIN};
    while (!told_to_end(s)) {
        int ready = ppoll(&p, 1, NULL, &s->usual);
        int fd = ready == 1 ? take(s->listener) : -1;
        if (fd >= 0)
            return fd;
    }
    return -1;
}

static void
by_fork(struct server *s)
{
    for (int fd; (fd = next_client(s)) >= 0; close(fd))
        if (breed(s)) {
            close(s->listener);
            echo(fd);
            _exit(0);
        }
}

/* The workers of -m prefork and -m pool share a listener that blocks. */
static void
work(int listener)
{
    for (;;) {
        int fd = take(listener);
        if (fd >= 0)
            echo(fd);
    }
}

static void
by_prefork(struct server *s)
{
    for (bool first = true;; first = false) {
        int missing = s->workers - count_alive(s);
        if (missing > 0 && !first)
            pause_ms(100);
        while (missing-- > 0)
            if (breed(s))
                work(s->listener);
        /* Nobody tells of a fork() that failed: look again soon. */
        struct timespec soon = {.tv_nsec = 500000000};
        int signo = count_alive(s) < s->workers
                        ? sigtimedwait(&s->quiet, NULL, &soon)
                        : sigwaitinfo(&s->quiet, NULL);
        if (signo == SIGTERM || signo == SIGINT)
            return;
    }
}

static void *
echo_in_thread(void *fd)
{
    echo((int)(intptr_t)fd);
    return NULL;
}

static void *
work_in_thread(void *s)
{
    work(((struct server *)s)->listener);
    return NULL;
}

static int
new_thread(void *(*what)(void *), void *arg)
{
    pthread_attr_t how;
    pthread_t which;
    pthread_attr_init(&how);
    pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&how, 128 * 1024);
    int problem = pthread_create(&which, &how, what, arg);
    pthread_attr_destroy(&how);
    errno = problem;
    return problem == 0 ? 0 : -1;
}

static void
by_thread(struct server *s)
{
    for (int fd; (fd = next_client(s)) >= 0;)
        if (new_thread(echo_in_thread, (void *)(intptr_t)fd) < 0) {
            warn("pthread_create");
            close(fd);
        }
}

static void
by_pool(struct server *s)
{
    for (int i = 0; i < s->workers; i++)
        if (new_thread(work_in_thread, s) < 0)
            err(1, "pthread_create");
    while (!told_to_end(s))
        ppoll(NULL, 0, NULL, &s->usual);
}

/* ---- Setting up ---- */

static int
listener_on(const char *addr, const char *port)
{
    struct addrinfo *list, want = {.ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(addr, port, &want, &list);
    if (rc != 0)
        errx(1, "%s: %s", addr, gai_strerror(rc));
    int yes = 1;
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes))
        err(1, "socket");
    if (bind(fd, list->ai_addr, list->ai_addrlen) == -1)
        err(1, "bind %s:%s", addr, port);
    if (listen(fd, SOMAXCONN) == -1)
        err(1, "listen");
    freeaddrinfo(list);
    return fd;
}

static void
tell(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char host[100], port[10], line[128];
    if (getsockname(fd, (struct sockaddr *)&a, &n) == -1 ||
        getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        err(1, "getsockname");
    int len = snprintf(line, sizeof line,
                       strchr(host, ':') ? "listening on [%s]:%s\n"
                                         : "listening on %s:%s\n",
                       host, port);
    if (write(1, line, (size_t)len) != len)
        err(1, "stdout");
}

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT] [-m MODEL] [-n WORKERS]\n"
          "MODEL is one of: fork (default) thread prefork pool\n",
          out);
    exit(status);
}

/* Decimal digits only, between min and max. */
static int
decimal(const char *s, long min, long max)
{
    long n = 0;
    for (const char *at = s; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || n > max)
            usage(stderr, 2);
        n = 10 * n + (*at - '0');
    }
    if (*s == '\0' || n < min || n > max)
        usage(stderr, 2);
    return (int)n;
}

static void (*model_named(const char *name))(struct server *)
{
    if (!strcmp(name, "fork"))
        return by_fork;
    if (!strcmp(name, "thread"))
        return by_thread;
    if (!strcmp(name, "prefork"))
        return by_prefork;
    if (strcmp(name, "pool"))
        usage(stderr, 2);
    return by_pool;
}

static void
prepare_signals(struct server *s)
{
    struct sigaction on = {.sa_handler = note};
    sigemptyset(&s->quiet);
    int all[] = {SIGTERM, SIGINT, SIGCHLD};
    for (int i = 0; i < 3; i++) {
        sigaddset(&s->quiet, all[i]);
        sigaction(all[i], &on, NULL);
    }
    sigprocmask(SIG_BLOCK, &s->quiet, &s->usual);
}

int
main(int argc, char **argv)
{
    const char *addr = "127.0.0.1", *port = "4000";
    void (*run)(struct server *) = by_fork;
    struct server s = {.workers = 4};
    int c;
    while ((c = getopt(argc, argv, "a:p:m:n:h")) != -1) {
        if (c == 'a')
            addr = optarg;
        else if (c == 'p')
            decimal(port = optarg, 0, 65535);
        else if (c == 'm')
            run = model_named(optarg);
        else if (c == 'n')
            s.workers = decimal(optarg, 1, 999);
        else
            usage(c == 'h' ? stdout : stderr, c == 'h' ? 0 : 2);
    }
    if (argv[optind] != NULL)
        usage(stderr, 2);
    prepare_signals(&s);
    s.listener = listener_on(addr, port);
    /* ppoll() may announce a client that has gone before it is accepted. */
    if (run == by_fork || run == by_thread)
        fcntl(s.listener, F_SETFL, O_NONBLOCK);
    tell(s.listener);
    run(&s);
    end_all(&s);
    return 0;
}
