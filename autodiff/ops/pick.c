#include "autodiff/op.h"

/* a[..., index[...]] */
ad_value ad_pick(ad_graph *graph, ad_value a, ad_value index) {
    return ad_build_op(graph, AD_OP_pick, 2, (ad_value[]){a, index}, NULL);
}

static const char *type(const ad_graph *graph, ad_node *node) {
    ad_type operand = ad_type_at(graph, node->input[0]);
    ad_type index = ad_type_at(graph, node->input[1]);
    node->outputs = 1;
    node->type[0] = operand;
    node->type[0].dim[operand.rank - 1] = 1;
    ad_type expected = node->type[0];
    expected.dtype = KERN_I32;
    if (operand.dtype != KERN_F32 && operand.dtype != KERN_F64) return "f32 or f64 only";
    return ad_type_same(index, expected) ? NULL : "the index must be i32 [..., 1]";
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    ad_type operand = ad_type_at(graph, ad_node_input(graph, node, 0));
    if (wanted[0])
        ct_in[0] = ad_unpick(graph, ct[0], ad_node_input(graph, node, 1), ad_last(operand));
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph;
    return ad_emit_indexed(emitter, KERN_ROW_PICK, reg[0], node->input[1]);
}

const ad_op_def ad_op_pick = {
    .orders = AD_SMOOTH, .type = type, .vjp = vjp, .rows = AD_ROWS_REDUCE, .emit = emit};
