/*
 * Between the path in a request and the name of a file: text only.
 *
 * "/../etc/passwd" must not leave the root, nor must "/%2e%2e/etc/passwd",
 * which is the same path. So the order matters: first decode, then look for
 * dots. And decode once: what has been decoded is a name, and a name may well
 * contain a '%'. A server that decodes twice lets "%252e%252e" through.
 */
#include "path.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20; /* to lower case */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes one byte of the path, or the three of a %XX. Returns what it stands
 * for, or -1 if it stands for nothing that may be in a name. */
static int
next_byte(const char **p, const char *end)
{
    if (**p != '%')
        return (unsigned char)*(*p)++;
    if (end - *p < 3)
        return -1;
    int high = hex_digit((*p)[1]), low = hex_digit((*p)[2]);
    *p += 3;
    if (high < 0 || low < 0)
        return -1;
    /* A 0 would end the name early: "/secret%00.html". */
    return high + low == 0 ? -1 : high * 16 + low;
}

/* The length of a clean path without its last segment: "a/b/" becomes "a/". */
static size_t
parent(const char *path, size_t len)
{
    do
        len--;
    while (len > 0 && path[len - 1] != '/');
    return len;
}

/* Names that begin with a dot are hidden: .git, .htpasswd, .env. The exception
 * is the folder that RFC 8615 sets aside for everybody. */
static bool
is_hidden(const char *name, size_t n)
{
    static const char public[] = ".well-known";
    return name[0] == '.' &&
           !(n == sizeof public - 1 && memcmp(name, public, n) == 0);
}

/* The bytes of path from `start` to *len are a new segment, and those before
 * are clean: whole segments, each followed by '/'. Ends the new one, with a '/'
 * if there was one. Returns 200 or the status to answer. */
static int
end_segment(char *path, size_t start, size_t *len, bool slash)
{
    const char *name = path + start;
    size_t n = *len - start;

    if (n == 0 || (n == 1 && name[0] == '.')) { /* "//" and "/./" mean "/" */
        *len = start;
        return 200;
    }
    if (n == 2 && name[0] == '.' && name[1] == '.') {
        if (start == 0)
            return 400; /* above the root there is nothing to ask for */
        *len = parent(path, start);
        return 200;
    }
    if (is_hidden(name, n))
        return 404;
    if (slash)
        path[(*len)++] = '/';
    return 200;
}

int
path_resolve(const char *target, size_t n, char path[PATH_LIMIT])
{
    /* TODO 1: turn the path of a request into the name of a file.
     * Go through it once, from left to right. next_byte() decodes; what comes
     * out is never decoded again: "%252e" is the name "%2e". A '/' ends a
     * segment, and end_segment() then takes "." and ".." away; as it sees
     * decoded bytes, "%2e%2e" is caught too. "%2f" is not a separator, and no
     * name contains a slash: 404. The last segment ends with the path. A path
     * that does not fit is 404 as well: no file can have it.
     */
    (void)target;
    (void)n;
    (void)path;
    (void)next_byte;
    (void)end_segment;
    fputs("TODO 1 is not done: "
          "turn the path of a request into the name of a file\n"
          "(labs/14-web-server/path.c; read handouts/14-web-server.md)\n",
          stderr);
    exit(3);
}

size_t
path_encode(const char *path, size_t n, char *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789/-._~";
    static const char hex[] = "0123456789ABCDEF";
    char *start = out;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)path[i];
        if (strchr(plain, byte) && byte != '\0') {
            *out++ = (char)byte;
        } else {
            *out++ = '%';
            *out++ = hex[byte / 16];
            *out++ = hex[byte % 16];
        }
    }
    return (size_t)(out - start);
}
