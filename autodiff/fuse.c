/* Second pass: units of work. Every live node begins as a unit of its own; then elementwise nodes
 * and reductions over the last axis join along their edges into row programs, as long as they run
 * over the same rows and no path leaves the program and comes back. */
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

ad_space ad_space_of(const ad_graph *graph, const ad_node *node) {
    const ad_op_def *op = ad_op_definition(node->op);
    bool by_operand = op->rows == AD_ROWS_REDUCE || op->rows == AD_ROWS_LEAD;
    ad_type type = by_operand ? ad_type_at(graph, node->input[0]) : node->type[0];
    ad_space space = {.rank = type.rank, .n = ad_last(type), .compute = KERN_F32};
    for (int axis = 0; axis < KERN_ROW_LEAD; axis++)
        space.lead[axis] = axis < type.rank - 1 ? type.dim[axis] : 1;
    if (space.n == 1) space.n = 0;
    if (node->type[0].dtype == KERN_F64) space.compute = KERN_F64;
    for (int in = 0; in < node->inputs; in++)
        if (ad_type_at(graph, node->input[in]).dtype == KERN_F64) space.compute = KERN_F64;
    return space;
}

static bool same_space(ad_space a, ad_space b) {
    return a.rank == b.rank && !memcmp(a.lead, b.lead, sizeof a.lead) && a.compute == b.compute &&
           (a.n == b.n || !a.n || !b.n);
}

/* What the pass knows beside the units. */
typedef struct {
    ad_lowering *low;
    int *first, *reader;   /* nodes that read node i: reader[first[i] .. first[i + 1]) */
    ad_space *space;       /* [units] */
    int *order, *position; /* [units] a topological order, kept while units join; its inverse */
    int placed;
    int *stack, *stamp, now; /* [units] of a search: stamp == now where it has been */
} fuser;

/* Repeats what follows for each producer of what node i reads, adds to or waits for. */
#define FOR_PRODUCERS(low, i, producer)                                                            \
    for (int in_ = 0; in_ <= ad_node_at((low)->graph, i)->inputs; in_++)                           \
        if (((producer) = producer_at(low, i, in_)) >= 0)

static int producer_at(const ad_lowering *low, int i, int in) {
    const ad_node *node = ad_node_at(low->graph, i);
    if (in == node->inputs) /* what ranks do together adds to nothing */
        return low->summand[i] < 0 ? low->after[i] : ad_producer(low, ad_numbered(low->summand[i]));
    return ad_is_value(node->input[in]) ? ad_producer(low, node->input[in]) : -1;
}

static void find_readers(fuser *f) {
    const ad_lowering *low = f->low;
    int *count = kern_array(low->nodes, sizeof *count), producer, total = 0;
    free(f->first);
    free(f->reader);
    f->first = kern_array(low->nodes + 1, sizeof *f->first);
    for (int i = 0; i < low->nodes; i++)
        if (low->live[i]) FOR_PRODUCERS(low, i, producer) count[producer]++, total++;
    for (int i = 0; i < low->nodes; i++) f->first[i + 1] = f->first[i] + count[i];
    f->reader = kern_array(total, sizeof *f->reader);
    memset(count, 0, (size_t)low->nodes * sizeof *count);
    for (int i = 0; i < low->nodes; i++)
        if (low->live[i])
            FOR_PRODUCERS(low, i, producer) f->reader[f->first[producer] + count[producer]++] = i;
    free(count);
}

/* Whether a path leads from one of two units to the other through a third; joined, they would then
 * wait for themselves. None leads back in the order of units, nor from behind the second. If there
 * is none, all that follows from the first and stands before the second is stamped. */
static bool detour(fuser *f, int a, int b) {
    const ad_lowering *low = f->low;
    bool in_order = f->position[a] < f->position[b];
    int from = in_order ? a : b, to = in_order ? b : a, depth = 0;
    f->stamp[from] = ++f->now;
    f->stack[depth++] = from;
    while (depth) {
        int through = f->stack[--depth];
        const ad_unit *unit = &low->unit[through];
        for (int m = 0; m < unit->nodes; m++)
            for (int r = f->first[unit->node[m]]; r < f->first[unit->node[m] + 1]; r++) {
                int next = low->unit_of[f->reader[r]];
                if (next == to && through != from) return true;
                if (f->stamp[next] == f->now || f->position[next] >= f->position[to]) continue;
                f->stamp[next] = f->now;
                f->stack[depth++] = next;
            }
    }
    return false;
}

