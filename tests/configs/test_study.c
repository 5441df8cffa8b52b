/* A study's file: its points, their names, rules, and what is refused. */
#include "configs/study.h"
#include "tests/configs/texts.h"

static conf_study *load(const char *text) {
    char path[256];
    conf_study *study;
    write_text(path, "study.yaml", text, strlen(text));
    if (conf_study_load(&study, path) != KERN_OK) fail_msg("%s", kern_error());
    return study;
}

static conf_point *expand(int64_t *count, const conf_study *study) {
    conf_point *points;
    if (conf_study_points(&points, count, study) != KERN_OK) fail_msg("%s", kern_error());
    return points;
}

/* The text is refused, by reading it or by making its points, with these words. */
static void refuse(const char *text, const char *words) {
    char path[256];
    conf_study *study;
    conf_point *points = NULL;
    int64_t count = 0;
    write_text(path, "study.yaml", text, strlen(text));
    kern_status status = conf_study_load(&study, path);
    if (status == KERN_OK) status = conf_study_points(&points, &count, study);
    if (status != KERN_ERR_CONFIG) fail_msg("not refused: %s", text);
    if (!strstr(kern_error(), words)) fail_msg("no '%s' in: %s", words, kern_error());
    conf_points_destroy(points, count);
    conf_study_destroy(study);
}

#define BASE "base: quickstart\n"

static void products(void **state) {
    (void)state;
    conf_study *study = load(BASE "train: {steps: 200}\n"
                                  "gdn: {key_size: 48}\n"
                                  "axes:\n"
                                  "  model.window: [64, 32]\n"
                                  "  method:\n"
                                  "    e2e: {inner.mode: e2e}\n"
                                  "    plain one: {inner.mode: \"off\", inner.suffix: 0}\n"
                                  "seeds: [3, 1]\n");
    int64_t count;
    conf_point *points = expand(&count, study);
    assert_int_equal(count, 8);
    assert_string_equal(points[0].name, "window-64_e2e_seed-3");
    assert_string_equal(points[7].name, "window-32_plain-one_seed-1");
    assert_string_equal(points[7].conf->name, points[7].name);
    assert_int_equal(points[7].conf->model.window, 32);
    assert_int_equal(points[7].conf->inner.mode, CONF_INNER_OFF);
    assert_int_equal(points[7].conf->train.seed, 1);
    assert_int_equal(points[7].conf->train.steps, 200);
    assert_int_equal(points[0].conf->inner.mode, CONF_INNER_E2E);
    assert_int_equal(points[0].conf->gdn.key_size, 48);
    assert_int_equal(points[0].conf->model.mlp, 288); /* the base's */
    conf_points_destroy(points, count);
    conf_study_destroy(study);
}

/* Bases may be an axis, values of options that end alike have the whole key. */
static void names(void **state) {
    (void)state;
    conf_study *study = load("axes: {base: [125m-e2e-8k, 350m-swa-8k], train.lr: [1e-3], inner.lr: "
                             "[2]}\n");
    int64_t count;
    conf_point *points = expand(&count, study);
    assert_int_equal(count, 2);
    assert_string_equal(points[1].name, "350m-swa-8k_train.lr-1e-3_inner.lr-2");
    assert_int_equal(points[1].conf->model.dim, 1024);
    assert_int_equal(points[0].conf->model.dim, 768);
    conf_points_destroy(points, count);
    conf_study_destroy(study);
}

static void rules(void **state) {
    (void)state;
    conf_study *study = load(BASE "axes:\n"
                                  "  model.window: [32, 64, 128]\n"
                                  "  inner.chunk: [64, 128]\n"
                                  "leave_out:\n"
                                  "  - {inner.chunk: \"> model.window\", because: too long}\n"
                                  "  - {inner.chunk: [0x80, 7], model.window: 128, because: dull}\n"
                                  "  - {model.window: \"<= 32\", because: never met}\n");
    static const char *const reasons[] = {"too long", "too long", NULL, "too long", NULL, "dull"};
    int64_t count;
    conf_point *points = expand(&count, study);
    assert_int_equal(count, 6);
    for (int i = 0; i < 6; i++) {
        if (!reasons[i]) assert_null(points[i].left_out);
        if (reasons[i]) assert_string_equal(points[i].left_out, reasons[i]);
    }
    conf_points_destroy(points, count);
    conf_study_destroy(study);
}

