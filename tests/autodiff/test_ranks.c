/* Graphs over ranks: each case is built with its numbers split over 2 and 4 ranks, which are
 * threads, and without anything of ranks for one. Values and two orders of derivatives are equal,
 * and are those of finite differences, over the ranks. With one rank what ranks do together costs
 * nothing. */
#include "tests/autodiff/split.h"

enum { INPUTS = 16, VALUES = 2 + 2 * INPUTS };

#define F64(...) AD_TYPE(KERN_F64, __VA_ARGS__)
#define I32(...) AD_TYPE(KERN_I32, __VA_ARGS__)

typedef struct {
    const char *name;
    split_input input[INPUTS];
    ad_value (*build)(const split_place *p, const ad_value *in); /* a loss, the same on all ranks */
    /* Input `input` of a rank, which is SPLIT_OWN. */
    void (*own)(double *data, int input, int ranks, int rank);
} problem;

/* ---- the cases ---- */

/* h + W2 (silu(W1 n) * (W3 n)), the width split. */
enum { MLP_X, MLP_NORM, MLP_W1, MLP_W3, MLP_W2 };

static ad_value build_mlp(const split_place *p, const ad_value *in) {
    ad_graph *g = p->graph;
    ad_value n = split_vary(p, ad_rms_norm(g, in[MLP_X], in[MLP_NORM], 1e-5));
    ad_value gate = ad_silu(g, ad_linear(g, n, in[MLP_W1]));
    ad_value y = ad_linear(g, ad_mul(g, gate, ad_linear(g, n, in[MLP_W3])), in[MLP_W2]);
    return split_loss(g, ad_add(g, in[MLP_X], split_sum(p, y)));
}

/* Attention whose heads are split, with keys and values of the past, and a norm of queries whose
 * weights are whole. */
enum { HEADS = 4, HEAD = 2, PAST = 3, ROWS = 4, DIM = 6 };
enum {
    ATT_X,
    ATT_WQ,
    ATT_WK,
    ATT_WV,
    ATT_WO,
    ATT_NORM,
    ATT_COS,
    ATT_SIN,
    ATT_PK,
    ATT_PV,
    ATT_ROWS
};

static ad_value heads(const split_place *p, ad_value x, ad_value w) {
    return ad_reshape(p->graph, ad_linear(p->graph, x, w), F64(1, ROWS, HEADS / p->ranks, HEAD));
}

static ad_value build_heads(const split_place *p, const ad_value *in) {
    ad_graph *g = p->graph;
    ad_value x = split_vary(p, in[ATT_X]), cosine = split_vary(p, in[ATT_COS]);
    ad_value sine = split_vary(p, in[ATT_SIN]);
    ad_value q = ad_rms_norm(g, heads(p, x, in[ATT_WQ]), split_vary(p, in[ATT_NORM]), 1e-5);
    ad_attention_args args = {.q = ad_rope(g, q, cosine, sine),
                              .k = ad_rope(g, heads(p, x, in[ATT_WK]), cosine, sine),
                              .v = heads(p, x, in[ATT_WV]),
                              .past_k = in[ATT_PK],
                              .past_v = in[ATT_PV],
                              .past_rows = split_vary(p, in[ATT_ROWS]),
                              .window = 5,
                              .scale = 0.7};
    ad_value o = ad_reshape(g, ad_attention(g, &args, NULL), F64(ROWS, HEADS / p->ranks * HEAD));
    return split_loss(g, ad_add(g, in[ATT_X], split_sum(p, ad_linear(g, o, in[ATT_WO]))));
}

/* A tied vocabulary that is split by rows: each rank looks up the tokens that it has and scores its
 * own; where a token is, and whether it is there, are each rank's own inputs. */
enum { VOCAB = 12, TOKENS = 5 };
enum { CE_TABLE, CE_W, CE_TOKEN, CE_HAS_TOKEN, CE_TARGET, CE_HAS_TARGET };

