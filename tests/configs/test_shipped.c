/* Every shipped configuration against the paper's table, written here a second time. */
#include "tests/configs/texts.h"

#include <math.h>

typedef struct {
    const char *name;
    int64_t blocks, dim, heads, mlp, mlp_e2e, suffix;
    double lr;
    int64_t batch, steps, extension;
    double parameters; /* as the size is usually given, with a vocabulary of 50257 */
} size_row;

static const size_row sizes[] = {
    {"125m", 12, 768, 12, 2048, 1664, 3, 3e-3, 64, 4800, 120, 125e6},
    {"350m", 24, 1024, 16, 2816, 2304, 6, 1.5e-3, 64, 13500, 337, 350e6},
    {"760m", 24, 1536, 16, 4096, 3328, 6, 1.25e-3, 64, 29000, 725, 760e6},
    {"1b", 24, 2048, 32, 5376, 4352, 6, 1e-3, 64, 50000, 1250, 1.3e9},
    {"3b", 32, 2560, 32, 6912, 5632, 8, 8e-4, 128, 52000, 1300, 2.7e9},
};

static const struct {
    const char *name;
    int64_t context;
    double theta;
} stages[] = {{"8k", 8192, 5e5},
              {"16k", 16384, 1e6},
              {"32k", 32768, 2e6},
              {"64k", 65536, 5e6},
              {"128k", 131072, 1e7}};

static const char *const methods[] = {"full", "swa", "e2e", "hybrid"};

static ttt_conf *shipped(const char *name) {
    ttt_conf *conf;
    if (conf_load(&conf, name, 0, NULL) != KERN_OK) fail_msg("%s: %s", name, kern_error());
    assert_string_equal(conf->name, name);
    return conf;
}

/* Weights of matrices and norms, by the names of the parameters. */
static double parameters(const ttt_conf *conf, double vocab) {
    double dim = (double)conf->model.dim, mlp = (double)conf->model.mlp, sum = vocab * dim + dim;
    double head = (double)conf_head_size(conf), q = (double)conf->model.heads * head;
    double kv = (double)conf_kv_heads(conf) * head;
    for (int64_t block = 0; block < conf->model.blocks; block++) {
        sum += dim * (2 * q + 2 * kv) + 3 * dim * mlp + 4 * dim + 2 * head;
        if (conf_suffix_block(conf, block)) sum += 3 * dim * mlp + 2 * dim;
    }
    return sum;
}

static void check_shape(const ttt_conf *conf, const size_row *size, bool e2e) {
    assert_int_equal(conf->model.vocab, 128256);
    assert_int_equal(conf->model.bos, 128000);
    assert_int_equal(conf->model.blocks, size->blocks);
    assert_int_equal(conf->model.dim, size->dim);
    assert_int_equal(conf->model.heads, size->heads);
    assert_int_equal(conf_kv_heads(conf), size->heads);
    assert_int_equal(conf_head_size(conf) * size->heads, size->dim);
    assert_int_equal(conf->model.mlp, e2e ? size->mlp_e2e : size->mlp);
    assert_int_equal(conf->model.window, 8192);
    assert_true(conf->model.tied && conf->model.qk_norm && conf->model.pre_norm &&
                conf->model.post_norm);
    assert_true(conf->model.norm_eps == 1e-6 && conf->model.init_std == 0.02);
    assert_true(fabs(parameters(conf, 50257) / size->parameters - 1) < 0.05);
}

static void check_inner(const ttt_conf *conf, const size_row *size, bool e2e, bool extension) {
    if (!e2e) {
        assert_int_equal(conf->inner.mode, CONF_INNER_OFF);
        assert_int_equal(conf->inner.suffix, 0);
        return;
    }
    assert_int_equal(conf->inner.mode, CONF_INNER_E2E);
    assert_int_equal(conf->inner.suffix, size->blocks / 4);
    assert_int_equal(conf->inner.suffix, size->suffix);
    assert_int_equal(conf->inner.chunk, 1024);
    assert_true(conf->inner.lr == 1 && conf->inner.clip == 1 && conf->inner.warmup_from == 0.1);
    assert_int_equal(conf->inner.warmup_steps, extension ? 0 : size->steps / 10);
    assert_true(conf->inner.separate_mlp);
}

static void check_train(const ttt_conf *conf, const size_row *size, bool extension) {
    const conf_train *train = &conf->train;
    int64_t tokens = size->batch * 8192 * (extension ? 2 : 1);
    assert_int_equal(train->batch * train->context, tokens);
    assert_int_equal(train->steps, extension ? size->extension : size->steps);
    assert_int_equal(conf_total_steps(conf), train->steps);
    assert_int_equal(train->warmup_steps, train->steps / 10);
    assert_true(train->lr == (extension ? 4e-4 : size->lr));
    assert_true(train->end_lr == 1e-5 && train->beta1 == 0.9 && train->beta2 == 0.95);
    assert_true(train->eps == 1e-8 && train->weight_decay == 0.1 && train->clip == 1);
    assert_int_equal(train->precision, CONF_BF16);
    /* extension sees 5 % of the tokens of pre-training */
    if (extension) {
        double share = (double)(train->steps * tokens) / (double)(size->steps * size->batch * 8192);
        assert_true(fabs(share - 0.05) < 1e-4);
    }
}

