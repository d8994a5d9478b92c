/* Checks a request parser (stage 13), with which it is linked.
 *
 * Every input is given to the parser in every way: whole, in two pieces cut at
 * each place, and in small steps; always so that reading behind the last byte
 * is a fault, and that the bytes have moved between two calls. All of that must
 * lead to the same verdict, and no prefix of the input may lead to another.
 *
 *   parse_check cases FILE TOPIC  the cases of one topic in FILE (its format:
 *                                 see tests/13-cases.txt)
 *   parse_check input FILE N      prints the bytes of case N, for http-parse
 *   parse_check expected FILE N   prints what is expected of it
 *   parse_check count FILE        how many cases there are
 *   parse_check generated SEED N  N random requests whose parts are known
 *   parse_check limits            each limit, at the limit and one above
 *   parse_check lookup            http_find, http_is, http_is_nocase
 *   parse_check final             verdicts stay, requests follow one another
 *
 * Exit status: 0, or 1 and what was wrong on stdout.
 */
#include "parse_cases.h"

#include <ctype.h>

enum mode { HEAD, BODY };

struct test_case {
    int line; /* in the file */
    char topic[32];
    enum mode mode;
    struct text input, expected;
};

static struct {
    const struct test_case *now;
    char how[96]; /* the way it is cut */
    struct text *expected;
    const struct http_limits *limits;
} doing = {.limits = &http_default_limits};

static void __attribute__((noreturn)) complain(const char *actual)
{
    const struct test_case *c = doing.now;
    char what[160];
    snprintf(what, sizeof what, "give it the input of line %d in %s, %s",
             c->line, "tests/13-cases.txt", doing.how);
    if (c->line == 0)
        snprintf(what, sizeof what, "%s", doing.how);
    print_labelled("did:", what);
    print_labelled("expected:", doing.expected->p);
    print_labelled("actual:", actual);
    print_repeat(c->input.p, c->input.n, c->mode == BODY ? " -B" : "");
    exit(1);
}

/* A read behind the bytes, or through an old pointer. */
static void
on_fault(int signo)
{
    (void)signo;
    complain("it reads memory that is not part of the input (SIGSEGV)");
}

/* "complete ..." leaves open what is behind the word. */
static void
compare(const struct text *actual)
{
    const char *dots = strstr(doing.expected->p, " ...\n");
    size_t n = dots ? (size_t)(dots - doing.expected->p) : actual->n + 1;
    if (strncmp(actual->p, doing.expected->p, n) != 0)
        complain(actual->p);
}

/* ---- Heads --------------------------------------------------------------- */

/* Parses the n bytes in steps, the first one to `first`. */
static enum http_result
parse_in_steps(struct http_request *r, const struct text *in, size_t first,
               size_t step, const char **buf)
{
    enum http_result result = HTTP_NEED_MORE;
    size_t n = first < in->n ? first : in->n;
    memset(r, 0x5a, sizeof *r); /* http_init() has to set what it relies on */
    http_init(r, doing.limits);
    for (;;) {
        *buf = at_the_end(in->p, n);
        result = http_parse(r, *buf, n);
        if (result != HTTP_NEED_MORE || n == in->n)
            return result;
        n = in->n - n < step ? in->n : n + step;
    }
}

static void
check_steps(const struct text *in, size_t first, size_t step)
{
    static struct text actual;
    struct http_request r;
    const char *buf;
    enum http_result result = parse_in_steps(&r, in, first, step, &buf);
    actual.n = 0;
    text_request(&actual, result, &r, buf);
    compare(&actual);
}

/* The first `n` bytes alone: the verdict is already there, or not yet. */
static void
check_prefix(const struct text *in, size_t n, size_t *decided)
{
    static struct text actual;
    struct http_request r;
    http_init(&r, doing.limits);
    const char *buf = at_the_end(in->p, n);
    enum http_result result = http_parse(&r, buf, n);
    if (result == HTTP_NEED_MORE && *decided == SIZE_MAX)
        return;
    if (*decided == SIZE_MAX)
        *decided = n;
    actual.n = 0;
    text_request(&actual, result, &r, buf);
    compare(&actual);
    if (result == HTTP_COMPLETE && *decided != r.consumed)
        complain("complete, but not as soon as the empty line was there");
}

