/* What a command writes destroys nothing that it should not. */
#include "launch/outputs.h"
#include "tests/data/files.h"

#include <fcntl.h>

/* Reads and writes begin as what the test adds; NULL: no such path. */
static kern_status check(const char *write, launch_file_kind kind, const char *read, bool force) {
    launch_outputs outputs = {0};
    launch_outputs_read(&outputs, read);
    launch_outputs_write(&outputs, kind, write);
    kern_status status = launch_outputs_check(&outputs, force);
    launch_outputs_clear(&outputs);
    return status;
}

static void put(const char *name, const char *text) {
    write_file(in_folder(name), text, strlen(text));
}

static void assert_holds(const char *name, const char *text) {
    size_t size;
    unsigned char *bytes = read_file(in_folder(name), &size);
    assert_string_equal((char *)bytes, text);
    free(bytes);
}

static void assert_refused(const char *path, kern_status wanted, const char *word) {
    assert_failure(check(path, LAUNCH_EVAL_CSV, NULL, false), wanted, word, NULL);
    const char *once = strstr(kern_error(), path);
    assert_non_null(once);
    assert_null(strstr(once + 1, path));
}

static void test_places(void **state) {
    (void)state;
    assert_ok(check(NULL, LAUNCH_EVAL_CSV, NULL, false));
    assert_failure(check("", LAUNCH_EVAL_CSV, NULL, false), KERN_ERR_USAGE, "empty name", NULL);
    assert_refused("/dev/null", KERN_ERR_FILE, "is a device");
    assert_refused(folder, KERN_ERR_FILE, "is a folder");
    assert_refused(in_folder("none/x.csv"), KERN_ERR_FILE, "cannot be written: No such file");
    assert_ok(check(in_folder("x.csv"), LAUNCH_EVAL_CSV, NULL, false));
    assert_false(exists(in_folder("x.csv")));
    put("x.csv", "model,bin_start,bin_end\n");
    assert_ok(check(in_folder("x.csv"), LAUNCH_EVAL_CSV, NULL, false));
    assert_holds("x.csv", "model,bin_start,bin_end\n");
    assert_false(exists(in_folder("x.csv.partial")));
    assert_int_equal(symlink("circle", in_folder("circle")), 0);
    assert_refused(in_folder("circle"), KERN_ERR_FILE, "oo many");
}

/* The file that is read, by whatever name: its own, a link's, a hard link's; and the name under
 * which the output grows. */
