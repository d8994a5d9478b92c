/* The scenarios of loop-trace that are about descriptors and closing. */
#include "trace.h"

/* --- descriptors --------------------------------------------------------- */

static void
read_one(void *arg, uint32_t events)
{
    struct thing *t = arg;
    char byte;
    in_turn("%s:%s", t->name, names(events));
    must(read(t->io.fd, &byte, 1) == 1, "read");
    if (++t->calls == 3)
        close_thing(t, closed_quietly);
}

void
level(void)
{
    struct thing *t = new_io("three bytes, read one by one", read_one);
    must(write(t->other_end, "yz", 2) == 2, "write");
    loop_run(loop);
}

/* An idle hook, so that no turn waits: says what it wants in each turn. */
static void
change_interest(void *arg)
{
    static const uint32_t wanted[] = {
        EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLOUT,          0, 0, 0,
        EPOLLIN, EPOLLIN | EPOLLET,  EPOLLIN | EPOLLET, EPOLLIN};
    struct thing *t = arg, *io = t->victim;
    if (t->calls == sizeof wanted / sizeof wanted[0]) {
        close_thing(io, closed_quietly);
        close_thing(t, closed_quietly);
        return;
    }
    uint32_t events = wanted[t->calls++];
    in_turn("it wants%s", events ? names(events) : " nothing");
    must(loop_io_want(&io->io, events) == 0, "loop_io_want");
}

void
interest(void)
{
    struct thing *io = new_io("it is told", tell_events);
    new_hook("changes", LOOP_IDLE, change_interest)->victim = io;
    loop_run(loop);
}

static void
ready_unwant_victim(void *arg, uint32_t events)
{
    struct thing *t = arg;
    (void)events;
    tell(t);
    if (t->victim != NULL)
        must(loop_io_want(&t->victim->io, 0) == 0, "loop_io_want");
    close_thing(t, closed);
}

void
unwanted(void)
{
    struct thing *a = new_io("a, who wants nothing of b", ready_unwant_victim);
    struct thing *b = new_io("b", ready_unwant_victim);
    a->victim = b; /* both are ready, and a is first */
    loop_run(loop);
    printf("a is gone; now b is wanted again\n");
    must(loop_io_want(&b->io, EPOLLIN) == 0, "loop_io_want");
    loop_run(loop);
}

void
hang_up(void)
{
    struct thing *t = new_io("the other end is closed", tell_ready_and_close);
    struct thing *stop = new_timer("stop", close_both);
    stop->victim = new_hook("check", LOOP_CHECK, count);
    close(t->other_end);
    t->other_end = dup(t->io.fd);
    must(loop_io_want(&t->io, 0) == 0, "loop_io_want");
    loop_timer_start(&stop->timer, 300, 0);
    loop_run(loop);
    printf("nothing wanted, turns in 300 ms: %s\n",
           stop->victim->calls <= 5 ? "few" : "many");
    free(stop->victim);
    free(stop);
    t->io.ready = tell_events;
    must(loop_io_want(&t->io, EPOLLIN) == 0, "loop_io_want");
    struct thing *check = new_hook("check", LOOP_CHECK, close_both);
    check->victim = t;
    loop_run(loop);
    free(check);
    free(t);
}

/* --- closing ------------------------------------------------------------- */

void
close_io(void)
{
    struct thing *a = new_io("a closes b, and itself", ready_close_victim_too);
    a->victim = new_io("b", tell_ready_and_close);
    loop_run(loop);
}

void
close_timer(void)
{
    struct thing *a = new_timer("a closes b, and itself", close_victim_too);
    struct thing *b = new_timer("b", tell_and_close);
    struct thing *c = new_timer("c", tell_and_close);
    a->victim = b;
    loop_timer_start(&a->timer, 0, 5);
    loop_timer_start(&b->timer, 0, 5);
    loop_timer_start(&c->timer, 0, 5);
    loop_run(loop);
}

void
close_hook(void)
{
    struct thing *a = new_hook("a closes b, the next one, and itself",
                               LOOP_CHECK, close_victim_too);
    struct thing *b = new_hook("b", LOOP_CHECK, tell_and_close);
    struct thing *c = new_hook("c", LOOP_CHECK, tell);
    struct thing *d = new_hook("d closes c, the one before, and itself",
                               LOOP_CHECK, close_victim_too);
    new_hook("e", LOOP_CHECK, tell_and_close);
    a->victim = b;
    d->victim = c;
    loop_timer_start(&new_timer("timer", tell_and_close)->timer, 0, 0);
    loop_run(loop);
}

static struct thing *same_number;

static void
ready_replace_victim(void *arg, uint32_t events)
{
    struct thing *t = arg;
    int number = t->victim->io.fd;
    char byte;
    (void)events;
    tell(t);
    close_thing(t->victim, closed);
    same_number = new_io("c, with the number that b had", tell_ready_and_close);
    must(read(same_number->io.fd, &byte, 1) == 1, "read");
    printf("c has the number of b, and nothing to read: %s\n",
           same_number->io.fd == number ? "yes" : "no");
    close_thing(t, closed);
}

static void
close_same_number(void *arg)
{
    struct thing *t = arg;
    tell(t);
    if (++t->calls < 3)
        return;
    close_thing(same_number, closed);
    close_thing(t, closed_quietly);
}

void
reused(void)
{
    struct thing *a = new_io("a closes b, and opens c", ready_replace_victim);
    a->victim = new_io("b", tell_ready_and_close);
    new_hook("idle", LOOP_IDLE, close_same_number);
    loop_run(loop);
}

static void
closed_close_next(void *arg)
{
    struct thing *t = arg;
    in_turn("%s is closed", t->name);
    if (t->victim != NULL)
        close_thing(t->victim, closed_close_next);
    free(t);
}

void
close_in_closed(void)
{
    struct thing *a = new_timer("a", tell);
    a->victim = new_hook("b", LOOP_CHECK, tell);
    a->victim->victim = new_io("c", tell_events);
    must(loop_io_want(&a->victim->victim->io, 0) == 0, "loop_io_want");
    struct thing *late = new_timer("d, due in a minute", tell);
    loop_timer_start(&late->timer, 60000, 0); /* nobody must wait for it */
    a->victim->victim->victim = late;
    close_thing(a, closed_close_next);
    close_thing(a, closed); /* once is enough */
    loop_timer_start(&a->timer, 0, 0);
    loop_run(loop);
}
