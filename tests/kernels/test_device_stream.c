/* A device's memory and stream: large transfers in pieces, uploads whose source changes at once,
 * recordings, laps, shifts, memory that does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/device.h"

/* Another one in each piece of a transfer. */
static unsigned char pattern(size_t i, int seed) {
    return (unsigned char)((i + (size_t)seed * 97) * 2654435761u >> 24);
}

/* More than all that transfers go through, and odd; twice, while the first is under way. */
static void test_transfers(void **state) {
    (void)state;
    const kern_device *device = test_device();
    size_t bytes = ((size_t)40 << 20) + 12345;
    unsigned char *here = kern_array((int64_t)bytes, 1), *got = kern_array((int64_t)bytes, 1);
    kern_buffer there = {0};
    assert_int_equal(kern_buffer_create(&there, device, bytes, "numbers"), KERN_OK);
    for (int seed = 0; seed < 2; seed++) {
        for (size_t i = 0; i < bytes; i++) here[i] = pattern(i, seed);
        kern_upload(device, there.data, here, bytes);
        memset(here, 0, bytes);
    }
    size_t first = 1001; /* the other download begins behind it */
    device->download(device->stream, got, there.data, first);
    device->download(device->stream, got + first, (char *)there.data + first, bytes - first);
    assert_int_equal(kern_finish(device->stream), KERN_OK);
    for (size_t i = 0; i < bytes; i++)
        if (got[i] != pattern(i, 1)) fail_msg("byte %zu is another", i);
    kern_buffer_destroy(&there);
    free(here);
    free(got);
}

/* Many small ones, each to a place of its own, one source. */
static void test_small_uploads(void **state) {
    (void)state;
    enum { COUNT = 70000 };
    const kern_device *device = test_device();
    static int64_t got[COUNT];
    kern_buffer there = {0};
    assert_int_equal(kern_buffer_create(&there, device, sizeof got, "numbers"), KERN_OK);
    for (int64_t i = 0; i < COUNT; i++)
        kern_upload(device, (int64_t *)there.data + i, &i, sizeof i);
    test_from_device(got, there.data, sizeof got);
    for (int64_t i = 0; i < COUNT; i++)
        if (got[i] != i) fail_msg("number %lld is %lld", (long long)i, (long long)got[i]);
    kern_buffer_destroy(&there);
}

/* A recording holds addresses, and the contents of uploads, whatever is uploaded later. */
static void test_recordings(void **state) {
    (void)state;
    enum { COUNT = 8, LARGE = 40 << 20 };
    const kern_device *device = test_device();
    float number[COUNT] = {1, 2, 3, 4, 5, 6, 7, 8}, got[2 * COUNT];
    if (!device->record) skip();
    kern_buffer from = test_on_device(number, sizeof number), to = {0};
    assert_int_equal(kern_buffer_create_zero(&to, device, sizeof got, "numbers"), KERN_OK);
    device->record(device->stream);
    device->copy(device->stream, to.data, 0, from.data, 0, sizeof number, 1);
    device->upload(device->stream, (float *)to.data + COUNT, number, sizeof number);
    void *recording = device->recorded(device->stream);
    kern_buffer large = {0};
    assert_int_equal(kern_buffer_create(&large, device, LARGE, "zeros"), KERN_OK);
    void *zeros = kern_array(LARGE, 1);
    kern_upload(device, large.data, zeros, LARGE);
    free(zeros);
    kern_buffer_destroy(&large);
    number[0] = 99;
    for (int run = 0; run < 3; run++) {
        number[1] = (float)run;
        kern_upload(device, from.data, number, sizeof number);
        device->zero(device->stream, to.data, sizeof got, sizeof got, 1);
        if (run) device->replay(device->stream, recording);
        test_from_device(got, to.data, sizeof got);
        assert_true(got[1] == (float)run * (run > 0) && got[7] == (run ? 8.0f : 0.0f));
        assert_true(got[COUNT] == (run ? 1.0f : 0.0f) && got[COUNT + 1] == (run ? 2.0f : 0.0f));
    }
    device->replay(device->stream, recording);
    device->forget(recording); /* which waits, as giving back memory does */
    kern_upload(device, from.data, number, sizeof number);
    kern_buffer_destroy(&from);
    kern_buffer_destroy(&to);
}

static void test_laps(void **state) {
    (void)state;
    const kern_device *device = test_device();
    double seconds[KERN_LAPS];
    kern_buffer there = {0};
    assert_int_equal(kern_buffer_create(&there, device, 1 << 22, "numbers"), KERN_OK);
    device->laps(device->stream, seconds);
    for (int i = 0; i < 300; i++) { /* more than are kept one by one */
        device->lap(device->stream, -1);
        for (int times = 0; times < 2; times++) {
            device->zero(device->stream, there.data, there.bytes, there.bytes, 1);
            device->lap(device->stream, 2);
        }
    }
    assert_int_equal(kern_finish(device->stream), KERN_OK);
    device->laps(device->stream, seconds);
    for (int i = 0; i < KERN_LAPS; i++) assert_true(i == 2 ? seconds[i] > 0 : seconds[i] == 0);
    device->laps(device->stream, seconds);
    assert_true(seconds[2] == 0);
    kern_buffer_destroy(&there);
}

static void test_too_much(void **state) {
    (void)state;
    kern_buffer buffer = {0};
    assert_int_equal(kern_buffer_create(&buffer, test_device(), (size_t)1 << 52, "the numbers"),
                     KERN_ERR_MEMORY);
    assert_non_null(strstr(kern_error(), "the numbers"));
    kern_buffer_destroy(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfers),  cmocka_unit_test(test_small_uploads),
        cmocka_unit_test(test_recordings), cmocka_unit_test(test_laps),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
