/* peer - a server for the tests of tests/tools/tcp: it can misbehave.
 *
 *     peer MODE [ARG...]
 *
 * Prints its port and its process id, goes into the background, and serves
 * each connection in a process of its own (all in one process group). After a
 * minute it ends by itself. AT counts the bytes of one connection.
 *
 *   echo              as it should be
 *   pieces            echo byte by byte, a millisecond apart
 *   wrong AT          the byte at AT comes back changed
 *   swap AT           the bytes at AT and AT + 1 change places
 *   lose AT N         N bytes from AT on do not come back
 *   double AT N       the N bytes before AT come back twice
 *   insert AT N       N foreign bytes come before AT
 *   stop AT           no more comes back from AT on, but it reads on
 *   close AT          closes instead of sending byte AT
 *   reset AT          the same with a reset
 *   only N            echo for the first N connections, not for the others
 *   say TEXT END      says TEXT at once, then END: close, reset or hold
 *   deaf              never reads
 *   swallow           reads all, never answers
 *   hold              accepts, and keeps every connection (one process)
 *   backlog           listens with a queue for one, never accepts
 *   nobody            prints a port on which nobody listens, and ends
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *mode, *say = "", *end = "";
static size_t at, length;

static void
check(long result, const char *what)
{
    if (result >= 0)
        return;
    perror(what);
    exit(1);
}

static int
is(const char *name)
{
    return strcmp(mode, name) == 0;
}

static void
send_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, data, n, MSG_NOSIGNAL);
        if (k <= 0)
            exit(0);
        data += k;
        n -= (size_t)k;
    }
}

static void
nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void
reset(int fd)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    exit(0);
}

/* Sends byte c, which is number i of the connection, as the mode wants. */
static void
answer(int fd, char c, size_t i)
{
    static char *history, held;
    static char out[4];
    if (is("double")) {
        history = realloc(history, i + 1);
        history[i] = c;
        if (i == at)
            send_all(fd, history + i - length, length);
    }
    if (is("insert") && i == at)
        for (size_t k = 0; k < length; k++)
            send_all(fd, "#", 1);
    if ((is("close") || is("stop")) && i >= at) {
        if (is("close"))
            exit(0);
        return;
    }
    if (is("reset") && i >= at)
        reset(fd);
    if (is("lose") && i >= at && i < at + length)
        return;
    if (is("wrong") && i == at)
        c ^= 1;
    out[0] = c;
    if (is("swap") && i == at) {
        held = c;
        return;
    }
    send_all(fd, out, 1);
    if (is("swap") && i == at + 1)
        send_all(fd, &held, 1);
    if (is("pieces"))
        nap();
}

static void
serve(int fd, size_t number)
{
    static char chunk[16384];
    size_t i = 0;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    send_all(fd, say, strlen(say));
    if (strcmp(end, "reset") == 0)
        reset(fd);
    if (strcmp(end, "close") == 0)
        exit(0);
    while (is("deaf"))
        pause();
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n <= 0)
            exit(0);
        int mute = is("swallow") || is("say") || (is("only") && number >= at);
        if (is("echo") || (is("only") && !mute))
            send_all(fd, chunk, (size_t)n);
        else if (!mute)
            for (ssize_t k = 0; k < n; k++)
                answer(fd, chunk[k], i++);
    }
}

static void
accept_for_ever(int listener)
{
    for (size_t number = 0;; number++) {
        int fd = accept(listener, NULL, NULL);
        check(fd, "accept");
        if (is("hold"))
            continue;
        if (fork() == 0) {
            close(listener);
            alarm(60);
            serve(fd, number);
        }
        close(fd);
    }
}

int
main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    struct rlimit files;
    if (argc < 2)
        return 2;
    mode = argv[1];
    if (is("say")) {
        say = argv[2];
        end = argv[3];
    } else {
        at = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
        length = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (struct sockaddr *)&address, size), "bind");
    check(getsockname(listener, (struct sockaddr *)&address, &size), "name");
    if (!is("nobody"))
        check(listen(listener, is("backlog") ? 0 : 4096), "listen");

    pid_t pid = is("nobody") ? 0 : fork();
    check(pid, "fork");
    if (pid > 0 || is("nobody")) {
        printf("%d %d\n", ntohs(address.sin_port), pid);
        return 0;
    }
    setsid();
    for (int fd = 0; fd < 10; fd++) /* or whoever reads from us waits */
        if (fd != listener)
            close(fd);
    signal(SIGCHLD, SIG_IGN);
    alarm(60);
    if (is("backlog"))
        pause();
    accept_for_ever(listener);
}
