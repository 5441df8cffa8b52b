/* What commands print: JSON that loses nothing, lines of progress. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "launch/gnuplot.h"
#include "launch/progress_line.h"
#include "launch/report.h"
#include "tests/train/scratch.h"

static void assert_text(const char *text, const char *expected) {
    json_t *string = launch_json_text(text);
    assert_non_null(string);
    assert_string_equal(json_string_value(string), expected);
    json_decref(string);
}

static void test_json_text(void **state) {
    (void)state;
    assert_text("", "");
    assert_text("caf\xc3\xa9", "caf\xc3\xa9");
    assert_text("\xff", "\xef\xbf\xbd");
    assert_text("run\xe9/\xf0\x9f\x98\x80\xc3", "run\xef\xbf\xbd/\xf0\x9f\x98\x80\xef\xbf\xbd");
    assert_text("\xc3\xc3\xa9", "\xef\xbf\xbd\xc3\xa9");
}

static void test_json_number(void **state) {
    (void)state;
    json_t *object =
        launch_json("{s:o,s:o,s:o}", "a", launch_json_number(1.5), "b",
                    launch_json_number((double)INFINITY), "c", launch_json_number((double)NAN));
    char *text = json_dumps(object, JSON_COMPACT);
    assert_string_equal(text, "{\"a\":1.5,\"b\":null,\"c\":null}");
    free(text);
    json_decref(object);
}

static void pack_infinity(void) {
    json_decref(launch_json("{s:f}", "a", (double)INFINITY));
}
static void pack_bytes(void) {
    json_decref(launch_json("{s:s}", "a", "\xff"));
}
static void set_nothing(void) {
    launch_json_set(json_object(), "a", NULL);
}
static void add_nothing(void) {
    launch_json_add(json_array(), json_real((double)NAN));
}

/* What jansson refuses ends the program. */
static void test_json_refuses(void **state) {
    (void)state;
    static void (*const wrong[])(void) = {pack_infinity, pack_bytes, set_nothing, add_nothing};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pid_t child = fork();
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            if (!freopen("/dev/null", "w", stderr)) _exit(1);
            wrong[i]();
            _exit(0);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
    }
}

/* A picture that has no place names it once, one that is not drawn names it, too. */
static void test_picture_place(void **state) {
    (void)state;
    if (launch_gnuplot_check("pngcairo") != KERN_OK) skip();
    char path[128];
    snprintf(path, sizeof path, "%s/none/x.png", scratch);
    const char *const scripts[] = {"set terminal pngcairo\nplot x\n", "no script\n"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(launch_gnuplot_draw(path, scripts[i]), KERN_ERR_FILE);
        const char *once = strstr(kern_error(), path);
        assert_non_null(once);
        assert_null(strstr(once + 1, path));
    }
}

/* What a line says with `done` of `all` after `seconds` of work. */
static void assert_line(double seconds, int64_t done, int64_t all, const char *expected) {
    char path[128], text[128] = {0};
    snprintf(path, sizeof path, "%s/line", scratch);
    launch_progress_line line = {
        .label = "e2e", .unit = "windows", .began = kern_seconds() - seconds};
    int kept = dup(STDERR_FILENO);
    FILE *file = fopen(path, "w+");
    assert_non_null(file);
    assert_true(kept >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    launch_progress_show(&line, done, all);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    rewind(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    assert_string_equal(text, expected);
}

/* When the work ends is told once there is enough of it to tell. */
static void test_progress(void **state) {
    (void)state;
    assert_line(0.2, 1, 200, "e2e: 1/200 windows\n");
    assert_line(0.8, 100, 200, "e2e: 100/200 windows\n");
    assert_line(2.1, 10, 110, "e2e: 10/110 windows  21 s left\n");
    assert_line(100, 50, 200, "e2e: 50/200 windows  300 s left\n");
    assert_line(0.1, 200, 200, "e2e: 200/200 windows  0 s left\n");
    assert_line(5, 77, 0, "e2e: 77 windows\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_text),    cmocka_unit_test(test_json_number),
        cmocka_unit_test(test_json_refuses), SCRATCH_TEST(test_picture_place),
        SCRATCH_TEST(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
