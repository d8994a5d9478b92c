/*
 * An answer, as bytes.
 *
 * The head of a file's answer is written once, by the worker that loads it, and
 * copied for each request; only the date is filled in, which is itself written
 * once a second. So an answer from the cache is two copies, and there is no
 * printf() on its way.
 */
#include "response.h"
#include "status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
    DATE_LENGTH = DATE_SIZE - 1,
    BOUNDARY_LENGTH = 24, /* between the parts of several ranges */
};

static const char ok_line[] = "HTTP/1.1 200 OK\r\nDate: ";

/* --- the head of a file --------------------------------------------------- */

/* What a client compares, to know whether its copy is still good. A cache on
 * the way has to know that there is another form (Vary). */
static void
put_validators(struct text *t, const struct entry *e, const struct content *c,
               time_t now)
{
    /* A file from the future was modified now: a client that stores the later
     * date would take its copy for fresh too long (RFC 9110, 8.8.2.1). */
    char modified[DATE_SIZE];
    date_write(e->modified < now ? e->modified : now, modified);
    put(t, "Last-Modified: ");
    put(t, modified);
    put(t, "\r\nETag: ");
    put(t, c->etag);
    put(t, "\r\n");
    if (e->gzip_version.size > 0)
        put(t, "Vary: Accept-Encoding\r\n");
}

static void
put_form(struct text *t, const struct entry *e, const struct content *c)
{
    put(t, "Content-Type: ");
    put(t, e->type);
    put(t, "\r\n");
    if (c == &e->gzip)
        put(t, "Content-Encoding: gzip\r\n");
}

static void
put_length(struct text *t, off_t length)
{
    put(t, "Content-Length: ");
    put_number(t, (uint64_t)length);
    put(t, "\r\n");
}

size_t
response_prepare(const struct entry *e, const struct content *c, time_t now,
                 char *out, size_t room)
{
    struct text t = {out, out + room, false};
    put(&t, ok_line);
    put_bytes(&t, "Thu, 01 Jan 1970 00:00:00 GMT", DATE_LENGTH);
    put(&t, "\r\n");
    /* TODO 4: write the head of a file's answer.
     * put_form(), put_length() and put_validators() are lines of it, each with
     * its "\r\n"; "Accept-Ranges: bytes" says that a client may ask for a part.
     * The length is how a client knows where the body ends, and whether it has
     * got all of it. The stub says as little as the standard allows: the client
     * has to wait for the end of the connection to know that it has everything.
     * STUB: (void)e;
     * STUB: (void)c;
     * STUB: (void)now;
     * STUB: (void)put_form;
     */
    put_form(&t, e, c);
    put_length(&t, c->size);
    put_validators(&t, e, c, now);
    put(&t, "Accept-Ranges: bytes\r\n");
    /* END TODO 4 */
    return t.full ? 0 : (size_t)(t.at - out);
}

/* --- pieces of other heads ------------------------------------------------ */

static void
put_status(struct text *t, int status, const struct date *now)
{
    put(t, "HTTP/1.1 ");
    put(t, status_text(status));
    put(t, "\r\nDate: ");
    put_bytes(t, now->text, DATE_LENGTH);
    put(t, "\r\n");
}

/* The empty line, and before it what becomes of the connection. */
static void
put_end(struct text *t, const struct answer *a)
{
    if (!a->keep_alive)
        put(t, "Connection: close\r\n");
    else if (a->old_client)
        put(t, "Connection: keep-alive\r\n");
    put(t, "\r\n");
}

/* --- answers -------------------------------------------------------------- */

/* The hot path: a whole file. */
static void
add_file(struct output *o, struct answer *a, const struct date *now)
{
    struct content *c = a->content;
    struct text t = output_text(o);
    char *head = t.at;
    put_bytes(&t, c->head, c->head_length);
    memcpy(head + sizeof ok_line - 1, now->text, DATE_LENGTH);
    put_end(&t, a);
    output_add(o, &t);
    a->sent = a->head_only ? 0 : c->size;
    output_add_content(o, a->entry, c, 0, a->sent);
}

static void
put_content_range(struct text *t, const struct range *r, off_t size)
{
    put_format(t, "Content-Range: bytes %jd-%jd/%jd\r\n", (intmax_t)r->first,
               (intmax_t)r->last, (intmax_t)size);
}

static void
add_range(struct output *o, struct answer *a, const struct date *now)
{
    const struct range *r = a->range;
    struct text t = output_text(o);
    a->sent = r->last - r->first + 1;
    put_status(&t, 206, now);
    put_form(&t, a->entry, a->content);
    put_length(&t, a->sent);
    put_content_range(&t, r, a->content->size);
    put_validators(&t, a->entry, a->content, now->seconds);
    put_end(&t, a);
    output_add(o, &t);
    output_add_content(o, a->entry, a->content, r->first, a->sent);
}

