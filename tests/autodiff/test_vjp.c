/* Derivatives of whole graphs: of composites and of the model with its inner gradient, against
 * finite differences; attention against what it means in other operations; what is pruned. */
#include "tests/autodiff/models.h"
#include "tests/autodiff/random_graph.h"

enum { SEED = 5 };

static ad_value tensor(world *w, ad_type type) {
    return world_tensor(w, type, -1, 1);
}

/* Gradient and gradient of a contraction of the gradient, each against finite differences. */
static void check_two_orders(world *w, ad_value loss, const char *name) {
    ad_value gradient[WORLD_INPUTS];
    for (int order = 1; order <= 2; order++) {
        int inputs = w->inputs;
        world_gradient(w, loss, gradient);
        if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s: %s", name, kern_error());
        ad_check(w->graph);
        world_check_gradient(w, loss, gradient, name);
        loss = world_contract(w, inputs, gradient);
    }
}

static void test_composites(void **state) {
    (void)state;
    ad_type type = AD_TYPE(KERN_F64, 2, 3, 2, 4), rows = AD_TYPE(KERN_F64, 7, 5);
    ad_type batch = AD_TYPE(KERN_F64, 2, 3, 5);
    for (int which = 0; which < 8; which++) {
        world w;
        world_begin(&w, KERN_F64, (uint64_t)which);
        ad_value a = tensor(&w, which < 3 ? type : which < 5 ? rows : batch), y = AD_NONE, norm;
        switch (which) {
        case 0: y = ad_rms_norm(w.graph, a, tensor(&w, AD_TYPE(KERN_F64, 4)), 1e-3); break;
        case 1:
            y = ad_rope(w.graph, a, tensor(&w, AD_TYPE(KERN_F64, 3, 4)),
                        tensor(&w, AD_TYPE(KERN_F64, 3, 4)));
            break;
        case 2:
            y = ad_silu(w.graph, ad_linear(w.graph, a, tensor(&w, AD_TYPE(KERN_F64, 4, 3))));
            break;
        case 3:
            y = ad_cross_entropy(w.graph, a, world_tensor(&w, AD_TYPE(KERN_I32, 7, 1), 0, 5));
            break;
        case 4: y = ad_mul_repeat(w.graph, a, ad_sum(w.graph, ad_exp(w.graph, a), 1)); break;
        case 5: /* clipped */
            y = ad_clip_factor(w.graph, 2, (ad_value[]){a, tensor(&w, batch)}, 0.5, &norm);
            y = ad_mul_repeat(w.graph, a, ad_mul(w.graph, y, norm));
            break;
        case 6: /* not clipped */
            y = ad_clip_factor(w.graph, 1, &a, 50, NULL);
            y = ad_mul_repeat(w.graph, a, y);
            break;
        default: y = ad_sum(w.graph, ad_mul(w.graph, a, a), 5);
        }
        check_two_orders(&w, world_contract(&w, 1, &y), "composite");
        world_end(&w);
    }
}

/* The derivative of the model's body, which holds an inner gradient, against finite differences of
 * the body: this is the second derivative of everything in it. */
static void test_model(void **state) {
    (void)state;
    static world w;
    static model m;
    world_begin(&w, KERN_F64, SEED);
    model_body(&m, &w, model_tiny);
    ad_value output[2 * MODEL_LAYERS + 1], gradient[WORLD_INPUTS];
    int outputs = 0;
    for (int i = 0; i < m.thetas; i++) output[outputs++] = m.next[i];
    output[outputs++] = m.loss;
    ad_value loss = world_contract(&w, outputs, output);
    world_gradient(&w, loss, gradient);
    world_check_gradient(&w, loss, gradient, "model");
    for (int i = 0; i < w.inputs; i++) /* nothing is left out: every float input matters */
        assert_true(w.input[i].type.dtype == KERN_I32 || !ad_is_none(gradient[i]));
    world_end(&w);
}

/* The gradient of the whole chunk by the same engine shares the forward pass. */
static void test_gradients_share_the_forward_pass(void **state) {
    (void)state;
    static world w;
    static model m;
    world_begin(&w, KERN_F64, SEED);
    model_body(&m, &w, model_tiny);
    int body = ad_nodes(w.graph), sigmoids = 0;
    model_vjp(&m);
    for (int i = body; i < ad_nodes(w.graph); i++)
        sigmoids += ad_node_at(w.graph, i)->op == AD_OP_sigmoid ||
                    ad_node_at(w.graph, i)->op == AD_OP_attention;
    assert_int_equal(sigmoids, 0);
    world_end(&w);
}