static void
check_head(const struct text *in)
{
    static const size_t steps[] = {1, 2, 3, 7, 16, 17, 100};
    snprintf(doing.how, sizeof doing.how, "all at once");
    check_steps(in, in->n, in->n);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(doing.how, sizeof doing.how, "%zu bytes at a time", steps[i]);
        if (steps[i] > 16 || in->n < 20000)
            check_steps(in, 0, steps[i]);
    }
    size_t stride = in->n < 2000 ? 1 : 97, decided = SIZE_MAX;
    for (size_t n = 0; n <= in->n; n += stride) {
        snprintf(doing.how, sizeof doing.how, "cut in two behind byte %zu", n);
        check_steps(in, n, in->n);
        snprintf(doing.how, sizeof doing.how, "only the first %zu bytes", n);
        if (stride == 1)
            check_prefix(in, n, &decided);
    }
}

/* ---- Chunked bodies ------------------------------------------------------ */

static void
check_body_steps(const struct text *in, size_t first, size_t step)
{
    static struct text actual, content;
    struct http_chunked c;
    enum http_result result = HTTP_NEED_MORE;
    size_t consumed = 0, n = first;
    content.n = actual.n = 0;
    memset(&c, 0x5a, sizeof c);
    http_chunked_init(&c, doing.limits);
    for (;;) {
        struct http_span piece = {0, 0};
        size_t used = SIZE_MAX;
        const char *buf = at_the_end(in->p + consumed, n - consumed);
        result = http_chunked_next(&c, buf, n - consumed, &used, &piece);
        if (used > n - consumed ||
            (result == HTTP_CONTENT && piece.at + piece.len > used))
            complain("it has used more bytes than it was given");
        if (result == HTTP_NEED_MORE && used != n - consumed)
            complain("it wants more bytes and has not used those it has");
        if (result == HTTP_CONTENT && piece.len == 0)
            complain("a piece of content that is empty");
        if (result == HTTP_CONTENT)
            text_add(&content, buf + piece.at, piece.len);
        consumed += used;
        if (result == HTTP_CONTENT)
            continue;
        if (result != HTTP_NEED_MORE || n == in->n)
            break;
        n = in->n - n < step ? in->n : n + step;
    }
    text_verdict(&actual, result, c.status, c.reason);
    if (result == HTTP_COMPLETE) {
        text_add(&actual, "content ", 8);
        text_escaped(&actual, content.p, content.n);
        text_printf(&actual, "\nconsumed %zu\n", consumed);
    }
    compare(&actual);
}

static void
check_body(const struct text *in)
{
    static const size_t steps[] = {1, 2, 3, 7, 16, 100};
    snprintf(doing.how, sizeof doing.how, "all at once");
    check_body_steps(in, in->n, in->n);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        snprintf(doing.how, sizeof doing.how, "%zu bytes at a time", steps[i]);
        check_body_steps(in, 0, steps[i]);
    }
    for (size_t n = 0; in->n < 2000 && n <= in->n; n++) {
        snprintf(doing.how, sizeof doing.how, "cut in two behind byte %zu", n);
        check_body_steps(in, n, in->n);
    }
}

static void
check_case(struct test_case *c)
{
    doing.now = c;
    doing.expected = &c->expected;
    if (c->mode == HEAD)
        check_head(&c->input);
    else
        check_body(&c->input);
}

/* ---- The file of cases --------------------------------------------------- */

static const char *add_input(struct text *t, const char *p, const char *stop);

/* {8192*a} is the letter a, 8192 times. Returns the place behind it. */
static const char *
add_repeated(struct text *t, const char *p)
{
    char *star;
    struct text once = {0};
    unsigned long times = strtoul(p + 1, &star, 10);
    const char *end = add_input(&once, star + 1, "}");
    if (*star != '*' || *end != '}')
        errx(70, "not {N*TEXT}: %.20s", p);
    while (times-- > 0)
        text_add(t, once.p ? once.p : "", once.n);
    free(once.p);
    return end + 1;
}

