/*
 * The scenarios of stage 07: a mutex and condition variables.
 *
 * One slot or two are enough: a queue that is never full or empty never makes
 * anybody wait. The bounds are such that all of them together take seconds.
 */
#include "jobs.h"

#define MAIN                                                                   \
    {                                                                          \
        "main",                                                                \
        {                                                                      \
            {                                                                  \
                finish                                                         \
            }                                                                  \
        }                                                                      \
    }

/* clang-format off */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* {pop} */
const struct scenario scenarios[] = {
    {.name = "one-slot", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}, {push, 3}}},
                 {"consumer", {{pop}, {pop}, {pop}}}},
     .preemptions = 3, .spurious = 1},
    {.name = "two-slots", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}, {push, 3}}},
                 {"consumer", {{pop}, {pop}, {pop}}}},
     .preemptions = 3, .spurious = 1},
    {.name = "two-producers", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"prod A", {{push, 1}, {push, 2}}},
                 {"prod B", {{push, 3}}},
                 {"consumer", {{pop}, {pop}, {pop}}}},
     .preemptions = 2, .spurious = 1},
    {.name = "two-consumers", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}, {push, 3}}},
                 {"cons A", {{pop}}},
                 {"cons B", {{pop}, {pop}}}},
     .preemptions = 2, .spurious = 1},
    {.name = "two-and-two", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"prod A", {{push, 1}, {push, 2}}},
                 {"prod B", {{push, 3}}},
                 {"cons A", {{pop}, {pop}}},
                 {"cons B", {{pop}}}},
     .preemptions = 1},
    {.name = "try", .setup = {{make, 2}, {laps, 100}}, .capacity = 2,
     .threads = {MAIN,
                 {"A", {{try_push, 1}, {try_push, 2}, {try_push, 3}}},
                 {"B", {{try_pop}, {try_push, 4}, {try_pop}}},
                 {"C", {{length, 2}}}},
     .preemptions = 3},
    {.name = "close-pop", .setup = {{make, 2}}, .capacity = 2,
     .threads = {MAIN,
                 {"cons A", {{pop}}},
                 {"cons B", {{pop}}},
                 {"closer", {{close_queue, 9}}}},
     .preemptions = 3, .spurious = 1},
    {.name = "close-push", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"prod A", {{push, 1}, {push, 2}}},
                 {"prod B", {{push, 3}}},
                 {"closer", {{close_queue, 9}, {push, 4}}}},
     .preemptions = 2, .spurious = 1},
    {.name = "close-race", .setup = {{make, 1}}, .capacity = 1,
     .threads = {MAIN,
                 {"producer", {{push, 1}, {push, 2}, {close_queue}}},
                 {"consumer", {{pop}, {pop}, {pop}}},
                 {"closer", {{close_queue}}}},
     .preemptions = 2, .spurious = 1},
    {0},
};
/* clang-format on */
