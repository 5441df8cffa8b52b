/* Command lines read by launch/arguments.h: every form of an option, every way to get it wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "launch/arguments.h"

enum { MOST_WORDS = 12 };

typedef struct {
    bool json;
    const char *csv, *words;
    launch_texts text;
    int64_t windows;
    uint64_t seed;
    double limit;
    int argc;
    char *argv[MOST_WORDS];
    char line[256];
} parsed;

/* Splits `line` at spaces and parses it as the command "eval" with at least one word. */
static int parse(parsed *result, const char *line) {
    *result = (parsed){.csv = "none", .windows = 24, .limit = 0.5};
    const launch_option options[] = {
        {"csv", LAUNCH_TEXT, &result->csv, "FILE", "the table as CSV"},
        {"words", LAUNCH_TEXT, &result->words, "TEXT", "no path"},
        {"windows", LAUNCH_COUNT, &result->windows, "N", "windows of each document"},
        {"seed", LAUNCH_SEED, &result->seed, "N", "a seed"},
        {"limit", LAUNCH_REAL, &result->limit, "X", "a limit"},
        {"text", LAUNCH_TEXTS, &result->text, "FILE", "one more text"},
        LAUNCH_JSON(&result->json),
        {NULL, LAUNCH_FLAG, NULL, NULL, NULL},
    };
    const launch_syntax syntax = {"eval",  "RUN...",         "Evaluates.",
                                  options, .least_words = 1, .most_words = 3};
    assert_true(strlen(line) < sizeof result->line);
    strcpy(result->line, line);
    for (char *word = strtok(result->line, " "); word; word = strtok(NULL, " ")) {
        assert_true(result->argc < MOST_WORDS);
        result->argv[result->argc++] = word;
    }
    return launch_parse(&syntax, &result->argc, result->argv);
}

static void test_defaults_stay(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(parse(&got, "eval run"), -1);
    assert_false(got.json);
    assert_string_equal(got.csv, "none");
    assert_int_equal(got.windows, 24);
    assert_true(got.limit == 0.5);
    assert_int_equal(got.argc, 2);
    assert_string_equal(got.argv[1], "run");
}

static void test_forms_and_places(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(parse(&got, "eval --csv=a=b one --windows 7 two --limit -1e-3 --json three"),
                     -1);
    assert_true(got.json);
    assert_string_equal(got.csv, "a=b");
    assert_int_equal(got.windows, 7);
    assert_true(got.limit == -1e-3);
    assert_int_equal(got.argc, 4);
    assert_string_equal(got.argv[0], "eval");
    assert_string_equal(got.argv[1], "one");
    assert_string_equal(got.argv[2], "two");
    assert_string_equal(got.argv[3], "three");
}

static void test_last_counts_and_dashes_end(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(parse(&got, "eval --windows 1 --windows=9223372036854775807 -- --json -"), -1);
    assert_int_equal(got.windows, INT64_MAX);
    assert_false(got.json);
    assert_int_equal(got.argc, 3);
    assert_string_equal(got.argv[1], "--json");
    assert_string_equal(got.argv[2], "-");
}

static void test_seeds(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(parse(&got, "eval run --seed 18446744073709551615"), -1);
    assert_true(got.seed == UINT64_MAX);
    assert_int_equal(parse(&got, "eval run --seed=9223372036854775808"), -1);
    assert_true(got.seed == UINT64_C(9223372036854775808));
    assert_int_equal(parse(&got, "eval run"), -1);
    assert_true(got.seed == 0);
}

/* Shells leave "~/x" behind = as it is; what is no path stays so. */
static void test_home(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    assert_int_equal(parse(&got, "eval run --csv=~/x --text=~/y --text=~ --text=a~/b"), -1);
    assert_string_equal(got.csv, "/h/x");
    assert_string_equal(got.text.item[0], "/h/y");
    assert_string_equal(got.text.item[1], "/h");
    assert_string_equal(got.text.item[2], "a~/b");
    free(got.text.item);
    assert_int_equal(parse(&got, "eval run --csv ~/x --words=~/x"), -1);
    assert_string_equal(got.csv, "~/x"); /* the shell has had its chance */
    assert_string_equal(got.words, "~/x");
}

