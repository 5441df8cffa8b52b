/* What plans promise one by one: which steps there are, what outputs, cuts and bound views mean,
 * what a debug run says, what is refused. */
#include "tests/autodiff/models.h"

#include <stdio.h>

enum { SEED = 3 };

static ad_value matrix(world *w, int64_t rows, int64_t columns) {
    return world_tensor(w, AD_TYPE(w->real, rows, columns), -1, 1);
}

/* The numbers of steps and of row programs of a plan. */
static void count_steps(const world *w, ad_plan_spec spec, int *steps, int *rows) {
    ad_plan *plan;
    spec.threads = 1;
    if (ad_plan_compile(&plan, w->graph, &spec) != KERN_OK) fail_msg("%s", kern_error());
    *steps = ad_plan_steps(plan);
    *rows = 0;
    for (int i = 0; i < *steps; i++) *rows += !strcmp(ad_plan_step(plan, i).op, "rows");
    ad_plan_destroy(plan);
}

static void expect_steps(const world *w, int n, const ad_plan_output *output, int steps, int rows) {
    int got_steps, got_rows;
    count_steps(w, (ad_plan_spec){.outputs = n, .output = output}, &got_steps, &got_rows);
    assert_int_equal(got_steps, steps);
    assert_int_equal(got_rows, rows);
}

/* A plan and the same without fusion or reuse. */
static void expect_equal_ways(const world *w, int n, const ad_plan_output *output) {
    double *base = world_run(w, (ad_plan_spec){.outputs = n, .output = output});
    double *other = world_run(
        w, (ad_plan_spec){.outputs = n, .output = output, .unfused = true, .no_reuse = true});
    for (int64_t i = 0, e = 0; i < n; i++)
        for (int64_t j = 0; j < ad_elements(ad_type_at(w->graph, output[i].value)); j++, e++)
            if (!(fabs(base[e] - other[e]) < 1e-12))
                fail_msg("output %d: %g, not %g", (int)i, base[e], other[e]);
    free(base);
    free(other);
}

/* ---- which steps there are ---- */

static void test_products_add_up(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 5, 5), b = matrix(&w, 5, 5), c = matrix(&w, 5, 5);
    ad_value ab = ad_matmul(w.graph, a, b, false, false);
    ad_value bc = ad_matmul(w.graph, b, c, false, false);
    ad_value ca = ad_matmul(w.graph, c, a, true, false);
    ad_value sum = ad_add(w.graph, ad_add(w.graph, ab, bc), ca);
    expect_steps(&w, 1, &(ad_plan_output){sum, AD_WRITE}, 3, 0);
    expect_steps(&w, 1, &(ad_plan_output){sum, AD_ADD}, 3, 0);
    expect_equal_ways(&w, 1, &(ad_plan_output){sum, AD_WRITE});
    expect_equal_ways(&w, 1, &(ad_plan_output){sum, AD_ADD});
    /* a product that is read twice has to exist by itself */
    ad_plan_output two[2] = {{sum, AD_WRITE}, {ab, AD_WRITE}};
    expect_steps(&w, 2, two, 4, 1);
    expect_equal_ways(&w, 2, two);
    /* other summands of an output in mode AD_ADD are added by a row program */
    ad_value mixed = ad_add(w.graph, sum, ad_mul(w.graph, a, b));
    expect_steps(&w, 1, &(ad_plan_output){mixed, AD_ADD}, 5, 2);
    expect_equal_ways(&w, 1, &(ad_plan_output){mixed, AD_ADD});
    /* twice the same */
    ad_value twice = ad_add(w.graph, ab, ab);
    expect_equal_ways(&w, 1, &(ad_plan_output){twice, AD_ADD});
    expect_equal_ways(&w, 1, &(ad_plan_output){twice, AD_WRITE});
    world_end(&w);
}

