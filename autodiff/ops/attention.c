#include "autodiff/attention_args.h"

/* Stage 0: o = softmax(scale q k^T) v over the visible past ++ new rows, lse its row statistic. */
ad_value ad_attention(ad_graph *graph, const ad_attention_args *args, ad_value *lse) {
    ad_value input[ATTN_FORWARD_INPUTS] = {args->q,      args->k,      args->v,
                                           args->past_k, args->past_v, args->past_rows};
    ad_attrs attrs = {.i[0] = args->window, .f = args->scale};
    ad_value o = ad_build_op(graph, AD_OP_attention, ATTN_FORWARD_INPUTS, input, &attrs);
    if (lse) *lse = ad_is_value(o) ? (ad_value){o.node, 1} : AD_POISON;
    return o;
}

static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_attention_check(graph, node, ATTN_FORWARD_INPUTS);
    if (reason) return reason;
    ad_type o = ad_cotangent_type(ad_type_at(graph, node->input[ATTN_Q]));
    node->outputs = 2;
    node->type[0] = o;
    node->type[1] = AD_TYPE(o.dtype, o.dim[0], o.dim[1], o.dim[2]);
    return NULL;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_node own = *ad_node_at(graph, node);
    if (!ad_is_none(ct[1])) {
        ad_poison(graph, "attention: its log-sum-exp has no gradient");
        return;
    }
    ad_value input[ATTN_VJP_INPUTS];
    for (int i = 0; i < ATTN_FORWARD_INPUTS; i++) input[i] = own.input[i];
    input[ATTN_O] = (ad_value){node, 0};
    input[ATTN_LSE] = (ad_value){node, 1};
    input[ATTN_CT_O] = ad_attention_round(graph, &own, ct[0]);
    ad_value result = ad_build_op(graph, AD_OP_attention_vjp, ATTN_VJP_INPUTS, input, &own.attrs);
    for (int i = ATTN_Q; i <= ATTN_PAST_V; i++)
        if (wanted[i]) ct_in[i] = ad_is_value(result) ? (ad_value){result.node, i} : AD_POISON;
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)accumulate;
    return ad_attention_create(state, device, graph, node, 0, threads, workspace);
}

static double flops(const ad_graph *graph, const ad_node *node, unsigned wanted_outputs,
                    int64_t before) {
    (void)wanted_outputs;
    return ad_attention_flops(graph, node, before, 2, 2);
}

static const ad_kernel kernel = {.create = create,
                                 .run = ad_attention_run,
                                 .destroy = ad_attention_destroy,
                                 .flops = flops,
                                 .kind = AD_CALL_ATTENTION,
                                 .view_inputs = ATTN_VIEWS};

const ad_op_def ad_op_attention = {
    .orders = 2, .optional = ATTN_OPTIONAL, .type = type, .vjp = vjp, .kernel = &kernel};
