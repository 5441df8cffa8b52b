/* Walks the op table: every row has a case (UNARY and BINARY rows get theirs from the table); each
 * value against plain C, each rule against finite differences at every order that the row states
 * (three where it is smooth), the first order beyond it is an error, f32 against f64. */
#include "tests/autodiff/op_cases.h"

#include <float.h>

enum { SMOOTH_ORDERS = 3 };

/* ---- rows with a builder from the table ---- */

typedef ad_value (*unary)(ad_graph *graph, ad_value a);
typedef ad_value (*binary)(ad_graph *graph, ad_value a, ad_value b);

static const struct {
    const char *name;
    unary one;
    binary two;
} rows[AD_OP_COUNT] = {
#define ROW_UNARY(name) {#name, ad_##name, NULL},
#define ROW_BINARY(name) {#name, NULL, ad_##name},
#define ROW_OTHER(name) {#name, NULL, NULL},
    AD_OP_TABLE(ROW_UNARY, ROW_BINARY, ROW_OTHER)};

static double plain(const char *name, double a, double b, bool *known) {
    *known = true;
    if (!strcmp(name, "add")) return a + b;
    if (!strcmp(name, "sub")) return a - b;
    if (!strcmp(name, "mul")) return a * b;
    if (!strcmp(name, "div")) return a / b;
    if (!strcmp(name, "max")) return a > b ? a : b;
    if (!strcmp(name, "greater")) return a > b;
    if (!strcmp(name, "neg")) return -a;
    if (!strcmp(name, "exp")) return exp(a);
    if (!strcmp(name, "log")) return log(a);
    if (!strcmp(name, "sqrt")) return pow(a, 0.5);
    if (!strcmp(name, "sigmoid")) return (1 + tanh(a / 2)) / 2;
    if (!strcmp(name, "softplus")) return log1p(exp(a));
    if (!strcmp(name, "stop_gradient")) return a;
    *known = false;
    return 0;
}

static const struct {
    int rank;
    int64_t dim[3];
} shapes[] = {{2, {5, 7}},  {1, {1}},        {3, {3, 1, 13}}, {2, {1, 131}},
              {2, {17, 2}}, {3, {2, 3, 26}}, {2, {1, 514}}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Whose nodes lie in a scope that errors must name. */
static void begin_world(world *w, kern_dtype real, int seed) {
    world_begin(w, real, (uint64_t)seed);
    ad_scope_push(w->graph, "outer");
    ad_scope_push(w->graph, "inner");
}

/* A world with one row of the table on its operands; false where the op refuses the shape. */
static bool begin_row(world *w, kern_dtype real, int op, int shape, ad_value *y) {
    const ad_op_def *definition = ad_op_definition(op);
    bool given = definition->low != 0 || definition->high != 0;
    double low = given ? definition->low : -2, high = given ? definition->high : 2;
    begin_world(w, real, op * SHAPES + shape);
    ad_type type = ad_type_of(real, shapes[shape].rank, shapes[shape].dim);
    ad_value a = world_tensor(w, type, low, high);
    if (rows[op].one)
        *y = rows[op].one(w->graph, a);
    else
        *y = rows[op].two(w->graph, a, world_tensor(w, type, low, high));
    for (int64_t i = 0; i < ad_elements(type) && rows[op].two; i++) {
        /* away from kinks where the operands are equal */
        double *b = &w->input[1].data[i];
        if (fabs(*b - w->input[0].data[i]) < 0.015625) *b += *b > (low + high) / 2 ? -0.125 : 0.125;
    }
    return ad_graph_status(w->graph) == KERN_OK;
}

/* The world of variant `variant` of any row. 0: there is none; -1: refused shape. */
static int begin_case(world *w, kern_dtype real, int op, int variant, ad_value *y) {
    if (rows[op].one || rows[op].two) {
        if (variant >= SHAPES) return 0;
        if (begin_row(w, real, op, variant, y)) return 1;
        world_end(w);
        return -1;
    }
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        if (strcmp(cases[c].name, rows[op].name) != 0) continue;
        begin_world(w, real, op * 100 + variant);
        int outputs = cases[c].build(w, variant, y);
        if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s", kern_error());
        if (!outputs) world_end(w);
        return outputs;
    }
    fail_msg("the row %s of the table has no test case", rows[op].name);
    return 0;
}

static void assert_close(const char *name, int variant, int64_t n, const double *got,
                         const double *expected, double relative) {
    double size = 0;
    for (int64_t i = 0; i < n; i++) size = fmax(size, fabs(expected[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - expected[i]) <= relative * size))
            fail_msg("%s, variant %d, element %d: %.17g, not %.17g", name, variant, (int)i, got[i],
                     expected[i]);
}

