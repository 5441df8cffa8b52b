/* What a scan compiles: body, and the vjp of body. */
#include "autodiff/scan.h"

#include <stdlib.h>
#include <string.h>

#include "autodiff/scan_state.h"
#include "autodiff/vjp.h"

size_t ad_scan_align(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static void *copied(const void *from, int count, size_t item) {
    void *to = kern_array(count, item);
    if (count) memcpy(to, from, (size_t)count * item);
    return to;
}

int64_t ad_scan_past_capacity(const ad_scan *scan, int history) {
    ad_value past = scan->spec.history[history].past;
    return ad_is_none(past) ? 0 : ad_type_at(scan->spec.graph, past).dim[1];
}

int64_t ad_scan_row_elements(const ad_scan *scan, ad_value value, int64_t rows) {
    return ad_elements(ad_type_at(scan->spec.graph, value)) / rows;
}

/* ---- the vjp of a form ---- */

/* Appends an output to a growing list; its position, or -1 where there is no value. */
static int add_output(scan_outputs *list, ad_value value, ad_output_mode mode) {
    if (!ad_is_value(value)) return -1;
    list->item = realloc(list->item, (size_t)(list->count + 1) * sizeof *list->item);
    ASSERT(list->item);
    list->item[list->count] = (ad_plan_output){value, mode};
    return list->count++;
}

/* Cotangents of all that the form reads, as outputs of a plan. */
static void differentiate(ad_scan *scan, int which) {
    const ad_scan_spec *s = &scan->spec;
    scan_form *form = &scan->form[which];
    scan_outputs *list = &form->ct_outputs;
    ad_graph *graph = s->graph;
    int heads = 1 + s->carries + s->histories + s->outputs, wrts = 0, heads_used = 0;
    ad_value *output = kern_array(heads, sizeof *output), *ct = kern_array(heads, sizeof *ct);
    int all = s->carries + s->constants + s->slices + s->histories;
    ad_value *wrt = kern_array(all, sizeof *wrt), *result = kern_array(all, sizeof *result);
    if (ad_is_value(s->loss)) {
        output[heads_used] = s->loss;
        ct[heads_used++] = ad_fill(graph, ad_type_at(graph, s->loss), s->loss_scale);
    }
    for (int o = 0; o < s->outputs; o++) {
        if (!s->output[o].differentiable) continue;
        output[heads_used] = s->output[o].value;
        ct[heads_used++] = scan->ct_output[o];
    }
    for (int c = 0; c < s->carries && which == FORM_FULL; c++) {
        output[heads_used] = s->carry[c].out;
        ct[heads_used++] = scan->ct_next[c];
    }
    for (int h = 0; h < s->histories && which == FORM_FULL; h++) {
        output[heads_used] = s->history[h].fresh;
        ct[heads_used++] = scan->ct_fresh[h];
    }
    for (int c = 0; c < s->carries; c++) wrt[wrts++] = s->carry[c].in;
    for (int c = 0; c < s->constants; c++) wrt[wrts++] = s->constant[c];
    for (int i = 0; i < s->slices; i++)
        if (s->slice[i].differentiable) wrt[wrts++] = s->slice[i].value;
    for (int h = 0; h < s->histories; h++)
        if (!ad_is_none(s->history[h].past)) wrt[wrts++] = s->history[h].past;
    ad_vjp(graph, heads_used, output, ct, wrts, wrt, result);
    wrts = 0;
    for (int c = 0; c < s->carries; c++) {
        ad_value lambda = result[wrts++];
        if (ad_is_none(lambda)) lambda = ad_fill(graph, ad_type_at(graph, s->carry[c].in), 0);
        form->ct_carry[c] = add_output(list, lambda, AD_WRITE);
    }
    for (int c = 0; c < s->constants; c++)
        form->ct_constant[c] = add_output(list, result[wrts++], AD_ADD);
    for (int i = 0; i < s->slices; i++) {
        if (!s->slice[i].differentiable) continue;
        ad_value ct_slice = result[wrts++];
        if (ad_is_none(ct_slice))
            ct_slice = ad_fill(graph, ad_cotangent_type(ad_type_at(graph, s->slice[i].value)), 0);
        form->ct_slice[i] = add_output(list, ct_slice, AD_WRITE);
    }
    for (int h = 0; h < s->histories; h++)
        form->ct_past[h] =
            ad_is_none(s->history[h].past) ? -1 : add_output(list, result[wrts++], AD_ADD);
    free(output);
    free(ct);
    free(wrt);
    free(result);
}

/* ---- compiling ---- */

kern_status ad_scan_compile_plan(ad_plan **plan, const ad_scan *scan, const scan_outputs *outputs,
                                 int cuts, const ad_value *cut, int lazy) {
    ad_plan_spec spec = {.outputs = outputs->count,
                         .output = outputs->item,
                         .cuts = cuts,
                         .cut = cut,
                         .lazy = lazy,
                         .threads = scan->spec.threads,
                         .debug = scan->spec.debug};
    return ad_plan_compile(plan, scan->spec.graph, &spec);
}

static kern_status compile_form(ad_scan *scan, int which) {
    kern_status status = KERN_OK;
    const ad_scan_spec *s = &scan->spec;
    scan_form *form = &scan->form[which];
    scan_outputs body = {0};
    ad_value *cut = kern_array(form->keeps, sizeof *cut);
    for (int o = 0; o < s->outputs; o++)
        if (which == FORM_FULL || !s->output[o].stepped)
            add_output(&body, s->output[o].value, AD_WRITE);
    for (int c = 0; c < s->carries && which == FORM_FULL; c++)
        add_output(&body, s->carry[c].out, AD_WRITE);
    for (int h = 0; h < s->histories && which == FORM_FULL; h++)
        add_output(&body, s->history[h].fresh, AD_WRITE);
    for (int i = 0; i < form->keeps; i++) {
        cut[i] = form->kept[i].value;
        add_output(&body, cut[i], AD_WRITE);
    }
    TRY(ad_scan_compile_plan(&form->body, scan, &body, 0, NULL, 0));
    if (s->backward)
        TRY(ad_scan_compile_plan(&form->vjp, scan, &form->ct_outputs, form->keeps, cut,
                                 scan->forward_nodes));
done:
    free(body.item);
    free(cut);
    return status;
}

static bool has_full_form(const ad_scan *scan) {
    return scan->spec.carries > 0 || scan->spec.histories > 0;
}

int ad_scan_first_form(const ad_scan *scan) {
    bool full = scan->spec.chunks > 1 || !scan->spec.backward;
    return has_full_form(scan) && full ? FORM_FULL : FORM_LAST;
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

static void measure(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    scan->saved = ad_scan_saved(scan, scan->every);
    if (!s->backward) scan->saved = s->chunks > 1 ? 2 : 0;
    scan->carry_total = (size_t)scan->saved * scan->carry_bytes;
    if (s->backward) scan->carry_total += scan->carry_bytes; /* of lambda */
    scan->slot_bytes = largest(scan->form[FORM_FULL].slot_bytes, scan->form[FORM_LAST].slot_bytes);
    scan->slot_total = (size_t)ad_scan_slots(scan, scan->every) * scan->slot_bytes;
    scan->history_total = ad_scan_carve_history(scan, NULL);
    scan->staging_total = ad_scan_carve_staging(scan, NULL);
}

static ad_scan *begin(const ad_scan_spec *spec) {
    ad_scan *scan = kern_array(1, sizeof *scan);
    ad_scan_spec *s = &scan->spec;
    *s = *spec;
    s->carry = copied(spec->carry, spec->carries, sizeof *spec->carry);
    s->constant = copied(spec->constant, spec->constants, sizeof *spec->constant);
    s->slice = copied(spec->slice, spec->slices, sizeof *spec->slice);
    s->output = copied(spec->output, spec->outputs, sizeof *spec->output);
    s->history = copied(spec->history, spec->histories, sizeof *spec->history);
    scan->ct_next = kern_array(s->carries, sizeof *scan->ct_next);
    scan->ct_fresh = kern_array(s->histories, sizeof *scan->ct_fresh);
    scan->ct_output = kern_array(s->outputs, sizeof *scan->ct_output);
    scan->output_ct = kern_array(s->outputs, sizeof *scan->output_ct);
    scan->carry_offset = kern_array(s->carries, sizeof *scan->carry_offset);
    scan->past_rows = kern_array(s->histories, sizeof *scan->past_rows);
    void ***const pointers[] = {&scan->history_rows,  &scan->history_ct,     &scan->fresh_stage,
                                &scan->slice_stage,   &scan->ct_slice_stage, &scan->ct_fresh_stage,
                                &scan->output_stage,  &scan->ct_lambda,      &scan->slice_ct,
                                &scan->output_memory, &scan->ct_output_stage};
    int most = s->carries + s->slices + s->outputs + s->histories;
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        *pointers[i] = kern_array(most, sizeof **pointers[i]);
    scan->slice_memory = kern_array(s->slices, sizeof *scan->slice_memory);
    for (int f = 0; f < FORMS; f++) {
        scan->form[f].ct_carry = kern_array(s->carries, sizeof(int));
        scan->form[f].ct_constant = kern_array(s->constants, sizeof(int));
        scan->form[f].ct_slice = kern_array(s->slices, sizeof(int));
        scan->form[f].ct_past = kern_array(s->histories, sizeof(int));
    }
    for (int c = 0; c < s->carries; c++) {
        scan->carry_offset[c] = scan->carry_bytes;
        scan->carry_bytes += ad_scan_align(ad_bytes(ad_type_at(s->graph, s->carry[c].in)));
    }
    return scan;
}

/* The cotangents that the vjp starts from, as inputs of the graph. */
static void add_ct_inputs(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    ad_graph *g = s->graph;
    for (int c = 0; c < s->carries; c++)
        scan->ct_next[c] = ad_input(g, ad_type_at(g, s->carry[c].out), "ct_carry.%d", c);
    for (int h = 0; h < s->histories; h++) {
        ad_type type = ad_cotangent_type(ad_type_at(g, s->history[h].fresh));
        scan->ct_fresh[h] = ad_input(g, type, "ct_fresh.%d", h);
    }
    for (int o = 0; o < s->outputs; o++) {
        ad_type type = ad_cotangent_type(ad_type_at(g, s->output[o].value));
        if (s->output[o].differentiable) scan->ct_output[o] = ad_input(g, type, "ct_output.%d", o);
    }
}

kern_status ad_scan_create(ad_scan **result, const ad_scan_spec *spec) {
    *result = NULL;
    kern_status status = ad_graph_status(spec->graph);
    if (status != KERN_OK) return status;
    ad_scan *scan = begin(spec);
    scan->forward_nodes = ad_nodes(spec->graph);
    if (spec->backward) {
        add_ct_inputs(scan);
        for (int f = ad_scan_first_form(scan); f < FORMS; f++) differentiate(scan, f);
        TRY(ad_graph_status(spec->graph));
        for (int f = ad_scan_first_form(scan); f < FORMS; f++)
            TRY(ad_scan_find_kept(scan, &scan->form[f]));
    }
    *result = scan;
    scan = NULL;
done:
    ad_scan_destroy(scan);
    return status;
}

kern_status ad_scan_compile(ad_scan *scan, double budget) {
    kern_status status = KERN_OK;
    ASSERT(!scan->form[FORM_LAST].body);
    scan->every = 1;
    if (scan->spec.backward) ad_scan_decide(scan, budget);
    for (int f = ad_scan_first_form(scan); f < FORMS; f++) TRY(compile_form(scan, f));
    measure(scan);
done:
    return status;
}

void ad_scan_destroy(ad_scan *scan) {
    if (!scan) return;
    for (int f = 0; f < FORMS; f++) {
        scan_form *form = &scan->form[f];
        ad_plan_destroy(form->body);
        ad_plan_destroy(form->vjp);
        free(form->kept);
        free(form->ct_outputs.item);
        free(form->ct_carry);
        free(form->ct_constant);
        free(form->ct_slice);
        free(form->ct_past);
    }
    kern_free(scan->carries);
    kern_free(scan->slot);
    kern_free(scan->history);
    kern_free(scan->staging);
    const void *const arrays[] = {
        scan->spec.carry,   scan->spec.constant, scan->spec.slice,     scan->spec.output,
        scan->spec.history, scan->ct_next,       scan->ct_fresh,       scan->carry_offset,
        scan->past_rows,    scan->history_rows,  scan->history_ct,     scan->fresh_stage,
        scan->slice_stage,  scan->output_stage,  scan->ct_slice_stage, scan->ct_fresh_stage,
        scan->ct_lambda,    scan->slice_ct,      scan->output_memory,  scan->slice_memory,
        scan->ct_output,    scan->output_ct,     scan->ct_output_stage};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free((void *)(uintptr_t)arrays[i]);
    free(scan);
}

ad_plan *ad_scan_plan_of(const ad_scan *scan, int which) {
    const scan_form *form =
        &scan->form[which == AD_SCAN_BODY || which == AD_SCAN_VJP ? FORM_FULL : FORM_LAST];
    return which < AD_SCAN_VJP ? form->body : form->vjp;
}

ad_scan_memory ad_scan_plan(const ad_scan *scan) {
    ad_scan_memory memory = {.carries = scan->carry_total,
                             .slots = scan->slot_total,
                             .history = scan->history_total + scan->staging_total,
                             .every = scan->every};
    double kept = 0, all = 0;
    for (int which = 0; which < AD_SCAN_PLANS; which++) {
        const ad_plan *plan = ad_scan_plan_of(scan, which);
        if (!plan) continue;
        memory.arena = largest(memory.arena, ad_plan_arena_bytes(plan));
        bool last = which == AD_SCAN_BODY_LAST || which == AD_SCAN_VJP_LAST;
        const scan_form *form = &scan->form[last ? FORM_LAST : FORM_FULL];
        double times = 0, flops = 0;
        for (int64_t i = 0; i < scan->spec.chunks; i++) {
            if (has_full_form(scan) && (i == scan->spec.chunks - 1) != last) continue;
            bool replayed = which == AD_SCAN_BODY && ad_scan_replays(scan, i);
            flops += (replayed ? 2 : 1) * ad_plan_flops(plan, i * scan->spec.chunk);
            times += replayed ? 2 : 1;
            if (which < AD_SCAN_VJP) {
                kept += ad_scan_kept_flops(form);
                all += ad_plan_flops(plan, INT64_MAX);
            }
        }
        *(which < AD_SCAN_VJP ? &memory.flops : &memory.vjp_flops) += flops;
        *(which < AD_SCAN_VJP ? &memory.bytes : &memory.vjp_bytes) += times * ad_plan_bytes(plan);
    }
    memory.kept_fraction = all > kept ? kept / all : 1;
    return memory;
}
