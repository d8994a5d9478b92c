/* request.h - what is to be answered to a request. */
#ifndef REQUEST_H
#define REQUEST_H

#include "http_parser.h"
#include "response.h"
#include "store.h"

/* Decides the answer to a request that the parser found complete in buf.
 * request_find() returns false if a worker has to look first: then w is called,
 * and hands over an entry, which request_found() takes over. Afterwards a->status
 * says what to answer, and a->entry what about, if it is about something. The
 * answer points into buf.
 *
 * Status 0 says: it is the target `/_stats`, and the caller knows more.
 */
bool request_find(const struct http_request *r, const char *buf,
                  struct store *s, struct waiter *w, struct answer *a);
void request_found(const struct http_request *r, const char *buf,
                   struct entry *e, struct answer *a);

/* The answer to what is not a request, or not a whole one: an error, and the
 * end of the connection. buf holds the len bytes that came.
 */
void request_refuse(int status, const char *buf, size_t len, struct answer *a);

/* True if the client waits for a word before it sends the body. */
bool request_waits(const struct http_request *r, const char *buf);

#endif
