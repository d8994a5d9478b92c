#include "tcp-crowd.h"
#include "tcp-report.h"
#include "tcp-transfer.h"
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define OTHER_FILES 80 /* that this program may have open beside them */

static struct connection *crowd;
static size_t crowd_n, crowd_at; /* how many; which one a step is busy with */

/* Of many, one fails: how the others fare tells a server that is slow from one
 * that has forgotten somebody. */
static char *
crowd_note(void)
{
    size_t waiting = 0;
    char byte;
    for (size_t i = crowd_at + 1; i < crowd_n; i++)
        waiting += recv(crowd[i].fd, &byte, 1, MSG_PEEK) == 1;
    return text("\n(this is connection %zu of the crowd of %zu;"
                "\n%zu of those after it have an answer waiting)",
                crowd_at + 1, crowd_n, waiting);
}

static void
raise_open_files(size_t need)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need;
    if (limit.rlim_max < need)
        limit.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die(3, "%zu open files: %s (ulimit -Hn shows how many)", need,
            strerror(errno));
}

size_t
crowd_size(void)
{
    return crowd_n;
}

void
crowd_open(size_t more)
{
    size_t first = crowd_n, n = first + more;
    raise_open_files(n + OTHER_FILES);
    crowd = grow(crowd, n * sizeof *crowd);
    fail_note = crowd_note;
    for (; crowd_n < n; crowd_n++) {
        crowd[crowd_n] = (struct connection){.name = "crowd"};
        int error = start_connect(&crowd[crowd_at = crowd_n]);
        check_connect(error);
    }
    for (crowd_at = first; crowd_at < n; crowd_at++)
        check_connect(finish_connect(&crowd[crowd_at], deadline()));
    fail_note = NULL;
}

/* One after the other is enough: while we wait for one, the answers to the
 * others arrive all the same. */
void
crowd_transfer(size_t chosen, struct bytes out, struct bytes in)
{
    fail_note = crowd_note;
    for (size_t i = 0; i < chosen; i++) {
        crowd_at = i * crowd_n / chosen;
        transfer(&crowd[crowd_at], out, in);
    }
    fail_note = NULL;
}

void
crowd_eof(void)
{
    fail_note = crowd_note;
    for (crowd_at = 0; crowd_at < crowd_n; crowd_at++)
        expect_eof(&crowd[crowd_at]);
    fail_note = NULL;
}

void
crowd_end(bool by_reset)
{
    while (crowd_n > 0)
        end_connection(&crowd[--crowd_n], by_reset);
}
