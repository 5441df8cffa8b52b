/* Running a plan: addresses, calls, and the recordings of devices that have them. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

/* ---- calls ---- */

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

static void clear(kern_stream *stream, ad_buffer buffer, ad_type type) {
    stream->device->zero(stream, buffer.data, ad_item_step(buffer, type),
                         ad_bytes(type) / (size_t)type.dim[0], type.dim[0]);
}

static void run_kernel(const ad_lowering *low, const ad_unit *unit, kern_stream *stream,
                       void *workspace) {
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
            clear(stream, output[out], node->type[out]);
    }
    kernel->run(unit->state, stream, output, input, workspace);
}

static void run_collective(const ad_lowering *low, const ad_unit *unit, kern_stream *stream) {
    const ad_node *node = ad_node_at(low->graph, unit->node[0]);
    ad_op_definition(node->op)->collect(low->spec.comm, stream, node->type[0],
                                        ad_buffer_of(low, (ad_value){unit->node[0], 0}).data,
                                        ad_buffer_of(low, node->input[0]).data);
}

static void run_rows(const ad_lowering *low, ad_unit *unit, kern_stream *stream, void *workspace) {
    for (int o = 0; o < unit->operands; o++) {
        ad_buffer buffer = low->storage[unit->operand_storage[o]].buffer;
        ASSERT(buffer.data && !buffer.stride);
        unit->operand[o] = (char *)buffer.data + unit->operand_offset[o];
    }
    stream->device->rows->run(stream, unit->state, unit->operand, workspace);
}

static kern_status run_unit(ad_plan *plan, ad_unit *unit, kern_stream *stream) {
    const ad_lowering *low = &plan->low;
    void *workspace =
        unit->workspace == AD_NO_STORAGE ? NULL : low->storage[unit->workspace].buffer.data;
    double start = 0;
    if (plan->profile) {
        kern_status status = kern_finish(stream);
        if (status != KERN_OK) return status;
        start = kern_seconds();
    }
    if (unit->rows)
        run_rows(low, unit, stream, workspace);
    else if (ad_is_unit_collective(low, unit))
        run_collective(low, unit, stream);
    else
        run_kernel(low, unit, stream, workspace);
    if (stream->status != KERN_OK) {
        ad_plan_step_cost step = ad_unit_cost(plan, unit, INT64_MAX);
        return kern_fail_context(stream->status, "%s in %s", step.op, step.scope);
    }
    kern_status status = plan->profile ? kern_finish(stream) : KERN_OK;
    if (plan->profile) unit->seconds += kern_seconds() - start;
    return status;
}

/* With ranks that tell each other, a failure shows at the next collective, for all alike. */
static kern_status run_units(ad_plan *plan, kern_stream *stream, int from, int to) {
    ad_lowering *low = &plan->low;
    bool shared = low->fault_storage != AD_NO_STORAGE;
    kern_status met = KERN_OK;
    for (int i = from; i < to; i++) {
        ad_unit *unit = &low->unit[low->order[i]];
        if (shared && ad_is_unit_collective(low, unit)) {
            kern_status status = ad_share_failure(low, met, unit);
            if (status != KERN_OK) return status;
        }
        if (met != KERN_OK) continue;
        met = run_unit(plan, unit, stream);
        if (met == KERN_OK && low->spec.debug) met = ad_check_unit(low, unit);
        if (met != KERN_OK && !shared) return met;
    }
    return shared ? ad_share_failure(low, met, NULL) : KERN_OK;
}

/* ---- recordings ---- */

/* More sets of addresses than this are not remembered at once. */
enum { RECORDS = 1024 };

static size_t bound_bytes(const ad_lowering *low) {
    return (size_t)(low->storages + 1) * sizeof(ad_buffer);
}

static int64_t parts_of(const ad_plan *plan, const ad_run_record *record) {
    return record->bound[plan->low.storages].stride;
}

static void forget(const ad_plan *plan, ad_run_record *record) {
    for (int64_t part = 0; record->recording && part < parts_of(plan, record); part++)
        if (record->recording[part]) plan->low.spec.device->forget(record->recording[part]);
    free(record->recording);
    free(record->bound);
}

