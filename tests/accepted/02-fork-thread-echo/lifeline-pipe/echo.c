/*
 * An accepted solution of stage 02, of another style.
 *
 * There is no list of children. Each child holds the reading end of a pipe, the
 * lifeline, whose writing end only the parent has: when the parent ends, in
 * whichever way, the kernel hangs up, and poll() tells each child, which
 * looks at the lifeline before it looks at its client. That takes the place of
 * prctl() and of kill(), and works on every Unix. With no list to keep right,
 * -m fork ignores SIGCHLD: no zombie is ever made, and no waitpid() needed.
 * The threads of -m pool do not accept: the main thread puts clients into a
 * queue, from which they take them.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t master;
static int lifeline[2] = {-1, -1}; /* [0]: the children's, [1]: the master's */

/* ---- One client ---- */

static void
nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

/* Sleeps until fd is ready for what; ends the process if the master has. */
static void
until_ready(int fd, short what)
{
    struct pollfd both[2] = {{.fd = fd, .events = what}, {.fd = lifeline[0]}};
    while (poll(both, 2, -1) < 0 && errno == EINTR)
        ;
    if (both[1].revents != 0)
        _exit(0);
}

static bool
not_now(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static bool
send_back(int client, const char *from, const char *to)
{
    while (from < to) {
        ssize_t n = send(client, from, (size_t)(to - from),
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && !not_now())
            return false;
        if (n < 0)
            until_ready(client, POLLOUT);
        else
            from += n;
    }
    return true;
}

static void
converse(int client)
{
    char text[8192];
    ssize_t n;
    do {
        until_ready(client, POLLIN);
        n = recv(client, text, sizeof text, MSG_DONTWAIT);
    } while (n < 0 ? not_now() : n > 0 && send_back(client, text, text + n));
    close(client);
}

/* ---- Clients in general ---- */

/* The next client; the listener may be shared and never blocks. */
static int
next_client(int listener)
{
    for (;;) {
        until_ready(listener, POLLIN);
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (!not_now() && errno != ECONNABORTED) {
            warn("accept");
            nap();
        }
    }
}

/* fork(); the child is left with its end of the lifeline, and mortal. */
static pid_t
new_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        close(lifeline[1]);
    } else if (pid < 0) {
        warn("fork");
    }
    return pid;
}

static void
fork_model(int listener, int n)
{
    (void)n;
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int client = next_client(listener);
        if (new_child() == 0) {
            close(listener);
            converse(client);
            _exit(0);
        }
        close(client);
    }
}

static void
prefork_model(int listener, int n)
{
    for (int alive = 0;;) {
        if (alive < n) {
            pid_t pid = new_child();
            while (pid == 0)
                converse(next_client(listener));
            if (pid > 0)
                alive++;
            else
                nap();
        } else if (wait(NULL) > 0) {
            alive--;
            nap();
        }
    }
}

/* ---- Threads ---- */

struct guest {
    int fd;
    struct guest *next;
};

static void *
guest_thread(void *arg)
{
    struct guest *g = arg;
    int fd = g->fd;
    free(g);
    pthread_detach(pthread_self());
    converse(fd);
    return NULL;
}

/* The next client as an object, NULL if there is no memory for it. */
static struct guest *
next_guest(int listener)
{
    int fd = next_client(listener);
    struct guest *g = malloc(sizeof *g);
    if (g == NULL)
        close(fd);
    else
        *g = (struct guest){.fd = fd};
    return g;
}

static void
thread_model(int listener, int n)
{
    (void)n;
    for (;;) {
        struct guest *g = next_guest(listener);
        pthread_t thread;
        int problem = g ? pthread_create(&thread, NULL, guest_thread, g) : 0;
        if (problem != 0) {
            warnx("pthread_create: %s", strerror(problem));
            close(g->fd);
            free(g);
        }
    }
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t arrival;
    struct guest *first, **end;
} hall = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL,
          &hall.first};

static void *
pool_thread(void *unused)
{
    for (;;) {
        pthread_mutex_lock(&hall.lock);
        while (hall.first == NULL)
            pthread_cond_wait(&hall.arrival, &hall.lock);
        struct guest *g = hall.first;
        hall.first = g->next;
        if (hall.first == NULL)
            hall.end = &hall.first;
        pthread_mutex_unlock(&hall.lock);
        converse(g->fd);
        free(g);
    }
    return unused;
}