/* A line that is in no body, as nobody can know it beforehand. */
static const char *
boundary(void)
{
    static char text[BOUNDARY_LENGTH + 1];
    uint64_t random[2];
    if (text[0] == '\0' &&
        getrandom(random, sizeof random, 0) == (ssize_t)sizeof random)
        snprintf(text, sizeof text, "%012" PRIx64 "%012" PRIx64,
                 random[0] >> 16, random[1] >> 16);
    return text;
}

static void
put_part(struct text *t, const struct answer *a, const struct range *r)
{
    put(t, "\r\n--");
    put(t, boundary());
    put(t, "\r\nContent-Type: ");
    put(t, a->entry->type);
    put(t, "\r\n");
    put_content_range(t, r, a->content->size);
    put(t, "\r\n");
}

/* Several ranges: each is a part with a head of its own. */
static void
add_ranges(struct output *o, struct answer *a, const struct date *now)
{
    char heads[RANGES_MAX * 256];
    struct text part = {heads, heads + sizeof heads, false};
    const char *start[RANGES_MAX + 1] = {heads};
    a->sent = 8 + BOUNDARY_LENGTH; /* the end */
    for (unsigned i = 0; i < a->ranges; i++) {
        put_part(&part, a, &a->range[i]);
        start[i + 1] = part.at;
        a->sent += a->range[i].last - a->range[i].first + 1;
    }
    a->sent += part.at - heads;

    struct text t = output_text(o);
    put_status(&t, 206, now);
    put(&t, "Content-Type: multipart/byteranges; boundary=");
    put(&t, boundary());
    put(&t, "\r\n");
    put_length(&t, a->sent);
    put_validators(&t, a->entry, a->content, now->seconds);
    put_end(&t, a);
    for (unsigned i = 0; i < a->ranges; i++) {
        const struct range *r = &a->range[i];
        put_bytes(&t, start[i], (size_t)(start[i + 1] - start[i]));
        output_add(o, &t);
        output_add_content(o, a->entry, a->content, r->first,
                           r->last - r->first + 1);
        t = output_text(o);
    }
    put(&t, "\r\n--");
    put(&t, boundary());
    put(&t, "--\r\n");
    output_add(o, &t);
}

static void
add_not_modified(struct output *o, struct answer *a, const struct date *now)
{
    struct text t = output_text(o);
    put_status(&t, 304, now);
    put_validators(&t, a->entry, a->content, now->seconds);
    put_end(&t, a);
    output_add(o, &t);
}

static void
add_json(struct output *o, struct answer *a, const struct date *now)
{
    struct text t = output_text(o);
    put_status(&t, 200, now);
    put(&t, "Content-Type: application/json\r\nCache-Control: no-store\r\n");
    put_length(&t, (off_t)a->json_length);
    put_end(&t, a);
    a->sent = a->head_only ? 0 : (off_t)a->json_length;
    put_bytes(&t, a->json, (size_t)a->sent);
    output_add(o, &t);
}

/* To OPTIONS: what can be done here. */
static void
add_options(struct output *o, struct answer *a, const struct date *now)
{
    struct text t = output_text(o);
    put_status(&t, 200, now);
    put(&t, "Allow: GET, HEAD, OPTIONS\r\n");
    put_length(&t, 0);
    put_end(&t, a);
    output_add(o, &t);
}

/* --- errors --------------------------------------------------------------- */

/* The key of an entry is a clean path, and a redirect is made from it, never
 * from what the client wrote: "//other.site/.." would send the reader there. */
static void
put_location(struct text *t, const struct answer *a)
{
    put(t, "Location: ");
    put_bytes(t, a->entry->key, a->entry->key_length);
    put(t, "/");
    put_bytes(t, a->query, a->query_length);
    put(t, "\r\n");
}

static void
add_error(struct output *o, struct answer *a, const struct date *now)
{
    size_t length;
    const char *page = status_page(a->status, &length);
    struct text t = output_text(o);
    put_status(&t, a->status, now);
    put(&t, "Content-Type: text/html; charset=utf-8\r\n");
    put_length(&t, (off_t)length);
    if (a->status == 301)
        put_location(&t, a);
    if (a->status == 405)
        put(&t, "Allow: GET, HEAD, OPTIONS\r\n");
    if (a->status == 416)
        put_format(&t, "Content-Range: bytes */%jd\r\n",
                   (intmax_t)a->content->size);
    if (a->status == 503)
        put(&t, "Retry-After: 1\r\n");
    put_end(&t, a);
    a->sent = a->head_only ? 0 : (off_t)length;
    put_bytes(&t, page, (size_t)a->sent);
    output_add(o, &t);
}

void
response_add(struct output *o, struct answer *a, const struct date *now)
{
    a->sent = 0;
    if (a->status == 200 && a->entry)
        add_file(o, a, now);
    else if (a->status == 200 && a->json)
        add_json(o, a, now);
    else if (a->status == 200)
        add_options(o, a, now);
    else if (a->status == 206)
        (a->ranges == 1 ? add_range : add_ranges)(o, a, now);
    else if (a->status == 304)
        add_not_modified(o, a, now);
    else
        add_error(o, a, now);
}
