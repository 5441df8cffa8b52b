#include "autodiff/vjp.h"

#include <stdlib.h>

#include "autodiff/op.h"

typedef ad_value cotangents[AD_OUTPUTS];

typedef struct {
    ad_graph *graph;
    int nodes;      /* of the graph before differentiation */
    bool *on_path;  /* [nodes] depends on a wrt value */
    cotangents *ct; /* [nodes] */
} sweep;

/* Nodes through which a derivative reaches some wrt value. */
static void mark_paths(sweep *s, int wrts, const ad_value *wrt) {
    for (int j = 0; j < wrts; j++) s->on_path[wrt[j].node] = true;
    for (int i = 0; i < s->nodes; i++) {
        const ad_node *node = ad_node_at(s->graph, i);
        if (node->op == AD_OP_stop_gradient) continue;
        for (int in = 0; in < node->inputs; in++)
            if (ad_is_value(node->input[in]) && s->on_path[node->input[in].node])
                s->on_path[i] = true;
    }
}

static void accumulate(sweep *s, ad_value value, ad_value ct) {
    ad_value *sum = &s->ct[value.node][value.out];
    *sum = ad_is_none(*sum) ? ct : ad_add(s->graph, *sum, ct);
}

/* Every promise that a rule makes is checked here, once for all rules; and, where `rule` is NULL,
 * what the caller gave. */
static bool checked(sweep *s, const char *rule, ad_value operand, ad_value ct) {
    if (ct.node == AD_POISON.node) return false;
    ad_type expected = ad_cotangent_type(ad_type_at(s->graph, operand));
    ad_type got = ad_type_at(s->graph, ct);
    bool alike = got.varies == expected.varies || ad_node_at(s->graph, ct.node)->constant;
    if (ad_type_same(expected, got) && alike) return true;
    char a[AD_TYPE_TEXT], b[AD_TYPE_TEXT];
    ad_poison(s->graph, "the %s%s gave a cotangent %s where %s is needed%s",
              rule ? "rule of " : "caller of ad_vjp", rule ? rule : "", ad_type_text(a, got),
              ad_type_text(b, expected),
              alike        ? ""
              : got.varies ? " (a reduce is missing)"
                           : " (a vary is missing)");
    return false;
}

static bool differentiate(sweep *s, int node) {
    ad_node copy = *ad_node_at(s->graph, node);
    const ad_op_def *op = ad_op_definition(copy.op);
    bool given = false, wanted[AD_INPUTS] = {false}, any = false;
    for (int out = 0; out < copy.outputs; out++) given |= !ad_is_none(s->ct[node][out]);
    for (int in = 0; in < copy.inputs; in++) {
        ad_value operand = copy.input[in];
        wanted[in] = ad_is_value(operand) && s->on_path[operand.node] &&
                     ad_type_at(s->graph, operand).dtype != KERN_I32;
        any |= wanted[in];
    }
    if (!given || !any) return true;
    ad_scope_enter(s->graph, copy.scope, "'");
    ad_value ct_in[AD_INPUTS];
    for (int in = 0; in < AD_INPUTS; in++) ct_in[in] = AD_NONE;
    bool fine = true;
    if (op->vjp) {
        op->vjp(s->graph, node, s->ct[node], wanted, ct_in);
    } else if (op->orders == 0) {
        ad_poison(s->graph, "%s cannot be differentiated%s", ad_op_name(copy.op),
                  copy.op == AD_OP_attention_vjp2 ? " a third time" : "");
        fine = false;
    }
    for (int in = 0; in < copy.inputs && fine; in++) {
        if (!wanted[in] || ad_is_none(ct_in[in])) continue;
        fine = checked(s, ad_op_name(copy.op), copy.input[in], ct_in[in]);
        if (fine) accumulate(s, copy.input[in], ct_in[in]);
    }
    ad_scope_leave(s->graph);
    return fine && !ad_failed(s->graph);
}

void ad_vjp(ad_graph *graph, int outputs, const ad_value *output, const ad_value *ct, int wrts,
            const ad_value *wrt, ad_value *result) {
    if (ad_failed(graph)) {
        for (int j = 0; j < wrts; j++) result[j] = AD_POISON;
        return;
    }
    sweep s = {.graph = graph, .nodes = ad_nodes(graph)};
    s.on_path = kern_array(s.nodes, sizeof *s.on_path);
    s.ct = kern_array(s.nodes, sizeof *s.ct);
    for (int i = 0; i < s.nodes; i++)
        for (int out = 0; out < AD_OUTPUTS; out++) s.ct[i][out] = AD_NONE;
    mark_paths(&s, wrts, wrt);
    bool fine = true;
    for (int i = 0; i < outputs && fine; i++) {
        if (ad_is_none(ct[i])) continue;
        fine = checked(&s, NULL, output[i], ct[i]);
        if (fine) accumulate(&s, output[i], ct[i]);
    }
    for (int i = s.nodes - 1; i >= 0 && fine; i--)
        if (s.on_path[i]) fine = differentiate(&s, i);
    for (int j = 0; j < wrts; j++) result[j] = fine ? s.ct[wrt[j].node][wrt[j].out] : AD_POISON;
    free(s.on_path);
    free(s.ct);
}
