/* What a scan compiles: body, and the vjp of body. */
#include "autodiff/scan.h"

#include <stdlib.h>
#include <string.h>

#include "autodiff/scan_state.h"
#include "autodiff/vjp.h"

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
    list->item = kern_grow(list->item, &list->capacity, list->count + 1, sizeof *list->item);
    list->item[list->count] = (ad_plan_output){value, mode};
    return list->count++;
}

/* Results of body with the cotangents that its vjp starts from. */
typedef struct {
    ad_value *value, *ct;
    int count;
} seeds;

static void add_seed(seeds *list, ad_value value, ad_value ct) {
    list->value[list->count] = value;
    list->ct[list->count++] = ct;
}

static seeds seeds_of(const ad_scan *scan, int which) {
    const ad_scan_spec *s = &scan->spec;
    int most = 1 + s->outputs + s->carries + s->histories;
    seeds list = {kern_array(most, sizeof *list.value), kern_array(most, sizeof *list.ct), 0};
    if (ad_is_value(s->loss))
        add_seed(&list, s->loss, ad_fill(s->graph, ad_type_at(s->graph, s->loss), s->loss_scale));
    for (int o = 0; o < s->outputs; o++)
        if (s->output[o].differentiable) add_seed(&list, s->output[o].value, scan->output[o].ct);
    for (int c = 0; c < s->carries && which == FORM_FULL; c++)
        add_seed(&list, s->carry[c].out, scan->carry[c].ct);
    for (int h = 0; h < s->histories && which == FORM_FULL; h++)
        add_seed(&list, s->history[h].fresh, scan->history[h].ct);
    return list;
}

/* Inputs of body that are differentiated by, how their cotangents leave the vjp, and where their
 * positions among its outputs are noted. */
typedef struct {
    ad_value *value, *ct;
    ad_output_mode *mode;
    int **position;
    int count;
} operands;

static void add_operand(operands *list, ad_value value, ad_output_mode mode, int *position) {
    list->value[list->count] = value;
    list->mode[list->count] = mode;
    list->position[list->count++] = position;
}

static operands operands_of(const ad_scan_spec *s, const scan_form *form) {
    int most = s->carries + s->constants + s->slices + s->histories;
    operands list = {.value = kern_array(most, sizeof *list.value),
                     .ct = kern_array(most, sizeof *list.ct),
                     .mode = kern_array(most, sizeof *list.mode),
                     .position = kern_array(most, sizeof *list.position)};
    for (int c = 0; c < s->carries; c++)
        add_operand(&list, s->carry[c].in, AD_WRITE, &form->ct_carry[c]);
    for (int c = 0; c < s->constants; c++)
        add_operand(&list, s->constant[c], AD_ADD, &form->ct_constant[c]);
    for (int i = 0; i < s->slices; i++)
        if (s->slice[i].differentiable)
            add_operand(&list, s->slice[i].value, AD_WRITE, &form->ct_slice[i]);
    for (int h = 0; h < s->histories; h++)
        if (!ad_is_none(s->history[h].past))
            add_operand(&list, s->history[h].past, AD_ADD, &form->ct_past[h]);
    return list;
}

/* What a sum has beside one of its terms; AD_NONE where it is no sum or has no such term. */
static ad_value without(ad_graph *graph, ad_value sum, ad_value term) {
    const ad_node node = *ad_node_at(graph, sum.node);
    if (node.op != AD_OP_add) return AD_NONE;
    for (int in = 0; in < 2; in++) {
        ad_value other = node.input[1 - in];
        if (ad_same(node.input[in], term)) return other;
        ad_value rest = without(graph, node.input[in], term);
        if (ad_is_value(rest)) return in ? ad_add(graph, other, rest) : ad_add(graph, rest, other);
    }
    return AD_NONE;
}

/* Where the full form's cotangent of a carry is that of the next one and something more, only that
 * is made: it is added to the other's memory. */
