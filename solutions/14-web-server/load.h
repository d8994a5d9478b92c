/* load.h - from a file to an entry: what a worker does. */
#ifndef LOAD_H
#define LOAD_H

#include "entry.h"
#include "files.h"

/* Opens and reads what name stands for, and writes the heads of its answers.
 * If it is still the same as in `old`, which may be NULL, the result is `old`
 * itself. Otherwise it is a new entry with this key: status 200 with content,
 * or the status to answer. `now` is the time of day. NULL: no memory.
 *
 * May block, for as long as the disk takes. Touches nothing of `old` that the
 * loop changes meanwhile.
 */
struct entry *load_entry(const struct root *root, const char *key,
                         size_t key_length, const char *name,
                         const struct entry *old, time_t now);

/* Reads a PART of a file that stays open, or what is left of it from there on,
 * so that it is in the page cache afterwards. */
void load_pages(const struct content *c, off_t from);

#endif
