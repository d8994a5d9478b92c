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
 * STUB: #include <stdio.h>
 * STUB: #include <stdlib.h>
 * STUB:
 * STUB: void
 * STUB: switch_asm(void **from, void *to)
 * STUB: {
 * STUB:     (void)from;
 * STUB:     (void)to;
 * STUB:     fputs("TODO 12 is not done: save what a function must give back "
 * STUB:           "(labs/10-coroutine-gateway/switch_asm.c; "
 * STUB:           "read handouts/10-coroutine-gateway.md)\n",
 * STUB:           stderr);
 * STUB:     exit(3);
 * STUB: }
 * STUB:
 * STUB: void *
 * STUB: switch_asm_prepare(void *top, void (*entry)(void))
 * STUB: {
 * STUB:     (void)entry;
 * STUB:     return top;
 * STUB: }
 */
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl switch_asm\n"
        ".type switch_asm, @function\n"
        "switch_asm:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    subq $8, %rsp\n"
        "    stmxcsr (%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n" /* one stack is put aside ... */
        "    movq %rsi, %rsp\n"   /* ... and another goes on */
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "    addq $8, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    popq %rcx\n"  /* ret would do, but slowly: the processor takes */
        "    jmpq *%rcx\n" /* for granted that it goes back to a caller */
        ".size switch_asm, .-switch_asm\n");

/* What these instructions leave on a stack, from the lowest address on. */
struct frame {
    uint32_t mxcsr;
    uint32_t control_word;
    uint64_t r15, r14, r13, r12, rbx, rbp;
    void (*return_address)(void);
    uint64_t end; /* entry() was called by nobody: a backtrace ends at 0 */
};

void *
switch_asm_prepare(void *top, void (*entry)(void))
{
    struct frame *f = (struct frame *)top - 1;
    *f = (struct frame){.return_address = entry};
    __asm__("stmxcsr %0" : "=m"(f->mxcsr));
    __asm__("fnstcw %0" : "=m"(f->control_word));
    return f;
}

#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl switch_asm\n"
        ".type switch_asm, %function\n"
        "switch_asm:\n"
        "    stp x29, x30, [sp, #-176]!\n"
        "    stp x19, x20, [sp, #16]\n"
        "    stp x21, x22, [sp, #32]\n"
        "    stp x23, x24, [sp, #48]\n"
        "    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mrs x9, fpcr\n"
        "    str x9, [sp, #160]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n" /* one stack is put aside ... */
        "    mov sp, x1\n"   /* ... and another goes on */
        "    ldr x9, [sp, #160]\n"
        "    msr fpcr, x9\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp x27, x28, [sp, #80]\n"
        "    ldp x25, x26, [sp, #64]\n"
        "    ldp x23, x24, [sp, #48]\n"
        "    ldp x21, x22, [sp, #32]\n"
        "    ldp x19, x20, [sp, #16]\n"
        "    ldp x29, x30, [sp], #176\n"
        "    ret\n"
        ".size switch_asm, .-switch_asm\n");

/* What these instructions leave on a stack, from the lowest address on. */
struct frame {
    uint64_t x29; /* entry() was called by nobody: a backtrace ends at 0 */
    void (*return_address)(void); /* x30 */
    uint64_t x19_to_x28[10];
    double d8_to_d15[8];
    uint64_t fpcr, unused;
};

void *
switch_asm_prepare(void *top, void (*entry)(void))
{
    struct frame *f = (struct frame *)top - 1;
    *f = (struct frame){.return_address = entry};
    __asm__("mrs %0, fpcr" : "=r"(f->fpcr));
    return f;
}

#else /* coro_init() does not let it come to this */
void
switch_asm(void **from, void *to)
{
    (void)from;
    (void)to;
}

void *
switch_asm_prepare(void *top, void (*entry)(void))
{
    (void)entry;
    return top;
}
#endif
/* END TODO 12 */
