/* The MLPs of a block: the ordinary one, and in blocks with one of its own the fast one before it.
 * All local. */
#ifndef INFER_MLP_H
#define INFER_MLP_H

#include "infer/context.h"

typedef enum { INFER_MLP, INFER_FAST_MLP, INFER_MLPS } infer_mlp_kind;

/* Adds its parameters; `fast`: the inner loop changes its matrices. */
void infer_mlp_parameters(infer_parameters *to, const ttt_conf *conf, int block,
                          infer_mlp_kind kind, bool fast);

/* h + post(mlp(pre(h))), h [R, D]. */
ad_value infer_mlp(const infer_context *context, int block, infer_mlp_kind kind, ad_value h);

#endif
