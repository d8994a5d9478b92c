/*
 * bench-floor SIZE: the least that a web server on epoll can do for a request.
 *
 * One recv(), and one send() of an answer that is ready: nothing is parsed,
 * looked up, counted or checked. It is no server. What another one needs more
 * than this is the price of all that makes it one; below this is only the
 * kernel. `make bench BENCH=web` sets it beside the others.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, INPUT = 16 * 1024 };

static int epoll;
static char *answer;
static size_t length;

static void
make_answer(size_t size)
{
    static const char head[] = "HTTP/1.1 200 OK\r\n"
                               "Date: Thu, 26 Nov 2026 01:00:00 GMT\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: %zu\r\n\r\n";
    answer = malloc(sizeof head + 20 + size);
    if (!answer)
        err(1, "malloc");
    int n = sprintf(answer, head, size);
    memset(answer + n, 'x', size);
    length = (size_t)n + size;
}

/* Edge-triggered: cheaper, and a client that never sends more than fits into
 * one recv() needs no second one. */
static void
watch(int fd)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        err(1, "epoll_ctl");
}

static void
accept_all(int listener)
{
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd);
    }
}

static void
serve(int fd)
{
    char input[INPUT];
    ssize_t n = recv(fd, input, sizeof input, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        close(fd);
    else if (n > 0 && send(fd, answer, length, MSG_NOSIGNAL) < 0)
        close(fd);
}

static int
listen_somewhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, size) < 0 ||
        listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &size) < 0)
        err(1, "listen");
    printf("listening on 127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int
main(int argc, char **argv)
{
    char *end = "";
    size_t size = argc == 2 ? strtoul(argv[1], &end, 10) : 0;
    if (size == 0 || *end != '\0')
        errx(2, "usage: bench-floor SIZE");
    make_answer(size);
    epoll = epoll_create1(0);
    int listener = listen_somewhere();
    watch(listener);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == listener)
                accept_all(listener);
            else
                serve(events[i].data.fd);
    }
}
