/* Which variant a processor gets: one that lacks anything of v3 or v4 does not get it. */
#include "kernels/isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#if defined(__x86_64__)
enum { LEAF1_ECX, LEAF7_EBX, EXTENDED1_ECX, XCR0, REGISTERS };

static kern_isa_level level_without(int lost, unsigned bits) {
    unsigned value[REGISTERS] = {~0u, ~0u, ~0u, ~0u};
    value[lost] &= ~bits;
    return kern_isa_of(&(kern_isa_features){
        .leaf1_ecx = value[LEAF1_ECX],
        .leaf7_ebx = value[LEAF7_EBX],
        .extended1_ecx = value[EXTENDED1_ECX],
        .xcr0 = value[XCR0],
    });
}

/* The psABI's levels, by the numbers of the bits in Intel's manual. */
static void test_every_feature_counts(void **state) {
    (void)state;
    static const struct {
        int of, bit;
        const char *name;
    } v3[] = {{LEAF1_ECX, 0, "SSE3"},        {LEAF1_ECX, 9, "SSSE3"},   {LEAF1_ECX, 12, "FMA"},
              {LEAF1_ECX, 13, "CMPXCHG16B"}, {LEAF1_ECX, 19, "SSE4.1"}, {LEAF1_ECX, 20, "SSE4.2"},
              {LEAF1_ECX, 22, "MOVBE"},      {LEAF1_ECX, 23, "POPCNT"}, {LEAF1_ECX, 27, "OSXSAVE"},
              {LEAF1_ECX, 28, "AVX"},        {LEAF1_ECX, 29, "F16C"},   {LEAF7_EBX, 3, "BMI1"},
              {LEAF7_EBX, 5, "AVX2"},        {LEAF7_EBX, 8, "BMI2"},    {EXTENDED1_ECX, 0, "LAHF"},
              {EXTENDED1_ECX, 5, "LZCNT"},   {XCR0, 1, "xmm is saved"}, {XCR0, 2, "ymm is saved"}},
      v4[] = {{LEAF7_EBX, 16, "AVX512F"},  {LEAF7_EBX, 17, "AVX512DQ"},
              {LEAF7_EBX, 28, "AVX512CD"}, {LEAF7_EBX, 30, "AVX512BW"},
              {LEAF7_EBX, 31, "AVX512VL"}, {XCR0, 5, "masks are saved"},
              {XCR0, 6, "zmm is saved"},   {XCR0, 7, "zmm16 is saved"}};
    assert_int_equal(level_without(XCR0, 0), KERN_ISA_V4);
    unsigned known[REGISTERS] = {0};
    for (size_t i = 0; i < sizeof v3 / sizeof *v3; i++) {
        known[v3[i].of] |= 1u << v3[i].bit;
        if (level_without(v3[i].of, 1u << v3[i].bit) != KERN_ISA_V2)
            fail_msg("v3 without %s", v3[i].name);
    }
    for (size_t i = 0; i < sizeof v4 / sizeof *v4; i++) {
        known[v4[i].of] |= 1u << v4[i].bit;
        if (level_without(v4[i].of, 1u << v4[i].bit) != KERN_ISA_V3)
            fail_msg("v4 without %s", v4[i].name);
    }
    for (int i = 0; i < REGISTERS; i++)
        assert_int_equal(level_without(i, ~known[i]), KERN_ISA_V4); /* nothing else is needed */
}

/* The compiler's own look at the machine finds the same. */
static void test_this_machine(void **state) {
    (void)state;
    kern_isa_level expected =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl")
            ? KERN_ISA_V4
        : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? KERN_ISA_V3
                                                                          : KERN_ISA_V2;
    unsetenv("TTT_ISA");
    assert_int_equal(kern_isa(), expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_feature_counts),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    printf("skipped: there is one variant on this processor\n");
    return 0;
}
#endif
