/* Composites against plain C. */
#include "tests/autodiff/world.h"

enum { SEED = 11 };

static void expect(const char *name, int64_t n, const double *got, const double *expected) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - expected[i]) <= 1e-13 * (1 + fabs(expected[i]))))
            fail_msg("%s, element %d: %.17g, not %.17g", name, (int)i, got[i], expected[i]);
}

static ad_value tensor(world *w, ad_type type) {
    return world_tensor(w, type, -2, 2);
}

/* Every mask of axes of every rank, with an axis of size 1 among them. */
static void test_sum(void **state) {
    (void)state;
    static const int64_t dims[3][5] = {{3, 2, 5, 4, 3}, {2, 1, 3, 1, 5}, {1, 1, 7, 2, 1}};
    for (int which = 0; which < 15; which++)
        for (unsigned axes = 0; axes < 1u << (which / 3 + 1); axes++) {
            int rank = which / 3 + 1;
            world w;
            world_begin(&w, KERN_F64, SEED);
            ad_value a = tensor(&w, ad_type_of(KERN_F64, rank, dims[which % 3]));
            ad_value sum = ad_sum(w.graph, a, axes);
            assert_int_equal(ad_graph_status(w.graph), KERN_OK);
            ad_type from = ad_type_at(w.graph, a), to = from;
            for (int axis = 0; axis < rank; axis++)
                if (axes >> axis & 1) to.dim[axis] = 1;
            assert_true(ad_type_same(to, ad_type_at(w.graph, sum)));
            double expected[360] = {0};
            for (int64_t i = 0; i < ad_elements(from); i++) {
                int64_t rest = i, at = 0, step = 1;
                for (int axis = rank - 1; axis >= 0; axis--) {
                    at += rest % from.dim[axis] % to.dim[axis] * step;
                    step *= to.dim[axis];
                    rest /= from.dim[axis];
                }
                expected[at] += world_data(&w, a)[i];
            }
            double *got = world_values(&w, 1, &sum);
            expect("sum", ad_elements(to), got, expected);
            free(got);
            world_end(&w);
        }
}

static void test_rms_norm(void **state) {
    (void)state;
    for (int weighted = 0; weighted < 2; weighted++) {
        enum { R = 6, D = 7 };
        world w;
        world_begin(&w, KERN_F64, SEED);
        ad_value x = tensor(&w, AD_TYPE(KERN_F64, 2, 3, D));
        ad_value g = weighted ? tensor(&w, AD_TYPE(KERN_F64, D)) : AD_NONE;
        ad_value y = ad_rms_norm(w.graph, x, g, 0.25);
        double expected[R * D], *got = world_values(&w, 1, &y);
        for (int r = 0; r < R; r++) {
            const double *row = world_data(&w, x) + r * D;
            double squares = 0;
            for (int i = 0; i < D; i++) squares += row[i] * row[i];
            for (int i = 0; i < D; i++)
                expected[r * D + i] =
                    row[i] / sqrt(squares / D + 0.25) * (weighted ? world_data(&w, g)[i] : 1);
        }
        expect("rms_norm", (int64_t)R * D, got, expected);
        free(got);
        world_end(&w);
    }
}

static void test_rope(void **state) {
    (void)state;
    enum { B = 2, C = 5, H = 3, K = 4 };
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value x = tensor(&w, AD_TYPE(KERN_F64, B, C, H, K));
    ad_value cosine = tensor(&w, AD_TYPE(KERN_F64, C, K));
    ad_value sine = tensor(&w, AD_TYPE(KERN_F64, C, K));
    for (int t = 0; t < C; t++)
        for (int i = 0; i < K; i++) {
            double angle = t * pow(10, -(double)(i / 2));
            w.input[1].data[t * K + i] = cos(angle);
            w.input[2].data[t * K + i] = sin(angle);
        }
    ad_value y = ad_rope(w.graph, x, cosine, sine);
    double expected[B * C * H * K], *got = world_values(&w, 1, &y);
    for (int p = 0; p < B * C * H * K; p += 2) {
        double angle = p / (H * K) % C * pow(10, -(double)(p % K / 2));
        double a = world_data(&w, x)[p], b = world_data(&w, x)[p + 1];
        expected[p] = a * cos(angle) - b * sin(angle);
        expected[p + 1] = a * sin(angle) + b * cos(angle);
    }
    expect("rope", (int64_t)B * C * H * K, got, expected);
    free(got);
    world_end(&w);
}

/* Also with logits whose exponentials overflow. */
static void test_cross_entropy(void **state) {
    (void)state;
    enum { R = 5, V = 11 };
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value logits = tensor(&w, AD_TYPE(KERN_F64, R, V));
    ad_value target = world_tensor(&w, AD_TYPE(KERN_I32, R, 1), 0, V);
    for (int i = 0; i < V; i++) w.input[0].data[i] += 2000 * (i - 5);
    ad_value y = ad_cross_entropy(w.graph, logits, target);
    double expected[R], *got = world_values(&w, 1, &y);
    for (int r = 0; r < R; r++) {
        const double *row = world_data(&w, logits) + r * V;
        double top = row[0], sum = 0;
        for (int i = 0; i < V; i++) top = fmax(top, row[i]);
        for (int i = 0; i < V; i++) sum += exp(row[i] - top);
        expected[r] = top + log(sum) - row[(int)world_data(&w, target)[r]];
    }
    expect("cross_entropy", R, got, expected);
    free(got);
    world_end(&w);
}

