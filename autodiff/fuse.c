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

/* Readers of each node's results, through views: edge[first[i] .. first[i+1]). */
typedef struct {
    int *first, *edge;
    int *stack, *stamp, now;
    ad_space *space;       /* [units] */
    int *order, *position; /* [units] a topological order, kept while units join; its inverse */
    int placed;
} edges;

/* Calls visit for each producer of what `node` reads or adds to. */
#define FOR_PRODUCERS(low, i, producer)                                                            \
    for (int in_ = 0; in_ <= ad_node_at((low)->graph, i)->inputs; in_++)                           \
        if (((producer) = producer_at(low, i, in_)) >= 0)

static int producer_at(const ad_lowering *low, int i, int in) {
    const ad_node *node = ad_node_at(low->graph, i);
    if (in == node->inputs)
        return low->chain[i] < 0 ? -1 : ad_producer(low, ad_numbered(low->chain[i]));
    return ad_is_value(node->input[in]) ? ad_producer(low, node->input[in]) : -1;
}

static void find_edges(const ad_lowering *low, edges *at) {
    int *count = kern_array(low->nodes, sizeof *count), producer, total = 0;
    at->first = kern_array(low->nodes + 1, sizeof *at->first);
    for (int i = 0; i < low->nodes; i++)
        if (low->live[i]) FOR_PRODUCERS(low, i, producer) count[producer]++, total++;
    for (int i = 0; i < low->nodes; i++) at->first[i + 1] = at->first[i] + count[i];
    at->edge = kern_array(total, sizeof *at->edge);
    memset(count, 0, (size_t)low->nodes * sizeof *count);
    for (int i = 0; i < low->nodes; i++)
        if (low->live[i])
            FOR_PRODUCERS(low, i, producer) at->edge[at->first[producer] + count[producer]++] = i;
    free(count);
}

/* Readers up to a position: what stands behind unit b leads to b no more. */
static int push_readers(const ad_lowering *low, edges *at, int unit, int last, int depth) {
    const ad_unit *from = &low->unit[unit];
    for (int m = 0; m < from->nodes; m++)
        for (int e = at->first[from->node[m]]; e < at->first[from->node[m] + 1]; e++) {
            int reader = low->unit_of[at->edge[e]];
            if (at->stamp[reader] == at->now || at->position[reader] > last) continue;
            at->stamp[reader] = at->now;
            at->stack[depth++] = reader;
        }
    return depth;
}

/* Whether a path leads from unit a to unit b through some third unit. */
static bool detour(const ad_lowering *low, edges *at, int a, int b) {
    at->now++;
    at->stamp[a] = at->stamp[b] = at->now;
    int last = at->position[b], depth = push_readers(low, at, a, last, 0);
    while (depth) {
        int unit = at->stack[--depth];
        at->stamp[b] = at->now - 1;
        int before = depth;
        depth = push_readers(low, at, unit, last, depth);
        for (int i = before; i < depth; i++)
            if (at->stack[i] == b) return true;
    }
    return false;
}

static void add_member(ad_unit *unit, int node) {
    if (unit->nodes == unit->capacity) {
        unit->capacity = unit->capacity ? 2 * unit->capacity : 4;
        unit->node = realloc(unit->node, (size_t)unit->capacity * sizeof *unit->node);
        ASSERT(unit->node);
    }
    int at = unit->nodes++;
    while (at > 0 && unit->node[at - 1] > node) {
        unit->node[at] = unit->node[at - 1];
        at--;
    }
    unit->node[at] = node;
}

/* A unit behind the producers of its nodes, which stand before it but for chains of products. */
static void place(const ad_lowering *low, edges *at, int node) {
    int unit = low->unit_of[node], producer;
    if (at->position[unit] >= 0) return;
    FOR_PRODUCERS(low, node, producer) place(low, at, producer);
    at->position[unit] = at->placed;
    at->order[at->placed++] = unit;
}

