/* A scan against the same loop written out in one graph, in float64: losses, rows, last carry, and
 * the cotangents of constants, slices and first carry, for every budget and batch size, with one
 * chunk and many, where the past is shorter and longer than its window. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autodiff/composites.h"
#include "autodiff/scan.h"
#include "autodiff/vjp.h"

enum { D = 6, H = 2, K = 4, MOST_CHUNKS = 9, C = 3, WINDOW = 8 };

typedef struct {
    int64_t batch, chunks;
} size;

static double loss_scale = 0.5;

/* Inputs of the loop by name: what both ways of running it share. */
typedef struct {
    double *h, *weight, *wq, *wk, *wv, *theta, rate;
} numbers;

typedef struct {
    ad_value h, weight, wq, wk, wv, theta, rate; /* inputs */
    ad_value state;                              /* the same; zero before the first chunk */
    ad_value past_k, past_v, past_rows;
    ad_value fresh_k, fresh_v, rows, loss, next, next_state; /* results */
} body;

static ad_value heads(ad_graph *g, ad_value x, ad_value w, int64_t batch) {
    return ad_reshape(g, ad_linear(g, x, w), AD_TYPE(KERN_F64, batch, C, H, K));
}

/* One chunk: attention over past and new rows, a matrix of its own for each item, a state that is
 * added to the rows and that they are added to, a loss, and a step on that matrix along the loss's
 * gradient. */
static void build(ad_graph *g, body *b, int64_t batch, bool step) {
    ad_attention_args args = {.q = heads(g, b->h, b->wq, batch),
                              .k = heads(g, b->h, b->wk, batch),
                              .v = heads(g, b->h, b->wv, batch),
                              .past_k = b->past_k,
                              .past_v = b->past_v,
                              .past_rows = b->past_rows,
                              .window = WINDOW,
                              .scale = 0.5};
    b->fresh_k = args.k;
    b->fresh_v = args.v;
    ad_value o = ad_reshape(g, ad_attention(g, &args, NULL), AD_TYPE(KERN_F64, batch, C, H * K));
    ad_value y = ad_silu(g, ad_matmul(g, o, b->theta, false, false));
    ad_type one = AD_TYPE(KERN_F64, batch, 1, D);
    y = ad_add(g, y, ad_broadcast(g, ad_reshape(g, b->state, one), ad_type_at(g, y)));
    ad_value mean = ad_reshape(g, ad_scale(g, ad_sum(g, y, 2u), 0.2), ad_type_at(g, b->state));
    b->next_state = ad_add(g, ad_scale(g, b->state, 0.4), mean);
    b->rows = ad_add(g, b->h, ad_reshape(g, y, AD_TYPE(KERN_F64, batch * C, D)));
    ad_value square = ad_mul_repeat(g, ad_mul(g, b->rows, b->rows), b->weight);
    b->loss = ad_row_sum(g, ad_reshape(g, square, AD_TYPE(KERN_F64, batch, C * D)));
    if (!step) return;
    ad_value ct = ad_fill(g, AD_TYPE(KERN_F64, batch, 1), 1), gradient, norm;
    ad_vjp(g, 1, &b->loss, &ct, 1, &b->theta, &gradient);
    ad_value factor = ad_clip_factor(g, 1, &gradient, 0.7, &norm);
    factor = ad_mul_repeat(g, factor, ad_reshape(g, b->rate, AD_TYPE(KERN_F64, 1, 1, 1)));
    b->next = ad_sub(g, b->theta, ad_mul_repeat(g, gradient, factor));
}

static uint64_t random_state;

static double *draw(int64_t count) {
    double *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < count; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        values[i] = (double)(random_state >> 11) * 0x1p-53 - 0.5;
    }
    return values;
}

static numbers draw_numbers(size s) {
    int64_t rows = s.batch * s.chunks * C;
    random_state = 7;
    numbers n = {draw(rows * D),  draw(rows), draw(D * H * K), draw(D * H * K), draw(D * H * K),
                 draw(H * K * D), 0.3};
    for (int64_t i = 0; i < rows; i++) n.weight[i] += 1;
    return n;
}

