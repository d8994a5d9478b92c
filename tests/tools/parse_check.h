/*
 * What the parts of parse_check share.
 */
#pragma once
#include "parse_cases.h"

enum mode { HEAD, BODY };

struct test_case {
    int line; /* in the file; 0 if it comes from somewhere else */
    char topic[32];
    enum mode mode;
    struct text input, expected;
};

/* What is being checked now: for complaints. */
struct doing {
    const struct test_case *now;
    char how[96]; /* the way it is cut */
    struct text *expected;
    const struct http_limits *limits;
};
extern struct doing doing;

/* parse_check-cuts.c: an input in every way to cut it. */
void check_case(struct test_case *c);
void check_steps(const struct text *in, size_t first, size_t step);
enum http_result parse_in_steps(struct http_request *r, const struct text *in,
                                size_t first, size_t step, const char **buf);
void compare(const struct text *actual);
_Noreturn void complain(const char *actual);
void on_fault(int signo); /* for SIGSEGV */

/* parse_check-file.c: tests/13-cases.txt, and its notation for bytes. */
const char *add_input(struct text *t, const char *p, const char *stop);
int run_topic(const char *name, const char *topic);
int print_case(const char *name, int n, bool input);
int count_cases(const char *name);

/* The other checks; each returns 0, or ends the program with a complaint. */
int run_generated(uint64_t seed, int count);
int run_limits(void);
int run_chunk_limits(void);
int run_final(void);
int run_lookup(void);
