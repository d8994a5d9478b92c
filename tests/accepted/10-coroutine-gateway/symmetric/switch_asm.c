/*
 * Another way: for one processor only, that of the machine it was written on,
 * as a function without prologue and epilogue, and with a plain `ret`.
 */
#include <stdint.h>

#include "switch_asm.h"

#if defined(__x86_64__)
__attribute__((naked)) void
switch_asm(__attribute__((unused)) void **from,
           __attribute__((unused)) void *to)
{
    __asm__("push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15;"
            "sub $16, %rsp; fnstcw 8(%rsp); stmxcsr (%rsp);"
            "mov %rsp, (%rdi); mov %rsi, %rsp;"
            "ldmxcsr (%rsp); fldcw 8(%rsp); add $16, %rsp;"
            "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx;"
            "ret");
}

void *
switch_asm_prepare(void *top, void (*entry)(void))
{
    uint64_t *at = top;
    *--at = 0; /* entry() would return to it */
    *--at = (uint64_t)(uintptr_t)entry;
    for (int i = 0; i < 6; i++)
        *--at = 0;
    at -= 2;
    __asm__("fnstcw 8(%0); stmxcsr (%0)" : : "r"(at) : "memory");
    return at;
}
#else
void
switch_asm(void **from, void *to)
{
    (void)from, (void)to;
}

void *
switch_asm_prepare(void *top, void (*entry)(void))
{
    (void)entry;
    return top;
}
#endif
