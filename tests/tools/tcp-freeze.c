#include "tcp-freeze.h"
#include "tcp-report.h"
#include "tcp-socket.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FROZEN_MAX 64

static volatile pid_t frozen[FROZEN_MAX]; /* 0: a free place */

static void
thaw_all(void)
{
    for (int i = 0; i < FROZEN_MAX; i++)
        if (frozen[i])
            kill(frozen[i], SIGCONT);
}

static void
thaw_and_exit(int sig)
{
    thaw_all();
    _exit(128 + sig);
}

void
thaw_at_exit(void)
{
    atexit(thaw_all);
    signal(SIGTERM, thaw_and_exit);
    signal(SIGINT, thaw_and_exit);
    signal(SIGHUP, thaw_and_exit);
}

static bool
is_thread_stopped(const char *stat_path)
{
    char line[512] = "", *paren;
    FILE *f = fopen(stat_path, "r");
    if (f == NULL)
        return true; /* it has ended meanwhile */
    paren = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    fclose(f);
    return paren == NULL || strchr("TtZX", paren[2]) != NULL;
}

static bool
is_stopped(pid_t pid)
{
    bool stopped = true;
    struct dirent *task;
    DIR *tasks = opendir(text("/proc/%d/task", pid));
    while (tasks && (task = readdir(tasks)) != NULL) {
        char *path = text("/proc/%d/task/%s/stat", pid, task->d_name);
        if (task->d_name[0] != '.' && !is_thread_stopped(path))
            stopped = false;
        free(path);
    }
    if (tasks)
        closedir(tasks);
    return stopped;
}

/* SIGSTOP takes effect a little later, and on one thread after the other. */
void
freeze(pid_t pid)
{
    const char *expected = text("process %d stops", pid);
    double until = deadline();
    int place = 0;
    while (frozen[place] && frozen[place] != pid)
        if (++place == FROZEN_MAX)
            die(2, "freeze: more than %d processes", FROZEN_MAX);
    frozen[place] = pid;
    if (kill(pid, SIGSTOP) != 0)
        fail(expected, strerror(errno));
    for (; !is_stopped(pid); nap())
        if (now() > until)
            fail(expected, text("after %g s it still runs", patience));
}

void
thaw(pid_t pid)
{
    for (int i = 0; i < FROZEN_MAX; i++)
        if (frozen[i] == pid)
            frozen[i] = 0;
    if (kill(pid, SIGCONT) != 0)
        fail(text("process %d goes on", pid), strerror(errno));
}
