/* Where registers live. A slot is an address that a step reads or writes: one value or a row that
 * stays for the whole run (uniform, hoisted); a place in an operand's own memory, where that saves
 * the copy of a load or a store (load, stored); or a tile buffer, handed on as soon as its value is
 * no longer needed. A store into memory that another operand is loaded from must not come before
 * what reads the old contents: first stores sink behind such loads, then only those registers are
 * bound to operands that no store reaches too early, then steps that copy nothing are dropped. */
#include "kernels/rows_plan.h"

#include <stdlib.h>
#include <string.h>

enum { REMOVED = -1 };

typedef struct {
    kern_row_plan *plan;
    const kern_row_shape *shape;
    const kern_row_program *program;
    kern_row_register *reg;
    int regs;
    int *free_wide, *free_narrow; /* slots that can be used again */
    int frees_wide, frees_narrow;
    const int *same;
    size_t shifted_bytes;
    int64_t offset_capacity, bound_capacity, shifted_capacity;
} slotter;

static bool are_same_memory(const slotter *s, int a, int b) {
    return s->same && s->same[a] == s->same[b];
}

/* Loads see what an operand held before the run: stores come after the loads they may spoil. */
static void sink_stores(const slotter *s) {
    kern_row_step *step = s->plan->step;
    for (int t = s->plan->steps - 1; t >= 0; t--) {
        if (step[t].op != KERN_ROW_STORE) continue;
        int last = t;
        for (int u = t + 1; u < s->plan->steps; u++)
            if (step[u].op == KERN_ROW_LOAD && are_same_memory(s, step[t].operand, step[u].operand))
                last = u;
        kern_row_step moved = step[t];
        memmove(step + t, step + t + 1, (size_t)(last - t) * sizeof *step);
        step[last] = moved;
    }
}

static void find_lifetimes(const slotter *s) {
    for (int r = 0; r < s->regs; r++) s->reg[r].def = s->reg[r].last = -1;
    for (int t = 0; t < s->plan->steps; t++) {
        const kern_row_step *step = &s->plan->step[t];
        const int source[3] = {step->a, step->b, step->c};
        if (step->d >= 0 && step->op != KERN_ROW_SUM_LEAD)
            s->reg[step->d].def = s->reg[step->d].last = t;
        for (int k = 0; k < 3; k++)
            if (source[k] >= 0) s->reg[source[k]].last = t;
    }
}

/* Element i of the result needs element i of the sources alone. */
static bool is_elementwise(const kern_row_step *step) {
    return (step->op >= KERN_ROW_ADD && step->op <= KERN_ROW_SELECT) || step->op >= KERN_STEP_CHAIN;
}

/* A register is the operand that it is loaded from, for as long as nothing is stored there. */
static void bind_loads(const slotter *s) {
    for (int t = 0; t < s->plan->steps; t++) {
        const kern_row_step *step = &s->plan->step[t];
        if (step->op == KERN_ROW_LOAD && step->dtype == s->shape->compute && step->contiguous)
            s->reg[step->d].load = step->operand;
    }
}

/* Whether step `def`, if it wrote straight to the operand, would write over what a bound load still
 * holds: one that is read later, or by this step at other elements than the one being written. */
static bool spoils_load(const slotter *s, int operand, int def) {
    for (int r = 0; r < s->regs; r++) {
        const kern_row_register *reg = &s->reg[r];
        if (reg->load < 0 || !are_same_memory(s, operand, reg->load) || reg->last < def) continue;
        if (reg->last > def || !is_elementwise(&s->plan->step[def])) return true;
    }
    return false;
}

/* A register that is stored is made in the operand's memory, once: its store is then done. */
static void bind_stores(const slotter *s) {
    for (int t = 0; t < s->plan->steps; t++) {
        kern_row_step *step = &s->plan->step[t];
        if (step->op != KERN_ROW_STORE || step->dtype != s->shape->compute || !step->contiguous)
            continue;
        kern_row_register *reg = &s->reg[step->a];
        if (reg->uniform || reg->hoisted || reg->load >= 0 || reg->stored >= 0) continue;
        if (spoils_load(s, step->operand, reg->def)) continue;
        reg->stored = step->operand;
        step->op = REMOVED;
    }
}

