#include "autodiff/op.h"

/* attrs.f: the value; i[0], i[1]: dtype and rank, so that equal shapes of different types differ.
 * Built by ad_fill. Row programs that read it hold it as a constant. */
static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)reg;
    return ad_emit_const(emitter, node->attrs.f);
}

const ad_op_def ad_op_fill = {.orders = AD_SMOOTH, .rows = AD_ROWS_ELEMENTWISE, .emit = emit};
