/*
 * For parse_check: the file of cases, and its notation for bytes.
 */
#include "parse_check.h"

#include <ctype.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
const char *
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

int
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
int
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

int
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
