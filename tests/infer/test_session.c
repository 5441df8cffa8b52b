/* Reading in any pieces gives the numbers of one pass: a session against the model that training
 * differentiates, whole, token by token, cut at random, through files. */
#include "tests/infer/session_fixture.h"
#include "tests/sanitized.h"

enum { MOST = 2048 };

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
/* A piece, and then the rest: it begins within a chunk and goes on with whole ones. */
static int64_t piece_first(double random, int64_t left) {
    (void)random;
    return left > 1600 ? 400 : left;
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
        assert_ok(infer_session_read(session, tokens + at, n, nll ? nll + at : NULL));
        at += n;
    }
    assert_int_equal(infer_session_position(session), count);
}

/* What a session says of the losses of tokens 1.. of a text: those of bos do not count. */
static void assert_seen(const tiny *m, const infer_session *session, const int32_t *tokens,
                        const double *nll, int64_t count) {
    double sum = 0;
    int64_t counted = 0;
    for (int64_t t = 0; t < count; t++) {
        if (tokens[t + 1] == m->conf->model.bos) continue;
        sum += nll[t];
        counted++;
    }
    infer_session_progress seen = infer_session_seen(session);
    assert_int_equal(seen.counted, counted);
    assert_true(fabs(seen.nll - sum) < 1e-9);
}

static void test_pieces_do_not_matter(void **state) {
    (void)state;
    static int32_t tokens[MOST + 1];
    static double expected[MOST], nll[MOST + 1];
    int64_t (*const sizes[])(double, int64_t) = {whole, single, some, some};
    for (int v = 0; v < TINY_VARIANTS; v += watched() ? 2 : 1) {
        tiny m;
        tiny_begin(&m, tiny_variants[v]);
        enum { T = 64 };
        set_context(&m, T);
        /* Steps of 0.7 blow rounding up 150 times over these chunks where the window is 3, as they
         * do a change of the weights' last bits: nll is then right to 1e-12 only by luck. */
        tiny_set(m.conf, "inner.lr=0.3");
        tiny_tokens(&m, tokens, T + 1, 5);
        for (int off = !tiny_has_inner(&m); off < 2; off++) {
            reference(&m, expected, tokens, off);
            infer_session *session = begin_session(&m, !off, T + 1);
            for (size_t i = 0; i < (watched() ? 3 : sizeof sizes / sizeof *sizes); i++) {
                infer_session_reset(session);
                read_in(session, tokens, T + 1, nll, sizes[i], 7 + i);
                assert_true(isnan(nll[0]));
                tiny_assert_close(nll + 1, expected, T, 5e-13, tiny_variants[v]);
                assert_seen(&m, session, tokens, expected, T);
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
        "inner.chunk=4 model.window=2" CALM,
        "inner.mode=off inner.suffix=0 model.window=40",
        "inner.chunk=96 model.pattern=ees inner.suffix=2 train.context=1920" CALM,
        "inner.mode=off inner.suffix=1 model.pattern=ese"};
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
        for (uint64_t seed = 1; seed < (watched() ? 2 : 4); seed++) {
            infer_session_reset(session);
            read_in(session, tokens, T + 1, nll, seed == 1 ? piece_first : some, seed);
            tiny_assert_close(nll + 1, expected, T, 1e-12, variants[v]);
        }
        infer_session_destroy(session);
        tiny_end(&m);
    }
}

/* Saved at any place and loaded into a new session, reading goes on with the same bits. */
static void test_saved_states_go_on(void **state) {
    (void)state;
    enum { T = 96 };
    int64_t stride = watched() ? 39 : 13; /* in a chunk and between two */
    static int32_t tokens[T + 1];
    static double expected[T + 1], nll[T + 1];
    char path[64];
    state_path(path);
    for (int v = 0; v < TINY_VARIANTS; v += watched() ? 3 : 1) {
        tiny m;
        tiny_begin(&m, tiny_variants[v]);
        tiny_tokens(&m, tokens, T + 1, 11);
        for (int64_t cut = 1; cut < T; cut += stride) {
            infer_session *session = begin_session(&m, tiny_has_inner(&m), T + 1);
            assert_ok(infer_session_read(session, tokens, cut, expected));
            assert_ok(infer_session_save(session, path, "these weights"));
            assert_ok(infer_session_read(session, tokens + cut, T + 1 - cut, expected + cut));
            infer_session *other = begin_session(&m, tiny_has_inner(&m), T + 1);
            assert_ok(infer_session_load(other, path, "these weights"));
            assert_int_equal(infer_session_position(other), cut);
            assert_ok(infer_session_read(other, tokens + cut, T + 1 - cut, nll + cut));
            assert_memory_equal(nll + cut, expected + cut, (size_t)(T + 1 - cut) * sizeof *nll);
            infer_session_progress a = infer_session_seen(session), b = infer_session_seen(other);
            assert_int_equal(a.steps, b.steps);
            assert_memory_equal(&a.last_loss, &b.last_loss, sizeof a.last_loss);
            infer_session_destroy(session);
            infer_session_destroy(other);
        }
        tiny_end(&m);
    }
    unlink(path);
}

static void test_foreign_states_are_refused(void **state) {
    (void)state;
    char path[64];
    state_path(path);
    tiny m, other;
    int32_t tokens[40];
    tiny_begin(&m, "inner.suffix=1");
    tiny_begin(&other, "inner.suffix=1 inner.lr=0.6");
    tiny_tokens(&m, tokens, 40, 1);
    infer_session *session = begin_session(&m, true, 1), *off = begin_session(&m, false, 1),
                  *faster = begin_session(&other, true, 1);
    assert_ok(infer_session_read(session, tokens, 40, NULL));
    assert_ok(infer_session_save(session, path, "a"));
    refused(session, path, "b", KERN_ERR_CONFIG, "other weights");
    refused(off, path, "a", KERN_ERR_CONFIG, "with inner steps");
    refused(faster, path, "a", KERN_ERR_CONFIG, "lr=");
    refused(session, "/tmp/no/such/state", "a", KERN_ERR_FILE, "/tmp/no/such/state");
    infer_session_destroy(session);
    infer_session_destroy(off);
    infer_session_destroy(faster);
    tiny_end(&m);
    tiny_end(&other);
    unlink(path);
}

/* A file cut short or with changed bytes is refused, or means what it meant. */
static void test_damaged_states(void **state) {
    (void)state;
    char path[64];
    state_path(path);
    tiny m;
    int32_t tokens[48];
    double expected[8], nll[8];
    tiny_begin(&m, "inner.suffix=1");
    tiny_tokens(&m, tokens, 48, 1);
    infer_session *session = begin_session(&m, true, 1);
    assert_ok(infer_session_read(session, tokens, 38, NULL));
    assert_ok(infer_session_save(session, path, "a"));
    assert_ok(infer_session_read(session, tokens + 38, 8, expected));
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static char whole_file[1 << 16], changed[1 << 16];
    size_t bytes = fread(whole_file, 1, sizeof whole_file, file);
    fclose(file);
    assert_true(bytes > 1000 && bytes < sizeof whole_file);
    uint64_t random = 3;
    int accepted = 0;
    for (int i = 0; i < 1500; i++) {
        size_t length = bytes;
        memcpy(changed, whole_file, bytes);
        /* Half of the changes go to the header, which is the smaller part. */
        size_t range = i % 2 ? bytes : 3000;
        size_t at = (size_t)((tiny_random(&random) + 1) / 2 * (double)range);
        if (i % 10 == 9)
            length = at;
        else
            changed[at] = (char)(changed[at] ^ (1 << (i / 10 % 8)));
        file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(changed, 1, length, file), length);
        fclose(file);
        if (infer_session_load(session, path, "a") != KERN_OK) {
            assert_non_null(strstr(kern_error(), path));
            continue;
        }
        accepted++;
        assert_ok(infer_session_read(session, tokens + 38, 8, nll));
        assert_memory_equal(nll, expected, sizeof nll);
    }
    assert_true(accepted < 150); /* blanks of the header, order of its keys */
    infer_session_destroy(session);
    tiny_end(&m);
    unlink(path);
}

