/* Compares the two scans of a request parser (stage 13): skip(), which takes
 * sixteen bytes at a time, has to stop where skip_plain() does.
 *
 * For each class it tries every byte at every place of short texts, and random
 * texts of mostly usual bytes; always so that a read behind the end is a fault.
 *
 * Exit status: 0, or 1 and what was wrong on stdout.
 */
#include "http_scan.h"

#include "last_word.h"
#include "parse_cases.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    enum class class;
    const char *name;
    const char *usual; /* bytes that random texts are made of */
} scanned[] = {
    {TOKEN, "TOKEN", "abcXYZ-"},
    {PATH, "PATH", "abcXYZ/.-_?=&019"},
    {URI, "URI", "abcXYZ/.-_?=:[]@"},
    {TEXT, "TEXT", "abc XYZ;,=\"()/019"},
};

static const char *trying_name;
static struct text trying;

static void __attribute__((noreturn)) complain(const char *actual)
{
    struct text did = {0};
    text_printf(&did, "skip() over \"");
    text_escaped(&did, trying.p, trying.n);
    text_printf(&did, "\", class %s", trying_name);
    print_labelled("did:", did.p);
    print_labelled("expected:", "the place where skip_plain() stops");
    print_labelled("actual:", actual);
    exit(1);
}

static void
on_fault(int signo)
{
    (void)signo;
    complain("it reads behind the end (SIGSEGV)");
}

static void
try(enum class class, const char *p, size_t n)
{
    char actual[64];
    trying.n = 0;
    text_add(&trying, p, n);
    const char *start = at_the_end(p, n), *end = start + n;
    const char *plain = skip_plain(start, end, class);
    const char *fast = skip(start, end, class);
    if (fast == plain)
        return;
    snprintf(actual, sizeof actual, "%td, but skip_plain() stops at %td",
             fast - start, plain - start);
    complain(actual);
}

/* Every byte at every place of texts up to 40 bytes long. */
static void try_all(enum class class)
{
    char text[40];
    for (size_t n = 0; n <= sizeof text; n++)
        for (size_t at = 0; at < n; at++)
            for (int byte = 0; byte < 256; byte++) {
                memset(text, 'a', n);
                text[at] = (char)byte;
                try(class, text, n);
            }
}

static void
try_random(enum class class, const char *usual, int count)
{
    static uint64_t state = 88172645463325252u;
    char text[200];
    while (count-- > 0) {
        size_t n = (size_t)(state >> 20) % sizeof text;
        for (size_t i = 0; i < n; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            unsigned dice = (unsigned)(state >> 33);
            text[i] = dice % 40 ? usual[dice / 40 % strlen(usual)]
                                : (char)(dice / 40);
        }
        try(class, text, n);
    }
}

int
main(void)
{
    take_last_word();
    signal(SIGSEGV, on_fault);
    for (size_t i = 0; i < sizeof scanned / sizeof *scanned; i++) {
        trying_name = scanned[i].name;
        try_all(scanned[i].class);
        try_random(scanned[i].class, scanned[i].usual, 5000);
    }
    say_last_word();
    return 0;
}
