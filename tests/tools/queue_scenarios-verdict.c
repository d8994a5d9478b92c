/*
 * For queue-scenarios: verdicts and numbered jobs.
 */
#include "queue_scenarios.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const answers[] = {"JQ_OK", "JQ_FULL", "JQ_EMPTY",
                                      "JQ_CLOSED"};

const char *
answer(enum jq_result result)
{
    return (unsigned)result < 4 ? answers[result] : "no answer of job_queue.h";
}

/* --- verdicts ------------------------------------------------------------ */

char done[4096];

void
did(const char *format, ...)
{
    size_t used = strlen(done);
    va_list args;
    va_start(args, format);
    if (used > 0 && used < sizeof done - 3)
        used += (size_t)snprintf(done + used, sizeof done - used, "; ");
    vsnprintf(done + used, sizeof done - used, format, args);
    va_end(args);
}

void
fail(const char *expected, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("did:      %s\nexpected: %s\nactual:   ", done, expected);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(1);
}

void
expect_result(const char *what, enum jq_result expected, enum jq_result actual)
{
    char text[128];
    snprintf(text, sizeof text, "%s answers %s", what, answer(expected));
    if (actual != expected)
        fail(text, "%s", answer(actual));
}

void
expect_number(const char *what, size_t expected, size_t actual)
{
    char text[128];
    snprintf(text, sizeof text, "%s is %zu", what, expected);
    if (actual != expected)
        fail(text, "%zu", actual);
}

/* --- jobs ---------------------------------------------------------------- */

void
run_odd(void *arg)
{
    (void)arg;
    fail("jobs are never run by the queue", "run was called");
}

static void
run_even(void *arg)
{
    run_odd(arg);
}

/* Job number n. Its two halves belong together. */
struct job
numbered(size_t n)
{
    return (struct job){n % 2 ? run_odd : run_even, (void *)(uintptr_t)n};
}

void
expect_job(size_t expected, struct job job)
{
    struct job right = numbered(expected);
    char text[64];
    snprintf(text, sizeof text, "job %zu", expected);
    if (job.arg != right.arg)
        fail(text, "job %zu", (size_t)(uintptr_t)job.arg);
    if (job.run != right.run)
        fail(text, "its arg, with the run of another job");
}
