#include "scratch.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "checkpoint_fixture.h"
#include "train/history.h"

static void save_steps(const int64_t *steps, int count) {
    model m;
    for (int i = 0; i < count; i++) {
        fill(&m, steps[i]);
        save(&m, steps[i]);
    }
}

static void damage(int64_t step, const char *name) {
    char *path = train_text("%s/step-%08lld/%s", scratch, (long long)step, name);
    size_t count;
    char *bytes = slurp(&count, path);
    bytes[count / 2] ^= 4;
    spill(path, bytes, count);
    free(bytes);
    free(path);
}

/* The steps that are there, as text. */
static void assert_there(const char *expected) {
    char text[256] = "", **names;
    int64_t count;
    assert_ok(train_list(&names, &count, scratch));
    for (int64_t i = 0; i < count; i++) {
        char *all = train_text("%s%s%s", text, i ? " " : "", names[i]);
        snprintf(text, sizeof text, "%s", all);
        free(all);
    }
    train_free_names(names, count);
    assert_string_equal(text, expected);
}

static void latest_is_the_highest_step(void **state) {
    (void)state;
    char *latest, *nowhere = train_text("%s/none", scratch);
    assert_ok(train_history_latest(&latest, scratch));
    assert_null(latest);
    assert_ok(train_history_latest(&latest, nowhere));
    assert_null(latest);
    const int64_t steps[] = {200, 300, 99999999, 100000000};
    save_steps(steps, 2);
    static const char *const others[] = {"step-00000900.tmp", "step-9999", "step-0900000000",
                                         "step-0000090x", "superseded-step-00000900"};
    for (int i = 0; i < 5; i++) {
        char *other = train_text("%s/%s", scratch, others[i]);
        assert_ok(train_make_directory(other));
        free(other);
    }
    for (int last = 1; last < 4; last += 2) {
        char *expected = step_of(steps[last]);
        assert_ok(train_history_latest(&latest, scratch));
        assert_string_equal(latest, expected);
        free(latest);
        free(expected);
        save_steps(steps, 4);
    }
    free(nowhere);
}

static void damaged_newest_is_refused_with_advice(void **state) {
    (void)state;
    const int64_t steps[] = {100, 200, 300, 400};
    char *latest, *name400 = step_of(400),
                  *resume = train_text("--resume %s/step-00000200", scratch);
    save_steps(steps, 4);
    damage(400, "optimizer.safetensors");
    damage(300, "state.json");
    assert_int_equal(train_history_latest(&latest, scratch), KERN_ERR_DATA);
    assert_null(latest);
    assert_says(name400);
    assert_says("optimizer.safetensors");
    assert_says(resume);
    damage(200, "model.safetensors");
    damage(100, "model.safetensors");
    assert_int_equal(train_history_latest(&latest, scratch), KERN_ERR_DATA);
    assert_says("no older one");

    /* A directory that was renamed by hand is not of the step that it says. */
    char *name500 = step_of(500);
    const int64_t again[] = {50};
    save_steps(again, 1);
    char *name50 = step_of(50);
    assert_int_equal(rename(name50, name500), 0);
    assert_int_equal(train_history_latest(&latest, scratch), KERN_ERR_DATA);
    assert_says("step 50");
    free(name50);
    free(name500);
    free(resume);
    free(name400);
}

/* A loop of links, which root cannot read either. */
static void what_may_not_be_read_is_not_damaged(void **state) {
    (void)state;
    save_steps((int64_t[]){1, 2}, 2);
    char *path = train_text("%s/step-00000002/state.json", scratch), *found;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("state.json", path), 0);
    assert_int_equal(train_history_latest(&found, scratch), KERN_ERR_FILE);
    assert_null(strstr(kern_error(), "damaged"));
    assert_says("cannot open");
    free(path);
}

static void a_link_to_nowhere_makes_the_directory_it_means(void **state) {
    (void)state;
    char *link = train_text("%s/link", scratch), *inner = train_text("%s/inner", link);
    struct stat info;
    assert_int_equal(symlink("meant", link), 0);
    assert_ok(train_make_directory(inner));
    assert_int_equal(lstat(link, &info) || !S_ISLNK(info.st_mode), 0);
    assert_int_equal(stat(inner, &info) || !S_ISDIR(info.st_mode), 0);
    free(inner);
    free(link);
}