void ad_add_member(ad_unit *unit, int node) {
    unit->node = kern_grow(unit->node, &unit->capacity, unit->nodes + 1, sizeof *unit->node);
    int m = unit->nodes++;
    for (; m > 0 && unit->node[m - 1] > node; m--) unit->node[m] = unit->node[m - 1];
    unit->node[m] = node;
}

/* Puts a node's unit behind those of its producers, which stand before it already but where kernels
 * add to memory that a later node made. */
static void place(fuser *f, int node) {
    int unit = f->low->unit_of[node], producer;
    if (f->position[unit] >= 0) return;
    FOR_PRODUCERS(f->low, node, producer) place(f, producer);
    f->position[unit] = f->placed;
    f->order[f->placed++] = unit;
}

static void put(fuser *f, int unit, int position) {
    f->order[position] = unit;
    f->position[unit] = position;
}

/* The order after `into` took in `from`, between which there is no detour(), asked just before: of
 * the units between the two, those that follow from the first are stamped and must stand behind the
 * one that they become, and all others can stand before it. */
static void reorder(fuser *f, int into, int from) {
    bool in_order = f->position[into] < f->position[from];
    int first = in_order ? into : from, second = in_order ? from : into;
    int next = f->position[first], last = f->position[second], later = 0;
    ASSERT(f->stamp[first] == f->now);
    for (int p = next; p <= last; p++) {
        int unit = f->order[p];
        if (unit == into || unit == from) continue;
        if (f->stamp[unit] == f->now)
            f->stack[later++] = unit;
        else
            put(f, unit, next++);
    }
    put(f, into, next++);
    for (int i = 0; i < later; i++) put(f, f->stack[i], next++);
    put(f, from, next); /* it is empty from now on */
}

static void merge(fuser *f, int into, int from) {
    reorder(f, into, from);
    ad_unit *a = &f->low->unit[into], *b = &f->low->unit[from];
    for (int m = 0; m < b->nodes; m++) {
        ad_add_member(a, b->node[m]);
        f->low->unit_of[b->node[m]] = into;
    }
    a->instrs += b->instrs;
    b->nodes = 0;
    if (!f->space[into].n) f->space[into].n = f->space[from].n;
}

/* The value passes from its producer to `reader` in a register. */
static bool is_joinable(const ad_lowering *low, ad_value value, ad_space reader) {
    value = ad_row_source(low, value);
    int producer = ad_is_value(value) ? ad_producer(low, value) : -1;
    if (producer < 0 || ad_number(ad_root(low, value)) != ad_number(value)) return false;
    const ad_node *node = ad_node_at(low->graph, producer);
    ad_rows_kind kind = ad_op_definition(node->op)->rows;
    return kind != AD_ROWS_NONE && kind != AD_ROWS_LEAD && node->op != AD_OP_fill &&
           node->type[0].dtype == reader.compute;
}

/* All that unit `to` reads of unit `from` passes in registers: no view, sum or rounded value. */
static bool passes_in_registers(const fuser *f, int from, int to) {
    const ad_lowering *low = f->low;
    const ad_unit *unit = &low->unit[to];
    for (int m = 0; m < unit->nodes; m++) {
        const ad_node *node = ad_node_at(low->graph, unit->node[m]);
        for (int in = 0; in < node->inputs; in++) {
            int producer = producer_at(low, unit->node[m], in);
            if (producer >= 0 && low->unit_of[producer] == from &&
                !is_joinable(low, node->input[in], f->space[to]))
                return false;
        }
    }
    return true;
}

static bool fits(const fuser *f, int a, int b) {
    const ad_unit *x = &f->low->unit[a], *y = &f->low->unit[b];
    return same_space(f->space[a], f->space[b]) && x->nodes + y->nodes <= AD_UNIT_NODES &&
           x->instrs + y->instrs <= AD_UNIT_INSTRS;
}

/* Each program takes in the one that makes its node's operand. */
static void join_producers(fuser *f) {
    const ad_lowering *low = f->low;
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        if (!low->live[i] || low->unit_of[i] < 0) continue;
        if (ad_op_definition(node->op)->rows == AD_ROWS_NONE || node->op == AD_OP_fill) continue;
        for (int in = 0; in < node->inputs; in++) {
            int to = low->unit_of[i];
            if (!is_joinable(low, node->input[in], f->space[to])) continue;
            int from = low->unit_of[ad_producer(low, node->input[in])];
            if (from != to && fits(f, from, to) && passes_in_registers(f, from, to) &&
                !detour(f, from, to))
                merge(f, from, to);
        }
    }
}

