/* The two loops of a scan. */
#include <stdlib.h>

#include "autodiff/scan_state.h"

/* ---- memory ---- */

static size_t row_bytes(const ad_scan *scan, ad_value value, int64_t rows, bool cotangent) {
    return ad_scan_value_bytes(scan, value, cotangent) / (size_t)rows;
}

/* Carries that begin as zero: those zeros; and behind them where their last values or first
 * cotangents go, which nobody wants. */
static char *zeros(const ad_scan *scan) {
    return (char *)scan->carry_memory.data + scan->carry_memory.bytes - 2 * scan->zero_bytes;
}

static char *unwanted(const ad_scan *scan, int c) {
    return zeros(scan) + scan->zero_bytes + scan->carry[c].zero_offset;
}

kern_status ad_scan_allocate(ad_scan *scan) {
    kern_status status = KERN_OK;
    ASSERT(!scan->history_memory.data);
    const kern_device *device = scan->spec.device;
    size_t rounded = (size_t)ad_scan_rounded_places(scan, scan->every) * scan->rounded_bytes;
    TRY(kern_buffer_create(&scan->carry_memory, device, scan->carry_total - rounded,
                           "saved carries"));
    if (scan->zero_bytes)
        device->zero(device->stream, zeros(scan), scan->zero_bytes, scan->zero_bytes, 1);
    TRY(kern_buffer_create(&scan->rounded_memory, device, rounded, "rounded carries"));
    TRY(kern_buffer_create(&scan->slot_memory, device, scan->slot_total, "kept activations"));
    TRY(kern_buffer_create(&scan->history_memory, device, scan->history_total, "keys and values"));
    TRY(kern_buffer_create(&scan->staging_memory, device, scan->staging_total, "rows of chunks"));
    ad_scan_carve_history(scan, scan->history_memory.data);
    ad_scan_carve_staging(scan, scan->staging_memory.data);
done:
    return status;
}

/* ---- binding ---- */

static void bind_all(ad_scan *scan, ad_value value, const void *memory) {
    for (int which = 0; which < AD_SCAN_PLANS; which++) {
        ad_plan *plan = ad_scan_plan_of(scan, which);
        if (plan) ad_plan_bind(plan, value, memory);
    }
}

void ad_scan_bind(ad_scan *scan, ad_value input, const void *memory) {
    bind_all(scan, input, memory);
}

void ad_scan_set(ad_scan *scan, ad_value input, double value) {
    for (int which = 0; which < AD_SCAN_PLANS; which++) {
        ad_plan *plan = ad_scan_plan_of(scan, which);
        if (plan) ad_plan_set(plan, input, value);
    }
}

void ad_scan_bind_constant_ct(ad_scan *scan, int constant, void *memory) {
    for (int f = 0; f < FORMS; f++)
        if (scan->form[f].vjp && scan->form[f].ct_constant[constant] >= 0)
            ad_plan_bind_output(scan->form[f].vjp, scan->form[f].ct_constant[constant], memory);
}

void ad_scan_bind_slice(ad_scan *scan, int slice, const void *memory, void *ct) {
    scan->slice[slice].memory = memory;
    scan->slice[slice].ct_memory = ct;
}

void ad_scan_bind_output(ad_scan *scan, int output, void *memory, const void *ct) {
    scan->output[output].memory = memory;
    scan->output[output].ct_memory = ct;
}

/* Rows i*C .. of each item of [B, T, ...] to or from a dense chunk [B, C, ...]. */
static void copy_rows(const ad_scan *scan, char *chunk, char *sequence, int64_t i, size_t row,
                      bool out) {
    const kern_device *device = scan->spec.device;
    size_t rows = (size_t)scan->spec.chunk * row, item = rows * (size_t)scan->spec.chunks;
    char *there = sequence + (size_t)i * rows;
    if (out)
        device->copy(device->stream, there, item, chunk, rows, rows, scan->spec.batch);
    else
        device->copy(device->stream, chunk, rows, there, item, rows, scan->spec.batch);
}

