/*
 * What is to be answered to a request.
 *
 * Everything here is about one request that has come completely; connections
 * and their troubles are elsewhere. Status 200 means that the file is open.
 */
#include "request.h"
#include "path.h"

#include <string.h>

/* Methods that exist but cannot be used on files that are only read. */
static const char *const not_allowed[] = {
    "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
};

/* 200 for GET and HEAD; 405 is about this site, 501 about this server. */
static int
check_method(const struct http_request *r, const char *buf)
{
    if (http_is(buf, r->method, "GET") || http_is(buf, r->method, "HEAD"))
        return 200;
    for (size_t i = 0; i < sizeof not_allowed / sizeof not_allowed[0]; i++)
        if (http_is(buf, r->method, not_allowed[i]))
            return 405;
    return 501;
}

/* Opens what the target of the request names. Returns 200 or a status. */
static int
find_file(const struct http_request *r, const char *buf,
          const struct root *root, struct answer *a)
{
    const char *path = buf + r->path.at;
    const char *query = memchr(path, '?', r->path.len);
    size_t n = query ? (size_t)(query - path) : r->path.len;
    a->query = path + n;
    a->query_length = r->path.len - n;

    int status = path_resolve(path, n, a->path);
    return status == 200 ? file_open(root, a->path, &a->file) : status;
}

bool
request_waits(const struct http_request *r, const char *buf)
{
    const struct http_header *h;
    if (r->body == HTTP_BODY_NONE || r->minor_version == 0)
        return false;
    h = http_find(r, buf, "Expect", NULL);
    return h && http_is_nocase(buf, h->value, "100-continue");
}

void
request_answer(const struct http_request *r, const char *buf,
               const struct root *root, struct answer *a)
{
    a->head_only = false;
    a->keep_alive = r->keep_alive;
    a->old_client = r->minor_version == 0;
    a->file.fd = -1;
    /* TODO 6: decide what a request gets.
     * check_method() first, and only then find_file(): a POST must not open
     * anything. HEAD gets the head that GET would get, and no body. Two
     * answers end the connection: the one to a client that waits before it
     * sends its body (request_waits(); with the final answer it need not send
     * it), and 503, because a closed connection gives its descriptor back.
     * The stub takes every method for GET.
     */
    (void)check_method;
    a->status = find_file(r, buf, root, a);
}

void
request_refuse(int status, const char *buf, size_t len, struct answer *a)
{
    a->status = status;
    a->head_only = len >= 5 && memcmp(buf, "HEAD ", 5) == 0;
    a->keep_alive = false;
    a->old_client = false;
    a->file.fd = -1;
}
