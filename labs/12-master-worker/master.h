/*
 * master.h: one master and its workers, the process model of nginx.
 *
 * The master opens what all of them share, starts the workers, and serves
 * nobody. It sleeps until a signal comes:
 *
 *   SIGHUP            reload: read the configuration again, start new workers,
 *                     and when they are there have the old ones drain
 *   SIGQUIT           graceful stop: all workers drain, then the master ends
 *   SIGTERM, SIGINT   fast stop: all workers end at once, then the master
 *   SIGCHLD           a worker has ended. If nobody has told it to, another
 *                     one takes its place.
 *
 * What the master has to say to a worker is a signal as well: SIGQUIT asks it
 * to drain (take no new clients, serve those it has until they have finished,
 * leave), SIGTERM and SIGINT to end at once. The worker answers by ending. A
 * drain has no deadline: how long clients stay is up to them.
 *
 * The master has one thread. Workers are its children, forked by that thread;
 * when it dies, however that may be, the kernel kills them.
 */
#ifndef MASTER_H
#define MASTER_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* Workers at once, those that drain included. A reload for which there is no
 * room is refused. 1024 as in nginx. */
enum { MASTER_SLOTS = 1024 };

enum worker_state {
    FREE,     /* a slot without a worker */
    MISSING,  /* to be started, but not before it is due */
    SERVING,  /* takes clients; if it ends it is missing */
    OUTDATED, /* the same with an older configuration: nobody replaces it */
    LEAVING,  /* told to end; killed when that is due */
};

struct worker {
    pid_t pid;
    enum worker_state state;
    long born; /* ms: when it was started */
    long rest; /* ms: how long to wait before it is started again */
    long due;  /* ms: when the master has to do something, or NEVER */
};

struct master {
    /* The caller's. The listening socket, open; when a stop begins the master
     * closes it. configure() returns the number of workers to have, from 1 to
     * MASTER_SLOTS / 4, or -1 if all is to stay as it is: then it has said
     * why. work() is what a worker does, in a process of its own: it begins
     * with all these signals blocked, and returns the exit status. */
    int listener;
    int (*configure)(void *arg);
    int (*work)(void *arg);
    void *arg; /* for both of them */

    /* The master's own, 0 at first. */
    struct worker workers[MASTER_SLOTS];
    sigset_t signals; /* those that it waits for; blocked all the time */
    bool stopping;
};

/* Configures, blocks the signals and starts the first workers. Returns 0, or
 * -1 if configure() did. A worker that cannot be started now is tried again
 * by master_run(). */
int master_start(struct master *m);

/* Keeps the workers until SIGQUIT, SIGTERM or SIGINT has come and all of them
 * have ended. Returns the exit status of the program, 0. */
int master_run(struct master *m);

#endif
