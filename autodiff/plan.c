#include "autodiff/plan.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

static void begin(ad_lowering *low, const ad_graph *graph, const ad_plan_spec *spec) {
    low->graph = graph;
    low->nodes = ad_nodes(graph);
    low->spec = *spec;
    if (!low->spec.device) low->spec.device = kern_device_cpu();
    if (!low->spec.comm) low->spec.comm = kern_comm_alone();
    low->scalar_storage = low->fault_storage = AD_NO_STORAGE;
    low->spec.unfused |= spec->debug;
    low->spec.no_reuse |= spec->debug;
    ad_plan_output *output = kern_array(spec->outputs, sizeof *output);
    ad_value *cut = kern_array(spec->cuts, sizeof *cut);
    if (spec->outputs) memcpy(output, spec->output, (size_t)spec->outputs * sizeof *output);
    if (spec->cuts) memcpy(cut, spec->cut, (size_t)spec->cuts * sizeof *cut);
    low->spec.output = output;
    low->spec.cut = cut;
    ad_value *over = kern_array(spec->outputs, sizeof *over);
    for (int i = 0; i < spec->outputs; i++) {
        over[i] = spec->over ? spec->over[i] : AD_NONE;
        ASSERT(ad_is_none(over[i]) || spec->output[i].mode == AD_ADD);
    }
    low->spec.over = over;
    low->spec.view = NULL; /* noted in low->view */
    int64_t values = (int64_t)low->nodes * AD_OUTPUTS;
    low->live = kern_array(low->nodes, sizeof *low->live);
    low->cut = kern_array(values, sizeof *low->cut);
    low->view = kern_array(values, sizeof *low->view);
    low->uses = kern_array(values, sizeof *low->uses);
    low->root = kern_array(values, sizeof *low->root);
    low->offset = kern_array(values, sizeof *low->offset);
    low->summand = kern_array(low->nodes, sizeof *low->summand);
    low->after = kern_array(low->nodes, sizeof *low->after);
    low->output_of = kern_array(values, sizeof *low->output_of);
    low->unit_of = kern_array(low->nodes, sizeof *low->unit_of);
    low->instrs = kern_array(low->nodes, sizeof *low->instrs);
    low->stored = kern_array(low->nodes, sizeof *low->stored);
    low->storage_of = kern_array(values, sizeof *low->storage_of);
    low->output_storage = kern_array(spec->outputs, sizeof *low->output_storage);
    memset(low->summand, -1, (size_t)low->nodes * sizeof *low->summand);
    memset(low->after, -1, (size_t)low->nodes * sizeof *low->after);
    memset(low->output_of, -1, (size_t)values * sizeof *low->output_of);
    memset(low->unit_of, -1, (size_t)low->nodes * sizeof *low->unit_of);
    for (int i = 0; i < spec->cuts; i++) low->cut[ad_number(spec->cut[i])] = true;
    for (int i = 0; i < spec->views; i++) low->view[ad_number(spec->view[i])] = true;
}

static kern_status check_output(const ad_graph *graph, const ad_plan_output *output) {
    char name[AD_TYPE_TEXT], text[AD_TYPE_TEXT];
    ASSERT(ad_is_value(output->value));
    ad_type type = ad_type_at(graph, output->value);
    if (type.dtype == KERN_F32 || type.dtype == KERN_F64) return KERN_OK;
    if (type.dtype == KERN_BF16 && output->mode == AD_WRITE) return KERN_OK;
    return kern_fail(KERN_ERR_GRAPH, "plan: %s of %s cannot be %s",
                     ad_value_name(graph, output->value, name), ad_type_text(text, type),
                     output->mode == AD_WRITE ? "an output" : "added to an output");
}

/* What only the passes needed. */
static void drop_notes(ad_lowering *low) {
    free(low->live);
    free(low->uses);
    free(low->summand);
    free(low->after);
    free(low->unit_of);
    free(low->instrs);
    free(low->stored);
    low->instrs = NULL;
    low->stored = NULL;
    low->live = NULL;
    low->uses = low->summand = low->after = low->unit_of = NULL;
}

