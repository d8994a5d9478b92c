#include "supervise-descendants.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process {
    pid_t parent;
    char state; /* as in ps: R running, S sleeping, T stopped, Z zombie ... */
};

static bool
read_process(pid_t pid, struct process *p)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    /* `PID (NAME) STATE PARENT ...`, where NAME may hold any character. */
    char *name_end = strrchr(text, ')');
    return name_end && sscanf(name_end, ") %c %d", &p->state, &p->parent) == 2;
}

static bool
descends_from_us(pid_t pid)
{
    struct process p;
    for (; pid > 1 && read_process(pid, &p); pid = p.parent)
        if (p.parent == getpid())
            return true;
    return false;
}

/* There is no table of them that could be too small: each entry of /proc is
 * looked at and dealt with. */
struct census
signal_descendants(int signo, pid_t except)
{
    struct census census = {0, 0};
    DIR *proc = opendir("/proc");
    if (!proc)
        return census;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        struct process p;
        pid_t pid = atoi(entry->d_name);
        if (pid <= 0 || !descends_from_us(pid) || !read_process(pid, &p))
            continue;
        kill(pid, signo);
        census.running += strchr("TZX", p.state) == NULL;
        census.others += strchr("ZX", p.state) == NULL && pid != except;
    }
    closedir(proc);
    return census;
}
