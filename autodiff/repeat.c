/* Third pass: what a row program loads although it would be cheaper to compute it again. A value
 * that one program stores for another costs two passes over memory; often the other can make it in
 * a few steps from what it loads anyway. Then nodes become members of both programs, and what
 * nobody loads any more is not stored. Bits do not change. */
#include <stdlib.h>
#include <string.h>

#include "autodiff/lower.h"

/* What an elementwise operation costs, in steps such as an addition. */
static double steps_of(int op) {
    bool slow = op == AD_OP_exp || op == AD_OP_log || op == AD_OP_sqrt || op == AD_OP_sigmoid ||
                op == AD_OP_div;
    return slow ? 8 : 1;
}

int ad_member_of(const ad_unit *unit, int node) {
    int low = 0, high = unit->nodes; /* members are ascending */
    while (low < high) {
        int middle = (low + high) / 2;
        if (unit->node[middle] < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < unit->nodes && unit->node[low] == node ? low : -1;
}

typedef struct {
    ad_lowering *low;
    ad_space *space;   /* [units] of row programs */
    int *outside;      /* [values] of roots: readers that load it, and outputs */
    int *loaded;       /* [values] stamp of the unit that loads it */
    int *pulled;       /* [nodes] stamp of the trial that repeats it */
    int *leaf;         /* [values] stamp of the trial that would load it */
    int unit, trial;   /* stamps */
    int *node, nodes;  /* of the trial */
    int *value, leafs; /* that it would load */
    double saved, spent;
} repeater;

static double bytes_of(const repeater *r, int number) {
    return (double)ad_bytes(ad_type_at(r->low->graph, ad_numbered(number)));
}

/* The unit that makes what a row program reads as a value of its own, not as a view; or -1. */
static int maker(const ad_lowering *low, ad_value source) {
    if (!ad_is_value(source) || ad_number(ad_root(low, source)) != ad_number(source)) return -1;
    int producer = ad_producer(low, source);
    return producer < 0 || !low->unit[low->unit_of[producer]].rows ? -1 : low->unit_of[producer];
}

static bool is_constant(const ad_lowering *low, ad_value source) {
    return ad_is_fill(low->graph, ad_root(low, source), NULL);
}

/* Repeats what follows for each value that the unit loads: reads and does not hold. */
#define FOR_LOADS(low, u, source)                                                                  \
    for (int m_ = 0; m_ < (low)->unit[u].nodes; m_++)                                              \
        for (int in_ = 0; in_ < ad_node_at((low)->graph, (low)->unit[u].node[m_])->inputs; in_++)  \
            if (ad_is_value((source) = load_at(low, u, m_, in_)))

static ad_value load_at(const ad_lowering *low, int u, int m, int in) {
    const ad_unit *unit = &low->unit[u];
    ad_value value = ad_node_at(low->graph, unit->node[m])->input[in];
    if (!unit->rows) return ad_root(low, value);
    ad_value source = ad_row_source(low, value);
    if (!ad_is_value(source) || is_constant(low, source)) return AD_NONE;
    bool held = maker(low, source) >= 0 && ad_member_of(unit, source.node) >= 0;
    return held ? AD_NONE : source;
}

static void count_readers(repeater *r) {
    const ad_lowering *low = r->low;
    ad_value source;
    int *seen = kern_array((int64_t)low->nodes * AD_OUTPUTS, sizeof *seen);
    for (int u = 0; u < low->units; u++) {
        if (low->unit[u].add_from >= 0)
            r->outside[ad_number(ad_root(low, ad_numbered(low->unit[u].add_from)))]++;
        FOR_LOADS(low, u, source) {
            int root = ad_number(ad_root(low, source));
            if (seen[root] == u + 1) continue;
            seen[root] = u + 1;
            r->outside[root]++;
        }
    }
    for (int i = 0; i < low->spec.outputs; i++)
        r->outside[ad_number(ad_root(low, low->spec.output[i].value))]++;
    free(seen);
}

static bool same_rows(ad_space a, ad_space b) {
    return a.rank == b.rank && !memcmp(a.lead, b.lead, sizeof a.lead) && a.compute == b.compute &&
           (a.n == b.n || !a.n || !b.n);
}

/* A value of a few steps that is passed on unrounded in a program over the same rows. What it reads
 * and the unit holds is in registers as it is in memory: rounded is only what a cast makes, and no
 * sum over leading axes of the unit comes before what the unit loads. */
static bool is_cheap(const repeater *r, int u, ad_value source) {
    int by = maker(r->low, source);
    if (by < 0 || !same_rows(r->space[by], r->space[u])) return false;
    const ad_node *node = ad_node_at(r->low->graph, source.node);
    return ad_op_definition(node->op)->rows == AD_ROWS_ELEMENTWISE && node->op != AD_OP_cast &&
           node->type[0].dtype == r->space[u].compute;
}

static bool is_wide(const ad_lowering *low, ad_value source) {
    return ad_last(ad_type_at(low->graph, source)) > 1;
}

/* Adds to the trial that unit u makes the value itself. */
static void pull(repeater *r, int u, ad_value source) {
    const ad_lowering *low = r->low;
    if (r->pulled[source.node] == r->trial) return;
    r->pulled[source.node] = r->trial;
    r->node[r->nodes++] = source.node;
    if (low->unit[u].nodes + r->nodes > AD_UNIT_NODES) return; /* the trial has failed */
    int number = ad_number(source);
    if (r->loaded[number] == r->unit) {
        r->saved += bytes_of(r, number);
        if (r->outside[number] == 1) r->saved += bytes_of(r, number); /* nor is it stored */
    }
    const ad_node *node = ad_node_at(low->graph, source.node);
    for (int in = 0; in < node->inputs; in++) {
        ad_value input = ad_row_source(low, node->input[in]);
        if (is_constant(low, input)) continue;
        int at = ad_number(input);
        bool held = maker(low, input) >= 0 && ad_member_of(&low->unit[u], input.node) >= 0;
        if (held || r->leaf[at] == r->trial) continue;
        if (is_cheap(r, u, input) && (is_wide(low, input) || r->loaded[at] != r->unit)) {
            pull(r, u, input);
            continue;
        }
        r->leaf[at] = r->trial;
        if (r->loaded[at] == r->unit) continue;
        r->value[r->leafs++] = at;
        r->spent += bytes_of(r, at);
        if (maker(low, input) >= 0 && !r->outside[at]) r->spent += bytes_of(r, at);
    }
}

static void begin_trial(repeater *r) {
    r->trial++;
    r->nodes = r->leafs = 0;
    r->saved = r->spent = 0;
}

static bool is_worth_it(const repeater *r, int u) {
    const ad_unit *unit = &r->low->unit[u];
    int instrs = unit->instrs;
    double steps = 0;
    if (unit->nodes + r->nodes > AD_UNIT_NODES || r->saved <= r->spent) return false;
    for (int i = 0; i < r->nodes; i++) {
        instrs += r->low->instrs[r->node[i]];
        if (is_wide(r->low, (ad_value){r->node[i], 0}))
            steps += steps_of(ad_node_at(r->low->graph, r->node[i])->op) *
                     (double)ad_bytes(ad_node_at(r->low->graph, r->node[i])->type[0]);
    }
    return steps <= r->low->spec.device->machine->pass_steps * (r->saved - r->spent) &&
           instrs <= AD_UNIT_INSTRS;
}

static void stamp_loads(repeater *r, int u) {
    ad_value source;
    r->unit++;
    FOR_LOADS(r->low, u, source) r->loaded[ad_number(source)] = r->unit;
}

static void accept(repeater *r, int u) {
    ad_unit *unit = &r->low->unit[u];
    for (int i = 0; i < r->nodes; i++) {
        int number = r->node[i] * AD_OUTPUTS;
        if (r->loaded[number] == r->unit) r->outside[number]--;
        unit->instrs += r->low->instrs[r->node[i]];
        ad_add_member(unit, r->node[i]);
    }
    for (int i = 0; i < r->leafs; i++)
        r->outside[ad_number(ad_root(r->low, ad_numbered(r->value[i])))]++;
    stamp_loads(r, u);
}

/* All that the unit could make itself, or as much as is worth it by itself. */
static void repeat_for(repeater *r, int u) {
    const ad_lowering *low = r->low;
    ad_value source, wanted[AD_UNIT_INSTRS];
    int count = 0;
    stamp_loads(r, u);
    begin_trial(r);
    FOR_LOADS(low, u, source) {
        if (count == AD_UNIT_INSTRS || !is_wide(low, source) || !is_cheap(r, u, source)) continue;
        wanted[count++] = source;
        pull(r, u, source);
    }
    if (!count) return;
    if (is_worth_it(r, u)) {
        accept(r, u);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (ad_member_of(&low->unit[u], wanted[i].node) >= 0 || !is_cheap(r, u, wanted[i]))
            continue;
        begin_trial(r);
        pull(r, u, wanted[i]);
        if (is_worth_it(r, u)) accept(r, u);
    }
}

/* A unit keeps what it stores and what that needs; a node that no unit stores belongs to any that
 * has it. */
static void drop_unneeded(repeater *r) {
    ad_lowering *low = r->low;
    bool *needed = kern_array(low->nodes, sizeof *needed);
    for (int u = 0; u < low->units; u++) {
        ad_unit *unit = &low->unit[u];
        if (!unit->rows) continue;
        for (int m = 0; m < unit->nodes; m++) needed[unit->node[m]] = false;
        for (int m = unit->nodes - 1; m >= 0; m--) {
            int i = unit->node[m];
            needed[i] |= low->unit_of[i] == u && r->outside[i * AD_OUTPUTS] > 0;
            const ad_node *node = ad_node_at(low->graph, i);
            for (int in = 0; in < node->inputs && needed[i]; in++) {
                ad_value source = ad_row_source(low, node->input[in]);
                if (ad_is_value(source) && maker(low, source) >= 0) needed[source.node] = true;
            }
        }
        int kept = 0;
        for (int m = 0; m < unit->nodes; m++)
            if (needed[unit->node[m]]) unit->node[kept++] = unit->node[m];
        unit->nodes = kept;
    }
    free(needed);
    for (int u = 0; u < low->units; u++)
        for (int m = 0; m < low->unit[u].nodes; m++) {
            int i = low->unit[u].node[m];
            if (ad_member_of(&low->unit[low->unit_of[i]], i) < 0) low->unit_of[i] = u;
        }
}

/* What a unit loads is stored by the unit that owns it. */
static void check(const repeater *r) {
    const ad_lowering *low = r->low;
    ad_value source;
    for (int u = 0; u < low->units; u++) FOR_LOADS(low, u, source) {
            int producer = ad_producer(low, source);
            ASSERT(producer < 0 || r->outside[ad_number(ad_root(low, source))] > 0);
            ASSERT(producer < 0 || ad_member_of(&low->unit[low->unit_of[producer]], producer) >= 0);
        }
}

void ad_lower_repeat(ad_lowering *low) {
    int64_t values = (int64_t)low->nodes * AD_OUTPUTS;
    repeater r = {.low = low,
                  .space = kern_array(low->units, sizeof *r.space),
                  .outside = kern_array(values, sizeof *r.outside),
                  .loaded = kern_array(values, sizeof *r.loaded),
                  .pulled = kern_array(low->nodes, sizeof *r.pulled),
                  .leaf = kern_array(values, sizeof *r.leaf),
                  .node = kern_array(low->nodes, sizeof *r.node),
                  .value = kern_array(values, sizeof *r.value)};
    for (int u = 0; u < low->units; u++)
        for (int m = 0; m < low->unit[u].nodes && low->unit[u].rows; m++) {
            ad_space space = ad_space_of(low->graph, ad_node_at(low->graph, low->unit[u].node[m]));
            if (m == 0 || space.n) r.space[u] = space;
        }
    count_readers(&r);
    for (int u = 0; u < low->units && !low->spec.unfused; u++)
        if (low->unit[u].rows && low->unit[u].nodes) repeat_for(&r, u);
    if (!low->spec.unfused) drop_unneeded(&r);
    check(&r);
    for (int i = 0; i < low->nodes; i++) low->stored[i] = r.outside[i * AD_OUTPUTS] > 0;
    void *const arrays[] = {r.space, r.outside, r.loaded, r.pulled, r.leaf, r.node, r.value};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
}
