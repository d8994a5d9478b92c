/* http_internal.h - what the files of the parser share, and nobody else needs.
 *
 *     http_parser.c     syntax: takes a head apart, byte by byte
 *     http_semantics.c  what its parts mean: target, host, body, keep-alive
 *     http_chunked.c    takes a chunked body apart
 *     http_scan.h       classes of bytes, and the scans over them
 *
 * The first calls the second when it has found something; whoever finds it
 * wrong says so with fail().
 */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include "http_parser.h"

/* r->state: the part of the head that is being read. */
enum state {
    EMPTY_LINE, /* one is allowed in front of the request line           */
    METHOD,     /* up to the space                                       */
    TARGET,     /* up to the space                                       */
    VERSION,    /* up to the end of the line                             */
    LINE,       /* the first byte of a header line, or of the empty line */
    NAME,       /* up to the colon                                       */
    BLANKS,     /* between the colon and the value                       */
    VALUE,      /* up to the CR                                          */
    LINE_END,   /* the LF of a header line                               */
    HEAD_END,   /* the LF of the empty line                              */
    DONE,
    FAILED,
};

/* What the header fields have said so far: bits of r->seen. */
enum {
    SEEN_HOST = 1,
    SEEN_LENGTH = 2,
    SEEN_CODING = 4,      /* Transfer-Encoding                  */
    LAST_IS_CHUNKED = 8,  /* of the transfer codings until now  */
    OTHER_CODING = 16,    /* there is one that is not "chunked" */
    SAYS_CLOSE = 32,      /* Connection: close                  */
    SAYS_KEEP_ALIVE = 64, /* Connection: keep-alive             */
};

/* Ends the parse; the first reason counts. Returns NULL, for the caller to
 * return. */
static inline __attribute__((cold)) const char *
fail(struct http_request *r, int status, const char *reason)
{
    if (r->state == FAILED)
        return NULL;
    r->state = FAILED;
    r->status = status;
    r->reason = reason;
    return NULL;
}

/* The bytes from p to end, as an offset and a length. */
static inline struct http_span
span(const char *buf, const char *p, const char *end)
{
    return (struct http_span){(uint32_t)(p - buf), (uint32_t)(end - p)};
}

/* Whether method and target, which are complete, belong together. Sets r->form,
 * and r->path and r->host unless they are told by the form alone. */
bool http_is_target(struct http_request *r, const char *buf);

/* Takes note of a field, if it is one of those that the parser must know. It
 * is r->headers[r->header_count], not yet counted. */
void http_note_field(struct http_request *r, const char *buf);

/* At the end of the head: draws the conclusions from all notes. */
void http_decide(struct http_request *r);

#endif
