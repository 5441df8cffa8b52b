#include "scratch.h"

#include <limits.h>
#include <time.h>

#include "tests/train/pseudo_terminal.h"
#include "train/progress.h"
#include "train/terminal.h"

static void check(const train_progress_line *line, const char *expected) {
    char text[256];
    train_progress_format(text, sizeof text, line, INT_MAX);
    assert_string_equal(text, expected);
}

static void formats(void **state) {
    (void)state;
    train_progress_line line = {.step = 120,
                                .total_steps = 400,
                                .loss = 2.34561,
                                .tokens_per_second = 12345,
                                .peak_fraction = 0.614,
                                .seconds_left = 200};
    check(&line, "step 120/400  loss 2.3456  12.3k tokens/s  61 % of peak  3m 20s left");
    line.tokens_per_second = 987.4;
    line.peak_fraction = -1;
    line.seconds_left = 59.4;
    check(&line, "step 120/400  loss 2.3456  987 tokens/s  59s left");
    line.tokens_per_second = 1.5e6;
    line.seconds_left = 3725;
    check(&line, "step 120/400  loss 2.3456  1.50M tokens/s  1h 02m left");
    line.seconds_left = 3 * 86400.0 + 5 * 3600;
    check(&line, "step 120/400  loss 2.3456  1.50M tokens/s  3d 05h left");
    line.seconds_left = -1;
    check(&line, "step 120/400  loss 2.3456  1.50M tokens/s");
    line.seconds_left = 1e300;
    check(&line, "step 120/400  loss 2.3456  1.50M tokens/s");
}

/* Not a terminal: the first and the last step are printed, those between only after `every`. */
static void file_gets_few_lines(void **state) {
    (void)state;
    char *path = train_text("%s/log", scratch);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    train_progress *progress = train_progress_create(out, 0, 50, 1000);
    for (int64_t step = 1; step <= 50; step++) train_progress_show(progress, step, 1, 10, 0.5);
    char *text =
        slurp(NULL, path); /* the last step is shown before whatever comes after the loop */
    assert_non_null(strstr(text, "\nstep 50/50"));
    free(text);
    train_progress_destroy(progress);
    text = slurp(NULL, path);
    char *second = strchr(text, '\n') + 1;
    assert_memory_equal(text, "step 1/50  loss 1.0000", 22);
    assert_memory_equal(second, "step 50/50  loss 1.0000  10 tokens/s  50 % of peak  0s left\n",
                        60);
    assert_int_equal(strchr(second, '\n')[1], 0);
    free(text);

    /* A run that stops early shows where. */
    assert_non_null(out = freopen(path, "w", out));
    progress = train_progress_create(out, 10, 50, 1000);
    train_progress_show(progress, 11, 1, 10, -1);
    train_progress_show(progress, 12, 1, 10, -1);
    train_progress_destroy(progress);
    text = slurp(NULL, path);
    assert_non_null(strstr(text, "\nstep 12/50"));
    fclose(out);
    free(text);
    free(path);
}

static void terminal_gets_one_line(void **state) {
    (void)state;
    char text[1024];
    pseudo_terminal terminal = open_terminal(0);
    double began = kern_seconds();
    train_progress *progress = train_progress_create(terminal.out, 0, 4, 1000);
    train_progress_show(progress, 1, 1, 10, -1);
    train_progress_show(progress, 2, 1, 10, -1);
    bool quick = kern_seconds() - began < 0.1; /* at most ten lines a second */
    nanosleep(&(struct timespec){0, 110000000}, NULL);
    train_progress_show(progress, 3, 1, 10, -1);
    train_progress_show(progress, 4, 1, 10, -1);
    train_progress_clear(progress);
    train_progress_destroy(progress);
    read_terminal(text, sizeof text, terminal);
    assert_memory_equal(text, "\rstep 1/4", 9);
    if (quick) assert_null(strstr(text, "step 2/4"));
    assert_non_null(strstr(text, "\rstep 3/4"));
    assert_non_null(strstr(text, "\rstep 4/4"));
    char *newline = strchr(text, '\n');
    assert_non_null(newline);
    assert_int_equal(newline[1], 0);
}

