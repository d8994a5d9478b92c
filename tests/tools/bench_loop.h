/* What the benches of the two loops, ours and libuv, have in common: what is done, how
 * often, and the line of CSV that says how long it took. See scripts/bench-loop. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    TIMERS = 1000000,    /* all of them started, half of them stopped */
    TIMER_SPREAD = 1000, /* ms: the last one is due then */
    POSTS = 1000000,     /* from each of two threads */
    BALLS = 100000,      /* posts to another loop that are posted back */
    JOBS = 200000,
};

static inline double
clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Begins and ends a measurement: wall clock, and CPU time of all threads. */
static double wall_us, cpu_us;

static inline void
begin(void)
{
    wall_us = clock_us(CLOCK_MONOTONIC);
    cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

/* One line: what, loop, wall ns and CPU ns for each of `count`. */
static inline void
end(const char *what, const char *loop, long count)
{
    double cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_us;
    double wall = clock_us(CLOCK_MONOTONIC) - wall_us;
    printf("%s,%s,%.1f,%.1f\n", what, loop, wall * 1e3 / (double)count,
           cpu * 1e3 / (double)count);
}

/* The same times in the same order for both: 1 to TIMER_SPREAD ms. */
static inline uint32_t
next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (state >> 8) % TIMER_SPREAD + 1;
}
