/* Row programs on the CPU. */
#include "kernels/rows.h"

#include "kernels/isa.h"
#include "kernels/rows_plan.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* The plan for one way in which operands share memory; same[i] is the first operand with i's base.
 */
typedef struct variant {
    struct variant *next;
    int *same;
    kern_row_plan plan;
    const kern_row_plan *best; /* &plan, or that of kern_rows for any case, if memory is short */
} variant;

struct kern_rows {
    kern_row_shaped shaped;
    kern_row_plan plan;  /* no output aliases an input */
    kern_row_plan safe;  /* anything may alias */
    variant *variants;   /* others, made when first met; pushed by any thread, never removed */
    size_t thread_bytes; /* enough for any plan */
    const kern_row_arithmetic *arithmetic;
    bool *loaded, *stored; /* [operands] */
    double work;
};

/* Below this many element steps a parallel region costs more than it gains. */
static const double PARALLEL_WORK = 65536;

extern const kern_row_arithmetic kern_row_arithmetic_f32_v2, kern_row_arithmetic_f64_v2;
#if defined(__x86_64__)
extern const kern_row_arithmetic kern_row_arithmetic_f32_v3, kern_row_arithmetic_f64_v3;
extern const kern_row_arithmetic kern_row_arithmetic_f32_v4, kern_row_arithmetic_f64_v4;
#endif

const kern_row_arithmetic *kern_row_arithmetic_of(kern_dtype compute) {
    bool f64 = compute == KERN_F64;
#if defined(__x86_64__)
    if (kern_isa() == KERN_ISA_V4)
        return f64 ? &kern_row_arithmetic_f64_v4 : &kern_row_arithmetic_f32_v4;
    if (kern_isa() == KERN_ISA_V3)
        return f64 ? &kern_row_arithmetic_f64_v3 : &kern_row_arithmetic_f32_v3;
#endif
    return f64 ? &kern_row_arithmetic_f64_v2 : &kern_row_arithmetic_f32_v2;
}

static void make_plans(kern_rows *rows) {
    const kern_row_program *program = &rows->shaped.program;
    int *same = kern_array(program->operands, sizeof *same);
    kern_row_plan_make(&rows->plan, &rows->shaped.shape, program, NULL);
    kern_row_plan_make(&rows->safe, &rows->shaped.shape, program, same);
    rows->thread_bytes = kern_max_bytes(rows->plan.thread_bytes, rows->safe.thread_bytes);
    free(same);
}

kern_rows *kern_rows_create(const kern_row_program *program) {
    kern_rows *rows = kern_array(1, sizeof *rows);
    kern_row_shaped_make(&rows->shaped, program);
    rows->loaded = kern_array(program->operands, sizeof *rows->loaded);
    rows->stored = kern_array(program->operands, sizeof *rows->stored);
    for (int i = 0; i < program->instrs; i++) {
        const kern_row_instr *instr = &program->instr[i];
        if (instr->op == KERN_ROW_LOAD) rows->loaded[instr->operand] = true;
        if (instr->op == KERN_ROW_STORE) rows->stored[instr->operand] = true;
    }
    rows->work = kern_row_program_cost(program).work;
    rows->arithmetic = kern_row_arithmetic_of(program->compute);
    make_plans(rows);
    return rows;
}

void kern_rows_destroy(kern_rows *rows) {
    if (!rows) return;
    for (variant *v = rows->variants, *next; v; v = next) {
        next = v->next;
        kern_row_plan_free(&v->plan);
        free(v->same);
        free(v);
    }
    kern_row_plan_free(&rows->plan);
    kern_row_plan_free(&rows->safe);
    kern_row_shaped_free(&rows->shaped);
    free(rows->loaded);
    free(rows->stored);
    free(rows);
}

int64_t kern_rows_parts(const kern_rows *rows) {
    return rows->shaped.shape.parts;
}

static int threads_for(const kern_rows *rows, int threads) {
    if (rows->work < PARALLEL_WORK || threads < 1) return 1;
    return rows->shaped.shape.parts < threads ? (int)rows->shaped.shape.parts : threads;
}

size_t kern_rows_workspace(const kern_rows *rows, int threads) {
    return rows->plan.partial_bytes + (size_t)threads_for(rows, threads) * rows->thread_bytes;
}

/* One thread's view of a run. */
typedef struct {
    const kern_rows *rows;
    const kern_row_plan *plan;
    void *const *operand;
    char *partials, *memory;
    kern_row_tile tile;
} runner;