static void check_attention(const ttt_conf *conf, const char *method, double theta) {
    bool full = !strcmp(method, "full"), hybrid = !strcmp(method, "hybrid");
    for (int64_t block = 0; block < conf->model.blocks; block++) {
        bool all = full || (hybrid && block % 6 == 5);
        assert_int_equal(conf_block_is_full(conf, block), all);
        assert_int_equal(conf_block_window(conf, block), all ? conf->train.context : 8192);
        assert_true(conf_block_rope_theta(conf, block) == (all ? theta : 5e5));
    }
    if (full) assert_true(conf->model.rope_theta == theta);
}

static void the_paper(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof methods / sizeof *methods; j++)
            for (size_t k = 0; k < sizeof stages / sizeof *stages; k++) {
                char name[64], first[64];
                bool e2e = !strcmp(methods[j], "e2e");
                snprintf(name, sizeof name, "%s-%s-%s", sizes[i].name, methods[j], stages[k].name);
                snprintf(first, sizeof first, "runs/%s-%s-8k", sizes[i].name, methods[j]);
                ttt_conf *conf = shipped(name);
                assert_int_equal(conf->train.context, stages[k].context);
                check_shape(conf, &sizes[i], e2e);
                check_inner(conf, &sizes[i], e2e, k > 0);
                check_train(conf, &sizes[i], k > 0);
                check_attention(conf, methods[j], stages[k].theta);
                assert_string_equal(conf->train.init_from, k ? first : "");
                conf_destroy(conf);
            }
}

/* The other systems: blocks, widths and the inner loop; their training is the others'. */
static const struct {
    const char *name, *pattern;
    int64_t mlp[5]; /* by size */
    bool e2e;
} systems[] = {{"mamba2", "ms", {1792, 2432, 3584, 4608, 6016}, false},
               {"gdn", "gs", {1792, 2432, 3584, 4736, 6016}, false},
               {"kvb", "k", {1920, 2688, 3968, 5120, 6656}, false},
               {"e2e-mamba2", "ms", {1408, 1920, 2816, 3712, 4864}, true},
               {"e2e-gdn", "gs", {1408, 1920, 2816, 3712, 4864}, true}};

static void the_other_systems(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof systems / sizeof *systems; j++)
            for (size_t k = 0; k < sizeof stages / sizeof *stages; k++) {
                char name[64];
                snprintf(name, sizeof name, "%s-%s-%s", sizes[i].name, systems[j].name,
                         stages[k].name);
                ttt_conf *conf = shipped(name);
                assert_int_equal(conf->train.context, stages[k].context);
                assert_string_equal(conf->model.pattern, systems[j].pattern);
                assert_int_equal(conf->model.mlp, systems[j].mlp[i]);
                assert_int_equal(conf->model.dim, sizes[i].dim);
                assert_true(conf->model.rope_theta == 5e5);
                check_inner(conf, &sizes[i], systems[j].e2e, k > 0);
                check_train(conf, &sizes[i], k > 0);
                conf_destroy(conf);
            }
}

static void single_files(void **state) {
    (void)state;
    ttt_conf *e2e = shipped("quickstart"), *swa = shipped("quickstart-swa");
    ttt_conf *bench = shipped("bench-small");
    assert_true(fabs(parameters(swa, 257) / parameters(e2e, 257) - 1) < 1e-3);
    assert_int_equal(swa->inner.suffix, 0);
    /* but for what differs on purpose they are the same */
    assert_int_equal(conf_set(swa, "inner.mode=e2e"), KERN_OK);
    swa->model.mlp = e2e->model.mlp;
    swa->inner.suffix = e2e->inner.suffix;
    swa->inner.warmup_steps = e2e->inner.warmup_steps;
    free((void *)swa->name);
    swa->name = strdup("quickstart");
    assert_true(conf_equal(e2e, swa));
    assert_int_equal(bench->model.blocks, 6);
    assert_int_equal(bench->inner.suffix, 2);
    assert_int_equal(bench->model.dim, 512);
    assert_int_equal(bench->model.heads, 8);
    assert_int_equal(bench->model.mlp, 1152);
    assert_int_equal(bench->model.vocab, 8192);
    assert_int_equal(bench->train.context, 2048);
    assert_int_equal(bench->inner.chunk, 256);
    assert_int_equal(bench->model.window, 512);
    assert_int_equal(bench->train.batch, 2);
    assert_int_equal(bench->train.threads, 2);
    assert_int_equal(bench->train.precision, CONF_F32);
    assert_string_equal(bench->data.train, "");
    conf_destroy(e2e);
    conf_destroy(swa);
    conf_destroy(bench);
}

