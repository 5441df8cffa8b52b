/* A configuration: what the option table (configs/options.c) fills. Every field is one row of that
 * table (name = "section.field"), which also drives YAML, key=value overrides, --help, the resolved
 * file and docs. Strings belong to the struct ttt_conf. */
#ifndef CONFIGS_CONF_H
#define CONFIGS_CONF_H

#include "kernels/base.h"

typedef enum { CONF_ATTN_WINDOW, CONF_ATTN_FULL, CONF_ATTN_HYBRID, CONF_ATTN_NONE } conf_attention;
/* e2e: gradient through the inner updates. first_order: the same, g_i held constant. naive: trained
 * without inner steps, evaluated with them. off: no inner steps anywhere. */
typedef enum { CONF_INNER_OFF, CONF_INNER_E2E, CONF_INNER_FIRST_ORDER, CONF_INNER_NAIVE } conf_inner;
typedef enum { CONF_F32, CONF_BF16, CONF_F64 } conf_precision;

typedef struct {
    int64_t vocab, dim, heads, kv_heads /* 0: heads */, head_size /* 0: dim / heads */, mlp, blocks;
    conf_attention attention;
    int64_t full_every; /* hybrid: every full_every-th block is full (6: five windowed, one full) */
    int64_t window;
    double rope_theta, rope_theta_full; /* the second for full blocks of a hybrid; 0: rope_theta */
    bool qk_norm, pre_norm, post_norm, tied;
    double norm_eps, init_std;
    int64_t bos; /* id of begin-of-document; -1: none */
} conf_model;

typedef struct {
    conf_inner mode;
    int64_t suffix;         /* S: blocks that run chunk by chunk */
    int64_t chunk;          /* C */
    const char *fast_blocks; /* "suffix" or a comma-separated list of block numbers within it */
    bool separate_mlp;      /* a fast MLP of its own; false: the ordinary MLP is the fast one */
    double lr, clip;
    int64_t warmup_steps;
    double warmup_from;
} conf_inner_loop;

typedef struct {
    int64_t context;     /* T */
    int64_t batch;       /* sequences per outer step */
    int64_t micro_batch; /* sequences at once; 0: chosen by the memory plan */
    int64_t steps, total_steps /* of the schedule; 0: steps */, warmup_steps;
    double lr, end_lr, beta1, beta2, eps, weight_decay, clip;
    int64_t seed;
    conf_precision precision;
    int64_t threads;        /* 0: all cores */
    const char *init_from;  /* run or checkpoint to start from; "": random */
    double memory_limit;    /* bytes the plan may use; 0: what the machine has free */
} conf_train;

typedef struct {
    const char *train, *valid, *test; /* comma-separated shard paths or globs; "": none */
    bool across_documents;            /* samples cross document borders */
} conf_data;

typedef struct {
    const char *dir;     /* where the run lives; "": runs/NAME */
    int64_t log_every, eval_every, eval_windows /* per document; 0: all */;
    int64_t save_every, keep_last, keep_every /* steps; 0: no such rule */;
} conf_run;

typedef struct {
    conf_model model;
    conf_inner_loop inner;
    conf_train train;
    conf_data data;
    conf_run run;
    const char *name; /* of the configuration; not an option */
} ttt_conf;

/* The configuration `source` (a shipped name such as "125m-e2e-8k", or a path of a YAML file) with
 * `overrides` ("section.field=value") on top, checked. On failure *conf is NULL and the message names
 * file, line, key, and the nearest valid name. Free with conf_destroy. */
kern_status conf_load(ttt_conf **conf, const char *source, int overrides,
                      const char *const *override);
void conf_destroy(ttt_conf *conf);

/* All options at their defaults; for callers that build a configuration in code. */
kern_status conf_create(ttt_conf **conf);
/* One "section.field=value"; the old value stays on failure. */
kern_status conf_set(ttt_conf *conf, const char *assignment);
/* Refuses an impossible combination with the reason. */
kern_status conf_check(const ttt_conf *conf);
/* Writes the resolved configuration as YAML that conf_load reads back to an equal struct. */
kern_status conf_write(const ttt_conf *conf, const char *path);

#endif
