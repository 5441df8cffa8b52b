/* The commands of the program, one file launch/cmd_NAME.c and one row of the table in main.c each.
 * A command gets its own words (argv[0] is its name), reads them with launch/arguments.h and
 * returns the exit code: 0 done, 1 a fault of the world (printed as "ttt NAME: cause; hint" to
 * stderr), 2 a wrong command line, 130 stopped by a signal. It answers --help. Its results go to
 * stdout, its progress to stderr. */
#ifndef LAUNCH_COMMANDS_H
#define LAUNCH_COMMANDS_H

int launch_pack(int argc, char **argv);
int launch_tokenize(int argc, char **argv);
int launch_train(int argc, char **argv);
int launch_eval(int argc, char **argv);
int launch_niah(int argc, char **argv);
int launch_infer(int argc, char **argv);
int launch_state(int argc, char **argv);
int launch_configs(int argc, char **argv);
int launch_sweep_command(int argc, char **argv);
int launch_report_command(int argc, char **argv);
int launch_plan(int argc, char **argv);
int launch_bench(int argc, char **argv);

#endif
