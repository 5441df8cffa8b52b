/* Rounding to bf16 against the nearer of the two neighbours, in every instruction set. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/round.h"
#include "kernels/round_isa.h"

enum { COUNT = 50001 };
static float from[COUNT];
static uint16_t to[COUNT + 1];

static double value_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return isinf(x) ? copysign(0x1p128, (double)x) : (double)x;
}

/* The nearer of the two bf16 values around x; of two as near, the even one. */
static uint16_t nearest(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t below = bits & 0xffff0000u, above = below + 0x10000u;
    if (isinf(x) || below == bits) return (uint16_t)(below >> 16);
    double down = fabs((double)x - value_of(below)), up = fabs(value_of(above) - (double)x);
    bool odd = below >> 16 & 1;
    return (uint16_t)((up < down || (up == down && odd) ? above : below) >> 16);
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Numbers of every size, and those at the edges. */
static void fill(void) {
    static const uint32_t special[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7f7fffff,
                                       0x3f808000, 0x3f818000, 0x00000001, 0x007fffff, 0x80008000,
                                       0x7f7f7fff, 0x7f7f8000, 0x3f807fff, 0x3f808001};
    uint64_t random = 5;
    for (int i = 0; i < COUNT; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        from[i] = float_of((uint32_t)(random >> 32));
        if (isnan(from[i])) from[i] = 1;
    }
    memcpy(from, special, sizeof special);
}

static void check(kern_round_run *run, int count) {
    memset(to, 0xee, sizeof to);
    run(to, from, count);
    for (int i = 0; i < count; i++)
        if (to[i] != nearest(from[i])) fail_msg("%a becomes %04x", (double)from[i], to[i]);
    assert_int_equal(to[count], 0xeeee);
}

static void check_nans(kern_round_run *run) {
    static const uint32_t nans[] = {0x7fc00000, 0x7f800001, 0xffffffff, 0xff80ffff, 0x7fffffff};
    for (int i = 0; i < 40; i++) from[i] = float_of(nans[i % 5]);
    run(to, from, 40);
    for (int i = 0; i < 40; i++) assert_true((to[i] & 0x7fff) > 0x7f80);
}

static void test_threads(void **state) {
    (void)state;
    static const int counts[] = {0, 1, 14, 16384, 16385, COUNT};
    fill();
    for (int threads = 1; threads <= 2; threads++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            omp_set_num_threads(threads);
            check(kern_round, counts[c]);
        }
    check_nans(kern_round);
}

static void test_instruction_sets(void **state) {
    (void)state;
#if defined(__x86_64__)
    kern_round_run *const all[KERN_ISAS] = {kern_round_v2, kern_round_v3, kern_round_v4};
    for (int isa = 0; isa <= (int)kern_isa(); isa++) {
        fill();
        for (int count = 0; count < 70; count++) check(all[isa], count);
        check(all[isa], COUNT);
        check_nans(all[isa]);
    }
#else
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_instruction_sets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
