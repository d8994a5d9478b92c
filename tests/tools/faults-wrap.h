/*
 * For faults.so: what the definitions of the calls are made with.
 */
#pragma once
#undef _FORTIFY_SOURCE /* it would turn our definitions into macros */
#include "faults-rules.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

typedef struct sockaddr *address;

/* The function that would have been called without us: libc's, or that of a
 * sanitizer. */
#define NEXT(name)                                                             \
    static __typeof__(&name) next;                                             \
    if (!next)                                                                 \
    next = dlsym(RTLD_NEXT, #name)

/* WRAP defines a call that asks the rules first. The last three arguments are
 * what rules look at: descriptor or -1, path or NULL, size or NULL. */
#define WRAP(type, name, parameters, arguments, fd, path, size)                \
    type name parameters                                                       \
    {                                                                          \
        NEXT(name);                                                            \
        if (fault(CALL_##name, fd, path, size))                                \
            return -1;                                                         \
        return next arguments;                                                 \
    }

/* SAME defines another name of a call: for 64-bit files, or for
 * _FORTIFY_SOURCE, which also tells how much room there is. */
#define SAME(type, name, parameters, call)                                     \
    type name parameters                                                       \
    {                                                                          \
        return call;                                                           \
    }

/* _FORTIFY_SOURCE: n bytes are to go where there is room for so many. */
static inline size_t
checked(size_t n, size_t room)
{
    if (n > room)
        abort();
    return n;
}