static void add_in_place(ad_scan *scan, scan_form *form) {
    for (int c = 0; c < scan->spec.carries && scan->spec.chunks > 1; c++) {
        ad_plan_output *output = &form->ct_outputs.item[form->ct_carry[c]];
        ad_value rest = without(scan->spec.graph, output->value, scan->carry[c].ct);
        if (!ad_is_value(rest)) continue;
        *output = (ad_plan_output){rest, AD_ADD};
        scan->carry[c].in_place = true;
    }
    for (int c = 0; c < scan->spec.carries; c++) {
        if (scan->carry[c].in_place) continue;
        scan->carry[c].lambda_offset = scan->lambda_bytes;
        scan->lambda_bytes +=
            kern_align(ad_bytes(ad_type_at(scan->spec.graph, scan->spec.carry[c].in)));
    }
}

/* The vjp of body: cotangents of all that the form reads, as outputs of a plan. */
static void differentiate(ad_scan *scan, int which) {
    ad_graph *graph = scan->spec.graph;
    scan_form *form = &scan->form[which];
    seeds from = seeds_of(scan, which);
    operands to = operands_of(&scan->spec, form);
    ad_vjp(graph, from.count, from.value, from.ct, to.count, to.value, to.ct);
    for (int i = 0; i < to.count; i++) {
        if (ad_is_none(to.ct[i]) && to.mode[i] == AD_WRITE)
            to.ct[i] = ad_fill(graph, ad_cotangent_type(ad_type_at(graph, to.value[i])), 0);
        *to.position[i] = add_output(&form->ct_outputs, to.ct[i], to.mode[i]);
    }
    if (which == FORM_FULL && !ad_failed(graph)) add_in_place(scan, form);
    void *const arrays[] = {from.value, from.ct, to.value, to.ct, to.mode, to.position};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
}

/* ---- compiling ---- */

/* With the histories' views, and the cotangents' in a plan that makes them. Where `reads` is not
 * NULL, only what the plan would read. */
static kern_status compile(ad_plan **plan, bool **reads, const ad_scan *scan,
                           const scan_outputs *outputs, const int *ct_past, ad_plan_spec spec) {
    kern_status status = KERN_OK;
    const ad_scan_spec *s = &scan->spec;
    ad_value *view = kern_array(2 * (int64_t)s->histories, sizeof *view);
    for (int h = 0; h < s->histories; h++) {
        if (ad_is_value(s->history[h].past)) view[spec.views++] = s->history[h].past;
        if (ct_past && ct_past[h] >= 0) view[spec.views++] = outputs->item[ct_past[h]].value;
    }
    spec.view = view;
    spec.outputs = outputs->count;
    spec.output = outputs->item;
    spec.device = s->device;
    spec.comm = s->comm;
    spec.threads = s->threads;
    spec.repeats = true;
    spec.debug = s->debug;
    if (reads)
        *reads = ad_plan_would_read(s->graph, &spec);
    else
        status = ad_plan_compile(plan, s->graph, &spec);
    free(view);
    return status;
}

/* Appends the rounded carries to the values that a plan is given; how many these are then. */
static int add_rounded(const ad_scan *scan, ad_value *given, int count) {
    for (int c = 0; c < scan->spec.carries; c++)
        if (ad_is_value(scan->carry[c].rounded)) given[count++] = scan->carry[c].rounded;
    return count;
}

/* The vjp of the form, to which `cut` values are given. */
static kern_status compile_vjp(ad_plan **plan, bool **reads, const ad_scan *scan,
                               const scan_form *form, int cuts, const ad_value *cut) {
    ad_value *over = kern_array(form->ct_outputs.count, sizeof *over);
    for (int i = 0; i < form->ct_outputs.count; i++) over[i] = AD_NONE;
    for (int c = 0; c < scan->spec.carries && form == &scan->form[FORM_FULL]; c++)
        if (scan->carry[c].in_place) over[form->ct_carry[c]] = scan->carry[c].ct;
    ad_value *given = kern_array(cuts + scan->spec.carries, sizeof *given);
    if (cuts) memcpy(given, cut, (size_t)cuts * sizeof *given);
    ad_plan_spec spec = {.cuts = add_rounded(scan, given, cuts),
                         .cut = given,
                         .over = over,
                         .lazy = scan->forward_nodes};
    kern_status status = compile(plan, reads, scan, &form->ct_outputs, form->ct_past, spec);
    free(over);
    free(given);
    return status;
}

bool *ad_scan_vjp_reads(const ad_scan *scan, const scan_form *form, int cuts, const ad_value *cut) {
    bool *reads;
    compile_vjp(NULL, &reads, scan, form, cuts, cut);
    return reads;
}

