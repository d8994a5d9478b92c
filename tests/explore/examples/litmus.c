/*
 * The classic small programs about memory order, each a question: can it
 * happen? A scenario fails when it does. Names end with the order of the loads
 * and stores; see handouts/explorer.md.
 *
 *   passing-    a writer stores data and then a flag; a reader sees the flag
 *               and not the data ("message passing")
 *   crossing-   each of two threads stores to a place and then reads the
 *               other's; neither sees the other's store ("store buffering")
 *   coherence-  of two stores to one place, a reader sees first the second and
 *               then the first
 *   iriw-       two readers see two independent stores in opposite orders
 */
#include "explore.h"
#include <stdatomic.h>

static atomic_int x, y;
static int data, seen[4];

#define LOAD(PLACE, ORDER) atomic_load_explicit(PLACE, memory_order_##ORDER)
#define STORE(PLACE, ORDER) atomic_store_explicit(PLACE, 1, memory_order_##ORDER)

/* --- passing ------------------------------------------------------------- */

#define PASSING(NAME, WRITE, READ)                                             \
    static void pass_##NAME(long unused)                                       \
    {                                                                          \
        data = 42 + (int)unused;                                               \
        STORE(&x, WRITE);                                                      \
    }                                                                          \
    static void get_##NAME(long unused)                                        \
    {                                                                          \
        if (LOAD(&x, READ) == 1 && data != 42)                                 \
            fail("the flag is set, and the data is %d%ld", data, unused);      \
    }
