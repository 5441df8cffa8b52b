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

/* Rows before the chunk that attention sees. */
static int64_t rows_before(const ad_scan *scan, int64_t chunk) {
    int64_t most = 0;
    for (int h = 0; h < scan->spec.histories; h++)
        most = kern_max(most, ad_scan_past_capacity(scan, h));
    return kern_min(most, chunk * scan->spec.chunk);
}

void ad_scan_visit_runs(const ad_scan *scan, ad_scan_visit visit, void *context) {
    int64_t chunks = scan->spec.chunks;
    for (int64_t i = 0; i < chunks; i++)
        visit(context, form_at(scan, i)->body, rows_before(scan, i), false);
    for (int64_t end = scan->spec.backward ? chunks : 0; end > 0;) {
        int64_t begin = (end - 1) / scan->every * scan->every;
        for (int64_t i = begin; i < end; i++)
            if (ad_scan_replays(scan, i))
                visit(context, form_at(scan, i)->body, rows_before(scan, i), true);
        for (int64_t i = end - 1; i >= begin; i--)
            visit(context, form_at(scan, i)->vjp, rows_before(scan, i), true);
        end = begin;
    }
}

/* Sums of FLOPs and bytes, and what the last run of the same kind took. */
typedef struct {
    const ad_scan *scan;
    ad_scan_memory *memory;
    struct {
        const ad_plan *plan;
        int64_t before;
        double flops, bytes;
    } last[2];
} counting;

static void count_run(void *context, const ad_plan *plan, int64_t before, bool backward) {
    counting *c = context;
    bool vjp = plan == c->scan->form[FORM_FULL].vjp || plan == c->scan->form[FORM_LAST].vjp;
    (void)backward;
    if (c->last[vjp].plan != plan || c->last[vjp].before != before) {
        c->last[vjp].plan = plan;
        c->last[vjp].before = before;
        c->last[vjp].flops = ad_plan_flops(plan, before);
        c->last[vjp].bytes = ad_plan_bytes(plan);
    }
    *(vjp ? &c->memory->vjp_flops : &c->memory->flops) += c->last[vjp].flops;
    *(vjp ? &c->memory->vjp_bytes : &c->memory->bytes) += c->last[vjp].bytes;
}

/* Of the forward products the part that is kept. */
static double kept_fraction(const ad_scan *scan) {
    double kept = 0, all = 0, flops[FORMS] = {0};
    for (int f = 0; f < FORMS; f++)
        if (scan->form[f].body) flops[f] = ad_plan_flops(scan->form[f].body, INT64_MAX);
    for (int64_t i = 0; i < scan->spec.chunks; i++) {
        kept += ad_scan_kept_flops(form_at(scan, i));
        all += flops[form_at(scan, i) - scan->form];
    }
    return all > kept ? kept / all : 1;
}

ad_scan_memory ad_scan_plan(const ad_scan *scan) {
    ad_scan_memory memory = {.carries = scan->carry_total,
                             .slots = scan->slot_total,
                             .history = scan->history_total + scan->staging_total,
                             .every = scan->every};
    if (!scan->form[FORM_LAST].body) return memory;
    ad_scan_visit_runs(scan, count_run, &(counting){.scan = scan, .memory = &memory});
    for (int which = 0; which < AD_SCAN_PLANS; which++)
        if (ad_scan_plan_of(scan, which))
            memory.arena =
                kern_max_bytes(memory.arena, ad_plan_arena_bytes(ad_scan_plan_of(scan, which)));
    memory.moved = ad_scan_moved(scan);
    memory.kept_fraction = kept_fraction(scan);
    return memory;
}
