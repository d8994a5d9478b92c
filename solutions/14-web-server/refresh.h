/* refresh.h - looks at popular files before anybody has to wait for it.
 *
 * An entry is trusted for a second; whoever asks later waits until a worker has
 * compared it with the file. For an entry that is asked for all the time, that
 * would be somebody's request in each second, and a job for each file. So when
 * half of its time is over, the next hit puts it on a list, and one job compares
 * all that is on the list with their files. Hits go on meanwhile.
 *
 * Threads: all calls come from the thread of the loop.
 */
#ifndef REFRESH_H
#define REFRESH_H

#include "store.h"

enum {
    REFRESH_AFTER = 500, /* ms since an entry was known to be true */
    REFRESH_MAX = 128,   /* entries that one job compares */
};

/* Puts an entry of the cache on the list, unless it is there. */
void refresh_add(struct store *s, struct entry *e);

/* Hands the list to the workers: once in a turn of the loop. */
void refresh_flush(struct store *s);

/* Forgets the list, when the workers have ended. */
void refresh_drop(struct store *s);

#endif
