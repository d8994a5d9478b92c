/*
 * Another way: no states at all, but one function that reads a head from its
 * first byte to its last, as if all of them were there. Where they are not, it
 * leaves, and the next call goes on at this very line: a switch jumps there.
 * That is a coroutine without a stack (Adam Dunkels' protothreads; the trick is
 * Tom Duff's). So what has to outlive the pause is in *r, not in variables.
 *
 * r->state holds the number of the line, or DONE or FAILED.
 */
#include "http_internal.h"
#include "http_scan.h"

const struct http_limits http_default_limits = {
    .target = 8192,
    .line = 8192,
    .headers = HTTP_MAX_HEADERS,
    .head = 65536,
    .body = INT64_MAX,
};

/* The first byte not yet read is at p; what is behind end has not come. */
#define PAUSE(line)                                                            \
    do {                                                                       \
        r->pos = (uint32_t)(p - buf);                                          \
        r->state = (line);                                                     \
        return;                                                                \
    } while (0)

/* Goes on when there is a byte at p. */
#define AWAIT                                                                  \
    do {                                                                       \
        __attribute__((fallthrough));                                          \
    case __LINE__:                                                             \
        if (p == end)                                                          \
            PAUSE(__LINE__);                                                   \
    } while (0)

/* Goes over bytes of a class, which may be `most` since `start`, to the first
 * byte of another one. */
#define SCAN(class, start, most, status, reason)                               \
    do {                                                                       \
        __attribute__((fallthrough));                                          \
    case __LINE__:                                                             \
        p = skip(p, end, (class));                                             \
        if ((size_t)(p - buf) - (start) > (most))                              \
            FAIL(status, reason);                                              \
        if (p == end)                                                          \
            PAUSE(__LINE__);                                                   \
    } while (0)

#define FAIL(status, reason)                                                   \
    do {                                                                       \
        fail(r, (status), (reason));                                           \
        return;                                                                \
    } while (0)

#define SCAN_LINE(class)                                                       \
    SCAN(class, h->name.at, max->line, 431, "header-line-too-long")

static void
read_head(struct http_request *r, const char *buf, const char *p,
          const char *end)
{
    static const char version[] = "HTTP/d.d\r\n";
    const struct http_limits *max = r->limits;
    struct http_header *h = &r->headers[r->header_count];
    const char *start = buf + r->target.at + r->target.len + 1; /* of version */

    switch (r->state) {
    case EMPTY_LINE:
        AWAIT;
        if (*p == '\r') {
            p++;
            AWAIT;
            if (*p++ != '\n')
                FAIL(400, "bare-cr");
        }

        r->method.at = (uint32_t)(p - buf);
        SCAN(TOKEN, r->method.at, HTTP_MAX_METHOD, 501, "method-too-long");
        r->method.len = (uint32_t)(p - buf) - r->method.at;
        if (r->method.len == 0 || *p++ != ' ')
            FAIL(400, "bad-method");

        r->target.at = (uint32_t)(p - buf);
        AWAIT;
        r->form = *p == '/' ? HTTP_ORIGIN_FORM : HTTP_ABSOLUTE_FORM;
        for (;;) {
            SCAN(r->form == HTTP_ORIGIN_FORM ? PATH : URI, r->target.at,
                 max->target, 414, "target-too-long");
            if (*p != '%')
                break;
            p++;
            AWAIT;
            if (!is(*p++, HEX))
                FAIL(400, "bad-target");
            AWAIT;
            if (!is(*p++, HEX))
                FAIL(400, "bad-target");
        }
        r->target.len = (uint32_t)(p - buf) - r->target.at;
        if (r->target.len == 0 || *p++ != ' ')
            FAIL(400, "bad-target");

        for (start = p; version[p - start] != '\0'; p++) {
            AWAIT;
            if (version[p - start] == 'd' ? !is(*p, DIGIT)
                                          : *p != version[p - start])
                FAIL(400, "bad-version");
        }
        if (start[5] != '1')
            FAIL(505, "version-not-supported");
        r->minor_version = start[7] - '0';
        if (!http_is_target(r, buf))
            FAIL(400, "bad-target");

        for (;;) {
            AWAIT;
            if (*p == '\r')
                break;
            if (is_blank(*p))
                FAIL(400, "folded-line");
            if (r->header_count >= max->headers ||
                r->header_count == HTTP_MAX_HEADERS)
                FAIL(431, "too-many-headers");

            h = &r->headers[r->header_count];
            h->name.at = (uint32_t)(p - buf);
            SCAN_LINE(TOKEN);
            h->name.len = (uint32_t)(p - buf) - h->name.at;
            if (h->name.len == 0 || *p++ != ':')
                FAIL(400, "bad-header-name");

            for (;; p++) {
                if ((size_t)(p - buf) - h->name.at > max->line)
                    FAIL(431, "header-line-too-long");
                AWAIT;
                if (!is_blank(*p))
                    break;
            }
            h->value.at = (uint32_t)(p - buf);
            SCAN_LINE(TEXT);
            if (*p != '\r')
                FAIL(400, "bad-header-value");
            h->value.len = (uint32_t)(p - buf) - h->value.at;
            while (h->value.len > 0 &&
                   is_blank(buf[h->value.at + h->value.len - 1]))
                h->value.len--;
            p++;
            AWAIT;
            if (*p++ != '\n')
                FAIL(400, "bare-cr");
            http_note_field(r, buf);
            if (r->state == FAILED)
                return;
            r->header_count++;
        }

        p++;
        AWAIT;
        if (*p++ != '\n')
            FAIL(400, "bare-cr");
        r->consumed = (uint32_t)(p - buf);
        r->state = DONE;
        http_decide(r);
    }
}

void
http_init(struct http_request *r, const struct http_limits *limits)
{
    r->path = r->host = (struct http_span){0, 0};
    r->target = (struct http_span){0, 0};
    r->content_length = 0;
    r->limits = limits;
    r->state = EMPTY_LINE;
    r->pos = 0;
    r->seen = 0;
    r->header_count = 0;
}

enum http_result
http_parse(struct http_request *r, const char *buf, size_t len)
{
    size_t most = r->limits->head;
    if (r->state != FAILED && r->state != DONE)
        read_head(r, buf, buf + r->pos, buf + (len < most ? len : most));
    if (r->state == DONE)
        return HTTP_COMPLETE;
    if (r->state != FAILED && len >= most)
        fail(r, 431, "head-too-large");
    return r->state == FAILED ? HTTP_ERROR : HTTP_NEED_MORE;
}
