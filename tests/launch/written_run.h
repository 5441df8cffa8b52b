/* A run that was not trained: its weights are given. */
#ifndef TESTS_WRITTEN_RUN_H
#define TESTS_WRITTEN_RUN_H

#include "configs/conf.h"
#include "infer/parameters.h"
#include "tests/train/scratch.h"
#include "train/checkpoint.h"
#include "train/course.h"

/* Writes the run `dir`, with f32 weights by the layout. */
static inline void write_run(const char *dir, const ttt_conf *conf, const infer_parameters *layout,
                             float *weights, const data_vocabulary *vocabulary) {
    char *checkpoints = train_text("%s/checkpoints", dir),
         *config = train_text("%s/config.yaml", dir);
    assert_ok(train_make_directory(checkpoints));
    assert_ok(conf_write(conf, config));
    train_tensor *items = calloc((size_t)layout->count, sizeof *items);
    assert_non_null(items);
    for (int i = 0; i < layout->count; i++) {
        const infer_parameter *p = &layout->item[i];
        items[i] = (train_tensor){.name = p->name,
                                  .dtype = KERN_F32,
                                  .rank = p->rank,
                                  .shape = {p->dim[0], p->dim[1], p->dim[2]},
                                  .data = weights + p->offset};
    }
    const train_tensors parameters = {.count = layout->count, .items = items}, moments = {0};
    train_state state = {.step = 1};
    assert_ok(train_course_hash(&state.config_hash, conf, 0));
    assert_ok(train_checkpoint_save(checkpoints, &state, &parameters, &moments, vocabulary, conf,
                                    kern_comm_alone()));
    free(items);
    free(checkpoints);
    free(config);
}

#endif
