/* The scenarios of loop-trace that are about timers. */
#include "trace.h"

void
one_timer(void)
{
    struct thing *t = new_timer("a timer of 20 ms", print);
    int64_t begin = loop_now(loop);
    loop_timer_start(&t->timer, 20, 0);
    loop_run(loop);
    int64_t ms = loop_now(loop) - begin;
    printf("20 ms have passed: %s; many more: %s\n", ms >= 20 ? "yes" : "no",
           ms >= 2000 ? "yes" : "no");
    close_thing(t, closed_quietly);
    loop_run(loop);
}

void
timer_order(void)
{
    static const struct {
        const char *name;
        int ms;
    } timers[] = {{"40 ms", 40},       {"20 ms, first", 20},
                  {"0 ms, first", 0},  {"20 ms, second", 20},
                  {"60 ms", 60},       {"0 ms, second", 0},
                  {"20 ms, third", 20}};
    struct thing *t[7];
    for (int i = 0; i < 7; i++) {
        t[i] = new_timer(timers[i].name, print);
        loop_timer_start(&t[i]->timer, timers[i].ms, 0);
    }
    rest_ms(30); /* so that several are due in one turn */
    loop_run(loop);
    for (int i = 0; i < 7; i++)
        close_thing(t[i], closed_quietly);
    loop_run(loop);
}

enum { MANY = 10000 };
static struct thing *last_fired;
static int fired, out_of_order;

static void
check_order(void *arg)
{
    struct thing *t = arg, *last = last_fired;
    fired++;
    if (last != NULL && (t->timer.due < last->timer.due ||
                         (t->timer.due == last->timer.due &&
                          t->timer.order < last->timer.order)))
        out_of_order++;
    last_fired = t;
}

void
many_timers(void)
{
    static struct thing *t[MANY];
    unsigned random = 1;
    for (int i = 0; i < 3 * MANY; i++) { /* each three times: 2/3 are stopped */
        int k = i % MANY;
        if (t[k] == NULL)
            t[k] = new_timer("one of many", check_order);
        random = random * 1664525 + 1013904223;
        loop_timer_start(&t[k]->timer, (random >> 16) % 50, 0);
        if (i >= MANY && k % 3 != 0)
            loop_timer_stop(&t[k]->timer);
    }
    loop_run(loop);
    printf("%d of %d timers fired, %d out of order\n", fired, MANY,
           out_of_order);
    for (int i = 0; i < MANY; i++)
        close_thing(t[i], closed_quietly);
    loop_run(loop);
}

static void
start_again(void *arg)
{
    struct thing *t = arg;
    tell(t);
    if (++t->calls < 3)
        loop_timer_start(&t->timer, 0, 0);
    else
        close_thing(t, closed_quietly);
}

static void
tell_three_times(void *arg)
{
    struct thing *t = arg;
    tell(t);
    if (++t->calls == 3)
        close_thing(t, closed_quietly);
}

static void
close_quietly(void *arg)
{
    close_thing(arg, closed_quietly);
}

void
zero_timers(void)
{
    new_hook("check", LOOP_CHECK, tell_three_times);
    /* Or who closes at once, not in the close phase, sleeps in turn 3. */
    loop_timer_start(&new_timer("the end", close_quietly)->timer, 20, 0);
    loop_timer_start(&new_timer("a zero timer", start_again)->timer, 0, 0);
    loop_timer_start(&new_timer("another one", start_again)->timer, 0, 0);
    loop_run(loop);
}

static int64_t begun;

static void
stall(void *arg)
{
    struct thing *t = arg;
    int64_t due = t->timer.due - begun; /* of the next time, already */
    t->calls++;
    printf("run %d: the next time is a multiple of 10 ms: %s; in the past: "
           "%s\n",
           t->calls, due % 10 == 0 ? "yes" : "no",
           t->timer.due <= loop_now(loop) ? "yes" : "no");
    rest_ms(t->calls == 2 ? 35 : 3);
    if (t->calls == 4)
        close_thing(t, closed_quietly);
}

void
repeat(void)
{
    begun = loop_now(loop);
    loop_timer_start(&new_timer("repeats", stall)->timer, 10, 10);
    loop_run(loop);
}

static void
stop_victim(void *arg)
{
    struct thing *t = arg;
    printf("%s stops %s, and starts itself for later\n", t->name,
           t->victim->name);
    loop_timer_stop(&t->victim->timer);
    t->timer.run = print;
    loop_timer_start(&t->timer, 10, 0);
}

void
timer_stop(void)
{
    struct thing *a = new_timer("a", stop_victim);
    struct thing *b = new_timer("b", print);
    struct thing *c = new_timer("c", print);
    a->victim = b;
    loop_timer_start(&a->timer, 0, 0); /* all of them are due in one turn */
    loop_timer_start(&b->timer, 0, 0);
    loop_timer_start(&c->timer, 0, 0);
    loop_run(loop);
    close_thing(a, closed_quietly);
    close_thing(b, closed_quietly);
    close_thing(c, closed_quietly);
    loop_run(loop);
}

/* Each of these steps is far from the others: 100 ms. */
void
put_off(void)
{
    struct thing *a = new_timer("put off from 5 to 150 ms", print);
    struct thing *b = new_timer("put off from 10 to 20, brought to 0", print);
    struct thing *c = new_timer("50 ms", print);
    loop_timer_start(&a->timer, 5, 0);
    loop_timer_start(&b->timer, 10, 0);
    loop_timer_start(&c->timer, 50, 0);
    loop_timer_start(&a->timer, 100, 0);
    loop_timer_start(&a->timer, 150, 0);
    loop_timer_start(&b->timer, 20, 0);
    loop_timer_start(&b->timer, 0, 0);
    loop_run(loop);
    printf("150 ms have passed: %s\n",
           loop_now(loop) >= a->timer.due ? "yes" : "no");
    close_thing(a, closed_quietly);
    close_thing(b, closed_quietly);
    close_thing(c, closed_quietly);
    loop_run(loop);
}

/* --- the timeout --------------------------------------------------------- */

void
timeout(void)
{
    static const struct {
        const char *when;
        bool waits;
        int64_t until;
    } rules[] = {
        {"nothing waits, no timer", false, -1},
        {"nothing waits, a timer in 25 ms", false, 25},
        {"nothing waits, a timer is due", false, 0},
        {"something waits, no timer", true, -1},
        {"something waits, a timer in 25 ms", true, 25},
        {"nothing waits, a timer in 2^40 ms", false, INT64_C(1) << 40},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        printf("%s: %d\n", rules[i].when,
               loop_timeout(rules[i].waits, rules[i].until));
}

void
sleeps(void)
{
    struct thing *t = new_timer("a timer of 300 ms", close_both);
    struct thing *check = new_hook("check", LOOP_CHECK, count);
    t->victim = check;
    loop_timer_start(&t->timer, 300, 0);
    loop_run(loop);
    printf("turns in 300 ms: %s\n", check->calls <= 5 ? "few" : "many");
    free(check);
    free(t);
}
