/* The graph itself: equal nodes are one, what folds, sticky errors, scopes, the printed form, the
 * checker. */
#include "tests/autodiff/world.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static ad_value matrix(ad_graph *graph) {
    return ad_input(graph, AD_TYPE(KERN_F32, 3, 5), "m");
}
static ad_value constant(ad_graph *graph, double value) {
    return ad_fill(graph, AD_TYPE(KERN_F32, 3, 5), value);
}

static void same(ad_value a, ad_value b) {
    assert_true(ad_is_value(a) && ad_same(a, b));
}
static void differ(ad_value a, ad_value b) {
    assert_true(ad_is_value(a) && ad_is_value(b) && !ad_same(a, b));
}

static void test_equal_nodes_are_one(void **state) {
    (void)state;
    ad_graph *graph = ad_graph_create();
    ad_value a = matrix(graph), b = matrix(graph);
    differ(a, b); /* each input is its own */
    same(ad_mul(graph, a, b), ad_mul(graph, a, b));
    differ(ad_mul(graph, a, b), ad_mul(graph, b, a));
    differ(ad_mul(graph, a, b), ad_add(graph, a, b));
    same(ad_slice(graph, a, 0, 1, 2), ad_slice(graph, a, 0, 1, 2));
    differ(ad_slice(graph, a, 0, 1, 2), ad_slice(graph, a, 0, 0, 2));
    same(constant(graph, 2), constant(graph, 2));
    differ(constant(graph, 2), constant(graph, 2 + 0x1p-50));
    differ(constant(graph, 0.0), constant(graph, -0.0));
    differ(ad_fill(graph, AD_TYPE(KERN_F32, 3), 1), ad_fill(graph, AD_TYPE(KERN_F64, 3), 1));
    differ(ad_fill(graph, AD_TYPE(KERN_F32, 3), 1), ad_fill(graph, AD_TYPE(KERN_F32, 3, 1), 1));
    ad_scope_push(graph, "elsewhere"); /* a name is not part of what a node is */
    same(ad_mul(graph, a, b), ad_mul(graph, a, b));
    ad_value sum = a;
    for (int i = 0; i < 5000; i++) sum = ad_exp(graph, sum); /* the table of nodes grows */
    int nodes = ad_nodes(graph);
    sum = a;
    for (int i = 0; i < 5000; i++) sum = ad_exp(graph, sum);
    assert_int_equal(ad_nodes(graph), nodes);
    /* nodes that differ in numbers alone, enough that many meet in the table */
    ad_value wide = ad_input(graph, AD_TYPE(KERN_F32, 5000), "wide");
    nodes = ad_nodes(graph);
    for (int i = 0; i < 4999; i++) {
        constant(graph, i + 10.5);
        ad_slice(graph, wide, 0, i, 1);
    }
    assert_int_equal(ad_nodes(graph), nodes + 2 * 4999);
    ad_graph_destroy(graph);
}

