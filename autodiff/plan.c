#include "autodiff/plan.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

static void begin(ad_lowering *low, const ad_graph *graph, const ad_plan_spec *spec) {
    low->graph = graph;
    low->nodes = ad_nodes(graph);
    low->spec = *spec;
    low->spec.unfused |= spec->debug;
    low->spec.no_reuse |= spec->debug;
    ad_plan_output *output = kern_array(spec->outputs, sizeof *output);
    ad_value *cut = kern_array(spec->cuts, sizeof *cut);
    if (spec->outputs) memcpy(output, spec->output, (size_t)spec->outputs * sizeof *output);
    if (spec->cuts) memcpy(cut, spec->cut, (size_t)spec->cuts * sizeof *cut);
    low->spec.output = output;
    low->spec.cut = cut;
    low->spec.view = NULL; /* noted in low->view */
    int64_t values = (int64_t)low->nodes * AD_OUTPUTS;
    low->live = kern_array(low->nodes, sizeof *low->live);
    low->cut = kern_array(values, sizeof *low->cut);
    low->view = kern_array(values, sizeof *low->view);
    low->uses = kern_array(values, sizeof *low->uses);
    low->root = kern_array(values, sizeof *low->root);
    low->offset = kern_array(values, sizeof *low->offset);
    low->summand = kern_array(low->nodes, sizeof *low->summand);
    low->output_of = kern_array(values, sizeof *low->output_of);
    low->unit_of = kern_array(low->nodes, sizeof *low->unit_of);
    low->storage_of = kern_array(values, sizeof *low->storage_of);
    low->output_storage = kern_array(spec->outputs, sizeof *low->output_storage);
    memset(low->summand, -1, (size_t)low->nodes * sizeof *low->summand);
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
    free(low->unit_of);
    low->live = NULL;
    low->uses = low->summand = low->unit_of = NULL;
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
    ad_lower_schedule(&plan->low);
    TRY(ad_lower_memory(&plan->low));
    drop_notes(&plan->low);
    *result = plan;
    plan = NULL;
done:
    ad_plan_destroy(plan);
    return status;
}

