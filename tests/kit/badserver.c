/*
 * badserver MODE [ARG]: misbehaves in one way, for the tests of supervise.
 *
 * It opens no socket: supervise judges lines, deaths and descendants. To be
 * found by a test, each child tells its pid on stderr: `child PID`. Should
 * supervise fail to kill something, it leaves by itself after MAX_LIFE.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_LIFE 60 /* seconds */

static const char *arg; /* the second argument, "" without one */
static time_t end_of_life;

static void
nap_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static void
linger(void)
{
    while (time(NULL) < end_of_life)
        nap_ms(1000);
    exit(99);
}

static void
say_ready(void)
{
    printf("listening on 127.0.0.1:4000\n");
    fflush(stdout);
}

/* ---- Modes that concern the ready line ---- */

static void
ok(void)
{
    say_ready();
    linger();
}

static void
line(void) /* whatever ARG says, then a newline */
{
    puts(arg);
    fflush(stdout);
    linger();
}

static void
unfinished(void)
{
    printf("listening on 127.0.0.1:4000");
    fflush(stdout);
    linger();
}

static void
in_pieces(void)
{
    for (const char *c = "listening on 127.0.0.1:4000\n"; *c; c++) {
        printf("%c", *c);
        fflush(stdout);
        nap_ms(1);
    }
    linger();
}

static void
on_stderr(void)
{
    fprintf(stderr, "listening on 127.0.0.1:4000\n");
    linger();
}

static void
chatty(void)
{
    for (int i = 0; i < 5000; i++)
        fprintf(stderr, "debug line %d before the ready line\n", i);
    ok();
}

/* ---- Modes that concern the end ---- */

static void
leave_in_order(int signo)
{
    (void)signo;
    _exit(0);
}

static void
graceful(void)
{
    signal(SIGTERM, leave_in_order);
    ok();
}

static void
status(void) /* exits with status ARG before it is ready */
{
    exit(atoi(arg));
}

static void
crash(void)
{
    raise(SIGSEGV);
}

static void
ready_then_crash(void)
{
    say_ready();
    abort();
}

static void
stubborn(void)
{
    signal(SIGTERM, SIG_IGN);
    ok();
}

static void
flood(void) /* 8 MiB of output after the ready line, then a good end */
{
    static char text[65536];
    memset(text, 'x', sizeof text);
    say_ready();
    for (int i = 0; i < 128; i++)
        fwrite(text, 1, sizeof text, i % 2 ? stdout : stderr);
    exit(0);
}

static void
spin(void)
{
    say_ready();
    while (time(NULL) < end_of_life)
        ;
}

/* ---- Modes that concern descendants ---- */

/* Forks; the child says who it is, and only then does the parent go on. */
static bool
in_new_child(void)
{
    int told[2];
    char byte;
    if (pipe(told) < 0)
        exit(98);
    bool child = fork() == 0;
    if (child) {
        fprintf(stderr, "child %d\n", (int)getpid());
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
    }
    close(told[1]);
    if (!child && read(told[0], &byte, 1) != 0)
        exit(98);
    close(told[0]);
    return child;
}

static void
daemonize(void) /* fork, new session, fork: the classic way to get away */
{
    if (fork() == 0) {
        setsid();
        if (in_new_child())
            linger();
        _exit(0);
    }
    wait(NULL);
    graceful();
}

static void
children(void) /* ARG of them, who ignore SIGTERM */
{
    for (int i = 0; i < atoi(arg); i++)
        if (in_new_child())
            linger();
    graceful();
}

static void
leaving_children(void) /* three, each leaves when its parent has been gone */
{
    pid_t parent = getpid();
    for (int i = 0; i < 3; i++) {
        if (in_new_child()) {
            while (getppid() == parent)
                nap_ms(5);
            nap_ms(100);
            exit(0);
        }
    }
    graceful();
}

static void
hydra(void) /* eight lines of processes; each process forks the next and dies */
{
    for (int i = 0; i < 8; i++) {
        if (fork() != 0)
            continue;
        while (time(NULL) < end_of_life)
            if (fork() != 0)
                _exit(0);
        _exit(0);
    }
    graceful();
}

static const struct {
    const char *name;
    void (*run)(void);
} MODES[] = {
    {"ok", ok},
    {"line", line},
    {"unfinished", unfinished},
    {"in-pieces", in_pieces},
    {"on-stderr", on_stderr},
    {"chatty", chatty},
    {"graceful", graceful},
    {"status", status},
    {"crash", crash},
    {"ready-then-crash", ready_then_crash},
    {"stubborn", stubborn},
    {"flood", flood},
    {"spin", spin},
    {"hang", linger},
    {"daemonize", daemonize},
    {"children", children},
    {"leaving-children", leaving_children},
    {"hydra", hydra},
};

int
main(int argc, char **argv)
{
    arg = argc > 2 ? argv[2] : "";
    end_of_life = time(NULL) + MAX_LIFE;
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++)
        if (argc > 1 && strcmp(argv[1], MODES[i].name) == 0)
            MODES[i].run();
    fprintf(stderr, "badserver: no such mode\n");
    return 64;
}
