/*
 * For parse_check: gives one input to the parser in every way to cut it.
 */
#include "parse_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct doing doing = {.limits = &http_default_limits};

void
complain(const char *actual)
{
    const struct test_case *c = doing.now;
    char what[160];
    snprintf(what, sizeof what, "give it the input of line %d in %s, %s",
             c->line, "tests/13-cases.txt", doing.how);
    if (c->line == 0)
        snprintf(what, sizeof what, "%s", doing.how);
    print_labelled("did:", what);
    print_labelled("expected:", doing.expected->p);
    print_labelled("actual:", actual);
    print_repeat(c->input.p, c->input.n, c->mode == BODY ? " -B" : "");
    exit(1);
}

/* A read behind the bytes, or through an old pointer. */
void
on_fault(int signo)
{
    (void)signo;
    complain("it reads memory that is not part of the input (SIGSEGV)");
}

/* "complete ..." leaves open what is behind the word. */
void
compare(const struct text *actual)
{
    const char *dots = strstr(doing.expected->p, " ...\n");
    size_t n = dots ? (size_t)(dots - doing.expected->p) : actual->n + 1;
    if (strncmp(actual->p, doing.expected->p, n) != 0)
        complain(actual->p);
}

/* ---- Heads --------------------------------------------------------------- */

/* Parses the n bytes in steps, the first one to `first`. */
enum http_result
parse_in_steps(struct http_request *r, const struct text *in, size_t first,
               size_t step, const char **buf)
{
    enum http_result result = HTTP_NEED_MORE;
    size_t n = first < in->n ? first : in->n;
    memset(r, 0x5a, sizeof *r); /* http_init() has to set what it relies on */
    http_init(r, doing.limits);
    for (;;) {
        *buf = at_the_end(in->p, n);
        result = http_parse(r, *buf, n);
        if (result != HTTP_NEED_MORE || n == in->n)
            return result;
        n = in->n - n < step ? in->n : n + step;
    }
}

void
check_steps(const struct text *in, size_t first, size_t step)
{
    static struct text actual;
    struct http_request r;
    const char *buf;
    enum http_result result = parse_in_steps(&r, in, first, step, &buf);
    actual.n = 0;
    text_request(&actual, result, &r, buf);
    compare(&actual);
}

/* The first `n` bytes alone: the verdict is already there, or not yet. */
static void
check_prefix(const struct text *in, size_t n, size_t *decided)
{
    static struct text actual;
    struct http_request r;
    http_init(&r, doing.limits);
    const char *buf = at_the_end(in->p, n);
    enum http_result result = http_parse(&r, buf, n);
    if (result == HTTP_NEED_MORE && *decided == SIZE_MAX)
        return;
    if (*decided == SIZE_MAX)
        *decided = n;
    actual.n = 0;
    text_request(&actual, result, &r, buf);
    compare(&actual);
    if (result == HTTP_COMPLETE && *decided != r.consumed)
        complain("complete, but not as soon as the empty line was there");
}

static void
check_head(const struct text *in)
{
    static const size_t steps[] = {1, 2, 3, 7, 16, 17, 100};
    snprintf(doing.how, sizeof doing.how, "all at once");
    check_steps(in, in->n, in->n);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(doing.how, sizeof doing.how, "%zu bytes at a time", steps[i]);
        if (steps[i] > 16 || in->n < 20000)
            check_steps(in, 0, steps[i]);
    }
    size_t stride = in->n < 2000 ? 1 : 97, decided = SIZE_MAX;
    for (size_t n = 0; n <= in->n; n += stride) {
        snprintf(doing.how, sizeof doing.how, "cut in two behind byte %zu", n);
        check_steps(in, n, in->n);
        snprintf(doing.how, sizeof doing.how, "only the first %zu bytes", n);
        if (stride == 1)
            check_prefix(in, n, &decided);
    }
}

/* ---- Chunked bodies ------------------------------------------------------ */

static void
check_body_steps(const struct text *in, size_t first, size_t step)
{
    static struct text actual, content;
    struct http_chunked c;
    enum http_result result = HTTP_NEED_MORE;
    size_t consumed = 0, n = first;
    content.n = actual.n = 0;
    memset(&c, 0x5a, sizeof c);
    http_chunked_init(&c, doing.limits);
    for (;;) {
        struct http_span piece = {0, 0};
        size_t used = SIZE_MAX;
        const char *buf = at_the_end(in->p + consumed, n - consumed);
        result = http_chunked_next(&c, buf, n - consumed, &used, &piece);
        if (used > n - consumed ||
            (result == HTTP_CONTENT && piece.at + piece.len > used))
            complain("it has used more bytes than it was given");
        if (result == HTTP_NEED_MORE && used != n - consumed)
            complain("it wants more bytes and has not used those it has");
        if (result == HTTP_CONTENT && piece.len == 0)
            complain("a piece of content that is empty");
        if (result == HTTP_CONTENT)
            text_add(&content, buf + piece.at, piece.len);
        consumed += used;
        if (result == HTTP_CONTENT)
            continue;
        if (result != HTTP_NEED_MORE || n == in->n)
            break;
        n = in->n - n < step ? in->n : n + step;
    }
    text_verdict(&actual, result, c.status, c.reason);
    if (result == HTTP_COMPLETE) {
        text_add(&actual, "content ", 8);
        text_escaped(&actual, content.p, content.n);
        text_printf(&actual, "\nconsumed %zu\n", consumed);
    }
    compare(&actual);
}

static void
check_body(const struct text *in)
{
    static const size_t steps[] = {1, 2, 3, 7, 16, 100};
    snprintf(doing.how, sizeof doing.how, "all at once");
    check_body_steps(in, in->n, in->n);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(doing.how, sizeof doing.how, "%zu bytes at a time", steps[i]);
        check_body_steps(in, 0, steps[i]);
    }
    for (size_t n = 0; in->n < 2000 && n <= in->n; n++) {
        snprintf(doing.how, sizeof doing.how, "cut in two behind byte %zu", n);
        check_body_steps(in, n, in->n);
    }
}

void
check_case(struct test_case *c)
{
    doing.now = c;
    doing.expected = &c->expected;
    if (c->mode == HEAD)
        check_head(&c->input);
    else
        check_body(&c->input);
}
