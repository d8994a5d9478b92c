/*
 * The request parser: see http_parser.h for what it promises.
 *
 * A request comes as a stream of bytes, and the stream may pause anywhere: in
 * the middle of the method, between CR and LF. So the parser is a state
 * machine. A state is a part of the head, in the order of the enum below; for
 * each there is one function that reads this part, called with the place to go
 * on at. It chooses the next state and returns the place behind its part; or
 * it notes where it stands and returns NULL. http_parse() runs these functions
 * until one of them cannot go on, and the next call begins with the same one.
 *
 * Three rules keep the verdict independent of how the bytes were cut. A part
 * takes the bytes in their order. It decides by bytes, never by how many more
 * have come already. And it asks for the limit first, then for the byte that
 * stopped it.
 *
 * The order of this file: limits, classes of bytes and the scan over them,
 * hosts, the forms of a target, the request line, what header fields mean, the
 * header lines, the machine, the look-up of fields, and the decoder of chunked
 * bodies, which is a machine of its own.
 */
#include "http_parser.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>  /* these two for the messages */
#include <stdlib.h> /* of what is not done yet    */
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

const struct http_limits http_default_limits = {
    .target = 8192, /* RFC 9112 wants 8000 for the whole request line */
    .line = 8192,
    .headers = HTTP_MAX_HEADERS,
    .head = 65536,
    .body = INT64_MAX,
};

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
static __attribute__((cold)) const char *
fail(struct http_request *r, int status, const char *reason)
{
    if (r->state == FAILED)
        return NULL;
    r->state = FAILED;
    r->status = status;
    r->reason = reason;
    return NULL;
}

/* All bytes before p are read; go on at p when there are more. */
static const char *
pause_at(struct http_request *r, const char *buf, const char *p)
{
    r->pos = (uint32_t)(p - buf);
    return NULL;
}

static struct http_span
span(const char *buf, const char *p, const char *end)
{
    return (struct http_span){(uint32_t)(p - buf), (uint32_t)(end - p)};
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
     * STUB: (void)r;
     * STUB: (void)max;
     * STUB: (void)part;
     * STUB: (void)n;
     * STUB: return false;
     */
    switch (part) { /* fail() returns NULL: ! makes it true */
    case METHOD:
        return n > HTTP_MAX_METHOD && !fail(r, 501, "method-too-long");
    case TARGET:
        return n > max->target && !fail(r, 414, "target-too-long");
    case LINE:
        return n > max->headers && !fail(r, 431, "too-many-headers");
    case HEAD_END:
        return n > max->head && !fail(r, 431, "head-too-large");
    default:
        return n > max->line && !fail(r, 431, "header-line-too-long");
    }
    /* END TODO 9 */
}

/* ---- Classes of bytes, and the scan over them ---------------------------- */

/* A bit for each class that a byte can be in. */
enum class {
    TOKEN = 1,      /* in names of methods, fields, codings: RFC 9110 5.6.2 */
    PATH = 2,       /* in a path or a query, except %: RFC 3986             */
    URI = 4,        /* the same and [ ], for an IPv6 address                */
    TEXT = 8,       /* in the value of a field: RFC 9110 5.5                */
    HOST_NAME = 16, /* in a host name, except %: RFC 3986                   */
    DIGIT = 32,
    HEX = 64,
    ALPHA = 128,
    ALL_FIVE = TOKEN | PATH | URI | TEXT | HOST_NAME,
};

/* clang-format off */
static const unsigned char classes[256] = {
    ['a' ... 'f'] = ALL_FIVE | HEX | ALPHA, ['g' ... 'z'] = ALL_FIVE | ALPHA,
    ['A' ... 'F'] = ALL_FIVE | HEX | ALPHA, ['G' ... 'Z'] = ALL_FIVE | ALPHA,
    ['0' ... '9'] = ALL_FIVE | HEX | DIGIT,
    ['-'] = ALL_FIVE, ['.'] = ALL_FIVE, ['_'] = ALL_FIVE, ['~'] = ALL_FIVE,
    ['!'] = ALL_FIVE, ['$'] = ALL_FIVE, ['&'] = ALL_FIVE, ['\''] = ALL_FIVE,
    ['*'] = ALL_FIVE, ['+'] = ALL_FIVE,
    ['('] = ALL_FIVE & ~TOKEN, [')'] = ALL_FIVE & ~TOKEN,
    [','] = ALL_FIVE & ~TOKEN, [';'] = ALL_FIVE & ~TOKEN,
    ['='] = ALL_FIVE & ~TOKEN,
    ['/'] = PATH | URI | TEXT, [':'] = PATH | URI | TEXT,
    ['?'] = PATH | URI | TEXT, ['@'] = PATH | URI | TEXT,
    ['['] = URI | TEXT, [']'] = URI | TEXT,
    ['#'] = TOKEN | TEXT, ['%'] = TOKEN | TEXT, ['^'] = TOKEN | TEXT,
    ['`'] = TOKEN | TEXT, ['|'] = TOKEN | TEXT,
    ['"'] = TEXT, ['<'] = TEXT, ['>'] = TEXT, ['\\'] = TEXT, ['{'] = TEXT,
    ['}'] = TEXT, [' '] = TEXT, ['\t'] = TEXT, [0x80 ... 0xff] = TEXT,
};
/* clang-format on */

