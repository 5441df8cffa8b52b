/* What plans promise one by one: order, what outputs, cuts and bound views mean, what a
 * debug run says, what is refused. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/autodiff/plan_steps.h"

/* ---- order ---- */

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
            const char *scope = ad_plan_step(plan, i, INT64_MAX).scope;
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

/* A run with three outputs that are made one after the other, the second one first. */
enum { MARKED = 3, MARKED_SIZE = 11 * 11 };
static const int marked[MARKED] = {1, 0, -1};

typedef struct {
    const runner *run;
    const double *whole; /* [MARKED, MARKED_SIZE] in the end */
    int told;
} marked_run;

static void come_so_far(void *context, int mark) {
    marked_run *m = context;
    assert_int_equal(mark, m->told++);
    for (int o = 0; o < MARKED; o++) {
        const double *now = m->run->out[o];
        if (marked[o] >= 0 && marked[o] <= mark)
            assert_memory_equal(now, m->whole + o * MARKED_SIZE, MARKED_SIZE * sizeof *now);
        else
            for (int i = 0; i < MARKED_SIZE; i++) assert_true(isnan(now[i]));
    }
}

static void test_marks_are_told(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_value a = matrix(&w, 11, 11), product[MARKED];
    for (int i = 0; i < MARKED; i++)
        product[i] = ad_matmul(w.graph, a, matrix(&w, 11, 11), false, false);
    const ad_plan_output output[MARKED] = {
        {product[1], AD_WRITE}, {product[0], AD_WRITE}, {product[2], AD_WRITE}};
    runner r;
    runner_begin(&r, &w, (ad_plan_spec){.outputs = MARKED, .output = output});
    double *whole = runner_run(&r);
    marked_run m = {&r, whole, 0};
    runner_prepare(&r);
    int threads = omp_get_max_threads();
    omp_set_num_threads(r.threads);
    kern_status status =
        ad_plan_run_marked(r.plan, r.arena, &(ad_marks){2, marked, come_so_far, &m});
    omp_set_num_threads(threads);
    assert_int_equal(status, KERN_OK);
    assert_int_equal(m.told, 2);
    assert_memory_equal(r.out[2], whole + 2 * MARKED_SIZE, MARKED_SIZE * sizeof *whole);
    free(whole);
    runner_end(&r);
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
    ad_value view[4] = {m.past[0], m.past[1], m.ct_past[0], m.ct_past[1]};
    ad_plan_spec spec = {.outputs = 2, .output = output, .views = 4, .view = view};
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

/* Which outputs may lie where an input does; those that may are the same there. */
static void test_output_over_an_input(void **state) {
    (void)state;
    enum { N = 40, CASES = 9, SIZE = N * N };
    world w;
    world_begin(&w, KERN_F64, SEED);
    ad_graph *g = w.graph;
    ad_type all = AD_TYPE(KERN_F64, N, N);
    ad_value h = matrix(&w, N, N), a = matrix(&w, N, N), row = matrix(&w, 1, N);
    ad_value seen = ad_matmul(g, a, h, false, false);
    ad_value first = ad_broadcast(g, ad_slice(g, h, 0, 0, 1), all);
    ad_value twice = ad_scale(g, h, 2), late = ad_matmul(g, seen, a, false, false);
    const struct {
        ad_value out;
        bool over;
    } cases[CASES] = {
        {ad_add(g, ad_mul_repeat(g, h, row), seen), true},   /* a program that reads it last */
        {late, true},                                        /* nobody reads it any more */
        {seen, false},                                       /* a product reads it meanwhile */
        {ad_transpose(g, h, (int[]){1, 0}), false},          /* so does a copy, elsewhere */
        {ad_add(g, h, first), false},                        /* a program, elsewhere, too */
        {ad_add(g, ad_scale(g, first, 3), a), false},        /* or only there */
        {ad_sub(g, first, h), false},                        /* both, the other way round */
        {ad_concat(g, 2, (ad_value[]){h, h}, 0), false},     /* it is larger */
        {ad_concat(g, 2, (ad_value[]){late, a}, 0), false}}; /* and made when nobody reads it */
    runner *r = malloc(sizeof *r);
    for (int i = 0; i < CASES; i++) {
        ad_plan_output output = {cases[i].out, AD_WRITE};
        runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output});
        assert_int_equal(ad_plan_over(r->plan, 0, h), cases[i].over);
        double *apart = cases[i].over ? runner_run(r) : NULL;
        ad_plan_bind_output(r->plan, 0, r->in[0]);
        if (apart) assert_int_equal(runner_try(r), KERN_OK);
        if (apart) assert_memory_equal(apart, r->in[0], SIZE * sizeof *apart);
        free(apart);
        runner_end(r);
    }
    ad_plan_output both[2] = {{twice, AD_WRITE}, {ad_matmul(g, twice, h, false, false), AD_WRITE}};
    runner_begin(r, &w, (ad_plan_spec){.outputs = 2, .output = both});
    assert_false(ad_plan_over(r->plan, 0, h)); /* it is read once more */
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

/* Runs a plan in a process of its own, with so many threads and the given view bound; true if it
 * was ended by an assertion, before it wrote anything. */
static bool run_dies(runner *r, int threads, ad_value view) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        if (ad_is_value(view)) ad_plan_bind_view(r->plan, view, r->in[0], 20);
        r->threads = threads;
        _exit(runner_try(r) != KERN_OK);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) ? WTERMSIG(how) == SIGABRT : WEXITSTATUS(how) == 0);
    return WIFSIGNALED(how);
}

