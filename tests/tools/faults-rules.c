#include "faults-rules.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_RULES  16
#define LOG_FD     900 /* far from the numbers that a server counts on */
#define EXIT_WRONG 97

#define AS_NAMES(name, class) {#name, #class},

static const struct {
    const char *name, *class;
} CALL_NAMES[] = {CALLS(AS_NAMES)};

static const struct {
    const char *name;
    int value;
} ERRORS[] = {
#define E(name)                                                                \
    {                                                                          \
#name, name                                                            \
    }
    E(EACCES), E(EAGAIN),       E(EBADF),       E(ECONNABORTED), E(ECONNRESET),
    E(EINTR),  E(EINVAL),       E(EIO),         E(ELOOP),        E(EMFILE),
    E(ENFILE), E(ENAMETOOLONG), E(ENOBUFS),     E(ENOENT),       E(ENOMEM),
    E(ENOSPC), E(ENOTCONN),     E(ENOTDIR),     E(EPERM),        E(EPIPE),
    E(EPROTO), E(ETIMEDOUT),    E(EWOULDBLOCK), E(ENOSYS),
#undef E
};

struct rule {
    const char *text;       /* as written, for the log, ... */
    int text_length;        /* ... with the next rules behind it */
    unsigned long calls;    /* bit 1 << CALL_x: the calls it is about */
    bool sock, file, nb;    /* only descriptors of this kind */
    const char *path;       /* only paths that contain this */
    long first, last, step; /* which of the matching calls */
    size_t max;             /* what to do: at most so many bytes, ... */
    long delay_ms;          /* ... wait before, ... */
    bool append;            /* ... set O_APPEND, ... */
    const char *reach;      /* ... see whether this can be opened, ... */
    int error;              /* ... fail with this errno */
};

static struct rule rules[MAX_RULES];
static size_t rule_count; /* stays 0 until the constructor is done */
static int log_fd = -1;

/* This thread is at work for us, and what it calls is not to be disturbed. */
static THREAD_LOCAL bool not_the_server;

/* FAULTS, once as it is and once to be cut into words that rules point to. No
 * strdup(): a leak checker would report it as one of the server. */
static char whole[2048], words[2048];

/* How many calls matched each rule. Forked children share this memory: "the
 * third write" means the third of the server, whichever process does it. */
static atomic_long *matched;

/* ---- From FAULTS to rules ---- */

__attribute__((format(printf, 1, 2), noreturn)) static void
wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "faults: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    _exit(EXIT_WRONG);
}

static unsigned long
calls_named(const char *name)
{
    unsigned long calls = 0;
    for (size_t i = 0; i < CALL_COUNT; i++)
        if (strcmp(name, CALL_NAMES[i].name) == 0 ||
            strcmp(name, CALL_NAMES[i].class) == 0)
            calls |= 1UL << i;
    if (calls == 0)
        wrong("no call or class is named '%s'", name);
    return calls;
}

static int
error_named(const char *name)
{
    for (size_t i = 0; i < LENGTH(ERRORS); i++)
        if (strcmp(name, ERRORS[i].name) == 0)
            return ERRORS[i].value;
    wrong("no error is named '%s'", name);
}

static long
positive(const char *text, char **end)
{
    long value = *text >= '0' && *text <= '9' ? strtol(text, end, 10) : 0;
    if (value < 1)
        wrong("not a number from 1 on: '%s'", text);
    return value;
}

static long
positive_only(const char *text)
{
    char *end;
    long value = positive(text, &end);
    if (*end != '\0')
        wrong("not a number: '%s'", text);
    return value;
}

/* F, F+, F+S or F..L */
static void
parse_when(struct rule *r, const char *text)
{
    char *end;
    r->first = r->last = positive(text, &end);
    if (strncmp(end, "..", 2) == 0) {
        r->last = positive(end + 2, &end);
    } else if (*end == '+') {
        r->last = LONG_MAX;
        if (*++end != '\0')
            r->step = positive(end, &end);
    }
    if (*end != '\0' || r->last < r->first)
        wrong("not a choice of calls (F, F+, F+S, F..L): '%s'", text);
}

