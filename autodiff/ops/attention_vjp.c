#include "autodiff/attention_args.h"

/* Stage 1: cotangents of q, k, v, past_k, past_v from that of o. Built by attention's rule. */
static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_attention_check(graph, node, ATTN_VJP_INPUTS);
    if (reason) return reason;
    node->outputs = ATTN_PAST_V + 1;
    ad_attention_cotangents(graph, node, node->type);
    return NULL;
}

/* o and lse get no cotangent: stage 2 already differentiates them as functions of q, k, v. */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_node own = *ad_node_at(graph, node);
    if (!ad_is_none(ct[ATTN_PAST_K]) || !ad_is_none(ct[ATTN_PAST_V])) {
        ad_poison(graph, "attention: past keys and values are constants of the inner gradient; "
                         "their cotangents cannot be differentiated again");
        return;
    }
    ad_value input[ATTN_VJP2_INPUTS];
    for (int i = 0; i < ATTN_VJP_INPUTS; i++) input[i] = own.input[i];
    for (int i = 0; i < 3; i++) input[ATTN_A + i] = ad_attention_round(graph, &own, ct[i]);
    ad_value result = ad_build_op(graph, AD_OP_attention_vjp2, ATTN_VJP2_INPUTS, input, &own.attrs);
    if (!ad_is_value(result)) return;
    for (int i = ATTN_Q; i <= ATTN_PAST_V; i++)
        if (wanted[i]) ct_in[i] = (ad_value){result.node, i};
    if (wanted[ATTN_CT_O]) ct_in[ATTN_CT_O] = (ad_value){result.node, ATTN_PAST_V + 1};
}

static kern_status create(void **state, const kern_device *device, const ad_graph *graph,
                          const ad_node *node, bool accumulate, int threads, size_t *workspace) {
    (void)accumulate;
    return ad_attention_create(state, device, graph, node, 1, threads, workspace);
}

static double flops(const ad_graph *graph, const ad_node *node, unsigned wanted_outputs,
                    int64_t before) {
    return ad_attention_flops(graph, node, before, 5, wanted_outputs >> ATTN_PAST_K ? 5 : 3);
}

static const ad_kernel kernel = {.create = create,
                                 .run = ad_attention_run,
                                 .destroy = ad_attention_destroy,
                                 .flops = flops,
                                 .kind = AD_CALL_ATTENTION_VJP,
                                 .launches = 2,
                                 .adds_outputs = ATTN_VIEWS,
                                 .view_inputs = ATTN_VIEWS,
                                 .view_outputs = ATTN_VIEWS};

const ad_op_def ad_op_attention_vjp = {
    .orders = 1, .optional = ATTN_OPTIONAL, .type = type, .vjp = vjp, .kernel = &kernel};
