/*
 * The parser for the head of a request: see http_parser.h for what it promises.
 *
 * A request comes as a stream of bytes, and the stream may pause anywhere: in
 * the middle of the method, between CR and LF. So the parser is a state
 * machine. A state is a part of the head, in the order of enum state; for each
 * there is one function that reads this part, called with the place to go on
 * at. It chooses the next state and returns the place behind its part; or it
 * notes where it stands and returns NULL. http_parse() runs these functions
 * until one of them cannot go on, and the next call begins with the same one.
 *
 * Three rules keep the verdict independent of how the bytes were cut. A part
 * takes the bytes in their order. It decides by bytes, never by how many more
 * have come already. And it asks for the limit first, then for the byte that
 * stopped it.
 *
 * What the parts mean (is this a valid host? where does the body end?) is for
 * http_semantics.c, and the bytes of each class are in http_scan.h.
 */
#include "http_internal.h"
#include "http_scan.h"

#include <stdio.h>  /* these two for the messages */
#include <stdlib.h> /* of what is not done yet    */

const struct http_limits http_default_limits = {
    .target = 8192, /* RFC 9112 wants 8000 for the whole request line */
    .line = 8192,
    .headers = HTTP_MAX_HEADERS,
    .head = 65536,
    .body = INT64_MAX,
};

/* All bytes before p are read; go on at p when there are more. */
static const char *
pause_at(struct http_request *r, const char *buf, const char *p)
{
    r->pos = (uint32_t)(p - buf);
    return NULL;
}

/* Whether this part of the head is too long when it has n bytes; if so, the
 * parse has failed. For LINE, n is the number of lines; for NAME, BLANKS and
 * VALUE it counts from the start of the line; for HEAD_END it is the whole. */
static inline bool
over_limit(struct http_request *r, enum state part, size_t n)
{
    const struct http_limits *max = r->limits;
    /* TODO 9: refuse what is longer than its limit.
     * Each limit has its own status, so that the client learns what was too
     * long: 501 for a method above HTTP_MAX_METHOD, 414 for the target, 431
     * for a header line, for the number of lines and for the whole head. What
     * has just the length of its limit is fine.
     */
    (void)r;
    (void)max;
    (void)part;
    (void)n;
    return false;
}

/* ---- The request line ---------------------------------------------------- */

/* Old clients send CR LF behind a body, where nobody expects it. (Read this
 * part first: it shows how all of them work.) */
static const char *
read_empty_line(struct http_request *r, const char *buf, const char *p,
                const char *end)
{
    if (p == buf && p < end && *p == '\r')
        p++;
    if (p == end)
        return pause_at(r, buf, p);
    if (p > buf && *p++ != '\n')
        return fail(r, 400, "bare-cr");
    r->method.at = (uint32_t)(p - buf);
    r->state = METHOD;
    return p;
}

static const char *
read_method(struct http_request *r, const char *buf, const char *p,
            const char *end)
{
    /* TODO 1: read the method and the space behind it.
     * The method is a token of at least one byte; r->method.at says where it
     * begins. Use skip_plain(). Ask over_limit() first, with the length so far;
     * then see why the scan stopped. No more bytes: pause_at(). Not a space:
     * fail(), 400 "bad-method". Else note the length, note where the target
     * begins, choose the state TARGET, and return the place behind the space.
     */
    (void)buf;
    (void)p;
    (void)end;
    (void)r;
    fputs("TODO 1 is not done: "
          "read the method and the space behind it\n"
          "(labs/13-http-parser/http_parser.c; read handouts/13-http-parser.md)\n",
          stderr);
    exit(3);
}