static bool
is(char c, enum class class)
{
    return classes[(unsigned char)c] & class;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The first byte of [p, end) that is not in the class; end if all are. */
static const char *
skip_plain(const char *p, const char *end, enum class class)
{
    while (p < end && is(*p, class))
        p++;
    return p;
}

/* Sixteen bytes, to be added or compared by one instruction: an extension of
 * gcc and clang, on every machine. A comparison gives -1 or 0 for each byte;
 * it takes them as signed, because that is what SSE2 compares, which every
 * x86-64 has. */
typedef unsigned char v16 __attribute__((vector_size(16)));
typedef signed char signed_v16 __attribute__((vector_size(16)));

static inline v16
load(const char *p)
{
    v16 v;
    memcpy(&v, p, sizeof v); /* one instruction; p need not be aligned */
    return v;
}

/* low <= byte <= high. Adding 127 - high, which may wrap around, moves the
 * range up to the greatest values there are: one comparison will do. */
static inline v16
between(v16 v, int low, int high)
{
    signed_v16 moved = (signed_v16)(v + (unsigned char)(127 - high));
    return (v16)(moved > (signed char)(126 - high + low));
}

/* Which bytes are in the class for certain. The usual ones are recognised; for
 * the others (a digit in a name, say) the caller has the table. */
static inline v16
surely(v16 v, enum class class)
{
    v16 letter = between(v | 0x20, 'a', 'z'); /* 0x20 makes capitals small */
    switch (class) {
    case TEXT:
        return between(v, ' ', '~');
    case TOKEN:
        return letter | (v16)(v == '-');
    default: /* PATH and URI */
        return letter | between(v, '&', ';') |
               (v16)((v == '=') | (v == '?') | (v == '_'));
    }
}

/* Sixteen bytes of -1 or 0 as one number, BITS bits for each, the first byte's
 * lowest. */
#ifdef __SSE2__
enum { BITS = 1 };
static inline uint64_t
mask(v16 v)
{
    return (uint64_t)_mm_movemask_epi8((__m128i)v);
}
#else
enum { BITS = 4 };
typedef uint16_t eight_pairs __attribute__((vector_size(16)));
typedef uint8_t eight_bytes __attribute__((vector_size(8)));
static inline uint64_t
mask(v16 v)
{
    eight_bytes half =
        __builtin_convertvector((eight_pairs)v >> 4, eight_bytes);
    uint64_t bits;
    memcpy(&bits, &half, sizeof bits);
    return le64toh(bits);
}
#endif

/* The bytes from p on that need a closer look. Of sixteen bytes, or of those
 * that there are; but in front of end there must be sixteen to load. */
static inline uint64_t
suspects(const char *p, const char *end, enum class class)
{
    if (end - p >= 16)
        return mask(~surely(load(p), class));
    return mask(~surely(load(end - 16), class)) >> (16 - (end - p)) * BITS;
}

static inline const char *
first(const char *p, uint64_t suspects)
{
    return p + __builtin_ctzll(suspects) / BITS;
}

/* The same as skip_plain(), sixteen bytes at a time while there are so many. */
static inline __attribute__((always_inline)) const char *
skip(const char *p, const char *end, enum class class)
{
    /* TODO 12: scan sixteen bytes at a time.
     * suspects() tells which of them are not certain to be in the class; if
     * none is, go on with the next sixteen. Else look at the first() one: it
     * may be in the class all the same. The last bytes, fewer than sixteen,
     * are for skip_plain(). The result is always that of skip_plain().
     * STUB: (void)suspects;
     * STUB: (void)first;
     * STUB: return skip_plain(p, end, class);
     */
    while (end - p >= 16) {
        uint64_t suspect = suspects(p, end, class);
        if (!suspect) {
            p += 16;
            continue;
        }
        p = first(p, suspect);
        if (!is(*p, class))
            return p;
        p++;
    }
    return skip_plain(p, end, class);
    /* END TODO 12 */
}

/* ---- Hosts --------------------------------------------------------------- */

/* %41: whether those of the two digits that are there are digits. */
static bool
may_be_escape(const char *p, const char *end)
{
    return (end - p < 2 || is(p[1], HEX)) && (end - p < 3 || is(p[2], HEX));
}

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
 * STUB: static bool
 * STUB: is_authority(const char *p, const char *end, bool connect)
 * STUB: {
 * STUB:     (void)skip_ipv6;
 * STUB:     (void)connect;
 * STUB:     return p <= end;
 * STUB: }
 * STUB:
 * STUB: static void
 * STUB: note_host(struct http_request *r, const char *p, const char *end)
 * STUB: {
 * STUB:     (void)r;
 * STUB:     (void)p;
 * STUB:     (void)end;
 * STUB: }
 * STUB:
 * STUB: static void
 * STUB: check_host(struct http_request *r)
 * STUB: {
 * STUB:     (void)r;
 * STUB: }
 */
/* The place behind the host at p, or NULL if it is none. */
static const char *
skip_host(const char *p, const char *end)
{
    if (p < end && *p == '[')
        return skip_ipv6(p, end);
    while ((p = skip_plain(p, end, HOST_NAME)) < end && *p == '%') {
        if (end - p < 3 || !may_be_escape(p, end))
            return NULL;
        p += 3;
    }
    return p;
}

static bool
is_authority(const char *p, const char *end, bool connect)
{
    const char *host_end = skip_host(p, end);
    if (!host_end)
        return false;
    if (host_end == end)
        return !connect;
    const char *port = host_end + 1;
    if (*host_end != ':' || skip_plain(port, end, DIGIT) != end)
        return false;
    unsigned n = 0;
    for (; port < end && n <= 65535; port++)
        n = n * 10 + (unsigned)(*port - '0');
    return !connect || (host_end > p && n >= 1 && n <= 65535);
}

static void
note_host(struct http_request *r, const char *p, const char *end)
{
    if (r->seen & SEEN_HOST)
        fail(r, 400, "host-repeated");
    else if (skip_plain(p, end, HOST_NAME) != end && /* the usual case */
             !is_authority(p, end, false))
        fail(r, 400, "bad-host");
    r->seen |= SEEN_HOST;
    r->host_field = r->header_count;
}

static void
check_host(struct http_request *r)
{
    if (!(r->seen & SEEN_HOST)) {
        if (r->minor_version > 0)
            fail(r, 400, "host-missing");
    } else if (r->form == HTTP_ORIGIN_FORM || r->form == HTTP_ASTERISK_FORM) {
        r->host = r->headers[r->host_field].value;
    }
}
/* END TODO 5 */

/* ---- The four forms of a target ------------------------------------------ */

/* TODO 6: tell the forms of a target apart.
 * CONNECT takes host:port and nothing else; OPTIONS may take "*"; every method
 * but CONNECT takes /path?query or scheme://host/path?query, where the host is
 * not empty and there are no brackets behind it. read_target() has set r->form
 * to HTTP_ORIGIN_FORM if the target begins with "/", or else to
 * HTTP_ABSOLUTE_FORM. Set it right; for absolute-form set path and host, for
 * authority-form host (see the header).
 * STUB: static bool
 * STUB: is_target(struct http_request *r, const char *buf)
 * STUB: {
 * STUB:     (void)buf;
 * STUB:     (void)is_authority;
 * STUB:     (void)span;
 * STUB:     return r->form == HTTP_ORIGIN_FORM;
 * STUB: }
 */
/* scheme://authority, and then a path, a query, both, or nothing. */
static bool
split_absolute(struct http_request *r, const char *buf)
{
    const char *p = buf + r->target.at, *end = p + r->target.len;
    const char *colon = memchr(p, ':', (size_t)(end - p));
    if (!colon || !is(*p, ALPHA) || end - colon < 3 ||
        memcmp(colon, "://", 3) != 0)
        return false;
    while (is(*p, ALPHA | DIGIT) || *p == '+' || *p == '-' || *p == '.')
        p++;
    const char *host = colon + 3, *path = host;
    while (path < end && *path != '/' && *path != '?')
        path++;
    r->host = span(buf, host, path);
    r->path = span(buf, path, end);
    size_t rest = r->path.len;
    return p == colon && path > host && *host != ':' &&
           is_authority(host, path, false) && !memchr(path, '[', rest) &&
           !memchr(path, ']', rest);
}

static bool
is_target(struct http_request *r, const char *buf)
{
    const char *p = buf + r->target.at;
    if (http_is(buf, r->method, "CONNECT")) {
        r->form = HTTP_AUTHORITY_FORM;
        r->host = r->target;
        return is_authority(p, p + r->target.len, true);
    }
    if (r->form == HTTP_ORIGIN_FORM)
        return true; /* its path is all of it: read_head_end() notes that */
    if (http_is(buf, r->target, "*")) {
        r->form = HTTP_ASTERISK_FORM;
        return http_is(buf, r->method, "OPTIONS");
    }
    return split_absolute(r, buf);
}
/* END TODO 6 */

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
     * STUB: (void)buf;
     * STUB: (void)p;
     * STUB: (void)end;
     * STUB: (void)r;
     * STUB: todo
     */
    p = skip_plain(p, end, TOKEN); /* too short to profit from skip() */
    size_t len = (size_t)(p - buf) - r->method.at;
    if (over_limit(r, METHOD, len))
        return NULL;
    if (p == end)
        return pause_at(r, buf, p);
    if (*p != ' ' || len == 0)
        return fail(r, 400, "bad-method");
    r->method.len = (uint32_t)len;
    r->target.at = r->method.at + r->method.len + 1;
    r->state = TARGET;
    return p + 1;
    /* END TODO 1 */
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
     * STUB: (void)skip;
     * STUB: (void)may_be_escape;
     * STUB: (void)buf;
     * STUB: (void)p;
     * STUB: (void)end;
     * STUB: (void)r;
     * STUB: todo
     */
    const char *start = buf + r->target.at;
    if (p == start && p < end)
        r->form = *p == '/' ? HTTP_ORIGIN_FORM : HTTP_ABSOLUTE_FORM;
    for (;;) {
        p = skip(p, end, r->form == HTTP_ORIGIN_FORM ? PATH : URI);
        if (over_limit(r, TARGET, (size_t)(p - start)))
            return NULL;
        if (p == end)
            return pause_at(r, buf, p);
        if (*p != '%')
            break;
        if (!may_be_escape(p, end))
            return fail(r, 400, "bad-target");
        if (end - p < 3)
            return pause_at(r, buf, p);
        p += 3;
    }
    if (*p != ' ' || p == start)
        return fail(r, 400, "bad-target");
    r->target.len = (uint32_t)(p - start);
    r->state = VERSION;
    return p + 1;
    /* END TODO 2 */
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
     * one goes to r->minor_version. Then ask is_target(), 400 "bad-target".
     * STUB: (void)p;
     * STUB: (void)end;
     * STUB: (void)is_target(r, buf);
     * STUB: todo
     */
    static const char usual[] = "HTTP/1.1\r\n", form[] = "HTTP/#.#\r\n";
    const char *start = buf + r->target.at + r->target.len + 1;
    if (p == start && end - p >= 10 && memcmp(p, usual, 10) == 0)
        p += 10;
    for (const char *want = form + (p - start); *want != '\0'; want++, p++) {
        if (p == end)
            return pause_at(r, buf, p);
        if (*want == '#' ? !is(*p, DIGIT) : *p != *want)
            return fail(r, 400, "bad-version");
    }
    if (start[5] != '1')
        return fail(r, 505, "version-not-supported");
    r->minor_version = start[7] - '0';
    r->state = LINE;
    return is_target(r, buf) ? p : fail(r, 400, "bad-target");
    /* END TODO 3 */
}

