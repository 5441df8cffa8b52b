#include "infer/rounding.h"

#include <stdlib.h>

#include "autodiff/ops.h"

struct infer_rounding {
    ad_graph *graph;
    ad_plan *plan;
    ad_value input;
};

kern_status infer_rounding_create(infer_rounding **result, int64_t elements, int threads) {
    kern_status status = KERN_OK;
    infer_rounding *rounding = calloc(1, sizeof *rounding);
    ASSERT(rounding);
    *result = NULL;
    ad_graph *g = rounding->graph = ad_graph_create();
    rounding->input = ad_input(g, AD_TYPE(KERN_F32, elements), "parameters");
    ad_plan_output output = {ad_cast(g, rounding->input, KERN_BF16), AD_WRITE};
    ad_plan_spec spec = {.outputs = 1, .output = &output, .threads = threads};
    TRY(ad_plan_compile(&rounding->plan, g, &spec));
    *result = rounding;
    rounding = NULL;
done:
    infer_rounding_destroy(rounding);
    return status;
}

void infer_rounding_destroy(infer_rounding *rounding) {
    if (!rounding) return;
    ad_plan_destroy(rounding->plan);
    ad_graph_destroy(rounding->graph);
    free(rounding);
}

size_t infer_rounding_arena_bytes(const infer_rounding *rounding) {
    return ad_plan_arena_bytes(rounding->plan);
}

void infer_rounding_run(infer_rounding *rounding, uint16_t *to, const float *from, void *arena) {
    ad_plan_bind(rounding->plan, rounding->input, from);
    ad_plan_bind_output(rounding->plan, 0, to);
    kern_status status = ad_plan_run(rounding->plan, arena);
    ASSERT(status == KERN_OK); /* only debug plans fail */
}
