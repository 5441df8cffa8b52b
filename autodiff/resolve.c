/* First pass: which nodes have to run, which values are views of others or repeat them, and which
 * matrix products add straight to memory that already holds a summand: another product's, or an
 * output in mode AD_ADD. */
#include <stdlib.h>

#include "autodiff/lower.h"

bool ad_is_bound(const ad_lowering *low, ad_value root) {
    return low->cut[ad_number(root)] || ad_node_at(low->graph, root.node)->op == AD_OP_input;
}

ad_value ad_root(const ad_lowering *low, ad_value value) {
    if (!ad_is_value(value)) return value;
    int number = ad_number(value);
    while (low->root[number] != number) number = low->root[number];
    return ad_numbered(number);
}

static int64_t root_offset(const ad_lowering *low, ad_value value) {
    int number = ad_number(value);
    int64_t offset = low->offset[number];
    while (low->root[number] != number) {
        number = low->root[number];
        offset += low->offset[number];
    }
    return offset;
}

size_t ad_offset_bytes(const ad_lowering *low, ad_value value) {
    return (size_t)root_offset(low, value) * kern_dtype_bytes(ad_type_at(low->graph, value).dtype);
}

int ad_producer(const ad_lowering *low, ad_value value) {
    ad_value root = ad_root(low, value);
    return ad_is_bound(low, root) || !low->live[root.node] ? -1 : root.node;
}

/* A value that is needed is its own root, until it turns out to be a view of another. */
static void need(ad_lowering *low, ad_value value) {
    if (ad_is_value(value)) low->root[ad_number(value)] = ad_number(value);
}

/* Some result of the node is needed, and no cut gives it. */
static bool must_run(const ad_lowering *low, int i) {
    const ad_node *node = ad_node_at(low->graph, i);
    for (int out = 0; out < node->outputs && node->op != AD_OP_input; out++) {
        int number = i * AD_OUTPUTS + out;
        if (low->root[number] >= 0 && !low->cut[number]) return true;
    }
    return false;
}

/* Dead code, from the outputs back: a node lives if it must run, and then its operands are needed.
 * It makes all its results, so that one of them which a cut would give is not read from there. */
static void mark_live(ad_lowering *low) {
    for (int i = 0; i < low->nodes * AD_OUTPUTS; i++) low->root[i] = -1;
    for (int i = 0; i < low->spec.outputs; i++) need(low, low->spec.output[i].value);
    for (int i = low->nodes - 1; i >= 0; i--) {
        const ad_node *node = ad_node_at(low->graph, i);
        low->live[i] = must_run(low, i);
        for (int in = 0; in < node->inputs && low->live[i]; in++) need(low, node->input[in]);
        for (int out = 0; out < node->outputs && low->live[i]; out++) {
            need(low, (ad_value){i, out});
            low->cut[i * AD_OUTPUTS + out] = false;
        }
    }
}

bool ad_is_collective(const ad_lowering *low, int node) {
    return low->spec.comm->ranks > 1 &&
           ad_op_definition(ad_node_at(low->graph, node)->op)->collect != NULL;
}

/* One rank's operand of a collective is the result. */
static void resolve_views(ad_lowering *low) {
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        int64_t offset = 0;
        if (!low->live[i]) continue;
        bool alone = ad_op_definition(node->op)->collect && !ad_is_collective(low, i);
        if (!alone && !ad_is_view(low->graph, node, &offset)) continue;
        low->root[i * AD_OUTPUTS] = ad_number(node->input[0]);
        low->offset[i * AD_OUTPUTS] = offset;
        low->live[i] = false;
    }
}

static void count_uses(ad_lowering *low) {
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        for (int in = 0; in < node->inputs && low->live[i]; in++)
            if (ad_is_value(node->input[in])) low->uses[ad_number(ad_root(low, node->input[in]))]++;
    }
    for (int i = 0; i < low->spec.outputs; i++)
        low->uses[ad_number(ad_root(low, low->spec.output[i].value))]++;
}

