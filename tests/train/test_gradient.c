/* The outer gradient against finite differences of the loss that reading gives, for every variant;
 * and what must not change it: how sequences are cut into micro-batches, what a memory budget keeps
 * or computes again. */
#include "tests/infer/tiny.h"
#include "tests/sanitized.h"
#include "train/gradient.h"

enum { T = 16, SEQUENCES = 2 };

/* How a gradient is computed. */
typedef struct {
    int64_t micro_batch;
    double rate, budget;
    bool off, first_order;
    int64_t every;      /* result: a carry is saved for every so many chunks */
    double kept;        /* result: bytes kept */
    double *chunk_loss; /* NULL, or [n, B] of the last micro-batch */
} recipe;

static recipe usual(const tiny *m) {
    conf_inner mode = m->conf->inner.mode;
    return (recipe){.micro_batch = 1,
                    .rate = m->conf->inner.lr,
                    .budget = 1e9,
                    .off = mode == CONF_INNER_OFF || mode == CONF_INNER_NAIVE,
                    .first_order = mode == CONF_INNER_FIRST_ORDER};
}

/* The gradient of sum(chunk losses) / (n * sequences), in the layout of the parameters. */
static double *gradient_of(const tiny *m, recipe *how, const int32_t *tokens, int64_t sequences) {
    static double nll[TINY_MOST], loss[TINY_MOST], norm[TINY_MOST];
    int64_t tokens_each = m->conf->train.context, chunks = tokens_each / m->conf->inner.chunk;
    infer_model *model;
    train_gradient *gradient;
    kern_buffer sum = {0};
    omp_set_num_threads(1);
    infer_model_spec spec = {.conf = m->conf,
                             .batch = how->micro_batch,
                             .tokens = tokens_each,
                             .inner = !how->off,
                             .first_order = how->first_order,
                             .backward = true,
                             .loss_scale = 1 / (double)(chunks * sequences),
                             .budget = how->budget,
                             .device = test_device(),
                             .threads = 1};
    assert_ok(infer_model_create(&model, &spec));
    infer_model_memory memory = infer_model_plan(model);
    how->every = memory.every;
    how->kept = (double)(memory.carries + memory.slots);
    assert_ok(infer_model_allocate(model));
    infer_model_set_parameters(model, tiny_upload(m));
    assert_ok(train_gradient_create(&gradient, model));
    assert_ok(train_gradient_allocate(gradient));
    size_t bytes = (size_t)m->layout->elements * sizeof(double);
    assert_ok(kern_buffer_create_zero(&sum, test_device(), bytes, "gradient"));
    for (int64_t first = 0; first < sequences; first += how->micro_batch) {
        infer_batch batch = {.tokens = tokens + first * (tokens_each + 1),
                             .rate = how->rate,
                             .token_nll = nll,
                             .chunk_loss = how->chunk_loss ? how->chunk_loss : loss,
                             .gradient_norm = norm};
        assert_ok(train_gradient_add(gradient, sum.data, &batch));
    }
    double *result = malloc(bytes);
    assert_non_null(result);
    test_from_device(result, sum.data, bytes);
    train_gradient_destroy(gradient);
    infer_model_destroy(model);
    kern_buffer_destroy(&sum);
    return result;
}

typedef struct {
    const int32_t *tokens;
    bool off;
} reading;

/* mean over sequences of mean over chunks of l_i */
static double loss_of(const tiny *m, void *context) {
    const reading *r = context;
    double loss[T], mean = 0;
    int64_t chunks = m->conf->train.context / m->conf->inner.chunk;
    for (int64_t s = 0; s < SEQUENCES; s++) {
        tiny_reading how = {.off = r->off, .rate = m->conf->inner.lr, .loss = loss};
        tiny_read(m, &how, r->tokens + s * (m->conf->train.context + 1), 1);
        for (int64_t i = 0; i < chunks; i++) mean += loss[i] / (double)(chunks * SEQUENCES);
    }
    return mean;
}

