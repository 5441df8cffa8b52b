/* Fifth pass: memory. Every result gets a storage: the plan's output, the memory of a summand that
 * it adds to, that of an operand which dies in the same row program, or a new piece of the arena.
 * Lifetimes then become offsets (offsets.c). */
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

typedef struct {
    ad_lowering *low;
    int *last_read; /* [values] of roots: position of the last reader */
    int position;
} allocator;

int ad_new_storage(ad_lowering *low, size_t bytes, bool external) {
    low->storage =
        kern_grow(low->storage, &low->storage_capacity, low->storages + 1, sizeof *low->storage);
    low->storage[low->storages] =
        (ad_storage){.bytes = bytes, .external = external, .first = INT32_MAX, .last = -1};
    return (int)low->storages++;
}

static void touch(ad_lowering *low, int storage, int position) {
    ad_storage *piece = &low->storage[storage];
    if (position < piece->first) piece->first = position;
    if (position > piece->last) piece->last = position;
}

/* Scalars lie together in the arena and are there before the first step. */
static void read_scalar(ad_lowering *low, ad_value root, int position) {
    int number = ad_number(root);
    if (low->scalar_storage == AD_NO_STORAGE) low->scalar_storage = ad_new_storage(low, 0, false);
    if (low->storage_of[number] == AD_NO_STORAGE) {
        size_t element = kern_dtype_bytes(ad_type_at(low->graph, root).dtype);
        low->storage_of[number] = low->scalar_storage;
        low->offset[number] = low->scalars++ * (int64_t)(AD_SCALAR_BYTES / element);
        low->storage[low->scalar_storage].bytes += AD_SCALAR_BYTES;
    }
    touch(low, low->scalar_storage, 0);
    touch(low, low->scalar_storage, position);
}

static void read_value(allocator *a, ad_value value) {
    if (!ad_is_value(value)) return;
    ad_value root = ad_root(a->low, value);
    int number = ad_number(root);
    a->last_read[number] = a->position;
    if (ad_is_scalar(a->low->graph, root))
        read_scalar(a->low, root, a->position);
    else if (ad_is_bound(a->low, root) && a->low->storage_of[number] == AD_NO_STORAGE)
        a->low->storage_of[number] =
            ad_new_storage(a->low, ad_bytes(ad_type_at(a->low->graph, root)), true);
}

/* What each step reads, in order; bound memory gets its storage here. */
static void find_readers(allocator *a) {
    ad_lowering *low = a->low;
    for (a->position = 0; low->order[a->position] >= 0; a->position++) {
        const ad_unit *unit = &low->unit[low->order[a->position]];
        for (int o = 0; o < unit->operands; o++)
            if (!unit->operand_written[o]) read_value(a, unit->operand_value[o]);
        for (int m = 0; m < unit->nodes; m++) {
            const ad_node *node = ad_node_at(low->graph, unit->node[m]);
            for (int in = 0; in < node->inputs && !unit->rows; in++) read_value(a, node->input[in]);
            if (low->summand[unit->node[m]] >= 0)
                read_value(a, ad_numbered(low->summand[unit->node[m]]));
        }
    }
}

/* The storage of an operand that this program is the last to read and reads exactly like it writes
 * `value`, or AD_NO_STORAGE. */
static int dying_operand(const allocator *a, const ad_unit *unit, ad_value value) {
    const ad_lowering *low = a->low;
    ad_type type = ad_type_at(low->graph, value);
    for (int o = 0; o < unit->operands && !low->spec.no_reuse; o++) {
        ad_value operand = unit->operand_value[o];
        if (unit->operand_written[o] || !ad_is_value(operand)) continue;
        ad_value root = ad_root(low, operand);
        ad_type from = ad_type_at(low->graph, operand);
        int storage = low->storage_of[ad_number(root)], readers = 0;
        if (storage == AD_NO_STORAGE || low->storage[storage].external ||
            low->storage[storage].last > a->position || from.dtype != type.dtype ||
            from.rank != type.rank || memcmp(from.dim, type.dim, sizeof type.dim) ||
            ad_bytes(from) != low->storage[storage].bytes)
            continue;
        for (int other = 0; other < unit->operands; other++) {
            ad_value v = unit->operand_value[other];
            int s = !ad_is_value(v) ? AD_NO_STORAGE : low->storage_of[ad_number(ad_root(low, v))];
            readers += s == storage;
        }
        if (readers == 1) return storage;
    }
    return AD_NO_STORAGE;
}

static void place_value(allocator *a, const ad_unit *unit, ad_value value, bool may_reuse) {
    ad_lowering *low = a->low;
    int number = ad_number(value), storage = AD_NO_STORAGE;
    if (low->output_of[number] >= 0) {
        storage = low->output_storage[low->output_of[number]];
    } else if (!unit->rows && low->summand[value.node] >= 0 && value.out == 0) {
        storage = low->storage_of[low->summand[value.node]];
    } else if (may_reuse) {
        storage = dying_operand(a, unit, value);
    }
    if (storage == AD_NO_STORAGE)
        storage = ad_new_storage(low, ad_bytes(ad_type_at(low->graph, value)), false);
    low->storage_of[number] = storage;
    touch(low, storage, a->position);
    if (a->last_read[number] >= 0) touch(low, storage, a->last_read[number]);
}

