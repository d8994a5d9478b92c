/*
 * What it costs to leave one flow of control for another: `make bench
 * BENCH=coro` builds it with switch_asm.c of stage 10.
 *
 *   bench_coro      a line WAY,NANOSECONDS for each way
 *
 * call is what a callback costs: a call through a pointer. In asm and ucontext
 * two stacks of one thread are left for each other. In thread two threads on
 * one processor wake each other and go to sleep, as threads do that wait for
 * answers. Each number is the cost of one change from one to the other, in the
 * best of 200 series: whatever disturbs a series only ever makes it longer.
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#include "switch_asm.h"

enum {
    SERIES = 200,
    TIMES = 2000, /* so few that a series often fits into one time slice */
    STACK_SIZE = 65536,
};

static double
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* One `there_and_back` makes `changes` changes. */
static void
measure(const char *way, void (*there_and_back)(void), int changes)
{
    double best = 1e18;
    for (int n = 0; n < SERIES; n++) {
        double begin = now_ns();
        for (int i = 0; i < TIMES; i++)
            there_and_back();
        double took = (now_ns() - begin) / TIMES / changes;
        if (took < best)
            best = took;
    }
    printf("%s,%.2f\n", way, best);
}

static void
call(void)
{
    __asm__ volatile("" : : : "memory");
}

/* --- one thread, two stacks ----------------------------------------------- */

static void *main_sp, *other_sp;
static ucontext_t main_context, other_context;

static void
return_by_asm(void)
{
    for (;;)
        switch_asm(&other_sp, main_sp);
}

static void
there_by_asm(void)
{
    switch_asm(&main_sp, other_sp);
}

static void
return_by_ucontext(void)
{
    for (;;)
        swapcontext(&other_context, &main_context);
}

static void
there_by_ucontext(void)
{
    swapcontext(&main_context, &other_context);
}

/* --- two threads ---------------------------------------------------------- */

static sem_t ping, pong;

static void *
answer(void *arg)
{
    for (int i = 0; i < SERIES * TIMES; i++) {
        sem_wait(&ping);
        sem_post(&pong);
    }
    return arg;
}

static void
there_by_thread(void)
{
    sem_post(&ping);
    sem_wait(&pong);
}

static void
measure_threads(void)
{
    pthread_t thread;
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    if (pthread_create(&thread, NULL, answer, NULL) != 0)
        errx(1, "pthread_create");
    measure("thread", there_by_thread, 2);
    pthread_join(thread, NULL);
}

static void
stay_on_one_processor(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one) < 0)
        warn("sched_setaffinity");
}

int
main(void)
{
    stay_on_one_processor();
    measure("call", call, 1);

    char *stack = aligned_alloc(4096, STACK_SIZE);
    if (HAVE_SWITCH_ASM) {
        other_sp = switch_asm_prepare(stack + STACK_SIZE, return_by_asm);
        measure("asm", there_by_asm, 2);
    }

    getcontext(&other_context);
    other_context.uc_stack.ss_sp = stack;
    other_context.uc_stack.ss_size = STACK_SIZE;
    makecontext(&other_context, return_by_ucontext, 0);
    measure("ucontext", there_by_ucontext, 2);
    free(stack);

    measure_threads();
    return 0;
}
