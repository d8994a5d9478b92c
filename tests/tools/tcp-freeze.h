/*
 * For tcp: a server that stands still, so that what the client does next meets
 * it all at once.
 */
#pragma once
#include <sys/types.h>

/* Stops a process, all threads of it, and waits until it stands. */
void freeze(pid_t pid);
void thaw(pid_t pid);

/* However this program ends from now on, it wakes who sleeps. */
void thaw_at_exit(void);