/* Only part of a product is summed: its memory is not that of the sum. */
static void test_part_of_a_product(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 7, 3), b = matrix(&w, 3, 5), c = matrix(&w, 2, 3);
    ad_value part = ad_slice(w.graph, ad_matmul(w.graph, a, b, false, false), 0, 4, 2);
    ad_value sum = ad_add(w.graph, part, ad_matmul(w.graph, c, b, false, false));
    expect_equal_ways(&w, 1, &(ad_plan_output){sum, AD_WRITE});
    expect_equal_ways(&w, 1, &(ad_plan_output){sum, AD_ADD});
    expect_equal_ways(&w, 1, &(ad_plan_output){part, AD_ADD});
    world_end(&w);
}

/* A row program may write over an operand only if all its reads are at the place it writes. */
static void test_operand_read_twice(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_type type = AD_TYPE(KERN_F64, 3, 300, 256), rows = AD_TYPE(KERN_F64, 900, 256);
    ad_value made = ad_transpose(w.graph, matrix(&w, 256, 900), (int[]){1, 0});
    ad_value three = ad_slice(w.graph, made, 0, 10, 3); /* each is repeated 300 times */
    three = ad_broadcast(w.graph, ad_reshape(w.graph, three, AD_TYPE(KERN_F64, 3, 1, 256)), type);
    ad_value sum = ad_add(w.graph, ad_reshape(w.graph, made, type), three);
    ad_value next = ad_transpose(w.graph, ad_reshape(w.graph, sum, rows), (int[]){1, 0});
    expect_equal_ways(&w, 1, &(ad_plan_output){next, AD_WRITE});
    world_end(&w);
}

/* Sums over rows and what repeats their results cannot be one program, whichever way they meet. */
static void test_sums_end_programs(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_type type = AD_TYPE(KERN_F64, 7, 5);
    ad_value e = ad_exp(w.graph, matrix(&w, 7, 5));
    ad_value mean = ad_broadcast(w.graph, ad_lead_sum(w.graph, e, 0), type);
    ad_value left = ad_mul(w.graph, mean, e), right = ad_mul(w.graph, e, mean);
    ad_value viewed = ad_reshape(w.graph, ad_reshape(w.graph, e, AD_TYPE(KERN_F64, 35)), type);
    ad_value mixed = ad_add(w.graph, ad_add(w.graph, left, right), viewed);
    expect_steps(&w, 1, &(ad_plan_output){mixed, AD_WRITE}, 2, 2);
    expect_equal_ways(&w, 1, &(ad_plan_output){mixed, AD_WRITE});
    ad_value row = ad_reshape(w.graph, ad_slice(w.graph, e, 0, 2, 5), AD_TYPE(KERN_F64, 5, 5));
    ad_value turned = ad_mul(w.graph, row, ad_slice(w.graph, mean, 0, 1, 5));
    expect_equal_ways(&w, 1, &(ad_plan_output){turned, AD_WRITE});
    world_end(&w);
}

/* Longer than one program may be, with many operands and results. */
static void test_long_programs(void **state) {
    (void)state;
    enum { TERMS = 60 };
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_plan_output output[TERMS];
    ad_value sum = matrix(&w, 3, 5), zero = ad_fill(w.graph, AD_TYPE(KERN_F64, 3, 5), 0);
    for (int i = 0; i < TERMS; i++) {
        ad_value a = matrix(&w, 3, 5), b = matrix(&w, 3, 5);
        sum = ad_add(w.graph, sum, ad_select(w.graph, ad_greater(w.graph, a, zero), b, sum));
        sum = ad_scale(w.graph, sum, 0.5);
        output[i] = (ad_plan_output){sum, i % 2 ? AD_WRITE : AD_ADD};
    }
    expect_equal_ways(&w, TERMS, output);
    world_end(&w);
}

/* Keys and values of the past get two cotangents, of which both are added in place. */
static void test_past_cotangents(void **state) {
    (void)state;
    world w;
    model m;
    world_begin(&w, KERN_F64, SEED);
    model_body(&m, &w, model_tiny);
    model_vjp(&m);
    for (int i = 0; i < 4; i++) {
        ad_plan_output output = {m.ct_past[i], AD_ADD};
        ad_plan *plan;
        assert_int_equal(
            ad_plan_compile(&plan, w.graph,
                            &(ad_plan_spec){.outputs = 1, .output = &output, .threads = 1}),
            KERN_OK);
        const char *last = ad_plan_step(plan, ad_plan_steps(plan) - 1).op;
        assert_true(!strncmp(last, "attention_vjp", 13));
        ad_plan_destroy(plan);
    }
    world_end(&w);
}