static void test_random_graphs(void **state) {
    (void)state;
    for (int seed = 0; seed < 40; seed++) {
        world *w = malloc(sizeof *w);
        random_graph *graph = malloc(sizeof *graph);
        ad_value gradient[WORLD_INPUTS], chosen[3];
        world_begin(w, KERN_F64, (uint64_t)(1000 + seed));
        random_build(graph, w, 12);
        for (int i = 0; i < 3; i++) chosen[i] = random_tame(w->graph, random_member(graph), -1, 1);
        ad_value loss = world_contract(w, 3, chosen);
        /* kinks, stopped gradients and rounding have no finite differences */
        bool smooth = true;
        for (int i = 0; i < ad_nodes(w->graph); i++) {
            int op = ad_node_at(w->graph, i)->op;
            smooth &= op != AD_OP_max && op != AD_OP_greater && op != AD_OP_stop_gradient &&
                      op != AD_OP_row_max && op != AD_OP_cast;
        }
        if (smooth) {
            world_gradient(w, loss, gradient);
            world_check_gradient(w, loss, gradient, "random graph");
        }
        world_end(w);
        free(graph);
        free(w);
    }
}

/* ---- attention in other operations ---- */

/* One head of one item: softmax(0.5 q k^T + mask) v for q [C, K], k and v [P + C, K]. */
static ad_value plain_head(ad_graph *graph, ad_value q, ad_value k, ad_value v, ad_value mask) {
    ad_value scores = ad_scale(graph, ad_matmul(graph, q, k, false, true), 0.5);
    ad_value weights = ad_exp(graph, ad_add(graph, scores, mask));
    ad_type type = ad_type_at(graph, weights);
    ad_value total = ad_broadcast(graph, ad_row_sum(graph, weights), type);
    return ad_matmul(graph, ad_div(graph, weights, total), v, false, false);
}

/* Head `head` of a tensor [1, C, H, K] as [C, K]. */
static ad_value head_of(ad_graph *graph, ad_value a, int64_t head) {
    ad_type type = ad_type_at(graph, a);
    return ad_reshape(graph, ad_slice(graph, a, 2, head, 1),
                      AD_TYPE(type.dtype, type.dim[1], type.dim[3]));
}

/* Rows above rows. */
static ad_value stack(ad_graph *graph, ad_value a, ad_value b) {
    ad_type above = ad_type_at(graph, a), below = ad_type_at(graph, b);
    int64_t total = above.dim[0] + below.dim[0];
    return ad_add(graph, ad_pad(graph, a, 0, 0, total), ad_pad(graph, b, 0, above.dim[0], total));
}

enum { C = 5, P = 7, HEADS = 4, GROUPS = 2, K = 3, WINDOW = 6 };

static ad_value plain_attention(ad_graph *graph, const ad_attention_args *args, ad_value mask) {
    ad_value o = AD_NONE;
    for (int64_t h = 0; h < HEADS; h++) {
        int64_t g = h * GROUPS / HEADS;
        ad_value k = stack(graph, head_of(graph, args->past_k, g), head_of(graph, args->k, g));
        ad_value v = stack(graph, head_of(graph, args->past_v, g), head_of(graph, args->v, g));
        ad_value head = plain_head(graph, head_of(graph, args->q, h), k, v, mask);
        head = ad_reshape(graph, head, AD_TYPE(KERN_F64, 1, C, 1, K));
        head = ad_pad(graph, head, 2, h, HEADS);
        o = ad_is_none(o) ? head : ad_add(graph, o, head);
    }
    return o;
}

/* Values, gradients and second derivatives of <o, o-like> by both; the loss is not linear in o, so
 * that the second order also has a cotangent of o itself. */
static void second_order(world *w, ad_value o, const ad_value *wrt, ad_value *result) {
    ad_value loss = ad_sum(w->graph, ad_mul(w->graph, ad_exp(w->graph, o), o), 15), first[3];
    ad_value one = ad_fill(w->graph, ad_type_at(w->graph, loss), 1);
    ad_vjp(w->graph, 1, &loss, &one, 3, wrt, first);
    ad_value again = AD_NONE;
    for (int i = 0; i < 3; i++) {
        ad_value square = ad_sum(w->graph, ad_mul(w->graph, first[i], first[i]), 15);
        again = i ? ad_add(w->graph, again, square) : square;
        result[i] = first[i];
    }
    ad_vjp(w->graph, 1, &again, &one, 5, wrt, result + 3);
    if (ad_graph_status(w->graph) != KERN_OK) fail_msg("%s", kern_error());
}