static double dot(const tiny *m, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < m->layout->elements; i++) sum += a[i] * b[i];
    return sum;
}

static double largest(const tiny *m, const double *a) {
    double most = 0;
    for (int64_t i = 0; i < m->layout->elements; i++) most = fmax(most, fabs(a[i]));
    return most;
}

/* Largest difference over largest magnitude. */
static double relative(const tiny *m, const double *a, const double *b) {
    return tiny_worst(a, b, m->layout->elements) / largest(m, b);
}

/* Along a direction in one parameter at a time, so that small gradients count too. */
static void check_parameter(tiny *m, const infer_parameter *p, const double *gradient, reading *r,
                            double scale, const char *overrides) {
    double *direction = tiny_direction(m, false, 21);
    for (int64_t i = 0; i < m->layout->elements; i++)
        if (i < p->offset || i >= p->offset + p->elements) direction[i] = 0;
    double slope = dot(m, gradient, direction);
    double expected = tiny_slope(m, direction, loss_of, r);
    if (!(fabs(slope - expected) <= 1e-8 * fmax(scale, fabs(expected))))
        fail_msg("%s, %s: %.12g, by differences %.12g", overrides, p->name, slope, expected);
    free(direction);
}

static void check_variant(const char *overrides) {
    tiny m;
    int32_t tokens[SEQUENCES * (T + 1)];
    tiny_begin(&m, overrides);
    tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
    recipe how = usual(&m);
    reading r = {tokens, how.off};
    double *gradient = gradient_of(&m, &how, tokens, SEQUENCES);
    if (!watched() || !*overrides) {
        double *direction = tiny_direction(&m, false, 20);
        double slope = dot(&m, gradient, direction);
        double expected = tiny_slope(&m, direction, loss_of, &r);
        double scale = sqrt(dot(&m, gradient, gradient));
        if (!(fabs(slope - expected) <= 1e-8 * scale))
            fail_msg("%s: %.12g, by differences %.12g", overrides, slope, expected);
        for (int i = 0; i < m.layout->count && !*overrides && !watched(); i++)
            check_parameter(&m, &m.layout->item[i], gradient, &r, scale, overrides);
        free(direction);
    }
    free(gradient);
    tiny_end(&m);
}

static void test_every_variant_against_differences(void **state) {
    (void)state;
    static const char *const more[] = {
        "inner.mode=naive",
        "inner.mode=naive inner.separate_mlp=false",
        "inner.chunk=8 inner.suffix=3 model.window=11",
        "train.context=12 inner.chunk=12",
        "inner.lr=0",
        "inner.clip=0.05 inner.lr=3",
    };
    /* Who watches sees the gradients of the others where micro-batches are compared. */
    for (int v = 0; v < (watched() ? 1 : TINY_VARIANTS); v++) check_variant(tiny_variants[v]);
    for (size_t v = 0; v < sizeof more / sizeof *more; v++) check_variant(more[v]);
}

/* A bigram's loss with all updates held: l_i at theta_i + delta, chunk by chunk. */
typedef struct {
    const int32_t *tokens;
    const double *moved; /* [n, elements] theta_i - theta_0 laid out like the parameters */
} held;

static double held_loss(const tiny *m, void *context) {
    const held *h = context;
    double mean = 0, loss[1];
    tiny part = *m;
    part.parameters = malloc((size_t)m->layout->elements * sizeof(double));
    assert_non_null(part.parameters);
    for (int i = 0; i < 4; i++) {
        for (int64_t j = 0; j < m->layout->elements; j++)
            part.parameters[j] = m->parameters[j] + h->moved[i * m->layout->elements + j];
        tiny_reading how = {.off = true, .loss = loss};
        tiny_read(&part, &how, h->tokens + 4 * i, 1);
        mean += loss[0] / 4;
    }
    free(part.parameters);
    return mean;
}