/* A load that a store may spoil before its last use has to be copied after all. */
static void unbind_spoilt(const slotter *s) {
    for (int t = 0; t < s->plan->steps; t++) {
        const kern_row_step *step = &s->plan->step[t];
        if (step->op != KERN_ROW_STORE) continue;
        for (int r = 0; r < s->regs; r++)
            if (s->reg[r].load >= 0 && s->reg[r].last > t &&
                are_same_memory(s, step->operand, s->reg[r].load))
                s->reg[r].load = -1;
    }
}

static void remove_steps(const slotter *s) {
    int kept = 0;
    for (int t = 0; t < s->plan->steps; t++) {
        kern_row_step *step = &s->plan->step[t];
        bool bound = step->op == KERN_ROW_LOAD && s->reg[step->d].load >= 0;
        if (!bound && step->op != REMOVED) s->plan->step[kept++] = *step;
    }
    s->plan->steps = kept;
}

static int new_slot(slotter *s, int64_t elements) {
    kern_row_plan *plan = s->plan;
    plan->slot_offset = kern_grow(plan->slot_offset, &s->offset_capacity, plan->slots + 1,
                                  sizeof *plan->slot_offset);
    plan->slot_offset[plan->slots] = plan->thread_bytes;
    plan->thread_bytes += kern_align((size_t)elements * s->shape->bytes);
    return plan->slots++;
}

/* Offsets of shifted slots count from the first of them. */
static int new_shifted_slot(slotter *s, size_t bytes) {
    kern_row_plan *plan = s->plan;
    int slot = new_slot(s, 0);
    plan->slot_offset[slot] = s->shifted_bytes;
    s->shifted_bytes += (bytes + KERN_ROW_PAGE - 1) / KERN_ROW_PAGE * KERN_ROW_PAGE;
    plan->shifted =
        kern_grow(plan->shifted, &s->shifted_capacity, plan->shifteds + 1, sizeof *plan->shifted);
    plan->shifted[plan->shifteds++] = slot;
    return slot;
}

static int tile_slot(slotter *s, bool wide) {
    int *frees = wide ? &s->frees_wide : &s->frees_narrow;
    if (*frees) return (wide ? s->free_wide : s->free_narrow)[--*frees];
    int64_t elements = s->shape->tile_rows * (wide ? s->shape->tile_cols : 1);
    size_t bytes = (size_t)elements * s->shape->bytes;
    return bytes < KERN_ROW_PAGE ? new_slot(s, elements) : new_shifted_slot(s, bytes);
}

static void place_shifted(slotter *s) {
    kern_row_plan *plan = s->plan;
    for (int i = 0; i < plan->shifteds; i++)
        plan->slot_offset[plan->shifted[i]] += plan->thread_bytes;
    if (plan->shifteds) plan->thread_bytes += s->shifted_bytes + KERN_ROW_PAGE;
}

static void bind_slot(slotter *s, kern_row_register *reg) {
    kern_row_plan *plan = s->plan;
    int operand = reg->load >= 0 ? reg->load : reg->stored;
    reg->slot = new_slot(s, 0);
    kern_row_bound bound = {
        .slot = reg->slot, .operand = operand, .wide = s->program->operand[operand].wide};
    memcpy(bound.stride, s->program->operand[operand].stride, sizeof bound.stride);
    plan->bound = kern_grow(plan->bound, &s->bound_capacity, plan->bounds + 1, sizeof bound);
    plan->bound[plan->bounds++] = bound;
}

