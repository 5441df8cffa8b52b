#include "train/predict_ranks.h"

#include <math.h>
#include <string.h>

const char *const train_send_name[TRAIN_SENDS] = {"in graphs", "shared gradients", "gradient",
                                                  "weights"};

/* A group of `ranks`, `apart` of each other in the job. */
typedef struct {
    double ranks, bandwidth, latency;
} group;

static group group_of(int ranks, int apart, double network) {
    group g = {ranks, TRAIN_NEAR_BANDWIDTH, TRAIN_NEAR_SECONDS};
    if (ranks * apart <= TRAIN_MACHINE_RANKS) return g;
    double on_machine = fmax(1, TRAIN_MACHINE_RANKS / apart); /* each has a port */
    g.bandwidth = fmin(g.bandwidth, TRAIN_NETWORK_REACHES * network * on_machine);
    g.latency = TRAIN_FAR_SECONDS;
    return g;
}

/* A reduction goes around twice, a reduce-scatter or an all-gather once; small ones by a tree. */
static void add(train_sent *to, const group *g, double times, double bytes, int rounds) {
    double around = rounds * bytes * (g->ranks - 1) / g->ranks / g->bandwidth;
    if (g->ranks == 1 || bytes == 0) return;
    to->calls += times;
    to->bytes += times * bytes;
    to->seconds += times * (around + rounds * ceil(log2(g->ranks)) * g->latency);
}

typedef struct {
    train_sent *tensor;
    group of;
} sums;

static void add_run(void *context, int phase, const ad_plan *plan, int64_t before, double times) {
    const sums *s = context;
    (void)phase;
    for (int i = 0, steps = ad_plan_steps(plan); i < steps; i++) {
        ad_plan_step_cost call = ad_plan_step(plan, i, before);
        if (strcmp(call.op, "reduce") != 0 && strcmp(call.op, "reduce_max") != 0) continue;
        add(s->tensor, &s->of, times, call.bytes / 2, 2); /* which are read and written */
    }
}

/* The reverse of the prefix, beside which its sums and the suffix's run: the last micro-batch's,
 * and its last run, in the course of which its pieces become complete. */
typedef struct {
    const kern_machine *machine;
    double all, last;
} reverse;

static void add_reverse(void *context, int phase, const ad_plan *plan, int64_t before,
                        double times) {
    reverse *r = context;
    (void)times; /* one micro-batch's */
    if (phase != TRAIN_PREFIX_VJP) return;
    r->last = 0; /* of what comes last */
    for (int i = 0, steps = ad_plan_steps(plan); i < steps; i++) {
        ad_plan_step_cost call = ad_plan_step(plan, i, before);
        r->last +=
            train_call_seconds(r->machine, &call) + call.launches * r->machine->launch_seconds;
    }
    r->all += r->last;
}

/* What is sent in the order of its turns, each when it is complete; pieces of the prefix are taken
 * to be alike. Nothing is computed between the prefix's reverse and the end of all. */
static double hidden(const train_step *step, const double seconds[TRAIN_PIECES]) {
    const train_shard *shard = train_step_shard(step);
    reverse r = {.machine = train_step_spec_of(step)->device->machine};
    double now = 0, sum = 0;
    if (!train_can_predict(r.machine)) return 0;
    train_step_visit_runs(step, add_reverse, &r);
    for (int turn = 0; turn <= shard->turns + 1; turn++) {
        double ready = turn == 0             ? 0
                       : turn > shard->turns ? r.all
                                             : r.all - r.last + r.last * turn / shard->turns;
        now = fmax(now, ready);
        for (int i = 0; i < shard->pieces; i++) {
            if (shard->piece[i].turn != turn) continue;
            now += seconds[i];
            sum += seconds[i];
        }
    }
    return sum - (now - r.all);
}

void train_predict_ranks(train_sent sent[TRAIN_SENDS], const train_step *step, double network) {
    const train_step_spec *spec = train_step_spec_of(step);
    const infer_parameters *layout = infer_model_parameters(train_step_model(step));
    const train_shard *shard = train_step_shard(step);
    double element = (double)kern_dtype_bytes(infer_model_real(train_step_model(step)));
    int tensor = spec->ranks ? spec->ranks->tensor->ranks : 1;
    int data = spec->ranks ? spec->ranks->data->ranks : 1;
    group near = group_of(tensor, 1, network), far = group_of(data, tensor, network);
    sums s = {&sent[TRAIN_SEND_TENSOR], near};
    memset(sent, 0, TRAIN_SENDS * sizeof *sent);
    if (tensor > 1) train_step_visit_runs(step, add_run, &s);
    add(&sent[TRAIN_SEND_SHARED], &near, 1, element * (double)layout->summed.count, 2);
    train_sent *gradient = &sent[TRAIN_SEND_GRADIENT];
    double seconds[TRAIN_PIECES] = {0};
    for (int i = 0; i < shard->pieces && shard->ranks > 1; i++) {
        double elements = (double)shard->piece[i].share * data, before = gradient->seconds;
        add(gradient, &far, 1, element * elements, 1);
        seconds[i] = gradient->seconds - before;
        add(&sent[TRAIN_SEND_WEIGHTS], &far, 1,
            (shard->piece[i].apart ? sizeof(uint16_t) : element) * elements, 1);
    }
    double exact = element * (double)train_weights_exact(train_step_weights(step));
    add(&sent[TRAIN_SEND_WEIGHTS], &far, 1, exact, 2);
    if (shard->ranks == 1) add(gradient, &far, 1, element * (double)shard->flat, 2);
    if (data > 1 && shard->ranks > 1) gradient->hidden = hidden(step, seconds);
}
