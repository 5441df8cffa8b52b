#include "train/predict.h"

#include <math.h>
#include <stdlib.h>

bool train_can_predict(const kern_machine *machine) {
    return machine->bandwidth > 0;
}

/* How much of all processors a product uses: its tiles run in rounds, the last of which may leave
 * most of them idle. */
static double used(const kern_machine *machine, const ad_plan_step_cost *call) {
    double tiles = (double)call->batch * (double)kern_divide_up(call->m, TRAIN_TILE) *
                   (double)kern_divide_up(call->n, TRAIN_TILE);
    return tiles / (machine->processors * ceil(tiles / machine->processors));
}

double train_call_seconds(const kern_machine *machine, const ad_plan_step_cost *call) {
    double moving = call->bytes / machine->bandwidth, peak;
    switch (call->kind) {
    case AD_CALL_PRODUCT:
        peak = TRAIN_PRODUCT_REACHES * kern_machine_flops(machine, call->dtype);
        return fmax(call->flops / (peak * used(machine, call)), moving);
    case AD_CALL_ATTENTION:
        return call->flops / (TRAIN_ATTENTION_REACHES * kern_machine_flops(machine, call->dtype));
    case AD_CALL_ATTENTION_VJP:
        return call->flops /
               (TRAIN_ATTENTION_VJP_REACHES * kern_machine_flops(machine, call->dtype));
    default: return moving;
    }
}

typedef struct {
    ad_plan_step_cost cost;
    double seconds;
} timed_call;

/* Runs of many chunks are alike: the calls of the last one are kept. */
typedef struct {
    const kern_machine *machine;
    train_prediction *to;
    const ad_plan *plan;
    int64_t before;
    timed_call *call;
    int64_t capacity;
} predictor;

static void add_call(const predictor *p, train_time *to, const timed_call *timed, double times) {
    const ad_plan_step_cost *call = &timed->cost;
    double launching = times * call->launches * p->machine->launch_seconds;
    double working = times * timed->seconds;
    to->kind_seconds[call->kind] += working;
    to->launch_seconds += launching;
    to->seconds += working + launching;
    to->launches += times * call->launches;
    to->flops += times * call->flops;
    if (call->kind == AD_CALL_ROWS) to->row_bytes += times * call->bytes;
}

static timed_call call_timed(const kern_machine *machine, ad_plan_step_cost cost) {
    return (timed_call){cost, train_call_seconds(machine, &cost)};
}

static void add_run(void *context, int phase, const ad_plan *plan, int64_t before, double times) {
    predictor *p = context;
    int steps = ad_plan_steps(plan);
    if (plan != p->plan || before != p->before) {
        p->call = kern_grow(p->call, &p->capacity, steps, sizeof *p->call);
        for (int i = 0; i < steps; i++)
            p->call[i] = call_timed(p->machine, ad_plan_step(plan, i, before));
        p->plan = plan;
        p->before = before;
    }
    for (int i = 0; i < steps; i++) {
        add_call(p, &p->to->phase[phase], &p->call[i], times);
        add_call(p, &p->to->step, &p->call[i], times);
    }
}

static void add_moves(const predictor *p, int phase, const ad_plan_step_cost *cost) {
    timed_call call = call_timed(p->machine, *cost);
    add_call(p, &p->to->phase[phase], &call, 1);
    add_call(p, &p->to->step, &call, 1);
}

/* What no plan does: the gradient is zeroed, weights are rounded, rows are copied between plans. */
static void add_rest(const predictor *p, const train_step *step) {
    train_step_memory memory = train_step_plan(step);
    ad_plan_step_cost zero = {.kind = AD_CALL_MOVE, .launches = 1};
    zero.bytes = (double)memory.gradient;
    ad_plan_step_cost round = {.kind = AD_CALL_MOVE, .launches = 1};
    round.bytes = 3 * (double)memory.product_weights; /* f32 in, bf16 out */
    ad_plan_step_cost copy = {.kind = AD_CALL_MOVE};
    copy.bytes = memory.moved;
    add_moves(p, TRAIN_UPDATE, &zero);
    if (memory.product_weights) add_moves(p, TRAIN_UPDATE, &round);
    add_moves(p, TRAIN_SUFFIX_VJP, &copy);
}

train_prediction train_predict(const train_step *step) {
    train_prediction prediction = {0};
    predictor p = {.machine = train_step_spec_of(step)->device->machine, .to = &prediction};
    ASSERT(train_can_predict(p.machine));
    train_step_visit_runs(step, add_run, &p);
    add_rest(&p, step);
    free(p.call);
    return prediction;
}
