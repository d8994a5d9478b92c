/*
 * Does the client want it at all, and which part of it?
 *
 * A browser that has a copy asks "has it changed?" with the validator that came
 * with its copy: the ETag, or the date of the last change. Nearly always the
 * answer is no, 304, and not a byte of the file is sent. A client whose download
 * broke off asks for the rest of the bytes, if they still are the same.
 */
#include "conditional.h"
#include "date.h"

#include <limits.h>
#include <string.h>

/* --- validators ----------------------------------------------------------- */

/* Takes the next element of a list, "a, b", without the blanks around it. False
 * at its end. Commas between quotes separate nothing. */
static bool
next_element(const char **p, const char *end, struct http_span *element,
             const char *buf)
{
    while (*p < end && (**p == ' ' || **p == '\t' || **p == ','))
        ++*p;
    const char *start = *p, *last = start;
    bool quoted = false;
    for (; *p < end && (quoted || **p != ','); ++*p) {
        if (**p == '"')
            quoted = !quoted;
        if (**p != ' ' && **p != '\t')
            last = *p + 1;
    }
    *element =
        (struct http_span){(uint32_t)(start - buf), (uint32_t)(last - start)};
    return last > start;
}

/* Is the tag in the list of a field, or in those of its repetitions? A weak one,
 * W/"...", says that the bytes may differ: where bytes are put together, it
 * matches nothing. */
static bool
lists_tag(const struct http_request *r, const char *buf,
          const struct http_header *h, const char *name, const char *etag,
          bool strong)
{
    for (; h; h = http_find(r, buf, name, h)) {
        const char *p = buf + h->value.at, *end = p + h->value.len;
        struct http_span s;
        while (next_element(&p, end, &s, buf)) {
            bool weak = s.len > 2 && memcmp(buf + s.at, "W/", 2) == 0;
            if (weak)
                s = (struct http_span){s.at + 2, s.len - 2};
            if ((!weak || !strong) && http_is(buf, s, etag))
                return true;
            if (http_is(buf, s, "*"))
                return true;
        }
    }
    return false;
}

/* False also if the field is no date: then it does not count. */
static bool
is_not_after(const char *buf, const struct http_header *h, time_t modified)
{
    time_t t;
    return date_parse(buf + h->value.at, h->value.len, &t) && modified <= t;
}

int
condition_check(const struct http_request *r, const char *buf,
                const struct fields *f, const struct entry *e,
                const struct content *c)
{
    /* TODO 16: answer 304 to a client whose copy is still good.
     * The order is that of RFC 9110, 13.2.2. If-Match has to list our tag
     * (strong), or 412. Only if it is not there: If-Unmodified-Since, a date;
     * the file may not have changed after it, or 412. Then If-None-Match: if it
     * lists our tag (weak), 304. Only if it is not there: If-Modified-Since; if
     * the file has not changed after it, 304. A tag is better than a date,
     * which has only whole seconds: a client that sends both means the tag. A
     * date that is none does not count. The stub sends everything again.
     */
    (void)r;
    (void)buf;
    (void)f;
    (void)e;
    (void)c;
    (void)lists_tag;
    (void)is_not_after;
    return 200;
}

/* --- ranges --------------------------------------------------------------- */

/* Reads digits, as many as there are. A number too large for off_t is as good as
 * the largest: no file has so many bytes. -1: no digit. */
static off_t
read_position(const char **p, const char *end)
{
    if (*p == end || **p < '0' || **p > '9')
        return -1;
    off_t n = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p)
        n = n > (LONG_MAX - 9) / 10 ? LONG_MAX : n * 10 + (**p - '0');
    return n;
}

enum verdict { GOOD, NOWHERE, MALFORMED };

