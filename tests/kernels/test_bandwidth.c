/* kern_read_bandwidth against the time of a plain loop over memory of its own. RUN_SERIAL: it
 * measures time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "kernels/bandwidth.h"

/* Others may use the machine meanwhile: a wide margin, which a wrong unit or a buffer that was
 * never read still leaves. */
static void test_against_a_loop(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* this build's loops are checked at every element, and the library's are not */
#endif
    enum { BYTES = 256 << 20 };
    char *data;
    assert_int_equal(kern_alloc((void **)&data, BYTES, "test"), KERN_OK);
    memset(data, 1, BYTES);
    double best = 0;
    for (int repeat = 0; repeat < 3; repeat++) {
        double start = kern_seconds();
        assert_null(memchr(data, 0, BYTES));
        double rate = BYTES / (kern_seconds() - start);
        if (rate > best) best = rate;
    }
    kern_free(data);
    double one = kern_read_bandwidth(1), two = kern_read_bandwidth(2);
    print_message("read: %.1f GB/s, 2 threads %.1f GB/s; memchr %.1f GB/s\n", one * 1e-9,
                  two * 1e-9, best * 1e-9);
    assert_true(one > best / 8 && one < best * 8);
    assert_true(two > one / 8 && two < one * 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_loop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
