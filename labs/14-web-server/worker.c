/*
 * The life of a worker process: from its first descriptor to its last, and what
 * it tells about itself meanwhile.
 *
 * It ends in order, or not at all: clients first, then threads, then the loop,
 * then memory. Each of them may still be used by those that end before it.
 */
#include "worker.h"
#include "refresh.h"
#include "status.h"

#include <err.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    LINGER_MAX = 5, /* seconds for a client that ignores our end */
    GRACE = 2000,   /* ms for an idle client of a server that ends */
    FILES_PART = 8, /* of the descriptors: for files that stay open */
    RESERVED = 64,  /* descriptors for everything else */
};

/* --- numbers -------------------------------------------------------------- */

static void
collect(struct server *s)
{
    const struct loop_stats *l = loop_stats(s->loop);
    struct pool_counts p = pool_counts(s->pool);
    struct cache_numbers c = cache_numbers(s->cache);
    const struct store_numbers *n = &s->store.numbers;
    uint64_t *to = s->numbers;
    to[OPEN] = s->connections;
    to[LIMIT] = s->draining ? 0 : s->limit;
    for (int state = IDLE; state < CLOSED; state++)
        to[IN_STATE + state] = s->in_state[state];
    to[TURNS] = l->turns;
    to[EVENTS_SEEN] = l->calls[LOOP_WAIT];
    memcpy(to + PHASES, l->ns, sizeof l->ns);
    to[THREADS] = p.threads;
    to[BUSY] = p.busy;
    to[QUEUED] = p.queued;
    to[CAPACITY] = POOL_CAPACITY;
    to[CACHE_LIMIT] = c.limit;
    to[CACHE_BYTES] = c.bytes;
    to[CACHE_ENTRIES] = c.entries;
    to[EVICTIONS] = c.evictions;
    to[HITS] = n->hits;
    to[MISSES] = n->misses;
    to[JOINED] = n->joined;
    to[LOADED] = n->loads;
    to[CHECKED] = n->checks;
    to[WARMED] = n->warmed;
}

/* So that others can see the numbers. */
static void
publish(struct server *s)
{
    collect(s);
    for (int i = 0; s->slot && i < NUMBERS; i++)
        atomic_store_explicit(&s->slot->numbers[i], s->numbers[i],
                              memory_order_relaxed);
}

/* In the phase prepare: what has to be done before the loop sleeps. */
static void
prepare(void *arg)
{
    struct server *s = arg;
    refresh_flush(&s->store);
    server_choose_listening(s);
    publish(s);
}

