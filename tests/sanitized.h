/* Whether a sanitizer watches. It looks at where memory is read and written, which a few of many
 * similar cases show; what the numbers are, the plain build's tests see. */
#ifndef TESTS_SANITIZED_H
#define TESTS_SANITIZED_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* Whether a sanitizer or the check device does, which is as strict and has the CPU's bits. */
static inline bool watched(void) {
    const char *device = getenv("TTT_TEST_DEVICE");
    return SANITIZED || (device && !strcmp(device, "check"));
}

#endif
