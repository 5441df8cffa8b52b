#include "scratch.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "train/metrics.h"

static char *path_of(const char *name) {
    return train_text("%s/%s", scratch, name);
}

/* The steps after `done`, up to `last`. */
static void write_steps(const char *path, int64_t done, int64_t last) {
    train_metrics *metrics;
    assert_ok(train_metrics_open(&metrics, path, done));
    for (int64_t step = done + 1; step <= last; step++) {
        const train_value values[] = {{"loss", 6.0 / (double)step, false},
                                      {"tokens", 4096.0 * (double)step, true}};
        assert_ok(train_metrics_write(metrics, step, 2, values));
    }
    assert_ok(train_metrics_sync(metrics));
    train_metrics_close(metrics);
}

static void lines_read_back_exactly(void **state) {
    (void)state;
    train_metrics *metrics;
    char *path = path_of("metrics.jsonl");
    const double numbers[] = {0.1, 1.0 / 3, 1e-300, 5e17, 3.0, -0.0};
    train_value values[8];
    for (int i = 0; i < 6; i++) values[i] = (train_value){"number", numbers[i], false};
    assert_ok(train_metrics_open(&metrics, path, 0));
    for (int i = 0; i < 6; i++) assert_ok(train_metrics_write(metrics, i, 1, &values[i]));
    values[0] = (train_value){"whole", 9007199254740992.0, true};
    values[1] = (train_value){"nothing", NAN, false};
    values[2] = (train_value){"endless", INFINITY, true};
    assert_ok(train_metrics_write(metrics, 6, 3, values));

    /* Flushed per line: everything is there while the file is still open. */
    char *text = slurp(NULL, path), *line = text;
    for (int i = 0; i < 6; i++) {
        json_t *object = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
        assert_int_equal(json_integer_value(json_object_get(object, "step")), i);
        assert_true(json_number_value(json_object_get(object, "number")) == numbers[i]);
        json_decref(object);
        line = strchr(line, '\n') + 1;
    }
    assert_string_equal(line, "{\"step\": 6, \"whole\": 9007199254740992, \"nothing\": null, "
                              "\"endless\": null}\n");
    train_metrics_close(metrics);
    free(text);
    free(path);
}

/* Whatever step the process died in and wherever its last line was torn, the file of the resumed
 * run is that of an uninterrupted one. */
static void resumed_file_equals_uninterrupted(void **state) {
    (void)state;
    char *whole = path_of("whole.jsonl"), *resumed = path_of("resumed.jsonl");
    write_steps(whole, 0, 30);
    size_t count, length;
    char *expected = slurp(&count, whole);
    uint64_t seed = 7;
    for (int trial = 0; trial < 40; trial++) {
        int64_t done = next_random(&seed) % 20;
        size_t cut = next_random(&seed) % (count + 1);
        /* At least the lines of the steps that the checkpoint covers are there: they were synced.
         */
        char *covered = expected;
        for (int64_t i = 0; i < done; i++) covered = strchr(covered, '\n') + 1;
        if (cut < (size_t)(covered - expected)) cut = (size_t)(covered - expected);
        spill(resumed, expected, cut);
        write_steps(resumed, done, 30);
        char *got = slurp(&length, resumed);
        assert_int_equal(length, count);
        assert_memory_equal(got, expected, count);
        free(got);
    }
    char **names;
    int64_t files;
    assert_ok(train_list(&names, &files, scratch));
    assert_int_equal(files, 2); /* nothing written aside is left */
    train_free_names(names, files);
    free(expected);
    free(whole);
    free(resumed);
}

static void damaged_line_in_the_middle_is_named(void **state) {
    (void)state;
    train_metrics *metrics;
    char *path = path_of("metrics.jsonl");
    static const char text[] = "{\"step\": 1}\n{\"step\": 2, \"lo\n{\"step\": 3}\n";
    spill(path, text, sizeof text - 1);
    assert_int_equal(train_metrics_open(&metrics, path, 1), KERN_ERR_DATA);
    assert_null(metrics);
    assert_says("metrics.jsonl:2");
    char *after = slurp(NULL, path);
    assert_string_equal(after, text);
    free(after);

    static const char other[] = "{\"step\": 1}\n[3]\n{\"step\": 3}\n";
    spill(path, other, sizeof other - 1);
    assert_int_equal(train_metrics_open(&metrics, path, 1), KERN_ERR_DATA);

    static const char last[] = "{\"step\": 1}\n\0\0\0\n"; /* a block that never reached the disk */
    spill(path, last, sizeof last - 1);
    assert_ok(train_metrics_open(&metrics, path, 1));
    train_metrics_close(metrics);
    after = slurp(NULL, path);
    assert_string_equal(after, "{\"step\": 1}\n");
    free(after);
    free(path);
}

