/* The option table: its own consistency, values as text and back, the document made of it. */
#include "configs/options.h"
#include "tests/configs/texts.h"

#include <math.h>

static char *printed(const ttt_conf *conf, const conf_option *option) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    assert_non_null(to);
    conf_option_print(to, conf, option);
    fclose(to);
    if (conf_option_is_text(option)) { /* the quotes are YAML's */
        text[strlen(text) - 1] = 0;
        memmove(text, text + 1, strlen(text));
    }
    return text;
}

static void set(ttt_conf *conf, const char *name, const char *value) {
    if (conf_option_set(conf, conf_option_find(name), value) != KERN_OK)
        fail_msg("%s", kern_error());
}

static void not_set(ttt_conf *conf, const char *name, const char *value, const char *part) {
    char *before = printed(conf, conf_option_find(name));
    assert_int_equal(conf_option_set(conf, conf_option_find(name), value), KERN_ERR_CONFIG);
    char *after = printed(conf, conf_option_find(name));
    assert_string_equal(before, after);
    assert_non_null(strstr(kern_error(), name));
    if (!strstr(kern_error(), part)) fail_msg("no '%s' in: %s", part, kern_error());
    free(before);
    free(after);
}

/* Rows in the order of the struct, unique, described; bytes of the struct that no row covers are
 * those of `name` and padding. */
static void table_covers_the_struct(void **state) {
    (void)state;
    int64_t count, covered = 0;
    size_t sections = 0;
    static const size_t bytes[] = {sizeof(int64_t), sizeof(double),         sizeof(double),
                                   sizeof(bool),    sizeof(conf_attention), sizeof(char *),
                                   sizeof(char *),  sizeof(char *),         sizeof(uint64_t)};
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++) {
        assert_non_null(strchr(options[i].name, '.'));
        assert_ptr_equal(conf_option_find(options[i].name), &options[i]);
        assert_true(strlen(options[i].help) > 5);
        if (i) assert_true(options[i].offset >= options[i - 1].offset + bytes[options[i - 1].type]);
        covered += (int64_t)bytes[options[i].type];
        size_t section = strcspn(options[i].name, ".") + 1;
        sections += !i || strncmp(options[i].name, options[i - 1].name, section) != 0;
    }
    /* less than 8 of padding a section */
    assert_true(sizeof(ttt_conf) - sizeof(char *) - (size_t)covered < 8 * sections);
}

static void bounds_hold_on_both_sides(void **state) {
    (void)state;
    int64_t count;
    ttt_conf *conf;
    const conf_option *options = conf_options(&count);
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (int64_t i = 0; i < count; i++) {
        const conf_option *option = &options[i];
        char text[64];
        if (option->type != CONF_INTEGER && option->type != CONF_REAL) continue;
        double step = option->type == CONF_INTEGER ? 1 : fmax(fabs(option->least), 1e-9) * 1e-3;
        snprintf(text, sizeof text, "%.17g", option->least);
        set(conf, option->name, text);
        assert_int_equal(conf_option_check(conf, option), KERN_OK);
        snprintf(text, sizeof text, "%.17g", option->least - step);
        not_set(conf, option->name, text, "out of bounds");
        snprintf(text, sizeof text, "%.17g", option->most);
        set(conf, option->name, text);
        step = option->type == CONF_INTEGER ? 1 : option->most * 1e-3;
        snprintf(text, sizeof text, "%.17g", option->most + 2 * step);
        not_set(conf, option->name, text, "out of bounds");
    }
    conf_destroy(conf);
}

static void print_and_set_are_inverse(void **state) {
    (void)state;
    int64_t count;
    ttt_conf *one, *two;
    const conf_option *options = conf_options(&count);
    const double reals[] = {0.1, 1.0 / 3, 3e-3, 1e-30, 0.02, 123456.789, 1};
    assert_int_equal(conf_create(&one), KERN_OK);
    assert_int_equal(conf_create(&two), KERN_OK);
    for (int64_t i = 0; i < count; i++)
        for (size_t j = 0; j < sizeof reals / sizeof *reals; j++) {
            if (options[i].type == CONF_REAL || options[i].type == CONF_BYTES)
                memcpy((char *)one + options[i].offset, &reals[j], sizeof(double));
            if (conf_option_check(one, &options[i]) != KERN_OK) continue;
            char *text = printed(one, &options[i]);
            set(two, options[i].name, text);
            assert_true(conf_option_equal(one, two, &options[i]));
            free(text);
        }
    conf_destroy(one);
    conf_destroy(two);
}

