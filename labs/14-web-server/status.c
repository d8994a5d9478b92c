/*
 * The statuses that this server answers with.
 *
 * The pages are made once, when the process starts: an error must not be a
 * reason to wait for a disk, or for memory.
 */
#include "status.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    int status;
    const char *text;
    const char *reason; /* a sentence for the reader of the page */
} statuses[] = {
    {200, "200 OK", ""},
    {206, "206 Partial Content", ""},
    {301, "301 Moved Permanently",
     "The page is at the same address with a slash at its end."},
    {304, "304 Not Modified", ""},
    {400, "400 Bad Request", "The request is not HTTP as the standard has it."},
    {403, "403 Forbidden", "This may not be read."},
    {404, "404 Not Found", "There is nothing at this address."},
    {405, "405 Method Not Allowed", "The files of this site can only be read."},
    {408, "408 Request Timeout", "The request did not arrive in time."},
    {412, "412 Precondition Failed", "The file is not what you take it for."},
    {413, "413 Content Too Large", "The body of the request is too large."},
    {414, "414 URI Too Long", "The address is too long."},
    {416, "416 Range Not Satisfiable", "The file has no such bytes."},
    {431, "431 Request Header Fields Too Large",
     "The head of the request is too large."},
    {500, "500 Internal Server Error", "The server could not read the file."},
    {501, "501 Not Implemented", "The server does not know how to do this."},
    {503, "503 Service Unavailable", "The server is busy. Try again soon."},
    {505, "505 HTTP Version Not Supported",
     "The server speaks HTTP/1.1 and HTTP/1.0."},
};

enum { STATUSES = sizeof statuses / sizeof statuses[0] };

static struct page {
    char *text;
    size_t length;
} pages[STATUSES];

static size_t
index_of(int status)
{
    size_t i = 0;
    while (i < STATUSES - 1 && statuses[i].status != status)
        i++;
    return i;
}

/* --- pages ---------------------------------------------------------------- */

static bool
read_page(const struct root *root, const char *name, struct page *p)
{
    struct file f;
    if (file_open(root, name, &f) != 200)
        return false;
    size_t n = (size_t)f.version.size;
    p->text = n <= STATUS_PAGE_MAX ? malloc(n + 1) : NULL;
    p->length = n;
    bool read = p->text && file_read(f.fd, p->text, n, 0);
    close(f.fd);
    if (!read) {
        warnx("%s: not taken: larger than %d bytes, or not readable", name,
              STATUS_PAGE_MAX);
        free(p->text);
    }
    return read;
}

static void
write_page(size_t i, struct page *p)
{
    int n = asprintf(&p->text,
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
    if (n < 0)
        err(1, "start");
    p->length = (size_t)n;
}

void
status_load_pages(const struct root *root)
{
    for (size_t i = 0; i < STATUSES; i++) {
        char name[32];
        snprintf(name, sizeof name, "errors/%d.html", statuses[i].status);
        if (statuses[i].status < 400 || !read_page(root, name, &pages[i]))
            write_page(i, &pages[i]);
    }
}

/* --- the calls ------------------------------------------------------------ */

const char *
status_text(int status)
{
    return statuses[index_of(status)].text;
}

const char *
status_page(int status, size_t *length)
{
    const struct page *p = &pages[index_of(status)];
    *length = p->length;
    return p->text;
}
