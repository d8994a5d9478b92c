/*
 * For tcp: what has been done, and what a failure says about it.
 */
#pragma once
#include "tcp-bytes.h"

/* When set: a further line or two about a failure, made at that moment. */
extern char *(*fail_note)(void);

/* The last byte on stdout so far: paragraphs begin on a new line. */
extern char last_printed;

/* Notes a step as done. The string has to stay. */
void remember(char *line);
void remember_more(const char *more);

/* Ends the program with status 1 and the three paragraphs on stdout. They are
 * read by programs, too: labels and columns are fixed. */
_Noreturn void fail(const char *expected, const char *actual);

/* The same for bytes that came instead of `in`. Shows both sides around the
 * first difference, at offset `at`, and points at it. `wrong` are wrong_n bytes
 * that came from there on; `ended` says how it went on after them. */
_Noreturn void fail_difference(const struct bytes *in, size_t at,
                               const char *wrong, size_t wrong_n,
                               const char *ended);
