/*
 * For tcp: where an HTTP/1.x response ends. Nothing else about it is looked
 * at; whoever asked gets it as it came.
 */
#pragma once
#include "tcp-socket.h"

/* What has come of a response; the part being read begins at `part`. To be
 * begun with c alone; `data` is the caller's to free. */
struct response {
    struct connection *c;
    char *data; /* with a '\0' after its n bytes */
    size_t n, part;
    const char *expected; /* what this part is */
};

/* Reads one response, to its last byte and no further. */
void take_response(struct response *r, bool to_head);

/* Reads to the end of the stream. */
void take_rest(struct response *r, const char *expected);
