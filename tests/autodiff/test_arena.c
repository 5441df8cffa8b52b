/* What lies in a plan's arena, and when: how much of it there is says so. */
#include "tests/autodiff/plan_steps.h"

static void test_arena_is_reused(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 16, 16);
    for (int i = 0; i < 40; i++) {
        a = ad_transpose(w.graph, a, (int[]){1, 0});
        a = ad_exp(w.graph, ad_neg(w.graph, a));
    }
    ad_plan_output output = {a, AD_WRITE};
    ad_plan *plan;
    ad_plan_spec spec = {.outputs = 1, .output = &output, .threads = 1};
    assert_int_equal(ad_plan_compile(&plan, w.graph, &spec), KERN_OK);
    size_t matrix_bytes = 16 * 16 * 8, few = ad_plan_arena_bytes(plan);
    ad_plan_destroy(plan);
    spec.no_reuse = true;
    assert_int_equal(ad_plan_compile(&plan, w.graph, &spec), KERN_OK);
    size_t many = ad_plan_arena_bytes(plan);
    ad_plan_destroy(plan);
    assert_true(many >= 79 * matrix_bytes);
    assert_true(few < 2 * matrix_bytes + (many - 79 * matrix_bytes));
    world_end(&w);
}

enum { SIDE = 128 };

static ad_value turned(world *w, ad_value a) {
    return ad_transpose(w->graph, a, (int[]){1, 0});
}

/* The arena of a plan in matrices of SIDE x SIDE; scratch of row programs is less than one. */
static int arena_matrices(const world *w, ad_plan_spec spec) {
    ad_plan *plan;
    spec.threads = 1;
    if (ad_plan_compile(&plan, w->graph, &spec) != KERN_OK) fail_msg("%s", kern_error());
    size_t bytes = ad_plan_arena_bytes(plan);
    ad_plan_destroy(plan);
    return (int)(bytes / (SIDE * SIDE * sizeof(double)));
}

/* A row program writes over an operand that it is the last to read if that is all there is of the
 * operand's memory; beside it where it reads a part, whose place is not the result's. */
static void test_results_over_dying_operands(void **state) {
    (void)state;
    for (int part = 0; part < 2; part++) {
        world w;
        world_begin(&w, KERN_F64, SEED);
        ad_value a = turned(&w, matrix(&w, SIDE, part ? 2 * SIDE : SIDE));
        if (part) a = ad_slice(w.graph, a, 0, 5, SIDE);
        ad_plan_output output = {turned(&w, ad_exp(w.graph, a)), AD_WRITE};
        int matrices = arena_matrices(&w, (ad_plan_spec){.outputs = 1, .output = &output});
        assert_int_equal(matrices, part ? 3 : 1);
        expect_equal_ways(&w, 1, &output);
        world_end(&w);
    }
}

/* What is added into outputs by row programs is added as soon as it is there, recomputed or not. */
static void test_sums_into_outputs_run_early(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        world w;
        world_begin(&w, KERN_F64, SEED);
        ad_plan_output output[4];
        ad_value a = matrix(&w, SIDE, SIDE), chain = a;
        int lazy = 0;
        for (int i = 0; i < 4; i++) {
            ad_value next = turned(&w, which ? ad_sigmoid(w.graph, chain) : matrix(&w, SIDE, SIDE));
            output[i] = (ad_plan_output){next, i == 0 || !which ? AD_ADD : AD_WRITE};
            chain = turned(&w, next);
            if (i == 0) lazy = which ? ad_nodes(w.graph) : 0;
        }
        if (which) output[1] = output[3];
        ad_plan_spec spec = {.outputs = which ? 2 : 4, .output = output, .lazy = lazy};
        assert_int_equal(arena_matrices(&w, spec), which ? 2 : 1);
        expect_equal_ways(&w, spec.outputs, output);
        world_end(&w);
    }
}

/* Results that nobody reads have no memory. */
static void test_unread_results(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_type type = AD_TYPE(KERN_F64, 1, SIDE, 2, SIDE / 2);
    ad_attention_args args = {.q = world_tensor(&w, type, -1, 1),
                              .k = world_tensor(&w, type, -1, 1),
                              .v = world_tensor(&w, type, -1, 1),
                              .past_k = AD_NONE,
                              .past_v = AD_NONE,
                              .past_rows = AD_NONE,
                              .window = SIDE,
                              .scale = 1};
    ad_value o = ad_attention(w.graph, &args, NULL), ct = world_tensor(&w, type, -1, 1), result[3];
    ad_vjp(w.graph, 1, &o, &ct, 3, (ad_value[]){args.q, args.k, args.v}, result);
    ad_plan_output output[3];
    for (int i = 0; i < 3; i++) output[i] = (ad_plan_output){result[i], AD_WRITE};
    int all = arena_matrices(&w, (ad_plan_spec){.outputs = 3, .output = output});
    for (int i = 0; i < 3; i++)
        assert_int_equal(all,
                         arena_matrices(&w, (ad_plan_spec){.outputs = 1, .output = &output[i]}));
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_is_reused),
        cmocka_unit_test(test_results_over_dying_operands),
        cmocka_unit_test(test_sums_into_outputs_run_early),
        cmocka_unit_test(test_unread_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
