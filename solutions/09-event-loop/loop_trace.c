/*
 * loop-trace SCENARIO: sets up a small scenario, runs the loop, and prints what is
 * called, in which order. `loop-trace` alone lists the scenarios.
 *
 * Whatever depends on the machine is not printed as it is, but compared here, so
 * that the output is the same every time. It begins with the turn of the loop
 * where that is the point.
 */
#include "trace.h"

#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct loop *loop;

void
must(bool ok, const char *what)
{
    if (!ok)
        err(1, "%s", what);
}

__attribute__((format(printf, 1, 2))) void
in_turn(const char *form, ...)
{
    va_list args;
    va_start(args, form);
    printf("turn %d: ", (int)loop_stats(loop)->turns);
    vprintf(form, args);
    putchar('\n');
    va_end(args);
}

void
rest_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* A starter ends the program where something is missing: that is no leak. */
static struct thing *volatile latest;

struct thing *
new_thing(const char *name)
{
    struct thing *t = calloc(1, sizeof *t);
    must(t != NULL, "calloc");
    t->name = name;
    t->other_end = -1;
    latest = t;
    return t;
}

struct thing *
new_timer(const char *name, void (*run)(void *arg))
{
    struct thing *t = new_thing(name);
    must(loop_timer_init(loop, &t->timer, run, t) == 0, "loop_timer_init");
    return t;
}

struct thing *
new_hook(const char *name, enum loop_phase phase, void (*run)(void *arg))
{
    struct thing *t = new_thing(name);
    loop_hook_init(loop, &t->hook, phase, run, t);
    loop_hook_start(&t->hook);
    return t;
}

/* One end of a pair of sockets; it is readable from the start. */
struct thing *
new_io(const char *name, void (*ready)(void *arg, uint32_t events))
{
    int ends[2];
    struct thing *t = new_thing(name);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0,
         "socketpair");
    t->other_end = ends[1];
    must(write(t->other_end, "x", 1) == 1, "write");
    loop_io_init(loop, &t->io, ends[0], ready, t);
    must(loop_io_want(&t->io, EPOLLIN) == 0, "loop_io_want");
    return t;
}

void
closed(void *arg)
{
    struct thing *t = arg;
    in_turn("%s is closed", t->name);
    free(t);
}

void
closed_quietly(void *arg)
{
    free(arg);
}

void
close_thing(struct thing *t, void (*when_closed)(void *arg))
{
    int other_end = t->other_end, end = t->io.fd;
    loop_close(&t->handle, when_closed);
    if (other_end < 0)
        return;
    close(end);
    close(other_end);
}

/* --- callbacks that several scenarios use -------------------------------- */

void
tell(void *arg)
{
    struct thing *t = arg;
    in_turn("%s", t->name);
}

void
tell_and_close(void *arg)
{
    tell(arg);
    close_thing(arg, closed);
}

void
print(void *arg)
{
    struct thing *t = arg;
    printf("%s\n", t->name);
}

void
tell_ready_and_close(void *arg, uint32_t events)
{
    (void)events;
    tell_and_close(arg);
}

void
close_victim_too(void *arg)
{
    struct thing *t = arg;
    tell(t);
    if (t->victim != NULL)
        close_thing(t->victim, closed);
    close_thing(t, closed);
}

void
ready_close_victim_too(void *arg, uint32_t events)
{
    (void)events;
    close_victim_too(arg);
}

static void
run_and_free(struct thing *post)
{
    tell(post);
    free(post);
}

static void
run_post(void *arg)
{
    run_and_free(arg);
}

void
post_thing(const char *name)
{
    struct thing *t = new_thing(name);
    t->post = (struct loop_post){.run = run_post, .arg = t};
    loop_post(loop, &t->post);
}

void
count(void *arg)
{
    struct thing *t = arg;
    t->calls++;
}

void
close_both(void *arg)
{
    struct thing *t = arg;
    close_thing(t->victim, NULL);
    close_thing(t, NULL);
}

const char *
names(uint32_t events)
{
    static char text[64];
    snprintf(text, sizeof text, "%s%s%s%s", events & EPOLLIN ? " in" : "",
             events & EPOLLOUT ? " out" : "", events & EPOLLHUP ? " hup" : "",
             events & EPOLLET ? " edge" : "");
    return text;
}

void
tell_events(void *arg, uint32_t events)
{
    struct thing *t = arg;
    in_turn("%s:%s", t->name, names(events));
}

/* --- phases -------------------------------------------------------------- */

static void
phases(void)
{
    /* In an order that is not theirs. */
    new_hook("check", LOOP_CHECK, tell_and_close);
    new_io("poll", tell_ready_and_close);
    new_hook("prepare", LOOP_PREPARE, tell_and_close);
    new_hook("idle", LOOP_IDLE, tell_and_close);
    post_thing("pending");
    loop_timer_start(&new_timer("timer", tell_and_close)->timer, 0, 0);
    loop_run(loop);
}

/* --- everybody has a turn ------------------------------------------------ */

enum { TURNS = 100 };

