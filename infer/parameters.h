/* The parameters of a model: names, shapes and places in one flat buffer. Names are those of
 * checkpoints (docs/model.md). Weights are [in, out]. All local. */
#ifndef INFER_PARAMETERS_H
#define INFER_PARAMETERS_H

#include "configs/conf.h"
#include "kernels/device.h"

typedef enum {
    INFER_EMBED,          /* embed.weight [V, D] */
    INFER_FINAL_NORM,     /* final_norm.weight [D] */
    INFER_LM_HEAD,        /* lm_head.weight [D, V], untied only */
    INFER_ATTN_NORM,      /* blocks.{l}.attn_norm.weight [D] */
    INFER_WQ,             /* .attn.wq [D, HK] */
    INFER_WK,             /* .attn.wk [D, GK] */
    INFER_WV,             /* .attn.wv [D, GK] */
    INFER_WO,             /* .attn.wo [HK, D] */
    INFER_Q_NORM,         /* .attn.q_norm.weight [K] */
    INFER_K_NORM,         /* .attn.k_norm.weight [K] */
    INFER_ATTN_POST_NORM, /* .attn_post_norm.weight [D] */
    INFER_FAST_NORM,      /* .fast_norm.weight [D], blocks with a separate fast MLP only */
    INFER_FAST_W1,        /* .fast.w1 [D, F] */
    INFER_FAST_W2,        /* .fast.w2 [F, D] */
    INFER_FAST_W3,        /* .fast.w3 [D, F] */
    INFER_FAST_POST_NORM, /* .fast_post_norm.weight [D] */
    INFER_MLP_NORM,       /* .mlp_norm.weight [D] */
    INFER_MLP_W1,         /* .mlp.w1 [D, F] */
    INFER_MLP_W2,         /* .mlp.w2 [F, D] */
    INFER_MLP_W3,         /* .mlp.w3 [D, F] */
    INFER_MLP_POST_NORM,  /* .mlp_post_norm.weight [D] */
    INFER_ROLES
} infer_role;

typedef struct {
    char name[64];
    infer_role role;
    int rank;
    int64_t dim[2];
    int64_t elements, offset; /* offset: elements from the start of the buffer, a multiple of 16 */
    bool fast;                /* theta: changed by the inner loop */
} infer_parameter;

enum { INFER_ROW = 1024 }; /* the buffer's size is a multiple: it can be seen as a matrix */

typedef struct {
    int count;
    infer_parameter *item;
    int64_t elements; /* of the whole buffer, gaps included; a multiple of INFER_ROW */
    int64_t weights;  /* the sum of elements: the number of parameters */
    int blocks;
    int *index; /* [(1 + blocks) * INFER_ROLES] */
} infer_parameters;

/* The parameters of a checked configuration. */
infer_parameters *infer_parameters_create(const ttt_conf *conf);
void infer_parameters_destroy(infer_parameters *parameters);

/* The parameter with this role in this block (-1: of the model), or NULL if the model has none. */
const infer_parameter *infer_parameter_of(const infer_parameters *parameters, infer_role role,
                                          int block);

/* Fills a flat buffer of a device (f32, or f64): matrices normal with the configuration's standard
 * deviation, norms 1, gaps 0. A function of the seed and the parameter's name alone. */
void infer_parameters_init(const infer_parameters *parameters, const ttt_conf *conf,
                           kern_dtype dtype, const kern_device *device, void *buffer);

#endif
