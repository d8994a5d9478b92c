/*
 * The scenes that look at the stacks themselves, and at what has to be saved
 * when one is left for another: see coro_scenes.c.
 */
#include <fenv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "coro.h"
#include "scenes.h"

/* --- stacks --------------------------------------------------------------- */

/* The lines of /proc/self/maps: counts pages without rights with a mapping
 * right above. Says where `at` lies, if it lies in one of them. */
static int
count_guards(const char *at, bool *is_in_guard)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], rights[5];
    unsigned long low, high, guard_low = 0, guard_high = 0;
    int n = 0;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %4s", &low, &high, rights) != 3)
            continue;
        if (guard_high == low && strcmp(rights, "rw-p") == 0) {
            n++;
            if ((unsigned long)at >= guard_low && (unsigned long)at < low)
                *is_in_guard = true;
        }
        bool is_page = high - low == (unsigned long)sysconf(_SC_PAGESIZE);
        guard_low = low;
        guard_high = is_page && strcmp(rights, "---p") == 0 ? high : 0;
    }
    if (maps != NULL)
        fclose(maps);
    return n;
}

static int guards_before; /* what belongs to others: threads have them, too */

static int
guards(void)
{
    return count_guards(NULL, &(bool){false}) - guards_before;
}

static void
nap(void *arg)
{
    (void)arg;
    coro_yield();
    coro_yield();
}

static void
count_stacks(void *arg)
{
    (void)arg;
    printf("%zu coroutines, %d guard pages\n", coro_stats().alive, guards());
}

void
scene_guards(void)
{
    guards_before = guards();
    for (int i = 0; i < 9; i++)
        spawn(nap, NULL);
    spawn(count_stacks, NULL);
    coro_run();
    printf("none: %d guard pages\n", guards());
}

/* It is printf() in a signal handler, on purpose: the program stands in
 * swallow_stack(), not in printf(), and it is about to end. */
static void
on_fault(int signo, siginfo_t *info, void *context)
{
    bool is_in_guard = false;
    (void)context;
    count_guards(info->si_addr, &is_in_guard);
    printf("stopped %s\n", is_in_guard ? "in a guard page" : "somewhere");
    fflush(stdout);
    signal(signo, SIG_DFL); /* returning repeats the access, and ends it */
}

static int
swallow_stack(volatile char *above)
{
    volatile char mine[512];
    mine[0] = *above;
    return mine[0] == 'x' ? 0 : 1 + swallow_stack(mine);
}

static void
recurse(void *arg)
{
    char start = 0;
    (void)arg;
    printf("%d levels, and no end?\n", swallow_stack(&start));
}

/* The fault comes where no stack is left, so the handler needs another. */
static void
catch_faults(void)
{
    static char room[65536];
    stack_t other = {.ss_sp = room, .ss_size = sizeof room};
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&other, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

void
scene_overflow(void)
{
    catch_faults();
    for (int i = 0; i < 4; i++)
        spawn(nap, NULL);
    spawn(recurse, NULL);
    for (int i = 0; i < 4; i++)
        spawn(nap, NULL);
    coro_run();
}

static void
spawn_and_wait(void *arg)
{
    long generations = (long)arg;
    if (generations > 1)
        spawn(spawn_and_wait, (void *)(generations - 1));
    coro_yield();
}

static long
page_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

void
scene_reuse(void)
{
    long before = page_faults();
    spawn(spawn_and_wait, (void *)10000L);
    coro_run();
    long faults = page_faults() - before;
    printf("10000 coroutines, two at a time: %s\n",
           faults < 1000 ? "old pages" : "new pages for each");
}

static void
leave_crowd(void *arg)
{
    for (int i = 0; i < 1000; i++)
        spawn(nap, NULL);
    for (int i = 0; i < 4; i++)
        coro_yield();
    printf("a crowd of 1000 has %s, %d stacks are kept\n",
           coro_stats().alive == 1 ? "ended" : "not ended", guards() - 1);
    (void)arg;
}

void
scene_crowd(void)
{
    guards_before = guards();
    spawn(leave_crowd, NULL);
    coro_run();
}

/* --- registers ------------------------------------------------------------ */

/* More values than there are registers that outlive a call, so that the
 * compiler uses all of them, across coro_yield(). */
static void
hold_registers(void *arg)
{
    volatile unsigned long seed = (unsigned long)arg;
    unsigned long a = seed + 1, b = seed + 2, c = seed + 3, d = seed + 4;
    unsigned long e = seed + 5, f = seed + 6, g = seed + 7, h = seed + 8;
    double x = (double)seed, y = x + 0.25, z = x + 0.5;
    for (int i = 0; i < 1000; i++) {
        coro_yield();
        a += b, b += c, c += d, d += e, e += f, f += g, g += h, h += a;
        x += y, y += z, z += 1;
    }
    printf("%ld: %lu %.2f\n", (long)arg,
           (a ^ b ^ c ^ d ^ e ^ f ^ g ^ h) & 65535, x + y + z);
}

void
scene_registers(void)
{
    for (long i = 1; i <= 3; i++)
        spawn(hold_registers, (void *)(i * 1000));
    coro_run();
}

/* How to round is a register, too: the one coroutine's is not the other's. */
static void
round_down(void *arg)
{
    volatile double one = 1, three = 3;
    (void)arg;
    coro_yield();
    fesetround(FE_DOWNWARD);
    double low = one / three;
    coro_yield();
    printf("still down: %s\n",
           one / three == low && fegetround() == FE_DOWNWARD ? "yes" : "no");
}

static void
round_up(void *arg)
{
    volatile double one = 1, three = 3;
    (void)arg;
    fesetround(FE_UPWARD);
    double high = one / three;
    coro_yield();
    coro_yield();
    printf("still up: %s\n",
           one / three == high && fegetround() == FE_UPWARD ? "yes" : "no");
}

void
scene_rounding(void)
{
    spawn(round_up, NULL);
    spawn(round_down, NULL);
    coro_run();
    printf("the loop: %s\n", fegetround() == FE_TONEAREST ? "as before" : "no");
}