static const char *
add_escape(struct text *t, const char *p)
{
    static const char names[] = "rnt0\\", bytes[] = "\r\n\t\0\\";
    const char *name = strchr(names, p[1]);
    if (p[1] == 'x' && isxdigit((unsigned char)p[2])) {
        char hex[] = {p[2], p[3], '\0'};
        char byte = (char)strtol(hex, NULL, 16);
        text_add(t, &byte, 1);
        return p + 4;
    }
    if (!p[1] || !name)
        errx(70, "no such escape: %.20s", p);
    text_add(t, bytes + (name - names), 1);
    return p + 2;
}

/* Appends what the notation from p on means, until one of the stop bytes. */
static const char *
add_input(struct text *t, const char *p, const char *stop)
{
    while (*p && !strchr(stop, *p)) {
        if (*p == '\\')
            p = add_escape(t, p);
        else if (*p == '{')
            p = add_repeated(t, p);
        else
            text_add(t, p++, 1);
    }
    return p;
}

/* Reads the next case. The topic and the mode stay until others are named. */
static bool
next_case(FILE *f, int *line, struct test_case *c)
{
    static char row[8192];
    long at = ftell(f);
    c->input.n = c->expected.n = 0;
    c->line = 0;
    for (; fgets(row, sizeof row, f); at = ftell(f)) {
        row[strcspn(row, "\n")] = '\0';
        ++*line;
        bool expects = strncmp(row, "    ", 4) == 0;
        if (c->expected.n > 0 && !expects) {
            fseek(f, at, SEEK_SET);
            --*line;
            return true;
        }
        if (row[0] == '#' || row[0] == '\0')
            continue;
        if (row[0] == '[') {
            c->mode = strstr(row, " body]") ? BODY : HEAD;
            sscanf(row, "[%31[^] ]", c->topic);
        } else if (expects) {
            text_printf(&c->expected, "%s", "");
            text_add(&c->expected, row + 4, strlen(row + 4));
            text_add(&c->expected, "\n", 1);
        } else {
            if (c->line == 0)
                c->line = *line;
            add_input(&c->input, row, "");
            text_add(&c->input, "", 0);
        }
    }
    return c->expected.n > 0;
}

static FILE *
open_cases(const char *name)
{
    FILE *f = fopen(name, "r");
    if (!f)
        err(70, "%s", name);
    return f;
}

static int
run_topic(const char *name, const char *topic)
{
    static struct test_case c;
    int line = 0, found = 0;
    FILE *f = open_cases(name);
    while (next_case(f, &line, &c)) {
        if (strcmp(c.topic, topic) != 0)
            continue;
        found++;
        check_case(&c);
    }
    fclose(f);
    if (found == 0)
        errx(70, "no case with the topic %s in %s", topic, name);
    return 0;
}

/* Case n, from 1 on, in the words of the file: its input or what is expected. */
static int
print_case(const char *name, int n, bool input)
{
    static struct test_case c;
    int line = 0;
    FILE *f = open_cases(name);
    while (n > 0 && next_case(f, &line, &c))
        n--;
    if (n > 0)
        errx(70, "%s has no such case", name);
    const struct text *t = input ? &c.input : &c.expected;
    if (!input)
        printf("%d %s\n", c.line, c.mode == BODY ? "-B" : "");
    fwrite(t->p, 1, t->n, stdout);
    fclose(f);
    return 0;
}

static int
count_cases(const char *name)
{
    static struct test_case c;
    int line = 0, count = 0;
    FILE *f = open_cases(name);
    while (next_case(f, &line, &c))
        count++;
    printf("%d\n", count);
    fclose(f);
    return 0;
}

/* ---- Requests whose parts are known -------------------------------------- */

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

static int
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

/* ---- Limits, other than those that http-parse has ------------------------ */

