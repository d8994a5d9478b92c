/*
 * The last word of a program that is linked with the code it judges.
 *
 * Its exit status alone proves nothing: the code under test may have called
 * exit(0), and what comes after was never looked at. So a test (play, in
 * lib.bash) gives such a program a word that nobody can know in advance, in the
 * environment, and believes status 0 only if it has been said, on a line of its
 * own. Without a word, by hand, nothing is said.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char last_word[64];

/* First of all: takes the word out of the environment, where the code under
 * test could read it. */
static void
take_last_word(void)
{
    char *given = getenv("LAST_WORD");
    if (given == NULL)
        return;
    snprintf(last_word, sizeof last_word, "%s\n", given);
    memset(given, 0, strlen(given));
}

/* Last of all, when everything has been as it should. */
static void
say_last_word(void)
{
    fputs(last_word, stdout);
    fflush(stdout);
}
