/* server.h - the event loop: who waits for what, and for how long. */
#ifndef SERVER_H
#define SERVER_H

#include "connection.h"
#include "files.h"
#include "response.h"

#include <signal.h>
#include <stdbool.h>

/* Connections in the order in which they came: the first waits longest. */
struct queue {
    struct connection *first;
    struct connection *last;
};

struct server {
    int epoll;
    int listener;
    struct root root;
    struct date date;        /* of this turn of the loop */
    long now;                /* the same moment, in ms of a steady clock */
    long rest_until;         /* no accept() before; 0: accepting */
    bool warned;             /* about the lack of descriptors */
    long patience[CLOSED];   /* ms that a connection may stay in each state */
    struct queue in[CLOSED]; /* all connections, by their state */
};

/* Takes over a listening socket and an open root. Ends the program if epoll
 * cannot be had: call it while the server starts.
 */
void server_init(struct server *s, int listener, struct root root);

/* Serves until *stop is true. Signals are let in only while the loop waits, by
 * the mask `waiting`; those that end the server have to be blocked otherwise.
 */
void server_run(struct server *s, const sigset_t *waiting,
                const volatile sig_atomic_t *stop);

/* Closes everything that server_init() took over, and every connection. */
void server_close(struct server *s);

/* Puts a connection into a state, and starts the time it may stay there, even
 * if it is in that state already. For connection.c: the loop looks at the
 * result as soon as connection_ready() has returned.
 */
void server_enter(struct connection *c, enum state state);

#endif
