#include "configs/options.h"

#include <ctype.h>
#include <string.h>

enum { COMPARED = 63 }; /* letters of a name that count */

/* Letters to insert, remove, replace or swap with their neighbour to turn a into b (optimal string
 * alignment): swapped letters are the commonest slip and must not cost two. */
static int64_t slips(const char *a, const char *b) {
    int64_t rows[3][COMPARED + 1];
    int64_t length_a = (int64_t)strnlen(a, COMPARED), length_b = (int64_t)strnlen(b, COMPARED);
    for (int64_t j = 0; j <= length_b; j++) rows[0][j] = j;
    for (int64_t i = 1; i <= length_a; i++) {
        int64_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int64_t j = 1; j <= length_b; j++) {
            row[j] = kern_min(above[j] + 1, row[j - 1] + 1);
            row[j] = kern_min(row[j], above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = kern_min(row[j], above2[j - 2] + 1);
        }
    }
    return rows[length_a % 3][length_b];
}

/* Is `part` one or more whole words of `whole`, which - _ and . separate? */
static bool is_part(const char *part, const char *whole) {
    static const char separators[] = "-_.";
    size_t length = strlen(part);
    if (length < 2) return false;
    for (const char *at = whole; (at = strstr(at, part)); at++)
        if ((at == whole || strchr(separators, at[-1])) &&
            (!at[length] || strchr(separators, at[length])))
            return true;
    return false;
}

static const char *behind_dot(const char *name) {
    const char *dot = strchr(name, '.');
    return dot ? dot + 1 : name;
}

/* The shortest of the names that the word is the beginning of, with or without the section. */
static const char *begun(const char *word, const char *const *names, int64_t count) {
    const char *shortest = NULL;
    size_t length = strlen(word);
    for (int64_t i = 0; i < count && length >= 2; i++) {
        const char *name = strchr(word, '.') ? names[i] : behind_dot(names[i]);
        if (strncmp(name, word, length) != 0) continue;
        if (!shortest || strlen(names[i]) < strlen(shortest)) shortest = names[i];
    }
    return shortest;
}

/* A name that the word is a part of or else, the longest, one that is a part of the word. */
static const char *related(const char *word, const char *const *names, int64_t count) {
    const char *longest = NULL;
    for (int64_t i = 0; i < count; i++) {
        const char *name = behind_dot(names[i]);
        if (is_part(behind_dot(word), name)) return names[i];
        if (!is_part(name, word)) continue;
        if (!longest || strlen(name) > strlen(behind_dot(longest))) longest = names[i];
    }
    return longest;
}

const char *conf_nearest(const char *word, const char *const *names, int64_t count) {
    int64_t best = kern_min(4, (int64_t)strlen(word) / 3 + 1);
    const char *nearest = NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t distance = kern_min(slips(word, names[i]), slips(word, behind_dot(names[i])));
        if (distance < best || (distance == best && !nearest)) {
            best = distance;
            nearest = names[i];
        }
    }
    if (nearest && best == 0) return nearest;
    const char *whole = begun(word, names, count);
    if (whole) return whole;
    if (nearest && best <= 2) return nearest;
    const char *part = related(word, names, count);
    return part ? part : nearest;
}

/* What other programs call our options; where a name is one of ours in two sections, the one that
 * is meant. */
static const struct {
    const char *word, *option;
} elsewhere[] = {
    {"lr", "train.lr"},
    {"learning_rate", "train.lr"},
    {"max_lr", "train.lr"},
    {"min_lr", "train.end_lr"},
    {"clip", "train.clip"},
    {"grad_clip", "train.clip"},
    {"gradient_clip", "train.clip"},
    {"max_grad_norm", "train.clip"},
    {"warmup", "train.warmup_steps"},
    {"warmup_steps", "train.warmup_steps"},
    {"warmup_iters", "train.warmup_steps"},
    {"epochs", "train.steps"},
    {"num_train_epochs", "train.steps"},
    {"iterations", "train.steps"},
    {"num_iterations", "train.steps"},
    {"max_iters", "train.steps"},
    {"batch_size", "train.batch"},
    {"per_device_train_batch_size", "train.batch"},
    {"dtype", "train.precision"},
    {"seq_len", "train.context"},
    {"seq_length", "train.context"},
    {"sequence_length", "train.context"},
    {"block_size", "train.context"},
    {"n_layer", "model.blocks"},
    {"n_layers", "model.blocks"},
    {"num_layers", "model.blocks"},
    {"layers", "model.blocks"},
    {"n_embd", "model.dim"},
    {"d_model", "model.dim"},
    {"hidden_size", "model.dim"},
    {"intermediate_size", "model.mlp"},
    {"ffn_dim", "model.mlp"},
    {"mlp_dim", "model.mlp"},
    {"head_dim", "model.head_size"},
    {"inner_learning_rate", "inner.lr"},
    {"chunk_size", "inner.chunk"},
    {"data", "data.train"},
    {"dataset", "data.train"},
    {"out", "run.dir"},
    {"outdir", "run.dir"},
    {"output_dir", "run.dir"},
    {"name", "run.dir"},
    {"run_name", "run.dir"},
    {"eval_interval", "run.eval_every"},
    {"save_interval", "run.save_every"},
    {"log_interval", "run.log_every"},
};

/* Equal but for the case of letters and for dashes. */
static bool same_word(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (tolower((unsigned char)*a) != *b && !(*a == '-' && *b == '_')) return false;
    return *a == *b;
}

/* The option that `word` means elsewhere: that of its own section where there is one. */
static const char *known_elsewhere(const char *word) {
    const char *dot = strchr(word, '.');
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        const char *option = elsewhere[i].option;
        char own[2 * COMPARED];
        if (!same_word(dot ? dot + 1 : word, elsewhere[i].word)) continue;
        snprintf(own, sizeof own, "%.*s%s", (int)(dot ? dot - word : 0), word, strchr(option, '.'));
        const conf_option *found = conf_option_find(own);
        return found ? found->name : option;
    }
    return NULL;
}

const char *conf_option_nearest(const char *word) {
    enum { MOST = 256 };
    const char *names[MOST], *known = known_elsewhere(word);
    int64_t count;
    const conf_option *options = conf_options(&count);
    if (known) return known;
    ASSERT(count <= MOST);
    for (int64_t i = 0; i < count; i++) names[i] = options[i].name;
    return conf_nearest(word, names, count);
}
