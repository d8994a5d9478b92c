/* Counts how often a request parser (stage 13) reads each byte of its input.
 *
 * "No byte is scanned twice" cannot be shown by a clock. But the compiler can
 * announce every access to memory: -fsanitize=thread puts a call in front of
 * each. The parser is compiled with it, and linked with this file instead of
 * ThreadSanitizer's library: the calls below look whether the address is in the
 * input, and count. (The few functions of libc that the parser uses on the
 * input are wrapped by the linker, and count as well.)
 *
 *   parse_loads singly   bytes come one at a time, then three at a time: how
 *                        often is each of them read?
 *   parse_loads long     a long target and a long value come at once: how many
 *                        loads does it take to read them?
 *   parse_loads usual    the same for the lines of a browser
 *   parse_loads print    all numbers, for the curious
 *
 * Exit status: 0, or 1 and what was wrong on stdout.
 */
#include "last_word.h"
#include "parse_cases.h"

#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 20000 };

static struct {
    const char *buf; /* what is watched, and how many bytes */
    size_t n;
    size_t loads;              /* accesses to it */
    unsigned char reads[MOST]; /* of each byte */
} watched;

static void
saw(const void *address, size_t size)
{
    uintptr_t at = (uintptr_t)address - (uintptr_t)watched.buf;
    if (!watched.buf || at >= watched.n)
        return;
    watched.loads++;
    for (size_t i = at; i < at + size && i < watched.n; i++)
        if (watched.reads[i] < 255)
            watched.reads[i]++;
}

#define SEES(name, size)                                                       \
    void name(const void *p);                                                  \
    void name(const void *p)                                                   \
    {                                                                          \
        saw(p, size);                                                          \
    }
#define IGNORES(name)                                                          \
    void name(void);                                                           \
    void name(void)                                                            \
    {                                                                          \
    }

SEES(__tsan_read1, 1)
SEES(__tsan_read2, 2)
SEES(__tsan_read4, 4)
SEES(__tsan_read8, 8)
SEES(__tsan_read16, 16)
SEES(__tsan_unaligned_read2, 2)
SEES(__tsan_unaligned_read4, 4)
SEES(__tsan_unaligned_read8, 8)
SEES(__tsan_unaligned_read16, 16)
SEES(__tsan_volatile_read1, 1)
IGNORES(__tsan_init)
IGNORES(__tsan_func_entry)
IGNORES(__tsan_func_exit)
IGNORES(__tsan_write1)
IGNORES(__tsan_write2)
IGNORES(__tsan_write4)
IGNORES(__tsan_write8)
IGNORES(__tsan_write16)
IGNORES(__tsan_unaligned_write2)
IGNORES(__tsan_unaligned_write4)
IGNORES(__tsan_unaligned_write8)
IGNORES(__tsan_unaligned_write16)
IGNORES(__tsan_write_range)

void __tsan_read_range(const void *p, size_t n);
void
__tsan_read_range(const void *p, size_t n)
{
    saw(p, n);
}

/* ---- libc's functions, by -Wl,--wrap=... and clang's own names ----------- */

int __real_memcmp(const void *a, const void *b, size_t n);
int __wrap_memcmp(const void *a, const void *b, size_t n);
int
__wrap_memcmp(const void *a, const void *b, size_t n)
{
    saw(a, n);
    saw(b, n);
    return __real_memcmp(a, b, n);
}

/* Byte by byte: how far memchr() reads is where the byte is. */
void *__real_memchr(const void *s, int c, size_t n);
void *__wrap_memchr(const void *s, int c, size_t n);
void *
__wrap_memchr(const void *s, int c, size_t n)
{
    const char *found = __real_memchr(s, c, n);
    saw(s, found ? (size_t)(found - (const char *)s) + 1 : n);
    return (void *)(uintptr_t)found;
}

void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *
__wrap_memcpy(void *to, const void *from, size_t n)
{
    saw(from, n);
    return __real_memcpy(to, from, n);
}

int __real_strncasecmp(const char *a, const char *b, size_t n);
int __wrap_strncasecmp(const char *a, const char *b, size_t n);
int
__wrap_strncasecmp(const char *a, const char *b, size_t n)
{
    saw(a, n);
    saw(b, n);
    return __real_strncasecmp(a, b, n);
}

void *__tsan_memcpy(void *to, const void *from, size_t n);
void *
__tsan_memcpy(void *to, const void *from, size_t n)
{
    return __wrap_memcpy(to, from, n);
}

void *__tsan_memset(void *to, int byte, size_t n);
void *
__tsan_memset(void *to, int byte, size_t n)
{
    return memset(to, byte, n);
}

void *__tsan_memmove(void *to, const void *from, size_t n);
void *
__tsan_memmove(void *to, const void *from, size_t n)
{
    saw(from, n);
    return memmove(to, from, n);
}

