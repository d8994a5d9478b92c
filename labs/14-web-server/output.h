/* output.h - what is to be sent to a client, in order.
 *
 * Heads and small bodies are copied into a buffer; larger ones are sent from
 * where they lie in the cache; and what is not in memory goes from the page
 * cache to the socket by sendfile(2), without a copy through this program.
 *
 * A connection has an output only while there is something to send: see
 * server_take_output().
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "entry.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

enum {
    OUTPUT_SIZE = 64 * 1024,
    PIECES = 64,
    ANSWER_MAX = 24 * 1024, /* the longest text that one answer has */
    PIECES_MAX = 40,        /* that one answer needs: see RANGES_MAX */
    COPY_MAX = 8 * 1024, /* copying that much costs less than another piece */
    TURN_MAX = 2 * 1024 * 1024, /* then other clients have their turn */
};

/* A stretch of bytes in memory, or in a file. */
struct piece {
    const char *data;    /* NULL: in the file of content, from offset on */
    size_t left;         /* bytes still to be sent */
    struct entry *entry; /* held until they are; NULL: data is in buf */
    struct content *content;
    off_t offset;
};

struct output {
    struct output *next; /* in the server's list of spare ones */
    size_t turn; /* bytes sent in this turn of the loop; the caller resets it */
    uint64_t total;        /* bytes sent, ever */
    size_t filled;         /* of buf */
    unsigned first, count; /* pieces[first..count) are left */
    unsigned files;        /* of them: not in memory */
    bool last; /* nothing follows but the end: the caller sets it, and ends */
    bool cut;  /* text was left out: what is here must not be sent */
    struct piece pieces[PIECES];
    char buf[OUTPUT_SIZE];
};

enum output_result {
    OUTPUT_SENT, /* everything there was */
    OUTPUT_LEFT, /* there is more: try again when the socket is writable */
    OUTPUT_COLD, /* the next bytes of the file may have to come from the disk */
    OUTPUT_LOST, /* the client is gone, or the answer cannot be completed */
};

void output_init(struct output *o);

/* True if another answer may be added: there is room, and no file that has to go
 * first, and may have to be waited for. */
bool output_has_room(const struct output *o);

/* Room for at least ANSWER_MAX bytes of text; what was written there is added
 * by output_add(). Nothing else may be added in between. */
struct text output_text(struct output *o);
void output_add(struct output *o, const struct text *t);

/* Adds n bytes of a content from offset on. The output holds the entry. There is
 * room for ANSWER_MAX bytes of text before it and behind it, all together. */
void output_add_content(struct output *o, struct entry *e, struct content *c,
                        off_t offset, off_t n);

/* Sends what there is, and never waits: not for the client, nor for the disk.
 * `now` is the time of day. After OUTPUT_COLD, output_cold() says what has to
 * be read first. */
enum output_result output_send(struct output *o, int fd, time_t now);
const struct piece *output_cold(const struct output *o);

/* Forgets what is left. */
void output_drop(struct output *o);

#endif
