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
    static const char *const names[] = {"train.device",   "train.threads",  "train.memory_limit",
                                        "data.train",     "data.valid",     "data.test",
                                        "run.log_every",  "run.eval_every", "run.eval_windows",
                                        "run.save_every", "run.keep_last",  "run.keep_every",
                                        "ranks.tensor",   "ranks.shard",    "ranks.timeout"};
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

/* Hashes are in the checkpoints of runs, so they are the same for good: of the configuration of
 * tests/old/run with some overrides, as programs make it now, and as those did that wrote
 * state.json in version 2. */
static const struct {
    const char *overrides[12];
    uint64_t now, early;
} pinned[] = {
    {{NULL}, UINT64_C(0xa65c03483396ca6b), UINT64_C(0x0b735426098a383b)},
    {{"model.attention=hybrid", "model.full_every=2", "model.rope_theta_full=1000",
      "train.precision=bf16", "train.seed=9007199254740991", "data.across_documents=true",
      "train.micro_batch=1"},
     UINT64_C(0xa912e7b512ec3c3a),
     UINT64_C(0x4a4eb5217865fcc6)},
    {{"inner.mode=off", "inner.suffix=0", "train.precision=f64", "model.tied=false",
      "model.norm_eps=3e-7", "train.init_from=base", "train.weight_decay=0.30000000000000004",
      "run.keep_last=9", "train.threads=2", "train.steps=1"},
     UINT64_C(0x71b1cebe164a5da0),
     UINT64_C(0x35f268d2ced94b0b)},
};
enum { PINNED = sizeof pinned / sizeof *pinned };
static const uint32_t old_data = 0xd737a133; /* of tests/old/train.h5 */

static ttt_conf *old_conf(int which) {
    ttt_conf *conf;
    int count = 0;
    while (pinned[which].overrides[count]) count++;
    assert_ok(conf_load(&conf, TESTS_DIR "/old/run/config.yaml", count, pinned[which].overrides));
    return conf;
}

static train_course_relation relation_of(const ttt_conf *conf, uint64_t hash, bool early,
                                         const uint32_t *data) {
    const train_state state = {.config_hash = hash, .early_hash = early};
    train_course_relation relation;
    assert_ok(train_course_compare(&relation, &state, conf, data));
    return relation;
}

static void hashes_stay(void **state) {
    (void)state;
    for (int i = 0; i < PINNED; i++) {
        ttt_conf *conf = old_conf(i);
        assert_int_equal(hash_of(conf, old_data), pinned[i].now);
        for (int early = 0; early < 2; early++) {
            uint64_t hash = early ? pinned[i].early : pinned[i].now;
            const uint32_t other = old_data + 1;
            assert_int_equal(relation_of(conf, hash, early, &old_data), TRAIN_COURSE_SAME);
            assert_int_equal(relation_of(conf, hash, early, NULL), TRAIN_COURSE_SAME);
            assert_int_equal(relation_of(conf, hash, early, &other), TRAIN_COURSE_OTHER_DATA);
            assert_int_equal(relation_of(conf, hash, !early, NULL), TRAIN_COURSE_OTHER_OPTIONS);
        }
        conf_destroy(conf);
    }
}

/* Those of the texts before the last early one, of the first of the configurations. */
static void hashes_of_older_texts_stay(void **state) {
    (void)state;
    static const uint64_t older[] = {UINT64_C(0x2a2057d1145fc9ee), UINT64_C(0x6c0b1be44dfdbb6b)};
    ttt_conf *run = old_conf(0), *changed = old_conf(0);
    assert_ok(conf_set(changed, "data.begin=<s>"));
    for (int i = 0; i < 2; i++) {
        const uint32_t other = old_data + 1;
        assert_int_equal(relation_of(run, older[i], true, &old_data), TRAIN_COURSE_SAME);
        assert_int_equal(relation_of(run, older[i], true, &other), TRAIN_COURSE_OTHER_DATA);
        assert_int_equal(relation_of(changed, older[i], true, NULL), TRAIN_COURSE_OTHER_OPTIONS);
    }
    conf_destroy(changed);
    conf_destroy(run);
}

/* Of either form, for every option, where the data is not at hand. */
static void changed_options_are_seen(void **state) {
    (void)state;
    int64_t count;
    const conf_option *options = conf_options(&count);
    ttt_conf *run = old_conf(0);
    for (int64_t i = 0; i < count; i++)
        for (int early = 0; early < 2; early++) {
            ttt_conf *changed;
            const char *name = options[i].name;
            bool free_to = may_change(name) || !strcmp(name, "run.dir");
            free_to |= !strcmp(name, "train.steps"); /* train.total_steps says it */
            assert_ok(conf_copy(&changed, run));
            change(changed, &options[i]);
            assert_int_equal(
                relation_of(changed, early ? pinned[0].early : pinned[0].now, early, NULL),
                free_to ? TRAIN_COURSE_SAME : TRAIN_COURSE_OTHER_OPTIONS);
            conf_destroy(changed);
        }
    conf_destroy(run);
}

static void a_refusal_says_what_differs(void **state) {
    (void)state;
    ttt_conf *run = old_conf(0), *changed = old_conf(0);
    char *own = train_text("%s/config.yaml", scratch);
    const train_state at = {.config_hash = pinned[0].now};
    assert_ok(train_course_check(&at, run, &old_data, "r/config.yaml", scratch));
    assert_ok(conf_set(changed, "train.lr=0.03"));
    for (int known = 0; known < 2; known++) {
        if (known) assert_ok(conf_write(run, own));
        assert_int_equal(train_course_check(&at, changed, &old_data, "r/config.yaml", scratch),
                         KERN_ERR_CONFIG);
        assert_says("with other options than r/config.yaml says");
        assert_says(known ? "train.lr=0.03 instead of train.lr=0.01; to put it back: cp /tmp"
                          : "undo the change");
    }
    assert_ok(conf_set(changed, "train.lr=0.01"));
    assert_ok(conf_set(changed, "train.total_steps=13"));
    assert_int_equal(train_course_check(&at, changed, NULL, "r/config.yaml", scratch),
                     KERN_ERR_CONFIG);
    assert_says("a schedule of 13 steps instead of 12; ");
    free(own);
    conf_destroy(changed);
    conf_destroy(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_is_kept_or_free),
        cmocka_unit_test(the_schedule_keeps_its_length),
        cmocka_unit_test(other_data_is_another_course),
        cmocka_unit_test(hashes_stay),
        cmocka_unit_test(hashes_of_older_texts_stay),
        cmocka_unit_test(changed_options_are_seen),
        SCRATCH_TEST(a_refusal_says_what_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
