/* What must hold for any model whatever its numbers are: how it is cut into batches and chunks
 * changes nothing, nothing looks ahead or beyond its window, variants that mean the same are the
 * same, and an inner step is one step down the gradient. */
#include "tests/infer/tiny.h"
#include "tests/sanitized.h"

enum { T = 16, SEQUENCES = 4 };

static tiny_reading usual(const tiny *m, double *nll) {
    return (tiny_reading){.off = !tiny_has_inner(m), .rate = m->conf->inner.lr, .nll = nll};
}

/* The losses of a model of these overrides, read in the usual way, one sequence at a time. */
static void losses_of(double *nll, const char *overrides, bool off) {
    tiny m;
    int32_t tokens[SEQUENCES * (T + 1)];
    tiny_begin(&m, overrides);
    tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
    tiny_reading how = usual(&m, nll);
    how.off |= off;
    tiny_read(&m, &how, tokens, SEQUENCES);
    tiny_end(&m);
}

static void test_batches_do_not_matter(void **state) {
    (void)state;
    for (int v = 0; v < TINY_VARIANTS; v++) {
        tiny m;
        int32_t tokens[SEQUENCES * (T + 1)];
        double one[SEQUENCES * T], many[SEQUENCES * T];
        tiny_begin(&m, tiny_variants[v]);
        tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
        tiny_reading how = usual(&m, one);
        tiny_read(&m, &how, tokens, SEQUENCES);
        for (int64_t batch = 2; batch <= 4; batch *= 2) {
            how.nll = many;
            how.batch = batch;
            tiny_read(&m, &how, tokens, SEQUENCES);
            tiny_assert_close(many, one, SEQUENCES * T, 1e-12, tiny_variants[v]);
        }
        tiny_end(&m);
    }
}

/* 320 tokens: one sequence is read whole by the prefix, eight are read in pieces of 80. */
static void test_pieces_of_the_prefix_do_not_matter(void **state) {
    (void)state;
    enum { LONG = 320, MANY = 8 };
    static const char *const windows[] = {"model.window=100", "model.window=7",
                                          "model.attention=full",
                                          "model.attention=hybrid model.full_every=2"};
    static double one[MANY * LONG], many[MANY * LONG];
    static int32_t tokens[MANY * (LONG + 1)];
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
        tiny m;
        char overrides[256];
        snprintf(overrides, sizeof overrides,
                 "train.context=320 train.batch=8 inner.chunk=32 inner.suffix=1 %s", windows[w]);
        tiny_begin(&m, overrides);
        tiny_tokens(&m, tokens, MANY * (LONG + 1), 6);
        tiny_reading how = usual(&m, one);
        tiny_read(&m, &how, tokens, MANY);
        how.batch = MANY;
        how.nll = many;
        tiny_read(&m, &how, tokens, MANY);
        tiny_assert_close(many, one, MANY * LONG, 1e-11, windows[w]);
        tiny_end(&m);
    }
}

/* Token t is input t and target t - 1: losses before that know nothing of it. */
static void test_nothing_looks_ahead(void **state) {
    (void)state;
    for (int v = 0; v < TINY_VARIANTS; v++) {
        tiny m;
        int32_t tokens[(T + 2) * (T + 1)];
        double nll[(T + 2) * T];
        tiny_begin(&m, tiny_variants[v]);
        for (int s = 0; s <= T + 1; s++) {
            tiny_tokens(&m, tokens + s * (T + 1), T + 1, 5);
            if (s > T) break; /* the last one is unchanged */
            int32_t *changed = &tokens[s * (T + 1) + s];
            *changed = (*changed + 1) % 17;
        }
        tiny_reading how = usual(&m, nll);
        tiny_read(&m, &how, tokens, T + 2);
        const double *unchanged = nll + (T + 1) * T;
        for (int t = 0; t <= T; t++) {
            int64_t before = t > 0 ? t - 1 : 0;
            tiny_assert_close(nll + t * T, unchanged, before, 0, tiny_variants[v]);
            assert_true(tiny_worst(nll + t * T + before, unchanged + before, T - before) > 1e-9);
        }
        tiny_end(&m);
    }
}

