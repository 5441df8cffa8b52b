/* Which steps a plan has: what adds up in place, what becomes one row program and what must not. */
#include "tests/autodiff/plan_steps.h"

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

/* Sums without a product stay in one program, and are added to an output by another. */
static void test_sums_without_products(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 5, 5), b = matrix(&w, 5, 5);
    ad_value sum = ad_add(w.graph, ad_mul(w.graph, a, b), ad_exp(w.graph, b));
    expect_steps(&w, 1, &(ad_plan_output){sum, AD_ADD}, 2, 2);
    expect_equal_ways(&w, 1, &(ad_plan_output){sum, AD_ADD});
    world_end(&w);
}

/* Of two products that add up the one that was built later adds to the other's memory, whichever
 * way round they are summed. */
static void test_later_products_add(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 5, 5), product[2];
    for (int i = 0; i < 2; i++) {
        ad_scope_push(w.graph, "product.%d", i);
        product[i] = ad_matmul(w.graph, a, matrix(&w, 5, 5), false, false);
        ad_scope_pop(w.graph);
    }
    for (int way = 0; way < 2; way++) {
        ad_plan_output output = {ad_add(w.graph, product[way], product[!way]), AD_WRITE};
        ad_plan_spec spec = {.outputs = 1, .output = &output, .threads = 1};
        ad_plan *plan;
        assert_int_equal(ad_plan_compile(&plan, w.graph, &spec), KERN_OK);
        assert_int_equal(ad_plan_steps(plan), 2);
        assert_string_equal(ad_plan_step(plan, 0, INT64_MAX).scope, "product.0");
        assert_string_equal(ad_plan_step(plan, 1, INT64_MAX).scope, "product.1");
        ad_plan_destroy(plan);
    }
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

/* Programs that wait for the same product join, but not around a third step that lies between them,
 * and not where one reads what the other rounds. */
static void test_siblings(void **state) {
    (void)state;
    for (int which = 0; which < 4; which++) {
        world w;
        world_begin(&w, KERN_F32, SEED);
        ad_value x = matrix(&w, 5, 5), y = matrix(&w, 5, 5);
        ad_value early = ad_exp(w.graph, x), first = ad_exp(w.graph, y);
        if (which == 2) {
            ad_value swap = early;
            early = first;
            first = swap;
        }
        ad_value between = ad_matmul(w.graph, early, y, false, false);
        ad_value rounded = ad_cast(w.graph, early, KERN_BF16);
        ad_value awaited = ad_matmul(w.graph, x, y, true, false);
        ad_value one = ad_add(w.graph, early, awaited), two = ad_mul(w.graph, awaited, awaited);
        if (which == 1 || which == 2) two = ad_mul(w.graph, awaited, between);
        if (which == 2) two = ad_sub(w.graph, two, first);
        if (which == 3) two = ad_mul(w.graph, awaited, ad_cast(w.graph, rounded, KERN_F32));
        ad_plan_output output[2] = {{one, AD_WRITE}, {two, AD_WRITE}};
        static const int steps[4] = {2, 4, 4, 3};
        static const int programs[4] = {1, 2, 2, 2};
        expect_steps(&w, 2, output, steps[which], programs[which]);
        expect_equal_ways(&w, 2, output);
        world_end(&w);
    }
}

/* Recomputation does not join what runs earlier: its results would wait for their reader. */
static void test_lazy_siblings(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 5, 5), b = matrix(&w, 5, 5), c = matrix(&w, 5, 5);
    ad_value awaited = ad_matmul(w.graph, a, b, false, false), again = ad_exp(w.graph, awaited);
    int lazy = ad_nodes(w.graph), steps, rows;
    ad_value now = ad_neg(w.graph, awaited), later = ad_matmul(w.graph, now, c, false, false);
    ad_plan_output output = {ad_matmul(w.graph, again, later, false, false), AD_WRITE};
    for (int way = 0; way < 2; way++) {
        ad_plan_spec spec = {.outputs = 1, .output = &output, .lazy = way ? lazy : 0};
        count_steps(&w, spec, &steps, &rows);
        assert_int_equal(rows, way ? 2 : 1);
        assert_int_equal(steps, 3 + rows);
    }
    world_end(&w);
}

/* What a norm and a cross entropy must move: their operands and results, once. */
static void test_bytes(void **state) {
    (void)state;
    enum { R = 7, D = 10 };
    for (int which = 0; which < 2; which++) {
        world w;
        world_begin(&w, KERN_F32, SEED);
        ad_value x = matrix(&w, R, D), y;
        if (which)
            y = ad_cross_entropy(w.graph, x, world_tensor(&w, AD_TYPE(KERN_I32, R, 1), 0, D));
        else
            y = ad_rms_norm(w.graph, x, world_tensor(&w, AD_TYPE(KERN_F32, D), -1, 1), 1);
        ad_plan_output output = {y, AD_WRITE};
        runner *r = malloc(sizeof *r);
        runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output});
        assert_int_equal(ad_plan_steps(r->plan), 1);
        assert_true(ad_plan_bytes(r->plan) == 4.0 * (which ? R * D + 2 * R : 2 * R * D + D));
        runner_end(r);
        free(r);
        world_end(&w);
    }
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

/* As many nodes as a program may have, and one more. */
static void test_longest_program(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value y = matrix(&w, 3, 5);
    for (int nodes = 1; nodes <= 97; nodes++) {
        y = ad_sigmoid(w.graph, y);
        if (nodes < 96) continue;
        expect_steps(&w, 1, &(ad_plan_output){y, AD_WRITE}, nodes - 95, nodes - 95);
        expect_equal_ways(&w, 1, &(ad_plan_output){y, AD_WRITE});
    }
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
        const char *last = ad_plan_step(plan, ad_plan_steps(plan) - 1, INT64_MAX).op;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_add_up),
        cmocka_unit_test(test_sums_without_products),
        cmocka_unit_test(test_later_products_add),
        cmocka_unit_test(test_part_of_a_product),
        cmocka_unit_test(test_operand_read_twice),
        cmocka_unit_test(test_sums_end_programs),
        cmocka_unit_test(test_siblings),
        cmocka_unit_test(test_lazy_siblings),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_long_programs),
        cmocka_unit_test(test_longest_program),
        cmocka_unit_test(test_past_cotangents),
        cmocka_unit_test(test_first_attention_has_no_inner_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
