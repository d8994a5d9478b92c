/*
 * Another way: a queue for each number of uses, up to three. What is used moves
 * up, to the end of the next queue; what has to go is the first of the lowest
 * queue that has any. So a scan, whose files are used once, pushes out nothing but
 * what was used as little. Lest yesterday's hits stay for ever, everything moves
 * down by one queue whenever as much has gone as there is.
 *
 * The table of chains is made once, for as many entries as there can be; what is
 * never touched of it takes no memory.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* e->queue is 0 if the entry is in none, or the number of its queue. */
enum { QUEUES = 4, CHAINS_MIN = 64, CHAINS_MAX = 1 << 20 };

struct queue {
    struct entry *first, *last; /* first: waits longest */
};

struct cache {
    size_t limit, file_cost, bytes, entries;
    uint64_t evictions, evictions_then; /* when everything moved down last */
    struct queue queues[QUEUES + 1];
    size_t chains; /* a power of two */
    struct entry *table[];
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

static struct entry **
chain_of(struct cache *c, uint32_t hash)
{
    return &c->table[hash & (c->chains - 1)];
}

static struct entry *
look_up(struct cache *c, const char *key, size_t length)
{
    uint32_t hash = cache_hash(key, length);
    for (struct entry *e = *chain_of(c, hash); e != NULL; e = e->chain)
        if (e->hash == hash && e->key_length == length &&
            memcmp(e->key, key, length) == 0)
            return e;
    return NULL;
}

/* --- the queues ------------------------------------------------------------ */

static void
enqueue(struct cache *c, struct entry *e, int queue)
{
    struct queue *q = &c->queues[queue];
    e->queue = (uint8_t)queue;
    e->older = q->last;
    e->newer = NULL;
    *(q->last ? &q->last->newer : &q->first) = e;
    q->last = e;
}

static void
dequeue(struct cache *c, struct entry *e)
{
    struct queue *q = &c->queues[e->queue];
    *(e->older ? &e->older->newer : &q->first) = e->newer;
    *(e->newer ? &e->newer->older : &q->last) = e->older;
    e->queue = 0;
}

static void
move_down(struct cache *c)
{
    for (int i = 2; i <= QUEUES; i++) {
        struct entry *e;
        struct queue all = c->queues[i];
        c->queues[i] = (struct queue){NULL, NULL};
        while ((e = all.first) != NULL) {
            all.first = e->newer;
            enqueue(c, e, i - 1);
        }
    }
    c->evictions_then = c->evictions;
}

static void
evict(struct cache *c)
{
    struct queue *q = &c->queues[1];
    while (q->first == NULL)
        q++;
    cache_remove(c, q->first);
    if (++c->evictions - c->evictions_then > c->entries)
        move_down(c);
}

/* --- the calls ------------------------------------------------------------ */

struct cache *
cache_create(size_t limit, unsigned files)
{
    size_t chains = CHAINS_MIN;
    while (chains < CHAINS_MAX && chains < limit / sizeof(struct entry))
        chains *= 2;
    struct cache *c = calloc(1, sizeof *c + chains * sizeof c->table[0]);
    if (c == NULL)
        return NULL;
    c->limit = limit;
    c->file_cost = limit / (files > 0 ? files : 1);
    c->chains = chains;
    return c;
}

void
cache_destroy(struct cache *c)
{
    for (int i = 1; i <= QUEUES; i++)
        while (c->queues[i].first != NULL)
            cache_remove(c, c->queues[i].first);
    free(c);
}

struct entry *
cache_find(struct cache *c, const char *key, size_t length)
{
    struct entry *e = look_up(c, key, length);
    if (e != NULL && e->queue < QUEUES) {
        int next = e->queue + 1;
        dequeue(c, e);
        enqueue(c, e, next);
    }
    return e;
}

void
cache_insert(struct cache *c, struct entry *e)
{
    struct entry *old = look_up(c, e->key, e->key_length);
    if (old != NULL)
        cache_remove(c, old);
    e->cost = sizeof *e + e->key_length + cost_of(c, &e->plain) +
              cost_of(c, &e->gzip);
    if (e->cost > c->limit)
        return;
    while (c->bytes + e->cost > c->limit)
        evict(c);
    e->hash = cache_hash(e->key, e->key_length);
    e->chain = *chain_of(c, e->hash);
    *chain_of(c, e->hash) = entry_hold(e);
    enqueue(c, e, 1);
    c->bytes += e->cost;
    c->entries++;
}

void
cache_remove(struct cache *c, struct entry *e)
{
    if (e->queue == 0)
        return;
    dequeue(c, e);
    struct entry **at = chain_of(c, e->hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    c->bytes -= e->cost;
    c->entries--;
    entry_release(e);
}

struct cache_numbers
cache_numbers(const struct cache *c)
{
    return (struct cache_numbers){c->limit, c->bytes, c->entries, c->evictions};
}
