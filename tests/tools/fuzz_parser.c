/* A fuzz target for the request parser of stage 13. It takes any bytes, as a
 * head and as a chunked body, and knows what must hold for all of them:
 *
 *  - however the bytes are cut, the verdict and what was found are the same;
 *  - what comes before the end of a complete head is "need more", never
 *    anything else, and a verdict never changes when more bytes come;
 *  - what was found lies inside the head, and consists of allowed bytes;
 *  - the request, written out again from its parts, is parsed to the same.
 *
 * With libFuzzer (clang; `make fuzz STAGE=13`): -fsanitize=fuzzer,address. With
 * -DSTANDALONE it has a main() that runs the files which it is given; so does
 * the test that runs the corpus. Buffers have the exact size, so that
 * AddressSanitizer sees a read behind the end.
 */
#include "http_parser.h"

#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                        \
    do {                                                                       \
        if (!(condition))                                                      \
            violated(#condition, __LINE__);                                    \
    } while (0)

static const char *input_name = "the input";

static void __attribute__((noreturn)) violated(const char *condition, int line)
{
    fflush(stdout);
    fprintf(stderr,
            "did:      give the parser %s\n"
            "expected: %s (fuzz_parser.c:%d)\n"
            "actual:   it is not so\n",
            input_name, condition, line);
    abort();
}

/* A copy of exactly n bytes. */
static char *
copy_of(const uint8_t *data, size_t n)
{
    char *copy = malloc(n ? n : 1);
    if (!copy)
        err(70, "malloc");
    memcpy(copy, data, n);
    return copy;
}

/* The next of a series of numbers that only depends on the input. */
static size_t
next_cut(uint32_t *state, size_t most)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % (most + 1);
}

static uint32_t
hash(const uint8_t *data, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 16777619u;
    return h;
}

/* ---- Heads --------------------------------------------------------------- */

static bool
same_span(struct http_span a, struct http_span b)
{
    return a.at == b.at && a.len == b.len;
}

static void
must_be_same(const struct http_request *a, const struct http_request *b)
{
    MUST(same_span(a->method, b->method) && same_span(a->target, b->target));
    MUST(same_span(a->path, b->path) && same_span(a->host, b->host));
    MUST(a->form == b->form && a->minor_version == b->minor_version);
    MUST(a->body == b->body && a->keep_alive == b->keep_alive);
    MUST(a->content_length == b->content_length);
    MUST(a->consumed == b->consumed && a->header_count == b->header_count);
    for (uint32_t i = 0; i < a->header_count; i++) {
        MUST(same_span(a->headers[i].name, b->headers[i].name));
        MUST(same_span(a->headers[i].value, b->headers[i].value));
    }
}

/* Where and what: inside the head; no byte that could end a line or a word. */
static void
must_be_sound(const struct http_request *r, struct http_span s, const char *buf,
              const char *forbidden)
{
    MUST(s.at <= r->consumed && s.len <= r->consumed - s.at);
    for (uint32_t i = 0; i < s.len; i++) {
        char c = buf[s.at + i];
        MUST(c == '\t' || (unsigned char)c >= ' ');
        MUST(c != 127 && !strchr(forbidden, c));
    }
}

static void
check_parts(const struct http_request *r, const char *buf, size_t len)
{
    MUST(r->consumed <= len && r->consumed >= 4 &&
         memcmp(buf + r->consumed - 4, "\r\n\r\n", 4) == 0);
    MUST(r->header_count <= r->limits->headers);
    MUST(r->consumed <= r->limits->head);
    MUST(r->target.len > 0 && r->target.len <= r->limits->target);
    MUST(r->method.len > 0 && r->method.len <= HTTP_MAX_METHOD);
    must_be_sound(r, r->method, buf, " \t:\"(),/;<=>?@[\\]{}");
    must_be_sound(r, r->target, buf, " \t#\"<>\\^`{|}");
    must_be_sound(r, r->host, buf, " \t/?#@\"");
    for (uint32_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        MUST(h->name.len > 0);
        must_be_sound(r, h->name, buf, " \t:\"(),/;<=>?@[\\]{}");
        must_be_sound(r, h->value, buf, "");
        if (h->value.len > 0)
            MUST(!strchr(" \t", buf[h->value.at]) &&
                 !strchr(" \t", buf[h->value.at + h->value.len - 1]));
    }
    MUST(r->minor_version == 0 || http_find(r, buf, "HOST", NULL));
    MUST(r->body != HTTP_BODY_CHUNKED ||
         !http_find(r, buf, "content-length", NULL));
}

/* The same bytes in pieces; every pause must be a pause of the whole, too. */
static void
check_cuts(const uint8_t *data, size_t n, const struct http_limits *limits,
           enum http_result whole, const struct http_request *expected)
{
    uint32_t state = hash(data, n);
    size_t most = next_cut(&state, 30), have = 0;
    enum http_result result;
    struct http_request r;
    http_init(&r, limits);
    for (;;) {
        char *buf = copy_of(data, have);
        result = http_parse(&r, buf, have);
        free(buf);
        if (result != HTTP_NEED_MORE || have == n)
            break;
        have += 1 + next_cut(&state, most);
        have = have > n ? n : have;
    }
    MUST(result == whole);
    if (result == HTTP_ERROR)
        MUST(r.status == expected->status &&
             strcmp(r.reason, expected->reason) == 0);
    if (result == HTTP_COMPLETE)
        must_be_same(&r, expected);
}

