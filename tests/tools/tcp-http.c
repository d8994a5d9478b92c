#include "tcp-http.h"
#include "tcp-report.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_LIMIT ((size_t)64 << 20) /* no test has a larger one */

struct head {
    int status;
    bool chunked, has_length;
    size_t length;
};

static void
begin_part(struct response *r, const char *expected)
{
    r->part = r->n;
    r->expected = expected;
}

static _Noreturn void
report_part(const struct response *r, enum event e)
{
    fail(r->expected, came(r->data + r->part, r->n - r->part, e));
}

/* Appends what comes next, at most `most` bytes; returns how many, 0: EOF. */
static size_t
take_some(struct response *r, size_t most)
{
    size_t n, size = most < CHUNK ? most : CHUNK;
    if (r->n % CHUNK + size >= CHUNK || r->data == NULL)
        r->data = grow(r->data, (r->n / CHUNK + 2) * CHUNK);
    enum event e = receive(r->c, r->data + r->n, size, deadline(), &n);
    r->n += n;
    r->data[r->n] = '\0';
    if (e == QUIET || e == RESET || now() > step_end)
        report_part(r, e == DATA ? QUIET : e);
    return n;
}

static void
take(struct response *r, size_t n)
{
    while (n > 0) {
        size_t k = take_some(r, n);
        if (k == 0)
            report_part(r, CLOSED);
        n -= k;
    }
}

/* Byte by byte: what follows the response is for the next step. */
static char *
take_line(struct response *r)
{
    size_t begin = r->n;
    do
        take(r, 1);
    while (r->data[r->n - 1] != '\n');
    return r->data + begin;
}

static bool
is_blank(const char *line)
{
    return strcmp(line, "\r\n") == 0;
}

/* A peer that speaks something else may never send a newline, so the first
 * bytes are looked at one by one. */
static void
take_status_line(struct response *r, struct head *h)
{
    static const char start[] = "HTTP/1.";
    begin_part(r, "a status line, such as HTTP/1.1 200 OK");
    for (const char *p = start; *p; p++) {
        take(r, 1);
        if (r->data[r->n - 1] != *p) {
            enum event e = receive_more(r->c, r->data, CHUNK, &r->n);
            report_part(r, e == QUIET ? DATA : e);
        }
    }
    take_line(r);
    if (sscanf(r->data, "HTTP/1.%*1[0-9] %3d", &h->status) != 1 ||
        h->status < 100)
        report_part(r, DATA);
}

static void
take_head(struct response *r, struct head *h)
{
    take_status_line(r, h);
    begin_part(r, "header lines, ended by an empty line (CR LF CR LF)");
    for (char *line; !is_blank(line = take_line(r));) {
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            h->has_length = sscanf(line + 15, "%zu", &h->length) == 1;
        if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
            h->chunked = strcasestr(line, "chunked") != NULL;
    }
}

static void
take_chunks(struct response *r)
{
    size_t size;
    do {
        begin_part(r, "a line with the size of a chunk, in hex");
        char *line = take_line(r), *end;
        size = strtoul(line, &end, 16);
        if (end == line || size > CHUNK_LIMIT)
            report_part(r, DATA);
        begin_part(r, text("a chunk of %s, then CR LF", count(size)));
        if (size > 0)
            take(r, size + 2);
        if (size > 0 && !is_blank(r->data + r->n - 2))
            report_part(r, DATA);
    } while (size > 0);
    begin_part(r, "trailers, ended by an empty line");
    while (!is_blank(take_line(r)))
        continue;
}

void
take_rest(struct response *r, const char *expected)
{
    begin_part(r, expected);
    while (take_some(r, CHUNK) > 0)
        continue;
}

void
take_response(struct response *r, bool to_head)
{
    struct head h = {.status = 0};
    take_head(r, &h);
    if (to_head || h.status < 200 || h.status == 204 || h.status == 304)
        return; /* ends with its head, whatever that says */
    if (h.chunked) {
        take_chunks(r);
    } else if (h.has_length) {
        begin_part(r, text("a body of %s (Content-Length)", count(h.length)));
        take(r, h.length);
    } else {
        take_rest(r, "a body that ends with the connection (EOF)");
    }
}
