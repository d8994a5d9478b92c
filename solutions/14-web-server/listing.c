/*
 * A page that shows what is in a directory.
 *
 * A file's name comes from whoever may write into the site, and can hold any
 * byte but '/' and 0: in a link it is encoded as in a URL, in the text as HTML
 * has it. Hidden files do not show here either.
 */
#include "listing.h"
#include "path.h"
#include "text.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NAMES_MAX = 5000,          /* more would be no page for a reader */
    ENTRY_ROOM = 256 * 9 + 64, /* a name twice: 3 bytes each in the link, up to
                                * 6 in the text, with its tags */
    PAGE_ROOM = 4096 + 2 * 6 * PATH_LIMIT,
};

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Reads the visible names, directories with a '/'. Returns how many. */
static size_t
read_names(DIR *dir, char **names)
{
    size_t n = 0;
    const struct dirent *d;
    while (n < NAMES_MAX && (d = readdir(dir)) != NULL) {
        if (d->d_name[0] == '.')
            continue;
        size_t length = strlen(d->d_name);
        char *name = malloc(length + 2);
        if (!name)
            break;
        memcpy(name, d->d_name, length + 1);
        if (d->d_type == DT_DIR)
            strcpy(name + length, "/");
        names[n++] = name;
    }
    qsort(names, n, sizeof *names, by_name);
    return n;
}

static void
put_name(struct text *t, const char *name)
{
    char link[3 * 257];
    put(t, "<li><a href=\"./"); /* a name may begin like "javascript:" */
    put_bytes(t, link, path_encode(name, strlen(name), link));
    put(t, "\">");
    put_html(t, name, strlen(name));
    put(t, "</a>\n");
}

static char *
write_page(const char *name, char **names, size_t n, size_t *length)
{
    size_t room = PAGE_ROOM + n * ENTRY_ROOM;
    char *page = malloc(room);
    if (!page)
        return NULL;
    struct text t = {page, page + room, false};
    put(&t, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width\">\n"
            "<meta name=\"color-scheme\" content=\"light dark\">\n<title>/");
    put_html(&t, name, strlen(name));
    put(&t, "</title>\n<body style=\"font: 1.1rem/1.5 system-ui, sans-serif; "
            "max-width: 50em; margin: 2em auto; padding: 0 1em\">\n<h1>/");
    put_html(&t, name, strlen(name));
    put(&t, "</h1>\n<ul>\n");
    if (name[0] != '\0')
        put(&t, "<li><a href=\"../\">../</a>\n");
    for (size_t i = 0; i < n; i++)
        put_name(&t, names[i]);
    put(&t, "</ul>\n");
    if (n == NAMES_MAX)
        put_format(&t, "<p>No more than %d names are shown.\n", NAMES_MAX);
    *length = (size_t)(t.at - page);
    return page;
}

char *
listing_make(const struct root *root, const char *name, struct version *version,
             size_t *length)
{
    /* The descriptor of the root is for paths only; this one is for reading. */
    int fd = file_open_directory(root, name);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    struct stat st;
    char **names = calloc(NAMES_MAX, sizeof *names), *page = NULL;
    if (names && fstat(fd, &st) == 0) {
        *version = (struct version){st.st_dev, st.st_ino, st.st_size,
                                    st.st_mtim, st.st_ctim};
        size_t n = read_names(dir, names);
        page = write_page(name, names, n, length);
        while (n > 0)
            free(names[--n]);
    }
    free(names);
    closedir(dir);
    return page;
}