static const char *
read_target(struct http_request *r, const char *buf, const char *p,
            const char *end)
{
    /* TODO 2: read the target and the space behind it.
     * Bytes of the class PATH if it begins with "/" (note that in r->form at
     * the first byte: HTTP_ORIGIN_FORM, else HTTP_ABSOLUTE_FORM for now), else
     * of the class URI. "%" is in neither, because two hexadecimal digits must
     * follow: if one of them is still to come, pause at the "%". All else is
     * as in the method, with 400 "bad-target"; over_limit() comes after each
     * scan. Use skip(), which will be faster one day.
     */
    (void)skip;
    (void)may_be_escape;
    (void)buf;
    (void)p;
    (void)end;
    (void)r;
    fputs("TODO 2 is not done: "
          "read the target and the space behind it\n"
          "(labs/13-http-parser/http_parser.c; read handouts/13-http-parser.md)\n",
          stderr);
    exit(3);
}

static const char *
read_version(struct http_request *r, const char *buf, const char *p,
             const char *end)
{
    /* TODO 3: read the version and the end of the line.
     * Exactly "HTTP/", a digit, ".", a digit, CR, LF: else 400 "bad-version",
     * at the first byte that differs. It begins behind the target and one
     * space, so how far you have come follows from p. When the line is there,
     * a major version other than 1 is 505 "version-not-supported"; the minor
     * one goes to r->minor_version. Then ask http_is_target(), 400 "bad-target".
     */
    (void)p;
    (void)end;
    (void)http_is_target(r, buf);
    fputs("TODO 3 is not done: "
          "read the version and the end of the line\n"
          "(labs/13-http-parser/http_parser.c; read handouts/13-http-parser.md)\n",
          stderr);
    exit(3);
}

/* ---- The header lines ---------------------------------------------------- */

/* The value of h ends before p. White space at its end does not belong to it;
 * the colon stops the search for that. */
static inline void
end_value(struct http_header *h, const char *buf, const char *p)
{
    const char *value = buf + h->value.at;
    while (is_blank(p[-1]) && p > value)
        p--;
    h->value.len = (uint32_t)(p - value);
}

/* A short cut for the usual line, like "Accept: text/html": all of it has come,
 * the name has at most fifteen letters, one space follows. It does the work of
 * the next three parts; whatever is unusual is left to them, at the very byte
 * where it begins. (There are always sixteen bytes in front of end for
 * suspects(): at least eight here, and the request line.) */
static const char *
read_usual_line(struct http_request *r, const char *buf, const char *line,
                const char *end)
{
    /* TODO 13: read a whole line in one go.
     * Sixteen bytes from the start of the line show both where the name ends
     * and whether the line does: find the suspects of TOKEN and of TEXT among
     * them. If there are fewer than eight bytes, return line: bytes that come
     * singly are for the careful parts. If the first suspect is not the ":",
     * return where it is; r->state is NAME, so read_name() goes on there. Then
     * the state may be BLANKS, then VALUE; after a CR, LINE_END. The name may
     * not be empty, and a line above its limit is for read_value().
     */
    (void)r;
    (void)buf;
    (void)end;
    (void)end_value;
    return line;
}

static const char *
read_line_start(struct http_request *r, const char *buf, const char *p,
                const char *end)
{
    if (p == end)
        return pause_at(r, buf, p);
    if (*p == '\r') {
        r->state = HEAD_END;
        return p + 1;
    }
    if (is_blank(*p)) /* this was once a way to go on with the line before */
        return fail(r, 400, "folded-line");
    if (over_limit(r, LINE, r->header_count + 1u))
        return NULL;
    if (r->header_count == HTTP_MAX_HEADERS) /* whatever the limits say */
        return fail(r, 431, "too-many-headers");
    r->headers[r->header_count].name.at = (uint32_t)(p - buf);
    r->state = NAME;
    return read_usual_line(r, buf, p, end);
}

/* TODO 4: read the name, the blanks behind the colon, and the value.
 * These three parts are made like read_method(). The field that is being read
 * is r->headers[r->header_count]; its name.at is set. over_limit() wants to
 * know how far the line has come, from name.at on. A name is a token of at
 * least one byte with the ":" right behind it: 400 "bad-header-name". Then any
 * number of blanks, and value.at is behind them. A value is TEXT up to the CR,
 * and nothing else may end it: 400 "bad-header-value"; end_value() sets its
 * length. Behind the CR, the state is LINE_END.
 */
