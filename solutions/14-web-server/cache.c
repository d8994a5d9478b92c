/*
 * Entries by their URL, within a bound of bytes.
 *
 * What is to go when the cache is full? The least recently used (LRU) looks
 * right, until a robot fetches every page once: each of its pages is more
 * recent than your home page was, and pushes it out. So most of what comes
 * new has to prove itself first. This is S3-FIFO (Yang and others, "FIFO
 * queues are all you need for cache eviction", SOSP 2023):
 *
 *                 used again meanwhile
 *             +--------------------------+
 *             |                          v
 *     new --> [ SMALL, a tenth ]    [ MAIN, the rest ] <--+ used again
 *             |                          |  |             | meanwhile:
 *             | not used again           |  +-------------+ another round
 *             v                          v
 *         forgotten, but             forgotten
 *         noted as a GHOST
 *
 * A visitor that comes once passes through SMALL and touches nothing else. What
 * comes back soon after it has gone, and is still noted as a ghost, was wanted
 * after all: it goes to MAIN at once. A hit moves nothing in a list, it only
 * counts: that is why FIFO queues are faster than LRU.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum queue { NOWHERE, SMALL, MAIN };

enum {
    SMALL_PART = 10,  /* SMALL has one in ten bytes */
    USES_MAX = 3,     /* more uses count no more: two bits in the paper */
    GHOSTS = 8192,    /* a power of two */
    FIRST_TABLE = 256 /* chains; a power of two */
};

struct fifo {
    struct entry *oldest, *newest;
    size_t bytes;
};

/* The hash of an entry that had to go, and when: counted in ghosts. */
struct ghost {
    uint32_t hash;
    uint32_t when;
};

struct cache {
    size_t limit;
    size_t file_cost; /* of an open file, in bytes */
    size_t entries;
    uint64_t evictions;
    struct fifo queues[MAIN + 1];
    struct entry **table; /* chains by the low bits of the hash */
    size_t mask;          /* the number of chains, less one */
    uint32_t ghosts_seen;
    struct ghost ghosts[GHOSTS];
};

/* --- entries -------------------------------------------------------------- */

struct entry *
entry_new(const char *key, size_t length)
{
    struct entry *e = malloc(sizeof *e + length);
    if (!e)
        return NULL;
    *e = (struct entry){.references = 1,
                        .plain = {.size = -1, .fd = -1},
                        .gzip = {.size = -1, .fd = -1},
                        .key_length = length};
    memcpy(e->key, key, length);
    return e;
}

static void
drop_content(struct content *c)
{
    free(c->head);
    free(c->warm);
    if (c->fd >= 0)
        close(c->fd);
}

void
entry_release(struct entry *e)
{
    if (--e->references > 0)
        return;
    drop_content(&e->plain);
    drop_content(&e->gzip);
    free(e);
}

static size_t
cost_of(const struct cache *c, const struct content *content)
{
    if (content->size < 0)
        return 0;
    return content->head_length + content_warm_size(content) +
           (content->fd < 0 ? (size_t)content->size : c->file_cost);
}

/* --- the table ------------------------------------------------------------ */

/* Eight bytes at a time through a multiplication whose upper half is folded
 * into the lower, as in wyhash. */
