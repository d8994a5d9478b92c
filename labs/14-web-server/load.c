/*
 * From a file to an entry: what a worker does.
 *
 * All that blocks is here: open, stat, read. And all that need be done only
 * once for many requests is done here as well: the head of the answer is
 * written into the same piece of memory as the body, so that a hit is one copy
 * and one send.
 */
#include "load.h"
#include "listing.h"
#include "response.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HEAD_ROOM = 1024, /* the longest head of a file: its fields are short */
    PAGES = 64 * 1024 /* bytes that load_pages() reads at once */
};

/* A strong validator: when the bytes change, so does one of these. The time of
 * the last change of anything (ctime), as nobody can set that back: builds with
 * fixed times, and rsync(1), give other bytes the modification time of the old
 * ones. It changes for less, too (chmod); then a client gets once more what it
 * has. */
static void
write_etag(struct content *c, const struct version *v, const char *form)
{
    snprintf(c->etag, sizeof c->etag, "\"%llx-%llx-%llx.%lx%s\"",
             (unsigned long long)v->inode, (unsigned long long)v->size,
             (unsigned long long)v->changed.tv_sec, v->changed.tv_nsec, form);
}

/* Takes over an open file: reads it, if it is small, behind the head of its
 * answer. Returns false if that fails; the file is closed then. */
static bool
take_file(struct entry *e, struct content *c, const struct file *f, time_t now)
{
    bool small = f->version.size <= IN_MEMORY_MAX;
    size_t body = small ? (size_t)f->version.size : 0;
    c->size = f->version.size;
    c->fd = small ? -1 : f->fd;
    write_etag(c, &f->version, c == &e->gzip ? "-gz" : "");
    c->head = malloc(HEAD_ROOM + 2 + body);
    c->warm = small ? NULL : calloc(content_warm_size(c), 1);
    if (!c->head || (!small && !c->warm)) {
        c->size = c->fd = -1;
        close(f->fd);
        return false;
    }
    c->head_length = response_prepare(e, c, now, c->head, HEAD_ROOM);
    memcpy(c->head + c->head_length, "\r\n", 2);
    if (!small) {
        if (c->size <= PAGES) { /* or the next job would be to do that */
            load_pages(c, 0);
            c->warm[0] = 1;
            c->warm_since = time(NULL); /* not now: the disk took its time */
        }
        return true;
    }
    bool read = file_read(f->fd, c->head + c->head_length + 2, body, 0);
    close(f->fd);
    return read;
}

/* The page that lists a directory is content like any other. */
static bool
take_listing(const struct root *root, const char *name, struct entry *e,
             time_t now)
{
    size_t length;
    char *page = listing_make(root, name, &e->version, &length);
    struct content *c = &e->plain;
    if (!page)
        return false;
    e->type = "text/html; charset=utf-8";
    e->modified = e->version.modified.tv_sec;
    c->head = malloc(HEAD_ROOM + 2 + length);
    if (c->head) {
        c->size = (off_t)length;
        write_etag(c, &e->version, "-list");
        c->head_length = response_prepare(e, c, now, c->head, HEAD_ROOM);
        memcpy(c->head + c->head_length, "\r\n", 2);
        memcpy(c->head + c->head_length + 2, page, length);
    }
    free(page);
    return c->head != NULL;
}

/* Whether old says all that a new entry would say. */
static bool
is_unchanged(const struct entry *old, const struct file *plain,
             const struct file *gzip)
{
    return old && version_same(&old->version, &plain->version) &&
           version_same(&old->gzip_version, &gzip->version);
}

static struct entry *
failed(struct entry *e, int status)
{
    e->status = status;
    return e;
}

/* The file is there, as *f. Returns old or e, filled in. */
static struct entry *
load_file(const struct root *root, const char *name, struct file *f,
          const struct entry *old, struct entry *e, time_t now)
{
    struct file gzip = {.fd = -1};
    bool compressed = file_open_gzip(root, name, f, &gzip);
    if (!compressed)
        gzip.version = (struct version){0};
    e->type = f->type;
    e->version = f->version;
    e->gzip_version = gzip.version;
    e->modified = f->version.modified.tv_sec;
    if (is_unchanged(old, f, &gzip)) {
        close(f->fd);
        if (compressed)
            close(gzip.fd);
        return (struct entry *)old;
    }
    e->status = 200;
    if (!take_file(e, &e->plain, f, now))
        failed(e, 500);
    if (compressed && !take_file(e, &e->gzip, &gzip, now))
        failed(e, 500);
    return e;
}

struct entry *
load_entry(const struct root *root, const char *key, size_t key_length,
           const char *name, const struct entry *old, time_t now)
{
    struct entry *e = entry_new(key, key_length), *result;
    if (!e)
        return NULL;
    struct file f;
    int status = file_open(root, name, &f);
    if (status == 200)
        result = load_file(root, name, &f, old, e, now);
    else if (status == 403 && root->listing && take_listing(root, name, e, now))
        result = failed(e, 200);
    else
        result = failed(e, status);
    if (result != e)
        entry_release(e);
    return result;
}

void
load_pages(const struct content *c, off_t from)
{
    char buf[PAGES];
    off_t to = c->size - from < PART ? c->size : from + PART;
    while (from < to) {
        size_t n = to - from < PAGES ? (size_t)(to - from) : PAGES;
        if (!file_read(c->fd, buf, n, from))
            return; /* whoever sends it will see what is the matter */
        from += (off_t)n;
    }
}
