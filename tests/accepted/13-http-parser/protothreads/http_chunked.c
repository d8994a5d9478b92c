/*
 * Another way: as in http_parser.c, one function that reads a body from its
 * first byte to its last, and goes on at the line where it has left. c->state
 * holds the number of that line.
 */
#include "http_internal.h"
#include "http_scan.h"

#define OVER (-1)

void
http_chunked_init(struct http_chunked *c, const struct http_limits *limits)
{
    *c = (struct http_chunked){.limits = limits};
}

static enum http_result
refuse(struct http_chunked *c, int status, const char *reason)
{
    c->state = OVER;
    c->status = status;
    c->reason = reason;
    return HTTP_ERROR;
}

/* The next byte is in ch. Nothing else outlives a pause, except what is in *c. */
#define NEXT                                                                   \
    do {                                                                       \
        __attribute__((fallthrough));                                          \
    case __LINE__:                                                             \
        if (*used == len) {                                                    \
            c->state = __LINE__;                                               \
            return HTTP_NEED_MORE;                                             \
        }                                                                      \
        ch = buf[(*used)++];                                                   \
    } while (0)

#define EXPECT(condition, reason)                                              \
    do                                                                         \
        if (!(condition))                                                      \
            return refuse(c, 400, reason);                                     \
    while (0)

/* Counts a byte that brings no content. */
#define COUNT(most, status, reason)                                            \
    do                                                                         \
        if (++c->extras > (most))                                              \
            return refuse(c, status, reason);                                  \
    while (0)

#define NEXT_OF_EXTENSION                                                      \
    do {                                                                       \
        NEXT;                                                                  \
        COUNT(c->limits->line, 413, "chunk-extensions-too-large");             \
    } while (0)

#define NEXT_OF_TRAILER                                                        \
    do {                                                                       \
        NEXT;                                                                  \
        COUNT(c->limits->head, 431, "trailer-too-large");                      \
    } while (0)

static const char extension[] = "bad-chunk-extension";

enum http_result
http_chunked_next(struct http_chunked *c, const char *buf, size_t len,
                  size_t *used, struct http_span *content)
{
    char ch = 0;
    *used = 0;
    if (c->state == OVER)
        return c->status == 0 ? HTTP_COMPLETE : HTTP_ERROR;
    switch (c->state) {
    case 0:
        for (;;) {
            NEXT;
            EXPECT(is(ch, HEX), "bad-chunk-size");
            for (c->left = 0;;) {
                uint64_t digit =
                    (uint64_t)(is(ch, DIGIT) ? ch - '0' : (ch | 32) - 'a' + 10);
                uint64_t most = c->limits->body - c->total;
                if (c->left > most >> 4 || (c->left << 4) + digit > most)
                    return refuse(c, 413, "body-too-large");
                c->left = (c->left << 4) + digit;
                NEXT;
                if (!is(ch, HEX))
                    break;
                if (c->left == 0)
                    COUNT(c->limits->line, 413, "chunk-extensions-too-large");
            }

            /* Extensions: behind blanks there must be another one. */
            EXPECT(is_blank(ch) || ch == ';' || ch == '\r', "bad-chunk-size");
            while (ch != '\r') {
                while (is_blank(ch))
                    NEXT_OF_EXTENSION;
                EXPECT(ch == ';', extension);
                do
                    NEXT_OF_EXTENSION;
                while (is_blank(ch));
                EXPECT(is(ch, TOKEN), extension);
                while (is(ch, TOKEN))
                    NEXT_OF_EXTENSION;
                if (is_blank(ch)) {
                    do
                        NEXT_OF_EXTENSION;
                    while (is_blank(ch));
                    EXPECT(ch == '=' || ch == ';', extension);
                }
                if (ch != '=')
                    continue;
                do
                    NEXT_OF_EXTENSION;
                while (is_blank(ch));
                EXPECT(is(ch, TOKEN) || ch == '"', extension);
                if (ch != '"') {
                    while (is(ch, TOKEN))
                        NEXT_OF_EXTENSION;
                } else {
                    NEXT_OF_EXTENSION;
                    while (ch != '"') {
                        if (ch == '\\')
                            NEXT_OF_EXTENSION;
                        EXPECT(is(ch, TEXT), extension);
                        NEXT_OF_EXTENSION;
                    }
                    NEXT_OF_EXTENSION;
                }
                EXPECT(is_blank(ch) || ch == ';' || ch == '\r', extension);
            }
            NEXT;
            EXPECT(ch == '\n', "bare-cr");
            if (c->left == 0)
                break;

            for (c->total += c->left; c->left > 0;) {
                __attribute__((fallthrough));
            case 1:
                if (*used == len) {
                    c->state = 1;
                    return HTTP_NEED_MORE;
                }
                size_t n = len - *used;
                if (n > c->left)
                    n = (size_t)c->left;
                *content = (struct http_span){(uint32_t)*used, (uint32_t)n};
                *used += n;
                c->left -= n;
                c->state = c->left > 0 ? 1 : 2;
                return HTTP_CONTENT;
            }
            __attribute__((fallthrough));
        case 2:
            NEXT;
            EXPECT(ch == '\r', "bad-chunk-end");
            NEXT;
            EXPECT(ch == '\n', "bad-chunk-end");
        }

        for (c->extras = 0;;) {
            NEXT_OF_TRAILER;
            if (ch == '\r')
                break;
            EXPECT(is(ch, TOKEN), "bad-trailer");
            while (is(ch, TOKEN))
                NEXT_OF_TRAILER;
            EXPECT(ch == ':', "bad-trailer");
            do
                NEXT_OF_TRAILER;
            while (is(ch, TEXT));
            EXPECT(ch == '\r', "bad-trailer");
            NEXT_OF_TRAILER;
            EXPECT(ch == '\n', "bad-trailer");
        }
        NEXT_OF_TRAILER;
        EXPECT(ch == '\n', "bad-trailer");
    }
    c->state = OVER;
    return HTTP_COMPLETE;
}