uint32_t
cache_hash(const char *key, size_t length)
{
    static uint64_t seed[2];
    if (seed[0] == 0)
        while (getrandom(seed, sizeof seed, 0) < (ssize_t)sizeof seed)
            ;
    uint64_t h = seed[0] ^ length, word;
    for (; length > 0; key += sizeof word) {
        size_t n = length < sizeof word ? length : sizeof word;
        word = 0;
        memcpy(&word, key, n);
        length -= n;
        unsigned __int128 product =
            (unsigned __int128)(h ^ word) * (seed[1] | 1);
        h = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return (uint32_t)(h ^ h >> 32);
}

/* Where the pointer to this entry is, or the NULL at the end of its chain. */
static struct entry **
slot_of(const struct cache *c, uint32_t hash, const char *key, size_t length)
{
    struct entry **slot = &c->table[hash & c->mask];
    while (*slot && ((*slot)->hash != hash || (*slot)->key_length != length ||
                     memcmp((*slot)->key, key, length) != 0))
        slot = &(*slot)->chain;
    return slot;
}

/* Twice as many chains. Without memory for them they just get longer. */
static void
grow_table(struct cache *c)
{
    size_t chains = 2 * (c->mask + 1);
    struct entry **table = calloc(chains, sizeof *table);
    if (!table)
        return;
    for (size_t i = 0; i <= c->mask; i++)
        for (struct entry *e = c->table[i], *next; e; e = next) {
            next = e->chain;
            e->chain = table[e->hash & (chains - 1)];
            table[e->hash & (chains - 1)] = e;
        }
    free(c->table);
    c->table = table;
    c->mask = chains - 1;
}

/* --- what has to go ------------------------------------------------------- */

static void
enqueue(struct cache *c, struct entry *e, enum queue queue)
{
    struct fifo *q = &c->queues[queue];
    e->queue = (uint8_t)queue;
    e->older = q->newest;
    e->newer = NULL;
    *(q->newest ? &q->newest->newer : &q->oldest) = e;
    q->newest = e;
    q->bytes += e->cost;
}

static void
dequeue(struct cache *c, struct entry *e)
{
    struct fifo *q = &c->queues[e->queue];
    *(e->older ? &e->older->newer : &q->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &q->newest) = e->older;
    q->bytes -= e->cost;
    e->queue = NOWHERE;
}

static size_t
in_use(const struct cache *c)
{
    return c->queues[SMALL].bytes + c->queues[MAIN].bytes;
}

static void
note_ghost(struct cache *c, uint32_t hash)
{
    c->ghosts[hash % GHOSTS] =
        (struct ghost){.hash = hash, .when = ++c->ghosts_seen};
}

/* Whether it went not long ago: since then no more have gone than are here. */
static bool
is_ghost(const struct cache *c, uint32_t hash)
{
    const struct ghost *g = &c->ghosts[hash % GHOSTS];
    return g->when != 0 && g->hash == hash &&
           c->ghosts_seen - g->when <= c->entries;
}

/* Takes one step: the oldest entry of a queue goes, or gets another chance. */
static void
evict(struct cache *c)
{
    /* TODO 14: choose what has to go, so that a scan cannot empty the cache.
     * If SMALL has more than its part of the bytes, or MAIN is empty, look at
     * the oldest of SMALL: was it used since it came? Then it moves to MAIN,
     * where it has to prove itself anew (uses = 0). If not, note_ghost(), and
     * it goes: cache_remove(). Otherwise look at the oldest of MAIN: used? One
     * use less, and another round. If not, it goes. The stub takes what came
     * first: one scan, and everything is gone.
     * STUB: (void)note_ghost;
     * STUB: struct fifo *q = &c->queues[c->queues[SMALL].oldest ? SMALL : MAIN];
     * STUB: c->evictions++;
     * STUB: cache_remove(c, q->oldest);
     */
    bool small = c->queues[SMALL].bytes > c->limit / SMALL_PART ||
                 !c->queues[MAIN].oldest;
    struct entry *e = c->queues[small ? SMALL : MAIN].oldest;
    if (e->uses > 0) {
        dequeue(c, e);
        e->uses = small ? 0 : e->uses - 1;
        enqueue(c, e, MAIN);
        return;
    }
    if (small)
        note_ghost(c, e->hash);
    c->evictions++;
    cache_remove(c, e);
    /* END TODO 14 */
}

/* --- the calls ------------------------------------------------------------ */

struct cache *
cache_create(size_t limit, unsigned files)
{
    struct cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->limit = limit;
    c->file_cost = limit / (files > 0 ? files : 1);
    c->mask = FIRST_TABLE - 1;
    c->table = calloc(FIRST_TABLE, sizeof *c->table);
    if (!c->table) {
        free(c);
        return NULL;
    }
    return c;
}

void
cache_destroy(struct cache *c)
{
    for (enum queue q = SMALL; q <= MAIN; q++)
        while (c->queues[q].oldest)
            cache_remove(c, c->queues[q].oldest);
    free(c->table);
    free(c);
}

struct entry *
cache_find(struct cache *c, const char *key, size_t length)
{
    struct entry *e = *slot_of(c, cache_hash(key, length), key, length);
    if (e && e->uses < USES_MAX)
        e->uses++;
    return e;
}

void
cache_insert(struct cache *c, struct entry *e)
{
    struct entry *old = *slot_of(c, e->hash = cache_hash(e->key, e->key_length),
                                 e->key, e->key_length);
    if (old)
        cache_remove(c, old);
    e->cost = sizeof *e + e->key_length + cost_of(c, &e->plain) +
              cost_of(c, &e->gzip);
    /* TODO 13: keep the entry, and keep within the limit.
     * An entry that is larger than MAIN could ever be is not worth the others:
     * return. Else evict() until it fits in. Count it, hold it, put it at the
     * head of its chain, and enqueue() it: in MAIN if it is_ghost(), in SMALL
     * if not. The limit is in bytes: a thousand entries may be a megabyte, or
     * sixty. The stub keeps nothing, so that each request loads its file.
     * STUB: (void)is_ghost;
     * STUB: (void)enqueue;
     * STUB: (void)evict;
     * STUB: (void)grow_table;
     */
    if (e->cost > c->limit - c->limit / SMALL_PART)
        return;
    while (in_use(c) + e->cost > c->limit)
        evict(c);
    if (c->entries > c->mask)
        grow_table(c);
    struct entry **chain = &c->table[e->hash & c->mask];
    e->chain = *chain;
    *chain = entry_hold(e);
    e->uses = 0;
    enqueue(c, e, is_ghost(c, e->hash) ? MAIN : SMALL);
    c->entries++;
    /* END TODO 13 */
}

void
cache_remove(struct cache *c, struct entry *e)
{
    if (e->queue == NOWHERE)
        return;
    dequeue(c, e);
    struct entry **slot = &c->table[e->hash & c->mask];
    while (*slot != e)
        slot = &(*slot)->chain;
    *slot = e->chain;
    c->entries--;
    entry_release(e); /* who is sending it keeps it alive */
}

struct cache_numbers
cache_numbers(const struct cache *c)
{
    return (struct cache_numbers){.limit = c->limit,
                                  .bytes = in_use(c),
                                  .entries = c->entries,
                                  .evictions = c->evictions};
}
