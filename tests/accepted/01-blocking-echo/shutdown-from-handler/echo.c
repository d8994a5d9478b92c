/*
 * An accepted solution of stage 01, of another style.
 *
 * The signal handler does not end the program: it shuts the sockets down.
 * accept(), recv() and send(), in whichever of them the process sleeps, return
 * at once, as they do when they are called later, so that no moment is the
 * wrong one; main() ends in order and closes what it has opened. SIGPIPE is not
 * ignored: MSG_NOSIGNAL asks for EPIPE call by call. Each address that
 * getaddrinfo() knows is tried, and the buffer is on the heap.
 */
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

static volatile sig_atomic_t stopping;
static volatile sig_atomic_t listen_fd = -1;
static volatile sig_atomic_t client_fd = -1;

static void
on_stop(int sig)
{
    int saved = errno;
    (void)sig;
    stopping = 1;
    if (listen_fd >= 0)
        shutdown(listen_fd, SHUT_RDWR);
    if (client_fd >= 0)
        shutdown(client_fd, SHUT_RDWR);
    errno = saved;
}

static void
print_help(FILE *to)
{
    fprintf(to, "usage: echo [-a ADDR] [-p PORT]\n\n"
                "Sends back whatever a client sends.\n"
                "  -a ADDR  where to listen, 127.0.0.1 if not given\n"
                "  -p PORT  4000 if not given; 0 takes a free one\n"
                "  -h       this text\n");
}

static bool
is_port(const char *s)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(s, &end, 10);
    return *s >= '0' && *s <= '9' && *end == '\0' && errno == 0 && n <= 0xffff;
}

/* Tries one address; on failure tells in *call which call it was. */
static int
try_address(const struct addrinfo *a, const char **call)
{
    int yes = 1;
    *call = "socket";
    int fd =
        socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd == -1)
        return -1;
    *call = "setsockopt";
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0) {
        *call = "bind";
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0) {
            *call = "listen";
            if (listen(fd, SOMAXCONN) == 0)
                return fd;
        }
    }
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static int
open_listener(const char *host, const char *service)
{
    struct addrinfo want, *list;
    memset(&want, 0, sizeof(want));
    want.ai_family = AF_UNSPEC;
    want.ai_socktype = SOCK_STREAM;
    want.ai_flags = AI_PASSIVE;
    int rc = getaddrinfo(host, service, &want, &list);
    if (rc != 0) {
        fprintf(stderr, "echo: %s: %s\n", host, gai_strerror(rc));
        exit(EXIT_FAILURE);
    }
    const char *call = "socket";
    int fd = -1;
    for (struct addrinfo *a = list; a != NULL && fd == -1; a = a->ai_next)
        fd = try_address(a, &call);
    if (fd == -1) {
        fprintf(stderr, "echo: %s %s:%s: %s\n", call, host, service,
                strerror(errno));
        exit(EXIT_FAILURE);
    }
    freeaddrinfo(list);
    return fd;
}

static void
say_ready(int fd)
{
    struct sockaddr_storage here;
    socklen_t size = sizeof(here);
    char host[NI_MAXHOST], service[NI_MAXSERV], line[NI_MAXHOST + 64];
    if (getsockname(fd, (struct sockaddr *)&here, &size) == -1 ||
        getnameinfo((struct sockaddr *)&here, size, host, sizeof(host), service,
                    sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        errx(EXIT_FAILURE, "the address of the socket is not to be had");
    bool colons = strchr(host, ':') != NULL;
    int n = snprintf(line, sizeof(line), "listening on %s%s%s:%s\n",
                     colons ? "[" : "", host, colons ? "]" : "", service);
    /* One write() of its own: nothing that stays in a buffer. */
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        err(EXIT_FAILURE, "stdout");
}

/* Sends data[0..size), all of it; false if that cannot be. */
static bool
send_fully(int fd, const char *data, size_t size)
{
    size_t sent = 0;
    while (sent != size) {
        ssize_t now = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
        if (now >= 0)
            sent += (size_t)now;
        else if (errno != EINTR)
            return false;
    }
    return true;
}

static void
talk(int fd, char *chunk)
{
    ssize_t got;
    do {
        got = recv(fd, chunk, CHUNK, 0);
        if (got > 0 && !send_fully(fd, chunk, (size_t)got))
            return;
    } while (got > 0 || (got == -1 && errno == EINTR));
}

static void
rest(void)
{
    struct timespec tenth = {0, 100 * 1000 * 1000};
    nanosleep(&tenth, NULL); /* a signal may cut it short: all the better */
}

static void
take_clients(int listener, char *chunk)
{
    while (!stopping) {
        client_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client_fd >= 0) {
            /* A signal between accept4() and here has not seen the client. */
            if (!stopping)
                talk(client_fd, chunk);
            int done = client_fd;
            client_fd = -1;
            close(done);
        } else if (errno != EINTR && errno != ECONNABORTED && !stopping) {
            perror("echo: accept");
            rest();
        }
    }
}

int
main(int argc, char *argv[])
{
    const char *host = "127.0.0.1", *service = "4000";
    for (int opt; (opt = getopt(argc, argv, "ha:p:")) != -1;) {
        if (opt == 'h') {
            print_help(stdout);
            return 0;
        }
        if (opt == '?') { /* getopt() has said why */
            print_help(stderr);
            return 2;
        }
        if (opt == 'a')
            host = optarg;
        else
            service = optarg;
    }
    if (optind != argc || !is_port(service)) {
        print_help(stderr);
        return 2;
    }

    struct sigaction act = {.sa_handler = on_stop};
    sigaddset(&act.sa_mask, SIGTERM);
    sigaddset(&act.sa_mask, SIGINT);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);

    char *chunk = malloc(CHUNK);
    if (chunk == NULL)
        err(EXIT_FAILURE, "malloc");
    listen_fd = open_listener(host, service);
    say_ready(listen_fd);
    take_clients(listen_fd, chunk);
    close(listen_fd);
    free(chunk);
    return EXIT_SUCCESS;
}
