/*
 * What the operator wants: options, and a file.
 *
 *     # a comment
 *     address 0.0.0.0
 *     port    80
 *     root    /srv/www
 *     workers auto
 *
 * One line, one setting: a name, blanks, and the rest of the line. Every
 * setting is one row of a table, and so is its option on the command line. An
 * error is told with file and line, and nothing of the file is used then: a
 * server that half understands its configuration is worse than one that
 * goes on with the old one.
 */
#include "settings.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char config_usage[] =
    "usage: webserver [-a ADDR] [-p PORT] [-d DOCROOT] [-c FILE] [-w WORKERS]\n"
    "                 [-t THREADS] [-k SECONDS] [-r SECONDS] [-m BYTES]\n"
    "                 [-n CONNECTIONS] [-l FILE] [-u USER] [-i]\n"
    "  -a ADDR     address to listen on (127.0.0.1)\n"
    "  -p PORT     port, 0 for any free one (8080)\n"
    "  -d DOCROOT  directory to serve (www)\n"
    "  -c FILE     read settings from a file; SIGHUP reads it again\n"
    "  -w WORKERS  processes, or auto: one for each core (1); 0: no master\n"
    "  -t THREADS  of each worker, for its files (32)\n"
    "  -k SECONDS  keep a client that does nothing (60)\n"
    "  -r SECONDS  wait for a whole request (15)\n"
    "  -m BYTES    of cache in each worker, like 64M (64M)\n"
    "  -n NUMBER   of connections of each worker (as many as it can have)\n"
    "  -l FILE     access log, - for stderr (none)\n"
    "  -u USER     become this user, which only root can (stay the same)\n"
    "  -i          list directories that have no index.html\n";

/* --- values --------------------------------------------------------------- */

/* Each of these reads a value into its place in *c, or says what would have
 * been right. */
typedef const char *reader(void *place, size_t size, const char *value);

static const char *
read_text(void *place, size_t size, const char *value)
{
    if (value[0] == '\0' || strlen(value) >= size)
        return "a text that is not empty, and not that long";
    strcpy(place, value);
    return NULL;
}

/* Digits only: no sign, no blanks, nothing that strtoul() would forgive. */
static bool
read_digits(const char *value, size_t n, unsigned long max, unsigned long *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        *out = *out * 10 + (unsigned long)(value[i] - '0');
        if (*out > max)
            return false;
    }
    return n > 0;
}

/* The kernel keeps the low 16 bits of a port, so 65537 would listen on 1. */
static const char *
read_port(void *place, size_t size, const char *value)
{
    unsigned long n;
    if (!read_digits(value, strlen(value), 65535, &n))
        return "a port (0 to 65535)";
    snprintf(place, size, "%lu", n);
    return NULL;
}

static const char *
read_seconds(void *place, size_t size, const char *value)
{
    unsigned long n;
    (void)size;
    if (!read_digits(value, strlen(value), 999999, &n) || n == 0)
        return "a number of seconds (1 to 999999)";
    *(unsigned *)place = (unsigned)n;
    return NULL;
}

static const char *
read_workers(void *place, size_t size, const char *value)
{
    unsigned long n = (unsigned long)sysconf(_SC_NPROCESSORS_ONLN);
    (void)size;
    if (strcmp(value, "auto") != 0 &&
        !read_digits(value, strlen(value), 64, &n))
        return "a number of workers (0 to 64), or auto";
    *(unsigned *)place = n > 64 ? 64 : (unsigned)n;
    return NULL;
}

static const char *
read_threads(void *place, size_t size, const char *value)
{
    unsigned long n;
    (void)size;
    if (!read_digits(value, strlen(value), 256, &n) || n == 0)
        return "a number of threads (1 to 256)";
    *(unsigned *)place = (unsigned)n;
    return NULL;
}

static const char *
read_count(void *place, size_t size, const char *value)
{
    unsigned long n;
    (void)size;
    if (!read_digits(value, strlen(value), 10000000, &n) || n == 0)
        return "a number (1 to 10000000)";
    *(unsigned *)place = (unsigned)n;
    return NULL;
}

static const char *
read_bytes(void *place, size_t size, const char *value)
{
    static const char units[] = "KMG";
    unsigned long n;
    size_t length = strlen(value);
    const char *unit = length > 0 ? strchr(units, value[length - 1]) : NULL;
    (void)size;
    if (!read_digits(value, unit ? length - 1 : length, 1UL << 30, &n) ||
        n == 0)
        return "a number of bytes, like 500000, 512K, 64M or 2G";
    *(size_t *)place = n << (unit ? 10 * (unit - units + 1) : 0);
    return NULL;
}

static const char *
read_switch(void *place, size_t size, const char *value)
{
    (void)size;
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
        return "on or off";
    *(bool *)place = strcmp(value, "on") == 0;
    return NULL;
}

