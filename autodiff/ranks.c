/* Which values vary over the ranks: the one rule, for every operation. */
#include "autodiff/op.h"

const char *ad_ranks_rule(const ad_graph *graph, ad_node *node, char text[AD_RANKS_TEXT]) {
    const ad_op_def *op = ad_op_definition(node->op);
    int varying = -1, same = -1; /* an operand that varies, and one that does not */
    for (int in = 0; in < node->inputs; in++) {
        if (!ad_is_value(node->input[in])) continue;
        const ad_node *operand = ad_node_at(graph, node->input[in].node);
        if (operand->constant) continue;
        if (operand->type[node->input[in].out].varies)
            varying = in;
        else
            same = in;
    }
    node->constant = varying < 0 && same < 0;
    if (varying >= 0 && same >= 0) {
        char a[AD_TYPE_TEXT], b[AD_TYPE_TEXT];
        const char *first = ad_value_name(graph, node->input[varying], a);
        const char *second = ad_value_name(graph, node->input[same], b);
        snprintf(
            text, AD_RANKS_TEXT,
            "%s varies over the ranks and %s is the same on all: a reduce of %s is missing, or "
            "a vary of %s",
            first, second, first, second);
        return text;
    }
    if (op->varies && varying >= 0) return "the operand varies already";
    if (op->collect && same >= 0)
        return "the operand is the same on all ranks (a vary is missing, or this is one too many)";
    for (int out = 0; out < node->outputs; out++)
        node->type[out].varies = op->varies ? same >= 0 : varying >= 0 && !op->collect;
    return NULL;
}
