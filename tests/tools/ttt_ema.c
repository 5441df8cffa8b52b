/* ttt with one mixer more (tests/infer/ema.h): ttt_ema COMMAND WORDS... */
#include <stdio.h>
#include <string.h>

#include "launch/commands.h"
#include "tests/infer/ema.h"

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int, char **);
    } command[] = {{"train", launch_train},    {"eval", launch_eval}, {"infer", launch_infer},
                   {"state", launch_state},    {"plan", launch_plan}, {"bench", launch_bench},
                   {"configs", launch_configs}};
    for (size_t i = 0; argc > 1 && i < sizeof command / sizeof *command; i++)
        if (!strcmp(argv[1], command[i].name)) return command[i].run(argc - 1, argv + 1);
    fprintf(stderr, "ttt_ema COMMAND WORDS...\n");
    return 2;
}