/* The value is all of its root's memory. */
static bool is_whole(const ad_lowering *low, ad_value value) {
    ad_value root = ad_root(low, value);
    return root_offset(low, value) == 0 &&
           ad_elements(ad_type_at(low->graph, value)) == ad_elements(ad_type_at(low->graph, root));
}

/* The kernel that makes a value with one reader, or NULL. */
static const ad_kernel *single_kernel(const ad_lowering *low, ad_value value) {
    int node = ad_producer(low, value);
    if (node < 0 || low->uses[ad_number(ad_root(low, value))] != 1 || !is_whole(low, value))
        return NULL;
    return ad_op_definition(ad_node_at(low->graph, node)->op)->kernel;
}

/* A result that its kernel can add into the memory of the other summand. */
static bool is_addend(const ad_lowering *low, ad_value value) {
    const ad_kernel *kernel = single_kernel(low, value);
    return kernel && kernel->accumulates && ad_root(low, value).out == 0;
}

/* A result that its kernel can add into an output. */
static bool adds_itself(const ad_lowering *low, ad_value value) {
    const ad_kernel *kernel = single_kernel(low, value);
    return is_addend(low, value) || (kernel && kernel->adds_outputs >> ad_root(low, value).out & 1);
}

/* A sum with one reader, or NULL. */
static const ad_node *single_sum(const ad_lowering *low, ad_value value) {
    ad_value root = ad_root(low, value);
    int producer = ad_producer(low, value);
    if (producer < 0 || low->uses[ad_number(root)] != 1 || !is_whole(low, value)) return NULL;
    const ad_node *node = ad_node_at(low->graph, producer);
    return node->op == AD_OP_add ? node : NULL;
}

static bool holds_addend(const ad_lowering *low, ad_value value) {
    const ad_node *sum = single_sum(low, value);
    return adds_itself(low, value) ||
           (sum && (holds_addend(low, sum->input[0]) || holds_addend(low, sum->input[1])));
}

static void add_later(ad_lowering *low, ad_value value, int output) {
    low->unit = kern_grow(low->unit, &low->unit_capacity, low->units + 1, sizeof *low->unit);
    low->unit[low->units++] = (ad_unit){.rows = true,
                                        .add_from = ad_number(value),
                                        .add_output = output,
                                        .workspace = AD_NO_STORAGE};
}

/* Splits the tree of sums behind an AD_ADD output: results whose kernels can are made there, added
 * to it; row programs of their own add the rest. */
static void add_to_output(ad_lowering *low, ad_value value, int output) {
    ad_value root = ad_root(low, value);
    const ad_node *sum = single_sum(low, value);
    if (adds_itself(low, value)) {
        low->output_of[ad_number(root)] = output;
    } else if (sum && holds_addend(low, value)) {
        low->live[root.node] = false;
        add_to_output(low, sum->input[0], output);
        add_to_output(low, sum->input[1], output);
    } else {
        add_later(low, value, output);
    }
}

/* AD_WRITE outputs are written where they are computed, if that is one whole piece of memory that
 * no other output has taken; else they are copied. */
static void place_outputs(ad_lowering *low) {
    for (int i = 0; i < low->spec.outputs; i++) {
        ad_value value = low->spec.output[i].value, root = ad_root(low, value);
        if (low->spec.output[i].mode == AD_ADD) {
            add_to_output(low, value, i);
        } else if (ad_producer(low, value) >= 0 && is_whole(low, value) &&
                   !ad_is_fill(low->graph, root, NULL) && low->output_of[ad_number(root)] < 0) {
            low->output_of[ad_number(root)] = i;
        } else {
            add_later(low, value, i);
        }
    }
}

/* Products that add up are a chain: each has the one before as its summand. The first of them. */
static int chain_head(const ad_lowering *low, int node) {
    while (low->summand[node] >= 0) {
        int before = ad_producer(low, ad_numbered(low->summand[node]));
        ASSERT(before >= 0);
        node = before;
    }
    return node;
}

