/* Attention's three stages in f64: against a plain implementation with the full score matrix, and
 * against finite differences of the composition from the forward on. */
#include "tests/kernels/attention_problem.h"

static bool visible(const problem *p, int64_t t, int64_t s) {
    return s <= p->past + t && p->past + t - s < p->shape.window;
}

/* Index of q, o, ... (heads) or k, v, ... (groups), and of rows of past ++ new. */
static int64_t query_at(const problem *p, int64_t b, int64_t t, int64_t h, int64_t i) {
    const kern_attention_shape *s = &p->shape;
    return ((b * s->rows + t) * s->heads + h) * s->head_size + i;
}

static int64_t key_at(const problem *p, int64_t b, int64_t s, int64_t g, int64_t i) {
    const kern_attention_shape *shape = &p->shape;
    int64_t row =
        s < p->past ? b * (p->past + p->lead) + p->lead + s : b * shape->rows + s - p->past;
    return (row * shape->groups + g) * shape->head_size + i;
}

static double key_value(const problem *p, int past, int fresh, int64_t b, int64_t s, int64_t g,
                        int64_t i) {
    return get(p, s < p->past ? past : fresh, key_at(p, b, s, g, i));
}

/* One row of one head: probabilities over all keys, its log-sum-exp returned. */
static double plain_row(const problem *p, int64_t b, int64_t t, int64_t h, double *probability) {
    const kern_attention_shape *s = &p->shape;
    int64_t keys = p->past + s->rows, g = h / (s->heads / s->groups);
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; j++) {
        probability[j] = -INFINITY;
        if (!visible(p, t, j)) continue;
        double score = 0;
        for (int64_t i = 0; i < s->head_size; i++)
            score += get(p, Q, query_at(p, b, t, h, i)) * key_value(p, PAST_K, K, b, j, g, i);
        probability[j] = score * s->scale;
        if (probability[j] > largest) largest = probability[j];
    }
    for (int64_t j = 0; j < keys; j++) sum += exp(probability[j] - largest);
    for (int64_t j = 0; j < keys; j++) probability[j] = exp(probability[j] - largest) / sum;
    return largest + log(sum);
}

static void add_to(double *sum, const problem *p, bool value, int64_t b, int64_t s, int64_t g,
                   int64_t i, double x) {
    int64_t offset = s < p->past ? 0 : p->size[PAST_K];
    if (value) offset += p->size[PAST_K] + p->size[K];
    sum[offset + key_at(p, b, s, g, i)] += x;
}

/* Stage 0 and 1 of one (batch, head), from the full score matrix; ct_k and ct_v are summed in
 * `sums`: past k, new k, past v, new v. */
static void check_plain_head(const problem *p, int64_t b, int64_t h, double *sums,
                             double *probability) {
    const kern_attention_shape *s = &p->shape;
    int64_t keys = p->past + s->rows, g = h / (s->heads / s->groups);
    for (int64_t t = 0; t < s->rows; t++) {
        double lse = plain_row(p, b, t, h, probability), delta = 0;
        check_close("lse", get(p, LSE, (b * s->rows + t) * s->heads + h), lse, 1e-12);
        for (int64_t i = 0; i < s->head_size; i++) {
            double o = 0;
            for (int64_t j = 0; j < keys; j++)
                o += probability[j] == 0 ? 0 : probability[j] * key_value(p, PAST_V, V, b, j, g, i);
            check_close("o", get(p, O, query_at(p, b, t, h, i)), o, 1e-12);
            delta += o * get(p, CT_O, query_at(p, b, t, h, i));
        }
        for (int64_t j = 0; j < keys; j++) {
            double dp = 0;
            if (!visible(p, t, j)) continue;
            for (int64_t i = 0; i < s->head_size; i++) {
                double ct_o = get(p, CT_O, query_at(p, b, t, h, i));
                dp += ct_o * key_value(p, PAST_V, V, b, j, g, i);
                add_to(sums, p, true, b, j, g, i, probability[j] * ct_o);
            }
            double ds = s->scale * probability[j] * (dp - delta);
            probability[j] = ds; /* for ct_q below */
            for (int64_t i = 0; i < s->head_size; i++)
                add_to(sums, p, false, b, j, g, i, ds * get(p, Q, query_at(p, b, t, h, i)));
        }
        for (int64_t i = 0; i < s->head_size; i++) {
            double ct_q = 0;
            for (int64_t j = 0; j < keys; j++)
                if (visible(p, t, j)) ct_q += probability[j] * key_value(p, PAST_K, K, b, j, g, i);
            check_close("ct_q", get(p, OUT_Q, query_at(p, b, t, h, i)), ct_q, 1e-11);
        }
    }
}

static void check_plain(kern_attention_shape shape, int64_t past, int64_t lead) {
    problem p = problem_create(shape, past, lead);
    int64_t sizes[] = {p.size[PAST_K], p.size[K], p.size[PAST_V], p.size[V]};
    static const int out[] = {OUT_PAST_K, OUT_K, OUT_PAST_V, OUT_V};
    int64_t total = 2 * (sizes[0] + sizes[1]);
    double *sums = calloc((size_t)total, sizeof *sums);
    double *probability = calloc((size_t)(past + shape.rows), sizeof *probability);
    for (int64_t i = 0; i < sizes[0]; i++) { /* the past's cotangents are added to */
        sums[i] = get(&p, OUT_PAST_K, i);
        sums[sizes[0] + sizes[1] + i] = get(&p, OUT_PAST_V, i);
    }
    run(&p, 0, 0, 0);
    run(&p, 1, ALL, 0);
    for (int64_t b = 0; b < shape.batch; b++)
        for (int64_t h = 0; h < shape.heads; h++) check_plain_head(&p, b, h, sums, probability);
    for (int i = 0, at = 0; i < 4; at += (int)sizes[i], i++)
        for (int64_t j = 0; j < sizes[i]; j++)
            check_close("ct of keys or values", get(&p, out[i], j), sums[at + j], 1e-11);
    free(sums), free(probability);
    problem_destroy(&p);
}

