/* A configuration: what the option table (configs/options.c) fills. Every field is one row of that
 * table (name = "section.field"), which also drives YAML, key=value overrides, --help, the resolved
 * file and docs. Strings belong to the struct ttt_conf. */
#ifndef CONFIGS_CONF_H
#define CONFIGS_CONF_H

#include "kernels/base.h"

typedef enum { CONF_ATTN_WINDOW, CONF_ATTN_FULL, CONF_ATTN_HYBRID, CONF_ATTN_NONE } conf_attention;
/* e2e: gradient through the inner updates. first_order: the same, g_i held constant. naive: trained
 * without inner steps, evaluated with them. off: no inner steps anywhere. */
typedef enum {
    CONF_INNER_OFF,
    CONF_INNER_E2E,
    CONF_INNER_FIRST_ORDER,
    CONF_INNER_NAIVE
} conf_inner;
typedef enum { CONF_F32, CONF_BF16, CONF_F64 } conf_precision;
typedef enum { CONF_KVB_DOT, CONF_KVB_L2 } conf_kvb_loss;
typedef enum { CONF_KVB_NORMAL, CONF_KVB_SIMPLE } conf_kvb_output;
typedef enum { CONF_NORM_HEAD, CONF_NORM_WIDTH, CONF_NORM_OFF } conf_qk_norm;

typedef struct {
    int64_t vocab, dim, heads, kv_heads /* 0: heads */, head_size /* 0: dim / heads */, mlp, blocks;
    conf_attention attention;
    int64_t full_every; /* hybrid: every full_every-th block is full (6: five windowed, one full) */
    const char *pattern; /* "", or instead of attention: the blocks' mixers by letter, repeated */
    int64_t window;
    double rope_theta, rope_theta_full; /* the second for full blocks of a hybrid; 0: rope_theta */
    bool qk_norm, pre_norm, post_norm, tied;
    double norm_eps, init_std;
    int64_t bos; /* id of begin-of-document; -1: none */
} conf_model;

typedef struct {
    conf_inner mode;
    int64_t suffix;          /* S: blocks that run chunk by chunk */
    int64_t chunk;           /* C */
    const char *fast_blocks; /* "suffix" or a comma-separated list of block numbers (0: the first
                              * block of the model, as in parameter names), all in the suffix */
    bool separate_mlp;       /* a fast MLP of its own; false: the ordinary MLP is the fast one */
    double lr, clip;
    int64_t warmup_steps;
    double warmup_from;
} conf_inner_loop;

typedef struct {
    int64_t expand /* E / D */, head_size /* P */, state /* N */, groups /* J */, conv /* X */;
    int64_t chunk; /* Q: changes no number */
} conf_mamba;

typedef struct {
    int64_t heads /* M; 0: D / 256 */, key_size /* N */, value_size /* P */, conv /* X */;
    bool gate, neg_eigval;
    int64_t chunk; /* Q: changes no number */
} conf_gdn;

typedef struct {
    int64_t heads /* M */, inner /* Y; 0: D / 4 */, rank /* r; 0: full matrices */;
    int64_t chunk; /* C: tokens of an update */
    conf_kvb_loss loss;
    conf_kvb_output output;
    bool momentum, muon, scale;
    conf_qk_norm qk_norm;
} conf_kvb;

typedef struct {
    int64_t context;     /* T */
    int64_t batch;       /* sequences per outer step */
    int64_t micro_batch; /* sequences at once; 0: chosen by the memory plan */
    int64_t steps, total_steps /* of the schedule; 0: steps */, warmup_steps;
    double lr, end_lr, beta1, beta2, eps, weight_decay, clip;
    uint64_t seed;
    conf_precision precision;
    const char *device;    /* what computes (kernels/device.h) */
    int64_t threads;       /* 0: all cores */
    const char *init_from; /* run or checkpoint to start from; "": random */
    double memory_limit;   /* bytes the plan may use; 0: what the machine has free */
} conf_train;

typedef struct {
    const char *train, *valid, *test; /* shard paths or globs, a CONF_LIST; "": none */
    const char *tokenizer;            /* file of their vocabulary; "": bytes, or init_from's */
    const char *pattern, *begin;      /* how it is read (data/bpe.h); "": guessed, the usual */
    bool across_documents;            /* samples cross document borders */
} conf_data;

