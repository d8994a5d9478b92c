/*
 * One stack left for another, in assembly: for x86-64 and aarch64.
 *
 * What a function call needs not preserve, the compiler has saved already
 * where switch_asm() is called. What is left are the registers that a function
 * has to give back as it found them, and the stack pointer: they lie on the
 * stack that is left, and the address of the lowest one is all that must be
 * remembered of it.
 */
#ifndef SWITCH_ASM_H
#define SWITCH_ASM_H

#if defined(__x86_64__) || defined(__aarch64__)
#define HAVE_SWITCH_ASM 1
#else
#define HAVE_SWITCH_ASM 0
#endif

/* Puts aside what runs now, its stack pointer in *from, and goes on with what
 * was put aside as `to`. Returns when somebody switches back.
 */
void switch_asm(void **from, void *to);

/* Makes an empty stack look as if switch_asm() had left it just before the
 * first instruction of entry(). `top` is its upper end, a multiple of 16. The
 * result is for switch_asm(). entry() must never return.
 */
void *switch_asm_prepare(void *top, void (*entry)(void));

#endif