static void put(edges *at, int unit, int position) {
    at->order[position] = unit;
    at->position[unit] = position;
}

/* Two units become one, `into`: it stands where the first of them could move to, behind all that
 * does not follow from it; the rest up to the other goes behind it. */
static void reorder(const ad_lowering *low, edges *at, int into, int from) {
    int a = at->position[into] < at->position[from] ? into : from, b = a == into ? from : into;
    int to = at->position[a], last = at->position[b], later = 0;
    bool joinable = !detour(low, at, a, b); /* stamps what follows from a */
    ASSERT(joinable);
    for (int p = to; p <= last; p++) {
        int unit = at->order[p];
        if (unit == a || unit == b) continue;
        if (at->stamp[unit] == at->now)
            at->stack[later++] = unit;
        else
            put(at, unit, to++);
    }
    put(at, into, to++);
    for (int i = 0; i < later; i++) put(at, at->stack[i], to++);
    put(at, from, to); /* empty from now on */
}

static void merge(ad_lowering *low, edges *at, int into, int from) {
    reorder(low, at, into, from);
    ad_unit *a = &low->unit[into], *b = &low->unit[from];
    for (int m = 0; m < b->nodes; m++) {
        add_member(a, b->node[m]);
        low->unit_of[b->node[m]] = into;
    }
    a->instrs += b->instrs;
    b->nodes = 0;
    if (!at->space[into].n) at->space[into].n = at->space[from].n;
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
static bool passes_in_registers(const ad_lowering *low, const edges *at, int from, int to) {
    const ad_unit *unit = &low->unit[to];
    for (int m = 0; m < unit->nodes; m++) {
        const ad_node *node = ad_node_at(low->graph, unit->node[m]);
        for (int in = 0; in < node->inputs; in++) {
            int producer = producer_at(low, unit->node[m], in);
            if (producer >= 0 && low->unit_of[producer] == from &&
                !is_joinable(low, node->input[in], at->space[to]))
                return false;
        }
    }
    return true;
}

static bool fits(const ad_unit *a, const ad_unit *b) {
    return a->nodes + b->nodes <= AD_UNIT_NODES && a->instrs + b->instrs <= AD_UNIT_INSTRS;
}

static void join(ad_lowering *low, edges *at) {
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        if (!low->live[i] || low->unit_of[i] < 0) continue;
        if (ad_op_definition(node->op)->rows == AD_ROWS_NONE || node->op == AD_OP_fill) continue;
        for (int in = 0; in < node->inputs; in++) {
            int to = low->unit_of[i];
            if (!is_joinable(low, node->input[in], at->space[to])) continue;
            int from = low->unit_of[ad_producer(low, node->input[in])];
            if (from == to || !same_space(at->space[from], at->space[to])) continue;
            if (!fits(&low->unit[from], &low->unit[to])) continue;
            if (passes_in_registers(low, at, from, to) && !detour(low, at, from, to))
                merge(low, at, from, to);
        }
    }
}

/* The last of other units' nodes that a unit waits for, or -1. */
static int latest_producer(const ad_lowering *low, int unit) {
    int latest = -1, producer;
    for (int m = 0; m < low->unit[unit].nodes; m++)
        FOR_PRODUCERS(low, low->unit[unit].node[m], producer)
    if (low->unit_of[producer] != unit && producer > latest) latest = producer;
    return latest;
}

static bool is_lazy(const ad_lowering *low, int unit) {
    return low->unit[unit].node[low->unit[unit].nodes - 1] < low->spec.lazy;
}

static bool are_siblings(const ad_lowering *low, edges *at, int a, int b) {
    return same_space(at->space[a], at->space[b]) && is_lazy(low, a) == is_lazy(low, b) &&
           fits(&low->unit[a], &low->unit[b]) && passes_in_registers(low, at, a, b) &&
           passes_in_registers(low, at, b, a) && !detour(low, at, a, b) && !detour(low, at, b, a);
}

/* Programs that wait for the same value join too, though neither reads the other: what both read
 * is then read once, and nothing is delayed. */