static void test_plain(void **state) {
    (void)state;
    random_state = 1;
    for (size_t i = 0; i < CASES; i++) {
        current = (int)i;
        check_plain(case_shape(i), cases[i][6], cases[i][7]);
    }
}

static void test_few_rows(void **state) {
    (void)state;
    random_state = 13;
    for (size_t i = 0; i < FEW_CASES; i++) {
        current = (int)i;
        check_plain(few_shape(i), few_cases[i][6], few_cases[i][7]);
    }
    for (int64_t past = 0; past < 70; past += SANITIZED ? 3 : 1)
        for (int64_t rows = 1; rows <= 4; rows++)
            check_plain(shape_of(1, rows, 2, 1, 3, past / 2 + 1), past, 0);
}

/* Every alignment of the window's two edges with tiles and register blocks. */
static void test_windows(void **state) {
    (void)state;
    random_state = 12;
    for (int64_t window = 1; window <= 34; window += SANITIZED ? 3 : 1)
        for (int64_t past = 0; past <= 40; past += 20)
            check_plain(shape_of(1, 140, 1, 1, 2, window), past + past / 20, 0);
}

static double inner_product(const problem *p, int a, int b) {
    double sum = 0;
    for (int64_t i = 0; i < p->size[a]; i++) sum += get(p, a, i) * get(p, b, i);
    return sum;
}

/* The function whose gradient is stage 1 (with respect to q, k, v and the past): <ct_o, o>. Stage
 * 2's: <a, ct_q> + <b, ct_k> + <c, ct_v>, as functions of q, k, v, past and ct_o through the
 * forward. */
static double value_of(problem *p, int stage) {
    run(p, 0, 0, 0);
    if (stage == 1) return inner_product(p, CT_O, O);
    run(p, 1, ALL & ~(1u << OUT_PAST_K | 1u << OUT_PAST_V), 0);
    return inner_product(p, A, OUT_Q) + inner_product(p, B, OUT_K) + inner_product(p, C, OUT_V);
}

/* Directional derivative by differences of fourth order at x - 2h .. x + 2h. */
static void check_differences(kern_attention_shape shape, int64_t past, int64_t lead, int stage) {
    static const int inputs[] = {Q, K, V, PAST_K, PAST_V, CT_O};
    static const int outputs[] = {OUT_Q, OUT_K, OUT_V, OUT_PAST_K, OUT_PAST_V, OUT_CT_O};
    problem p = problem_create(shape, past, lead);
    problem direction = problem_create(shape, past, lead);
    clear_past_ct(&p);
    run(&p, 0, 0, 0);
    run(&p, stage, ALL, GIVEN);
    double analytic[6], size = 0;
    int count = stage == 1 ? 5 : 6;
    for (int i = 0; i < count; i++) {
        analytic[i] = 0;
        for (int64_t j = 0; j < p.size[inputs[i]]; j++) {
            double term = get(&p, outputs[i], j) * get(&direction, inputs[i], j);
            analytic[i] += term;
            size += fabs(term);
        }
    }
    problem at = converted(&p, KERN_F64);
    for (int i = 0; i < count; i++) { /* one input at a time, so that errors cannot cancel */
        static const double weights[] = {1.0 / 12, -2.0 / 3, 0, 2.0 / 3, -1.0 / 12};
        const double h = 1e-3;
        double difference = 0;
        for (int step = -2; step <= 2; step++) {
            if (step == 0) continue;
            for (int64_t j = 0; j < p.size[inputs[i]]; j++)
                set(&at, inputs[i], j,
                    get(&p, inputs[i], j) + step * h * get(&direction, inputs[i], j));
            difference += weights[step + 2] * value_of(&at, stage) / h;
        }
        for (int64_t j = 0; j < p.size[inputs[i]]; j++)
            set(&at, inputs[i], j, get(&p, inputs[i], j));
        check_close("directional derivative", analytic[i], difference, 1e-8 * (size + 1));
    }
    problem_destroy(&p);
    problem_destroy(&direction);
    problem_destroy(&at);
}

static void test_differences(void **state) {
    (void)state;
    random_state = 2;
    for (int stage = 1; stage <= 2; stage++)
        for (size_t i = 0; i < CASES; i += SANITIZED ? 3 : 1)
            check_differences(case_shape(i), cases[i][6], cases[i][7], stage);
}

static void test_pairs(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        problem p = problem_create(case_shape(i), cases[i][6], 0);
        double counts[2] = {0, 0};
        for (int64_t t = 0; t < p.shape.rows; t++)
            for (int64_t s = 0; s < p.past + p.shape.rows; s++)
                if (visible(&p, t, s))
                    counts[s < p.past] += (double)(p.shape.batch * p.shape.heads);
        for (int past = 0; past < 2; past++)
            assert_true(kern_attention_pairs(&p.shape, p.past, past) == counts[past]);
        problem_destroy(&p);
    }
}

int main(int argc, char **argv) {
    assert_true(argc >= 1);
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),   cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_differences),
        cmocka_unit_test(test_pairs),   cmocka_unit_test(test_other_instruction_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
