#include "autodiff/ops.h"

#include "autodiff/op.h"

#define AD_OP_EXTERN(name) extern const ad_op_def ad_op_##name;
AD_OP_TABLE(AD_OP_EXTERN, AD_OP_EXTERN, AD_OP_EXTERN)
#undef AD_OP_EXTERN

#define AD_OP_ROW(name) {#name, &ad_op_##name},
static const struct {
    const char *name;
    const ad_op_def *definition;
} table[AD_OP_COUNT] = {AD_OP_TABLE(AD_OP_ROW, AD_OP_ROW, AD_OP_ROW)};
#undef AD_OP_ROW

const ad_op_def *ad_op_definition(int op) {
    ASSERT(op >= 0 && op < AD_OP_COUNT);
    return table[op].definition;
}

const char *ad_op_name(int op) {
    ASSERT(op >= 0 && op < AD_OP_COUNT);
    return table[op].name;
}

ad_value ad_build_op(ad_graph *graph, int op, int inputs, const ad_value *input,
                     const ad_attrs *attrs) {
    ASSERT(inputs <= AD_INPUTS);
    ad_node node = {.op = op, .inputs = inputs};
    for (int i = 0; i < inputs; i++) node.input[i] = input[i];
    if (attrs) node.attrs = *attrs;
    return ad_build(graph, &node);
}

#define AD_OP_UNARY(name)                                                                          \
    ad_value ad_##name(ad_graph *graph, ad_value a) {                                              \
        return ad_build_op(graph, AD_OP_##name, 1, &a, NULL);                                      \
    }
#define AD_OP_BINARY(name)                                                                         \
    ad_value ad_##name(ad_graph *graph, ad_value a, ad_value b) {                                  \
        return ad_build_op(graph, AD_OP_##name, 2, (ad_value[]){a, b}, NULL);                      \
    }
#define AD_OP_OTHER(name)
AD_OP_TABLE(AD_OP_UNARY, AD_OP_BINARY, AD_OP_OTHER)
#undef AD_OP_UNARY
#undef AD_OP_BINARY
#undef AD_OP_OTHER

const char *ad_type_like_input(const ad_graph *graph, ad_node *node) {
    node->outputs = 1;
    node->type[0] = ad_type_at(graph, node->input[0]);
    for (int i = 1; i < node->inputs; i++)
        if (!ad_type_same(node->type[0], ad_type_at(graph, node->input[i])))
            return "operands differ in shape or dtype (broadcast and cast are explicit)";
    if (node->type[0].dtype != KERN_F32 && node->type[0].dtype != KERN_F64)
        return "arithmetic is on f32 and f64 (cast first)";
    return NULL;
}

void ad_free_state(const kern_device *device, void *state) {
    (void)device;
    kern_free(state);
}

bool ad_is_view(const ad_graph *graph, const ad_node *node, int64_t *offset) {
    const ad_op_def *op = ad_op_definition(node->op);
    return op->view && op->view(graph, node, offset);
}

bool ad_view_whole(const ad_graph *graph, const ad_node *node, int64_t *offset) {
    (void)graph, (void)node;
    *offset = 0;
    return true;
}