static void
parse_option(struct rule *r, const char *option)
{
    const char *value = strchr(option, '=');
    size_t length = value ? (size_t)(value++ - option) : 0;
#define IS(name) (length == sizeof name - 1 && !strncmp(option, name, length))
    if (IS("short"))
        r->max = positive_only(value);
    else if (IS("delay"))
        r->delay_ms = positive_only(value);
    else if (IS("error"))
        r->error = error_named(value);
    else if (IS("when"))
        parse_when(r, value);
    else if (IS("path") && *value)
        r->path = value;
    else if (IS("reach") && *value)
        r->reach = value;
    else if (strcmp(option, "flag=append") == 0)
        r->append = true;
    else if (strcmp(option, "fd=sock") == 0)
        r->sock = true;
    else if (strcmp(option, "fd=file") == 0)
        r->file = true;
    else if (strcmp(option, "fd=nb") == 0)
        r->nb = true;
    else
        wrong("no such option: '%s'", option);
#undef IS
}

/* Does nothing but let a call transfer less, if even that. */
static bool
only_shortens(const struct rule *r)
{
    return !r->error && !r->delay_ms && !r->append && !r->reach;
}

static void
parse_rule(struct rule *r, char *text)
{
    char *rest, *rest_of_calls;
    *r = (struct rule){.first = 1, .last = LONG_MAX, .step = 1};
    r->text = text - words + whole;
    r->text_length = strlen(text);
    char *calls = strtok_r(text, ":", &rest);
    for (char *name = strtok_r(calls, ",", &rest_of_calls); name;
         name = strtok_r(NULL, ",", &rest_of_calls))
        r->calls |= calls_named(name);
    for (char *o; (o = strtok_r(NULL, ":", &rest)) != NULL;)
        parse_option(r, o);

    unsigned long transfers = calls_named("read") | calls_named("write");
    if (r->max && (r->calls & ~transfers))
        wrong("only reading and writing can be short: '%.*s'", r->text_length,
              r->text);
    if (r->error && (r->calls & calls_named("thread_start")))
        wrong("a thread cannot fail when it is there: '%.*s'", r->text_length,
              r->text);
    if (r->max == 0 && only_shortens(r))
        wrong("none of short=, error=, delay=, flag=, reach=: '%.*s'",
              r->text_length, r->text);
}

/* A program that brings its own malloc(), as one of clang's AddressSanitizer
 * does, never asks ours. A test must not take that for a success. */
static void
refuse_rules_without_effect(void)
{
    Dl_info asked, ours;
    dladdr(dlsym(RTLD_DEFAULT, "malloc"), &asked);
    dladdr(&rule_count, &ours);
    if (asked.dli_fbase == ours.dli_fbase)
        return;
    for (size_t i = 0; i < rule_count; i++)
        if (rules[i].calls & calls_named("malloc"))
            wrong("the program has a malloc() of its own: '%.*s'",
                  rules[i].text_length, rules[i].text);
}

/* The highest number allowed, should LOG_FD be too high: the limit that a test
 * sets must not cost it the log. */
static void
open_log(const char *path)
{
    struct rlimit limit = {LOG_FD + 1, 0};
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        wrong("%s: %s", path, strerror(errno));
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t wanted = limit.rlim_cur <= LOG_FD ? limit.rlim_cur - 1 : LOG_FD;
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, (int)wanted);
    close(fd);
}

