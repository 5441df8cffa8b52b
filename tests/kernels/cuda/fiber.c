#include "tests/kernels/cuda/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
struct fiber {
    void *top; /* of the stack, where it left off */
    char *stack;
    size_t bytes;
    void (*run)(void *);
    void *argument;
    const void *low; /* of the stack, as the sanitizer wants to know it */
    size_t size;
#if !defined(__x86_64__) && !defined(__aarch64__)
    ucontext_t context;
#endif
};

/* Registers that a call must keep go on the stack that is left; the other stack's come back. */
#if defined(__x86_64__)
void fiber_swap(void **from, void *to);
void fiber_entry(void);
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".hidden fiber_swap\n"
        ".type fiber_swap, @function\n"
        "fiber_swap:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n"
        ".size fiber_swap, .-fiber_swap\n"
        ".globl fiber_entry\n"
        ".hidden fiber_entry\n"
        ".type fiber_entry, @function\n"
        "fiber_entry:\n"
        "  mov %r12, %rdi\n"
        "  call *%r13\n"
        "  ud2\n"
        ".size fiber_entry, .-fiber_entry\n");

static void lay_first_frame(fiber *f, void (*begin)(fiber *)) {
    uintptr_t end = ((uintptr_t)f->stack + f->bytes) & ~(uintptr_t)15;
    void **at = (void **)end - 9; /* r15 r14 r13 r12 rbx rbp, where to go; 16 for alignment */
    memset(at, 0, 9 * sizeof *at);
    at[3] = f;
    memcpy(&at[2], &begin, sizeof begin);
    void (*entry)(void) = fiber_entry;
    memcpy(&at[6], &entry, sizeof entry);
    f->top = at;
}
#elif defined(__aarch64__)
void fiber_swap(void **from, void *to);
void fiber_entry(void);
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".hidden fiber_swap\n"
        ".type fiber_swap, %function\n"
        "fiber_swap:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n"
        "  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n"
        "  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n"
        "  ret\n"
        ".size fiber_swap, .-fiber_swap\n"
        ".globl fiber_entry\n"
        ".hidden fiber_entry\n"
        ".type fiber_entry, %function\n"
        "fiber_entry:\n"
        "  mov x0, x19\n"
        "  blr x20\n"
        "  brk #0\n"
        ".size fiber_entry, .-fiber_entry\n");

static void lay_first_frame(fiber *f, void (*begin)(fiber *)) {
    uintptr_t end = ((uintptr_t)f->stack + f->bytes) & ~(uintptr_t)15;
    void **at = (void **)end - 20; /* x19 .. x30, d8 .. d15 */
    memset(at, 0, 20 * sizeof *at);
    at[0] = f;
    memcpy(&at[1], &begin, sizeof begin);
    void (*entry)(void) = fiber_entry;
    memcpy(&at[11], &entry, sizeof entry);
    f->top = at;
}
#endif

#ifdef __SANITIZE_ADDRESS__
static _Thread_local fiber *left; /* by the latest change */

static void arrive(void *fake) {
    const void *low;
    size_t size;
    __sanitizer_finish_switch_fiber(fake, &low, &size);
    left->low = low;
    left->size = size;
}
#endif

static void begin(fiber *f) {
#ifdef __SANITIZE_ADDRESS__
    arrive(NULL);
#endif
    f->run(f->argument);
    kern_assert_failed("a fiber returned", __FILE__, __LINE__);
}

fiber *fiber_here(void) {
    fiber *f = kern_array(1, sizeof *f);
    return f;
}

fiber *fiber_create(size_t bytes) {
    fiber *f = kern_array(1, sizeof *f);
    f->bytes = bytes;
    f->stack = kern_array((int64_t)bytes, 1);
    f->low = f->stack;
    f->size = bytes;
    return f;
}

#if !defined(__x86_64__) && !defined(__aarch64__)
static void begin_context(unsigned high, unsigned low) {
    begin((fiber *)((uintptr_t)high << 16 << 16 | low));
}
#endif

void fiber_start(fiber *f, void (*run)(void *), void *argument) {
    f->run = run;
    f->argument = argument;
#ifdef __SANITIZE_ADDRESS__
    /* What is forbidden in the frames of the run before, which have never returned. */
    if (f->top)
        __asan_unpoison_memory_region(f->top, (size_t)(f->stack + f->bytes - (char *)f->top));
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    lay_first_frame(f, begin);
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = f->bytes;
    makecontext(&f->context, (void (*)(void))begin_context, 2, (unsigned)((uintptr_t)f >> 16 >> 16),
                (unsigned)(uintptr_t)f);
#endif
}

void fiber_destroy(fiber *f) {
    if (!f) return;
    free(f->stack);
    free(f);
}

void fiber_change(fiber *from, fiber *to) {
#ifdef __SANITIZE_ADDRESS__
    void *fake = NULL;
    left = from;
    __sanitizer_start_switch_fiber(&fake, to->low, to->size);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    fiber_swap(&from->top, to->top);
#else
    swapcontext(&from->context, &to->context);
#endif
#ifdef __SANITIZE_ADDRESS__
    arrive(fake);
#endif
}