/* The inner gradient of a block whose input depends on no fast weight needs no attention. */
static void test_first_attention_has_no_inner_gradient(void **state) {
    (void)state;
    world w;
    model m;
    world_begin(&w, KERN_F64, SEED);
    model_body(&m, &w, model_tiny);
    int found = 0;
    for (int i = 0; i < ad_nodes(w.graph); i++)
        found += ad_node_at(w.graph, i)->op == AD_OP_attention_vjp;
    assert_int_equal(found, model_tiny.layers - 1);
    world_end(&w);
}

/* ---- memory ---- */

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

/* Recomputation runs next to its reader: two long chains are not alive at once. */
static void test_lazy_order(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value first[2], a = matrix(&w, 16, 16), sum = AD_NONE;
    for (int i = 0; i < 2; i++) {
        ad_scope_push(w.graph, "forward.%d", i);
        first[i] = ad_matmul(w.graph, a, matrix(&w, 16, 16), false, false);
        ad_scope_pop(w.graph);
    }
    int lazy = ad_nodes(w.graph);
    for (int i = 0; i < 2; i++) {
        ad_scope_push(w.graph, "backward.%d", i);
        ad_value used = ad_matmul(w.graph, ad_exp(w.graph, first[i]), a, false, true);
        sum = i ? ad_mul(w.graph, sum, used) : used;
        ad_scope_pop(w.graph);
    }
    ad_plan_output output = {sum, AD_WRITE};
    static const char *const expected[2][4] = {
        {"forward.0", "forward.1", "backward.0", "backward.1"},
        {"forward.0", "backward.0", "forward.1", "backward.1"}};
    for (int way = 0; way < 2; way++) {
        ad_plan *plan;
        assert_int_equal(ad_plan_compile(&plan, w.graph,
                                         &(ad_plan_spec){.outputs = 1,
                                                         .output = &output,
                                                         .lazy = way ? lazy : 0,
                                                         .threads = 1}),
                         KERN_OK);
        const char *last = "";
        int at = 0;
        for (int i = 0; i < ad_plan_steps(plan); i++) {
            const char *scope = ad_plan_step(plan, i).scope;
            if (!strcmp(scope, last)) continue;
            assert_true(at < 4);
            assert_string_equal(scope, expected[way][at++]);
            last = scope;
        }
        assert_int_equal(at, 4);
        ad_plan_destroy(plan);
    }
    world_end(&w);
}

/* ---- what is bound ---- */

/* The memory of a cut is what counts, and what only the cut needed does not run. */
static void test_cut_is_read(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 3, 5), unused = matrix(&w, 3, 5);
    ad_value cut = ad_exp(w.graph, ad_mul(w.graph, a, unused));
    ad_value y = ad_add(w.graph, cut, ad_neg(w.graph, a));
    ad_plan_output output = {y, AD_WRITE};
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output, .cuts = 1, .cut = &cut});
    assert_true(ad_plan_reads(r->plan, a) && ad_plan_reads(r->plan, cut));
    assert_false(ad_plan_reads(r->plan, unused));
    double given[15];
    for (int i = 0; i < 15; i++) given[i] = 100 + i;
    ad_plan_bind(r->plan, cut, given);
    double *got = runner_run(r);
    for (int i = 0; i < 15; i++) assert_true(got[i] == given[i] - w.input[0].data[i]);
    free(got);
    runner_end(r);
    free(r);
    world_end(&w);
}

