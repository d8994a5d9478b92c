/* Looks at popular files before anybody has to wait for it. */
#include "refresh.h"
#include "load.h"
#include "path.h"

#include <stdlib.h>

/* A list, and the job that works through it. */
struct refresh {
    struct pool_job job;
    struct store *store;
    long started; /* ms; the files are as they are after that moment */
    time_t now;   /* the time of day */
    int count;
    struct entry *old[REFRESH_MAX];    /* in the cache, held */
    struct entry *result[REFRESH_MAX]; /* the worker's: the same, or another */
};

/* On a worker. A key is a path as in a URL: it leads back to the name. */
static void
work(void *arg)
{
    struct refresh *f = arg;
    for (int i = 0; i < f->count; i++) {
        struct entry *e = f->old[i];
        char name[PATH_LIMIT];
        f->result[i] = NULL;
        if (path_resolve(e->key, e->key_length, name) == 200)
            f->result[i] = load_entry(&f->store->root, e->key, e->key_length,
                                      name, e, f->now);
    }
}

/* One entry was compared. It may have left the cache meanwhile, or another one
 * may have come in its place: then nobody needs to know. */
static void
settle(struct refresh *f, struct entry *old, struct entry *result)
{
    struct cache *cache = f->store->cache;
    bool current = cache_find(cache, old->key, old->key_length) == old;
    old->refreshing = false;
    if (result == old) {
        if (old->checked < f->started)
            old->checked = f->started;
        return;
    }
    if (current && result && result->status == 200) {
        result->checked = f->started;
        cache_insert(cache, result);
    } else if (current) {
        cache_remove(cache, old);
    }
    if (result)
        entry_release(result);
}

/* On the loop. */
static void
done(void *arg, bool ran)
{
    struct refresh *f = arg;
    for (int i = 0; i < f->count; i++) {
        if (ran)
            settle(f, f->old[i], f->result[i]);
        f->old[i]->refreshing = false;
        entry_release(f->old[i]);
    }
    free(f);
}

void
refresh_add(struct store *s, struct entry *e)
{
    if (e->refreshing)
        return;
    if (!s->refresh && !(s->refresh = calloc(1, sizeof *s->refresh)))
        return; /* it is a courtesy, no more */
    e->refreshing = true;
    s->refresh->old[s->refresh->count++] = entry_hold(e);
    if (s->refresh->count == REFRESH_MAX)
        refresh_flush(s);
}

void
refresh_flush(struct store *s)
{
    struct refresh *f = s->refresh;
    if (!f)
        return;
    s->refresh = NULL;
    f->job = (struct pool_job){.work = work, .done = done, .arg = f};
    f->store = s;
    f->started = loop_now(s->loop);
    f->now = time(NULL);
    s->numbers.checks += (uint64_t)f->count;
    if (!pool_submit(s->pool, s->loop, &f->job))
        done(f, false);
}

void
refresh_drop(struct store *s)
{
    if (s->refresh)
        done(s->refresh, false);
    s->refresh = NULL;
}
