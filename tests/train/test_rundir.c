#include "scratch.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "train/rundir.h"

static char *run_dir(void) {
    return train_text("%s/deep/run", scratch);
}

static bool exists(const char *path) {
    struct stat info;
    return !lstat(path, &info);
}

static void new_run_has_its_places(void **state) {
    (void)state;
    train_run *run;
    char *dir = run_dir();
    assert_ok(train_run_open(&run, dir, false));
    assert_string_equal(run->dir, dir);
    assert_true(exists(run->events) && exists(run->checkpoints) && exists(run->eval));
    assert_false(exists(run->config));
    assert_non_null(strstr(run->metrics, "/deep/run/metrics.jsonl"));
    train_run_close(run);
    /* Killed before the configuration was written: nothing is lost by beginning again. */
    char *torn = train_text("%s/config.yaml.tmp", dir);
    spill(torn, "a:", 2);
    free(torn);
    assert_ok(train_run_check_new(dir));
    assert_ok(train_run_open(&run, dir, false));
    spill(run->config, "a: 1\n", 5);
    train_run_close(run);
    free(dir);
}

static void existing_run_needs_resume(void **state) {
    (void)state;
    train_run *run;
    char *dir = run_dir();
    assert_ok(train_run_open(&run, dir, false));
    spill(run->config, "a: 1\n", 5);
    train_run_close(run);
    char *advice = train_text("ttt train --resume %s`", dir);
    assert_int_equal(train_run_check_new(dir), KERN_ERR_USAGE);
    assert_says(advice);
    free(advice);
    assert_int_equal(train_run_open(&run, dir, false), KERN_ERR_USAGE);
    assert_null(run);
    assert_says("--resume");
    assert_says(dir);
    assert_ok(train_run_open(&run, dir, true));
    train_run_close(run);
    free(dir);
}

static void foreign_directory_is_refused_untouched(void **state) {
    (void)state;
    train_run *run;
    char *file = train_text("%s/thesis.txt", scratch);
    spill(file, "x", 1);
    assert_int_equal(train_run_open(&run, scratch, false), KERN_ERR_USAGE);
    assert_says("thesis.txt");
    assert_int_equal(train_run_open(&run, scratch, true), KERN_ERR_USAGE);
    assert_says("config.yaml");
    char **names;
    int64_t count;
    assert_ok(train_list(&names, &count, scratch));
    assert_int_equal(count, 1);
    train_free_names(names, count);
    assert_int_equal(train_run_open(&run, file, false), KERN_ERR_FILE);
    assert_says("thesis.txt");
    char *missing = run_dir();
    assert_ok(train_run_check_new(missing));
    assert_false(exists(missing));
    assert_int_equal(train_run_open(&run, missing, true), KERN_ERR_USAGE);
    assert_says("there is no run");
    assert_false(exists(missing));
    free(missing);
    free(file);
}

/* Two processes: the second is refused while the first lives and let in once it was killed. */
static void one_process_trains_a_run(void **state) {
    (void)state;
    char *dir = run_dir(), byte = 0;
    train_run *run;
    int ends[2], code;
    assert_ok(train_run_open(&run, dir, false));
    spill(run->config, "a: 1\n", 5);
    train_run_close(run);
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(20); /* no test that fails leaves it behind */
        byte = train_run_open(&run, dir, true) == KERN_OK ? 'y' : 'n';
        if (write(ends[1], &byte, 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(train_run_open(&run, dir, true), KERN_ERR_FILE);
    assert_null(run);
    char *process = train_text("process %ld", (long)child);
    assert_says("another process");
    assert_says(process);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_ok(train_run_open(&run, dir, true));
    train_run_close(run);
    close(ends[0]);
    close(ends[1]);
    free(process);
    free(dir);
}

static void remains_of_a_killed_writer_go(void **state) {
    (void)state;
    char *dir = run_dir();
    train_run *run;
    assert_ok(train_run_open(&run, dir, false));
    spill(run->config, "a: 1\n", 5);
    char *aside = train_text("%s/step-00000400.tmp", run->checkpoints);
    char *file = train_text("%s/model.safetensors.partial", aside);
    assert_ok(train_make_directory(aside));
    spill(file, "half", 4);
    train_run_close(run);
    assert_ok(train_run_open(&run, dir, true));
    assert_false(exists(aside));
    train_run_close(run);
    free(file);
    free(aside);
    free(dir);
}

/* One whose directory was removed does not write into the next one of that name. */
static void run_of_another_is_left(void **state) {
    (void)state;
    train_run *first, *second;
    char *dir = run_dir(), *lock = train_text("%s/lock", dir);
    assert_ok(train_run_open(&first, dir, false));
    assert_ok(train_run_check_ours(first));
    assert_false(remove(lock));
    assert_ok(train_run_check_ours(first));
    assert_ok(train_run_open(&second, dir, false));
    assert_ok(train_run_check_ours(second));
    assert_int_equal(train_run_check_ours(first), KERN_ERR_FILE);
    assert_says("another run has that name");
    assert_says(dir);
    train_run_close(first);
    train_run_close(second);
    free(lock);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(new_run_has_its_places),
        SCRATCH_TEST(existing_run_needs_resume),
        SCRATCH_TEST(foreign_directory_is_refused_untouched),
        SCRATCH_TEST(one_process_trains_a_run),
        SCRATCH_TEST(run_of_another_is_left),
        SCRATCH_TEST(remains_of_a_killed_writer_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