/* A plan has memory for as many threads as it was made for. */
static void test_more_threads_than_planned(void **state) {
    (void)state;
    world w;
    world_begin(&w, KERN_F32, SEED);
    ad_value y = ad_exp(w.graph, ad_exp(w.graph, matrix(&w, 999, 99)));
    ad_plan_output output = {ad_lead_sum(w.graph, y, 0), AD_WRITE};
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w, (ad_plan_spec){.outputs = 1, .output = &output, .threads = 2});
    for (int threads = 1; threads <= 4; threads++)
        assert_true(run_dies(r, threads, AD_NONE) == (threads > 2));
    runner_end(r);
    free(r);
    world_end(&w);
}

static void expect_no_view(const world *w, ad_plan_output output, ad_value view, const char *text) {
    ad_plan *plan = (ad_plan *)&plan;
    ad_plan_spec spec = {.outputs = 1, .output = &output, .views = 1, .view = &view, .threads = 1};
    for (int way = 0; way < 2; way++) {
        spec.unfused = way;
        assert_int_equal(ad_plan_compile(&plan, w->graph, &spec), KERN_ERR_GRAPH);
        assert_null(plan);
        if (!strstr(kern_error(), text)) fail_msg("no '%s' in: %s", text, kern_error());
    }
}

/* What does not know the distance between a view's items may not read or write one. */
static void test_refused_views(void **state) {
    (void)state;
    world w;
    model m;
    world_begin(&w, KERN_F64, SEED);
    model_body(&m, &w, model_tiny);
    model_vjp(&m);
    ad_type flat = AD_TYPE(KERN_F64, 10, 4);
    ad_value past = m.past[0], twice = ad_add(w.graph, past, past);
    ad_value reshaped = ad_reshape(w.graph, past, flat);
    ad_value product = ad_matmul(w.graph, reshaped, matrix(&w, 4, 3), false, false);
    ad_scope_push(w.graph, "here");
    ad_value slice = ad_slice(w.graph, past, 1, 1, 3), repeated = ad_neg(w.graph, slice);
    ad_scope_pop(w.graph);
    expect_no_view(&w, (ad_plan_output){twice, AD_WRITE}, past, "add in the graph reads x");
    expect_no_view(&w, (ad_plan_output){product, AD_WRITE}, past, "matmul in the graph reads x");
    expect_no_view(&w, (ad_plan_output){repeated, AD_ADD}, past, "in here reads x");
    expect_no_view(&w, (ad_plan_output){reshaped, AD_WRITE}, past, "f64[2,5,2,2]");
    expect_no_view(&w, (ad_plan_output){twice, AD_WRITE}, twice, "add in the graph makes");
    expect_no_view(&w, (ad_plan_output){twice, AD_ADD}, twice, "gives");
    expect_no_view(&w, (ad_plan_output){product, AD_WRITE}, product, "matmul in the graph makes");
    ad_value viewed = ad_reshape(w.graph, twice, flat);
    expect_no_view(&w, (ad_plan_output){viewed, AD_ADD}, viewed, "gives");
    ad_value ct = ad_reshape(w.graph, m.ct_past[0], AD_TYPE(KERN_F64, 1, 10, 2, 2));
    expect_no_view(&w, (ad_plan_output){ct, AD_WRITE}, ct, "makes");
    expect_no_view(&w, (ad_plan_output){ad_exp(w.graph, m.ct_past[0]), AD_WRITE}, m.ct_past[0],
                   "exp in the graph reads");
    /* a part of a view is no view, for attention neither */
    ad_value wide = world_tensor(&w, AD_TYPE(KERN_F64, 1, 10, 2, 2), -1, 1);
    ad_value parted = ad_reshape(w.graph, wide, ad_type_at(w.graph, past));
    ad_attention_args args = {.q = m.fresh[0],
                              .k = m.fresh[0],
                              .v = m.fresh[1],
                              .past_k = parted,
                              .past_v = parted,
                              .past_rows = m.past_rows,
                              .window = 5,
                              .scale = 1};
    ad_value o = ad_attention(w.graph, &args, NULL);
    expect_no_view(&w, (ad_plan_output){o, AD_WRITE}, wide, "attention in the graph reads");
    /* and what nobody declared cannot be bound as one */
    runner *r = malloc(sizeof *r);
    runner_begin(r, &w,
                 (ad_plan_spec){.outputs = 1, .output = &(ad_plan_output){m.loss, AD_WRITE}});
    assert_false(run_dies(r, 1, AD_NONE));
    assert_true(run_dies(r, 1, past));
    runner_end(r);
    free(r);
    world_end(&w);
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
    assert_true(ad_plan_flops(r->plan, 0) == 2.0 * 11 * 13 * 17);
    assert_true(ad_plan_bytes(r->plan) == 2.0 * 11 * 17 * 4);
    ad_plan_profile(r->plan, true);
    free(runner_run(r));
    assert_true(ad_plan_step(r->plan, 0, INT64_MAX).seconds > 0 &&
                ad_plan_step(r->plan, 1, INT64_MAX).seconds > 0);
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
        cmocka_unit_test(test_lazy_order),
        cmocka_unit_test(test_marks_are_told),
        cmocka_unit_test(test_cut_is_read),
        cmocka_unit_test(test_cut_of_one_result_of_two),
        cmocka_unit_test(test_bound_views),
        cmocka_unit_test(test_update_in_place),
        cmocka_unit_test(test_output_over_an_input),
        cmocka_unit_test(test_debug_names_the_first_bad_value),
        cmocka_unit_test(test_more_threads_than_planned),
        cmocka_unit_test(test_refused_views),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
