#include "autodiff/op.h"

/* Sum over axes attrs.i[0] .. rank-2. It ends a row program: its operand need not be stored. */
ad_value ad_lead_sum(ad_graph *graph, ad_value a, int kept) {
    return ad_build_op(graph, AD_OP_lead_sum, 1, &a, &(ad_attrs){.i[0] = kept});
}

/* Summed leading axes that are not the last ones move there first. */
static ad_value sum_scattered(ad_graph *graph, ad_value a, unsigned axes) {
    ad_type type = ad_type_at(graph, a);
    int order[AD_AXES], inverse[AD_AXES], count = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int axis = 0; axis < type.rank - 1; axis++)
            if ((int)(axes >> axis & 1) == pass) order[count++] = axis;
    order[count] = type.rank - 1;
    for (int axis = 0; axis < type.rank; axis++) inverse[order[axis]] = axis;
    int kept = type.rank - 1;
    while (kept > 0 && axes >> order[kept - 1] & 1) kept--;
    return ad_transpose(graph, ad_lead_sum(graph, ad_transpose(graph, a, order), kept), inverse);
}

ad_value ad_sum(ad_graph *graph, ad_value a, unsigned axes) {
    if (!ad_is_value(a)) return AD_POISON;
    ad_type type = ad_type_at(graph, a);
    int last = type.rank - 1;
    if (axes >> last & 1) a = ad_row_sum(graph, a);
    axes &= (1u << last) - 1;
    if (!axes) return a;
    int kept = 0;
    while (!(axes >> kept & 1)) kept++;
    for (int axis = kept; axis < last; axis++)
        if (!(axes >> axis & 1) && type.dim[axis] != 1) return sum_scattered(graph, a, axes);
    return ad_lead_sum(graph, a, kept);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    const char *reason = ad_type_like_input(graph, node);
    if (reason) return reason;
    int rank = node->type[0].rank;
    if (node->attrs.i[0] < 0 || node->attrs.i[0] > rank - 1) return "no such axis";
    for (int axis = (int)node->attrs.i[0]; axis < rank - 1; axis++) node->type[0].dim[axis] = 1;
    return NULL;
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    double constant;
    if (ad_type_same(node->type[0], operand)) return node->input[0];
    if (ad_is_fill(graph, node->input[0], &constant))
        return ad_fill(graph, node->type[0],
                       constant * (double)(ad_elements(operand) / ad_elements(node->type[0])));
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ct_in[0] = ad_broadcast(graph, ct[0], ad_type_at(graph, ad_node_input(graph, node, 0)));
}

const ad_op_def ad_op_lead_sum = {
    .orders = AD_SMOOTH, .type = type, .fold = fold, .vjp = vjp, .rows = AD_ROWS_LEAD};
