/* Impossible combinations are refused with the reason and a way out; possible ones are not. */
#include "tests/configs/texts.h"

enum { MOST = 6 };

static void apply(ttt_conf *conf, const char *const *assignments) {
    for (int i = 0; assignments[i]; i++)
        if (conf_set(conf, assignments[i]) != KERN_OK) fail_msg("%s", kern_error());
}

static void impossible(void **state) {
    (void)state;
    const struct {
        const char *set[MOST], *reason, *way_out;
    } cases[] = {
        {{"model.heads=5"}, "not a multiple of model.heads 5", "model.head_size"},
        {{"model.head_size=7"}, "head size 7 is odd", "even"},
        {{"model.dim=36", "model.heads=12"}, "head size 3 is odd", "even"},
        {{"model.kv_heads=3", "model.heads=4"}, "model.kv_heads 3 does not divide", "query heads"},
        {{"model.bos=400", "model.vocab=400"}, "model.bos 400", "-1 for none"},
        {{"inner.suffix=13"}, "inner.suffix 13 is more", "at most"},
        {{"inner.mode=e2e"}, "nothing to step on", "inner.mode=off"},
        {{"inner.mode=naive", "inner.suffix=1", "train.context=1000", "inner.chunk=64"},
         "1000 is not a multiple of inner.chunk 64",
         "960 and 1024"},
        {{"inner.mode=e2e", "inner.suffix=1", "train.context=32", "inner.chunk=64"},
         "32 is not a multiple of inner.chunk 64",
         "64 and 128"},
        {{"inner.suffix=3", "inner.fast_blocks=8"}, "outside the suffix", "9 to 11"},
        {{"inner.suffix=3", "inner.fast_blocks=12"}, "outside the suffix", "9 to 11"},
        {{"inner.suffix=3", "inner.fast_blocks=10,9"}, "does not rise", "9 to 11"},
        {{"inner.suffix=3", "inner.fast_blocks=9,"}, "not a list", "9 to 11"},
        {{"inner.suffix=3", "inner.fast_blocks="}, "not a list", "9 to 11"},
        {{"inner.suffix=3", "inner.fast_blocks=9 10"}, "not a list", "9 to 11"},
        {{"inner.suffix=3", "inner.fast_blocks=all"}, "not a list", "suffix"},
        {{"inner.suffix=3", "inner.fast_blocks=99999999999999999999"}, "not a list", "suffix"},
        {{"train.batch=4", "train.micro_batch=3"}, "micro_batch 3 does not divide", "0 lets"},
        {{"train.batch=4", "train.micro_batch=8"}, "micro_batch 8 does not divide", "0 lets"},
        {{"train.steps=9", "train.warmup_steps=10"}, "more than the schedule's 9", "total_steps"},
        {{"train.steps=9", "inner.mode=e2e", "inner.suffix=1", "inner.warmup_steps=10"},
         "inner.warmup_steps 10",
         "total_steps"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ttt_conf *conf;
        assert_int_equal(conf_create(&conf), KERN_OK);
        assert_int_equal(conf_check(conf), KERN_OK);
        apply(conf, cases[i].set);
        if (conf_check(conf) != KERN_ERR_CONFIG) fail_msg("accepted: %s", cases[i].reason);
        if (!strstr(kern_error(), cases[i].reason) || !strstr(kern_error(), cases[i].way_out))
            fail_msg("case %zu: %s", i, kern_error());
        conf_destroy(conf);
    }
}

static void possible(void **state) {
    (void)state;
    const char *const cases[][MOST] = {
        {"model.attention=none", "model.heads=5"}, /* the toy without attention */
        {"model.head_size=10", "model.heads=7"},
        {"model.kv_heads=1"},
        {"model.bos=-1"},
        {"inner.suffix=3", "train.context=1000"}, /* off: no chunks are needed */
        {"inner.mode=e2e", "inner.suffix=12", "inner.fast_blocks=0,11"},
        {"inner.mode=e2e", "inner.suffix=2", "model.attention=hybrid"}, /* block 11 is full */
        {"inner.mode=first_order", "inner.suffix=1", "model.attention=full"},
        {"train.steps=9", "train.warmup_steps=10", "train.total_steps=10"},
        {"train.batch=6", "train.micro_batch=3"},
        {"model.window=1"},
        {"model.window=100", "inner.mode=e2e", "inner.suffix=1"}, /* less than a chunk */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ttt_conf *conf;
        assert_int_equal(conf_create(&conf), KERN_OK);
        apply(conf, cases[i]);
        if (conf_check(conf) != KERN_OK) fail_msg("case %zu: %s", i, kern_error());
        conf_destroy(conf);
    }
}

/* Values that code wrote into the struct are checked like those of files. */
static void bounds_of_code(void **state) {
    (void)state;
    ttt_conf *conf;
    assert_int_equal(conf_create(&conf), KERN_OK);
    conf->model.blocks = 0;
    assert_int_equal(conf_check(conf), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "model.blocks: '0' is out of bounds; allowed: 1 to"));
    conf->model.blocks = 2;
    conf->train.lr = -1;
    assert_int_equal(conf_check(conf), KERN_ERR_CONFIG);
    conf->train.lr = 0;
    assert_int_equal(conf_check(conf), KERN_OK);
    conf_destroy(conf);
}

static void derived(void **state) {
    (void)state;
    ttt_conf *conf;
    const char *const set[] = {"model.blocks=12",    "model.attention=hybrid",
                               "inner.suffix=3",     "inner.fast_blocks=9,11",
                               "model.window=100",   "model.rope_theta_full=7",
                               "train.context=5000", NULL};
    assert_int_equal(conf_create(&conf), KERN_OK);
    apply(conf, set);
    for (int64_t block = 0; block < 12; block++) {
        bool full = block == 5 || block == 11;
        assert_int_equal(conf_suffix_block(conf, block), block >= 9);
        assert_int_equal(conf_fast_block(conf, block), block == 9 || block == 11);
        assert_int_equal(conf_block_is_full(conf, block), full);
        assert_int_equal(conf_block_window(conf, block), full ? 5000 : 100);
        assert_true(conf_block_rope_theta(conf, block) == (full ? 7 : 500000));
    }
    assert_int_equal(conf_head_size(conf), 64);
    assert_int_equal(conf_kv_heads(conf), 12);
    assert_int_equal(conf_total_steps(conf), 1000);
    const char *const more[] = {"model.head_size=10",   "model.kv_heads=4",
                                "train.total_steps=5",  "inner.fast_blocks=suffix",
                                "model.attention=none", NULL};
    apply(conf, more);
    assert_int_equal(conf_head_size(conf), 10);
    assert_int_equal(conf_kv_heads(conf), 4);
    assert_int_equal(conf_total_steps(conf), 5);
    assert_int_equal(conf_block_window(conf, 0), 0);
    assert_true(conf_fast_block(conf, 10) && !conf_fast_block(conf, 8));
    conf_destroy(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible),
        cmocka_unit_test(possible),
        cmocka_unit_test(bounds_of_code),
        cmocka_unit_test(derived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
