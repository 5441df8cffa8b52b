/* What a run takes of its disk: how many checkpoints there are at a time, against a run that is
 * played through, and the refusal. */
#include "scratch.h"

#include "train/disk.h"

/* The rule of train/history.h, once for each checkpoint that is written. */
static int64_t played(const ttt_conf *conf) {
    int64_t there[64], count = 0, most = 0;
    int64_t save = conf->run.save_every, last = conf->run.keep_last, keep = conf->run.keep_every;
    for (int64_t step = 1; step <= conf->train.steps; step++) {
        if (step != conf->train.steps && (!save || step % save)) continue;
        there[count++] = step;
        if (count > most) most = count;
        int64_t kept = 0;
        for (int64_t i = 0; i < count; i++)
            if ((!last && !keep) || i == count - 1 || count - i <= last ||
                (keep && there[i] % keep == 0))
                there[kept++] = there[i];
        count = kept;
    }
    return most;
}

static void checkpoints_at_a_time(void **state) {
    (void)state;
    static const int64_t numbers[] = {0, 1, 2, 3, 4, 6, 9, 10, 40};
    enum { NUMBERS = sizeof numbers / sizeof *numbers };
    const infer_parameters nothing = {0};
    ttt_conf *conf;
    assert_ok(conf_load(&conf, "quickstart", 0, NULL));
    for (int64_t steps = 1; steps < 40; steps += 1 + steps / 7)
        for (int i = 0; i < NUMBERS * NUMBERS * NUMBERS; i++) {
            conf->train.steps = steps;
            conf->run.save_every = numbers[i % NUMBERS];
            conf->run.keep_last = numbers[i / NUMBERS % NUMBERS];
            conf->run.keep_every = numbers[i / NUMBERS / NUMBERS];
            train_disk disk = train_disk_plan(conf, &nothing, KERN_F32, 0);
            if (disk.checkpoints != played(conf))
                fail_msg("steps %d, save_every %d, keep_last %d, keep_every %d: %d, not %d",
                         (int)steps, (int)conf->run.save_every, (int)conf->run.keep_last,
                         (int)conf->run.keep_every, (int)disk.checkpoints, (int)played(conf));
        }
    conf_destroy(conf);
}

static void what_has_no_room_is_refused(void **state) {
    (void)state;
    char *deep = train_text("%s/not/there/yet", scratch);
    assert_ok(train_disk_check(&(train_disk){1000, 1, 1000, 2000}, deep, 0, false));
    assert_ok(train_disk_check(&(train_disk){1000, 1, 1000, 2000}, "nor-here", 0, false));
    const train_disk large = {1e18, 2, 1000, 2e18};
    assert_int_equal(train_disk_check(&large, deep, 0, false), KERN_ERR_FILE);
    assert_says("No space left on device for a checkpoint: one takes 1000 PB, and ");
    assert_says("where ");
    assert_says("choose another run.dir");
    assert_int_equal(train_disk_check(&large, deep, 1, true), KERN_ERR_FILE);
    assert_says("make room, then go on: ttt train --resume ");
    free(deep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_at_a_time),
        SCRATCH_TEST(what_has_no_room_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
