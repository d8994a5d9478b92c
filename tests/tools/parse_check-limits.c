/*
 * For parse_check: limits, other than those that http-parse has.
 */
#include "parse_check.h"

#include <stdio.h>

#define LENGTH(array) (sizeof array / sizeof *array)

struct limit_case {
    const char *what;
    struct http_limits limits; /* target, line, headers, head, body */
    const char *input, *verdict;
};

static const struct limit_case head_cases[] = {
    {"a target of 8 bytes, with a limit of 8",
     {8, 99, 9, 999, 9},
     "GET /2345678 HTTP/1.0\\r\\n\\r\\n",
     "complete"},
    {"a target of 9 bytes, with a limit of 8",
     {8, 99, 9, 999, 9},
     "GET /23456789 HTTP/1.0\\r\\n\\r\\n",
     "error 414 target-too-long"},
    {"a target of 40 bytes, with a limit of 8",
     {8, 99, 9, 999, 9},
     "GET /{39*a} HTTP/1.0\\r\\n\\r\\n",
     "error 414 target-too-long"},
    {"a target that is too long and has a bad byte later on",
     {8, 99, 9, 999, 9},
     "GET /{39*a}\\x01 HTTP/1.0\\r\\n\\r\\n",
     "error 414 target-too-long"},
    {"a target that has a bad byte just at its limit",
     {8, 99, 9, 999, 9},
     "GET /2345678\\x01 HTTP/1.0\\r\\n\\r\\n",
     "error 400 bad-target"},
    {"a line of 20 bytes, with a limit of 20",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept: 901234567890\\r\\n\\r\\n",
     "complete"},
    {"a line of 21 bytes, with a limit of 20",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept: 9012345678901\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"a line that has 21 bytes only with the blanks at its end",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept: 90{10* }1\\r\\nA: b\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"a name of 21 bytes, with lines of 20 at most",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\n{21*n}:\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"a line of 21 bytes, most of them blanks",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept:{14* }\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"2 header fields, with a limit of 2",
     {99, 99, 2, 999, 9},
     "GET / HTTP/1.0\\r\\na: b\\r\\nc: d\\r\\n\\r\\n",
     "complete"},
    {"3 header fields, with a limit of 2",
     {99, 99, 2, 999, 9},
     "GET / HTTP/1.0\\r\\na: b\\r\\nc: d\\r\\ne: f\\r\\n\\r\\n",
     "error 431 too-many-headers"},
    {"a head of 40 bytes, with a limit of 40",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 901234567890\\r\\n\\r\\n",
     "complete"},
    {"a head of 41 bytes, with a limit of 40",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 9012345678901\\r\\n\\r\\n",
     "error 431 head-too-large"},
    {"a head that has not ended at its limit",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 901234567890\\r\\n\\r",
     "incomplete"},
    {"a head that is as long as its limit and has not ended",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 9012345678901\\r\\n\\r",
     "error 431 head-too-large"},
    {"101 header fields, one more than a request has room for, with a limit "
     "of 200",
     {99, 99, 200, 9999, 9},
     "GET / HTTP/1.0\\r\\n{101*a: b\\r\\n}\\r\\n",
     "error 431 too-many-headers"},
    {"a body of 9 bytes, with a limit of 9",
     {99, 99, 9, 999, 9},
     "PUT / HTTP/1.0\\r\\nContent-Length: 9\\r\\n\\r\\n",
     "complete"},
    {"a body of 10 bytes, with a limit of 9",
     {99, 99, 9, 999, 9},
     "PUT / HTTP/1.0\\r\\nContent-Length: 10\\r\\n\\r\\n",
     "error 413 body-too-large"},
};

int
run_limits(void)
{
    static struct test_case c;
    static struct text actual;
    doing.now = &c;
    doing.expected = &c.expected;
    for (size_t i = 0; i < LENGTH(head_cases); i++) {
        const struct limit_case *l = &head_cases[i];
        doing.limits = &l->limits;
        c.input.n = c.expected.n = 0;
        add_input(&c.input, l->input, "");
        text_printf(&c.expected, "%s\n", l->verdict);
        for (size_t step = 1; step <= 64; step *= 8) {
            struct http_request r;
            const char *buf;
            enum http_result result =
                parse_in_steps(&r, &c.input, step, step, &buf);
            snprintf(doing.how, sizeof doing.how, "%s (%zu bytes at a time)",
                     l->what, step);
            actual.n = 0;
            text_verdict(&actual, result, r.status, r.reason);
            compare(&actual);
        }
    }
    return 0;
}

/* The sum of the chunks, the extensions, the trailer section. */
static const struct limit_case body_cases[] = {
    {"chunks of 9 bytes in all, with a limit of 9",
     {99, 99, 9, 99, 9},
     "4\\r\\naaaa\\r\\n5\\r\\nbbbbb\\r\\n0\\r\\n\\r\\n",
     "complete"},
    {"chunks of 10 bytes in all, with a limit of 9",
     {99, 99, 9, 99, 9},
     "4\\r\\naaaa\\r\\n6\\r\\nbbbbbb\\r\\n0\\r\\n\\r\\n",
     "error 413 body-too-large"},
    {"extensions of 60 bytes, with a limit of 30",
     {99, 30, 9, 99, 9},
     "1;a={25*b}\\r\\nx\\r\\n1;a={25*b}\\r\\nx\\r\\n0\\r\\n\\r\\n",
     "error 413 chunk-extensions-too-large"},
    {"a size with 60 zeros in front, with a limit of 30",
     {99, 30, 9, 99, 9},
     "{60*0}1\\r\\nx\\r\\n0\\r\\n\\r\\n",
     "error 413 chunk-extensions-too-large"},
    {"a trailer section of 60 bytes, with heads of 50 at most",
     {99, 99, 9, 50, 9},
     "0\\r\\nA: {26*b}\\r\\nA: {22*b}\\r\\n\\r\\n",
     "error 431 trailer-too-large"},
    {"a trailer section of 50 bytes, with heads of 50 at most",
     {99, 99, 9, 50, 9},
     "0\\r\\nA: {18*b}\\r\\nA: {20*b}\\r\\n\\r\\n",
     "complete"},
    {"extensions of 25 bytes and a trailer section of 40, of 30 and 50 at most",
     {99, 30, 9, 50, 9},
     "1;a={22*b}\\r\\nx\\r\\n0\\r\\nA: {33*b}\\r\\n\\r\\n",
     "complete"},
};

int
run_chunk_limits(void)
{
    static struct test_case c = {.mode = BODY};
    static struct text actual;
    doing.now = &c;
    doing.expected = &c.expected;
    for (size_t i = 0; i < LENGTH(body_cases); i++) {
        const struct limit_case *l = &body_cases[i];
        struct http_chunked d;
        struct http_span piece;
        size_t at = 0, used;
        enum http_result result;
        c.input.n = c.expected.n = actual.n = 0;
        add_input(&c.input, l->input, "");
        text_printf(&c.expected, "%s\n", l->verdict);
        snprintf(doing.how, sizeof doing.how, "%s", l->what);
        http_chunked_init(&d, &l->limits);
        do {
            result = http_chunked_next(&d, c.input.p + at, c.input.n - at,
                                       &used, &piece);
            at += used;
        } while (result == HTTP_CONTENT);
        text_verdict(&actual, result, d.status, d.reason);
        compare(&actual);
    }
    return 0;
}
