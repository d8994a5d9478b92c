#include "explore.h"
#include <stdatomic.h>
static int data;
static atomic_int ready;
static void
writer(long value)
{
    data = (int)value;
    atomic_store_explicit(&ready, 1, memory_order_release);
}
static void
reader(long value)
{
    if (atomic_load_explicit(&ready, memory_order_acquire) && data != value)
        fail("the reader was told that the data is ready, and read %d", data);
}
const struct scenario scenarios[] = {
    {.name = "message-passing",
     .threads = {{0}, {"writer", {{writer, 42}}}, {"reader", {{reader, 42}}}},
     .preemptions = 2,
     .stale = 1},
    {0},
};
