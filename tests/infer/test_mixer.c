/* Mixers: which blocks have which, what is refused, what their parameters say of themselves. */
#include "tests/infer/tiny.h"

#include <string.h>

#include "infer/session.h"

enum { T = 16 };

static void losses(const char *overrides, double *nll) {
    tiny m;
    int32_t tokens[T + 1];
    tiny_begin(&m, overrides);
    tiny_tokens(&m, tokens, T + 1, 3);
    tiny_reading how = {.off = !tiny_has_inner(&m), .rate = m.conf->inner.lr, .nll = nll};
    tiny_read(&m, &how, tokens, 1);
    tiny_end(&m);
}

/* What model.attention says is a pattern: the same bits; and one letter otherwise is another
 * model. */
static void test_patterns(void **state) {
    (void)state;
    static const char *const same[][2] = {
        {"model.attention=window", "model.pattern=s"},
        {"model.attention=full", "model.pattern=f"},
        {"model.attention=none", "model.pattern=n"},
        {"model.attention=hybrid model.full_every=2", "model.pattern=sf"},
        {"model.attention=hybrid model.full_every=3", "model.pattern=ssf"},
        {"model.pattern=se", "model.pattern=ses"},
    };
    static const char *const other[] = {"model.pattern=ssf", "model.pattern=sss",
                                        "model.pattern=sse", "model.pattern=ssn"};
    double a[T], b[T];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        losses(same[i][0], a);
        losses(same[i][1], b);
        tiny_assert_close(a, b, T, 0, same[i][1]);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        for (size_t j = 0; j < i; j++) {
            losses(other[i], a);
            losses(other[j], b);
            assert_true(tiny_worst(a, b, T) > 1e-6);
        }
}

static void refused_with(const char *pattern, const char *more, const char *hint) {
    ttt_conf *conf;
    char text[64];
    assert_ok(conf_create(&conf));
    snprintf(text, sizeof text, "model.pattern=%s", pattern);
    assert_ok(conf_set(conf, text));
    assert_ok(conf_set(conf, more));
    kern_status status = conf_check(conf);
    if (status == KERN_OK) status = infer_check(conf);
    assert_int_equal(status, KERN_ERR_CONFIG);
    if (!strstr(kern_error(), hint)) fail_msg("no '%s' in: %s", hint, kern_error());
    conf_destroy(conf);
}

/* The same of a model that takes inner steps. */
static void refused_beside_steps(const char *pattern, const char *more, const char *hint) {
    ttt_conf *conf;
    char text[64];
    snprintf(text, sizeof text, "model.pattern=%s", pattern);
    const char *const override[] = {text, "inner.mode=e2e", "inner.suffix=2", more};
    assert_int_equal(infer_load(&conf, "quickstart", 4, override), KERN_ERR_CONFIG);
    if (!strstr(kern_error(), hint)) fail_msg("no '%s' in: %s", hint, kern_error());
}

static void test_refusals(void **state) {
    (void)state;
    refused_with("sq", "model.blocks=2",
                 "the letter q, which is no mixer; there are s, f (attention), ");
    refused_with("sq", "model.blocks=2",
                 ", m (mamba2), g (gated_delta), k (kvb), e (ema), n (none)");
    refused_with("S", "model.blocks=2", "small letters");
    refused_with("s,f", "model.blocks=4", "small letters");
    refused_with("sssssf", "model.blocks=3", "6 letters for 3 blocks; give at most 3");
    refused_with("s", "model.attention=full", "leave model.attention at window");
    refused_with("ef", "model.heads=5", "not a multiple of model.heads");
    refused_with("ms", "mamba.head_size=100", "does not divide the inner width 1536");
    refused_with("ms", "mamba.groups=5", "does not divide the 24 heads");
    refused_with("gs", "model.dim=384", "give gdn.heads");
    refused_with("k", "kvb.heads=5", "does not divide model.dim 768");
    refused_with("k", "model.head_size=32", "leave model.kv_heads and model.head_size at 0");
    refused_with("k", "model.kv_heads=3", "leave model.kv_heads and model.head_size at 0");
    refused_with("sk", "model.heads=7", "not a multiple of model.heads");
    refused_beside_steps("k", "kvb.chunk=100",
                         "of kvb.chunk 100, but a step's tokens must be whole chunks of the "
                         "memory; kvb.chunk=64 would do");
    ttt_conf *conf;
    static const char *const unknown[] = {"model.pattern=sq"};
    assert_int_equal(infer_load(&conf, "quickstart", 1, unknown), KERN_ERR_CONFIG);
    assert_null(conf);
    static const char *const heads[] = {"model.pattern=e", "model.heads=5"};
    assert_ok(infer_load(&conf, "quickstart", 2, heads)); /* nobody has heads */
    conf_destroy(conf);
}

/* A letter is one mixer's, and a name; n is none's. */
static void test_letters(void **state) {
    (void)state;
    char seen[64] = "n";
    for (const infer_mixer *const *row = infer_mixers; *row; row++) {
        for (const infer_mixer *const *other = infer_mixers; other < row; other++)
            assert_string_not_equal((*other)->name, (*row)->name);
        for (const char *at = (*row)->letters; *at; at++) {
            if (*at < 'a' || *at > 'z' || strchr(seen, *at))
                fail_msg("letter %c of %s", *at, (*row)->name);
            seen[strlen(seen)] = *at;
        }
    }
}