/* With one block, losses from t + W on know nothing of input t, and that at t + W - 1 does. */
static void test_the_window_ends(void **state) {
    (void)state;
    static const char *const shapes[] = {
        "inner.suffix=0 inner.chunk=4", "inner.suffix=1 inner.chunk=4",
        "inner.suffix=1 inner.chunk=2", "inner.suffix=1 inner.chunk=1",
        "inner.suffix=1 inner.chunk=16"};
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++)
        for (int window = 1; window <= 7; window += watched() ? 6 : 2) {
            tiny m;
            int32_t tokens[2 * (T + 1)];
            double nll[2 * T];
            char overrides[128];
            snprintf(overrides, sizeof overrides,
                     "model.blocks=1 inner.mode=off model.window=%d %s", window, shapes[shape]);
            tiny_begin(&m, overrides);
            for (int t = 0; t + window <= T; t++) {
                tiny_tokens(&m, tokens, T + 1, 7);
                memcpy(tokens + T + 1, tokens, (T + 1) * sizeof *tokens);
                tokens[T + 1 + t] = (tokens[t] + 1) % 17;
                tiny_reading how = usual(&m, nll);
                tiny_read(&m, &how, tokens, 2);
                int64_t end = t + window;
                tiny_assert_close(nll + end, nll + T + end, T - end, 0, overrides);
                assert_true(fabs(nll[end - 1] - nll[T + end - 1]) > 1e-9);
            }
            tiny_end(&m);
        }
}

static void test_without_attention_it_is_a_bigram_model(void **state) {
    (void)state;
    tiny m;
    int32_t tokens[2 * (T + 1)];
    double nll[2 * T];
    tiny_begin(&m, "model.attention=none");
    for (int t = 0; t < T; t++) {
        tiny_tokens(&m, tokens, T + 1, 7);
        memcpy(tokens + T + 1, tokens, (T + 1) * sizeof *tokens);
        tokens[T + 1 + t] = (tokens[t] + 1) % 17;
        tiny_reading how = usual(&m, nll);
        tiny_read(&m, &how, tokens, 2);
        int64_t next = t + 1, chunk_end = t / 4 * 4 + 4;
        /* The first input of a chunk is the last target of the chunk before. */
        if (t % 4) tiny_assert_close(nll + next, nll + T + next, chunk_end - next, 0, "same chunk");
        if (chunk_end < T) assert_true(fabs(nll[chunk_end] - nll[T + chunk_end]) > 1e-9);
    }
    tiny_end(&m);
}

static void test_chunks_do_not_matter_without_steps(void **state) {
    (void)state;
    double expected[SEQUENCES * T], nll[SEQUENCES * T];
    static const int windows[] = {1, 2, 3, 4, 5, 8, 11, 16, 40};
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w += watched() ? 2 : 1)
        for (int attention = 0; attention < 2; attention++) {
            char common[128], overrides[256];
            snprintf(common, sizeof common, "inner.mode=off model.window=%d model.attention=%s",
                     windows[w], attention ? "hybrid model.full_every=2" : "window");
            snprintf(overrides, sizeof overrides, "%s inner.suffix=0 inner.chunk=16", common);
            losses_of(expected, overrides, true);
            for (int chunk = 1; chunk <= T; chunk *= watched() ? 4 : 2)
                for (int suffix = 0; suffix <= 3; suffix += watched() ? 3 : 1) {
                    snprintf(overrides, sizeof overrides,
                             "%s inner.fast_blocks=2 inner.separate_mlp=false inner.suffix=%d "
                             "inner.chunk=%d",
                             common, suffix, chunk);
                    losses_of(nll, overrides, true);
                    tiny_assert_close(nll, expected, SEQUENCES * T, 1e-12, overrides);
                }
        }
}

static void test_variants_that_mean_the_same(void **state) {
    (void)state;
    static const char *const same[][2] = {
        {"model.attention=full", "model.window=16"},
        {"model.attention=full", "model.window=1000"},
        {"model.attention=full", "model.attention=hybrid model.full_every=1"},
        {"model.attention=window", "model.attention=hybrid model.full_every=4"},
        {"model.rope_theta=50 model.attention=full",
         "model.rope_theta=10 model.rope_theta_full=50 model.attention=full"},
        {"inner.fast_blocks=suffix", "inner.fast_blocks=1,2"},
        {"model.kv_heads=0", "model.kv_heads=2"},
        {"model.head_size=0", "model.head_size=6"},
        {"inner.mode=e2e", "inner.mode=naive"},
        {"inner.mode=e2e", "inner.mode=first_order"},
    };
    static const char *const other[][2] = {
        {"model.window=5", "model.window=6"},
        {"model.attention=hybrid model.full_every=2", "model.attention=hybrid model.full_every=3"},
        {"model.rope_theta=50", "model.rope_theta=60"},
        {"model.attention=full", "model.attention=full model.rope_theta_full=50"},
        {"inner.chunk=4", "inner.chunk=8"},
        {"inner.clip=0.5", "inner.clip=0.4"},
        {"model.norm_eps=1e-6", "model.norm_eps=1e-3"},
        {"model.bos=18", "model.bos=17"}, /* steps without that target differ */
    };
    double a[SEQUENCES * T], b[SEQUENCES * T];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        losses_of(a, same[i][0], false);
        losses_of(b, same[i][1], false);
        tiny_assert_close(a, b, SEQUENCES * T, 1e-12, same[i][1]);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        losses_of(a, other[i][0], false);
        losses_of(b, other[i][1], false);
        if (tiny_worst(a, b, SEQUENCES * T) < 1e-6) fail_msg("%s changes nothing", other[i][1]);
    }
}

