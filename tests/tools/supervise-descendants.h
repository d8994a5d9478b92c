/*
 * For supervise: every process that descends from this one.
 *
 * A subreaper adopts each descendant whose parent dies, so going from parent
 * to parent from any of them always ends at us, however often it has forked
 * and whatever session it is in.
 */
#pragma once
#include <sys/types.h>

struct census {
    int running; /* descendants that are neither stopped nor dead */
    int others;  /* live descendants other than `except` */
};

/* Sends a signal to every descendant, and counts them. */
struct census signal_descendants(int signo, pid_t except);
