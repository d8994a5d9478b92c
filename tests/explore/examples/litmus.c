/*
 * Small programs about memory order ("litmus tests"). Each asks: can it happen
 * that ...? A scenario fails when it can.
 *
 *   passing-   a writer fills in data and then sets a flag; can a reader see
 *              the flag and not the data?
 *   crossing-  each of two threads sets its own flag and then reads the
 *              other's; can both find 0? (Yes: a store may still be in the
 *              processor's store buffer when the next load is done.)
 *   opposite-  two threads set a flag each; can two readers see them set in
 *              opposite orders?
 *   counting-  two threads add one to a counter; can it be 1 in the end?
 *
 *     tests/explore/run -a tests/explore/examples/litmus.c
 */
#include "explore.h"
#include <stdatomic.h>

static int data;
static atomic_int x, y, count;
static int a, b, c, d; /* what the readers have seen */

#define SET(FLAG, ORDER) atomic_store_explicit(&FLAG, 1, memory_order_##ORDER)
#define GET(FLAG, ORDER) atomic_load_explicit(&FLAG, memory_order_##ORDER)
#define FENCE(ORDER)     atomic_thread_fence(memory_order_##ORDER)
#define ACT(NAME, ...)                                                         \
    static void NAME(long number)                                              \
    {                                                                          \
        (void)number;                                                          \
        __VA_ARGS__;                                                           \
    }

ACT(write_relaxed, data = 1, SET(x, relaxed))
ACT(write_release, data = 1, SET(x, release))
ACT(write_fence, data = 1, FENCE(release), SET(x, relaxed))
ACT(read_relaxed, if (GET(x, relaxed)) data++)
ACT(read_acquire, if (GET(x, acquire)) data++)
ACT(
    read_fence, if (GET(x, relaxed)) {
        FENCE(acquire);
        data++;
    })

ACT(left_relaxed, SET(x, relaxed), a = GET(y, relaxed))
ACT(right_relaxed, SET(y, relaxed), b = GET(x, relaxed))
ACT(left_release, SET(x, release), a = GET(y, acquire))
ACT(right_release, SET(y, release), b = GET(x, acquire))
ACT(left_seq_cst, SET(x, seq_cst), a = GET(y, seq_cst))
ACT(right_seq_cst, SET(y, seq_cst), b = GET(x, seq_cst))
ACT(left_fence, SET(x, relaxed), FENCE(seq_cst), a = GET(y, relaxed))
ACT(right_fence, SET(y, relaxed), FENCE(seq_cst), b = GET(x, relaxed))
ACT(not_both_zero, if (a == 0 && b == 0) fail("both threads have found 0"))

ACT(set_x, SET(x, seq_cst))
ACT(set_y, SET(y, seq_cst))
ACT(x_then_y_acquire, a = GET(x, acquire), b = GET(y, acquire))
ACT(y_then_x_acquire, c = GET(y, acquire), d = GET(x, acquire))
ACT(x_then_y_seq_cst, a = GET(x, seq_cst), b = GET(y, seq_cst))
ACT(y_then_x_seq_cst, c = GET(y, seq_cst), d = GET(x, seq_cst))
ACT(same_order, if (a == 1 && b == 0 && c == 1 && d == 0)
                    fail("x was first for one reader, and y for the other"))

ACT(add_plain, data++)
ACT(add_two_steps, atomic_store(&count, atomic_load(&count) + 1))
ACT(add_one_step, atomic_fetch_add_explicit(&count, 1, memory_order_relaxed))
ACT(count_is_2, if (count != 2) fail("the counter is %d", count))

#define TWO(NAME, LEFT, RIGHT, CHECK)                                          \
    {                                                                          \
        .name = NAME,                                                          \
        .threads = {{"main", {{CHECK, 0}}},                                    \
                    {"left", {{LEFT, 0}}},                                     \
                    {"right", {{RIGHT, 0}}}},                                  \
        .preemptions = 2, .stale = 2                                           \
    }
#define FOUR(NAME, READ_X_Y, READ_Y_X)                                         \
    {                                                                          \
        .name = NAME,                                                          \
        .threads = {{"main", {{same_order, 0}}},                               \
                    {"set x", {{set_x, 0}}},                                   \
                    {"set y", {{set_y, 0}}},                                   \
                    {"read x y", {{READ_X_Y, 0}}},                             \
                    {"read y x", {{READ_Y_X, 0}}}},                            \
        .preemptions = 2, .stale = 2                                           \
    }

const struct scenario scenarios[] = {
    TWO("passing-relaxed", write_relaxed, read_relaxed, NULL),
    TWO("passing-half", write_release, read_relaxed, NULL),
    TWO("passing-release", write_release, read_acquire, NULL),
    TWO("passing-fences", write_fence, read_fence, NULL),
    TWO("crossing-relaxed", left_relaxed, right_relaxed, not_both_zero),
    TWO("crossing-release", left_release, right_release, not_both_zero),
    TWO("crossing-seq-cst", left_seq_cst, right_seq_cst, not_both_zero),
    TWO("crossing-fences", left_fence, right_fence, not_both_zero),
    FOUR("opposite-acquire", x_then_y_acquire, y_then_x_acquire),
    FOUR("opposite-seq-cst", x_then_y_seq_cst, y_then_x_seq_cst),
    TWO("counting-plain", add_plain, add_plain, NULL),
    TWO("counting-two-steps", add_two_steps, add_two_steps, count_is_2),
    TWO("counting-one-step", add_one_step, add_one_step, count_is_2),
    {0},
};
