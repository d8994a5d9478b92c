/*
 * Small scenes with coroutines, to try coro.c before there is a gateway.
 *
 *   coro-scenes turns              what happens, line by line
 *   coro-scenes -s asm turns       the same with the switch in assembly
 *
 * Each scene is a function here: what it spawns, and what these say.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coro.h"
#include "net.h"
#include "scenes.h"

static enum coro_switch how = CORO_UCONTEXT; /* -s */

void
spawn(void (*run)(void *arg), void *arg)
{
    if (coro_spawn(run, arg) < 0)
        err(1, "coro_spawn");
}

static const char *
result(long value)
{
    return value >= 0 ? "yes" : strerrorname_np(errno);
}

static void
make_pipe(int pipe[2])
{
    if (pipe2(pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        err(1, "pipe");
}

/* --- a stack of its own --------------------------------------------------- */

static char *main_stack;

static void
hello(void *arg)
{
    long distance = labs((char *)__builtin_frame_address(0) - main_stack);
    printf("hello from %s, on %s\n", (char *)arg,
           distance < STACK_SIZE / 4 ? "the program's stack"
                                     : "a stack of its own");
}

static void
scene_hello(void)
{
    main_stack = __builtin_frame_address(0);
    spawn(hello, "a coroutine");
    spawn(hello, "another one");
    puts("two coroutines are there, none has begun");
    coro_run();
    puts("both have ended");
}

/* --- turns ---------------------------------------------------------------- */

static void
count(void *arg)
{
    for (int i = 1; i <= 3; i++) {
        printf("%s%d ", (char *)arg, i);
        coro_yield();
    }
}

static void
scene_turns(void)
{
    spawn(count, "a");
    spawn(count, "b");
    spawn(count, "c");
    coro_run();
    puts("");
}

static long steps; /* of all of them together */

/* It gives way in the middle of up to 50 calls, one inside the other. */
static long
descend(long n, bool *others_ran)
{
    long mine = n * n, before = ++steps;
    coro_yield();
    *others_ran |= steps != before;
    long below = n > 1 ? descend(n - 1, others_ran) : 0;
    coro_yield();
    return mine + below;
}

static void
sum_squares(void *arg)
{
    long n = (long)arg;
    bool others_ran = false;
    long sum = descend(n, &others_ran);
    printf("%ld: %ld, %s\n", n, sum, others_ran ? "in turns" : "in one go");
}

static void
scene_locals(void)
{
    for (long n = 10; n <= 50; n += 10)
        spawn(sum_squares, (void *)n);
    coro_run();
}

/* --- waiting -------------------------------------------------------------- */

static int channel[2], silent[2];

static void
wait_for_byte(void *arg)
{
    char byte = '?';
    (void)arg;
    puts("reader: waits");
    long n = coro_read(channel[0], &byte, 1, CORO_NEVER);
    printf("reader: %s, %c\n", result(n), byte);
}

static void
write_byte(void *arg)
{
    (void)arg;
    for (int i = 1; i <= 3; i++) {
        printf("writer: turn %d\n", i);
        coro_yield();
    }
    puts("writer: writes x");
    if (write(channel[1], "x", 1) != 1)
        err(1, "write");
}

static void
scene_wait(void)
{
    make_pipe(channel);
    spawn(wait_for_byte, NULL);
    spawn(write_byte, NULL);
    coro_run();
}

/* Two that always have something to do leave the loop time to look at the
 * descriptors. */
static bool was_heard;

static void
yield_on(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10000 && !was_heard; i++)
        coro_yield();
}

static void
hear_byte(void *arg)
{
    char byte;
    (void)arg;
    was_heard = coro_read(channel[0], &byte, 1, CORO_NEVER) == 1;
}

static void
write_and_yield(void *arg)
{
    coro_yield();
    if (write(channel[1], "x", 1) != 1)
        err(1, "write");
    yield_on(arg);
    printf("a byte that came was %s\n", was_heard ? "heard" : "not heard");
}

static void
scene_busy(void)
{
    make_pipe(channel);
    spawn(hear_byte, NULL);
    spawn(yield_on, NULL);
    spawn(write_and_yield, NULL);
    coro_run();
}

/* --- time ----------------------------------------------------------------- */

static long begin;

/* All deadlines count from the same moment, however slow the machine is. */
static void
sleep_until(void *arg)
{
    long ms = (long)arg;
    int woken = coro_wait(-1, 0, begin + ms);
    printf("%ld ms are over: %s, %s\n", ms, result(woken),
           coro_now() - begin >= ms ? "not too early" : "too early");
}

static void
scene_sleep(void)
{
    static const long ms[] = {90, 30, 120, 60, 1, 150};
    begin = coro_now();
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++)
        spawn(sleep_until, (void *)ms[i]);
    coro_run();
}