/* Key and value heads that are copies of each other are one head that is shared. */
static void test_grouped_heads_are_copies(void **state) {
    (void)state;
    tiny grouped, copied;
    int32_t tokens[SEQUENCES * (T + 1)];
    double a[SEQUENCES * T], b[SEQUENCES * T];
    tiny_begin(&grouped, "model.heads=6 model.kv_heads=2");
    tiny_begin(&copied, "model.heads=6");
    static const char *const kinds[] = {"blocks.%d.attn.wk", "blocks.%d.attn.wv"};
    enum { SIZE = 2, HEADS = 6, GROUPS = 2, DIM = 12 };
    for (int block = 0; block < 3; block++)
        for (int kind = 0; kind < 2; kind++) {
            char name[64];
            snprintf(name, sizeof name, kind ? kinds[1] : kinds[0], block);
            const double *from = grouped.parameters + tiny_find(&grouped, name)->offset;
            double *to = copied.parameters + tiny_find(&copied, name)->offset;
            for (int row = 0; row < DIM; row++)
                for (int head = 0; head < HEADS; head++)
                    for (int i = 0; i < SIZE; i++)
                        to[(row * HEADS + head) * SIZE + i] =
                            from[(row * GROUPS + head / (HEADS / GROUPS)) * SIZE + i];
        }
    for (int i = 0; i < grouped.layout->count; i++) {
        const char *name = grouped.layout->item[i].name;
        if (!strstr(name, ".wk") && !strstr(name, ".wv")) tiny_copy(&copied, name, &grouped, name);
    }
    tiny_tokens(&grouped, tokens, SEQUENCES * (T + 1), 5);
    tiny_reading how = usual(&grouped, a);
    tiny_read(&grouped, &how, tokens, SEQUENCES);
    how.nll = b;
    tiny_read(&copied, &how, tokens, SEQUENCES);
    tiny_assert_close(a, b, SEQUENCES * T, 1e-12, "grouped heads");
    tiny_end(&grouped);
    tiny_end(&copied);
}

static void test_untied_output_may_be_the_embedding(void **state) {
    (void)state;
    tiny tied, untied;
    int32_t tokens[SEQUENCES * (T + 1)];
    double a[SEQUENCES * T], b[SEQUENCES * T];
    tiny_begin(&tied, "");
    tiny_begin(&untied, "model.tied=false");
    for (int i = 0; i < tied.layout->count; i++)
        tiny_copy(&untied, tied.layout->item[i].name, &tied, tied.layout->item[i].name);
    const infer_parameter *embed = tiny_find(&tied, "embed.weight"),
                          *head = tiny_find(&untied, "lm_head.weight");
    for (int64_t v = 0; v < embed->dim[0]; v++)
        for (int64_t d = 0; d < embed->dim[1]; d++)
            untied.parameters[head->offset + d * embed->dim[0] + v] =
                tied.parameters[embed->offset + v * embed->dim[1] + d];
    tiny_tokens(&tied, tokens, SEQUENCES * (T + 1), 5);
    tiny_reading how = usual(&tied, a);
    tiny_read(&tied, &how, tokens, SEQUENCES);
    how.nll = b;
    tiny_read(&untied, &how, tokens, SEQUENCES);
    tiny_assert_close(a, b, SEQUENCES * T, 1e-12, "untied output");
    tiny_end(&tied);
    tiny_end(&untied);
}

