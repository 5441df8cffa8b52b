/* Reading in any pieces gives the numbers of one pass: a session against the model that training
 * differentiates, whole, token by token, cut at random, through files. */
#include "tests/infer/tiny.h"

#include <unistd.h>

#include "infer/session.h"

enum { MOST = 2048 };

static infer_session *begin_session(const tiny *m, bool inner, int64_t limit) {
    infer_session *session;
    infer_session_spec spec = {.conf = m->conf, .inner = inner, .limit = limit, .threads = 1};
    omp_set_num_threads(1);
    assert_ok(infer_session_create(&session, &spec));
    infer_session_set_parameters(session, m->parameters);
    return session;
}

/* The loss of each token but the first, as the model of one pass has it; bos or not. */
static void reference(tiny *m, double *nll, const int32_t *tokens, bool off) {
    tiny_reading how = {.off = off, .rate = m->conf->inner.lr, .nll = nll};
    tiny_read(m, &how, tokens, 1);
}

static void set_context(tiny *m, int64_t tokens) {
    char text[64];
    snprintf(text, sizeof text, "train.context=%lld", (long long)tokens);
    tiny_set(m->conf, text);
    assert_ok(conf_check(m->conf));
}

/* Sizes of the pieces in which a text is read: each a function of a random number. */
static int64_t whole(double random, int64_t left) {
    (void)random;
    return left;
}
static int64_t single(double random, int64_t left) {
    (void)random;
    (void)left;
    return 1;
}
static int64_t some(double random, int64_t left) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 16, 40, 65, 200, 700};
    int64_t n = sizes[(int)((random + 1) / 2 * (double)(sizeof sizes / sizeof *sizes))];
    return n < left ? n : left;
}

static void read_in(infer_session *session, const int32_t *tokens, int64_t count, double *nll,
                    int64_t (*size)(double, int64_t), uint64_t seed) {
    for (int64_t at = 0; at < count;) {
        int64_t n = size(tiny_random(&seed), count - at);
        assert_ok(infer_session_read(session, tokens + at, n, nll + at));
        at += n;
    }
    assert_int_equal(infer_session_position(session), count);
}

static void test_pieces_do_not_matter(void **state) {
    (void)state;
    static int32_t tokens[MOST + 1];
    static double expected[MOST], nll[MOST + 1];
    int64_t (*const sizes[])(double, int64_t) = {whole, single, some, some};
    for (int v = 0; v < TINY_VARIANTS; v++) {
        tiny m;
        tiny_begin(&m, tiny_variants[v]);
        enum { T = 64 };
        set_context(&m, T);
        tiny_tokens(&m, tokens, T + 1, 5);
        for (int off = !tiny_has_inner(&m); off < 2; off++) {
            reference(&m, expected, tokens, off);
            infer_session *session = begin_session(&m, !off, T + 1);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                infer_session_reset(session);
                read_in(session, tokens, T + 1, nll, sizes[i], 7 + i);
                assert_true(isnan(nll[0]));
                tiny_assert_close(nll + 1, expected, T, 1e-12, tiny_variants[v]);
            }
            infer_session_destroy(session);
        }
        tiny_end(&m);
    }
}

/* So long that the buffers of keys and values slide several times, in every way of reading. */
static void test_long_texts(void **state) {
    (void)state;
    /* Small steps: large ones are chaotic, and blow rounding up from chunk to chunk. */
#define CALM " inner.lr=0.02 model.init_std=0.2"
    static const char *const variants[] = {
        "inner.chunk=32 train.context=1920" CALM,
        "inner.chunk=128 model.window=30 train.context=1920" CALM,
        "inner.chunk=96 model.window=200 train.context=1920" CALM,
        "inner.chunk=4 model.window=2" CALM, "inner.mode=off inner.suffix=0 model.window=40"};
    static int32_t tokens[MOST + 1];
    static double expected[MOST], nll[MOST + 1];
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        tiny m;
        tiny_begin(&m, variants[v]);
        enum { T = 1920 };
        set_context(&m, T);
        tiny_tokens(&m, tokens, T + 1, 9);
        reference(&m, expected, tokens, !tiny_has_inner(&m));
        infer_session *session = begin_session(&m, tiny_has_inner(&m), 1);
        read_in(session, tokens, T + 1, nll, whole, 1);
        tiny_assert_close(nll + 1, expected, T, 1e-12, variants[v]);
        for (uint64_t seed = 1; seed < 4; seed++) {
            infer_session_reset(session);
            read_in(session, tokens, T + 1, nll, some, seed);
            tiny_assert_close(nll + 1, expected, T, 1e-12, variants[v]);
        }
        infer_session_destroy(session);
        tiny_end(&m);
    }
}

/* Memory is what was planned at creation, whatever was read. */
static void test_memory_stays(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "inner.chunk=16");
    static int32_t tokens[MOST];
    tiny_tokens(&m, tokens, MOST, 3);
    infer_session *session = begin_session(&m, true, 1);
    assert_ok(infer_session_read(session, tokens, MOST, NULL));
    size_t before = kern_resident_bytes();
    for (int i = 0; i < 50; i++) assert_ok(infer_session_read(session, tokens, MOST, NULL));
    assert_true(kern_resident_bytes() < before + (1 << 20));
    infer_session_destroy(session);
    tiny_end(&m);
}

/* What is read before an error is nothing. */
static void test_refusals(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "inner.mode=off inner.suffix=0 model.attention=full");
    infer_session *session = begin_session(&m, false, 8);
    int32_t tokens[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    assert_int_equal(infer_session_read(session, tokens, 9, NULL), KERN_ERR_USAGE);
    tokens[3] = 19;
    assert_int_equal(infer_session_read(session, tokens, 8, NULL), KERN_ERR_DATA);
    assert_int_equal(infer_session_position(session), 0);
    tokens[3] = 0;
    assert_ok(infer_session_read(session, tokens, 8, NULL));
    assert_int_equal(infer_session_read(session, tokens, 1, NULL), KERN_ERR_USAGE);
    infer_session_destroy(session);
    tiny_end(&m);
}

/* f32 and bf16 follow f64 as closely as their products allow. */
static void test_precisions(void **state) {
    (void)state;
    enum { T = 192 };
    static const struct {
        const char *precision;
        double limit;
    } row[] = {{"train.precision=f32", 1e-4}, {"train.precision=bf16", 0.2}};
    static int32_t tokens[T + 1];
    static double expected[T], nll[T + 1];
    tiny m;
    tiny_begin(&m, "inner.chunk=16 model.init_std=0.2 inner.lr=0.1");
    set_context(&m, T);
    tiny_tokens(&m, tokens, T + 1, 5);
    reference(&m, expected, tokens, false);
    float *narrow = malloc((size_t)m.layout->elements * sizeof *narrow);
    assert_non_null(narrow);
    for (int64_t i = 0; i < m.layout->elements; i++) narrow[i] = (float)m.parameters[i];
    for (size_t p = 0; p < sizeof row / sizeof *row; p++) {
        tiny_set(m.conf, row[p].precision);
        infer_session_spec spec = {.conf = m.conf, .inner = true, .threads = 1, .debug = true};
        infer_session *session;
        assert_ok(infer_session_create(&session, &spec));
        infer_session_set_parameters(session, narrow);
        for (int i = 0; i < 2; i++) {
            infer_session_reset(session);
            read_in(session, tokens, T + 1, nll, i ? some : whole, 3);
            tiny_assert_close(nll + 1, expected, T, row[p].limit, row[p].precision);
        }
        infer_session_destroy(session);
    }
    free(narrow);
    tiny_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_do_not_matter), cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_memory_stays),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_precisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
