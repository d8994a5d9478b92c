/*
 * For tcp: many connections without a name, on all or some of which the same
 * is done.
 */
#pragma once
#include "tcp-socket.h"

size_t crowd_size(void);

/* Opens n more, all at once. */
void crowd_open(size_t n);

/* Sends and expects on `chosen` of them, evenly spread. */
void crowd_transfer(size_t chosen, struct bytes out, struct bytes in);

/* The stream of each ends here. */
void crowd_eof(void);

void crowd_end(bool by_reset);
