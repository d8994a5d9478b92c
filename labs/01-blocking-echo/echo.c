/*
 * Stage 01: a blocking echo server.
 *
 * It sends every byte that a client sends back to that client. The whole
 * program is six system calls in a row (socket, bind, listen, accept, read,
 * write), and each of them blocks: the process sleeps inside the kernel until
 * the call can be carried out. That makes the code as simple as a server can
 * be, and it makes the server serve one client at a time: while it sleeps in
 * read() for one client, nobody calls accept() for the next. The clients
 * that wait are held by the kernel, in the backlog of the listening socket.
 *
 * Stage 02 buys more clients with more processes and threads; from stage 03 on
 * one thread serves them all.
 */
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 16384,      /* bytes that one read() takes at most */
    ACCEPT_PAUSE_US = 100000, /* rest after accept() ran out of something */
};

struct options {
    const char *addr;
    const char *port;
};

static void
usage(FILE *out, int status)
{
    fputs("usage: echo [-a ADDR] [-p PORT]\n"
          "  -a ADDR  address to listen on (127.0.0.1)\n"
          "  -p PORT  port, 0 for any free one (4000)\n",
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

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {.addr = "127.0.0.1", .port = "4000"};
    int c;
    while ((c = getopt(argc, argv, "a:p:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
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
    /* TODO 1: make a socket that listens on addr:port.
     * getaddrinfo() turns the two texts into a socket address; then come
     * socket(), bind() and listen(). Set SO_REUSEADDR before bind(). When a
     * call fails, err(1, "bind %s:%s", addr, port) says which one and why,
     * and ends the program with status 1.
     */
    (void)addr;
    (void)port;
    fputs("TODO 1 is not done: "
          "make a socket that listens on addr:port\n"
          "(labs/01-blocking-echo/echo.c; read handouts/01-blocking-echo.md)\n",
          stderr);
    exit(3);
}

/* Says, once, that clients may come: "listening on 127.0.0.1:4000". */
static void
announce(int listener)
{
    /* TODO 2: print the ready line with the address that the socket has.
     * Asked for port 0, the kernel chose one: getsockname() tells which, and
     * getnameinfo() with NI_NUMERICHOST | NI_NUMERICSERV makes it text. An
     * IPv6 address stands in brackets. stdout may be a pipe, and then printf()
     * only fills a buffer: flush it.
     */
    (void)listener;
    fputs("TODO 2 is not done: "
          "print the ready line with the address that the socket has\n"
          "(labs/01-blocking-echo/echo.c; read handouts/01-blocking-echo.md)\n",
          stderr);
    exit(3);
}

/* Writes all n bytes. Returns 0, or -1 when the client is gone. */
static int
write_all(int fd, const char *buf, size_t n)
{
    /* TODO 5: write all n bytes, however many calls it takes.
     * write() may take fewer bytes than it was given: when the socket's send
     * buffer is nearly full, or when a signal arrives half-way. The rest is
     * yours to write. EINTR means that a signal came before any byte was
     * taken. The line below works as long as neither happens.
     */
    return write(fd, buf, n) < 0 ? -1 : 0;
}

/* Echoes until the client has finished or is gone, and closes client. */
static void
serve_client(int client)
{
    /* TODO 3: send back what comes until the client has finished.
     * read() returns how many bytes came (any number from 1 on: TCP keeps
     * no message boundaries, and bytes are not text), 0 when the client will
     * send no more, -1 on error. EINTR is no error of the connection. Write
     * what came with write_all(). In the end, close client: a descriptor that
     * stays open leaves the other side waiting.
     */
    (void)client;
    (void)write_all;
    fputs("TODO 3 is not done: "
          "send back what comes until the client has finished\n"
          "(labs/01-blocking-echo/echo.c; read handouts/01-blocking-echo.md)\n",
          stderr);
    exit(3);
}

/* The next client. Whatever happens to one of them, the server goes on. */
static int
accept_client(int listener)
{
    /* TODO 6: survive what accept() reports.
     * Most of its errors are about one client (ECONNABORTED: it left while it
     * waited) or about this moment (EINTR; EMFILE, ENFILE: no descriptor is
     * free). None is a reason to end. Out of descriptors the client stays
     * in the backlog, so that the next accept() fails at once, again: rest
     * for ACCEPT_PAUSE_US first, or the loop burns a whole CPU.
     */
    int client = accept(listener, NULL, NULL);
    if (client < 0)
        err(1, "accept");
    return client;
}

/* Nothing is kept that would have to be saved: the kernel closes the sockets.
 * _exit(), because exit() is not safe inside a signal handler. */
static void
stop(int signo)
{
    (void)signo;
    _exit(0);
}

static void
handle_signals(void)
{
    /* TODO 4: decide what three signals do.
     * SIGTERM and SIGINT end the server with status 0: call stop(). SIGPIPE
     * comes when it writes to a connection that the client has reset, and
     * would kill it: ignore the signal, write() then fails with EPIPE.
     */
    (void)stop;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    handle_signals();
    int listener = listen_on(o.addr, o.port);
    announce(listener);
    for (;;)
        serve_client(accept_client(listener));
}
