/* bench-loop: how much our loop and pool cost. One line of CSV for each thing;
 * bench_uv.c does the same with libuv. See scripts/bench-loop.
 *
 *   bench-loop timers|posts|balls|jobs THREADS IN-FLIGHT
 *   bench-loop echo      a bare echo server, for echo_load
 */
#include "loop.h"
#include "pool.h"

#include "bench_loop.h"

static struct loop *loop;

/* --- timers -------------------------------------------------------------- */

static long fired;

static void
fire(void *arg)
{
    (void)arg;
    fired++;
}

static void
bench_timers(void)
{
    struct loop_timer *timers = malloc(TIMERS * sizeof *timers);
    if (timers == NULL)
        err(1, "malloc");
    for (int i = 0; i < TIMERS; i++)
        if (loop_timer_init(loop, &timers[i], fire, NULL) < 0)
            err(1, "loop_timer_init");
    begin();
    for (int i = 0; i < TIMERS; i++)
        loop_timer_start(&timers[i], next_random(), 0);
    end("timer-start", "loop", TIMERS);
    begin();
    for (int i = 0; i < TIMERS; i++)
        loop_timer_start(&timers[i], 2 * TIMER_SPREAD, 0);
    end("timer-put-off", "loop", TIMERS);
    for (int i = 0; i < TIMERS; i++)
        loop_timer_start(&timers[i], next_random(), 0);
    begin();
    for (int i = 0; i < TIMERS; i += 2)
        loop_timer_stop(&timers[i]);
    end("timer-stop", "loop", TIMERS / 2);
    begin();
    loop_run(loop);
    end("timer-fire", "loop", TIMERS / 2);
    if (fired != TIMERS / 2)
        errx(1, "%ld timers fired", fired);
    free(timers);
}

/* --- posts from two threads ---------------------------------------------- */

static long arrived;

static void
arrive(void *arg)
{
    (void)arg;
    if (++arrived == 2 * POSTS)
        loop_hold(loop, -1);
}

static void *
post_all(void *arg)
{
    struct loop_post *posts = arg;
    for (int i = 0; i < POSTS; i++) {
        posts[i] = (struct loop_post){.run = arrive};
        loop_post(loop, &posts[i]);
    }
    return NULL;
}

static void
bench_posts(void)
{
    pthread_t threads[2];
    struct loop_post *posts = calloc(2 * POSTS, sizeof *posts);
    if (posts == NULL)
        err(1, "calloc");
    memset(posts, 1, 2 * POSTS * sizeof *posts);
    loop_hold(loop, 1);
    begin();
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, post_all, &posts[i * POSTS]);
    loop_run(loop);
    end("post", "loop", 2 * POSTS);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    free(posts);
}

/* --- a ball between two loops -------------------------------------------- */

static struct loop *other;
static struct loop_post ball;

static void
play(void *arg)
{
    static long count;
    bool is_here = arg != NULL;
    if (is_here && ++count == BALLS) {
        loop_hold(loop, -1);
        ball.run = (void (*)(void *))loop_stop;
        ball.arg = other;
    } else {
        ball.arg = is_here ? NULL : loop;
    }
    loop_post(is_here ? other : loop, &ball);
}

static void *
run_other(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void
bench_balls(void)
{
    pthread_t thread;
    other = loop_create();
    loop_hold(other, 1);
    loop_hold(loop, 1);
    pthread_create(&thread, NULL, run_other, other);
    ball = (struct loop_post){.run = play, .arg = loop};
    begin();
    loop_post(loop, &ball);
    loop_run(loop);
    end("ball", "loop", BALLS);
    pthread_join(thread, NULL);
    loop_destroy(other);
}

/* --- jobs ---------------------------------------------------------------- */

static struct pool *pool;
static long submitted, done;

static void
work(void *arg)
{
    (void)arg;
}

static void
finish(void *arg, bool ran)
{
    if (!ran)
        errx(1, "a job did not run");
    done++;
    if (submitted < JOBS && pool_submit(pool, loop, arg))
        submitted++;
}

static void
bench_jobs(const char *threads, const char *in_flight)
{
    char what[64];
    long n = atol(in_flight);
    struct pool_job *jobs = calloc((size_t)n, sizeof *jobs);
    pool = pool_create((size_t)atol(threads), POOL_CAPACITY);
    if (pool == NULL || jobs == NULL)
        err(1, "pool_create");
    begin();
    for (submitted = 0; submitted < n; submitted++) {
        jobs[submitted] = (struct pool_job){
            .work = work, .done = finish, .arg = &jobs[submitted]};
        if (!pool_submit(pool, loop, &jobs[submitted]))
            errx(1, "refused");
    }
    loop_run(loop);
    snprintf(what, sizeof what, "job threads=%s in-flight=%ld", threads, n);
    end(what, "loop", JOBS);
    if (done != JOBS)
        errx(1, "%ld jobs done", done);
    pool_destroy(pool);
    free(jobs);
}

/* --- echo ---------------------------------------------------------------- */

struct client {
    struct loop_io io;
};

static void
echo(void *arg, uint32_t events)
{
    static char buffer[16384];
    struct client *c = arg;
    (void)events;
    ssize_t n = read(c->io.fd, buffer, sizeof buffer);
    if (n > 0 && write(c->io.fd, buffer, (size_t)n) == n)
        return;
    loop_close(&c->io.handle, free);
    close(c->io.fd);
}

static void
accept_client(void *arg, uint32_t events)
{
    struct loop_io *listener = arg;
    (void)events;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct client *c = malloc(sizeof *c);
    if (c == NULL)
        err(1, "malloc");
    loop_io_init(loop, &c->io, fd, echo, c);
    loop_io_want(&c->io, EPOLLIN);
}

static void
bench_echo(void)
{
    struct loop_io listener;
    struct sockaddr_in sin = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)&sin, len) < 0 || listen(fd, SOMAXCONN) < 0)
        err(1, "bind");
    getsockname(fd, (struct sockaddr *)&sin, &len);
    printf("listening on 127.0.0.1:%d\n", ntohs(sin.sin_port));
    fflush(stdout);
    loop_io_init(loop, &listener, fd, accept_client, &listener);
    loop_io_want(&listener, EPOLLIN);
    loop_run(loop);
}

int
main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    loop = loop_create();
    if (loop == NULL)
        err(1, "loop_create");
    if (strcmp(what, "timers") == 0)
        bench_timers();
    else if (strcmp(what, "posts") == 0)
        bench_posts();
    else if (strcmp(what, "balls") == 0)
        bench_balls();
    else if (strcmp(what, "jobs") == 0 && argc == 4)
        bench_jobs(argv[2], argv[3]);
    else if (strcmp(what, "echo") == 0)
        bench_echo();
    else
        errx(2, "usage: bench-loop timers|posts|balls|jobs THREADS N|echo");
    loop_destroy(loop);
    return 0;
}
