/*
 * Numbers about the server.
 *
 * Every number has one writer, and a reader who comes a moment early or late
 * gets the one before or after: relaxed atomics are enough.
 */
#include "stats.h"

#include <err.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    enum number first; /* of a group */
    const char *group;
    const char *names; /* of its numbers, in their order */
} groups[] = {
    {OPEN, "connections",
     "open idle reading waiting writing lingering limit accepted refused"},
    {ANSWERED, "requests", "answered 2xx 3xx 4xx 5xx bytes_sent"},
    {TURNS, "loop", "turns events"},
    {PHASES, "phases", "timers pending idle prepare wait poll check close"},
    {THREADS, "pool", "threads busy queued capacity"},
    {CACHE_LIMIT, "cache",
     "limit bytes entries hits misses joined loads checks warmed evictions"},
};

struct stats *
stats_create(void)
{
    struct stats *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec t;
    if (s == MAP_FAILED)
        err(1, "mmap");
    clock_gettime(CLOCK_MONOTONIC, &t);
    s->started = t.tv_sec;
    return s;
}

struct slot *
stats_take(struct stats *s, pid_t pid)
{
    for (int i = 0; i < WORKERS_MAX; i++) {
        pid_t nobody = 0;
        if (atomic_compare_exchange_strong(&s->slots[i].pid, &nobody, pid))
            return &s->slots[i];
    }
    return NULL;
}

void
stats_give_back(struct stats *s, pid_t pid)
{
    for (int i = 0; i < WORKERS_MAX; i++)
        if (atomic_load(&s->slots[i].pid) == pid) {
            for (int n = 0; n < NUMBERS; n++)
                atomic_store_explicit(&s->slots[i].numbers[n], 0,
                                      memory_order_relaxed);
            atomic_store(&s->slots[i].pid, 0);
        }
}

static uint64_t
number(struct slot *slot, enum number n)
{
    return atomic_load_explicit(&slot->numbers[n], memory_order_relaxed);
}

bool
stats_have_room(struct stats *s, const struct slot *mine)
{
    for (int i = 0; i < WORKERS_MAX; i++) {
        struct slot *other = &s->slots[i];
        if (other != mine && atomic_load(&other->pid) != 0 &&
            number(other, OPEN) < number(other, LIMIT))
            return true;
    }
    return false;
}

static void
write_group(const uint64_t *sums, const char *group, const char *names,
            struct text *t)
{
    put_format(t, ",\n \"%s\": {", group);
    for (bool first = true; *names != '\0'; first = false) {
        int n = (int)strcspn(names, " ");
        put_format(t, "%s\"%.*s\": %llu", first ? "" : ", ", n, names,
                   (unsigned long long)*sums++);
        names += n + (names[n] == ' ');
    }
    put(t, "}");
}

static void
write_worker(struct slot *slot, pid_t pid, bool first, struct text *t)
{
    put_format(t,
               "%s\n  {\"pid\": %d, \"open\": %llu, \"answered\": %llu, "
               "\"hits\": %llu, \"busy\": %llu}",
               first ? "" : ",", (int)pid,
               (unsigned long long)number(slot, OPEN),
               (unsigned long long)number(slot, ANSWERED),
               (unsigned long long)number(slot, HITS),
               (unsigned long long)number(slot, BUSY));
}

void
stats_write(struct stats *s, struct text *t)
{
    uint64_t sums[NUMBERS] = {0};
    struct timespec now;
    int workers = 0, written = 0;
    for (int i = 0; i < WORKERS_MAX; i++) {
        if (atomic_load(&s->slots[i].pid) == 0)
            continue;
        workers++;
        for (int n = 0; n < NUMBERS; n++)
            sums[n] += number(&s->slots[i], (enum number)n);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    put_format(t, "{\"pid\": %d, \"seconds\": %lld, \"workers\": %d",
               (int)getpid(), (long long)(now.tv_sec - s->started), workers);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        write_group(sums + groups[i].first, groups[i].group, groups[i].names,
                    t);
    put(t, ",\n \"per_worker\": [");
    for (int i = 0; i < WORKERS_MAX && t->end - t->at > 1024; i++) {
        pid_t pid = atomic_load(&s->slots[i].pid);
        if (pid != 0)
            write_worker(&s->slots[i], pid, written++ == 0, t);
    }
    put(t, "]}\n");
}