/* What the run with these addresses is known by: all of them, the arena's last. */
static ad_run_record *find_record(ad_plan *plan, void *arena, int parts) {
    ad_lowering *low = &plan->low;
    ad_buffer *bound = kern_array(low->storages + 1, sizeof *bound);
    for (int64_t s = 0; s < low->storages; s++)
        if (low->storage[s].external) bound[s] = low->storage[s].buffer;
    bound[low->storages] = (ad_buffer){arena, parts};
    for (int r = 0; r < plan->records; r++)
        if (!memcmp(plan->record[r].bound, bound, bound_bytes(low))) {
            ad_run_record *found = &plan->record[r];
            if (!found->recording) found->recording = kern_array(parts, sizeof *found->recording);
            free(bound);
            return found;
        }
    if (!plan->record) plan->record = kern_array(RECORDS, sizeof *plan->record);
    ad_run_record *record = &plan->record[plan->next_record];
    if (plan->records < RECORDS)
        plan->records++;
    else
        forget(plan, record);
    plan->next_record = (plan->next_record + 1) % RECORDS;
    *record = (ad_run_record){.bound = bound};
    return NULL;
}

void ad_plan_forget_runs(ad_plan *plan) {
    for (int r = 0; r < plan->records; r++) forget(plan, &plan->record[r]);
    free(plan->record);
}

/* What a device says of a recording's failure names no step. */
static kern_status explain(const ad_plan *plan, kern_status status) {
    const ad_lowering *low = &plan->low;
    int last = 0;
    while (low->order[last] >= 0 && low->order[last + 1] >= 0) last++;
    if (status == KERN_OK || low->order[last] < 0) return status;
    ad_plan_step_cost step = ad_unit_cost(plan, &low->unit[low->order[last]], INT64_MAX);
    return kern_fail_context(status, "the recorded run up to %s in %s", step.op, step.scope);
}

/* Steps from .. to - 1; record: of the whole run, or NULL. */
static kern_status run_part(ad_plan *plan, kern_stream *stream, ad_run_record *record, int part,
                            int from, int to) {
    const kern_device *device = stream->device;
    kern_status status = KERN_OK;
    if (from >= to) return status;
    if (!record) return run_units(plan, stream, from, to);
    if (!record->recording[part]) {
        device->record(stream);
        status = run_units(plan, stream, from, to);
        record->recording[part] = device->recorded(stream);
    }
    if (status != KERN_OK) return status;
    device->replay(stream, record->recording[part]);
    return explain(plan, stream->status);
}

/* ---- a run ---- */

static void set_scalars(const ad_plan *plan, kern_stream *stream) {
    const ad_lowering *low = &plan->low;
    if (!low->scalars) return;
    for (int i = 0; i < low->scalars; i++) ASSERT(plan->is_set[i]);
    stream->device->upload(stream, low->storage[low->scalar_storage].buffer.data, plan->scalar,
                           (size_t)low->scalars * AD_SCALAR_BYTES);
}

/* The step with which part `part` of a run ends. What ranks of a debug plan find they tell each
 * other in one part. */
static int end_of_part(const ad_plan *plan, const ad_marks *marks, int part) {
    const ad_lowering *low = &plan->low;
    int end = 0, steps = ad_plan_steps(plan);
    if (!marks || part >= marks->marks || low->spec.debug) return steps;
    for (int o = 0; o < low->spec.outputs; o++)
        if (marks->mark[o] >= 0 && marks->mark[o] <= part)
            end = (int)kern_max(end, low->storage[low->output_storage[o]].last + 1);
    return end;
}

kern_status ad_plan_run_marked(ad_plan *plan, void *arena, const ad_marks *marks) {
    kern_status status = KERN_OK;
    ad_lowering *low = &plan->low;
    kern_stream *stream = low->spec.device->stream;
    int parts = marks ? marks->marks + 1 : 1, from = 0;
    ASSERT(omp_get_max_threads() <= low->spec.threads); /* or they write behind the arena */
    plan->runs += plan->profile;
    for (int64_t s = 0; s < low->storages; s++)
        if (!low->storage[s].external)
            low->storage[s].buffer = (ad_buffer){(char *)arena + low->storage[s].offset, 0};
    set_scalars(plan, stream);
    bool records =
        stream->device->record && low->spec.repeats && !low->spec.debug && !plan->profile;
    ad_run_record *record = records ? find_record(plan, arena, parts) : NULL;
    for (int part = 0; part < parts && status == KERN_OK; part++) {
        int to = end_of_part(plan, marks, part);
        status = run_part(plan, stream, record, part, from, to);
        if (status == KERN_OK && part < parts - 1) marks->reached(marks->context, part);
        from = to;
    }
    return status;
}

kern_status ad_plan_run(ad_plan *plan, void *arena) {
    return ad_plan_run_marked(plan, arena, NULL);
}
