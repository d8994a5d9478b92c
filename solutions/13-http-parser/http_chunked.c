/*
 * The decoder of chunked bodies: see http_chunked_next() in http_parser.h.
 *
 *   5;why="not" CR LF  hello CR LF  0 CR LF  Expires: never CR LF  CR LF
 *   size, extension    data         size     trailer section       end
 *
 * Content is handed out in one piece, as far as it has come. All around it is
 * read byte by byte: there is little of it, and one function says for each
 * state what the next byte leads to. What may not come leads to BROKEN.
 */
#include "http_internal.h"
#include "http_scan.h"

#include <stdio.h>  /* these two for the messages */
#include <stdlib.h> /* of what is not done yet    */

enum chunk_state {
    SIZE_START, /* the first digit                                      */
    SIZE,       /* more digits                                          */
    EXT_START,  /* behind ";"                                           */
    EXT_NAME,
    EXT_NAME_END,    /* white space behind the name: "=" or ";" must come  */
    EXT_VALUE_START, /* behind "="                                      */
    EXT_VALUE,       /* a token                                         */
    EXT_QUOTED,      /* in a quoted string                              */
    EXT_ESCAPED,     /* in there, behind a backslash                    */
    EXT_QUOTED_END,  /* behind the second quotation mark                */
    EXT_END,         /* white space behind size or value: ";" must come */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* the first byte of a line                          */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    ENDED,
    BROKEN,
};

void
http_chunked_init(struct http_chunked *c, const struct http_limits *limits)
{
    *c = (struct http_chunked){.limits = limits, .state = SIZE_START};
}

static enum chunk_state
chunk_fail(struct http_chunked *c, int status, const char *reason)
{
    c->status = status;
    c->reason = reason;
    return BROKEN;
}

/* What is wrong if a byte does not fit in this state. */
static const char *
chunk_reason(enum chunk_state state)
{
    if (state <= SIZE)
        return "bad-chunk-size";
    if (state < SIZE_LF)
        return "bad-chunk-extension";
    if (state == SIZE_LF)
        return "bare-cr";
    return state < TRAILER_START ? "bad-chunk-end" : "bad-trailer";
}

/* Counts a byte that is no content. Without a limit a client could send a
 * gigabyte of them with one byte of content. */
static bool
too_much_extra(struct http_chunked *c)
{
    bool trailer = c->state >= TRAILER_START;
    uint32_t most = trailer ? c->limits->head : c->limits->line;
    if (++c->extras <= most)
        return false;
    if (trailer)
        chunk_fail(c, 431, "trailer-too-large");
    else
        chunk_fail(c, 413, "chunk-extensions-too-large");
    return true;
}

/* What may follow a size, the name or the value of an extension. */
static enum chunk_state
after_extension(enum chunk_state blank, char ch)
{
    if (is_blank(ch))
        return blank;
    return ch == ';' ? EXT_START : ch == '\r' ? SIZE_LF : BROKEN;
}

/* TODO 11: read extensions and trailer fields.
 * extension_byte(): ;name, ;name=token or ;name="quoted string", as often as
 * they come. White space may stand in front of ";" and on both sides of "=", an
 * old mistake that has to be accepted; at the end of the line it may not. In a
 * quoted string, TEXT except for its two special bytes.
 * trailer_byte(): lines as in the head, up to the empty one.
 * STUB: static enum chunk_state
 * STUB: extension_byte(enum chunk_state state, char ch)
 * STUB: {
 * STUB:     (void)state;
 * STUB:     (void)ch;
 * STUB:     return BROKEN;
 * STUB: }
 * STUB:
 * STUB: static enum chunk_state
 * STUB: trailer_byte(enum chunk_state state, char ch)
 * STUB: {
 * STUB:     if (state == TRAILER_START)
 * STUB:         return ch == '\r' ? LAST_LF : BROKEN;
 * STUB:     return ch == '\n' ? ENDED : BROKEN;
 * STUB: }
 */
static enum chunk_state
extension_byte(enum chunk_state state, char ch)
{
    bool token = is(ch, TOKEN), text = is(ch, TEXT);
    switch (state) {
    case EXT_START:
        return token ? EXT_NAME : is_blank(ch) ? EXT_START : BROKEN;
    case EXT_NAME:
        if (token || ch == '=')
            return token ? EXT_NAME : EXT_VALUE_START;
        return after_extension(EXT_NAME_END, ch);
    case EXT_NAME_END:
        if (ch == '=')
            return EXT_VALUE_START;
        return ch == '\r' ? BROKEN : after_extension(EXT_NAME_END, ch);
    case EXT_VALUE_START:
        if (ch == '"' || is_blank(ch))
            return ch == '"' ? EXT_QUOTED : EXT_VALUE_START;
        return token ? EXT_VALUE : BROKEN;
    case EXT_VALUE:
        return token ? EXT_VALUE : after_extension(EXT_END, ch);
    case EXT_QUOTED:
        if (ch == '"' || ch == '\\')
            return ch == '"' ? EXT_QUOTED_END : EXT_ESCAPED;
        return text ? EXT_QUOTED : BROKEN;
    case EXT_ESCAPED:
        return text ? EXT_QUOTED : BROKEN;
    case EXT_QUOTED_END:
        return after_extension(EXT_END, ch);
    default: /* EXT_END */
        return ch == '\r' ? BROKEN : after_extension(EXT_END, ch);
    }
}

