/* What ranks send each other in a step, and how long that takes on a network that is known by its
 * figures: by the collectives that the step's plans and its update make. All local. */
#ifndef TRAIN_PREDICT_RANKS_H
#define TRAIN_PREDICT_RANKS_H

#include "train/predict.h"

/* The assumptions. Rank by rank a machine is filled; in it ranks reach each other at one speed, and
 * each has a port of its own to the network between machines, of which collectives reach a part. */
#define TRAIN_NETWORK_REACHES 0.80
#define TRAIN_NEAR_BANDWIDTH 300e9 /* bytes/s between two ranks of a machine */
#define TRAIN_NEAR_SECONDS 5e-6    /* that a message takes whatever its size */
#define TRAIN_FAR_SECONDS 15e-6
enum { TRAIN_MACHINE_RANKS = 8 };

typedef enum {
    TRAIN_SEND_TENSOR,   /* reductions in graphs, over the tensor axis */
    TRAIN_SEND_SHARED,   /* gradients of what is the same on all tensor ranks */
    TRAIN_SEND_GRADIENT, /* reduce-scatters over the data axis; or one reduction */
    TRAIN_SEND_WEIGHTS,  /* all-gathers over the data axis */
    TRAIN_SENDS
} train_send;
extern const char *const train_send_name[TRAIN_SENDS];

/* Of one step and one rank. */
typedef struct {
    double calls, bytes; /* bytes: of what a call's buffers hold whole, count x element (x ranks) */
    double seconds;
    double hidden; /* of them, beside computing, where that can be predicted (train/predict.h) */
} train_sent;

/* `network`: bytes/s of a rank's port. The gradient is sent piece by piece in its turns
 * (train/shard.h), while the prefix's reverse of the last micro-batch runs, all else while nothing
 * is computed. */
void train_predict_ranks(train_sent sent[TRAIN_SENDS], const train_step *step, double network);

#endif
