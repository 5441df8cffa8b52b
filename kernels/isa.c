#include "kernels/isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[KERN_ISAS] = {"v2", "v3", "v4"};

static kern_isa_level best_supported(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return KERN_ISA_V4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return KERN_ISA_V3;
#endif
    return KERN_ISA_V2;
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
