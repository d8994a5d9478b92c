/*
 * supervise: run one untrusted server for one test, and leave nothing behind.
 *
 *   supervise [-r SECONDS] [-g SECONDS] [-o LOGFILE] [-l BYTES] [-N]
 *             [-n NOFILE] [-p NPROC] [-v MIB] [-c CPUSECONDS] [-f MIB]
 *             -- PROGRAM ARGS...
 *
 *   -r  the ready line must come within SECONDS (default 10)
 *   -g  grace between SIGTERM and SIGKILL (default 2)
 *   -o  file that collects stdout and stderr (default /dev/null)
 *   -l  keep at most BYTES of output, read and drop the rest (default 262144)
 *   -N  the program prints no ready line; it is ready once it is executed
 *   -n -p -v -c -f  limits: descriptors, processes of this user, address
 *       space, CPU time, size of a file
 *
 * The program gets a session of its own, /dev/null as stdin, default signals,
 * no descriptor from 3 on, and no variable that tells about the tests. Its
 * first line on stdout must be `listening on ADDR:PORT`. Supervise then says
 *
 *   ready PORT PID SUPERVISOR_PID      (PORT is 0 after -N)
 *
 * or `fail REASON` and exits 1. After `ready` it waits to be stopped: by
 * SIGTERM, SIGINT or SIGHUP, or by the death of its parent. It passes SIGTERM
 * on to the program (not to its children), waits until all have left or the
 * grace is over, kills what remains, says how it went, and exits 0:
 *
 *   end exit N|signal N|forced left=N flooded=0|1
 *
 * forced: the program was still there after the grace. left: how many other
 * descendants were. flooded: output went beyond the cap.
 *
 * Nothing escapes by forking twice or by setsid(): supervise is a subreaper,
 * so a descendant whose parent dies becomes a child of supervise. Every line
 * of descent therefore begins with one of its children, and "waitpid() says
 * that there is no child" means "all are gone". TIMEOUT_FACTOR in the
 * environment multiplies -r and -g on slow machines.
 */
#include "supervise-descendants.h"
#include "supervise-launch.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NEVER         LONG_MAX /* a deadline that does not come */
#define FREEZE_ROUNDS 50
#define KILL_MS       20000 /* SIGKILL works at once, unless a disk hangs */

struct server {
    pid_t pid;
    int out, err;   /* our ends of its pipes, -1 once it has closed them */
    int signals;    /* signalfd: stop requests and SIGCHLD */
    int log;        /* what it says goes here ... */
    long log_room;  /* ... as long as this many bytes are left */
    char line[256]; /* its first line on stdout so far, without newline */
    size_t line_length;
    bool line_complete;
    bool stop;    /* somebody asked us to stop */
    bool ended;   /* the program is gone, and `status` tells how */
    bool alone;   /* the program and all descendants are gone */
    bool flooded; /* output was dropped */
    int status;
};

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* For errors of our own, when there is no program to end yet. */
static void
die(const char *what)
{
    printf("fail supervise: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- Output of the program ---- */

/* Does it read `A.B.C.D:` or `[IPV6]:` up to the colon? */
static bool
is_address(const char *text, const char *colon)
{
    char address[INET6_ADDRSTRLEN + 2];
    struct in6_addr parsed;
    int length = colon - text;

    if (length >= (int)sizeof address)
        return false;
    if (text[0] == '[' && colon[-1] == ']') {
        sprintf(address, "%.*s", length - 2, text + 1);
        return inet_pton(AF_INET6, address, &parsed) == 1;
    }
    sprintf(address, "%.*s", length, text);
    return inet_pton(AF_INET, address, &parsed) == 1;
}

/* Returns the port of `listening on ADDR:PORT`, 0 if it is not such a line.
 * Port 0 is none either: the line must tell the port that the kernel chose. */
static int
ready_port(const char *line)
{
    static const char START[] = "listening on ";
    if (strncmp(line, START, sizeof START - 1) != 0)
        return 0;
    const char *address = line + sizeof START - 1;
    const char *colon = strrchr(address, ':');
    if (!colon || !is_address(address, colon))
        return 0;
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits < 1 || digits > 5 || colon[1 + digits] != '\0')
        return 0;
    int port = atoi(colon + 1);
    return port < 65536 ? port : 0;
}

static void
collect_first_line(struct server *s, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length && !s->line_complete; i++) {
        if (bytes[i] == '\n' || s->line_length == sizeof s->line - 1)
            s->line_complete = true;
        else
            s->line[s->line_length++] = bytes[i];
    }
}

