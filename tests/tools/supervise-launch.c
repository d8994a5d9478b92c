#include "supervise-launch.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool
tells_about_tests(const char *variable)
{
    static const char *const PREFIXES[] = {"BATS_", "BASH_FUNC_bats", "TIMEOUT",
                                           "RESULT"};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++)
        if (strncmp(variable, PREFIXES[i], strlen(PREFIXES[i])) == 0)
            return true;
    return false;
}

static void
hide_test_environment(void)
{
    char **kept = environ;
    for (char **entry = environ; *entry; entry++)
        if (!tells_about_tests(*entry))
            *kept++ = *entry;
    *kept = NULL;
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
    for (int fd = 3; fd < sysconf(_SC_OPEN_MAX); fd++) /* before Linux 5.11 */
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

/* Returns the option that could not be obeyed, 0 if all is well. */
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
            r.rlim_max++; /* SIGXCPU comes first, and that name says why */
        if (setrlimit(LIMITS[i].resource, &r) < 0)
            return LIMITS[i].option;
    }
    return '\0';
}

void
become_program(const struct options *opt, int out, int err, int report)
{
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* should somebody kill -9 supervise */
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close_from_3_on_exec();
    reset_signals();
    hide_test_environment();
    char refused = set_limits(opt);
    if (refused) {
        dprintf(report, "cannot set limit -%c: %s", refused, strerror(errno));
        _exit(127);
    }
    execvp(opt->program[0], opt->program);
    dprintf(report, "cannot run %s: %s", opt->program[0], strerror(errno));
    _exit(127);
}
