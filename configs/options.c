#include "configs/options.h"

#include <math.h>
#include <string.h>

static const char *const attentions[] = {"window", "full", "hybrid", "none", NULL};
static const char *const inners[] = {"off", "e2e", "first_order", "naive", NULL};
static const char *const shards[] = {"none", "optimizer", NULL};
static const char *const precisions[] = {"f32", "bf16", "f64", NULL};
static const char *const kvb_losses[] = {"dot", "l2", NULL};
static const char *const kvb_outputs[] = {"q", "k", NULL};
static const char *const qk_norms[] = {"head", "width", "off", NULL};

#define AT(section, field) #section "." #field, offsetof(ttt_conf, section.field)
#define INTEGER(at, fallback, unit, least, most, help)                                             \
    ROW(at, CONF_INTEGER, fallback, unit, least, most, NULL, help)
#define REAL(at, fallback, unit, least, most, help)                                                \
    ROW(at, CONF_REAL, fallback, unit, least, most, NULL, help)
#define BYTES(at, fallback, help) ROW(at, CONF_BYTES, fallback, "bytes", 0, HUGE_VAL, NULL, help)
#define BOOLEAN(at, fallback, help) ROW(at, CONF_BOOLEAN, fallback, "", 0, 1, NULL, help)
#define CHOICE(at, fallback, choices, help) ROW(at, CONF_CHOICE, fallback, "", 0, 0, choices, help)
#define TEXT(at, fallback, help) ROW(at, CONF_TEXT, fallback, "", 0, 0, NULL, help)
#define PATH(at, fallback, help) ROW(at, CONF_PATH, fallback, "", 0, 0, NULL, help)
#define LIST(at, fallback, help) ROW(at, CONF_LIST, fallback, "", 0, 0, NULL, help)
#define SEED(at, fallback, help) ROW(at, CONF_SEED, fallback, "", 0, 0, NULL, help)
/* `at` becomes two arguments, name and offset. */
#define ROW(...) ROW_EXPANDED(__VA_ARGS__)
#define ROW_EXPANDED(name, offset, type, fallback, unit, least, most, choices, help)               \
    { name, type, offset, fallback, unit, least, most, choices, help }