static void older_ones_go_by_rule(void **state) {
    (void)state;
    const int64_t steps[] = {10, 20, 30, 40, 50, 60};
    save_steps(steps, 6);
    assert_ok(train_history_prune(scratch, 60, 0, 0));
    assert_int_equal(count_names("step-"), 6);
    assert_ok(train_history_prune(scratch, 50, 3, 20)); /* 60 is of a later course: not ours */
    assert_there("step-00000020 step-00000030 step-00000040 step-00000050 step-00000060");
    assert_ok(train_history_prune(scratch, 60, 2, 20));
    assert_there("step-00000020 step-00000040 step-00000050 step-00000060");
    assert_ok(train_history_prune(scratch, 60, 0, 40));
    assert_there("step-00000040 step-00000060");
    assert_ok(train_history_prune(scratch, 60, 1, 0));
    assert_there("step-00000060");
    assert_ok(train_history_prune(scratch, 60, 1, 0));
    assert_there("step-00000060");
}

static void clean_removes_remains_and_restores(void **state) {
    (void)state;
    const int64_t steps[] = {100, 200};
    save_steps(steps, 2);
    char *path100 = step_of(100), *path200 = step_of(200);
    char *old100 = train_text("%s.old", path100), *old200 = train_text("%s.old", path200);
    char *aside = train_text("%s/step-00000300.tmp", scratch);
    char *foreign = train_text("%s/notes.tmp", scratch);
    assert_int_equal(rename(path200, old200), 0); /* killed while 200 was being replaced */
    assert_ok(train_make_directory(old100));      /* killed after 100 had been replaced */
    assert_ok(train_make_directory(aside));
    assert_ok(train_make_directory(foreign));
    assert_ok(train_history_clean(scratch));
    assert_there("notes.tmp step-00000100 step-00000200");
    char *latest;
    assert_ok(train_history_latest(&latest, scratch));
    assert_string_equal(latest, path200);
    free(latest);
    free(foreign);
    free(aside);
    free(old200);
    free(old100);
    free(path200);
    free(path100);
}

static void going_on_from_an_older_one(void **state) {
    (void)state;
    const int64_t steps[] = {100, 200, 300};
    char *latest, *path = step_of(100);
    save_steps(steps, 3);
    damage(300, "state.json");
    for (int again = 0; again < 2; again++) {
        assert_ok(train_history_supersede(scratch, 100));
        assert_there("step-00000100 superseded-step-00000200 superseded-step-00000300");
        assert_ok(train_history_latest(&latest, scratch));
        assert_string_equal(latest, path);
        free(latest);
        save_steps(steps + 1, again ? 0 : 2);
    }
    free(path);
}

static void a_path_means_a_run_or_a_checkpoint(void **state) {
    (void)state;
    model m;
    char *found, *config = train_text("%s/config.yaml", scratch);
    char *checkpoints = train_text("%s/checkpoints", scratch);
    char *checkpoint = train_text("%s/step-00000007", checkpoints);
    assert_int_equal(train_history_locate(&found, scratch), KERN_ERR_USAGE);
    assert_null(found);
    assert_says("neither");
    spill(config, "a: 1\n", 5);
    assert_int_equal(train_history_locate(&found, scratch), KERN_ERR_USAGE);
    assert_says("no checkpoint yet");
    fill(&m, 7);
    const train_state at = state_of(7);
    assert_ok(train_make_directory(checkpoints));
    assert_ok(train_checkpoint_save(checkpoints, &at, &m.parameters, &m.moments,
                                    data_vocabulary_byte(), any_conf(), kern_comm_alone()));
    assert_ok(train_history_locate(&found, scratch));
    assert_string_equal(found, checkpoint);
    free(found);
    assert_ok(train_history_locate(&found, checkpoint));
    assert_string_equal(found, checkpoint);
    free(found);

    assert_ok(train_history_run(&found, scratch));
    assert_string_equal(found, scratch);
    free(found);
    char *winding = train_text("%s/../checkpoints/./step-00000007/", checkpoints);
    assert_ok(train_history_run(&found, winding));
    char *real = realpath(scratch, NULL);
    assert_string_equal(found, real);
    free(found);
    assert_int_equal(train_history_run(&found, checkpoints), KERN_ERR_USAGE);
    char *deeper = train_text("%s/backup/step-00000007", checkpoints);
    char *state_name = train_text("%s/state.json", deeper);
    assert_ok(train_make_directory(deeper));
    spill(state_name, "", 0);
    assert_int_equal(train_history_run(&found, deeper), KERN_ERR_USAGE);
    free(state_name);
    free(deeper);
    assert_int_equal(unlink(config), 0); /* a checkpoint that was copied elsewhere */
    assert_int_equal(train_history_run(&found, checkpoint), KERN_ERR_USAGE);
    assert_null(found);
    assert_says("init_from");
    free(real);
    free(winding);
    free(checkpoint);
    free(checkpoints);
    free(config);
}

