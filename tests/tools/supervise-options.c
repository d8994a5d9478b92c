#include "supervise-options.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (1024L * 1024)

const struct limit LIMITS[] = {
    {'n', RLIMIT_NOFILE, 1}, {'p', RLIMIT_NPROC, 1},   {'v', RLIMIT_AS, MIB},
    {'c', RLIMIT_CPU, 1},    {'f', RLIMIT_FSIZE, MIB},
};

static void
usage(void)
{
    fputs("usage: supervise [-r SECONDS] [-g SECONDS] [-o LOGFILE]"
          " [-l BYTES] [-N]\n"
          "                 [-n NOFILE] [-p NPROC] [-v MIB]"
          " [-c CPUSECONDS] [-f MIB] -- PROGRAM ARGS...\n",
          stderr);
    exit(2);
}

static double
number(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end != text && *end == '\0' && value >= 0 && value <= 1e10)
        return value;
    fprintf(stderr, "supervise: not a number from 0 to 1e10: %s\n", text);
    exit(2);
}

static void
set_limit_option(struct options *opt, int option, const char *text)
{
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        if (LIMITS[i].option == option) {
            opt->limit[i] = number(text);
            return;
        }
    }
    usage();
}

struct options
parse_options(int argc, char **argv)
{
    struct options opt = {10, 2, "/dev/null", 262144, false, {0}, NULL};
    for (size_t i = 0; i < LIMIT_COUNT; i++)
        opt.limit[i] = -1;
    for (int c; (c = getopt(argc, argv, "+r:g:o:l:Nn:p:v:c:f:")) != -1;) {
        if (c == 'r')
            opt.ready_seconds = number(optarg);
        else if (c == 'g')
            opt.grace_seconds = number(optarg);
        else if (c == 'o')
            opt.log_path = optarg;
        else if (c == 'l')
            opt.log_bytes = number(optarg);
        else if (c == 'N')
            opt.no_ready_line = true;
        else
            set_limit_option(&opt, c, optarg);
    }
    if (optind == argc)
        usage();
    opt.program = argv + optind;
    const char *factor = getenv("TIMEOUT_FACTOR");
    double slow = factor && *factor ? number(factor) : 1;
    opt.ready_seconds *= slow;
    opt.grace_seconds *= slow;
    return opt;
}
