#include "autodiff/op.h"

/* 1 where a > b, else 0; its derivative is zero. */
static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    return ad_emit(emitter, KERN_ROW_GREATER, reg[0], reg[1], -1);
}

const ad_op_def ad_op_greater = {
    .orders = AD_SMOOTH, .type = ad_type_like_input, .rows = AD_ROWS_ELEMENTWISE, .emit = emit};
