/*
 * What the programs that test stage 13 share: see parse_cases.h.
 */
#include "parse_cases.h"

#include <err.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void
text_add(struct text *t, const char *p, size_t n)
{
    if (t->size - t->n < n + 1) {
        t->size = 2 * t->size + n + 1;
        t->p = realloc(t->p, t->size);
        if (!t->p)
            err(70, "realloc");
    }
    if (n > 0)
        memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

void
text_printf(struct text *t, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    text_add(t, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

void
text_escaped(struct text *t, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\')
            text_add(t, "\\\\", 2);
        else if (p[i] >= ' ' && p[i] <= '~')
            text_add(t, p + i, 1);
        else
            text_printf(t, "\\x%02x", (unsigned char)p[i]);
    }
}

static void
text_span(struct text *t, const char *label, const char *buf,
          struct http_span s)
{
    text_add(t, label, strlen(label));
    text_escaped(t, buf + s.at, s.len);
}

void
text_verdict(struct text *t, enum http_result result, int status,
             const char *reason)
{
    if (result == HTTP_ERROR)
        text_printf(t, "error %d %s\n", status, reason ? reason : "(null)");
    else
        text_printf(t, "%s\n",
                    result == HTTP_COMPLETE    ? "complete"
                    : result == HTTP_NEED_MORE ? "incomplete"
                                               : "(no verdict)");
}

void
text_request(struct text *t, enum http_result result,
             const struct http_request *r, const char *buf)
{
    text_verdict(t, result, r->status, r->reason);
    if (result != HTTP_COMPLETE)
        return;
    text_span(t, "method ", buf, r->method);
    text_span(t, "\ntarget ", buf, r->target);
    text_printf(t, "\nversion 1.%d\n", r->minor_version);
    for (uint32_t i = 0; i < r->header_count; i++) {
        text_span(t, "header ", buf, r->headers[i].name);
        text_span(t, ": ", buf, r->headers[i].value);
        text_add(t, "\n", 1);
    }
    if (r->body == HTTP_BODY_LENGTH)
        text_printf(t, "body length %" PRIu64 "\n", r->content_length);
    else
        text_printf(t, "body %s\n",
                    r->body == HTTP_BODY_CHUNKED ? "chunked" : "none");
    text_printf(t, "keep-alive %s\nconsumed %" PRIu32 "\n",
                r->keep_alive ? "yes" : "no", r->consumed);
}

/* ---- A place that ends where the memory ends ----------------------------- */

enum { PLACE = 1 << 18 };

const char *
at_the_end(const char *p, size_t n)
{
    static char *places[2];
    static size_t used[2];
    static int turn;
    if (!places[0]) {
        for (int i = 0; i < 2; i++) {
            places[i] = mmap(NULL, PLACE + 65536, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (places[i] == MAP_FAILED ||
                mprotect(places[i] + PLACE, 65536, PROT_NONE) < 0)
                err(70, "mmap");
        }
    }
    if (n > PLACE)
        errx(70, "an input of %zu bytes is too long for this test", n);
    char *old_end = places[turn] + PLACE;
    memset(old_end - used[turn], '?', used[turn]);
    turn = !turn;
    used[turn] = n;
    char *to = places[turn] + PLACE - n;
    if (n > 0)
        memcpy(to, p, n);
    return to;
}

/* ---- Complaints ---------------------------------------------------------- */

void
print_repeat(const char *p, size_t n, const char *options)
{
    if (n > 600)
        return;
    fputs("repeat:   make -sC labs/13-http-parser &&\nprintf '", stdout);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\r' || p[i] == '\n')
            fputs(p[i] == '\r' ? "\\r" : "\\n", stdout);
        else if (p[i] == '\\' || p[i] == '%')
            fputs(p[i] == '%' ? "%%" : "\\\\", stdout);
        else if (p[i] >= ' ' && p[i] <= '~' && p[i] != '\'')
            putchar(p[i]);
        else
            printf("\\%03o", (unsigned char)p[i]);
    }
    printf("' | labs/13-http-parser/http-parse%s\n", options);
}

void
print_labelled(const char *label, const char *text)
{
    printf("%-9s ", label);
    for (; *text; text++) {
        putchar(*text);
        if (*text == '\n' && text[1])
            fputs("          ", stdout);
    }
    if (text[-1] != '\n')
        putchar('\n');
}
