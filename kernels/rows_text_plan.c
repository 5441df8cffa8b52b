/* What each thread of a block does, and when, decided before any text is written. */
#include "kernels/rows_text_plan.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEPT_COLUMNS = 8192,    /* of a row, in 32 registers of 256 threads for each kept value */
    CUT_FROM = 1024,        /* shorter rows are not cut */
    CUT_STEPS = 4,          /* at most, of a thread */
    CUT_ELEMENTS = 1 << 20, /* with so many for each step the blocks fill a large machine */
    SHARED_BYTES = 32768,
};

bool kern_text_makes(const kern_row_instr *instr) {
    return instr->op != KERN_ROW_STORE && instr->op != KERN_ROW_SUM_LEAD;
}

bool kern_text_reduces(const kern_text_plan *plan, const kern_row_instr *instr) {
    return plan->shape->n > 1 && (instr->op == KERN_ROW_ROW_SUM || instr->op == KERN_ROW_ROW_MAX ||
                                  instr->op == KERN_ROW_PICK);
}

bool kern_text_is_wide_sum(const kern_text_plan *plan, const kern_row_instr *instr) {
    return instr->op == KERN_ROW_SUM_LEAD && plan->shape->n > 1 &&
           plan->program->operand[instr->operand].wide;
}

int64_t kern_text_sum_results(const kern_text_plan *plan, const kern_row_instr *instr) {
    int64_t results = 1;
    for (int axis = 0; axis < instr->kept; axis++) results *= plan->program->lead[axis];
    return results;
}

static void find_live(kern_text_plan *plan) {
    for (int i = plan->program->instrs - 1; i >= 0; i--) {
        const kern_row_instr *instr = &plan->program->instr[i];
        if (kern_text_makes(instr) && !plan->live[instr->d]) continue;
        const int source[3] = {instr->a, instr->b, instr->c};
        for (int k = 0; k < kern_row_op_sources(instr->op); k++) plan->live[source[k]] = true;
    }
}

static bool is_scalar(const kern_text_plan *plan, const kern_row_instr *instr) {
    const int source[3] = {instr->a, instr->b, instr->c};
    if (plan->shape->n == 1 || kern_text_reduces(plan, instr)) return true;
    if (instr->op == KERN_ROW_LOAD) return !plan->program->operand[instr->operand].wide;
    if (instr->op == KERN_ROW_ROTATE || instr->op == KERN_ROW_UNPICK) return false;
    for (int k = 0; k < kern_row_op_sources(instr->op); k++)
        if (!plan->scalar[source[k]]) return false;
    return true;
}

/* A reduction runs where its source is there and a place in shared memory is free; its result is
 * there in the phase after that. */
static void find_phases(kern_text_plan *plan) {
    const kern_row_program *p = plan->program;
    int most = SHARED_BYTES / KERN_TEXT_LANES / (int)plan->shape->bytes;
    int *count = kern_array(p->instrs + 1, sizeof *count);
    for (int i = 0; i < p->instrs; i++) {
        const kern_row_instr *instr = &p->instr[i];
        const int source[3] = {instr->a, instr->b, instr->c};
        int phase = 0;
        for (int k = 0; k < kern_row_op_sources(instr->op); k++)
            phase = plan->phase[source[k]] > phase ? plan->phase[source[k]] : phase;
        plan->at[i] = phase;
        if (!kern_text_makes(instr)) continue;
        plan->scalar[instr->d] = is_scalar(plan, instr);
        plan->phase[instr->d] = phase;
        if (!kern_text_reduces(plan, instr) || !plan->live[instr->d]) continue;
        while (count[plan->at[i]] == most) plan->at[i]++;
        count[plan->at[i]]++;
        plan->phase[instr->d] = plan->at[i] + 1;
        if (count[plan->at[i]] > plan->reductions) plan->reductions = count[plan->at[i]];
    }
    free(count);
}

static int phase_of(const kern_text_plan *plan, int i) {
    const kern_row_instr *instr = &plan->program->instr[i];
    bool own = !kern_text_makes(instr) || kern_text_reduces(plan, instr);
    return own ? plan->at[i] : plan->phase[instr->d];
}