kern_status ad_plan_compile(ad_plan **result, const ad_graph *graph, const ad_plan_spec *spec) {
    *result = NULL;
    kern_status status = ad_graph_status(graph);
    if (status != KERN_OK) return status;
    for (int i = 0; i < spec->outputs; i++)
        if ((status = check_output(graph, &spec->output[i])) != KERN_OK) return status;
    ad_plan *plan = kern_array(1, sizeof *plan);
    begin(&plan->low, graph, spec);
    ad_lower_resolve(&plan->low);
    TRY(ad_lower_check_views(&plan->low));
    ad_lower_fuse(&plan->low);
    ad_lower_repeat(&plan->low);
    ad_lower_schedule(&plan->low);
    TRY(ad_lower_memory(&plan->low));
    drop_notes(&plan->low);
    plan->scalar = kern_array(plan->low.scalars, AD_SCALAR_BYTES);
    plan->is_set = kern_array(plan->low.scalars, sizeof *plan->is_set);
    *result = plan;
    plan = NULL;
done:
    ad_plan_destroy(plan);
    return status;
}

void ad_plan_destroy(ad_plan *plan) {
    if (!plan) return;
    ad_lowering *low = &plan->low;
    ad_plan_forget_runs(plan);
    for (int64_t u = 0; u < low->units; u++) {
        ad_unit *unit = &low->unit[u];
        if (unit->state && unit->rows)
            low->spec.device->rows->destroy(unit->state);
        else if (unit->state)
            ad_op_definition(ad_node_at(low->graph, unit->node[0])->op)
                ->kernel->destroy(low->spec.device, unit->state);
        free(unit->node);
        free(unit->operand);
        free(unit->operand_value);
        free(unit->operand_output);
        free(unit->operand_storage);
        free(unit->operand_offset);
        free(unit->operand_written);
    }
    free(plan->scalar);
    free(plan->is_set);
    free((void *)(uintptr_t)low->spec.output);
    free((void *)(uintptr_t)low->spec.cut);
    free((void *)(uintptr_t)low->spec.over);
    void *const arrays[] = {
        low->live,    low->cut,   low->view,       low->uses,    low->root,          low->offset,
        low->summand, low->after, low->output_of,  low->unit_of, low->instrs,        low->stored,
        low->unit,    low->order, low->storage_of, low->storage, low->output_storage};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    free(plan);
}

/* Whatever is joined and repeated later, each live node is computed by some unit, which reads what
 * is bound among its operands. */
bool *ad_plan_would_read(const ad_graph *graph, const ad_plan_spec *spec) {
    ad_plan *plan = kern_array(1, sizeof *plan);
    ad_lowering *low = &plan->low;
    begin(low, graph, spec);
    ad_lower_resolve(low);
    bool *reads = kern_array((int64_t)low->nodes * AD_OUTPUTS, sizeof *reads);
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(graph, i);
        for (int in = 0; in < node->inputs && low->live[i]; in++)
            if (ad_is_value(node->input[in]))
                reads[ad_number(ad_root(low, node->input[in]))] = true;
    }
    for (int64_t u = 0; u < low->units; u++) /* into outputs */
        reads[ad_number(ad_root(low, ad_numbered(low->unit[u].add_from)))] = true;
    for (int i = 0; i < low->nodes * AD_OUTPUTS; i++)
        reads[i] &= low->root[i] == i && ad_is_bound(low, ad_numbered(i));
    ad_plan_destroy(plan);
    return reads;
}

size_t ad_plan_arena_bytes(const ad_plan *plan) {
    return plan->low.arena_bytes;
}

int ad_plan_steps(const ad_plan *plan) {
    int steps = 0;
    while (plan->low.order[steps] >= 0) steps++;
    return steps;
}

static const ad_unit *unit_at(const ad_plan *plan, int step) {
    ASSERT(plan->low.order[step] >= 0);
    return &plan->low.unit[plan->low.order[step]];
}

