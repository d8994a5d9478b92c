/*
 * For tcp: bytes both ways at once.
 */
#pragma once
#include "tcp-socket.h"

/* Sends `out` and expects exactly `in`, both at the same time: a client that
 * first sends all waits for ever on a server that wants to be rid of its answer.
 * Anything else fails. */
void transfer(struct connection *c, struct bytes out, struct bytes in);

/* Fails unless the stream ends here. */
void expect_eof(struct connection *c);