/* One of "0-499", "500-", "-500" (the last 500). */
static enum verdict
read_range(const char *p, const char *end, off_t size, struct range *r)
{
    /* TODO 17: understand one range.
     * Positions count from 0, and both ends belong to it: 0-499 is 500 bytes.
     * Without a last position it goes to the end of the file; so it does if the
     * last position lies behind the end. Without a first one the number counts
     * from the end: -500 means the last 500 bytes, or all if there are fewer.
     * MALFORMED: something else is there, or last < first; NOWHERE: it begins
     * behind the last byte, or is "-0". The stub understands nothing, and so
     * every client gets the whole file.
     */
    (void)p;
    (void)end;
    (void)size;
    (void)r;
    (void)read_position;
    return MALFORMED;
}

/* The rest of a download may only be put behind what is there already if the
 * file is still the same. A date is good enough if it is exactly ours, and its
 * second is over, in which the file may change once more. */
static bool
is_same_copy(const char *buf, const struct http_header *h,
             const struct answer *a)
{
    time_t t;
    if (http_is(buf, h->value, a->content->etag))
        return true;
    return date_parse(buf + h->value.at, h->value.len, &t) &&
           t == a->entry->modified && t < time(NULL) - 1;
}

/* All elements of a list of ranges. Returns 206, 416 or 200. */
static int
read_ranges(const char *buf, const char *p, const char *end, struct answer *a)
{
    struct http_span s;
    off_t size = a->content->size, total = 0;
    unsigned seen = 0;
    a->ranges = 0;
    while (next_element(&p, end, &s, buf)) {
        struct range r;
        enum verdict v = read_range(buf + s.at, buf + s.at + s.len, size, &r);
        /* Nobody needs so many; who sends them wants to make work. */
        if (v == MALFORMED || ++seen > RANGES_MAX)
            return 200;
        if (v == GOOD) {
            a->range[a->ranges++] = r;
            total += r.last - r.first + 1;
        }
    }
    if (seen == 0 || size == 0)
        return 200;
    if (a->ranges == 0)
        return 416;
    if (a->ranges == 1)
        return 206;
    /* Parts that overlap can be more than the whole: then the whole is less.
     * And the lines between parts of a compressed form are not compressed, so
     * no client could decode it: Content-Encoding is about all of a body. */
    return total > size || a->content == &a->entry->gzip ? 200 : 206;
}

int
condition_ranges(const char *buf, const struct fields *f, struct answer *a)
{
    static const char unit[] = "bytes=";
    const size_t n = sizeof unit - 1;
    if (!f->range || f->range->value.len < n)
        return 200;
    if (f->if_range && !is_same_copy(buf, f->if_range, a))
        return 200;
    struct http_span name = {f->range->value.at, (uint32_t)n};
    if (!http_is_nocase(buf, name, unit))
        return 200; /* some unit that we do not know */
    const char *value = buf + f->range->value.at;
    return read_ranges(buf, value + n, value + f->range->value.len, a);
}

/* --- forms ---------------------------------------------------------------- */

/* "gzip;q=0" means: not that one. */
static bool
is_ruled_out(const char *p, const char *end)
{
    while (p < end && (*p == ';' || *p == ' ' || *p == '\t'))
        p++;
    if (end - p < 3 || (p[0] | 0x20) != 'q' || p[1] != '=' || p[2] != '0')
        return false;
    for (p += 3; p < end; p++)
        if (*p >= '1' && *p <= '9')
            return false;
    return true;
}

bool
accepts_gzip(const struct http_request *r, const char *buf,
             const struct fields *f)
{
    const struct http_header *h = f->accept_encoding;
    bool any = false; /* "*": every coding that it does not name */
    for (; h; h = http_find(r, buf, "Accept-Encoding", h)) {
        const char *p = buf + h->value.at, *end = p + h->value.len;
        struct http_span s;
        while (next_element(&p, end, &s, buf)) {
            const char *name = buf + s.at, *q = name;
            while (q < name + s.len && *q != ';' && *q != ' ' && *q != '\t')
                q++;
            bool wanted = !is_ruled_out(q, name + s.len);
            s.len = (uint32_t)(q - name);
            if (http_is_nocase(buf, s, "gzip") ||
                http_is_nocase(buf, s, "x-gzip"))
                return wanted;
            if (http_is(buf, s, "*"))
                any = wanted;
        }
    }
    return any;
}