/* ---- Requests ------------------------------------------------------------ */

static const char browser[] =
    "GET /articles/2024/event-loops?page=2&sort=date HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 "
    "Firefox/120.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,"
    "image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: https://www.example.com/articles?page=1&sort=date\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; "
    "consent=yes; last=2024-02-29T12:34:56Z\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "If-None-Match: \"5f3a-61c2f\"\r\n"
    "Cache-Control: max-age=0\r\n"
    "\r\n";

static void __attribute__((noreturn, format(printf, 3, 4)))
complain(const char *did, const char *expected, const char *format, ...)
{
    va_list args;
    print_labelled("did:", did);
    print_labelled("expected:", expected);
    printf("actual:   ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    exit(1);
}

/* Feeds a copy of the request in steps and leaves the counts in `watched`. */
static void
feed(const char *request, size_t n, size_t step)
{
    struct http_request r;
    enum http_result result = HTTP_NEED_MORE;
    char *copy = malloc(n);
    if (!copy || n > MOST)
        err(70, "%zu bytes", n);
    memcpy(copy, request, n);
    http_init(&r, &http_default_limits);
    memset(&watched, 0, sizeof watched);
    watched.buf = copy;
    for (size_t have = 0; have < n && result == HTTP_NEED_MORE;) {
        have = n - have < step ? n : have + step;
        watched.n = have;
        result = http_parse(&r, copy, have);
    }
    watched.buf = NULL;
    if (result != HTTP_COMPLETE || r.consumed != n)
        complain("parse the request of a browser", "complete", "%s",
                 result == HTTP_ERROR ? r.reason : "incomplete");
    free(copy);
}

static size_t
most_read(void)
{
    size_t most = 0;
    for (size_t i = 0; i < watched.n; i++)
        most = watched.reads[i] > most ? watched.reads[i] : most;
    return most;
}

/* "GET /aaa..." with a Cookie of ccc... */
static size_t
long_request(char *buf, size_t target, size_t value)
{
    size_t n = (size_t)sprintf(buf, "GET /");
    memset(buf + n, 'a', target);
    n += target;
    n += (size_t)sprintf(buf + n, " HTTP/1.1\r\nHost: a\r\nCookie: ");
    memset(buf + n, 'c', value);
    n += value;
    return n + (size_t)sprintf(buf + n, "\r\n\r\n");
}

/* Whoever begins a part again when a byte has come reads it thousands of times.
 * A few reads are in order: by the scan, to see what stopped it, and when the
 * field is complete and its meaning is looked at. */
static void
check_singly(const char *request, size_t n)
{
    char did[96];
    for (size_t step = 1; step <= 16; step++) {
        feed(request, n, step);
        size_t most = most_read();
        snprintf(did, sizeof did,
                 "give it a request of %zu bytes, %zu bytes at a time", n,
                 step);
        if (most > 8 || watched.loads > 3 * n)
            complain(did,
                     "no byte is read more than 8 times, all of them 3 "
                     "times on average",
                     "%zu loads; one byte was read %zu times or more",
                     watched.loads, most);
    }
}

static void
check_at_once(const char *request, size_t n, const char *what, size_t loads)
{
    char did[96], expected[96];
    feed(request, n, n);
    snprintf(did, sizeof did, "give it %s of %zu bytes at once", what, n);
    snprintf(expected, sizeof expected,
             "at most %zu loads from memory, most of them of sixteen bytes",
             loads);
    if (watched.loads > loads)
        complain(did, expected, "%zu loads", watched.loads);
}

static void
print_counts(const char *what, const char *request, size_t n)
{
    for (size_t step = 1; step <= n; step = step < 16 ? step + 1 : n) {
        feed(request, n, step);
        printf("%s, %zu bytes, %zu at a time: %zu loads, %zu of one byte\n",
               what, n, step, watched.loads, most_read());
        if (step == n)
            break;
    }
}

int
main(int argc, char **argv)
{
    static char big[MOST];
    size_t n = sizeof browser - 1, big_n = long_request(big, 6000, 8000);
    const char *what = argc == 2 ? argv[1] : "";
    take_last_word();
    if (strcmp(what, "singly") == 0) {
        check_singly(browser, n);
        check_singly(big, big_n);
    } else if (strcmp(what, "long") == 0) {
        check_at_once(big, big_n, "a long request", big_n / 8);
    } else if (strcmp(what, "usual") == 0) {
        check_at_once(browser, n, "the request of a browser", 260);
    } else if (strcmp(what, "print") == 0) {
        print_counts("a browser", browser, n);
        print_counts("long", big, big_n);
    } else {
        fputs("usage: parse_loads singly | long | usual | print\n", stderr);
        return 64;
    }
    say_last_word();
    return 0;
}
