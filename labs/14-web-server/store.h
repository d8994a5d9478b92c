/* store.h - the entry for a URL: at once, or as soon as a worker has it.
 *
 * The loop asks. If the cache has the entry, and it was known to be true less
 * than a second ago, it is there at once. Otherwise a job goes to the workers,
 * and the one who asked is called when it is done. However many ask for the
 * same URL meanwhile, there is one job for all of them: a file that has just
 * become popular is opened once, not a thousand times (no stampede).
 *
 * Threads: all calls come from the thread of the loop.
 */
#ifndef STORE_H
#define STORE_H

#include "cache.h"
#include "files.h"
#include "pool.h"

struct load; /* a job under way */

/* Lies in whoever waits. Only store.c looks inside. */
struct waiter {
    struct load *load; /* what it waits for; NULL: nothing */
    struct waiter *before, *after;
    /* Called by the loop, with a reference that is the waiter's. For
     * store_warm() it is NULL. */
    void (*ready)(struct waiter *w, struct entry *e);
};

struct store_numbers {
    uint64_t hits;   /* answered from the cache */
    uint64_t misses; /* the others */
    uint64_t joined; /* of the misses: there was a job already */
    uint64_t loads;  /* jobs that opened a file for a new entry */
    uint64_t checks; /* jobs that looked whether it is still the same */
    uint64_t warmed; /* jobs that read a part of a large file */
};

enum { LOADS = 256 }; /* chains of jobs under way */

struct store {
    struct loop *loop;
    struct pool *pool;
    struct cache *cache;
    struct root root;
    struct refresh *refresh; /* entries that are to be compared soon */
    struct entry *busy;      /* the answer when the workers cannot keep up */
    struct store_numbers numbers;
    struct load *loads[LOADS];
};

/* Takes over the root. False: no memory. */
bool store_init(struct store *s, struct loop *loop, struct pool *pool,
                struct cache *cache, struct root root);

/* Call it when no job is under way any more. */
void store_destroy(struct store *s);

/* The entry for a URL, if the cache has it and it is fresh; else NULL. With a
 * reference, as everything here. */
struct entry *store_peek(struct store *s, const char *key, size_t length);

/* The same; but if it is not there, has it loaded: it stands for the file
 * `name`. NULL then, and w->ready() will be called, unless store_cancel() comes
 * first. */
struct entry *store_get(struct store *s, const char *key, size_t length,
                        const char *name, struct waiter *w);

/* How far a large file can be sent, from offset on, without waiting for the
 * disk: to the end of its PART, if that was read lately, which may lie behind
 * the end of the file. If not, `offset` itself.
 */
off_t store_warm_until(const struct content *c, off_t offset, time_t now);

/* Has the PART that offset lies in read, and calls w->ready() then. False: the
 * workers have too much to do. */
bool store_warm(struct store *s, struct entry *e, struct content *c,
                off_t offset, struct waiter *w);

/* Stops waiting, if it does. */
void store_cancel(struct waiter *w);

#endif
