/* write_run CONFIG RUN: a run of the configuration whose one checkpoint holds the weights that
 * training would begin with, of bytes. For what no training makes, such as a model whose documents
 * begin with no token. */
#include <stdio.h>
#include <stdlib.h>

#include "infer/block.h"
#include "infer/parameters.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/files.h"

static kern_status save(const char *checkpoints, const ttt_conf *conf) {
    kern_status status = KERN_OK;
    infer_parameters *layout = infer_parameters_create(conf);
    kern_dtype real = infer_real(conf);
    train_state state = {.step = 1};
    train_tensor *items = kern_array(layout->count, sizeof *items);
    const train_tensors parameters = {.count = layout->count, .items = items}, moments = {0};
    void *memory = NULL;
    TRY(kern_alloc_zero(&memory, (size_t)layout->elements * kern_dtype_bytes(real), "weights"));
    infer_parameters_init(layout, conf, real, kern_device_cpu(), memory);
    for (int i = 0; i < layout->count; i++) {
        const infer_parameter *p = &layout->item[i];
        items[i] =
            (train_tensor){.name = p->name,
                           .dtype = real,
                           .rank = p->rank,
                           .shape = {p->dim[0], p->dim[1], p->dim[2]},
                           .data = (char *)memory + (size_t)p->offset * kern_dtype_bytes(real)};
    }
    TRY(train_course_hash(&state.config_hash, conf, 0));
    TRY(train_checkpoint_save(checkpoints, &state, &parameters, &moments, data_vocabulary_byte(),
                              conf, kern_comm_alone()));
done:
    kern_free(memory);
    free(items);
    infer_parameters_destroy(layout);
    return status;
}

int main(int argc, char **argv) {
    kern_status status = KERN_OK;
    ttt_conf *conf = NULL;
    char *checkpoints = NULL, *config = NULL;
    if (argc != 3) return 2;
    checkpoints = train_text("%s/checkpoints", argv[2]);
    config = train_text("%s/config.yaml", argv[2]);
    TRY(conf_load(&conf, argv[1], 0, NULL));
    TRY(train_make_directory(checkpoints));
    TRY(conf_write(conf, config));
    TRY(save(checkpoints, conf));
done:
    if (status != KERN_OK) fprintf(stderr, "write_run: %s\n", kern_error());
    conf_destroy(conf);
    free(config);
    free(checkpoints);
    return status != KERN_OK;
}
