/*
 * For supervise: its command line.
 */
#pragma once
#include <stdbool.h>
#include <sys/resource.h>

#define LIMIT_COUNT 5

struct limit {
    char option;
    int resource;
    rlim_t unit;
};
extern const struct limit LIMITS[LIMIT_COUNT];

struct options {
    double ready_seconds, grace_seconds; /* TIMEOUT_FACTOR is in them */
    const char *log_path;
    long log_bytes;
    bool no_ready_line;
    long limit[LIMIT_COUNT]; /* in units of LIMITS, -1: leave as it is */
    char **program;
};

/* Ends the program with usage and status 2 if there is a mistake. */
struct options parse_options(int argc, char **argv);