/* In a child, whose files may not grow beyond `limit` bytes: the write fails, names the file, and
 * leaves no half line. */
static void full_disk_leaves_whole_lines(void **state) {
    (void)state;
    char *path = path_of("metrics.jsonl"), *aside = path_of("left.jsonl");
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        train_metrics *metrics;
        struct rlimit limit = {100, 100};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit)) _exit(1);
        if (train_metrics_open(&metrics, path, 0) != KERN_OK) _exit(2);
        const train_value value = {"loss", 0.25, false};
        kern_status status = KERN_OK;
        for (int step = 1; step < 20 && status == KERN_OK; step++)
            status = train_metrics_write(metrics, step, 1, &value);
        bool named = strstr(kern_error(), path) != NULL;
        bool left = train_metrics_leave(metrics, aside) == KERN_OK;
        train_metrics_close(metrics);
        _exit(status == KERN_ERR_FILE && named && left ? 0 : 3);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    char *text = slurp(NULL, path);
    assert_string_equal(text, "{\"step\": 1, \"loss\": 0.25}\n{\"step\": 2, \"loss\": 0.25}\n"
                              "{\"step\": 3, \"loss\": 0.25}\n");
    free(text);

    /* The line that had no room is made up for, once. */
    for (int again = 0; again < 2; again++) {
        train_metrics *metrics;
        assert_ok(train_metrics_open(&metrics, path, 4));
        assert_ok(train_metrics_catch_up(metrics, aside, 4));
        assert_ok(train_metrics_catch_up(metrics, "nothing-was-left", 4));
        train_metrics_close(metrics);
        text = slurp(NULL, path);
        assert_string_equal(strstr(text, "{\"step\": 3"), "{\"step\": 3, \"loss\": 0.25}\n"
                                                          "{\"step\": 4, \"loss\": 0.25}\n");
        free(text);
    }
    free(aside);
    free(path);
}

static void a_value_of_a_step_is_found(void **state) {
    (void)state;
    char *path = path_of("metrics.jsonl");
    bool found = true;
    assert_ok(train_metrics_find(&found, path, 3, "loss"));
    assert_false(found);
    write_steps(path, 0, 5);
    static const struct {
        int64_t step;
        const char *name;
        bool found;
    } cases[] = {{0, "loss", false},
                 {1, "loss", true},
                 {5, "tokens", true},
                 {6, "loss", false},
                 {3, "los", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(train_metrics_find(&found, path, cases[i].step, cases[i].name));
        assert_int_equal(found, cases[i].found);
    }
    free(path);
}

/* A file numbered from 0 gets the numbers of now, its lines otherwise as they were; after that it
 * is one like any other. */
static void early_numbers_become_those_of_now(void **state) {
    (void)state;
    train_metrics *metrics;
    char *path = path_of("metrics.jsonl");
    static const char early[] = "{\"step\": 0, \"loss\": 5.5410128235816956, \"tokens\": 64}\n"
                                "{\"step\": 1, \"loss\": null, \"rate\": 1.0}\n"
                                "{\"step\": 1, \"validation_loss\": 0.10000000000000001}\n"
                                "{\"step\": 2, \"loss\": 3.5}\n{\"step\": 3, \"lo";
    spill(path, early, sizeof early - 1);
    bool found;
    assert_ok(train_metrics_find(&found, path, 2, "validation_loss"));
    assert_true(found);
    assert_ok(train_metrics_find(&found, path, 1, "validation_loss"));
    assert_false(found);
    for (int again = 0; again < 2; again++) {
        assert_ok(train_metrics_open(&metrics, path, 2));
        assert_int_equal(train_metrics_renumbered(metrics), !again);
        train_metrics_close(metrics);
        char *text = slurp(NULL, path);
        assert_string_equal(text, "{\"step\": 1, \"loss\": 5.5410128235816956, \"tokens\": 64}\n"
                                  "{\"step\": 2, \"loss\": null, \"rate\": 1.0}\n"
                                  "{\"step\": 2, \"validation_loss\": 0.10000000000000001}\n");
        free(text);
    }
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(lines_read_back_exactly),
        SCRATCH_TEST(resumed_file_equals_uninterrupted),
        SCRATCH_TEST(damaged_line_in_the_middle_is_named),
        SCRATCH_TEST(full_disk_leaves_whole_lines),
        SCRATCH_TEST(a_value_of_a_step_is_found),
        SCRATCH_TEST(early_numbers_become_those_of_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
