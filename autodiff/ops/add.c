#include "autodiff/op.h"

/* a + b */

/* The operand of a pad, or its parts where it is a concat along the same axis; how many. */
static int parts_of(const ad_graph *graph, const ad_node *pad, ad_value part[AD_INPUTS]) {
    const ad_node *inner = ad_node_at(graph, pad->input[0].node);
    bool joined = inner->op == AD_OP_concat && inner->attrs.i[0] == pad->attrs.i[0];
    const ad_value *from = joined ? inner->input : pad->input;
    int count = joined ? inner->inputs : 1;
    for (int i = 0; i < count; i++) part[i] = from[i];
    return count;
}

/* Two pads whose operands lie beside each other as one, or AD_NONE: cotangents of the slices that
 * a value was cut into. */
static ad_value join(ad_graph *graph, ad_value low, ad_value high) {
    ad_node a = *ad_node_at(graph, low.node), b = *ad_node_at(graph, high.node);
    if (a.op != AD_OP_pad || b.op != AD_OP_pad || a.attrs.i[0] != b.attrs.i[0]) return AD_NONE;
    int axis = (int)a.attrs.i[0];
    int64_t end = a.attrs.i[1] + ad_type_at(graph, a.input[0]).dim[axis];
    if (end != b.attrs.i[1]) return AD_NONE;
    ad_value part[2 * AD_INPUTS];
    int count = parts_of(graph, &a, part);
    count += parts_of(graph, &b, part + count);
    if (count > AD_INPUTS) {
        count = 2;
        part[0] = a.input[0];
        part[1] = b.input[0];
    }
    return ad_pad(graph, ad_concat(graph, count, part, axis), axis, a.attrs.i[1], a.attrs.i[2]);
}
static ad_value fold(ad_graph *graph, const ad_node *node) {
    double constant;
    if (ad_is_fill(graph, node->input[0], &constant) && constant == 0) return node->input[1];
    if (ad_is_fill(graph, node->input[1], &constant) && constant == 0) return node->input[0];
    ad_value joined = join(graph, node->input[0], node->input[1]);
    return ad_is_none(joined) ? join(graph, node->input[1], node->input[0]) : joined;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)graph, (void)node, (void)wanted;
    ct_in[0] = ct_in[1] = ct[0];
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_ADD, reg[0], reg[1], -1);
}

const ad_op_def ad_op_add = {.orders = AD_SMOOTH,
                             .type = ad_type_like_input,
                             .fold = fold,
                             .vjp = vjp,
                             .rows = AD_ROWS_ELEMENTWISE,
                             .emit = emit};