static void
count_and_start(void *arg)
{
    struct thing *t = arg;
    t->calls++;
    loop_timer_start(&t->timer, 0, 0);
}

static void
count_and_post(void *arg)
{
    struct thing *t = arg;
    if (t->calls < 10 * TURNS) /* or it would never end if all came at once */
        loop_post(loop, &t->post);
    t->calls++;
}

static void
count_ready(void *arg, uint32_t events)
{
    (void)events;
    count(arg);
}

static void
stop_after_turns(void *arg)
{
    struct thing *t = arg;
    if (++t->calls == TURNS)
        loop_stop(loop);
}

static void
starvation(void)
{
    struct thing *timer =
        new_timer("a zero timer that starts itself", count_and_start);
    struct thing *post = new_thing("a post that posts itself");
    struct thing *idle = new_hook("an idle hook", LOOP_IDLE, count);
    struct thing *io = new_io("a descriptor that is always ready", count_ready);
    struct thing *check =
        new_hook("a check hook", LOOP_CHECK, stop_after_turns);
    struct thing *all[] = {timer, post, idle, io, check};
    loop_timer_start(&timer->timer, 0, 0);
    post->post = (struct loop_post){.run = count_and_post, .arg = post};
    loop_post(loop, &post->post);
    loop_run(loop);
    for (int i = 0; i < 5; i++)
        printf("%s: %d of %d turns\n", all[i]->name, all[i]->calls, TURNS);
    post->calls = 10 * TURNS; /* the last time */
    for (int i = 0; i < 5; i++)
        if (all[i] != post)
            close_thing(all[i], closed_quietly);
    loop_run(loop);
    free(post);
}

/* --- stop and end -------------------------------------------------------- */

static void
tell_and_stop(void *arg)
{
    tell_and_close(arg);
    loop_stop(loop);
}

static void
stop(void)
{
    struct thing *check = new_hook("check", LOOP_CHECK, tell);
    loop_timer_start(&new_timer("a timer stops the loop", tell_and_stop)->timer,
                     0, 0);
    loop_run(loop); /* the turn ends as always, and does not wait */
    printf("loop_run() has returned\n");
    loop_stop(loop);
    loop_run(loop);
    printf("stopped before it ran\n");
    close_thing(check, closed);
    loop_run(loop);
}

static void
end(void)
{
    loop_run(loop);
    printf("nothing there: it ends at once\n");
    struct thing *timer = new_timer("a timer that is stopped", print);
    struct thing *io = new_io("a descriptor that is not wanted", tell_events);
    loop_timer_start(&timer->timer, INT64_MAX, INT64_MAX);
    loop_timer_stop(&timer->timer);
    must(loop_io_want(&io->io, 0) == 0, "loop_io_want");
    loop_run(loop);
    printf("a stopped timer and an unwanted descriptor: at once\n");
    loop_hold(loop, 1);
    loop_timer_start(&timer->timer, 5, 0);
    timer->timer.run = (void (*)(void *))loop_stop;
    timer->handle.arg = loop;
    loop_run(loop);
    printf("held: it ends when it is stopped\n");
    timer->handle.arg = timer;
    loop_hold(loop, -1);
    close_thing(timer, closed_quietly);
    close_thing(io, closed_quietly);
    loop_run(loop);
}

/* --- main ---------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"phases", phases},
    {"one-timer", one_timer},
    {"timer-order", timer_order},
    {"many-timers", many_timers},
    {"zero-timers", zero_timers},
    {"repeat", repeat},
    {"timer-stop", timer_stop},
    {"put-off", put_off},
    {"timeout", timeout},
    {"sleeps", sleeps},
    {"level", level},
    {"interest", interest},
    {"unwanted", unwanted},
    {"hang-up", hang_up},
    {"close-io", close_io},
    {"close-timer", close_timer},
    {"close-hook", close_hook},
    {"reused", reused},
    {"close-in-closed", close_in_closed},
    {"post-order", post_order},
    {"post-thread", post_thread},
    {"post-ping", post_ping},
    {"post-many", post_many},
    {"starvation", starvation},
    {"stop", stop},
    {"end", end},
    {"jobs", jobs},
    {"jobs-full", jobs_full},
    {"jobs-cancel", jobs_cancel},
    {"jobs-end", jobs_end},
    {"jobs-many", jobs_many},
    {"jobs-meet", jobs_meet},
};

int
main(int argc, char **argv)
{
    size_t count_of = sizeof scenarios / sizeof scenarios[0];
    setvbuf(stdout, NULL, _IOLBF, 0); /* what was called before a crash */
    for (size_t i = 0; argc == 2 && i < count_of; i++) {
        if (strcmp(argv[1], scenarios[i].name) != 0)
            continue;
        loop = loop_create();
        must(loop != NULL, "loop_create");
        scenarios[i].run();
        loop_destroy(loop);
        return 0;
    }
    fprintf(stderr, "usage: loop-trace SCENARIO, which is one of:\n");
    for (size_t i = 0; i < count_of; i++)
        fprintf(stderr, "  %s\n", scenarios[i].name);
    return 2;
}
