/*
 * Stage 02: an echo server with many workers.
 *
 * A worker does what the whole server of stage 01 did: it takes a connection,
 * serves it to its end, and sleeps while the client says nothing. As many
 * clients are served at once as there are workers, made in one of four ways:
 *
 *   -m fork      a process for each client, when it comes
 *   -m thread    a thread for each client, when it comes
 *   -m prefork   N processes in advance, all of them asleep in accept()
 *   -m pool      N threads in advance, all of them asleep in accept()
 *
 * New is not how a client is served but how workers live and die: who closes
 * which descriptor, who collects a child that has ended, who replaces it, and
 * how all of them end together. What remains is the price: each client, even a
 * silent one, holds a worker and its stack. Stage 03 does without.
 */
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 16384,       /* bytes that one read() takes at most */
    ACCEPT_PAUSE_US = 100000,  /* rest after accept() ran out of something */
    RESPAWN_PAUSE_US = 100000, /* rest before a worker is replaced */
    STACK_SIZE = 65536,        /* of a client's thread: the buffer is in it */
    CHILDREN_MAX = 16384,      /* processes at once; fork() has limits, too */
};

/* One function for each -m; none of them returns. */
typedef void model(int listener, int workers);
static model serve_by_fork, serve_by_thread, serve_by_prefork, serve_by_pool;

struct options {
    const char *addr;
    const char *port;
    model *serve;
    int workers;
};

/* The children that are alive. Signal handlers read and change the list; all
 * others block the signals while they do. */
static pid_t children[CHILDREN_MAX];
static volatile sig_atomic_t children_n;

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT] [-m MODEL] [-n WORKERS]\n"
          "  -a ADDR     address to listen on (127.0.0.1)\n"
          "  -p PORT     port, 0 for any free one (4000)\n"
          "  -m MODEL    fork, thread, prefork or pool (fork)\n"
          "  -n WORKERS  of prefork and pool, 1 to 999 (4)\n",
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

static model *
model_or_usage(const char *text)
{
    if (strcmp(text, "fork") == 0)
        return serve_by_fork;
    if (strcmp(text, "thread") == 0)
        return serve_by_thread;
    if (strcmp(text, "prefork") == 0)
        return serve_by_prefork;
    if (strcmp(text, "pool") == 0)
        return serve_by_pool;
    warnx("-m %s: not a model", text);
    usage(stderr, 2);
    return NULL;
}

static int
workers_or_usage(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits > 3 || text[digits] != '\0' || atoi(text) == 0) {
        warnx("-n %s: not a number of workers (1 to 999)", text);
        usage(stderr, 2);
    }
    return atoi(text);
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {"127.0.0.1", "4000", serve_by_fork, 4};
    int c;
    while ((c = getopt(argc, argv, "a:p:m:n:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 'm':
            o.serve = model_or_usage(optarg);
            break;
        case 'n':
            o.workers = workers_or_usage(optarg);
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

/* Writes all n bytes. Returns 0, or -1 when the client is gone. */
static int
write_all(int fd, const char *buf, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, buf, n);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -1; /* EPIPE, ECONNRESET: nobody is left to write to */
        }
        buf += written;
        n -= (size_t)written;
    }
    return 0;
}

/* Echoes until the client has finished or is gone, and closes client. */
static void
serve_client(int client)
{
    char buf[BUFFER_SIZE];
    for (;;) {
        ssize_t n = read(client, buf, sizeof buf);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* 0: finished. ECONNRESET and its like: gone. */
            break;
        if (write_all(client, buf, (size_t)n) < 0)
            break;
    }
    close(client);
}

/* The next client. Whatever happens to one of them, the server goes on. */
static int
accept_client(int listener)
{
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0)
            return client;
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        warn("accept");
        usleep(ACCEPT_PAUSE_US);
    }
}

/* In a new child, before anything else, with all signals blocked. */
static void
begin_child(pid_t parent)
{
    /* TODO 6: let no child outlive its parent.
     * When the parent is killed with SIGKILL, no handler of it runs. Have the
     * kernel end the child then: PR_SET_PDEATHSIG in prctl(2). And if the
     * parent is dead before the child has asked for that? The child also has
     * a copy of the parent's list: its stop() would kill its siblings.
     * STUB: (void)parent;
     */
    children_n = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0); /* it died before prctl(): that signal will never come */
    /* END TODO 6 */
}

/* fork(), and the child goes on the list. No signal may come in between:
 * reap() would miss a child that has ended, or stop() one that is alive. */
