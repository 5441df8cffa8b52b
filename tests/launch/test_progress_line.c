/* What is told of long work where stderr is no terminal, as in a log, and on narrow terminals. */
#include "launch/progress_line.h"
#include "tests/train/pseudo_terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* `work` with stderr going to `to`. */
static void redirect(FILE *to, void (*work)(void)) {
    int stderr_before = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(fileno(to), STDERR_FILENO);
    work();
    fflush(stderr);
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
}

/* What `work` writes to stderr. */
static void collect(char *said, size_t bytes, void (*work)(void)) {
    FILE *file = tmpfile();
    assert_non_null(file);
    redirect(file, work);
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

static void one_file(void) {
    launch_progress_line line = {
        .label = "books/L\303\244ufe\n1.txt", .unit = "MB", .began = kern_seconds() - 60};
    launch_progress_show(&line, 5, 10);
}

/* What a terminal of so many columns is shown: a label's end and, where it fits, the time. */
static void test_no_wider_than_the_terminal(void **state) {
    (void)state;
    static const struct {
        unsigned short columns;
        const char *shown;
    } cases[] = {
        {80, "books/L\303\244ufe\\n1.txt: 5/10 MB  60 s left"},
        {39, "books/L\303\244ufe\\n1.txt: 5/10 MB  60 s left"},
        {38, "...s/L\303\244ufe\\n1.txt: 5/10 MB  60 s left"},
        {27, "...txt: 5/10 MB  60 s left"},
        {26, ".../L\303\244ufe\\n1.txt: 5/10 MB"},
        {15, "...xt: 5/10 MB"},
        {13, ": 5/10 MB"},
        {5, ": 5/"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char said[256], expected[256];
        pseudo_terminal terminal = open_terminal(cases[i].columns);
        redirect(terminal.out, one_file);
        read_terminal(said, sizeof said, terminal);
        snprintf(expected, sizeof expected, "\r%s\033[K", cases[i].shown);
        assert_string_equal(said, expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_is_told_once),
        cmocka_unit_test(test_no_wider_than_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
