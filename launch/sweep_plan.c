/* What the points of a study cost, and how far they are. */
#include "launch/sweep.h"

#include "launch/bench.h"
#include "launch/report.h"
#include "train/step.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/options.h"

/* Seconds that the speed of training is looked at. */
static const double MEASURING = 10;

/* What training a point takes. */
typedef struct {
    double executed, memory; /* FLOP of all steps; bytes */
    bool fits;
} cost;

const char *launch_duration(char text[32], double seconds) {
    long long minutes = llround(seconds / 60), hours = minutes / 60;
    if (!isfinite(seconds))
        snprintf(text, 32, "-");
    else if (seconds < 100)
        snprintf(text, 32, "%.0f s", seconds);
    else if (minutes < 100)
        snprintf(text, 32, "%lld min", minutes);
    else if (hours < 72)
        snprintf(text, 32, "%lld h %02lld min", hours, minutes % 60);
    else
        snprintf(text, 32, "%lld days", hours / 24);
    return text;
}

static kern_status plan(train_step **step, train_fit *fit, const ttt_conf *conf, double limit) {
    kern_status status = KERN_OK;
    const kern_device *device;
    TRY(kern_device_open(&device, conf->train.device));
    TRY(train_fit_find(step, fit, conf, device, limit, kern_ranks_alone(), train_threads(conf),
                       false));
done:
    return status;
}

kern_status launch_sweep_memory(double *bytes, const ttt_conf *conf, double limit) {
    train_step *step = NULL;
    train_fit fit;
    kern_status status = plan(&step, &fit, conf, limit);
    if (status == KERN_OK) *bytes = (double)fit.memory.total;
    train_step_destroy(step);
    return status;
}

/* Whether two points differ in their seed alone, and so take the same. */
static bool same_but_seed(const ttt_conf *a, const ttt_conf *b) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++)
        if (strcmp(options[i].name, "train.seed") && strcmp(options[i].name, "run.dir") &&
            !conf_option_equal(a, b, &options[i]))
            return false;
    return true;
}

static kern_status find_costs(cost *costs, const launch_sweep *sweep,
                              const launch_sweep_choices *chosen) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    for (int64_t i = 0; i < sweep->count; i++) {
        const ttt_conf *conf = sweep->point[i].conf;
        const kern_device *device;
        train_fit fit;
        if (sweep->point[i].left_out || !launch_sweep_picks(sweep, i, chosen->only)) continue;
        int64_t same = 0;
        while (same < i && (sweep->point[same].left_out || costs[same].memory == 0 ||
                            !same_but_seed(conf, sweep->point[same].conf)))
            same++;
        costs[i] = costs[same];
        if (same < i) continue;
        TRY(kern_device_open(&device, conf->train.device));
        TRY(plan(&step, &fit, conf, train_memory_limit(conf, device)));
        costs[i] = (cost){fit.memory.executed_flops * (double)conf->train.steps,
                          (double)fit.memory.total, step != NULL};
        train_step_destroy(step);
        step = NULL;
    }
done:
    train_step_destroy(step);
    return status;
}

/* FLOP/s that training a configuration executes here, on random tokens. */
static kern_status measure(double *rate, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    train_step *step = NULL;
    train_fit fit;
    int32_t *tokens = NULL;
    const kern_device *device;
    int64_t count = conf->train.batch * (conf->train.context + 1);
    omp_set_num_threads(train_threads(conf));
    TRY(kern_device_open(&device, conf->train.device));
    TRY(plan(&step, &fit, conf, train_memory_limit(conf, device)));
    ASSERT(step);
    TRY(train_step_allocate(step));
    TRY(kern_alloc((void **)&tokens, (size_t)count * sizeof *tokens, "tokens"));
    train_step_buffers buffers = train_step_memory_of(step);
    train_step_start(step);
    double start = kern_seconds(),
           began = start; /* the first step touches memory, and is left out */
    for (int64_t done = 0; done == 0 || kern_seconds() - start < MEASURING; done++) {
        train_step_result result;
        launch_bench_tokens(tokens, count, conf->model.vocab, conf->model.bos, (uint64_t)done);
        TRY(train_step_run(step, &result, tokens, 0));
        TRY(kern_finish(buffers.device->stream));
        double now = kern_seconds();
        *rate = fit.memory.executed_flops * (double)(done ? done : 1) / (now - began);
        if (done == 0 && now - start < MEASURING / 2) began = now;
    }
done:
    kern_free(tokens);
    train_step_destroy(step);
    return status;
}

static kern_status find_rate(double *rate, const launch_sweep *sweep, const cost *costs) {
    *rate = 0;
    for (int64_t i = 0; i < sweep->count; i++)
        if (costs[i].fits) {
            fprintf(stderr, "measuring how fast %s trains here (%.0f s; --rate leaves it out)\n",
                    sweep->point[i].name, MEASURING);
            return measure(rate, sweep->point[i].conf);
        }
    fprintf(stderr, "no point fits into the memory here, so times are not known; --rate FLOP/S "
                    "tells them\n");
    return KERN_OK;
}

static int name_width(const launch_sweep *sweep) {
    int width = (int)strlen("point");
    for (int64_t i = 0; i < sweep->count; i++)
        if ((int)strlen(sweep->point[i].name) > width) width = (int)strlen(sweep->point[i].name);
    return width;
}

