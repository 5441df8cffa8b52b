/* A run whose weights are written by hand, so that what it answers is known: it continues a text
 * with what stood behind the last eight bytes when they stood together before.
 *
 * Its stream holds: 1; the code of this byte; the codes of the eight bytes before; the answer. A
 * code is nine signs, the id in binary. Block 0 has a head for each distance j = 1..8: its queries
 * and keys are constants, so their product depends on rotary angles alone, a sum of cosines with
 * its peak at distance j, so steep that the softmax picks one byte. Block 1 compares the last eight
 * bytes with the eight before each byte, in the slowest of the rotary pairs, which hardly turn
 * within the context, and takes that byte's code where most signs agree. */
#ifndef TESTS_INDUCTION_H
#define TESTS_INDUCTION_H

#include <math.h>

#include "tests/launch/written_run.h"

enum {
    TOKEN = 1, /* where its code lies in the stream */
    HEAD = 128,
    POSITION_PAIRS = 16,
    FIRST_SLOW_PAIR = 24
};
static const double rope_theta = 1e12, steepness = 40, sharpness = 20;

static inline float sign_of(int64_t id, int bit) {
    return id >> bit & 1 ? 1 : -1;
}

typedef struct {
    const infer_parameters *layout;
    float *data;
    int signs; /* of a code */
    int back;  /* tokens that are compared */
} induction_weights;

static inline int before(const induction_weights *w, int j) { /* where the code of j before lies */
    return TOKEN + j * w->signs;
}

/* An element of the parameter `name`, in block `block` if that is not -1. */
static inline float *weight(const induction_weights *w, const char *name, int block, int64_t row,
                            int64_t column) {
    char full[64];
    snprintf(full, sizeof full, "blocks.%d.%s", block, name);
    const char *wanted = block < 0 ? name : full;
    for (int i = 0; i < w->layout->count; i++) {
        const infer_parameter *p = &w->layout->item[i];
        if (strcmp(p->name, wanted)) continue;
        assert_true(row < p->dim[0] && column < p->dim[1]);
        return w->data + p->offset + row * p->dim[1] + column;
    }
    fail_msg("no parameter %s", wanted);
    return NULL;
}

static inline void fill_tokens(const induction_weights *w, int64_t vocabulary, int64_t width) {
    int answer = before(w, w->back + 1);
    for (int64_t id = 0; id < vocabulary; id++) {
        *weight(w, "embed.weight", -1, id, 0) = 1;
        for (int bit = 0; bit < w->signs; bit++) {
            *weight(w, "embed.weight", -1, id, TOKEN + bit) = sign_of(id, bit);
            *weight(w, "lm_head.weight", -1, answer + bit, id) = sign_of(id, bit);
        }
    }
    for (int i = 0; i < width; i++) *weight(w, "final_norm.weight", -1, i, 0) = 1;
}

static inline void fill_previous(const induction_weights *w, int j) {
    int head = (j - 1) * HEAD;
    for (int pair = 0; pair < POSITION_PAIRS; pair++) {
        double angle = j * pow(rope_theta, -2.0 * pair / HEAD);
        *weight(w, "attn.wq", 0, 0, head + 2 * pair) = (float)(steepness * cos(angle));
        *weight(w, "attn.wq", 0, 0, head + 2 * pair + 1) = (float)(-steepness * sin(angle));
        *weight(w, "attn.wk", 0, 0, head + 2 * pair) = (float)steepness;
    }
    for (int bit = 0; bit < w->signs; bit++) {
        *weight(w, "attn.wv", 0, TOKEN + bit, head + bit) = 1;
        *weight(w, "attn.wo", 0, head + bit, before(w, j) + bit) = 1;
    }
}

static inline void fill_match(const induction_weights *w) {
    for (int i = 0; i < w->back * w->signs; i++) {
        *weight(w, "attn.wq", 1, TOKEN + i, 2 * FIRST_SLOW_PAIR + i) = (float)sharpness;
        *weight(w, "attn.wk", 1, before(w, 1) + i, 2 * FIRST_SLOW_PAIR + i) = (float)sharpness;
    }
    for (int bit = 0; bit < w->signs; bit++) {
        *weight(w, "attn.wv", 1, TOKEN + bit, bit) = 1;
        *weight(w, "attn.wo", 1, bit, before(w, w->back + 1) + bit) = 1;
    }
}

/* Writes the run `dir` for a vocabulary; more assignments, "section.field=value", end with NULL.
 * `deaf`: the same model without its comparison, which answers nothing of use. */
static inline void write_induction_run(const char *dir, const data_vocabulary *vocabulary,
                                       bool deaf, const char *const *more) {
    static const char *const options[] = {"model.vocab=257",       "model.bos=256",
                                          "model.dim=128",         "model.heads=8",
                                          "model.head_size=128",   "model.mlp=16",
                                          "model.blocks=2",        "model.rope_theta=1e12",
                                          "model.qk_norm=false",   "model.pre_norm=false",
                                          "model.post_norm=false", "model.tied=false",
                                          "model.window=2048",     "train.context=1024",
                                          "train.threads=2",       NULL};
    ttt_conf *conf;
    assert_ok(conf_create(&conf));
    for (const char *const *option = options; *option; option++) assert_ok(conf_set(conf, *option));
    conf->model.vocab = vocabulary->size;
    conf->model.bos = vocabulary->bos;
    for (; more && *more; more++) assert_ok(conf_set(conf, *more));
    assert_ok(conf_check(conf));
    infer_parameters *layout = infer_parameters_create(conf);
    induction_weights w = {layout, calloc((size_t)layout->elements, sizeof(float)), 1, 8};
    assert_non_null(w.data);
    while ((int64_t)1 << w.signs < conf->model.vocab) w.signs++;
    while (before(&w, w.back + 2) > conf->model.dim) w.back--;
    fill_tokens(&w, conf->model.vocab, conf->model.dim);
    for (int j = 1; j <= w.back; j++) fill_previous(&w, j);
    if (!deaf) fill_match(&w);

    write_run(dir, conf, layout, w.data, vocabulary);
    free(w.data);
    infer_parameters_destroy(layout);
    conf_destroy(conf);
}

#endif