static void test_attention_by_other_operations(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_attention_args args = {.q = tensor(&w, AD_TYPE(KERN_F64, 1, C, HEADS, K)),
                              .k = tensor(&w, AD_TYPE(KERN_F64, 1, C, GROUPS, K)),
                              .v = tensor(&w, AD_TYPE(KERN_F64, 1, C, GROUPS, K)),
                              .past_k = tensor(&w, AD_TYPE(KERN_F64, 1, P, GROUPS, K)),
                              .past_v = tensor(&w, AD_TYPE(KERN_F64, 1, P, GROUPS, K)),
                              .past_rows = world_tensor(&w, AD_TYPE(KERN_I32, 1), P, P + 0.5),
                              .window = WINDOW,
                              .scale = 0.5};
    ad_value mask = tensor(&w, AD_TYPE(KERN_F64, C, P + C));
    for (int t = 0; t < C; t++)
        for (int s = 0; s < P + C; s++)
            w.input[w.inputs - 1].data[t * (P + C) + s] =
                s <= P + t && P + t - s < WINDOW ? 0 : -1000;
    const ad_value wrt[5] = {args.q, args.k, args.v, args.past_k, args.past_v};
    ad_value closed[9], plain[9];
    closed[8] = ad_attention(w.graph, &args, NULL);
    plain[8] = plain_attention(w.graph, &args, mask);
    second_order(&w, closed[8], wrt, closed);
    second_order(&w, plain[8], wrt, plain);
    double *got = world_values(&w, 9, closed), *expected = world_values(&w, 9, plain);
    for (int i = 0, e = 0; i < 9; i++)
        for (int64_t j = 0; j < ad_elements(ad_type_at(w.graph, closed[i])); j++, e++)
            if (!(fabs(got[e] - expected[e]) <= 1e-10 * (1 + fabs(expected[e]))))
                fail_msg("result %d: %.15g, not %.15g", i, got[e], expected[e]);
    free(got);
    free(expected);
    world_end(&w);
}

/* ---- what flows where ---- */

static int count_op(const ad_graph *graph, int from, int op) {
    int found = 0;
    for (int i = from; i < ad_nodes(graph); i++) found += ad_node_at(graph, i)->op == op;
    return found;
}

static void test_pruning(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_type type = AD_TYPE(KERN_F64, 4, 4);
    ad_value a = tensor(&w, type), b = tensor(&w, type), c = tensor(&w, type), result[3];
    ad_value y = ad_matmul(w.graph, ad_matmul(w.graph, a, b, false, false), c, false, false);
    ad_value ct = tensor(&w, type);
    int before = ad_nodes(w.graph);
    ad_vjp(w.graph, 1, &y, &ct, 1, &a, result);
    assert_int_equal(count_op(w.graph, before, AD_OP_matmul), 2); /* none for b and c */
    before = ad_nodes(w.graph);
    ad_vjp(w.graph, 1, &y, &ct, 1, &c, result);
    assert_int_equal(count_op(w.graph, before, AD_OP_matmul), 1);
    /* no path, a stopped one, an absent cotangent: nothing, and no nodes */
    before = ad_nodes(w.graph);
    ad_value other = tensor(&w, type), stopped = ad_stop_gradient(w.graph, a);
    ad_value z = ad_mul(w.graph, stopped, b);
    ad_vjp(w.graph, 2, (ad_value[]){y, z}, (ad_value[]){AD_NONE, ct}, 3, (ad_value[]){a, other, b},
           result);
    assert_true(ad_is_none(result[0]) && ad_is_none(result[1]) && ad_is_value(result[2]));
    assert_int_equal(count_op(w.graph, before, AD_OP_matmul), 0);
    /* by a value in the middle, and by the output itself */
    ad_value middle = ad_exp(w.graph, a), end = ad_mul(w.graph, middle, middle);
    ad_vjp(w.graph, 1, &end, &ct, 2, (ad_value[]){middle, end}, result);
    assert_true(ad_same(result[1], ct) && ad_is_value(result[0]));
    double *values = world_values(&w, 1, result);
    for (int i = 0; i < 16; i++)
        assert_true(fabs(values[i] - 2 * exp(world_data(&w, a)[i]) * world_data(&w, ct)[i]) <
                    1e-13);
    free(values);
    world_end(&w);
}

