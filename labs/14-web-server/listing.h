/* listing.h - a page that shows what is in a directory. */
#ifndef LISTING_H
#define LISTING_H

#include "files.h"

/* Makes the page for the directory `name`, as path_resolve() wrote it. Returns
 * it (the caller frees it) and its length, and fills in the version of the
 * directory. NULL if it is no directory, or cannot be read.
 */
char *listing_make(const struct root *root, const char *name,
                   struct version *version, size_t *length);

#endif
