/* queue-scenarios - what a job queue must do, scene by scene, without chance.
 *
 *     queue-scenarios pop-sleeps
 *
 * It is linked with the learner's queue, and plays one scene with it. The
 * actors are threads that each make one call. Whether a call waits is not
 * judged by the clock: /proc/self/task/TID says whether the thread is asleep,
 * and in which system call. A deadline ends only what has gone wrong.
 *
 * Two functions are wrapped by the linker (--wrap), pthread_cond_wait and
 * syscall, because everyone who goes to sleep passes through one of them. There
 * the program can let a thread wake up for no reason, or let another thread act
 * in the very moment before this one falls asleep.
 *
 * The first thing that is wrong ends the program with three lines: what was
 * done, what was expected, what came. Exit: 0, 1, or 2 for an unknown scene.
 */
#include "queue_scenarios.h"
#include "last_word.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct scene {
    const char *name;
    void (*alone)(const struct kind *k); /* one of the two */
    void (*play)(void);
} scenes[] = {
    {"fill", fill, NULL},
    {"full", full, NULL},
    {"empty", empty, NULL},
    {"order", order, NULL},
    {"two", two, NULL},
    {"push-sleeps", NULL, push_sleeps},
    {"pop-sleeps", NULL, pop_sleeps},
    {"idle", NULL, idle},
    {"push-wakes-pop", NULL, push_wakes_pop},
    {"pop-wakes-push", NULL, pop_wakes_push},
    {"wake-each", NULL, wake_each},
    {"spurious-pop", NULL, spurious_wake_up},
    {"spurious-push", NULL, spurious_wake_up_push},
    {"last-moment", NULL, last_moment},
    {"close-wakes", NULL, close_wakes},
    {"close-drains", NULL, close_drains},
    {"close-refuses", NULL, close_refuses},
    {"close-last-moment", NULL, close_last_moment},
    {"close-shows", NULL, close_shows},
    {"shows", NULL, shows},
    {"no-syscall", NULL, no_syscall},
    {"create-destroy", NULL, create_and_destroy},
};

void
well_done(void)
{
    say_last_word();
    _exit(0);
}

/* queue-scenarios SCENE [jq|spsc|scq]; NO_MEMBARRIER=1: as if the kernel had
 * none. */
int
main(int argc, char **argv)
{
    take_last_word();
    const struct kind *kind = kind_named(argc > 2 ? argv[2] : "jq");
    no_membarrier = getenv("NO_MEMBARRIER") != NULL;
    signal(SIGALRM, give_up);
    alarm(3 * (unsigned)patience());
    for (size_t i = 0; argc > 1 && kind && i < sizeof scenes / sizeof scenes[0];
         i++) {
        if (strcmp(argv[1], scenes[i].name) != 0)
            continue;
        if (scenes[i].alone != NULL)
            scenes[i].alone(kind);
        else
            scenes[i].play();
        say_last_word();
        return 0;
    }
    fputs("usage: queue-scenarios SCENE [jq|spsc|scq], with SCENE one of\n",
          stderr);
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        fprintf(stderr, "  %s\n", scenes[i].name);
    return 2;
}
