/*
 * For tcp: bytes, how they are shown, and how the program gives up.
 *
 * Bytes are a text or a piece of the pattern. The pattern is one endless
 * stream in which every byte depends on its position: what comes back is
 * compared with it, so that a byte lost, doubled or swapped is found.
 *
 * Strings that functions return are new ones; nobody frees them, as the
 * program ends soon. Whoever cannot get memory ends the program.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SHOWN 48 /* bytes of a text that a message shows */

struct bytes {
    const char *text; /* NULL: the pattern */
    uint64_t start;   /* position in the pattern */
    size_t n;
};

/* Ends the program: 1 is a step that failed, 2 a mistake in the scenario, 3
 * trouble of our own. */
__attribute__((format(printf, 2, 3))) _Noreturn void
die(int status, const char *format, ...);

/* The same with status 3, for a call that has set errno. */
_Noreturn void die_errno(const char *call);

/* realloc() that does not fail. */
void *grow(void *old, size_t size);

/* A string made by format. */
__attribute__((format(printf, 1, 2))) char *text(const char *format, ...);

/* Writes n bytes of the pattern, from this position on. */
void pattern(uint64_t position, char *out, size_t n);

/* Copies up to `room` bytes of b, from offset `at` on; returns how many. */
size_t copy(const struct bytes *b, size_t at, char *out, size_t room);

/* As one would write it in C, with dots for what is more than SHOWN. */
char *quote(const char *data, size_t n);
char *quote_word(const char *word);

/* "1 byte", "20 bytes"; "byte 10", "bytes 10..29"; both of them for b. */
const char *count(size_t n);
const char *range(uint64_t first, uint64_t n);
char *show(const struct bytes *b);