static const char *
read_name(struct http_request *r, const char *buf, const char *p,
          const char *end)
{
    (void)end_value;
    (void)buf;
    (void)p;
    (void)end;
    (void)r;
fputs("TODO 4 is not done: "
      "read the name, the blanks behind the colon, and the value\n"
      "(labs/13-http-parser/http_parser.c; read handouts/13-http-parser.md)\n",
      stderr);
exit(3);
}

static const char *
read_blanks(struct http_request *r, const char *buf, const char *p,
            const char *end)
{
    (void)end;
    return pause_at(r, buf, p);
}

static const char *
read_value(struct http_request *r, const char *buf, const char *p,
           const char *end)
{
    (void)end;
    return pause_at(r, buf, p);
}

static const char *
read_line_end(struct http_request *r, const char *buf, const char *p,
              const char *end)
{
    if (p == end)
        return pause_at(r, buf, p);
    if (*p != '\n')
        return fail(r, 400, "bare-cr");
    r->state = LINE;
    http_note_field(r, buf);
    r->header_count++;
    return r->state == FAILED ? NULL : p + 1;
}

static const char *
read_head_end(struct http_request *r, const char *buf, const char *p,
              const char *end)
{
    if (p == end)
        return pause_at(r, buf, p);
    if (*p != '\n')
        return fail(r, 400, "bare-cr");
    r->consumed = (uint32_t)(p + 1 - buf);
    r->state = DONE;
    http_decide(r);
    return NULL;
}

/* ---- The machine --------------------------------------------------------- */

void
http_init(struct http_request *r, const struct http_limits *limits)
{
    r->path = r->host = (struct http_span){0, 0};
    r->content_length = 0;
    r->limits = limits;
    r->state = EMPTY_LINE;
    r->pos = 0;
    r->seen = 0;
    r->header_count = 0;
}

/* Runs the parts until one of them cannot go on. Where one part always follows
 * another, control falls through; the switch is for the others, and for a call
 * that begins in the middle. */
static void
read_parts(struct http_request *r, const char *buf, const char *end)
{
    const char *p = buf + r->pos;
    while (p) {
        switch ((enum state)r->state) {
        case EMPTY_LINE:
            p = read_empty_line(r, buf, p, end);
            if (!p)
                break;
            /* fall through */
        case METHOD:
            p = read_method(r, buf, p, end);
            if (!p)
                break;
            /* fall through */
        case TARGET:
            p = read_target(r, buf, p, end);
            if (!p)
                break;
            /* fall through */
        case VERSION:
            p = read_version(r, buf, p, end);
            break;
        case LINE:
            p = read_line_start(r, buf, p, end);
            break;
        case NAME:
            p = read_name(r, buf, p, end);
            if (!p)
                break;
            /* fall through */
        case BLANKS:
            p = read_blanks(r, buf, p, end);
            if (!p)
                break;
            /* fall through */
        case VALUE:
            p = read_value(r, buf, p, end);
            if (!p)
                break;
            /* fall through */
        case LINE_END:
            p = read_line_end(r, buf, p, end);
            break;
        case HEAD_END:
            p = read_head_end(r, buf, p, end);
            break;
        case DONE:
        case FAILED:
            return;
        }
    }
}

enum http_result
http_parse(struct http_request *r, const char *buf, size_t len)
{
    size_t most = r->limits->head;
    read_parts(r, buf, buf + (len < most ? len : most));
    if (r->state == DONE)
        return HTTP_COMPLETE;
    if (r->state == FAILED || over_limit(r, HEAD_END, len + 1))
        return HTTP_ERROR;
    return HTTP_NEED_MORE;
}