__attribute__((constructor)) static void
read_environment(void)
{
    const char *faults = getenv("FAULTS"), *log_path = getenv("FAULTS_LOG");
    size_t count = 0;
    char *rest;

    if (log_path && *log_path)
        open_log(log_path);
    if (!faults)
        return;
    matched = mmap(NULL, MAX_RULES * sizeof *matched, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (matched == MAP_FAILED)
        wrong("mmap: %s", strerror(errno));
    if (strlen(faults) >= sizeof whole)
        wrong("rules longer than %zu bytes", sizeof whole - 1);
    strcpy(whole, faults);
    strcpy(words, faults);
    for (char *rule = strtok_r(words, " \n", &rest); rule;
         rule = strtok_r(NULL, " \n", &rest)) {
        if (count == MAX_RULES)
            wrong("more than %d rules", MAX_RULES);
        parse_rule(&rules[count++], rule);
    }
    rule_count = count;
    refuse_rules_without_effect();
}

/* ---- From a call to the rules ---- */

static bool
path_matches(const char *part, int fd, const char *path)
{
    char link[40], target[PATH_MAX];
    if (path)
        return strstr(path, part) != NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    return strstr(target, part) != NULL;
}

/* Is the rule about this call, on this descriptor or path? */
static bool
rule_matches(const struct rule *r, enum call call, int fd, const char *path)
{
    struct stat st;
    if (!(r->calls >> call & 1))
        return false;
    if (r->path && !path_matches(r->path, fd, path))
        return false;
    if (!r->sock && !r->file && !r->nb)
        return true;
    if (fd < 0 || fstat(fd, &st) < 0)
        return false;
    return (!r->sock || S_ISSOCK(st.st_mode)) &&
           (!r->file || S_ISREG(st.st_mode)) &&
           (!r->nb || (fcntl(fd, F_GETFL) & O_NONBLOCK));
}

static bool
is_chosen(const struct rule *r, long number)
{
    return number >= r->first && number <= r->last &&
           (number - r->first) % r->step == 0;
}

/* Not cut short by signals: a disk is not either. */
static void
sleep_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

/* One write() for a line: lines of several processes do not mix. */
static void
log_fault(const struct rule *r, enum call call, int fd, long number)
{
    char line[256];
    if (log_fd < 0)
        return;
    int length =
        snprintf(line, sizeof line, "%s fd=%d #%ld %.*s", CALL_NAMES[call].name,
                 fd, number, r->text_length, r->text);
    if (length >= (int)sizeof line)
        length = sizeof line - 1;
    line[length++] = '\n';
    if (write(log_fd, line, length) < 0)
        log_fd = -1;
}

/* From inside of the server, as whoever broke into it would try. */
static void
try_to_reach(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (log_fd >= 0)
        dprintf(log_fd, "reach %s: %s\n", path,
                fd < 0 ? strerror(errno) : "open");
    if (fd >= 0)
        close(fd);
}

/* Does what a rule asks for. Returns true if the call is to fail. */
static bool
apply(const struct rule *r, enum call call, int fd, size_t *size, long number)
{
    if (only_shortens(r) && *size <= r->max)
        return false; /* nothing to shorten */
    log_fault(r, call, fd, number);
    if (r->delay_ms)
        sleep_ms(r->delay_ms);
    if (r->append)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND);
    if (r->reach)
        try_to_reach(r->reach);
    if (r->max && *size > r->max)
        *size = r->max;
    return r->error != 0;
}

bool
fault(enum call call, int fd, const char *path, size_t *size)
{
    if (rule_count == 0 || not_the_server)
        return false;
    int error = errno;
    bool fails = false;
    not_the_server = true;
    for (size_t i = 0; i < rule_count; i++) {
        const struct rule *r = &rules[i];
        if (!rule_matches(r, call, fd, path))
            continue;
        long number = atomic_fetch_add(&matched[i], 1) + 1;
        if (fails || !is_chosen(r, number))
            continue; /* counted, though an earlier rule may have decided */
        fails = apply(r, call, fd, size, number);
        if (fails)
            error = r->error;
    }
    not_the_server = false;
    errno = error;
    return fails;
}