static void free_numbers(numbers *n) {
    free(n->h);
    free(n->weight);
    free(n->wq);
    free(n->wk);
    free(n->wv);
    free(n->theta);
}

/* Results of either way: losses [n, B], rows, next theta, cotangents. */
typedef struct {
    double *loss, *rows, *ct_h, *ct_wq, *ct_wk, *ct_wv, *ct_theta;
} results;

static results new_results(size s) {
    int64_t rows = s.batch * s.chunks * C;
    results r = {draw(s.batch * s.chunks), draw(rows * D),  draw(rows * D),
                 draw(D * H * K),          draw(D * H * K), draw(D * H * K),
                 draw(s.batch * H * K * D)};
    memset(r.ct_wq, 0, D * H * K * sizeof(double));
    memset(r.ct_wk, 0, D * H * K * sizeof(double));
    memset(r.ct_wv, 0, D * H * K * sizeof(double));
    return r;
}

static void free_results(results *r) {
    double *const all[] = {r->loss, r->rows, r->ct_h, r->ct_wq, r->ct_wk, r->ct_wv, r->ct_theta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double *replicate(const double *theta, int64_t batch) {
    double *all = malloc((size_t)(batch * H * K * D) * sizeof *all);
    assert_non_null(all);
    for (int64_t b = 0; b < batch; b++) memcpy(all + b * H * K * D, theta, H * K * D * sizeof *all);
    return all;
}

static body make_inputs(ad_graph *g, int64_t batch) {
    return (body){.h = ad_input(g, AD_TYPE(KERN_F64, batch * C, D), "h"),
                  .weight = ad_input(g, AD_TYPE(KERN_F64, batch * C, 1), "weight"),
                  .wq = ad_input(g, AD_TYPE(KERN_F64, D, H * K), "wq"),
                  .wk = ad_input(g, AD_TYPE(KERN_F64, D, H * K), "wk"),
                  .wv = ad_input(g, AD_TYPE(KERN_F64, D, H * K), "wv"),
                  .theta = ad_input(g, AD_TYPE(KERN_F64, batch, H * K, D), "theta"),
                  .rate = ad_input(g, AD_TYPE(KERN_F64, 1), "rate"),
                  .state = ad_input(g, AD_TYPE(KERN_F64, batch, D), "state"),
                  .past_k = AD_NONE,
                  .past_v = AD_NONE,
                  .past_rows = AD_NONE};
}

/* ---- the scan ---- */

static void run_scan(size s, const numbers *n, double budget, bool debug, results *r,
                     ad_scan_memory *memory) {
    ad_graph *g = ad_graph_create();
    body b = make_inputs(g, s.batch);
    int64_t capacity = WINDOW - 1 < (s.chunks - 1) * C ? WINDOW - 1 : (s.chunks - 1) * C;
    if (capacity) {
        b.past_k = ad_input(g, AD_TYPE(KERN_F64, s.batch, capacity, H, K), "past_k");
        b.past_v = ad_input(g, AD_TYPE(KERN_F64, s.batch, capacity, H, K), "past_v");
        b.past_rows = ad_scalar(g, KERN_I32, "past_rows");
    }
    build(g, &b, s.batch, true);
    ad_scan_carry carry[] = {{.in = b.theta, .out = b.next},
                             {.in = b.state, .out = b.next_state, .zero = true}};
    ad_value constant[] = {b.wq, b.wk, b.wv};
    ad_scan_slice slice[] = {{b.h, true, true}, {b.weight, true, false}};
    ad_scan_output output[] = {{.value = b.loss}, {.value = b.rows, .by_row = true}};
    ad_scan_history history[] = {{b.fresh_k, b.past_k, b.past_rows},
                                 {b.fresh_v, b.past_v, b.past_rows}};
    ad_scan_spec spec = {.graph = g,
                         .batch = s.batch,
                         .chunk = C,
                         .chunks = s.chunks,
                         .carries = 2,
                         .constants = 3,
                         .slices = 2,
                         .outputs = 2,
                         .histories = 2,
                         .carry = carry,
                         .constant = constant,
                         .slice = slice,
                         .output = output,
                         .history = history,
                         .loss = b.loss,
                         .loss_scale = loss_scale,
                         .backward = true,
                         .threads = 2,
                         .debug = debug};
    ad_scan *scan;
    if (ad_scan_create(&scan, &spec) != KERN_OK) fail_msg("%s", kern_error());
    ad_scan_offer offer = ad_scan_offered(scan, budget);
    ad_scan_choose(scan, budget);
    if (ad_scan_compile(scan) != KERN_OK) fail_msg("%s", kern_error());
    *memory = ad_scan_plan(scan);
    size_t state_bytes = kern_align((size_t)(s.batch * D) * sizeof(double));
    size_t not_saved = (s.chunks > 1 ? 3 : 2) * state_bytes; /* zeros, unwanted, cotangent */
    assert_int_equal((size_t)offer.bytes, memory->carries - not_saved + memory->slots);
    assert_int_equal(ad_scan_allocate(scan), KERN_OK);
    void *arena;
    assert_int_equal(kern_alloc(&arena, memory->arena, "arena"), KERN_OK);
    memset(arena, 0xff, memory->arena); /* NaN: nothing may be read before it was written */
    double *theta = replicate(n->theta, s.batch);
    ad_scan_bind(scan, b.rate, &n->rate);
    ad_scan_bind(scan, b.wq, n->wq);
    ad_scan_bind(scan, b.wk, n->wk);
    ad_scan_bind(scan, b.wv, n->wv);
    ad_scan_bind_constant_ct(scan, 0, r->ct_wq);
    ad_scan_bind_constant_ct(scan, 1, r->ct_wk);
    ad_scan_bind_constant_ct(scan, 2, r->ct_wv);
    ad_scan_bind_slice(scan, 0, n->h, r->ct_h);
    ad_scan_bind_slice(scan, 1, n->weight, NULL);
    ad_scan_bind_output(scan, 0, r->loss, NULL);
    ad_scan_bind_output(scan, 1, r->rows, NULL);
    assert_int_equal(ad_scan_forward(scan, (const void *[]){theta}, NULL, arena), KERN_OK);
    assert_int_equal(ad_scan_backward(scan, (void *[]){r->ct_theta}, arena), KERN_OK);
    free(theta);
    kern_free(arena);
    ad_scan_destroy(scan);
    ad_graph_destroy(g);
}

/* ---- the loop written out ---- */

/* Rows first .. first + count - 1 of each item of x [B, T, ...] as [B * count, ...]. */
static ad_value chunk_of(ad_graph *g, ad_value x, int64_t batch, int64_t i, int64_t width) {
    return ad_reshape(g, ad_slice(g, x, 1, i * C, C), AD_TYPE(KERN_F64, batch * C, width));
}

static ad_value append(ad_graph *g, ad_value past, ad_value fresh) {
    if (ad_is_none(past)) return fresh;
    ad_type a = ad_type_at(g, past), b = ad_type_at(g, fresh);
    int64_t total = a.dim[1] + b.dim[1];
    ad_value all = ad_add(g, ad_pad(g, past, 1, 0, total), ad_pad(g, fresh, 1, a.dim[1], total));
    int64_t kept = total < WINDOW - 1 ? total : WINDOW - 1;
    return ad_slice(g, all, 1, total - kept, kept);
}

static void run_unrolled(size s, const numbers *n, results *r) {
    ad_graph *g = ad_graph_create();
    body b = make_inputs(g, s.batch);
    ad_value h = ad_input(g, AD_TYPE(KERN_F64, s.batch, s.chunks * C, D), "all_h");
    ad_value weight = ad_input(g, AD_TYPE(KERN_F64, s.batch, s.chunks * C, 1), "all_weight");
    ad_value theta = b.theta, past_k = AD_NONE, past_v = AD_NONE, past_rows[MOST_CHUNKS];
    ad_value carried = ad_fill(g, AD_TYPE(KERN_F64, s.batch, D), 0);
    ad_value losses[MOST_CHUNKS], rows[MOST_CHUNKS], ct[MOST_CHUNKS], result[5];
    int32_t past_count[MOST_CHUNKS];
    for (int64_t i = 0; i < s.chunks; i++) {
        body chunk = b;
        chunk.h = chunk_of(g, h, s.batch, i, D);
        chunk.weight = chunk_of(g, weight, s.batch, i, 1);
        chunk.theta = theta;
        chunk.state = carried;
        chunk.past_k = past_k;
        chunk.past_v = past_v;
        past_rows[i] = i ? ad_input(g, AD_TYPE(KERN_I32, 1), "past_rows.%d", (int)i) : AD_NONE;
        if (i) past_count[i] = (int32_t)ad_type_at(g, past_k).dim[1];
        chunk.past_rows = past_rows[i];
        build(g, &chunk, s.batch, i < s.chunks - 1);
        theta = chunk.next;
        carried = chunk.next_state;
        past_k = append(g, past_k, chunk.fresh_k);
        past_v = append(g, past_v, chunk.fresh_v);
        losses[i] = chunk.loss;
        rows[i] = chunk.rows;
        ct[i] = ad_fill(g, AD_TYPE(KERN_F64, s.batch, 1), loss_scale);
    }
    ad_value wrt[] = {h, b.wq, b.wk, b.wv, b.theta};
    ad_vjp(g, (int)s.chunks, losses, ct, 5, wrt, result);
    ad_plan_output output[2 * MOST_CHUNKS + 5];
    int outputs = 0;
    for (int64_t i = 0; i < s.chunks; i++)
        output[outputs++] = (ad_plan_output){losses[i], AD_WRITE};
    for (int64_t i = 0; i < s.chunks; i++) output[outputs++] = (ad_plan_output){rows[i], AD_WRITE};
    for (int j = 0; j < 5; j++) output[outputs++] = (ad_plan_output){result[j], AD_WRITE};
    ad_plan_spec spec = {.outputs = outputs, .output = output, .threads = 2};
    ad_plan *plan;
    if (ad_plan_compile(&plan, g, &spec) != KERN_OK) fail_msg("%s", kern_error());
    double *all = replicate(n->theta, s.batch), *chunk_rows = draw(s.chunks * s.batch * C * D);
    void *arena;
    assert_int_equal(kern_alloc(&arena, ad_plan_arena_bytes(plan), "arena"), KERN_OK);
    memset(arena, 0xff, ad_plan_arena_bytes(plan));
    ad_plan_bind(plan, h, n->h);
    ad_plan_bind(plan, weight, n->weight);
    ad_plan_bind(plan, b.wq, n->wq);
    ad_plan_bind(plan, b.wk, n->wk);
    ad_plan_bind(plan, b.wv, n->wv);
    ad_plan_bind(plan, b.theta, all);
    ad_plan_bind(plan, b.rate, &n->rate);
    for (int64_t i = 1; i < s.chunks; i++) ad_plan_bind(plan, past_rows[i], &past_count[i]);
    for (int64_t i = 0; i < s.chunks; i++) {
        ad_plan_bind_output(plan, (int)i, r->loss + i * s.batch);
        ad_plan_bind_output(plan, (int)(s.chunks + i), chunk_rows + i * s.batch * C * D);
    }
    double *const ct_memory[] = {r->ct_h, r->ct_wq, r->ct_wk, r->ct_wv, r->ct_theta};
    for (int j = 0; j < 5; j++) ad_plan_bind_output(plan, (int)(2 * s.chunks) + j, ct_memory[j]);
    assert_int_equal(ad_plan_run(plan, arena), KERN_OK);
    for (int64_t i = 0; i < s.chunks; i++) /* [n, B, C, D] -> [B, T, D] */
        for (int64_t item = 0; item < s.batch; item++)
            memcpy(r->rows + (item * s.chunks + i) * C * D,
                   chunk_rows + (i * s.batch + item) * C * D, C * D * sizeof(double));
    free(all);
    free(chunk_rows);
    kern_free(arena);
    ad_plan_destroy(plan);
    ad_graph_destroy(g);
}

static void compare(const char *name, const double *a, const double *b, int64_t count) {
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(a[i])) fail_msg("%s[%d] is not finite", name, (int)i);
        worst = fmax(worst, fabs(a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    if (!(worst <= 1e-13 * fmax(largest, 1))) fail_msg("%s differs by %g", name, worst);
}

static void compare_results(size s, const results *a, const results *b) {
    int64_t rows = s.batch * s.chunks * C;
    compare("loss", a->loss, b->loss, s.batch * s.chunks);
    compare("rows", a->rows, b->rows, rows * D);
    compare("ct_h", a->ct_h, b->ct_h, rows * D);
    compare("ct_wq", a->ct_wq, b->ct_wq, D * H * K);
    compare("ct_wk", a->ct_wk, b->ct_wk, D * H * K);
    compare("ct_wv", a->ct_wv, b->ct_wv, D * H * K);
    compare("ct_theta", a->ct_theta, b->ct_theta, s.batch * H * K * D);
}

static void test_against_unrolled(void **state) {
    (void)state;
    for (int64_t batch = 1; batch <= 3; batch++)
        for (int64_t chunks = 1; chunks <= MOST_CHUNKS; chunks += chunks < 3 ? 1 : 3) {
            size s = {batch, chunks};
            numbers n = draw_numbers(s);
            results expected = new_results(s);
            run_unrolled(s, &n, &expected);
            int64_t longest = 1;
            for (double budget = 0; budget < 90000; budget += 9000) {
                results got = new_results(s);
                ad_scan_memory memory;
                run_scan(s, &n, budget, false, &got, &memory);
                compare_results(s, &got, &expected);
                if (memory.every > longest) longest = memory.every;
                free_results(&got);
            }
            results got = new_results(s); /* what debug runs look at must have been written */
            ad_scan_memory memory;
            run_scan(s, &n, 20000, true, &got, &memory);
            compare_results(s, &got, &expected);
            free_results(&got);
            if (chunks == MOST_CHUNKS) assert_true(longest >= 3); /* replay was exercised */
            free_results(&expected);
            free_numbers(&n);
        }
}

/* Where the cotangent of the loss is that of the inner gradient, the vjp shares nodes with it. */
static void test_shared_inner_gradient(void **state) {
    (void)state;
    size s = {2, 4};
    numbers n = draw_numbers(s);
    loss_scale = 1;
    results expected = new_results(s);
    run_unrolled(s, &n, &expected);
    for (int way = 0; way < 4; way++) {
        results got = new_results(s);
        ad_scan_memory memory;
        run_scan(s, &n, way / 2 * 1e6, way % 2, &got, &memory);
        compare_results(s, &got, &expected);
        free_results(&got);
    }
    loss_scale = 0.5;
    free_results(&expected);
    free_numbers(&n);
}

/* More memory never means more work, and nothing is repeated where everything fits. */
static void test_budget(void **state) {
    (void)state;
    size s = {1, MOST_CHUNKS};
    numbers n = draw_numbers(s);
    double before = 1e300;
    for (double budget = 0; budget <= 160000; budget += 20000) {
        results got = new_results(s);
        ad_scan_memory memory;
        run_scan(s, &n, budget, false, &got, &memory);
        assert_true(memory.flops + memory.vjp_flops <= before);
        before = memory.flops + memory.vjp_flops;
        if (budget >= 160000) {
            assert_int_equal(memory.every, 1);
            assert_true(memory.slots > 0);
        }
        free_results(&got);
    }
    free_numbers(&n);
}

int main(void) {
    omp_set_num_threads(2);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_unrolled),
                                       cmocka_unit_test(test_shared_inner_gradient),
                                       cmocka_unit_test(test_budget)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
