/* text.h - writes text into memory, and never past its end. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *at;  /* where the next byte goes */
    char *end; /* where there is no more room */
    bool full; /* something did not fit, and was left out */
};

void put_bytes(struct text *t, const char *bytes, size_t n);
void put(struct text *t, const char *string);
void put_number(struct text *t, uint64_t n);

/* Formats as printf() does: for what is not written with every request. */
__attribute__((format(printf, 2, 3))) void put_format(struct text *t,
                                                      const char *format, ...);

/* Writes n bytes as they may stand in the text or an attribute of HTML. */
void put_html(struct text *t, const char *bytes, size_t n);

#endif
