/* Writes text into memory, and never past its end. */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
put_bytes(struct text *t, const char *bytes, size_t n)
{
    if (n > (size_t)(t->end - t->at)) {
        t->full = true;
        return;
    }
    memcpy(t->at, bytes, n);
    t->at += n;
}

void
put(struct text *t, const char *string)
{
    put_bytes(t, string, strlen(string));
}

void
put_number(struct text *t, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;
    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    put_bytes(t, digits + i, sizeof digits - i);
}

void
put_format(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = (size_t)(t->end - t->at);
    int n = vsnprintf(t->at, room, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room)
        t->full = true; /* what it cut off is not counted */
    else
        t->at += n;
}

void
put_html(struct text *t, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (bytes[i]) {
        case '&':
            put(t, "&amp;");
            break;
        case '<':
            put(t, "&lt;");
            break;
        case '>':
            put(t, "&gt;");
            break;
        case '"':
            put(t, "&quot;");
            break;
        default:
            put_bytes(t, bytes + i, 1);
        }
    }
}
