/* input.h - from the bytes that a client sends to whole requests. */
#ifndef INPUT_H
#define INPUT_H

#include "http_parser.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    HEAD_MAX = 16 * 1024,         /* the head of a request: more is 431 */
    BODY_MAX = 1024 * 1024,       /* a body, though nobody wants it: else 413 */
    TARGET_MAX = 8 * 1024,        /* the target in the head: else 414 */
    INPUT_SIZE = HEAD_MAX + 4096, /* behind any head there is room for more */
};

/* A connection has an input only while there is something in it: see
 * server_take_input(). */
struct input {
    struct input *next; /* in the server's list of spare ones */
    size_t start, end;  /* buf[start..end) is in use; at start begins the next
                         * request */
    size_t taken;       /* bytes of it that are dealt with: 0, or its head, or
                   * its head and body */
    struct http_request request; /* valid when input_next() has said 200; its
                                  * offsets count from buf + start */
    uint64_t body_left;          /* of a body with a length */
    struct http_chunked chunked; /* of a body in chunks */
    char buf[INPUT_SIZE];
};

void input_init(struct input *in);

/* True if there is nothing in it that would be missed. */
static inline bool
input_is_empty(const struct input *in)
{
    return in->start == in->end;
}

/* Takes bytes from a socket. Returns what recv() does. To be called when
 * input_next() has nothing more to give: there is room then.
 */
ssize_t input_receive(struct input *in, int fd);

/* Looks for the next request: 200 if it is there, with its body; 0 if it is
 * not, or not whole; else the status that says what is wrong with it, and then
 * there will never be another.
 */
int input_next(struct input *in);

/* Forgets the request that input_next() found. */
void input_drop(struct input *in);

#endif