/* Memory is what was planned at creation, whatever was read. A sanitizer keeps what was freed. */
static const size_t memory_margin = (SANITIZED ? 300 : 1) << 20;
enum { READINGS = SANITIZED ? 4 : 50 };

static void test_memory_stays(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, "inner.chunk=16");
    static int32_t tokens[MOST];
    tiny_tokens(&m, tokens, MOST, 3);
    infer_session *session = begin_session(&m, true, 1);
    assert_ok(infer_session_read(session, tokens, MOST, NULL));
    size_t before = kern_resident_bytes();
    for (int i = 0; i < READINGS; i++) assert_ok(infer_session_read(session, tokens, MOST, NULL));
    assert_true(kern_resident_bytes() < before + memory_margin);
    infer_session_destroy(session);
    tiny_end(&m);
}

/* Two copies of the fast weights, and one more that is rounded where products are of bf16. */
static void test_planned_fast_weights(void **state) {
    (void)state;
    static const struct {
        const char *precision;
        size_t bytes; /* of an element, in all copies */
    } row[] = {
        {"train.precision=f64", 16}, {"train.precision=f32", 8}, {"train.precision=bf16", 10}};
    tiny m;
    tiny_begin(&m, "inner.chunk=16");
    size_t elements = 0;
    for (int i = 0; i < m.layout->count; i++)
        if (m.layout->item[i].fast) elements += kern_align((size_t)m.layout->item[i].elements);
    assert_true(elements > 0);
    for (size_t p = 0; p < sizeof row / sizeof *row; p++) {
        tiny_set(m.conf, row[p].precision);
        infer_session *session;
        infer_session_spec spec = {
            .conf = m.conf, .device = test_device(), .inner = true, .threads = 1};
        assert_ok(infer_session_create(&session, &spec));
        assert_int_equal(infer_session_plan(session).fast, elements * row[p].bytes);
        infer_session_destroy(session);
    }
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
static void check_precisions(const char *pattern) {
    enum { T = 192 };
    static const struct {
        const char *precision;
        double limit;
    } row[] = {{"train.precision=f32", 1e-4}, {"train.precision=bf16", 0.2}};
    static int32_t tokens[T + 1];
    static double expected[T], nll[T + 1];
    tiny m;
    char overrides[128];
    snprintf(overrides, sizeof overrides, "inner.chunk=16 model.init_std=0.2 inner.lr=0.1 %s",
             pattern);
    tiny_begin(&m, overrides);
    set_context(&m, T);
    tiny_tokens(&m, tokens, T + 1, 5);
    reference(&m, expected, tokens, false);
    float *narrow = malloc((size_t)m.layout->elements * sizeof *narrow);
    assert_non_null(narrow);
    for (int64_t i = 0; i < m.layout->elements; i++) narrow[i] = (float)m.parameters[i];
    kern_buffer on_device = test_on_device(narrow, (size_t)m.layout->elements * sizeof *narrow);
    for (size_t p = 0; p < sizeof row / sizeof *row; p++) {
        tiny_set(m.conf, row[p].precision);
        infer_session_spec spec = {
            .conf = m.conf, .device = test_device(), .inner = true, .threads = 1, .debug = true};
        infer_session *session;
        assert_ok(infer_session_create(&session, &spec));
        infer_values *values;
        assert_ok(infer_values_view(&values, m.conf, NULL, test_device(), on_device.data));
        infer_session_set_values(session, values);
        for (int i = 0; i < 2; i++) {
            infer_session_reset(session);
            read_in(session, tokens, T + 1, nll, i ? some : whole, 3);
            tiny_assert_close(nll + 1, expected, T, row[p].limit, row[p].precision);
        }
        infer_session_destroy(session);
        infer_values_destroy(values);
    }
    kern_buffer_destroy(&on_device);
    free(narrow);
    tiny_end(&m);
}

static void test_precisions(void **state) {
    (void)state;
    check_precisions("");
    check_precisions("model.pattern=es");
}

/* Loading rounds the fast weights that it read; reading rounds them in the step. A copy that is one
 * step behind would show here, and is hidden by the bound above. */
static void test_rounded_weights_are_of_the_last_step(void **state) {
    (void)state;
    enum { T = 75, CUT = 41 };
    int32_t tokens[T];
    double expected[T], nll[T];
    char path[64];
    state_path(path);
    tiny m;
    tiny_begin(&m, "inner.chunk=8 train.precision=bf16");
    tiny_tokens(&m, tokens, T, 5);
    float *narrow = malloc((size_t)m.layout->elements * sizeof *narrow);
    assert_non_null(narrow);
    for (int64_t i = 0; i < m.layout->elements; i++) narrow[i] = (float)m.parameters[i];
    kern_buffer on_device = test_on_device(narrow, (size_t)m.layout->elements * sizeof *narrow);
    infer_values_destroy(m.values);
    assert_ok(infer_values_view(&m.values, m.conf, NULL, test_device(), on_device.data));
    for (int single_tokens = 0; single_tokens < 2; single_tokens++) {
        infer_session *session = begin_session(&m, true, 1), *other = begin_session(&m, true, 1);
        read_in(session, tokens, CUT, NULL, single_tokens ? single : whole, 1);
        assert_ok(infer_session_save(session, path, "a"));
        assert_ok(infer_session_load(other, path, "a"));
        assert_ok(infer_session_read(session, tokens + CUT, T - CUT, expected));
        assert_ok(infer_session_read(other, tokens + CUT, T - CUT, nll));
        assert_memory_equal(nll, expected, (T - CUT) * sizeof *nll);
        infer_session_destroy(session);
        infer_session_destroy(other);
    }
    free(narrow);
    tiny_end(&m);
    kern_buffer_destroy(&on_device);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_do_not_matter),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_saved_states_go_on),
        cmocka_unit_test(test_foreign_states_are_refused),
        cmocka_unit_test(test_damaged_states),
        cmocka_unit_test(test_memory_stays),
        cmocka_unit_test(test_planned_fast_weights),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_precisions),
        cmocka_unit_test(test_rounded_weights_are_of_the_last_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