/* The five of the toy experiment: the same model, but for attention in one; the same training. */
static void the_toy(void **state) {
    (void)state;
    static const char *const names[] = {"toy-bigram", "toy-e2e-16", "toy-e2e-1", "toy-attention",
                                        "toy-naive"};
    static const char *const same[] = {"inner.mode=off",       "inner.chunk=1024",
                                       "inner.lr=1",           "inner.clip=1",
                                       "inner.warmup_steps=0", "inner.warmup_from=0.1"};
    ttt_conf *bigram = shipped("toy-bigram");
    assert_int_equal(bigram->model.attention, CONF_ATTN_NONE);
    assert_int_equal(bigram->model.blocks, 2);
    assert_int_equal(bigram->train.context, 128);
    for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
        ttt_conf *conf = shipped(names[i]);
        bool naive = i == 4, attention = i == 3;
        assert_int_equal(conf->model.attention, attention ? CONF_ATTN_FULL : CONF_ATTN_NONE);
        assert_int_equal(conf->inner.mode, naive       ? CONF_INNER_NAIVE
                                           : attention ? CONF_INNER_OFF
                                                       : CONF_INNER_E2E);
        if (!attention) assert_int_equal(conf->inner.chunk, i == 1 ? 16 : 1);
        if (naive) assert_true(conf->train.lr == 0 && conf->train.end_lr == 0);
        if (naive) {
            const char *device = conf->train.device;
            free((void *)conf->train.init_from);
            conf->train = bigram->train;
            conf->train.init_from = strdup("");
            conf->train.device = device;
        }
        conf->model.attention = CONF_ATTN_NONE;
        for (size_t j = 0; j < sizeof same / sizeof *same; j++)
            assert_int_equal(conf_set(conf, same[j]), KERN_OK);
        free((void *)conf->name);
        conf->name = strdup("toy-bigram");
        assert_true(conf_equal(conf, bigram));
        conf_destroy(conf);
    }
    conf_destroy(bigram);
}

/* Everything that is listed loads, and what is written reads back equal, texts and odd numbers too.
 */
static void written_reads_back(void **state) {
    (void)state;
    char **names;
    int64_t count;
    uint64_t last = 0;
    assert_int_equal(conf_list(&names, &count), KERN_OK);
    assert_int_equal(count, 243);
    conf_list_destroy(names, count);
    assert_int_equal(setenv("TTT_CONFIGS", TESTS_DIR "/../configs", 1), 0); /* the same once more */
    assert_int_equal(conf_list(&names, &count), KERN_OK);
    assert_int_equal(count, 243);
    unsetenv("TTT_CONFIGS");
    for (int64_t i = 0; i < count; i++) {
        char path[256];
        uint64_t hash, again;
        ttt_conf *conf = shipped(names[i]), *back;
        assert_int_equal(conf_set(conf, "run.dir=\"q\" \\ # {size}: \xc3\xa4, 'x'"), KERN_OK);
        assert_int_equal(conf_set(conf, "inner.lr=0.30000000000000004"), KERN_OK);
        snprintf(path, sizeof path, "%s/resolved.yaml", scratch);
        if (conf_write(conf, path) != KERN_OK) fail_msg("%s", kern_error());
        if (conf_load(&back, path, 0, NULL) != KERN_OK) fail_msg("%s", kern_error());
        assert_true(conf_equal(conf, back));
        assert_int_equal(conf_hash(&hash, conf), KERN_OK);
        assert_int_equal(conf_hash(&again, back), KERN_OK);
        assert_true(hash == again && hash != last);
        last = hash;
        conf_destroy(conf);
        conf_destroy(back);
    }
    conf_list_destroy(names, count);
}

static void copies_are_their_own(void **state) {
    (void)state;
    ttt_conf *conf = shipped("125m-e2e-16k"), *copy;
    assert_int_equal(conf_copy(&copy, conf), KERN_OK);
    assert_true(conf_equal(conf, copy));
    assert_int_equal(conf_set(copy, "train.init_from=elsewhere"), KERN_OK);
    assert_false(conf_equal(conf, copy));
    assert_string_equal(conf->train.init_from, "runs/125m-e2e-8k");
    conf_destroy(conf);
    assert_string_equal(copy->name, "125m-e2e-16k");
    conf_destroy(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_paper),          cmocka_unit_test(the_other_systems),
        cmocka_unit_test(single_files),       cmocka_unit_test(the_toy),
        cmocka_unit_test(written_reads_back), cmocka_unit_test(copies_are_their_own),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
