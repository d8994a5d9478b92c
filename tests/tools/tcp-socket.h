/*
 * For tcp: connections, and what happens to them. Sockets are non-blocking;
 * whoever waits says until when, in seconds of now().
 */
#pragma once
#include "tcp-bytes.h"
#include <netinet/in.h>
#include <stdbool.h>

#define CHUNK 16384 /* bytes in one send() or recv() */
#define GRACE 0.2   /* seconds without a byte that mean "no more" */

struct connection {
    const char *name;
    int fd;                  /* -1: not connected */
    bool over;               /* by close or reset; `on` begins a new one */
    bool half_closed;        /* we have nothing more to send */
    bool was_reset;          /* the kernel reports it only once */
    uint64_t sent, received; /* positions in the pattern */
};

enum event { DATA, QUIET, CLOSED, RESET };

extern struct sockaddr_in server;
extern double patience; /* seconds that a step waits for the next event */
extern double factor;   /* TIMEOUT_FACTOR, for slow machines; in patience */
extern double step_end; /* a step that gets on byte by byte ends, too */
extern int rcvbuf;      /* 0: leave it to the kernel */

/* ---- Time ---- */

double now(void);
void nap(void); /* two milliseconds */

/* Until when to wait for what should come next. */
double deadline(void);

/* Waits for events of poll(); false: none came until then. */
bool wait_for(int fd, short events, double until);

/* ---- What happens at a socket ---- */

/* Waits for bytes, at most `size`, and says in *n how many came. */
enum event receive(struct connection *c, char *buf, size_t size, double until,
                   size_t *n);

/* Reads on until *n is `size` or no more comes for a moment, so that a
 * message shows the whole of a wrong answer and not its first packet. */
enum event receive_more(struct connection *c, char *buf, size_t size,
                        size_t *n);

/* Sends what the socket takes now of `out`, from offset *sent on, and moves
 * *sent. DATA: all of it is sent; QUIET: not yet. */
enum event push(struct connection *c, const struct bytes *out, size_t *sent);

/* An event for a message; `waited`: for how many seconds in vain. */
const char *in_words(enum event e, double waited);

/* What came before it ended, and how it ended. */
const char *came(const char *data, size_t n, enum event e);

/* ---- Connecting ---- */

const char *server_name(void);

/* Begins to connect; returns 0 or an errno. When our address has no port left
 * (after 28,000 connections or so), it goes on from the next address. */
int start_connect(struct connection *c);

/* Waits until it is connected; returns 0 or an errno. */
int finish_connect(struct connection *c, double until);

/* Fails if there is an error. */
void check_connect(int error);

void end_connection(struct connection *c, bool by_reset);