/* Memory of a batched or unbatched slice of chunk i as a plan reads it. */
static void bind_slices(ad_scan *scan, ad_plan *plan, int64_t i) {
    const ad_scan_spec *s = &scan->spec;
    for (int j = 0; j < s->slices; j++) {
        ad_value value = s->slice[j].value;
        if (!ad_plan_reads(plan, value)) continue;
        int64_t rows = s->slice[j].batched ? s->batch * s->chunk : s->chunk;
        size_t row = row_bytes(scan, value, rows, false);
        char *memory = (char *)(uintptr_t)scan->slice[j].memory;
        ASSERT(memory);
        if (scan->slice[j].stage) {
            copy_rows(scan, scan->slice[j].stage, memory, i, row, false);
            ad_plan_bind(plan, value, scan->slice[j].stage);
        } else {
            ad_plan_bind(plan, value, memory + (size_t)(i * s->chunk) * row);
        }
    }
}

static void *fresh_rows(const ad_scan *scan, int h, int64_t i) {
    size_t row =
        row_bytes(scan, scan->spec.history[h].fresh, scan->spec.batch * scan->spec.chunk, false);
    return (char *)scan->history[h].rows + (size_t)(i * scan->spec.chunk) * row;
}

static void bind_past(ad_scan *scan, ad_plan *plan, int64_t i) {
    const ad_scan_spec *s = &scan->spec;
    for (int h = 0; h < s->histories; h++) {
        int64_t capacity = ad_scan_past_capacity(scan, h), before = i * s->chunk;
        if (!capacity) continue;
        int64_t rows = before < capacity ? before : capacity;
        ad_value past = s->history[h].past, fresh = s->history[h].fresh;
        int64_t width = ad_scan_row_elements(scan, fresh, s->batch * s->chunk);
        size_t row = row_bytes(scan, fresh, s->batch * s->chunk, false);
        ad_plan_bind_view(plan, past, (char *)scan->history[h].rows + (size_t)(before - rows) * row,
                          s->chunks * s->chunk * width);
        ad_plan_set(plan, s->history[h].past_rows, (double)rows);
    }
}

static void *slot_of(const ad_scan *scan, int64_t i) {
    return (char *)scan->slot_memory.data +
           (size_t)(scan->every == 1 ? i : i % scan->every) * scan->slot_bytes;
}

/* Where carry i > 0 is saved: first those at multiples of `every`, then the running segment's. */
static int64_t saved_place(const ad_scan *scan, int64_t i) {
    int64_t multiples = (scan->spec.chunks + scan->every - 1) / scan->every - 1;
    return i % scan->every ? multiples + i % scan->every - 1 : i / scan->every - 1;
}

/* Carry i: the caller's or zero for 0. */
static const void *carry_at(const ad_scan *scan, int64_t i, int c) {
    if (i == 0 && scan->spec.carry[c].zero) return zeros(scan) + scan->carry[c].zero_offset;
    if (i == 0) return scan->first_carry[c];
    int64_t place = ad_scan_alternates(scan, scan->every) ? i % 2 : saved_place(scan, i);
    return (char *)scan->carry_memory.data + (size_t)place * scan->carry_bytes +
           scan->carry[c].offset;
}

static void *rounded_at(const ad_scan *scan, int64_t i, int c) {
    int64_t place = !scan->spec.backward ? i % 2 : i == 0 ? 0 : 1 + saved_place(scan, i);
    return (char *)scan->rounded_memory.data + (size_t)place * scan->rounded_bytes +
           scan->carry[c].rounded_offset;
}

static void bind_carry(ad_scan *scan, ad_plan *plan, int64_t i, int c) {
    ad_plan_bind(plan, scan->spec.carry[c].in, carry_at(scan, i, c));
    if (ad_is_value(scan->carry[c].rounded))
        ad_plan_bind(plan, scan->carry[c].rounded, rounded_at(scan, i, c));
}

/* The first carries are not rounded yet. */
static void round_first(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    kern_stream *stream = s->device->stream;
    for (int c = 0; c < s->carries; c++)
        if (ad_is_value(scan->carry[c].rounded))
            stream->device->move->round(stream, rounded_at(scan, 0, c), carry_at(scan, 0, c),
                                        ad_elements(ad_type_at(s->graph, s->carry[c].in)));
}

