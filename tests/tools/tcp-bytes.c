#include "tcp-bytes.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
die(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("tcp: ", stderr);
    vfprintf(stderr, format, args);
    fputs(status == 2 ? "\n(tcp -h lists the steps)\n" : "\n", stderr);
    exit(status);
}

void
die_errno(const char *call)
{
    die(3, "%s: %s", call, strerror(errno));
}

void *
grow(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (p == NULL)
        die_errno("realloc");
    return p;
}

char *
text(const char *format, ...)
{
    char *s;
    va_list args;
    va_start(args, format);
    if (vasprintf(&s, format, args) < 0)
        die_errno("vasprintf");
    va_end(args);
    return s;
}

/* ---- Bytes ---- */

/* The finaliser of splitmix64: neighbours come out entirely different. */
static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

void
pattern(uint64_t position, char *out, size_t n)
{
    uint64_t word = mix(position / 8);
    for (size_t i = 0; i < n; i++, position++) {
        if (position % 8 == 0)
            word = mix(position / 8);
        out[i] = (char)(word >> (position % 8 * 8));
    }
}

size_t
copy(const struct bytes *b, size_t at, char *out, size_t room)
{
    size_t n = b->n - at < room ? b->n - at : room;
    if (b->text)
        memcpy(out, b->text + at, n);
    else
        pattern(b->start + at, out, n);
    return n;
}

/* ---- In words ---- */

char *
quote(const char *data, size_t n)
{
    static const char special[] = "\n\r\t\0\\\"", letter[] = "nrt0\\\"";
    size_t shown = n < SHOWN ? n : SHOWN;
    char *s = grow(NULL, 4 * shown + 6), *end = s;
    *end++ = '"';
    for (size_t i = 0; i < shown; i++) {
        const char *found = memchr(special, data[i], sizeof special - 1);
        if (found)
            end += sprintf(end, "\\%c", letter[found - special]);
        else if (data[i] >= ' ' && data[i] <= '~')
            *end++ = data[i];
        else
            end += sprintf(end, "\\x%02x", (unsigned char)data[i]);
    }
    strcpy(end, shown < n ? "\"..." : "\"");
    return s;
}

char *
quote_word(const char *word)
{
    return quote(word, strlen(word));
}

const char *
count(size_t n)
{
    return n == 1 ? "1 byte" : text("%zu bytes", n);
}

const char *
range(uint64_t first, uint64_t n)
{
    if (n == 1)
        return text("byte %ju", (uintmax_t)first);
    return text("bytes %ju..%ju", (uintmax_t)first, (uintmax_t)(first + n - 1));
}

char *
show(const struct bytes *b)
{
    if (b->text)
        return text("%s (%s)", quote(b->text, b->n), count(b->n));
    return text("%s of the pattern (%s)", range(b->start, b->n), count(b->n));
}
