/* config.c: see config.h. */
#include "config.h"
#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SPACE[] = " \t\r\n";

int
config_workers(const char *text)
{
    cpu_set_t cpus;
    if (strcmp(text, "auto") == 0) {
        if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
            return 1; /* more CPUs than the set has room for */
        int n = CPU_COUNT(&cpus);
        return n < WORKERS_MAX ? n : WORKERS_MAX;
    }
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 3 || text[digits] != '\0' || atoi(text) < 1 ||
        atoi(text) > WORKERS_MAX)
        return -1;
    return atoi(text);
}

/* Cuts off the white space at both ends. */
static char *
trimmed(char *text)
{
    text += strspn(text, SPACE);
    size_t n = strlen(text);
    while (n > 0 && strchr(SPACE, text[n - 1]) != NULL)
        text[--n] = '\0';
    return text;
}

/* Returns what is wrong with the line, or NULL. */
static const char *
read_line(char *line, struct config *config)
{
    char *setting = trimmed(line);
    if (setting[0] == '\0' || setting[0] == '#')
        return NULL;
    char *value = setting + strcspn(setting, SPACE);
    if (*value != '\0')
        *value++ = '\0';
    value = trimmed(value);

    if (strcmp(setting, "workers") == 0) {
        config->workers = config_workers(value);
        return config->workers > 0 ? NULL
                                   : "workers: not auto, and not 1 to 256";
    }
    if (strcmp(setting, "greeting") == 0) {
        size_t n = strlen(value);
        if (n < 1 || n > GREETING_MAX)
            return "greeting: not a text of 1 to 1000 bytes";
        snprintf(config->greeting, sizeof config->greeting, "%s\n", value);
        return NULL;
    }
    return "no such setting (there are workers and greeting)";
}

int
config_read(const char *path, struct config *config)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        warn("%s", path);
        return -1;
    }
    char *line = NULL;
    size_t room = 0;
    int number = 0;
    const char *problem = NULL;
    for (ssize_t n; !problem && (n = getline(&line, &room, file)) >= 0;) {
        number++;
        problem = strlen(line) < (size_t)n ? "a NUL byte" : NULL;
        if (problem == NULL)
            problem = read_line(line, config);
    }
    int unreadable = ferror(file); /* a directory, for instance */
    if (unreadable)
        warn("%s", path);
    if (problem != NULL)
        warnx("%s:%d: %s", path, number, problem);
    free(line);
    fclose(file);
    return unreadable || problem ? -1 : 0;
}
