/* http_scan.h - classes of bytes, and the scans over them.
 *
 * Which bytes may stand where in a request is told by classes: TOKEN, PATH and
 * so on. A scan goes over bytes of one class and stops at the first that is not
 * in it. There are two with the same result: skip_plain() asks a table about
 * each byte, skip() takes sixteen bytes at a time.
 *
 * For the parser's own files only. Everything is small and called for every
 * byte or word, so it is compiled into each of them.
 */
#ifndef HTTP_SCAN_H
#define HTTP_SCAN_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

/* ---- Sixteen bytes at a time --------------------------------------------- */

/* Sixteen bytes, to be added or compared by one instruction: an extension of
 * gcc and clang, on every machine. A comparison gives -1 or 0 for each byte;
 * it takes them as signed, because that is what SSE2 compares, which every
 * x86-64 has. */
typedef unsigned char v16 __attribute__((vector_size(16)));
typedef signed char signed_v16 __attribute__((vector_size(16)));

static inline v16
load(const char *p)
{
    v16 v;
    memcpy(&v, p, sizeof v); /* one instruction; p need not be aligned */
    return v;
}

/* low <= byte <= high. Adding 127 - high, which may wrap around, moves the
 * range up to the greatest values there are: one comparison will do. */
static inline v16
between(v16 v, int low, int high)
{
    signed_v16 moved = (signed_v16)(v + (unsigned char)(127 - high));
    return (v16)(moved > (signed char)(126 - high + low));
}

/* Which bytes are in the class for certain. The usual ones are recognised; for
 * the others (a digit in a name, say) the caller has the table. */
static inline v16
surely(v16 v, enum class class)
{
    v16 letter = between(v | 0x20, 'a', 'z'); /* 0x20 makes capitals small */
    switch (class) {
    case TEXT:
        return between(v, ' ', '~');
    case TOKEN:
        return letter | (v16)(v == '-');
    default: /* PATH and URI */
        return letter | between(v, '&', ';') |
               (v16)((v == '=') | (v == '?') | (v == '_'));
    }
}

/* Sixteen bytes of -1 or 0 as one number, BITS bits for each, the first byte's
 * lowest. */
#ifdef __SSE2__
enum { BITS = 1 };
static inline uint64_t
mask(v16 v)
{
    return (uint64_t)_mm_movemask_epi8((__m128i)v);
}
#else
enum { BITS = 4 };
typedef uint16_t eight_pairs __attribute__((vector_size(16)));
typedef uint8_t eight_bytes __attribute__((vector_size(8)));
static inline uint64_t
mask(v16 v)
{
    eight_bytes half =
        __builtin_convertvector((eight_pairs)v >> 4, eight_bytes);
    uint64_t bits;
    memcpy(&bits, &half, sizeof bits);
    return le64toh(bits);
}
#endif

/* The bytes from p on that need a closer look. Of sixteen bytes, or of those
 * that there are; but in front of end there must be sixteen to load. */
static inline uint64_t
suspects(const char *p, const char *end, enum class class)
{
    if (end - p >= 16)
        return mask(~surely(load(p), class));
    return mask(~surely(load(end - 16), class)) >> (16 - (end - p)) * BITS;
}

static inline const char *
first(const char *p, uint64_t suspects)
{
    return p + __builtin_ctzll(suspects) / BITS;
}

/* The same as skip_plain(), sixteen bytes at a time while there are so many. */
static inline __attribute__((always_inline)) const char *
skip(const char *p, const char *end, enum class class)
{
    /* TODO 12: scan sixteen bytes at a time.
     * suspects() tells which of them are not certain to be in the class; if
     * none is, go on with the next sixteen. Else look at the first() one: it
     * may be in the class all the same. The last bytes, fewer than sixteen,
     * are for skip_plain(). The result is always that of skip_plain().
     * STUB: (void)suspects;
     * STUB: (void)first;
     * STUB: return skip_plain(p, end, class);
     */
    while (end - p >= 16) {
        uint64_t suspect = suspects(p, end, class);
        if (!suspect) {
            p += 16;
            continue;
        }
        p = first(p, suspect);
        if (!is(*p, class))
            return p;
        p++;
    }
    return skip_plain(p, end, class);
    /* END TODO 12 */
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
