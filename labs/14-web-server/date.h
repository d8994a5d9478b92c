/* date.h - the time of day, as HTTP writes and reads it. */
#ifndef DATE_H
#define DATE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
    DATE_SIZE = 30, /* "Sun, 06 Nov 1994 08:49:37 GMT" and its final 0 */
};

/* The time of day, as a number and as HTTP writes it. */
struct date {
    time_t seconds;
    char text[DATE_SIZE];
};

/* Brings *date up to date. Costs next to nothing while the second is the same.
 */
void date_update(struct date *date);

/* Writes t. */
void date_write(time_t t, char out[DATE_SIZE]);

/* Reads n bytes in one of the three forms that RFC 9110, section 5.6.7, knows:
 * the one above, that of RFC 850, and that of asctime(). False if it is none of
 * them, or no date that exists.
 */
bool date_parse(const char *text, size_t n, time_t *t);

#endif