/* clang-format off */
static const conf_option options[] = {
    INTEGER(AT(model, vocab), "128256", "ids", 2, 2147483647, "size of the vocabulary"),
    INTEGER(AT(model, dim), "768", "features", 1, 1e6, "width of the residual stream"),
    INTEGER(AT(model, heads), "12", "heads", 1, 65536, "query heads of a block"),
    INTEGER(AT(model, kv_heads), "0", "heads", 0, 65536,
            "key and value heads; divides model.heads; 0: as many"),
    INTEGER(AT(model, head_size), "0", "features", 0, 65536,
            "width of a head, even; 0: model.dim / model.heads"),
    INTEGER(AT(model, mlp), "2048", "features", 1, 1e7,
            "inner width of every MLP, the fast ones included"),
    INTEGER(AT(model, blocks), "12", "blocks", 1, 10000, "blocks of the model"),
    CHOICE(AT(model, attention), "window", attentions,
           "what a token sees: the window, everything before it, a pattern of both, or nothing"),
    INTEGER(AT(model, full_every), "6", "blocks", 1, 10000,
            "hybrid attention: every so many-th block is full, the others windowed"),
    TEXT(AT(model, pattern), "",
         "instead of model.attention: each block's letter, repeated over the blocks; s window, "
         "f full, m Mamba 2, g Gated DeltaNet, k TTT-KVB, n none"),
    INTEGER(AT(model, window), "8192", "tokens", 1, 1e9,
            "tokens that windowed attention sees, the token itself included"),
    REAL(AT(model, rope_theta), "500000", "", 1, 1e12, "base of the rotary position angles"),
    REAL(AT(model, rope_theta_full), "0", "", 0, 1e12,
         "the same for full blocks; 0: model.rope_theta"),
    BOOLEAN(AT(model, qk_norm), "true", "RMS norm of queries and keys, per head"),
    BOOLEAN(AT(model, pre_norm), "true", "RMS norm before each sub-layer"),
    BOOLEAN(AT(model, post_norm), "true", "RMS norm after each sub-layer"),
    BOOLEAN(AT(model, tied), "true", "the embedding is also the output matrix"),
    REAL(AT(model, norm_eps), "1e-6", "", 1e-30, 1, "added to the mean square in RMS norms"),
    REAL(AT(model, init_std), "0.02", "", 0, 100, "standard deviation of initial matrices"),
    INTEGER(AT(model, bos), "128000", "id", -1, 2147483646,
            "begin-of-document token, whose prediction is not counted; -1: none"),

    INTEGER(AT(mamba, expand), "2", "", 1, 64, "inner width of Mamba 2 over model.dim"),
    INTEGER(AT(mamba, head_size), "64", "features", 1, 65536,
            "width of a head; divides the inner width"),
    INTEGER(AT(mamba, state), "128", "features", 1, 65536, "rows of a head's state"),
    INTEGER(AT(mamba, groups), "1", "groups", 1, 65536,
            "groups of heads that share B and C; divides the heads"),
    INTEGER(AT(mamba, conv), "4", "tokens", 2, 64, "taps of the causal convolution"),
    INTEGER(AT(mamba, chunk), "64", "tokens", 1, 4096,
            "tokens that are computed together; changes no number"),

    INTEGER(AT(gdn, heads), "0", "heads", 0, 65536,
            "heads of Gated DeltaNet; 0: model.dim / 256"),
    INTEGER(AT(gdn, key_size), "192", "features", 1, 65536, "width of a head's queries and keys"),
    INTEGER(AT(gdn, value_size), "384", "features", 1, 65536, "width of a head's values"),
    INTEGER(AT(gdn, conv), "4", "tokens", 2, 64, "taps of the causal convolution"),
    BOOLEAN(AT(gdn, gate), "true", "a gate on the output"),
    BOOLEAN(AT(gdn, neg_eigval), "false", "step sizes up to 2: negative eigenvalues"),
    INTEGER(AT(gdn, chunk), "64", "tokens", 1, 4096,
            "tokens that are computed together; changes no number"),

    INTEGER(AT(kvb, heads), "4", "heads", 1, 65536,
            "heads of TTT-KVB's memory; divides model.dim"),
    INTEGER(AT(kvb, inner), "0", "features", 0, 1e7,
            "inner width of a head's memory; 0: model.dim / 4"),
    INTEGER(AT(kvb, rank), "32", "", 0, 65536,
            "of the initial w1 and w3; 0: they are full matrices"),
    INTEGER(AT(kvb, chunk), "1024", "tokens", 1, 1e9, "tokens of an update of the memory"),
    CHOICE(AT(kvb, loss), "dot", kvb_losses,
           "what an update lowers: minus the product of prediction and value, or their distance"),
    CHOICE(AT(kvb, output), "q", kvb_outputs, "what reads the memory: queries, or the keys"),
    BOOLEAN(AT(kvb, momentum), "true", "updates have momentum"),
    BOOLEAN(AT(kvb, muon), "false", "updates are made orthogonal by Newton-Schulz steps"),
    BOOLEAN(AT(kvb, scale), "true", "a learned scale of each head's output"),
    CHOICE(AT(kvb, qk_norm), "head", qk_norms,
           "RMS norm of queries and keys: by attention head, over model.dim, or none"),

    CHOICE(AT(inner, mode), "off", inners,
           "steps while reading: none; trained through; gradient held constant; evaluation only"),
    INTEGER(AT(inner, suffix), "0", "blocks", 0, 10000, "last blocks, which run chunk by chunk"),
    INTEGER(AT(inner, chunk), "1024", "tokens", 1, 1e9, "tokens of a chunk: one inner step each"),
    LIST(AT(inner, fast_blocks), "suffix",
         "blocks with fast weights: suffix (all of it) or block numbers such as 9,11"),
    BOOLEAN(AT(inner, separate_mlp), "true",
            "suffix blocks have a fast MLP of their own; false: the ordinary MLP is the fast one"),
    REAL(AT(inner, lr), "1", "", 0, 1e6, "learning rate of the inner step"),
    REAL(AT(inner, clip), "1", "", 1e-30, 1e30, "largest norm of a sequence's inner gradient"),
    INTEGER(AT(inner, warmup_steps), "0", "steps", 0, 1e9,
            "outer steps over which the inner learning rate grows; 0: no warm-up"),
    REAL(AT(inner, warmup_from), "0.1", "", 0, 1, "share of inner.lr from which it grows"),

    INTEGER(AT(train, context), "8192", "tokens", 1, 1e9, "tokens of a sequence"),
    INTEGER(AT(train, batch), "64", "sequences", 1, 1e6, "sequences of an outer step"),
    INTEGER(AT(train, micro_batch), "0", "sequences", 0, 1e6,
            "sequences computed at once; divides train.batch; 0: chosen by the memory plan"),
    INTEGER(AT(train, steps), "1000", "steps", 1, 1e9, "outer steps"),
    INTEGER(AT(train, total_steps), "0", "steps", 0, 1e9,
            "where the schedule reaches train.end_lr; 0: train.steps"),
    INTEGER(AT(train, warmup_steps), "0", "steps", 0, 1e9,
            "steps over which the learning rate grows from 0"),
    REAL(AT(train, lr), "1e-3", "", 0, 1e3, "learning rate after warm-up"),
    REAL(AT(train, end_lr), "1e-5", "", 0, 1e3, "learning rate at the end of the cosine"),
    REAL(AT(train, beta1), "0.9", "", 0, 0.999999, "AdamW: decay of the first moment"),
    REAL(AT(train, beta2), "0.95", "", 0, 0.999999, "AdamW: decay of the second moment"),
    REAL(AT(train, eps), "1e-8", "", 1e-30, 1, "AdamW: added to the root of the second moment"),
    REAL(AT(train, weight_decay), "0.1", "", 0, 1e3, "AdamW: decoupled, times the learning rate"),
    REAL(AT(train, clip), "1", "", 1e-30, 1e30, "largest norm of the outer gradient"),
    SEED(AT(train, seed), "0", "of the initial weights and the order of samples"),
    CHOICE(AT(train, precision), "f32", precisions,
           "of products: f32; bf16 operands with f32 sums; or f64 throughout"),
    TEXT(AT(train, device), "cpu",
         "what computes: cpu; cuda, a GPU (docs/gpu.md); or check, the CPU with memory that the "
         "program may not touch"),
    INTEGER(AT(train, threads), "0", "threads", 0, 4096, "0: one for each core"),
    PATH(AT(train, init_from), "", "run or checkpoint whose weights to start from; empty: random"),
    BYTES(AT(train, memory_limit), "0", "memory the plan may use; 0: what the machine has free"),

    LIST(AT(data, train), "", "shards to train on, paths or globs with commas; empty: none"),
    LIST(AT(data, valid), "", "shards to evaluate on during training; empty: none"),
    LIST(AT(data, test), "", "shards held out until the end, for ttt eval; empty: none"),
    PATH(AT(data, tokenizer), "",
         "file of the vocabulary that the shards were packed with; empty: bytes, or that of "
         "train.init_from"),
    TEXT(AT(data, pattern), "", "what cuts text into pieces, as for ttt tokenize; empty: guessed"),
    TEXT(AT(data, begin), "",
         "name of the token that begins a document, as for ttt pack; empty: the usual one"),
    BOOLEAN(AT(data, across_documents), "false",
            "samples cross document borders; false: each lies inside one document"),

    PATH(AT(run, dir), "", "where the run lives; empty: runs/NAME"),
    INTEGER(AT(run, log_every), "1", "steps", 1, 1e9, "a line of metrics every so many steps"),
    INTEGER(AT(run, eval_every), "0", "steps", 0, 1e9, "evaluate every so many steps; 0: never"),
    INTEGER(AT(run, eval_windows), "24", "windows", 0, 1e9,
            "windows of each document to evaluate; 0: all"),
    INTEGER(AT(run, save_every), "500", "steps", 0, 1e9,
            "a checkpoint every so many steps; 0: only at the end"),
    INTEGER(AT(run, keep_last), "2", "checkpoints", 0, 1e9,
            "keep the newest so many checkpoints; 0: no such rule"),
    INTEGER(AT(run, keep_every), "0", "steps", 0, 1e9,
            "keep checkpoints of every so many-th step; 0: no such rule"),

    INTEGER(AT(ranks, tensor), "1", "ranks", 1, 65536,
            "ranks that share the work on the same texts; divides their number"),
    CHOICE(AT(ranks, shard), "optimizer", shards,
           "what the ranks that read other texts divide: nothing, or the optimiser's state"),
    INTEGER(AT(ranks, timeout), "300", "seconds", 1, 1e6,
            "a rank for which others wait so long ends the job"),
};
/* clang-format on */

enum { OPTIONS = sizeof options / sizeof *options };

const conf_option *conf_options(int64_t *count) {
    *count = OPTIONS;
    return options;
}

const conf_option *conf_option_find(const char *name) {
    for (int i = 0; i < OPTIONS; i++)
        if (!strcmp(options[i].name, name)) return &options[i];
    return NULL;
}

const char *conf_type_name(conf_type type) {
    static const char *const names[] = {"integer", "real", "bytes", "boolean", "choice",
                                        "text",    "path", "list",  "integer"};
    ASSERT((unsigned)type < sizeof names / sizeof *names);
    return names[type];
}