/* theta_i - theta_0 of chunks 0 .. 3, from readings of the first 4 i tokens. */
static double *follow(const char *overrides, const int32_t *tokens) {
    static double theta[16][256];
    double *moved = NULL;
    for (int i = 0; i < 4; i++) {
        tiny m;
        char text[256];
        snprintf(text, sizeof text, "%s train.context=%d", overrides, i ? 4 * i : 4);
        tiny_begin(&m, text);
        if (!moved) moved = calloc((size_t)(4 * m.layout->elements), sizeof *moved);
        assert_non_null(moved);
        tiny_reading how = {.rate = m.conf->inner.lr};
        for (int f = 0; f < 16; f++) how.fast[f] = theta[f];
        if (i) tiny_read(&m, &how, tokens, 1);
        for (int p = 0, f = 0; p < m.layout->count && i; p++) {
            const infer_parameter *item = &m.layout->item[p];
            if (!item->fast) continue;
            for (int64_t j = 0; j < item->elements; j++)
                moved[i * m.layout->elements + item->offset + j] =
                    theta[f][j] - m.parameters[item->offset + j];
            f++;
        }
        tiny_end(&m);
    }
    return moved;
}

/* With g_i held constant, d theta_{i+1} = d theta_i: the gradient is that of the chunks' losses
 * with every update held, which differences can see where nothing else joins the chunks. */
static void test_first_order_holds_the_updates(void **state) {
    (void)state;
    static const char overrides[] = "inner.mode=first_order model.attention=none";
    tiny m, part;
    int32_t tokens[T + 1];
    tiny_begin(&m, overrides);
    tiny_begin(&part, "inner.mode=off model.attention=none train.context=4");
    tiny_tokens(&m, tokens, T + 1, 5);
    recipe how = usual(&m);
    double *gradient = gradient_of(&m, &how, tokens, 1), *moved = follow(overrides, tokens);
    double *direction = tiny_direction(&m, false, 22);
    double slope = dot(&m, gradient, direction);
    held h = {tokens, moved};
    double expected = tiny_slope(&part, direction, held_loss, &h);
    if (!(fabs(slope - expected) <= 1e-8 * sqrt(dot(&m, gradient, gradient))))
        fail_msg("first order: %.12g, by differences %.12g", slope, expected);
    free(gradient);
    free(moved);
    free(direction);
    tiny_end(&m);
    tiny_end(&part);
}

static void test_first_order_and_second_differ_by_the_rate(void **state) {
    (void)state;
    for (int v = 0; v < TINY_VARIANTS; v += watched() ? 4 : 1) {
        tiny m;
        int32_t tokens[SEQUENCES * (T + 1)];
        tiny_begin(&m, tiny_variants[v]);
        bool several = m.conf->inner.chunk < T;
        for (int zero = 0; zero < (watched() ? 1 : 2) && tiny_has_inner(&m) && several; zero++) {
            tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
            recipe how = usual(&m);
            if (zero) how.rate = 0;
            double *second = gradient_of(&m, &how, tokens, SEQUENCES);
            how.first_order = true;
            double *first = gradient_of(&m, &how, tokens, SEQUENCES);
            how.off = true;
            double *none = gradient_of(&m, &how, tokens, SEQUENCES);
            double apart = relative(&m, first, second), naive = relative(&m, none, second);
            if (zero ? !(apart <= 1e-13 && naive <= 1e-12) : !(apart > 1e-4 && naive > 1e-4))
                fail_msg("%s at %s rate: first order is %g from second, naive %g", tiny_variants[v],
                         zero ? "no" : "full", apart, naive);
            free(second);
            free(first);
            free(none);
        }
        tiny_end(&m);
    }
}

/* Budgets from nothing to everything: other carries saved, other values computed again, the same
 * numbers. */