void ad_plan_destroy(ad_plan *plan) {
    if (!plan) return;
    ad_lowering *low = &plan->low;
    for (int64_t u = 0; u < low->units; u++) {
        ad_unit *unit = &low->unit[u];
        if (unit->state)
            ad_op_definition(ad_node_at(low->graph, unit->node[0])->op)
                ->kernel->destroy(unit->state);
        kern_rows_destroy(unit->program);
        free(unit->node);
        free(unit->operand);
        free(unit->operand_value);
        free(unit->operand_output);
        free(unit->operand_storage);
        free(unit->operand_offset);
        free(unit->operand_written);
    }
    free((void *)(uintptr_t)low->spec.output);
    free((void *)(uintptr_t)low->spec.cut);
    void *const arrays[] = {low->live,    low->cut,           low->view,    low->uses,
                            low->root,    low->offset,        low->summand, low->output_of,
                            low->unit_of, low->unit,          low->order,   low->storage_of,
                            low->storage, low->output_storage};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    free(plan);
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
    return kernel->flops ? kernel->flops(plan->low.graph, node, unit->wanted, before) : 0;
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

void ad_plan_bind_view(ad_plan *plan, ad_value input, const void *memory, int64_t stride) {
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

ad_buffer ad_buffer_of(const ad_lowering *low, ad_value value) {
    if (!ad_is_value(value)) return (ad_buffer){0};
    int storage = low->storage_of[ad_number(ad_root(low, value))];
    if (storage == AD_NO_STORAGE) return (ad_buffer){0};
    ad_buffer buffer = low->storage[storage].buffer;
    ad_type type = ad_type_at(low->graph, value);
    ASSERT(buffer.data);
    buffer.data = (char *)buffer.data + ad_offset_bytes(low, value);
    if (!buffer.stride) buffer.stride = ad_elements(type) / type.dim[0];
    return buffer;
}

/* Bytes of one item of the first axis. */
static size_t item_bytes(ad_type type) {
    return ad_bytes(type) / (size_t)type.dim[0];
}

static void clear(ad_buffer buffer, ad_type type) {
    for (int64_t i = 0; i < type.dim[0]; i++)
        memset((char *)buffer.data + (size_t)i * ad_item_step(buffer, type), 0, item_bytes(type));
}

static void run_kernel(const ad_lowering *low, const ad_unit *unit, void *workspace) {
    int i = unit->node[0];
    const ad_node *node = ad_node_at(low->graph, i);
    const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
    ad_buffer input[AD_INPUTS] = {{0}}, output[AD_OUTPUTS] = {{0}};
    for (int in = 0; in < node->inputs; in++) input[in] = ad_buffer_of(low, node->input[in]);
    for (int out = 0; out < node->outputs; out++) {
        int number = i * AD_OUTPUTS + out, into = low->output_of[number];
        output[out] = low->storage_of[number] == AD_NO_STORAGE
                          ? (ad_buffer){0}
                          : ad_buffer_of(low, (ad_value){i, out});
        bool adds = into >= 0 && low->spec.output[into].mode == AD_ADD;
        if (output[out].data && kernel->adds_outputs >> out & 1 && !adds)
            clear(output[out], node->type[out]);
    }
    kernel->run(unit->state, output, input, workspace);
}

static void run_rows(const ad_lowering *low, ad_unit *unit, void *workspace) {
    for (int o = 0; o < unit->operands; o++) {
        ad_buffer buffer = low->storage[unit->operand_storage[o]].buffer;
        ASSERT(buffer.data && !buffer.stride);
        unit->operand[o] = (char *)buffer.data + unit->operand_offset[o];
    }
    kern_rows_run(unit->program, unit->operand, workspace);
}

kern_status ad_plan_run(ad_plan *plan, void *arena) {
    ad_lowering *low = &plan->low;
    ASSERT(omp_get_max_threads() <= low->spec.threads); /* or they write behind the arena */
    plan->runs += plan->profile;
    for (int64_t s = 0; s < low->storages; s++)
        if (!low->storage[s].external)
            low->storage[s].buffer = (ad_buffer){(char *)arena + low->storage[s].offset, 0};
    for (int i = 0; low->order[i] >= 0; i++) {
        ad_unit *unit = &low->unit[low->order[i]];
        void *workspace =
            unit->workspace == AD_NO_STORAGE ? NULL : low->storage[unit->workspace].buffer.data;
        double start = plan->profile ? kern_seconds() : 0;
        if (unit->rows)
            run_rows(low, unit, workspace);
        else
            run_kernel(low, unit, workspace);
        if (plan->profile) unit->seconds += kern_seconds() - start;
        kern_status status = low->spec.debug ? ad_check_unit(low, unit) : KERN_OK;
        if (status != KERN_OK) return status;
    }
    return KERN_OK;
}

void ad_plan_profile(ad_plan *plan, bool on) {
    plan->profile = on;
    plan->runs = 0;
    for (int i = 0; i < ad_plan_steps(plan); i++) plan->low.unit[plan->low.order[i]].seconds = 0;
}

ad_plan_step_cost ad_plan_step(const ad_plan *plan, int step) {
    const ad_unit *unit = unit_at(plan, step);
    const ad_graph *graph = plan->low.graph;
    ad_value value =
        unit->nodes ? (ad_value){unit->node[unit->nodes - 1], 0} : ad_numbered(unit->add_from);
    const ad_node *node = ad_node_at(graph, value.node);
    return (ad_plan_step_cost){.op = unit->rows ? "rows" : ad_op_name(node->op),
                               .scope = ad_scope_name(graph, node->scope),
                               .nodes = unit->nodes,
                               .seconds = unit->seconds,
                               .flops = unit_flops(plan, unit, INT64_MAX),
                               .bytes = unit->bytes,
                               .runs = plan->runs};
}
