/* settings.h - what the operator wants: options, and a file. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

enum { VALUE_MAX = 4096 }; /* bytes of a text, with its final 0 */

struct config {
    char address[256];
    char port[8];
    char root[VALUE_MAX];
    char log[VALUE_MAX];  /* access log; empty: none; "-": stderr */
    char user[64];        /* to become, if started as root; empty: stay */
    unsigned workers;     /* processes; 0: one, and no master */
    unsigned threads;     /* of each worker process, for its files */
    unsigned connections; /* that each one keeps; 0: as many as it can */
    unsigned idle;        /* seconds in which a client may do nothing */
    unsigned request;     /* seconds in which a whole request has to arrive */
    size_t cache;         /* bytes, in each worker process */
    bool listing;         /* of directories without index.html */
    bool stats;           /* answer /_stats to clients on this machine */
};

enum config_result {
    CONFIG_GOOD,
    CONFIG_BAD,  /* a message about it is on stderr */
    CONFIG_HELP, /* -h: the caller prints config_usage */
};

extern const char config_usage[];

/* Reads the command line, and the file that it names by -c; options count more
 * than the file. May be called again, on SIGHUP: the file is read anew, and
 * *c is only changed if all is well. */
enum config_result config_read(struct config *c, int argc, char **argv);

#endif
