/*
 * The interleaving explorer: runs a few threads in every order that matters.
 *
 *   explore.c   all runs of a scenario, one after the other
 *   schedule.c  which thread goes on, and which one else could have
 *   memory.c    what a load may return, and who may touch what
 *   calls.c     what the code calls: locks, futexes, the heap
 *   history.c   do the answers fit a bounded queue?
 *   07.c, 08.c  the scenarios of a stage
 *
 * The code under test is compiled with -fsanitize=thread, which puts a call
 * before every access to memory, and linked with these files instead of the
 * sanitizer's library. Its own calls to the C library come here as well.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { THREADS = 5, PLACES = 40, RECENT = 16 };

/* --- for scenarios ------------------------------------------------------- */

struct act {
    void (*call)(long number);
    long number;
};

struct scenario {
    const char *name;
    struct act setup[3]; /* once; a run begins with the memory it has left */
    struct {
        const char *name;
        struct act acts[6];
    } threads[THREADS]; /* the first one runs when all others are over */
    int preemptions;    /* bounds: switches from a thread that could go on, */
    int stale;          /* loads that return an older value, */
    int spurious;       /* wake-ups and CAS failures without a reason, */
    int frozen;         /* threads that stop for ever inside a call */
    int capacity;       /* of the queue; 0: the answers are not checked */
    bool half_done;     /* a call half done may explain "full" and "empty" */
    bool no_membarrier; /* the kernel has no such call */
    bool informs;       /* "not lock-free" is a remark, not a failure */
};
extern const struct scenario scenarios[]; /* the last one has no name */

_Noreturn void fail(const char *rule, ...);

/* --- between the parts --------------------------------------------------- */

/* A vector clock, what one can know to have happened: the steps of each thread
 * up to some number, and the stores to each atomic place up to one. */
struct clock {
    int of[THREADS + PLACES];
};

struct thread {
    const char *name;
    enum { READY, WAITS, FROZEN, OVER } state;
    const char *why;   /* it waits, */
    const void *where; /* and where: address of a mutex, for example */
    const void *pc;    /* the instruction of its present step */
    int call;          /* number of its present call, or 0 */
    int turn;          /* steps since it was switched to */
    bool again;        /* it repeats a step, and nothing has changed since */
    uint64_t rests;    /* until `news` differs from this */
    uint64_t recent[RECENT]; /* hashes of its last steps */
    struct clock knows;
    struct clock pending; /* an acquire fence would add this */
    struct clock fenced;  /* the last release fence has covered this */
};

struct run { /* number 0 is the setup */
    int number, steps, points, calls;
    int preemptions, stale, spurious, frozen; /* so far, within the bounds */
};

extern struct thread threads[THREADS], *running;
extern const struct scenario *scenario;
extern struct run run; /* the present one */
extern bool tracing;
extern int quiet;     /* so many steps are no scheduling points; -1: all */
extern uint64_t news; /* changes with all that another thread may notice */

int choose(int options);
bool unlikely(int *so_far, int bound);
_Noreturn void end_run(void);
void start_threads(void);
void step(const void *at);
void block(const char *why, const void *where);
int wake(const void *where, int most);

/* All but the first two append a value to the history of the place. */
enum op { LOAD, FIND, STORE, SWAP, ADD, SUB, AND, OR, XOR, LOCK, UNLOCK };
enum kind { READ, WRITE, ATOMIC }; /* ATOMIC | WRITE: an atomic write */
void begin_memory(void);
void learn(struct clock *into, const struct clock *from);
void touch(const void *at, size_t size, int kind);
void plain(const void *at, size_t size, int kind);
uint64_t atomic(void *at, int size, int op, uint64_t operand, int order);
void fence(int order);
int membarrier(void);
void *student_aligned_alloc(size_t alignment, size_t size);

/* The memory of the code under test. The linker marks its ends. */
extern char world[] __asm__("__start_student");
extern char end_of_world[] __asm__("__stop_student");

/* A hash of two words, and of more if B is one. */
#define MIX(A, B)                                                              \
    (((uintptr_t)(A) ^ (uint64_t)(B) << 20 ^ (uint64_t)(B) >> 44) *            \
     0x9e3779b97f4a7c15)
#define AT(ADDRESS) ((long)((const char *)(ADDRESS)-world))
#define HERE        (running->pc = (char *)__builtin_return_address(0) - 1)
#define NOTE(...)                                                              \
    ((void)(tracing && !quiet && !running->again &&                            \
            (printf("%d|%s|", run.steps, running->name), printf(__VA_ARGS__),  \
             printf("|%p\n", running->pc))))