static void find_index(int64_t *index, const kern_row_shape *shape, int64_t row) {
    for (int axis = shape->axes - 1; axis > 0; axis--) {
        index[axis] = row % shape->lead[axis];
        row /= shape->lead[axis];
    }
    index[0] = row;
    for (int axis = shape->axes ? shape->axes : 1; axis < KERN_ROW_LEAD; axis++) index[axis] = 0;
}

static void start_thread(runner *r, const kern_rows *rows, const kern_row_plan *plan,
                         void *const *operand, char *workspace, int thread) {
    const kern_row_shape *shape = &rows->shaped.shape;
    char *memory = workspace + plan->partial_bytes + (size_t)thread * rows->thread_bytes;
    size_t pointers = (size_t)plan->slots * sizeof(void *);
    *r = (runner){
        .rows = rows, .plan = plan, .operand = operand, .partials = workspace, .memory = memory};
    r->tile.shape = shape;
    r->tile.operand = operand;
    r->tile.slot = (void **)(void *)(memory + plan->thread_bytes - kern_align(pointers));
    for (int i = 0; i < plan->slots; i++) r->tile.slot[i] = memory + plan->slot_offset[i];
    for (int i = 0; i < plan->prologues; i++) {
        const kern_row_step *step = &plan->prologue[i];
        r->tile.rows = step->wide ? shape->tile_rows : 1;
        r->tile.cols = step->wide ? shape->tile_cols : 1;
        step->run(step, &r->tile);
    }
}

static void run_tile(runner *r) {
    const kern_row_plan *plan = r->plan;
    kern_row_tile *tile = &r->tile;
    for (int i = 0; i < plan->bounds; i++) {
        const kern_row_bound *bound = &plan->bound[i];
        int64_t offset = bound->wide ? tile->col : 0;
        for (int axis = 0; axis < tile->shape->axes; axis++)
            offset += tile->index[axis] * bound->stride[axis];
        tile->slot[bound->slot] =
            (char *)r->operand[bound->operand] + offset * (int64_t)tile->shape->bytes;
    }
    if (plan->bounds && plan->shifteds) {
        const char *first = tile->slot[plan->bound[0].slot];
        char *origin = r->memory + plan->slot_offset[plan->shifted[0]];
        size_t shift = ((uintptr_t)first - (uintptr_t)origin) % KERN_ROW_PAGE / 64 * 64;
        for (int i = 0; i < plan->shifteds; i++)
            tile->slot[plan->shifted[i]] = r->memory + plan->slot_offset[plan->shifted[i]] + shift;
    }
    for (int i = 0; i < plan->steps; i++) plan->step[i].run(&plan->step[i], tile);
}

static void finish_sums(runner *r, int64_t row_part, int64_t col, int64_t cols) {
    const kern_row_shape *shape = r->tile.shape;
    for (int i = 0; i < r->plan->sums; i++) {
        const kern_row_sum *sum = &r->plan->sum[i];
        int64_t width = sum->wide ? shape->n : 1, count = sum->wide ? cols : 1;
        int64_t at = row_part * width + (sum->wide ? col : 0);
        void *value = r->tile.slot[sum->slot];
        if (!sum->wide) r->rows->arithmetic->halve_lead(value);
        if (sum->direct)
            r->rows->arithmetic->store((char *)r->operand[sum->operand] +
                                           (size_t)at * kern_dtype_bytes(sum->dtype),
                                       sum->dtype, value, count);
        else
            memcpy(r->partials + sum->partials + (size_t)at * shape->bytes, value,
                   (size_t)count * shape->bytes);
    }
}

static void run_part(runner *r, int64_t part) {
    const kern_row_shape *shape = r->tile.shape;
    kern_row_tile *tile = &r->tile;
    int64_t row_part = part / shape->col_parts;
    int64_t block = row_part / shape->pieces, piece = row_part % shape->pieces;
    int64_t row_begin = block * shape->block_rows + piece * shape->piece_rows, row = row_begin;
    int64_t row_end = kern_min(row + shape->piece_rows, (block + 1) * shape->block_rows);
    int64_t col_begin = part % shape->col_parts * shape->part_cols;
    int64_t col_end = kern_min(col_begin + shape->part_cols, shape->n);
    for (int i = 0; i < r->plan->sums; i++) {
        const kern_row_sum *sum = &r->plan->sum[i];
        size_t count = sum->wide ? (size_t)(col_end - col_begin) : KERN_ROW_LEAD_LANES;
        memset(tile->slot[sum->slot], 0, count * shape->bytes);
    }
    for (; row < row_end; row += tile->rows) {
        tile->rows = kern_min(shape->tile_rows, row_end - row);
        tile->rows = kern_min(tile->rows, shape->inner - row % shape->inner);
        tile->part_row = row - row_begin;
        find_index(tile->index, shape, row);
        for (tile->col = col_begin; tile->col < col_end; tile->col += tile->cols) {
            tile->cols = kern_min(shape->tile_cols, col_end - tile->col);
            tile->part_col = tile->col - col_begin;
            run_tile(r);
        }
    }
    finish_sums(r, row_part, col_begin, col_end - col_begin);
}