/* By q alone attention computes no cotangents of keys. */
static void test_attention_is_asked_for_what_is_wanted(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_type type = AD_TYPE(KERN_F64, 1, 5, 2, 3);
    ad_attention_args args = {.q = tensor(&w, type),
                              .k = tensor(&w, type),
                              .v = tensor(&w, type),
                              .past_k = AD_NONE,
                              .past_v = AD_NONE,
                              .past_rows = AD_NONE,
                              .window = 5,
                              .scale = 1};
    ad_value o = ad_attention(w.graph, &args, NULL), ct = tensor(&w, type), result[2];
    ad_vjp(w.graph, 1, &o, &ct, 2, (ad_value[]){args.k, args.q}, result);
    assert_true(ad_is_value(result[0]) && ad_is_value(result[1]));
    double *both = world_values(&w, 2, result), *one = world_values(&w, 1, result + 1);
    assert_memory_equal(both + 30, one, 30 * sizeof *one);
    free(both);
    free(one);
    world_end(&w);
}

static void test_bf16_operands_have_f32_cotangents(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F32, SEED);
    ad_value a = tensor(&w, AD_TYPE(KERN_BF16, 5, 7)), b = tensor(&w, AD_TYPE(KERN_BF16, 7, 3));
    ad_value y = ad_matmul(w.graph, a, b, false, false), result[2];
    assert_int_equal(ad_type_at(w.graph, y).dtype, KERN_F32);
    ad_value ct = tensor(&w, AD_TYPE(KERN_F32, 5, 3));
    ad_vjp(w.graph, 1, &y, &ct, 2, (ad_value[]){a, b}, result);
    for (int i = 0; i < 2; i++) assert_int_equal(ad_type_at(w.graph, result[i]).dtype, KERN_F32);
    double *got = world_values(&w, 1, result);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 7; k++) {
            double sum = 0; /* of the rounded cotangent */
            for (int j = 0; j < 3; j++)
                sum += world_from_bf16(world_bf16((float)world_data(&w, ct)[i * 3 + j])) *
                       world_data(&w, b)[k * 3 + j];
            assert_true(fabs(got[i * 7 + k] - sum) < 1e-6);
        }
    free(got);
    world_end(&w);
}

static void expect_error(const world *w, const char *text) {
    assert_int_equal(ad_graph_status(w->graph), KERN_ERR_GRAPH);
    if (!strstr(kern_error(), text)) fail_msg("no '%s' in: %s", text, kern_error());
}

static void test_errors(void **state) {
    (void)state;
    for (int which = 0; which < 4; which++) {
        world w;
        world_begin(&w, KERN_F64, SEED);
        ad_type type = AD_TYPE(KERN_F64, 1, 3, 1, 3);
        ad_value q = tensor(&w, type), past = tensor(&w, type), lse, result = AD_NONE;
        ad_scope_push(w.graph, "block.3");
        ad_attention_args args = {.q = q,
                                  .k = q,
                                  .v = q,
                                  .past_k = past,
                                  .past_v = past,
                                  .past_rows = world_tensor(&w, AD_TYPE(KERN_I32, 1), 3, 3.5),
                                  .window = 5,
                                  .scale = 1};
        ad_value o = ad_attention(w.graph, &args, &lse);
        ad_scope_pop(w.graph);
        if (which == 0) {
            ad_vjp(w.graph, 1, &lse, &lse, 1, &q, &result);
            expect_error(&w, "in block.3': attention: its log-sum-exp has no gradient");
        } else if (which == 1) { /* the past's cotangent, differentiated again */
            ad_vjp(w.graph, 1, &o, &o, 1, &past, &result);
            ad_vjp(w.graph, 1, &result, &result, 1, &q, &result);
            expect_error(&w, "in block.3'': attention: past keys and values are constants");
        } else if (which == 2) {
            ad_vjp(w.graph, 1, &o, &o, 1, &q, &result);
            ad_vjp(w.graph, 1, &result, &result, 1, &q, &result);
            assert_int_equal(ad_graph_status(w.graph), KERN_OK);
            ad_vjp(w.graph, 1, &result, &result, 1, &q, &result);
            expect_error(&w, "attention_vjp2 cannot be differentiated a third time");
            expect_error(&w, "in block.3''");
        } else { /* a cotangent of another type than its output's */
            ad_vjp(w.graph, 1, &o, &lse, 1, &q, &result);
            expect_error(&w, "the caller of ad_vjp gave a cotangent f64[1,3,1] where f64[1,3,1,3]");
        }
        assert_int_equal(result.node, AD_POISON.node);
        world_end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_composites),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_gradients_share_the_forward_pass),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_attention_by_other_operations),
        cmocka_unit_test(test_pruning),
        cmocka_unit_test(test_attention_is_asked_for_what_is_wanted),
        cmocka_unit_test(test_bf16_operands_have_f32_cotangents),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