static void numbers_are_plain(void **state) {
    (void)state;
    ttt_conf *conf;
    assert_int_equal(conf_create(&conf), KERN_OK);
    set(conf, "train.steps", "1e6");
    assert_int_equal(conf->train.steps, 1000000);
    set(conf, "train.seed", "9007199254740991");
    assert_int_equal(conf->train.seed, 9007199254740991);
    set(conf, "train.lr", "3e-3");
    assert_true(conf->train.lr == 3e-3);
    set(conf, "inner.lr", "-0"); /* must not make an unequal zero */
    assert_false(signbit(conf->inner.lr));
    not_set(conf, "model.window", "8k", "8192, not 8k");
    const char *const junk[] = {"",
                                " 8",
                                "8 ",
                                "-0x10",
                                "0x",
                                "0x0x1",
                                "0X10",
                                "0o8",
                                "0b1",
                                ".inf",
                                "1.5",
                                "nan",
                                "inf",
                                "1e400",
                                "--1",
                                "1_0",
                                "1,0",
                                "e",
                                "99999999999999999999999",
                                "true"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
        not_set(conf, "train.steps", junk[i], "allowed: 1 to 1000000000 (steps)");
    not_set(conf, "train.lr", "1e-3x", "is not a number");
    not_set(conf, "train.lr", "nan", "is not a number");
    not_set(conf, "train.lr", "0x1p3", "is not a number");
    conf_destroy(conf);
}

/* Numbers and truths in the forms of YAML 1.2's core schema, and not in those of 1.1 (017 is no
 * octal number, yes no truth). */
static void core_schema(void **state) {
    (void)state;
    ttt_conf *conf;
    const struct {
        const char *text;
        int64_t number;
    } whole[] = {{"0x1F", 31}, {"0o17", 15}, {"017", 17}, {"+8", 8}, {"1e3", 1000}, {"2.0", 2}};
    const struct {
        const char *text;
        double number;
    } reals[] = {{"0x1f", 31}, {"0o17", 15}, {".5", 0.5}, {"+2.", 2}, {"1E-2", 0.01}, {"-0.0", 0}};
    const char *const truths[] = {"false", "true", "False", "True", "FALSE", "TRUE"};
    const char *const infinite[] = {".inf", "+.Inf", "-.INF"};
    const char *const words[] = {"yes", "off", "tRUE", "1", "y"};
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        set(conf, "train.steps", whole[i].text);
        assert_int_equal(conf->train.steps, whole[i].number);
    }
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        set(conf, "train.end_lr", reals[i].text);
        assert_true(conf->train.end_lr == reals[i].number);
    }
    for (int i = 0; i < 6; i++) {
        set(conf, "model.tied", truths[i]);
        assert_int_equal(conf->model.tied, i % 2);
    }
    set(conf, "train.memory_limit", "0x10");
    assert_true(conf->train.memory_limit == 16);
    for (int i = 0; i < 3; i++) not_set(conf, "train.lr", infinite[i], "out of bounds");
    for (int i = 0; i < 5; i++) not_set(conf, "model.tied", words[i], "neither true nor false");
    not_set(conf, "train.lr", ".nan", "is not a number");
    conf_destroy(conf);
}

static void seeds_have_64_bits(void **state) {
    (void)state;
    ttt_conf *conf, *other;
    const char *const same[] = {"0",          "9007199254740993",     "9223372036854775808",
                                "1000000007", "18446744073709551614", "18446744073709551615"};
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        set(conf, "train.seed", same[i]);
        assert_true(conf->train.seed == strtoull(same[i], NULL, 10));
        char *text = printed(conf, conf_option_find("train.seed"));
        assert_string_equal(text, same[i]);
        free(text);
        assert_int_equal(conf_check(conf), KERN_OK);
    }
    assert_int_equal(conf_copy(&other, conf), KERN_OK);
    assert_true(conf_equal(conf, other));
    set(other, "train.seed", "18446744073709551614");
    assert_false(conf_equal(conf, other));
    set(conf, "train.seed", "0xffffffffffffffff");
    assert_true(conf->train.seed == UINT64_MAX);
    set(conf, "train.seed", "1e19");
    assert_true(conf->train.seed == UINT64_C(10000000000000000000));
    not_set(conf, "train.seed", "18446744073709551616", "allowed: 0 to 18446744073709551615");
    not_set(conf, "train.seed", "2e19", "out of bounds");
    not_set(conf, "train.seed", "-1", "out of bounds");
    not_set(conf, "train.seed", "1.5", "not a whole number");
    conf_destroy(conf);
    conf_destroy(other);
}