static kern_status compile_form(ad_scan *scan, int which) {
    kern_status status = KERN_OK;
    const ad_scan_spec *s = &scan->spec;
    scan_form *form = &scan->form[which];
    scan_outputs body = {0};
    ad_value *cut = kern_array(form->keeps, sizeof *cut);
    ad_value *rounded = kern_array(s->carries, sizeof *rounded);
    for (int o = 0; o < s->outputs; o++)
        if (which == FORM_FULL || !s->output[o].stepped)
            add_output(&body, s->output[o].value, AD_WRITE);
    for (int c = 0; c < s->carries && which == FORM_FULL; c++) {
        add_output(&body, s->carry[c].out, AD_WRITE);
        add_output(&body, scan->carry[c].next_rounded, AD_WRITE);
    }
    for (int h = 0; h < s->histories && which == FORM_FULL; h++)
        add_output(&body, s->history[h].fresh, AD_WRITE);
    for (int i = 0; i < form->keeps; i++) {
        cut[i] = form->kept[i].value;
        add_output(&body, cut[i], AD_WRITE);
    }
    int given = add_rounded(scan, rounded, 0);
    ad_plan_spec spec = {.cuts = given, .cut = rounded};
    TRY(compile(&form->body, NULL, scan, &body, NULL, spec));
    if (s->backward) TRY(compile_vjp(&form->vjp, NULL, scan, form, form->keeps, cut));
done:
    free(body.item);
    free(cut);
    free(rounded);
    return status;
}

static bool has_full_form(const ad_scan *scan) {
    return scan->spec.carries > 0 || scan->spec.histories > 0;
}

int ad_scan_first_form(const ad_scan *scan) {
    bool full = scan->spec.chunks > 1 || !scan->spec.backward;
    return has_full_form(scan) && full ? FORM_FULL : FORM_LAST;
}

static void measure(ad_scan *scan) {
    scan->carry_total =
        ad_scan_carry_bytes(scan, scan->every) + scan->lambda_bytes + 2 * scan->zero_bytes;
    scan->slot_bytes =
        kern_max_bytes(scan->form[FORM_FULL].slot_bytes, scan->form[FORM_LAST].slot_bytes);
    scan->slot_total = (size_t)ad_scan_slots(scan, scan->every) * scan->slot_bytes;
    scan->history_total = ad_scan_carve_history(scan, NULL);
    scan->staging_total = ad_scan_carve_staging(scan, NULL);
}

/* Positions of outputs that are not there. */
static int *nowhere(int count) {
    int *position = kern_array(count, sizeof *position);
    for (int i = 0; i < count; i++) position[i] = -1;
    return position;
}

/* Finds where body rounds the carry, and rounds the next one. */
static void round_carry(ad_scan *scan, int c) {
    ad_graph *g = scan->spec.graph;
    scan_carry *carry = &scan->carry[c];
    carry->rounded = carry->next_rounded = AD_NONE;
    for (int i = 0, nodes = ad_nodes(g); i < nodes && ad_is_none(carry->rounded); i++) {
        const ad_node *node = ad_node_at(g, i);
        if (node->op == AD_OP_cast && node->type[0].dtype == KERN_BF16 &&
            ad_same(node->input[0], scan->spec.carry[c].in))
            carry->rounded = (ad_value){i, 0};
    }
    if (ad_is_none(carry->rounded)) return;
    carry->next_rounded = ad_cast(g, scan->spec.carry[c].out, KERN_BF16);
    carry->rounded_offset = scan->rounded_bytes;
    scan->rounded_bytes += kern_align(ad_bytes(ad_type_at(g, carry->rounded)));
}

