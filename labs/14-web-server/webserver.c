/*
 * Stage 14: the web server.
 *
 * It serves the files below a directory over HTTP/1.1. One thread and one event
 * loop keep every connection going; nothing that a client does, or fails to do,
 * makes another client wait. A request goes straight through the files of this
 * folder:
 *
 *   server.c      the loop: who has sent something?
 *   connection.c  bytes in, bytes out: a state machine for each connection
 *   http_parser.c which request is that? (your work of stage 13)
 *   request.c     what is to be answered?
 *   path.c        which file does the path name?
 *   files.c       open it, and nothing outside the root
 *   response.c    the head of the answer
 *
 * What is still missing: files are opened and read on the thread of the loop,
 * so that a slow disk delays everybody (workers will do it), and each time
 * anew (a cache will keep them). There are no conditional requests, no ranges,
 * no compression, no log, no configuration file, and only one process.
 */
#include "server.h"

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINGER_MAX = 5 }; /* seconds for a client that ignores our end */

struct options {
    const char *addr;
    const char *port;
    const char *docroot;
    int idle;    /* seconds in which a client may do nothing */
    int request; /* seconds in which a whole request has to arrive */
};

static volatile sig_atomic_t stopping;

static void
usage(FILE *out, int status)
{
    fputs("usage: webserver [-a ADDR] [-p PORT] [-d DOCROOT] [-k S] [-r S]\n"
          "  -a ADDR     address to listen on (127.0.0.1)\n"
          "  -p PORT     port, 0 for any free one (8080)\n"
          "  -d DOCROOT  directory to serve (www)\n"
          "  -k SECONDS  keep a client that does nothing (60)\n"
          "  -r SECONDS  wait for a whole request (15)\n",
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

static int
seconds_or_usage(int option, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 6 || text[digits] != '\0' || atoi(text) < 1) {
        warnx("-%c %s: not a number of seconds (1 to 999999)", option, text);
        usage(stderr, 2);
    }
    return atoi(text);
}

static struct options
parse_options(int argc, char **argv)
{
    struct options o = {.addr = "127.0.0.1",
                        .port = "8080",
                        .docroot = "www",
                        .idle = 60,
                        .request = 15};
    int c;
    while ((c = getopt(argc, argv, "a:p:d:k:r:h")) != -1) {
        switch (c) {
        case 'a':
            o.addr = optarg;
            break;
        case 'p':
            o.port = port_or_usage(optarg);
            break;
        case 'd':
            o.docroot = optarg;
            break;
        case 'k':
            o.idle = seconds_or_usage(c, optarg);
            break;
        case 'r':
            o.request = seconds_or_usage(c, optarg);
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

static void
stop(int signo)
{
    (void)signo;
    stopping = 1;
}

/* SIGTERM and SIGINT end the server in order. They are blocked all the time but
 * while the loop waits: a signal that came after the loop has looked at
 * `stopping` and before it sleeps would be lost. Returns that other mask. */
static sigset_t
handle_signals(void)
{
    struct sigaction end = {.sa_handler = stop};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGPIPE, &ignore,
              NULL); /* sendfile() to a client that has gone */

    sigset_t ending, waiting;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, &waiting);
    sigdelset(&waiting, SIGTERM); /* whoever started us may block them */
    sigdelset(&waiting, SIGINT);
    return waiting;
}

/* How many milliseconds a connection may stay in each state. */
static void
set_patience(struct server *s, const struct options *o)
{
    s->patience[IDLE] = o->idle * 1000L;
    s->patience[WRITING] = o->idle * 1000L; /* without taking a byte */
    s->patience[READING] = o->request * 1000L;
    s->patience[LINGERING] =
        o->idle < LINGER_MAX ? o->idle * 1000L : LINGER_MAX * 1000L;
}

int
main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    sigset_t waiting = handle_signals();
    struct root root;
    if (root_open(&root, o.docroot) < 0)
        err(1, "open %s", o.docroot);

    struct server s;
    int listener = listen_on(o.addr, o.port);
    server_init(&s, listener, root);
    set_patience(&s, &o);
    announce(listener);
    server_run(&s, &waiting, &stopping);
    server_close(&s);
    return 0;
}
