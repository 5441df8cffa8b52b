/* What a scan compiles and what it keeps. */
#include "autodiff/scan.h"

#include <stdlib.h>
#include <string.h>

#include "autodiff/scan_state.h"
#include "autodiff/vjp.h"

size_t ad_scan_align(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static void *array(int64_t count, size_t item) {
    void *memory = calloc((size_t)count + 1, item);
    ASSERT(memory);
    return memory;
}

static void *copied(const void *from, int count, size_t item) {
    void *to = array(count, item);
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

typedef struct {
    ad_plan_output *output;
    int outputs;
} output_list;

static int add_output(output_list *list, ad_value value, ad_output_mode mode) {
    if (!ad_is_value(value)) return -1;
    list->output = realloc(list->output, (size_t)(list->outputs + 1) * sizeof *list->output);
    ASSERT(list->output);
    list->output[list->outputs] = (ad_plan_output){value, mode};
    return list->outputs++;
}

/* Cotangents of all that the form reads, as outputs of a plan. */
static void differentiate(ad_scan *scan, int which, output_list *list) {
    const ad_scan_spec *s = &scan->spec;
    scan_form *form = &scan->form[which];
    ad_graph *graph = s->graph;
    int heads = 1 + s->carries + s->histories + s->outputs, wrts = 0, heads_used = 0;
    ad_value *output = array(heads, sizeof *output), *ct = array(heads, sizeof *ct);
    int all = s->carries + s->constants + s->slices + s->histories;
    ad_value *wrt = array(all, sizeof *wrt), *result = array(all, sizeof *result);
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

/* ---- what is worth keeping ---- */

/* A sum of products is kept as one value, its terms are not. */
static ad_value through_views(const ad_graph *graph, ad_value value) {
    const ad_node *node = ad_node_at(graph, value.node);
    while (node->op == AD_OP_reshape) {
        value = node->input[0];
        node = ad_node_at(graph, value.node);
    }
    return value;
}

/* FLOPs by node: of a product, or of all products in a sum of which nothing else is used. */
static double *product_flops(const ad_graph *graph, int nodes) {
    int total = ad_nodes(graph);
    double *flops = array(total, sizeof *flops);
    int *uses = array(total, sizeof *uses);
    for (int i = 0; i < total; i++) {
        const ad_node *node = ad_node_at(graph, i);
        for (int in = 0; in < node->inputs && node->op != AD_OP_reshape; in++)
            if (ad_is_value(node->input[in])) uses[through_views(graph, node->input[in]).node]++;
    }
    for (int i = 0; i < nodes; i++) {
        const ad_node *node = ad_node_at(graph, i);
        const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
        if (kernel && kernel->flops) flops[i] = kernel->flops(graph, node, ~0u, INT64_MAX);
        if (node->op != AD_OP_add) continue;
        int a = through_views(graph, node->input[0]).node;
        int b = through_views(graph, node->input[1]).node;
        if (flops[a] == 0 || flops[b] == 0 || uses[a] != 1 || uses[b] != 1) continue;
        flops[i] = flops[a] + flops[b];
        flops[a] = flops[b] = 0;
    }
    free(uses);
    return flops;
}

static kern_status compile(ad_plan **plan, const ad_scan *scan, const output_list *outputs,
                           int cuts, const ad_value *cut, int lazy) {
    ad_plan_spec spec = {.outputs = outputs->outputs,
                         .output = outputs->output,
                         .cuts = cuts,
                         .cut = cut,
                         .lazy = lazy,
                         .threads = scan->spec.threads,
                         .debug = scan->spec.debug};
    return ad_plan_compile(plan, scan->spec.graph, &spec);
}

static int by_density(const void *a, const void *b) {
    const scan_kept *x = a, *y = b;
    double dx = x->flops / (double)x->bytes, dy = y->flops / (double)y->bytes;
    if (dx != dy) return dx < dy ? 1 : -1;
    return (x->value.node > y->value.node) - (x->value.node < y->value.node);
}

/* The products of the forward pass that the vjp reads, densest in FLOPs per byte first. */
static kern_status find_kept(ad_scan *scan, scan_form *form, const output_list *vjp) {
    kern_status status = KERN_OK;
    const ad_graph *graph = scan->spec.graph;
    ad_plan *probe = NULL;
    int cuts = 0;
    double *flops = product_flops(graph, scan->forward_nodes);
    ad_value *cut = array((int64_t)scan->forward_nodes * AD_OUTPUTS, sizeof *cut);
    for (int i = 0; i < scan->forward_nodes; i++)
        for (int out = 0; flops[i] > 0 && out < ad_node_at(graph, i)->outputs; out++)
            cut[cuts++] = (ad_value){i, out};
    TRY(compile(&probe, scan, vjp, cuts, cut, scan->forward_nodes));
    form->kept = array(cuts, sizeof *form->kept);
    for (int i = 0; i < cuts; i++)
        if (ad_plan_reads(probe, cut[i]))
            form->kept[form->keeps++] =
                (scan_kept){.value = cut[i],
                            .bytes = ad_scan_align(ad_bytes(ad_type_at(graph, cut[i]))),
                            .flops = flops[cut[i].node]};
    for (int i = 0, j; i < form->keeps; i = j) { /* results of one node share its cost */
        for (j = i; j < form->keeps && form->kept[j].value.node == form->kept[i].value.node;) j++;
        for (int same = i; same < j; same++) form->kept[same].flops /= j - i;
    }
    qsort(form->kept, (size_t)form->keeps, sizeof *form->kept, by_density);
done:
    ad_plan_destroy(probe);
    free(flops);
    free(cut);
    return status;
}

static size_t kept_bytes(const scan_form *form) {
    size_t bytes = 0;
    for (int i = 0; i < form->keeps; i++) bytes += form->kept[i].bytes;
    return bytes;
}

static double kept_flops(const scan_form *form) {
    double flops = 0;
    for (int i = 0; i < form->keeps; i++) flops += form->kept[i].flops;
    return flops;
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

/* The budget decides. Either every carry is saved and each chunk keeps what fits; or carries are
 * saved for every k-th chunk, and a chunk's values are kept while its segment is replayed. */
static void choose(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    size_t all = largest(kept_bytes(&scan->form[FORM_FULL]), kept_bytes(&scan->form[FORM_LAST]));
    double n = (double)s->chunks, carry = (double)scan->carry_bytes;
    double full = kept_flops(&scan->form[FORM_FULL]);
    double spare = (s->budget - (n - 1) * carry) / n, kept = 0, best;
    size_t fits = 0;
    for (int i = 0; i < scan->form[FORM_FULL].keeps; i++) {
        const scan_kept *item = &scan->form[FORM_FULL].kept[i];
        if ((double)(fits + item->bytes) > spare) break;
        fits += item->bytes;
        kept += item->flops;
    }
    size_t limit = (double)all <= spare ? all : fits;
    best = spare < 0 ? 1e300 : (n - 1) * (full - kept);
    scan->every = 1;
    for (int64_t k = 2; k <= s->chunks && best > 0; k++) {
        double saved = (n - 1) / (double)k + (double)(k - 1);
        double cost = (n - (double)k) * full;
        if (saved * carry + (double)k * (double)all > s->budget || cost >= best) continue;
        best = cost;
        scan->every = k;
        limit = all;
    }
    if (best >= 1e300) { /* nothing fits: the least memory there is */
        while ((scan->every + 1) * (scan->every + 1) <= s->chunks) scan->every++;
        limit = 0;
    }
    for (int f = 0; f < FORMS; f++) {
        scan_form *form = &scan->form[f];
        int keeps = 0;
        for (size_t used = 0; keeps < form->keeps; keeps++) {
            if (used + form->kept[keeps].bytes > limit) break;
            form->kept[keeps].offset = used;
            used += form->kept[keeps].bytes;
            form->slot_bytes = used;
        }
        form->keeps = keeps;
    }
}

static kern_status compile_form(ad_scan *scan, int which, output_list *vjp) {
    kern_status status = KERN_OK;
    const ad_scan_spec *s = &scan->spec;
    scan_form *form = &scan->form[which];
    output_list body = {0};
    ad_value *cut = array(form->keeps, sizeof *cut);
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
    TRY(compile(&form->body, scan, &body, 0, NULL, 0));
    if (s->backward) TRY(compile(&form->vjp, scan, vjp, form->keeps, cut, scan->forward_nodes));
done:
    free(body.output);
    free(cut);
    return status;
}

static bool has_full_form(const ad_scan *scan) {
    return scan->spec.carries > 0 || scan->spec.histories > 0;
}

static void measure(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    scan->saved = (s->chunks + scan->every - 1) / scan->every - 1 + (scan->every - 1);
    if (!s->backward) scan->saved = s->chunks > 1 ? 2 : 0;
    scan->carry_total = (size_t)scan->saved * scan->carry_bytes;
    if (s->backward) scan->carry_total += scan->carry_bytes; /* of lambda */
    scan->slot_bytes = largest(scan->form[FORM_FULL].slot_bytes, scan->form[FORM_LAST].slot_bytes);
    scan->slots = scan->every == 1 ? s->chunks : scan->every;
    scan->slot_total = (size_t)scan->slots * scan->slot_bytes;
    scan->history_total = ad_scan_carve_history(scan, NULL);
    scan->staging_total = ad_scan_carve_staging(scan, NULL);
}

static ad_scan *begin(const ad_scan_spec *spec) {
    ad_scan *scan = array(1, sizeof *scan);
    ad_scan_spec *s = &scan->spec;
    *s = *spec;
    s->carry = copied(spec->carry, spec->carries, sizeof *spec->carry);
    s->constant = copied(spec->constant, spec->constants, sizeof *spec->constant);
    s->slice = copied(spec->slice, spec->slices, sizeof *spec->slice);
    s->output = copied(spec->output, spec->outputs, sizeof *spec->output);
    s->history = copied(spec->history, spec->histories, sizeof *spec->history);
    scan->ct_next = array(s->carries, sizeof *scan->ct_next);
    scan->ct_fresh = array(s->histories, sizeof *scan->ct_fresh);
    scan->ct_output = array(s->outputs, sizeof *scan->ct_output);
    scan->output_ct = array(s->outputs, sizeof *scan->output_ct);
    scan->carry_offset = array(s->carries, sizeof *scan->carry_offset);
    scan->past_rows = array(s->histories, sizeof *scan->past_rows);
    void ***const pointers[] = {&scan->history_rows,  &scan->history_ct,     &scan->fresh_stage,
                                &scan->slice_stage,   &scan->ct_slice_stage, &scan->ct_fresh_stage,
                                &scan->output_stage,  &scan->ct_lambda,      &scan->slice_ct,
                                &scan->output_memory, &scan->ct_output_stage};
    int most = s->carries + s->slices + s->outputs + s->histories;
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        *pointers[i] = array(most, sizeof **pointers[i]);
    scan->slice_memory = array(s->slices, sizeof *scan->slice_memory);
    for (int f = 0; f < FORMS; f++) {
        scan->form[f].ct_carry = array(s->carries, sizeof(int));
        scan->form[f].ct_constant = array(s->constants, sizeof(int));
        scan->form[f].ct_slice = array(s->slices, sizeof(int));
        scan->form[f].ct_past = array(s->histories, sizeof(int));
    }
    for (int c = 0; c < s->carries; c++) {
        scan->carry_offset[c] = scan->carry_bytes;
        scan->carry_bytes += ad_scan_align(ad_bytes(ad_type_at(s->graph, s->carry[c].in)));
    }
    return scan;
}

kern_status ad_scan_create(ad_scan **result, const ad_scan_spec *spec) {
    *result = NULL;
    kern_status status = ad_graph_status(spec->graph);
    if (status != KERN_OK) return status;
    ad_scan *scan = begin(spec);
    output_list vjp[FORMS] = {{0}};
    scan->forward_nodes = ad_nodes(spec->graph);
    for (int c = 0; c < spec->carries && spec->backward; c++)
        scan->ct_next[c] =
            ad_input(spec->graph, ad_type_at(spec->graph, spec->carry[c].out), "ct_carry.%d", c);
    for (int h = 0; h < spec->histories && spec->backward; h++)
        scan->ct_fresh[h] = ad_input(
            spec->graph, ad_cotangent_type(ad_type_at(spec->graph, spec->history[h].fresh)),
            "ct_fresh.%d", h);
    for (int o = 0; o < spec->outputs && spec->backward; o++)
        if (spec->output[o].differentiable)
            scan->ct_output[o] = ad_input(
                spec->graph, ad_cotangent_type(ad_type_at(spec->graph, spec->output[o].value)),
                "ct_output.%d", o);
    int first =
        has_full_form(scan) && (spec->chunks > 1 || !spec->backward) ? FORM_FULL : FORM_LAST;
    for (int f = first; f < FORMS && spec->backward; f++) differentiate(scan, f, &vjp[f]);
    TRY(ad_graph_status(spec->graph));
    for (int f = first; f < FORMS && spec->backward; f++)
        TRY(find_kept(scan, &scan->form[f], &vjp[f]));
    scan->every = 1;
    if (spec->backward) choose(scan);
    for (int f = first; f < FORMS; f++) TRY(compile_form(scan, f, &vjp[f]));
    measure(scan);
    *result = scan;
    scan = NULL;
done:
    for (int f = 0; f < FORMS; f++) free(vjp[f].output);
    ad_scan_destroy(scan);
    return status;
}

void ad_scan_destroy(ad_scan *scan) {
    if (!scan) return;
    for (int f = 0; f < FORMS; f++) {
        scan_form *form = &scan->form[f];
        ad_plan_destroy(form->body);
        ad_plan_destroy(form->vjp);
        free(form->kept);
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
    double n = (double)scan->spec.chunks, kept = 0, all = 0;
    for (int which = 0; which < AD_SCAN_PLANS; which++) {
        const ad_plan *plan = ad_scan_plan_of(scan, which);
        if (!plan) continue;
        memory.arena = largest(memory.arena, ad_plan_arena_bytes(plan));
        bool last = which == AD_SCAN_BODY_LAST || which == AD_SCAN_VJP_LAST;
        double times = 0, flops = 0;
        for (int64_t i = 0; i < scan->spec.chunks; i++) {
            if (has_full_form(scan) && (i == scan->spec.chunks - 1) != last) continue;
            flops += ad_plan_flops(plan, i * scan->spec.chunk);
            times++;
        }
        if (which == AD_SCAN_BODY && scan->every > 1) { /* replayed: all segments but the last */
            double again = times + n - (double)scan->every;
            flops *= again / times;
            times = again;
        }
        *(which < AD_SCAN_VJP ? &memory.flops : &memory.vjp_flops) += flops;
        *(which < AD_SCAN_VJP ? &memory.bytes : &memory.vjp_bytes) += times * ad_plan_bytes(plan);
    }
    for (int f = 0; f < FORMS; f++) {
        if (!scan->form[f].body) continue;
        kept += kept_flops(&scan->form[f]);
        all += ad_plan_flops(scan->form[f].body, INT64_MAX);
    }
    memory.kept_fraction = all > kept ? kept / all : 1;
    return memory;
}