static void own_tokens(double *data, int input, int ranks, int rank) {
    static const int token[TOKENS] = {3, 11, 0, 3, 7}, target[TOKENS] = {11, 0, 3, 6, 5};
    bool has = input == CE_HAS_TOKEN || input == CE_HAS_TARGET;
    for (int i = 0; i < TOKENS; i++) {
        int of = input == CE_TOKEN || input == CE_HAS_TOKEN ? token[i] : target[i];
        int local = of - rank * VOCAB / ranks;
        bool there = local >= 0 && local < VOCAB / ranks;
        data[i] = has ? there : there ? local : 0;
    }
}

static ad_value build_entropy(const split_place *p, const ad_value *in) {
    ad_graph *g = p->graph;
    ad_value rows = ad_mul_repeat(g, ad_gather(g, in[CE_TABLE], in[CE_TOKEN]), in[CE_HAS_TOKEN]);
    ad_value x = ad_linear(g, split_sum(p, rows), in[CE_W]);
    ad_value logits = ad_matmul(g, split_vary(p, x), in[CE_TABLE], false, true);
    ad_value top = split_max(p, ad_row_max(g, ad_stop_gradient(g, logits)));
    ad_value shifted = ad_neg(g, ad_broadcast(g, split_vary(p, top), ad_type_at(g, logits)));
    shifted = ad_add(g, logits, shifted);
    ad_value sum = split_sum(p, ad_row_sum(g, ad_exp(g, shifted)));
    ad_value hit = ad_mul(g, ad_pick(g, shifted, in[CE_TARGET]), in[CE_HAS_TARGET]);
    return split_total(g, ad_sub(g, ad_log(g, sum), split_sum(p, hit)));
}

/* The loss after a step on weights of which two are split and one is whole, clipped by the norm of
 * all of them: the derivative of a gradient, through the clip. */
enum { STEP_X, STEP_SAME, STEP_UP, STEP_DOWN, STEP_RATE };

static ad_value read_rows(const split_place *p, ad_value x, const ad_value *w) {
    ad_graph *g = p->graph;
    ad_value h = split_vary(p, ad_silu(g, ad_matmul(g, x, w[0], false, false)));
    ad_value y = ad_matmul(g, ad_silu(g, ad_matmul(g, h, w[1], false, false)), w[2], false, false);
    return split_loss(g, ad_add(g, x, split_sum(p, y)));
}

static ad_value build_step(const split_place *p, const ad_value *in) {
    ad_graph *g = p->graph;
    ad_value loss = read_rows(p, in[STEP_X], in + STEP_SAME), one = ad_fill(g, F64(1, 1), 1);
    ad_value gradient[3], next[3];
    ad_vjp(g, 1, &loss, &one, 3, in + STEP_SAME, gradient);
    ad_value factor = ad_clip_factor(g, 3, gradient, 0.5, NULL);
    factor = ad_mul_repeat(g, factor, ad_reshape(g, in[STEP_RATE], F64(1, 1, 1)));
    for (int i = 0; i < 3; i++) {
        ad_value own = i ? split_vary(p, factor) : factor;
        next[i] = ad_sub(g, in[STEP_SAME + i], ad_mul_repeat(g, gradient[i], own));
    }
    return read_rows(p, in[STEP_X], next);
}

