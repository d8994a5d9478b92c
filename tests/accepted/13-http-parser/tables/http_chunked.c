/*
 * Another way: a table of states and kinds of bytes, both for extensions and for
 * the trailer. A row is written as it is read: with this kind of byte go there.
 * Whatever is not in a row is an error.
 */
#include "http_internal.h"
#include "http_scan.h"

enum chunk_state {
    BROKEN,
    SIZE_START,
    SIZE,
    EXT_START,
    EXT_NAME,
    EXT_NAME_END,
    EXT_VALUE_START,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_END,
    EXT_END_BLANK,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    ENDED,
};

enum kind {
    LETTER,
    OTHER,
    BLANK,
    SEMI,
    EQUAL,
    QUOTE,
    SLASH,
    COLON,
    CR,
    LF,
    BAD
};

static enum kind
kind_of(char c)
{
    static const char special[] = " \t;=\"\\:\r\n";
    static const unsigned char kinds[] = {BLANK, BLANK, SEMI, EQUAL, QUOTE,
                                          SLASH, COLON, CR,   LF};
    const char *found = c == '\0' ? NULL : strchr(special, c);
    if (found != NULL)
        return kinds[found - special];
    return is(c, TOKEN) ? LETTER : is(c, TEXT) ? OTHER : BAD;
}

#define ANY_TEXT(state)                                                        \
    [LETTER] = (state), [OTHER] = (state), [BLANK] = (state),                  \
    [SEMI] = (state), [EQUAL] = (state), [COLON] = (state)

/* clang-format off */
static const unsigned char next[][BAD + 1] = {
    [EXT_START] = {[LETTER] = EXT_NAME, [BLANK] = EXT_START},
    [EXT_NAME] = {[LETTER] = EXT_NAME, [BLANK] = EXT_NAME_END,
        [SEMI] = EXT_START, [EQUAL] = EXT_VALUE_START, [CR] = SIZE_LF},
    [EXT_NAME_END] = {[BLANK] = EXT_NAME_END, [SEMI] = EXT_START,
        [EQUAL] = EXT_VALUE_START},
    [EXT_VALUE_START] = {[LETTER] = EXT_VALUE, [BLANK] = EXT_VALUE_START,
        [QUOTE] = EXT_QUOTED},
    [EXT_VALUE] = {[LETTER] = EXT_VALUE, [BLANK] = EXT_END_BLANK,
        [SEMI] = EXT_START, [CR] = SIZE_LF},
    [EXT_QUOTED] = {ANY_TEXT(EXT_QUOTED), [QUOTE] = EXT_END,
        [SLASH] = EXT_ESCAPED},
    [EXT_ESCAPED] = {ANY_TEXT(EXT_QUOTED), [QUOTE] = EXT_QUOTED,
        [SLASH] = EXT_QUOTED},
    [EXT_END] = {[BLANK] = EXT_END_BLANK, [SEMI] = EXT_START, [CR] = SIZE_LF},
    [EXT_END_BLANK] = {[BLANK] = EXT_END_BLANK, [SEMI] = EXT_START},
    [DATA_CR] = {[CR] = DATA_LF},
    [DATA_LF] = {[LF] = SIZE_START},
    [TRAILER_START] = {[LETTER] = TRAILER_NAME, [CR] = LAST_LF},
    [TRAILER_NAME] = {[LETTER] = TRAILER_NAME, [COLON] = TRAILER_VALUE},
    [TRAILER_VALUE] = {ANY_TEXT(TRAILER_VALUE), [QUOTE] = TRAILER_VALUE,
        [SLASH] = TRAILER_VALUE, [CR] = TRAILER_LF},
    [TRAILER_LF] = {[LF] = TRAILER_START},
    [LAST_LF] = {[LF] = ENDED},
};
/* clang-format on */

static const char *
wrong(int state)
{
    if (state <= SIZE)
        return "bad-chunk-size";
    if (state < SIZE_LF)
        return "bad-chunk-extension";
    if (state == SIZE_LF)
        return "bare-cr";
    return state < TRAILER_START ? "bad-chunk-end" : "bad-trailer";
}

static enum chunk_state
refuse(struct http_chunked *c, int status, const char *reason)
{
    c->status = status;
    c->reason = reason;
    return BROKEN;
}

/* A byte that brings no content, when there have been too many of these. */
static bool
is_one_too_many(struct http_chunked *c)
{
    if (c->state < TRAILER_START) {
        if (++c->extras > c->limits->line)
            refuse(c, 413, "chunk-extensions-too-large");
    } else if (++c->extras > c->limits->head) {
        refuse(c, 431, "trailer-too-large");
    }
    return c->status != 0;
}

static enum chunk_state
add_digit(struct http_chunked *c, char ch)
{
    uint64_t digit = (uint64_t)(is(ch, DIGIT) ? ch - '0' : (ch & 7) + 9);
    uint64_t most = c->limits->body - c->total;
    if (c->state == SIZE && c->left == 0 && is_one_too_many(c))
        return BROKEN;
    if (c->left > most / 16 || 16 * c->left + digit > most)
        return refuse(c, 413, "body-too-large");
    c->left = 16 * c->left + digit;
    return SIZE;
}

static enum chunk_state
step(struct http_chunked *c, char ch)
{
    int state = c->state;
    if (state <= SIZE && is(ch, HEX))
        return add_digit(c, ch);
    if (state == SIZE) /* it ends like the value of an extension */
        return next[EXT_END][kind_of(ch)];
    if (state == SIZE_LF && ch == '\n') {
        c->total += c->left;
        if (c->left > 0)
            return DATA;
        c->extras = 0;
        return TRAILER_START;
    }
    if (state == SIZE_START || state == SIZE_LF)
        return BROKEN;
    if (state != DATA_CR && state != DATA_LF && is_one_too_many(c))
        return BROKEN;
    return next[state][kind_of(ch)];
}

void
http_chunked_init(struct http_chunked *c, const struct http_limits *limits)
{
    *c = (struct http_chunked){.limits = limits, .state = SIZE_START};
}

enum http_result
http_chunked_next(struct http_chunked *c, const char *buf, size_t len,
                  size_t *used, struct http_span *content)
{
    *used = 0;
    while (*used < len && c->state != BROKEN && c->state != ENDED) {
        if (c->state == DATA) {
            size_t most = len - *used;
            size_t n = c->left < most ? (size_t)c->left : most;
            *content = (struct http_span){(uint32_t)*used, (uint32_t)n};
            *used += n;
            c->left -= n;
            c->state = c->left > 0 ? DATA : DATA_CR;
            return HTTP_CONTENT;
        }
        int before = c->state;
        c->state = (int)step(c, buf[(*used)++]);
        if (c->state == BROKEN && c->status == 0)
            refuse(c, 400, wrong(before));
    }
    if (c->state == BROKEN)
        return HTTP_ERROR;
    return c->state == ENDED ? HTTP_COMPLETE : HTTP_NEED_MORE;
}
