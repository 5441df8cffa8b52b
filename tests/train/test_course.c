/* Which options a run that goes on may change, by the whole option table; and that the hash tells
 * runs apart by exactly the others. */
#include "scratch.h"

#include "configs/options.h"
#include "train/course.h"

static ttt_conf *tiny(void) {
    static const char *const options[] = {"model.blocks=2",
                                          "model.dim=32",
                                          "model.heads=2",
                                          "model.kv_heads=2",
                                          "model.head_size=16",
                                          "model.vocab=257",
                                          "model.bos=256",
                                          "inner.mode=e2e",
                                          "inner.suffix=1",
                                          "inner.chunk=16",
                                          "train.context=64",
                                          "train.batch=4",
                                          "train.micro_batch=2",
                                          "train.steps=30",
                                          "inner.warmup_steps=5",
                                          "train.warmup_steps=5",
                                          "model.rope_theta_full=100"};
    ttt_conf *conf;
    assert_ok(conf_create(&conf));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_ok(conf_set(conf, options[i]));
    assert_ok(conf_check(conf));
    return conf;
}

static uint64_t hash_of(const ttt_conf *conf, uint32_t fingerprint) {
    uint64_t hash;
    assert_ok(train_course_hash(&hash, conf, fingerprint));
    return hash;
}

/* Another value of the option, whatever it is. */
static void change(ttt_conf *conf, const conf_option *option) {
    char *at = (char *)conf + option->offset;
    switch (option->type) {
    case CONF_INTEGER:
    case CONF_SEED: *(int64_t *)(void *)at += 1; break;
    case CONF_REAL:
    case CONF_BYTES: *(double *)(void *)at = *(double *)(void *)at * 2 + 1; break;
    case CONF_BOOLEAN: *(bool *)at = !*(bool *)at; break;
    case CONF_CHOICE: *(int *)(void *)at = *(int *)(void *)at ? 0 : 1; break;
    case CONF_TEXT:
    case CONF_PATH:
    case CONF_LIST: assert_ok(conf_option_set(conf, option, "1")); break;
    }
}

static bool may_change(const char *name) {
    static const char *const names[] = {"train.threads",  "train.memory_limit", "data.train",
                                        "data.valid",     "data.test",          "run.log_every",
                                        "run.eval_every", "run.eval_windows",   "run.save_every",
                                        "run.keep_last",  "run.keep_every"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

static void each_option_is_kept_or_free(void **state) {
    (void)state;
    int64_t count, kept = 0;
    const conf_option *options = conf_options(&count);
    ttt_conf *run = tiny();
    uint64_t course = hash_of(run, 7);
    for (int64_t i = 0; i < count; i++) {
        const char *name = options[i].name;
        ttt_conf *changed;
        assert_ok(conf_copy(&changed, run));
        change(changed, &options[i]);
        assert_false(conf_option_equal(run, changed, &options[i]));
        if (may_change(name)) {
            assert_ok(train_course_keep(run, changed));
            assert_true(hash_of(changed, 7) == course);
        } else {
            assert_int_equal(train_course_keep(run, changed), KERN_ERR_CONFIG);
            assert_says(name);
            /* A run may be moved. */
            assert_int_equal(hash_of(changed, 7) == course, !strcmp(name, "run.dir"));
            kept++;
        }
        conf_destroy(changed);
    }
    assert_true(kept > 40);
    conf_destroy(run);
}

static void the_schedule_keeps_its_length(void **state) {
    (void)state;
    ttt_conf *run = tiny(), *changed;
    uint64_t course = hash_of(run, 7);
    assert_ok(conf_copy(&changed, run));
    changed->train.steps = 10;
    assert_int_equal(train_course_keep(run, changed), KERN_ERR_CONFIG);
    assert_says("give train.total_steps=30 too");
    changed->train.total_steps = 30;
    assert_ok(train_course_keep(run, changed));
    assert_true(hash_of(changed, 7) == course);
    conf_destroy(changed);
    conf_destroy(run);
}

static void other_data_is_another_course(void **state) {
    (void)state;
    ttt_conf *run = tiny();
    assert_true(hash_of(run, 7) == hash_of(run, 7));
    assert_true(hash_of(run, 7) != hash_of(run, 8));
    conf_destroy(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_is_kept_or_free),
        cmocka_unit_test(the_schedule_keeps_its_length),
        cmocka_unit_test(other_data_is_another_course),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
