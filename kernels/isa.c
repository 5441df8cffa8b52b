#include "kernels/isa.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[KERN_ISAS] = {"v2", "v3", "v4"};

#if defined(__x86_64__)
/* All that -march=x86-64-v3 and v4 may use, what v2 has included. */
static const kern_isa_features needed_v3 = {
    .leaf1_ecx = 1u << 0        /* SSE3 */
                 | 1u << 9      /* SSSE3 */
                 | 1u << 12     /* FMA */
                 | 1u << 13     /* CMPXCHG16B */
                 | 1u << 19     /* SSE4.1 */
                 | 1u << 20     /* SSE4.2 */
                 | 1u << 22     /* MOVBE */
                 | 1u << 23     /* POPCNT */
                 | 1u << 27     /* OSXSAVE: there is xgetbv */
                 | 1u << 28     /* AVX */
                 | 1u << 29,    /* F16C */
    .leaf7_ebx = 1u << 3        /* BMI1 */
                 | 1u << 5      /* AVX2 */
                 | 1u << 8,     /* BMI2 */
    .extended1_ecx = 1u << 0    /* LAHF-SAHF */
                     | 1u << 5, /* LZCNT */
    .xcr0 = 1u << 1             /* xmm registers */
            | 1u << 2           /* upper halves of ymm */
};
static const kern_isa_features added_by_v4 = {
    .leaf7_ebx = 1u << 16    /* AVX512F */
                 | 1u << 17  /* AVX512DQ */
                 | 1u << 28  /* AVX512CD */
                 | 1u << 30  /* AVX512BW */
                 | 1u << 31, /* AVX512VL */
    .xcr0 = 1u << 5          /* mask registers */
            | 1u << 6        /* upper halves of zmm0 to 15 */
            | 1u << 7        /* zmm16 to 31 */
};

static bool has_all(const kern_isa_features *features, const kern_isa_features *needed) {
    return !(needed->leaf1_ecx & ~features->leaf1_ecx) &&
           !(needed->leaf7_ebx & ~features->leaf7_ebx) &&
           !(needed->extended1_ecx & ~features->extended1_ecx) && !(needed->xcr0 & ~features->xcr0);
}

kern_isa_level kern_isa_of(const kern_isa_features *features) {
    if (!has_all(features, &needed_v3)) return KERN_ISA_V2;
    return has_all(features, &added_by_v4) ? KERN_ISA_V4 : KERN_ISA_V3;
}
#endif

static kern_isa_level best_supported(void) {
#if defined(__x86_64__)
    kern_isa_features found = {0};
    unsigned a, b, c, d; /* registers that a leaf beyond the last one leaves as they are */
    if (__get_cpuid(1, &a, &b, &c, &d)) found.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) found.leaf7_ebx = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) found.extended1_ecx = c;
    if (found.leaf1_ecx & 1u << 27) __asm__ volatile("xgetbv" : "=a"(found.xcr0), "=d"(d) : "c"(0));
    return kern_isa_of(&found);
#else
    return KERN_ISA_V2;
#endif
}

static kern_isa_level choose(void) {
    kern_isa_level best = best_supported();
    const char *wanted = getenv("TTT_ISA");
    if (!wanted || !*wanted) return best;
    for (int level = 0; level <= (int)best; level++)
        if (!strcmp(wanted, names[level])) return (kern_isa_level)level;
    fprintf(stderr, "ttt: TTT_ISA=%s is not available on this machine; using %s\n", wanted,
            names[best]);
    return best;
}

kern_isa_level kern_isa(void) {
    static int chosen = -1; /* the same value whoever writes it */
    int level = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (level < 0) {
        level = (int)choose();
        __atomic_store_n(&chosen, level, __ATOMIC_RELAXED);
    }
    return (kern_isa_level)level;
}