/* Steps of length 0 are no steps; steps change nothing in the first chunk and much afterwards. */
static void test_steps_begin_to_count_in_the_second_chunk(void **state) {
    (void)state;
    for (int v = 0; v < TINY_VARIANTS; v += watched() ? 3 : 1) {
        tiny m;
        int32_t tokens[SEQUENCES * (T + 1)];
        double on[SEQUENCES * T], zero[SEQUENCES * T], off[SEQUENCES * T];
        tiny_begin(&m, tiny_variants[v]);
        tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
        int64_t chunk = m.conf->inner.chunk;
        for (int64_t batch = 1; batch <= SEQUENCES && tiny_has_inner(&m); batch *= 4) {
            tiny_reading how = {.batch = batch, .rate = m.conf->inner.lr, .nll = on};
            tiny_read(&m, &how, tokens, SEQUENCES);
            how = (tiny_reading){.batch = batch, .rate = 0, .nll = zero};
            tiny_read(&m, &how, tokens, SEQUENCES);
            how = (tiny_reading){.batch = batch, .off = true, .rate = 1, .nll = off};
            tiny_read(&m, &how, tokens, SEQUENCES);
            tiny_assert_close(zero, off, SEQUENCES * T, 1e-12, tiny_variants[v]);
            for (int64_t s = 0; s < SEQUENCES; s++) {
                tiny_assert_close(on + s * T, zero + s * T, chunk, 0, tiny_variants[v]);
                for (int64_t t = s * T + chunk; t < (s + 1) * T; t += chunk)
                    assert_true(tiny_worst(on + t, zero + t, chunk) > 1e-5);
            }
        }
        tiny_end(&m);
    }
}

static double first_loss(const tiny *m, void *tokens) {
    double loss[T];
    tiny_reading how = {.off = true, .loss = loss};
    tiny_read(m, &how, tokens, 1);
    return loss[0];
}

/* (theta - theta_1) / rate, laid out like the parameters, and the norm that the model reports. */
static double *step_of(const tiny *m, const int32_t *tokens, double *norm) {
    static double theta[16][256];
    double norms[T], *step = calloc((size_t)m->layout->elements, sizeof *step);
    assert_non_null(step);
    tiny_reading how = {.rate = 0.7, .norm = norms};
    int fast = 0;
    for (int i = 0; i < m->layout->count; i++)
        if (m->layout->item[i].fast) how.fast[fast] = theta[fast], fast++;
    tiny_read(m, &how, tokens, 1);
    *norm = norms[0];
    fast = 0;
    for (int i = 0; i < m->layout->count; i++) {
        const infer_parameter *p = &m->layout->item[i];
        for (int64_t j = 0; j < p->elements && p->fast; j++)
            step[p->offset + j] = (m->parameters[p->offset + j] - theta[fast][j]) / 0.7;
        fast += p->fast;
    }
    return step;
}

static void check_step(const char *variant, const char *clip) {
    tiny m;
    int32_t tokens[T + 1];
    char overrides[256];
    snprintf(overrides, sizeof overrides, "%s inner.chunk=16 inner.clip=%s", variant, clip);
    tiny_begin(&m, overrides);
    if (tiny_has_inner(&m)) {
        tiny_tokens(&m, tokens, T + 1, 8);
        double norm, squares = 0, slope = 0, limit = m.conf->inner.clip;
        double *step = step_of(&m, tokens, &norm), *direction = tiny_direction(&m, true, 9);
        for (int64_t i = 0; i < m.layout->elements; i++) {
            squares += step[i] * step[i];
            slope += step[i] * direction[i];
        }
        double shortened = norm > limit ? limit / norm : 1;
        double expected = shortened * tiny_slope(&m, direction, first_loss, tokens);
        if (!(fabs(slope - expected) <= 1e-7 * sqrt(squares)))
            fail_msg("%s: slope %.10g, by differences %.10g", overrides, slope, expected);
        if (!(fabs(sqrt(squares) / (norm * shortened) - 1) <= 1e-9))
            fail_msg("%s: step %g, norm %g", overrides, sqrt(squares), norm);
        free(step);
        free(direction);
    }
    tiny_end(&m);
}

/* theta - theta_1 over the rate is the gradient of the chunk's loss, shortened to the clip. */
static void test_a_step_goes_down_the_gradient(void **state) {
    (void)state;
    for (int v = 0; v < TINY_VARIANTS; v += watched() ? 4 : 1) {
        check_step(tiny_variants[v], "1e9");
        check_step(tiny_variants[v], "1e-3");
    }
}

/* Where nothing but the fast weights goes from chunk to chunk: each chunk read by itself, under the
 * weights that the one before left, gives the losses of the whole. */
