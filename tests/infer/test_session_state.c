/* What a state says of the session that it was read with: numbers that cannot be, and options, in
 * the words of now and of early programs. */
#include "tests/infer/session_fixture.h"

/* Numbers and tokens that reading never leaves behind are refused, whatever the checksum says. */
static void test_forged_states(void **state) {
    (void)state;
    static const char *const texts[] = {
        "36 1 2 0 8 1 1 1 1 1 36",  /* 36 = 9 chunks: 4 tokens wait, not one */
        "37 1 1 0 9 1 1 1 1 1 37",  /* between a chunk and the token after it */
        "37 1 0 0 9 1 1 1 1 1 37",  /* no scores */
        "37 1 7 0 9 1 1 1 1 1 37",  /* scores of no kind */
        "37 37 2 0 9 1 1 1 1 1 37", /* more tokens wait than a chunk has */
        "37 -3 2 0 9 1 1 1 1 1 37", "9223372036854775805 1 2 0 9 1 1 1 1 1 37", "37 1 2 0 9 1",
        "37 1 2 0 9 1 1 1 1 1 37 1"};
    char path[64], forged[80];
    state_path(path);
    snprintf(forged, sizeof forged, "%s.forged", path);
    tiny m;
    int32_t tokens[37];
    tiny_begin(&m, "");
    tiny_tokens(&m, tokens, 37, 1);
    infer_session *session = begin_session(&m, true, 1);
    assert_ok(infer_session_read(session, tokens, 37, NULL));
    assert_ok(infer_session_save(session, path, "a"));
    const forgery as_it_is = {.text = "37 1 2 0 9 1 1 1 1 1 37", .token = 18};
    forge(forged, path, &as_it_is);
    assert_ok(infer_session_load(session, forged, "a"));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const forgery other = {.text = texts[i], .token = -1};
        forge(forged, path, &other);
        refused(session, forged, "a", KERN_ERR_DATA, "damaged");
    }
    const forgery beyond = {.token = 19};
    forge(forged, path, &beyond); /* one more than the vocabulary has */
    refused(session, forged, "a", KERN_ERR_DATA, "token 19");
    infer_session_destroy(session);
    tiny_end(&m);
    unlink(path);
    unlink(forged);
}

/* What the format ttt-state-1 said of a session; and what a state says now. */
static const struct {
    const char *overrides, *first, *now;
    bool off;
} ways[] = {
    {"",
     "inner=on window=6 attention=0 full_every=6 rope=100 rope_full=0 "
     "eps=9.9999999999999995e-07 precision=2 suffix=2 fast=suffix separate=1 chunk=4 "
     "lr=0.69999999999999996 clip=0.5",
     "inner=on model.vocab=19 model.dim=12 model.heads=2 model.mlp=10 model.blocks=3 "
     "model.window=6 model.rope_theta=100 model.bos=18 inner.suffix=2 inner.chunk=4 inner.lr=0.7 "
     "inner.clip=0.5 train.precision=f64",
     false},
    {"model.attention=hybrid model.full_every=2 model.rope_theta_full=1000 inner.fast_blocks=1 "
     "inner.separate_mlp=false model.norm_eps=1e-05 inner.warmup_steps=3 inner.mode=first_order",
     "inner=on window=6 attention=2 full_every=2 rope=100 rope_full=1000 "
     "eps=1.0000000000000001e-05 precision=2 suffix=2 fast=1 separate=0 chunk=4 "
     "lr=0.69999999999999996 clip=0.5",
     "inner=on model.vocab=19 model.dim=12 model.heads=2 model.mlp=10 model.blocks=3 "
     "model.attention=hybrid model.full_every=2 model.window=6 model.rope_theta=100 "
     "model.rope_theta_full=1000 model.norm_eps=1e-05 model.bos=18 inner.suffix=2 inner.chunk=4 "
     "inner.fast_blocks=\"1\" inner.separate_mlp=false inner.lr=0.7 inner.clip=0.5 "
     "train.precision=f64",
     false},
    {"model.attention=none",
     "inner=off window=6 attention=3 full_every=6 rope=100 rope_full=0 "
     "eps=9.9999999999999995e-07 precision=2",
     "inner=off model.vocab=19 model.dim=12 model.heads=2 model.mlp=10 model.blocks=3 "
     "model.attention=none model.window=6 model.rope_theta=100 model.bos=18 inner.suffix=2 "
     "inner.chunk=4 inner.lr=0.7 inner.clip=0.5 train.precision=f64",
     true},
};

