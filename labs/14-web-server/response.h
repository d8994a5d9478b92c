/* response.h - an answer, as bytes. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include "date.h"
#include "entry.h"
#include "output.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
    RANGES_MAX = 16, /* that one answer holds; two pieces of output each */
};

/* Bytes first to last, both included, as in Content-Range. */
struct range {
    off_t first, last;
};

/* What is to be answered to one request. */
struct answer {
    int status;
    bool head_only;  /* to HEAD: the same head, but no body */
    bool keep_alive; /* the connection stays open afterwards */
    bool old_client; /* HTTP/1.0: has to be told that it stays */

    struct entry *entry;     /* what it is about, held; or NULL */
    struct content *content; /* 200, 206, 304: the form of it to be sent */
    unsigned ranges;         /* 206: how many of range[] */
    struct range range[RANGES_MAX];
    const char *query; /* 301: what follows the path, with its '?' */
    size_t query_length;
    const char *json; /* 200: the text itself, instead of an entry */
    size_t json_length;
    off_t sent; /* bytes of the body, for the log: see response_add() */
};

/* Writes the head of the answer 200 with this content: all of it that is the
 * same for each request. The date is left blank, and the empty line is left
 * out. Returns its length, 0 if there is not enough room. Any thread may call
 * it. */
size_t response_prepare(const struct entry *e, const struct content *c,
                        time_t now, char *out, size_t room);

/* Adds an answer to the output, which must have room. Sets a->sent. */
void response_add(struct output *o, struct answer *a, const struct date *now);

#endif
