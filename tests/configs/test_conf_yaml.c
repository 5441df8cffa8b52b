/* Files: what is read, what is refused and where the message points. */
#include "tests/configs/texts.h"

static void values_arrive(void **state) {
    (void)state;
    ttt_conf *conf = loaded("# c\nmodel: {dim: 96, heads: 4, qk_norm: false}\n"
                            "train:\n  lr: 2.5e-4\n  memory_limit: 2 GB\nrun:\n"
                            "data:\n  train: \"a b,#c\"\n");
    assert_int_equal(conf->model.dim, 96);
    assert_false(conf->model.qk_norm);
    assert_true(conf->model.post_norm);
    assert_true(conf->train.lr == 2.5e-4);
    assert_true(conf->train.memory_limit == 2e9);
    assert_string_equal(conf->data.train, "a b,#c");
    assert_string_equal(conf->name, "good");
    conf_destroy(conf);
    conf_destroy(loaded(""));
    conf_destroy(loaded("# nothing but a comment\n"));
    conf = loaded("name: other-1.x\ntrain: null\n");
    assert_string_equal(conf->name, "other-1.x");
    conf_destroy(conf);
}

/* Where a stream may begin and end, by YAML 1.2; each holds 3 steps or nothing. */
static void streams(void **state) {
    (void)state;
    const char *const three[] = {
        "\xef\xbb\xbftrain: {steps: 3}",
        "\xef\xbb\xbf# c\n%YAML 1.2\n---\ntrain: {steps: 3}\n",
        "%YAML 1.2 # c\n---\ntrain: {steps: 3}\n...\n",
        "%YAML 1.1\n--- # c\ntrain: {steps: 3}\n... # c\n# c\n",
        "%TAG ! tag:example.org,2000:\n--- {train: {steps: 3}}\n",
        "\n# c\n...\n...\n---\n{\"train\": {\"steps\": 3}}\n...\n...\n",
        " train:\r\n   steps:\t3\r\n",
        "? train\n: 'steps': 3\n",
    };
    const char *const nothing[] = {"\xef\xbb\xbf", "---",    "---\n...\n",    "...\n",
                                   "--- ~\n",      "Null\n", "train: NULL\n", "train: Null\n"};
    for (size_t i = 0; i < sizeof three / sizeof *three; i++) {
        ttt_conf *conf = loaded(three[i]);
        assert_int_equal(conf->train.steps, 3);
        conf_destroy(conf);
    }
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        ttt_conf *conf = loaded(nothing[i]);
        assert_int_equal(conf->train.steps, 1000);
        conf_destroy(conf);
    }
    refused("---\n---\ntrain: {steps: 3}\n", "second document", NULL);
    refused("train: {steps: 3}\n...\ntrain: {steps: 3}\n", "second document", NULL);
    refused("train: {steps: 3}\n...\n---\n", "second document", NULL);
    refused("%YAML 2.0\n---\ntrain: {steps: 3}\n", "bad.yaml", "YAML 1.2", NULL);
    refused("train:\n  \xef\xbb\xbfsteps: 3\n", "line 2", "0xef", NULL);
    refused("\xff\xfet", "bad.yaml", "UTF-16", NULL);
    refused("\xfe\xff", "bad.yaml", "UTF-16", NULL);
}

static void core_schema(void **state) {
    (void)state;
    ttt_conf *conf = loaded("train: {steps: 0x10, batch: 0o17, lr: 1e-2, clip: .5, seed: 0017}\n"
                            "model: {tied: FALSE, qk_norm: False, pre_norm: TRUE}\n"
                            "data: {train: \"null\", valid: '~', pattern: True}\n");
    assert_int_equal(conf->train.steps, 16);
    assert_int_equal(conf->train.batch, 15);
    assert_int_equal(conf->train.seed, 17);
    assert_false(conf->model.tied || conf->model.qk_norm);
    assert_true(conf->model.pre_norm);
    assert_string_equal(conf->data.train, "null"); /* in quotes it is a text */
    assert_string_equal(conf->data.pattern, "True");
    conf_destroy(conf);
    refused("data: {train: Null}\n", "data.train", "no value", NULL);
    refused("data: {train: NULL}\n", "data.train", "no value", NULL);
    refused("train: {clip: .inf}\n", "train.clip", "out of bounds", NULL);
    refused("model: {tied: yes}\n", "model.tied", "neither true nor false", NULL);
}

