/* http_parser.h - the head of an HTTP/1.1 request, and its chunked body.
 *
 * Bytes in, a verdict out: HTTP_NEED_MORE, HTTP_COMPLETE, or HTTP_ERROR with
 * the status to answer. The parser reads a buffer that belongs to the caller
 * and remembers where things are in it. It allocates nothing, does no I/O, has
 * no global state, and never waits.
 *
 *     struct http_request r;
 *     http_init(&r, &http_default_limits);
 *     do
 *         len += ...more bytes to buf + len...;
 *     while ((result = http_parse(&r, buf, len)) == HTTP_NEED_MORE);
 *
 * Offsets, not pointers: whatever was found is a span, an offset from the start
 * of the buffer and a length. So the buffer may be moved between two calls
 * (realloc, memmove to the front) and nothing has to be adjusted.
 *
 * Threads: the functions touch only what they are given. Two threads may parse
 * two requests at the same time, but not the same one.
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_MAX_HEADERS = 100, /* room for header fields in a struct request  */
    HTTP_MAX_METHOD = 64,   /* bytes of a method; a longer one gets 501    */
};

enum http_result {
    HTTP_NEED_MORE, /* all is well so far: call again when more has come    */
    HTTP_COMPLETE,  /* the head (or the chunked body) ends here             */
    HTTP_CONTENT,   /* http_chunked_next only: here is a piece of content   */
    HTTP_ERROR,     /* status and reason say why; close the connection */
};

/* The bytes buf[at] to buf[at + len - 1]. They are not terminated by NUL. */
struct http_span {
    uint32_t at;
    uint32_t len;
};

/* One header field. White space around the value is not part of it. */
struct http_header {
    struct http_span name;
    struct http_span value;
};

/* What a client may send; all in bytes, except headers. At most INT32_MAX each,
 * and body at most INT64_MAX. */
struct http_limits {
    uint32_t target;  /* the request target: more is 414                   */
    uint32_t line;    /* a header line without its CRLF: more is 431       */
    uint32_t headers; /* header fields, at most HTTP_MAX_HEADERS: else 431 */
    uint32_t head;    /* all up to the empty line: more is 431             */
    uint64_t body;    /* content, in one length or in chunks: more is 413  */
};

/* 8192, 8192, 100, 65536, and as much body as an off_t can count. */
extern const struct http_limits http_default_limits;

/* The four forms of a target, RFC 9112 section 3.2. */
enum http_form {
    HTTP_ORIGIN_FORM,    /* GET /path?query: nearly every request             */
    HTTP_ABSOLUTE_FORM,  /* GET http://host/path?query: as to a proxy         */
    HTTP_AUTHORITY_FORM, /* CONNECT host:port, and with CONNECT only          */
    HTTP_ASTERISK_FORM,  /* OPTIONS *, and with OPTIONS only                  */
};

enum http_body {
    HTTP_BODY_NONE,    /* the next request begins right after the head     */
    HTTP_BODY_LENGTH,  /* content_length bytes follow the head             */
    HTTP_BODY_CHUNKED, /* chunks follow: hand them to http_chunked_next    */
};

/* A request while it comes in, and when it is there. Its fields may be read
 * after HTTP_COMPLETE; status and reason after HTTP_ERROR.
 */
struct http_request {
    struct http_span method; /* a token; case counts: "get" is not GET     */
    struct http_span target; /* as it was sent                             */
    struct http_span path;   /* the target from its path on, query included;
                              * http://host?query has ?query, and those
                              * without either have nothing                */
    struct http_span host;   /* host and port of an absolute or authority
                              * target, or else the value of Host          */
    enum http_form form;
    int minor_version; /* of 1.x: 0 or 1; greater ones count as 1.1        */

    enum http_body body;
    uint64_t content_length; /* for HTTP_BODY_LENGTH                       */
    bool keep_alive;         /* the client wants this connection to go on  */
    uint32_t consumed;       /* bytes of the head, its empty line included */

    int status;         /* 400, 413, 414, 431, 501 or 505                  */
    const char *reason; /* a short stable word, like "bad-header-name"     */

    /* The parser's own notes: where it stands, and what it saw so far. */
    const struct http_limits *limits;
    int state;
    uint32_t pos;  /* the next byte to look at                           */
    unsigned seen; /* facts about the header fields that came            */
    uint32_t host_field; /* which of them is Host                        */

    uint32_t header_count;
    struct http_header headers[HTTP_MAX_HEADERS]; /* in the order they came */
};

/* Makes r ready for a new request. It keeps the pointer to the limits. The
 * headers are not cleared, so this costs a few stores only. */
void http_init(struct http_request *r, const struct http_limits *limits);

/* Goes on parsing. buf holds len bytes, from the first byte of the request on:
 * those of the calls before, unchanged, and perhaps new ones behind them. What
 * was scanned is not scanned again, so a request that comes byte by byte costs
 * no more than its length.
 *
 * HTTP_COMPLETE: the head is the first r->consumed bytes; what is behind them
 * is the body, or the next request. HTTP_NEED_MORE: never when len has reached
 * limits->head, so a buffer of that size is enough. HTTP_ERROR: the first thing
 * that is wrong; it does not depend on how the bytes were cut. COMPLETE and
 * ERROR are final: further calls return them again.
 */
enum http_result http_parse(struct http_request *r, const char *buf,
                            size_t len);

/* The first field with this name (case does not count) behind `after`, or from
 * the start if `after` is NULL. NULL if there is none (any more). */
const struct http_header *http_find(const struct http_request *r,
                                    const char *buf, const char *name,
                                    const struct http_header *after);

/* Whether a span is this text, byte by byte, or with ASCII case ignored. */
bool http_is(const char *buf, struct http_span s, const char *text);
bool http_is_nocase(const char *buf, struct http_span s, const char *text);

/* The decoder of a chunked body: a few bytes of state. It keeps none of the
 * bytes, so the caller's buffer may be as small as it likes. */
struct http_chunked {
    int status; /* as in struct http_request: 400, 413 or 431      */
    const char *reason;

    const struct http_limits *limits;
    int state;
    uint64_t left;   /* of this chunk                                      */
    uint64_t total;  /* content announced so far                           */
    uint32_t extras; /* bytes of extensions, or of the trailer section     */
};

void http_chunked_init(struct http_chunked *c,
                       const struct http_limits *limits);

/* Takes bytes of a chunked body from the front of buf (less than 4 GiB), and
 * says in *used how many: the caller goes on behind them.
 *
 * HTTP_CONTENT: content is a span of buf, at least one byte; there may be more,
 * call again. HTTP_NEED_MORE: all len bytes are used. HTTP_COMPLETE: the body
 * ends with the last byte used, its trailer section included; the next request
 * begins behind it. HTTP_ERROR: see status and reason. The trailer fields are
 * checked and dropped. COMPLETE and ERROR are final.
 */
enum http_result http_chunked_next(struct http_chunked *c, const char *buf,
                                   size_t len, size_t *used,
                                   struct http_span *content);

#endif