static int64_t window_rows(const ad_scan *scan, int h) {
    return ad_scan_past_capacity(scan, h) + scan->spec.chunk;
}

static size_t window_row_bytes(const ad_scan *scan, int h) {
    return row_bytes(scan, scan->spec.history[h].fresh, scan->spec.batch * scan->spec.chunk, true);
}

/* Where a window holds the whole sequence nothing can slide out of it. */
static bool slides(const ad_scan *scan, int h) {
    return window_rows(scan, h) < scan->spec.chunks * scan->spec.chunk;
}

/* Each staged chunk is copied once a chunk and windows slide by one; first carries are rounded. */
double ad_scan_moved(const ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    double moved = 2 * (double)s->chunks * (double)scan->staging_total;
    for (int h = 0; h < s->histories && s->backward; h++)
        if (slides(scan, h))
            moved += 2 * (double)(s->chunks - 1) * (double)s->batch * (double)window_rows(scan, h) *
                     (double)window_row_bytes(scan, h);
    return moved + 3 * (double)scan->rounded_bytes; /* f32 in, bf16 out */
}

/* ---- forward ---- */

/* One chunk. step: takes the step to the next carry, into `final` if not NULL. */
static kern_status run_body(ad_scan *scan, int64_t i, bool step, void *const *final, void *arena) {
    const ad_scan_spec *s = &scan->spec;
    scan_form *form = &scan->form[step ? FORM_FULL : FORM_LAST];
    ad_plan *plan = form->body;
    int output = 0;
    bind_slices(scan, plan, i);
    bind_past(scan, plan, i);
    for (int o = 0; o < s->outputs; o++) {
        if (s->output[o].stepped && !step) continue;
        size_t bytes = ad_scan_value_bytes(scan, s->output[o].value, false);
        char *memory = scan->output[o].memory;
        ASSERT(memory);
        if (!s->output[o].by_row || s->batch == 1) memory += (size_t)i * bytes;
        ad_plan_bind_output(plan, output++, scan->output[o].stage ? scan->output[o].stage : memory);
    }
    for (int c = 0; c < s->carries; c++) {
        bind_carry(scan, plan, i, c);
        if (!step) continue;
        void *next = !final             ? (void *)(uintptr_t)carry_at(scan, i + 1, c)
                     : s->carry[c].zero ? unwanted(scan, c)
                                        : final[c];
        ad_plan_bind_output(plan, output++, next);
        if (ad_is_value(scan->carry[c].rounded))
            ad_plan_bind_output(plan, output++, rounded_at(scan, i + 1, c));
    }
    for (int h = 0; h < s->histories && step; h++)
        ad_plan_bind_output(plan, output++,
                            scan->history[h].stage ? scan->history[h].stage
                                                   : fresh_rows(scan, h, i));
    for (int k = 0; k < form->keeps; k++)
        ad_plan_bind_output(plan, output++, (char *)slot_of(scan, i) + form->kept[k].offset);
    kern_status status = ad_plan_run(plan, arena);
    if (status != KERN_OK) return kern_fail_context(status, "chunk %d", (int)i);
    for (int o = 0; o < s->outputs; o++)
        if (scan->output[o].stage)
            copy_rows(scan, scan->output[o].stage, scan->output[o].memory, i,
                      row_bytes(scan, s->output[o].value, s->batch * s->chunk, false), true);
    for (int h = 0; h < s->histories && step; h++)
        if (scan->history[h].stage)
            copy_rows(scan, scan->history[h].stage, scan->history[h].rows, i,
                      row_bytes(scan, s->history[h].fresh, s->batch * s->chunk, false), true);
    return KERN_OK;
}

