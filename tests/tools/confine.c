/*
 * confine: run a program that nobody trusts, as env(1) would, but unable to
 * reach the grader. scripts/grade puts it before everything that a submission
 * has written.
 *
 *   confine [-l] [-r PATH]... [-w PATH]... [NAME=VALUE]... PROGRAM ARGS...
 *   confine -k
 *
 *   -r  PATH and what is below may be read and executed
 *   -w  the same, and written
 *   -l  first bring up the loopback interface (of a new network namespace)
 *   -k  print how much the kernel can do: its Landlock version, 0 for none
 *
 * What may be reached anyway: the folder of PROGRAM, to read and execute; the
 * libraries, /etc, /proc and the like, to read. Not the programs in /usr/bin:
 * who wraps a server that is there already has not written one. Signals and
 * ptrace() reach only what PROGRAM itself has started, and descriptors from 3
 * on are closed.
 *
 * Landlock does this without root and in containers (Linux 5.13; signals since
 * 6.12). A kernel without it runs PROGRAM all the same: scripts/grade has asked
 * with -k before, and says what is missing. Results: the status of PROGRAM; 125
 * if it could not be confined; 127 if it could not be executed.
 *
 * See landlock(7). The constants stand here because the headers of many
 * distributions are older than their kernels.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TROUBLE = 125, NOT_EXECUTED = 127 };

/* Rights to files: one bit each. FILES are those that a plain file can have. */
enum {
    EXECUTE = 1 << 0,
    WRITE = 1 << 1,
    READ = 1 << 2,
    LIST = 1 << 3,
    TRUNCATE = 1 << 14,
    FILES = EXECUTE | WRITE | READ | TRUNCATE,
    EVERYTHING = ~0,
};
enum { SIGNALS = 1 << 1 }; /* scopes */

struct ruleset { /* landlock_create_ruleset(2) */
    uint64_t rights, ports, scopes;
};
struct beneath { /* landlock_add_rule(2) */
    uint64_t rights;
    int32_t fd;
} __attribute__((packed));

static int
landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    return version < 0 ? 0 : (int)version;
}

/* The rights that a kernel of this version knows: what it does not know can be
 * neither forbidden nor allowed. */
static uint64_t
known_rights(int version)
{
    int bits = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
    return (UINT64_C(1) << bits) - 1;
}

static int
create_ruleset(int version)
{
    struct ruleset r = {.rights = known_rights(version),
                        .scopes = version >= 6 ? SIGNALS : 0};
    size_t size = version >= 6   ? sizeof r
                  : version >= 4 ? 2 * sizeof(uint64_t)
                                 : sizeof(uint64_t);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
    if (ruleset < 0)
        err(TROUBLE, "landlock_create_ruleset");
    return ruleset;
}

/* Allows what is not there, too: it stays out of reach. */
static void
allow(int ruleset, const char *path, uint64_t rights)
{
    struct stat st;
    int fd = path ? open(path, O_PATH | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    if (fstat(fd, &st) < 0)
        err(TROUBLE, "%s", path);
    if (!S_ISDIR(st.st_mode))
        rights &= FILES;
    struct beneath rule = {rights & known_rights(landlock_version()), fd};
    if (syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0) < 0)
        err(TROUBLE, "landlock_add_rule %s", path);
    close(fd);
}

static void
allow_the_usual(int ruleset, const char *program)
{
    static const char *const to_read[] = {"/lib", "/lib64",     "/usr/lib",
                                          "/etc", "/usr/lib64", "/usr/share",
                                          "/sys", "/proc",      "/dev"};
    static const char *const to_write[] = {"/dev/null", "/dev/zero",
                                           "/dev/full", "/dev/tty"};
    static const char *const loaders[] = {"/lib64/ld-linux-x86-64.so.2",
                                          "/lib/ld-linux-aarch64.so.1"};
    for (size_t i = 0; i < sizeof to_read / sizeof to_read[0]; i++)
        allow(ruleset, to_read[i], READ | LIST);
    for (size_t i = 0; i < sizeof to_write / sizeof to_write[0]; i++)
        allow(ruleset, to_write[i], READ | WRITE);
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; i++)
        allow(ruleset, loaders[i], READ | EXECUTE);

    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", program);
    allow(ruleset, dirname(path), READ | LIST | EXECUTE);
    allow(ruleset, getenv("LD_PRELOAD"), READ | EXECUTE);
}

static void
bring_up_loopback(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
        err(TROUBLE, "loopback");
    close(fd);
}

static void
usage(void)
{
    fputs("usage: confine [-l] [-r PATH]... [-w PATH]... [NAME=VALUE]... "
          "PROGRAM ARGS...\n"
          "       confine -k\n",
          stderr);
    exit(TROUBLE);
}

int
main(int argc, char **argv)
{
    int version = landlock_version();
    int ruleset = version > 0 ? create_ruleset(version) : -1;
    for (int c; (c = getopt(argc, argv, "+lr:w:k")) != -1;) {
        if (c == 'k')
            return printf("%d\n", version) < 0;
        else if (c == 'l')
            bring_up_loopback();
        else if (c == 'r' || c == 'w')
            allow(ruleset, optarg,
                  c == 'w' ? EVERYTHING : READ | LIST | EXECUTE);
        else
            usage();
    }
    for (; optind < argc && strchr(argv[optind], '='); optind++)
        putenv(argv[optind]);
    if (optind == argc)
        usage();

    const char *program = argv[optind];
    if (version > 0)
        allow_the_usual(ruleset, program);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        err(TROUBLE, "PR_SET_NO_NEW_PRIVS");
    if (version > 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        err(TROUBLE, "landlock_restrict_self");
    syscall(SYS_close_range, 3, ~0U, 0);
    execvp(program, argv + optind);
    err(NOT_EXECUTED, "%s", program);
}