static const struct {
    const char *what;
    struct http_limits limits;
    const char *input, *verdict;
} limit_cases[] = {
    {"a target of 8 bytes, with a limit of 8",
     {8, 99, 9, 999, 9},
     "GET /2345678 HTTP/1.0\\r\\n\\r\\n",
     "complete"},
    {"a target of 9 bytes, with a limit of 8",
     {8, 99, 9, 999, 9},
     "GET /23456789 HTTP/1.0\\r\\n\\r\\n",
     "error 414 target-too-long"},
    {"a target of 40 bytes, with a limit of 8",
     {8, 99, 9, 999, 9},
     "GET /{39*a} HTTP/1.0\\r\\n\\r\\n",
     "error 414 target-too-long"},
    {"a target that is too long and has a bad byte later on",
     {8, 99, 9, 999, 9},
     "GET /{39*a}\\x01 HTTP/1.0\\r\\n\\r\\n",
     "error 414 target-too-long"},
    {"a target that has a bad byte just at its limit",
     {8, 99, 9, 999, 9},
     "GET /2345678\\x01 HTTP/1.0\\r\\n\\r\\n",
     "error 400 bad-target"},
    {"a line of 20 bytes, with a limit of 20",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept: 901234567890\\r\\n\\r\\n",
     "complete"},
    {"a line of 21 bytes, with a limit of 20",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept: 9012345678901\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"a line that has 21 bytes only with the blanks at its end",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept: 90{10* }1\\r\\nA: b\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"a name of 21 bytes, with lines of 20 at most",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\n{21*n}:\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"a line of 21 bytes, most of them blanks",
     {99, 20, 9, 999, 9},
     "GET / HTTP/1.0\\r\\nAccept:{14* }\\r\\n\\r\\n",
     "error 431 header-line-too-long"},
    {"2 header fields, with a limit of 2",
     {99, 99, 2, 999, 9},
     "GET / HTTP/1.0\\r\\na: b\\r\\nc: d\\r\\n\\r\\n",
     "complete"},
    {"3 header fields, with a limit of 2",
     {99, 99, 2, 999, 9},
     "GET / HTTP/1.0\\r\\na: b\\r\\nc: d\\r\\ne: f\\r\\n\\r\\n",
     "error 431 too-many-headers"},
    {"a head of 40 bytes, with a limit of 40",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 901234567890\\r\\n\\r\\n",
     "complete"},
    {"a head of 41 bytes, with a limit of 40",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 9012345678901\\r\\n\\r\\n",
     "error 431 head-too-large"},
    {"a head that has not ended at its limit",
     {99, 99, 9, 40, 9},
     "GET / HTTP/1.0\\r\\nAccept: 901234567890\\r\\n\\r",
     "incomplete"},
    {"a body of 9 bytes, with a limit of 9",
     {99, 99, 9, 999, 9},
     "PUT / HTTP/1.0\\r\\nContent-Length: 9\\r\\n\\r\\n",
     "complete"},
    {"a body of 10 bytes, with a limit of 9",
     {99, 99, 9, 999, 9},
     "PUT / HTTP/1.0\\r\\nContent-Length: 10\\r\\n\\r\\n",
     "error 413 body-too-large"},
};

static int
run_limits(void)
{
    static struct test_case c;
    static struct text actual;
    doing.now = &c;
    doing.expected = &c.expected;
    for (size_t i = 0; i < sizeof limit_cases / sizeof *limit_cases; i++) {
        doing.limits = &limit_cases[i].limits;
        c.input.n = c.expected.n = 0;
        add_input(&c.input, limit_cases[i].input, "");
        text_printf(&c.expected, "%s\n", limit_cases[i].verdict);
        for (size_t step = 1; step <= 64; step *= 8) {
            struct http_request r;
            const char *buf;
            enum http_result result =
                parse_in_steps(&r, &c.input, step, step, &buf);
            snprintf(doing.how, sizeof doing.how, "%s (%zu bytes at a time)",
                     limit_cases[i].what, step);
            actual.n = 0;
            text_verdict(&actual, result, r.status, r.reason);
            compare(&actual);
        }
    }
    return 0;
}

