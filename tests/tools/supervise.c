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
 *   ready PORT PID SUPERVISOR_PID
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
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB           (1024L * 1024)
#define NEVER         (-1L) /* a deadline that never comes */
#define MAX_PIPE      MIB   /* what a pipe can hold if its writer enlarges it */
#define FREEZE_ROUNDS 50
#define KILL_MS       20000 /* SIGKILL works at once, unless a disk hangs */

static const struct {
    char option;
    int resource;
    rlim_t unit;
} LIMITS[] = {
    {'n', RLIMIT_NOFILE, 1}, {'p', RLIMIT_NPROC, 1},   {'v', RLIMIT_AS, MIB},
    {'c', RLIMIT_CPU, 1},    {'f', RLIMIT_FSIZE, MIB},
};
#define LIMIT_COUNT (sizeof LIMITS / sizeof LIMITS[0])

struct options {
    double ready_seconds, grace_seconds; /* TIMEOUT_FACTOR is in them */
    const char *log_path;
    long log_bytes;
    bool no_ready_line;
    long limit[LIMIT_COUNT]; /* in units of LIMITS, -1: leave as it is */
    char **program;
};

struct server {
    pid_t pid;
    int out, err;   /* our ends of its pipes, -1 once it has closed them */
    int signals;    /* signalfd: stop requests and SIGCHLD */
    int log;        /* what it says goes here ... */
    long log_room;  /* ... as long as this many bytes are left */
    char line[256]; /* its first line on stdout so far */
    size_t line_length;
    bool line_complete;
    bool stop;    /* somebody asked us to stop */
    bool ended;   /* the program is gone, and `status` tells how */
    bool alone;   /* the program and all descendants are gone */
    bool flooded; /* output was dropped */
    int status;
};

/* ---- Small helpers ---- */

