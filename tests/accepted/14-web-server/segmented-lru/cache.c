/*
 * Another way: a segmented LRU (Karedla and others, 1994, for disks). Whatever
 * is new comes into PROBATION; what is used there moves to PROTECTED, at most
 * four fifths of the bytes. Both are lists with the last used one in front. What
 * does not fit into PROTECTED any more goes back to the front of PROBATION, and
 * what has to go is the last one there. So a scan pushes out what came once,
 * and what has not been used for long; of the rest, nothing.
 *
 * Keys are found in a table with open addressing: no chains, but the next place.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum queue { NOWHERE, PROBATION, PROTECTED };

enum { FIRST_TABLE = 256 };

struct lru {
    struct entry *first, *last; /* the last used one; the longest unused one */
    size_t bytes;
};

struct cache {
    size_t limit, file_cost, entries;
    uint64_t evictions;
    struct lru queues[PROTECTED + 1];
    struct entry **table; /* at most half full */
    size_t mask;
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

/* Byte by byte, each folded in by a multiplication with a secret. */
uint32_t
cache_hash(const char *key, size_t length)
{
    static uint64_t secret[2];
    while (secret[0] == 0)
        if (getrandom(secret, sizeof secret, 0) < (ssize_t)sizeof secret)
            secret[0] = 0;
    uint64_t h = secret[0];
    for (size_t i = 0; i < length; i++) {
        unsigned __int128 product =
            (unsigned __int128)(h ^ (unsigned char)key[i]) * (secret[1] | 1);
        h = (uint64_t)(product >> 64) + (uint64_t)product;
    }
    return (uint32_t)(h ^ h >> 32);
}

/* Where the entry with this key is, or the free place where it would be. */
static size_t
place_of(const struct cache *c, uint32_t hash, const char *key, size_t length)
{
    size_t i = hash & c->mask;
    for (const struct entry *e; (e = c->table[i]) != NULL;
         i = (i + 1) & c->mask)
        if (e->hash == hash && e->key_length == length &&
            memcmp(e->key, key, length) == 0)
            break;
    return i;
}

static size_t
place_of_entry(const struct cache *c, const struct entry *e)
{
    return place_of(c, e->hash, e->key, e->key_length);
}

/* Empties a place. Those behind it, up to the next free one, are put in again:
 * one of them may have come there only because this place was taken. */
static void
vacate(struct cache *c, size_t i)
{
    c->table[i] = NULL;
    for (;;) {
        i = (i + 1) & c->mask;
        struct entry *e = c->table[i];
        if (e == NULL)
            return;
        c->table[i] = NULL;
        c->table[place_of_entry(c, e)] = e;
    }
}

/* Room for one more, so that half of the places are free. */
static bool
make_place(struct cache *c)
{
    size_t places = c->mask + 1;
    if (2 * (c->entries + 1) <= places)
        return true;
    struct entry **old = c->table, **new = calloc(2 * places, sizeof *new);
    if (new == NULL)
        return false;
    c->table = new;
    c->mask = 2 * places - 1;
    for (size_t i = 0; i < places; i++)
        if (old[i] != NULL)
            c->table[place_of_entry(c, old[i])] = old[i];
    free(old);
    return true;
}

/* --- the two lists --------------------------------------------------------- */

static void
enqueue(struct cache *c, struct entry *e, enum queue queue)
{
    struct lru *q = &c->queues[queue];
    e->queue = (uint8_t)queue;
    e->newer = NULL;
    e->older = q->first;
    if (q->first != NULL)
        q->first->newer = e;
    else
        q->last = e;
    q->first = e;
    q->bytes += e->cost;
}

static void
dequeue(struct cache *c, struct entry *e)
{
    struct lru *q = &c->queues[e->queue];
    *(e->newer ? &e->newer->older : &q->first) = e->older;
    *(e->older ? &e->older->newer : &q->last) = e->newer;
    q->bytes -= e->cost;
    e->queue = NOWHERE;
}

static void
move(struct cache *c, struct entry *e, enum queue queue)
{
    dequeue(c, e);
    enqueue(c, e, queue);
}

static size_t
in_use(const struct cache *c)
{
    return c->queues[PROBATION].bytes + c->queues[PROTECTED].bytes;
}

/* --- the calls ------------------------------------------------------------ */

struct cache *
cache_create(size_t limit, unsigned files)
{
    struct cache *c = calloc(1, sizeof *c);
    struct entry **table = calloc(FIRST_TABLE, sizeof(struct entry *));
    if (c == NULL || table == NULL) {
        free(c);
        free(table);
        return NULL;
    }
    c->limit = limit;
    c->file_cost = limit / (files > 0 ? files : 1);
    c->table = table;
    c->mask = FIRST_TABLE - 1;
    return c;
}

void
cache_destroy(struct cache *c)
{
    for (int q = PROBATION; q <= PROTECTED; q++)
        while (c->queues[q].first != NULL)
            cache_remove(c, c->queues[q].first);
    free(c->table);
    free(c);
}

struct entry *
cache_find(struct cache *c, const char *key, size_t length)
{
    struct entry *e =
        c->table[place_of(c, cache_hash(key, length), key, length)];
    if (e == NULL)
        return NULL;
    move(c, e, PROTECTED);
    while (c->queues[PROTECTED].bytes > c->limit / 5 * 4)
        move(c, c->queues[PROTECTED].last, PROBATION);
    return e;
}

void
cache_insert(struct cache *c, struct entry *e)
{
    e->hash = cache_hash(e->key, e->key_length);
    e->cost = sizeof *e + e->key_length + cost_of(c, &e->plain) +
              cost_of(c, &e->gzip);
    struct entry *old = c->table[place_of_entry(c, e)];
    enum queue queue = old != NULL ? (enum queue)old->queue : PROBATION;
    if (old != NULL)
        cache_remove(c, old);
    if (e->cost > c->limit / 5 * 4 || !make_place(c))
        return;
    while (in_use(c) + e->cost > c->limit) {
        struct lru *q = &c->queues[PROBATION];
        if (q->last == NULL)
            q = &c->queues[PROTECTED];
        c->evictions++;
        cache_remove(c, q->last);
    }
    c->table[place_of_entry(c, e)] = entry_hold(e);
    enqueue(c, e, queue); /* a new version is wanted as much as the old one */
    c->entries++;
}

void
cache_remove(struct cache *c, struct entry *e)
{
    if (e->queue == NOWHERE)
        return;
    dequeue(c, e);
    vacate(c, place_of_entry(c, e));
    c->entries--;
    entry_release(e);
}

struct cache_numbers
cache_numbers(const struct cache *c)
{
    return (struct cache_numbers){c->limit, in_use(c), c->entries,
                                  c->evictions};
}
