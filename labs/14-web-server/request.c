/*
 * What is to be answered to a request.
 *
 * Everything here is about one request that has come completely; connections
 * and their troubles are elsewhere.
 *
 * The hot path: the bytes of the target, as they came, are looked up in the
 * cache. That is safe, for the keys in there are clean paths, decoded and
 * encoded again: what equals one of them needs no cleaning. Everything else is
 * decoded first, "/a/../%62" becomes "/b", and looked up once more.
 */
#include "request.h"
#include "conditional.h"
#include "path.h"

#include <string.h>

/* Methods that exist but cannot be used on files that are only read. */
static const char *const not_allowed[] = {
    "POST", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE",
};

/* 200 for GET, HEAD, OPTIONS; 405 is about this site, 501 about this server. */
static int
check_method(const struct http_request *r, const char *buf)
{
    if (http_is(buf, r->method, "GET") || http_is(buf, r->method, "HEAD") ||
        http_is(buf, r->method, "OPTIONS"))
        return 200;
    for (size_t i = 0; i < sizeof not_allowed / sizeof not_allowed[0]; i++)
        if (http_is(buf, r->method, not_allowed[i]))
            return 405;
    return 501;
}

/* --- fields --------------------------------------------------------------- */

static void
note(const struct http_header **first, const struct http_header *h,
     const char *buf, const char *name)
{
    if (!*first && http_is_nocase(buf, h->name, name))
        *first = h;
}

/* One pass, and most fields are passed over by their length alone. */
static void
find_fields(const struct http_request *r, const char *buf, struct fields *f)
{
    *f = (struct fields){0};
    for (uint32_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        switch (h->name.len) {
        case sizeof "Range" - 1:
            note(&f->range, h, buf, "Range");
            break;
        case sizeof "Expect" - 1:
            note(&f->expect, h, buf, "Expect");
            break;
        case sizeof "If-Match" - 1: /* as long as If-Range */
            note(&f->if_match, h, buf, "If-Match");
            note(&f->if_range, h, buf, "If-Range");
            break;
        case sizeof "If-None-Match" - 1:
            note(&f->if_none_match, h, buf, "If-None-Match");
            break;
        case sizeof "Accept-Encoding" - 1:
            note(&f->accept_encoding, h, buf, "Accept-Encoding");
            break;
        case sizeof "If-Modified-Since" - 1:
            note(&f->if_modified_since, h, buf, "If-Modified-Since");
            break;
        case sizeof "If-Unmodified-Since" - 1:
            note(&f->if_unmodified_since, h, buf, "If-Unmodified-Since");
            break;
        }
    }
}

static bool
expects_continue(const struct http_request *r, const char *buf,
                 const struct http_header *expect)
{
    return r->body != HTTP_BODY_NONE && r->minor_version > 0 && expect &&
           http_is_nocase(buf, expect->value, "100-continue");
}

bool
request_waits(const struct http_request *r, const char *buf)
{
    return r->body != HTTP_BODY_NONE &&
           expects_continue(r, buf, http_find(r, buf, "Expect", NULL));
}

/* --- what it is about ----------------------------------------------------- */

/* Looks for the entry of a path that is not in the cache as it was written. */
static struct entry *
find_cleaned(struct store *s, const char *path, size_t n, struct waiter *w,
             int *status)
{
    char name[PATH_LIMIT], key[1 + 3 * PATH_LIMIT] = "/";
    *status = path_resolve(path, n, name);
    if (*status != 200)
        return NULL;
    size_t length = 1 + path_encode(name, strlen(name), key + 1);
    return store_get(s, key, length, name, w);
}

static bool
find_entry(const struct http_request *r, const char *buf, struct store *s,
           struct waiter *w, struct answer *a)
{
    const char *path = buf + r->path.at;
    const char *query = memchr(path, '?', r->path.len);
    size_t n = query ? (size_t)(query - path) : r->path.len;
    struct entry *e = store_peek(s, path, n);
    if (!e && n == sizeof "/_stats" - 1 && memcmp(path, "/_stats", n) == 0)
        a->status = 0;
    else if (!e)
        e = find_cleaned(s, path, n, w, &a->status);
    if (e)
        request_found(r, buf, e, a);
    return e || a->status != 200;
}

static void
prepare(const struct http_request *r, const char *buf, struct answer *a)
{
    a->status = 200;
    a->head_only = http_is(buf, r->method, "HEAD");
    a->keep_alive = r->keep_alive;
    a->old_client = r->minor_version == 0;
    a->entry = NULL;
    a->content = NULL;
    a->json = NULL;
}

bool
request_find(const struct http_request *r, const char *buf, struct store *s,
             struct waiter *w, struct answer *a)
{
    prepare(r, buf, a);
    /* TODO 6: decide what a request gets.
     * check_method() first, and only then find_entry(): a POST must not open
     * anything. OPTIONS is answered without any entry. The answer to a client
     * that waits before it sends its body (request_waits()) ends the
     * connection: with the final answer, it need not send it. The stub takes
     * every method for GET.
     */
    (void)check_method;
    return find_entry(r, buf, s, w, a);
}

/* A file that is there: all of it, a part of it, or nothing but "the same". */
static void
choose_content(const struct http_request *r, const char *buf, struct answer *a)
{
    struct fields f;
    struct entry *e = a->entry;
    find_fields(r, buf, &f);
    /* Nothing is no compressed form: gzip(1) has just begun to write it. */
    a->content =
        e->gzip.size > 0 && accepts_gzip(r, buf, &f) ? &e->gzip : &e->plain;
    a->status = condition_check(r, buf, &f, e, a->content);
    if (a->status == 200 && f.range && !a->head_only)
        a->status = condition_ranges(buf, &f, a);
}

void
request_found(const struct http_request *r, const char *buf, struct entry *e,
              struct answer *a)
{
    prepare(r, buf, a);
    if (request_waits(r, buf) || e->status == 503)
        a->keep_alive = false; /* 503: its descriptor is wanted elsewhere */
    a->entry = e;
    a->status = e->status;
    if (e->status == 200)
        choose_content(r, buf, a);
    if (e->status == 301) {
        const char *path = buf + r->path.at, *end = path + r->path.len;
        const char *query = memchr(path, '?', r->path.len);
        a->query = query ? query : end;
        a->query_length = (size_t)(end - a->query);
    }
}

void
request_refuse(int status, const char *buf, size_t len, struct answer *a)
{
    *a = (struct answer){.status = status,
                         .head_only = len >= 5 && memcmp(buf, "HEAD ", 5) == 0};
}
