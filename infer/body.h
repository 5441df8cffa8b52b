/* The two bodies as graphs: what a chunk of the prefix and what a chunk of the suffix computes
 * (docs/model.md). Models loop over them with scans, sessions plan by plan. Internal. */
#ifndef INFER_BODY_H
#define INFER_BODY_H

#include "autodiff/scan.h"
#include "infer/block.h"

/* What is handed from chunk to chunk: it begins as a parameter, each item's own (a fast weight), or
 * is zero at the beginning of a sequence (parameter -1: a mixer's state). */
typedef struct {
    ad_value in, out;
    int parameter;
} infer_carry;

/* A graph of blocks, and which of its values are parameters, carried, appended. */
typedef struct {
    ad_graph *graph;
    infer_context context; /* real, product, batch, rows */
    const infer_parameters *parameters;
    bool inner;       /* fast weights are carried, each item's its own; else they are parameters */
    bool first_order; /* no gradient through the inner gradient */
    ad_value *weight; /* [parameters] AD_NONE where another part has it */
    ad_value *constant; /* parameters that all chunks share: differentiable inputs */
    int constants;
    int *constant_of;     /* [parameters] its constant, or -1 */
    kern_dtype *dtype_of; /* [parameters] of the constant */
    infer_carry *carry;   /* fast weights, then states of mixers block by block */
    int carries, fast;
    ad_scan_history *history; /* of mixers, block by block */
    int histories;
} infer_part;

/* Begins a part of blocks first .. last - 1 that reads chunks of `rows` tokens of `batch` sequences
 * of at most `tokens` tokens. `parameters` are borrowed. */
void infer_part_begin(infer_part *part, const ttt_conf *conf, const infer_parameters *parameters,
                      int64_t batch, int64_t rows, int first, int last, int64_t tokens);
/* Not all rows need be tokens: context.valid is an input. To be called before anything is built. */
void infer_part_pad(infer_part *part);
void infer_part_clear(infer_part *part);

/* Inputs for a token of each row, [R], or [R, 1] as `column`. */
infer_tokens infer_add_tokens(infer_part *part, bool column, const char *name);

/* The prefix: embedding and blocks 0 .. blocks - 1, tokens [R] -> rows [R, D]. */
ad_value infer_build_prefix(infer_part *part, int blocks, infer_tokens tokens);

/* The suffix: blocks first .. blocks - 1, head and loss of rows h [R, D] with targets [R, 1]
 * whose losses weigh weight [R, 1]; and, where fast weights are carried, the step of size `rate`
 * [1] on them. */
typedef struct {
    ad_value nll;           /* [R, 1] */
    ad_value loss;          /* [B, 1]: l_i */
    ad_value gradient_norm; /* [B, 1]: |g_i|; AD_NONE without a step */
} infer_body;
infer_body infer_build_body(infer_part *part, int first, int blocks, ad_value h,
                            infer_tokens target, ad_value weight, ad_value rate);

/* What the targets [count] of a chunk weigh in its loss: 1 / (those that count), 0 where a target
 * is the begin-of-document token. weight [count]: of infer_real(conf). */
void infer_chunk_weights(void *weight, const ttt_conf *conf, const int32_t *target, int64_t count);

/* KERN_ERR_GRAPH unless this number is the same on all ranks; collective (NULL: nothing). */
kern_status infer_agree_plans(const kern_comm *tensor, uint64_t hash);

/* With several ranks: the tokens [count] as the rank numbers its own, and which those are. here
 * [count]: of infer_real(conf). And what context.missing is [dim of the vocabulary]. */
void infer_own_tokens(int32_t *id, void *here, const ttt_conf *conf, const kern_comm *tensor,
                      const int32_t *token, int64_t count);
void infer_missing_columns(void *missing, const ttt_conf *conf, const kern_comm *tensor);

/* The suffix up to the scores of the next token: h [R, D] -> logits [R, V]. */
ad_value infer_build_logits(infer_part *part, int first, int blocks, ad_value h);

#endif