static void join_siblings(ad_lowering *low, edges *at) {
    int *waiting = kern_array(low->nodes, sizeof *waiting); /* first unit of a list */
    int *next = kern_array(low->units, sizeof *next);
    for (int i = 0; i < low->nodes; i++) waiting[i] = -1;
    for (int u = 0; u < low->units; u++) {
        if (!low->unit[u].rows || !low->unit[u].nodes) continue;
        int latest = latest_producer(low, u), v;
        if (latest < 0) continue;
        for (v = waiting[latest]; v >= 0; v = next[v])
            if (are_siblings(low, at, v, u)) break;
        if (v >= 0) {
            merge(low, at, v, u);
        } else {
            next[u] = waiting[latest];
            waiting[latest] = u;
        }
    }
    free(waiting);
    free(next);
}

/* Fills are constants of row programs; only other kernels need them in memory. */
static bool fill_is_read(const ad_lowering *low, const edges *at, int fill) {
    for (int e = at->first[fill]; e < at->first[fill + 1]; e++)
        if (ad_op_definition(ad_node_at(low->graph, at->edge[e])->op)->rows == AD_ROWS_NONE)
            return true;
    return false;
}

/* No unit needs what a later one makes: joining has made no cycle. */
static void check_order(const ad_lowering *low, const edges *at) {
    for (int i = 0; i < low->nodes; i++) {
        int unit = low->live[i] ? low->unit_of[i] : -1, producer;
        if (unit < 0) continue;
        FOR_PRODUCERS(low, i, producer) {
            int before = low->unit_of[producer];
            ASSERT(before == unit || at->position[before] < at->position[unit]);
        }
    }
}

void ad_lower_fuse(ad_lowering *low) {
    edges at = {0};
    find_edges(low, &at);
    for (int i = 0; i < low->nodes; i++) {
        const ad_node *node = ad_node_at(low->graph, i);
        low->unit_of[i] = -1;
        if (!low->live[i]) continue;
        if (node->op == AD_OP_fill && !fill_is_read(low, &at, i)) {
            low->live[i] = false;
            continue;
        }
        low->unit = kern_grow(low->unit, &low->unit_capacity, low->units + 1, sizeof *low->unit);
        low->unit[low->units] = (ad_unit){.rows = ad_op_definition(node->op)->rows != AD_ROWS_NONE,
                                          .add_from = -1,
                                          .add_output = -1,
                                          .workspace = AD_NO_STORAGE};
        add_member(&low->unit[low->units], i);
        low->unit_of[i] = (int)low->units++;
    }
    free(at.first);
    free(at.edge);
    find_edges(low, &at); /* again: constants are gone */
    at.stack = kern_array(low->units, sizeof *at.stack);
    at.stamp = kern_array(low->units, sizeof *at.stamp);
    at.space = kern_array(low->units, sizeof *at.space);
    at.order = kern_array(low->units, sizeof *at.order);
    at.position = kern_array(low->units, sizeof *at.position);
    memset(at.position, -1, (size_t)low->units * sizeof *at.position);
    for (int i = 0; i < low->nodes; i++)
        if (low->live[i]) place(low, &at, i);
    at.now = 1;
    ad_lower_count_instrs(low);
    for (int u = 0; u < low->units; u++)
        if (low->unit[u].rows && low->unit[u].nodes)
            at.space[u] = ad_space_of(low->graph, ad_node_at(low->graph, low->unit[u].node[0]));
    if (!low->spec.unfused) {
        join(low, &at);
        join_siblings(low, &at);
    }
    for (int u = 0; u < low->units; u++)
        for (int m = 0; m < low->unit[u].nodes; m++)
            ASSERT(low->unit_of[low->unit[u].node[m]] == u);
    check_order(low, &at);
    free(at.first);
    free(at.edge);
    free(at.stack);
    free(at.stamp);
    free(at.space);
    free(at.order);
    free(at.position);
}