/* Each item of a sequence is one path whatever is in it, and config.yaml keeps it so. */
static void lists(void **state) {
    (void)state;
    char path[256];
    ttt_conf *again;
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    ttt_conf *conf = loaded("data:\n  train: [a.h5, \"b,c.h5\", ' d ', e\\f]\n"
                            "  valid:\n  - ~/x.h5\n  - ./~/y.h5\n  test: []\n"
                            "model: {blocks: 12}\n"
                            "inner: {mode: e2e, suffix: 6, fast_blocks: [9, 11]}\n");
    assert_string_equal(conf->data.train, "a.h5,b\\,c.h5,\\ d\\ ,e\\\\f");
    assert_string_equal(conf->data.valid, "/h/x.h5,./~/y.h5");
    assert_string_equal(conf->data.test, "");
    assert_true(conf_fast_block(conf, 9) && conf_fast_block(conf, 11));
    assert_false(conf_fast_block(conf, 10));
    snprintf(path, sizeof path, "%s/again.yaml", scratch);
    assert_int_equal(conf_write(conf, path), KERN_OK);
    assert_int_equal(conf_load(&again, path, 0, NULL), KERN_OK);
    assert_string_equal(again->data.train, conf->data.train);
    assert_string_equal(again->data.valid, conf->data.valid);
    assert_string_equal(again->inner.fast_blocks, "9,11");
    conf_destroy(again);
    conf_destroy(conf);
    refused("data:\n  train: [a, '']\n", "bad.yaml:2", "data.train", "an item", "empty", NULL);
    refused("data:\n  train: [a, ~]\n", "bad.yaml:2", "data.train", "an item", "no value", NULL);
    refused("data:\n  train: [a, [b]]\n", "bad.yaml:2", "data.train", "an item", "a list", NULL);
    refused("data:\n  train: !!seq [a]\n", "bad.yaml:2", "data.train", "a tag", NULL);
    refused("data:\n  tokenizer: [a]\n", "data.tokenizer", "a list", NULL);
}

static void mistakes_are_placed(void **state) {
    (void)state;
    refused("model:\n  dim: 64\n  haeds: 4\n", "bad.yaml:3", "model.haeds", "model.heads?", NULL);
    refused("\n\ntrian: {steps: 3}\n", "bad.yaml:3", "trian", "did you mean train?", NULL);
    refused("steps: 3\n", "bad.yaml:1", "did you mean train: {steps: ...}?", NULL);
    refused("train.steps: 3\n", "bad.yaml:1", "did you mean train: {steps: ...}?", NULL);
    refused("model:\n  steps: 3\n", "bad.yaml:2", "no option model.steps", "train.steps?", NULL);
    refused("train:\n\n  steps: -3\n", "bad.yaml:3", "train.steps", "'-3'", "1 to 1000000000",
            NULL);
    refused("train:\n  lr: fast\n", "bad.yaml:2", "train.lr", "'fast' is not a number", NULL);
    refused("train:\n  lr:\n", "bad.yaml:2", "train.lr", "no value", NULL);
    refused("train:\n  lr: ~\n", "bad.yaml:2", "train.lr", "no value", NULL);
    refused("train:\n  lr: [1, 2]\n", "bad.yaml:2", "train.lr", "a list", NULL);
    refused("train:\n  lr: {a: 1}\n", "bad.yaml:2", "train.lr", "a mapping", NULL);
    refused("train:\n  lr: !!float 1\n", "bad.yaml:2", "train.lr", "a tag", NULL);
    refused("train: &a\n  lr: 1\ninner: *a\n", "bad.yaml:3", "inner", NULL);
    refused("train:\n  lr: &a 1\n  eps: *a\n", "bad.yaml:3", "train.eps", "alias", NULL);
    refused("model:\n  <<: {dim: 64}\n", "bad.yaml:2", "merge keys", "include: FILE", NULL);
    refused("data:\n  train: \"a\\0b\"\n", "bad.yaml:2", "data.train", "zero byte", NULL);
    refused("train: 3\n", "bad.yaml:1", "section train", NULL);
    refused("train: !x null\n", "bad.yaml:1", "section train", NULL);
    refused("- 1\n- 2\n", "bad.yaml:1", "sections", NULL);
    refused("just text\n", "bad.yaml:1", "sections", NULL);
    refused("? [1, 2]\n: 3\n", "bad.yaml:1", "a key", NULL);
    refused("name: ../up\n", "bad.yaml:1", "name '../up'", NULL);
    refused("when:\n  - size: 1b\n", "bad.yaml:1", "when needs", NULL);
}