/* Options of a configuration are set without dashes, where there is one. */
static void test_options_of_a_configuration(void **state) {
    (void)state;
    char plan[] = "plan", word[64];
    int64_t steps = 0; /* an option of the command's own that the name is near to */
    const launch_option options[] = {{"steps", LAUNCH_COUNT, &steps, "N", "steps"}, {0}};
    const launch_syntax syntax = {"plan", "CONFIG [key=value...]", "Plans.", options, 1, -1};
    const struct {
        const char *word, *part;
    } cases[] = {{"--train.steps=3", "no option --train.steps; did you mean train.steps=3?"},
                 {"--train.steps", "did you mean train.steps=7?"},
                 {"--train.stesp=3", "did you mean train.steps=3?"},
                 {"--learning_rate=1", "did you mean train.lr=1?"},
                 {"--hepl", "did you mean --help?"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char seven[] = "7";
        char *words[] = {plan, word, seven, NULL};
        int count = 3;
        strcpy(word, cases[i].word);
        assert_int_equal(launch_parse(&syntax, &count, words), 2);
        if (!strstr(kern_error(), cases[i].part)) fail_msg("%s", kern_error());
    }
}

static void test_texts_add_up(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(parse(&got, "eval --text a run --text=- --text b"), -1);
    assert_int_equal(got.argc, 2);
    assert_int_equal(got.text.count, 3);
    assert_string_equal(got.text.item[0], "a");
    assert_string_equal(got.text.item[1], "-");
    assert_string_equal(got.text.item[2], "b");
    free(got.text.item);
}

static void test_help_stops(void **state) {
    (void)state;
    parsed got;
    assert_int_equal(parse(&got, "eval --help"), 0);
    assert_int_equal(parse(&got, "eval -h"), 0);
}

static void refused(const char *line, const char *reason) {
    parsed got;
    assert_int_equal(parse(&got, line), 2);
    if (!strstr(kern_error(), reason)) fail_msg("'%s': '%s'", line, kern_error());
}

static void test_refusals_name_the_reason(void **state) {
    (void)state;
    refused("eval", "something is missing");
    refused("eval a b c d", "'d' is one word too many");
    refused("eval a --window 3", "did you mean --windows?");
    refused("eval a --win 3", "did you mean --windows?");
    refused("eval a -windows 3", "did you mean --windows?");
    refused("eval a --max-windows 3", "did you mean --windows?");
    refused("eval a --train.steps=3", "no option --train.steps; ttt eval --help lists them");
    refused("eval a --seed -1", "from 0 to 18446744073709551615, not '-1'");
    refused("eval a --seed 18446744073709551616", "not '18446744073709551616'");
    refused("eval a --seed=", "not ''");
    refused("eval a --qqqqqq", "ttt eval --help lists them");
    refused("eval a --windows", "--windows needs a value");
    refused("eval a --csv --json", "--csv needs a value");
    refused("eval a --windows -1", "not '-1'");
    refused("eval a --windows 1.5", "not '1.5'");
    refused("eval a --windows=", "not ''");
    refused("eval a --windows 9223372036854775808", "not '9223372036854775808'");
    refused("eval a --limit nan", "not 'nan'");
    refused("eval a --limit 1x", "not '1x'");
    refused("eval a --json=1", "--json takes no value");
    refused("eval a -n 1", "two dashes");
    refused("eval a --a-name-that-is-longer-than-any-option-will-ever-be-so-it-cannot-be=1",
            "no option");
}

static void test_report_codes(void **state) {
    (void)state;
    assert_int_equal(launch_report("eval", KERN_OK), 0);
    assert_int_equal(launch_report("eval", kern_fail(KERN_ERR_USAGE, "wrong word")), 2);
    assert_int_equal(launch_report("eval", kern_fail(KERN_ERR_FILE, "no such file")), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_stay),
        cmocka_unit_test(test_forms_and_places),
        cmocka_unit_test(test_last_counts_and_dashes_end),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_home),
        cmocka_unit_test(test_options_of_a_configuration),
        cmocka_unit_test(test_texts_add_up),
        cmocka_unit_test(test_help_stops),
        cmocka_unit_test(test_refusals_name_the_reason),
        cmocka_unit_test(test_report_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
