/* ttt with the mixers of tests/infer/mixers.c, one more: ttt_ema COMMAND WORDS... */
#include <stdio.h>
#include <string.h>

#include "launch/commands.h"

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
