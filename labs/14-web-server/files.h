/* files.h - opens what lies below the document root, and nothing else.
 *
 * In this version file_open() runs on the thread of the event loop and blocks:
 * while the disk is slow, every client waits. A later one moves it to a worker.
 */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct root {
    int fd;       /* the directory */
    bool openat2; /* the kernel has openat2(): since Linux 5.6, if allowed */
};

struct file {
    int fd;           /* open for reading; whoever holds the struct closes it */
    off_t size;       /* in bytes */
    time_t modified;  /* seconds since 1970 */
    const char *type; /* a static string, for Content-Type */
};

/* Opens the document root. Returns 0, or -1 with errno. */
int root_open(struct root *root, const char *docroot);

/* Opens a name from path_resolve(), or the index.html of a directory. Returns
 * 200 with *f filled in; or the status to answer, with nothing open: 301 for a
 * directory whose name came without '/', 403, 404, 500, 503.
 */
int file_open(const struct root *root, const char *path, struct file *f);

#endif