static double unit_flops(const ad_plan *plan, const ad_unit *unit, int64_t before) {
    if (unit->rows) return 0;
    const ad_node *node = ad_node_at(plan->low.graph, unit->node[0]);
    const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
    return kernel && kernel->flops ? kernel->flops(plan->low.graph, node, unit->wanted, before) : 0;
}

double ad_plan_flops(const ad_plan *plan, int64_t before) {
    double flops = 0;
    for (int i = 0, steps = ad_plan_steps(plan); i < steps; i++)
        flops += unit_flops(plan, unit_at(plan, i), before);
    return flops;
}

double ad_plan_bytes(const ad_plan *plan) {
    double bytes = 0;
    for (int i = 0, steps = ad_plan_steps(plan); i < steps; i++) bytes += unit_at(plan, i)->bytes;
    return bytes;
}

bool ad_plan_reads(const ad_plan *plan, ad_value input) {
    if (!ad_is_value(input) || input.node >= plan->low.nodes) return false;
    return ad_is_bound(&plan->low, input) &&
           plan->low.storage_of[ad_number(input)] != AD_NO_STORAGE;
}

static bool unit_reads(const ad_lowering *low, const ad_unit *unit, int storage) {
    for (int o = 0; o < unit->operands; o++)
        if (!unit->operand_written[o] && unit->operand_storage[o] == storage) return true;
    for (int m = 0; m < unit->nodes && !unit->rows; m++) {
        const ad_node *node = ad_node_at(low->graph, unit->node[m]);
        for (int in = 0; in < node->inputs; in++) {
            ad_value root = ad_root(low, node->input[in]);
            if (ad_is_value(root) && low->storage_of[ad_number(root)] == storage) return true;
        }
    }
    return false;
}

/* The unit's only operand in `from` has the type of the one that it stores to `to`. */
static bool reads_as_it_writes(const ad_lowering *low, const ad_unit *unit, int from, int to) {
    ad_value read = AD_NONE, written = AD_NONE;
    for (int o = 0; o < unit->operands; o++) {
        if (unit->operand_storage[o] == to && unit->operand_written[o] == 1)
            written = unit->operand_value[o];
        if (unit->operand_storage[o] != from) continue;
        if (ad_is_value(read)) return false;
        read = unit->operand_value[o];
    }
    if (!ad_is_value(read) || !ad_is_value(written)) return false;
    return ad_type_same(ad_type_at(low->graph, read), ad_type_at(low->graph, written));
}

bool ad_plan_over(const ad_plan *plan, int output, ad_value input) {
    const ad_lowering *low = &plan->low;
    int to = low->output_storage[output], from = low->storage_of[ad_number(input)], last = -1;
    if (from == AD_NO_STORAGE || low->storage[from].bytes != low->storage[to].bytes) return false;
    for (int i = 0; low->order[i] >= 0; i++)
        if (unit_reads(low, &low->unit[low->order[i]], from)) last = i;
    if (last != low->storage[to].first) return last < low->storage[to].first;
    const ad_unit *unit = &low->unit[low->order[last]];
    return unit->rows && reads_as_it_writes(low, unit, from, to);
}

void ad_plan_set(ad_plan *plan, ad_value input, double value) {
    ASSERT(ad_is_scalar(plan->low.graph, input));
    if (!ad_plan_reads(plan, input)) return;
    size_t at = ad_offset_bytes(&plan->low, input);
    plan->is_set[at / AD_SCALAR_BYTES] = true;
    if (ad_type_at(plan->low.graph, input).dtype == KERN_I32)
        *(int32_t *)(void *)(plan->scalar + at) = (int32_t)value;
    else
        kern_real_put(plan->scalar + at, ad_type_at(plan->low.graph, input).dtype, 0, value);
}

void ad_plan_bind_view(ad_plan *plan, ad_value input, const void *memory, int64_t stride) {
    ASSERT(!ad_is_scalar(plan->low.graph, input));
    if (!ad_plan_reads(plan, input)) return;
    ASSERT(!stride || plan->low.view[ad_number(input)]);
    plan->low.storage[plan->low.storage_of[ad_number(input)]].buffer =
        (ad_buffer){(void *)(uintptr_t)memory, stride};
}