/* A chain of products ends in an output: then all of it accumulates there from the start. */
static void move_chains_to_outputs(ad_lowering *low) {
    for (int i = low->nodes - 1; i >= 0; i--) {
        if (!low->live[i] || low->output_of[i * AD_OUTPUTS] < 0) continue;
        int output = low->output_of[i * AD_OUTPUTS];
        for (int node = i; low->summand[node] >= 0; node = low->summand[node] / AD_OUTPUTS) {
            int *before = &low->output_of[low->summand[node]];
            ASSERT(*before < 0 || *before == output);
            *before = output;
        }
    }
}

static bool adds(const ad_lowering *low, int node) {
    int output = low->output_of[node * AD_OUTPUTS];
    return low->summand[node] >= 0 || (output >= 0 && low->spec.output[output].mode == AD_ADD);
}

static kern_status prepare_kernel(ad_lowering *low, ad_unit *unit) {
    const ad_node *node = ad_node_at(low->graph, unit->node[0]);
    const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
    size_t workspace = 0;
    unit->wanted = 1;
    if (ad_is_unit_collective(low, unit)) return KERN_OK;
    unit->adds = kernel->accumulates && adds(low, unit->node[0]);
    kern_status status = kernel->create(&unit->state, low->spec.device, low->graph, node,
                                        unit->adds, low->spec.threads, &workspace);
    if (status != KERN_OK)
        return kern_fail_context(status, "%s in %s", ad_op_name(node->op),
                                 ad_scope_name(low->graph, node->scope));
    unsigned wanted = 0;
    for (int out = 0; out < node->outputs; out++)
        if (low->uses[unit->node[0] * AD_OUTPUTS + out]) wanted |= 1u << out;
    unit->wanted = wanted;
    if (workspace) unit->workspace = ad_new_storage(low, workspace, false);
    return KERN_OK;
}

/* Ranks that check their values tell each other in a place that nothing else takes. */
static void place_fault(ad_lowering *low) {
    int steps = 0;
    bool together = false;
    for (; low->order[steps] >= 0; steps++) {
        const ad_unit *unit = &low->unit[low->order[steps]];
        together |= ad_is_unit_collective(low, unit);
    }
    if (!together || !low->spec.debug) return;
    low->fault_storage = ad_new_storage(low, sizeof(float), false);
    touch(low, low->fault_storage, 0);
    touch(low, low->fault_storage, steps - 1);
}

static void place_unit(allocator *a, ad_unit *unit) {
    ad_lowering *low = a->low;
    if (unit->workspace != AD_NO_STORAGE) touch(low, unit->workspace, a->position);
    for (int o = 0; o < unit->operands; o++) {
        ad_value value = unit->operand_value[o];
        if (unit->operand_written[o] && ad_is_value(value))
            place_value(a, unit, value, unit->operand_written[o] == 1);
    }
    for (int m = 0; m < unit->nodes && !unit->rows; m++) {
        const ad_node *node = ad_node_at(low->graph, unit->node[m]);
        for (int out = 0; out < node->outputs; out++)
            if (low->uses[unit->node[m] * AD_OUTPUTS + out] || node->op == AD_OP_attention)
                place_value(a, unit, (ad_value){unit->node[m], out}, false);
    }
    for (int o = 0; o < unit->operands; o++) {
        ad_value value = unit->operand_value[o];
        unit->operand_storage[o] = ad_is_value(value)
                                       ? low->storage_of[ad_number(ad_root(low, value))]
                                       : low->output_storage[unit->operand_output[o]];
        ASSERT(unit->operand_storage[o] != AD_NO_STORAGE);
        if (unit->operand_written[o]) touch(low, unit->operand_storage[o], a->position);
        if (ad_is_value(value)) unit->operand_offset[o] = ad_offset_bytes(low, value);
    }
}

kern_status ad_lower_memory(ad_lowering *low) {
    kern_status status = KERN_OK;
    allocator a = {.low = low};
    a.last_read = kern_array((int64_t)low->nodes * AD_OUTPUTS, sizeof *a.last_read);
    for (int i = 0; i < low->nodes * AD_OUTPUTS; i++) {
        a.last_read[i] = -1;
        low->storage_of[i] = AD_NO_STORAGE;
    }
    for (int i = 0; i < low->spec.outputs; i++)
        low->output_storage[i] =
            ad_new_storage(low, ad_bytes(ad_type_at(low->graph, low->spec.output[i].value)), true);
    move_chains_to_outputs(low);
    for (int i = 0; low->order[i] >= 0; i++) {
        ad_unit *unit = &low->unit[low->order[i]];
        TRY(unit->rows ? ad_lower_emit(low, unit) : prepare_kernel(low, unit));
    }
    find_readers(&a);
    for (a.position = 0; low->order[a.position] >= 0; a.position++)
        place_unit(&a, &low->unit[low->order[a.position]]);
    place_fault(low);
    ad_lower_offsets(low);
done:
    free(a.last_read);
    return status;
}