/* One byte less than the head is not enough, and a byte more changes nothing. */
static void
check_end(const uint8_t *data, size_t n, const struct http_limits *limits,
          const struct http_request *expected)
{
    struct http_request r;
    char *buf = copy_of(data, expected->consumed - 1);
    http_init(&r, limits);
    MUST(http_parse(&r, buf, expected->consumed - 1) == HTTP_NEED_MORE);
    free(buf);
    buf = copy_of(data, n);
    MUST(http_parse(&r, buf, n) == HTTP_COMPLETE);
    must_be_same(&r, expected);
    free(buf);
}

static size_t
put(char *to, size_t n, const char *p, size_t len)
{
    memcpy(to + n, p, len);
    return n + len;
}

/* Writes the request in the plainest way, and parses that. */
static void
check_round_trip(const struct http_request *r, const char *buf,
                 const struct http_limits *limits)
{
    struct http_request again;
    char *text = malloc(r->consumed + 2u * r->header_count + 32);
    if (!text)
        err(70, "malloc");
    size_t n = put(text, 0, buf + r->method.at, r->method.len);
    n = put(text, n, " ", 1);
    n = put(text, n, buf + r->target.at, r->target.len);
    n += (size_t)sprintf(text + n, " HTTP/1.%d\r\n", r->minor_version);
    for (uint32_t i = 0; i < r->header_count; i++) {
        n = put(text, n, buf + r->headers[i].name.at, r->headers[i].name.len);
        n = put(text, n, ":", 1);
        n = put(text, n, buf + r->headers[i].value.at, r->headers[i].value.len);
        n = put(text, n, "\r\n", 2);
    }
    n = put(text, n, "\r\n", 2);
    http_init(&again, limits);
    MUST(http_parse(&again, text, n) == HTTP_COMPLETE);
    MUST(again.consumed == n && again.header_count == r->header_count);
    MUST(again.body == r->body && again.keep_alive == r->keep_alive);
    MUST(again.content_length == r->content_length && again.form == r->form);
    free(text);
}

static void
check_head(const uint8_t *data, size_t n, const struct http_limits *limits)
{
    struct http_request r;
    char *buf = copy_of(data, n);
    http_init(&r, limits);
    enum http_result result = http_parse(&r, buf, n);
    MUST(result != HTTP_CONTENT);
    MUST(result != HTTP_NEED_MORE || n < limits->head);
    check_cuts(data, n, limits, result, &r);
    if (result == HTTP_ERROR)
        MUST(r.status >= 400 && r.status < 600 && r.reason);
    if (result == HTTP_COMPLETE) {
        check_parts(&r, buf, n);
        check_end(data, n, limits, &r);
        check_round_trip(&r, buf, limits);
    }
    free(buf);
}

/* ---- Chunked bodies ------------------------------------------------------ */

struct outcome {
    enum http_result result;
    int status;
    size_t consumed, content;
    uint32_t sum; /* a hash of the content */
};

/* Decodes in pieces of up to `most` bytes; 0 means all at once. */
static struct outcome
decode(const uint8_t *data, size_t n, const struct http_limits *limits,
       size_t most)
{
    struct outcome o = {.sum = 2166136261u};
    struct http_chunked c;
    uint32_t state = hash(data, n);
    http_chunked_init(&c, limits);
    do {
        size_t left = n - o.consumed, used = SIZE_MAX;
        size_t some = most ? next_cut(&state, most) : left;
        some = some > left ? left : some;
        struct http_span piece = {0, 0};
        char *buf = copy_of(data + o.consumed, some);
        o.result = http_chunked_next(&c, buf, some, &used, &piece);
        MUST(used <= some);
        MUST(o.result != HTTP_NEED_MORE || used == some);
        if (o.result == HTTP_CONTENT) {
            MUST(piece.len > 0 && piece.at + piece.len <= used);
            for (uint32_t i = 0; i < piece.len; i++)
                o.sum = (o.sum ^ (uint8_t)buf[piece.at + i]) * 16777619u;
            o.content += piece.len;
        }
        free(buf);
        o.consumed += used;
    } while (o.result == HTTP_CONTENT ||
             (o.result == HTTP_NEED_MORE && o.consumed < n));
    o.status = o.result == HTTP_ERROR ? c.status : 0;
    return o;
}

static void
check_body(const uint8_t *data, size_t n, const struct http_limits *limits)
{
    struct outcome whole = decode(data, n, limits, 0);
    struct outcome cut = decode(data, n, limits, 1 + n % 17);
    MUST(whole.result == cut.result && whole.status == cut.status);
    MUST(whole.consumed == cut.consumed && whole.content == cut.content);
    MUST(whole.sum == cut.sum && whole.content <= limits->body);
    MUST(whole.result != HTTP_ERROR || whole.status >= 400);
}

/* ---- The target ---------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct http_limits tight = {20, 40, 4, 120, 10};
    check_head(data, n, &http_default_limits);
    check_head(data, n, &tight);
    check_body(data, n, &http_default_limits);
    check_body(data, n, &tight);
    return 0;
}

#ifdef STANDALONE
#include "last_word.h"

int
main(int argc, char **argv)
{
    static uint8_t data[1 << 20];
    take_last_word();
    if (argc < 2)
        errx(64, "usage: fuzz_parser FILE...");
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f)
            err(70, "%s", argv[i]);
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        input_name = argv[i];
        LLVMFuzzerTestOneInput(data, n);
    }
    say_last_word();
    return 0;
}
#endif
