/* Evaluation against a plain recomputation from the losses by token; means and paired differences
 * against numbers worked out by hand; bins. */
#include "tests/data/shards.h"
#include "tests/infer/tiny.h"

#include "infer/evaluate.h"

enum { T = 320, CHUNK = 64, DOCUMENTS = 4 };

/* Of each document three windows are asked for: the second has room for one, the last for none. */
static int make_shards(void **state) {
    if (make_folder(state)) return -1;
    make_shard(in_folder("s.h5"), data_vocabulary_byte(), 0, (int64_t[]){1500, 400, 2000, 0});
    make_shard(in_folder("t.h5"), data_vocabulary_byte(), 3, (int64_t[]){1000, 100, 0});
    return 0;
}

/* 7 stands for the begin-of-document token, so that some targets do not count. */
#define BYTES                                                                                      \
    "model.vocab=257 model.bos=7 train.context=320 inner.chunk=64 model.blocks=2 "                 \
    "inner.suffix=1 "

static data_source *open_source(void) {
    data_source *source;
    assert_ok(data_source_open(&source, in_folder("?.h5"), T, false));
    return source;
}

typedef struct {
    int64_t batch, per_document;
    double rate;
    infer_evaluation_seen seen;
    void *context;
    int64_t tokens, tail; /* tokens 0: T */
    const data_vocabulary *vocabulary;
} how;

static kern_status evaluate_as(infer_losses **losses, const tiny *m, how h) {
    data_source *source = open_source();
    infer_model *model;
    int64_t tokens = h.tokens ? h.tokens : T;
    infer_model_spec spec = {.conf = m->conf,
                             .batch = h.batch,
                             .tokens = tokens,
                             .inner = true,
                             .device = test_device(),
                             .threads = 1};
    omp_set_num_threads(1);
    assert_ok(infer_model_create(&model, &spec));
    assert_ok(infer_model_allocate(model));
    infer_model_set_parameters(model, tiny_upload(m));
    infer_evaluation evaluation = {.model = model,
                                   .source = source,
                                   .per_document = h.per_document,
                                   .rate = h.rate,
                                   .bins = infer_bins_create(tokens, CHUNK),
                                   .tail = h.tail,
                                   .vocabulary = h.vocabulary,
                                   .seen = h.seen,
                                   .context = h.context};
    kern_status status = infer_evaluate(losses, &evaluation);
    infer_model_destroy(model);
    data_source_destroy(source);
    return status;
}

static infer_losses *evaluate(const tiny *m, how h) {
    infer_losses *losses;
    assert_ok(evaluate_as(&losses, m, h));
    return losses;
}

/* Mean of the losses at first <= t < end whose target is not 7. */
static double plain_mean(const int32_t *tokens, const double *nll, int64_t first, int64_t end) {
    double sum = 0, counted = 0;
    for (int64_t t = first; t < end; t++)
        if (tokens[t + 1] != 7) sum += nll[t], counted++;
    return sum / counted;
}

static void test_against_a_plain_recomputation(void **state) {
    (void)state;
    static const int64_t edges[] = {0, 64, 128, 192, 256, 320};
    tiny m;
    tiny_begin(&m, BYTES);
    data_source *source = open_source();
    data_window *window;
    int64_t count, left_out = 0;
    int32_t tokens[T + 1];
    double nll[T];
    infer_losses *losses = evaluate(&m, (how){.batch = 1, .per_document = 3, .rate = 0.7});
    assert_int_equal(losses->bins.count, 5);
    assert_memory_equal(losses->bins.edge, edges, sizeof edges);
    assert_ok(data_source_windows(&window, &count, source, 3));
    assert_int_equal(count, 10);
    assert_int_equal(losses->windows, 10);
    for (int64_t w = 0; w < count; w++) {
        assert_ok(
            data_source_read_document(tokens, source, window[w].document, window[w].begin, T + 1));
        tiny_reading reading = {.rate = 0.7, .nll = nll};
        tiny_read(&m, &reading, tokens, 1);
        assert_int_equal(losses->document[w], window[w].document);
        for (int bin = 0; bin <= 5; bin++) {
            double expected =
                plain_mean(tokens, nll, bin < 5 ? edges[bin] : 0, bin < 5 ? edges[bin + 1] : T);
            tiny_assert_close(&losses->loss[w * 7 + bin], &expected, 1, 1e-12, "a bin");
        }
        for (int t = 1; t <= T; t++) left_out += tokens[t] == 7;
    }
    assert_int_equal(losses->tokens, count * T - left_out);
    assert_true(left_out > 3);
    for (int64_t d = 0; d < DOCUMENTS; d++)
        assert_int_equal(infer_losses_mean(losses, d, INFER_ALL).windows, d == 1 ? 1 : 3);
    assert_int_equal(infer_losses_mean(losses, DOCUMENTS, INFER_ALL).windows, 0);
    kern_free(window);
    data_source_destroy(source);
    infer_losses_destroy(losses);
    tiny_end(&m);
}

