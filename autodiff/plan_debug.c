/* What a person looks at: a plan printed, and the first value of a debug plan that is not finite.
 */
#include <math.h>
#include <string.h>

#include "autodiff/lower.h"

static bool is_finite(const void *memory, kern_dtype dtype, int64_t elements) {
    const float *f32 = memory;
    const double *f64 = memory;
    const uint16_t *bf16 = memory;
    bool finite = true;
    for (int64_t i = 0; i < elements && dtype == KERN_F32; i++) finite &= isfinite(f32[i]) != 0;
    for (int64_t i = 0; i < elements && dtype == KERN_F64; i++) finite &= isfinite(f64[i]) != 0;
    for (int64_t i = 0; i < elements && dtype == KERN_BF16; i++)
        finite &= (bf16[i] & 0x7f80) != 0x7f80;
    return finite;
}

/* Waits for the buffer, which is dense. */
static kern_status look(bool *finite, const ad_lowering *low, ad_buffer buffer, ad_type type) {
    kern_status status = KERN_OK;
    void *copy = NULL;
    TRY(kern_alloc(&copy, ad_bytes(type), "a value to look at"));
    TRY(kern_download(low->spec.device, copy, buffer.data, ad_bytes(type)));
    *finite = is_finite(copy, type.dtype, ad_elements(type));
done:
    kern_free(copy);
    return status;
}

/* What can be looked at: a result in memory, and not one bound as a view, of which the kernel fills
 * only the rows that exist. */
static bool is_checkable(const ad_lowering *low, ad_value value) {
    int storage = low->storage_of[ad_number(value)];
    return storage != AD_NO_STORAGE && !low->storage[storage].buffer.stride;
}

kern_status ad_check_unit(const ad_lowering *low, const ad_unit *unit) {
    for (int m = 0; m < unit->nodes; m++) {
        const ad_node *node = ad_node_at(low->graph, unit->node[m]);
        for (int out = 0; out < node->outputs; out++) {
            ad_value value = {unit->node[m], out};
            if (!is_checkable(low, value)) continue;
            bool finite = true;
            kern_status status = look(&finite, low, ad_buffer_of(low, value), node->type[out]);
            if (status != KERN_OK || finite) {
                if (status != KERN_OK) return status;
                continue;
            }
            char text[AD_TYPE_TEXT], operands[AD_INPUTS * 48] = "";
            for (int in = 0; in < node->inputs; in++) {
                if (!ad_is_value(node->input[in])) continue;
                size_t used = strlen(operands);
                ad_type type = ad_type_at(low->graph, node->input[in]);
                snprintf(operands + used, sizeof operands - used, "%s%s", used ? ", " : "",
                         ad_type_text(text, type));
            }
            return kern_fail(KERN_ERR_NUMERIC, "%s(%s) in %s gave a value that is not finite",
                             ad_op_name(node->op), operands,
                             *ad_scope_name(low->graph, node->scope)
                                 ? ad_scope_name(low->graph, node->scope)
                                 : "the graph");
        }
    }
    return KERN_OK;
}

kern_status ad_share_failure(const ad_lowering *low, kern_status met, const ad_unit *unit) {
    kern_status status = KERN_OK;
    const kern_device *device = low->spec.device;
    void *place = low->storage[low->fault_storage].buffer.data;
    float failed = met != KERN_OK;
    device->upload(device->stream, place, &failed, sizeof failed);
    low->spec.comm->reduce(low->spec.comm, device->stream, place, place, 1, KERN_F32, KERN_MAX);
    TRY(kern_download(device, &failed, place, sizeof failed));
    if (met != KERN_OK || failed == 0) return met;
    if (!unit)
        return kern_fail(KERN_ERR_NUMERIC,
                         "another rank met a value that is not finite, at the end");
    const ad_node *next = ad_node_at(low->graph, unit->node[0]);
    const char *scope = ad_scope_name(low->graph, next->scope);
    return kern_fail(KERN_ERR_NUMERIC,
                     "another rank met a value that is not finite, before %s in %s",
                     ad_op_name(next->op), *scope ? scope : "the graph");
done:
    return status;
}

uint64_t ad_plan_collectives(const ad_plan *plan, int *count, FILE *file) {
    const ad_lowering *low = &plan->low;
    uint64_t hash = 0xcbf29ce484222325u;
    int found = 0;
    for (int step = 0; low->order[step] >= 0; step++) {
        const ad_unit *unit = &low->unit[low->order[step]];
        if (!ad_is_unit_collective(low, unit)) continue;
        const ad_node *node = ad_node_at(low->graph, unit->node[0]);
        char type[AD_TYPE_TEXT], line[2 * AD_TYPE_TEXT];
        snprintf(line, sizeof line, "%s %s   %s\n", ad_op_name(node->op),
                 ad_type_text(type, node->type[0]), ad_scope_name(low->graph, node->scope));
        for (const char *c = line; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
        if (file) fputs(line, file);
        found++;
    }
    if (count) *count = found;
    return hash;
}

static void print_value(const ad_lowering *low, ad_value value, FILE *file) {
    char name[AD_TYPE_TEXT], type[AD_TYPE_TEXT];
    int number = ad_number(ad_root(low, value)), storage = low->storage_of[number];
    fprintf(file, " %s:%s", ad_value_name(low->graph, value, name),
            ad_type_text(type, ad_type_at(low->graph, value)));
    if (storage == AD_NO_STORAGE) return;
    if (low->storage[storage].external)
        fprintf(file, "@bound");
    else
        fprintf(file, "@%zu", low->storage[storage].offset + ad_offset_bytes(low, value));
}

void ad_plan_print(const ad_plan *plan, FILE *file) {
    const ad_lowering *low = &plan->low;
    for (int step = 0; low->order[step] >= 0; step++) {
        const ad_unit *unit = &low->unit[low->order[step]];
        ad_plan_step_cost cost = ad_plan_step(plan, step, INT64_MAX);
        fprintf(file, "%4d %s", step, cost.op);
        for (int m = 0; m < unit->nodes; m++) {
            const ad_node *node = ad_node_at(low->graph, unit->node[m]);
            if (unit->rows) fprintf(file, " %s%%%d", ad_op_name(node->op), unit->node[m]);
        }
        fprintf(file, " |");
        for (int o = 0; o < unit->operands; o++)
            if (ad_is_value(unit->operand_value[o])) {
                fprintf(file, unit->operand_written[o] ? " ->" : "");
                print_value(low, unit->operand_value[o], file);
            }
        if (!unit->rows) {
            const ad_node *node = ad_node_at(low->graph, unit->node[0]);
            for (int in = 0; in < node->inputs; in++)
                if (ad_is_value(node->input[in])) print_value(low, node->input[in], file);
            fprintf(file, " ->");
            for (int out = 0; out < node->outputs; out++)
                print_value(low, (ad_value){unit->node[0], out}, file);
        }
        fprintf(file, "   %s\n", cost.scope);
    }
}
