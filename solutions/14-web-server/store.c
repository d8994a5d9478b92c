/*
 * The entry for a URL: at once, or as soon as a worker has it.
 *
 *     store_get() --hit--> entry
 *         |
 *         | miss, or not looked at for a second
 *         v
 *     is there a load for this key?  --yes--> wait with the others
 *         | no
 *         v
 *     new load --job--> work(): open, compare, read   (a worker)
 *                           |
 *     all who wait <--- done(): into the cache        (the loop)
 *
 * A load belongs to the loop, but for the time between pool_submit() and
 * done(), in which the worker has its result and nothing else. A client that
 * leaves meanwhile takes its waiter off the list; the load goes on without it.
 */
#include "store.h"
#include "load.h"
#include "refresh.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TRUST = 1000,   /* ms for which an entry is taken to be true */
    WARM_TRUST = 5, /* seconds for which pages are taken to be in memory */
};

struct load {
    struct pool_job job;
    struct store *store;
    struct load *chain;
    uint32_t hash;
    struct waiter *waiters;
    long started;         /* in ms; the file was as it is after that moment */
    time_t now;           /* the time of day */
    struct entry *old;    /* the one in the cache that may be true no more */
    struct entry *result; /* the worker's */

    struct content *content; /* to be warmed, of the entry `old`, or NULL */
    off_t from;              /* where the part of it begins */

    size_t key_length;
    const char *name; /* behind the key */
    char key[];
};

/* --- waiting -------------------------------------------------------------- */

static void
wait_for(struct load *l, struct waiter *w)
{
    w->load = l;
    w->before = NULL;
    w->after = l->waiters;
    if (l->waiters)
        l->waiters->before = w;
    l->waiters = w;
}

void
store_cancel(struct waiter *w)
{
    if (!w->load)
        return;
    *(w->before ? &w->before->after : &w->load->waiters) = w->after;
    if (w->after)
        w->after->before = w->before;
    w->load = NULL;
}

/* Calls those who wait. What they do may cancel others, or start new loads; but
 * nobody may join this one any more, or this would never end. */
static void
tell(struct load *l, struct entry *e)
{
    while (l->waiters) {
        struct waiter *w = l->waiters;
        store_cancel(w);
        w->ready(w, e ? entry_hold(e) : NULL);
    }
}

/* --- loads ---------------------------------------------------------------- */

static struct load *
find_load(struct store *s, uint32_t hash, const char *key, size_t length)
{
    struct load *l = s->loads[hash % LOADS];
    while (l && (l->hash != hash || l->content || l->key_length != length ||
                 memcmp(l->key, key, length) != 0))
        l = l->chain;
    return l;
}

/* Takes it off its chain, if it is there: from now on nobody finds it. */
static void
unchain(struct load *l)
{
    struct load **slot = &l->store->loads[l->hash % LOADS];
    while (*slot && *slot != l)
        slot = &(*slot)->chain;
    if (*slot)
        *slot = l->chain;
}

static void
free_load(struct load *l)
{
    unchain(l);
    if (l->old)
        entry_release(l->old);
    free(l);
}

/* On a worker. */
static void
work(void *arg)
{
    struct load *l = arg;
    if (l->content)
        load_pages(l->content, l->from);
    else
        l->result = load_entry(&l->store->root, l->key, l->key_length, l->name,
                               l->old, l->now);
}

/* Notes that the part at l->from is in the page cache. What was noted too long
 * ago is forgotten. Time runs from now, not from when the worker was sent: the
 * disk may have taken longer than that. */
static void
note_warm(struct load *l)
{
    struct content *c = l->content;
    time_t now = time(NULL);
    if (now - c->warm_since >= WARM_TRUST) {
        memset(c->warm, 0, content_warm_size(c));
        c->warm_since = now;
    }
    c->warm[l->from / PART / 8] |= 1u << l->from / PART % 8;
}

/* What the loads' result means for the cache. Returns the answer for all. */
static struct entry *
settle(struct load *l)
{
    struct store *s = l->store;
    struct entry *e = l->result;
    /* TODO 15: put the result where it belongs.
     * If the worker found that nothing has changed, e is l->old, and true
     * again since l->started (not since now: the worker looked a while ago).
     * If it is a new one, it is new since l->started; cache_insert() one with
     * status 200, which takes an old one's place. For any other status the
     * file is gone, or may not be read: what the cache has for it has to go.
     * The stub believes that what was once true stays true.
     * STUB: if (e && e != l->old && e->status == 200) {
     * STUB:     e->checked = INT64_MAX;
     * STUB:     cache_insert(s->cache, e);
     * STUB: }
     */
    if (e == l->old && e) {
        e->checked = l->started;
        return entry_hold(e);
    }
    if (e && e->status == 200) {
        e->checked = l->started;
        cache_insert(s->cache, e);
    } else if (l->old) {
        cache_remove(s->cache, l->old);
    }
    /* END TODO 15 */
    return e ? e : entry_hold(s->busy);
}

