/*
 * What the programs that test stage 13 share: a place for bytes whose end is
 * the end of memory, the canonical form of a verdict, and how to complain.
 */
#pragma once
#include "http_parser.h"

/* Bytes of any kind, NUL included; behind them is another NUL. */
struct text {
    char *p;
    size_t n, size;
};

void text_add(struct text *t, const char *p, size_t n);
void text_printf(struct text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* As http-parse prints it: printable ASCII, \\ and \xHH. */
void text_escaped(struct text *t, const char *p, size_t n);

/* The first line of the canonical form, and all of it for a request. */
void text_verdict(struct text *t, enum http_result result, int status,
                  const char *reason);
void text_request(struct text *t, enum http_result result,
                  const struct http_request *r, const char *buf);

/* Copies the bytes so that the one behind the last is on an unmapped page. Two
 * places take turns, and the one before is wiped: whoever kept a pointer into
 * it, or reads what is behind, is found out. */
const char *at_the_end(const char *p, size_t n);

/* "printf '...' | http-parse" for this input; nothing if it is long. */
void print_repeat(const char *p, size_t n, const char *options);

/* One text under a label, its further lines under the first. */
void print_labelled(const char *label, const char *text);
