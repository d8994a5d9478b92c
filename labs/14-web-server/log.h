/* log.h - the access log, in the combined format of Apache and nginx.
 *
 * Lines are collected in memory, and a worker thread writes them: when a buffer
 * is full, and at least once a second. A slow disk delays the log, and never a
 * client; when even the second buffer is full, lines are left out and counted.
 *
 * Threads: all calls come from the thread of the loop.
 */
#ifndef LOG_H
#define LOG_H

#include "date.h"
#include "http_parser.h"
#include "pool.h"
#include "response.h"

#include <netinet/in.h>

struct log;

/* Opens the file for appending, "-": stderr. NULL with errno. To be called with
 * the rights that the file needs. */
struct log *log_open(const char *path);

/* From now on the log can use a loop and a pool. False: no memory. */
bool log_start(struct log *l, struct loop *loop, struct pool *pool);

/* Adds a line about an answer. r is NULL if there was no whole request. */
void log_answer(struct log *l, const struct in6_addr *peer,
                const struct http_request *r, const char *buf,
                const struct answer *a, const struct date *now);

/* Gives up its timer. The loop may run on, and no line may come any more. */
void log_stop(struct log *l);

/* Writes what is left, and closes. To be called when pool and loop have ended,
 * or without log_start(). */
void log_close(struct log *l);

#endif