static void test_batches_do_not_matter(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, BYTES);
    infer_losses *one = evaluate(&m, (how){.batch = 1, .per_document = 3, .rate = 0.7, .tail = 9});
    for (int64_t batch = 2; batch <= 16; batch += 2) { /* also more than there are windows */
        infer_losses *many =
            evaluate(&m, (how){.batch = batch, .per_document = 3, .rate = 0.7, .tail = 9});
        assert_int_equal(many->windows, one->windows);
        assert_int_equal(many->tokens, one->tokens);
        tiny_assert_close(many->loss, one->loss, one->windows * 7, 1e-12, "batches");
        infer_losses_destroy(many);
    }
    infer_losses_destroy(one);
    tiny_end(&m);
}

static void test_steps_count_from_the_second_chunk(void **state) {
    (void)state;
    tiny m;
    tiny_begin(&m, BYTES);
    infer_losses *on = evaluate(&m, (how){.batch = 2, .rate = 0.7});
    infer_losses *off = evaluate(&m, (how){.batch = 2});
    assert_int_equal(on->windows, 4 + 1 + 6 + 3); /* all that fit at stride T */
    for (int bin = 0; bin < 5; bin++) {
        infer_mean mean = infer_losses_difference(on, off, INFER_ALL, bin);
        if (bin == 0) assert_true(mean.mean == 0 && mean.standard_error == 0);
        if (bin > 0) assert_true(fabs(mean.mean) > 1e-4 && mean.standard_error > 1e-5);
    }
    infer_losses_destroy(on);
    infer_losses_destroy(off);
    tiny_end(&m);
}

/* 2 bins; windows 0 to 2 of document 0, 3 of document 5. loss [4, 4], bytes [4, 4] or NULL. */
static infer_losses *by_hand(const double *loss, const double *bytes) {
    infer_losses *losses = calloc(1, sizeof *losses);
    losses->bins = (infer_bins){.count = 2, .edge = {0, 64, 128}};
    losses->windows = 4;
    assert_ok(kern_alloc((void **)&losses->document, 4 * sizeof(int64_t), "documents"));
    assert_ok(kern_alloc((void **)&losses->loss, 16 * sizeof(double), "losses"));
    if (bytes) assert_ok(kern_alloc((void **)&losses->bytes, 16 * sizeof(double), "bytes"));
    memcpy(losses->document, (int64_t[]){0, 0, 0, 5}, 4 * sizeof(int64_t));
    memcpy(losses->loss, loss, 16 * sizeof(double));
    if (bytes) memcpy(losses->bytes, bytes, 16 * sizeof(double));
    return losses;
}

static void assert_mean(infer_mean got, double mean, double standard_error, int64_t windows) {
    assert_int_equal(got.windows, windows);
    if (!(fabs(got.mean - mean) < 1e-14 && fabs(got.standard_error - standard_error) < 1e-14))
        fail_msg("%.17g +- %.17g, expected %.17g +- %.17g", got.mean, got.standard_error, mean,
                 standard_error);
}

static void test_means_against_hand_computation(void **state) {
    (void)state;
    infer_losses *x = by_hand((double[]){1, 9, 1, 8, 2, 9, 2, 8, 4, NAN, 4, 6, 7, 3, 5, 2}, NULL);
    infer_losses *y = by_hand((double[]){0.5, 9, 2, 7, 1, 5, 2, 7, 1, 4, 1, 7, 9, 1, 7, 7}, NULL);
    /* 1, 2, 4: mean 7/3, squares 16/9 + 1/9 + 25/9 = 42/9, s^2 = 21/9, 21/9/3 = 7/9 */
    assert_mean(infer_losses_mean(x, 0, 0), 7. / 3, sqrt(7. / 9), 3);
    /* 1, 2, 4, 7: mean 3.5, squares 6.25 + 2.25 + 0.25 + 12.25 = 21, 21/3/4 = 1.75 */
    assert_mean(infer_losses_mean(x, INFER_ALL, 0), 3.5, sqrt(1.75), 4);
    assert_mean(infer_losses_mean(x, INFER_ALL, 1), 7, 2, 3); /* 9, 9, 3 */
    assert_mean(infer_losses_mean(x, INFER_ALL, INFER_ALL), 3, sqrt(10. / 3 / 4), 4);
    /* 8, 8, 6, 2: mean 6, squares 4 + 4 + 16 = 24, 24/3/4 = 2 */
    assert_mean(infer_losses_mean(x, INFER_ALL, INFER_TAIL), 6, sqrt(2), 4);
    /* 0.5, 1, 3: mean 1.5, squares 1 + 0.25 + 2.25 = 3.5, 3.5/2/3 */
    assert_mean(infer_losses_difference(x, y, 0, 0), 1.5, sqrt(3.5 / 6), 3);
    /* 0, 4, 2: mean 2, squares 8, 8/2/3 */
    assert_mean(infer_losses_difference(x, y, INFER_ALL, 1), 2, sqrt(4. / 3), 3);
    infer_mean single = infer_losses_mean(x, 5, 0), none = infer_losses_mean(x, 3, 0);
    assert_true(single.windows == 1 && single.mean == 7 && isnan(single.standard_error));
    assert_true(none.windows == 0 && isnan(none.mean) && isnan(none.standard_error));
    infer_losses_destroy(x);
    infer_losses_destroy(y);
}

