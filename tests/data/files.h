/* What tests with files share: a folder that disappears, whole files in memory, forked children. */
#ifndef TESTS_DATA_FILES_H
#define TESTS_DATA_FILES_H

#include "kernels/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

/* A path in the test's folder, good to the end of the test program. */
static inline const char *in_folder(const char *name) {
    static char paths[64][256];
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int i = 0;
    while (i < 63 && *paths[i] && strcmp(paths[i], path)) i++;
    assert_true(i < 63);
    memcpy(paths[i], path, sizeof path);
    return paths[i];
}

static inline int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/ttt-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The file's bytes and a zero behind them; free() them. */
static inline unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = 0;
    fclose(file);
    return bytes;
}

static inline bool exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

/* The call failed with that status and said all of these words (the last is NULL). */
static inline void assert_failure(kern_status status, kern_status expected, ...) {
    va_list words;
    va_start(words, expected);
    if (status != expected) fail_msg("status %d, expected %d: %s", status, expected, kern_error());
    for (const char *word; (word = va_arg(words, const char *));)
        if (!strstr(kern_error(), word)) fail_msg("'%s' is not in: %s", word, kern_error());
    va_end(words);
}

static inline void assert_ok(kern_status status) {
    if (status != KERN_OK) fail_msg("failed: %s", kern_error());
}

/* splitmix64: numbers that any run repeats. */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Runs `work` in a child whose files may not grow beyond `bytes`; its exit code. */
static inline int run_with_file_limit(int (*work)(void), rlim_t bytes) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {bytes, bytes};
        signal(SIGXFSZ, SIG_IGN);
        _exit(setrlimit(RLIMIT_FSIZE, &limit) ? 99 : work());
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

#endif
