/* process.h - a master and its workers, as in nginx (stage 12).
 *
 * The master opens what needs rights, and serves nobody: it starts worker
 * processes, and replaces those that die. All of them accept from the same
 * listening socket.
 *
 *   SIGHUP   reads the configuration again; new workers take over, the old ones
 *            give each of their clients one more answer, and go
 *   SIGQUIT  ends, when every client has its answer
 *   SIGTERM, SIGINT  end at once
 */
#ifndef PROCESS_H
#define PROCESS_H

#include "settings.h"

/* What the workers of one configuration share. */
struct site {
    struct config config;
    int listener;
    int root; /* the directory, O_PATH */
};

/* Opens what config asks for. `before` is what runs now, or NULL: if address and
 * port stay the same, so does the socket, and no client is lost. False, with a
 * message on stderr, if something cannot be had; then nothing has changed. */
bool site_open(struct site *site, const struct config *config,
               const struct site *before);

/* Runs until a signal ends it, and returns the exit status. argc and argv are
 * read again on SIGHUP. */
int process_run(struct site *site, int argc, char **argv);

#endif
