/* What the three gateways agree on: see rpc.h. */
#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "rpc.h"

enum { NAME_MAX_LENGTH = 32 };

static const struct {
    const char *name, *verb;
} services[] = {
    [USERS] = {"users", "user"},
    [ORDERS] = {"orders", "order"},
    [PARCELS] = {"parcels", "parcel"},
};

/* --- options -------------------------------------------------------------- */

static void
usage(FILE *out, int status, bool choice)
{
    fprintf(out,
            "usage: %s [-a ADDR] [-p PORT] [-b PORT[,PORT,PORT]] [-d MS]%s\n",
            program_invocation_short_name, choice ? " [-s SWITCH]" : "");
    fputs(
        "  -a ADDR    address to listen on (127.0.0.1)\n"
        "  -p PORT    port, 0 for any free one (4000)\n"
        "  -b PORTS   of the back ends users, orders, parcels, on 127.0.0.1;\n"
        "             one port: the same for all (4001)\n"
        "  -d MS      how long a call may take (1000)\n",
        out);
    if (choice)
        fputs("  -s SWITCH  from stack to stack: ucontext or asm (ucontext)\n",
              out);
    exit(status);
}

/* "4001" or "4001,4002,4003" */
static bool
parse_backends(char *text, struct sockaddr_in backend[SERVICES])
{
    int n = 0;
    for (char *port; (port = strsep(&text, ",")) != NULL; n++) {
        if (n == SERVICES || net_port(port) <= 0)
            return false;
        backend[n] = (struct sockaddr_in){
            .sin_family = AF_INET,
            .sin_port = htons((uint16_t)net_port(port)),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
    }
    if (n == 1)
        backend[ORDERS] = backend[PARCELS] = backend[USERS];
    return n == 1 || n == SERVICES;
}

static bool
parse_option(struct options *o, int option)
{
    switch (option) {
    case 'a':
        o->addr = optarg;
        return true;
    case 'p':
        o->port = optarg;
        return net_port(optarg) >= 0;
    case 'b':
        return parse_backends(optarg, o->backend);
    case 'd':
        o->deadline_ms = atol(optarg);
        return o->deadline_ms > 0 && o->deadline_ms <= 1000000;
    case 's':
        o->assembly = strcmp(optarg, "asm") == 0;
        return o->assembly || strcmp(optarg, "ucontext") == 0;
    default:
        return false;
    }
}

struct options
rpc_options(int argc, char **argv, bool choice)
{
    struct options o = {
        .addr = "127.0.0.1", .port = "4000", .deadline_ms = DEADLINE_MS};
    char backends[] = "4001";
    parse_backends(backends, o.backend);
    int c;
    while ((c = getopt(argc, argv, choice ? "a:p:b:d:s:h" : "a:p:b:d:h")) !=
           -1) {
        if (c == 'h')
            usage(stdout, 0, choice);
        if (parse_option(&o, c))
            continue;
        if (c != '?')
            warnx("-%c: %s is no value for it", c, optarg);
        usage(stderr, 2, choice);
    }
    if (optind < argc) {
        warnx("unexpected argument: %s", argv[optind]);
        usage(stderr, 2, choice);
    }
    return o;
}

/* --- bytes to lines ------------------------------------------------------- */

enum got
input_line(struct input *in, char line[LINE_SIZE])
{
    char *end = memchr(in->bytes, '\n', in->n);
    if (end == NULL)
        return in->n < sizeof in->bytes ? GOT_PART : GOT_MUCH;
    size_t length = (size_t)(end - in->bytes);
    memcpy(line, in->bytes, length);
    line[length] = '\0';
    in->n -= length + 1;
    memmove(in->bytes, end + 1, in->n);
    return GOT_LINE;
}

/* --- calls ---------------------------------------------------------------- */

const char *
service_name(enum service service)
{
    return services[service].name;
}

bool
is_name(const char *text)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '-' || text[n] == '_')
        n++;
    return n > 0 && n <= NAME_MAX_LENGTH && text[n] == '\0';
}

size_t
call_text(char line[LINE_SIZE], enum service service, const char *what)
{
    return (size_t)snprintf(line, LINE_SIZE, "%s %.*s\n",
                            services[service].verb, NAME_MAX_LENGTH, what);
}

static const char *
reason(enum got got, int error)
{
    if (got == GOT_END)
        return "closed without an answer";
    if (got == GOT_MUCH)
        return "the answer is too long";
    if (error == ETIMEDOUT)
        return "no answer in time";
    return strerror(error);
}

/* A value goes into the next call, so it has to be a name itself. */
bool
call_result(enum got got, int error, const char *line, char value[LINE_SIZE])
{
    bool good =
        got == GOT_LINE && strncmp(line, "ok ", 3) == 0 && is_name(line + 3);
    if (good)
        strcpy(value, line + 3);
    else if (got == GOT_LINE)
        snprintf(value, LINE_SIZE, "%s", line);
    else
        snprintf(value, LINE_SIZE, "%s", reason(got, error));
    return good;
}
