/* A scan whose body meets the other ranks: attention with split heads and a history, and a step on
 * split weights, clipped by the norm of all of them. Losses and cotangents of 2 and 4 ranks are
 * those of one, whose scan has nothing of ranks in it, for budgets that keep everything, little and
 * nothing; and what is kept is not asked of the ranks again. */
#include "autodiff/scan.h"
#include "tests/autodiff/split.h"

enum { B = 2, C = 3, CHUNKS = 5, D = 6, H = 4, K = 2, F = 8, WINDOW = 5, PAST = WINDOW - 1 };
enum { ROWS_IN, WQ, WK, WV, WO, UP, DOWN, NUMBERS, CONSTANTS = 4, CARRIES = 2 };

/* Of all chunks, or shared by them. */
static const struct {
    ad_type type;
    int axis;
} number[NUMBERS] = {
    [ROWS_IN] = {{KERN_F64, 2, {B * CHUNKS * C, D, 1, 1, 1}, false}, SPLIT_WHOLE},
    [WQ] = {{KERN_F64, 2, {D, H *K, 1, 1, 1}, false}, 1},
    [WK] = {{KERN_F64, 2, {D, H *K, 1, 1, 1}, false}, 1},
    [WV] = {{KERN_F64, 2, {D, H *K, 1, 1, 1}, false}, 1},
    [WO] = {{KERN_F64, 2, {H * K, D, 1, 1, 1}, false}, 0},
    [UP] = {{KERN_F64, 3, {B, D, F, 1, 1}, false}, 2},
    [DOWN] = {{KERN_F64, 3, {B, F, D, 1, 1}, false}, 1},
};
static const ad_type loss_type = {KERN_F64, 2, {CHUNKS, B, 1, 1, 1}, false};

/* ---- body ---- */

typedef struct {
    ad_value in[NUMBERS], past_k, past_v, past_rows; /* inputs */
    ad_value fresh_k, fresh_v, loss, next[CARRIES];  /* results */
} body;

static ad_value heads(const split_place *p, ad_value x, ad_value w) {
    return ad_reshape(p->graph, ad_linear(p->graph, x, w),
                      AD_TYPE(KERN_F64, B, C, H / p->ranks, K));
}

static ad_value attend(const split_place *p, body *b) {
    ad_graph *g = p->graph;
    ad_value x = split_vary(p, b->in[ROWS_IN]);
    ad_attention_args args = {.q = heads(p, x, b->in[WQ]),
                              .k = heads(p, x, b->in[WK]),
                              .v = heads(p, x, b->in[WV]),
                              .past_k = b->past_k,
                              .past_v = b->past_v,
                              .past_rows = split_vary(p, b->past_rows),
                              .window = WINDOW,
                              .scale = 0.7};
    b->fresh_k = args.k;
    b->fresh_v = args.v;
    ad_value o = ad_attention(g, &args, NULL);
    o = ad_reshape(g, o, AD_TYPE(KERN_F64, B * C, H / p->ranks * K));
    return ad_add(g, b->in[ROWS_IN], split_sum(p, ad_linear(g, o, b->in[WO])));
}

static void build(const split_place *p, body *b) {
    ad_graph *g = p->graph;
    for (int i = 0; i < NUMBERS; i++) {
        ad_type type = number[i].type;
        if (i == ROWS_IN) type.dim[0] = B * C;
        b->in[i] = ad_input(g, split_type(p, type, number[i].axis), "input.%d", i);
    }
    ad_type past = split_type(p, AD_TYPE(KERN_F64, B, PAST, H, K), 2);
    b->past_k = ad_input(g, past, "past_k");
    b->past_v = ad_input(g, past, "past_v");
    b->past_rows = ad_scalar(g, KERN_I32, "past_rows");
    ad_value x = ad_reshape(g, attend(p, b), AD_TYPE(KERN_F64, B, C, D));
    ad_value width = ad_silu(g, ad_matmul(g, split_vary(p, x), b->in[UP], false, false));
    ad_value y = ad_add(g, x, split_sum(p, ad_matmul(g, width, b->in[DOWN], false, false)));
    ad_value rows = ad_reshape(g, ad_silu(g, y), AD_TYPE(KERN_F64, B, C * D));
    b->loss = ad_row_sum(g, rows);
    ad_value one = ad_fill(g, AD_TYPE(KERN_F64, B, 1), 1), gradient[CARRIES];
    ad_vjp(g, 1, &b->loss, &one, CARRIES, b->in + UP, gradient);
    ad_value factor = split_vary(p, ad_clip_factor(g, CARRIES, gradient, 0.7, NULL));
    for (int c = 0; c < CARRIES; c++)
        b->next[c] =
            ad_sub(g, b->in[UP + c], ad_mul_repeat(g, gradient[c], ad_scale(g, factor, 0.5)));
}

