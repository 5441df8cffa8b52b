#include "scratch.h"

#include <fcntl.h>
#include <time.h>

#include "train/progress.h"

static void check(const train_progress_line *line, const char *expected) {
    char text[256];
    train_progress_format(text, sizeof text, line);
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

/* Both ends of a pseudo-terminal; false where the machine has none (a chroot without /dev/pts). */
static bool open_terminal(int *master, int *slave) {
    *slave = -1;
    *master = posix_openpt(O_RDWR | O_NOCTTY);
    if (*master < 0) return false;
    if (!grantpt(*master) && !unlockpt(*master) && ptsname(*master))
        *slave = open(ptsname(*master), O_WRONLY | O_NOCTTY);
    if (*slave < 0) close(*master);
    return *slave >= 0;
}

static void terminal_gets_one_line(void **state) {
    (void)state;
    int master, slave;
    if (!open_terminal(&master, &slave)) {
        print_message("no pseudo-terminal here (is /dev/pts mounted?): left out\n");
        skip();
    }
    FILE *out = fdopen(slave, "w");
    assert_non_null(out);
    double began = kern_seconds();
    train_progress *progress = train_progress_create(out, 0, 4, 1000);
    train_progress_show(progress, 1, 1, 10, -1);
    train_progress_show(progress, 2, 1, 10, -1);
    bool quick = kern_seconds() - began < 0.1; /* at most ten lines a second */
    nanosleep(&(struct timespec){0, 110000000}, NULL);
    train_progress_show(progress, 3, 1, 10, -1);
    train_progress_show(progress, 4, 1, 10, -1);
    train_progress_clear(progress);
    train_progress_destroy(progress);
    fclose(out);
    char text[1024];
    size_t got = 0;
    for (ssize_t more; (more = read(master, text + got, sizeof text - 1 - got)) > 0;)
        got += (size_t)more;
    text[got] = 0;
    assert_memory_equal(text, "\rstep 1/4", 9);
    if (quick) assert_null(strstr(text, "step 2/4"));
    assert_non_null(strstr(text, "\rstep 3/4"));
    assert_non_null(strstr(text, "\rstep 4/4"));
    char *newline = strchr(text, '\n');
    assert_non_null(newline);
    assert_int_equal(newline[1], 0);
    close(master);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        SCRATCH_TEST(file_gets_few_lines),
        cmocka_unit_test(terminal_gets_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
