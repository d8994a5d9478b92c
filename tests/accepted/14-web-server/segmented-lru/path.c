/*
 * Another way: segment by segment. What is between two slashes is decoded as a
 * whole and then judged, and a stack says how long the name was before each of
 * the segments that it is made of: ".." takes the last one off.
 */
#include "path.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 404, TOO_LONG = 404, MALFORMED = 400, GOOD = 200 };

/* A byte as two digits; -1: they are none. */
static int
unhex(const char *p)
{
    static const char digits[] = "0123456789abcdef";
    int byte = 0;
    for (int i = 0; i < 2; i++) {
        char c = p[i] >= 'A' && p[i] <= 'F' ? (char)(p[i] + 32) : p[i];
        const char *digit = c == '\0' ? NULL : strchr(digits, c);
        if (digit == NULL)
            return -1;
        byte = 16 * byte + (int)(digit - digits);
    }
    return byte;
}

/* Decodes [p, end), which has no slash, to name[0] ... Returns a status. */
static int
decode(const char *p, const char *end, char *name, size_t room, size_t *n)
{
    int status = GOOD;
    for (*n = 0; p < end; p++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            c = end - p < 3 ? -1 : unhex(p + 1);
            p += 2;
        }
        if (c <= 0)
            return MALFORMED;
        if (c == '/' || *n == room)
            status = TOO_LONG; /* unless it is malformed further on */
        else if (status == GOOD)
            name[(*n)++] = (char)c;
    }
    return status;
}

int
path_resolve(const char *target, size_t n, char path[PATH_LIMIT])
{
    static const char visible[] = ".well-known";
    uint16_t before[PATH_LIMIT / 2]; /* a segment has a byte, and its slash */
    size_t depth = 0, length = 0, size;
    const char *p = target + 1, *end = target + n, *slash;
    for (; p <= end; p = slash + 1) {
        slash = memchr(p, '/', (size_t)(end - p));
        if (slash == NULL)
            slash = end;
        char *name = path + length;
        int status = decode(p, slash, name, PATH_LIMIT - 2 - length, &size);
        if (status != GOOD)
            return status;
        if (size == 0 || (size == 1 && name[0] == '.'))
            continue;
        if (size == 2 && name[0] == '.' && name[1] == '.') {
            if (depth == 0)
                return MALFORMED;
            length = before[--depth];
            continue;
        }
        if (name[0] == '.' &&
            (size != sizeof visible - 1 || memcmp(name, visible, size) != 0))
            return HIDDEN;
        before[depth++] = (uint16_t)length;
        length += size;
        if (slash < end)
            path[length++] = '/';
    }
    path[length] = '\0';
    return GOOD;
}

size_t
path_encode(const char *path, size_t n, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            (c >= '-' && c <= '9') || c == '_' || c == '~') {
            out[length++] = (char)c; /* "-./" come just before the digits */
        } else {
            out[length++] = '%';
            out[length++] = "0123456789ABCDEF"[c >> 4];
            out[length++] = "0123456789ABCDEF"[c & 15];
        }
    }
    return length;
}
