/* The head over slices of rows: losses and their gradient by the rows, against plain loops; and the
 * derivative of both, which training takes, against the head in one slice. */
#include "tests/infer/tiny.h"

#include "autodiff/plan.h"
#include "autodiff/vjp.h"
#include "infer/block.h"

enum { R = 11, D = 5, V = 7 };

/* Inputs and results of a head in f64. */
typedef struct {
    double h[R * D], head[V * D], weight[R], ct_nll[R], ct_ct_h[R * D];
    int32_t target[R];
    double nll[R], ct_h[R * D];         /* results */
    double by_h[R * D], by_head[V * D]; /* of sum(ct_nll * nll) + sum(ct_ct_h * ct_h) */
} numbers;

static void fill(numbers *n) {
    uint64_t random = 3;
    double *const all[] = {n->h, n->head, n->weight, n->ct_nll, n->ct_ct_h};
    const int count[] = {R * D, V * D, R, R, R * D};
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < count[k]; i++) all[k][i] = tiny_random(&random);
    for (int r = 0; r < R; r++) n->target[r] = (3 * r + 1) % V;
}

static void run_head(numbers *n, int64_t slice_elements) {
    ttt_conf *conf;
    omp_set_num_threads(1);
    assert_ok(conf_create(&conf));
    tiny_set(conf, "model.vocab=7 model.dim=5 model.tied=true train.precision=f64");
    ad_graph *g = ad_graph_create();
    infer_context c = {.graph = g,
                       .conf = conf,
                       .real = KERN_F64,
                       .product = KERN_F64,
                       .batch = 1,
                       .rows = R,
                       .ranks = 1,
                       .missing = AD_NONE,
                       .slice_elements = slice_elements};
    ad_value h = ad_input(g, AD_TYPE(KERN_F64, R, D), "h"),
             head = ad_input(g, AD_TYPE(KERN_F64, V, D), "head"),
             target = ad_input(g, AD_TYPE(KERN_I32, R, 1), "target"),
             weight = ad_input(g, AD_TYPE(KERN_F64, R, 1), "weight"),
             ct_nll = ad_input(g, AD_TYPE(KERN_F64, R, 1), "ct_nll"),
             ct_ct_h = ad_input(g, AD_TYPE(KERN_F64, R, D), "ct_ct_h");
    infer_head_result result =
        infer_head(&c, AD_NONE, head, h, (infer_tokens){target, AD_NONE}, weight);
    const ad_value out[] = {result.nll, result.ct_h}, ct[] = {ct_nll, ct_ct_h}, by[] = {h, head};
    ad_value gradient[2] = {AD_NONE, AD_NONE};
    ad_vjp(g, 2, out, ct, 2, by, gradient);
    const ad_plan_output outputs[] = {{result.nll, AD_WRITE},
                                      {result.ct_h, AD_WRITE},
                                      {gradient[0], AD_WRITE},
                                      {gradient[1], AD_WRITE}};
    ad_plan_spec spec = {.outputs = 4, .output = outputs, .threads = 1};
    ad_plan *plan;
    assert_ok(ad_plan_compile(&plan, g, &spec));
    void *arena, *const memory[] = {n->nll, n->ct_h, n->by_h, n->by_head};
    assert_ok(kern_alloc(&arena, ad_plan_arena_bytes(plan), "arena"));
    ad_plan_bind(plan, h, n->h);
    ad_plan_bind(plan, head, n->head);
    ad_plan_bind(plan, target, n->target);
    ad_plan_bind(plan, weight, n->weight);
    ad_plan_bind(plan, ct_nll, n->ct_nll);
    ad_plan_bind(plan, ct_ct_h, n->ct_ct_h);
    for (int i = 0; i < 4; i++) ad_plan_bind_output(plan, i, memory[i]);
    assert_ok(ad_plan_run(plan, arena));
    kern_free(arena);
    ad_plan_destroy(plan);
    ad_graph_destroy(g);
    conf_destroy(conf);
}

/* -log softmax(head h)[target], and weight (softmax - one) head. */
static void loops(double nll[R], double ct_h[R * D], const numbers *n) {
    for (int r = 0; r < R; r++) {
        double score[V], sum = 0;
        for (int v = 0; v < V; v++) {
            score[v] = 0;
            for (int d = 0; d < D; d++) score[v] += n->head[v * D + d] * n->h[r * D + d];
            sum += exp(score[v]);
        }
        nll[r] = log(sum) - score[n->target[r]];
        for (int d = 0; d < D; d++) {
            ct_h[r * D + d] = 0;
            for (int v = 0; v < V; v++)
                ct_h[r * D + d] +=
                    n->weight[r] * (exp(score[v]) / sum - (v == n->target[r])) * n->head[v * D + d];
        }
    }
}

static void test_slices(void **state) {
    (void)state;
    /* One slice; two; five of two rows and three; each row alone, also where none would fit. */
    static const int64_t elements[] = {0, R * V, 40, 2 * V + 1, V, 1};
    static numbers one, some;
    double nll[R], ct_h[R * D];
    fill(&one);
    fill(&some);
    run_head(&one, elements[0]);
    loops(nll, ct_h, &one);
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        run_head(&some, elements[i]);
        tiny_assert_close(some.nll, nll, R, 1e-14, "losses");
        tiny_assert_close(some.ct_h, ct_h, R * D, 1e-14, "their gradient");
        tiny_assert_close(some.by_h, one.by_h, R * D, 1e-14, "derivative by rows");
        tiny_assert_close(some.by_head, one.by_head, V * D, 1e-14, "derivative by the head");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