/* Chunked: the sum of the chunks, the extensions, the trailer section. */
static const struct {
    const char *what;
    struct http_limits limits;
    const char *input, *verdict;
} chunk_limit_cases[] = {
    {"chunks of 9 bytes in all, with a limit of 9",
     {99, 99, 9, 99, 9},
     "4\\r\\naaaa\\r\\n5\\r\\nbbbbb\\r\\n0\\r\\n\\r\\n",
     "complete"},
    {"chunks of 10 bytes in all, with a limit of 9",
     {99, 99, 9, 99, 9},
     "4\\r\\naaaa\\r\\n6\\r\\nbbbbbb\\r\\n0\\r\\n\\r\\n",
     "error 413 body-too-large"},
    {"extensions of 60 bytes, with a limit of 30",
     {99, 30, 9, 99, 9},
     "1;a={25*b}\\r\\nx\\r\\n1;a={25*b}\\r\\nx\\r\\n0\\r\\n\\r\\n",
     "error 413 chunk-extensions-too-large"},
    {"a size with 60 zeros in front, with a limit of 30",
     {99, 30, 9, 99, 9},
     "{60*0}1\\r\\nx\\r\\n0\\r\\n\\r\\n",
     "error 413 chunk-extensions-too-large"},
    {"a trailer section of 60 bytes, with heads of 50 at most",
     {99, 99, 9, 50, 9},
     "0\\r\\nA: {26*b}\\r\\nA: {22*b}\\r\\n\\r\\n",
     "error 431 trailer-too-large"},
    {"a trailer section of 50 bytes, with heads of 50 at most",
     {99, 99, 9, 50, 9},
     "0\\r\\nA: {18*b}\\r\\nA: {20*b}\\r\\n\\r\\n",
     "complete"},
};

static int
run_chunk_limits(void)
{
    static struct test_case c = {.mode = BODY};
    static struct text actual;
    doing.now = &c;
    doing.expected = &c.expected;
    for (size_t i = 0; i < sizeof chunk_limit_cases / sizeof *chunk_limit_cases;
         i++) {
        struct http_chunked d;
        struct http_span piece;
        size_t at = 0, used;
        enum http_result result;
        c.input.n = c.expected.n = actual.n = 0;
        add_input(&c.input, chunk_limit_cases[i].input, "");
        text_printf(&c.expected, "%s\n", chunk_limit_cases[i].verdict);
        snprintf(doing.how, sizeof doing.how, "%s", chunk_limit_cases[i].what);
        http_chunked_init(&d, &chunk_limit_cases[i].limits);
        do {
            result = http_chunked_next(&d, c.input.p + at, c.input.n - at,
                                       &used, &piece);
            at += used;
        } while (result == HTTP_CONTENT);
        text_verdict(&actual, result, d.status, d.reason);
        compare(&actual);
    }
    return 0;
}

/* ---- What comes after the verdict ---------------------------------------- */

static void
must(bool holds, const char *how, const char *expected)
{
    static struct test_case c;
    if (holds)
        return;
    doing.now = &c;
    doing.expected = &c.expected;
    snprintf(doing.how, sizeof doing.how, "%s", how);
    text_printf(&c.expected, "%s\n", expected);
    complain("it is not so");
}

static int
run_final(void)
{
    static const char two[] = "PUT /a HTTP/1.1\r\nHost: x\r\n"
                              "Content-Length: 3\r\n\r\nabc"
                              "GET /b HTTP/1.1\r\nHost: y\r\n\r\n";
    static const char bad[] = "GET\r\n\r\n";
    struct http_request r;
    http_init(&r, &http_default_limits);
    must(http_parse(&r, two, sizeof two - 1) == HTTP_COMPLETE &&
             http_parse(&r, two, sizeof two - 1) == HTTP_COMPLETE &&
             r.header_count == 2,
         "call http_parse() again after HTTP_COMPLETE", "the same again");
    const char *next = two + r.consumed + r.content_length;
    http_init(&r, &http_default_limits);
    must(http_parse(&r, next, (size_t)(two + sizeof two - 1 - next)) ==
                 HTTP_COMPLETE &&
             http_is(next, r.target, "/b") && r.header_count == 1 &&
             r.content_length == 0 && r.body == HTTP_BODY_NONE,
         "parse the second of two requests, behind the body of the first",
         "complete, with nothing left of the first request");
    http_init(&r, &http_default_limits);
    must(http_parse(&r, bad, sizeof bad - 1) == HTTP_ERROR &&
             http_parse(&r, bad, sizeof bad - 1) == HTTP_ERROR &&
             r.status == 400,
         "call http_parse() again after HTTP_ERROR", "the same again");
    return 0;
}

