/* output.h - from answers to bytes on the wire. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "input.h"
#include "response.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
    OUTPUT_SIZE = 64 * 1024,    /* a file that fits goes with its head */
    ANSWER_MAX = 24 * 1024,     /* the longest head: see output.c */
    TURN_MAX = 2 * 1024 * 1024, /* then other clients have their turn */
};

/* What is to be sent: first buf[sent..filled), then the rest of a file. */
struct output {
    char *buf; /* OUTPUT_SIZE bytes */
    size_t sent, filled;
    int file; /* -1: none; otherwise it belongs to the output */
    off_t offset;
    off_t file_left;
    size_t turn; /* bytes sent in this turn of the loop; the caller resets it */
};

enum output_result {
    OUTPUT_SENT, /* everything there was */
    OUTPUT_LEFT, /* there is more: try again when the socket is writable */
    OUTPUT_LOST, /* the client is gone, or the answer cannot be completed */
};

void output_init(struct output *o, char *buf);

/* True if another answer may be added: there is room, and no large file that
 * has to go first.
 */
bool output_has_room(const struct output *o);

/* Adds an answer, and takes over its file. Needs output_has_room(). */
void output_add(struct output *o, struct answer *a, const struct date *now);

/* Sends what there is, and never waits. */
enum output_result output_send(struct output *o, int fd);

/* Closes the file, if there is one. */
void output_close(struct output *o);

#endif
