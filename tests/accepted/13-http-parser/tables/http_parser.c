/*
 * Another way: the grammar is a table, and one small engine reads everything.
 * A row of the table is a part of the head: which bytes it is made of, which
 * byte ends it and what comes then, what is wrong if another one does. Only the
 * version, which is a text, and "%41" in a target are read by hand.
 *
 * There is no short cut for usual lines. The scans (http_scan.h) are fast enough
 * to need few loads without.
 */
#include "http_internal.h"
#include "http_scan.h"

const struct http_limits http_default_limits = {8192, 8192, HTTP_MAX_HEADERS,
                                                65536, INT64_MAX};

static const struct part {
    enum class made_of; /* 0: nothing, the byte that ends it stands alone */
    char end;
    enum state then;
    const char *wrong;
} parts[] = {
    [METHOD] = {TOKEN, ' ', TARGET, "bad-method"},
    [TARGET] = {PATH, ' ', VERSION, "bad-target"},
    [NAME] = {TOKEN, ':', BLANKS, "bad-header-name"},
    [VALUE] = {TEXT, '\r', LINE_END, "bad-header-value"},
    [LINE_END] = {0, '\n', LINE, "bare-cr"},
    [HEAD_END] = {0, '\n', DONE, "bare-cr"},
};

/* Where the part that is being read, or its line, began. */
static uint32_t
start_of(const struct http_request *r)
{
    if (r->state == METHOD)
        return r->method.at;
    if (r->state == TARGET)
        return r->target.at;
    return r->headers[r->header_count].name.at;
}

static bool
too_long(struct http_request *r, uint32_t at)
{
    uint32_t len = at - start_of(r);
    if (r->state == METHOD && len > HTTP_MAX_METHOD)
        fail(r, 501, "method-too-long");
    else if (r->state == TARGET && len > r->limits->target)
        fail(r, 414, "target-too-long");
    else if (r->state >= NAME && r->state <= VALUE && len > r->limits->line)
        fail(r, 431, "header-line-too-long");
    return r->state == FAILED;
}

/* Goes over the bytes of the part. Returns the place of another one, or end; a
 * target with an escape that has not come in full is left at its "%". */
static const char *
scan(struct http_request *r, const char *p, const char *end, bool *waits)
{
    enum class class = parts[r->state].made_of;
    if (r->state == TARGET && r->form != HTTP_ORIGIN_FORM)
        class = URI;
    if (class != 0)
        p = skip(p, end, class);
    if (r->state == TARGET && p < end && *p == '%') {
        if (!may_be_escape(p, end))
            fail(r, 400, "bad-target");
        *waits = end - p < 3;
    }
    return p;
}

/* A part has ended before p: notes it, and where the next one begins. */
static void
note_part(struct http_request *r, const char *buf, uint32_t p)
{
    struct http_header *h = &r->headers[r->header_count];
    switch (r->state) {
    case METHOD:
        r->method.len = p - r->method.at;
        r->target.at = p + 1;
        break;
    case TARGET:
        r->target.len = p - r->target.at;
        break;
    case NAME:
        h->name.len = p - h->name.at;
        break;
    case VALUE:
        while (p > h->value.at && is_blank(buf[p - 1]))
            p--;
        h->value.len = p - h->value.at;
        break;
    case LINE_END:
        http_note_field(r, buf);
        r->header_count++;
        break;
    case HEAD_END:
        r->consumed = p + 1;
        break;
    }
}

/* A row of the table. Returns where to go on, NULL to wait or after a failure;
 * what was read is noted in r->pos. */
static const char *
read_part(struct http_request *r, const char *buf, const char *p,
          const char *end)
{
    const struct part *part = &parts[r->state];
    bool waits = false;
    p = scan(r, p, end, &waits);
    uint32_t at = (uint32_t)(p - buf);
    r->pos = at;
    if (too_long(r, at) || p == end || waits)
        return NULL;
    char c = *p;
    if (r->state == TARGET && c == '%')
        return p + 3;
    bool is_empty =
        part->made_of != 0 && part->made_of != TEXT && at == start_of(r);
    if (c != part->end || is_empty)
        return fail(r, 400, part->wrong);
    note_part(r, buf, at);
    if (r->state == FAILED)
        return NULL;
    r->state = (int)part->then;
    return p + 1;
}

static const char *
read_version(struct http_request *r, const char *buf, const char *p,
             const char *end)
{
    static const char form[] = "HTTP/d.d\r\n";
    const char *start = buf + r->target.at + r->target.len + 1;
    for (; p < end && p - start < 10; p++) {
        char want = form[p - start];
        if (want == 'd' ? !is(*p, DIGIT) : *p != want)
            return fail(r, 400, "bad-version");
    }
    r->pos = (uint32_t)(p - buf);
    if (p - start < 10)
        return NULL;
    if (start[5] != '1')
        return fail(r, 505, "version-not-supported");
    r->minor_version = start[7] - '0';
    if (!http_is_target(r, buf))
        return fail(r, 400, "bad-target");
    r->state = LINE;
    return p;
}

/* States that a byte decides about without being part of what they read. */
static const char *
look(struct http_request *r, const char *buf, const char *p, const char *end)
{
    uint32_t at = (uint32_t)(p - buf);
    struct http_header *h = &r->headers[r->header_count];
    r->pos = at;
    if (p == end)
        return NULL;
    char c = *p;
    if (r->state == EMPTY_LINE) {
        if (at == 0 && c == '\r')
            return p + 1;
        if (at == 1 && c != '\n')
            return fail(r, 400, "bare-cr");
        r->method.at = at == 1 ? 2 : 0;
        r->state = METHOD;
        return buf + r->method.at;
    }
    if (r->state == BLANKS) {
        h->value.at = at;
        if (!is_blank(c))
            r->state = VALUE;
        return is_blank(c) ? p + 1 : p;
    }
    if (c == '\r') {
        r->state = HEAD_END;
        return p + 1;
    }
    if (is_blank(c))
        return fail(r, 400, "folded-line");
    if (r->header_count == r->limits->headers ||
        r->header_count == HTTP_MAX_HEADERS)
        return fail(r, 431, "too-many-headers");
    h->name.at = at;
    r->state = NAME;
    return p;
}

void
http_init(struct http_request *r, const struct http_limits *limits)
{
    r->path = r->host = (struct http_span){0, 0};
    r->content_length = 0;
    r->limits = limits;
    r->state = EMPTY_LINE;
    r->pos = 0;
    r->seen = 0;
    r->header_count = 0;
}

enum http_result
http_parse(struct http_request *r, const char *buf, size_t len)
{
    const char *p = buf + r->pos;
    const char *end = buf + (len < r->limits->head ? len : r->limits->head);
    while (p != NULL && r->state < DONE) {
        if (r->state == TARGET && p < end && p == buf + r->target.at)
            r->form = *p == '/' ? HTTP_ORIGIN_FORM : HTTP_ABSOLUTE_FORM;
        if (r->state == VERSION)
            p = read_version(r, buf, p, end);
        else if (r->state == EMPTY_LINE || r->state == LINE)
            p = look(r, buf, p, end);
        else if (r->state == BLANKS && !too_long(r, (uint32_t)(p - buf)))
            p = look(r, buf, p, end);
        else if (r->state != FAILED)
            p = read_part(r, buf, p, end);
        if (p != NULL && r->state == DONE)
            http_decide(r);
    }
    if (r->state == DONE)
        return HTTP_COMPLETE;
    if (r->state != FAILED && len >= r->limits->head)
        fail(r, 431, "head-too-large");
    return r->state == FAILED ? HTTP_ERROR : HTTP_NEED_MORE;
}
