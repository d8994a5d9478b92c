/*
 * Another way: recursive descent. Each rule of the grammars in RFC 9110 is a
 * function that takes its part off the front of a cursor, and says whether it
 * was there.
 */
#include "conditional.h"
#include "date.h"

#include <string.h>

struct cursor {
    const char *p, *end;
};

static struct cursor
value_of(const char *buf, const struct http_header *h)
{
    const char *p = buf + h->value.at;
    return (struct cursor){p, p + h->value.len};
}

static bool
take(struct cursor *c, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, text, n) != 0)
        return false;
    c->p += n;
    return true;
}

static void
take_blanks(struct cursor *c)
{
    while (take(c, " ") || take(c, "\t"))
        continue;
}

/* To the next element of a list. False: there is none. */
static bool
take_comma(struct cursor *c)
{
    do
        take_blanks(c);
    while (take(c, ","));
    return c->p < c->end;
}

/* Whatever is there, as nobody knows it. */
static void
take_rest_of_element(struct cursor *c)
{
    for (bool quoted = false; c->p < c->end; c->p++) {
        if (!quoted && *c->p == ',')
            return;
        if (*c->p == '"')
            quoted = !quoted;
    }
}

/* ---- Validators ---------------------------------------------------------- */

/* Ours, alone or in a list, of one field. */
static bool
has_tag(struct cursor c, const char *etag, bool strong)
{
    if (!take_comma(&c))
        return false;
    bool weak = take(&c, "W/");
    struct cursor after = c;
    if (take(&after, "*") || (take(&after, etag) && !(weak && strong))) {
        take_blanks(&after);
        if (after.p == after.end || *after.p == ',')
            return true;
    }
    take_rest_of_element(&c);
    return has_tag(c, etag, strong);
}

static bool
any_has_tag(const struct http_request *r, const char *buf,
            const struct http_header *h, const char *name, const char *etag,
            bool strong)
{
    return h != NULL && (has_tag(value_of(buf, h), etag, strong) ||
                         any_has_tag(r, buf, http_find(r, buf, name, h), name,
                                     etag, strong));
}

/* The date in a field; `otherwise`, if it has none. */
static time_t
date_of(const char *buf, const struct http_header *h, time_t otherwise)
{
    time_t t;
    if (h == NULL || !date_parse(buf + h->value.at, h->value.len, &t))
        return otherwise;
    return t;
}

int
condition_check(const struct http_request *r, const char *buf,
                const struct fields *f, const struct entry *e,
                const struct content *c)
{
    time_t m = e->modified;
    bool as_expected =
        f->if_match
            ? any_has_tag(r, buf, f->if_match, "If-Match", c->etag, true)
            : m <= date_of(buf, f->if_unmodified_since, m);
    bool known = f->if_none_match
                     ? any_has_tag(r, buf, f->if_none_match, "If-None-Match",
                                   c->etag, false)
                     : m <= date_of(buf, f->if_modified_since, m - 1);
    return !as_expected ? 412 : known ? 304 : 200;
}

/* ---- Ranges -------------------------------------------------------------- */

/* Digits. What is more than `most` is `most`. */
static bool
take_number(struct cursor *c, off_t most, off_t *n)
{
    const char *start = c->p;
    for (*n = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        *n = *n > most / 10 ? most : *n * 10 + (*c->p - '0');
        if (*n > most)
            *n = most;
    }
    return c->p > start;
}

/* "first-last", "first-" or "-count", of a file of so many bytes. What is
 * outside of it comes out with first > last. False: it is nothing like that. */
static bool
take_range(struct cursor *c, off_t size, struct range *r)
{
    const off_t far = (off_t)1 << 60;
    off_t first, last;
    bool from_start = take_number(c, far, &first);
    if (!take(c, "-"))
        return false;
    bool has_end = take_number(c, far, &last);
    if (!from_start && !has_end)
        return false;
    if (from_start && has_end && last < first)
        return false;
    if (!from_start) {
        *r = (struct range){last < size ? size - last : 0, size - 1};
        return true;
    }
    *r = (struct range){first, has_end && last < size ? last : size - 1};
    return true;
}

static int
take_ranges(struct cursor *c, struct answer *a)
{
    off_t size = a->content->size, total = 0;
    int seen = 0;
    for (a->ranges = 0; take_comma(c); seen++) {
        struct range r;
        if (!take_range(c, size, &r) || seen == RANGES_MAX)
            return 200;
        take_blanks(c);
        if (c->p < c->end && *c->p != ',')
            return 200;
        if (r.first > r.last)
            continue;
        a->range[a->ranges++] = r;
        total += r.last - r.first + 1;
    }
    /* Parts of a compressed form could not be decoded with the lines between
     * them, and parts that overlap can be more than the whole. */
    bool in_parts = a->ranges > 1;
    bool as_it_is = a->content == &a->entry->plain;
    if (seen == 0 || size == 0 || (in_parts && (!as_it_is || total > size)))
        return 200;
    return a->ranges == 0 ? 416 : 206;
}

int
condition_ranges(const char *buf, const struct fields *f, struct answer *a)
{
    if (f->range == NULL || f->range->value.len < 6)
        return 200;
    struct http_span unit = {f->range->value.at, 6};
    if (!http_is_nocase(buf, unit, "bytes="))
        return 200;
    if (f->if_range != NULL &&
        !http_is(buf, f->if_range->value, a->content->etag) &&
        (date_of(buf, f->if_range, a->entry->modified - 1) !=
             a->entry->modified ||
         a->entry->modified >= time(NULL) - 1))
        return 200;
    struct cursor c = value_of(buf, f->range);
    c.p += unit.len;
    return take_ranges(&c, a);
}

/* ---- Forms --------------------------------------------------------------- */

/* ;q=0, ;q=0.0 and so on */
static bool
take_refusal(struct cursor *c)
{
    take_blanks(c);
    if (!take(c, ";"))
        return false;
    take_blanks(c);
    if (!take(c, "q=0") && !take(c, "Q=0"))
        return false;
    take(c, ".");
    while (take(c, "0"))
        continue;
    return c->p == c->end || *c->p < '1' || *c->p > '9';
}

/* What the list says about gzip: 1, 0, or -1, nothing. */
static int
opinion(const char *buf, struct cursor c)
{
    int of_all = -1;
    while (take_comma(&c)) {
        const char *start = c.p;
        while (c.p < c.end && !strchr(" \t;,", *c.p))
            c.p++;
        struct http_span name = {(uint32_t)(start - buf),
                                 (uint32_t)(c.p - start)};
        bool wanted = !take_refusal(&c);
        if (http_is_nocase(buf, name, "gzip") ||
            http_is_nocase(buf, name, "x-gzip"))
            return wanted;
        if (http_is(buf, name, "*"))
            of_all = wanted;
        take_rest_of_element(&c);
    }
    return of_all;
}

bool
accepts_gzip(const struct http_request *r, const char *buf,
             const struct fields *f)
{
    int said = -1;
    for (const struct http_header *h = f->accept_encoding; h != NULL;
         h = http_find(r, buf, "Accept-Encoding", h)) {
        int here = opinion(buf, value_of(buf, h));
        said = here < 0 ? said : here;
    }
    return said == 1;
}