/* On the loop: the worker has finished, or the pool is ending (!ran). Whoever
 * asks from now on, and those who are told may do so, asks for a new load: this
 * one says how the disk was, and may be too old already. */
static void
done(void *arg, bool ran)
{
    struct load *l = arg;
    unchain(l);
    if (l->content) {
        if (ran)
            note_warm(l);
        tell(l, NULL);
        free_load(l);
        return;
    }
    struct entry *e = ran ? settle(l) : entry_hold(l->store->busy);
    tell(l, e);
    entry_release(e);
    free_load(l);
}

static struct load *
new_load(struct store *s, uint32_t hash, const char *key, size_t length,
         const char *name)
{
    size_t name_size = strlen(name) + 1;
    struct load *l = malloc(sizeof *l + length + name_size);
    if (!l)
        return NULL;
    *l = (struct load){.job = {.work = work, .done = done, .arg = l},
                       .store = s,
                       .chain = s->loads[hash % LOADS],
                       .hash = hash,
                       .started = loop_now(s->loop),
                       .now = time(NULL),
                       .key_length = length,
                       .name = l->key + length};
    memcpy(l->key, key, length);
    memcpy(l->key + length, name, name_size);
    s->loads[hash % LOADS] = l;
    return l;
}

/* Hands a load to the workers. Returns NULL, and w will hear of it; or at once
 * what there is to answer. */
static struct entry *
begin(struct load *l, struct waiter *w)
{
    struct store *s = l->store;
    /* TODO 12: let a worker do what may block.
     * pool_submit() the job; from then on w waits for it, wait_for(), and the
     * answer to whoever asked is NULL: not yet. If the pool refuses, as its
     * queue is full, free_load(), and the answer is s->busy, with a reference
     * of its own: 503 now is better than a client that waits in a queue with
     * no end. The stub works on the loop's thread: while the disk is slow, all
     * clients wait.
     * STUB: (void)wait_for;
     * STUB: (void)w;
     * STUB: (void)s;
     * STUB: work(l);
     * STUB: if (l->content)
     * STUB:     note_warm(l);
     * STUB: struct entry *e = l->content ? NULL : settle(l);
     * STUB: free_load(l);
     * STUB: return e;
     */
    if (pool_submit(s->pool, s->loop, &l->job)) {
        wait_for(l, w);
        return NULL;
    }
    free_load(l);
    return entry_hold(s->busy);
    /* END TODO 12 */
}

/* --- the calls ------------------------------------------------------------ */

bool
store_init(struct store *s, struct loop *loop, struct pool *pool,
           struct cache *cache, struct root root)
{
    *s = (struct store){
        .loop = loop, .pool = pool, .cache = cache, .root = root};
    s->busy = entry_new("", 0);
    if (s->busy)
        s->busy->status = 503;
    return s->busy != NULL;
}

void
store_destroy(struct store *s)
{
    refresh_drop(s);
    entry_release(s->busy);
    close(s->root.fd);
}

struct entry *
store_peek(struct store *s, const char *key, size_t length)
{
    struct entry *e = cache_find(s->cache, key, length);
    if (!e)
        return NULL;
    long age = loop_now(s->loop) - e->checked;
    if (age >= TRUST)
        return NULL;
    if (age >= REFRESH_AFTER)
        refresh_add(s, e);
    s->numbers.hits++;
    return entry_hold(e);
}

struct entry *
store_get(struct store *s, const char *key, size_t length, const char *name,
          struct waiter *w)
{
    struct entry *e = store_peek(s, key, length);
    if (e)
        return e;
    s->numbers.misses++;
    uint32_t hash = cache_hash(key, length);
    struct load *l = find_load(s, hash, key, length);
    if (l) {
        s->numbers.joined++;
        wait_for(l, w);
        return NULL;
    }
    l = new_load(s, hash, key, length, name);
    if (!l)
        return entry_hold(s->busy);
    e = cache_find(s->cache, key, length);
    l->old = e ? entry_hold(e) : NULL;
    *(e ? &s->numbers.checks : &s->numbers.loads) += 1;
    return begin(l, w);
}

off_t
store_warm_until(const struct content *c, off_t offset, time_t now)
{
    off_t i = offset / PART;
    bool warm =
        now - c->warm_since < WARM_TRUST && (c->warm[i / 8] & 1u << i % 8) != 0;
    return warm ? (i + 1) * PART : offset;
}

bool
store_warm(struct store *s, struct entry *e, struct content *c, off_t offset,
           struct waiter *w)
{
    off_t from = offset / PART * PART;
    for (struct load *l = s->loads[e->hash % LOADS]; l; l = l->chain)
        if (l->content == c && l->from == from) {
            wait_for(l, w);
            return true;
        }
    struct load *l = new_load(s, e->hash, e->key, e->key_length, "");
    if (!l)
        return false;
    l->old = entry_hold(e);
    l->content = c;
    l->from = from;
    s->numbers.warmed++;
    struct entry *refusal = begin(l, w);
    if (refusal)
        entry_release(refusal);
    return refusal == NULL;
}
