/* The paper's values (arXiv 2512.23675, version 2), read off its tables and figures, to be put
 * beside our own where the axis is the same. They are of another scale: models of 125M to 3B
 * parameters, on tokens of other texts. */
#include "launch/page.h"

#include "train/files.h"

#include <math.h>
#include <string.h>

enum { MOST_X = 10, MOST_SERIES = 7 };

typedef struct {
    const char *name, *title, *x_label, *y_label;
    bool log_x;
    int points;
    double x[MOST_X];
    struct {
        const char *label;
        double y[MOST_X];
    } series[MOST_SERIES];
} table;

/* clang-format off */
static const table tables[] = {
    {"window", "760M parameters, 8K, figure 4", "window (tokens)", "nats per token", true,
     4, {1024, 2048, 4096, 8192},
     {{"SWA", {2.860, 2.840, 2.831, 2.827}},
      {"Gated DeltaNet", {2.823, 2.818, 2.812, 2.809}},
      {"TTT-E2E", {2.827, 2.813, 2.806, 2.805}}}},
    {"chunk", "760M parameters, 8K, figure 4", "chunk (tokens)", "nats per token", true,
     4, {1024, 2048, 4096, 8192},
     {{"TTT-KVB", {2.818, 2.820, 2.822, 2.826}},
      {"TTT-E2E", {2.805, 2.807, 2.814, 2.825}}}},
    {"layers", "760M parameters, books, figure 4: less full attention, by context",
     "updated blocks of 24", "nats per token less full attention", true,
     4, {1, 3, 6, 12},
     {{"8K", {-.026, -.029, -.027, -.026}},
      {"16K", {-.025, -.029, -.027, -.027}},
      {"32K", {-.023, -.027, -.026, -.027}},
      {"64K", {-.020, -.024, -.026, -.026}},
      {"128K", {-.017, -.022, -.026, -.028}}}},
    {"context", "3B parameters, books, figure 9: a model fine-tuned for each length",
     "context (tokens)", "nats per token", true,
     5, {8192, 16384, 32768, 65536, 131072},
     {{"full attention", {2.328, 2.301, 2.283, 2.270, 2.261}},
      {"SWA 8K", {2.328, 2.307, 2.299, 2.301, 2.309}},
      {"hybrid 5:1", {2.328, 2.304, 2.288, 2.280, 2.276}},
      {"Mamba 2", {2.312, 2.291, 2.283, 2.285, 2.293}},
      {"Gated DeltaNet", {2.322, 2.301, 2.291, 2.289, 2.295}},
      {"TTT-KVB", {2.319, 2.298, 2.291, 2.293, 2.305}},
      {"TTT-E2E", {2.314, 2.288, 2.270, 2.258, 2.249}}}},
    {"position", "3B parameters, 128K, figure 6", "token index", "nats per token", true,
     10, {128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072},
     {{"full attention", {2.631, 2.469, 2.421, 2.382, 2.350, 2.322, 2.300, 2.279, 2.262, 2.249}},
      {"SWA", {2.615, 2.457, 2.411, 2.373, 2.343, 2.320, 2.310, 2.308, 2.309, 2.307}},
      {"hybrid", {2.621, 2.463, 2.416, 2.379, 2.347, 2.323, 2.305, 2.290, 2.278, 2.267}},
      {"Mamba 2", {2.589, 2.437, 2.393, 2.356, 2.327, 2.304, 2.294, 2.293, 2.293, 2.291}},
      {"Gated DeltaNet", {2.606, 2.451, 2.406, 2.368, 2.338, 2.315, 2.303, 2.298, 2.295, 2.291}},
      {"TTT-KVB", {2.609, 2.453, 2.407, 2.369, 2.338, 2.315, 2.306, 2.304, 2.304, 2.303}},
      {"TTT-E2E", {2.579, 2.422, 2.375, 2.336, 2.305, 2.281, 2.267, 2.257, 2.250, 2.243}}}},
    {"size", "figure 5: less full attention of the same size", "parameters",
     "nats per token less full attention", true,
     5, {125e6, 350e6, 760e6, 1.3e9, 2.7e9},
     {{"DCLM 8K: Gated DeltaNet", {-.053, -.027, -.018, -.014, -.014}},
      {"DCLM 8K: TTT-E2E", {-.043, -.034, -.022, -.021, -.019}},
      {"books 32K: Gated DeltaNet", {-.044, -.017, -.003, .001, .001}},
      {"books 32K: TTT-E2E", {-.060, -.042, -.027, -.024, -.022}}}},
    {"tokens", "760M parameters, figure 5: less full attention on the same tokens", "tokens",
     "nats per token less full attention", true,
     5, {16e9, 32e9, 48e9, 64e9, 80e9},
     {{"DCLM 8K: Gated DeltaNet", {-.018, -.010, -.003, -.003, -.003}},
      {"DCLM 8K: TTT-E2E", {-.022, -.019, -.016, -.016, -.016}},
      {"books 32K: Gated DeltaNet", {-.003, .007, .013, .013, .013}},
      {"books 32K: TTT-E2E", {-.027, -.021, -.018, -.017, -.017}}}},
    {"needle", "3B parameters, 128K, table 2: S-NIAH-1", "length (tokens)", "accuracy", true,
     5, {8192, 16384, 32768, 65536, 131072},
     {{"full attention", {1, 1, 1, 1, .99}},
      {"SWA", {1, .50, .26, .13, .07}},
      {"hybrid", {1, .93, .88, .69, .21}},
      {"Gated DeltaNet", {1, .50, .26, .13, .07}},
      {"TTT-KVB", {.98, .43, .22, .10, .01}},
      {"TTT-E2E", {1, .46, .24, .13, .06}}}},
    {"latency", "3B parameters, one H100: prefill", "context (tokens)",
     "seconds of reading a thousand tokens", true,
     5, {8192, 16384, 32768, 65536, 131072},
     {{"full attention", {.0137, .0169, .0239, .0388, .0734}},
      {"SWA", {.0137, .0163, .0171, .0177, .0179}},
      {"hybrid", {.0137, .0163, .0185, .0217, .0285}},
      {"Mamba 2", {.0157, .0164, .0168, .0170, .0171}},
      {"Gated DeltaNet", {.0154, .0162, .0165, .0166, .0167}},
      {"TTT-KVB", {.0195, .0211, .0221, .0228, .0241}},
      {"TTT-E2E", {.0252, .0251, .0258, .0264, .0274}}}},
    {"decoding", "3B parameters, figure 7: scored by Qwen-3-8B, 8K read, 8K written",
     "position (tokens)", "the judge's nats per token", false,
     8, {1024, 4096, 8192, 9216, 10240, 12288, 14336, 15900},
     {{"full attention", {2.24, 2.17, 2.13, 2.283, 2.273, 2.251, 2.217, 2.198}},
      {"TTT-E2E", {2.24, 2.17, 2.13, 2.263, 2.247, 2.166, 2.136, 2.073}}}},
};
/* clang-format on */

bool launch_paper_figure(launch_figure *figure, const char *name) {
    size_t count = sizeof tables / sizeof *tables, t = 0;
    while (t < count && (!name || strcmp(tables[t].name, name))) t++;
    if (t == count) return false;
    const table *of = &tables[t];
    *figure = (launch_figure){
        .kind = of->name, .x_label = of->x_label, .y_label = of->y_label, .log_x = of->log_x};
    figure->title = train_text("The paper's, of another scale: %s", of->title);
    figure->note = train_text("arXiv 2512.23675, version 2; not comparable in level with ours.");
    for (int s = 0; s < MOST_SERIES && of->series[s].label; s++) {
        launch_series *made = launch_figure_add(figure, LAUNCH_SERIES_CURVE, s,
                                                train_text("%s", of->series[s].label));
        for (int i = 0; i < of->points; i++)
            launch_series_add(made, of->x[i], of->series[s].y[i], NAN, 0);
    }
    return true;
}