/* The first line in quotes. Nobody vouches for its bytes, so they are escaped:
 * they must not end the line that we print, nor move a terminal's cursor. */
static const char *
quoted_line(const struct server *s)
{
    static char text[4 * sizeof s->line + 3];
    char *end = text;
    *end++ = '"';
    for (size_t i = 0; i < s->line_length; i++) {
        unsigned char c = s->line[i];
        if (c == '"' || c == '\\')
            end += sprintf(end, "\\%c", c);
        else if (c >= ' ' && c <= '~')
            *end++ = c;
        else
            end += sprintf(end, "\\x%02x", c);
    }
    strcpy(end, "\"");
    return text;
}

/* Reads once from one of the pipes. Beyond the cap we drop bytes but keep
 * reading: a server that waits for room in the pipe would look hung. */
static void
read_output(struct server *s, int *pipe_end)
{
    static char bytes[65536];
    ssize_t length = read(*pipe_end, bytes, sizeof bytes);
    if (length == 0) {
        close(*pipe_end);
        *pipe_end = -1;
    }
    if (length <= 0)
        return;
    long kept = length < s->log_room ? length : s->log_room;
    if (kept > 0 && write(s->log, bytes, kept) > 0)
        s->log_room -= kept;
    if (kept < length)
        s->flooded = true;
    if (pipe_end == &s->out)
        collect_first_line(s, bytes, length);
}

/* ---- Waiting ---- */

/* Collects every child that has ended, adopted ones too. What the program
 * wrote before it died is read now, so that a ready line followed by a crash
 * counts as ready. */
static void
reap(struct server *s)
{
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != s->pid)
            continue;
        read_output(s, &s->out);
        read_output(s, &s->err);
        s->ended = true;
        s->status = status;
    }
    if (pid < 0 && errno == ECHILD)
        s->alone = true;
}

static void
read_signals(struct server *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD)
            s->stop = true;
}

/* Waits until something happens, and not beyond the deadline; may return
 * earlier, so callers loop. */
static void
handle_events(struct server *s, long deadline)
{
    struct pollfd fds[] = {
        {s->signals, POLLIN, 0}, {s->out, POLLIN, 0}, {s->err, POLLIN, 0}};
    long left_ms = deadline - now_ms();
    poll(fds, 3, left_ms < 0 ? 0 : left_ms < 60000 ? left_ms : 60000);
    if (fds[1].revents)
        read_output(s, &s->out);
    if (fds[2].revents)
        read_output(s, &s->err);
    if (fds[0].revents) {
        read_signals(s);
        reap(s);
    }
}

/* Ends everything that descends from us, and returns how many there were
 * besides the program. Freezing comes first: a process that sees its sibling
 * die could fork another as fast as we kill. Then we kill again and again,
 * because children become ours only when their parents are dead. */
static int
kill_everything(struct server *s)
{
    struct census census = {0, 0};
    reap(s);
    for (int round = 0; !s->alone && round < FREEZE_ROUNDS; round++) {
        census = signal_descendants(SIGSTOP, s->pid);
        if (census.running == 0)
            break;
    }
    long deadline = now_ms() + KILL_MS;
    while (!s->alone && now_ms() < deadline) {
        signal_descendants(SIGKILL, s->pid);
        poll(NULL, 0, 1);
        reap(s);
    }
    read_output(s, &s->out); /* what was written since the last look */
    read_output(s, &s->err);
    return census.others;
}