static void test_bits_are_a_quotient_of_means(void **state) {
    (void)state;
    const double bytes[] = {4, 1, 2, 1, 5, 1, 3, 1, 3, NAN, 3, 1, 8, 3, 0, 1}, bit = log(2);
    infer_losses *x = by_hand((double[]){2, 9, 1, 8, 3, 9, 2, 8, 4, NAN, 4, 6, 7, 3, 5, 2}, bytes);
    infer_losses *y = by_hand((double[]){1, 9, 1, 8, 1, 9, 2, 8, 1, NAN, 4, 6, 4, 3, 5, 2}, NULL);
    /* 2 3 4 7 nats of 4 5 3 8 bytes: 4/5, residuals -1.2 -1 1.6 0.6, squares 5.36, 5.36/3/4 */
    assert_mean(infer_losses_bits(x, NULL, INFER_ALL, 0), 4. / 5 / bit, sqrt(5.36 / 12) / 5 / bit,
                4);
    /* 1 2 3 3 nats less than y: 2.25/5, residuals -0.8 -0.25 1.65 -0.6 */
    double squares = 0.8 * 0.8 + 0.25 * 0.25 + 1.65 * 1.65 + 0.6 * 0.6;
    assert_mean(infer_losses_bits(x, y, INFER_ALL, 0), 0.45 / bit, sqrt(squares / 12) / 5 / bit, 4);
    assert_mean(infer_losses_bits(x, NULL, 0, INFER_ALL), 7. / 8 / bit,
                sqrt((0.75 * 0.75 + 0.625 * 0.625 + 1.375 * 1.375) / 6) / (8. / 3) / bit, 3);
    assert_int_equal(infer_losses_bits(x, NULL, INFER_ALL, 1).windows, 3); /* one is NAN */
    assert_true(isnan(infer_losses_bits(x, NULL, 5, INFER_ALL).mean));     /* of no bytes */
    infer_losses_destroy(x);
    infer_losses_destroy(y);
}

/* Shorter windows end where the longer ones do: their losses are those of reading these tokens
 * alone, and the last column is of the last tokens. Even bytes stand for two. */
static int64_t decode_parity(const char **text, const data_vocabulary *vocabulary, int32_t token) {
    (void)vocabulary;
    *text = "ab";
    return 1 + (token % 2 == 0);
}

static void test_shorter_windows_end_at_the_same_places(void **state) {
    (void)state;
    enum { SHORT = 192, TAIL = 64 };
    const data_vocabulary vocabulary = {.decode = decode_parity};
    tiny m;
    tiny_begin(&m, BYTES);
    data_source *source = open_source();
    data_window *window;
    int64_t count;
    int32_t tokens[T + 1];
    double nll[T];
    infer_losses *losses = evaluate(&m, (how){.batch = 4,
                                              .per_document = 3,
                                              .rate = 0.7,
                                              .tokens = SHORT,
                                              .tail = TAIL,
                                              .vocabulary = &vocabulary});
    tiny_set(m.conf, "train.context=192");
    assert_int_equal(losses->bins.count, 3);
    assert_ok(data_source_windows(&window, &count, source, 3));
    assert_int_equal(losses->windows, count);
    for (int64_t w = 0; w < count; w++) {
        assert_ok(
            data_source_read_document(tokens, source, window[w].document, window[w].begin, T + 1));
        const int32_t *last = tokens + T - SHORT;
        tiny_reading reading = {.rate = 0.7, .nll = nll};
        tiny_read(&m, &reading, last, 1);
        double expected = plain_mean(last, nll, SHORT - TAIL, SHORT), bytes = 0, counted = 0;
        tiny_assert_close(&losses->loss[w * 5 + 4], &expected, 1, 1e-12, "the last tokens");
        expected = plain_mean(last, nll, 0, SHORT);
        tiny_assert_close(&losses->loss[w * 5 + 3], &expected, 1, 1e-12, "the window");
        for (int t = 1; t <= SHORT; t++)
            if (last[t] != 7) bytes += 1 + (last[t] % 2 == 0), counted++;
        expected = bytes / counted;
        tiny_assert_close(&losses->bytes[w * 5 + 3], &expected, 1, 1e-12, "bytes");
    }
    kern_free(window);
    data_source_destroy(source);
    infer_losses_destroy(losses);
    tiny_end(&m);
}

