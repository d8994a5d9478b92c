/*
 * An accepted solution of stage 01, of another style.
 *
 * One loop, one system call a turn: what it is to be follows from two numbers,
 * the client's descriptor (none: accept) and the bytes that are still to go
 * back (some: write, none: read). EINTR needs no word of its own: the turn is
 * simply made again. The buffer is static, addresses are numbers for
 * inet_pton(), and SIGPIPE has a handler that does nothing, which makes write()
 * fail with EPIPE just as ignoring it does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* What the server is doing; everything that it knows about its client. */
static struct {
    int listener, client;
    size_t from, to; /* of bytes: those which are still to go back */
    unsigned char bytes[4000];
} now = {.client = -1};

static void
fatal(const char *format, ...)
{
    int why = errno;
    va_list more;
    va_start(more, format);
    fputs("echo: ", stderr);
    vfprintf(stderr, format, more);
    va_end(more);
    fprintf(stderr, ": %s\n", strerror(why));
    exit(1);
}

static void
bad_usage(const char *what)
{
    fprintf(stderr, "echo: bad %s\nusage: echo [-a ADDR] [-p PORT]\n", what);
    exit(2);
}

static void
on_signal(int which)
{
    if (which != SIGPIPE)
        _exit(0);
}

static socklen_t
make_address(union address *where, const char *text, int port)
{
    memset(where, 0, sizeof *where);
    if (inet_pton(AF_INET, text, &where->v4.sin_addr) == 1) {
        where->v4.sin_family = AF_INET;
        where->v4.sin_port = htons((uint16_t)port);
        return sizeof where->v4;
    }
    if (inet_pton(AF_INET6, text, &where->v6.sin6_addr) == 1) {
        where->v6.sin6_family = AF_INET6;
        where->v6.sin6_port = htons((uint16_t)port);
        return sizeof where->v6;
    }
    fprintf(stderr, "echo: %s: not an IP address\n", text);
    exit(1);
}

static void
begin_to_listen(const char *text, int port)
{
    union address where;
    socklen_t size = make_address(&where, text, port);
    now.listener = socket(where.any.sa_family, SOCK_STREAM, IPPROTO_TCP);
    if (now.listener < 0)
        fatal("socket");
    setsockopt(now.listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(now.listener, &where.any, size) != 0)
        fatal("bind %s:%d", text, port);
    if (listen(now.listener, 4096) != 0)
        fatal("listen");

    char number[INET6_ADDRSTRLEN];
    if (getsockname(now.listener, &where.any, &size) != 0)
        fatal("getsockname");
    setvbuf(stdout, NULL, _IONBF, 0);
    int printed;
    if (where.any.sa_family == AF_INET)
        printed = printf(
            "listening on %s:%d\n",
            inet_ntop(AF_INET, &where.v4.sin_addr, number, sizeof number),
            ntohs(where.v4.sin_port));
    else
        printed = printf(
            "listening on [%s]:%d\n",
            inet_ntop(AF_INET6, &where.v6.sin6_addr, number, sizeof number),
            ntohs(where.v6.sin6_port));
    if (printed < 0)
        fatal("stdout");
}

/* The client has finished (0) or is lost (-1); a signal is neither. */
static void
end_of_client(ssize_t result)
{
    if (result < 0 && errno == EINTR)
        return;
    close(now.client);
    now.client = -1;
    now.from = now.to = 0;
}

static void
take_a_client(void)
{
    static const struct timespec breath = {.tv_nsec = 200000000};
    now.client = accept(now.listener, NULL, NULL);
    if (now.client < 0 && errno != EINTR && errno != ECONNABORTED)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &breath, NULL);
}

static void
give_back(void)
{
    ssize_t n = write(now.client, now.bytes + now.from, now.to - now.from);
    if (n < 0)
        end_of_client(n);
    else
        now.from += (size_t)n;
}

static void
take_bytes(void)
{
    ssize_t n = read(now.client, now.bytes, sizeof now.bytes);
    if (n <= 0) {
        end_of_client(n);
    } else {
        now.from = 0;
        now.to = (size_t)n;
    }
}

int
main(int argc, char **argv)
{
    const char *address = "127.0.0.1";
    long port = 4000;
    char *rest = "";
    for (int c; (c = getopt(argc, argv, ":a:p:h")) != -1;) {
        switch (c) {
        case 'a':
            address = optarg;
            break;
        case 'p':
            port = strtol(optarg, &rest, 10);
            if (rest == optarg || *rest != '\0' || port < 0 || port > 65535)
                bad_usage("port");
            break;
        case 'h':
            puts("usage: echo [-a ADDR] [-p PORT]");
            return 0;
        default:
            bad_usage("option");
        }
    }
    if (argv[optind] != NULL)
        bad_usage("argument");

    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGPIPE, on_signal);
    begin_to_listen(address, (int)port);
    for (;;) {
        if (now.client < 0)
            take_a_client();
        else if (now.from < now.to)
            give_back();
        else
            take_bytes();
    }
}