static void home_is_expanded(void **state) {
    (void)state;
    ttt_conf *conf;
    assert_int_equal(setenv("HOME", "/home/a,b", 1), 0);
    const struct {
        const char *option, *text, *value;
    } cases[] = {{"run.dir", "~/x", "/home/a,b/x"},
                 {"run.dir", "~", "/home/a,b"},
                 {"run.dir", "./~/x", "./~/x"},
                 {"run.dir", "~x/y", "~x/y"},
                 {"run.dir", "a/~/b,~/c", "a/~/b,~/c"},
                 {"train.init_from", "~/x", "/home/a,b/x"},
                 {"data.tokenizer", "~/x", "/home/a,b/x"},
                 {"data.pattern", "~/x", "~/x"},
                 {"data.train", "~/x,b, ~/c\\,d", "/home/a\\,b/x,b, /home/a\\,b/c\\,d"},
                 {"data.valid", "a\\,~/b,\\ ~/c,~", "a\\,~/b,\\ ~/c,/home/a\\,b"}};
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const conf_option *option = conf_option_find(cases[i].option);
        set(conf, option->name, cases[i].text);
        assert_string_equal(*(const char **)(void *)((char *)conf + option->offset),
                            cases[i].value);
    }
    assert_int_equal(unsetenv("HOME"), 0);
    not_set(conf, "run.dir", "~/x", "$HOME, which is not set");
    set(conf, "run.dir", "x");
    conf_destroy(conf);
}

/* The option that a wrong name means; NULL: nobody knows. */
static void nearest(void **state) {
    (void)state;
    const struct {
        const char *word, *option;
    } cases[] = {{"learning_rate", "train.lr"},
                 {"learning-rate", "train.lr"},
                 {"train.learning_rate", "train.lr"},
                 {"inner.learning_rate", "inner.lr"},
                 {"lr", "train.lr"},
                 {"stesp", "train.steps"},
                 {"train.stesp", "train.steps"},
                 {"max_steps", "train.steps"},
                 {"n_layer", "model.blocks"},
                 {"out", "run.dir"},
                 {"name", "run.dir"},
                 {"dataset", "data.train"},
                 {"chunk-size", "inner.chunk"},
                 {"kvb.chunk_size", "kvb.chunk"},
                 {"head_dim", "model.head_size"},
                 {"vocab_size", "model.vocab"},
                 {"size", "model.head_size"},
                 {"train.prec", "train.precision"},
                 {"prec", "train.precision"},
                 {"train", "data.train"},
                 {"model.head", "model.heads"},
                 {"p", NULL},
                 {"nothing", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = conf_option_nearest(cases[i].word);
        if (!found || !cases[i].option ? found != cases[i].option
                                       : strcmp(found, cases[i].option) != 0)
            fail_msg("%s is taken for %s", cases[i].word, found ? found : "nothing");
    }
}

static void sizes_have_units(void **state) {
    (void)state;
    ttt_conf *conf;
    const struct {
        const char *text;
        double bytes;
    } cases[] = {{"1.2GB", 1.2e9}, {"1.2 GB", 1.2e9}, {"512MiB", 536870912.0},  {"0", 0},
                 {"64", 64},       {"3kB", 3000},     {"2TiB", 2199023255552.0}};
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set(conf, "train.memory_limit", cases[i].text);
        assert_true(fabs(conf->train.memory_limit - cases[i].bytes) < 1e-6);
    }
    not_set(conf, "train.memory_limit", "1.2Gb", "not a size");
    not_set(conf, "train.memory_limit", "-1", "out of bounds");
    not_set(conf, "train.memory_limit", "GB", "not a size");
    conf_destroy(conf);
}

static void names_and_truths(void **state) {
    (void)state;
    ttt_conf *conf;
    assert_int_equal(conf_create(&conf), KERN_OK);
    set(conf, "model.attention", "hybrid");
    assert_int_equal(conf->model.attention, CONF_ATTN_HYBRID);
    set(conf, "inner.mode", "naive");
    assert_int_equal(conf->inner.mode, CONF_INNER_NAIVE);
    set(conf, "train.precision", "f64");
    assert_int_equal(conf->train.precision, CONF_F64);
    set(conf, "model.tied", "false");
    assert_false(conf->model.tied);
    not_set(conf, "model.tied", "yes", "true or false");
    not_set(conf, "inner.mode", "frist_order", "did you mean first_order?");
    not_set(conf, "train.precision", "fp8", "one of f32, bf16, f64");
    not_set(conf, "run.dir", "a\nb", "control character");
    not_set(conf, "run.dir", "\xc3(", "not UTF-8");
    not_set(conf, "run.dir", "\xed\xa0\x80", "not UTF-8"); /* a surrogate */
    not_set(conf, "run.dir", "\xe2\x82", "not UTF-8");     /* cut */
    set(conf, "run.dir", "L\xc3\xa4ufe/\xf0\x9f\x93\x96");
    conf_destroy(conf);
}

