/*
 * Opens what lies below the document root, and nothing else.
 *
 * A clean path is not enough: a symbolic link in the root may point out of it.
 * Looking for links first and opening afterwards does not help either, for
 * what a name means can change in between. So the kernel checks while it opens:
 * openat2() with RESOLVE_BENEATH fails as soon as the way leads outside.
 */
#include "files.h"
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    /* O_NONBLOCK: opening a FIFO would wait until somebody writes to it. */
    READ_ONLY = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
    RETRIES = 3,
};

static const struct {
    const char *extension;
    const char *type;
} types[] = {
    {"html", "text/html; charset=utf-8"},
    {"htm", "text/html; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"js", "text/javascript; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"svg", "image/svg+xml"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"webp", "image/webp"},
    {"avif", "image/avif"},
    {"gif", "image/gif"},
    {"ico", "image/x-icon"},
    {"woff2", "font/woff2"},
    {"woff", "font/woff"},
    {"ttf", "font/ttf"},
    {"otf", "font/otf"},
    {"json", "application/json"},
    {"webmanifest", "application/manifest+json"},
    {"txt", "text/plain; charset=utf-8"},
    {"md", "text/markdown; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"xml", "application/xml"},
    {"pdf", "application/pdf"},
    {"wasm", "application/wasm"},
    {"mp4", "video/mp4"},
    {"webm", "video/webm"},
    {"mp3", "audio/mpeg"},
    {"gz", "application/gzip"},
    {"zip", "application/zip"},
};

void
root_init(struct root *root, int fd, bool listing)
{
    /* Old kernels say ENOSYS, some containers EPERM. Ask once, now. */
    struct open_how how = {.flags = O_PATH | O_CLOEXEC};
    int probe = (int)syscall(SYS_openat2, fd, ".", &how, sizeof how);
    *root = (struct root){fd, probe >= 0, listing};
    if (probe >= 0)
        close(probe);
}

/* For kernels without openat2(): one segment at a time, and no symbolic link
 * anywhere. Just as safe; but stricter, for a link that stays inside the root
 * is refused too, and slower, by a system call for each directory. */
static int
open_stepwise(int root, const char *path)
{
    for (int dir = root;;) {
        size_t n = strcspn(path, "/");
        bool last = path[n] == '\0' || path[n + 1] == '\0';
        char name[PATH_LIMIT];
        snprintf(name, sizeof name, "%.*s", (int)n, path);

        int flags = last ? READ_ONLY : O_PATH | O_DIRECTORY | O_CLOEXEC;
        int fd = openat(dir, name, flags | O_NOFOLLOW);
        int problem = errno;
        if (dir != root)
            close(dir);
        errno = problem;
        if (fd < 0 || last)
            return fd;
        dir = fd;
        path += n + 1;
    }
}

/* Opens path, if the way to it never leaves the root. Returns -1 with errno. */
static int
open_beneath(const struct root *root, const char *path)
{
    /* TODO 2: let the kernel refuse every way out of the root.
     * openat2() takes a struct open_how. With RESOLVE_BENEATH it fails with
     * EXDEV as soon as the path, or a symbolic link on the way, leads out of
     * the directory; RESOLVE_NO_MAGICLINKS refuses the links of /proc. libc has
     * no function for it: use syscall(SYS_openat2, ...). EAGAIN means that
     * somebody renamed a directory meanwhile: try again, RETRIES times.
     * Without openat2(), walk with open_stepwise(). The stub follows links.
     */
    (void)open_stepwise;
    return openat(root->fd, path, READ_ONLY);
}

/* What to answer when a file could not be opened. */
static int
status_of(int problem)
{
    switch (problem) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ENXIO: /* a socket */
    case ELOOP:
    case EXDEV: /* outside: on this site it does not exist */
        return 404;
    case EACCES:
    case EPERM:
        return 403;
    case EMFILE: /* out of something at this moment */
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return 503;
    default:
        return 500;
    }
}

static const char *
type_of(const char *path)
{
    /* TODO 5: find the type of a file by its extension.
     * The extension is what follows the last '.' of the last segment; upper
     * and lower case mean the same: strcasecmp(). A browser that is told the
     * wrong type shows a page as text, ignores a style sheet, or saves both.
     */
    (void)path;
    (void)types;
    return "application/octet-stream"; /* bytes, to be saved */
}

/* Fills in *f from what is open as f->fd, or closes it: only regular files are
 * served. Returns 200, 301 for a directory, or another status. */
static int
examine(const char *path, struct file *f)
{
    struct stat st = {0};
    if (fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode)) {
        f->version = (struct version){.device = st.st_dev,
                                      .inode = st.st_ino,
                                      .size = st.st_size,
                                      .modified = st.st_mtim,
                                      .changed = st.st_ctim};
        f->type = type_of(path);
        return 200;
    }
    close(f->fd);
    f->fd = -1;
    return S_ISDIR(st.st_mode) ? 301 : 403;
}

/* A directory that exists but has no index: there is nothing to show. */
static int
without_index(const struct root *root, const char *path)
{
    int fd = file_open_directory(root, path);
    if (fd < 0)
        return status_of(errno);
    close(fd);
    return 403;
}

int
file_open_directory(const struct root *root, const char *path)
{
    return open_beneath(root, path[0] != '\0' ? path : ".");
}

/* Turns the path of a directory into that of its index. Returns path. */
static const char *
with_index(const char *path, char index[PATH_LIMIT + sizeof "index.html.gz"])
{
    size_t n = strlen(path);
    if (n > 0 && path[n - 1] != '/')
        return path;
    memcpy(index, path, n);
    memcpy(index + n, "index.html", sizeof "index.html");
    return index;
}

int
file_open(const struct root *root, const char *path, struct file *f)
{
    /* TODO 3: give a directory its index.html.
     * A path that is empty or ends in '/' means a directory: open the
     * index.html in it, and if there is none, without_index() knows what to
     * answer. A path without '/' that turns out to be a directory is 301, as
     * examine() says: the links in its page are relative to "/dir/", not to
     * "/". The stub knows files only.
     */
    (void)without_index;
    (void)with_index;
    f->fd = open_beneath(root, path);
    if (f->fd < 0)
        return status_of(errno);
    return examine(path, f) == 200 ? 200 : 404;
}

bool
file_open_gzip(const struct root *root, const char *path,
               const struct file *plain, struct file *gzip)
{
    /* TODO 18: find the compressed form of a file.
     * Take the name that file_open() has opened (with_index()), and append
     * ".gz". The file must be a regular one, and may not be older than the one
     * that it stands for: somebody has edited the page, and forgotten to
     * compress it. Close what you do not hand out. With this, what goes over
     * the network is a third or less; what is to be done about Accept-Encoding
     * stands in request.c, and is given. The stub finds none.
     */
    (void)root;
    (void)path;
    (void)plain;
    (void)gzip;
    return false;
}

bool
file_read(int fd, char *buf, size_t n, off_t offset)
{
    while (n > 0) {
        ssize_t got = pread(fd, buf, n, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        buf += got;
        offset += got;
        n -= (size_t)got;
    }
    return true;
}

bool
version_same(const struct version *a, const struct version *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec &&
           a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}
