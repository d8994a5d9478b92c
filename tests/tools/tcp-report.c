#include "tcp-report.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DID_LINES  10 /* steps that a failure shows */
#define SHOWN_MORE 12 /* bytes of the pattern: most are escaped, \xHH */

char *(*fail_note)(void);
char last_printed = '\n';

static char **did; /* a line for each step done */
static size_t did_n;

void
remember(char *line)
{
    did = grow(did, (did_n + 1) * sizeof *did);
    did[did_n++] = line;
}

void
remember_more(const char *more)
{
    did[did_n - 1] = text("%s: %s", did[did_n - 1], more);
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

void
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

void
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