static void
pool_model(int listener, int n)
{
    while (n-- > 0) {
        pthread_t thread;
        int problem = pthread_create(&thread, NULL, pool_thread, NULL);
        if (problem != 0)
            errx(1, "pthread_create: %s", strerror(problem));
    }
    for (;;) {
        struct guest *g = next_guest(listener);
        if (g == NULL)
            continue;
        pthread_mutex_lock(&hall.lock);
        *hall.end = g;
        hall.end = &g->next;
        pthread_mutex_unlock(&hall.lock);
        pthread_cond_signal(&hall.arrival);
    }
}

/* ---- The whole ---- */

static void
leave_now(int signo)
{
    (void)signo;
    _exit(0);
}

/* Lets go of the lifeline and waits for the children. One that is stopped does
 * not notice before it goes on, so that there is a limit to the patience. */
static void
leave(int signo)
{
    if (getpid() != master)
        _exit(0); /* a child that has not yet come to new_child()'s signal() */
    (void)signo;
    signal(SIGALRM, leave_now);
    alarm(3);
    close(lifeline[1]);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    _exit(0);
}

static int
listen_at(const char *addr, const char *port)
{
    struct addrinfo *ai, hints = {.ai_socktype = SOCK_STREAM};
    int problem = getaddrinfo(addr, port, &hints, &ai);
    if (problem != 0)
        errx(1, "%s: %s", addr, gai_strerror(problem));
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0)
        err(1, "socket");
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
        err(1, "bind %s:%s", addr, port);
    if (listen(fd, SOMAXCONN) < 0)
        err(1, "listen %s:%s", addr, port);

    char host[NI_MAXHOST], serv[NI_MAXSERV];
    getsockname(fd, ai->ai_addr, &ai->ai_addrlen);
    getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof host, serv,
                sizeof serv, NI_NUMERICHOST | NI_NUMERICSERV);
    printf(ai->ai_family == AF_INET6 ? "listening on [%s]:%s\n"
                                     : "listening on %s:%s\n",
           host, serv);
    if (fflush(stdout) != 0)
        err(1, "stdout");
    freeaddrinfo(ai);
    return fd;
}

static const struct {
    const char *name;
    void (*run)(int listener, int n);
} models[] = {
    {"fork", fork_model},
    {"thread", thread_model},
    {"prefork", prefork_model},
    {"pool", pool_model},
};

static int
complain(const char *what)
{
    fprintf(stderr,
            "echo: %s\nusage: echo [-a ADDR] [-p PORT] "
            "[-m fork|thread|prefork|pool] [-n WORKERS]\n",
            what);
    exit(2);
}

static int
number(const char *text, int min, int max)
{
    char *end;
    long n = strtol(text, &end, 10);
    bool good = end != text && *end == '\0' && n >= min && n <= max;
    return good ? (int)n : complain("a number is wrong");
}

static size_t
model_called(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].name, name) == 0)
            return i;
    return (size_t)complain("no such model");
}

int
main(int argc, char **argv)
{
    const char *addr = "127.0.0.1", *port = "4000";
    size_t model = 0;
    int n = 4;
    for (int c; (c = getopt(argc, argv, "a:p:m:n:h")) != -1;) {
        if (c == 'a')
            addr = optarg;
        else if (c == 'p' && number(optarg, 0, 65535) >= 0)
            port = optarg;
        else if (c == 'm')
            model = model_called(optarg);
        else if (c == 'n')
            n = number(optarg, 1, 999);
        else if (c == 'h')
            return puts("usage: echo [-a ADDR] [-p PORT] [-m MODEL] [-n N]") <
                   0;
        else
            complain("an option is wrong");
    }
    if (optind < argc)
        complain("too many words");

    master = getpid();
    if (pipe2(lifeline, O_CLOEXEC) < 0)
        err(1, "pipe");
    struct sigaction end = {.sa_handler = leave};
    sigfillset(&end.sa_mask);
    sigdelset(&end.sa_mask, SIGALRM);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    models[model].run(listen_at(addr, port), n);
}