static void test_bins_cover_all_positions_once(void **state) {
    (void)state;
    static const int64_t lengths[] = {1,   5,   63,   64,   65,   127,   128,
                                      130, 200, 1024, 2048, 8192, 131072},
                         chunks[] = {1, 3, 16, 48, 64, 65, 96, 100, 128, 192, 256, 1000, 1024};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            int64_t tokens = lengths[l], C = chunks[c];
            infer_bins bins = infer_bins_create(tokens, C);
            assert_in_range(bins.count, 1, 30);
            assert_int_equal(bins.edge[0], 0);
            assert_int_equal(bins.edge[bins.count], tokens);
            for (int b = 0; b < bins.count; b++) {
                int64_t first = bins.edge[b], end = bins.edge[b + 1];
                assert_true(end - first >= 64 || bins.count == 1);
                bool inside = first / C == (end - 1) / C, whole = first % C == 0 && end % C == 0;
                if (b + 1 < bins.count && !inside && !whole)
                    fail_msg("T %d C %d: bin %d to %d", (int)tokens, (int)C, (int)first, (int)end);
                if (b > 3) assert_true(2 * end >= 2 * first + first / 2 || b + 1 == bins.count);
                if (b > 0) assert_true(end <= 3 * first);
            }
        }
    infer_bins bins = infer_bins_create(1024, 64);
    static const int64_t expected[] = {0, 64, 128, 192, 256, 384, 512, 768, 1024};
    assert_int_equal(bins.count, 8);
    assert_memory_equal(bins.edge, expected, sizeof expected);
    static const int64_t split[] = {0, 20, 64, 128, 192, 256, 384, 512, 768, 1000, 1024};
    for (int twice = 0; twice < 2; twice++) {
        infer_bins_split(&bins, 1000);
        infer_bins_split(&bins, 20);
        infer_bins_split(&bins, 256); /* which is one already */
        assert_int_equal(bins.count, 10);
        assert_memory_equal(bins.edge, split, sizeof split);
    }
    bins = infer_bins_by_token(INFER_MOST_BINS);
    assert_int_equal(bins.count, INFER_MOST_BINS);
    for (int b = 0; b <= bins.count; b++) assert_int_equal(bins.edge[b], b);
}

static bool note(void *context, int64_t done, int64_t windows) {
    int64_t *seen = context;
    assert_true(done > seen[0] && done <= windows);
    seen[0] = done;
    seen[1] = windows;
    return done < seen[2];
}

static void test_it_can_be_watched_and_stopped(void **state) {
    (void)state;
    tiny m;
    infer_losses *losses;
    tiny_begin(&m, BYTES);
    int64_t seen[3] = {0, 0, 1000};
    how h = {.batch = 4, .per_document = 3, .rate = 0.7, .seen = note, .context = seen};
    assert_ok(evaluate_as(&losses, &m, h));
    assert_true(seen[0] == losses->windows && seen[1] == losses->windows);
    infer_losses_destroy(losses);
    seen[0] = 0;
    seen[2] = 5;
    assert_failure(evaluate_as(&losses, &m, h), KERN_ERR_INTERRUPTED, "after 8 of 10", NULL);
    assert_null(losses);
    tiny_end(&m);
}

/* A loss that is not finite must not look like one that does not count. */
static void test_what_is_not_finite_is_an_error(void **state) {
    (void)state;
    tiny m;
    infer_losses *losses;
    tiny_begin(&m, BYTES);
    m.parameters[tiny_find(&m, "final_norm.weight")->offset] = NAN;
    how h = {.batch = 1, .per_document = 3, .rate = 0.7};
    assert_failure(evaluate_as(&losses, &m, h), KERN_ERR_NUMERIC, "book 0", "not finite", NULL);
    assert_null(losses);
    tiny_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_plain_recomputation),
        cmocka_unit_test(test_batches_do_not_matter),
        cmocka_unit_test(test_steps_count_from_the_second_chunk),
        cmocka_unit_test(test_means_against_hand_computation),
        cmocka_unit_test(test_bits_are_a_quotient_of_means),
        cmocka_unit_test(test_shorter_windows_end_at_the_same_places),
        cmocka_unit_test(test_bins_cover_all_positions_once),
        cmocka_unit_test(test_it_can_be_watched_and_stopped),
        cmocka_unit_test(test_what_is_not_finite_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_shards, remove_folder);
}
