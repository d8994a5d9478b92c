// bench-boost - boost::lockfree::queue in the place of the queue in
// bench_queue.c: same arguments, same work, same line of CSV. Only `try`.
#include <boost/lockfree/queue.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <pthread.h>
#include <sched.h>

static boost::lockfree::queue<int> *queue;
static unsigned producers, consumers;
static uint64_t jobs; // of each producer
static pthread_barrier_t start;
static std::atomic<uint64_t> sum;

static void *
produce(void *unused)
{
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < jobs; i++)
        while (!queue->bounded_push((int)i))
            sched_yield();
    return unused;
}

static void *
consume(void *unused)
{
    uint64_t mine = 0;
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < jobs * producers / consumers; i++) {
        int number;
        while (!queue->pop(number))
            sched_yield();
        mine += (uint64_t)number;
    }
    sum += mine;
    return unused;
}

static double
now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
    if (argc != 7 || strcmp(argv[2], "try") != 0) {
        fputs("usage: bench-boost NAME try PRODUCERS CONSUMERS CAPACITY JOBS\n",
              stderr);
        return 2;
    }
    producers = (unsigned)atoi(argv[3]);
    consumers = (unsigned)atoi(argv[4]);
    size_t capacity = strtoull(argv[5], NULL, 10);
    jobs = strtoull(argv[6], NULL, 10) / producers / consumers * consumers;
    // Nodes for `capacity` jobs are made now, and bounded_push makes no more.
    queue = new boost::lockfree::queue<int>(capacity);

    pthread_t threads[128];
    pthread_barrier_init(&start, NULL, producers + consumers + 1);
    for (unsigned i = 0; i < producers + consumers; i++)
        pthread_create(&threads[i], NULL, i < producers ? produce : consume,
                       NULL);
    double begin = now(); // before: main may be the last one to go on
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < producers + consumers; i++)
        pthread_join(threads[i], NULL);
    double seconds = now() - begin;
    uint64_t total = jobs * producers;
    if (sum != producers * (jobs * (jobs - 1) / 2)) {
        fputs("bench-boost: jobs were lost or doubled\n", stderr);
        return 1;
    }
    printf("%s,%s,%u,%u,%zu,%llu,%.6f,%.0f\n", argv[1], argv[2], producers,
           consumers, capacity, (unsigned long long)total, seconds,
           (double)total / seconds);
    return 0;
}
