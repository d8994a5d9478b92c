/*
 * The time of day, as HTTP writes and reads it.
 *
 * Neither strftime() nor strptime(): the names of days and months must not
 * depend on a locale.
 */
#include "date.h"

#include <stdio.h>
#include <string.h>

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static void
two_digits(char *p, int n)
{
    p[0] = (char)('0' + n / 10 % 10);
    p[1] = (char)('0' + n % 10);
}

void
date_write(time_t t, char out[DATE_SIZE])
{
    struct tm tm = {.tm_mday = 1};
    gmtime_r(&t, &tm);
    int year = tm.tm_year + 1900;
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", DATE_SIZE);
    memcpy(out, days + 3 * tm.tm_wday, 3);
    two_digits(out + 5, tm.tm_mday);
    memcpy(out + 8, months + 3 * tm.tm_mon, 3);
    two_digits(out + 12, year / 100);
    two_digits(out + 14, year);
    two_digits(out + 17, tm.tm_hour);
    two_digits(out + 20, tm.tm_min);
    two_digits(out + 23, tm.tm_sec);
}

void
date_update(struct date *date)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t); /* no system call: vdso(7) */
    if (t.tv_sec == date->seconds)
        return;
    date->seconds = t.tv_sec;
    date_write(t.tv_sec, date->text);
}

/* The number of the three letters in a list of names, or -1. */
static int
number_of(const char *names, const char *name)
{
    const char *at = strlen(name) == 3 ? strstr(names, name) : NULL;
    return at && (at - names) % 3 == 0 ? (int)(at - names) / 3 : -1;
}

/* RFC 850 has two digits for the year: the last such year that is not more
 * than 50 years in the future. */
static int
full_year(int year)
{
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    int this_year = tm.tm_year + 1900;
    year += this_year - this_year % 100;
    return year > this_year + 50 ? year - 100 : year;
}

/* True if all of text has been read, up to its end. */
static bool
read_fields(const char *text, struct tm *tm, char month[4], int *year)
{
    char day[4], long_day[10], two[3];
    int end = -1;
    sscanf(text, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", day,
           &tm->tm_mday, month, year, &tm->tm_hour, &tm->tm_min, &tm->tm_sec,
           &end);
    if (end >= 0 && text[end] == '\0')
        return true;
    sscanf(text, "%9[A-Za-z], %2d-%3[A-Za-z]-%2[0-9] %2d:%2d:%2d GMT%n",
           long_day, &tm->tm_mday, month, two, &tm->tm_hour, &tm->tm_min,
           &tm->tm_sec, &end);
    if (end >= 0 && text[end] == '\0') {
        sscanf(two, "%d", year);
        *year = full_year(*year);
        return true;
    }
    sscanf(text, "%3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", day, month,
           &tm->tm_mday, &tm->tm_hour, &tm->tm_min, &tm->tm_sec, year, &end);
    return end >= 0 && text[end] == '\0';
}

bool
date_parse(const char *text, size_t n, time_t *t)
{
    char copy[40], month[4];
    struct tm tm = {0};
    int year;
    if (n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    if (!read_fields(copy, &tm, month, &year))
        return false;
    tm.tm_mon = number_of(months, month);
    tm.tm_year = year - 1900;
    int day = tm.tm_mday;
    if (tm.tm_mon < 0 || year < 1601 || tm.tm_hour < 0 || tm.tm_hour > 23 ||
        tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
        return false;
    *t = timegm(&tm); /* which turns 31 Feb into March */
    return tm.tm_mday == day || tm.tm_sec == 60;
}