kern_status ad_scan_forward(ad_scan *scan, const void *const *carry, void *const *final,
                            void *arena) {
    const ad_scan_spec *s = &scan->spec;
    ASSERT(scan->history_memory.data && !(final && s->backward));
    scan->first_carry = carry;
    round_first(scan);
    for (int64_t i = 0; i < s->chunks; i++) {
        bool last = i == s->chunks - 1;
        bool step = scan->form[FORM_FULL].body && (!last || final);
        kern_status status = run_body(scan, i, step, last ? final : NULL, arena);
        if (status != KERN_OK) return status;
    }
    return KERN_OK;
}

/* ---- backward ---- */

static void bind_output_cts(ad_scan *scan, ad_plan *plan, int64_t i) {
    const ad_scan_spec *s = &scan->spec;
    for (int o = 0; o < s->outputs; o++) {
        if (!s->output[o].differentiable || !ad_plan_reads(plan, scan->output[o].ct)) continue;
        size_t row = row_bytes(scan, s->output[o].value, s->batch * s->chunk, true);
        char *ct = (char *)(uintptr_t)scan->output[o].ct_memory, *stage = scan->output[o].ct_stage;
        ASSERT(ct);
        if (stage) copy_rows(scan, stage, ct, i, row, false);
        ad_plan_bind(plan, scan->output[o].ct, stage ? stage : ct + (size_t)(i * s->chunk) * row);
    }
}

/* First row of the window that belongs to chunk i. */
static int64_t own_row(const ad_scan *scan, int h, int64_t i) {
    return slides(scan, h) ? ad_scan_past_capacity(scan, h) : i * scan->spec.chunk;
}

/* Windows over the cotangents of keys and values go back by one chunk. */
static void slide_windows(ad_scan *scan) {
    const ad_scan_spec *s = &scan->spec;
    const kern_device *device = s->device;
    for (int h = 0; h < s->histories; h++) {
        if (!slides(scan, h)) continue;
        size_t row = window_row_bytes(scan, h), chunk = row * (size_t)s->chunk;
        size_t window = row * (size_t)window_rows(scan, h);
        char *rows = scan->history[h].ct_rows;
        kern_shift(device->stream, rows + chunk, rows, window - chunk, window, s->batch);
        device->zero(device->stream, rows, window, chunk, s->batch);
    }
}

/* Rows of the chunk itself, and before them those of its past. */
static void bind_windows(ad_scan *scan, const scan_form *form, int64_t i) {
    const ad_scan_spec *s = &scan->spec;
    for (int h = 0; h < s->histories; h++) {
        size_t row = window_row_bytes(scan, h);
        int64_t capacity = ad_scan_past_capacity(scan, h);
        size_t window = row * (size_t)window_rows(scan, h), chunk = row * (size_t)s->chunk;
        char *own = (char *)scan->history[h].ct_rows + row * (size_t)own_row(scan, h, i);
        if (ad_plan_reads(form->vjp, scan->history[h].ct)) {
            char *stage = scan->history[h].ct_stage;
            if (stage)
                s->device->copy(s->device->stream, stage, chunk, own, window, chunk, s->batch);
            ad_plan_bind(form->vjp, scan->history[h].ct, stage ? stage : own);
        }
        if (form->ct_past[h] < 0) continue;
        int64_t rows = i * s->chunk < capacity ? i * s->chunk : capacity;
        int64_t width = ad_scan_row_elements(scan, s->history[h].fresh, s->batch * s->chunk);
        ad_plan_bind_output_view(form->vjp, form->ct_past[h], own - row * (size_t)rows,
                                 window_rows(scan, h) * width);
    }
}

/* The plan of a form's vjp, with the marks of the constants. */
static kern_status run_marked(const ad_scan *scan, const scan_form *form, void *arena,
                              const ad_marks *marks) {
    if (!marks) return ad_plan_run(form->vjp, arena);
    int *mark = kern_array(form->ct_outputs.count, sizeof *mark);
    for (int o = 0; o < form->ct_outputs.count; o++) mark[o] = -1;
    for (int c = 0; c < scan->spec.constants; c++)
        if (form->ct_constant[c] >= 0) mark[form->ct_constant[c]] = marks->mark[c];
    ad_marks of_outputs = {marks->marks, mark, marks->reached, marks->context};
    kern_status status = ad_plan_run_marked(form->vjp, arena, &of_outputs);
    free(mark);
    return status;
}

