/* status.h - the statuses that this server answers with: what each is called,
 * and the page that explains it to a reader.
 */
#ifndef STATUS_H
#define STATUS_H

#include "files.h"

#include <stddef.h>

enum { STATUS_PAGE_MAX = 16 * 1024 }; /* bytes; a longer page is not taken */

/* Makes the pages. The site's own, errors/404.html and so on, take the place of
 * the built-in ones. For the start of a process, as it may wait for a disk. */
void status_load_pages(const struct root *root);

/* As it stands in the first line of an answer: "404 Not Found". */
const char *status_text(int status);

/* The page about an error, in HTML. It stays where it is. */
const char *status_page(int status, size_t *length);

#endif