static void test_folding(void **state) {
    (void)state;
    ad_graph *g = ad_graph_create();
    ad_type type = AD_TYPE(KERN_F32, 3, 5);
    ad_value a = matrix(g), zero = constant(g, 0), one = constant(g, 1);
    ad_value row = ad_fill(g, AD_TYPE(KERN_F32, 1, 5), 3);
    same(ad_add(g, a, zero), a);
    same(ad_add(g, zero, a), a);
    same(ad_sub(g, a, zero), a);
    same(ad_sub(g, zero, a), ad_neg(g, a));
    same(ad_mul(g, a, one), a);
    same(ad_mul(g, one, a), a);
    same(ad_mul(g, a, zero), zero);
    same(ad_mul(g, zero, a), zero);
    same(ad_div(g, a, one), a);
    same(ad_neg(g, ad_neg(g, a)), a);
    same(ad_neg(g, one), constant(g, -1));
    same(ad_select(g, a, one, one), one);
    same(ad_cast(g, a, KERN_F32), a);
    same(ad_cast(g, one, KERN_F64), ad_fill(g, AD_TYPE(KERN_F64, 3, 5), 1));
    same(ad_broadcast(g, a, type), a);
    same(ad_broadcast(g, row, type), constant(g, 3));
    ad_value b = ad_input(g, AD_TYPE(KERN_F32, 1, 1), "b");
    same(ad_broadcast(g, ad_broadcast(g, b, AD_TYPE(KERN_F32, 3, 1)), type),
         ad_broadcast(g, b, type));
    same(ad_row_sum(g, b), b);
    same(ad_row_sum(g, one), ad_fill(g, AD_TYPE(KERN_F32, 3, 1), 5));
    same(ad_lead_sum(g, one, 0), ad_fill(g, AD_TYPE(KERN_F32, 1, 5), 3));
    same(ad_lead_sum(g, a, 1), a);
    same(ad_reshape(g, a, type), a);
    same(ad_reshape(g, ad_reshape(g, a, AD_TYPE(KERN_F32, 15)), type), a);
    same(ad_reshape(g, one, AD_TYPE(KERN_F32, 15)), ad_fill(g, AD_TYPE(KERN_F32, 15), 1));
    same(ad_transpose(g, a, (int[]){0, 1}), a);
    same(ad_transpose(g, ad_reshape(g, a, AD_TYPE(KERN_F32, 3, 1, 5)), (int[]){1, 0, 2}),
         ad_reshape(g, a, AD_TYPE(KERN_F32, 1, 3, 5)));
    same(ad_slice(g, a, 1, 0, 5), a);
    same(ad_slice(g, one, 1, 2, 2), ad_fill(g, AD_TYPE(KERN_F32, 3, 2), 1));
    same(ad_pad(g, a, 1, 0, 5), a);
    same(ad_pad(g, zero, 1, 1, 9), ad_fill(g, AD_TYPE(KERN_F32, 3, 9), 0));
    differ(ad_pad(g, one, 1, 1, 9), ad_fill(g, AD_TYPE(KERN_F32, 3, 9), 1));
    ad_value other = matrix(g), third = matrix(g);
    ad_value join = ad_add(g, ad_pad(g, a, 0, 4, 13), ad_pad(g, other, 0, 1, 13));
    same(join, ad_pad(g, ad_concat(g, 2, (ad_value[]){other, a}, 0), 0, 1, 13));
    same(ad_add(g, join, ad_pad(g, third, 0, 7, 13)),
         ad_pad(g, ad_concat(g, 3, (ad_value[]){other, a, third}, 0), 0, 1, 13));
    same(ad_add(g, ad_pad(g, a, 0, 3, 6), ad_pad(g, other, 0, 0, 6)),
         ad_concat(g, 2, (ad_value[]){other, a}, 0));
    differ(ad_add(g, ad_pad(g, a, 0, 3, 7), ad_pad(g, other, 0, 1, 7)),
           ad_pad(g, ad_concat(g, 2, (ad_value[]){other, a}, 0), 0, 1, 7));
    /* Pads of other axes are not beside each other, whatever their numbers say. */
    ad_value wide = ad_slice(g, other, 0, 0, 2), high = ad_slice(g, a, 1, 1, 3);
    ad_value sum = ad_add(g, ad_pad(g, wide, 0, 0, 3), ad_pad(g, high, 1, 2, 5));
    assert_int_equal(ad_node_at(g, sum.node)->op, AD_OP_add);
    assert_int_equal(ad_graph_status(g), KERN_OK);
    ad_graph_destroy(g);
}

/* Each wrong call: the op, its shapes and the scope are named; what follows is poison and quiet. */
typedef ad_value (*wrong)(ad_graph *graph, ad_value a, ad_value index);

static ad_value wrong_add(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_add(g, a, ad_row_sum(g, a));
}
static ad_value wrong_index(ad_graph *g, ad_value a, ad_value index) {
    return ad_mul(g, ad_pick(g, a, index), index);
}
static ad_value wrong_matmul(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_matmul(g, a, a, false, false);
}
static ad_value wrong_slice(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_slice(g, a, 1, 3, 3);
}
static ad_value wrong_reshape(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_reshape(g, a, AD_TYPE(KERN_F32, 16));
}
static ad_value wrong_broadcast(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_broadcast(g, a, AD_TYPE(KERN_F32, 6, 5));
}
static ad_value wrong_transpose(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_transpose(g, a, (int[]){1, 1});
}
static ad_value wrong_rotate(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_rotate(g, a);
}
static ad_value wrong_gather(ad_graph *g, ad_value a, ad_value index) {
    return ad_gather(g, a, index);
}
static ad_value wrong_absent(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    return ad_add(g, a, AD_NONE);
}
static ad_value wrong_fill(ad_graph *g, ad_value a, ad_value index) {
    (void)a;
    return ad_fill(g, ad_type_at(g, index), 1);
}
static ad_value wrong_attention(ad_graph *g, ad_value a, ad_value index) {
    (void)index;
    ad_value q = ad_reshape(g, a, AD_TYPE(KERN_F32, 1, 3, 1, 5));
    return ad_attention(
        g,
        &(ad_attention_args){
            .q = q, .k = q, .v = q, .past_k = q, .past_v = q, .past_rows = AD_NONE, .window = 1},
        NULL);
}

static const struct {
    wrong build;
    const char *text;
} wrongs[] = {
    {wrong_add, "in a.b2: add(f32[3,5], f32[3,1]): operands differ"},
    {wrong_index, "in a.b2: mul(f32[3,1], i32[3,1]): operands differ"},
    {wrong_matmul, "in a.b2: matmul(f32[3,5], f32[3,5]): the inner axes differ"},
    {wrong_slice, "in a.b2: slice(f32[3,5]): outside the axis"},
    {wrong_reshape, "in a.b2: reshape(f32[3,5]): the number of elements differs"},
    {wrong_broadcast, "in a.b2: broadcast(f32[3,5]): only axes of size 1"},
    {wrong_transpose, "in a.b2: transpose(f32[3,5]): not an order"},
    {wrong_rotate, "in a.b2: rotate(f32[3,5]): the last axis must be even"},
    {wrong_gather, "in a.b2: gather(f32[3,5], i32[3,1]): the index must be"},
    {wrong_absent, "in a.b2: add(f32[3,5], none): an operand is absent"},
    {wrong_fill, "in a.b2: fill: integers"},
    {wrong_attention,
     "in a.b2: attention(f32[1,3,1,5], f32[1,3,1,5], f32[1,3,1,5], "
     "f32[1,3,1,5], f32[1,3,1,5], none): past_k, past_v and past_rows go together"},
};