void ad_plan_bind(ad_plan *plan, ad_value input, const void *memory) {
    ad_plan_bind_view(plan, input, memory, 0);
}

void ad_plan_bind_output_view(ad_plan *plan, int output, void *memory, int64_t stride) {
    ASSERT(output >= 0 && output < plan->low.spec.outputs);
    ASSERT(!stride || plan->low.view[ad_number(plan->low.spec.output[output].value)]);
    plan->low.storage[plan->low.output_storage[output]].buffer = (ad_buffer){memory, stride};
}

void ad_plan_bind_output(ad_plan *plan, int output, void *memory) {
    ad_plan_bind_output_view(plan, output, memory, 0);
}

void ad_plan_profile(ad_plan *plan, bool on) {
    plan->profile = on;
    plan->runs = 0;
    for (int i = 0; i < ad_plan_steps(plan); i++) plan->low.unit[plan->low.order[i]].seconds = 0;
}

static double kernel_bytes(const ad_plan *plan, const ad_unit *unit, const ad_kernel *kernel) {
    const ad_graph *graph = plan->low.graph;
    const ad_node *node = ad_node_at(graph, unit->node[0]);
    double bytes = 0;
    if (kernel && kernel->bytes) return kernel->bytes(graph, node, unit->adds);
    for (int in = 0; in < node->inputs; in++)
        if (ad_is_value(node->input[in]))
            bytes += (double)ad_bytes(ad_type_at(graph, node->input[in]));
    for (int out = 0; out < node->outputs; out++)
        if (unit->wanted >> out & 1)
            bytes += (out == 0 && unit->adds ? 2 : 1) * (double)ad_bytes(node->type[out]);
    return bytes;
}

static void add_rows_cost(ad_plan_step_cost *cost, const ad_unit *unit) {
    cost->kind = AD_CALL_ROWS;
    cost->bytes = unit->bytes;
    cost->launches = 1;
    for (int o = 0; o < unit->operands; o++)
        if (unit->operand_written[o] == 2) cost->launches = 2;
}

static void add_kernel_cost(ad_plan_step_cost *cost, const ad_plan *plan, const ad_unit *unit,
                            int64_t before) {
    const ad_node *node = ad_node_at(plan->low.graph, unit->node[0]);
    const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
    cost->kind = kernel ? kernel->kind : AD_CALL_MOVE;
    cost->flops = unit_flops(plan, unit, before);
    cost->bytes = kernel_bytes(plan, unit, kernel);
    cost->launches = kernel && kernel->launches ? kernel->launches : 1;
    if (cost->kind == AD_CALL_MOVE) return;
    cost->dtype = ad_type_at(plan->low.graph, node->input[0]).dtype;
    if (cost->kind != AD_CALL_PRODUCT) return;
    ad_type result = node->type[0];
    cost->batch = result.rank == 3 ? result.dim[0] : 1;
    cost->m = result.dim[result.rank - 2];
    cost->n = result.dim[result.rank - 1];
}

ad_plan_step_cost ad_unit_cost(const ad_plan *plan, const ad_unit *unit, int64_t before) {
    const ad_graph *graph = plan->low.graph;
    ad_value value =
        unit->nodes ? (ad_value){unit->node[unit->nodes - 1], 0} : ad_numbered(unit->add_from);
    const ad_node *node = ad_node_at(graph, value.node);
    ad_plan_step_cost cost = {.op = unit->rows ? "rows" : ad_op_name(node->op),
                              .scope = ad_scope_name(graph, node->scope),
                              .nodes = unit->nodes,
                              .seconds = unit->seconds,
                              .runs = plan->runs};
    if (unit->rows)
        add_rows_cost(&cost, unit);
    else
        add_kernel_cost(&cost, plan, unit, before);
    return cost;
}

ad_plan_step_cost ad_plan_step(const ad_plan *plan, int step, int64_t before) {
    return ad_unit_cost(plan, unit_at(plan, step), before);
}
