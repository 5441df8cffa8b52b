#include "autodiff/op.h"

/* [..., 1] -> [..., n], zero but for position index[...]: the adjoint of pick. attrs.i[0]: n */
ad_value ad_unpick(ad_graph *graph, ad_value a, ad_value index, int64_t n) {
    return ad_build_op(graph, AD_OP_unpick, 2, (ad_value[]){a, index}, &(ad_attrs){.i[0] = n});
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    ad_type index = ad_type_at(graph, node->input[1]);
    node->outputs = 1;
    node->type[0] = operand;
    node->type[0].dim[operand.rank - 1] = node->attrs.i[0];
    if (operand.dtype != KERN_F32 && operand.dtype != KERN_F64) return "f32 or f64 only";
    if (ad_last(operand) != 1) return "the operand must be [..., 1]";
    operand.dtype = KERN_I32;
    return ad_type_same(index, operand) ? NULL : "the index must be i32 [..., 1]";
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    if (wanted[0]) ct_in[0] = ad_pick(graph, ct[0], ad_node_input(graph, node, 1));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph;
    return ad_emit_indexed(emitter, KERN_ROW_UNPICK, reg[0], node->input[1]);
}

const ad_op_def ad_op_unpick = {
    .orders = AD_SMOOTH, .type = type, .vjp = vjp, .rows = AD_ROWS_SPREAD, .emit = emit};
