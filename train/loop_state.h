/* What train/loop.c (steps) and train/loop_open.c (what a run needs, and its outputs) share.
 * Internal. */
#ifndef TRAIN_LOOP_STATE_H
#define TRAIN_LOOP_STATE_H

#include "data/source.h"
#include "train/checkpoint.h"
#include "train/events.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/rundir.h"
#include "train/signals.h"
#include "train/tensors.h"
#include "train/validation.h"

typedef struct {
    const kern_ranks *ranks; /* of the caller */
    bool first;     /* of the job's ranks: it has the outputs, and says what there is to say */
    ttt_conf *conf; /* a copy, with what was chosen at start filled in */
    int threads;
    train_step *step;
    train_step_buffers buffers;
    data_source *source;
    const data_vocabulary *vocabulary;
    const char *checkpoint; /* to go on from, NULL: none; of the caller */
    char *origin;           /* that train.init_from means, NULL: random weights */
    const data_vocabulary *origin_vocabulary;
    train_validation *validation;
    /* [sequences, T + 1] of this step and, where `ahead`, of the one after it */
    int32_t *tokens, *next;
    bool ahead;
    double data_seconds;    /* of this step, spent on reading */
    const train_run *run;   /* of the caller */
    train_metrics *metrics; /* of the first rank, as the next two */
    train_events *events;
    train_progress *progress;
    train_checkpoint_tensors *tensors;
    train_state state;
    int64_t saved_step; /* of the newest checkpoint of this course; -1: there is none */
    bool prune_due;     /* older checkpoints wait until a step has gone well from the newest */
    bool unsaved;       /* a checkpoint could not be written */
    bool stopped;       /* by a signal, in an evaluation that was due */
    bool signals;       /* `handlers` is to be restored */
    train_signals handlers;
    double flops, peak; /* model FLOPs of a step; of the machine by second */
} train_loop;

/* All that can be refused without a trace: configuration, data, vocabulary, memory. Collective, as
 * the others but the one that ends it. */
kern_status train_loop_begin(train_loop *loop, const ttt_conf *conf, const kern_ranks *ranks);
void train_loop_end(train_loop *loop);

/* Whether the disk of `dir` has room; `checkpoints`: of the run that is there, or NULL. */
kern_status train_loop_check_disk(const train_loop *loop, const char *dir, const char *checkpoints);
/* Random weights, or those of train.init_from. */
kern_status train_loop_start_weights(train_loop *loop);
/* Metrics, events and progress, from the state's step on, of the first rank. */
kern_status train_loop_open_outputs(train_loop *loop);

#endif
