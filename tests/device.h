/* The device that a test runs on: CTest runs those of train and infer a second time with
 * TTT_TEST_DEVICE=check, those of kernels with cuda, too. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include <stdio.h>
#include <stdlib.h>

#include "kernels/device.h"

static inline const char *test_device_name(void) {
    const char *name = getenv("TTT_TEST_DEVICE");
    return name ? name : "cpu";
}

static inline const kern_device *test_device(void) {
    const kern_device *device;
    if (kern_device_open(&device, test_device_name()) != KERN_OK) {
        fprintf(stderr, "%s\n", kern_error());
        abort();
    }
    return device;
}

/* A buffer of the device with these bytes in it. */
static inline kern_buffer test_on_device(const void *bytes, size_t count) {
    kern_buffer buffer = {0};
    ASSERT(kern_buffer_create(&buffer, test_device(), count, "a test's numbers") == KERN_OK);
    kern_upload(buffer.device, buffer.data, bytes, count);
    return buffer;
}

static inline void test_from_device(void *to, const void *from, size_t count) {
    ASSERT(kern_download(test_device(), to, from, count) == KERN_OK);
}

#endif
