/* connection.h - one client, and what it waits for. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "input.h"
#include "output.h"

#include <stdbool.h>
#include <stdint.h>

struct server;

/* What a connection waits for. For how long, and by which event: server.c. */
enum state {
    IDLE,      /* for a request; everything before it is answered */
    READING,   /* for the rest of a request */
    WRITING,   /* for room in the socket, for the rest of the output */
    LINGERING, /* for the client's end, after the last answer */
    CLOSED,    /* for nothing: it is to be freed */
};

struct connection {
    struct server *server;
    struct connection *before, *after; /* in the queue of its state */
    enum state state;
    long since;        /* server->now when it came into that state */
    int fd;            /* the socket; it does not block */
    uint32_t interest; /* what epoll was asked for; 0: nothing yet */
    bool last;         /* the output ends with the last answer */
    bool more_to_come; /* nevertheless the client may send more */
    struct input in;
    struct output out;
    char buffers[]; /* INPUT_SIZE and OUTPUT_SIZE bytes */
};

/* Makes a connection of an accepted socket, in state IDLE. NULL if there is no
 * memory (errno is ENOMEM); the socket is closed then.
 */
struct connection *connection_new(struct server *s, int fd);

/* Closes what it holds, and frees it. */
void connection_free(struct connection *c);

/* The loop's calls: the socket is readable, writable or dead; or the time in
 * this state is over, and then it leaves the state. Both do what can be done
 * without waiting. They never free the connection: CLOSED says that it is over.
 */
void connection_ready(struct connection *c);
void connection_late(struct connection *c);

#endif
