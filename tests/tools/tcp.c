/*
 * tcp - a scripted TCP client, the hand that the tests have on a socket.
 *
 *     tcp 4000 send 'hello\n' expect 'hello\n' half-close eof
 *
 * A scenario is a list of steps, done one after the other; `tcp -h` lists
 * them. All of it is checked before the first step is done. Every step that
 * waits has a deadline. The first one that fails ends the program with three
 * paragraphs on stdout: what it did, what it expected, and what came instead.
 *
 * Exit: 0 all steps done, 1 a step failed, 2 usage, 3 trouble of our own.
 */
#include "tcp-freeze.h"
#include "tcp-socket.h"
#include "tcp-steps.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] = "usage: tcp [-a ADDR] [-t SECONDS] PORT STEP...";

static const char help[] =
    "\n"
    "  tcp 4000 send 'hello\\n' expect 'hello\\n' half-close eof\n"
    "\n"
    "  -a  IPv4 address of the server (default 127.0.0.1)\n"
    "  -t  seconds that a step waits while nothing happens (default 5);\n"
    "      the environment variable TIMEOUT_FACTOR multiplies it\n"
    "\n"
    "TEXT may have \\n \\r \\t \\0 \\\\ \\\" \\xHH in it; a number may end in K"
    " or M.\n"
    "The pattern is a fixed stream of bytes, begun anew on each connection.\n";

static _Noreturn void
print_help(void)
{
    printf("%s\n%s\n", usage, help);
    for (const struct kind *k = kinds; k->name; k++) {
        printf("  %-17s%-8s", k->name, k->args);
        for (const char *p = k->help; *p; p++)
            *p == '\n' ? printf("\n%27s", "") : putchar(*p);
        putchar('\n');
    }
    exit(0);
}

/* ---- Reading the scenario ---- */

static size_t
parse_number(const char *what, const char *arg, size_t max)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(arg, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 0;
    if (!isdigit(*arg) || errno || end[shift > 0] || n > max >> shift)
        die(2, "%s is to be a number up to %zu, not %s", what, max,
            quote_word(arg));
    return n << shift;
}

static struct bytes
parse_text(const char *what, const char *arg)
{
    static const char letter[] = "nrt0\\\"'", special[] = "\n\r\t\0\\\"'";
    char *out = grow(NULL, strlen(arg) + 1), *end = out, *found;
    for (const char *p = arg; *p; p++) {
        if (*p != '\\') {
            *end++ = *p;
        } else if (p[1] && (found = strchr(letter, p[1]))) {
            *end++ = special[found - letter];
            p++;
        } else if (p[1] == 'x' && isxdigit(p[2]) && isxdigit(p[3])) {
            *end++ = (char)strtol((char[]){p[2], p[3], '\0'}, NULL, 16);
            p += 3;
        } else {
            die(2, "%s: \\%.1s is no escape (\\\\ is a backslash)", what,
                p + 1);
        }
    }
    return (struct bytes){out, 0, (size_t)(end - out)};
}

static struct bytes
read_file(const char *what, const char *name)
{
    FILE *f = fopen(name, "r");
    char *data = NULL;
    size_t n = 0, k;
    do {
        data = grow(data, n + CHUNK);
        k = f ? fread(data + n, 1, CHUNK, f) : 0;
        n += k;
    } while (k > 0);
    if (f == NULL || ferror(f))
        die(2, "%s %s: %s", what, quote_word(name), strerror(errno));
    fclose(f);
    return (struct bytes){data, 0, n};
}

static void
parse_argument(struct step *s, const char *what, const char *kind,
               const char *arg)
{
    const char *shown = arg;
    if (strcmp(kind, "TEXT") == 0) {
        s->text = parse_text(what, arg);
        shown = quote(s->text.text, s->text.n);
    } else if (strcmp(kind, "FILE") == 0) {
        s->text = read_file(what, arg);
        shown = quote_word(arg);
    } else if (strcmp(kind, "NAME") == 0) {
        s->word = arg;
    } else {
        s->number = parse_number(what, arg, INT_MAX);
    }
    if (strcmp(kind, "PID") == 0 && s->number == 0)
        die(2, "%s is to be a process, not 0", what);
    s->line = text("%s %s", s->line, shown);
    if (s->text.text && strncmp(s->line, "send", 4) == 0)
        s->line = text("%s (%s)", s->line, count(s->text.n));
}

static const struct kind *
find_kind(const char *name)
{
    for (const struct kind *k = kinds; k->name; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

/* Reads step `number`, from arg[0] on; returns how many words it has. */
static int
parse_step(struct step *s, int number, char **arg)
{
    char args[16], *kind, *rest = args;
    int used = 1;
    *s = (struct step){.kind = find_kind(arg[0]), .line = arg[0]};
    if (s->kind == NULL)
        die(2, "step %d: %s is not a step", number, quote_word(arg[0]));
    strcpy(args, s->kind->args);
    while ((kind = strsep(&rest, " ")) && *kind) {
        const char *what = text("step %d: %s %s", number, arg[0], kind);
        if (*kind == '[' && (arg[used] == NULL || !isdigit(*arg[used])))
            continue;
        if (arg[used] == NULL)
            die(2, "%s: this is missing", what);
        parse_argument(s, what, kind, arg[used++]);
    }
    return used;
}

static double
parse_seconds(const char *what, const char *arg)
{
    char *end;
    double value = strtod(arg, &end);
    if (end == arg || *end || !(value > 0 && value < 1e5))
        die(2, "%s is to be a number above 0, not %s", what, quote_word(arg));
    return value;
}

/* Returns the index of the first step. */
static int
parse_options(int argc, char **argv)
{
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (getenv("TIMEOUT_FACTOR"))
        factor = parse_seconds("TIMEOUT_FACTOR", getenv("TIMEOUT_FACTOR"));
    for (int option; (option = getopt(argc, argv, "+a:t:h")) != -1;) {
        if (option == 'h')
            print_help();
        else if (option == 't')
            patience = parse_seconds("-t", optarg);
        else if (option != 'a')
            die(2, "%s", usage);
        else if (inet_pton(AF_INET, optarg, &server.sin_addr) != 1)
            die(2, "-a is to be an IPv4 address, not %s", quote_word(optarg));
    }
    if (argc - optind < 2)
        die(2, "%s", usage);
    patience *= factor;
    size_t port = parse_number("PORT", argv[optind], 65535);
    server.sin_port = htons((uint16_t)port);
    return optind + 1;
}

int
main(int argc, char **argv)
{
    int at = parse_options(argc, argv), n = 0;
    struct step *steps = grow(NULL, (size_t)argc * sizeof *steps);
    for (; at < argc; n++)
        at += parse_step(&steps[n], n + 1, argv + at);

    signal(SIGPIPE, SIG_IGN);
    thaw_at_exit();
    for (int i = 0; i < n; i++)
        run_step(&steps[i]);
    if (fflush(stdout) != 0)
        die_errno("stdout");
    return 0;
}