static void test_options_of_states(void **state) {
    (void)state;
    char path[64], early[80];
    double expected[10], nll[10];
    int32_t tokens[40];
    state_path(path);
    snprintf(early, sizeof early, "%s.early", path);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        tiny m;
        infer_state about;
        tiny_begin(&m, ways[w].overrides);
        tiny_tokens(&m, tokens, 40, 1);
        infer_session *session = begin_session(&m, !ways[w].off, 60);
        assert_ok(infer_session_read(session, tokens, 30, NULL));
        assert_ok(infer_session_save(session, path, "a"));
        assert_ok(infer_session_read(session, tokens + 30, 10, expected));
        assert_ok(infer_state_read(&about, path));
        assert_string_equal(about.options, ways[w].now);
        infer_state_clear(&about);
        /* As an early program wrote it. */
        const forgery as_first = {.format = "ttt-state-1", .options = ways[w].first, .token = -1};
        forge(early, path, &as_first);
        assert_ok(infer_session_load(session, early, "a"));
        assert_ok(infer_session_read(session, tokens + 30, 10, nll));
        assert_memory_equal(nll, expected, sizeof nll);
        if (w == 0) { /* as one wrote it that said less */
            const forgery less = {.format = "ttt-state-1",
                                  .options =
                                      "inner=on chunk=4 lr=0.69999999999999996 clip=0.5 window=6 "
                                      "attention=0 rope=100 precision=2",
                                  .token = -1};
            const forgery other = {
                .format = "ttt-state-1", .options = "inner=on chunk=4 lr=0.5", .token = -1};
            forge(early, path, &less);
            assert_ok(infer_session_load(session, early, "a"));
            forge(early, path, &other);
            refused(session, early, "a", KERN_ERR_CONFIG, "was read with lr=0.5");
        }
        const forgery mixed = {.format = "ttt-state-2", .options = ways[w].first, .token = -1};
        forge(early, path, &mixed);
        refused(session, early, "a", KERN_ERR_CONFIG, "was read with");
        infer_session_destroy(session);
        tiny_end(&m);
    }
    unlink(path);
    unlink(early);
}

/* Every option of the model, of reading and of the precision, but those of training alone: a state
 * that says another value is refused, with both values, the fallback's too. */
static void test_every_option_of_reading_is_compared(void **state) {
    (void)state;
    static const char *const unlike[] = {"model.window=7", "model.qk_norm=false",
                                         "model.rope_theta_full=3", "inner.fast_blocks=\"2\"",
                                         "model.later_option=3"};
    static const char *const instead[] = {"model.window=6", "model.qk_norm=true",
                                          "model.rope_theta_full=0", "inner.fast_blocks=suffix",
                                          "model.later_option=(its default)"};
    char path[64], forged[80], text[1024];
    int32_t tokens[10];
    state_path(path);
    snprintf(forged, sizeof forged, "%s.forged", path);
    tiny m;
    tiny_begin(&m, "");
    tiny_tokens(&m, tokens, 10, 1);
    infer_session *session = begin_session(&m, true, 60);
    assert_ok(infer_session_read(session, tokens, 10, NULL));
    assert_ok(infer_session_save(session, path, "a"));
    for (size_t i = 0; i < sizeof unlike / sizeof *unlike; i++) {
        snprintf(text, sizeof text, "%s", ways[0].now);
        char *window = strstr(text, " model.window=6");
        assert_non_null(window);
        if (i == 0) window[strlen(" model.window=6") - 1] = '7';
        if (i > 0) snprintf(text, sizeof text, "%s %s", ways[0].now, unlike[i]);
        const forgery other = {.options = text, .token = -1};
        forge(forged, path, &other);
        snprintf(text, sizeof text, "was read with %s, this session has %s; load", unlike[i],
                 instead[i]);
        refused(session, forged, "a", KERN_ERR_CONFIG, text);
    }
    infer_session_destroy(session);
    tiny_end(&m);
    unlink(path);
    unlink(forged);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forged_states),
        cmocka_unit_test(test_options_of_states),
        cmocka_unit_test(test_every_option_of_reading_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
