/*
 * The head of an answer, as bytes.
 *
 * It is written once for every request, so there is no printf() here: known
 * texts are copied one after another into the output buffer of the connection.
 */
#include "response.h"

#include <stdio.h>
#include <string.h>

enum {
    PAGE_SIZE = 1024, /* a page about an error with its final 0 */
};

static const struct {
    int status;
    const char *text;
    const char *reason; /* a sentence for the reader of the page */
} statuses[] = {
    {200, "200 OK", ""},
    {301, "301 Moved Permanently",
     "The page is at the same address with a "
     "slash at its end."},
    {400, "400 Bad Request", "The request is not HTTP as the standard has it."},
    {403, "403 Forbidden", "This may not be read."},
    {404, "404 Not Found", "There is nothing at this address."},
    {405, "405 Method Not Allowed", "The files of this site can only be read."},
    {408, "408 Request Timeout", "The request did not arrive in time."},
    {413, "413 Content Too Large", "The body of the request is too large."},
    {414, "414 URI Too Long", "The address is too long."},
    {431, "431 Request Header Fields Too Large",
     "The head of the request is too large."},
    {500, "500 Internal Server Error", "The server could not read the file."},
    {501, "501 Not Implemented", "The server does not know how to do this."},
    {503, "503 Service Unavailable", "The server is busy. Try again soon."},
    {505, "505 HTTP Version Not Supported",
     "The server speaks HTTP/1.1 and HTTP/1.0."},
};

/* Where the next byte goes, and where there is no more room. */
struct out {
    char *at;
    char *end;
    bool full; /* something did not fit: the answer is incomplete */
};

static void
put_bytes(struct out *o, const char *bytes, size_t n)
{
    if (n > (size_t)(o->end - o->at)) {
        o->full = true;
        return;
    }
    memcpy(o->at, bytes, n);
    o->at += n;
}

static void
put(struct out *o, const char *text)
{
    put_bytes(o, text, strlen(text));
}

static void
put_number(struct out *o, unsigned long long n)
{
    char digits[20];
    size_t i = sizeof digits;
    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    put_bytes(o, digits + i, sizeof digits - i);
}

static void
two_digits(char *p, int n)
{
    p[0] = (char)('0' + n / 10 % 10);
    p[1] = (char)('0' + n % 10);
}

/* Not strftime(): the names of the days must not depend on a locale. */
static void
write_date(time_t t, char out[DATE_SIZE])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {.tm_mday = 1};
    gmtime_r(&t, &tm);
    int year = tm.tm_year + 1900;
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", DATE_SIZE);
    memcpy(out, days + 3 * tm.tm_wday, 3);
    two_digits(out + 5, tm.tm_mday);
    memcpy(out + 8, months + 3 * tm.tm_mon, 3);
    two_digits(out + 12, year / 100);
    two_digits(out + 14, year);
    two_digits(out + 17, tm.tm_hour);
    two_digits(out + 20, tm.tm_min);
    two_digits(out + 23, tm.tm_sec);
}

void
date_update(struct date *date)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    if (t.tv_sec == date->seconds)
        return;
    date->seconds = t.tv_sec;
    write_date(t.tv_sec, date->text);
}

static size_t
index_of(int status)
{
    size_t i = 0;
    while (i < sizeof statuses / sizeof statuses[0] - 1 &&
           statuses[i].status != status)
        i++;
    return i;
}

/* The page about an error. Returns its length. */
static size_t
write_page(int status, char page[PAGE_SIZE])
{
    size_t i = index_of(status);
    int n = snprintf(page, PAGE_SIZE,
                     "<!doctype html>\n"
                     "<html lang=\"en\">\n"
                     "<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width\">\n"
                     "<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<title>%s</title>\n"
                     "<body style=\"font: 1.1rem/1.5 system-ui, sans-serif; "
                     "max-width: 32em; margin: 20vh auto; padding: 0 1em\">\n"
                     "<h1>%s</h1>\n"
                     "<p>%s\n",
                     statuses[i].text, statuses[i].text, statuses[i].reason);
    return (size_t)n;
}

/* Made from the clean path, never from what the client wrote: "//other.site/.."
 * would send the reader there. */
static void
put_location(struct out *o, const struct answer *a)
{
    char path[3 * PATH_LIMIT];
    put(o, "\r\nLocation: /");
    put_bytes(o, path, path_encode(a->path, strlen(a->path), path));
    put(o, "/");
    put_bytes(o, a->query, a->query_length);
}

static void
put_file_fields(struct out *o, const struct answer *a, const struct date *now)
{
    /* A file from the future was modified now: a client that stores the later
     * date would take its copy for fresh too long (RFC 9110, 8.8.2.1). */
    char modified[DATE_SIZE];
    write_date(a->file.modified < now->seconds ? a->file.modified
                                               : now->seconds,
               modified);
    put(o, "\r\nContent-Type: ");
    put(o, a->file.type);
    put(o, "\r\nLast-Modified: ");
    put(o, modified);
    put(o, "\r\nContent-Length: ");
    put_number(o, (unsigned long long)a->file.size);
}

/* Returns the length of the page, which is the same for GET and HEAD. */
static void
put_page_fields(struct out *o, const struct answer *a, size_t length)
{
    put(o, "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: ");
    put_number(o, length);
    if (a->status == 301)
        put_location(o, a);
    if (a->status == 405)
        put(o, "\r\nAllow: GET, HEAD");
}

size_t
response_head(const struct answer *a, const struct date *now, char *out,
              size_t room)
{
    /* TODO 4: write the head of an answer.
     * The status line; Date; what put_file_fields() or put_page_fields() add,
     * which is how the client knows where the body ends; "Connection: close"
     * if this is the last answer, and "Connection: keep-alive" if it is not
     * but the client is an old one; an empty line. Then the page, if this is
     * about an error and not for HEAD. Lines end with "\r\n". The stub says as
     * little as the standard allows; the client has to wait for the end of
     * the connection to know that it has everything.
     */
    (void)now;
    (void)write_page;
    (void)put_file_fields;
    (void)put_page_fields;
    struct out o = {out, out + room, false};
    put(&o, "HTTP/1.1 ");
    put(&o, statuses[index_of(a->status)].text);
    put(&o, "\r\nConnection: close\r\n\r\n");
    return (size_t)(o.at - out);
}