static void twice_is_refused(void **state) {
    (void)state;
    refused("train:\n  lr: 1\n  lr: 1\n", "bad.yaml:3", "duplicate key", NULL);
    refused("train: {lr: 1}\nmodel: {dim: 64}\ntrain: {eps: 1}\n", "bad.yaml:3", "duplicate key",
            NULL);
    refused("train:\n  lr: 1\n  \"lr\": 1\n", "bad.yaml:3", "duplicate key", NULL);
    refused("train: {lr: 1}\n---\ntrain: {lr: 2}\n", "bad.yaml", "second document", NULL);
}

static void malformed_yaml_is_placed(void **state) {
    (void)state;
    refused("model: {dim: 64\ntrain:\n", "bad.yaml:", "malformed YAML", NULL);
    refused("model:\n  dim: 1\n train: 2\n", "bad.yaml:3", "malformed YAML", NULL);
    refused("model:\n\tdim: 1\n", "bad.yaml:2", "malformed YAML", NULL);
    refused("model:\n  dim: \"64\n", "bad.yaml:", "malformed YAML", NULL);
    refused("train: {lr: 1}\n]\n", "bad.yaml:2", NULL);
    refused("train:\n  lr: \xff\n", "bad.yaml", "line 2", "0xff", NULL);
    refused("train:\x01\n", "bad.yaml", "line 1", "0x01", NULL);
}

static void files_that_are_none(void **state) {
    (void)state;
    char path[256];
    ttt_conf *conf;
    char *large = calloc(1, (1 << 20) + 2);
    memset(large, '#', (1 << 20) + 1);
    assert_int_equal(conf_load(&conf, "/nowhere/x.yaml", 0, NULL), KERN_ERR_FILE);
    assert_non_null(strstr(kern_error(), "/nowhere/x.yaml: No such file"));
    assert_int_equal(conf_load(&conf, "/tmp/", 0, NULL), KERN_ERR_FILE);
    write_text(path, "large.yaml", large, (1 << 20) + 1);
    assert_int_equal(conf_load(&conf, path, 0, NULL), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "more than 1 MiB"));
    free(large);
    assert_int_equal(conf_load(&conf, "qiuckstart", 0, NULL), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "did you mean quickstart?"));
    assert_int_equal(conf_load(&conf, "125m-e2e-9k", 0, NULL), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "did you mean 125m-e2e-8k?"));
    assert_int_equal(conf_load(&conf, "", 0, NULL), KERN_ERR_CONFIG);
}

static void includes(void **state) {
    (void)state;
    char path[256];
    ttt_conf *conf;
    const char *first = "name: inner-name\ntrain: {steps: 11, seed: 5}\n";
    write_text(path, "first.yaml", first, strlen(first));
    conf = loaded("train: {seed: 6}\ninclude: first.yaml\n");
    assert_int_equal(conf->train.steps, 11);
    assert_int_equal(conf->train.seed, 6); /* the includer wins wherever include stands */
    assert_string_equal(conf->name, "good");
    conf_destroy(conf);
    conf = loaded("include: [quickstart, ./first.yaml]\ntrain: {warmup_steps: 2}\n"
                  "inner: {warmup_steps: 0}\n");
    assert_int_equal(conf->model.dim, 128);
    assert_int_equal(conf->train.steps, 11);
    conf_destroy(conf);
    conf = loaded("include: 125m-e2e-32k\n");
    assert_string_equal(conf->train.init_from, "runs/125m-e2e-8k");
    conf_destroy(conf);
    refused("train: {}\ninclude: bad.yaml\n", "bad.yaml:2", "does a file include itself?", NULL);
    refused("\ninclude: gone.yaml\n", "bad.yaml:2", "gone.yaml: No such file", NULL);
    refused("\ninclude: quikstart\n", "bad.yaml:2", "did you mean quickstart?", NULL);
    refused("include: {a: 1}\n", "bad.yaml:1", NULL);
    write_text(path, "first.yaml", "train:\n  stesp: 1\n", 18);
    refused("include: first.yaml\n", "bad.yaml:1", "first.yaml:2", "train.steps?", NULL);
}

