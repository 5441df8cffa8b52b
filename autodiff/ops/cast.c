#include "autodiff/op.h"

/* a in another element type (attrs.i[0]). A cotangent passes unrounded: it has the cotangent type
 * of the operand (f32 for f32 and bf16), so only f32 <-> f64 casts convert it. */
ad_value ad_cast(ad_graph *graph, ad_value a, kern_dtype dtype) {
    return ad_build_op(graph, AD_OP_cast, 1, &a, &(ad_attrs){.i[0] = (int64_t)dtype});
}

static const char *type(const ad_graph *graph, ad_node *node) {
    node->outputs = 1;
    node->type[0] = ad_type_at(graph, node->input[0]);
    if (node->type[0].dtype == KERN_I32 || node->attrs.i[0] == KERN_I32)
        return "integers are indices and are not converted";
    node->type[0].dtype = (kern_dtype)node->attrs.i[0];
    return NULL;
}

static ad_value fold(ad_graph *graph, const ad_node *node) {
    const ad_node *a = ad_node_at(graph, node->input[0].node);
    if (ad_type_same(node->type[0], ad_type_at(graph, node->input[0]))) return node->input[0];
    if (a->op == AD_OP_fill && node->type[0].dtype != KERN_BF16)
        return ad_fill(graph, node->type[0], a->attrs.f);
    /* Before a change of shape it joins the row program that made the value, which is then stored
     * once, rounded; behind it, it would read what that program had to store. */
    if (a->op == AD_OP_reshape)
        return ad_reshape(graph, ad_cast(graph, a->input[0], (kern_dtype)node->attrs.i[0]),
                          node->type[0]);
    return AD_NONE;
}

static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ad_type operand = ad_type_at(graph, ad_node_input(graph, node, 0));
    ct_in[0] = ad_cast(graph, ct[0], ad_cotangent_type(operand).dtype);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)emitter, (void)graph, (void)node;
    return reg[0]; /* loads and stores convert; a cast is never fused between two operations */
}

const ad_op_def ad_op_cast = {.orders = AD_SMOOTH,
                              .type = type,
                              .fold = fold,
                              .vjp = vjp,
                              .rows = AD_ROWS_ELEMENTWISE,
                              .emit = emit};
