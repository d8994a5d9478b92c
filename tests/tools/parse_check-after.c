/*
 * For parse_check: what comes after the verdict. It is final, the next request
 * begins with nothing, and what was found can be looked up.
 */
#include "parse_check.h"

#include <stdio.h>
#include <string.h>

static void
must(bool holds, const char *how, const char *expected)
{
    static struct test_case c;
    if (holds)
        return;
    doing.now = &c;
    doing.expected = &c.expected;
    snprintf(doing.how, sizeof doing.how, "%s", how);
    text_printf(&c.expected, "%s\n", expected);
    complain("it is not so");
}

int
run_final(void)
{
    static const char two[] = "PUT /a HTTP/1.1\r\nHost: x\r\n"
                              "Content-Length: 3\r\n\r\nabc"
                              "GET /b HTTP/1.1\r\nHost: y\r\n\r\n";
    static const char bad[] = "GET\r\n\r\n";
    struct http_request r;
    http_init(&r, &http_default_limits);
    must(http_parse(&r, two, sizeof two - 1) == HTTP_COMPLETE &&
             http_parse(&r, two, sizeof two - 1) == HTTP_COMPLETE &&
             r.header_count == 2,
         "call http_parse() again after HTTP_COMPLETE", "the same again");
    const char *next = two + r.consumed + r.content_length;
    http_init(&r, &http_default_limits);
    must(http_parse(&r, next, (size_t)(two + sizeof two - 1 - next)) ==
                 HTTP_COMPLETE &&
             http_is(next, r.method, "GET") && http_is(next, r.target, "/b") &&
             r.header_count == 1 && r.content_length == 0 &&
             r.body == HTTP_BODY_NONE,
         "parse the second of two requests, behind the body of the first",
         "complete, with nothing left of the first request");
    http_init(&r, &http_default_limits);
    must(http_parse(&r, bad, sizeof bad - 1) == HTTP_ERROR &&
             http_parse(&r, bad, sizeof bad - 1) == HTTP_ERROR &&
             r.status == 400,
         "call http_parse() again after HTTP_ERROR", "the same again");
    return 0;
}

/* Which host counts, and where the path begins. */
static void
check_target(const char *request, const char *host, const char *path)
{
    struct http_request r;
    char how[96];
    snprintf(how, sizeof how, "parse %s", request);
    how[strcspn(how, "\r")] = '\0';
    http_init(&r, &http_default_limits);
    must(http_parse(&r, request, strlen(request)) == HTTP_COMPLETE, how,
         "complete");
    must(http_is(request, r.host, host), how, "r.host is set as promised");
    must(http_is(request, r.path, path), how, "r.path is set as promised");
}

int
run_lookup(void)
{
    static const char buf[] = "GET / HTTP/1.0\r\nAccept: a\r\nX-Y: b\r\n"
                              "aCCEPT: c\r\n\r\n";
    struct http_request r;
    http_init(&r, &http_default_limits);
    must(http_parse(&r, buf, sizeof buf - 1) == HTTP_COMPLETE, "parse a head",
         "complete");
    const struct http_header *h = http_find(&r, buf, "accept", NULL);
    must(h == &r.headers[0], "http_find() \"accept\"", "the first of two");
    h = http_find(&r, buf, "accept", h);
    must(h == &r.headers[2], "http_find() \"accept\" behind it", "the second");
    must(!http_find(&r, buf, "accept", h), "http_find() once more", "NULL");
    must(!http_find(&r, buf, "acce", NULL), "http_find() \"acce\"", "NULL");
    must(http_is(buf, r.method, "GET") && !http_is(buf, r.method, "GE") &&
             !http_is(buf, r.method, "GETS") && !http_is(buf, r.method, "get"),
         "http_is() the method GET", "it is GET, not GE, GETS or get");
    must(http_is_nocase(buf, r.method, "gEt") &&
             !http_is_nocase(buf, r.method, "gets"),
         "http_is_nocase() the method GET", "it is gEt, not gets");
    check_target("GET http://h:1/p?q HTTP/1.1\r\nHost: other\r\n\r\n", "h:1",
                 "/p?q");
    check_target("GET http://h?q HTTP/1.0\r\n\r\n", "h", "?q");
    check_target("GET http://h HTTP/1.0\r\n\r\n", "h", "");
    check_target("GET /p?q HTTP/1.1\r\nHost: other\r\n\r\n", "other", "/p?q");
    check_target("GET /p HTTP/1.0\r\n\r\n", "", "/p");
    check_target("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "x", "");
    check_target("CONNECT h:1 HTTP/1.1\r\nHost: other\r\n\r\n", "h:1", "");
    return 0;
}