/* A folder of one's own, with conditions that hold, do not hold, and are wrong. */
static void compositions(void **state) {
    (void)state;
    char command[256], path[256];
    ttt_conf *conf;
    snprintf(command, sizeof command, "mkdir -p %s/sizes %s/methods %s/stages", scratch, scratch,
             scratch);
    assert_int_equal(system(command), 0);
    const char *size =
        "model: {mlp: 64}\nwhen:\n"
        "  - {method: m, stage: [t, s], train: {steps: 5, init_from: '{size}/{x}'}}\n"
        "  - {stage: t, method: m, train: {steps: 6}}\n";
    write_text(path, "sizes/tiny.yaml", size, strlen(size));
    write_text(path, "methods/m.yaml", "model: {window: 9}\n", 19);
    write_text(path, "stages/s.yaml", "train: {context: 64}\n", 21);
    write_text(path, "stages/t.yaml", "train: {context: 128}\n", 22);
    assert_int_equal(setenv("TTT_CONFIGS", scratch, 1), 0);
    if (conf_load(&conf, "tiny-m-s", 0, NULL) != KERN_OK) fail_msg("%s", kern_error());
    assert_int_equal(conf->train.steps, 5);
    assert_int_equal(conf->train.context, 64);
    assert_int_equal(conf->model.window, 9);
    assert_string_equal(conf->train.init_from, "tiny/{x}");
    assert_string_equal(conf->name, "tiny-m-s");
    conf_destroy(conf);
    assert_int_equal(conf_load(&conf, "tiny-m-t", 0, NULL), KERN_OK);
    assert_int_equal(conf->train.steps, 6);
    conf_destroy(conf);
    const struct {
        const char *text, *part;
    } wrong[] = {
        {"when:\n  - {method: n, train: {steps: 5}}\n", "no method 'n'"},
        {"when:\n  - {metod: m, train: {steps: 5}}\n", "did you mean method?"},
        {"when:\n  - {stage: t, train: {stepps: 5}}\n", "did you mean train.steps?"},
        {"when: {stage: t}\n", "must be a list"},
        {"when: [3]\n", "conditions and sections"},
        {"when:\n  - {stage: [t, [s]], train: {steps: 5}}\n", "a list where one value belongs"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text(path, "sizes/tiny.yaml", wrong[i].text, strlen(wrong[i].text));
        assert_int_equal(conf_load(&conf, "tiny-m-s", 0, NULL), KERN_ERR_CONFIG);
        if (!strstr(kern_error(), wrong[i].part)) fail_msg("%s", kern_error());
        assert_non_null(strstr(kern_error(), "sizes/tiny.yaml:"));
    }
    unsetenv("TTT_CONFIGS");
    assert_int_equal(conf_load(&conf, "tiny-m-s", 0, NULL), KERN_ERR_CONFIG);
}

static void full_disk_leaves_the_old_file(void **state) {
    (void)state;
    char path[256];
    ttt_conf *conf;
    assert_int_equal(conf_create(&conf), KERN_OK);
    write_text(path, "kept.yaml", "train: {steps: 3}\n", 18);
    assert_int_equal(conf_write(conf, "/nowhere/x.yaml"), KERN_ERR_FILE);
    char aside[512];
    snprintf(aside, sizeof aside, "%s.tmp", path);
    assert_int_equal(symlink("/dev/full", aside), 0); /* every write fails with ENOSPC */
    assert_int_equal(conf_write(conf, path), KERN_ERR_FILE);
    assert_non_null(strstr(kern_error(), "No space left"));
    assert_int_not_equal(access(aside, F_OK), 0);
    conf_destroy(conf);
    assert_int_equal(conf_load(&conf, path, 0, NULL), KERN_OK);
    assert_int_equal(conf->train.steps, 3);
    conf_destroy(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams),
        cmocka_unit_test(core_schema),
        cmocka_unit_test(lists),
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(mistakes_are_placed),
        cmocka_unit_test(twice_is_refused),
        cmocka_unit_test(malformed_yaml_is_placed),
        cmocka_unit_test(includes),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(compositions),
        cmocka_unit_test(full_disk_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
