#include "autodiff/attention_args.h"

/* Stage 2: cotangents of q, k, v, past_k, past_v and ct_o from those of stage 1's results (operands
 * A, B, C; absent: zero). Built by the rule of attention_vjp; not differentiable further. */
static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_attention_check(graph, node, ATTN_VJP2_INPUTS);
    if (reason) return reason;
    node->outputs = ATTN_PAST_V + 2;
    ad_attention_cotangents(graph, node, node->type);
    node->type[ATTN_PAST_V + 1] = ad_cotangent_type(ad_type_at(graph, node->input[ATTN_CT_O]));
    return NULL;
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)accumulate;
    return ad_attention_create(state, device, graph, node, 2, threads, workspace);
}

static double flops(const ad_graph *graph, const ad_node *node, unsigned wanted_outputs,
                    int64_t before) {
    (void)wanted_outputs;
    return ad_attention_flops(graph, node, before, 15, 10);
}

static const ad_kernel kernel = {.create = create,
                                 .run = ad_attention_run,
                                 .destroy = ad_attention_destroy,
                                 .flops = flops,
                                 .kind = AD_CALL_ATTENTION_VJP,
                                 .launches = 3,
                                 .adds_outputs = ATTN_VIEWS,
                                 .view_inputs = ATTN_VIEWS,
                                 .view_outputs = ATTN_VIEWS};

const ad_op_def ad_op_attention_vjp2 = {
    .orders = 0, .optional = ATTN_VJP2_OPTIONAL, .type = type, .kernel = &kernel};
