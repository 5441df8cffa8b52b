/* A trained run as the commands that use one find it: where it is, its configuration, its weights.
 * All functions are local. */
#ifndef LAUNCH_TRAINED_H
#define LAUNCH_TRAINED_H

#include "data/vocabulary.h"
#include "infer/values.h"
#include "kernels/comm.h"

/* Begins as zeros. Everything in it belongs to it. */
typedef struct {
    char *word;                      /* as it was named */
    char *dir, *config, *checkpoint; /* paths; dir: of the run */
    bool alone;                      /* a checkpoint that lies in no run: dir is the checkpoint */
    char *label; /* the directory's last name; NAME@STEP where a checkpoint of a run was named */
    ttt_conf *conf;
    const data_vocabulary *vocabulary; /* that its checkpoint carries; fits the model */
    const kern_device *device;
    const kern_ranks *ranks; /* that read with it */
    /* From launch_trained_load on: */
    infer_parameters *layout;
    infer_readers readers;
    infer_values *values;
    int64_t step;      /* outer steps done, of what was found; once there are weights, of theirs */
    char identity[64]; /* names the weights: step and checksum of their file */
} launch_trained;

/* Of the job's ranks `tensor` share each text (0: all do); the groups of so many read texts of
 * their own. Opening and loading are collective over the job: all ranks find the same run.
 *
 * Finds and checks what a user's word names: a run directory, whose newest checkpoint is taken, or
 * one of its checkpoints. Reads its vocabulary, but no weights. The configuration must be the one
 * that the checkpoint was trained with; `device` computes, whatever trained. Errors: those of
 * train_history_config, train_history_use, conf_load, train_checkpoint_vocabulary,
 * train_course_check, train_vocabulary_fit, kern_device_open, launch_agree, launch_ranks_open and
 * infer_check_ranks. launch_trained_close is due in any
 * case. */
kern_status launch_trained_open(launch_trained *run, const char *word, const char *device,
                                int64_t tensor);

/* Reads the weights, for these readers; of the run's newest checkpoint by now, where the one that
 * was found at first is gone, since the run may be trained meanwhile. Errors: those of
 * train_history_use, train_checkpoint_open and infer_values_open. */
kern_status launch_trained_load(launch_trained *run, infer_readers readers);
void launch_trained_unload(launch_trained *run); /* the weights alone */

void launch_trained_close(launch_trained *run);

#endif
