/* request.h - what is to be answered to a request. */
#ifndef REQUEST_H
#define REQUEST_H

#include "files.h"
#include "http_parser.h"
#include "response.h"

/* Decides the answer to a request that the parser found complete in buf, and
 * opens its file. The answer points into buf until its head is written.
 */
void request_answer(const struct http_request *r, const char *buf,
                    const struct root *root, struct answer *a);

/* The answer to what is not a request, or not a whole one: an error, and the
 * end of the connection. buf holds the len bytes that came.
 */
void request_refuse(int status, const char *buf, size_t len, struct answer *a);

/* True if the client waits for a word before it sends the body. */
bool request_waits(const struct http_request *r, const char *buf);

#endif
