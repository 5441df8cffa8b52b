/* The hash of a course as it was made when state.json had format version 1 or 2: of the text of
 * config.yaml with the options of that time, their help included. Nothing here follows the option
 * table: what a row says is what the hash is of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/options.h"
#include "train/course.h"

typedef struct {
    const char *name, *comment;
    const char *value; /* of an option that is not part of the course; NULL: the configuration's */
} row;

/* clang-format off */
static const row rows[] = {
    {"model.vocab", "size of the vocabulary [ids]", NULL},
    {"model.dim", "width of the residual stream [features]", NULL},
    {"model.heads", "query heads of a block [heads]", NULL},
    {"model.kv_heads", "key and value heads; divides model.heads; 0: as many [heads]", NULL},
    {"model.head_size", "width of a head, even; 0: model.dim / model.heads [features]", NULL},
    {"model.mlp", "inner width of every MLP, the fast ones included [features]", NULL},
    {"model.blocks", "blocks of the model [blocks]", NULL},
    {"model.attention",
     "what a token sees: the window, everything before it, a pattern of both, or nothing", NULL},
    {"model.full_every",
     "hybrid attention: every so many-th block is full, the others windowed [blocks]", NULL},
    {"model.window",
     "tokens that windowed attention sees, the token itself included [tokens]", NULL},
    {"model.rope_theta", "base of the rotary position angles", NULL},
    {"model.rope_theta_full", "the same for full blocks; 0: model.rope_theta", NULL},
    {"model.qk_norm", "RMS norm of queries and keys, per head", NULL},
    {"model.pre_norm", "RMS norm before each sub-layer", NULL},
    {"model.post_norm", "RMS norm after each sub-layer", NULL},
    {"model.tied", "the embedding is also the output matrix", NULL},
    {"model.norm_eps", "added to the mean square in RMS norms", NULL},
    {"model.init_std", "standard deviation of initial matrices", NULL},
    {"model.bos", "begin-of-document token, whose prediction is not counted; -1: none [id]", NULL},
    {"inner.mode",
     "steps while reading: none; trained through; gradient held constant; evaluation only", NULL},
    {"inner.suffix", "last blocks, which run chunk by chunk [blocks]", NULL},
    {"inner.chunk", "tokens of a chunk: one inner step each [tokens]", NULL},
    {"inner.fast_blocks",
     "blocks with fast weights: suffix (all of it) or block numbers such as 9,11", NULL},
    {"inner.separate_mlp",
     "suffix blocks have a fast MLP of their own; false: the ordinary MLP is the fast one", NULL},
    {"inner.lr", "learning rate of the inner step", NULL},
    {"inner.clip", "largest norm of a sequence's inner gradient", NULL},
    {"inner.warmup_steps",
     "outer steps over which the inner learning rate grows; 0: no warm-up [steps]", NULL},
    {"inner.warmup_from", "share of inner.lr from which it grows", NULL},
    {"train.context", "tokens of a sequence [tokens]", NULL},
    {"train.batch", "sequences of an outer step [sequences]", NULL},
    {"train.micro_batch",
     "sequences computed at once; divides train.batch; 0: chosen by the memory plan "
     "[sequences]", NULL},
    {"train.steps", "outer steps [steps]", NULL},
    {"train.total_steps", "where the schedule reaches train.end_lr; 0: train.steps [steps]", NULL},
    {"train.warmup_steps", "steps over which the learning rate grows from 0 [steps]", NULL},
    {"train.lr", "learning rate after warm-up", NULL},
    {"train.end_lr", "learning rate at the end of the cosine", NULL},
    {"train.beta1", "AdamW: decay of the first moment", NULL},
    {"train.beta2", "AdamW: decay of the second moment", NULL},
    {"train.eps", "AdamW: added to the root of the second moment", NULL},
    {"train.weight_decay", "AdamW: decoupled, times the learning rate", NULL},
    {"train.clip", "largest norm of the outer gradient", NULL},
    {"train.seed", "of the initial weights and the order of samples", NULL},
    {"train.precision", "of products: f32; bf16 operands with f32 sums; or f64 throughout", NULL},
    {"train.threads", "0: one for each core [threads]", "0"},
    {"train.init_from", "run or checkpoint whose weights to start from; empty: random", NULL},
    {"train.memory_limit", "memory the plan may use; 0: what the machine has free [bytes]", "0"},
    {"data.train", "shards to train on, paths or globs with commas; empty: none", "\"\""},
    {"data.valid", "shards to evaluate on during training; empty: none", "\"\""},
    {"data.test", "shards held out until the end, for ttt eval; empty: none", "\"\""},
    {"data.tokenizer",
     "file of the vocabulary that the shards were packed with; empty: bytes, or that "
     "of train.init_from", NULL},
    {"data.pattern", "what cuts text into pieces, as for ttt tokenize; empty: guessed", NULL},
    {"data.begin",
     "name of the token that begins a document, as for ttt pack; empty: the usual one", NULL},
    {"data.across_documents",
     "samples cross document borders; false: each lies inside one document", NULL},
    {"run.dir", "where the run lives; empty: runs/NAME", "\"\""},
    {"run.log_every", "a line of metrics every so many steps [steps]", "1"},
    {"run.eval_every", "evaluate every so many steps; 0: never [steps]", "0"},
    {"run.eval_windows", "windows of each document to evaluate; 0: all [windows]", "24"},
    {"run.save_every", "a checkpoint every so many steps; 0: only at the end [steps]", "500"},
    {"run.keep_last", "keep the newest so many checkpoints; 0: no such rule [checkpoints]", "2"},
    {"run.keep_every", "keep checkpoints of every so many-th step; 0: no such rule [steps]", "0"},
};
/* clang-format on */

