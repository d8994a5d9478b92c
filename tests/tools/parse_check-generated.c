/*
 * For parse_check: random requests whose parts are known.
 */
#include "parse_check.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state;

/* xorshift64*: the same numbers everywhere for the same seed. */
static unsigned
below(unsigned n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 2685821657736338717u) >> 33) % n;
}

/* Adds up to `most` bytes from `set`, at least `least`, to both texts. */
static void
add_random(struct text *in, struct text *out, const char *set, unsigned least,
           unsigned most)
{
    unsigned n = least + below(most - least + 1);
    size_t choice = strlen(set);
    while (n-- > 0) {
        const char *byte = &set[below((unsigned)choice)];
        text_add(in, byte, 1);
        text_escaped(out, byte, 1);
    }
}

static void
add_both(struct text *in, struct text *out, const char *text)
{
    text_add(in, text, strlen(text));
    text_add(out, text, strlen(text));
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define TOKENS  LETTERS "0123456789!#$%&'*+-.^_`|~"

/* A field of no meaning; its value has no white space at either end. */
static void
generate_field(struct text *in, struct text *out)
{
    static const char blanks[] = " \t";
    static struct text none;
    none.n = 0;
    text_add(out, "header ", 7);
    add_both(in, out, "X-");
    add_random(in, out, below(4) ? LETTERS "-" : TOKENS, 0, 24);
    text_add(in, ":", 1);
    text_add(out, ": ", 2);
    if (below(4) == 0)
        add_random(in, &none, blanks, 0, 20);
    else
        text_add(in, " ", 1);
    if (below(8) > 0) {
        unsigned most = below(6) ? 20 : 300;
        add_random(in, out, TOKENS, 1, 5);
        add_random(in, out,
                   below(4) ? TOKENS "(),/:;<=>?@[]{} "
                            : TOKENS " \t\x80\xc3\xa4\xff\"\\",
                   0, most);
        add_random(in, out, TOKENS, 1, 5);
    }
    if (below(4) == 0)
        add_random(in, &none, blanks, 0, 20);
    text_add(in, "\r\n", 2);
    text_add(out, "\n", 1);
}

/* One of those that decide something, in a random spelling. */
static void
generate_known(struct text *in, struct text *out, const char *name,
               const char *value)
{
    text_add(out, "header ", 7);
    for (; *name; name++) {
        char c = (char)(below(2) ? toupper((unsigned char)*name) : *name);
        text_add(in, &c, 1);
        text_add(out, &c, 1);
    }
    text_add(in, ":", 1);
    text_add(out, ": ", 2);
    text_add(in, "  ", below(3));
    add_both(in, out, value);
    text_add(in, "\r\n", 2);
    text_add(out, "\n", 1);
}

static void
generate_start(struct text *in, struct text *out, int minor)
{
    if (below(5) == 0)
        text_add(in, "\r\n", 2);
    text_add(out, "complete\nmethod ", 16);
    add_random(in, out, below(3) ? "ABCDEFGHIJKLMNOP" : TOKENS, 1, 12);
    text_add(in, " ", 1);
    text_add(out, "\ntarget ", 8);
    add_both(in, out, "/");
    add_random(in, out, LETTERS "0123456789-._~!$&'()*+,;=:@/?", 0,
               below(4) ? 30 : 200);
    if (below(3) == 0)
        add_both(in, out, "%c3%A4%20x");
    text_printf(in, " HTTP/1.%d\r\n", minor);
    text_printf(out, "\nversion 1.%d\n", minor);
}

/* A request with a random number of fields; the ones with a meaning are put
 * between those without. Five things are decided by dice and then known. */
static void
generate(struct text *in, struct text *out)
{
    char number[24];
    int minor = below(4) > 0, body = (int)below(minor ? 3 : 2);
    int says = (int)below(3); /* nothing, close, keep-alive */
    in->n = out->n = 0;
    snprintf(number, sizeof number, "%u%u", below(100000), below(10000));
    generate_start(in, out, minor);
    for (unsigned n = below(6); n > 0; n--)
        generate_field(in, out);
    generate_known(in, out, "host", below(2) ? "example.com:8080" : "[::1]");
    if (says > 0)
        generate_known(in, out, "connection",
                       says == 1 ? "x-y, close" : "keep-alive");
    for (unsigned n = below(6); n > 0; n--)
        generate_field(in, out);
    if (body == 1)
        generate_known(in, out, "content-length", number);
    if (body == 2)
        generate_known(in, out, "transfer-encoding", "chunked");
    for (unsigned n = below(3); n > 0; n--)
        generate_field(in, out);
    text_add(in, "\r\n", 2);
    if (body == 1)
        text_printf(out, "body length %" PRIu64 "\n",
                    (uint64_t)strtoull(number, NULL, 10));
    else
        text_printf(out, "body %s\n", body ? "chunked" : "none");
    text_printf(out, "keep-alive %s\nconsumed %zu\n",
                says == 2 || (says == 0 && minor) ? "yes" : "no", in->n);
}

int
run_generated(uint64_t seed, int count)
{
    static struct test_case c;
    random_state = seed * 2 + 1;
    doing.now = &c;
    doing.expected = &c.expected;
    while (count-- > 0) {
        generate(&c.input, &c.expected);
        snprintf(doing.how, sizeof doing.how, "a generated request");
        check_steps(&c.input, c.input.n, c.input.n);
        size_t step = 1 + below(40), first = below((unsigned)c.input.n);
        snprintf(doing.how, sizeof doing.how,
                 "a generated request: %zu bytes, then %zu at a time", first,
                 step);
        check_steps(&c.input, first, step);
    }
    return 0;
}
