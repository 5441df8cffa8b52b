/* A directory of its own for each test, and whole files in one call. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/files.h"

static char scratch[64];

static inline int make_scratch(void **state) {
    (void)state;
    strcpy(scratch, "/tmp/ttt-test-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int remove_scratch(void **state) {
    (void)state;
    return train_remove(scratch) == KERN_OK ? 0 : -1;
}

#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        kern_status got_status = (call);                                                           \
        if (got_status != KERN_OK) fail_msg("%s: %s", #call, kern_error());                        \
    } while (0)

/* That the last failure's message contains `part`. */
#define assert_says(part)                                                                          \
    do {                                                                                           \
        if (!strstr(kern_error(), part)) fail_msg("'%s' not in: %s", part, kern_error());          \
    } while (0)

/* The whole file; the caller frees it. */
static inline char *slurp(size_t *count, const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    rewind(file);
    char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    bytes[size] = 0;
    fclose(file);
    if (count) *count = (size_t)size;
    return bytes;
}

static inline void spill(const char *path, const void *bytes, size_t count) {
    unlink(path); /* a file that is truncated and rewritten is flushed by some file systems: slow */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* A seeded sequence of numbers, the same on every machine. */
static inline uint32_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