static void test_what_is_read(void **state) {
    (void)state;
    put("in.txt", "read");
    assert_int_equal(symlink("in.txt", in_folder("soft")), 0);
    assert_int_equal(link(in_folder("in.txt"), in_folder("hard")), 0);
    assert_int_equal(symlink("gone.txt", in_folder("dangling")), 0);
    put("y.h5.partial", "read");
    static const char *const pairs[][2] = {
        {"in.txt", "in.txt"}, {"soft", "in.txt"}, {"hard", "in.txt"},       {"in.txt", "soft"},
        {"hard", "soft"},     {"soft", "hard"},   {"y.h5", "y.h5.partial"}, {"./in.txt", "in.txt"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *written = in_folder(pairs[i][0]), *read = in_folder(pairs[i][1]);
        for (int force = 0; force < 2; force++)
            assert_failure(check(written, LAUNCH_SHARD, read, force), KERN_ERR_USAGE, written,
                           "would destroy", read, NULL);
    }
    assert_holds("in.txt", "read");
    assert_holds("y.h5.partial", "read");
    /* The standard input is a file, too. */
    int kept = dup(0), opened = open(in_folder("in.txt"), O_RDONLY);
    assert_true(dup2(opened, 0) == 0);
    kern_status status = check(in_folder("in.txt"), LAUNCH_SHARD, "-", true);
    assert_true(dup2(kept, 0) == 0);
    close(kept), close(opened);
    assert_failure(status, KERN_ERR_USAGE, "would destroy -", NULL);
    assert_ok(check(in_folder("other.h5"), LAUNCH_SHARD, in_folder("in.txt"), false));
    assert_ok(check(in_folder("dangling"), LAUNCH_SHARD, in_folder("in.txt"), false));
    assert_failure(check(in_folder("dangling"), LAUNCH_SHARD, in_folder("gone.txt"), false),
                   KERN_ERR_USAGE, "would destroy", NULL);
    /* Any of what is read, and any of what is written. */
    launch_outputs several = {0};
    launch_outputs_read(&several, in_folder("y.h5.partial"));
    launch_outputs_read(&several, in_folder("in.txt"));
    launch_outputs_write(&several, LAUNCH_SHARD, in_folder("other.h5"));
    launch_outputs_write(&several, LAUNCH_SHARD, in_folder("in.txt"));
    assert_failure(launch_outputs_check(&several, true), KERN_ERR_USAGE, "would destroy",
                   in_folder("in.txt"), NULL);
    launch_outputs_clear(&several);
}

static void test_other_kinds(void **state) {
    (void)state;
    static const struct {
        launch_file_kind kind;
        const char *own;
    } cases[] = {{LAUNCH_SHARD, "TTTSHARD..."},
                 {LAUNCH_INDEX, "{\n \"format_version\": 1,"},
                 {LAUNCH_EVAL_CSV, "model,bin_start,bin_end"},
                 {LAUNCH_NIAH_CSV, "model,task,length"},
                 {LAUNCH_PICTURE, "\x89PNG\r\n\x1a\n"},
                 {LAUNCH_SAMPLES, "{\"index\":0,"},
                 {LAUNCH_STATE, "12345678{\"__metadata__\":{\"format\":\"ttt-state-1\""},
                 {LAUNCH_PAGE, "<!doctype html>\n<html lang=en><meta"},
                 {LAUNCH_PAGE_CSV, "section,figure,of"},
                 {LAUNCH_SAVED, "{\n \"tokenizer\": \"byte\""},
                 {LAUNCH_MEASURE, "{\"command\":\"ttt eval\""}};
    enum { CASES = sizeof cases / sizeof *cases };
    assert_int_equal(CASES, LAUNCH_FILE_KINDS);
    for (int there = 0; there < CASES; there++)
        for (int wanted = 0; wanted < CASES; wanted++) {
            put("kind", cases[there].own);
            kern_status status = check(in_folder("kind"), cases[wanted].kind, NULL, false);
            if (there == wanted)
                assert_ok(status);
            else
                assert_failure(status, KERN_ERR_USAGE, "kind: is there and is not", "--force",
                               NULL);
            assert_ok(check(in_folder("kind"), cases[wanted].kind, NULL, true));
            assert_holds("kind", cases[there].own);
        }
    put("kind", "%PDF-1.4");
    assert_failure(check(in_folder("kind"), LAUNCH_SHARD, NULL, false), KERN_ERR_USAGE,
                   "is not a shard (it is a PDF file)", NULL);
    put("kind", "");
    assert_ok(check(in_folder("kind"), LAUNCH_SHARD, NULL, false));
}

static void test_parts_of_runs(void **state) {
    (void)state;
    static const char *const folders[] = {"run",        "run/checkpoints", "run/checkpoints/step-1",
                                          "run/events", "run/eval",        "run/mine",
                                          "alone"};
    for (int i = 0; i < 7; i++) assert_int_equal(mkdir(in_folder(folders[i]), 0777), 0);
    static const char *const files[] = {"run/config.yaml",  "run/metrics.jsonl",
                                        "run/lock",         "run/eval/step-1.json",
                                        "run/mine/x.csv",   "run/checkpoints/step-1/state.json",
                                        "alone/state.json", "alone/model.safetensors"};
    for (int i = 0; i < 8; i++) put(files[i], "model,bin_start,");
    assert_int_equal(symlink("run/metrics.jsonl", in_folder("metrics")), 0);
    assert_int_equal(symlink("run", in_folder("way")), 0);
    static const char *const parts[] = {"run/config.yaml",
                                        "run/metrics.jsonl",
                                        "run/lock",
                                        "run/eval/step-1.json",
                                        "run/checkpoints/step-1/state.json",
                                        "run/checkpoints/new.csv",
                                        "run/events/new.csv",
                                        "alone/state.json",
                                        "alone/new.csv",
                                        "metrics",
                                        "way/config.yaml",
                                        "way/events/x"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_failure(check(in_folder(parts[i]), LAUNCH_EVAL_CSV, NULL, true), KERN_ERR_USAGE,
                       in_folder(parts[i]), "belongs to the run", NULL);
    static const char *const free_places[] = {"run/new.csv", "run/mine/x.csv", "run/eval/new.csv"};
    for (int i = 0; i < 3; i++)
        assert_ok(check(in_folder(free_places[i]), LAUNCH_EVAL_CSV, NULL, false));
    assert_ok(check(in_folder("run/eval/step-1.json"), LAUNCH_SAVED, NULL, true));
    assert_failure(launch_outputs_check_folder(in_folder("run/checkpoints/a/b")), KERN_ERR_USAGE,
                   "belongs to the run", NULL);
    assert_ok(launch_outputs_check_folder(in_folder("run/mine/finer")));
    assert_ok(launch_outputs_check_folder(in_folder("new/run")));
}

static void test_two_outputs(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"two", "two"}, {"two", "two.partial"}, {"two.partial", "two"}, {"two-link", "two"}};
    assert_int_equal(symlink("two", in_folder("two-link")), 0);
    for (int i = 0; i < 4; i++) {
        launch_outputs outputs = {0};
        launch_outputs_write(&outputs, LAUNCH_EVAL_CSV, in_folder(pairs[i][0]));
        launch_outputs_write(&outputs, LAUNCH_PICTURE, in_folder(pairs[i][1]));
        assert_failure(launch_outputs_check(&outputs, true), KERN_ERR_USAGE, "are one file", NULL);
        launch_outputs_clear(&outputs);
    }
    launch_outputs apart = {0};
    launch_outputs_write(&apart, LAUNCH_EVAL_CSV, in_folder("one.csv"));
    launch_outputs_write(&apart, LAUNCH_PICTURE, in_folder("other.png"));
    assert_ok(launch_outputs_check(&apart, false));
    launch_outputs_clear(&apart);
    fflush(stdout);
    int kept = dup(1), opened = open(in_folder("said"), O_WRONLY | O_CREAT, 0600);
    assert_true(dup2(opened, 1) == 1);
    kern_status status = check(in_folder("said"), LAUNCH_EVAL_CSV, NULL, true);
    assert_true(dup2(kept, 1) == 1);
    close(kept), close(opened);
    assert_failure(status, KERN_ERR_USAGE, "standard output", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),      cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_other_kinds), cmocka_unit_test(test_parts_of_runs),
        cmocka_unit_test(test_two_outputs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