static bool is_needed(const kern_text_plan *plan, int i) {
    const kern_row_instr *instr = &plan->program->instr[i];
    return !kern_text_makes(instr) || plan->live[instr->d];
}

/* A wide load waits for its first reader. */
static void delay_loads(kern_text_plan *plan) {
    const kern_row_program *p = plan->program;
    for (int i = 0; i < p->instrs; i++) {
        int d = p->instr[i].d, first = -1;
        if (p->instr[i].op != KERN_ROW_LOAD || plan->scalar[d] || !plan->live[d]) continue;
        for (int j = i + 1; j < p->instrs; j++) {
            const int source[3] = {p->instr[j].a, p->instr[j].b, p->instr[j].c};
            for (int k = 0; k < kern_row_op_sources(p->instr[j].op); k++)
                if (source[k] == d && is_needed(plan, j) &&
                    (first < 0 || phase_of(plan, j) < first))
                    first = phase_of(plan, j);
        }
        plan->phase[d] = first;
    }
}

static bool may_alias(const kern_text_plan *plan, int a, int b) {
    const kern_row_operand *x = &plan->program->operand[a], *y = &plan->program->operand[b];
    return x->dtype == y->dtype && x->wide == y->wide &&
           !memcmp(x->stride, y->stride, sizeof x->stride);
}

static int last_phase(const kern_text_plan *plan) {
    int last = 0;
    for (int i = 0; i < plan->program->instrs; i++)
        if (is_needed(plan, i) && phase_of(plan, i) > last) last = phase_of(plan, i);
    return last;
}

/* Loads see what an operand held before the run. A thread loads its own columns before it stores
 * them, but one value of a row is loaded by its whole team. */
static void delay_stores(kern_text_plan *plan, bool wide) {
    const kern_row_program *p = plan->program;
    int last = last_phase(plan);
    for (int i = 0; i < p->instrs; i++) {
        if (p->instr[i].op != KERN_ROW_STORE) continue;
        bool is_wide = p->operand[p->instr[i].operand].wide && plan->shape->n > 1;
        if (is_wide != wide) continue;
        for (int j = 0; j < p->instrs; j++) {
            const kern_row_instr *load = &p->instr[j];
            if (load->op != KERN_ROW_LOAD || !plan->live[load->d]) continue;
            if (!may_alias(plan, p->instr[i].operand, load->operand)) continue;
            int after = !wide ? plan->team > 1 : plan->again ? last : plan->phase[load->d];
            if (plan->at[i] < after) plan->at[i] = after;
        }
    }
}

static void keep(kern_text_plan *plan) {
    const kern_row_program *p = plan->program;
    for (int i = 0; i < p->instrs; i++) {
        const kern_row_instr *instr = &p->instr[i];
        const int source[3] = {instr->a, instr->b, instr->c};
        if (!is_needed(plan, i)) continue;
        bool exchanged = instr->op == KERN_ROW_SUM_LEAD &&
                         (plan->teams > 1 || !kern_text_is_wide_sum(plan, instr));
        for (int k = 0; k < kern_row_op_sources(instr->op); k++) {
            int s = source[k];
            if (phase_of(plan, i) <= plan->phase[s] && !exchanged) continue;
            if (plan->scalar[s] || !plan->again) plan->kept[s] = true;
        }
    }
}