static void test_clip_factor(void **state) {
    (void)state;
    enum { B = 3, N = 10, M = 6 };
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value g[2] = {tensor(&w, AD_TYPE(KERN_F64, B, 2, 5)), AD_NONE}, y[2];
    g[1] = tensor(&w, AD_TYPE(KERN_F64, B, 3, 2));
    for (int i = 0; i < N; i++) w.input[0].data[i] *= 0.01; /* the first item is not clipped, */
    for (int i = 0; i < M; i++) w.input[1].data[i] *= 0.01;
    for (int i = 0; i < N; i++) w.input[0].data[N + i] = 0; /* the second is zero */
    for (int i = 0; i < M; i++) w.input[1].data[M + i] = 0;
    y[0] = ad_clip_factor(w.graph, 2, g, 1.5, &y[1]);
    double expected[2 * B], *got = world_values(&w, 2, y);
    for (int b = 0; b < B; b++) {
        double squares = 0;
        for (int i = 0; i < N; i++) squares += pow(world_data(&w, g[0])[b * N + i], 2);
        for (int i = 0; i < M; i++) squares += pow(world_data(&w, g[1])[b * M + i], 2);
        expected[b] = sqrt(squares) > 1.5 ? 1.5 / sqrt(squares) : 1;
        expected[B + b] = sqrt(squares);
    }
    assert_true(expected[0] == 1 && expected[1] == 1 && expected[2] < 1);
    expect("clip_factor", 2 * B, got, expected);
    free(got);
    world_end(&w);
}

static void test_small_ones(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = tensor(&w, AD_TYPE(KERN_F64, 2, 3, 4)), b = tensor(&w, AD_TYPE(KERN_F64, 2, 1, 4));
    ad_value m = tensor(&w, AD_TYPE(KERN_F64, 4, 3));
    const double *x = world_data(&w, a), *scale = world_data(&w, b), *matrix = world_data(&w, m);
    ad_value y[] = {ad_scale(w.graph, a, -1.5), ad_shift(w.graph, a, 0.25), ad_silu(w.graph, a),
                    ad_mul_repeat(w.graph, a, b), ad_linear(w.graph, a, m)};
    double expected[24 * 5] = {0}, *got = world_values(&w, 5, y);
    for (int i = 0; i < 24; i++) {
        expected[i] = -1.5 * x[i];
        expected[24 + i] = x[i] + 0.25;
        expected[48 + i] = x[i] / (1 + exp(-x[i]));
        expected[72 + i] = x[i] * scale[i / 12 * 4 + i % 4];
        for (int j = 0; j < 3; j++) expected[96 + i / 4 * 3 + j] += x[i] * matrix[i % 4 * 3 + j];
    }
    assert_true(ad_type_same(ad_type_at(w.graph, y[4]), AD_TYPE(KERN_F64, 2, 3, 3)));
    expect("composites", 96 + 18, got, expected);
    free(got);
    world_end(&w);
}

/* Three steps, moments carried along. */
static void test_adamw(void **state) {
    (void)state;
    enum { N = 15 };
    double p[N], g[N], m[N] = {0}, v[N] = {0}, now[3][N];
    for (int i = 0; i < N; i++) {
        p[i] = now[0][i] = sin(i);
        g[i] = cos(3 * i);
        now[1][i] = now[2][i] = 0;
    }
    for (int step = 1; step <= 3; step++) {
        world w;
        world_begin(&w, KERN_F64, SEED);
        ad_type type = AD_TYPE(KERN_F64, 3, 5), one = AD_TYPE(KERN_F64, 1);
        ad_value in[8], out[3];
        for (int i = 0; i < 8; i++) in[i] = tensor(&w, i < 4 ? type : one);
        double factor = 0.5 * step, rate = 0.01 / step;
        double correct1 = 1 / (1 - pow(0.9, step)), correct2 = 1 / (1 - pow(0.95, step));
        memcpy(w.input[0].data, now[0], sizeof p);
        memcpy(w.input[1].data, g, sizeof g);
        memcpy(w.input[2].data, now[1], sizeof m);
        memcpy(w.input[3].data, now[2], sizeof v);
        w.input[4].data[0] = factor;
        w.input[5].data[0] = rate;
        w.input[6].data[0] = correct1;
        w.input[7].data[0] = correct2;
        ad_adamw(w.graph,
                 &(ad_adamw_args){.factor = in[4],
                                  .rate = in[5],
                                  .correct1 = in[6],
                                  .correct2 = in[7],
                                  .beta1 = 0.9,
                                  .beta2 = 0.95,
                                  .eps = 1e-3,
                                  .weight_decay = 0.1},
                 in[0], in[1], in[2], in[3], &out[0], &out[1], &out[2]);
        double *got = world_values(&w, 3, out);
        for (int i = 0; i < N; i++) {
            double clipped = factor * g[i];
            m[i] = 0.9 * m[i] + (1 - 0.9) * clipped;
            v[i] = 0.95 * v[i] + (1 - 0.95) * clipped * clipped;
            p[i] -= rate * (m[i] * correct1 / (sqrt(v[i] * correct2) + 1e-3) + 0.1 * p[i]);
        }
        expect("adamw p", N, got, p);
        expect("adamw m", N, got + N, m);
        expect("adamw v", N, got + 2 * N, v);
        memcpy(now, got, sizeof now);
        free(got);
        world_end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),         cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_rope),        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_clip_factor), cmocka_unit_test(test_small_ones),
        cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