enum { ROWS = sizeof rows / sizeof *rows };

/* What a text says of an option, NULL: nothing. 0 is the last text; the one before it said less of
 * data.test, and the first of all was of bytes alone. */
static const char *comment_of(const row *r, int text) {
    static const char *const later[] = {"data.tokenizer", "data.pattern", "data.begin"};
    for (int i = 0; text == 2 && i < 3; i++)
        if (!strcmp(r->name, later[i])) return NULL;
    bool test = text && !strcmp(r->name, "data.test");
    return test ? "shards held out until the end; empty: none" : r->comment;
}

bool train_course_early_has(const char *name, int text) {
    for (int i = 0; i < ROWS; i++)
        if (!strcmp(rows[i].name, name)) return comment_of(&rows[i], text) != NULL;
    return false;
}

static int section_length(const char *name) {
    return (int)(strchr(name, '.') - name);
}

static bool begins_section(int i) {
    size_t length = (size_t)section_length(rows[i].name) + 1;
    return i == 0 || strncmp(rows[i].name, rows[i - 1].name, length) != 0;
}

static void print_value(FILE *to, const ttt_conf *conf, const row *r) {
    const conf_option *option = conf_option_find(r->name);
    ASSERT(option);
    if (r->value)
        fputs(r->value, to);
    else if (!strcmp(r->name, "train.steps") || !strcmp(r->name, "train.total_steps"))
        fprintf(to, "%lld", (long long)conf_total_steps(conf));
    else
        conf_option_print(to, conf, option);
}

kern_status train_course_early(uint64_t *hash, const ttt_conf *conf, int which) {
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    for (int i = 0; to && i < ROWS; i++) {
        const char *comment = comment_of(&rows[i], which);
        if (!comment) continue;
        int length = section_length(rows[i].name);
        if (i == 0)
            fprintf(to, "# Every option of this configuration, resolved.\nname: %s\n", conf->name);
        if (begins_section(i)) fprintf(to, "\n%.*s:\n", length, rows[i].name);
        fprintf(to, "  # %s\n  %s: ", comment, rows[i].name + length + 1);
        print_value(to, conf, &rows[i]);
        putc('\n', to);
    }
    if (!to || fclose(to)) {
        free(text);
        return kern_fail(KERN_ERR_MEMORY, "no memory for the text of a configuration");
    }
    *hash = train_course_fnv(text);
    free(text);
    return KERN_OK;
}
