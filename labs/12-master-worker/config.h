/*
 * config.h: what the server can be told while it runs, from a file.
 *
 * A line is a setting and its value, or empty, or a comment that begins with
 * `#`. A later line of the same setting replaces an earlier one.
 *
 *   workers 4               1 to WORKERS_MAX, or auto: one for each CPU
 *   greeting hello there    the first line that each client gets
 */
#ifndef CONFIG_H
#define CONFIG_H

enum {
    WORKERS_MAX = 256,
    GREETING_MAX = 1000, /* bytes, without the newline */
};

struct config {
    int workers;
    char greeting[GREETING_MAX + 2]; /* with its newline; "": none */
};

/* Reads the file into *config; what the file does not mention stays as it is.
 * Returns 0, or -1 if it cannot be read or something in it is wrong. Then
 * stderr tells what, with file and line, and *config is not to be used. */
int config_read(const char *path, struct config *config);

/* The number that text stands for, -1 if it is none. `auto` stands for the
 * CPUs that this process may run on: those that nproc(1) counts. */
int config_workers(const char *text);

#endif