static kern_status run_vjp(ad_scan *scan, int64_t i, void *const *ct_carry, void *arena,
                           const ad_marks *marks) {
    const ad_scan_spec *s = &scan->spec;
    bool last = i == s->chunks - 1 || !scan->form[FORM_FULL].vjp;
    const scan_form *form = &scan->form[last ? FORM_LAST : FORM_FULL];
    ad_plan *plan = form->vjp;
    bind_slices(scan, plan, i);
    bind_past(scan, plan, i);
    bind_windows(scan, form, i);
    bind_output_cts(scan, plan, i);
    for (int c = 0; c < s->carries; c++) { /* lambda stays, or alternates between two places */
        void *callers = s->carry[c].zero ? unwanted(scan, c) : ct_carry[c];
        void *mine = scan->carry[c].in_place ? callers : scan->carry[c].lambda;
        bind_carry(scan, plan, i, c);
        ad_plan_bind(plan, scan->carry[c].ct, i % 2 ? callers : mine);
        ad_plan_bind_output(plan, form->ct_carry[c], i % 2 ? mine : callers);
    }
    for (int k = 0; k < form->keeps; k++)
        ad_plan_bind(plan, form->kept[k].value, (char *)slot_of(scan, i) + form->kept[k].offset);
    for (int j = 0; j < s->slices; j++) {
        if (form->ct_slice[j] < 0) continue;
        int64_t rows = s->slice[j].batched ? s->batch * s->chunk : s->chunk;
        size_t row = row_bytes(scan, s->slice[j].value, rows, true);
        ASSERT(scan->slice[j].ct_memory);
        char *memory = scan->slice[j].ct_stage
                           ? scan->slice[j].ct_stage
                           : (char *)scan->slice[j].ct_memory + (size_t)(i * s->chunk) * row;
        ad_plan_bind_output(plan, form->ct_slice[j], memory);
    }
    kern_status status = run_marked(scan, form, arena, marks);
    if (status != KERN_OK) return kern_fail_context(status, "backward, chunk %d", (int)i);
    for (int j = 0; j < s->slices; j++)
        if (scan->slice[j].ct_stage)
            copy_rows(scan, scan->slice[j].ct_stage, scan->slice[j].ct_memory, i,
                      row_bytes(scan, s->slice[j].value, s->batch * s->chunk, true), true);
    return KERN_OK;
}

kern_status ad_scan_backward(ad_scan *scan, void *const *ct_carry, void *arena) {
    return ad_scan_backward_marked(scan, ct_carry, arena, NULL);
}

kern_status ad_scan_backward_marked(ad_scan *scan, void *const *ct_carry, void *arena,
                                    const ad_marks *marks) {
    const ad_scan_spec *s = &scan->spec;
    ASSERT(s->backward);
    char *lambda = (char *)scan->carry_memory.data +
                   (size_t)ad_scan_places(scan, scan->every) * scan->carry_bytes;
    for (int c = 0; c < s->carries; c++)
        scan->carry[c].lambda = lambda + scan->carry[c].lambda_offset;
    for (int h = 0; h < s->histories; h++) {
        size_t bytes = window_row_bytes(scan, h) * (size_t)(window_rows(scan, h) * s->batch);
        s->device->zero(s->device->stream, scan->history[h].ct_rows, bytes, bytes, 1);
    }
    for (int64_t end = s->chunks; end > 0;) {
        int64_t begin = (end - 1) / scan->every * scan->every;
        for (int64_t i = begin; i < end; i++) {
            if (!ad_scan_replays(scan, i)) continue;
            kern_status status = run_body(scan, i, true, NULL, arena);
            if (status != KERN_OK) return status;
        }
        for (int64_t i = end - 1; i >= begin; i--) {
            kern_status status = run_vjp(scan, i, ct_carry, arena, i ? NULL : marks);
            if (status != KERN_OK) return status;
            if (i > 0) slide_windows(scan);
        }
        end = begin;
    }
    return KERN_OK;
}