static void test_weights_go_from_chunk_to_chunk(void **state) {
    (void)state;
    static double theta[16][256];
    tiny whole, part;
    int32_t tokens[T + 1];
    double expected[T], nll[T];
    tiny_begin(&whole, "model.attention=none");
    tiny_begin(&part, "model.attention=none train.context=4");
    tiny_tokens(&whole, tokens, T + 1, 10);
    tokens[3] = tokens[9] = tokens[10] = tokens[11] = tokens[12] = 18; /* a chunk without targets */
    tiny_reading how = usual(&whole, expected);
    tiny_read(&whole, &how, tokens, 1);
    for (int chunk = 0; chunk < 4; chunk++) {
        how = usual(&part, nll + 4 * chunk);
        for (int f = 0; f < 6; f++) how.fast[f] = theta[f];
        tiny_read(&part, &how, tokens + 4 * chunk, 1);
        for (int i = 0, f = 0; i < part.layout->count; i++) {
            const infer_parameter *p = &part.layout->item[i];
            if (!p->fast) continue;
            double *to = part.parameters + p->offset;
            double moved = tiny_worst(to, theta[f], p->elements);
            assert_true(chunk == 2 ? moved == 0 : moved > 1e-6);
            memcpy(to, theta[f++], (size_t)p->elements * sizeof *to);
        }
    }
    tiny_assert_close(nll, expected, T, 1e-13, "chunks by themselves");
    tiny_end(&whole);
    tiny_end(&part);
}

/* l_i is the mean over targets that are not the begin-of-document token; 0 where there are none. */
static void test_chunk_losses_are_means_of_what_counts(void **state) {
    (void)state;
    tiny m;
    int32_t tokens[T + 1];
    double nll[T], loss[T], norm[T];
    tiny_begin(&m, "");
    tiny_tokens(&m, tokens, T + 1, 11);
    tokens[3] = tokens[9] = tokens[10] = tokens[11] = tokens[12] = 18;
    tiny_reading how = {.rate = 0.7, .nll = nll, .loss = loss, .norm = norm};
    tiny_read(&m, &how, tokens, 1);
    for (int chunk = 0; chunk < 4; chunk++) {
        double sum = 0, counted = 0;
        for (int t = 4 * chunk; t < 4 * chunk + 4; t++) {
            assert_true(nll[t] > 0);
            if (tokens[t + 1] != 18) sum += nll[t], counted++;
        }
        double expected = counted > 0 ? sum / counted : 0;
        tiny_assert_close(&loss[chunk], &expected, 1, 1e-13, "chunk loss");
    }
    assert_true(loss[2] == 0 && norm[2] == 0 && norm[1] > 1e-3);
    tiny_end(&m);
}

static void test_tokens_outside_the_vocabulary(void **state) {
    (void)state;
    tiny m;
    int32_t tokens[T + 1];
    double nll[T], loss[T];
    omp_set_num_threads(1);
    tiny_begin(&m, "inner.mode=off");
    infer_model *model;
    infer_model_spec spec = {
        .conf = m.conf, .device = test_device(), .batch = 1, .tokens = T, .threads = 1};
    assert_ok(infer_model_create(&model, &spec));
    assert_ok(infer_model_allocate(model));
    infer_model_set_parameters(model, tiny_upload(&m));
    for (int wrong = 0; wrong < 4; wrong++) {
        tiny_tokens(&m, tokens, T + 1, 12);
        if (wrong) tokens[wrong == 2 ? T : 5] = wrong == 3 ? -1 : 19;
        infer_batch batch = {.tokens = tokens, .token_nll = nll, .chunk_loss = loss};
        kern_status status = infer_model_forward(model, &batch);
        assert_int_equal(status, wrong ? KERN_ERR_DATA : KERN_OK);
        if (wrong == 2) assert_non_null(strstr(kern_error(), "token 19 at position 16"));
    }
    infer_model_destroy(model);
    tiny_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_do_not_matter),
        cmocka_unit_test(test_pieces_of_the_prefix_do_not_matter),
        cmocka_unit_test(test_nothing_looks_ahead),
        cmocka_unit_test(test_the_window_ends),
        cmocka_unit_test(test_without_attention_it_is_a_bigram_model),
        cmocka_unit_test(test_chunks_do_not_matter_without_steps),
        cmocka_unit_test(test_variants_that_mean_the_same),
        cmocka_unit_test(test_grouped_heads_are_copies),
        cmocka_unit_test(test_untied_output_may_be_the_embedding),
        cmocka_unit_test(test_steps_begin_to_count_in_the_second_chunk),
        cmocka_unit_test(test_a_step_goes_down_the_gradient),
        cmocka_unit_test(test_weights_go_from_chunk_to_chunk),
        cmocka_unit_test(test_chunk_losses_are_means_of_what_counts),
        cmocka_unit_test(test_tokens_outside_the_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