static const problem problems[] = {
    {"mlp",
     {[MLP_X] = {"x", {KERN_F64, 2, {5, 6, 1, 1, 1}, false}, SPLIT_WHOLE, false, 0, 0},
      [MLP_NORM] = {"norm", {KERN_F64, 1, {6, 1, 1, 1, 1}, false}, SPLIT_WHOLE, false, 0.5, 1.5},
      [MLP_W1] = {"w1", {KERN_F64, 2, {6, 8, 1, 1, 1}, false}, 1, false, 0, 0},
      [MLP_W3] = {"w3", {KERN_F64, 2, {6, 8, 1, 1, 1}, false}, 1, false, 0, 0},
      [MLP_W2] = {"w2", {KERN_F64, 2, {8, 6, 1, 1, 1}, false}, 0, false, 0, 0}},
     build_mlp,
     NULL},
    {"heads",
     {[ATT_X] = {"x", {KERN_F64, 2, {ROWS, DIM, 1, 1, 1}, false}, SPLIT_WHOLE, false, 0, 0},
      [ATT_WQ] = {"wq", {KERN_F64, 2, {DIM, HEADS *HEAD, 1, 1, 1}, false}, 1, false, 0, 0},
      [ATT_WK] = {"wk", {KERN_F64, 2, {DIM, HEADS *HEAD, 1, 1, 1}, false}, 1, false, 0, 0},
      [ATT_WV] = {"wv", {KERN_F64, 2, {DIM, HEADS *HEAD, 1, 1, 1}, false}, 1, false, 0, 0},
      [ATT_WO] = {"wo", {KERN_F64, 2, {HEADS * HEAD, DIM, 1, 1, 1}, false}, 0, false, 0, 0},
      [ATT_NORM] = {"q_norm", {KERN_F64, 1, {HEAD, 1, 1, 1, 1}, false}, SPLIT_WHOLE, false, 0.5, 1},
      [ATT_COS] = {"cos", {KERN_F64, 2, {ROWS, HEAD, 1, 1, 1}, false}, SPLIT_WHOLE, true, 0, 0},
      [ATT_SIN] = {"sin", {KERN_F64, 2, {ROWS, HEAD, 1, 1, 1}, false}, SPLIT_WHOLE, true, 0, 0},
      [ATT_PK] = {"past_k", {KERN_F64, 4, {1, PAST, HEADS, HEAD, 1}, false}, 2, true, 0, 0},
      [ATT_PV] = {"past_v", {KERN_F64, 4, {1, PAST, HEADS, HEAD, 1}, false}, 2, true, 0, 0},
      [ATT_ROWS] = {"past_rows", {KERN_I32, 1, {1, 1, 1, 1, 1}, false}, SPLIT_WHOLE, true, 2, 3}},
     build_heads,
     NULL},
    {"entropy",
     {[CE_TABLE] = {"table", {KERN_F64, 2, {VOCAB, DIM, 1, 1, 1}, false}, 0, false, 0, 0},
      [CE_W] = {"w", {KERN_F64, 2, {DIM, DIM, 1, 1, 1}, false}, SPLIT_WHOLE, false, 0, 0},
      [CE_TOKEN] = {"token", {KERN_I32, 1, {TOKENS, 1, 1, 1, 1}, false}, SPLIT_OWN, true, 0, 0},
      [CE_HAS_TOKEN] = {"has", {KERN_F64, 2, {TOKENS, 1, 1, 1, 1}, false}, SPLIT_OWN, true, 0, 0},
      [CE_TARGET] = {"target", {KERN_I32, 2, {TOKENS, 1, 1, 1, 1}, false}, SPLIT_OWN, true, 0, 0},
      [CE_HAS_TARGET] = {"hit", {KERN_F64, 2, {TOKENS, 1, 1, 1, 1}, false}, SPLIT_OWN, true, 0, 0}},
     build_entropy,
     own_tokens},
    {"step",
     {[STEP_X] = {"x", {KERN_F64, 3, {1, 3, 6, 1, 1}, false}, SPLIT_WHOLE, false, 0, 0},
      [STEP_SAME] = {"same", {KERN_F64, 3, {1, 6, 6, 1, 1}, false}, SPLIT_WHOLE, false, 0, 0},
      [STEP_UP] = {"up", {KERN_F64, 3, {1, 6, 8, 1, 1}, false}, 2, false, 0, 0},
      [STEP_DOWN] = {"down", {KERN_F64, 3, {1, 8, 6, 1, 1}, false}, 1, false, 0, 0},
      [STEP_RATE] = {"rate", {KERN_F64, 1, {1, 1, 1, 1, 1}, false}, SPLIT_WHOLE, true, 0.3, 0.4}},
     build_step,
     NULL},
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

/* ---- a graph of one rank ---- */

/* A loss and its gradient; a random contraction of the gradient, and the gradient of that. */
typedef struct {
    split_place place;
    const problem *p;
    ad_value in[INPUTS], weight[INPUTS], loss[2], gradient[2][INPUTS];
    int inputs;
} built;

/* The sum over the inputs of gradient times weight. */
static ad_value contract(const built *b) {
    ad_graph *g = b->place.graph;
    ad_value sum = AD_NONE;
    for (int i = 0; i < b->inputs; i++) {
        if (b->p->input[i].fixed) continue;
        ad_value term = split_total(g, ad_mul(g, b->gradient[0][i], b->weight[i]));
        if (b->p->input[i].axis != SPLIT_WHOLE) term = split_sum(&b->place, term);
        sum = ad_is_none(sum) ? term : ad_add(g, sum, term);
    }
    return sum;
}

static void differentiate(const built *b, ad_value loss, ad_value *gradient) {
    ad_value wrt[INPUTS], result[INPUTS], one = ad_fill(b->place.graph, F64(1, 1), 1);
    int wrts = 0;
    for (int i = 0; i < b->inputs; i++)
        if (!b->p->input[i].fixed) wrt[wrts++] = b->in[i];
    ad_vjp(b->place.graph, 1, &loss, &one, wrts, wrt, result);
    for (int i = 0, j = 0; i < b->inputs; i++)
        gradient[i] = b->p->input[i].fixed ? AD_NONE : result[j++];
}

static void build(built *b, const problem *p, int ranks, int rank, bool collects) {
    *b = (built){.place = {ad_graph_create(), ranks, rank, collects}, .p = p};
    ad_graph *g = b->place.graph;
    for (; b->inputs < INPUTS && p->input[b->inputs].name; b->inputs++) {
        const split_input *input = &p->input[b->inputs];
        ad_type type = split_type(&b->place, input->type, input->axis);
        b->in[b->inputs] = ad_input(g, type, "%s", input->name);
        b->weight[b->inputs] =
            input->fixed ? AD_NONE : ad_input(g, type, "weight of %s", input->name);
    }
    ad_scope_push(g, "%s", p->name);
    b->loss[0] = p->build(&b->place, b->in);
    differentiate(b, b->loss[0], b->gradient[0]);
    b->loss[1] = contract(b);
    differentiate(b, b->loss[1], b->gradient[1]);
    ad_scope_pop(g);
    if (ad_graph_status(g) != KERN_OK) printf("%s: %s\n", p->name, kern_error());
    ASSERT(!ad_failed(g));
    ad_check(g);
}

/* ---- all ranks ---- */

/* Of the whole job: what is read, and what comes out, by input. */
typedef struct {
    const problem *p;
    double *in[INPUTS], *weight[INPUTS];
    double loss[2], *gradient[2][INPUTS];
} numbers;

/* One rank's. Results that are the same on all ranks come from each. */
typedef struct {
    numbers *whole;
    bool collects, debug;
    double loss[2], *gradient[2][INPUTS];
    int steps, collectives;
    uint64_t hash;
} rank_run;

static void bind_inputs(const built *b, const rank_run *r, const kern_device *device, ad_plan *plan,
                        kern_buffer *buffer) {
    const split_place *p = &b->place;
    for (int i = 0; i < b->inputs; i++) {
        const split_input *input = &b->p->input[i];
        double own[64];
        if (input->axis == SPLIT_OWN) b->p->own(own, i, p->ranks, p->rank);
        double *data = input->axis == SPLIT_OWN ? own : r->whole->in[i];
        buffer[2 * i] = split_upload(device, p, data, input->type, input->axis);
        ad_plan_bind(plan, b->in[i], buffer[2 * i].data);
        if (input->fixed) continue;
        buffer[2 * i + 1] = split_upload(device, p, r->whole->weight[i], input->type, input->axis);
        ad_plan_bind(plan, b->weight[i], buffer[2 * i + 1].data);
    }
}

/* Losses first, then both gradients of each input. */
static int outputs_of(const built *b, ad_plan_output *output) {
    int count = 0;
    for (int order = 0; order < 2; order++)
        output[count++] = (ad_plan_output){b->loss[order], AD_WRITE};
    for (int i = 0; i < b->inputs; i++)
        for (int order = 0; order < 2 && !b->p->input[i].fixed; order++)
            output[count++] = (ad_plan_output){b->gradient[order][i], AD_WRITE};
    return count;
}

static void fetch(const built *b, rank_run *r, const kern_buffer *buffer) {
    for (int order = 0; order < 2; order++)
        split_download(&r->loss[order], buffer++, &b->place, F64(1, 1), SPLIT_WHOLE);
    for (int i = 0; i < b->inputs; i++) {
        const split_input *input = &b->p->input[i];
        for (int order = 0; order < 2 && !input->fixed; order++) {
            bool split = input->axis != SPLIT_WHOLE;
            double *to = split ? r->whole->gradient[order][i] : r->gradient[order][i];
            split_download(to, buffer++, &b->place, input->type, input->axis);
        }
    }
}

/* Twice, so that a device that records has recorded and replayed. */
static void run_rank(const kern_comm *comm, const kern_device *device, void *context) {
    rank_run *r = context;
    built b;
    build(&b, r->whole->p, comm->ranks, comm->rank, r->collects);
    ad_plan_output output[VALUES];
    kern_buffer in[2 * INPUTS] = {{0}}, out[VALUES] = {{0}}, arena = {0};
    ad_plan_spec spec = {.outputs = outputs_of(&b, output),
                         .output = output,
                         .device = device,
                         .comm = comm->ranks > 1 ? comm : NULL,
                         .threads = 1,
                         .repeats = true,
                         .debug = r->debug};
    ad_plan *plan;
    ASSERT(ad_plan_compile(&plan, b.place.graph, &spec) == KERN_OK);
    r->steps = ad_plan_steps(plan);
    r->hash = ad_plan_collectives(plan, &r->collectives, NULL);
    ASSERT(kern_buffer_create(&arena, device, ad_plan_arena_bytes(plan), "arena") == KERN_OK);
    bind_inputs(&b, r, device, plan, in);
    for (int o = 0; o < spec.outputs; o++) {
        size_t bytes = ad_bytes(ad_type_at(b.place.graph, output[o].value));
        ASSERT(kern_buffer_create(&out[o], device, bytes, "result") == KERN_OK);
        ad_plan_bind_output(plan, o, out[o].data);
    }
    for (int run = 0; run < 3; run++) {
        ASSERT(ad_plan_run(plan, arena.data) == KERN_OK);
        ASSERT(kern_finish(device->stream) == KERN_OK);
    }
    fetch(&b, r, out);
    for (int i = 0; i < 2 * INPUTS; i++) kern_buffer_destroy(&in[i]);
    for (int o = 0; o < VALUES; o++) kern_buffer_destroy(&out[o]);
    kern_buffer_destroy(&arena);
    ad_plan_destroy(plan);
    ad_graph_destroy(b.place.graph);
}

static double *room(const problem *p, int i) {
    return calloc((size_t)ad_elements(p->input[i].type), sizeof(double));
}

/* Runs all ranks; what is the same on all must have the same bits. Returns rank 0's run, its arrays
 * freed. */
static rank_run run_all(numbers *n, int ranks, bool collects, bool debug) {
    rank_run run[RANKS_MOST] = {{0}};
    for (int r = 0; r < ranks; r++) {
        run[r] = (rank_run){.whole = n, .collects = collects, .debug = debug};
        for (int i = 0; i < INPUTS && n->p->input[i].name; i++)
            for (int order = 0; order < 2; order++) run[r].gradient[order][i] = room(n->p, i);
    }
    ranks_run(ranks, run_rank, run, sizeof *run);
    memcpy(n->loss, run[0].loss, sizeof n->loss);
    for (int r = 0; r < ranks; r++) {
        assert_memory_equal(run[r].loss, n->loss, sizeof n->loss);
        assert_true(run[r].hash == run[0].hash);
        for (int i = 0; i < INPUTS && n->p->input[i].name; i++)
            for (int order = 0; order < 2; order++) {
                double *own = run[r].gradient[order][i], *to = n->gradient[order][i];
                size_t bytes = (size_t)ad_elements(n->p->input[i].type) * sizeof *to;
                if (n->p->input[i].axis == SPLIT_WHOLE && !r) memcpy(to, own, bytes);
                if (n->p->input[i].axis == SPLIT_WHOLE) assert_memory_equal(to, own, bytes);
                free(own);
            }
    }
    return run[0];
}

static void begin_numbers(numbers *n, const problem *p) {
    uint64_t random = 11;
    *n = (numbers){.p = p};
    for (int i = 0; i < INPUTS && p->input[i].name; i++) {
        const split_input *input = &p->input[i];
        bool given = input->low != 0 || input->high != 0;
        double low = given ? input->low : -1, high = given ? input->high : 1;
        n->in[i] = split_draw(&random, input->type, low, high);
        n->weight[i] = split_draw(&random, input->type, -1, 1);
        for (int order = 0; order < 2; order++) n->gradient[order][i] = room(p, i);
    }
}

static void end_numbers(numbers *n) {
    for (int i = 0; i < INPUTS; i++) {
        free(n->in[i]);
        free(n->weight[i]);
        for (int order = 0; order < 2; order++) free(n->gradient[order][i]);
    }
}

/* ---- tests ---- */

static void compare(const numbers *got, const numbers *expected, int ranks, double limit) {
    const problem *p = got->p;
    for (int order = 0; order < 2; order++) {
        char what[64];
        snprintf(what, sizeof what, "%s, order %d", p->name, order + 1);
        split_compare(what, "loss", ranks, &got->loss[order], &expected->loss[order], 1, limit);
        for (int i = 0; i < INPUTS && p->input[i].name; i++)
            if (!p->input[i].fixed)
                split_compare(what, p->input[i].name, ranks, got->gradient[order][i],
                              expected->gradient[order][i], ad_elements(p->input[i].type), limit);
    }
}

static void ranks_agree_with_one(void **state) {
    (void)state;
    for (int c = 0; c < PROBLEMS; c++) {
        numbers one, all, many;
        begin_numbers(&one, &problems[c]);
        begin_numbers(&all, &problems[c]);
        begin_numbers(&many, &problems[c]);
        rank_run plain = run_all(&one, 1, false, false), alone = run_all(&all, 1, true, false);
        compare(&all, &one, 1, 1e-14); /* cotangents meet in another order */
        assert_int_equal(plain.steps, alone.steps);
        assert_int_equal(alone.collectives, 0);
        for (int ranks = 2; ranks <= 4; ranks *= 2) {
            rank_run run = run_all(&many, ranks, true, false);
            assert_true(run.collectives > 1);
            compare(&many, &one, ranks, 1e-12);
            run_all(&many, ranks, true, true); /* unfused, every value kept */
            compare(&many, &one, ranks, 1e-12);
        }
        end_numbers(&one);
        end_numbers(&all);
        end_numbers(&many);
    }
}

/* Losses of two ranks at inputs + step * direction. */
static void move(numbers *n, double *const *direction, double step) {
    for (int i = 0; i < INPUTS && n->p->input[i].name; i++)
        for (int64_t e = 0; e < ad_elements(n->p->input[i].type) && !n->p->input[i].fixed; e++)
            n->in[i][e] += step * direction[i][e];
}

static void gradients_are_differences(void **state) {
    (void)state;
    static const double at[4] = {1, -1, 2, -2}, weight[4] = {8, -8, -1, 1};
    const double step = 1e-3;
    for (int c = 0; c < PROBLEMS; c++) {
        numbers n;
        uint64_t random = 5;
        double *direction[INPUTS] = {0}, sum[2] = {0}, size[2] = {0}, difference[2] = {0};
        begin_numbers(&n, &problems[c]);
        run_all(&n, 2, true, false);
        for (int i = 0; i < INPUTS && n.p->input[i].name; i++) {
            direction[i] = split_draw(&random, F64(ad_elements(n.p->input[i].type)), -1, 1);
            for (int order = 0; order < 2 && !n.p->input[i].fixed; order++)
                for (int64_t e = 0; e < ad_elements(n.p->input[i].type); e++) {
                    double term = n.gradient[order][i][e] * direction[i][e];
                    sum[order] += term;
                    size[order] += fabs(term);
                }
        }
        for (int k = 0; k < 4; k++) {
            move(&n, direction, at[k] * step);
            run_all(&n, 2, true, false);
            move(&n, direction, -at[k] * step);
            for (int order = 0; order < 2; order++)
                difference[order] += weight[k] * n.loss[order] / (12 * step);
        }
        for (int order = 0; order < 2; order++)
            if (!(fabs(difference[order] - sum[order]) <= 1e-8 * size[order]))
                fail_msg("%s, order %d: the gradient gives %.12g, finite differences %.12g",
                         n.p->name, order + 1, sum[order], difference[order]);
        for (int i = 0; i < INPUTS; i++) free(direction[i]);
        end_numbers(&n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_agree_with_one),
        cmocka_unit_test(gradients_are_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
