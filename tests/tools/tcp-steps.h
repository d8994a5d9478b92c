/*
 * For tcp: the steps that a scenario can be made of.
 */
#pragma once
#include "tcp-bytes.h"
#include <stdbool.h>

struct kind {
    const char *name;
    const char *args; /* what follows, and thereby how to read it */
    bool connects;    /* is about the current connection, opens it if need be */
    void (*run)(void);
    const char *help;
};

struct step {
    const struct kind *kind;
    size_t number;     /* N, MS, PID, ...; 0 when left out */
    const char *word;  /* NAME */
    struct bytes text; /* TEXT without its escapes, or what is in FILE */
    const char *line;  /* how a failure shows this step */
};

/* All of them; after the last one there is one without a name. */
extern const struct kind kinds[];

/* Does a step. Returns only if all went well. */
void run_step(const struct step *step);