static void
wait_in_vain(void *arg)
{
    char byte;
    (void)arg;
    begin = coro_now();
    printf("nobody writes: %s",
           result(coro_read(silent[0], &byte, 1, begin + 50)));
    printf(", %s\n", coro_now() - begin >= 49 ? "after 50 ms" : "too early");
    printf("again: %s\n", result(coro_read(silent[0], &byte, 1, begin + 50)));
    printf("a deadline far away: %s\n",
           result(coro_read(channel[0], &byte, 1, begin + 100000)));
}

static void
write_late(void *arg)
{
    (void)arg;
    coro_sleep(100);
    if (write(channel[1], "x", 1) != 1)
        err(1, "write");
}

static void
scene_deadline(void)
{
    make_pipe(channel);
    make_pipe(silent);
    spawn(wait_in_vain, NULL);
    spawn(write_late, NULL);
    coro_run();
}

/* An event and the deadline, both there when the loop looks: once is enough. */
static void
wait_at_last_moment(void *arg)
{
    (void)arg;
    int got = coro_wait(channel[0], EPOLLIN, coro_now() + 20);
    printf("woken: %s\n", got == 0 || errno == ETIMEDOUT ? "yes" : "no");
    begin = coro_now();
    coro_sleep(50);
    printf("then it sleeps: %s\n",
           coro_now() - begin >= 49 ? "for 50 ms" : "and is woken again");
}

static void
keep_busy(void *arg)
{
    long since = coro_now();
    (void)arg;
    if (write(channel[1], "x", 1) != 1)
        err(1, "write");
    while (coro_now() - since < 40)
        ; /* nobody else has a turn, and the loop looks at nothing */
}

static void
scene_same_moment(void)
{
    make_pipe(channel);
    spawn(wait_at_last_moment, NULL);
    spawn(keep_busy, NULL);
    coro_run();
}

/* --- writing and connecting ----------------------------------------------- */

enum { MUCH = 1 << 20 }; /* more than a pipe holds */

static void
write_much(void *arg)
{
    char *bytes = malloc(MUCH);
    (void)arg;
    for (size_t i = 0; i < MUCH; i++)
        bytes[i] = (char)(i * 31 >> 3);
    int done = coro_write(channel[1], bytes, MUCH, CORO_NEVER);
    printf("all written: %s\n", result(done));
    free(bytes);
    close(channel[1]);
}

