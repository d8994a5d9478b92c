/* bench-uv: what bench_loop.c does, with libuv. Messages between threads are a
 * list under a mutex and uv_async_send(), as its documentation proposes: a
 * send may be merged with the one before, so it cannot carry anything. */
#include <uv.h>

#include "bench_loop.h"

static uv_loop_t *loop;

/* --- timers -------------------------------------------------------------- */

static long fired;

static void
fire(uv_timer_t *timer)
{
    (void)timer;
    fired++;
}

static void
bench_timers(void)
{
    uv_timer_t *timers = malloc(TIMERS * sizeof *timers);
    if (timers == NULL)
        err(1, "malloc");
    for (int i = 0; i < TIMERS; i++)
        uv_timer_init(loop, &timers[i]);
    begin();
    for (int i = 0; i < TIMERS; i++)
        uv_timer_start(&timers[i], fire, next_random(), 0);
    end("timer-start", "libuv", TIMERS);
    begin();
    for (int i = 0; i < TIMERS; i++)
        uv_timer_start(&timers[i], fire, 2 * TIMER_SPREAD, 0);
    end("timer-put-off", "libuv", TIMERS);
    for (int i = 0; i < TIMERS; i++)
        uv_timer_start(&timers[i], fire, next_random(), 0);
    begin();
    for (int i = 0; i < TIMERS; i += 2)
        uv_timer_stop(&timers[i]);
    end("timer-stop", "libuv", TIMERS / 2);
    begin();
    uv_run(loop, UV_RUN_DEFAULT);
    end("timer-fire", "libuv", TIMERS / 2);
    if (fired != TIMERS / 2)
        errx(1, "%ld timers fired", fired);
    /* The timers are the loop's until it ends. */
}

/* --- messages from other threads ----------------------------------------- */

struct message {
    void (*run)(void *arg);
    void *arg;
    struct message *next;
};

struct mailbox {
    uv_async_t async;
    pthread_mutex_t lock;
    struct message *first, **last;
};

static void
send_message(struct mailbox *box, struct message *message)
{
    message->next = NULL;
    pthread_mutex_lock(&box->lock);
    *box->last = message;
    box->last = &message->next;
    pthread_mutex_unlock(&box->lock);
    uv_async_send(&box->async);
}

static void
take_messages(uv_async_t *async)
{
    struct mailbox *box = (struct mailbox *)async;
    pthread_mutex_lock(&box->lock);
    struct message *message = box->first;
    box->first = NULL;
    box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    while (message != NULL) {
        struct message *next = message->next;
        message->run(message->arg);
        message = next;
    }
}

static void
open_mailbox(uv_loop_t *of, struct mailbox *box)
{
    uv_async_init(of, &box->async, take_messages);
    pthread_mutex_init(&box->lock, NULL);
    box->first = NULL;
    box->last = &box->first;
}

static struct mailbox here, there;
static long arrived;

static void
arrive(void *arg)
{
    (void)arg;
    if (++arrived == 2 * POSTS)
        uv_stop(loop);
}

static void *
post_all(void *arg)
{
    struct message *messages = arg;
    for (int i = 0; i < POSTS; i++) {
        messages[i] = (struct message){.run = arrive};
        send_message(&here, &messages[i]);
    }
    return NULL;
}

static void
bench_posts(void)
{
    pthread_t threads[2];
    struct message *messages = calloc(2 * POSTS, sizeof *messages);
    if (messages == NULL)
        err(1, "calloc");
    memset(messages, 1, 2 * POSTS * sizeof *messages);
    open_mailbox(loop, &here);
    begin();
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, post_all, &messages[i * POSTS]);
    uv_run(loop, UV_RUN_DEFAULT);
    end("post", "libuv", 2 * POSTS);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    free(messages);
}

/* --- a ball between two loops -------------------------------------------- */

static uv_loop_t other;
static struct message ball;

static void
play(void *arg)
{
    static long count;
    bool is_here = arg != NULL;
    if (is_here && ++count == BALLS) {
        uv_stop(loop);
        ball.run = (void (*)(void *))uv_stop;
        ball.arg = &other;
    } else {
        ball.arg = is_here ? NULL : loop;
    }
    send_message(is_here ? &there : &here, &ball);
}

static void *
run_other(void *arg)
{
    uv_run(arg, UV_RUN_DEFAULT);
    return NULL;
}

static void
bench_balls(void)
{
    pthread_t thread;
    uv_loop_init(&other);
    open_mailbox(loop, &here);
    open_mailbox(&other, &there);
    pthread_create(&thread, NULL, run_other, &other);
    ball = (struct message){.run = play, .arg = loop};
    begin();
    send_message(&here, &ball);
    uv_run(loop, UV_RUN_DEFAULT);
    end("ball", "libuv", BALLS);
    pthread_join(thread, NULL);
}

/* --- jobs ---------------------------------------------------------------- */

static long submitted, done;

static void
work(uv_work_t *job)
{
    (void)job;
}

static void
finish(uv_work_t *job, int status)
{
    (void)status;
    done++;
    if (submitted < JOBS && uv_queue_work(loop, job, work, finish) == 0)
        submitted++;
}

static void
bench_jobs(const char *threads, const char *in_flight)
{
    char what[64];
    long n = atol(in_flight);
    uv_work_t *jobs = calloc((size_t)n, sizeof *jobs);
    if (jobs == NULL)
        err(1, "calloc");
    setenv("UV_THREADPOOL_SIZE", threads, 1);
    begin();
    for (submitted = 0; submitted < n; submitted++)
        uv_queue_work(loop, &jobs[submitted], work, finish);
    uv_run(loop, UV_RUN_DEFAULT);
    snprintf(what, sizeof what, "job threads=%s in-flight=%ld", threads, n);
    end(what, "libuv", JOBS);
    if (done != JOBS)
        errx(1, "%ld jobs done", done);
    free(jobs);
}

int
main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    loop = uv_default_loop();
    if (strcmp(what, "timers") == 0)
        bench_timers();
    else if (strcmp(what, "posts") == 0)
        bench_posts();
    else if (strcmp(what, "balls") == 0)
        bench_balls();
    else if (strcmp(what, "jobs") == 0 && argc == 4)
        bench_jobs(argv[2], argv[3]);
    else
        errx(2, "usage: bench-uv timers|posts|balls|jobs THREADS N");
    return 0;
}
