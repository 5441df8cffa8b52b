/* What row programs make again instead of loading it, and outputs that lie where an input does. */
#include "kernels/device_paper.h"
#include "tests/autodiff/plan_steps.h"

enum { M = 24, N = 40 };

static ad_plan *compiled(const world *w, ad_plan_output *output, const kern_device *device) {
    ad_plan *plan;
    ad_plan_spec spec = {.outputs = 1, .output = output, .device = device, .threads = 1};
    if (ad_plan_compile(&plan, w->graph, &spec) != KERN_OK) fail_msg("%s", kern_error());
    return plan;
}

/* Passes over [M, N] that the row programs of a plan make, and what comes to it on an accelerator.
 */
static void expect_passes(const world *w, ad_value value, int here, int there) {
    const kern_machine *machine = kern_machine_named("h200");
    kern_device *paper = kern_device_paper_create(machine, false);
    ad_plan_output output = {value, AD_WRITE};
    ad_plan *plan = compiled(w, &output, NULL), *other = compiled(w, &output, paper);
    double pass = M * N * sizeof(double);
    assert_true(ad_plan_bytes(plan) == here * pass);
    assert_true(ad_plan_bytes(other) == there * pass);
    expect_equal_ways(w, 1, &output);
    ad_plan_destroy(plan);
    ad_plan_destroy(other);
    kern_device_paper_destroy(paper);
}

/* The first program makes x, and z for a product; the second needs x and the product. */
static ad_value two_programs(world *w, ad_value x, ad_value y) {
    ad_value z = ad_mul(w->graph, x, y);
    ad_value p = ad_matmul(w->graph, z, matrix(w, N, N), false, false);
    return ad_add(w->graph, ad_mul(w->graph, p, x), y);
}

static void test_what_is_made_again(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, M, N), b = matrix(&w, M, N);
    /* a, b -> z; p, a, b -> result: x = a b and y = a + b are made twice */
    ad_value cheap = two_programs(&w, ad_mul(w.graph, a, b), ad_add(w.graph, a, b));
    expect_passes(&w, cheap, 7, 7);
    /* a, b -> z, x; p, x, b -> result: an exponential is worth a pass where these are slow */
    ad_value slow = two_programs(&w, ad_exp(w.graph, a), b);
    expect_passes(&w, slow, 8, 7);
    /* a, b, c, d -> z, x; p, x, b -> result: what x is made of would be more than x */
    ad_value sum = ad_add(w.graph, ad_mul(w.graph, a, matrix(&w, M, N)), matrix(&w, M, N));
    expect_passes(&w, two_programs(&w, sum, b), 10, 10);
    world_end(&w);
}

/* Over other rows it would be made for each of them: it is stored and loaded. */
static void test_other_rows(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_graph *g = w.graph;
    ad_value a = matrix(&w, 1, N), b = matrix(&w, M, N), x = ad_neg(g, a);
    ad_value p = ad_matmul(g, ad_mul(g, x, x), matrix(&w, N, N), false, false);
    ad_type rows = ad_type_at(g, b);
    ad_value scaled = ad_mul(g, ad_broadcast(g, p, rows), ad_broadcast(g, x, rows));
    ad_plan_output output = {ad_add(g, scaled, b), AD_WRITE};
    ad_plan *plan = compiled(&w, &output, NULL);
    /* a -> x, x x; p, x, b -> result */
    assert_true(ad_plan_bytes(plan) == (3 + 2 + 2 * M) * N * sizeof(double));
    expect_equal_ways(&w, 1, &output);
    ad_plan_destroy(plan);
    world_end(&w);
}

/* A value that an output, or a product, needs as well is stored whoever makes it again. */
static void test_what_is_stored_all_the_same(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, M, N), b = matrix(&w, M, N);
    ad_value x = ad_mul(w.graph, a, b);
    ad_plan_output output[2] = {{two_programs(&w, x, ad_add(w.graph, a, b)), AD_WRITE},
                                {ad_matmul(w.graph, x, matrix(&w, N, 3), false, false), AD_WRITE}};
    expect_equal_ways(&w, 2, output);
    output[1].value = x;
    expect_equal_ways(&w, 2, output);
    world_end(&w);
}

/* lambda and what is added to it lie in one place; whoever reads lambda, in whatever order it was
 * built, reads it as it was. */
static void test_over_an_input(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value lambda = matrix(&w, M, N), b = matrix(&w, M, N);
    ad_value product = ad_matmul(w.graph, matrix(&w, M, M), b, false, false);
    ad_value more = ad_add(w.graph, product, ad_exp(w.graph, b));
    ad_value read =
        ad_mul(w.graph, ad_matmul(w.graph, lambda, matrix(&w, N, N), false, false), lambda);
    ad_plan_output output[2] = {{more, AD_ADD}, {read, AD_WRITE}};
    ad_value over[2] = {lambda, AD_NONE};
    for (int64_t i = 0; i < M * N; i++) w.input[0].data[i] = world_before(i);
    double *apart = world_run(&w, (ad_plan_spec){.outputs = 2, .output = output});
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 2, .output = output, .over = over});
    ad_plan_bind(r->plan, lambda, r->out[0]);
    double *together = runner_run(r);
    assert_memory_equal(apart, together, 2 * M * N * sizeof *apart);
    runner_end(r);
    free(r);
    free(apart);
    free(together);
    world_end(&w);
}

/* A rounded value leaves the program that makes it, whatever shape it is read in. */
static void test_casts_stand_before_reshapes(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F32, SEED);
    ad_value x = ad_mul(w.graph, matrix(&w, M, N), matrix(&w, M, N));
    ad_value items = ad_reshape(w.graph, x, AD_TYPE(KERN_F32, 2, M / 2, N));
    ad_value rounded = ad_cast(w.graph, items, KERN_BF16);
    ad_value weight =
        ad_cast(w.graph, world_tensor(&w, AD_TYPE(KERN_F32, 2, N, N), -1, 1), KERN_BF16);
    ad_value y = ad_matmul(w.graph, rounded, weight, false, false);
    assert_int_equal(ad_node_at(w.graph, rounded.node)->op, AD_OP_reshape);
    expect_steps(&w, 1, &(ad_plan_output){y, AD_WRITE}, 3, 2);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_made_again),          cmocka_unit_test(test_other_rows),
        cmocka_unit_test(test_what_is_stored_all_the_same), cmocka_unit_test(test_over_an_input),
        cmocka_unit_test(test_casts_stand_before_reshapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