static void test_errors_stick(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        ad_graph *g = ad_graph_create();
        ad_value a = matrix(g), index = ad_input(g, AD_TYPE(KERN_I32, 3, 1), "index");
        ad_scope_push(g, "a");
        ad_scope_push(g, "b%d", 2);
        ad_value bad = wrongs[i].build(g, a, index);
        assert_int_equal(bad.node, AD_POISON.node);
        ad_scope_pop(g);
        assert_true(ad_failed(g));
        /* a second error does not replace the first, and poison passes through all builders */
        ad_value sum = ad_silu(g, ad_rms_norm(g, ad_add(g, bad, a), AD_NONE, 1));
        sum = ad_cross_entropy(g, ad_linear(g, sum, a), index);
        assert_int_equal(ad_sum(g, sum, 3).node, AD_POISON.node);
        wrong_matmul(g, a, index);
        ad_value result;
        ad_vjp(g, 1, &sum, &sum, 1, &a, &result);
        assert_int_equal(result.node, AD_POISON.node);
        assert_int_equal(ad_graph_status(g), KERN_ERR_GRAPH);
        if (!strstr(kern_error(), wrongs[i].text))
            fail_msg("no '%s' in '%s'", wrongs[i].text, kern_error());
        ad_graph_destroy(g);
    }
}

static void test_printed_form(void **state) {
    (void)state;
    ad_graph *g = ad_graph_create();
    ad_value a = ad_input(g, AD_TYPE(KERN_F64, 2, 3), "weight.%d", 4);
    ad_scope_push(g, "suffix.%d", 2);
    ad_scope_push(g, "attn");
    ad_value b = ad_exp(g, a);
    ad_scope_pop(g);
    ad_scale(g, b, 0.5);
    ad_value q = ad_reshape(g, b, AD_TYPE(KERN_F64, 1, 2, 1, 3)), lse;
    ad_attention(g,
                 &(ad_attention_args){.q = q,
                                      .k = q,
                                      .v = q,
                                      .past_k = AD_NONE,
                                      .past_v = AD_NONE,
                                      .past_rows = AD_NONE,
                                      .window = 5,
                                      .scale = 1},
                 &lse);
    ad_exp(g, lse);
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    ad_print(g, file);
    fclose(file);
    assert_string_equal(text, "weight.4 f64[2,3] = input   \n"
                              "%1 f64[2,3] = exp weight.4   suffix.2.attn\n"
                              "%2 f64[2,3] = fill 0.5   suffix.2\n"
                              "%3 f64[2,3] = mul %1 %2   suffix.2\n"
                              "%4 f64[1,2,1,3] = reshape %1   suffix.2\n"
                              "%5.0 f64[1,2,1,3] f64[1,2,1] = attention %4 %4 %4 - - -   suffix.2\n"
                              "%6 f64[1,2,1] = exp %5.1   suffix.2\n");
    free(text);
    ad_graph_destroy(g);
}

/* Runs ad_check on a graph whose node was corrupted, in a process of its own; true if it died. */
static bool check_dies(void (*corrupt)(ad_node *node)) {
    ad_graph *g = ad_graph_create();
    ad_value a = matrix(g);
    ad_value b = ad_matmul(g, ad_exp(g, a), a, false, true);
    corrupt((ad_node *)(uintptr_t)ad_node_at(g, b.node));
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        signal(SIGABRT, SIG_DFL);
        ad_check(g);
        _exit(0);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    ad_graph_destroy(g);
    return WIFSIGNALED(code);
}

static void corrupt_nothing(ad_node *node) {
    (void)node;
}
static void corrupt_type(ad_node *node) {
    node->type[0].dim[0]++;
}
static void corrupt_dtype(ad_node *node) {
    node->type[0].dtype = KERN_F64;
}
static void corrupt_order(ad_node *node) {
    node[-1].input[0].node = node->input[0].node; /* its own operand, of the right type */
}
static void corrupt_output(ad_node *node) {
    node->input[0].out = 1;
}
static void corrupt_scope(ad_node *node) {
    node->scope = 9;
}
static void corrupt_attribute(ad_node *node) {
    node->attrs.i[1] = 0;
}

static void test_checker(void **state) {
    (void)state;
    assert_false(check_dies(corrupt_nothing));
    assert_true(check_dies(corrupt_type));
    assert_true(check_dies(corrupt_dtype));
    assert_true(check_dies(corrupt_order));
    assert_true(check_dies(corrupt_output));
    assert_true(check_dies(corrupt_scope));
    assert_true(check_dies(corrupt_attribute));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_nodes_are_one),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_errors_stick),
        cmocka_unit_test(test_printed_form),
        cmocka_unit_test(test_checker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
