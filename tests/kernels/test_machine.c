/* Which figures a GPU has that says its name and its memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/machine.h"

static void like(const char *product, double memory, const char *figures) {
    kern_machine found = kern_machine_like(product, memory);
    const kern_machine *of = kern_machine_named(figures);
    assert_non_null(of);
    assert_string_equal(found.name, product);
    assert_true(found.memory == memory);
    assert_true(found.bandwidth == of->bandwidth && found.bf16_flops == of->bf16_flops);
    assert_true(found.processors == of->processors && found.launch_seconds == of->launch_seconds);
}

static void test_figures(void **state) {
    (void)state;
    like("NVIDIA A100-SXM4-40GB", 42.4e9, "a100-40");
    like("NVIDIA A100 80GB PCIe", 85.1e9, "a100-80");
    like("NVIDIA H100 NVL", 99e9, "h100");
    like("NVIDIA H200", 150e9, "h200");
    like("NVIDIA B200", 191e9, "b200");
    assert_null(kern_machine_named("a100"));
}

/* It sizes plans, and foretells nothing. */
static void test_unknown(void **state) {
    (void)state;
    kern_machine found = kern_machine_like("NVIDIA RTX 9999", 24e9);
    assert_true(found.memory == 24e9 && found.bandwidth == 0);
    assert_true(found.pass_steps > 0 && found.piece_rows > 0 && found.product_rows > 0 &&
                found.slice_elements > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_figures),
                                       cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
