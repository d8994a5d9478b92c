/*
 * Gives up what a worker does not need.
 *
 * If a stranger ever gets this process to do what he wants, it shall be a poor
 * one: no root, no way to get root, no file outside the site, no file to write,
 * no connection to anywhere. All that costs nothing while the server runs.
 */
#include "harden.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From <linux/landlock.h>, which on some systems is older than their kernel. */
enum {
    VERSION_FLAG = 1,
    RULE_PATH_BENEATH = 1,
    READ_FILE = 1 << 2,
    READ_DIR = 1 << 3,
};
struct ruleset {
    uint64_t handled_fs;  /* all that is handled is forbidden, but for rules */
    uint64_t handled_net; /* since version 4: 1 bind, 2 connect (TCP) */
    uint64_t scoped;      /* since version 6: 1 abstract sockets, 2 signals */
};
struct path_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

static void
become(const char *user)
{
    errno = 0;
    const struct passwd *p = getpwnam(user);
    if (!p)
        errx(1, "user %s: there is none", user);
    /* In this order: without root one cannot leave root's groups any more. */
    if (setgroups(0, NULL) < 0 || setgid(p->pw_gid) < 0 ||
        setuid(p->pw_uid) < 0)
        err(1, "become %s", user);
    if (p->pw_uid != 0 && setuid(0) == 0)
        errx(1, "become %s: could become root again", user);
}

/* Who is root without capabilities owns root's files, and that is all. */
static void
drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version =
                                                  _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    syscall(SYS_capset, &header, none);
}

static void
allow_reading(int rules, int directory)
{
    struct path_beneath rule = {.allowed = READ_FILE | READ_DIR,
                                .parent = directory};
    if (syscall(SYS_landlock_add_rule, rules, RULE_PATH_BENEATH, &rule, 0) < 0)
        err(1, "landlock_add_rule");
}

/* What this version of Landlock can forbid, all of it. */
static struct ruleset
everything(long version, size_t *size)
{
    static const unsigned rights[] = {0, 13, 14, 15, 15, 16}; /* of files */
    unsigned n = rights[version < 5 ? version : 5];
    *size = version < 4 ? 8 : version < 6 ? 16 : 24;
    return (struct ruleset){.handled_fs = (UINT64_C(1) << n) - 1,
                            .handled_net = version < 4 ? 0 : 3,
                            .scoped = version < 6 ? 0 : 3};
}

static void
confine(int root)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);
    size_t size;
    if (version < 1)
        return; /* this kernel has none: openat2() guards the root alone */
    struct ruleset all = everything(version, &size);
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (rules < 0)
        err(1, "landlock_create_ruleset");
    allow_reading(rules, root);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    int proc =
        open("/proc", O_PATH | O_CLOEXEC); /* where they look for leaks */
    allow_reading(rules, proc);
    close(proc);
#endif
    if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        err(1, "landlock_restrict_self");
    close(rules);
}

void
harden(const char *user, int root)
{
    /* TODO 23: give up what a worker does not need.
     * If a user is named, become() that one. Whoever is root still gives up
     * root's powers: drop_capabilities(). Then PR_SET_NO_NEW_PRIVS, so that no
     * program with a set-user-ID bit can bring them back (Landlock asks for
     * that, too), and confine(). The order matters: each step takes away what
     * the one before needed. The stub stays as powerful as it was started.
     */
    (void)user;
    (void)root;
    (void)become;
    (void)drop_capabilities;
    (void)confine;
}
