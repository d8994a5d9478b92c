/* server.h - the connections of a worker process, and what they share.
 */
#ifndef SERVER_H
#define SERVER_H

#include "connection.h"
#include "log.h"
#include "loop.h"
#include "response.h"
#include "settings.h"
#include "stats.h"
#include "store.h"

#include <stdbool.h>

struct server {
    const struct config *config;
    struct loop *loop;
    struct pool *pool;
    struct cache *cache;
    struct store store;
    struct log *log; /* NULL: nobody wants one */

    struct loop_io listener;
    struct loop_io signals;
    struct loop_timer rest;  /* no accept() before it rings */
    struct loop_timer grace; /* when draining: idle clients may stay so long */
    struct loop_hook prepare;

    struct date date;
    int64_t date_checked;  /* loop_now() when date was brought up to date */
    long patience[CLOSED]; /* ms that a connection may stay in each state */

    struct connection *first, *last; /* by their last change of state: the
                                      * first idle one is idle longest */
    unsigned connections, limit;
    unsigned in_state[CLOSED + 1];
    bool away;         /* nobody is accepted for a moment */
    unsigned most;     /* how many are accepted in this turn */
    int64_t turn;      /* loop_now() when it began */
    uint64_t waited;   /* ns that the loop had slept by then */
    int64_t warn_next; /* when to warn again, if descriptors lack */
    bool draining;     /* no new clients; the old ones get one more answer */

    struct input *inputs; /* spare ones: the one used last comes first, as it */
    struct output *outputs; /* is still in the processor's cache */
    unsigned spare_inputs, spare_outputs;

    struct stats *stats;
    struct slot *slot;         /* where others see the numbers */
    uint64_t numbers[NUMBERS]; /* those that are counted here */
};

/* Accepts clients of a listening socket from now on. The loop has to be there.
 */
void server_listen(struct server *s, int listener);

/* Decides whether to wait for clients. For each turn, before the loop sleeps. */
void server_choose_listening(struct server *s);

/* When every connection has been closed. */
void server_free_buffers(struct server *s);

/* --- for connection.c ----------------------------------------------------- */

/* Whether bytes have come that were not received yet. */
bool server_has_unread(const struct connection *c);

/* Puts a connection into a state, and starts the time it may stay there, even
 * if it is in that state already. */
void server_enter(struct connection *c, enum state state);

/* After a connection has done something: arranges for what it waits for, takes
 * back what it does not need, frees it if it is CLOSED. */
void server_settle(struct connection *c);

/* Buffers, for a connection that has something to put in. NULL: no memory. */
struct input *server_take_input(struct server *s);
struct output *server_take_output(struct server *s);

/* The time of day. */
const struct date *server_date(struct server *s);

/* Counts an answer that was given, and has it logged. */
void server_note(struct connection *c, const struct answer *a);

/* Fills in the answer to a request for /_stats: in worker.c. */
void server_show_stats(struct connection *c, struct answer *a);

#endif