/* ---- all ranks ---- */

/* Of the whole job. */
typedef struct {
    double *in[NUMBERS], *ct[NUMBERS], *loss;
} numbers;

typedef struct {
    numbers *whole;
    double budget;
    bool collects;
    double *ct_rows, *loss; /* the same on all ranks */
    int64_t every;
    int collectives; /* in the vjp of a chunk */
    uint64_t hash;
} rank_run;

static ad_scan *create(const split_place *p, const body *b, const kern_device *device,
                       const kern_comm *comm, double budget) {
    ad_scan_carry carry[CARRIES] = {{b->in[UP], b->next[0], false},
                                    {b->in[DOWN], b->next[1], false}};
    ad_scan_slice slice = {b->in[ROWS_IN], true, true};
    ad_scan_output output = {.value = b->loss};
    ad_scan_history history[] = {{b->fresh_k, b->past_k, b->past_rows},
                                 {b->fresh_v, b->past_v, b->past_rows}};
    ad_scan_spec spec = {.graph = p->graph,
                         .batch = B,
                         .chunk = C,
                         .chunks = CHUNKS,
                         .carries = CARRIES,
                         .constants = CONSTANTS,
                         .slices = 1,
                         .outputs = 1,
                         .histories = 2,
                         .carry = carry,
                         .constant = b->in + WQ,
                         .slice = &slice,
                         .output = &output,
                         .history = history,
                         .loss = b->loss,
                         .loss_scale = 0.5,
                         .backward = true,
                         .device = device,
                         .comm = comm,
                         .threads = 1};
    ad_scan *scan;
    if (ad_scan_create(&scan, &spec) != KERN_OK) printf("%s\n", kern_error());
    ASSERT(scan);
    ad_scan_choose(scan, budget);
    ASSERT(ad_scan_compile(scan) == KERN_OK);
    ASSERT(ad_scan_allocate(scan) == KERN_OK);
    return scan;
}

static void note_plans(rank_run *r, const ad_scan *scan) {
    r->every = ad_scan_plan(scan).every;
    for (int which = 0; which < AD_SCAN_PLANS; which++) {
        int count;
        r->hash = r->hash * 31 + ad_plan_collectives(ad_scan_plan_of(scan, which), &count, NULL);
        if (which == AD_SCAN_VJP) r->collectives = count;
    }
}

