/* What a scan holds, and what its runs cost. */
#include "autodiff/scan_state.h"

/* ---- memory ---- */

size_t ad_scan_value_bytes(const ad_scan *scan, ad_value value, bool cotangent) {
    ad_type type = ad_type_at(scan->spec.graph, value);
    return ad_bytes(cotangent ? ad_cotangent_type(type) : type);
}

/* The next bytes behind `base`; NULL where only `used` is counted. */
static void *take(char *base, size_t *used, size_t bytes) {
    void *memory = base ? base + *used : NULL;
    *used += kern_align(bytes);
    return memory;
}

size_t ad_scan_carve_history(ad_scan *scan, char *base) {
    const ad_scan_spec *s = &scan->spec;
    size_t used = 0;
    for (int h = 0; h < s->histories; h++) {
        ad_value fresh = s->history[h].fresh;
        size_t item = ad_scan_value_bytes(scan, fresh, false) / (size_t)s->chunk;
        scan->history[h].rows = take(base, &used, item * (size_t)(s->chunks * s->chunk));
        if (!s->backward) continue;
        item = ad_scan_value_bytes(scan, fresh, true) / (size_t)s->chunk;
        scan->history[h].ct_rows =
            take(base, &used, item * (size_t)(ad_scan_past_capacity(scan, h) + s->chunk));
    }
    return used;
}

size_t ad_scan_carve_staging(ad_scan *scan, char *base) {
    const ad_scan_spec *s = &scan->spec;
    size_t used = 0;
    for (int i = 0; i < s->slices && s->batch > 1; i++) {
        if (!s->slice[i].batched) continue;
        scan->slice[i].stage =
            take(base, &used, ad_scan_value_bytes(scan, s->slice[i].value, false));
        if (s->backward && s->slice[i].differentiable)
            scan->slice[i].ct_stage =
                take(base, &used, ad_scan_value_bytes(scan, s->slice[i].value, true));
    }
    for (int o = 0; o < s->outputs && s->batch > 1; o++) {
        if (!s->output[o].by_row) continue;
        scan->output[o].stage =
            take(base, &used, ad_scan_value_bytes(scan, s->output[o].value, false));
        if (s->backward && s->output[o].differentiable)
            scan->output[o].ct_stage =
                take(base, &used, ad_scan_value_bytes(scan, s->output[o].value, true));
    }
    for (int h = 0; h < s->histories && s->batch > 1; h++) {
        scan->history[h].stage =
            take(base, &used, ad_scan_value_bytes(scan, s->history[h].fresh, false));
        if (s->backward)
            scan->history[h].ct_stage =
                take(base, &used, ad_scan_value_bytes(scan, s->history[h].fresh, true));
    }
    return used;
}

/* ---- work ---- */

/* The form that a chunk has, once they are compiled. */
static const scan_form *form_at(const ad_scan *scan, int64_t chunk) {
    bool last = chunk == scan->spec.chunks - 1 || !scan->form[FORM_FULL].body;
    return &scan->form[last ? FORM_LAST : FORM_FULL];
}

void ad_scan_visit_runs(const ad_scan *scan, ad_scan_visit visit, void *context) {
    int64_t chunks = scan->spec.chunks, rows = scan->spec.chunk;
    for (int64_t i = 0; i < chunks; i++) visit(context, form_at(scan, i)->body, i * rows, false);
    for (int64_t end = scan->spec.backward ? chunks : 0; end > 0;) {
        int64_t begin = (end - 1) / scan->every * scan->every;
        for (int64_t i = begin; i < end; i++)
            if (ad_scan_replays(scan, i)) visit(context, form_at(scan, i)->body, i * rows, true);
        for (int64_t i = end - 1; i >= begin; i--)
            visit(context, form_at(scan, i)->vjp, i * rows, true);
        end = begin;
    }
}

/* Sums of FLOPs and bytes. */
typedef struct {
    const ad_scan *scan;
    ad_scan_memory *memory;
} counting;

static void count_run(void *context, const ad_plan *plan, int64_t before, bool backward) {
    const counting *c = context;
    bool vjp = plan == c->scan->form[FORM_FULL].vjp || plan == c->scan->form[FORM_LAST].vjp;
    (void)backward;
    *(vjp ? &c->memory->vjp_flops : &c->memory->flops) += ad_plan_flops(plan, before);
    *(vjp ? &c->memory->vjp_bytes : &c->memory->bytes) += ad_plan_bytes(plan);
}

ad_scan_memory ad_scan_plan(const ad_scan *scan) {
    ad_scan_memory memory = {.carries = scan->carry_total,
                             .slots = scan->slot_total,
                             .history = scan->history_total + scan->staging_total,
                             .every = scan->every};
    double kept = 0, all = 0;
    ad_scan_visit_runs(scan, count_run, &(counting){scan, &memory});
    for (int which = 0; which < AD_SCAN_PLANS; which++)
        if (ad_scan_plan_of(scan, which))
            memory.arena =
                kern_max_bytes(memory.arena, ad_plan_arena_bytes(ad_scan_plan_of(scan, which)));
    for (int64_t i = 0; i < scan->spec.chunks; i++) {
        kept += ad_scan_kept_flops(form_at(scan, i));
        all += ad_plan_flops(form_at(scan, i)->body, INT64_MAX);
    }
    memory.moved = ad_scan_moved(scan);
    memory.kept_fraction = all > kept ? kept / all : 1;
    return memory;
}