/* ---- What header fields mean --------------------------------------------- */

static inline uint32_t
four(const char *p)
{
    uint32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

/* Whether [p, end) is this word of small letters and "-", in whatever case.
 * 0x20 makes capitals small and leaves "-" as it is. */
static inline bool
is_word(const char *p, const char *end, const char *word)
{
    size_t i = 0, n = strlen(word);
    if ((size_t)(end - p) != n)
        return false;
    for (; i + 4 <= n; i += 4)
        if ((four(p + i) | 0x20202020) != four(word + i))
            return false;
    for (; i < n; i++)
        if ((p[i] | 0x20) != word[i])
            return false;
    return true;
}

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
 * STUB: static void
 * STUB: note_length(struct http_request *r, const char *p, const char *end)
 * STUB: {
 * STUB:     (void)r;
 * STUB:     (void)p;
 * STUB:     (void)end;
 * STUB: }
 * STUB:
 * STUB: static void
 * STUB: note_coding(struct http_request *r, const char *p, const char *end)
 * STUB: {
 * STUB:     (void)r;
 * STUB:     (void)p;
 * STUB:     (void)end;
 * STUB:     (void)next_element;
 * STUB: }
 * STUB:
 * STUB: static void
 * STUB: decide_body(struct http_request *r)
 * STUB: {
 * STUB:     r->body = HTTP_BODY_NONE;
 * STUB: }
 */
static void
note_length(struct http_request *r, const char *p, const char *end)
{
    uint64_t n = 0;
    if (p == end || skip_plain(p, end, DIGIT) != end) {
        fail(r, 400, "bad-content-length");
        return;
    }
    for (; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    if (r->seen & SEEN_LENGTH && n != r->content_length)
        fail(r, 400, "content-lengths-differ");
    else if (n > r->limits->body)
        fail(r, 413, "body-too-large");
    r->content_length = n;
    r->seen |= SEEN_LENGTH;
}

static void
note_coding(struct http_request *r, const char *p, const char *end)
{
    const char *coding, *stop;
    r->seen |= SEEN_CODING;
    while ((coding = next_element(&p, end, &stop)) != NULL) {
        if (r->seen & LAST_IS_CHUNKED)
            fail(r, 400, "chunked-not-last");
        r->seen |=
            is_word(coding, stop, "chunked") ? LAST_IS_CHUNKED : OTHER_CODING;
    }
}

static void
decide_body(struct http_request *r)
{
    if (!(r->seen & SEEN_CODING))
        r->body = r->seen & SEEN_LENGTH ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    else if (r->seen & SEEN_LENGTH)
        fail(r, 400, "length-and-coding");
    else if (r->minor_version == 0)
        fail(r, 400, "coding-in-1.0");
    else if (!(r->seen & LAST_IS_CHUNKED))
        fail(r, 400, "chunked-not-last");
    else if (r->seen & OTHER_CODING)
        fail(r, 501, "unknown-coding");
    else
        r->body = HTTP_BODY_CHUNKED;
}
/* END TODO 7 */

/* TODO 8: decide whether the connection goes on after this request.
 * Connection is a list, and may come more than once. "close" ends it. Without,
 * it goes on in HTTP/1.1, and in HTTP/1.0 if "keep-alive" was said. The stub
 * always closes, which is allowed, and slow.
 * STUB: static void
 * STUB: note_connection(struct http_request *r, const char *p, const char *end)
 * STUB: {
 * STUB:     (void)r;
 * STUB:     (void)p;
 * STUB:     (void)end;
 * STUB: }
 * STUB:
 * STUB: static void
 * STUB: decide_keep_alive(struct http_request *r)
 * STUB: {
 * STUB:     r->keep_alive = false;
 * STUB: }
 */
static void
note_connection(struct http_request *r, const char *p, const char *end)
{
    const char *option, *stop;
    while ((option = next_element(&p, end, &stop)) != NULL) {
        if (is_word(option, stop, "close"))
            r->seen |= SAYS_CLOSE;
        else if (is_word(option, stop, "keep-alive"))
            r->seen |= SAYS_KEEP_ALIVE;
    }
}

static void
decide_keep_alive(struct http_request *r)
{
    if (r->seen & SAYS_CLOSE)
        r->keep_alive = false;
    else
        r->keep_alive = r->minor_version > 0 || r->seen & SAYS_KEEP_ALIVE;
}
/* END TODO 8 */

/* Four fields matter to the parser, and their names differ in length. */
static void
note_field(struct http_request *r, const char *buf, const struct http_header *h)
{
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

/* ---- The header lines ---------------------------------------------------- */

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
    if (r->form == HTTP_ORIGIN_FORM)
        r->path = r->target;
    check_host(r);
    decide_body(r);
    decide_keep_alive(r);
    return NULL;
}

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
 * where it begins. */
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
     * STUB: (void)r;
     * STUB: (void)buf;
     * STUB: (void)end;
     * STUB: (void)end_value;
     * STUB: return line;
     */
    struct http_header *h = &r->headers[r->header_count];
    if (end - line < 8 || end - buf < 16)
        return line;
    uint64_t not_name = suspects(line, end, TOKEN);
    uint64_t not_text = suspects(line, end, TEXT);
    if (!not_name)
        return end - line < 16 ? end : line + 16;
    const char *p = first(line, not_name);
    if (*p != ':' || p == line || end - p < 3)
        return p;
    h->name.len = (uint32_t)(p - line);
    if (p[1] != ' ' || is_blank(p[2])) {
        r->state = BLANKS;
        return p + 1;
    }
    h->value.at = (uint32_t)(p + 2 - buf);
    r->state = VALUE;
    for (p = line; !not_text; not_text = suspects(p, end, TEXT)) {
        if (end - p <= 16)
            return end;
        p += 16;
    }
    p = first(p, not_text);
    if (*p != '\r' || (size_t)(p - line) > r->limits->line)
        return p;
    end_value(h, buf, p);
    r->state = LINE_END;
    return p + 1;
    /* END TODO 13 */
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
 * STUB: static const char *
 * STUB: read_name(struct http_request *r, const char *buf, const char *p,
 * STUB:           const char *end)
 * STUB: {
 * STUB:     (void)end_value;
 * STUB:     (void)buf;
 * STUB:     (void)p;
 * STUB:     (void)end;
 * STUB:     (void)r;
 * STUB: todo
 * STUB: }
 * STUB:
 * STUB: static const char *
 * STUB: read_blanks(struct http_request *r, const char *buf, const char *p,
 * STUB:             const char *end)
 * STUB: {
 * STUB:     (void)end;
 * STUB:     return pause_at(r, buf, p);
 * STUB: }
 * STUB:
 * STUB: static const char *
 * STUB: read_value(struct http_request *r, const char *buf, const char *p,
 * STUB:            const char *end)
 * STUB: {
 * STUB:     (void)end;
 * STUB:     return pause_at(r, buf, p);
 * STUB: }
 */
static const char *
read_name(struct http_request *r, const char *buf, const char *p,
          const char *end)
{
    struct http_header *h = &r->headers[r->header_count];
    p = skip_plain(p, end, TOKEN);
    size_t len = (size_t)(p - buf) - h->name.at;
    if (over_limit(r, NAME, len))
        return NULL;
    if (p == end)
        return pause_at(r, buf, p);
    if (*p != ':' || len == 0)
        return fail(r, 400, "bad-header-name");
    h->name.len = (uint32_t)len;
    r->state = BLANKS;
    return p + 1;
}

static const char *
read_blanks(struct http_request *r, const char *buf, const char *p,
            const char *end)
{
    struct http_header *h = &r->headers[r->header_count];
    while (p < end && is_blank(*p))
        p++;
    h->value.at = (uint32_t)(p - buf);
    if (over_limit(r, BLANKS, h->value.at - h->name.at))
        return NULL;
    if (p == end)
        return pause_at(r, buf, p);
    r->state = VALUE;
    return p;
}

static const char *
read_value(struct http_request *r, const char *buf, const char *p,
           const char *end)
{
    struct http_header *h = &r->headers[r->header_count];
    p = skip(p, end, TEXT);
    if (over_limit(r, VALUE, (size_t)(p - buf) - h->name.at))
        return NULL;
    if (p == end)
        return pause_at(r, buf, p);
    if (*p != '\r')
        return fail(r, 400, "bad-header-value");
    end_value(h, buf, p);
    r->state = LINE_END;
    return p + 1;
}
/* END TODO 4 */

static const char *
read_line_end(struct http_request *r, const char *buf, const char *p,
              const char *end)
{
    if (p == end)
        return pause_at(r, buf, p);
    if (*p != '\n')
        return fail(r, 400, "bare-cr");
    r->state = LINE;
    note_field(r, buf, &r->headers[r->header_count]);
    r->header_count++;
    return r->state == FAILED ? NULL : p + 1;
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

/* ---- Chunked bodies ------------------------------------------------------ */

/*
 *   5;why="not" CR LF  hello CR LF  0 CR LF  Expires: never CR LF  CR LF
 *   size, extension    data         size     trailer section       end
 *
 * Content is handed out in one piece, as far as it has come. All around it is
 * read byte by byte: there is little of it, and one function says for each
 * state what the next byte leads to. What may not come leads to BROKEN.
 */
enum chunk_state {
    SIZE_START, /* the first digit                                      */
    SIZE,       /* more digits                                          */
    EXT_START,  /* behind ";"                                           */
    EXT_NAME,
    EXT_NAME_END,    /* white space behind the name: "=" or ";" must come  */
    EXT_VALUE_START, /* behind "="                                      */
    EXT_VALUE,       /* a token                                         */
    EXT_QUOTED,      /* in a quoted string                              */
    EXT_ESCAPED,     /* in there, behind a backslash                    */
    EXT_QUOTED_END,  /* behind the second quotation mark                */
    EXT_END,         /* white space behind size or value: ";" must come */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* the first byte of a line                          */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    ENDED,
    BROKEN,
};

void
http_chunked_init(struct http_chunked *c, const struct http_limits *limits)
{
    *c = (struct http_chunked){.limits = limits, .state = SIZE_START};
}

static enum chunk_state
chunk_fail(struct http_chunked *c, int status, const char *reason)
{
    c->status = status;
    c->reason = reason;
    return BROKEN;
}

/* What is wrong if a byte does not fit in this state. */
static const char *
chunk_reason(enum chunk_state state)
{
    if (state <= SIZE)
        return "bad-chunk-size";
    if (state < SIZE_LF)
        return "bad-chunk-extension";
    if (state == SIZE_LF)
        return "bare-cr";
    return state < TRAILER_START ? "bad-chunk-end" : "bad-trailer";
}

/* Counts a byte that is no content. Without a limit a client could send a
 * gigabyte of them with one byte of content. */
static bool
too_much_extra(struct http_chunked *c)
{
    bool trailer = c->state >= TRAILER_START;
    uint32_t most = trailer ? c->limits->head : c->limits->line;
    if (++c->extras <= most)
        return false;
    if (trailer)
        chunk_fail(c, 431, "trailer-too-large");
    else
        chunk_fail(c, 413, "chunk-extensions-too-large");
    return true;
}

/* What may follow a size, the name or the value of an extension. */
static enum chunk_state
after_extension(enum chunk_state blank, char ch)
{
    if (is_blank(ch))
        return blank;
    return ch == ';' ? EXT_START : ch == '\r' ? SIZE_LF : BROKEN;
}

/* TODO 11: read extensions and trailer fields.
 * extension_byte(): ;name, ;name=token or ;name="quoted string", as often as
 * they come. White space may stand in front of ";" and on both sides of "=", an
 * old mistake that has to be accepted; at the end of the line it may not. In a
 * quoted string, TEXT except for its two special bytes.
 * trailer_byte(): lines as in the head, up to the empty one.
 * STUB: static enum chunk_state
 * STUB: extension_byte(enum chunk_state state, char ch)
 * STUB: {
 * STUB:     (void)state;
 * STUB:     (void)ch;
 * STUB:     return BROKEN;
 * STUB: }
 * STUB:
 * STUB: static enum chunk_state
 * STUB: trailer_byte(enum chunk_state state, char ch)
 * STUB: {
 * STUB:     if (state == TRAILER_START)
 * STUB:         return ch == '\r' ? LAST_LF : BROKEN;
 * STUB:     return ch == '\n' ? ENDED : BROKEN;
 * STUB: }
 */
static enum chunk_state
extension_byte(enum chunk_state state, char ch)
{
    bool token = is(ch, TOKEN), text = is(ch, TEXT);
    switch (state) {
    case EXT_START:
        return token ? EXT_NAME : is_blank(ch) ? EXT_START : BROKEN;
    case EXT_NAME:
        if (token || ch == '=')
            return token ? EXT_NAME : EXT_VALUE_START;
        return after_extension(EXT_NAME_END, ch);
    case EXT_NAME_END:
        if (ch == '=')
            return EXT_VALUE_START;
        return ch == '\r' ? BROKEN : after_extension(EXT_NAME_END, ch);
    case EXT_VALUE_START:
        if (ch == '"' || is_blank(ch))
            return ch == '"' ? EXT_QUOTED : EXT_VALUE_START;
        return token ? EXT_VALUE : BROKEN;
    case EXT_VALUE:
        return token ? EXT_VALUE : after_extension(EXT_END, ch);
    case EXT_QUOTED:
        if (ch == '"' || ch == '\\')
            return ch == '"' ? EXT_QUOTED_END : EXT_ESCAPED;
        return text ? EXT_QUOTED : BROKEN;
    case EXT_ESCAPED:
        return text ? EXT_QUOTED : BROKEN;
    case EXT_QUOTED_END:
        return after_extension(EXT_END, ch);
    default: /* EXT_END */
        return ch == '\r' ? BROKEN : after_extension(EXT_END, ch);
    }
}

/* The fields behind the last chunk are dropped, because they could forge what
 * the head has said. But a line must be a line. */
static enum chunk_state
trailer_byte(enum chunk_state state, char ch)
{
    switch (state) {
    case TRAILER_START:
        return ch == '\r' ? LAST_LF : is(ch, TOKEN) ? TRAILER_NAME : BROKEN;
    case TRAILER_NAME:
        if (is(ch, TOKEN))
            return TRAILER_NAME;
        return ch == ':' ? TRAILER_VALUE : BROKEN;
    case TRAILER_VALUE:
        if (is(ch, TEXT))
            return TRAILER_VALUE;
        return ch == '\r' ? TRAILER_LF : BROKEN;
    case TRAILER_LF:
        return ch == '\n' ? TRAILER_START : BROKEN;
    default: /* LAST_LF */
        return ch == '\n' ? ENDED : BROKEN;
    }
}
/* END TODO 11 */

/* TODO 10: take a chunked body apart.
 * The size is hexadecimal, at least one digit; what may follow it tells
 * after_extension(). With the content before it, it may not be above
 * limits->body: 413 "body-too-large"; it must not overflow either. Zeros in
 * front count as too_much_extra(), and so do all bytes of extensions and
 * trailer; for the trailer the count begins anew. Then CR LF, the content (a
 * piece for each call), CR LF, and the next size; after the size 0 comes the
 * trailer section. What leads to BROKEN and has no status yet is 400 with
 * chunk_reason().
 * STUB: enum http_result
 * STUB: http_chunked_next(struct http_chunked *c, const char *buf, size_t len,
 * STUB:                   size_t *used, struct http_span *content)
 * STUB: {
 * STUB:     (void)c;
 * STUB:     (void)buf;
 * STUB:     (void)len;
 * STUB:     (void)used;
 * STUB:     (void)content;
 * STUB:     (void)chunk_fail;
 * STUB:     (void)chunk_reason;
 * STUB:     (void)too_much_extra;
 * STUB:     (void)after_extension;
 * STUB:     (void)extension_byte;
 * STUB:     (void)trailer_byte;
 * STUB: todo
 * STUB: }
 */
/* One digit more, or the end of the number. */
static enum chunk_state
size_byte(struct http_chunked *c, char ch)
{
    if (!is(ch, HEX))
        return c->state == SIZE ? after_extension(EXT_END, ch) : BROKEN;
    if (c->state == SIZE && c->left == 0 && too_much_extra(c))
        return BROKEN; /* zeros in front are bytes that cost nothing */
    unsigned digit =
        (unsigned)(is(ch, DIGIT) ? ch - '0' : (ch | 0x20) - 'a' + 10);
    uint64_t most = c->limits->body - c->total;
    if (c->left > UINT64_MAX >> 4 || (c->left << 4 | digit) > most)
        return chunk_fail(c, 413, "body-too-large");
    c->left = c->left << 4 | digit;
    return SIZE;
}

static enum chunk_state
size_line_end(struct http_chunked *c, char ch)
{
    if (ch != '\n')
        return BROKEN;
    c->total += c->left;
    if (c->left > 0)
        return DATA;
    c->extras = 0; /* from now on, those of the trailer section */
    return TRAILER_START;
}

/* What a byte leads to, unless it is content. */
static enum chunk_state
chunk_byte(struct http_chunked *c, char ch)
{
    switch ((enum chunk_state)c->state) {
    case SIZE_START:
    case SIZE:
        return size_byte(c, ch);
    case SIZE_LF:
        return size_line_end(c, ch);
    case DATA_CR:
        return ch == '\r' ? DATA_LF : BROKEN;
    case DATA_LF:
        return ch == '\n' ? SIZE_START : BROKEN;
    default:
        if (too_much_extra(c))
            return BROKEN;
        return c->state < SIZE_LF ? extension_byte(c->state, ch)
                                  : trailer_byte(c->state, ch);
    }
}

enum http_result
http_chunked_next(struct http_chunked *c, const char *buf, size_t len,
                  size_t *used, struct http_span *content)
{
    size_t i = 0;
    while (i < len && c->state < ENDED) {
        if (c->state == DATA) {
            size_t n = c->left < len - i ? (size_t)c->left : len - i;
            *content = span(buf, buf + i, buf + i + n);
            *used = i + n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            return HTTP_CONTENT;
        }
        enum chunk_state next = chunk_byte(c, buf[i++]);
        if (next == BROKEN && c->status == 0)
            chunk_fail(c, 400, chunk_reason(c->state));
        c->state = (int)next;
    }
    *used = i;
    return c->state == ENDED    ? HTTP_COMPLETE
           : c->state == BROKEN ? HTTP_ERROR
                                : HTTP_NEED_MORE;
}
/* END TODO 10 */