static void overrides(void **state) {
    (void)state;
    ttt_conf *conf;
    const char *const good[] = {"train.steps=7", "data.train=a=b.h5"};
    const char *const bad[] = {"train.stpes=7"};
    assert_int_equal(conf_load(&conf, "quickstart", 2, good), KERN_ERR_CONFIG); /* warm-up 40 > 7 */
    assert_non_null(strstr(kern_error(), "train.total_steps"));
    const char *const whole[] = {"train.steps=7", "data.train=a=b.h5", "train.total_steps=400"};
    assert_int_equal(conf_load(&conf, "quickstart", 3, whole), KERN_OK);
    assert_int_equal(conf->train.steps, 7);
    assert_string_equal(conf->data.train, "a=b.h5");
    conf_destroy(conf);
    assert_int_equal(conf_load(&conf, "quickstart", 1, bad), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "did you mean train.steps?"));
    assert_int_equal(conf_create(&conf), KERN_OK);
    assert_int_equal(conf_set(conf, "steps"), KERN_ERR_CONFIG);
    assert_int_equal(conf_set(conf, "steps=1"), KERN_ERR_CONFIG);
    assert_non_null(strstr(kern_error(), "did you mean train.steps?"));
    assert_int_equal(conf_set(conf, "=1"), KERN_ERR_CONFIG);
    assert_int_equal(conf_set(conf, "nothing.like.it=1"), KERN_ERR_CONFIG);
    assert_null(strstr(kern_error(), "did you mean"));
    conf_destroy(conf);
}

/* A list in brackets is what it would be in a file, and no other option's value. */
static void sequences(void **state) {
    (void)state;
    ttt_conf *conf;
    static const struct {
        const char *given, *list;
    } good[] = {{"[a.h5, b.h5]", "a.h5,b.h5"},
                {"[ 'a,b.h5', \"c d.h5\" ]", "a\\,b.h5,c d.h5"},
                {"[]", ""},
                {"[a-c].h5", "[a-c].h5"},
                {"[ab]*,c[de]*", "[ab]*,c[de]*"}};
    static const char *const bad[] = {"[a, [b]]",         "[a, , b]",          "[a], valid: [b]",
                                      "[a]\n  valid: []", "[a: b, c: [d, e]]", "[a, ~]"};
    assert_int_equal(conf_create(&conf), KERN_OK);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char assignment[64];
        snprintf(assignment, sizeof assignment, "data.train=%s", good[i].given);
        if (conf_set(conf, assignment) != KERN_OK) fail_msg("%s", kern_error());
        assert_string_equal(conf->data.train, good[i].list);
    }
    assert_int_equal(conf_set(conf, "data.train=kept"), KERN_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char assignment[64];
        snprintf(assignment, sizeof assignment, "data.train=%s", bad[i]);
        if (conf_set(conf, assignment) != KERN_ERR_CONFIG) fail_msg("%s is read", bad[i]);
        assert_non_null(strstr(kern_error(), "data.train"));
        assert_string_equal(conf->data.train, "kept");
        assert_string_equal(conf->data.valid, "");
    }
    conf_destroy(conf);
}

static void document_is_current(void **state) {
    (void)state;
    char *made = NULL, *there = calloc(1, 1 << 16);
    size_t bytes = 0;
    FILE *to = open_memstream(&made, &bytes);
    conf_print_markdown(to);
    fclose(to);
    FILE *file = fopen(TESTS_DIR "/../docs/options.md", "r");
    assert_non_null(file);
    assert_true(fread(there, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    if (strcmp(made, there))
        fail_msg("docs/options.md is old: ttt configs --options --markdown > docs/options.md");
    free(made);
    free(there);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_covers_the_struct),
        cmocka_unit_test(bounds_hold_on_both_sides),
        cmocka_unit_test(print_and_set_are_inverse),
        cmocka_unit_test(numbers_are_plain),
        cmocka_unit_test(core_schema),
        cmocka_unit_test(seeds_have_64_bits),
        cmocka_unit_test(home_is_expanded),
        cmocka_unit_test(nearest),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(names_and_truths),
        cmocka_unit_test(overrides),
        cmocka_unit_test(sequences),
        cmocka_unit_test(document_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
