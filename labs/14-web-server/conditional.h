/* conditional.h - does the client want it at all, and which part of it? */
#ifndef CONDITIONAL_H
#define CONDITIONAL_H

#include "http_parser.h"
#include "response.h"

#include <stdbool.h>

/* The fields of a request that matter for the answer: the first of each kind,
 * or NULL. Found in one pass: see request.c. */
struct fields {
    const struct http_header *accept_encoding, *expect, *if_match,
        *if_modified_since, *if_none_match, *if_range, *if_unmodified_since,
        *range;
};

/* What RFC 9110, section 13.2.2, says about a content that could be sent:
 * 200: send it; 304: the client has it; 412: it is not what the client thinks.
 */
int condition_check(const struct http_request *r, const char *buf,
                    const struct fields *f, const struct entry *e,
                    const struct content *c);

/* Which parts of a->content does the client want? Returns 206 with a->ranges
 * and a->range[]; 416 if there are no such bytes; 200 if it is to get all:
 * no range, none that can be understood, or the copy it has a part of is old.
 */
int condition_ranges(const char *buf, const struct fields *f, struct answer *a);

/* Whether the client says that it understands gzip. */
bool accepts_gzip(const struct http_request *r, const char *buf,
                  const struct fields *f);

#endif
