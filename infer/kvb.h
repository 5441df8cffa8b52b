/* The memory of TTT-KVB: reading and updating it (infer/kvb_step.c), between infer/kvb.c's
 * projections. Internal. */
#ifndef INFER_KVB_H
#define INFER_KVB_H

#include "infer/mixer.h"

enum { INFER_KVB_MATRICES = 3 };    /* w1, w2, w3, by index 0, 1, 2 */
enum { INFER_KVB_FIRST_STATE = 2 }; /* behind those of attention */

/* Rows by head, BM = B M. Rows that are no tokens have rate and momentum 0. */
typedef struct {
    ad_value query, key, value;           /* [BM, R, Z] */
    ad_value rate;                        /* [BM, R, 3]: of w1, w2, w3 */
    ad_value momentum;                    /* [BM, R, 1]; not read without momentum */
    ad_value initial[INFER_KVB_MATRICES]; /* w^0: [M, Z, Y], [M, Y, Z], [M, Z, Y] */
} infer_kvb;

/* Adds the memory's states to the list of `count`; how many there are then. */
int infer_kvb_states(infer_mixer_state state[INFER_STATES], int count, const ttt_conf *conf);

/* f(query; w of its chunk) [BM, R, Z]; and the states behind the rows, from index `first` on. */
ad_value infer_kvb_read(const infer_context *context, const infer_kvb *rows, infer_memory *memory,
                        int first);

/* x / (|x| + 1e-5), norms over one axis; 0 of 0, with derivative 0. */
ad_value infer_kvb_unit(ad_graph *graph, ad_value x, int axis);
/* a [M, Z, Y] + I / 2 */
ad_value infer_kvb_add_half(ad_graph *graph, ad_value a);

#endif