/* Which host counts, and where the path begins. */
static void
check_target(const char *request, const char *host, const char *path)
{
    struct http_request r;
    char how[96];
    snprintf(how, sizeof how, "parse %s", request);
    how[strcspn(how, "\r")] = '\0';
    http_init(&r, &http_default_limits);
    must(http_parse(&r, request, strlen(request)) == HTTP_COMPLETE, how,
         "complete");
    must(http_is(request, r.host, host), how, "r.host is set as promised");
    must(http_is(request, r.path, path), how, "r.path is set as promised");
}

static int
run_lookup(void)
{
    static const char buf[] = "GET / HTTP/1.0\r\nAccept: a\r\nX-Y: b\r\n"
                              "aCCEPT: c\r\n\r\n";
    struct http_request r;
    http_init(&r, &http_default_limits);
    must(http_parse(&r, buf, sizeof buf - 1) == HTTP_COMPLETE, "parse a head",
         "complete");
    const struct http_header *h = http_find(&r, buf, "accept", NULL);
    must(h == &r.headers[0], "http_find() \"accept\"", "the first of two");
    h = http_find(&r, buf, "accept", h);
    must(h == &r.headers[2], "http_find() \"accept\" behind it", "the second");
    must(!http_find(&r, buf, "accept", h), "http_find() once more", "NULL");
    must(!http_find(&r, buf, "acce", NULL), "http_find() \"acce\"", "NULL");
    check_target("GET http://h:1/p?q HTTP/1.1\r\nHost: other\r\n\r\n", "h:1",
                 "/p?q");
    check_target("GET http://h?q HTTP/1.0\r\n\r\n", "h", "?q");
    check_target("GET http://h HTTP/1.0\r\n\r\n", "h", "");
    check_target("GET /p?q HTTP/1.1\r\nHost: other\r\n\r\n", "other", "/p?q");
    check_target("GET /p HTTP/1.0\r\n\r\n", "", "/p");
    check_target("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "x", "");
    check_target("CONNECT h:1 HTTP/1.1\r\nHost: other\r\n\r\n", "h:1", "");
    return 0;
}

static int
usage(void)
{
    fputs("usage: parse_check cases FILE TOPIC | input FILE N |\n"
          "       expected FILE N | count FILE | generated SEED N |\n"
          "       limits | chunk-limits | final | lookup\n",
          stderr);
    return 64;
}

int
main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    if (argc == 4 && strcmp(what, "cases") == 0)
        return run_topic(argv[2], argv[3]);
    if (argc == 4 && strcmp(what, "input") == 0)
        return print_case(argv[2], atoi(argv[3]), true);
    if (argc == 4 && strcmp(what, "expected") == 0)
        return print_case(argv[2], atoi(argv[3]), false);
    if (argc == 3 && strcmp(what, "count") == 0)
        return count_cases(argv[2]);
    if (argc == 4 && strcmp(what, "generated") == 0)
        return run_generated(strtoull(argv[2], NULL, 10), atoi(argv[3]));
    if (argc == 2 && strcmp(what, "limits") == 0)
        return run_limits();
    if (argc == 2 && strcmp(what, "chunk-limits") == 0)
        return run_chunk_limits();
    if (argc == 2 && strcmp(what, "final") == 0)
        return run_final();
    if (argc == 2 && strcmp(what, "lookup") == 0)
        return run_lookup();
    return usage();
}