/* The last of the units that a unit waits for, or -1. */
static int latest_producer(const fuser *f, int unit) {
    const ad_lowering *low = f->low;
    int latest = -1, producer;
    for (int m = 0; m < low->unit[unit].nodes; m++)
        FOR_PRODUCERS(low, low->unit[unit].node[m], producer) {
            int by = low->unit_of[producer];
            if (by != unit && (latest < 0 || f->position[by] > f->position[latest])) latest = by;
        }
    return latest;
}

static bool is_lazy(const ad_lowering *low, int unit) {
    return low->unit[unit].node[low->unit[unit].nodes - 1] < low->spec.lazy;
}

static bool are_siblings(fuser *f, int a, int b) {
    return fits(f, a, b) && is_lazy(f->low, a) == is_lazy(f->low, b) &&
           passes_in_registers(f, a, b) && passes_in_registers(f, b, a) && !detour(f, a, b);
}

/* Programs that wait for the same unit join too, though neither reads the other: what both read
 * is then read once, and nothing is delayed. */
static void join_siblings(fuser *f) {
    const ad_lowering *low = f->low;
    int *waiting = kern_array(low->units, sizeof *waiting); /* [units] first of a list */
    int *next = kern_array(low->units, sizeof *next);
    for (int u = 0; u < low->units; u++) waiting[u] = -1;
    for (int u = 0; u < low->units; u++) {
        if (!low->unit[u].rows || !low->unit[u].nodes) continue;
        int latest = latest_producer(f, u), v;
        if (latest < 0) continue;
        for (v = waiting[latest]; v >= 0; v = next[v])
            if (are_siblings(f, v, u)) break;
        if (v >= 0) {
            merge(f, v, u);
        } else {
            next[u] = waiting[latest];
            waiting[latest] = u;
        }
    }
    free(waiting);
    free(next);
}

/* Fills are constants of row programs; only other kernels need them in memory. */
static bool fill_is_read(const fuser *f, int fill) {
    for (int r = f->first[fill]; r < f->first[fill + 1]; r++)
        if (ad_op_definition(ad_node_at(f->low->graph, f->reader[r])->op)->rows == AD_ROWS_NONE)
            return true;
    return false;
}

/* Every live node by itself. */
static void make_units(fuser *f) {
    ad_lowering *low = f->low;
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        low->unit_of[i] = -1;
        if (!low->live[i]) continue;
        if (node->op == AD_OP_fill && !fill_is_read(f, i)) {
            low->live[i] = false;
            continue;
        }
        low->unit = kern_grow(low->unit, &low->unit_capacity, low->units + 1, sizeof *low->unit);
        low->unit[low->units] = (ad_unit){.rows = ad_op_definition(node->op)->rows != AD_ROWS_NONE,
                                          .add_from = -1,
                                          .add_output = -1,
                                          .workspace = AD_NO_STORAGE};
        ad_add_member(&low->unit[low->units], i);
        low->unit_of[i] = (int)low->units++;
    }
    ad_lower_count_instrs(low);
}

static void begin(fuser *f) {
    ad_lowering *low = f->low;
    find_readers(f);
    make_units(f);
    find_readers(f); /* again: constants are gone */
    f->stack = kern_array(low->units, sizeof *f->stack);
    f->stamp = kern_array(low->units, sizeof *f->stamp);
    f->space = kern_array(low->units, sizeof *f->space);
    f->order = kern_array(low->units, sizeof *f->order);
    f->position = kern_array(low->units, sizeof *f->position);
    memset(f->position, -1, (size_t)low->units * sizeof *f->position);
    for (int i = 0; i < low->nodes; i++)
        if (low->live[i]) place(f, i);
    for (int u = 0; u < low->units; u++)
        if (low->unit[u].rows && low->unit[u].nodes)
            f->space[u] = ad_space_of(low->graph, ad_node_at(low->graph, low->unit[u].node[0]));
}

/* Every member's unit is the one that has it, and no unit needs what a later one makes: joining has
 * made no cycle. */
static void check(const fuser *f) {
    const ad_lowering *low = f->low;
    for (int u = 0; u < low->units; u++)
        for (int m = 0; m < low->unit[u].nodes; m++) {
            int node = low->unit[u].node[m], producer;
            ASSERT(low->unit_of[node] == u);
            FOR_PRODUCERS(low, node, producer) {
                int before = low->unit_of[producer];
                ASSERT(before == u || f->position[before] < f->position[u]);
            }
        }
}

void ad_lower_fuse(ad_lowering *low) {
    fuser f = {.low = low};
    begin(&f);
    if (!low->spec.unfused) {
        join_producers(&f);
        join_siblings(&f);
    }
    check(&f);
    void *const arrays[] = {f.first, f.reader, f.stack, f.stamp, f.space, f.order, f.position};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
}