/* The fields behind the last chunk are dropped, because they could forge what
 * the head has said. But a line must be a line. */
static enum chunk_state
trailer_byte(enum chunk_state state, char ch)
{
    switch (state) {
    case TRAILER_START:
        return ch == '\r' ? LAST_LF : is(ch, TOKEN) ? TRAILER_NAME : BROKEN;
    case TRAILER_NAME:
        if (is(ch, TOKEN))
            return TRAILER_NAME;
        return ch == ':' ? TRAILER_VALUE : BROKEN;
    case TRAILER_VALUE:
        if (is(ch, TEXT))
            return TRAILER_VALUE;
        return ch == '\r' ? TRAILER_LF : BROKEN;
    case TRAILER_LF:
        return ch == '\n' ? TRAILER_START : BROKEN;
    default: /* LAST_LF */
        return ch == '\n' ? ENDED : BROKEN;
    }
}
/* END TODO 11 */

/* TODO 10: take a chunked body apart.
 * The size is hexadecimal, at least one digit; what may follow it tells
 * after_extension(). With the content before it, it may not be above
 * limits->body: 413 "body-too-large"; it must not overflow either. Zeros in
 * front count as too_much_extra(), and so do all bytes of extensions and
 * trailer; for the trailer the count begins anew. Then CR LF, the content (a
 * piece for each call), CR LF, and the next size; after the size 0 comes the
 * trailer section. What leads to BROKEN and has no status yet is 400 with
 * chunk_reason().
 * STUB: enum http_result
 * STUB: http_chunked_next(struct http_chunked *c, const char *buf, size_t len,
 * STUB:                   size_t *used, struct http_span *content)
 * STUB: {
 * STUB:     (void)c;
 * STUB:     (void)buf;
 * STUB:     (void)len;
 * STUB:     (void)used;
 * STUB:     (void)content;
 * STUB:     (void)chunk_fail;
 * STUB:     (void)chunk_reason;
 * STUB:     (void)too_much_extra;
 * STUB:     (void)after_extension;
 * STUB:     (void)extension_byte;
 * STUB:     (void)trailer_byte;
 * STUB: todo
 * STUB: }
 */
/* One digit more, or the end of the number. */
static enum chunk_state
size_byte(struct http_chunked *c, char ch)
{
    if (!is(ch, HEX))
        return c->state == SIZE ? after_extension(EXT_END, ch) : BROKEN;
    if (c->state == SIZE && c->left == 0 && too_much_extra(c))
        return BROKEN; /* zeros in front are bytes that cost nothing */
    unsigned digit =
        (unsigned)(is(ch, DIGIT) ? ch - '0' : (ch | 0x20) - 'a' + 10);
    uint64_t most = c->limits->body - c->total;
    if (c->left > UINT64_MAX >> 4 || (c->left << 4 | digit) > most)
        return chunk_fail(c, 413, "body-too-large");
    c->left = c->left << 4 | digit;
    return SIZE;
}

static enum chunk_state
size_line_end(struct http_chunked *c, char ch)
{
    if (ch != '\n')
        return BROKEN;
    c->total += c->left;
    if (c->left > 0)
        return DATA;
    c->extras = 0; /* from now on, those of the trailer section */
    return TRAILER_START;
}

/* What a byte leads to, unless it is content. */
static enum chunk_state
chunk_byte(struct http_chunked *c, char ch)
{
    switch ((enum chunk_state)c->state) {
    case SIZE_START:
    case SIZE:
        return size_byte(c, ch);
    case SIZE_LF:
        return size_line_end(c, ch);
    case DATA_CR:
        return ch == '\r' ? DATA_LF : BROKEN;
    case DATA_LF:
        return ch == '\n' ? SIZE_START : BROKEN;
    default:
        if (too_much_extra(c))
            return BROKEN;
        return c->state < SIZE_LF ? extension_byte(c->state, ch)
                                  : trailer_byte(c->state, ch);
    }
}

enum http_result
http_chunked_next(struct http_chunked *c, const char *buf, size_t len,
                  size_t *used, struct http_span *content)
{
    size_t i = 0;
    while (i < len && c->state < ENDED) {
        if (c->state == DATA) {
            size_t n = c->left < len - i ? (size_t)c->left : len - i;
            *content = span(buf, buf + i, buf + i + n);
            *used = i + n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            return HTTP_CONTENT;
        }
        enum chunk_state next = chunk_byte(c, buf[i++]);
        if (next == BROKEN && c->status == 0)
            chunk_fail(c, 400, chunk_reason(c->state));
        c->state = (int)next;
    }
    *used = i;
    return c->state == ENDED    ? HTTP_COMPLETE
           : c->state == BROKEN ? HTTP_ERROR
                                : HTTP_NEED_MORE;
}
/* END TODO 10 */