/* a + b, each a product or a chain of them: the later one's first product adds to the memory of the
 * earlier one's last, and the sum is what the later one's last product makes. */
static void chain_products(ad_lowering *low) {
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        if (!low->live[i] || node->op != AD_OP_add) continue;
        ad_value a = node->input[0], b = node->input[1];
        if (!is_addend(low, a) || !is_addend(low, b)) continue;
        if (ad_root(low, a).node > ad_root(low, b).node) {
            ad_value other = a;
            a = b;
            b = other;
        }
        int head = chain_head(low, ad_producer(low, b));
        int sum = i * AD_OUTPUTS, last = ad_number(ad_root(low, b));
        ASSERT(low->output_of[ad_number(ad_root(low, a))] < 0 && low->output_of[last] < 0);
        low->summand[head] = ad_number(ad_root(low, a));
        low->root[sum] = last;
        low->uses[last] = low->uses[sum];
        low->output_of[last] = low->output_of[sum];
        low->live[i] = false;
    }
}

/* Collectives keep the order in which they were built, which is the same on all ranks. Those that
 * are recomputed run just before their first reader, on all ranks alike: in order they would make
 * all recomputation wait in memory for the last. */
static void order_collectives(ad_lowering *low) {
    if (low->spec.comm->ranks == 1) return;
    for (int i = low->spec.lazy, before = -1; i < low->nodes; i++) {
        if (!low->live[i] || !ad_is_collective(low, i)) continue;
        low->after[i] = before;
        before = i;
    }
}

/* Whether node i reads repeats with strides of 0: a node of a row program that reads it directly.
 */
static bool reads_repeated(const ad_lowering *low, int i, ad_value value) {
    return ad_op_definition(ad_node_at(low->graph, i)->op)->rows != AD_ROWS_NONE &&
           ad_number(ad_root(low, value)) == ad_number(value);
}

/* A broadcast that only row programs read is not computed: they read its operand, repeated. */
static void drop_repeats(ad_lowering *low) {
    bool *stored = kern_array(low->nodes, sizeof *stored);
    for (int i = 0; i < low->spec.outputs; i++)
        stored[ad_root(low, low->spec.output[i].value).node] = true;
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        for (int in = 0; in < node->inputs && low->live[i]; in++)
            if (ad_is_value(node->input[in]) && !reads_repeated(low, i, node->input[in]))
                stored[ad_root(low, node->input[in]).node] = true;
    }
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        if (!low->live[i] || stored[i] || node->op != AD_OP_broadcast) continue;
        int operand = ad_number(ad_root(low, node->input[0]));
        low->live[i] = false;
        low->root[i * AD_OUTPUTS] = ad_number(node->input[0]);
        low->uses[operand] += low->uses[i * AD_OUTPUTS] - 1;
    }
    free(stored);
}

/* Of a node that is not computed: its operand, or that repeated, element by element. */
static bool passes_through(const ad_node *node) {
    return node->op == AD_OP_broadcast || node->op == AD_OP_stop_gradient ||
           node->op == AD_OP_vary || node->op == AD_OP_reduce || node->op == AD_OP_reduce_max;
}

ad_value ad_row_source(const ad_lowering *low, ad_value value) {
    while (ad_is_value(value) && low->root[ad_number(value)] != ad_number(value)) {
        const ad_node *node = ad_node_at(low->graph, value.node);
        if (!passes_through(node)) break;
        value = node->input[0];
    }
    return value;
}

void ad_lower_resolve(ad_lowering *low) {
    mark_live(low);
    resolve_views(low);
    count_uses(low);
    place_outputs(low);
    if (!low->spec.unfused) {
        chain_products(low);
        drop_repeats(low);
    }
    order_collectives(low);
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        if (!low->live[i]) continue;
        ASSERT(node->op != AD_OP_input);
        for (int in = 0; in < node->inputs; in++) {
            ad_value root = ad_root(low, node->input[in]);
            ASSERT(ad_is_none(root) || ad_is_bound(low, root) || low->live[root.node]);
        }
    }
}
