/*
 * For supervise: the way from fork() to exec(), in a child that inherits
 * nothing of the tests.
 */
#pragma once
#include "supervise-options.h"

/* Turns the child into the program, with `out` and `err` as its outputs. If
 * that fails, the reason goes to `report`, and the child ends. */
_Noreturn void become_program(const struct options *opt, int out, int err,
                              int report);
