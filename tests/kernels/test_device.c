/* Devices: what the check device finds, and what all devices do alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/device.h"

enum { COUNT = 8 };

static kern_buffer buffer_of(const kern_device *device, const float *numbers) {
    kern_buffer buffer = {0};
    assert_int_equal(kern_buffer_create(&buffer, device, COUNT * sizeof(float), "numbers"),
                     KERN_OK);
    if (numbers) kern_upload(device, buffer.data, numbers, buffer.bytes);
    return buffer;
}

/* Whether `fault` ends the process. */
static bool ends(void (*fault)(void)) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (!freopen("/dev/null", "w", stderr)) _exit(9);
        signal(SIGSEGV, SIG_DFL); /* not the sanitizer's, which has an exit code of its own */
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        fault();
        _exit(0);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    return WIFSIGNALED(code);
}

static const float numbers[COUNT] = {1, 2, 3, 4, 5, 6, 7, 8};

static void read_it(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    volatile float number = *(volatile float *)buffer.data;
    (void)number;
}

static void write_it(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    *(volatile float *)buffer.data = 0;
}

static void copy_it(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    char to[COUNT * sizeof(float)];
    kern_device_cpu()->download(kern_device_cpu()->stream, to, buffer.data, sizeof to);
}

static void give_host_memory(void) {
    uint16_t to[COUNT];
    kern_stream *stream = kern_device_check()->stream;
    stream->device->move->round(stream, to, numbers, COUNT);
}

static void go_beyond(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    char more[4096] = {0};
    kern_upload(buffer.device, buffer.data, more, sizeof more);
}

static void use_what_is_freed(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    void *gone = buffer.data;
    kern_buffer_destroy(&buffer);
    kern_upload(kern_device_check(), gone, numbers, sizeof numbers);
}

static void copy_onto_itself(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    kern_stream *stream = buffer.device->stream;
    stream->device->copy(stream, (float *)buffer.data + 1, 0, buffer.data, 0, 3 * sizeof(float), 1);
}

static void nothing(void) {
    kern_buffer buffer = buffer_of(kern_device_check(), numbers);
    kern_buffer_destroy(&buffer);
}

static void test_strays_are_found(void **state) {
    (void)state;
    void (*const faults[])(void) = {read_it,   write_it,          copy_it,         give_host_memory,
                                    go_beyond, use_what_is_freed, copy_onto_itself};
    assert_false(ends(nothing));
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (!ends(faults[i])) fail_msg("fault %zu goes unseen", i);
}

/* What nobody has waited for is not there. */
static void test_results_come_late(void **state) {
    (void)state;
    const kern_device *device = kern_device_check();
    kern_buffer from = buffer_of(device, numbers), fresh = buffer_of(device, NULL);
    float to[COUNT] = {0}, undefined[COUNT] = {0};
    device->download(device->stream, to, from.data, sizeof to);
    device->download(device->stream, undefined, fresh.data, sizeof undefined);
    assert_true(isnan(to[0]));
    assert_int_equal(kern_finish(device->stream), KERN_OK);
    assert_memory_equal(to, numbers, sizeof to);
    for (int i = 0; i < COUNT; i++) assert_true(isnan(undefined[i]));
    kern_buffer_destroy(&from);
    kern_buffer_destroy(&fresh);
}

static void test_recordings(void **state) {
    (void)state;
    const kern_device *device = kern_device_check();
    kern_buffer from = buffer_of(device, numbers), to = buffer_of(device, numbers);
    float got[COUNT], other[COUNT] = {0};
    device->record(device->stream);
    device->copy(device->stream, to.data, 0, from.data, 0, sizeof numbers, 1);
    void *recording = device->recorded(device->stream);
    for (int run = 0; run < 3; run++) {
        other[3] = (float)run;
        kern_upload(device, from.data, other, sizeof other);
        if (run) device->replay(device->stream, recording);
        assert_int_equal(kern_download(device, got, to.data, sizeof got), KERN_OK);
        assert_memory_equal(got, run ? other : numbers, sizeof got);
    }
    device->forget(recording);
    kern_buffer_destroy(&from);
    kern_buffer_destroy(&to);
}

/* Memory moves within itself by any distance, in both directions, in several items. */
static void test_shift(void **state) {
    (void)state;
    const kern_device *const devices[] = {kern_device_cpu(), kern_device_check()};
    enum { ITEMS = 2, HALF = COUNT / ITEMS };
    for (int d = 0; d < 2; d++)
        for (int from = 0; from < HALF; from++)
            for (int to = 0; to < HALF; to++) {
                kern_buffer buffer = buffer_of(devices[d], numbers);
                float got[COUNT], expected[COUNT];
                int count = HALF - (from > to ? from : to);
                memcpy(expected, numbers, sizeof expected);
                for (int item = 0; item < ITEMS; item++)
                    memcpy(expected + item * HALF + to, numbers + item * HALF + from,
                           (size_t)count * sizeof(float));
                kern_shift(devices[d]->stream, (float *)buffer.data + to,
                           (float *)buffer.data + from, (size_t)count * sizeof(float),
                           HALF * sizeof(float), ITEMS);
                assert_int_equal(kern_download(devices[d], got, buffer.data, sizeof got), KERN_OK);
                assert_memory_equal(got, expected, sizeof got);
                kern_buffer_destroy(&buffer);
            }
}

static void test_names(void **state) {
    (void)state;
    const kern_device *device;
    assert_int_equal(kern_device_open(&device, "check"), KERN_OK);
    assert_ptr_equal(device, kern_device_check());
    assert_int_equal(kern_device_open(&device, "gpu"), KERN_ERR_CONFIG);
    assert_null(device);
    assert_non_null(strstr(kern_error(), "'gpu'"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strays_are_found),
        cmocka_unit_test(test_results_come_late),
        cmocka_unit_test(test_recordings),
        cmocka_unit_test(test_shift),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
