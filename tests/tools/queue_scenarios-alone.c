/*
 * For queue-scenarios: scenes for one thread, and for every kind of queue.
 */
#include "queue_scenarios.h"

#include <errno.h>
#include <string.h>

enum { LAPS = 300 }; /* more than fit into a byte */

#define KIND(prefix, type, push_call, pop_call)                                \
    static void *prefix##_new(size_t capacity)                                 \
    {                                                                          \
        return prefix##_create(capacity);                                      \
    }                                                                          \
    static enum jq_result prefix##_in(void *q, struct job job)                 \
    {                                                                          \
        return push_call((struct type *)q, job);                               \
    }                                                                          \
    static enum jq_result prefix##_out(void *q, struct job *job)               \
    {                                                                          \
        return pop_call((struct type *)q, job);                                \
    }                                                                          \
    static void prefix##_free(void *q)                                         \
    {                                                                          \
        prefix##_destroy((struct type *)q);                                    \
    }

KIND(jq, job_queue, jq_try_push, jq_try_pop)
#if HAVE_RINGS
KIND(spsc, spsc_ring, spsc_try_push, spsc_try_pop)
KIND(scq, scq, scq_try_push, scq_try_pop)
#endif

static const struct kind kinds[] = {
    {"jq", jq_new, jq_in, jq_out, jq_free},
#if HAVE_RINGS
    {"spsc", spsc_new, spsc_in, spsc_out, spsc_free},
    {"scq", scq_new, scq_in, scq_out, scq_free},
#endif
};

const struct kind *
kind_named(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return &kinds[i];
    return NULL;
}

static const size_t capacities[] = {1, 2, 3, 4, 5, 7, 8, 100};
enum { CAPACITIES = sizeof capacities / sizeof capacities[0] };

static void *
create(const struct kind *k, size_t capacity)
{
    done[0] = '\0';
    did("%s_create(%zu)", k->name, capacity);
    void *q = k->create(capacity);
    if (q == NULL)
        fail("a queue", "NULL: %s", strerror(errno));
    return q;
}

/* Exactly as many jobs as the capacity go in. */
void
fill(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        did("%s_try_push() %zu times", k->name, capacities[c]);
        for (size_t i = 1; i <= capacities[c]; i++) {
            expect_result("each of them", JQ_OK, k->push(q, numbered(i)));
            if (k == &kinds[0])
                expect_number("jq_len() after each", i, jq_len(q));
        }
        k->destroy(q);
    }
}

/* ...and not one more. */
void
full(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        did("fill it with %zu jobs", capacities[c]);
        for (size_t i = 1; i <= capacities[c]; i++)
            expect_result("each push", JQ_OK, k->push(q, numbered(i)));
        did("push two more");
        for (int i = 0; i < 2; i++)
            expect_result("each of the two", JQ_FULL,
                          k->push(q, numbered(1000)));
        k->destroy(q);
    }
}

void
empty(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        did("push and pop a job, and pop again");
        struct job job = numbered(0);
        expect_result("the push", JQ_OK, k->push(q, numbered(7)));
        expect_result("the first pop", JQ_OK, k->pop(q, &job));
        expect_job(7, job);
        job = numbered(1234);
        for (int i = 0; i < 2; i++)
            expect_result("the pop of an empty queue", JQ_EMPTY,
                          k->pop(q, &job));
        did("look at *job, which was job 1234");
        expect_job(1234, job);
        k->destroy(q);
    }
}

/* In and out, in groups of every size, round and round. */
void
order(const struct kind *k)
{
    for (int c = 0; c < CAPACITIES; c++) {
        void *q = create(k, capacities[c]);
        size_t in = 0, out = 0;
        did("push and pop %zu jobs in groups of 1 to %zu", LAPS * capacities[c],
            capacities[c]);
        for (size_t group = 1; out < LAPS * capacities[c];
             group = group % capacities[c] + 1) {
            for (size_t i = 0; i < group; i++)
                expect_result("each push", JQ_OK, k->push(q, numbered(in++)));
            for (size_t i = 0; i < group; i++) {
                struct job job = {NULL, NULL};
                expect_result("each pop", JQ_OK, k->pop(q, &job));
                expect_job(out++, job);
            }
        }
        k->destroy(q);
    }
}

/* Two queues at once have nothing to do with each other. */
void
two(const struct kind *k)
{
    void *a = create(k, 2), *b = k->create(3);
    did("make a second one for 3 jobs, and use both in turn");
    struct job job = {NULL, NULL};
    for (size_t i = 0; i < 20; i++) {
        expect_result("the first's push", JQ_OK, k->push(a, numbered(i)));
        expect_result("the second's push", JQ_OK,
                      k->push(b, numbered(100 + i)));
        expect_result("the first's pop", JQ_OK, k->pop(a, &job));
        expect_job(i, job);
        expect_result("the first's second pop", JQ_EMPTY, k->pop(a, &job));
        expect_result("the second's pop", JQ_OK, k->pop(b, &job));
        expect_job(100 + i, job);
    }
    k->destroy(a);
    k->destroy(b);
}
