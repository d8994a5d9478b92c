/* http_scan.h - another way: no vectors. Sixteen bytes are loaded as two numbers
 * of 64 bits, and arithmetic on these compares eight bytes at a time ("SWAR",
 * SIMD within a register). The sums below stay within their byte, as seven bits
 * are added to at most 128; so every verdict is exact for the bytes that surely()
 * knows, and the table decides about the others.
 */
#ifndef HTTP_SCAN_H
#define HTTP_SCAN_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A bit for each class that a byte can be in. */
enum class {
    TOKEN = 1,      /* in names of methods, fields, codings: RFC 9110 5.6.2 */
    PATH = 2,       /* in a path or a query, except %: RFC 3986             */
    URI = 4,        /* the same and [ ], for an IPv6 address                */
    TEXT = 8,       /* in the value of a field: RFC 9110 5.5                */
    HOST_NAME = 16, /* in a host name, except %: RFC 3986                   */
    DIGIT = 32,
    HEX = 64,
    ALPHA = 128,
    ALL_FIVE = TOKEN | PATH | URI | TEXT | HOST_NAME,
};

/* clang-format off */
static const unsigned char classes[256] = {
    ['a' ... 'f'] = ALL_FIVE | HEX | ALPHA, ['g' ... 'z'] = ALL_FIVE | ALPHA,
    ['A' ... 'F'] = ALL_FIVE | HEX | ALPHA, ['G' ... 'Z'] = ALL_FIVE | ALPHA,
    ['0' ... '9'] = ALL_FIVE | HEX | DIGIT,
    ['-'] = ALL_FIVE, ['.'] = ALL_FIVE, ['_'] = ALL_FIVE, ['~'] = ALL_FIVE,
    ['!'] = ALL_FIVE, ['$'] = ALL_FIVE, ['&'] = ALL_FIVE, ['\''] = ALL_FIVE,
    ['*'] = ALL_FIVE, ['+'] = ALL_FIVE,
    ['('] = ALL_FIVE & ~TOKEN, [')'] = ALL_FIVE & ~TOKEN,
    [','] = ALL_FIVE & ~TOKEN, [';'] = ALL_FIVE & ~TOKEN,
    ['='] = ALL_FIVE & ~TOKEN,
    ['/'] = PATH | URI | TEXT, [':'] = PATH | URI | TEXT,
    ['?'] = PATH | URI | TEXT, ['@'] = PATH | URI | TEXT,
    ['['] = URI | TEXT, [']'] = URI | TEXT,
    ['#'] = TOKEN | TEXT, ['%'] = TOKEN | TEXT, ['^'] = TOKEN | TEXT,
    ['`'] = TOKEN | TEXT, ['|'] = TOKEN | TEXT,
    ['"'] = TEXT, ['<'] = TEXT, ['>'] = TEXT, ['\\'] = TEXT, ['{'] = TEXT,
    ['}'] = TEXT, [' '] = TEXT, ['\t'] = TEXT, [0x80 ... 0xff] = TEXT,
};
/* clang-format on */

static inline bool
is(char c, enum class class)
{
    return classes[(unsigned char)c] & class;
}

static inline bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The first byte of [p, end) that is not in the class; end if all are. */
static inline const char *
skip_plain(const char *p, const char *end, enum class class)
{
    while (p < end && is(*p, class))
        p++;
    return p;
}

/* %41: whether those of the two digits that are there are digits. */
static inline bool
may_be_escape(const char *p, const char *end)
{
    return (end - p < 2 || is(p[1], HEX)) && (end - p < 3 || is(p[2], HEX));
}

/* ---- Eight bytes at a time ------------------------------------------------ */

#define EACH(byte) ((byte)*UINT64_C(0x0101010101010101))

/* The top bit of each byte that is between low and high. */
static inline uint64_t
between(uint64_t eight, unsigned low, unsigned high)
{
    uint64_t seven_bits = eight & EACH(0x7f);
    uint64_t from_low = seven_bits + EACH(0x80u - low);
    uint64_t above_high = seven_bits + EACH(0x7fu - high);
    return from_low & ~above_high & ~eight & EACH(0x80);
}

/* The top bit of each byte that is in the class for certain. */
static inline uint64_t
surely(uint64_t eight, enum class class)
{
    uint64_t letters = between(eight | EACH(0x20), 'a', 'z');
    if (class == TEXT)
        return between(eight, ' ', '~');
    if (class == TOKEN)
        return letters | between(eight, '-', '-');
    return letters | between(eight, '&', ';') | between(eight, '=', '=') |
           between(eight, '?', '?') | between(eight, '_', '_');
}

/* How many bytes of these eight, from the first on, are certain. */
static inline size_t
certain(uint64_t eight, enum class class)
{
    uint64_t others = ~surely(eight, class) & EACH(0x80);
    return others == 0 ? 8 : (size_t)__builtin_ctzll(others) / 8;
}

/* The same as skip_plain(). */
static inline const char *
skip(const char *p, const char *end, enum class class)
{
    uint64_t two[2];
    while (end - p >= (ptrdiff_t)sizeof two) {
        memcpy(two, p, sizeof two);
        size_t n = certain(le64toh(two[0]), class);
        if (n == 8)
            n += certain(le64toh(two[1]), class);
        p += n;
        if (n < 16 && !is(*p++, class))
            return p - 1;
    }
    return skip_plain(p, end, class);
}

/* ---- Words --------------------------------------------------------------- */

static inline uint32_t
four(const char *p)
{
    uint32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

/* Whether [p, end) is this word of small letters and "-", in whatever case.
 * 0x20 makes capitals small and leaves "-" as it is. */
static inline bool
is_word(const char *p, const char *end, const char *word)
{
    size_t i = 0, n = strlen(word);
    if ((size_t)(end - p) != n)
        return false;
    for (; i + 4 <= n; i += 4)
        if ((four(p + i) | 0x20202020) != four(word + i))
            return false;
    for (; i < n; i++)
        if ((p[i] | 0x20) != word[i])
            return false;
    return true;
}

#endif
