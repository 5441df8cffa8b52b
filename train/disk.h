/* What a run takes of the disk that it lies on. */
#ifndef TRAIN_DISK_H
#define TRAIN_DISK_H

#include "configs/conf.h"
#include "infer/parameters.h"

typedef struct {
    double checkpoint;   /* bytes of one */
    int64_t checkpoints; /* that are there at a time at the most, by run.save_every and what is kept
                          * (run.keep_last, run.keep_every), the one that is being written too */
    double logs;         /* bytes of metrics.jsonl and of events, about */
    double run;          /* bytes of all that */
} train_disk;

/* For weights and moments of `dtype`, and a tokenizer's file of that many bytes in each checkpoint.
 * Files are counted in whole blocks of 4096 bytes. */
train_disk train_disk_plan(const ttt_conf *conf, const infer_parameters *layout, kern_dtype dtype,
                           int64_t tokenizer);

/* Compares with what is free where the run `dir` is or will be, which has `there` checkpoints.
 * KERN_ERR_FILE where not even one more has room; where the whole run may have none, a warning is
 * printed. Quotas are not known. `resumed`: how the run is gone on with is part of the advice. */
kern_status train_disk_check(const train_disk *disk, const char *dir, int64_t there, bool resumed);

#endif