static void print_cost(const launch_sweep *sweep, int64_t i, const cost *of, double rate) {
    const launch_point *point = &sweep->point[i];
    char parameters[32], flops[32], memory[32], time[32], off[32] = "";
    if (sweep->study->match_parameters) snprintf(off, sizeof off, " %+7.0f", point->parameters_off);
    train_bytes_text(memory, of->memory);
    printf("%3lld  %-*s %9s%s %8lld %12s %10s %11s%s\n", (long long)i + 1, name_width(sweep),
           point->name, launch_scaled(parameters, point->parameters, ""), off,
           (long long)point->conf->model.mlp, launch_scaled(flops, of->executed, "FLOP"), memory,
           launch_duration(time, rate > 0 ? of->executed / rate : HUGE_VAL),
           of->fits ? "" : "  does not fit here");
}

static json_t *cost_json(const launch_point *point, const cost *of, double rate) {
    return launch_json("{s:o,s:f,s:f,s:I,s:f,s:f,s:b,s:o}", "point", launch_json_text(point->name),
                       "parameters", point->parameters, "parameters_off", point->parameters_off,
                       "mlp", (json_int_t)point->conf->model.mlp, "executed_flops", of->executed,
                       "memory_bytes", of->memory, "fits", (int)of->fits, "seconds",
                       launch_json_number(rate > 0 ? of->executed / rate : HUGE_VAL));
}

/* The table, and what all of it takes. */
static kern_status print_costs(const launch_sweep *sweep, const launch_sweep_choices *chosen,
                               const cost *costs, double rate) {
    double all = 0;
    int64_t points = 0;
    char flops[32], time[32];
    json_t *rows = json_array(), *out = json_array();
    printf("%3s  %-*s %9s%s %8s %12s %10s %11s\n", "", name_width(sweep), "point", "weights",
           sweep->study->match_parameters ? "     off" : "", "mlp", "executed", "memory", "time");
    for (int64_t i = 0; i < sweep->count; i++) {
        if (sweep->point[i].left_out || !launch_sweep_picks(sweep, i, chosen->only)) continue;
        print_cost(sweep, i, &costs[i], rate);
        launch_json_add(rows, cost_json(&sweep->point[i], &costs[i], rate));
        all += costs[i].executed;
        points++;
    }
    for (int64_t i = 0; i < sweep->count; i++) {
        if (!sweep->point[i].left_out) continue;
        printf("left out: %s: %s\n", sweep->point[i].name, sweep->point[i].left_out);
        launch_json_add(out,
                        launch_json("{s:o,s:o}", "point", launch_json_text(sweep->point[i].name),
                                    "because", launch_json_text(sweep->point[i].left_out)));
    }
    printf("%lld point%s in %s: %s, %s of training at %s\n", (long long)points,
           points == 1 ? "" : "s", sweep->dir, launch_scaled(flops, all, "FLOP"),
           launch_duration(time, rate > 0 ? all / rate : HUGE_VAL),
           rate > 0 ? launch_scaled((char[32]){0}, rate, "FLOP/s") : "a rate that is not known");
    json_t *object = launch_json("{s:o,s:o,s:o,s:o}", "points", rows, "left_out", out, "rate",
                                 launch_json_number(rate > 0 ? rate : HUGE_VAL), "seconds",
                                 launch_json_number(rate > 0 ? all / rate : HUGE_VAL));
    if (chosen->json) return launch_print_json(object);
    json_decref(object);
    return KERN_OK;
}

kern_status launch_sweep_dry_run(const launch_sweep *sweep, const launch_sweep_choices *chosen) {
    kern_status status = KERN_OK;
    double rate = chosen->rate;
    cost *costs = kern_array(sweep->count, sizeof *costs);
    TRY(find_costs(costs, sweep, chosen));
    if (!(rate > 0)) TRY(find_rate(&rate, sweep, costs));
    TRY(print_costs(sweep, chosen, costs, rate));
done:
    free(costs);
    return status;
}

kern_status launch_sweep_status(const launch_sweep *sweep, const launch_sweep_choices *chosen) {
    int64_t of_state[LAUNCH_POINT_STATES] = {0};
    json_t *rows = json_array();
    for (int64_t i = 0; i < sweep->count; i++) {
        const launch_point *point = &sweep->point[i];
        if (!launch_sweep_picks(sweep, i, chosen->only)) continue;
        launch_point_state state = launch_point_look(point, sweep->study);
        char *error = state == LAUNCH_POINT_FAILED ? launch_point_error(point) : NULL;
        long long step = point->left_out ? 0 : launch_point_step(point);
        long long steps = point->left_out ? 0 : point->conf->train.steps;
        const char *why = error ? error : point->left_out ? point->left_out : "";
        of_state[state]++;
        printf("%3lld  %-*s  %-8s %6lld/%lld%s%s\n", (long long)i + 1, name_width(sweep),
               point->name, launch_point_state_name[state], step, steps, *why ? "  " : "", why);
        launch_json_add(rows,
                        launch_json("{s:o,s:s,s:I,s:I,s:o}", "point", launch_json_text(point->name),
                                    "state", launch_point_state_name[state], "step",
                                    (json_int_t)step, "steps", (json_int_t)steps, "why",
                                    *why ? launch_json_text(why) : json_null()));
        free(error);
    }
    printf("%s in %s:", sweep->name, sweep->dir);
    for (int s = LAUNCH_POINT_STATES - 1, more = 0; s >= 0; s--)
        if (of_state[s])
            printf("%s %lld %s", more++ ? "," : "", (long long)of_state[s],
                   launch_point_state_name[s]);
    printf("\n");
    json_t *object = launch_json("{s:o}", "points", rows);
    if (chosen->json) return launch_print_json(object);
    json_decref(object);
    return KERN_OK;
}
