/*
 * What a request means: whose host it is for, what its target is, where its
 * body ends, and whether the connection goes on after it.
 *
 * http_parser.c finds the parts and calls http_is_target() when the request
 * line is there, http_note_field() for each header field, and http_decide() at
 * the end of the head. Notes first, conclusions last: which field comes before
 * which must not matter.
 */
#include "http_internal.h"
#include "http_scan.h"

#include <arpa/inet.h>

/* ---- Hosts --------------------------------------------------------------- */

/* [::1], an IPv6 address in brackets: the place behind it, or NULL. */
static const char *
skip_ipv6(const char *p, const char *end)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *bracket = memchr(p, ']', (size_t)(end - p));
    size_t len = bracket ? (size_t)(bracket - p - 1) : sizeof text;
    if (len >= sizeof text)
        return NULL;
    memcpy(text, p + 1, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 ? bracket + 1 : NULL;
}

/* TODO 5: know a valid host, and have exactly one.
 * is_authority() accepts "host", "host:" and "host:port"; the host may be a
 * name (letters and the rest of HOST_NAME, escapes like %41), an IPv6 address
 * in brackets, or empty; the port is digits. For CONNECT, neither may be empty
 * and the port is one to connect to, 1 to 65535.
 * note_host() gets the value of each Host: 400 "bad-host", "host-repeated".
 * check_host() is called at the end of the head: 400 "host-missing", but not in
 * HTTP/1.0. It sets r->host, unless the target is one that has named a host
 * already: that one counts (RFC 9112, 3.2.2).
 */
static bool
is_authority(const char *p, const char *end, bool connect)
{
    (void)skip_ipv6;
    (void)connect;
    return p <= end;
}

static void
note_host(struct http_request *r, const char *p, const char *end)
{
    (void)r;
    (void)p;
    (void)end;
}

static void
check_host(struct http_request *r)
{
    (void)r;
}

/* ---- The four forms of a target ------------------------------------------ */

/* TODO 6: tell the forms of a target apart.
 * CONNECT takes host:port and nothing else; OPTIONS may take "*"; every method
 * but CONNECT takes /path?query or scheme://host/path?query, where the host is
 * not empty and there are no brackets behind it. read_target() has set r->form
 * to HTTP_ORIGIN_FORM if the target begins with "/", or else to
 * HTTP_ABSOLUTE_FORM. Set it right; for absolute-form set path and host, for
 * authority-form host (see the header).
 */
bool
http_is_target(struct http_request *r, const char *buf)
{
    (void)buf;
    (void)is_authority;
    (void)span;
    return r->form == HTTP_ORIGIN_FORM;
}

/* ---- Where the body ends ------------------------------------------------- */

/* Takes the next element off a comma-separated list: returns where it begins,
 * in *stop where it ends, or NULL if there is none. Empty ones do not count. */
static const char *
next_element(const char **list, const char *end, const char **stop)
{
    const char *p = *list;
    while (p < end && (*p == ',' || is_blank(*p)))
        p++;
    const char *comma = p;
    while (comma < end && *comma != ',')
        comma++;
    *list = comma;
    while (comma > p && is_blank(comma[-1]))
        comma--;
    *stop = comma;
    return p < comma ? p : NULL;
}

/* TODO 7: decide where the body ends.
 * If client and server disagree about this, one of them takes what the other
 * calls a body for the next request: request smuggling. So whatever could be
 * read in two ways is refused (RFC 9112, 6.3).
 * note_length(): digits and nothing else, 400 "bad-content-length"; if it comes
 * twice, the same value, 400 "content-lengths-differ"; at most limits->body,
 * however many digits, 413 "body-too-large".
 * note_coding(): goes through the list; nothing may follow "chunked", not even
 * in a second Transfer-Encoding, 400 "chunked-not-last".
 * decide_body(), at the end of the head: both fields, 400 "length-and-coding".
 * A transfer coding in HTTP/1.0, 400 "coding-in-1.0". "chunked" is not the
 * last one, 400 "chunked-not-last". Other codings before it, 501
 * "unknown-coding". Else set r->body.
 */
static void
note_length(struct http_request *r, const char *p, const char *end)
{
    (void)r;
    (void)p;
    (void)end;
}

static void
note_coding(struct http_request *r, const char *p, const char *end)
{
    (void)r;
    (void)p;
    (void)end;
    (void)next_element;
}

static void
decide_body(struct http_request *r)
{
    r->body = HTTP_BODY_NONE;
}

/* ---- Whether the connection goes on -------------------------------------- */

/* TODO 8: decide whether the connection goes on after this request.
 * Connection is a list, and may come more than once. "close" ends it. Without,
 * it goes on in HTTP/1.1, and in HTTP/1.0 if "keep-alive" was said. The stub
 * always closes, which is allowed, and slow.
 */
static void
note_connection(struct http_request *r, const char *p, const char *end)
{
    (void)r;
    (void)p;
    (void)end;
}

static void
decide_keep_alive(struct http_request *r)
{
    r->keep_alive = false;
}

/* ---- When which of these is called --------------------------------------- */

/* Four fields matter to the parser, and their names differ in length. */
void
http_note_field(struct http_request *r, const char *buf)
{
    const struct http_header *h = &r->headers[r->header_count];
    const char *name = buf + h->name.at, *colon = name + h->name.len;
    const char *value = buf + h->value.at, *end = value + h->value.len;
    switch (h->name.len) {
    case 4:
        if (is_word(name, colon, "host"))
            note_host(r, value, end);
        break;
    case 10:
        if (is_word(name, colon, "connection"))
            note_connection(r, value, end);
        break;
    case 14:
        if (is_word(name, colon, "content-length"))
            note_length(r, value, end);
        break;
    case 17:
        if (is_word(name, colon, "transfer-encoding"))
            note_coding(r, value, end);
        break;
    }
}

void
http_decide(struct http_request *r)
{
    if (r->form == HTTP_ORIGIN_FORM)
        r->path = r->target;
    check_host(r);
    decide_body(r);
    decide_keep_alive(r);
}

/* ---- Looking things up --------------------------------------------------- */

static char
small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

bool
http_is(const char *buf, struct http_span s, const char *text)
{
    return s.len == strlen(text) && memcmp(buf + s.at, text, s.len) == 0;
}

bool
http_is_nocase(const char *buf, struct http_span s, const char *text)
{
    const char *p = buf + s.at;
    size_t i = 0;
    if (s.len != strlen(text))
        return false;
    while (i < s.len && small(p[i]) == small(text[i]))
        i++;
    return i == s.len;
}

const struct http_header *
http_find(const struct http_request *r, const char *buf, const char *name,
          const struct http_header *after)
{
    const struct http_header *h = after ? after + 1 : r->headers;
    for (; h < r->headers + r->header_count; h++)
        if (http_is_nocase(buf, h->name, name))
            return h;
    return NULL;
}
