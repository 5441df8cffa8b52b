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

static bool is_read(const bool *reads, ad_value value) {
    return reads[value.node * AD_OUTPUTS + value.out];
}

/* The products and sums of the forward pass that the vjp reads, densest in FLOPs per byte first. */
void ad_scan_find_kept(ad_scan *scan, scan_form *form) {
    const ad_graph *graph = scan->spec.graph;
    int cuts = 0;
    double *flops = product_flops(graph, scan->forward_nodes);
    ad_value *cut = kern_array((int64_t)scan->forward_nodes * AD_OUTPUTS, sizeof *cut);
    for (int i = 0; i < scan->forward_nodes; i++) form->forward_flops += flops[i];
    add_sums(flops, graph, scan->forward_nodes);
    for (int i = 0; i < scan->forward_nodes; i++)
        for (int out = 0; flops[i] > 0 && out < ad_node_at(graph, i)->outputs; out++)
            if (!is_view_result(graph, i, out)) cut[cuts++] = (ad_value){i, out};
    bool *reads = ad_scan_vjp_reads(scan, form, cuts, cut);
    form->kept = kern_array(cuts, sizeof *form->kept);
    for (int i = 0; i < cuts; i++)
        if (is_read(reads, cut[i]))
            form->kept[form->worth++] =
                (scan_kept){.value = cut[i],
                            .bytes = kern_align(ad_bytes(ad_type_at(graph, cut[i]))),
                            .flops = flops[cut[i].node]};
    for (int i = 0, j; i < form->worth; i = j) { /* results of one node share its cost */
        for (j = i; j < form->worth && form->kept[j].value.node == form->kept[i].value.node;) j++;
        for (int same = i; same < j; same++) form->kept[same].flops /= j - i;
    }
    for (int c = 0; c < scan->spec.carries; c++)
        scan->reads_carries |= is_read(reads, scan->spec.carry[c].in);
    qsort(form->kept, (size_t)form->worth, sizeof *form->kept, by_density);
    for (int i = 1; i < form->worth; i++) {
        form->kept[i].offset = form->kept[i - 1].offset + form->kept[i - 1].bytes;
        form->kept[i].before = form->kept[i - 1].before + form->kept[i - 1].flops;
    }
    free(reads);
    free(flops);
    free(cut);
}

/* ---- what a budget buys ---- */

/* Carries are saved for every `every`-th chunk; each slot holds some of the densest values. */
typedef struct {
    int64_t every;
    size_t slot_bytes;
    double bytes, repeated;
} choice;

static const scan_form *common_form(const ad_scan *scan) {
    return &scan->form[ad_scan_first_form(scan)];
}

/* Of all that is worth keeping. */
static size_t worth_bytes(const scan_form *form) {
    if (!form->worth) return 0;
    const scan_kept *last = &form->kept[form->worth - 1];
    return last->offset + last->bytes;
}

static double flops_of(const scan_form *form, int keeps) {
    if (!keeps) return 0;
    return form->kept[keeps - 1].before + form->kept[keeps - 1].flops;
}

double ad_scan_kept_flops(const scan_form *form) {
    return flops_of(form, form->keeps);
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

/* The choice of so many values, with its bytes and the FLOPs that are repeated. */
static choice priced(const ad_scan *scan, int64_t every, int keeps) {
    const scan_form *form = common_form(scan);
    choice c = {.every = every};
    c.slot_bytes = keeps < form->worth ? form->kept[keeps].offset
                                       : kern_max_bytes(worth_bytes(&scan->form[FORM_FULL]),
                                                        worth_bytes(&scan->form[FORM_LAST]));
    double again = flops_of(form, form->worth) - flops_of(form, keeps);
    c.bytes = (double)ad_scan_carry_bytes(scan, every) +
              (double)ad_scan_slots(scan, every) * (double)c.slot_bytes;
    c.repeated = (double)scan->spec.chunks * again +
                 (double)replayed_chunks(scan, every, c.slot_bytes > 0) * form->forward_flops;
    return c;
}

/* What fits comes before what does not, then least work, then least memory. */
static bool better(const choice *a, const choice *b, double budget) {
    bool fits = a->bytes <= budget;
    if (fits != (b->bytes <= budget)) return fits;
    if (fits && a->repeated != b->repeated) return a->repeated < b->repeated;
    return a->bytes < b->bytes;
}

/* Of the choices that keep something the best that fits, or the first: the more is kept, the more
 * bytes it takes and the less is repeated. */
static int most_kept(const ad_scan *scan, int64_t every, double budget) {
    int low = 1, high = common_form(scan)->worth;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (priced(scan, every, middle).bytes <= budget)
            low = middle;
        else
            high = middle - 1;
    }
    double repeated = priced(scan, every, low).repeated;
    while (low > 1 && priced(scan, every, low - 1).repeated == repeated) low--;
    return low;
}

/* The best of all distances between saved carries and all numbers of kept values. */
static choice choose(const ad_scan *scan, double budget) {
    int worth = common_form(scan)->worth;
    choice best = priced(scan, 1, worth);
    for (int64_t every = 1; every <= scan->spec.chunks; every++) {
        choice none = priced(scan, every, 0);
        if (better(&none, &best, budget)) best = none;
        if (!worth) continue;
        choice some = priced(scan, every, most_kept(scan, every, budget));
        if (better(&some, &best, budget)) best = some;
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
        form->keeps = 0;
        form->slot_bytes = 0;
        while (form->keeps < form->worth &&
               form->slot_bytes + form->kept[form->keeps].bytes <= best.slot_bytes)
            form->slot_bytes += form->kept[form->keeps++].bytes;
    }
}
