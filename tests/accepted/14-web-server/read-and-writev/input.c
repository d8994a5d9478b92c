/*
 * Another way: read() in place of recv(), and bytes move to the front of the
 * buffer only when the room behind them would not do for the largest head. The
 * body is passed over in a loop of its own, which is the same for both kinds.
 */
#include "input.h"
#include "request.h"

#include <string.h>
#include <unistd.h>

static const struct http_limits limits = {TARGET_MAX, TARGET_MAX,
                                          HTTP_MAX_HEADERS, HEAD_MAX, BODY_MAX};

static void
await_head(struct input *in)
{
    in->taken = 0;
    http_init(&in->request, &limits);
}

void
input_init(struct input *in)
{
    in->start = in->end = 0;
    await_head(in);
}

ssize_t
input_receive(struct input *in, int fd)
{
    if (in->start == in->end || INPUT_SIZE - in->start <= HEAD_MAX) {
        memmove(in->buf, in->buf + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    ssize_t n = read(fd, in->buf + in->end, INPUT_SIZE - in->end);
    in->end += n > 0 ? (size_t)n : 0;
    return n;
}

/* How many of the n bytes belong to the body; *result: is it over? */
static size_t
measure(struct input *in, const char *bytes, size_t n, enum http_result *result)
{
    size_t used = 0, part;
    struct http_span content;
    *result = HTTP_COMPLETE;
    if (in->request.body == HTTP_BODY_NONE)
        return 0;
    if (in->request.body == HTTP_BODY_LENGTH) {
        if (in->body_left > n)
            *result = HTTP_NEED_MORE;
        used = *result == HTTP_COMPLETE ? (size_t)in->body_left : n;
        in->body_left -= used;
        return used;
    }
    do {
        *result = http_chunked_next(&in->chunked, bytes + used, n - used, &part,
                                    &content);
        used += part;
    } while (*result == HTTP_CONTENT);
    return used;
}

static int
take_body(struct input *in)
{
    enum http_result result;
    size_t body = in->start + in->taken;
    size_t used = measure(in, in->buf + body, in->end - body, &result);
    if (result == HTTP_ERROR)
        return in->chunked.status;
    if (result == HTTP_COMPLETE) {
        in->taken += used;
        return 200;
    }
    in->end = body; /* what has come of it makes room for its rest */
    return 0;
}

int
input_next(struct input *in)
{
    const char *buf = in->buf + in->start;
    if (in->start == in->end)
        return 0;
    if (in->taken > 0)
        return take_body(in);
    switch (http_parse(&in->request, buf, in->end - in->start)) {
    case HTTP_COMPLETE:
        in->taken = in->request.consumed;
        in->body_left = in->request.content_length;
        http_chunked_init(&in->chunked, &limits);
        return request_waits(&in->request, buf) ? 200 : take_body(in);
    case HTTP_ERROR:
        return in->request.status;
    default:
        return 0;
    }
}

void
input_drop(struct input *in)
{
    in->start += in->taken;
    await_head(in);
}
