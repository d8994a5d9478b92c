/*
 * What the three gateways of this stage agree on: who is asked for what, how a
 * call reads, and how its answer.
 *
 *   a client asks           ada\n
 *   users is called         user ada\n       and answers   ok 4711\n
 *   orders is called        order 4711\n     and answers   ok 8250\n
 *   parcels is called       parcel 8250\n    and answers   ok Vienna\n
 *   the client is told      ada: order 8250 is in Vienna\n
 *
 * Each call needs the answer to the one before. A back end that cannot answer
 * says anything else in place of `ok`, for example `no such user`; then, and
 * whenever a call fails, the client is told  error: users: no such user\n  and
 * may go on asking. A connection to a back end serves one call.
 *
 * Threads: any; nothing here has a state of its own.
 */
#ifndef RPC_H
#define RPC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    LINE_SIZE = 128,   /* bytes of a line with its end, from anybody */
    REPLY_SIZE = 512,  /* the longest reply to a client */
    DEADLINE_MS = 1000 /* for a call, from connect to answer */
};

enum service { USERS, ORDERS, PARCELS, SERVICES };

struct options {
    const char *addr;
    const char *port;
    struct sockaddr_in backend[SERVICES];
    long deadline_ms;
    bool assembly; /* -s asm: only where there is a choice */
};

/* Ends the program with the usage and status 2 if they are wrong. `choice`:
 * the program has the option -s.
 */
struct options rpc_options(int argc, char **argv, bool choice);

/* --- bytes to lines */

/* What has been read, and not been used yet. All zero at the start. Read into
 * bytes + n, at most sizeof bytes - n, and add to n what came.
 */
struct input {
    char bytes[LINE_SIZE];
    size_t n;
};

enum got {
    GOT_LINE,  /* a line, without its end; the input has the rest */
    GOT_PART,  /* read on first */
    GOT_MUCH,  /* it is longer than LINE_SIZE, and will not be taken */
    GOT_END,   /* for who reads: nothing will come any more */
    GOT_ERROR, /* for who reads: reading has failed, errno tells why */
};

enum got input_line(struct input *in, char line[LINE_SIZE]);

/* --- calls */

/* "users", "orders", "parcels" */
const char *service_name(enum service service);

/* Letters, digits, - and _, 32 at most: what can stand in a call. */
bool is_name(const char *text);

/* Writes the call to `service` about `what`, a line. Returns its length. */
size_t call_text(char line[LINE_SIZE], enum service service, const char *what);

/* What became of a call: `got` and errno of reading the line of the answer. If
 * it is good, true and the value in `value`; else false and the reason there.
 */
bool call_result(enum got got, int error, const char *line,
                 char value[LINE_SIZE]);

#endif
