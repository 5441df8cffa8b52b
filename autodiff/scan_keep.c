/* What a scan keeps for its reverse: which values are worth a slot, and what a budget of memory
 * buys of them and of saved carries. */
#include <stdlib.h>

#include "autodiff/scan_state.h"

/* ---- what is worth keeping ---- */

static ad_value through_views(const ad_graph *graph, ad_value value) {
    const ad_node *node = ad_node_at(graph, value.node);
    while (node->op == AD_OP_reshape) {
        value = node->input[0];
        node = ad_node_at(graph, value.node);
    }
    return value;
}

/* What ranks do together is worth the product that it is made of, if that is used for nothing else,
 * and a FLOP for each byte at least: kept, it spares the ranks a meeting. */
static void take_operand(double *flops, const int *uses, const ad_graph *graph, int node) {
    int operand = through_views(graph, ad_node_at(graph, node)->input[0]).node;
    flops[node] = (double)ad_bytes(ad_node_at(graph, node)->type[0]);
    if (uses[operand] != 1) return;
    if (flops[operand] > flops[node]) flops[node] = flops[operand];
    flops[operand] = 0;
}

/* FLOPs by node: of a product; or of all products in a sum that are used for nothing else, because
 * such a sum is kept as one value and its terms are not. None of a product with less than a FLOP
 * for each byte of its result, such as a column times a row: it is made again sooner than fetched.
 */
