#include "launch/plan_time.h"

#include "infer/block.h"
#include "launch/report.h"

#include <stdio.h>

static const char *const kind_name[AD_CALL_KINDS] = {
    [AD_CALL_MOVE] = "moves",
    [AD_CALL_ROWS] = "row programs",
    [AD_CALL_PRODUCT] = "products",
    [AD_CALL_ATTENTION] = "attention",
    [AD_CALL_ATTENTION_VJP] = "its reverse",
};
static const int kind_order[AD_CALL_KINDS] = {AD_CALL_PRODUCT, AD_CALL_ATTENTION,
                                              AD_CALL_ATTENTION_VJP, AD_CALL_ROWS, AD_CALL_MOVE};

/* A rank's share. */
static double tokens_of(const ttt_conf *conf, int ranks) {
    return (double)conf->train.batch * (double)conf->train.context / ranks;
}

/* Model FLOPs against the best product of the type that products have. */
static double peak_fraction(const ttt_conf *conf, const kern_machine *machine,
                            const train_prediction *time, int ranks) {
    return train_model_flops(conf) / ranks /
           (time->step.seconds * kern_machine_flops(machine, infer_product(conf)));
}

static void print_phase(const char *name, const train_time *time) {
    printf("%-18s %10.4f", name, time->seconds);
    for (int k = 0; k < AD_CALL_KINDS; k++) printf(" %12.4f", time->kind_seconds[kind_order[k]]);
    printf(" %10.4f\n", time->launch_seconds);
}

void launch_plan_time_print(const ttt_conf *conf, const kern_machine *machine,
                            const train_prediction *time, int ranks) {
    double tokens = tokens_of(conf, ranks),
           flops = kern_machine_flops(machine, infer_product(conf));
    char text[32], speed[32];
    printf("\n%-18s %10s", "phase", "seconds");
    for (int k = 0; k < AD_CALL_KINDS; k++) printf(" %12s", kind_name[kind_order[k]]);
    printf(" %10s\n", "launches");
    for (int p = 0; p < TRAIN_PHASES; p++) print_phase(train_phase_name[p], &time->phase[p]);
    print_phase("step", &time->step);
    printf("\ntokens/s           %.0f\n", tokens / time->step.seconds);
    printf("fraction of peak   %.1f %%\n", 100 * peak_fraction(conf, machine, time, ranks));
    printf("launches a token   %.2f\n", time->step.launches / tokens);
    printf("row programs       %s a token\n",
           launch_scaled(text, time->step.row_bytes / tokens, "B"));
    printf("\nForetold, not measured. Assumed of %s: products reach %.0f %% of %s in tiles of %d x "
           "%d, of\nwhich %.0f run at a time, or move their operands at %s, whichever is slower; "
           "attention\nreaches %.0f %%, its reverse %.0f %%; the rest moves at that speed; a call "
           "costs %.1f us.\n",
           machine->name, 100 * TRAIN_PRODUCT_REACHES, launch_scaled(text, flops, "FLOP/s"),
           TRAIN_TILE, TRAIN_TILE, machine->processors,
           launch_scaled(speed, machine->bandwidth, "B/s"), 100 * TRAIN_ATTENTION_REACHES,
           100 * TRAIN_ATTENTION_VJP_REACHES, 1e6 * machine->launch_seconds);
}

void launch_plan_time_json(json_t *object, const ttt_conf *conf, const kern_machine *machine,
                           const train_prediction *time, int ranks) {
    double tokens = tokens_of(conf, ranks);
    json_t *phases = json_object(), *kinds = json_object();
    for (int p = 0; p < TRAIN_PHASES; p++)
        launch_json_set(phases, train_phase_name[p], json_real(time->phase[p].seconds));
    for (int k = 0; k < AD_CALL_KINDS; k++)
        launch_json_set(kinds, kind_name[kind_order[k]],
                        json_real(time->step.kind_seconds[kind_order[k]]));
    launch_json_set(kinds, "launches", json_real(time->step.launch_seconds));
    launch_json_set(object, "device", launch_json_text(machine->name));
    launch_json_set(object, "seconds_per_step", json_real(time->step.seconds));
    launch_json_set(object, "tokens_per_second", json_real(tokens / time->step.seconds));
    launch_json_set(object, "peak_fraction", json_real(peak_fraction(conf, machine, time, ranks)));
    launch_json_set(object, "launches_per_token", json_real(time->step.launches / tokens));
    launch_json_set(object, "row_bytes_per_token", json_real(time->step.row_bytes / tokens));
    launch_json_set(object, "phase_seconds", phases);
    launch_json_set(object, "kind_seconds", kinds);
}
