/* ttt sweep: a study (configs/study.h) as a directory of runs (docs/studies.md). A point is trained
 * and measured by child processes of this program, under a lock that they inherit; so whatever is
 * killed, no two processes work on one point, and what is done is seen from the files alone. All
 * functions are local. */
#ifndef LAUNCH_SWEEP_H
#define LAUNCH_SWEEP_H

#include "configs/study.h"
#include "train/fit.h"

#include <sys/types.h>

typedef enum {
    LAUNCH_POINT_LEFT_OUT,
    LAUNCH_POINT_WAITS, /* nothing of it is there */
    LAUNCH_POINT_BEGUN,
    LAUNCH_POINT_RUNS, /* by some process, now */
    LAUNCH_POINT_FAILED,
    LAUNCH_POINT_FINISHED, /* trained and measured */
    LAUNCH_POINT_STATES
} launch_point_state;
extern const char *const launch_point_state_name[LAUNCH_POINT_STATES];

typedef struct {
    const char *name;     /* borrowed, with the next two, of the sweep's list of points */
    const char *left_out; /* the reason, or NULL */
    ttt_conf *conf;
    char *run;   /* the run's directory */
    char *files; /* DIR/points/NAME, to which ".lock", ".log" and so on are added */
    double parameters, parameters_off; /* the second: less the base's, where they are matched */
} launch_point;

/* Begins as zeros. Everything in it belongs to it. */
typedef struct {
    char *name, *dir;
    conf_study *study;
    conf_point *conf_point;
    int64_t count;
    launch_point *point; /* [count], those left out too */
    double base_parameters;
    bool from_dir; /* the study is the one that is in the directory */
} launch_sweep;

/* Reads the study that a word means: a study's directory, a file, or a shipped study's name; with
 * `match: parameters` solves model.mlp of every point. Changes nothing. Errors: those of
 * conf_study_load and conf_study_points; KERN_ERR_CONFIG where parameters cannot be matched;
 * launch_sweep_close is due in any case. */
kern_status launch_sweep_open(launch_sweep *sweep, const char *word);
void launch_sweep_close(launch_sweep *sweep);

/* Makes the directory, or finds that it holds this study: KERN_ERR_USAGE where it holds another
 * one, or something else. */
kern_status launch_sweep_begin(const launch_sweep *sweep);

/* Whether a point is among those that --only names (NULL: all): by its number, from 1, or by its
 * name as a glob. */
bool launch_sweep_picks(const launch_sweep *sweep, int64_t point, const char *only);
/* KERN_ERR_USAGE where `only` picks none that is to be run. */
kern_status launch_sweep_check(const launch_sweep *sweep, const char *only);

/* ---- a point, as its files have it (launch/sweep_point.c) ---- */

launch_point_state launch_point_look(const launch_point *point, const conf_study *study);
/* Outer steps that metrics.jsonl has. */
int64_t launch_point_step(const launch_point *point);
/* Work of all its steps by convention, FLOP. */
double launch_point_work(const launch_point *point);
/* What made it fail, or NULL where it did not; free(). */
char *launch_point_error(const launch_point *point);

/* Takes the point's lock: a descriptor that whoever inherits it holds too, -1 where another process
 * has it. KERN_ERR_FILE where it cannot be told. */
kern_status launch_point_claim(int *lock, const launch_point *point);

bool launch_point_trained(const launch_point *point);
/* The run that judges the evaluation (`decoding`, with its option judge) is this point's. */
bool launch_point_judges(const launch_point *point, const conf_evaluation *evaluation);

/* What is to be done next: 0 training, then 1 + i for evaluation i; -1: nothing. */
int launch_point_next(const launch_point *point, const conf_study *study);

/* The command of a stage, words that are free()d each, NULL at the end. `launcher`: words before
 * that of training, or NULL. KERN_ERR_CONFIG where the run that is there is of another course. */
kern_status launch_point_command(char ***words, const launch_point *point, const conf_study *study,
                                 int stage, int threads, double memory, const char *launcher);
void launch_words_free(char **words);

/* A stage's process has ended well: keeps what it printed where that is its result. Errors:
 * KERN_ERR_DATA, KERN_ERR_FILE. */
kern_status launch_point_done(const launch_point *point, const conf_study *study, int stage,
                              char *const *words);
/* Remembers an error, or with NULL forgets it. */
kern_status launch_point_fail(const launch_point *point, const char *error);

/* ---- processes (launch/sweep_child.c) ---- */

/* Starts a process of its own group that gets SIGTERM where this one ends, reads nothing, and
 * writes to DIR/points/NAME.out and, behind what is there, NAME.log. It inherits `lock`. */
kern_status launch_child_start(pid_t *child, char *const *words, const launch_point *point,
                               int lock);
/* Whether it has ended; *error is then NULL, or what it said last; free(). */
bool launch_child_ended(pid_t child, char **error, const launch_point *point);

/* ---- what it costs (launch/sweep_plan.c), and doing it (launch/sweep_run.c) ---- */

typedef struct {
    const char *only, *launcher;
    int64_t jobs; /* 0: as many as there are cores for */
    double rate;  /* FLOP/s executed; 0: measured */
    bool json;
} launch_sweep_choices;

/* Prints every point with parameters, work, memory, time; and of those left out the reason. */
kern_status launch_sweep_dry_run(const launch_sweep *sweep, const launch_sweep_choices *chosen);
/* Prints how far every point is. */
kern_status launch_sweep_status(const launch_sweep *sweep, const launch_sweep_choices *chosen);
/* Runs all points that are not finished. KERN_ERR_DATA where some failed, which are named;
 * KERN_ERR_INTERRUPTED. */
kern_status launch_sweep_run(const launch_sweep *sweep, const launch_sweep_choices *chosen);

/* The least memory that training a point takes, of `limit` bytes at most; HUGE_VAL where more. */
kern_status launch_sweep_memory(double *bytes, const ttt_conf *conf, double limit);
/* "1 h 03 min", "45 s". Returns `text`. */
const char *launch_duration(char text[32], double seconds);

#endif