static long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* For errors of our own making, before there is a program to end. */
static void
die(const char *what)
{
    printf("fail supervise: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Quotes bytes that nobody vouches for, so that they stay on one line and
 * cannot pass for a message of ours. */
static const char *
quoted(const char *bytes, size_t length)
{
    static char text[4 * sizeof((struct server *)NULL)->line + 3];
    char *end = text;
    *end++ = '"';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = bytes[i];
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

/* ---- Output of the program ---- */

/* Returns the port of `listening on ADDR:PORT`, 0 if it is not such a line.
 * Port 0 is none either: the line must tell the port that was given. */
static int
ready_port(const char *line)
{
    char address[INET6_ADDRSTRLEN + 2];
    unsigned char parsed[sizeof(struct in6_addr)];
    static const char START[] = "listening on ";

    if (strncmp(line, START, sizeof START - 1) != 0)
        return 0;
    line += sizeof START - 1;
    const char *colon = strrchr(line, ':');
    if (!colon || (size_t)(colon - line) >= sizeof address)
        return 0;
    size_t length = colon - line;
    memcpy(address, line, length);
    address[length] = '\0';

    int known = inet_pton(AF_INET, address, parsed);
    if (length > 2 && address[0] == '[' && address[length - 1] == ']') {
        address[length - 1] = '\0';
        known = inet_pton(AF_INET6, address + 1, parsed);
    }
    size_t digits = strspn(colon + 1, "0123456789");
    if (known != 1 || digits < 1 || digits > 5 || colon[1 + digits] != '\0')
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

/* Reads once from one of its pipes. Beyond the cap we drop bytes but keep
 * reading: a server that waits for room in the pipe would look hung. Returns
 * how much was there; 0 when there is nothing now, or never again. */
static size_t
read_output(struct server *s, int *pipe_end)
{
    static char bytes[65536];
    ssize_t length = read(*pipe_end, bytes, sizeof bytes);
    if (length < 0)
        return 0;
    if (length == 0) {
        close(*pipe_end);
        *pipe_end = -1;
        return 0;
    }
    long kept = length < s->log_room ? length : s->log_room;
    if (kept > 0 && write(s->log, bytes, kept) > 0)
        s->log_room -= kept;
    if (kept < length)
        s->flooded = true;
    if (pipe_end == &s->out)
        collect_first_line(s, bytes, length);
    return length;
}

/* Takes what is in the pipes now. Not until EAGAIN: a child of the program
 * may go on writing for ever. */
static void
drain_output(struct server *s)
{
    for (size_t sum = 0, n = 1; n > 0 && s->out >= 0 && sum < MAX_PIPE;
         sum += n)
        n = read_output(s, &s->out);
    for (size_t sum = 0, n = 1; n > 0 && s->err >= 0 && sum < MAX_PIPE;
         sum += n)
        n = read_output(s, &s->err);
}

/* ---- Waiting ---- */

/* Collects every child that has ended, adopted ones too. Bytes that the
 * program wrote before it died are taken first, so that a ready line followed
 * by a crash counts as ready. */
static void
reap(struct server *s)
{
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != s->pid)
            continue;
        drain_output(s);
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

/* Waits for the next thing to happen, at most until the deadline. */
static void
handle_events(struct server *s, long deadline)
{
    struct pollfd fds[] = {
        {s->signals, POLLIN, 0}, {s->out, POLLIN, 0}, {s->err, POLLIN, 0}};
    long left = deadline == NEVER ? -1 : deadline - now_ms();
    if (deadline != NEVER && left < 0)
        left = 0;
    poll(fds, 3, left);
    if (fds[1].revents)
        read_output(s, &s->out);
    if (fds[2].revents)
        read_output(s, &s->err);
    if (fds[0].revents) {
        read_signals(s);
        reap(s);
    }
}

/* ---- Killing ---- */

struct process {
    pid_t parent;
    char state;
};

static bool
read_process(pid_t pid, struct process *p)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    /* `PID (NAME) STATE PARENT ...`, where NAME may hold any character. */
    char *name_end = strrchr(text, ')');
    return name_end && sscanf(name_end, ") %c %d", &p->state, &p->parent) == 2;
}

static bool
descends_from_us(pid_t pid)
{
    struct process p;
    for (; pid > 1 && read_process(pid, &p); pid = p.parent)
        if (p.parent == getpid())
            return true;
    return false;
}

struct census {
    int running; /* descendants that are neither stopped nor dead */
    int others;  /* live descendants other than the program itself */
};

/* Sends a signal to every descendant. There is no table of them that could
 * be too small: each entry of /proc is looked at and dealt with. */
static struct census
signal_descendants(const struct server *s, int signo)
{
    struct census census = {0, 0};
    DIR *proc = opendir("/proc");
    if (!proc)
        return census;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        struct process p;
        pid_t pid = atoi(entry->d_name);
        if (pid <= 0 || !descends_from_us(pid) || !read_process(pid, &p))
            continue;
        kill(pid, signo);
        census.running += strchr("TZX", p.state) == NULL;
        census.others += strchr("ZX", p.state) == NULL && pid != s->pid;
    }
    closedir(proc);
    return census;
}

/* Ends everything that descends from us, and returns how many there were
 * besides the program. Freezing comes first: whoever sees a sibling die could
 * fork another one as fast as we kill. Then killing, again and again, because
 * the children of the killed only now become ours. */
static int
kill_everything(struct server *s)
{
    struct census census = {0, 0};
    reap(s);
    for (int round = 0; !s->alone && round < FREEZE_ROUNDS; round++) {
        census = signal_descendants(s, SIGSTOP);
        if (census.running == 0)
            break;
    }
    long deadline = now_ms() + KILL_MS;
    while (!s->alone && now_ms() < deadline) {
        signal_descendants(s, SIGKILL);
        poll(NULL, 0, 1);
        reap(s);
    }
    drain_output(s);
    return census.others;
}

/* ---- Starting ---- */

static void
hide_test_environment(void)
{
    static const char *const PREFIXES[] = {"BATS_", "TIMEOUT", "RESULT"};
    char name[256];
    for (char **entry = environ; *entry;) {
        bool hide = false;
        for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++)
            hide |= strncmp(*entry, PREFIXES[i], strlen(PREFIXES[i])) == 0;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
        if (!hide || unsetenv(name) != 0)
            entry++; /* unsetenv() moved the next one here otherwise */
    }
}

/* Marked, not closed: the pipe that reports a failed exec is among them. */
static void
close_from_3_on_exec(void)
{
#ifdef SYS_close_range
    const unsigned close_range_cloexec = 1U << 2;
    if (syscall(SYS_close_range, 3U, ~0U, close_range_cloexec) == 0)
        return;
#endif
    for (int fd = 3; fd < sysconf(_SC_OPEN_MAX); fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void
reset_signals(void)
{
    sigset_t none;
    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL); /* ignored ones would stay so after exec */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the child. Returns the name of what could not be limited. */
static char
set_limits(const struct options *opt)
{
    /* 1 byte rather than 0: no file either, and the kernel also knows it as
     * "start no crash reporter", which would delay the death. */
    struct rlimit no_core = {1, 1};
    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        if (opt->limit[i] < 0)
            continue;
        struct rlimit r;
        r.rlim_cur = r.rlim_max = opt->limit[i] * LIMITS[i].unit;
        if (LIMITS[i].resource == RLIMIT_CPU)
            r.rlim_max++; /* so that SIGXCPU comes, which has a name */
        if (setrlimit(LIMITS[i].resource, &r) < 0)
            return LIMITS[i].option;
    }
    return '\0';
}

/* The child's way to exec. An explanation goes to `report`, if it fails. */
static void
become_program(const struct options *opt, int out, int err, int report)
{
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should somebody kill -9 us */
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close_from_3_on_exec();
    reset_signals();
    char refused = set_limits(opt);
    if (refused) {
        dprintf(report, "cannot set limit -%c: %s", refused, strerror(errno));
        _exit(127);
    }
    execvp(opt->program[0], opt->program);
    dprintf(report, "cannot run %s: %s", opt->program[0], strerror(errno));
    _exit(127);
}

static void
start_program(struct server *s, const struct options *opt)
{
    int out[2], err[2], report[2];
    char reason[512];

    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0 ||
        pipe2(err, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(report, O_CLOEXEC) < 0)
        die("pipe");
    /* Only our ends must not block: its own may. */
    fcntl(out[1], F_SETFL, 0);
    fcntl(err[1], F_SETFL, 0);
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

    /* exec closes the other end of `report`; until then this waits. */
    ssize_t length = read(report[0], reason, sizeof reason - 1);
    close(report[0]);
    if (length > 0) {
        printf("fail %.*s\n", (int)length, reason);
        exit(1);
    }
}

/* ---- The three parts of a test ---- */

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
fail_because_ended(struct server *s)
{
    int signo = WTERMSIG(s->status);
    if (WIFSIGNALED(s->status))
        fail(s, "killed by signal %d (%s) before the ready line", signo,
             strsignal(signo));
    fail(s, "exited with status %d before the ready line",
         WEXITSTATUS(s->status));
}

static int
await_ready_line(struct server *s, const struct options *opt)
{
    long deadline = now_ms() + opt->ready_seconds * 1000;
    while (!s->line_complete) {
        if (s->ended)
            fail_because_ended(s);
        if (s->stop)
            fail(s, "stopped before the ready line");
        if (now_ms() >= deadline && s->line_length > 0)
            fail(s, "no ready line within %g s, only %s without a newline",
                 opt->ready_seconds, quoted(s->line, s->line_length));
        if (now_ms() >= deadline)
            fail(s, "no ready line within %g s", opt->ready_seconds);
        handle_events(s, deadline);
    }
    int port = ready_port(s->line);
    if (port == 0 || strlen(s->line) != s->line_length)
        fail(s, "first line was %s instead of \"listening on ADDR:PORT\"",
             quoted(s->line, s->line_length));
    return port;
}

static void
stop_program(struct server *s, const struct options *opt)
{
    long deadline = now_ms() + opt->grace_seconds * 1000;
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

/* Blocks the signals we live by and reads them from a descriptor instead. */
static int
catch_signals(void)
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

/* ---- The command line ---- */

static void
usage(const char *problem)
{
    fprintf(stderr,
            "supervise: %s\n"
            "usage: supervise [-r SECONDS] [-g SECONDS] [-o LOGFILE]"
            " [-l BYTES] [-N]\n"
            "                 [-n NOFILE] [-p NPROC] [-v MIB]"
            " [-c CPUSECONDS] [-f MIB] -- PROGRAM ARGS...\n",
            problem);
    exit(2);
}

static double
number(const char *text, const char *what)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 1e15)) {
        fprintf(stderr, "supervise: %s: not a number: %s\n", what, text);
        exit(2);
    }
    return value;
}

