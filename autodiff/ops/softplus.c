#include "autodiff/op.h"

/* ln(1 + e^a) as max(a, 0) + ln(1 + e^-|a|), which does not overflow. */
static void vjp(ad_graph *graph, int node, const ad_value *ct, const bool *wanted,
                ad_value *ct_in) {
    (void)wanted;
    ct_in[0] = ad_mul(graph, ct[0], ad_sigmoid(graph, ad_node_input(graph, node, 0)));
}

/* ln(1 + e) for small e, too: where u = 1 + e is rounded, ln(u) / (u - 1) hardly is, since it
 * changes slowly. */
static int emit_log1p(ad_emitter *emitter, int e) {
    int one = ad_emit_const(emitter, 1);
    int u = ad_emit(emitter, KERN_ROW_ADD, e, one, -1);
    int less = ad_emit(emitter, KERN_ROW_SUB, u, one, -1);
    int log = ad_emit(emitter, KERN_ROW_LOG, u, -1, -1);
    int ratio = ad_emit(emitter, KERN_ROW_DIV, log, less, -1);
    int product = ad_emit(emitter, KERN_ROW_MUL, e, ratio, -1);
    return ad_emit(emitter, KERN_ROW_SELECT, less, product, e);
}

static int emit(ad_emitter *emitter, const ad_graph *graph, const ad_node *node, const int *reg) {
    (void)graph, (void)node;
    int size = ad_emit(emitter, KERN_ROW_ABS, reg[0], -1, -1);
    int minus = ad_emit(emitter, KERN_ROW_NEG, size, -1, -1);
    int tail = emit_log1p(emitter, ad_emit(emitter, KERN_ROW_EXP, minus, -1, -1));
    int larger = ad_emit(emitter, KERN_ROW_MAX, reg[0], ad_emit_const(emitter, 0), -1);
    return ad_emit(emitter, KERN_ROW_ADD, larger, tail, -1);
}

const ad_op_def ad_op_softplus = {.orders = AD_SMOOTH,
                                  .type = ad_type_like_input,
                                  .vjp = vjp,
                                  .rows = AD_ROWS_ELEMENTWISE,
                                  .emit = emit};
