/* A run is a directory (docs/run-directory.md): what it was configured to be, what it measured, its
 * checkpoints. One process at a time trains it. */
#ifndef TRAIN_RUNDIR_H
#define TRAIN_RUNDIR_H

#include "kernels/base.h"

/* All paths begin with `dir` and belong to the struct. */
typedef struct {
    char *dir;
    char *word;        /* dir, as a command line has it (train/terminal.h) */
    char *config;      /* config.yaml: the resolved configuration */
    char *metrics;     /* metrics.jsonl */
    char *events;      /* events/, TensorBoard files */
    char *checkpoints; /* checkpoints/ */
    char *eval;        /* eval/ */
    char *algorithms;  /* algorithms: what the device chose (train/algorithms.h) */
    int lock;          /* descriptor that holds the lock */
} train_run;

/* Opens the run `dir` for training: takes its lock and creates the directories that are missing.
 * With `resume` the directory must hold a config.yaml; without, it must be new or empty (what a
 * process leaves that was killed before it wrote its configuration counts as empty), so that no run
 * is overwritten by mistake. Remains of a writer that was killed (checkpoints/NAME.tmp, ...) are
 * cleaned up. KERN_ERR_USAGE: not empty, or nothing to resume; KERN_ERR_FILE: another process
 * trains it, or the operating system refused. On failure *run is NULL and no file has changed.
 * train_run_close gives the lock back; so does the end of the process, however it ends. */
kern_status train_run_open(train_run **run, const char *dir, bool resume);
void train_run_close(train_run *run);

/* Before something is saved in it: that the directory is still the one that was opened.
 * KERN_ERR_FILE where it was removed and another process trains a run of that name, which would be
 * written over.
 */
kern_status train_run_check_ours(const train_run *run);

/* The same run for the ranks of a job whose first rank has opened it: its names alone. */
train_run *train_run_join(const char *dir);

/* Whether train_run_open(.., dir, false) would accept the directory, as far as can be seen without
 * creating anything: for a refusal before the work of building a model. Its errors. */
kern_status train_run_check_new(const char *dir);

#endif