/* --- settings ------------------------------------------------------------- */

static const struct setting {
    int option;
    const char *name;
    reader *read;
    size_t offset, size;
} settings[] = {
#define FIELD(name)                                                            \
    offsetof(struct config, name), sizeof((struct config *)0)->name
    {'a', "address", read_text, FIELD(address)},
    {'p', "port", read_port, FIELD(port)},
    {'d', "root", read_text, FIELD(root)},
    {'w', "workers", read_workers, FIELD(workers)},
    {'t', "threads", read_threads, FIELD(threads)},
    {'k', "idle-timeout", read_seconds, FIELD(idle)},
    {'r', "request-timeout", read_seconds, FIELD(request)},
    {'m', "cache", read_bytes, FIELD(cache)},
    {'n', "connections", read_count, FIELD(connections)},
    {'l', "log", read_text, FIELD(log)},
    {'u', "user", read_text, FIELD(user)},
    {'i', "listing", read_switch, FIELD(listing)},
    {0, "stats", read_switch, FIELD(stats)},
#undef FIELD
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static const struct config defaults = {
    .address = "127.0.0.1",
    .port = "8080",
    .root = "www",
    .workers = 1,
    .threads = 32,
    .idle = 60,
    .request = 15,
    .cache = 64 << 20,
    .stats = true,
};

static const char *
set(struct config *c, const struct setting *s, const char *value)
{
    return s->read((char *)c + s->offset, s->size, value);
}

/* --- the file ------------------------------------------------------------- */

/* Splits "  name   value  # comment" in place. False if there is nothing. */
static bool
split_line(char *line, char **name, char **value)
{
    char *end = line + strcspn(line, "#\n");
    while (end > line && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    *name = line + strspn(line, " \t");
    *value = *name + strcspn(*name, " \t");
    if (**value != '\0')
        *(*value)++ = '\0';
    *value += strspn(*value, " \t");
    return **name != '\0';
}

/* One line of the file. Returns what is wrong with it, or NULL. */
static const char *
read_line(struct config *c, char *line)
{
    static char problem[256];
    char *name, *value;
    /* TODO 21: read one line of the configuration.
     * split_line() takes the comment away, and the blanks. Look for the setting
     * with that name, and set() it: NULL is success, otherwise it says what
     * would have been right, and the message has to say that and the name:
     * "workers: not a number of workers". A name that is in no row of the
     * table is an error as well: who writes "worker 4" should hear of it. The
     * stub takes no notice of the file.
     */
    (void)c;
    (void)line;
    (void)problem;
    (void)name;
    (void)value;
    (void)split_line;
    return NULL;
}

static bool
read_file(struct config *c, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        warn("open %s", path);
        return false;
    }
    char *line = NULL;
    size_t size = 0;
    bool good = true;
    ssize_t n;
    for (int number = 1; (n = getline(&line, &size, file)) > 0; number++) {
        const char *problem = strlen(line) == (size_t)n
                                  ? read_line(c, line)
                                  : "a byte that is 0: is this a text?";
        if (problem)
            warnx("%s:%d: %s", path, number, problem);
        good = good && !problem;
    }
    if (ferror(file)) { /* a directory, for one */
        warn("read %s", path);
        good = false;
    }
    free(line);
    fclose(file);
    return good;
}

/* --- the command line ----------------------------------------------------- */

/* One option, on the first pass (the file) or the second (all others). */
static enum config_result
read_option(struct config *c, int option, bool file_pass)
{
    if (option == 'h')
        return CONFIG_HELP;
    if (option == 'c')
        return !file_pass || read_file(c, optarg) ? CONFIG_GOOD : CONFIG_BAD;
    for (int i = 0; i < SETTINGS; i++) {
        if (settings[i].option != option || file_pass)
            continue;
        const char *right = set(c, &settings[i], optarg ? optarg : "on");
        if (!right)
            return CONFIG_GOOD;
        warnx("-%c %s: not %s", option, optarg, right);
        return CONFIG_BAD;
    }
    return file_pass && option != '?' ? CONFIG_GOOD : CONFIG_BAD;
}

enum config_result
config_read(struct config *c, int argc, char **argv)
{
    struct config new = defaults;
    for (int pass = 1; pass <= 2; pass++) {
        int option;
        optind = 0; /* begin anew: this may be the second call */
        while ((option = getopt(argc, argv, "a:p:d:c:w:t:k:r:m:n:l:u:ih")) !=
               -1) {
            enum config_result result = read_option(&new, option, pass == 1);
            if (result != CONFIG_GOOD)
                return result;
        }
    }
    if (optind < argc) {
        warnx("unexpected argument: %s", argv[optind]);
        return CONFIG_BAD;
    }
    *c = new;
    return CONFIG_GOOD;
}