static bool
is_local(const struct in6_addr *a)
{
    return IN6_IS_ADDR_LOOPBACK(a) ||
           (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

void
server_show_stats(struct connection *c, struct answer *a)
{
    static char json[16 * 1024];
    struct text t = {json, json + sizeof json, false};
    a->status = c->server->config->stats && is_local(&c->peer) ? 200 : 404;
    if (a->status != 200)
        return;
    publish(c->server);
    stats_write(c->server->stats, &t);
    a->json = json;
    a->json_length = (size_t)(t.at - json);
}

/* --- the end -------------------------------------------------------------- */

static void
grace_is_over(void *arg)
{
    struct server *s = arg;
    for (struct connection *c = s->first, *after; c; c = after) {
        after = c->after;
        if (c->state == IDLE) {
            server_enter(c, CLOSED);
            server_settle(c);
        }
    }
    loop_timer_start(&s->grace, GRACE, 0);
}

/* No new clients; those that are here get one more answer, and idle ones a
 * moment to ask for it: closing under their hands would lose a request that is
 * on its way. */
static void
drain(struct server *s)
{
    s->draining = true;
    loop_close(&s->listener.handle, NULL);
    close(s->listener.fd); /* the last one to do so turns clients away */
    loop_timer_start(&s->grace, GRACE, 0);
    if (s->connections == 0)
        loop_stop(s->loop);
}

static void
signalled(void *arg, uint32_t events)
{
    struct server *s = arg;
    struct signalfd_siginfo info;
    (void)events;
    while (read(s->signals.fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGQUIT)
            loop_stop(s->loop);
        else if (!s->draining)
            drain(s);
    }
}

/* --- beginning and end ---------------------------------------------------- */

/* How many milliseconds a connection may stay in each state. */
static void
set_patience(struct server *s, const struct config *c)
{
    long idle = c->idle * 1000L;
    s->patience[IDLE] = idle;
    s->patience[WAITING] = idle;
    s->patience[WRITING] = idle; /* without taking a byte */
    s->patience[READING] = c->request * 1000L;
    s->patience[LINGERING] =
        idle < LINGER_MAX * 1000L ? idle : LINGER_MAX * 1000L;
}

/* Divides the descriptors: some for files in the cache, a few for files that are
 * being opened and for ourselves, the rest for clients. Returns how many files
 * may stay open. */
static unsigned
divide_descriptors(struct server *s)
{
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max; /* the lower limit is for programs with select() */
    setrlimit(RLIMIT_NOFILE, &l);
    rlim_t all = l.rlim_cur < 1 << 20 ? l.rlim_cur : 1 << 20;
    rlim_t files = all / FILES_PART;
    rlim_t others = files + RESERVED + 2 * s->config->threads;
    s->limit = others < all ? (unsigned)(all - others) : 1;
    if (others >= all)
        warnx("%ju descriptors (ulimit -n): room for one client at a time",
              (uintmax_t)all);
    if (s->config->connections > 0 && s->config->connections < s->limit)
        s->limit = s->config->connections;
    return (unsigned)files;
}

static void
watch_signals(struct server *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        err(1, "signalfd");
    loop_io_init(s->loop, &s->signals, fd, signalled, s);
    if (loop_io_want(&s->signals, EPOLLIN) < 0)
        err(1, "epoll_ctl");
}

void
worker_start(struct server *s, const struct config *config, int listener,
             struct root root, struct stats *stats, struct log *log)
{
    *s = (struct server){.config = config, .stats = stats, .log = log};
    s->slot = stats_take(stats, getpid());
    unsigned files = divide_descriptors(s);
    set_patience(s, s->config);
    status_load_pages(&root);
    s->loop = loop_create();
    s->pool = s->loop ? pool_create(s->config->threads, POOL_CAPACITY) : NULL;
    s->cache = cache_create(s->config->cache, files);
    if (!s->pool || !s->cache ||
        !store_init(&s->store, s->loop, s->pool, s->cache, root) ||
        loop_timer_init(s->loop, &s->grace, grace_is_over, s) < 0 ||
        (s->log && !log_start(s->log, s->loop, s->pool)))
        err(1, "start");
    watch_signals(s);
    loop_hook_init(s->loop, &s->prepare, LOOP_PREPARE, prepare, s);
    loop_hook_start(&s->prepare);
    server_listen(s, listener);
}

/* The workers have to end first: what they finish is posted to the loop. */
static void
stop(struct server *s)
{
    loop_close(&s->listener.handle, NULL);
    if (!s->draining)
        close(s->listener.fd);
    s->draining = true;
    for (struct connection *c; (c = s->first) != NULL;) {
        server_enter(c, CLOSED);
        server_settle(c);
    }
    pool_destroy(s->pool);
    loop_close(&s->signals.handle, NULL);
    loop_close(&s->rest.handle, NULL);
    loop_close(&s->grace.handle, NULL);
    loop_close(&s->prepare.handle, NULL);
    if (s->log)
        log_stop(s->log);
    loop_run(s->loop); /* until nothing is left */
    if (s->log)
        log_close(s->log);
    cache_destroy(s->cache);
    store_destroy(&s->store);
    loop_destroy(s->loop);
    server_free_buffers(s);
    close(s->signals.fd);
}

void
worker_run(struct server *s)
{
    loop_run(s->loop);
    stop(s);
    stats_give_back(s->stats, getpid());
}
