/*
 * What the sanitizers have to be told when a program changes its stack itself.
 *
 * AddressSanitizer keeps a second stack for variables whose address is taken
 * (that is how it finds uses after return), ThreadSanitizer a history for each
 * flow of control. Both have to follow when the real stack is changed. In a
 * build without them nothing of this is left.
 */
#ifndef FIBER_H
#define FIBER_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __has_feature /* clang */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

struct fiber {
    const void *bottom; /* the lowest address of its stack */
    size_t size;
    void *second; /* its second stack while it does not run */
    void *history;
};

/* A fiber begins on a stack on which another one may have ended in the middle
 * of its functions: what these have marked as out of bounds is not any more. */
static inline void
fiber_create(struct fiber *f, void *bottom, size_t size)
{
    *f = (struct fiber){.bottom = bottom, .size = size};
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(bottom, size);
#endif
#ifdef __SANITIZE_THREAD__
    f->history = __tsan_create_fiber(0);
#endif
}

/* For the stack that the program began with. */
static inline void
fiber_adopt(struct fiber *f)
{
    *f = (struct fiber){0};
#ifdef __SANITIZE_THREAD__
    f->history = __tsan_get_current_fiber();
#endif
}

/* The last thing before the stack is changed. */
static inline void
fiber_leave(struct fiber *from, struct fiber *to, bool for_good)
{
    (void)from, (void)to, (void)for_good;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->second, to->bottom,
                                   to->size);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to->history, 0);
#endif
}

/* The first thing after it. `from` learns where its stack is, if not NULL. */
static inline void
fiber_arrive(struct fiber *f, struct fiber *from)
{
    (void)f, (void)from;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(f->second, from ? &from->bottom : NULL,
                                    from ? &from->size : NULL);
#endif
}

/* When it has ended, and another one runs. */
static inline void
fiber_destroy(struct fiber *f)
{
    (void)f;
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(f->history);
#endif
}

#endif
