/* state.json of a checkpoint: what resuming needs besides tensors, and the sizes and checksums of
 * the tensor files. Its last line is a checksum of all bytes before it, so that no flipped bit
 * anywhere goes unseen. Format: docs/run-directory.md. */
#ifndef TRAIN_STATE_H
#define TRAIN_STATE_H

#include "kernels/base.h"

typedef struct {
    int64_t step;         /* outer steps done; the next one has this number */
    int64_t samples;      /* samples consumed since the run began: where the data order goes on */
    int64_t tokens;       /* trained on since the run began */
    double seconds;       /* spent training since the run began */
    uint64_t config_hash; /* of the course (train/course.h) */
    bool early_hash;      /* as programs made it that wrote format version 1 or 2; read only */
} train_state;

/* The files beside state.json: tensors, what the tokens stand for (train/vocabulary.h), and what
 * the model is. */
enum {
    TRAIN_STATE_MODEL,
    TRAIN_STATE_OPTIMIZER,
    TRAIN_STATE_TENSOR_FILES,
    TRAIN_STATE_VOCABULARY = TRAIN_STATE_TENSOR_FILES,
    TRAIN_STATE_TOKENIZER,
    TRAIN_STATE_CONFIG, /* the resolved configuration */
    TRAIN_STATE_FILES
};
extern const char *const train_state_file_names[TRAIN_STATE_FILES];

typedef struct {
    int64_t bytes; /* -1: the checkpoint has no such file */
    uint32_t crc;  /* CRC-32 of the whole file */
} train_state_file;

/* Writes `path` aside, syncs and renames it. KERN_ERR_FILE. All numbers must be finite and >= 0;
 * TRAIN_STATE_TOKENIZER alone may be absent. */
kern_status train_state_write(const char *path, const train_state *state,
                              const train_state_file files[TRAIN_STATE_FILES]);

/* Reads what train_state_write wrote, also in format versions 1, which has no file of a vocabulary,
 * and 2, which has none of a configuration. KERN_ERR_FILE where it cannot be read; KERN_ERR_DATA,
 * naming the file and the reason, where it is torn, changed, or of a format version that this
 * program does not know. *state and files are then unchanged. */
kern_status train_state_read(train_state *state, train_state_file files[TRAIN_STATE_FILES],
                             const char *path);

#endif
