/* connection.h - one client, and what it waits for. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "input.h"
#include "loop.h"
#include "output.h"
#include "store.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct server;

/* What a connection waits for. For how long, and by which event: server.c. */
enum state {
    IDLE,      /* for a request; everything before it is answered */
    READING,   /* for the rest of a request */
    WAITING,   /* for a worker, who has a file to open or to read */
    WRITING,   /* for room in the socket, for the rest of the output */
    LINGERING, /* for the client's end, after the last answer */
    CLOSED,    /* for nothing: it is to be freed */
};

/* An idle client costs this, and what the kernel needs for its socket: the
 * buffers are lent for as long as there is something in them. */
struct connection {
    struct server *server;
    struct connection *before, *after; /* in the server's list */
    struct loop_io io;                 /* the socket; it does not block */
    struct loop_timer timer;           /* its patience in this state */
    struct waiter waiter;
    struct input *in;   /* NULL: nothing has come */
    struct output *out; /* NULL: nothing is to be sent */
    enum state state;
    int64_t since;        /* loop_now() when it entered it */
    bool unread;          /* there may be more to read, or the end */
    bool last;            /* the output ends with the last answer */
    bool more_to_come;    /* nevertheless the client may send more */
    int in_flight;        /* WRITING: bytes that the kernel still had to send */
    struct in6_addr peer; /* IPv4 as ::ffff:1.2.3.4 */
};

/* Something has come, or can go: see epoll_ctl(2) for events. Does what can be
 * done without waiting, and leaves the rest to the state. Never frees the
 * connection: CLOSED says that it is over. */
void connection_ready(struct connection *c, uint32_t events);

/* The time in this state is over: leaves it. */
void connection_late(struct connection *c);

#endif