/* The parts of each result are added up in ascending order. */
static void combine_sum(const kern_rows *rows, const kern_row_sum *sum, void *const *operand,
                        char *partials) {
    const kern_row_shape *shape = &rows->shaped.shape;
    enum { COLUMNS = 1024 };
    int64_t width = sum->wide ? shape->n : 1, slices = kern_divide_up(width, COLUMNS);
    int64_t group = shape->blocks / sum->blocks * shape->pieces;
    double work = (double)(shape->blocks * shape->pieces) * (double)width;
#pragma omp parallel for schedule(static) if (work >= PARALLEL_WORK)
    for (int64_t i = 0; i < sum->blocks * slices; i++) {
        int64_t block = i / slices, col = i % slices * COLUMNS;
        int64_t count = kern_min(COLUMNS, width - col);
        char *first =
            partials + sum->partials + (size_t)(block * group * width + col) * shape->bytes;
        rows->arithmetic->add_rows(first, first + (size_t)width * shape->bytes, group - 1, count,
                                   width);
        rows->arithmetic->store((char *)operand[sum->operand] +
                                    (size_t)(block * width + col) * kern_dtype_bytes(sum->dtype),
                                sum->dtype, first, count);
    }
}

static bool has_alias(const kern_rows *rows, void *const *operand) {
    for (int i = 0; i < rows->shaped.program.operands; i++) {
        if (!rows->stored[i]) continue;
        for (int j = 0; j < rows->shaped.program.operands; j++)
            if (rows->loaded[j] && operand[i] == operand[j]) return true;
    }
    return false;
}

static int first_same(void *const *operand, int i) {
    int first = 0;
    while (operand[first] != operand[i]) first++;
    return first;
}

static bool is_variant(const variant *v, void *const *operand, int operands) {
    for (int i = 0; i < operands; i++)
        if (v->same[i] != first_same(operand, i)) return false;
    return true;
}

/* The plan for operands that share memory as these do. Results do not depend on the plan. */
static const kern_row_plan *plan_for(const kern_rows *rows, void *const *operand) {
    if (!has_alias(rows, operand)) return &rows->plan;
    int operands = rows->shaped.program.operands;
    variant **list = (variant **)&rows->variants, *head = __atomic_load_n(list, __ATOMIC_ACQUIRE);
    variant *found = head;
    while (found && !is_variant(found, operand, operands)) found = found->next;
    if (found) return found->best;
    variant *made = kern_array(1, sizeof *made);
    made->same = kern_array(operands, sizeof *made->same);
    for (int i = 0; i < operands; i++) made->same[i] = first_same(operand, i);
    kern_row_plan_make(&made->plan, &rows->shaped.shape, &rows->shaped.program, made->same);
    bool fits = made->plan.thread_bytes <= rows->thread_bytes;
    made->best = fits ? &made->plan : &rows->safe;
    do made->next = head;
    while (
        !__atomic_compare_exchange_n(list, &head, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return made->best;
}

/* The parts of the share-th of `shares`, in the share's own memory. */
static void run_share(const kern_rows *rows, const kern_row_plan *plan, void *const *operand,
                      char *workspace, int share, int shares) {
    int64_t parts = rows->shaped.shape.parts, end = parts * (share + 1) / shares;
    runner r;
    start_thread(&r, rows, plan, operand, workspace, share);
    for (int64_t part = parts * share / shares; part < end; part++) run_part(&r, part);
}

/* The team has all threads also where there are fewer shares: for a smaller one OpenMP would end
 * threads, and start them again for the next. A team of one it would make anew each time, which
 * takes as long as a short program. */
void kern_rows_run(const kern_rows *rows, void *const *operand, void *workspace) {
    const kern_row_plan *plan = plan_for(rows, operand);
    int shares = threads_for(rows, omp_get_max_threads());
    if (shares == 1) {
        run_share(rows, plan, operand, workspace, 0, 1);
    } else {
#pragma omp parallel for schedule(static)
        for (int share = 0; share < shares; share++)
            run_share(rows, plan, operand, workspace, share, shares);
    }
    for (int i = 0; i < plan->sums; i++)
        if (!plan->sum[i].direct) combine_sum(rows, &plan->sum[i], operand, workspace);
}
