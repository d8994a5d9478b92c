/* stats.h - numbers about the server, for people and for www/scope.html.
 *
 * GET /_stats answers with JSON (all numbers are sums over the workers that
 * live, but for "pid" and "seconds"; times in nanoseconds):
 *
 *   { "pid": 4711, "seconds": 93, "workers": 2,
 *     "connections": {"open", "idle", "reading", "waiting", "writing",
 *                     "lingering", "limit", "accepted", "refused"},
 *     "requests":    {"answered", "2xx", "3xx", "4xx", "5xx", "bytes_sent"},
 *     "loop":        {"turns", "events"},
 *     "phases":      {"timers", "pending", "idle", "prepare", "wait", "poll",
 *                     "check", "close"},                  time spent in each
 *     "pool":        {"threads", "busy", "queued", "capacity"},
 *     "cache":       {"limit", "bytes", "entries", "hits", "misses", "joined",
 *                     "loads", "checks", "warmed", "evictions"},
 *     "per_worker":  [{"pid", "open", "answered", "hits", "busy"}, ...] }
 *
 * "pid" is the worker that answered, "seconds" the time since the server
 * started. "wait" is the time asleep; "poll" the callbacks of descriptors. What
 * grows can be drawn as a rate: ask twice. Ratio of hits: hits / (hits +
 * misses).
 *
 * Each worker process writes its own numbers into memory that all of them
 * share, once in a turn of its loop, and any of them can read all.
 */
#ifndef STATS_H
#define STATS_H

#include "text.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum { WORKERS_MAX = 256 }; /* that live at the same time, old ones too */

enum number {
    OPEN,
    IN_STATE, /* and as many as there are states: idle to lingering */
    LIMIT = IN_STATE + 5,
    ACCEPTED,
    REFUSED,
    ANSWERED,
    STATUS, /* 2xx to 5xx */
    BYTES_SENT = STATUS + 4,
    TURNS,
    EVENTS_SEEN,
    PHASES, /* of the loop, in its order */
    THREADS = PHASES + 8,
    BUSY,
    QUEUED,
    CAPACITY,
    CACHE_LIMIT,
    CACHE_BYTES,
    CACHE_ENTRIES,
    HITS,
    MISSES,
    JOINED,
    LOADED,
    CHECKED,
    WARMED,
    EVICTIONS,
    NUMBERS
};

/* One worker's numbers. pid is 0 while nobody has the place. */
struct slot {
    _Atomic pid_t pid;
    _Atomic uint64_t numbers[NUMBERS];
};

struct stats {
    time_t started; /* of CLOCK_MONOTONIC, in seconds */
    struct slot slots[WORKERS_MAX];
};

/* Memory that all processes share which are forked afterwards. Ends the program
 * if there is none. */
struct stats *stats_create(void);

/* A free place for a worker, or NULL; and giving it back, also for one that
 * has died. */
struct slot *stats_take(struct stats *s, pid_t pid);
void stats_give_back(struct stats *s, pid_t pid);

/* Whether a worker that takes clients, other than `mine`, has room for one. */
bool stats_have_room(struct stats *s, const struct slot *mine);

/* Writes the JSON above. */
void stats_write(struct stats *s, struct text *t);

#endif
