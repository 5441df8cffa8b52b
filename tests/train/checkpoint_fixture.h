/* A small model in every way that tensors differ (type, rank 0 to 2, no elements), whose numbers
 * are a function of one integer. */
#ifndef TESTS_CHECKPOINT_FIXTURE_H
#define TESTS_CHECKPOINT_FIXTURE_H

#include "scratch.h"

#include "train/checkpoint.h"

enum { FIXTURE_TENSORS = 4 };

typedef struct {
    double memory[2 * FIXTURE_TENSORS][16];
    train_tensor items[2][FIXTURE_TENSORS];
    train_tensors parameters, moments;
} model;

static inline void fill(model *m, int64_t number) {
    static const train_tensor items[2][FIXTURE_TENSORS] = {
        {{.name = "a.f32", .dtype = KERN_F32, .rank = 1, .shape = {7}},
         {.name = "blocks.0.wq", .dtype = KERN_F32, .rank = 2, .shape = {5, 3}},
         {.name = "b.bf16", .dtype = KERN_BF16, .rank = 1, .shape = {3}},
         {.name = "z.scalar", .dtype = KERN_F64, .rank = 0}},
        {{.name = "m.a", .dtype = KERN_F32, .rank = 1, .shape = {7}},
         {.name = "m.empty", .dtype = KERN_F32, .rank = 2, .shape = {0, 4}},
         {.name = "v.a", .dtype = KERN_F64, .rank = 1, .shape = {7}},
         {.name = "v.count", .dtype = KERN_I32, .rank = 1, .shape = {1}}}};
    memset(m, 0, sizeof *m);
    memcpy(m->items, items, sizeof items);
    uint64_t seed = (uint64_t)number;
    for (int list = 0; list < 2; list++)
        for (int i = 0; i < FIXTURE_TENSORS; i++) {
            train_tensor *tensor = &m->items[list][i];
            uint8_t *bytes = (uint8_t *)m->memory[list * FIXTURE_TENSORS + i];
            size_t count = kern_dtype_bytes(tensor->dtype);
            for (int axis = 0; axis < tensor->rank; axis++) count *= (size_t)tensor->shape[axis];
            for (size_t byte = 0; byte < count; byte++) bytes[byte] = (uint8_t)next_random(&seed);
            tensor->data = bytes;
        }
    m->parameters = (train_tensors){.count = FIXTURE_TENSORS, .items = m->items[0]};
    m->moments = (train_tensors){.count = FIXTURE_TENSORS, .items = m->items[1]};
}

/* A model with other numbers, to be loaded into. */
static inline model *loaded_into(model *m) {
    fill(m, -1);
    return m;
}

static inline train_state state_of(int64_t step) {
    return (train_state){.step = step,
                         .samples = 8 * step,
                         .tokens = 8 * 2048 * step,
                         .seconds = (double)step / 3,
                         .config_hash = 0xfedcba9876543210u};
}

/* A configuration, whatever it says. */
static inline const ttt_conf *any_conf(void) {
    static ttt_conf *conf;
    if (!conf) assert_ok(conf_create(&conf));
    return conf;
}

static inline void save(const model *m, int64_t step) {
    const train_state state = state_of(step);
    assert_ok(train_checkpoint_save(scratch, &state, &m->parameters, &m->moments,
                                    data_vocabulary_byte(), any_conf(), kern_comm_alone()));
}

static inline char *step_of(int64_t step) {
    return train_text("%s/step-%08lld", scratch, (long long)step);
}

/* How many names in the scratch directory contain `part`. */
static inline int64_t count_names(const char *part) {
    char **names;
    int64_t count, found = 0;
    assert_ok(train_list(&names, &count, scratch));
    for (int64_t i = 0; i < count; i++) found += strstr(names[i], part) != NULL;
    train_free_names(names, count);
    return found;
}

#endif