static pid_t
fork_child(void)
{
    sigset_t all, before;
    pid_t parent = getpid(), pid = -1;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    errno = EAGAIN; /* what fork() says as well when there are too many */
    if (children_n < CHILDREN_MAX)
        pid = fork();
    if (pid > 0)
        children[children_n++] = pid;
    if (pid == 0)
        begin_child(parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* SIGCHLD: children have ended. */
static void
reap(int signo)
{
    /* TODO 2: collect the children that have ended.
     * Until waitpid() asks, the kernel keeps the status of each: a zombie. The
     * signals do not queue up: one may stand for twelve children. Ask for all,
     * but do not wait for those who are alive; and take each off the list. The
     * code that is interrupted here may be about to look at errno.
     * STUB: (void)signo;
     */
    (void)signo;
    int saved = errno;
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        for (int i = 0; i < children_n; i++)
            if (children[i] == pid)
                children[i] = children[--children_n];
    errno = saved;
    /* END TODO 2 */
}

static void
serve_by_fork(int listener, int workers)
{
    (void)workers;
    /* TODO 1: serve each client in a child of its own.
     * fork_child() returns what fork() does: 0 in the child, its number in the
     * parent, -1 if there can be none (only this client is lost then). Now two
     * processes have both descriptors: which of them closes which? The child
     * ends with _exit(); exit() would flush the parent's buffers once more.
     * STUB: (void)listener;
     * STUB: (void)fork_child;
     * STUB: todo
     */
    for (;;) {
        int client = accept_client(listener);
        pid_t pid = fork_child();
        if (pid == 0) {
            close(listener); /* or this client keeps the port taken */
            serve_client(client);
            _exit(0);
        }
        if (pid < 0)
            warn("fork");
        close(client); /* or the connection outlives the child */
    }
    /* END TODO 1 */
}

static void *
serve_in_thread(void *client)
{
    serve_client((int)(intptr_t)client);
    return NULL;
}

static void
serve_by_thread(int listener, int workers)
{
    (void)workers;
    /* TODO 3: serve each client in a thread of its own.
     * pthread_create() starts serve_in_thread(). Hand over the descriptor
     * itself: a variable may hold the next client by the time the thread looks.
     * Nobody will join the threads, so make them detached, with stacks of
     * STACK_SIZE. pthread_create() does not set errno; it returns the error.
     * STUB: (void)listener;
     * STUB: (void)serve_in_thread;
     * STUB: todo
     */
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    for (;;) {
        int client = accept_client(listener);
        pthread_t thread;
        errno = pthread_create(&thread, &attr, serve_in_thread,
                               (void *)(intptr_t)client);
        if (errno != 0) {
            warn("pthread_create");
            close(client);
        }
    }
    /* END TODO 3 */
}

/* Sleeps until fewer than n children are alive, and a moment longer: a worker
 * that dies at once, each time, must not keep the machine busy with fork(). */
static void
await_vacancy(int n)
{
    sigset_t child_ended, before;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, &before);
    /* A SIGCHLD between the test and the sleep would be slept through. So it
     * is let in by sigsuspend() alone, which then ends. */
    while (children_n >= n)
        sigsuspend(&before);
    usleep(RESPAWN_PAUSE_US);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void
serve_by_prefork(int listener, int workers)
{
    /* TODO 4: have children that take clients by themselves.
     * All of them sleep in accept() on the listener that they have inherited;
     * the kernel wakes one for each connection. The parent serves nobody. It
     * starts as many as there are to be, then a new one after each
     * await_vacancy().
     * STUB: (void)listener;
     * STUB: (void)workers;
     * STUB: (void)await_vacancy;
     * STUB: todo
     */
    for (int started = 0;;) {
        if (started < workers)
            started++;
        else
            await_vacancy(workers);
        pid_t pid = fork_child();
        if (pid < 0)
            warn("fork");
        while (pid == 0)
            serve_client(accept_client(listener));
    }
    /* END TODO 4 */
}

static void *
serve_in_pool(void *listener)
{
    for (;;)
        serve_client(accept_client((int)(intptr_t)listener));
    return NULL;
}

static void
serve_by_pool(int listener, int workers)
{
    /* TODO 5: have threads that take clients by themselves.
     * serve_in_pool() is what each of them does. Nobody replaces one: a thread
     * that crashes takes the whole process along. A server that cannot have all
     * its workers ends with status 1. For the main thread there is pause().
     * STUB: (void)listener;
     * STUB: (void)workers;
     * STUB: (void)serve_in_pool;
     * STUB: todo
     */
    for (int i = 0; i < workers; i++) {
        pthread_t thread;
        errno = pthread_create(&thread, NULL, serve_in_pool,
                               (void *)(intptr_t)listener);
        if (errno != 0)
            err(1, "pthread_create");
    }
    for (;;)
        pause();
    /* END TODO 5 */
}

/* Ends the children, waits until they are gone, and ends. SIGKILL, because
 * they have nothing to save, and one that is stopped would not heed SIGTERM. */
static void
stop(int signo)
{
    (void)signo;
    for (int i = 0; i < children_n; i++)
        kill(children[i], SIGKILL);
    for (int i = 0; i < children_n; i++)
        waitpid(children[i], NULL, 0);
    _exit(0);
}

static void
handle_signals(void)
{
    struct sigaction end = {.sa_handler = stop};
    struct sigaction collect = {.sa_handler = reap};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigfillset(&end.sa_mask); /* one handler at a time: both use the list */
    sigfillset(&collect.sa_mask);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGCHLD, &collect, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    handle_signals();
    int listener = listen_on(o.addr, o.port);
    announce(listener);
    o.serve(listener, o.workers);
}