/* A cut through one of attention's results whose other result is needed is not read. */
static void test_cut_of_one_result_of_two(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value q = world_tensor(&w, AD_TYPE(KERN_F64, 1, 3, 2, 2), -1, 1), lse;
    ad_attention_args args = {.q = q,
                              .k = q,
                              .v = q,
                              .past_k = AD_NONE,
                              .past_v = AD_NONE,
                              .past_rows = AD_NONE,
                              .window = 9,
                              .scale = 1};
    ad_value o = ad_attention(w.graph, &args, &lse);
    ad_plan_output output[2] = {{ad_exp(w.graph, o), AD_WRITE}, {lse, AD_WRITE}};
    ad_plan_spec spec = {.outputs = 2, .output = output};
    double *whole = world_run(&w, spec);
    spec.cuts = 1;
    spec.cut = &o;
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, spec);
    assert_false(ad_plan_reads(r->plan, o));
    double *cut = runner_run(r);
    assert_memory_equal(whole, cut, (12 + 6) * sizeof *cut);
    free(whole);
    free(cut);
    runner_end(r);
    free(r);
    world_end(&w);
}

/* Past rows inside a longer history, and their cotangents in another: nothing between is touched,
 * and the numbers are those of dense memory. */
static void test_bound_views(void **state) {
    (void)state;
    enum { B = 2, P = 5, ROW = 2 * 2, STRIDE = 31 };
    world w;
    model m;
    world_begin(&w, KERN_F64, SEED);
    model_body(&m, &w, model_tiny);
    model_vjp(&m);
    ad_plan_output output[2] = {{m.ct_past[0], AD_WRITE}, {m.ct_past[1], AD_ADD}};
    ad_plan_spec spec = {.outputs = 2, .output = output};
    double *dense = world_run(&w, spec);
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, spec);
    double past[2][B * STRIDE], ct[2][B * STRIDE];
    for (int which = 0; which < 2; which++) {
        for (int i = 0; i < B * STRIDE; i++) {
            past[which][i] = (double)NAN;
            ct[which][i] = i % STRIDE < P * ROW ? 0 : 77;
        }
        for (int i = 0; i < B * P * ROW; i++) {
            int at = i / (P * ROW) * STRIDE + i % (P * ROW);
            past[which][at] = world_data(&w, m.past[which])[i];
            ct[which][at] = which ? world_before(i) : (double)NAN;
        }
        ad_plan_bind_view(r->plan, m.past[which], past[which], STRIDE);
        ad_plan_bind_output_view(r->plan, which, ct[which], STRIDE);
    }
    assert_int_equal(runner_try(r), KERN_OK);
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < B * STRIDE; i++) {
            int e = i / STRIDE * P * ROW + i % STRIDE;
            assert_true(ct[which][i] ==
                        (i % STRIDE < P * ROW ? dense[which * B * P * ROW + e] : 77));
        }
    free(dense);
    runner_end(r);
    free(r);
    world_end(&w);
}

/* An optimiser writes over what it reads. */
static void test_update_in_place(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F32, SEED);
    ad_type type = AD_TYPE(KERN_F32, 257, 33), one = AD_TYPE(KERN_F32, 1);
    ad_value in[4], out[3];
    for (int i = 0; i < 4; i++) in[i] = world_tensor(&w, type, i == 3 ? 0 : -1, 1); /* p g m v */
    ad_adamw_args args = {.factor = world_tensor(&w, one, 0.5, 1),
                          .rate = world_tensor(&w, one, 0.1, 0.2),
                          .correct1 = world_tensor(&w, one, 1, 2),
                          .correct2 = world_tensor(&w, one, 1, 2),
                          .beta1 = 0.9,
                          .beta2 = 0.95,
                          .eps = 1e-8,
                          .weight_decay = 0.1};
    ad_adamw(w.graph, &args, in[0], in[1], in[2], in[3], &out[0], &out[1], &out[2]);
    ad_plan_output output[3] = {{out[0], AD_WRITE}, {out[1], AD_WRITE}, {out[2], AD_WRITE}};
    expect_steps(&w, 3, output, 1, 1);
    double *apart = world_values(&w, 3, out);
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 3, .output = output, .threads = 2});
    static const int input[3] = {0, 2, 3};
    for (int i = 0; i < 3; i++) ad_plan_bind_output(r->plan, i, r->in[input[i]]);
    assert_int_equal(runner_try(r), KERN_OK);
    for (int i = 0; i < 3; i++)
        for (int e = 0; e < 257 * 33; e++)
            assert_true((double)((float *)r->in[input[i]])[e] == apart[i * 257 * 33 + e]);
    free(apart);
    runner_end(r);
    free(r);
    world_end(&w);
}