/* A point that cannot be is refused unless a rule leaves it out. */
static void impossible(void **state) {
    (void)state;
    refuse(BASE "axes: {inner.chunk: [64, 96]}\n", "point chunk-96: train.context 1024 is not a");
    conf_study *study = load(BASE "axes: {inner.chunk: [64, 96]}\n"
                                  "leave_out: [{inner.chunk: 96, because: it does not divide}]\n");
    int64_t count;
    conf_point *points = expand(&count, study);
    assert_null(points[0].left_out);
    assert_string_equal(points[1].left_out, "it does not divide");
    conf_points_destroy(points, count);
    conf_study_destroy(study);
}

static void evaluations(void **state) {
    (void)state;
    conf_study *study = load(BASE "seeds: [1]\nevaluate:\n  loss: {windows: 8, context: [256, 512],"
                                  " by-token: true}\n  latency:\n");
    assert_int_equal(study->evaluations, 2);
    assert_int_equal(study->evaluation[0].measure, CONF_MEASURE_LOSS);
    assert_string_equal(conf_setting_of(&study->evaluation[0].options, "context"), "256,512");
    assert_string_equal(conf_setting_of(&study->evaluation[0].options, "data"), "");
    assert_int_equal(study->evaluation[1].measure, CONF_MEASURE_LATENCY);
    conf_study_destroy(study);
}

static void refusals(void **state) {
    (void)state;
    refuse(BASE, "needs axes or seeds");
    refuse("axes: {model.window: [32]}\n", "base is missing");
    refuse("base: quikstart\nseeds: [1]\n", "did you mean quickstart?");
    refuse(BASE "axes: {model.windw: [32]}\n", "study.yaml:2: no option model.windw; did you mean "
                                               "model.window?");
    refuse(BASE "axes: {model.window: []}\n", "has no value");
    refuse(BASE "axes: {model.window: 32}\n", "must be a list");
    refuse(BASE "axes: {both: {}}\n", "has no value");
    refuse(BASE "axes:\n  model.window: [32, many]\n",
           "study.yaml:3: model.window: 'many' is not a");
    refuse(BASE "axes:\n  both: {a: {model.windw: 3}}\n", "study.yaml:3: no option model.windw");
    refuse(BASE "axes: {train.seed: [1]}\nseeds: [2]\n",
           "axes train.seed and train.seed both set train.seed");
    refuse(BASE "axes: {model.window: [32], both: {a: {model.window: 64}}}\n",
           "axes model.window and both both set model.window");
    refuse(BASE "seeds: [1, 2]\nleave_out: [{train.seed: [1, 2], because: odd}]\n",
           "leaves out every point, as seed-1: odd");
    refuse(BASE "axes: {model.window: [32, 32]}\n", "two points are called window-32");
    refuse(BASE "axes: {model.window: [32]}\nsees: [1]\n",
           "a study has no sees; did you mean seeds?");
    refuse(BASE "seeds: [1]\nmodel: {windw: 3}\n", "no option model.windw");
    refuse(BASE "seeds: [1]\nleave_out: [{model.window: 3}]\n", "needs options with values");
    refuse(BASE "seeds: [1]\nleave_out: [{model.windw: 3, because: x}]\n", "no option model.windw");
    refuse(BASE "seeds: [1]\nevaluate: {los: {}}\n", "evaluate has no los");
    refuse(BASE "seeds: [1]\nevaluate: {loss: {window: 3}}\n", "did you mean windows?");
    refuse(BASE "seeds: [1]\nmatch: flops\n", "match: parameters");
    refuse(BASE "seeds: [1\n", "malformed YAML");
    refuse("- a\n", "a study must hold keys");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),   cmocka_unit_test(names),       cmocka_unit_test(rules),
        cmocka_unit_test(impossible), cmocka_unit_test(evaluations), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