static void run_rank(const kern_comm *comm, const kern_device *device, void *context) {
    rank_run *r = context;
    split_place p = {ad_graph_create(), comm->ranks, comm->rank, r->collects};
    body b;
    build(&p, &b);
    ad_scan *scan = create(&p, &b, device, comm, r->budget);
    note_plans(r, scan);
    kern_buffer in[NUMBERS], ct[NUMBERS] = {{0}}, loss = {0}, arena = {0};
    for (int i = 0; i < NUMBERS; i++) {
        in[i] = split_upload(device, &p, r->whole->in[i], number[i].type, number[i].axis);
        ASSERT(kern_buffer_create_zero(&ct[i], device, in[i].bytes, "cotangent") == KERN_OK);
    }
    ASSERT(kern_buffer_create(&loss, device, ad_bytes(loss_type), "losses") == KERN_OK);
    ASSERT(kern_buffer_create(&arena, device, ad_scan_plan(scan).arena, "arena") == KERN_OK);
    for (int c = 0; c < CONSTANTS; c++) {
        ad_scan_bind(scan, b.in[WQ + c], in[WQ + c].data);
        ad_scan_bind_constant_ct(scan, c, ct[WQ + c].data);
    }
    ad_scan_bind_slice(scan, 0, in[ROWS_IN].data, ct[ROWS_IN].data);
    ad_scan_bind_output(scan, 0, loss.data, NULL);
    ASSERT(ad_scan_forward(scan, (const void *[]){in[UP].data, in[DOWN].data}, NULL, arena.data) ==
           KERN_OK);
    ASSERT(ad_scan_backward(scan, (void *[]){ct[UP].data, ct[DOWN].data}, arena.data) == KERN_OK);
    ASSERT(kern_finish(device->stream) == KERN_OK);
    split_download(r->loss, &loss, &p, loss_type, SPLIT_WHOLE);
    split_download(r->ct_rows, &ct[ROWS_IN], &p, number[ROWS_IN].type, SPLIT_WHOLE);
    for (int i = WQ; i < NUMBERS; i++)
        split_download(r->whole->ct[i], &ct[i], &p, number[i].type, number[i].axis);
    for (int i = 0; i < NUMBERS; i++) {
        kern_buffer_destroy(&in[i]);
        kern_buffer_destroy(&ct[i]);
    }
    kern_buffer_destroy(&loss);
    kern_buffer_destroy(&arena);
    ad_scan_destroy(scan);
    ad_graph_destroy(p.graph);
}

static double *room(ad_type type) {
    return calloc((size_t)ad_elements(type), sizeof(double));
}

/* Rank 0's run, its arrays freed. */
static rank_run run_all(numbers *n, int ranks, bool collects, double budget) {
    rank_run run[RANKS_MOST] = {{0}};
    for (int r = 0; r < ranks; r++)
        run[r] = (rank_run){.whole = n,
                            .budget = budget,
                            .collects = collects,
                            .ct_rows = room(number[ROWS_IN].type),
                            .loss = room(loss_type)};
    ranks_run(ranks, run_rank, run, sizeof *run);
    memcpy(n->loss, run[0].loss, CHUNKS * B * sizeof(double));
    memcpy(n->ct[ROWS_IN], run[0].ct_rows, B * CHUNKS * C * D * sizeof(double));
    for (int r = 0; r < ranks; r++) {
        assert_memory_equal(run[r].loss, n->loss, CHUNKS * B * sizeof(double));
        assert_memory_equal(run[r].ct_rows, n->ct[ROWS_IN], B * CHUNKS * C * D * sizeof(double));
        assert_true(run[r].hash == run[0].hash && run[r].every == run[0].every);
        free(run[r].loss);
        free(run[r].ct_rows);
    }
    return run[0];
}

static numbers begin_numbers(void) {
    uint64_t random = 3;
    numbers n = {.loss = room(loss_type)};
    for (int i = 0; i < NUMBERS; i++) {
        n.in[i] = split_draw(&random, number[i].type, -0.7, 0.7);
        n.ct[i] = room(number[i].type);
    }
    return n;
}

static void end_numbers(numbers *n) {
    free(n->loss);
    for (int i = 0; i < NUMBERS; i++) {
        free(n->in[i]);
        free(n->ct[i]);
    }
}

static void ranks_scan_as_one(void **state) {
    (void)state;
    static const double budgets[] = {HUGE_VAL, 9000, 0};
    numbers one = begin_numbers(), many = begin_numbers();
    run_all(&one, 1, false, HUGE_VAL);
    for (int ranks = 2; ranks <= 4; ranks *= 2) {
        rank_run run[3];
        for (int i = 0; i < 3; i++) {
            run[i] = run_all(&many, ranks, true, budgets[i]);
            split_compare("losses", "", ranks, many.loss, one.loss, CHUNKS * B, 1e-13);
            for (int n = 0; n < NUMBERS; n++) {
                char what[32];
                snprintf(what, sizeof what, "cotangent of input %d", n);
                split_compare(what, "", ranks, many.ct[n], one.ct[n], ad_elements(number[n].type),
                              1e-12);
            }
        }
        assert_int_equal(run[0].every, 1);
        assert_true(run[2].every > 1);
        assert_int_equal(run[0].collectives, 4); /* three of the body are not made again */
        assert_int_equal(run[2].collectives, 7);
    }
    end_numbers(&one);
    end_numbers(&many);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_scan_as_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
