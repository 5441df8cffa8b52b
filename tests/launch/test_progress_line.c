/* What is told of long work where stderr is no terminal, as in a log. */
#include "launch/progress_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What `work` writes to stderr. */
static void collect(char *said, size_t bytes, void (*work)(void)) {
    FILE *file = tmpfile();
    int stderr_before = dup(STDERR_FILENO);
    assert_non_null(file);
    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    work();
    fflush(stderr);
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    rewind(file);
    said[fread(said, 1, bytes - 1, file)] = 0;
    fclose(file);
}

/* Two rounds on one line; the end of each comes several times, as where units are rounded. */
static void two_rounds(void) {
    launch_progress_line line = {.label = "work", .unit = "MB", .began = kern_seconds()};
    for (int round = 0; round < 2; round++) {
        for (int64_t done = 1; done <= 5; done++) launch_progress_show(&line, done, 5);
        for (int repeat = 0; repeat < 20; repeat++) launch_progress_show(&line, 5, 5);
    }
    launch_progress_clear(&line);
}

static void test_the_end_is_told_once(void **state) {
    (void)state;
    char said[4096];
    collect(said, sizeof said, two_rounds);
    assert_string_equal(said, "work: 1/5 MB\n"
                              "work: 5/5 MB  0 s left\n"
                              "work: 5/5 MB  0 s left\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_end_is_told_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