static int64_t all_elements(const world *w, int n, const ad_value *y) {
    int64_t elements = 0;
    for (int i = 0; i < n; i++)
        elements += ad_is_none(y[i]) ? 0 : ad_elements(ad_type_at(w->graph, y[i]));
    return elements;
}

/* ---- the tests ---- */

static void test_every_row_has_a_case(void **state) {
    (void)state;
    for (int op = 0; op < AD_OP_COUNT; op++) {
        assert_string_equal(rows[op].name, ad_op_name(op));
        int tested = 0;
        for (int variant = 0, n; variant < 100; variant++) {
            world w;
            ad_value y[CASE_OUTPUTS];
            n = begin_case(&w, KERN_F64, op, variant, y);
            if (n < 0) continue;
            if (n == 0) break;
            bool built = false;
            for (int i = 0; i < ad_nodes(w.graph); i++) built |= ad_node_at(w.graph, i)->op == op;
            if (!built && variant == 0) fail_msg("the case of %s builds none", rows[op].name);
            ad_check(w.graph);
            world_end(&w);
            tested++;
        }
        if (!tested) fail_msg("%s refused every shape", rows[op].name);
        if (rows[op].one || rows[op].two) assert_true(tested >= 3);
    }
}

static void check_plain_row(const world *w, int op, int variant, const double *got) {
    int64_t n = count(w, 0);
    double *expected = calloc((size_t)n, sizeof *expected);
    bool known = false;
    for (int64_t i = 0; i < n; i++)
        expected[i] = plain(rows[op].name, data(w, 0)[i], data(w, rows[op].two ? 1 : 0)[i], &known);
    if (!strcmp(rows[op].name, "rotate")) {
        known = true;
        for (int64_t i = 0; i < n; i++)
            expected[i] = i % 2 ? data(w, 0)[i - 1] : -data(w, 0)[i + 1];
    }
    if (known) assert_close(rows[op].name, variant, n, got, expected, 1e-15);
    free(expected);
}

static void test_values(void **state) {
    (void)state;
    for (int op = 0; op < AD_OP_COUNT; op++)
        for (int variant = 0;; variant++) {
            world w;
            ad_value y[CASE_OUTPUTS];
            int n = begin_case(&w, KERN_F64, op, variant, y);
            if (n < 0) continue;
            if (n == 0) break;
            double *got = world_values(&w, n, y);
            if (rows[op].one || rows[op].two) check_plain_row(&w, op, variant, got);
            for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
                if (strcmp(cases[c].name, rows[op].name) != 0 || !cases[c].value) continue;
                int64_t elements = all_elements(&w, n, y);
                double *expected = calloc((size_t)elements, sizeof *expected);
                cases[c].value(&w, variant, expected);
                assert_close(rows[op].name, variant, elements, got, expected, 1e-14);
                free(expected);
            }
            free(got);
            world_end(&w);
        }
}

/* The message of a derivative beyond those that the row states names the op and the scope. */
static void check_refusal(world *w, int op, ad_value loss) {
    ad_value gradient[WORLD_INPUTS];
    world_gradient(w, loss, gradient);
    assert_int_equal(ad_graph_status(w->graph), KERN_ERR_GRAPH);
    bool attention = strstr(rows[op].name, "attention") != NULL;
    const char *name = attention ? "attention_vjp2" : rows[op].name;
    if (!strstr(kern_error(), name)) fail_msg("%s is not named by: %s", name, kern_error());
    if (!strstr(kern_error(), "outer.inner")) fail_msg("no scope: %s", kern_error());
}

/* Differentiates a random contraction of the results, then one of the gradient, and so on. */
static void check_orders(world *w, int op, int variant, int n, const ad_value *y) {
    int orders = ad_op_definition(op)->orders;
    bool smooth = orders == AD_SMOOTH, stops = op == AD_OP_stop_gradient;
    ad_value gradient[WORLD_INPUTS], loss = world_contract(w, n, y);
    for (int order = 1; order <= (smooth ? SMOOTH_ORDERS : orders); order++) {
        char name[64];
        snprintf(name, sizeof name, "%s, variant %d, order %d", rows[op].name, variant, order);
        int inputs = w->inputs;
        world_gradient(w, loss, gradient);
        if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s: %s", name, kern_error());
        ad_check(w->graph);
        if (stops) {
            assert_true(ad_is_none(gradient[0]));
            return;
        }
        world_check_gradient(w, loss, gradient, name);
        bool past = strstr(rows[op].name, "attention") && attentions[variant].past;
        if (past) gradient[3] = gradient[4] = AD_NONE; /* constants from here on */
        for (int i = 0; i < inputs; i++) /* what passed through f32 has no smooth values */
            if (w->input[i].type.dtype != w->real) gradient[i] = AD_NONE;
        loss = world_contract(w, inputs, gradient);
        if (ad_is_none(loss)) return;
    }
    if (!smooth) check_refusal(w, op, loss);
}

