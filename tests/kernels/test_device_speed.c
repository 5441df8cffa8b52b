/* A machine beside the processor is measured by its own calls, the processor by its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/device_speed.h"

static int products, copies;

static void run(kern_stream *stream, const void *state, void *c, const void *a, const void *b,
                void *workspace) {
    products++;
    kern_device_cpu()->matmul->run(stream, state, c, a, b, workspace);
}

static void copy(kern_stream *stream, void *to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, int64_t rows) {
    copies++;
    kern_device_cpu()->copy(stream, to, to_pitch, from, from_pitch, width, rows);
}

/* The CPU's calls, counted, as a machine with memory of its own. */
static kern_machine machine = {.name = "apart", .memory = 1e9};
static kern_matmul_ops matmul;
static kern_stream stream;
static kern_device apart;

static int begin(void **state) {
    (void)state;
    matmul = *kern_device_cpu()->matmul;
    matmul.run = run;
    apart = *kern_device_cpu();
    apart.machine = &machine;
    apart.matmul = &matmul;
    apart.copy = copy;
    apart.stream = &stream;
    stream.device = &apart;
    return setenv("TTT_BRIEF_PEAK", "1", 1);
}

static void test_own_calls(void **state) {
    (void)state;
    double speed = 0;
    assert_int_equal(kern_product_speed(&speed, &apart, KERN_F32, 1), KERN_OK);
    assert_true(speed > 0 && products > 0 && copies == 0);
    speed = 0;
    assert_int_equal(kern_copy_speed(&speed, &apart, 1 << 16, 1), KERN_OK);
    assert_true(speed > 0 && copies > 0);
    copies = 0;
    speed = 0;
    assert_int_equal(kern_read_speed(&speed, &apart, 1), KERN_OK);
    assert_true(speed > 0 && copies > 0);
}

static void test_the_processor(void **state) {
    (void)state;
    double product = 0, moved = 0;
    products = copies = 0;
    assert_int_equal(kern_product_speed(&product, kern_device_cpu(), KERN_F32, 1), KERN_OK);
    assert_int_equal(kern_copy_speed(&moved, kern_device_cpu(), 1 << 16, 1), KERN_OK);
    assert_true(product > 0 && moved > 0 && products == 0 && copies == 0);
}

static void test_no_memory(void **state) {
    (void)state;
    double speed = 0;
    assert_int_equal(kern_copy_speed(&speed, &apart, (size_t)1 << 60, 1), KERN_ERR_MEMORY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_calls),
        cmocka_unit_test(test_the_processor),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
