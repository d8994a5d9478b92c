/* entry.h - what a URL stands for, ready to be sent.
 *
 * A worker builds an entry from a file, and is alone with it until it hands it
 * over. From then on nobody changes what it says: it may be in the cache, and
 * many connections may be sending from it at the same time. Only the notes
 * change, the cache's and those about pages, and only on the thread of the
 * loop, which is also the only one that counts references. A worker that
 * compares an old entry with its file looks at none of them. So there is no
 * lock here.
 */
#ifndef ENTRY_H
#define ENTRY_H

#include "files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum {
    IN_MEMORY_MAX = 8 * 1024, /* a larger file stays open: sendfile(2) costs
                               * less than to copy more than that */
    ETAG_SIZE = 64,           /* with its quotes and final 0 */
    PART = 1024 * 1024,       /* of a file: so much is read at once */
};

/* One form of the bytes behind a URL: as they are, or compressed. */
struct content {
    off_t size;         /* bytes of the body; -1: there is no such form */
    char *head;         /* the head of a 200 answer; between its lines comes
                          * the date: see response.h. Not the empty line */
    size_t head_length; /* what follows in memory: the empty line, the body */
    int fd;             /* of a body that is not in memory, or -1 */
    char etag[ETAG_SIZE];

    /* Notes about pages: see store.c. */
    unsigned char *warm; /* of a file that stays open: a bit for each PART that
                          * was read lately, and is in the page cache */
    time_t warm_since;   /* when the first of them was */
};

struct entry {
    int status;       /* 200; or the error that stands here: never cached */
    const char *type; /* for Content-Type: a static string */
    time_t modified;
    struct version version;      /* of the file, or directory */
    struct version gzip_version; /* of the compressed one; all 0: none */
    struct content plain;        /* size is -1 in an entry about an error */
    struct content gzip;

    /* The cache's notes. */
    unsigned references;         /* who drops the last one frees the entry */
    uint32_t hash;               /* of the key */
    long checked;                /* when it was last known to be true, in ms */
    size_t cost;                 /* bytes that it counts for */
    uint8_t queue;               /* where it is: see cache.c */
    uint8_t uses;                /* lately, up to 3 */
    bool refreshing;             /* a worker compares it: see refresh.h */
    struct entry *chain;         /* the next one with such a hash */
    struct entry *older, *newer; /* in the queue */
    size_t key_length;
    char key[]; /* the URL's path, in its only clean spelling */
};

/* Makes an entry with one reference and no content. NULL: no memory. */
struct entry *entry_new(const char *key, size_t length);

static inline struct entry *
entry_hold(struct entry *e)
{
    e->references++;
    return e;
}

/* Gives a reference back; with the last one everything it has goes, the open
 * files too. */
void entry_release(struct entry *e);

/* Bytes of the bits in `warm`. */
static inline size_t
content_warm_size(const struct content *c)
{
    return c->fd < 0 ? 0 : (size_t)(c->size / PART / 8 + 1);
}

/* The body in memory, or NULL if it is in a file. */
static inline const char *
content_body(const struct content *c)
{
    return c->fd < 0 ? c->head + c->head_length + 2 : NULL;
}

#endif