/* Slots that keep their contents over the whole run, or lie in operands. */
static void place_fixed(slotter *s) {
    for (int r = 0; r < s->regs; r++) {
        kern_row_register *reg = &s->reg[r];
        if (reg->uniform)
            reg->slot = new_slot(s, 1);
        else if (reg->hoisted)
            reg->slot = new_slot(s, s->shape->tile_rows * s->shape->tile_cols);
        else if (reg->load >= 0 || reg->stored >= 0)
            bind_slot(s, reg);
    }
    for (int i = 0; i < s->plan->sums; i++)
        s->plan->sum[i].slot =
            new_slot(s, s->plan->sum[i].wide ? s->shape->part_cols : KERN_ROW_LEAD_LANES);
}

static void release_at(slotter *s, int r, int t) {
    kern_row_register *reg = r >= 0 ? &s->reg[r] : NULL;
    if (!reg || reg->last != t || reg->uniform || reg->hoisted || reg->load >= 0 ||
        reg->stored >= 0)
        return;
    reg->last = -1; /* once, also if it is two sources of the step */
    if (reg->wide)
        s->free_wide[s->frees_wide++] = reg->slot;
    else
        s->free_narrow[s->frees_narrow++] = reg->slot;
}

static void place_tiles(slotter *s) {
    for (int t = 0; t < s->plan->steps; t++) {
        kern_row_step *step = &s->plan->step[t];
        const int source[3] = {step->a, step->b, step->c};
        bool in_place = is_elementwise(step);
        for (int k = 0; k < 3 && in_place; k++) release_at(s, source[k], t);
        if (step->op == KERN_ROW_SUM_LEAD) {
            step->d = s->plan->sum[step->d].slot;
        } else if (step->d >= 0) {
            kern_row_register *d = &s->reg[step->d];
            if (d->slot < 0) d->slot = tile_slot(s, d->wide);
            release_at(s, step->d, t); /* never used */
            step->d = d->slot;
        }
        for (int k = 0; k < 3 && !in_place; k++) release_at(s, source[k], t);
        step->a = source[0] < 0 ? -1 : s->reg[source[0]].slot;
        step->b = source[1] < 0 ? -1 : s->reg[source[1]].slot;
        step->c = source[2] < 0 ? -1 : s->reg[source[2]].slot;
    }
}

static void place_prologue(const slotter *s) {
    for (int t = 0; t < s->plan->prologues; t++) {
        kern_row_step *step = &s->plan->prologue[t];
        step->d = s->reg[step->d].slot;
        if (step->a >= 0) step->a = s->reg[step->a].slot;
        if (step->b >= 0) step->b = s->reg[step->b].slot;
        if (step->c >= 0) step->c = s->reg[step->c].slot;
    }
}

static void place_partials(slotter *s) {
    for (int i = 0; i < s->plan->sums; i++) {
        kern_row_sum *sum = &s->plan->sum[i];
        if (sum->direct) continue;
        int64_t elements = s->shape->blocks * s->shape->pieces * (sum->wide ? s->shape->n : 1);
        sum->partials = s->plan->partial_bytes;
        s->plan->partial_bytes += kern_align((size_t)elements * s->shape->bytes);
    }
}

void kern_row_plan_slots(kern_row_plan *plan, const kern_row_shape *shape,
                         const kern_row_program *program, kern_row_register *registers, int count,
                         const int *same) {
    slotter s = {.plan = plan,
                 .shape = shape,
                 .program = program,
                 .reg = registers,
                 .regs = count,
                 .same = same};
    int64_t wide = 0, narrow = 0;
    s.free_wide = kern_grow(NULL, &wide, count + 1, sizeof *s.free_wide);
    s.free_narrow = kern_grow(NULL, &narrow, count + 1, sizeof *s.free_narrow);
    sink_stores(&s);
    find_lifetimes(&s);
    bind_loads(&s);
    bind_stores(&s);
    unbind_spoilt(&s);
    remove_steps(&s);
    find_lifetimes(&s);
    place_fixed(&s);
    place_tiles(&s);
    place_prologue(&s);
    place_partials(&s);
    place_shifted(&s);
    /* the slot pointers themselves lie behind the buffers */
    plan->thread_bytes = kern_align(plan->thread_bytes + (size_t)plan->slots * sizeof(void *));
    free(s.free_wide);
    free(s.free_narrow);
}
