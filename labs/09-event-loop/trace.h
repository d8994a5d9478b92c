/* trace.h - what the scenarios of loop-trace have in common. */
#ifndef TRACE_H
#define TRACE_H

#include "loop.h"
#include "pool.h"

#include <err.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The loop that the scenario is about. */
extern struct loop *loop;

/* A handle, a post or a job with a name. Each is allocated by itself, so that
 * AddressSanitizer sees who frees it too early or uses it too late. */
struct thing {
    const char *name;
    union {
        struct loop_handle handle; /* the first member of each of them */
        struct loop_io io;
        struct loop_timer timer;
        struct loop_hook hook;
        struct loop_post post;
        struct pool_job job;
    };
    int other_end; /* io: what is written here can be read there */
    int calls;
    struct thing *victim; /* what its callback does something to */
};

/* Ends the program with errno if not ok. */
void must(bool ok, const char *what);

/* printf() with the number of the turn before it and a newline behind it. */
__attribute__((format(printf, 1, 2))) void in_turn(const char *form, ...);

void rest_ms(long ms);

struct thing *new_thing(const char *name);
struct thing *new_timer(const char *name, void (*run)(void *arg));

/* It is started. */
struct thing *new_hook(const char *name, enum loop_phase phase,
                       void (*run)(void *arg));

/* One end of a pair of sockets, readable from the start, EPOLLIN wanted. */
struct thing *new_io(const char *name,
                     void (*ready)(void *arg, uint32_t events));

/* A post that prints its name. */
void post_thing(const char *name);

/* Closes its handle, and its descriptors. */
void close_thing(struct thing *t, void (*when_closed)(void *arg));

/* For close_thing(): free the thing, and say so, or not. */
void closed(void *arg);
void closed_quietly(void *arg);

/* Callbacks. The argument is a thing. */
void print(void *arg); /* the name */
void tell(void *arg);  /* the turn and the name */
void tell_and_close(void *arg);
void tell_ready_and_close(void *arg, uint32_t events);
void tell_events(void *arg, uint32_t events);
void close_victim_too(void *arg);
void ready_close_victim_too(void *arg, uint32_t events);
void close_both(void *arg); /* itself and its victim; neither is freed */
void count(void *arg);      /* in t->calls */

/* " in out hup", as far as they are in there. */
const char *names(uint32_t events);

/* The scenarios that are not in loop_trace.c. */
void one_timer(void);
void timer_order(void);
void many_timers(void);
void zero_timers(void);
void repeat(void);
void timer_stop(void);
void put_off(void);
void timeout(void);
void sleeps(void);
void level(void);
void interest(void);
void unwanted(void);
void hang_up(void);
void close_io(void);
void close_timer(void);
void close_hook(void);
void reused(void);
void close_in_closed(void);
void post_order(void);
void post_thread(void);
void post_ping(void);
void post_many(void);
void jobs(void);
void jobs_full(void);
void jobs_cancel(void);
void jobs_end(void);
void jobs_many(void);
void jobs_meet(void);

#endif