/* What a reader finds that is slower than the run: the first two are gone when it reads them. */
typedef struct {
    int64_t seen[4];
    int calls;
    const char *checkpoints;
    bool damaged;
} reader;

static kern_status read_slowly(void *context, const char *checkpoint) {
    reader *r = context;
    train_state state;
    int64_t step = strtoll(strstr(checkpoint, "step-") + 5, NULL, 10);
    assert_true(r->calls < 4);
    r->seen[r->calls++] = step;
    if (r->damaged) return kern_fail(KERN_ERR_DATA, "damaged");
    if (r->calls < 3) {
        model m;
        const train_state at = state_of(step + 1);
        fill(&m, step + 1);
        assert_ok(train_checkpoint_save(r->checkpoints, &at, &m.parameters, &m.moments,
                                        data_vocabulary_byte(), any_conf(), kern_comm_alone()));
        assert_ok(train_history_prune(r->checkpoints, step + 1, 1, 0));
    }
    return train_checkpoint_verify(&state, checkpoint);
}

static void a_checkpoint_that_goes_is_not_waited_for(void **state) {
    (void)state;
    char *config = train_text("%s/config.yaml", scratch);
    char *checkpoints = train_text("%s/checkpoints", scratch);
    reader r = {.checkpoints = checkpoints};
    model m;
    const train_state at = state_of(7);
    spill(config, "a: 1\n", 5);
    assert_ok(train_make_directory(checkpoints));
    fill(&m, 7);
    assert_ok(train_checkpoint_save(checkpoints, &at, &m.parameters, &m.moments,
                                    data_vocabulary_byte(), any_conf(), kern_comm_alone()));
    assert_ok(train_history_use(scratch, read_slowly, &r));
    assert_int_equal(r.calls, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(r.seen[i], 7 + i);
    /* What is named is not another one; and what stays is read once. */
    char *named = train_text("%s/step-00000009", checkpoints);
    r = (reader){.checkpoints = checkpoints};
    assert_int_equal(train_history_use(named, read_slowly, &r), KERN_ERR_USAGE);
    assert_says("there is nothing of that name");
    assert_int_equal(r.calls, 1);
    r = (reader){.checkpoints = checkpoints, .damaged = true};
    assert_int_equal(train_history_use(scratch, read_slowly, &r), KERN_ERR_DATA);
    assert_int_equal(r.calls, 1);
    free(named);
    free(checkpoints);
    free(config);
}

/* A child makes checkpoints without end, and deletes all but the newest; the newest is found and
 * intact at any moment. */
static void found_while_they_come_and_go(void **state) {
    (void)state;
    const int64_t first = 1;
    save_steps(&first, 1);
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(60); /* no test that fails leaves it behind */
        for (int64_t i = 2;; i++) {
            save_steps(&i, 1);
            if (train_history_prune(scratch, i, 1, 0) != KERN_OK) _exit(1);
        }
    }
    kern_status status = KERN_OK;
    double began = kern_seconds();
    int found = 0;
    for (; status == KERN_OK && (found < 100 || kern_seconds() < began + 1); found++) {
        char *latest = NULL;
        status = train_history_latest(&latest, scratch);
        if (status == KERN_OK && !latest) status = kern_fail(KERN_ERR_DATA, "there was none");
        free(latest);
    }
    kill(child, SIGKILL);
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFSIGNALED(code));
    if (status != KERN_OK) fail_msg("after %d: %s", found, kern_error());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(latest_is_the_highest_step),
        SCRATCH_TEST(damaged_newest_is_refused_with_advice),
        SCRATCH_TEST(what_may_not_be_read_is_not_damaged),
        SCRATCH_TEST(a_link_to_nowhere_makes_the_directory_it_means),
        SCRATCH_TEST(older_ones_go_by_rule),
        SCRATCH_TEST(clean_removes_remains_and_restores),
        SCRATCH_TEST(going_on_from_an_older_one),
        SCRATCH_TEST(a_path_means_a_run_or_a_checkpoint),
        SCRATCH_TEST(a_checkpoint_that_goes_is_not_waited_for),
        SCRATCH_TEST(found_while_they_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
