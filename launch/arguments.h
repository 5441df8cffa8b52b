/* Command lines, the same for every command: long options `--name value` or `--name=value`,
 * positional words anywhere, `--` ends the options, `--help` prints what the command says of
 * itself. All functions are local: no rank but the caller's takes part. */
#ifndef LAUNCH_ARGUMENTS_H
#define LAUNCH_ARGUMENTS_H

#include "kernels/base.h"

typedef enum {
    LAUNCH_FLAG,  /* bool: false until the option is there; takes no value */
    LAUNCH_TEXT,  /* const char *: there to the end; "~/x" behind = is $HOME/x where the operand is
                   * FILE, RUN, SHARD or SHARDS */
    LAUNCH_TEXTS, /* launch_texts: one more each time the option is given */
    LAUNCH_COUNT, /* int64_t, at least 0 */
    LAUNCH_SEED,  /* uint64_t */
    LAUNCH_REAL,  /* double, finite */
} launch_kind;

/* Begins as zeros; free(item). The texts are as LAUNCH_TEXT's. */
typedef struct {
    const char **item;
    int64_t count, capacity;
} launch_texts;

/* One option. `value` points to a variable of the kind's type, which keeps its value (the default)
 * where the option is not given; of an option given twice the last counts
 * (except LAUNCH_TEXTS). */
typedef struct {
    const char *name; /* "windows", written --windows */
    launch_kind kind;
    void *value;
    const char *operand; /* the value's name in the help: "N"; NULL for a flag */
    const char *help;    /* one line, at most 60 characters */
} launch_option;

/* The row that every command with a table has. */
#define LAUNCH_JSON(flag)                                                                          \
    { "json", LAUNCH_FLAG, (flag), NULL, "also print one JSON object, on the last line" }

/* The row of commands that compute; `text` is a const char * that is "cpu" at first. */
#define LAUNCH_DEVICE(text)                                                                        \
    { "device", LAUNCH_TEXT, (text), "NAME", "what computes: cpu, cuda or check (cpu)" }

/* What a command accepts. */
typedef struct {
    const char *command; /* "pack" */
    const char *words;   /* its positional words as the help shows them: "OUT.h5 FILE..." */
    const char *about;   /* what it does: whole lines, the last without a newline */
    const launch_option *options; /* ends with a row whose name is NULL; NULL: none */
    int least_words, most_words;  /* how many positional words; most_words < 0: any number */
} launch_syntax;

/* Reads the command line argv[0 .. *argc), argv[0] being the command's name. Returns -1 where the
 * command should go on: then *argc and argv hold argv[0] and the positional words alone, in their
 * order. Otherwise returns the exit code that the command has to return: 0 after --help was printed
 * to stdout, 2 after "ttt COMMAND: what is wrong" was printed to stderr. */
int launch_parse(const launch_syntax *syntax, int *argc, char **argv);

/* Prints "ttt COMMAND: " and kern_error() to stderr. Returns the exit code: 0 (and prints nothing)
 * for KERN_OK, 2 for KERN_ERR_USAGE, 130 for KERN_ERR_INTERRUPTED, 1 for the rest. */
int launch_report(const char *command, kern_status status);

#endif