static void test_derivatives(void **state) {
    (void)state;
    for (int op = 0; op < AD_OP_COUNT; op++)
        for (int variant = 0;; variant++) {
            world w;
            ad_value y[CASE_OUTPUTS];
            int n = begin_case(&w, KERN_F64, op, variant, y);
            if (n < 0) continue;
            if (n == 0) break;
            check_orders(&w, op, variant, n, y);
            world_end(&w);
        }
}

/* Every pair of element types: values round to nearest even, cotangents pass unrounded. */
static void test_casts(void **state) {
    (void)state;
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16};
    for (int pair = 0; pair < 9; pair++) {
        world w;
        world_begin(&w, KERN_F64, (uint64_t)pair);
        kern_dtype from = dtypes[pair / 3], to = dtypes[pair % 3];
        ad_value a = world_tensor(&w, AD_TYPE(from, 5, 7), -2, 2), y[2];
        y[0] = ad_cast(w.graph, a, to);
        kern_dtype ct_dtype = to == KERN_BF16 ? KERN_F32 : to;
        ad_value ct = world_tensor(&w, AD_TYPE(ct_dtype, 5, 7), -1, 1);
        ad_vjp(w.graph, 1, y, &ct, 1, &a, y + 1);
        assert_int_equal(ad_type_at(w.graph, y[1]).dtype, from == KERN_BF16 ? KERN_F32 : from);
        double *got = world_values(&w, 2, y);
        for (int i = 0; i < 35; i++) {
            float x = (float)data(&w, 0)[i];
            assert_true(got[i] == (to == KERN_BF16 ? world_from_bf16(world_bf16(x)) : (double)x));
            assert_true(got[35 + i] == data(&w, 1)[i]);
        }
        free(got);
        world_end(&w);
    }
}

/* f32 against f64: sums of at most about a thousand terms of rounding 6e-8 each. */
static void test_f32(void **state) {
    (void)state;
    for (int op = 0; op < AD_OP_COUNT; op++)
        for (int variant = 0;; variant++) {
            double *result[2] = {NULL, NULL};
            int64_t elements = 0;
            int n = 0;
            for (int pass = 0; pass < 2; pass++) {
                world w;
                ad_value y[CASE_OUTPUTS + WORLD_INPUTS], gradient[WORLD_INPUTS];
                n = begin_case(&w, pass ? KERN_F32 : KERN_F64, op, variant, y);
                if (n <= 0) break;
                int inputs = w.inputs, values = n;
                bool differentiable = ad_op_definition(op)->orders > 0;
                if (differentiable) world_gradient(&w, world_contract(&w, n, y), gradient);
                for (int i = 0; i < inputs && differentiable; i++)
                    if (!ad_is_none(gradient[i])) y[values++] = gradient[i];
                result[pass] = world_values(&w, values, y);
                elements = all_elements(&w, values, y);
                world_end(&w);
            }
            if (n > 0) assert_close(rows[op].name, variant, elements, result[1], result[0], 3e-6);
            free(result[0]);
            free(result[1]);
            if (n == 0) break;
        }
}

/* Where e^x overflows, and where 1 + e^-|x| is rounded to 1: softplus has its digits, and a
 * derivative. */
static void test_softplus_far(void **state) {
    (void)state;
    static const double far[] = {-0x1p100, -800, -90, -60, -40, -20, -17,
                                 17,       20,   40,  60,  90,  800, 0x1p100};
    enum { FAR = sizeof far / sizeof *far };
    static const kern_dtype types[] = {KERN_F64, KERN_F32};
    for (int t = 0; t < 2; t++) {
        world w;
        world_begin(&w, types[t], 5);
        ad_value x = world_tensor(&w, AD_TYPE(types[t], FAR), -1, 1);
        for (int i = 0; i < FAR; i++) w.input[0].data[i] = far[i];
        ad_value y[2] = {ad_softplus(w.graph, x)},
                 one = ad_fill(w.graph, ad_type_at(w.graph, x), 1);
        ad_vjp(w.graph, 1, y, &one, 1, &x, &y[1]);
        double *got = world_values(&w, 2, y), digits = t ? 3e-6 : 1e-14;
        double least = t ? (double)FLT_MIN : DBL_MIN; /* what is smaller may be 0 */
        for (int i = 0; i < FAR; i++) {
            double right = fmax(far[i], 0) + log1p(exp(-fabs(far[i]))),
                   slope = 1 / (1 + exp(-far[i]));
            if (!(fabs(got[i] - right) <= digits * right + least))
                fail_msg("softplus(%g) is %.17g, not %.17g", far[i], got[i], right);
            if (!(fabs(got[FAR + i] - slope) <= digits * slope + least))
                fail_msg("softplus'(%g) is %.17g, not %.17g", far[i], got[FAR + i], slope);
        }
        free(got);
        world_end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_has_a_case),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_casts),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_softplus_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
