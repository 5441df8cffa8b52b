/* One block as a graph, and what stands before and behind all of them, embedding and head: the
 * forward pass of docs/model.md, written once for prefix and suffix, every variant and every
 * precision. All local. */
#ifndef INFER_BLOCK_H
#define INFER_BLOCK_H

#include "infer/mixer.h"

/* Adds the parameters of block `block`; of the embedding; of the final norm and the head. */
void infer_block_parameters(infer_parameters *to, const ttt_conf *conf, int block);
void infer_embedding_parameters(infer_parameters *to, const ttt_conf *conf);
void infer_head_parameters(infer_parameters *to, const ttt_conf *conf);

/* embed.weight [V, D], final_norm.weight [D], lm_head.weight [D, V] (untied only) */
extern const infer_role infer_embedding, infer_final_norm, infer_lm_head;

/* h [R, D] -> [R, D] after block `block`; sets what its mixer's memory is after the rows. */
ad_value infer_block(const infer_context *context, int block, infer_memory *memory, ad_value h);

/* Loss of the rows: h [R, D] after the last block, targets [R, 1], weights [R, 1] of their
 * losses. norm [D]; head [V, D] (tied) or [D, V], in `product`.
 * The gradient of sum(weight * nll) by h is built together with the loss, over slices of rows, so
 * that logits of one slice need to exist at a time. */
typedef struct {
    ad_value nll;  /* [R, 1] */
    ad_value ct_h; /* [R, D] */
} infer_head_result;
infer_head_result infer_head(const infer_context *context, ad_value norm, ad_value head, ad_value h,
                             infer_tokens target, ad_value weight);

/* Scores of the next token: h [R, D] -> [R, V], with several ranks the columns that each has. */
ad_value infer_head_logits(const infer_context *context, ad_value norm, ad_value head, ad_value h);
/* -log softmax of such scores at the targets: [R, 1]. */
ad_value infer_head_losses(const infer_context *context, ad_value logits, infer_tokens target);

#endif