/* ---- From start to ready, from ready to the end ---- */

static void
start_program(struct server *s, const struct options *opt)
{
    int out[2], err[2], report[2];
    char reason[512];

    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
        pipe2(report, O_CLOEXEC) < 0)
        die("pipe");
    s->pid = fork();
    if (s->pid < 0)
        die("fork");
    if (s->pid == 0)
        become_program(opt, out[1], err[1], report[1]);
    close(out[1]);
    close(err[1]);
    close(report[1]);
    s->out = out[0];
    s->err = err[0];
    fcntl(s->out, F_SETFL, O_NONBLOCK);
    fcntl(s->err, F_SETFL, O_NONBLOCK);

    /* exec closes the other end of `report`, and this read waits for that. */
    ssize_t length = read(report[0], reason, sizeof reason);
    close(report[0]);
    if (length > 0) {
        printf("fail %.*s\n", (int)length, reason);
        exit(1);
    }
}

/* Ends everything before it speaks: after `fail` there is nothing left. */
__attribute__((format(printf, 2, 3))) static void
fail(struct server *s, const char *format, ...)
{
    va_list args;
    kill_everything(s);
    printf("fail ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(1);
}

static void
fail_by_status(struct server *s)
{
    int signo = WTERMSIG(s->status);
    if (WIFSIGNALED(s->status))
        fail(s, "killed by signal %d (%s) before the ready line", signo,
             strsignal(signo));
    fail(s, "exited with status %d before the ready line",
         WEXITSTATUS(s->status));
}

static int
await_ready_line(struct server *s, double seconds)
{
    long deadline = now_ms() + seconds * 1000;
    while (!s->line_complete) {
        if (s->ended)
            fail_by_status(s);
        if (s->stop)
            fail(s, "stopped before the ready line");
        if (now_ms() >= deadline && s->line_length > 0)
            fail(s, "no ready line within %g s, only %s without a newline",
                 seconds, quoted_line(s));
        if (now_ms() >= deadline)
            fail(s, "no ready line within %g s", seconds);
        handle_events(s, deadline);
    }
    int port = ready_port(s->line);
    if (port == 0 || strlen(s->line) != s->line_length)
        fail(s, "first line was %s instead of \"listening on ADDR:PORT\"",
             quoted_line(s));
    return port;
}

static void
stop_program(struct server *s, double grace_seconds)
{
    long deadline = now_ms() + grace_seconds * 1000;
    if (!s->ended)
        kill(s->pid, SIGTERM);
    /* Children may need a moment after their parent: the same grace. */
    while (!s->alone && now_ms() < deadline)
        handle_events(s, deadline);

    bool forced = !s->ended;
    int left = kill_everything(s);
    if (forced)
        printf("end forced");
    else if (WIFSIGNALED(s->status))
        printf("end signal %d", WTERMSIG(s->status));
    else
        printf("end exit %d", WEXITSTATUS(s->status));
    printf(" left=%d flooded=%d\n", left, s->flooded);
}

/* Blocks the signals that we wait for: they come as events from now on. */
static int
open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, wait would find none */
    signal(SIGPIPE, SIG_IGN); /* nobody may listen to us any more */
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        die("signalfd");
    return fd;
}

int
main(int argc, char **argv)
{
    pid_t parent = getppid();
    struct options opt = parse_options(argc, argv);
    struct server s = {.out = -1, .err = -1, .log_room = opt.log_bytes};

    setvbuf(stdout, NULL, _IOLBF, 0);
    s.signals = open_signals();
    s.log = open(opt.log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (s.log < 0)
        die(opt.log_path);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        die("prctl");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        s.stop = true; /* it died before we asked to be told */

    start_program(&s, &opt);
    int port = opt.no_ready_line ? 0 : await_ready_line(&s, opt.ready_seconds);
    printf("ready %d %d %d\n", port, s.pid, getpid());
    while (!s.stop)
        handle_events(&s, NEVER);
    stop_program(&s, opt.grace_seconds);
    return 0;
}
