/* Functions that build core ops. They need no rule and no kernel, and are differentiable as often
 * as their parts are. All local. Shapes are written with the axis letters of docs/model.md. */
#ifndef AUTODIFF_COMPOSITES_H
#define AUTODIFF_COMPOSITES_H

#include "autodiff/ops.h"

/* a * constant */
ad_value ad_scale(ad_graph *graph, ad_value a, double constant);
/* a + constant */
ad_value ad_shift(ad_graph *graph, ad_value a, double constant);
/* a * b, b repeated along its axes of size 1 */
ad_value ad_mul_repeat(ad_graph *graph, ad_value a, ad_value b);

/* x w for rows x [..., D] and w [D, F] -> [..., F] */
ad_value ad_linear(ad_graph *graph, ad_value x, ad_value w);
/* x / sqrt(mean(x^2) + eps) * w over the last axis; w [K], or AD_NONE for none */
ad_value ad_rms_norm(ad_graph *graph, ad_value x, ad_value w, double eps);
/* The same where the last axis of x, and w, are an equal part of what so many ranks have together.
 */
ad_value ad_rms_norm_split(ad_graph *graph, ad_value x, ad_value w, int ranks, double eps);
/* x sigmoid(x) */
ad_value ad_silu(ad_graph *graph, ad_value x);
/* RoPE on pairs (2i, 2i+1) of x [B, C, H, K]; cosine and sine [C, K], each angle twice */
ad_value ad_rope(ad_graph *graph, ad_value x, ad_value cosine, ad_value sine);
/* -log softmax(logits)[target] by row: logits [R, V], target i32 [R, 1] -> [R, 1] */
ad_value ad_cross_entropy(ad_graph *graph, ad_value logits, ad_value target);
/* The same of scores whose columns are divided over the ranks, [R, V'] on each, which vary. target:
 * a column of the rank's own, here [R, 1]: 1 where the target is among them, 0 where not; both
 * vary. */
ad_value ad_cross_entropy_split(ad_graph *graph, ad_value logits, ad_value target, ad_value here);
/* Factor [B, 1, 1] that clips the joint norm of n tensors [B, ., .] by batch item:
 * clip / sqrt(max(sum of squares, clip^2)), regular at zero (docs/model.md). *norm
 * (if not NULL): the norm [B, 1, 1]. Tensors that vary over the ranks are parts of whole ones,
 * whose norm it is. */
ad_value ad_clip_factor(ad_graph *graph, int n, const ad_value *gradient, double clip,
                        ad_value *norm);
/* One AdamW update (arXiv 1711.05101) of a parameter p with gradient g, moments m and v, all f32 or
 * f64 of one shape: g' = factor g; m' = b1 m + (1 - b1) g'; v' = b2 v + (1 - b2) g'^2;
 * p' = p - rate (correct1 m' / (sqrt(correct2 v') + eps) + weight_decay p). */
typedef struct {
    ad_value factor, rate, correct1, correct2; /* [1]; correct1 = 1 / (1 - beta1^t), 2 likewise */
    double beta1, beta2, eps, weight_decay;
} ad_adamw_args;
void ad_adamw(ad_graph *graph, const ad_adamw_args *args, ad_value p, ad_value g, ad_value m,
              ad_value v, ad_value *next_p, ad_value *next_m, ad_value *next_v);

#endif
