/*
 * For tcp.c: bytes, how they are shown, and what a failure says.
 *
 * Bytes are a text or a piece of the pattern. The pattern is one endless
 * stream in which every byte depends on its position: what comes back is
 * compared with it, so that a byte lost, doubled or swapped is found.
 */
#pragma once
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DID_LINES  10 /* steps that a failure shows */
#define SHOWN      48 /* bytes of a text that it shows */
#define SHOWN_MORE 12 /* bytes of the pattern: most are escaped, \xHH */

struct bytes {
    const char *text; /* NULL: the pattern */
    uint64_t start;   /* position in the pattern */
    size_t n;
};

static char **did; /* a line for each step done */
static size_t did_n;
static char *(*fail_note)(void); /* when set: more about a failure */
static char last_printed = '\n';

/* Ends the program: 2 is a mistake in the scenario, 3 trouble of our own. */
static _Noreturn void
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

static _Noreturn void
die_errno(const char *call)
{
    die(3, "%s: %s", call, strerror(errno));
}

static void *
grow(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (p == NULL)
        die_errno("realloc");
    return p;
}

/* A string made by format. Nobody frees it: this program ends soon. */
__attribute__((format(printf, 1, 2))) static char *
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

static void
pattern(uint64_t position, char *out, size_t n)
{
    uint64_t word = mix(position / 8);
    for (size_t i = 0; i < n; i++, position++) {
        if (position % 8 == 0)
            word = mix(position / 8);
        out[i] = (char)(word >> (position % 8 * 8));
    }
}

/* Copies up to `room` bytes of b, from offset `at` on; returns how many. */
static size_t
copy(const struct bytes *b, size_t at, char *out, size_t room)
{
    size_t n = b->n - at < room ? b->n - at : room;
    if (b->text)
        memcpy(out, b->text + at, n);
    else
        pattern(b->start + at, out, n);
    return n;
}

/* As one would write it in C, and dots for what is more than SHOWN. */
static char *
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

static char *
quote_word(const char *word)
{
    return quote(word, strlen(word));
}

/* 1 byte, or 20 bytes */
static const char *
count(size_t n)
{
    return n == 1 ? "1 byte" : text("%zu bytes", n);
}

/* byte 10, or bytes 10..29 */
static const char *
range(uint64_t first, uint64_t n)
{
    if (n == 1)
        return text("byte %ju", (uintmax_t)first);
    return text("bytes %ju..%ju", (uintmax_t)first, (uintmax_t)(first + n - 1));
}

static char *
show(const struct bytes *b)
{
    if (b->text)
        return text("%s (%s)", quote(b->text, b->n), count(b->n));
    return text("%s of the pattern (%s)", range(b->start, b->n), count(b->n));
}

/* ---- A failure ---- */

static void
remember(char *line)
{
    did = grow(did, (did_n + 1) * sizeof *did);
    did[did_n++] = line;
}

static const char *
did_lines(void)
{
    size_t first = did_n > DID_LINES ? did_n - DID_LINES : 0;
    char *all = first ? text("... (%zu before)\n", first) : text("%s", "");
    for (size_t i = first; i < did_n; i++)
        all = text("%s%s%s", all, did[i], i + 1 < did_n ? "\n" : "");
    return all;
}

/* A label in column 0, its lines from column 10 on. */
static void
print_paragraph(const char *label, const char *lines)
{
    printf("%-10s", label);
    for (; *lines; lines++) {
        putchar(*lines);
        if (*lines == '\n')
            printf("%10s", "");
    }
    putchar('\n');
}

/* The paragraphs are read by programs, too: labels and columns are fixed. */
static _Noreturn void
fail(const char *expected, const char *actual)
{
    if (last_printed != '\n')
        putchar('\n');
    print_paragraph("did:", did_lines());
    print_paragraph("expected:", expected);
    print_paragraph("actual:",
                    text("%s%s", actual, fail_note ? fail_note() : ""));
    exit(1);
}

/* ---- A difference ---- */

/* Where in the pattern do the wrong bytes come from? If that can be told, it
 * tells the mistake: a piece left out, sent again, or overwritten. */
static const char *
diagnosis(uint64_t here, const char *wrong, size_t n)
{
    enum { NEAR = 1 << 20, PROBE = 12, TRIES = 4096 };
    uint64_t low = here > NEAR ? here - NEAR : 0;
    char *near = grow(NULL, 2 * NEAR), *found = NULL;
    pattern(low, near, 2 * NEAR);
    size_t i = 0;
    for (; i < TRIES && i + PROBE <= n; i++)
        if ((found = memmem(near, 2 * NEAR, wrong + i, PROBE)) != NULL)
            break;
    if (found == NULL)
        return "";
    uint64_t from = low + (uint64_t)(found - near);
    if (from == here + i)
        return text("\n%s wrong here, then it goes on rightly", count(i));
    if (from == here)
        return text("\n%s here that nobody sent, then it goes on", count(i));
    if (i > 0)
        return "";
    if (from > here)
        return text("\n%s missing here", range(here, from - here));
    return text("\n%s came twice", range(from, here - from));
}

/* Part of a long text is named by its range, a whole one by its size. */
static char *
show_part(const struct bytes *whole, size_t from, const char *part, size_t n)
{
    bool all = from == 0 && whole->n <= SHOWN && whole->text;
    return text("%s (%s%s)", quote(part, n),
                all ? count(n) : range(whole->start + from, n),
                whole->text ? "" : " of the pattern");
}

/* Shows both sides around the first difference, at offset `at` of `in`, and
 * points at it. `wrong` is what came there; `ended` says how it went on. */
static _Noreturn void
fail_difference(const struct bytes *in, size_t at, const char *wrong,
                size_t wrong_n, const char *ended)
{
    char want[SHOWN], got[SHOWN];
    size_t window = in->text ? SHOWN : SHOWN_MORE, before = window / 3;
    size_t from = in->n <= window || at <= before ? 0 : at - before;
    size_t want_n = copy(in, from, want, window), same = at - from;
    size_t got_n = same + wrong_n < want_n ? same + wrong_n : want_n;
    memcpy(got, want, same);
    memcpy(got + same, wrong, got_n - same);

    int column = (int)strlen(quote(got, same)) - 1;
    uintmax_t position = in->start + at;
    fail(show_part(in, from, want, want_n),
         text("%s%s%s\n%*s^ first difference, at byte %ju%s",
              show_part(in, from, got, got_n), got_n < want_n ? ", then " : "",
              got_n < want_n ? ended : "", column, "", position,
              in->text ? "" : diagnosis(position, wrong, wrong_n)));
}
