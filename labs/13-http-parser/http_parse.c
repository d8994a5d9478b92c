/*
 * http-parse: shows what the parser makes of its standard input.
 *
 *     printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\n' | ./http-parse
 *
 * It reads up to CHUNK bytes at a time and calls the parser after each, as a
 * server does with what the network brings; the buffer moves when it grows. The
 * verdict must be the same for every CHUNK.
 */
#include "http_parser.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_INCOMPLETE = 2, EXIT_USAGE = 64 };
enum { MAX_CHUNK = 1 << 30 };

/* Bytes that are read, or content that is to be printed. */
struct buffer {
    char *bytes;
    size_t len;
    size_t size;
};

static void
usage(FILE *out, int status)
{
    fputs("usage: http-parse [-c CHUNK] [-B] <REQUEST\n"
          "  -c CHUNK  read so many bytes at a time (65536)\n"
          "  -B        the input is a chunked body, not the head of a request\n"
          "exit status: 0 complete, 2 incomplete, 1 error, 64 wrong usage\n",
          out);
    exit(status);
}

static size_t
chunk_or_usage(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    /* strtol() would also take a sign, or blanks in front. */
    if (*text < '0' || *text > '9' || *end || n < 1 || n > MAX_CHUNK) {
        warnx("-c %s: not a number from 1 to %d", text, MAX_CHUNK);
        usage(stderr, EXIT_USAGE);
    }
    return (size_t)n;
}

static void
make_room(struct buffer *b, size_t n)
{
    if (b->size - b->len >= n)
        return;
    b->size = 2 * b->size > b->len + n ? 2 * b->size : b->len + n;
    b->bytes = realloc(b->bytes, b->size);
    if (!b->bytes)
        err(1, "realloc");
}

/* Appends what one read() gives, n bytes at most. Returns how many; 0 is the
 * end of the input. */
static size_t
read_more(struct buffer *b, size_t n)
{
    make_room(b, n);
    ssize_t got = read(STDIN_FILENO, b->bytes + b->len, n);
    if (got < 0)
        err(1, "stdin");
    b->len += (size_t)got;
    return (size_t)got;
}

/* Printable ASCII as it is, a backslash twice, anything else as \xHH. */
static void
put_escaped(const char *p, size_t n)
{
    for (; n > 0; p++, n--) {
        if (*p == '\\')
            fputs("\\\\", stdout);
        else if (*p >= ' ' && *p <= '~')
            putchar(*p);
        else
            printf("\\x%02x", (unsigned char)*p);
    }
}

static void
put_span(const char *before, const char *buf, struct http_span s)
{
    fputs(before, stdout);
    put_escaped(buf + s.at, s.len);
}

static void
print_request(const struct http_request *r, const char *buf)
{
    put_span("method ", buf, r->method);
    put_span("\ntarget ", buf, r->target);
    printf("\nversion 1.%d\n", r->minor_version);
    for (uint32_t i = 0; i < r->header_count; i++) {
        put_span("header ", buf, r->headers[i].name);
        put_span(": ", buf, r->headers[i].value);
        putchar('\n');
    }
    if (r->body == HTTP_BODY_LENGTH)
        printf("body length %llu\n", (unsigned long long)r->content_length);
    else
        printf("body %s\n", r->body == HTTP_BODY_CHUNKED ? "chunked" : "none");
    printf("keep-alive %s\n", r->keep_alive ? "yes" : "no");
    printf("consumed %u\n", r->consumed);
}

static int
print_verdict(enum http_result result, int status, const char *reason)
{
    switch (result) {
    case HTTP_COMPLETE:
        puts("complete");
        return 0;
    case HTTP_ERROR:
        printf("error %d %s\n", status, reason);
        return 1;
    default:
        puts("incomplete");
        return EXIT_INCOMPLETE;
    }
}

static int
parse_head(size_t chunk)
{
    struct http_request r;
    struct buffer in = {0};
    enum http_result result = HTTP_NEED_MORE;
    http_init(&r, &http_default_limits);
    while (result == HTTP_NEED_MORE && read_more(&in, chunk) > 0)
        result = http_parse(&r, in.bytes, in.len);
    int status = print_verdict(result, r.status, r.reason);
    if (result == HTTP_COMPLETE)
        print_request(&r, in.bytes);
    free(in.bytes);
    return status;
}

static void
append(struct buffer *b, const char *p, size_t n)
{
    make_room(b, n);
    memcpy(b->bytes + b->len, p, n);
    b->len += n;
}

/* Decodes what is in `in`, and empties it. Returns how many bytes it used. */
static size_t
decode(struct http_chunked *c, struct buffer *in, struct buffer *content,
       enum http_result *result)
{
    size_t at = 0, used;
    struct http_span piece;
    do {
        *result =
            http_chunked_next(c, in->bytes + at, in->len - at, &used, &piece);
        if (*result == HTTP_CONTENT)
            append(content, in->bytes + at + piece.at, piece.len);
        at += used;
    } while (*result == HTTP_CONTENT);
    in->len = 0;
    return at;
}

static int
parse_body(size_t chunk)
{
    struct http_chunked c;
    struct buffer in = {0}, content = {0};
    enum http_result result = HTTP_NEED_MORE;
    size_t consumed = 0;
    http_chunked_init(&c, &http_default_limits);
    while (result == HTTP_NEED_MORE && read_more(&in, chunk) > 0)
        consumed += decode(&c, &in, &content, &result);
    int status = print_verdict(result, c.status, c.reason);
    if (result == HTTP_COMPLETE) {
        fputs("content ", stdout);
        put_escaped(content.bytes, content.len);
        printf("\nconsumed %zu\n", consumed);
    }
    free(in.bytes);
    free(content.bytes);
    return status;
}

int
main(int argc, char **argv)
{
    size_t chunk = 65536;
    bool body = false;
    int c;
    while ((c = getopt(argc, argv, "c:Bh")) != -1) {
        switch (c) {
        case 'c':
            chunk = chunk_or_usage(optarg);
            break;
        case 'B':
            body = true;
            break;
        case 'h':
            usage(stdout, 0);
            break;
        default:
            usage(stderr, EXIT_USAGE);
        }
    }
    if (optind < argc) {
        warnx("unexpected argument: %s", argv[optind]);
        usage(stderr, EXIT_USAGE);
    }
    int status = body ? parse_body(chunk) : parse_head(chunk);
    if (fflush(stdout) != 0)
        err(1, "stdout");
    return status;
}