typedef struct {
    const char *dir; /* where the run lives; "": runs/NAME */
    int64_t log_every, eval_every, eval_windows /* per document; 0: all */;
    int64_t save_every, keep_last, keep_every /* steps; 0: no such rule */;
} conf_run;

typedef enum { CONF_SHARD_NONE, CONF_SHARD_OPTIMIZER } conf_shard;

typedef struct {
    int64_t tensor;   /* ranks that share the work on the same texts; divides all */
    conf_shard shard; /* what is divided over the ranks that read other texts */
    int64_t timeout;  /* seconds after which a rank that the others wait for is missing */
} conf_ranks;

typedef struct {
    conf_model model;
    conf_mamba mamba; /* of blocks m, Mamba 2 (infer/mamba2.c) */
    conf_gdn gdn;     /* of blocks g, Gated DeltaNet (infer/gated_delta.c) */
    conf_kvb kvb;     /* of blocks k, TTT-KVB (infer/kvb.c) */
    conf_inner_loop inner;
    conf_train train;
    conf_data data;
    conf_run run;
    conf_ranks ranks;
    const char *name; /* of the configuration; not an option */
} ttt_conf;

/* The configuration `source` (a shipped name such as "125m-e2e-8k", or a path of a YAML file) with
 * `overrides` ("section.field=value") on top, checked. On failure *conf is NULL and the message
 * names file, line, key, and the nearest valid name. Free with conf_destroy. */
kern_status conf_load(ttt_conf **conf, const char *source, int overrides,
                      const char *const *override);
void conf_destroy(ttt_conf *conf);

/* All options at their defaults; for callers that build a configuration in code. */
kern_status conf_create(ttt_conf **conf);
/* One "section.field=value"; the old value stays on failure. */
kern_status conf_set(ttt_conf *conf, const char *assignment);
/* Refuses a value outside its option's bounds and an impossible combination, with the reason and
 * what would work. */
kern_status conf_check(const ttt_conf *conf);
/* Writes the resolved configuration as YAML that conf_load reads back to an equal struct: aside
 * first, then renamed, so that a full disk leaves no torn file. */
kern_status conf_write(const ttt_conf *conf, const char *path);

/* The text that conf_write writes. The caller frees it with free(). */
kern_status conf_text(char **text, const ttt_conf *conf);
/* FNV-1a (64 bit) of that text: equal on all ranks if and only if (but for chance) they agree. */
kern_status conf_hash(uint64_t *hash, const ttt_conf *conf);
/* A configuration of its own, strings included; on failure *to is NULL. */
kern_status conf_copy(ttt_conf **to, const ttt_conf *from);
/* Every option and the name; reals bit for bit. */
bool conf_equal(const ttt_conf *a, const ttt_conf *b);

/* The shipped configurations by name, in the order single files, then compositions by size, method,
 * stage. The caller frees with conf_list_destroy. */
kern_status conf_list(char ***names, int64_t *count);
void conf_list_destroy(char **names, int64_t count);

/* What follows from a checked configuration; `block` is 0 .. model.blocks - 1. */
int64_t conf_head_size(const ttt_conf *conf);
int64_t conf_kv_heads(const ttt_conf *conf);
int64_t conf_total_steps(const ttt_conf *conf);
/* Is the block one of the last inner.suffix? */
bool conf_suffix_block(const ttt_conf *conf, int64_t block);
/* Has the block fast weights, whether or not they are stepped (inner.mode off)? */
bool conf_fast_block(const ttt_conf *conf, int64_t block);
/* The letter of the block's token mixer (infer/mixer.h): s attends to a window, f to everything, n
 * is none. Of model.pattern; where that is empty of model.attention. */
char conf_block_letter(const ttt_conf *conf, int64_t block);
/* Does the block attend to everything before it? */
bool conf_block_is_full(const ttt_conf *conf, int64_t block);
bool conf_has_full(const ttt_conf *conf); /* does any? */
/* Tokens that a block that attends sees, itself included: train.context where it is full, 0 where
 * it has no mixer. */
int64_t conf_block_window(const ttt_conf *conf, int64_t block);
double conf_block_rope_theta(const ttt_conf *conf, int64_t block);
int64_t conf_gdn_heads(const ttt_conf *conf);
int64_t conf_kvb_inner(const ttt_conf *conf);

#endif