/* ---- errors ---- */

static void test_debug_names_the_first_bad_value(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 3, 5);
    ad_scope_push(w.graph, "block.7");
    ad_value bad = ad_log(w.graph, ad_sub(w.graph, ad_neg(w.graph, ad_mul(w.graph, a, a)), a));
    ad_scope_pop(w.graph);
    ad_scope_push(w.graph, "later");
    bad = ad_exp(w.graph, bad);
    ad_scope_pop(w.graph);
    ad_plan_output output = {bad, AD_WRITE};
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output});
    assert_int_equal(runner_try(r), KERN_OK);
    runner_end(r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output, .debug = true});
    assert_int_equal(runner_try(r), KERN_ERR_NUMERIC);
    assert_non_null(strstr(kern_error(), "log(f64[3,5]) in block.7"));
    runner_end(r);
    free(r);
    world_end(&w);
}

static void expect_refused(const world *w, ad_value value, ad_output_mode mode, const char *text) {
    ad_plan *plan = (ad_plan *)&plan;
    ad_plan_output output = {value, mode};
    assert_int_equal(
        ad_plan_compile(&plan, w->graph,
                        &(ad_plan_spec){.outputs = 1, .output = &output, .threads = 1}),
        KERN_ERR_GRAPH);
    assert_null(plan);
    if (!strstr(kern_error(), text)) fail_msg("no '%s' in: %s", text, kern_error());
}

static void test_refusals(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F32, SEED);
    ad_value a = matrix(&w, 3, 5), index = world_tensor(&w, AD_TYPE(KERN_I32, 3), 0, 2);
    expect_refused(&w, index, AD_WRITE, "x1 of i32[3]");
    expect_refused(&w, ad_cast(w.graph, a, KERN_BF16), AD_ADD, "bf16[3,5]");
    ad_scope_push(w.graph, "here");
    assert_int_equal(ad_add(w.graph, a, index).node, AD_POISON.node);
    expect_refused(&w, a, AD_WRITE, "in here: add(f32[3,5], i32[3])");
    world_end(&w);
}

static void test_costs(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F32, SEED);
    ad_value y = ad_matmul(w.graph, matrix(&w, 11, 13), matrix(&w, 13, 17), false, false);
    ad_plan_output output = {ad_exp(w.graph, y), AD_WRITE};
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output});
    assert_true(ad_plan_flops(r->plan) == 2.0 * 11 * 13 * 17);
    assert_true(ad_plan_bytes(r->plan) == 2.0 * 11 * 17 * 4);
    ad_plan_profile(r->plan, true);
    free(runner_run(r));
    assert_true(ad_plan_step(r->plan, 0).seconds > 0 && ad_plan_step(r->plan, 1).seconds > 0);
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    ad_plan_print(r->plan, file);
    fclose(file);
    assert_non_null(strstr(text, "matmul"));
    assert_non_null(strstr(text, ":f32[11,13]@bound"));
    assert_non_null(strstr(text, "rows exp%"));
    free(text);
    runner_end(r);
    free(r);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_add_up),
        cmocka_unit_test(test_part_of_a_product),
        cmocka_unit_test(test_operand_read_twice),
        cmocka_unit_test(test_sums_end_programs),
        cmocka_unit_test(test_long_programs),
        cmocka_unit_test(test_past_cotangents),
        cmocka_unit_test(test_first_attention_has_no_inner_gradient),
        cmocka_unit_test(test_arena_is_reused),
        cmocka_unit_test(test_lazy_order),
        cmocka_unit_test(test_cut_is_read),
        cmocka_unit_test(test_cut_of_one_result_of_two),
        cmocka_unit_test(test_bound_views),
        cmocka_unit_test(test_update_in_place),
        cmocka_unit_test(test_debug_names_the_first_bad_value),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