static void test_what_is_kept_does_not_matter(void **state) {
    (void)state;
    static const char *const variants[] = {
        "inner.chunk=2",
        "inner.chunk=1 model.window=3 inner.suffix=3",
        "inner.chunk=2 model.attention=hybrid model.full_every=2 model.heads=6 model.kv_heads=2",
        "inner.chunk=2 model.attention=none inner.fast_blocks=2",
        "inner.mode=off inner.suffix=0",
        "inner.mode=first_order inner.chunk=2 inner.separate_mlp=false",
        "inner.chunk=2 model.pattern=ese",
    };
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        tiny m;
        int32_t tokens[SEQUENCES * (T + 1)];
        tiny_begin(&m, variants[v]);
        tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
        recipe how = usual(&m);
        double *expected = gradient_of(&m, &how, tokens, SEQUENCES);
        double everything = how.kept;
        bool replayed = false;
        assert_int_equal(how.every, 1);
        for (int tenth = 0; tenth < 10; tenth += watched() ? 4 : 1) {
            how.budget = everything * tenth / 10;
            double *gradient = gradient_of(&m, &how, tokens, SEQUENCES);
            replayed |= how.every > 1;
            double apart = relative(&m, gradient, expected);
            if (!(apart <= 1e-14))
                fail_msg("%s, budget %g of %g: every %d, %g apart", variants[v], how.budget,
                         everything, (int)how.every, apart);
            assert_true(how.kept <= everything);
            if (!tenth) assert_true(how.kept < everything);
            free(gradient);
        }
        if (!how.off) assert_true(replayed);
        free(expected);
        tiny_end(&m);
    }
}

static void test_micro_batches_do_not_matter(void **state) {
    (void)state;
    for (int v = 0; v < TINY_VARIANTS; v++) {
        tiny m;
        int32_t tokens[SEQUENCES * (T + 1)];
        tiny_begin(&m, tiny_variants[v]);
        tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
        recipe how = usual(&m);
        double *one = gradient_of(&m, &how, tokens, SEQUENCES);
        if (!watched() || v % 3 == 0) {
            how.micro_batch = 2;
            double *two = gradient_of(&m, &how, tokens, SEQUENCES);
            how.budget = 0;
            double *small = gradient_of(&m, &how, tokens, SEQUENCES);
            double apart = fmax(relative(&m, two, one), relative(&m, small, two));
            if (!(apart <= 1e-12)) fail_msg("%s: %g apart", tiny_variants[v], apart);
            free(two);
            free(small);
        }
        free(one);
        tiny_end(&m);
    }
}

/* A gradient is added to what is there, and computing it again gives the same bits. */
static void test_gradients_add_up(void **state) {
    (void)state;
    tiny m;
    int32_t tokens[2 * SEQUENCES * (T + 1)];
    tiny_begin(&m, "");
    tiny_tokens(&m, tokens, SEQUENCES * (T + 1), 5);
    memcpy(tokens + SEQUENCES * (T + 1), tokens, SEQUENCES * (T + 1) * sizeof *tokens);
    recipe how = usual(&m);
    double *once = gradient_of(&m, &how, tokens, SEQUENCES);
    double *again = gradient_of(&m, &how, tokens, SEQUENCES);
    double *twice = gradient_of(&m, &how, tokens, 2 * SEQUENCES);
    assert_memory_equal(once, again, (size_t)m.layout->elements * sizeof *once);
    assert_true(relative(&m, twice, once) <= 1e-13);
    for (int i = 0; i < m.layout->count; i++) {
        const infer_parameter *p = &m.layout->item[i];
        double most = 0;
        for (int64_t j = 0; j < p->elements; j++) most = fmax(most, fabs(once[p->offset + j]));
        if (!(most > 1e-6)) fail_msg("%s has no gradient", p->name);
    }
    free(once);
    free(again);
    free(twice);
    tiny_end(&m);
}

/* All of them, or those whose names match a pattern. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_variant_against_differences),
        cmocka_unit_test(test_first_order_holds_the_updates),
        cmocka_unit_test(test_first_order_and_second_differ_by_the_rate),
        cmocka_unit_test(test_what_is_kept_does_not_matter),
        cmocka_unit_test(test_micro_batches_do_not_matter),
        cmocka_unit_test(test_gradients_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