/* Ranks' spans tile what is cut and repeat what is not. */
static void check_spans(const infer_parameter *p, int ranks) {
    int64_t size = p->whole[p->split.axis], from = 0;
    int *held = calloc((size_t)size, sizeof *held);
    assert_non_null(held);
    for (int rank = 0; rank < ranks; rank++) {
        infer_span span[INFER_RANGES];
        int spans = infer_spans(span, &p->split, INFER_ALL_RANGES, rank, ranks);
        assert_int_equal(spans, p->split.ranges);
        for (int s = 0; s < spans; s++)
            for (int64_t i = 0; i < span[s].count; i++) held[span[s].first + i]++;
    }
    for (int range = 0; range < p->split.ranges; range++) {
        int64_t until = from + p->split.range[range].count;
        for (; from < until; from++)
            if (held[from] != (p->split.range[range].parts ? 1 : ranks))
                fail_msg("%s, %d ranks: %d of them hold %d", p->name, ranks, held[from], (int)from);
    }
    assert_int_equal(from, p->split.ranges ? size : 0);
    free(held);
}

static void test_splits(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "model.pattern=es model.vocab=20 model.tied=false");
    for (int i = 0; i < m.layout->count; i++) {
        const infer_parameter *p = &m.layout->item[i];
        for (int ranks = 1; ranks <= 2; ranks++) check_spans(p, ranks);
        bool whole = p->rank == 1 && !strstr(p->name, "decay");
        assert_int_equal(p->split.ranges == 0, whole);
    }
    /* Columns in three ranges, the middle one on every rank. */
    infer_parameters *mixed = kern_array(1, sizeof *mixed);
    infer_parameter *p = INFER_ADD(mixed, tiny_find(&m, "blocks.0.ema.w_in")->role, 0, 3, 16);
    infer_add_range(p, 1, 8, 4, "model.heads");
    infer_add_range(p, 1, 2, 0, NULL);
    infer_add_range(p, 1, 6, 2, "model.heads");
    infer_span span[INFER_RANGES];
    assert_int_equal(infer_spans(span, &p->split, INFER_ALL_RANGES, 1, 2), 3);
    assert_true(span[0].first == 4 && span[0].count == 4);
    assert_true(span[1].first == 8 && span[1].count == 2);
    assert_true(span[2].first == 13 && span[2].count == 3);
    assert_int_equal(infer_spans(span, &p->split, INFER_CUT_RANGES, 1, 2), 2);
    assert_true(span[1].first == 13 && span[1].count == 3);
    assert_int_equal(infer_spans(span, &p->split, INFER_WHOLE_RANGES, 1, 2), 1);
    assert_true(span[0].first == 8 && span[0].count == 2);
    check_spans(p, 2);
    free(mixed->item);
    free(mixed);
    tiny_end(&m);
}

/* Parameters without weight decay lie behind those with it, nothing between but gaps. */
static void test_places(void **state) {
    (void)state;
    tiny m;
    int64_t end = 0, weights = 0;
    tiny_begin(&m, "model.pattern=es");
    assert_true(m.layout->decaying < m.layout->elements);
    assert_int_equal(m.layout->decaying % INFER_ROW + m.layout->elements % INFER_ROW, 0);
    for (int no_decay = 0; no_decay < 2; no_decay++)
        for (int i = 0; i < m.layout->count; i++) {
            const infer_parameter *p = &m.layout->item[i];
            if (p->role->no_decay != no_decay) continue;
            assert_true(p->offset >= end && p->offset % 16 == 0);
            assert_int_equal(p->offset >= m.layout->decaying, no_decay);
            end = p->offset + p->elements;
            weights += p->elements;
        }
    assert_int_equal(weights, m.layout->weights);
    tiny_end(&m);
    tiny_begin(&m, "");
    assert_int_equal(m.layout->decaying, m.layout->elements);
    tiny_end(&m);
}

/* What a session keeps for a mixer's carries: now and next, and in the suffix a chunk's beginning;
 * and that reading a token reads them once. */
static void test_memory_of_carries(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "model.pattern=e model.dim=16");
    infer_session *session;
    infer_session_spec spec = {
        .conf = m.conf, .inner = true, .device = test_device(), .threads = 1};
    omp_set_num_threads(1);
    assert_ok(infer_session_create(&session, &spec));
    infer_session_memory memory = infer_session_plan(session);
    enum { CARRY = 16 * sizeof(double), PREFIX = 1, SUFFIX = 2 };
    assert_int_equal(memory.history, (2 * PREFIX + 3 * SUFFIX) * CARRY);
    assert_true(memory.history_read == (PREFIX + SUFFIX) * CARRY);
    infer_session_destroy(session);
    tiny_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_letters),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_splits),
        cmocka_unit_test(test_places),   cmocka_unit_test(test_memory_of_carries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