static void choose_teams(kern_text_plan *plan) {
    const kern_row_shape *shape = plan->shape;
    kern_row_order order = kern_row_sum_order(shape->n);
    plan->cuts = 1;
    plan->cut = shape->n;
    plan->team = order.lanes / 4;
    plan->lanes = order.lanes / order.parts;
    plan->part = order.part;
    if (shape->n > CUT_FROM && !shape->whole_rows) {
        int64_t steps = shape->rows * shape->n / CUT_ELEMENTS;
        steps = kern_min(kern_max(steps, 1), CUT_STEPS);
        plan->team = KERN_TEXT_THREADS;
        plan->lanes = 4 * KERN_TEXT_THREADS;
        plan->cut = kern_min(steps * plan->lanes, kern_round_up(shape->n, plan->lanes));
        plan->cuts = kern_divide_up(shape->n, plan->cut);
        plan->part = plan->cut;
    } else if (shape->n <= 16) { /* lanes that have no element are +0 and change nothing */
        plan->team = shape->n == 1 ? 1 : 4;
        plan->lanes = 4 * plan->team;
    }
    plan->stride = plan->lanes;
    plan->groups = kern_divide_up(plan->part, plan->stride);
    plan->teams = KERN_TEXT_THREADS / plan->team;
    plan->again = plan->cuts == 1 && shape->n > KEPT_COLUMNS;
    plan->own = (int)kern_max(4 * plan->team / KERN_TEXT_THREADS, 1);
    kern_text_folds *folds = &plan->folds;
    folds->count[0] = 4 * plan->team;
    do {
        int level = folds->levels++;
        folds->count[level + 1] = folds->count[level] / 4;
        folds->offset[level + 1] = folds->offset[level] + folds->count[level] * plan->teams;
    } while (folds->count[folds->levels] > 32);
    int last = folds->offset[folds->levels] + folds->count[folds->levels] * plan->teams;
    ASSERT(last <= KERN_TEXT_LANES);
}

static void place_sums(kern_text_plan *plan) {
    const kern_row_program *p = plan->program;
    const kern_row_shape *shape = plan->shape;
    int64_t elements = 0;
    for (int i = 0; i < p->instrs; i++) {
        if (p->instr[i].op != KERN_ROW_SUM_LEAD) continue;
        plan->has_sums = true;
        int64_t width = kern_text_is_wide_sum(plan, &p->instr[i]) ? shape->n : 1;
        int64_t results = kern_text_sum_results(plan, &p->instr[i]);
        plan->direct[i] = results == shape->blocks && shape->pieces == 1 && !plan->again;
        if (plan->direct[i]) continue;
        plan->partials[i] = plan->launch.workspace;
        plan->launch.workspace +=
            kern_align((size_t)(shape->blocks * shape->pieces * width) * shape->bytes);
        elements += results * width;
    }
    plan->launch.sum_blocks = kern_divide_up(elements, KERN_TEXT_THREADS);
}

void kern_text_plan_make(kern_text_plan *plan, const kern_row_program *program) {
    *plan = (kern_text_plan){0};
    kern_row_shaped_make(&plan->shaped, program);
    const kern_row_program *p = plan->program = &plan->shaped.program;
    const kern_row_shape *shape = plan->shape = &plan->shaped.shape;
    plan->live = kern_array(p->registers, sizeof *plan->live);
    plan->scalar = kern_array(p->registers, sizeof *plan->scalar);
    plan->kept = kern_array(p->registers, sizeof *plan->kept);
    plan->phase = kern_array(p->registers, sizeof *plan->phase);
    plan->at = kern_array(p->instrs, sizeof *plan->at);
    plan->partials = kern_array(p->instrs, sizeof *plan->partials);
    plan->direct = kern_array(p->instrs, sizeof *plan->direct);
    choose_teams(plan);
    find_live(plan);
    find_phases(plan);
    delay_loads(plan);
    delay_stores(plan, false);
    delay_stores(plan, true);
    keep(plan);
    place_sums(plan);
    plan->phases = last_phase(plan) + 1;
    plan->launch.threads = KERN_TEXT_THREADS;
    plan->launch.memories = p->operands + 1;
    plan->launch.blocks = plan->cuts * (plan->has_sums ? shape->blocks * shape->pieces
                                                       : kern_divide_up(shape->rows, plan->teams));
    plan->exchanges = plan->reductions ? plan->reductions : plan->has_sums;
    plan->launch.shared =
        (size_t)(plan->exchanges * KERN_TEXT_LANES + 2 * plan->reductions * plan->teams) *
        shape->bytes;
    ASSERT(plan->launch.shared <= 49152 && plan->launch.blocks < INT32_MAX);
}

void kern_text_plan_free(kern_text_plan *plan) {
    kern_row_shaped_free(&plan->shaped);
    free(plan->live);
    free(plan->scalar);
    free(plan->kept);
    free(plan->phase);
    free(plan->at);
    free(plan->partials);
    free(plan->direct);
}
