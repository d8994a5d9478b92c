/*
 * Stage 14: the web server.
 *
 * It serves the files below a directory over HTTP/1.1. A master process looks
 * after workers; each worker is one thread with an event loop, which keeps all
 * its clients going, and some more threads, which open and read files. Nothing
 * that a client does, or fails to do, and nothing that the disk does, makes
 * another client wait. A request goes straight through the files of this folder:
 *
 *   webserver.c    options; settings.c: the same in a file
 *   process.c      the master and its workers; harden.c: what they give up
 *   worker.c       the life of one worker
 *   server.c       its clients, and what they share
 *   connection.c   one client: a state machine
 *   input.c        which bytes are a request? (http_parser.c, stage 13)
 *   request.c      what is to be answered? conditional.c: all of it, or a part?
 *   path.c         which file does the path name?
 *   store.c        is it there already? If not, a thread has to fetch it
 *     cache.c        what is worth keeping; refresh.c: and is it still true?
 *     load.c         from a file to an answer; files.c, listing.c: the disk
 *   response.c     the answer as bytes; date.c, text.c: with what they are made
 *   output.c       on their way to the client
 *   log.c stats.c  what people want to know afterwards
 *
 * loop.c and pool.c come from stage 09, job_queue.c from stage 08.
 */
#include "process.h"

#include <stdio.h>
#include <stdlib.h>

int
main(int argc, char **argv)
{
    struct config config;
    struct site site;
    switch (config_read(&config, argc, argv)) {
    case CONFIG_HELP:
        fputs(config_usage, stdout);
        return 0;
    case CONFIG_BAD:
        fputs(config_usage, stderr);
        return 2;
    case CONFIG_GOOD:
        break;
    }
    if (!site_open(&site, &config, NULL))
        return 1;
    return process_run(&site, argc, argv);
}
