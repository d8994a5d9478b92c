/* bench-parser - how long a request parser takes for a head: lines of CSV.
 *
 * It is compiled once for each parser (see scripts/bench-parser). One run is a
 * round: for each request it prints
 *
 *     parser,request,bytes,nanoseconds,megabytes per second
 *
 * where the nanoseconds are the median of 15 batches. The head lies in a buffer
 * of exactly its size. As in every benchmark of a parser, the same bytes come
 * again and again: caches and branch predictors know them by heart, which
 * flatters all parsers alike. With -DBENCH_PICO it times picohttpparser, with
 * -DBENCH_LINES it only looks for the ends of the lines, with memchr().
 */
#include <err.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A browser of 2024, and a tool that says no more than it has to. */
static const char browser[] =
    "GET /articles/2024/event-loops?page=2&sort=date HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:123.0) Gecko/20100101 "
    "Firefox/123.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,"
    "image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: https://www.example.com/articles?page=1&sort=date\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; "
    "consent=yes; last=2024-02-29T12:34:56Z\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "If-None-Match: \"5f3a-61c2f8a1\"\r\n"
    "\r\n";
static const char minimal[] = "GET /index.html HTTP/1.1\r\n"
                              "Host: localhost\r\n"
                              "Accept: */*\r\n"
                              "\r\n";

/* parse(): how many bytes the head has. Each compilation has one of them. */
#if defined(BENCH_PICO)
#include "picohttpparser.h"
static size_t
parse(const char *buf, size_t len)
{
    const char *method, *path;
    size_t method_len, path_len, count = 100;
    int minor;
    struct phr_header headers[100];
    int n = phr_parse_request(buf, len, &method, &method_len, &path, &path_len,
                              &minor, headers, &count, 0);
    return n > 0 ? (size_t)n : 0;
}
#elif defined(BENCH_LINES)
static size_t
parse(const char *buf, size_t len)
{
    const char *p = buf, *end = buf + len;
    while ((p = memchr(p, '\n', (size_t)(end - p))) && p + 1 < end)
        p++;
    return len;
}
#else
#include "http_parser.h"
static size_t
parse(const char *buf, size_t len)
{
    struct http_request r;
    http_init(&r, &http_default_limits);
    return http_parse(&r, buf, len) == HTTP_COMPLETE ? r.consumed : 0;
}
#endif

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int
ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void
bench(const char *parser, const char *request, const char *head, size_t n)
{
    enum { BATCHES = 15, BYTES = 4000000 };
    double batch[BATCHES];
    size_t times = BYTES / n;
    char *buf = malloc(n);
    if (!buf)
        err(1, "malloc");
    memcpy(buf, head, n);
    for (int i = 0; i < BATCHES; i++) {
        double start = now();
        for (size_t k = 0; k < times; k++) {
            __asm__ volatile("" : : "r"(buf) : "memory"); /* may have changed */
            if (parse(buf, n) != n)
                errx(1, "%s: the %s request is not complete", parser, request);
        }
        batch[i] = (now() - start) / (double)times;
    }
    qsort(batch, BATCHES, sizeof *batch, ascending);
    double ns = batch[BATCHES / 2];
    printf("%s,%s,%zu,%.2f,%.0f\n", parser, request, n, ns,
           (double)n / ns * 1e3);
    free(buf);
}

int
main(int argc, char **argv)
{
    const char *parser = argc > 1 ? argv[1] : "parser";
    bench(parser, "browser", browser, sizeof browser - 1);
    bench(parser, "minimal", minimal, sizeof minimal - 1);
    return 0;
}
