/* path.h - between the path in a request and the name of a file: text only.
 *
 * In a request a path is encoded: a space is "%20", and a client may write any
 * other byte in this way too. Here it is decoded, once, and cleaned.
 */
#ifndef PATH_H
#define PATH_H

#include <stddef.h>

enum {
    PATH_LIMIT = 4096, /* bytes of a name with its final 0, as in the kernel */
};

/* Turns the n bytes of an absolute path ("/a%20b/../c", no query) into the name
 * of a file relative to the root ("c"). A name that ends in '/', and the empty
 * one, mean a directory. Returns 200; or 400 for a path that is malformed or
 * leads above the root, 404 for one that no visible file can have.
 */
int path_resolve(const char *target, size_t n, char path[PATH_LIMIT]);

/* Writes the n bytes of a name as they stand in a URL: "a b" is "a%20b". out
 * has room for three times n. Returns the number of bytes written.
 */
size_t path_encode(const char *path, size_t n, char *out);

#endif
