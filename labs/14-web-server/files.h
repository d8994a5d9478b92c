/* files.h - opens what lies below the document root, and nothing else.
 *
 * All of this may block, for as long as the disk takes: it is for workers, not
 * for the loop. Several threads may use the same root at the same time.
 */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct root {
    int fd;       /* the directory */
    bool openat2; /* the kernel has openat2(): since Linux 5.6, if allowed */
    bool listing; /* show what is in a directory that has no index.html */
};

/* What makes a file the same file, with the same bytes. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

struct file {
    int fd;                 /* open for reading; its holder closes it */
    struct version version; /* size, time of last change, and so on */
    const char *type;       /* a static string, for Content-Type */
};

/* Takes over the open document root. */
void root_init(struct root *root, int fd, bool listing);

/* Opens a name from path_resolve(), or the index.html of a directory. Returns
 * 200 with *f filled in; or the status to answer, with nothing open: 301 for a
 * directory whose name came without '/', 403 for one without index, 404, 500,
 * 503.
 */
int file_open(const struct root *root, const char *path, struct file *f);

/* Opens the compressed form of what file_open() opened by this path: the file
 * beside it with .gz behind its name, if it is not older. False if there is
 * none.
 */
bool file_open_gzip(const struct root *root, const char *path,
                    const struct file *plain, struct file *gzip);

/* Opens a directory, to be listed. -1 with errno. */
int file_open_directory(const struct root *root, const char *path);

/* Reads exactly n bytes from an offset. False if there are fewer, or the disk
 * fails.
 */
bool file_read(int fd, char *buf, size_t n, off_t offset);

bool version_same(const struct version *a, const struct version *b);

#endif
