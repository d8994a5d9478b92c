/* cache.h - entries by their URL, within a bound of bytes.
 *
 * The caller may ask for more than fits; then what is least worth keeping is
 * forgotten. What that is: see cache.c.
 *
 * Threads: all calls come from the thread of the loop. Each worker process has
 * a cache of its own, so nothing is shared, and nothing is locked.
 */
#ifndef CACHE_H
#define CACHE_H

#include "entry.h"

struct cache;

struct cache_numbers {
    size_t limit; /* in bytes */
    size_t bytes; /* in use: at most limit */
    size_t entries;
    uint64_t evictions;
};

/* A cache for at most `limit` bytes. An entry counts with its key, its heads,
 * bodies in memory and notes about pages; each file that it keeps open counts
 * for limit / files bytes, so that it never has more than `files` of them. (One
 * that had to go stays open for as long as it is being sent.) NULL: no memory.
 */
struct cache *cache_create(size_t limit, unsigned files);
void cache_destroy(struct cache *c);

/* The entry with this key, or NULL. It is the cache's: who wants to keep it
 * over the next call of a function here has to entry_hold() it.
 */
struct entry *cache_find(struct cache *c, const char *key, size_t length);

/* Puts an entry in, in place of another with the same key. The cache holds a
 * reference of its own. An entry that is too large is not put in, and nothing
 * else has to go for it.
 */
void cache_insert(struct cache *c, struct entry *e);

/* Takes it out, if it is in. */
void cache_remove(struct cache *c, struct entry *e);

struct cache_numbers cache_numbers(const struct cache *c);

/* A keyed hash: who does not know the key, which is drawn at the start, cannot
 * make many keys that meet in one chain.
 */
uint32_t cache_hash(const char *key, size_t length);

#endif
