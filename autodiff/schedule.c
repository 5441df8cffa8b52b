/* Fourth pass: the order of units. Nodes keep the order in which they were built, which is the
 * order of a hand-written forward and backward pass; recomputation (nodes below spec.lazy) runs
 * just before its first reader; sums into outputs run as soon as they can. What ranks do together
 * keeps its order whatever is fused. */
#include <stdlib.h>

#include "autodiff/lower.h"

enum { UNSEEN, OPEN, DONE };

typedef struct {
    ad_lowering *low;
    char *state; /* [units] */
    int scheduled;
} scheduler;

static void place(scheduler *s, int unit);

static int unit_of_value(const ad_lowering *low, int number) {
    int producer = number < 0 ? -1 : ad_producer(low, ad_numbered(number));
    return producer < 0 ? -1 : low->unit_of[producer];
}

static void place_producer(scheduler *s, int number, int unit) {
    int before = unit_of_value(s->low, number);
    if (before >= 0 && before != unit) place(s, before);
}

/* What a program makes itself, others need not have made. */
static void place_input(scheduler *s, ad_value input, int unit) {
    ad_value source = s->low->unit[unit].rows ? ad_row_source(s->low, input) : input;
    bool held = ad_same(ad_root(s->low, source), source) &&
                ad_member_of(&s->low->unit[unit], source.node) >= 0;
    if (!held) place_producer(s, ad_number(input), unit);
}

/* The output that a unit adds to, or -1. */
static int added_to(const ad_lowering *low, const ad_unit *unit) {
    int output = unit->add_from >= 0 ? unit->add_output : -1;
    for (int m = 0; m < unit->nodes && !unit->rows; m++)
        for (int out = 0; out < AD_OUTPUTS; out++)
            if (low->output_of[unit->node[m] * AD_OUTPUTS + out] >= 0)
                output = low->output_of[unit->node[m] * AD_OUTPUTS + out];
    return output;
}

/* Whoever reads an input comes before those that add to its memory. What they make is an output and
 * nothing else, so readers do not wait for them in turn. */
static void place_readers(scheduler *s, const ad_unit *unit) {
    const ad_lowering *low = s->low;
    int output = added_to(low, unit);
    ad_value over = output < 0 ? AD_NONE : low->spec.over[output];
    if (ad_is_none(over)) return;
    for (int u = 0; u < low->units; u++) {
        const ad_unit *reader = &low->unit[u];
        bool reads = reader->add_from >= 0 && reader != unit &&
                     ad_same(ad_root(low, ad_numbered(reader->add_from)), over);
        for (int m = 0; m < reader->nodes; m++) {
            const ad_node *node = ad_node_at(low->graph, reader->node[m]);
            for (int in = 0; in < node->inputs; in++)
                reads |=
                    ad_is_value(node->input[in]) && ad_same(ad_root(low, node->input[in]), over);
        }
        if (reads) place(s, u);
    }
}

static void place(scheduler *s, int u) {
    const ad_lowering *low = s->low;
    const ad_unit *unit = &low->unit[u];
    if (s->state[u] == DONE || (!unit->nodes && unit->add_from < 0)) return;
    ASSERT(s->state[u] != OPEN); /* a cycle: the fuser was wrong */
    s->state[u] = OPEN;
    place_producer(s, unit->add_from, u);
    place_readers(s, unit);
    for (int m = 0; m < unit->nodes; m++) {
        const ad_node *node = ad_node_at(low->graph, unit->node[m]);
        for (int in = 0; in < node->inputs; in++)
            if (ad_is_value(node->input[in])) place_input(s, node->input[in], u);
        place_producer(s, low->summand[unit->node[m]], u);
        if (low->after[unit->node[m]] >= 0) place(s, low->unit_of[low->after[unit->node[m]]]);
    }
    s->state[u] = DONE;
    low->order[s->scheduled++] = u;
}

typedef struct {
    int key, unit;
} ranked;

static int by_key(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key)
                            : (x->unit > y->unit) - (x->unit < y->unit);
}

void ad_lower_schedule(ad_lowering *low) {
    scheduler s = {.low = low, .state = kern_array(low->units, 1)};
    low->order = kern_array(low->units + 1, sizeof *low->order);
    ranked *rank = kern_array(low->units, sizeof *rank);
    int eager = 0, all = 0;
    for (int u = 0; u < low->units; u++) {
        const ad_unit *unit = &low->unit[u];
        int key = unit->nodes ? unit->node[unit->nodes - 1] : -1;
        if (!unit->nodes && unit->add_from < 0) continue;
        all++;
        if (unit->add_from >= 0) key = ad_root(low, ad_numbered(unit->add_from)).node;
        if (key >= low->spec.lazy || unit->add_from >= 0) rank[eager++] = (ranked){key, u};
    }
    qsort(rank, (size_t)eager, sizeof *rank, by_key);
    for (int i = 0; i < eager; i++) place(&s, rank[i].unit);
    /* What is left has no reader among the eager ones: outputs that are themselves recomputed. */
    for (int u = 0; u < low->units; u++) place(&s, u);
    ASSERT(s.scheduled == all);
    low->order[all] = -1;
    free(s.state);
    free(rank);
}
