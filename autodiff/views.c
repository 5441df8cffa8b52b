/* Memory bound as a view, whose items do not lie side by side, can be read and written by kernels
 * that take the distance between items; row programs and the other kernels would take what lies
 * between the items for elements. */
#include <inttypes.h>

#include "autodiff/lower.h"

static kern_status refuse(const ad_lowering *low, ad_value value, const ad_node *node,
                          const char *does) {
    char name[AD_TYPE_TEXT], text[AD_TYPE_TEXT];
    const char *scope = ad_scope_name(low->graph, node->scope);
    return kern_fail(KERN_ERR_GRAPH,
                     "plan: %s in %s %s %s of %s, which is bound as a view: only attention's past "
                     "and its cotangent can be; bind it dense",
                     ad_op_name(node->op), *scope ? scope : "the graph", does,
                     ad_value_name(low->graph, value, name),
                     ad_type_text(text, ad_type_at(low->graph, value)));
}

/* Operand `in` of the node may be a view: its kernel says so, and it is the bound value itself. */
static bool reads_views(const ad_lowering *low, const ad_node *node, int in) {
    const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
    return kernel && kernel->view_inputs >> in & 1 &&
           ad_same(node->input[in], ad_root(low, node->input[in]));
}

static kern_status check_readers(const ad_lowering *low, int i) {
    const ad_node *node = ad_node_at(low->graph, i);
    for (int in = 0; in < node->inputs; in++) {
        ad_value root = ad_root(low, node->input[in]);
        if (ad_is_value(root) && low->view[ad_number(root)] && !reads_views(low, node, in))
            return refuse(low, root, node, "reads");
    }
    return KERN_OK;
}

static bool is_view_output(const ad_lowering *low, int output) {
    return low->view[ad_number(low->spec.output[output].value)];
}

static kern_status check_writers(const ad_lowering *low, int i) {
    const ad_node *node = ad_node_at(low->graph, i);
    const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
    for (int out = 0; out < node->outputs; out++) {
        int output = low->output_of[i * AD_OUTPUTS + out];
        if (output < 0 || !is_view_output(low, output)) continue;
        ad_type type = ad_type_at(low->graph, low->spec.output[output].value);
        if (!kernel || !(kernel->view_outputs >> out & 1) || !ad_type_same(node->type[out], type))
            return refuse(low, low->spec.output[output].value, node, "makes");
    }
    return KERN_OK;
}

kern_status ad_lower_check_views(const ad_lowering *low) {
    kern_status status = KERN_OK;
    for (int i = 0; i < low->nodes; i++) {
        if (!low->live[i]) continue;
        TRY(check_readers(low, i));
        TRY(check_writers(low, i));
    }
    for (int64_t u = 0; u < low->units; u++) { /* row programs that copy or add into outputs */
        int output = low->unit[u].add_output;
        ad_value from = ad_root(low, ad_numbered(low->unit[u].add_from));
        if (is_view_output(low, output)) from = low->spec.output[output].value;
        if (low->view[ad_number(from)])
            TRY(refuse(low, from, ad_node_at(low->graph, from.node), "gives"));
    }
done:
    return status;
}
