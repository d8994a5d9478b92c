/* response.h - the head of an answer, as bytes. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include "files.h"
#include "path.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
    DATE_SIZE = 30, /* "Sun, 06 Nov 1994 08:49:37 GMT" and its final 0 */
};

/* The time of day, as a number and as HTTP writes it. */
struct date {
    time_t seconds;
    char text[DATE_SIZE];
};

/* What is to be answered to one request. */
struct answer {
    int status;            /* 200, 301, or an error */
    bool head_only;        /* to HEAD: the same head, but no body */
    bool keep_alive;       /* the connection stays open afterwards */
    bool old_client;       /* HTTP/1.0: has to be told that it stays */
    struct file file;      /* 200: the body; the answer owns file.fd */
    char path[PATH_LIMIT]; /* 301: the name of the directory, without '/' */
    const char *query;     /* 301: what follows the path, with its '?' */
    size_t query_length;
};

/* Brings *date up to date. Costs next to nothing while the second is the same.
 */
void date_update(struct date *date);

/* Writes the head into out, and after it the body if that is a page about an
 * error; the bytes of a file are for the caller to send. Returns the number of
 * bytes written, at most room, or 0 if the answer does not fit.
 */
size_t response_head(const struct answer *a, const struct date *now, char *out,
                     size_t room);

#endif