/* Where there is no room for all, the least needed goes first. */
static void shortened(void **state) {
    (void)state;
    static const train_progress_line line = {.step = 120,
                                             .total_steps = 400,
                                             .loss = 2.34561,
                                             .tokens_per_second = 12345,
                                             .peak_fraction = 0.614,
                                             .seconds_left = 200};
    static const struct {
        int room;
        const char *expected;
    } cases[] = {
        {69, "step 120/400  loss 2.3456  12.3k tokens/s  61 % of peak  3m 20s left"},
        {68, "step 120/400  loss 2.3456  12.3k tokens/s  61 % of peak  3m 20s left"},
        {67, "step 120/400  loss 2.3456  12.3k tokens/s  3m 20s left"},
        {54, "step 120/400  loss 2.3456  12.3k tokens/s  3m 20s left"},
        {53, "step 120/400  loss 2.3456  3m 20s left"},
        {37, "step 120/400  loss 2.3456"},
        {24, "step 120/400  loss 2.345"},
        {1, "s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        train_progress_format(text, sizeof text, &line, cases[i].room);
        assert_string_equal(text, cases[i].expected);
    }
}

/* The width is that of the moment, else of COLUMNS, else 80; a column less is filled. */
static void width_of_the_terminal(void **state) {
    (void)state;
    char text[1024];
    pseudo_terminal terminal = open_terminal(40);
    assert_int_equal(setenv("COLUMNS", "25", 1), 0);
    assert_int_equal(train_terminal_room(terminal.out), 39);
    train_progress *progress = train_progress_create(terminal.out, 0, 2, 1000);
    train_progress_show(progress, 1, 1, 10, 0.5);
    ioctl(fileno(terminal.out), TIOCSWINSZ, &(struct winsize){.ws_col = 20});
    train_progress_show(progress, 2, 1, 10, 0.5);
    train_progress_destroy(progress);
    ioctl(fileno(terminal.out), TIOCSWINSZ, &(struct winsize){.ws_col = 0});
    assert_int_equal(train_terminal_room(terminal.out), 24);
    assert_int_equal(setenv("COLUMNS", "wide", 1), 0);
    assert_int_equal(train_terminal_room(terminal.out), 79);
    assert_int_equal(unsetenv("COLUMNS"), 0);
    assert_int_equal(train_terminal_room(terminal.out), 79);
    read_terminal(text, sizeof text, terminal);
    assert_string_equal(text, "\rstep 1/2  loss 1.0000  0s left\033[K"
                              "\rstep 2/2  loss 1.00\033[K\r\n");
    FILE *file = tmpfile();
    assert_int_equal(train_terminal_room(file), INT_MAX);
    fclose(file);
}

/* Names in one line, as a shell reads them: bash gives them back. */
static void words_of_commands(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"runs/a-1", "runs/a-1"},
                                           {"", "''"},
                                           {"my run", "'my run'"},
                                           {"it's $x", "'it'\\''s $x'"},
                                           {"L\303\244ufe", "'L\303\244ufe'"},
                                           {"a\n'\\b\033", "$'a\\n\\'\\\\b\\x1b'"},
                                           {"\xff", "$'\\xff'"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *word = train_terminal_word(cases[i][0]);
        assert_string_equal(word, cases[i][1]);
        free(word);
    }
}

/* Names in one line, and how wide they are. */
static void plain_text(void **state) {
    (void)state;
    static const struct {
        const char *text, *plain;
        int columns;
    } cases[] = {
        {"a book", "a book", 6},
        {"a\nb\tc\r", "a\\nb\\tc\\r", 9},
        {"\033[2J\x7f", "\\x1b[2J\\x7f", 11},
        {"L\303\244ufe", "L\303\244ufe", 5},
        {"\302\205\342\200\250\342\200\256", "\\xc2\\x85\\xe2\\x80\\xa8\\xe2\\x80\\xae", 32},
        {"\xff\xc3", "\\xff\\xc3", 8},
        {"\346\234\254 \360\237\223\226", "\346\234\254 \360\237\223\226", 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *plain = train_terminal_plain(cases[i].text);
        assert_string_equal(plain, cases[i].plain);
        assert_int_equal(train_terminal_columns(plain), cases[i].columns);
        free(plain);
    }
    char text[] = "a\346\234\254b";
    assert_string_equal(train_terminal_tail(text, 4), text);
    assert_string_equal(train_terminal_tail(text, 3), "\346\234\254b");
    assert_string_equal(train_terminal_tail(text, 2), "b");
    assert_string_equal(train_terminal_tail(text, 0), "");
    assert_string_equal(train_terminal_cut(text, 3), "a\346\234\254");
    assert_string_equal(train_terminal_cut(text, 2), "a");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        SCRATCH_TEST(file_gets_few_lines),
        cmocka_unit_test(terminal_gets_one_line),
        cmocka_unit_test(shortened),
        cmocka_unit_test(width_of_the_terminal),
        cmocka_unit_test(words_of_commands),
        cmocka_unit_test(plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