static double *product_flops(const ad_graph *graph, int nodes) {
    int total = ad_nodes(graph);
    double *flops = kern_array(total, sizeof *flops);
    int *uses = kern_array(total, sizeof *uses);
    for (int i = 0; i < total; i++) {
        const ad_node *node = ad_node_at(graph, i);
        for (int in = 0; in < node->inputs && node->op != AD_OP_reshape; in++)
            if (ad_is_value(node->input[in])) uses[through_views(graph, node->input[in]).node]++;
    }
    for (int i = 0; i < nodes; i++) {
        const ad_node *node = ad_node_at(graph, i);
        const ad_kernel *kernel = ad_op_definition(node->op)->kernel;
        if (kernel && kernel->flops) flops[i] = kernel->flops(graph, node, ~0u, INT64_MAX);
        if (flops[i] < (double)ad_bytes(node->type[0])) flops[i] = 0;
        if (ad_op_definition(node->op)->collect) {
            take_operand(flops, uses, graph, i);
            continue;
        }
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

static int by_density(const void *a, const void *b) {
    const scan_kept *x = a, *y = b;
    double dx = x->flops / (double)x->bytes, dy = y->flops / (double)y->bytes;
    if (dx != dy) return dx < dy ? 1 : -1;
    return (x->value.node > y->value.node) - (x->value.node < y->value.node);
}

/* The cotangent of attention's past: where the inner gradient is also a part of the outer one, the
 * vjp adds it to memory bound as a view, which only its kernel can. */
static bool is_view_result(const ad_graph *graph, int node, int out) {
    const ad_kernel *kernel = ad_op_definition(ad_node_at(graph, node)->op)->kernel;
    return kernel && kernel->view_outputs >> out & 1;
}

/* Sums over whole tensors, such as the norm of the inner gradient: a few bytes, for which the vjp
 * would read all that was summed. An addition for each element. */
static void add_sums(double *flops, const ad_graph *graph, int nodes) {
    for (int i = 0; i < nodes; i++) {
        const ad_node *node = ad_node_at(graph, i);
        if (node->op != AD_OP_lead_sum) continue;
        ad_value summed = node->input[0];
        if (ad_node_at(graph, summed.node)->op == AD_OP_row_sum)
            summed = ad_node_at(graph, summed.node)->input[0];
        flops[i] = (double)ad_elements(ad_type_at(graph, summed));
    }
}

/* The products and sums of the forward pass that the vjp reads, densest in FLOPs per byte first. */
kern_status ad_scan_find_kept(ad_scan *scan, scan_form *form) {
    kern_status status = KERN_OK;
    const ad_graph *graph = scan->spec.graph;
    ad_plan *probe = NULL;
    int cuts = 0;
    double *flops = product_flops(graph, scan->forward_nodes);
    ad_value *cut = kern_array((int64_t)scan->forward_nodes * AD_OUTPUTS, sizeof *cut);
    for (int i = 0; i < scan->forward_nodes; i++) form->forward_flops += flops[i];
    add_sums(flops, graph, scan->forward_nodes);
    for (int i = 0; i < scan->forward_nodes; i++)
        for (int out = 0; flops[i] > 0 && out < ad_node_at(graph, i)->outputs; out++)
            if (!is_view_result(graph, i, out)) cut[cuts++] = (ad_value){i, out};
    TRY(ad_scan_compile_vjp(&probe, scan, form, cuts, cut));
    form->kept = kern_array(cuts, sizeof *form->kept);
    for (int i = 0; i < cuts; i++)
        if (ad_plan_reads(probe, cut[i]))
            form->kept[form->keeps++] =
                (scan_kept){.value = cut[i],
                            .bytes = kern_align(ad_bytes(ad_type_at(graph, cut[i]))),
                            .flops = flops[cut[i].node]};
    for (int i = 0, j; i < form->keeps; i = j) { /* results of one node share its cost */
        for (j = i; j < form->keeps && form->kept[j].value.node == form->kept[i].value.node;) j++;
        for (int same = i; same < j; same++) form->kept[same].flops /= j - i;
    }
    for (int c = 0; c < scan->spec.carries; c++)
        scan->reads_carries |= ad_plan_reads(probe, scan->spec.carry[c].in);
    qsort(form->kept, (size_t)form->keeps, sizeof *form->kept, by_density);
done:
    ad_plan_destroy(probe);
    free(flops);
    free(cut);
    return status;
}

/* ---- what a budget buys ---- */

/* Carries are saved for every `every`-th chunk; each slot holds the `keeps` densest values. */
typedef struct {
    int64_t every;
    size_t slot_bytes;
    double bytes, repeated;
} choice;

static const scan_form *common_form(const ad_scan *scan) {
    return &scan->form[ad_scan_first_form(scan)];
}

static size_t kept_bytes(const scan_form *form) {
    size_t bytes = 0;
    for (int i = 0; i < form->keeps; i++) bytes += form->kept[i].bytes;
    return bytes;
}

double ad_scan_kept_flops(const scan_form *form) {
    double flops = 0;
    for (int i = 0; i < form->keeps; i++) flops += form->kept[i].flops;
    return flops;
}

int64_t ad_scan_saved(const ad_scan *scan, int64_t every) {
    return (scan->spec.chunks - 1) / every + every - 1;
}

int64_t ad_scan_slots(const ad_scan *scan, int64_t every) {
    return every == 1 ? scan->spec.chunks : every;
}

bool ad_scan_alternates(const ad_scan *scan, int64_t every) {
    return !scan->spec.backward || (every == 1 && !scan->reads_carries);
}

int64_t ad_scan_places(const ad_scan *scan, int64_t every) {
    if (ad_scan_alternates(scan, every)) return scan->spec.chunks > 1 ? 2 : 0;
    return ad_scan_saved(scan, every);
}

int64_t ad_scan_rounded_places(const ad_scan *scan, int64_t every) {
    return scan->spec.backward ? 1 + ad_scan_saved(scan, every) : 2;
}

size_t ad_scan_carry_bytes(const ad_scan *scan, int64_t every) {
    return (size_t)ad_scan_places(scan, every) * scan->carry_bytes +
           (size_t)ad_scan_rounded_places(scan, every) * scan->rounded_bytes;
}

/* Chunks of all segments but the last; of each its last chunk too only for what slots keep. */
static int64_t replayed_chunks(const ad_scan *scan, int64_t every, bool keeps) {
    return (scan->spec.chunks - 1) / every * (keeps && every > 1 ? every : every - 1);
}

bool ad_scan_replays(const ad_scan *scan, int64_t chunk) {
    int64_t every = scan->every, kept_from = (scan->spec.chunks - 1) / every * every;
    bool keeps = scan->form[FORM_FULL].keeps > 0;
    return every > 1 && chunk < kept_from && (keeps || chunk % every != every - 1);
}

/* A choice with its bytes and repeated FLOPs, of which `again` are of values in no slot, a chunk.
 */
static choice priced(const ad_scan *scan, int64_t every, size_t slot_bytes, double again) {
    choice c = {.every = every, .slot_bytes = slot_bytes};
    c.bytes = (double)ad_scan_carry_bytes(scan, every) +
              (double)ad_scan_slots(scan, every) * (double)slot_bytes;
    c.repeated =
        (double)scan->spec.chunks * again +
        (double)replayed_chunks(scan, every, slot_bytes > 0) * common_form(scan)->forward_flops;
    return c;
}

/* What fits comes before what does not, then least work, then least memory. */
static bool better(const choice *a, const choice *b, double budget) {
    bool fits = a->bytes <= budget;
    if (fits != (b->bytes <= budget)) return fits;
    if (fits && a->repeated != b->repeated) return a->repeated < b->repeated;
    return a->bytes < b->bytes;
}

/* The best of all distances between saved carries and all numbers of kept values. */
static choice choose(const ad_scan *scan, double budget) {
    const scan_form *form = common_form(scan);
    size_t all =
        kern_max_bytes(kept_bytes(&scan->form[FORM_FULL]), kept_bytes(&scan->form[FORM_LAST]));
    double worth = ad_scan_kept_flops(form);
    choice best = priced(scan, 1, all, 0);
    for (int64_t every = 1; every <= scan->spec.chunks; every++) {
        size_t bytes = 0;
        double kept = 0;
        for (int keeps = 0; keeps <= form->keeps; keeps++) {
            choice c = priced(scan, every, keeps < form->keeps ? bytes : all, worth - kept);
            if (better(&c, &best, budget)) best = c;
            if (keeps == form->keeps) break;
            bytes += form->kept[keeps].bytes;
            kept += form->kept[keeps].flops;
        }
    }
    return best;
}

ad_scan_offer ad_scan_offered(const ad_scan *scan, double budget) {
    if (!scan->spec.backward) return (ad_scan_offer){0, 0};
    choice best = choose(scan, budget);
    return (ad_scan_offer){best.bytes, best.repeated};
}

void ad_scan_decide(ad_scan *scan, double budget) {
    choice best = choose(scan, budget);
    scan->every = best.every;
    for (int f = 0; f < FORMS; f++) {
        scan_form *form = &scan->form[f];
        int keeps = 0;
        form->slot_bytes = 0;
        while (keeps < form->keeps &&
               form->slot_bytes + form->kept[keeps].bytes <= best.slot_bytes) {
            form->kept[keeps].offset = form->slot_bytes;
            form->slot_bytes += form->kept[keeps++].bytes;
        }
        form->keeps = keeps;
    }
}
