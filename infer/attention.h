/* Attention as a part of other mixers. All local. */
#ifndef INFER_ATTENTION_H
#define INFER_ATTENTION_H

#include "infer/mixer.h"

/* x [B C, heads K] by head [B, C, heads, K], normalised where `weight` is not AD_NONE. */
ad_value infer_heads(const infer_context *context, ad_value x, ad_value weight);
/* Its rows turned to their positions. */
ad_value infer_turn(const infer_context *context, int block, ad_value x);
/* Attention of the block's kind over heads that are not turned yet -> [B C, H K]. Its two states
 * are the first of the block's, which infer_attention_states fills; it returns 2. */
ad_value infer_attend(const infer_context *context, int block, infer_memory *memory, ad_value q,
                      ad_value k, ad_value v);
int infer_attention_states(infer_mixer_state state[INFER_STATES], const ttt_conf *conf, int block);
/* infer_mixer.flops of it. */
double infer_attention_flops(const ttt_conf *conf, int block, int64_t chunk, bool above);

#endif