static void
read_much(void *arg)
{
    char buf[1000]; /* no divisor of what a pipe holds */
    size_t total = 0, wrong = 0;
    ssize_t n;
    (void)arg;
    while ((n = coro_read(channel[0], buf, sizeof buf, CORO_NEVER)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            wrong += buf[i] != (char)((total + (size_t)i) * 31 >> 3);
        total += (size_t)n;
    }
    printf("read %zu bytes, %zu of them wrong\n", total, wrong);
}

static void
write_in_vain(void *arg)
{
    char bytes[1000] = {0};
    int done = 0;
    (void)arg;
    while (done == 0)
        done = coro_write(silent[1], bytes, sizeof bytes, coro_now() + 50);
    printf("nobody reads: %s\n", result(done));
}

static void
scene_write(void)
{
    make_pipe(channel);
    make_pipe(silent);
    spawn(write_much, NULL);
    spawn(read_much, NULL);
    spawn(write_in_vain, NULL);
    coro_run();
}

static int listener;

static void
connect_to(void *arg)
{
    struct sockaddr_in to;
    socklen_t len = sizeof to;
    getsockname(listener, (void *)&to, &len);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int done = coro_connect(fd, (void *)&to, len, coro_now() + 10000);
    printf("%s: %s\n", (char *)arg, result(done));
    if (done == 0 && coro_write(fd, "x", 1, CORO_NEVER) < 0)
        err(1, "write to the connection");
    close(fd);
}

static void
accept_one(void *arg)
{
    char byte = '?';
    (void)arg;
    int fd = coro_accept(listener);
    coro_read(fd, &byte, 1, CORO_NEVER);
    printf("accepted: %s, and %c came\n", result(fd), byte);
    close(fd);
}

static void
scene_connect(void)
{
    listener = net_bind("127.0.0.1", "0");
    net_set_nonblocking(listener);
    spawn(connect_to, "to a port where nobody listens");
    coro_run();
    if (coro_init(how, STACK_SIZE) < 0)
        err(1, "coro_init");
    if (listen(listener, 1) < 0)
        err(1, "listen");
    spawn(accept_one, NULL);
    spawn(connect_to, "to one where somebody does");
    coro_run();
}

/* --- the end -------------------------------------------------------------- */

static void
wait_for_ever(void *arg)
{
    char *memory = malloc(100);
    snprintf(memory, 100, "%s", (char *)arg);
    printf("%s: %s\n", memory,
           result(coro_wait(silent[0], EPOLLIN, CORO_NEVER)));
    free(memory);
}

static void
sleep_long(void *arg)
{
    printf("%s: %s\n", (char *)arg, result(coro_sleep(100000)));
}

static void
read_on(void *arg)
{
    char byte;
    while (coro_read(channel[0], &byte, 1, CORO_NEVER) == 1)
        coro_yield();
    printf("%s: %s\n", (char *)arg, result(-1));
}

static void
cancel(void *arg)
{
    (void)arg;
    coro_yield();
    spawn(sleep_long, "one that has not begun");
    puts("cancel");
    coro_cancel();
}

static void
scene_cancel(void)
{
    char many[1000] = {0};
    make_pipe(silent);
    make_pipe(channel);
    if (write(channel[1], many, sizeof many) < 0)
        err(1, "write");
    spawn(wait_for_ever, "one that waits");
    spawn(sleep_long, "one that sleeps");
    spawn(read_on, "one that need not wait");
    spawn(cancel, NULL);
    coro_run();
    puts("all have ended");
}

/* --- main ----------------------------------------------------------------- */

static const struct scene {
    const char *name;
    void (*play)(void);
    const char *about;
} scenes[] = {
    {"hello", scene_hello, "two coroutines begin and end"},
    {"turns", scene_turns, "three that give way to one another"},
    {"locals", scene_locals, "five that give way deep inside"},
    {"wait", scene_wait, "one waits for a pipe, one writes into it"},
    {"busy", scene_busy, "two that yield without end, one that waits"},
    {"sleep", scene_sleep, "six that sleep at the same time"},
    {"deadline", scene_deadline, "waiting, but not for ever"},
    {"same-moment", scene_same_moment, "an event and a deadline together"},
    {"write", scene_write, "more than fits"},
    {"connect", scene_connect, "refused, then not"},
    {"guards", scene_guards, "guard pages are counted"},
    {"overflow", scene_overflow, "a recursion without end; dies"},
    {"reuse", scene_reuse, "many, one after the other"},
    {"crowd", scene_crowd, "many at once, then none"},
    {"cancel", scene_cancel, "all are told to end"},
    {"registers", scene_registers, "values that live in registers"},
    {"rounding", scene_rounding, "how to round lives in one, too"},
};

static void
usage(FILE *out, int status)
{
    fputs("usage: coro-scenes [-s ucontext|asm] SCENE\n", out);
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        fprintf(out, "  %-12s %s\n", scenes[i].name, scenes[i].about);
    exit(status);
}

int
main(int argc, char **argv)
{
    int c;
    signal(SIGPIPE, SIG_IGN);
    while ((c = getopt(argc, argv, "s:h")) != -1) {
        if (c == 'h')
            usage(stdout, 0);
        if (c != 's')
            usage(stderr, 2);
        how = strcmp(optarg, "asm") == 0 ? CORO_ASSEMBLY : CORO_UCONTEXT;
    }
    if (optind + 1 != argc)
        usage(stderr, 2);
    if (coro_init(how, STACK_SIZE) < 0)
        err(1, "coro_init");
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
        if (strcmp(scenes[i].name, argv[optind]) == 0) {
            scenes[i].play();
            return 0;
        }
    }
    usage(stderr, 2);
}