static bool
set_limit_option(struct options *opt, int option, const char *text)
{
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        if (LIMITS[i].option != option)
            continue;
        opt->limit[i] = number(text, "limit");
        return true;
    }
    return false;
}

static struct options
parse_options(int argc, char **argv)
{
    struct options opt = {10, 2, "/dev/null", 262144, false, {0}, NULL};
    for (size_t i = 0; i < LIMIT_COUNT; i++)
        opt.limit[i] = -1;
    for (int c; (c = getopt(argc, argv, "+r:g:o:l:Nn:p:v:c:f:")) != -1;) {
        if (c == 'r')
            opt.ready_seconds = number(optarg, "-r");
        else if (c == 'g')
            opt.grace_seconds = number(optarg, "-g");
        else if (c == 'o')
            opt.log_path = optarg;
        else if (c == 'l')
            opt.log_bytes = number(optarg, "-l");
        else if (c == 'N')
            opt.no_ready_line = true;
        else if (!set_limit_option(&opt, c, optarg))
            usage("unknown option");
    }
    if (optind == argc)
        usage("no program given");
    opt.program = argv + optind;
    const char *factor = getenv("TIMEOUT_FACTOR");
    double slow = factor && *factor ? number(factor, "TIMEOUT_FACTOR") : 1;
    opt.ready_seconds *= slow;
    opt.grace_seconds *= slow;
    return opt;
}

int
main(int argc, char **argv)
{
    pid_t parent = getppid();
    struct options opt = parse_options(argc, argv);
    struct server s = {.out = -1, .err = -1, .log_room = opt.log_bytes};

    setvbuf(stdout, NULL, _IOLBF, 0);
    s.signals = catch_signals();
    s.log = open(opt.log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (s.log < 0)
        die(opt.log_path);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        die("prctl");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        s.stop = true; /* it died before we asked to be told */
    hide_test_environment();

    start_program(&s, &opt);
    int port = opt.no_ready_line ? 0 : await_ready_line(&s, &opt);
    printf("ready %d %d %d\n", port, s.pid, getpid());
    while (!s.stop)
        handle_events(&s, NEVER);
    stop_program(&s, &opt);
    return 0;
}
