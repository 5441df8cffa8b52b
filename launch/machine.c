#include "launch/machine.h"

#include "configs/figures.h"

#include <string.h>

static bool is_path(const char *what) {
    size_t length = strlen(what);
    return strchr(what, '/') || (length > 5 && !strcmp(what + length - 5, ".yaml"));
}

kern_status launch_machine_open(kern_machine *machine, const char *what) {
    const kern_machine *known = kern_machine_named(what);
    if (known) {
        *machine = *known;
        return KERN_OK;
    }
    if (!is_path(what))
        return kern_fail(KERN_ERR_CONFIG,
                         "there is no device '%.60s' to plan for; there are %s, and files of "
                         "figures (FILE.yaml; docs/costs.md)",
                         what, kern_machine_names());
    *machine = (kern_machine){.name = what};
    const conf_figure figure[] = {{"memory", &machine->memory},
                                  {"f32_flops", &machine->f32_flops},
                                  {"bf16_flops", &machine->bf16_flops},
                                  {"f64_flops", &machine->f64_flops},
                                  {"bandwidth", &machine->bandwidth},
                                  {"processors", &machine->processors},
                                  {"launch_seconds", &machine->launch_seconds},
                                  {"pass_steps", &machine->pass_steps},
                                  {"piece_rows", &machine->piece_rows},
                                  {"product_rows", &machine->product_rows},
                                  {"slice_elements", &machine->slice_elements}};
    kern_status status = conf_figures_load(what, sizeof figure / sizeof *figure, figure);
    if (status == KERN_OK && machine->processors < 1)
        return kern_fail(KERN_ERR_CONFIG, "%s: processors: there must be one or more", what);
    return status;
}
