/* worker.h - the life of a worker process. */
#ifndef WORKER_H
#define WORKER_H

#include "server.h"

/* Prepares everything: then the server has its threads, and descriptors, and
 * takes note of signals. log may be NULL. Ends the program if something that it
 * needs cannot be had. */
void worker_start(struct server *s, const struct config *config, int listener,
                  struct root root, struct stats *stats, struct log *log);

/* Serves clients until a signal ends it: SIGTERM and SIGINT at once, SIGQUIT as
 * soon as every client has its answer. Returns then, with everything closed. */
void worker_run(struct server *s);

#endif
