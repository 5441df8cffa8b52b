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

static kern_status create(void **state, const ad_graph *graph, const ad_node *node, bool accumulate,
                          int threads, size_t *workspace) {
    (void)accumulate;
    return ad_attention_create(state, graph, node, 2, threads, workspace);
}

static void run(const void *state, const ad_buffer *output, const ad_buffer *input,
                void *workspace) {
    kern_attention_past past = ad_attention_past(state, input);
    kern_attention_past_ct ct_past = ad_attention_past_ct(output);
    kern_attention_vjp2(ad_attention_shape(state), output[ATTN_Q].data, output[ATTN_K].data,
                        output[ATTN_V].data, output[ATTN_PAST_V + 1].data, &ct_past,
                        input[ATTN_Q].data, input[ATTN_K].data, input[ATTN_V].data, &past,
                        input[ATTN_O].data, input[ATTN_LSE].data, input[ATTN_CT_O].data,
                        input[ATTN_A].data, input[ATTN_B].data, input[ATTN_C].data, workspace);
}

static double flops(const ad_graph *graph, const ad_node *node, unsigned wanted_outputs,
                    int64_t before) {
    (void)wanted_outputs;
    return ad_attention_flops(graph, node, before, 15, 10);
}

static const ad_kernel kernel = {.create = create,
                                 .run = run,
                                 .destroy = kern_free,
                                 .flops = flops,
                                 .adds_outputs = ATTN_VIEWS,
                                 .view_inputs = ATTN_VIEWS,
                                 .view_outputs = ATTN_VIEWS};

const ad_op_def ad_op_attention_vjp2 = {
    .orders = 0, .optional = ATTN_VJP2_OPTIONAL, .type = type, .kernel = &kernel};
