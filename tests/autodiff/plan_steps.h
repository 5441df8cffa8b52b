/* What tests of single plans share. */
#ifndef TESTS_AUTODIFF_PLAN_STEPS_H
#define TESTS_AUTODIFF_PLAN_STEPS_H

#include "tests/autodiff/models.h"

enum { SEED = 3 };

static inline ad_value matrix(world *w, int64_t rows, int64_t columns) {
    return world_tensor(w, AD_TYPE(w->real, rows, columns), -1, 1);
}

/* The numbers of steps and of row programs of a plan. */
static inline void count_steps(const world *w, ad_plan_spec spec, int *steps, int *rows) {
    ad_plan *plan;
    spec.threads = 1;
    if (ad_plan_compile(&plan, w->graph, &spec) != KERN_OK) fail_msg("%s", kern_error());
    *steps = ad_plan_steps(plan);
    *rows = 0;
    for (int i = 0; i < *steps; i++) *rows += !strcmp(ad_plan_step(plan, i, INT64_MAX).op, "rows");
    ad_plan_destroy(plan);
}

static inline void expect_steps(const world *w, int n, const ad_plan_output *output, int steps,
                                int rows) {
    int got_steps, got_rows;
    count_steps(w, (ad_plan_spec){.outputs = n, .output = output}, &got_steps, &got_rows);
    assert_int_equal(got_steps, steps);
    assert_int_equal(got_rows, rows);
}

/* A plan and the same without fusion or reuse. */
static inline void expect_equal_ways(const world *w, int n, const ad_plan_output *output) {
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

#endif
