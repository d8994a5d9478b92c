/*
 * One stack left for another, by hand: see switch_asm.h. A bonus.
 *
 * Which registers have to be saved is agreed between all compilers of a
 * platform, or no function could call one that another compiler made: in the
 * System V ABI for x86-64 (3.2.1), in the AAPCS64 for aarch64 (6.1).
 *
 *   x86-64    rbx rbp r12 r13 r14 r15, the stack pointer rsp; how floating
 *             point rounds and traps (mxcsr, and the x87 control word)
 *   aarch64   x19 to x30, the stack pointer sp; d8 to d15; fpcr
 *
 * Nobody touches the signal mask. It is the kernel's, and swapcontext(), which
 * saves it, pays a system call for it.
 */
#include <stdint.h>

#include "switch_asm.h"

/* TODO 12: save what a function must give back, change the stack, restore.
 * Do it for the processor that you have. switch_asm(from, to) finds its
 * arguments in %rdi and %rsi, or in x0 and x1. Push the registers above; store
 * the stack pointer in *from; load it from `to`; pop the registers, and return:
 * the return address that now counts was saved by whoever called switch_asm()
 * on that other stack. switch_asm_prepare() builds the same picture on an empty
 * stack, with entry() as the return address. Mind what the ABI says about the
 * stack pointer: at the first instruction of a function it is a multiple of 16
 * on aarch64, and 8 more than that on x86-64.
 */
#include <stdio.h>
#include <stdlib.h>

void
switch_asm(void **from, void *to)
{
    (void)from;
    (void)to;
    fputs("TODO 12 is not done: save what a function must give back "
          "(labs/10-coroutine-gateway/switch_asm.c; "
          "read handouts/10-coroutine-gateway.md)\n",
          stderr);
    exit(3);
}

void *
switch_asm_prepare(void *top, void (*entry)(void))
{
    (void)entry;
    return top;
}