static ad_scan *begin(const ad_scan_spec *spec) {
    ad_scan *scan = kern_array(1, sizeof *scan);
    ad_scan_spec *s = &scan->spec;
    *s = *spec;
    if (!s->device) s->device = kern_device_cpu();
    s->carry = copied(spec->carry, spec->carries, sizeof *spec->carry);
    s->constant = copied(spec->constant, spec->constants, sizeof *spec->constant);
    s->slice = copied(spec->slice, spec->slices, sizeof *spec->slice);
    s->output = copied(spec->output, spec->outputs, sizeof *spec->output);
    s->history = copied(spec->history, spec->histories, sizeof *spec->history);
    scan->carry = kern_array(s->carries, sizeof *scan->carry);
    scan->slice = kern_array(s->slices, sizeof *scan->slice);
    scan->output = kern_array(s->outputs, sizeof *scan->output);
    scan->history = kern_array(s->histories, sizeof *scan->history);
    for (int f = 0; f < FORMS; f++) {
        scan->form[f].ct_carry = nowhere(s->carries);
        scan->form[f].ct_constant = nowhere(s->constants);
        scan->form[f].ct_slice = nowhere(s->slices);
        scan->form[f].ct_past = nowhere(s->histories);
    }
    for (int c = 0; c < s->carries; c++) {
        size_t bytes = kern_align(ad_bytes(ad_type_at(s->graph, s->carry[c].in)));
        scan->carry[c].offset = scan->carry_bytes;
        scan->carry_bytes += bytes;
        scan->carry[c].zero_offset = scan->zero_bytes;
        if (s->carry[c].zero) scan->zero_bytes += bytes;
        round_carry(scan, c);
    }
    return scan;
}

/* The cotangents that the vjp starts from, as inputs of the graph. */
static void add_ct_inputs(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    ad_graph *g = s->graph;
    for (int c = 0; c < s->carries; c++)
        scan->carry[c].ct = ad_input(g, ad_type_at(g, s->carry[c].out), "ct_carry.%d", c);
    for (int h = 0; h < s->histories; h++) {
        ad_type type = ad_cotangent_type(ad_type_at(g, s->history[h].fresh));
        scan->history[h].ct = ad_input(g, type, "ct_fresh.%d", h);
    }
    for (int o = 0; o < s->outputs; o++) {
        ad_type type = ad_cotangent_type(ad_type_at(g, s->output[o].value));
        if (s->output[o].differentiable) scan->output[o].ct = ad_input(g, type, "ct_output.%d", o);
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
            ad_scan_find_kept(scan, &scan->form[f]);
    }
    *result = scan;
    scan = NULL;
done:
    ad_scan_destroy(scan);
    return status;
}

static void drop_plans(scan_form *form) {
    ad_plan_destroy(form->body);
    ad_plan_destroy(form->vjp);
    form->body = form->vjp = NULL;
}

void ad_scan_choose(ad_scan *scan, double budget) {
    for (int f = 0; f < FORMS; f++) drop_plans(&scan->form[f]);
    scan->every = 1;
    if (scan->spec.backward) ad_scan_decide(scan, budget);
    measure(scan);
}

kern_status ad_scan_compile(ad_scan *scan) {
    kern_status status = KERN_OK;
    ASSERT(scan->every && !scan->form[FORM_LAST].body);
    for (int f = ad_scan_first_form(scan); f < FORMS; f++) TRY(compile_form(scan, f));
done:
    return status;
}

void ad_scan_destroy(ad_scan *scan) {
    if (!scan) return;
    for (int f = 0; f < FORMS; f++) {
        scan_form *form = &scan->form[f];
        drop_plans(form);
        free(form->kept);
        free(form->ct_outputs.item);
        free(form->ct_carry);
        free(form->ct_constant);
        free(form->ct_slice);
        free(form->ct_past);
    }
    kern_buffer_destroy(&scan->carry_memory);
    kern_buffer_destroy(&scan->rounded_memory);
    kern_buffer_destroy(&scan->slot_memory);
    kern_buffer_destroy(&scan->history_memory);
    kern_buffer_destroy(&scan->staging_memory);
    const void *const arrays[] = {scan->spec.carry,  scan->spec.constant, scan->spec.slice,
                                  scan->spec.output, scan->spec.history,  scan->carry,
                                  scan->slice,       scan->output,        scan->history};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free((void *)(uintptr_t)arrays[i]);
    free(scan);
}

ad_plan *ad_scan_plan_of(const ad_scan *scan, int which) {
    const scan_form *form =
        &scan->form[which == AD_SCAN_BODY || which == AD_SCAN_VJP ? FORM_FULL : FORM_LAST];
    return which < AD_SCAN_VJP ? form->body : form->vjp;
}
